/** Functions that ran on some paths only, before the paths meet: the first place to look for a forgotten step.
 *
 * Until the meeting place each path goes its own way, so much of what differs must differ; compare/allowed.ts has the
 * reasons. Of the rest only the topmost function is a finding: what it called went with it. Tools (memcpy, printk) are no
 * steps. A function that a path's kernel does not even have (another build) cannot have been forgotten there.
 * May not: use counts; they depend on the text of a message.   Next: compare/state-difference.ts. */
import { ALLOWED_FUNCTIONS, ALLOWED_TO_LACK, type AllowedFunctions, kindOf } from './allowed.ts';
import { type Evidence, type Finding, list } from './findings.ts';
import { callChain, type PathView, type Ran } from './path-view.ts';

/** Names of all functions of a path's kernel; undefined when nobody knows them. */
export type KnownFunctions = (via: string) => ReadonlySet<string> | undefined;

export function onePathFunctions(
  all: readonly PathView[],
  meeting: string | undefined,
  known: KnownFunctions,
): Finding[] {
  const views = all.filter((view) => view.meeting !== undefined && view.functions.size > 0);
  if (meeting === undefined || views.length < 2) return [];
  const names = new Map<string, Ran>();
  for (const view of views) {
    for (const ran of view.functions.values()) if (ran.before && !names.has(ran.name)) names.set(ran.name, ran);
  }
  const ranBefore = (view: PathView, name: string) => view.functions.get(name)?.before === true;
  const divided = new Map<string, { on: PathView[]; off: PathView[] }>();
  for (const { name, tool } of names.values()) {
    if (tool) continue;
    const on = views.filter((view) => ranBefore(view, name));
    const off = views.filter(
      (view) => !ranBefore(view, name) && couldRun(view, name, on, known) && !mayLack(view, name),
    );
    if (off.length > 0) divided.set(name, { on, off });
  }
  const findings: Finding[] = [];
  for (const [name, { on, off }] of divided) {
    if (rowFor(name, on)) continue;
    // Its caller ran on these paths only, too: then the caller is the story, whether it is allowed or a finding itself.
    const caller = on[0].functions.get(name)?.caller;
    const above = caller === undefined ? undefined : divided.get(caller);
    if (caller !== undefined && above && off.every((view) => above.off.includes(view))) {
      if (rowFor(caller, above.on)?.withCallees ?? !rowFor(caller, above.on)) continue;
    }
    if (caller !== undefined && (withAllowedCaller(name, on, divided) || lackedWithCaller(name, on, off))) continue;
    findings.push(finding(name, on, off, meeting));
  }
  return findings;
}

/** Another build may have no such function. Where nobody knows its names, only paths of the same file are held to it. */
function couldRun(view: PathView, name: string, on: readonly PathView[], known: KnownFunctions): boolean {
  const names = known(view.via);
  if (names) return names.has(name);
  return view.functions.has(name) || on.some(({ record }) => record.kernel.sha256 === view.record.kernel.sha256);
}

function rowFor(name: string, on: readonly PathView[]): AllowedFunctions | undefined {
  return ALLOWED_FUNCTIONS.find((row) => row.names.test(name) && on.every(({ via }) => row.on.includes(kindOf(via))));
}

function mayLack({ via }: PathView, name: string, withCallees = false): boolean {
  return ALLOWED_TO_LACK.some(
    (row) => row.names.test(name) && row.on.includes(kindOf(via)) && (row.withCallees === true || !withCallees),
  );
}

/** On every path that ran it, a function further up is one that the others may do without, and all it calls. */
function lackedWithCaller(name: string, on: readonly PathView[], off: readonly PathView[]): boolean {
  return on.every((view) =>
    callChain(view, name)
      .slice(1)
      .some((above) => off.every((other) => !other.functions.get(above)?.before && mayLack(other, above, true))),
  );
}

/** On every path that ran it, a function further up is allowed with all it calls. */
function withAllowedCaller(
  name: string,
  on: readonly PathView[],
  divided: ReadonlyMap<string, { on: PathView[] }>,
): boolean {
  return on.every((view) => {
    const seen = new Set<string>();
    for (let at = view.functions.get(name)?.caller; at !== undefined && !seen.has(at); ) {
      seen.add(at);
      const caller = divided.get(at);
      if (caller && rowFor(at, caller.on)?.withCallees) return true;
      at = view.functions.get(at)?.caller;
    }
    return false;
  });
}

function finding(name: string, on: readonly PathView[], off: readonly PathView[], meeting: string): Finding {
  const missing = off.length <= on.length;
  const onNames = on.map(({ via }) => via);
  const offNames = off.map(({ via }) => via);
  const later = off.filter((view) => view.functions.has(name)).map(({ via }) => via);
  const isLate = later.length === off.length;
  const title = missing
    ? isLate
      ? `${list(offNames)} ${off.length === 1 ? 'runs' : 'run'} ${name} only after ${meeting}; ${list(onNames)} before it`
      : `${list(offNames)} ${off.length === 1 ? 'does' : 'do'} not run ${name} before ${meeting}; ${list(onNames)} ${on.length === 1 ? 'does' : 'do'}`
    : isLate
      ? `${list(onNames)} ${on.length === 1 ? 'runs' : 'run'} ${name} already before ${meeting}; ${list(offNames)} after it`
      : `only ${list(onNames)} ${on.length === 1 ? 'runs' : 'run'} ${name} before ${meeting}; ${list(offNames)} ${off.length === 1 ? 'does' : 'do'} not`;
  const evidence: Evidence[] = [
    ...on.map((view) => runEvidence(view, name)),
    ...off.map((view) => runEvidence(view, name)),
  ];
  return {
    id: `function/${name}/${(missing ? offNames : onNames).join('+')}`,
    kind: 'function',
    paths: missing ? offNames : onNames,
    subject: name,
    title,
    waypoint: meeting,
    evidence,
  };
}

export function runEvidence({ via, functions, record }: PathView, name: string): Evidence {
  const ran = functions.get(name);
  if (!ran) {
    return { path: via, text: record.exit.code === 0 ? 'never runs it' : 'does not run it in this record' };
  }
  const site = ran.callSite?.startsWith('0x') ? (ran.caller ?? ran.callSite) : ran.callSite;
  const how = site === undefined ? 'first entered, by no call that is known' : `first called by ${site}`;
  return { path: via, text: how, at: ran.first };
}
