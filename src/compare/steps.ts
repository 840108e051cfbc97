/** What changed on one path between two builds, in steps: calls that appeared, went away, or moved.
 *
 * A record knows for each function when it first ran, and who called it then: a tree of first calls. Two trees of one path
 * are held against each other by names. Most of what differs is a consequence (a step that is gone takes with it what only
 * it called), and some of it is the compiler's doing; what is left are the steps that somebody added, dropped or moved.
 *
 * How the compiler's doing is told from a person's:
 * - inlined: the function is gone, and all that it was first to call is now first called by its caller. Dropped steps take
 *   their callees along.
 * - no longer inlined: the reverse.
 * - moved by a caller: a function whose first caller is itself new, gone or moved is a consequence, and is not told.
 * - tools (compare/names.ts) are no steps: another message or copy may make them run first elsewhere.
 * May not: judge between paths; that is compare/changes.ts.   Next: compare/state-changes.ts. */
import { misplaced } from './order.ts';
import { callChain, type PathView, type Ran } from './path-view.ts';

export type StepKind = 'gained' | 'lost' | 'earlier' | 'later' | 'moved' | 'other caller';

export type Step = {
  kind: StepKind;
  name: string;
  /** In the new run, or in the old one for what is lost. */
  caller: string | undefined;
  before: boolean;
  mainLine: boolean;
  /** A change of its caller explains it. */
  consequence: boolean;
  /** Only the compiler has changed something: by inlining, or by not inlining any more. */
  compiler: boolean;
  /** The caller is now one of the callers of the old one, or the reverse: a tail call, or a call that was moved between
   * the two. One such step is a person's, many at once are the compiler's. */
  vertical: boolean;
};

type Asked = (name: string) => boolean | undefined;

export type PathChange = { via: string; old: PathView; now: PathView; steps: Map<string, Step>; cut: boolean };

/** `gone` and `isNew` say whether an image has a function no more, or not yet; undefined when nobody knows. */
export function pathChange(
  old: PathView,
  now: PathView,
  gone: Asked = () => undefined,
  isNew: Asked = () => undefined,
): PathChange {
  const frontier = lastCommon(old, now);
  const steps = new Map<string, Step>();
  const add = (kind: StepKind, ran: Ran, mainLine = ran.mainLine) => {
    const { name, caller, before } = ran;
    steps.set(name, { kind, name, caller, before, mainLine, consequence: false, compiler: false, vertical: false });
  };
  for (const ran of old.functions.values()) {
    if (ran.tool || ran.first > frontier) continue;
    const other = now.functions.get(ran.name);
    if (!other) add('lost', ran);
    else if (ran.before !== other.before) add(ran.before ? 'later' : 'earlier', other, ran.mainLine || other.mainLine);
    else if (callerChanged(ran, other)) add('other caller', other);
  }
  const cut = frontier !== Number.POSITIVE_INFINITY;
  for (const ran of now.functions.values()) {
    if (ran.tool || old.functions.has(ran.name) || (cut && isDown(now, ran.name))) continue;
    add('gained', ran);
  }
  for (const ran of movedAmongSiblings(old, now)) if (!steps.has(ran.name)) add('moved', ran);
  const change = { via: now.via, old, now, steps, cut };
  markCompiler(change, gone, isNew);
  for (const step of steps.values()) step.consequence = isConsequence(step, change);
  return change;
}

/** A run that ended early did not lose what comes later. Old time of the last step that both have. */
function lastCommon(old: PathView, now: PathView): number {
  if (now.record.exit.code === 0 || now.record.exit.code === old.record.exit.code) return Number.POSITIVE_INFINITY;
  let last = 0;
  for (const { name, tool, mainLine } of now.functions.values()) {
    if (tool || !mainLine || isDown(now, name)) continue;
    last = Math.max(last, old.functions.get(name)?.first ?? 0);
  }
  return last;
}

/** How a kernel goes down is no step of its start. */
export const isDying = (name: string) => /panic|power_off|oops|die|show_|dump_|emergency|report_/.test(name);

const isDown = (view: PathView, name: string): boolean => callChain(view, name).some(isDying);

/** Calls whose caller is not known on one side say nothing. */
function callerChanged(a: Ran, b: Ran): boolean {
  return a.caller !== undefined && b.caller !== undefined && a.caller !== b.caller;
}

/** Of the functions that one caller is first to call, then and now, those that changed places. */
function movedAmongSiblings(old: PathView, now: PathView): Ran[] {
  const families = new Map<string, Ran[]>();
  for (const ran of now.functions.values()) {
    const before = old.functions.get(ran.name);
    if (ran.tool || !ran.mainLine || !before || ran.caller === undefined || ran.caller !== before.caller) continue;
    families.set(ran.caller, [...(families.get(ran.caller) ?? []), ran]);
  }
  return [...families.values()].flatMap((family) =>
    misplaced(family.map(({ name }) => old.functions.get(name)?.first ?? 0)).map((index) => family[index]),
  );
}

function markCompiler({ old, now, steps }: PathChange, gone: Asked, isNew: Asked): void {
  const inlining = inliner(old, now, gone);
  const outlining = inliner(now, old, isNew);
  for (const step of steps.values()) {
    const { kind, name } = step;
    if (kind === 'lost' || kind === 'later' || kind === 'other caller') step.compiler = inlining(name);
    if (kind === 'gained' || kind === 'earlier' || kind === 'other caller') step.compiler ||= outlining(name);
    if (kind !== 'other caller') continue;
    const [was, is] = [old.functions.get(name)?.caller, step.caller];
    step.vertical =
      (is !== undefined && callChain(old, was ?? '').includes(is)) ||
      (was !== undefined && callChain(now, is ?? '').includes(was));
  }
}

/** Whether a call in `from` became a part of its caller in `to`: then what it was first to call is called by that. */
function inliner(from: PathView, to: PathView, gone: Asked): (name: string) => boolean {
  const children = childrenOf(from);
  const judge = (name: string, caller: string, depth: number): 'yes' | 'no' | 'unknown' => {
    const own = children.get(name) ?? [];
    if (own.length === 0) return gone(name) === false ? 'no' : 'unknown';
    let seen: 'yes' | 'unknown' = 'unknown';
    for (const child of own) {
      const there = to.functions.get(child.name);
      if (there?.caller === caller) seen = 'yes';
      else if (there && !child.tool) return 'no';
      else if (!there) {
        const below = depth < 20 ? judge(child.name, caller, depth + 1) : 'no';
        if (below === 'no') return 'no';
        if (below === 'yes') seen = 'yes';
      }
    }
    return seen;
  };
  return (name) => {
    const caller = surviving(from.functions.get(name)?.caller, from, to);
    return caller !== undefined && judge(name, caller, 0) === 'yes';
  };
}

function childrenOf(view: PathView): Map<string, Ran[]> {
  const children = new Map<string, Ran[]>();
  for (const ran of view.functions.values()) {
    if (ran.caller !== undefined) children.set(ran.caller, [...(children.get(ran.caller) ?? []), ran]);
  }
  return children;
}

/** The caller, or whoever called it, that the other run has too. */
function surviving(caller: string | undefined, from: PathView, to: PathView): string | undefined {
  const seen = new Set<string>();
  let at = caller;
  while (at !== undefined && !to.functions.has(at) && !seen.has(at)) {
    seen.add(at);
    at = from.functions.get(at)?.caller;
  }
  return at;
}

function isConsequence(step: Step, { old, now, steps }: PathChange): boolean {
  const was = steps.get(old.functions.get(step.name)?.caller ?? '');
  const is = steps.get(now.functions.get(step.name)?.caller ?? '');
  switch (step.kind) {
    case 'lost':
      return was?.kind === 'lost' && !was.compiler;
    case 'gained':
      return is?.kind === 'gained' && !is.compiler;
    default:
      return (was !== undefined && was.kind !== 'gained') || (is !== undefined && is.kind !== 'lost');
  }
}
