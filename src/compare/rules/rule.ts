/** Rule: which entry paths a feature of the kernel belongs to, and what shows in a run that it was there.
 *
 * The idea is Linux's supp_hardware_subarch (the proposed x86_init_fn, 2016): a feature's author says once where it is
 * wanted, and everything else follows. Shown where it is not allowed, it is dead code that ran; not shown where it is
 * required, an entry path forgot it.
 * May not: be more than data.   Next: compare/rules/pattern.ts. */
import type { Pattern } from './pattern.ts';

/** What may show a feature. The key is what a rules file writes, the text what it means. */
export const EVIDENCE = {
  functions: 'functions that were entered: names, * and ? stand for any letters and for one',
  msrs: 'model-specific registers read or written: numbers, ranges, names',
  ports: 'I/O ports used: numbers and ranges',
  registers: 'control and debug registers written, descriptor tables loaded: CR4, DR7, GDTR, IDTR, LDTR, TR',
  hypercalls: 'hypercalls made: names and numbers',
  cpuid: 'CPUID leaves asked for: numbers and ranges',
  exceptions: 'exceptions taken: vectors and names (#PF)',
  memory: 'linear addresses that are mapped at a waypoint: ranges',
} as const;
export type EvidenceKind = keyof typeof EVIDENCE;

export type Rule = {
  feature: string;
  /** Any one of these shows the feature. */
  evidence: { kind: EvidenceKind; pattern: Pattern }[];
  /** The feature may show on these paths only; undefined: anywhere. */
  allowed: ReadonlySet<string> | undefined;
  required: Requirement[];
  /** The rule is for kernels that have one of these functions; empty: for all. */
  when: Pattern[];
  reason: string;
  source: string | undefined;
  /** The file and line where it begins. */
  from: string;
};

export type Requirement = {
  paths: ReadonlySet<string>;
  /** A waypoint or function that must not be reached without the feature; undefined: the end of the run. */
  before: string | undefined;
  /** As written, for messages: "xen-pv before start_kernel". */
  text: string;
};

/** Later files have the last word: a rule takes the place of an earlier one of the same feature. */
export function combineRules(files: readonly (readonly Rule[])[]): Rule[] {
  const byFeature = new Map<string, Rule>();
  for (const rule of files.flat()) byFeature.set(rule.feature, rule);
  return [...byFeature.values()];
}
