/** Steps that paths take in different orders.
 *
 * Two paths that both run A and B before they meet should run them in the same order, unless a reason is known: much of
 * what initialises needs something else to be ready. Only functions that both enter by themselves are looked at, not what
 * those call, and of a rearranged row the fewest functions that explain it.
 * Next: compare/rules-slot.ts. */
import { type Evidence, type Finding, list, thousands } from './findings.ts';
import type { PathView, Ran } from './path-view.ts';

/** Steps whose place a path's own way decides. */
const ALLOWED_ORDER: readonly { names: RegExp; because: string }[] = [
  {
    names: /^cr4_init_shadow$/,
    because: 'bare metal makes the copy first of all, Xen PV last: nothing between them writes CR4',
  },
  {
    names: /^(?:copy_bootdata|sanitize_boot_params|x86_64_start_reservations)$/,
    because: 'a path without a boot protocol copies boot_params in x86_64_start_reservations, others before it',
  },
];

export function orderDifferences(all: readonly PathView[], meeting: string | undefined): Finding[] {
  const views = all.filter((view) => view.meeting !== undefined);
  if (meeting === undefined || views.length < 2) return [];
  // Held against the path whose order most others share.
  const [reference, ...others] = [...views].sort((a, b) => oddness(a, views) - oddness(b, views));
  const moved = new Map<string, PathView[]>();
  for (const other of others) {
    const common = commonSteps(reference, other);
    for (const name of outOfOrder(common, other)) moved.set(name, [...(moved.get(name) ?? []), other]);
  }
  const groups = new Map<string, { on: PathView[]; names: string[] }>();
  for (const [name, on] of moved) {
    const key = on.map(({ via }) => via).join('+');
    const group = groups.get(key) ?? { on, names: [] };
    group.names.push(name);
    groups.set(key, group);
  }
  return [...groups.values()].flatMap(({ on, names }) =>
    names.length > MOST_STEPS
      ? [summary(names, on, reference, meeting)]
      : names.map((name) => one(name, on, reference, meeting)),
  );
}

/** More steps than these in another place are another order altogether, and one finding. */
const MOST_STEPS = 40;
const MOST_EXAMPLES = 6;

function one(name: string, on: readonly PathView[], reference: PathView, meeting: string): Finding {
  const paths = on.map(({ via }) => via);
  return {
    id: `order/${name}/${paths.join('+')}`,
    kind: 'order',
    paths,
    subject: name,
    title: `${list(paths)} ${on.length === 1 ? 'runs' : 'run'} ${name} in another place than ${reference.via} before ${meeting}`,
    waypoint: meeting,
    evidence: [reference, ...on].map((view) => neighbours(view, name, reference, on)),
  };
}

function summary(names: readonly string[], on: readonly PathView[], reference: PathView, meeting: string): Finding {
  const paths = on.map(({ via }) => via);
  const [first] = names;
  return {
    id: `order/many/${paths.join('+')}`,
    kind: 'order',
    paths,
    subject: first,
    title: `${list(paths)} ${on.length === 1 ? 'runs' : 'run'} ${thousands(names.length)} steps in other places than ${reference.via} before ${meeting}, as ${list(names.slice(0, 3))}`,
    why: 'so many are another order altogether, or one path has been compared at another place than it should',
    waypoint: meeting,
    evidence: names.slice(0, MOST_EXAMPLES).flatMap((name) =>
      [reference, ...on].map((view) => {
        const { text, ...rest } = neighbours(view, name, reference, on);
        return { ...rest, text: `${name}: ${text}` };
      }),
    ),
  };
}

/** How many steps of the others stand elsewhere. */
const oddness = (view: PathView, views: readonly PathView[]): number =>
  views.reduce((sum, other) => sum + outOfOrder(commonSteps(view, other), other).length, 0);

/** What both enter before the meeting place, in the first one's order: no tools, and nothing that comes with its caller. */
function commonSteps(a: PathView, b: PathView): Ran[] {
  const isStep = (view: PathView, { name, before, tool, first, callSite }: Ran): boolean => {
    if (!before || tool || ALLOWED_ORDER.some(({ names }) => names.test(name))) return false;
    // With interrupts on, what is entered by no call is a matter of time.
    if (callSite === undefined && first > (view.functions.get('start_kernel')?.first ?? first)) return false;
    const caller = view.functions.get(name)?.caller;
    return !(caller !== undefined && a.functions.get(caller)?.before && b.functions.get(caller)?.before);
  };
  return [...a.functions.values()].filter((ran) => {
    const other = b.functions.get(ran.name);
    return other !== undefined && isStep(a, ran) && isStep(b, other);
  });
}

/** The fewest names that have to be taken out so that the rest stands in the other's order, too. */
function outOfOrder(steps: readonly Ran[], other: PathView): string[] {
  return misplaced(steps.map(({ name }) => other.functions.get(name)?.first ?? 0)).map((index) => steps[index].name);
}

/** Indices outside a longest rising subsequence. */
export function misplaced(values: readonly number[]): number[] {
  const tails: number[] = [];
  const before: number[] = [];
  for (const [index, value] of values.entries()) {
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[tails[middle]] < value) low = middle + 1;
      else high = middle;
    }
    before[index] = low > 0 ? tails[low - 1] : -1;
    tails[low] = index;
  }
  const kept = new Set<number>();
  for (let at = tails.length > 0 ? tails[tails.length - 1] : -1; at >= 0; at = before[at]) kept.add(at);
  return [...values.keys()].filter((index) => !kept.has(index));
}

function neighbours(view: PathView, name: string, reference: PathView, on: readonly PathView[]): Evidence {
  const other = view === reference ? on[0] : reference;
  const steps = commonSteps(view, other).map((ran) => ran.name);
  const at = steps.indexOf(name);
  const words = [
    at > 0 ? `after ${steps[at - 1]}` : 'first of the common steps',
    ...(at + 1 < steps.length ? [`before ${steps[at + 1]}`] : []),
  ];
  return { path: view.via, text: words.join(', '), at: view.functions.get(name)?.first };
}
