/** changesSince: a stored set of runs against this one. What did the change do on one path and not on the others?
 *
 * The verdict is about change, never about what has always been different. A change that reached every path it can reach
 * is a note; one that reached some of them is an init mismatch. What is kept from giving false alarms, and how:
 * - renumbering (foo.isra.0, calls.3), moved addresses: everything goes by source names (compare/names.ts);
 * - timing and printed strings: sets and order of first entries count, never how often or when; functions that hang off
 *   interrupts are told as notes at most;
 * - inlining: compare/steps.ts sees it in the tree of first calls. A function that vanished on all paths alike is a note.
 *   One that only one path ever ran is a note, too, when the image does not have it any more, for nobody can tell then,
 *   unless it was a global one, which stays in the image when it is inlined. Whether its effect is gone shows in the
 *   state (compare/state-changes.ts). A function that common code stopped calling
 *   has stopped for all, also for a path that comes to it by another way;
 * - new code: a function is held only against paths whose kernel has it.
 * May not: open files; runs are handed over.   Next: compare/baseline.ts. */
import type { RunRecord } from '../trace/run-record.ts';
import { ALLOWED_FUNCTIONS, kindOf } from './allowed.ts';
import { type Evidence, type Finding, list } from './findings.ts';
import { brokenInvariants, INVARIANTS } from './invariants.ts';
import { lineUp } from './line-up.ts';
import { type KnownFunctions, runEvidence } from './one-path-functions.ts';
import { type PathView, pathView } from './path-view.ts';
import { comparableState, doings, isMembership } from './state-changes.ts';
import { type PathChange, pathChange, type Step, type StepKind } from './steps.ts';

/** Runs of one kernel, and the names of all its functions. */
export type RunSet = {
  records: readonly RunRecord[];
  known: KnownFunctions;
  /** Those of them that other files of the source may call; undefined when nobody knows. */
  globals?: KnownFunctions;
};

export type Changes = {
  /** Where the paths meet. */
  meeting: string | undefined;
  /** Paths that both sets have. */
  paths: string[];
  findings: Finding[];
  notes: Finding[];
};

export function changesSince(stored: RunSet, now: RunSet, asked?: string): Changes {
  const pairs = now.records.flatMap((record) => {
    const old = stored.records.find(({ via }) => via === record.via);
    return old ? [{ old, record }] : [];
  });
  const meeting = lineUp(stored.records, asked).meeting ?? lineUp(now.records, asked).meeting;
  const changes = pairs.map(({ old, record }) => {
    const lacks =
      ({ known }: RunSet) =>
      (name: string) =>
        known(record.via) && !known(record.via)?.has(name);
    return pathChange(pathView(old, meeting), pathView(record, meeting), lacks(now), lacks(stored));
  });
  const findings: Finding[] = [];
  const notes: Finding[] = [];
  const tell = (finding: Finding, alarming: boolean) => (alarming ? findings : notes).push(finding);

  for (const change of changes) endings(change, changes, meeting, tell);
  invariants(changes, meeting, tell);
  const sets = { stored, now, meeting, newCompiler: manyVertical(changes) };
  for (const [key, on] of stepsByName(changes)) judge(key, on, changes, sets, tell);
  effects(changes, sets, { findings, notes }, tell);
  for (const { old, record } of pairs) {
    const [was, is] = [JSON.stringify(old.input), JSON.stringify(record.input)];
    if (was !== is)
      notes.push(
        note(`input/${record.via}`, record.via, `${record.via} was given another input: stored ${was}, now ${is}`),
      );
  }
  for (const { via } of stored.records) {
    if (!pairs.some(({ record }) => record.via === via)) notes.push(absent(via, 'stored, and not run now'));
  }
  for (const { via } of now.records) {
    if (!pairs.some(({ record }) => record.via === via)) notes.push(absent(via, 'run now, and not stored'));
  }
  return { meeting, paths: pairs.map(({ record }) => record.via), findings: causesFirst(findings, changes), notes };
}

/** What happened before the paths meet comes before its consequences; how a run ended comes first of all. */
function causesFirst(findings: readonly Finding[], changes: readonly PathChange[]): Finding[] {
  const rank = ({ id, subject }: Finding): number => {
    if (id.startsWith('init-mismatch/end/')) return 0;
    if (id.startsWith('init-mismatch/invariant/')) return 1;
    if (id.startsWith('init-mismatch/state/')) return 3;
    return changes.some(({ steps }) => steps.get(subject)?.before) ? 2 : 4;
  };
  return [...findings].sort((a, b) => rank(a) - rank(b));
}

type Tell = (finding: Finding, alarming: boolean) => void;

/** A path that came to a good end, or to the meeting place, and does so no more. */
function endings(
  { old, now, via }: PathChange,
  changes: readonly PathChange[],
  meeting: string | undefined,
  tell: Tell,
) {
  const worse = now.record.exit.code !== 0 && now.record.exit.code !== old.record.exit.code;
  const lost = old.meeting !== undefined && now.meeting === undefined;
  if (!worse && !lost) {
    if (old.record.exit.code !== 0 && now.record.exit.code === 0) {
      tell(ending(via, old, now, `${via} ends well now, and did not before`), false);
    }
    return;
  }
  const others = changes.filter((each) => each.via !== via && each.now.record.exit.code === 0).map((each) => each.via);
  const rest = others.length > 0 ? `, as ${list(others)} still ${others.length === 1 ? 'does' : 'do'}` : '';
  const what = lost ? `no longer reaches ${meeting}` : 'no longer ends well';
  tell(ending(via, old, now, `${via} ${what}${rest}: ${now.record.exit.reason}`), true);
}

function ending(via: string, old: PathView, now: PathView, title: string): Finding {
  return {
    id: `init-mismatch/end/${via}`,
    kind: 'init mismatch',
    paths: [via],
    subject: now.record.exit.reason,
    title,
    evidence: [
      { path: via, text: `stored: ${old.record.exit.detail}`, at: old.record.instructions },
      { path: via, text: `now: ${now.record.exit.detail}`, at: now.record.instructions },
      ...lastLine(now),
      ...toolsFromElsewhere(old, now),
    ],
  };
}

/** A copy or a clearing that is gone leaves no step behind, but somebody else then uses the tool first. */
function toolsFromElsewhere(old: PathView, now: PathView): Evidence[] {
  return [...old.functions.values()].flatMap(({ name, tool, before, caller }) => {
    const there = now.functions.get(name);
    const gone =
      tool && before && caller !== undefined && !old.functions.get(caller)?.tool && now.functions.has(caller);
    if (!gone || there?.caller === caller || (there && there.caller === undefined)) return [];
    const text = `stored: ${name} was first called by ${caller}; now ${there ? `by ${there.caller}` : 'nobody calls it'}`;
    return [{ path: now.via, text }];
  });
}

function lastLine({ via, record }: PathView): Evidence[] {
  const line = record.console.trimEnd().split('\n').at(-1);
  return line ? [{ path: via, text: `last line on the console: ${JSON.stringify(line)}` }] : [];
}

function invariants(changes: readonly PathChange[], meeting: string | undefined, tell: Tell) {
  for (const { name, says, why } of INVARIANTS) {
    const broken = changes.flatMap(({ old, now, via }) => {
      const found = brokenInvariants(now.record, meeting).find((each) => each.name === name);
      const before = brokenInvariants(old.record, meeting).some((each) => each.name === name);
      return found && !before ? [{ via, found }] : [];
    });
    if (broken.length === 0) continue;
    const paths = broken.map(({ via }) => via);
    tell(
      {
        id: `init-mismatch/invariant/${name.replaceAll(' ', '-')}/${paths.join('+')}`,
        kind: 'init mismatch',
        paths,
        subject: name,
        title: `on ${list(paths)} it no longer holds that ${says}: ${broken[0].found.wrong}`,
        why,
        waypoint: broken[0].found.waypoint,
        evidence: broken.map(({ via, found }) => ({
          path: via,
          text: `at ${found.waypoint}: ${found.wrong}`,
          at: found.at,
        })),
      },
      true,
    );
  }
}

type OnPath = { change: PathChange; step: Step };

/** "lost clear_bss" → the paths it happened on. */
function stepsByName(changes: readonly PathChange[]): Map<string, OnPath[]> {
  const byName = new Map<string, OnPath[]>();
  for (const change of changes) {
    for (const step of change.steps.values()) {
      const key = `${step.kind} ${step.name}`;
      byName.set(key, [...(byName.get(key) ?? []), { change, step }]);
    }
  }
  return byName;
}

type Sets = { stored: RunSet; now: RunSet; meeting: string | undefined; newCompiler: boolean };

/** Calls that moved up or down the tree: with these many somebody has changed the compiler or its options (tail calls),
 * and who is seen as the caller says nothing any more. */
const MANY = 4;

function manyVertical(changes: readonly PathChange[]): boolean {
  const names = new Set<string>();
  for (const { steps } of changes)
    for (const { name, vertical, compiler, consequence } of steps.values())
      if ((vertical || compiler) && !consequence) names.add(name);
  return names.size >= MANY;
}

function judge(key: string, on: readonly OnPath[], changes: readonly PathChange[], sets: Sets, tell: Tell): void {
  const roots = on.filter(({ step }) => !step.consequence);
  if (roots.length === 0) return;
  const { kind, name } = on[0].step;
  const reached = on.map(({ change }) => change.via);
  const rest = changes.filter(({ via }) => !reached.includes(via));
  const others = rest.filter((change) => concerns(kind, name, change, roots, sets));
  const isNoise = ({ step }: OnPath) =>
    step.compiler || !step.mainLine || (step.kind === 'other caller' && sets.newCompiler);
  const noise = roots.every(isNoise) || isOnlyInlining(kind, name, roots, others, changes, sets);
  // New for a path that others took before: the change reached one path only, even if they agree now.
  const had =
    kind === 'gained' ? rest.filter(({ old, now }) => old.functions.has(name) && now.functions.has(name)) : [];
  const everywhere = others.length === 0 && had.length === 0 && (kind === 'gained' || rest.length === 0);
  const alarming = !noise && !everywhere;
  const told = { key, on: roots.map(({ change }) => change), kind, name, others, had, alarming, noise };
  tell(stepFinding(told, sets), alarming);
}

/** Whether a path that the change did not reach could have been reached by it. */
function concerns(
  kind: StepKind,
  name: string,
  { via, old, now }: PathChange,
  roots: readonly OnPath[],
  { now: set, newCompiler }: Sets,
): boolean {
  if (kind === 'gained') {
    if (now.functions.has(name)) return false;
    const known = set.known(via);
    if (known?.has(name)) return true;
    // Another build does not have it: no wonder when the compiler has made it a function there and not here.
    if (known) return !newCompiler;
    return roots.some(({ change }) => change.now.record.kernel.sha256 === now.record.kernel.sha256);
  }
  return old.functions.has(name);
}

function isOnlyInlining(
  kind: StepKind,
  name: string,
  roots: readonly OnPath[],
  others: readonly PathChange[],
  changes: readonly PathChange[],
  { stored, now, newCompiler }: Sets,
): boolean {
  const isGone = (set: RunSet) => roots.every(({ change }) => set.known(change.via)?.has(name) === false);
  if (kind === 'lost' && others.length === 0) {
    // A compiler keeps a global function in the image, however often it has inlined it: somebody has taken this one away.
    // With link-time optimisation it would not, but then its symbol would not be global.
    const wasGlobal = roots.every(({ change }) => stored.globals?.(change.via)?.has(name) === true);
    return isGone(now) && (!wasGlobal || newCompiler);
  }
  if (kind === 'lost' || kind === 'later' || kind === 'other caller') {
    return roots.every(({ change }) => stoppedForAll(name, change, changes));
  }
  if (kind === 'earlier') return roots.every(({ change }) => beganForAll(name, change, changes));
  if (kind !== 'gained' || !isGone(stored)) return false;
  // A leaf of a path's own code that had been inlined before.
  const isLeaf = roots.every(({ change }) => ![...change.now.functions.values()].some(({ caller }) => caller === name));
  const own = ALLOWED_FUNCTIONS.some(
    (row) => row.names.test(name) && roots.every(({ change }) => row.on.includes(kindOf(change.via))),
  );
  return isLeaf && own && changes.length > roots.length;
}

/** Common code stopped calling it, so it has stopped for all, also for a path that comes to it by another way. */
function stoppedForAll(name: string, { old, now, steps }: PathChange, changes: readonly PathChange[]): boolean {
  const caller = old.functions.get(name)?.caller;
  if (caller === undefined || steps.has(caller)) return false;
  // What still runs, later or from elsewhere, is held against the paths of this build; what is gone, against all.
  const held = steps.get(name)?.kind === 'lost' ? changes : changes.filter((each) => isSameBuild(each.now, now));
  if (held.length < 2) return false;
  return held.every((each) => {
    if (!each.old.functions.has(caller)) return false;
    return each.old.functions.get(name)?.caller !== caller || each.now.functions.get(name)?.caller !== caller;
  });
}

const isSameBuild = (a: PathView, b: PathView) => a.record.kernel.sha256 === b.record.kernel.sha256;

/** Common code began to call it by a function of its own, for all that come by there. */
function beganForAll(name: string, { now, steps }: PathChange, changes: readonly PathChange[]): boolean {
  const caller = now.functions.get(name)?.caller;
  if (caller === undefined || steps.has(caller)) return false;
  const held = changes.filter((each) => isSameBuild(each.now, now));
  if (held.length < 2) return false;
  return held.every((each) => each.now.functions.has(caller) && each.now.functions.get(name)?.caller === caller);
}

type Told = {
  key: string;
  on: readonly PathChange[];
  kind: StepKind;
  name: string;
  /** Paths that it did not reach, and could have. */
  others: readonly PathChange[];
  /** Paths that were there before. */
  had: readonly PathChange[];
  alarming: boolean;
  noise: boolean;
};

function stepFinding(
  { key, on, kind, name, others, had, alarming, noise }: Told,
  { meeting, stored, now }: Sets,
): Finding {
  const paths = on.map(({ via }) => via);
  const rest = others.map(({ via }) => via);
  const ran = on[0].now.functions.get(name) ?? on[0].old.functions.get(name);
  const place = meeting === undefined ? '' : ran?.before ? ` before ${meeting}` : ` after ${meeting}`;
  const what: Record<StepKind, string> = {
    gained: `gained ${name}${place}`,
    lost: `lost ${name}${place}`,
    earlier: `${paths.length === 1 ? 'runs' : 'run'} ${name} already before ${meeting}, and did so after it`,
    later: `${paths.length === 1 ? 'runs' : 'run'} ${name} only after ${meeting}, and did so before it`,
    moved: `${paths.length === 1 ? 'runs' : 'run'} ${name} in another place${place}`,
    'other caller': `${paths.length === 1 ? 'runs' : 'run'} ${name} from another place: ${ran?.caller} calls it first now, and ${on[0].old.functions.get(name)?.caller} did`,
  };
  const gone = kind === 'lost' && on.every(({ via }) => now.known(via)?.has(name) === false);
  const contrast =
    rest.length > 0
      ? `; ${list(rest)} ${rest.length === 1 ? 'does' : 'do'} not`
          .replace('do not', kind === 'lost' ? 'still run it' : 'did not')
          .replace('does not', kind === 'lost' ? 'still runs it' : 'did not')
      : had.length > 0
        ? `; ${list(had.map(({ via }) => via))} ran it already`
        : alarming
          ? '; no other path has it'
          : '';
  const remark = noise
    ? kind === 'lost' && gone
      ? ', which is not in the image any more (inlined, or removed)'
      : ', by inlining or timing'
    : '';
  const evidence: Evidence[] = [...on, ...others, ...had].flatMap(({ via, old, now: view }) => {
    const [was, is] = [runEvidence(old, name), runEvidence(view, name)];
    return [
      { ...was, text: `stored: ${was.text}` },
      {
        ...is,
        text: `now: ${is.text}${kind === 'lost' && now.known(via)?.has(name) ? ' (the image still has it)' : ''}`,
      },
    ];
  });
  if (gone && !noise) {
    evidence.push({
      path: paths[0],
      text: 'the image does not have it any more, and it was global, so it was not inlined',
    });
  }
  if (kind === 'moved') evidence.push(...on.flatMap((change) => neighbours(change, name)));
  if (kind === 'gained' && on.every(({ via }) => stored.known(via)?.has(name) === false)) {
    evidence.push({ path: paths[0], text: 'the stored kernel did not have this function' });
  }
  return {
    id: `init-mismatch/${key.replaceAll(' ', '-').replace(`-${name}`, '')}/${name}/${paths.join('+')}`,
    kind: 'init mismatch',
    paths,
    subject: name,
    title: `${list(paths)} ${what[kind]}${contrast}${remark}`,
    ...(meeting !== undefined && { waypoint: meeting }),
    evidence,
  };
}

function neighbours({ via, old, now }: PathChange, name: string): Evidence[] {
  return (
    [
      ['stored', old],
      ['now', now],
    ] as const
  ).flatMap(([when, view]) => {
    const caller = view.functions.get(name)?.caller;
    const row = [...view.functions.values()]
      .filter((each) => each.caller === caller && !each.tool)
      .map((each) => each.name);
    const at = row.indexOf(name);
    if (caller === undefined || at < 0) return [];
    return [{ path: via, text: `${when}: ${caller} calls ${row.slice(Math.max(0, at - 1), at + 2).join(', then ')}` }];
  });
}

/** State and doings that changed on some paths only. Where a step explains them they are its evidence. */
function effects(
  changes: readonly PathChange[],
  { meeting, stored, now: present }: Sets,
  { findings, notes }: { findings: Finding[]; notes: Finding[] },
  tell: Tell,
): void {
  // Only what came before the meeting place explains what is different there.
  const causes = findings.filter(({ id, subject }) => {
    if (id.startsWith('init-mismatch/invariant/')) return true;
    return changes.some(({ steps }) => steps.get(subject)?.before);
  });
  const whole = changes.filter(({ old, now }) => old.meeting !== undefined && now.meeting !== undefined);
  const fields = new Map<string, { change: PathChange; text: string }[]>();
  const having = new Map<string, number>();
  for (const change of whole) {
    const old = comparableState(change.old.record, meeting, stored.known(change.via));
    const now = comparableState(change.now.record, meeting, present.known(change.via));
    for (const field of new Set([...old.keys(), ...now.keys()])) {
      const [was, is] = [old.get(field), now.get(field)];
      if ((was === undefined || is === undefined) && !isMembership(field)) continue;
      if (was === is) continue;
      const text = field.includes(' holds ')
        ? `${is === undefined ? `${field.replace(' holds ', ' no longer holds ')}` : `${field.replace(' holds ', ' now holds ')}`} at ${meeting}`
        : `${field} was ${was ?? 'absent'}, and is ${is ?? 'absent'} at ${meeting}`;
      push(fields, field, { change, text });
    }
    const [did, does] = [doings(change.old.record, meeting), doings(change.now.record, meeting)];
    for (const each of did) {
      if (!does.has(each)) push(fields, each, { change, text: `no longer ${each} before ${meeting}` });
      having.set(each, (having.get(each) ?? 0) + 1);
    }
    for (const each of does) if (!did.has(each)) push(fields, each, { change, text: `now ${each} before ${meeting}` });
  }
  const groups = new Map<string, Finding>();
  const typedFirst = ([field]: [string, unknown]) => (/[+[]/.test(field) ? 1 : 0);
  for (const [field, on] of [...fields].sort((a, b) => typedFirst(a) - typedFirst(b))) {
    if (on.length === whole.length) continue; // reached all
    const paths = on.map(({ change }) => change.via);
    const evidence = on.map(({ change, text }) => ({ path: change.via, text }));
    const cause = causes.find((each) => paths.every((via) => each.paths.includes(via)));
    if (cause) {
      cause.evidence.push(...evidence);
      continue;
    }
    // A function that may have been inlined, and whose effect is gone, was not inlined.
    const removed = notes.find(
      ({ id, paths: where }) => id.startsWith('init-mismatch/lost/') && where.join() === paths.join(),
    );
    if (removed) {
      notes.splice(notes.indexOf(removed), 1);
      removed.title = removed.title.replace(' (inlined, or removed)', ', and its effect is gone');
      removed.evidence.push(...evidence);
      tell(removed, true);
      causes.push(removed);
      continue;
    }
    const known = groups.get(paths.join('+'));
    if (known) known.evidence.push(...evidence);
    else {
      const rest = whole.map(({ via }) => via).filter((via) => !paths.includes(via));
      groups.set(paths.join('+'), {
        id: `init-mismatch/state/${field.replaceAll(' ', '-')}/${paths.join('+')}`,
        kind: 'init mismatch',
        paths,
        subject: field,
        title: `${on[0].text} on ${list(paths)}; nothing like it changed on ${list(rest)}`,
        ...(meeting !== undefined && { waypoint: meeting }),
        evidence,
      });
    }
  }
  for (const finding of groups.values()) tell(finding, true);
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const row = map.get(key);
  if (row) row.push(value);
  else map.set(key, [value]);
}

const absent = (via: string, why: string): Finding =>
  note(`not-compared/${via}`, via, `${via} is not compared: ${why}`);

const note = (id: string, via: string, title: string): Finding => ({
  id: `init-mismatch/${id}`,
  kind: 'init mismatch',
  paths: [via],
  subject: via,
  title,
  evidence: [],
});
