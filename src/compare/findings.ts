/** Finding: one thing that a person should look at, in plain words and with what shows it.
 *
 * Findings decide the exit code; notes are what is good to know and means no harm. Both have the same form. An id is made
 * of names alone, so it stays the same from run to run and can be looked for, muted or counted by other tools.
 * Next: compare/allowed.ts. */

/** In the order of importance. */
export const FINDING_KINDS = [
  'arrival', // a path crashes, or never comes where another does
  'init mismatch', // a change reached some of the paths only (baselines)
  'invariant', // something that must hold on every path does not
  'rule', // a function, register or port that a rule forbids or wants
  'function', // ran on some of the paths only, before they meet
  'state', // values differ where the paths meet
  'order', // common steps in another order
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/** What each kind says about a kernel, for lists and reports. */
export const KIND_MEANINGS: Record<FindingKind, string> = {
  arrival: 'An entry path crashes, or never comes to a place that another path reaches.',
  'init mismatch': 'A change since the stored baseline reached some entry paths and not others.',
  invariant: 'Something that must hold on every entry path does not hold on one.',
  rule: 'Code ran that a rule forbids on an entry path, or did not run though a rule requires it.',
  function: 'A function ran on some entry paths only, before the place where they meet.',
  state: 'A value differs between entry paths where they meet, without a reason that is known.',
  order: 'Entry paths take common steps in different orders.',
};

export type Evidence = {
  /** The path that it is about. */
  path: string;
  /** Plain words: "first called by xen_start_kernel+0x15", "cr4 is 0x660". */
  text: string;
  /** Instructions completed when it happened. */
  at?: number;
};

export type Finding = {
  /** "function/cr4_init_shadow/xen-pv". */
  id: string;
  kind: FindingKind;
  /** Paths on which something is wrong, missing or alone. */
  paths: string[];
  /** One sentence. */
  title: string;
  /** Why this matters or where to look; undefined when the title says all. */
  why?: string;
  /** What it is about: a function, a register, a field. */
  subject: string;
  /** Where the states or functions were compared. */
  waypoint?: string;
  evidence: Evidence[];
};

/** Of findings of one kind those about fewer paths come first: the odd one out is easier to judge. */
export function byImportance(findings: readonly Finding[]): Finding[] {
  const rank = ({ kind }: Finding) => FINDING_KINDS.indexOf(kind);
  return findings
    .map((finding, index) => ({ finding, index }))
    .sort((a, b) => rank(a.finding) - rank(b.finding) || a.index - b.index)
    .map(({ finding }) => finding);
}

/** "linux64, pvh and xen-pv". */
export function list(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? 'none';
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

export const plural = (count: number, one: string, many: string): string => (count === 1 ? one : many);

export const thousands = (value: number): string => value.toLocaleString('en');
