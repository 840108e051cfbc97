/** A run held against rules: what ran where it must not, and what an entry path forgot.
 *
 * A requirement is asked only where it can be answered. A feature that shows by functions alone is asked for in kernels
 * that have one of them; whoever calls says which functions the kernel has, or hands over the runs through the other
 * paths, and what ran there is known to exist. A run without symbols shows no functions, so nothing is said to be missing.
 * A run that crashed before the place a requirement names is judged too: what it had not done by then may be why.
 * May not: compare runs with each other.   Next: compare/findings.ts. */
import type { RunRecord } from '../../trace/run-record.ts';
import { type Evidence, type Finding, thousands } from '../findings.ts';
import { fitsFunction, type Pattern } from './pattern.ts';
import type { Rule } from './rule.ts';
import { RunIndex, type Sighting } from './sightings.ts';

export type Knowledge = {
  /** Names of all functions that the kernel has, when they are known. */
  functions?: Iterable<string>;
  /** Runs of the same kernel through other paths. */
  others?: readonly RunRecord[];
};

const MOST_LINES = 8;

/** What one run breaks, in the order of the rules; one finding for a rule at most. */
export function evaluateRules(rules: readonly Rule[], record: RunRecord, known: Knowledge = {}): Finding[] {
  const run = new RunIndex(record);
  const others = (known.others ?? []).filter((other) => other !== record).map((other) => new RunIndex(other));
  const kernel = new KernelFunctions(record, known);
  return rules.flatMap((rule) => {
    if (rule.when.length > 0 && !kernel.hasAny(rule.when)) return [];
    const sightings = run.sightings(rule);
    const found = deadCode(rule, record, sightings) ?? missing(rule, run, sightings, kernel, others);
    return found === undefined ? [] : [found];
  });
}

/** Notes about rules of which no run of this kernel could show anything: they are about another kernel, or misspelt. */
export function notesOnRules(
  rules: readonly Rule[],
  records: readonly RunRecord[],
  functions: (record: RunRecord) => Iterable<string> | undefined = () => undefined,
): Finding[] {
  const kernels = records.map(
    (record) => new KernelFunctions(record, { functions: functions(record), others: records }),
  );
  const isThere = (patterns: readonly Pattern[]) => kernels.some((kernel) => kernel.hasAny(patterns));
  return rules.flatMap((rule) => {
    const { feature, evidence, when, from } = rule;
    const isSeen = evidence.some(({ kind }) => kind !== 'functions') || isThere(evidence.map(({ pattern }) => pattern));
    if (isSeen && (when.length === 0 || isThere(when))) return [];
    const lacking = isSeen ? when.map(({ text }) => text).join(', ') : wanted(rule);
    return [
      {
        id: `rule/${feature}/nothing-to-see`,
        kind: 'rule',
        paths: records.map(({ via }) => via),
        subject: feature,
        title: `the rule ${feature} was not asked: no path and no symbol shows ${lacking}`,
        why: 'It is about another kernel, or a name in it is misspelt.',
        evidence: records.map(({ via }) => ({ path: via, text: from })),
      } satisfies Finding,
    ];
  });
}

function deadCode(rule: Rule, record: RunRecord, sightings: Sighting[]): Finding | undefined {
  const { feature, allowed, from } = rule;
  if (sightings.length === 0 || allowed === undefined || allowed.has(record.via)) return undefined;
  const places = allowed.size === 0 ? 'nowhere' : `on ${[...allowed].join(', ')} only`;
  return {
    ...common(rule, record.via),
    title: `dead code: ${feature} ran on ${record.via}, where it does not belong (${sightings[0].what})`,
    evidence: [...lines(sightings, record.via), { path: record.via, text: `${from} allows it ${places}` }],
  };
}

function missing(
  rule: Rule,
  run: RunIndex,
  sightings: Sighting[],
  kernel: KernelFunctions,
  others: RunIndex[],
): Finding | undefined {
  const { via, instructions, exit } = run.record;
  const broken = rule.required.find(({ paths, before }) => {
    const limit = before === undefined ? undefined : run.arrival(before);
    return paths.has(via) && !sightings.some(({ at }) => limit === undefined || at < limit);
  });
  if (broken === undefined || !kernel.canShow(rule)) return undefined;
  const { before, text } = broken;
  const arrival = before === undefined ? undefined : run.arrival(before);
  if (before !== undefined && arrival === undefined && !diedEarly(run.record)) return undefined;
  const evidence: Evidence[] = [
    arrival === undefined
      ? { path: via, at: instructions, text: `the run ended (${exit.reason}): ${exit.detail}` }
      : { path: via, at: arrival, text: `arrived at ${before}` },
    ...lines(sightings, via).map((line) => ({ ...line, text: `too late: ${line.text}` })),
    ...elsewhere(rule, others),
    { path: via, text: `${rule.from} requires it on ${text}` },
  ];
  const until =
    before === undefined
      ? 'ran'
      : arrival === undefined
        ? `ran before the run ended, without arriving at ${before}`
        : `ran before ${before}`;
  return {
    ...common(rule, via),
    title: `${rule.feature} is missing on ${via}: nothing of ${wanted(rule)} ${until}`,
    waypoint: before,
    evidence,
  };
}

/** Of a run that did not arrive: whether the guest itself came to a bad end, and within the kernel. One that was cut off or
 * needed what is not built here might have gone on to do what it should. */
function diedEarly({ exit, functions, kernel }: RunRecord): boolean {
  return (exit.code === 1 || exit.code === 4) && (functions.length > 0 || kernel.symbols === 'none');
}

function common(
  { feature, reason, source }: Rule,
  via: string,
): Pick<Finding, 'id' | 'kind' | 'paths' | 'subject' | 'why'> {
  const why = source === undefined ? reason : `${reason} (${source})`;
  return { id: `rule/${feature}/${via}`, kind: 'rule', paths: [via], subject: feature, why };
}

/** Where the same feature showed on the other paths. */
function elsewhere(rule: Rule, others: readonly RunIndex[]): Evidence[] {
  return others.flatMap((other) => lines(other.sightings(rule).slice(0, 1), other.record.via));
}

function lines(sightings: readonly Sighting[], path: string): Evidence[] {
  const shown: Evidence[] = sightings
    .slice(0, MOST_LINES)
    .map((sighting) => ({ path, at: sighting.at, text: described(sighting) }));
  const more = sightings.length - shown.length;
  return more > 0 ? [...shown, { path, text: `and ${thousands(more)} more of it` }] : shown;
}

/** "mtrr_bp_init, called from setup_arch+0x12, 3 times in all". */
function described({ kind, what, by, count }: Sighting): string {
  const often = count > 1 ? `, ${thousands(count)} times in all` : '';
  const verb = kind === 'functions' ? 'called from ' : kind === 'memory' ? '' : 'by ';
  return `${what}${by === undefined ? '' : `, ${verb}${by}`}${often}`;
}

/** "cr4_init_shadow" or "idt_setup_*, 2 others". */
function wanted({ evidence }: Rule): string {
  const texts = evidence.map(({ kind, pattern }) => (kind === 'functions' ? pattern.text : `${kind} ${pattern.text}`));
  return texts.length > 4 ? `${texts.slice(0, 3).join(', ')} and ${texts.length - 3} more` : texts.join(', ');
}

/** Which functions the kernel has, as far as anybody knows. */
class KernelFunctions {
  readonly #names: Set<string>;
  readonly #hasSymbols: boolean;
  readonly #answers = new Map<string, boolean>();

  constructor(record: RunRecord, { functions, others = [] }: Knowledge) {
    this.#hasSymbols = record.kernel.symbols !== 'none';
    this.#names = new Set(functions ?? []);
    // Another build may have another set: runs of one and the same file tell, and the others where there are none.
    const rest = others.filter((run) => run !== record);
    const same = rest.filter(({ kernel }) => kernel.sha256 === record.kernel.sha256);
    const telling = functions !== undefined || same.length > 0 ? same : rest;
    for (const run of [record, ...telling]) for (const { name } of run.functions) this.#names.add(name);
  }

  hasAny(patterns: readonly Pattern[]): boolean {
    return patterns.some((pattern) => {
      let answer = this.#answers.get(pattern.text);
      if (answer === undefined) {
        answer = [...this.#names].some((name) => fitsFunction(pattern, name));
        this.#answers.set(pattern.text, answer);
      }
      return answer;
    });
  }

  /** Whether a run can show the rule's feature at all. */
  canShow({ evidence }: Rule): boolean {
    if (evidence.some(({ kind }) => kind !== 'functions')) return true;
    return this.#hasSymbols && this.hasAny(evidence.map(({ pattern }) => pattern));
  }
}
