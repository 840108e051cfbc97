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
import type { PathView, Ran } from './path-view.ts';

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
  /** Only the compiler has changed something. */
  compiler: boolean;
};

export type PathChange = { via: string; old: PathView; now: PathView; steps: Map<string, Step>; cut: boolean };

export function pathChange(old: PathView, now: PathView): PathChange {
  const frontier = lastCommon(old, now);
  const steps = new Map<string, Step>();
  const add = (kind: StepKind, ran: Ran, mainLine = ran.mainLine) => {
    const { name, caller, before } = ran;
    steps.set(name, { kind, name, caller, before, mainLine, consequence: false, compiler: false });
  };
  for (const ran of old.functions.values()) {
    if (ran.tool || ran.first > frontier) continue;
    const other = now.functions.get(ran.name);
    if (!other) add('lost', ran);
    else if (ran.before !== other.before) add(ran.before ? 'later' : 'earlier', other, ran.mainLine || other.mainLine);
    else if (callerChanged(ran, other)) add('other caller', other);
  }
  for (const ran of now.functions.values()) if (!ran.tool && !old.functions.has(ran.name)) add('gained', ran);
  for (const ran of movedAmongSiblings(old, now)) if (!steps.has(ran.name)) add('moved', ran);
  const change = { via: now.via, old, now, steps, cut: frontier !== Number.POSITIVE_INFINITY };
  markCompiler(change);
  for (const step of steps.values()) step.consequence = isConsequence(step, change);
  return change;
}

/** A run that ended early did not lose what comes later. Old time of the last step that both have. */
function lastCommon(old: PathView, now: PathView): number {
  if (now.record.exit.code === 0 || now.record.exit.code === old.record.exit.code) return Number.POSITIVE_INFINITY;
  let last = 0;
  for (const { name, tool, mainLine } of now.functions.values()) {
    if (tool || !mainLine || isDying(name)) continue;
    last = Math.max(last, old.functions.get(name)?.first ?? 0);
  }
  return last;
}

/** How a kernel goes down is no step of its start. */
export const isDying = (name: string) => /panic|power_off|oops|die|show_|dump_|emergency|report_/.test(name);

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

function markCompiler({ old, now, steps }: PathChange): void {
  // From the leaves up and again, since inlining nests: a function that went into its caller may have callees that did so.
  for (const [from, to, kind] of [
    [old, now, 'lost'],
    [now, old, 'gained'],
  ] as const) {
    const children = childrenOf(from);
    for (const step of [...steps.values()].filter((each) => each.kind === kind)) {
      const caller = surviving(from.functions.get(step.name)?.caller, from, to);
      const own = children.get(step.name) ?? [];
      if (caller === undefined || own.length === 0) continue;
      step.compiler = own.every(({ name }) => {
        const there = to.functions.get(name);
        return there
          ? there.caller === caller
          : steps.get(name)?.kind === kind && (children.get(name) ?? []).length > 0;
      });
    }
  }
  for (const step of steps.values()) {
    if (step.kind !== 'other caller') continue;
    const [was, is] = [old.functions.get(step.name)?.caller, step.caller];
    // One of several places where a caller was inlined, or is not any more.
    step.compiler = old.functions.get(was ?? '')?.caller === is || now.functions.get(is ?? '')?.caller === was;
  }
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
