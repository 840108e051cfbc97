/** compareKernel: runs, rules and a stored baseline put together into one verdict. The command line and the library judge
 * through the same function.
 *
 * May not: print.   Next: cli/compare-text.ts. */
import { changesSince, type RunSet } from '../compare/changes.ts';
import { blindness, type Comparison, compareRecords, comparisonExit } from '../compare/compare.ts';
import type { Finding } from '../compare/findings.ts';
import { evaluateRules, notesOnRules } from '../compare/rules/evaluate.ts';
import { LINUX_RULES, LINUX_RULES_FILE } from '../compare/rules/linux.ts';
import { parseRules } from '../compare/rules/parse.ts';
import { combineRules } from '../compare/rules/rule.ts';
import type { RuleProducer } from '../compare/rules-slot.ts';
import type { RunRecord } from '../trace/run-record.ts';
import { checkBaselineFolder, loadBaseline, saveBaseline } from './baseline-folder.ts';
import { type CompareRunOptions, runPaths } from './compare-run.ts';
import { UsageError } from './options.ts';

/** A comparison, or what has changed since a stored one, with its exit code. */
export type Verdict = Comparison & { against?: string; exitCode: number };

/** A rules file; the name is for messages. */
export type RulesText = { name: string; text: string };

export type Rules = {
  producer(records: readonly RunRecord[], known: RunSet['known']): RuleProducer;
  /** The user's own rules of which these runs could show nothing: a misspelt name must not pass for a rule obeyed. */
  notes(records: readonly RunRecord[], known: RunSet['known']): Finding[];
};

export type CompareOptions = CompareRunOptions & {
  /** Where the paths meet; default: start_kernel. */
  meeting?: string;
  /** Rules beside the shipped ones. */
  rules?: readonly RulesText[];
  /** Default: true. */
  shippedRules?: boolean;
  /** A folder with a stored run: judge what has changed since. */
  against?: string;
  /** A folder to keep these runs in. */
  save?: string;
};

/** What the library calls `compare`. */
export async function compareKernel(
  kernel: string,
  options: CompareOptions = {},
): Promise<Verdict & { records: readonly RunRecord[] }> {
  const { meeting, against, save } = options;
  if (save !== undefined) checkBaselineFolder(save);
  const rules = makeRules(options.rules ?? [], options.shippedRules ?? true);
  const stored = against === undefined ? undefined : loadBaseline(against);
  const via = pathsToRun(options.via, stored, against);
  const waypoints = [...(options.waypoints ?? []), ...(meeting === undefined ? [] : [meeting])];
  const runs = await runPaths(kernel, { ...options, via, waypoints });
  const verdict = judge(runs, { stored, rules, meeting, against });
  if (save !== undefined) saveBaseline(save, runs);
  return { ...verdict, records: runs.records };
}

/** A stored run is held against the same paths, unless some are asked for; without a common one there would be no change
 * to see, and silence would look like a good end. */
export function pathsToRun(
  asked: readonly string[] | undefined,
  stored: RunSet | undefined,
  folder: string | undefined,
): readonly string[] | undefined {
  if (!stored) return asked;
  const paths = stored.records.map(({ via }) => via);
  const wanted = asked ?? paths;
  if (wanted.some((via) => paths.includes(via))) return wanted;
  throw new UsageError({
    what: `${folder} has none of these paths`,
    where: `--against ${folder}, --via ${wanted.join(',')}`,
    why: `stored are ${paths.join(', ') || 'none'}`,
    fix: 'leave --via out, or name a path that was stored',
  });
}

export function makeRules(own: readonly RulesText[], shipped: boolean): Rules {
  const files = own.map(({ name, text }) => parseRules(text, name));
  const all = combineRules([...(shipped ? [parseRules(LINUX_RULES, LINUX_RULES_FILE)] : []), ...files]);
  return {
    producer: (records, known) => (record) =>
      evaluateRules(all, record, { functions: known(record.via), others: records }),
    notes: (records, known) => notesOnRules(combineRules(files), records, ({ via }) => known(via)),
  };
}

export type JudgeOptions = {
  stored: RunSet | undefined;
  rules: Rules;
  meeting: string | undefined;
  against: string | undefined;
};

export function judge(runs: RunSet, { stored, rules, meeting, against }: JudgeOptions): Verdict {
  const { records, known } = runs;
  const comparison = compareRecords(records, { meeting, known, rules: rules.producer(records, known) });
  comparison.notes.push(...rules.notes(records, known));
  if (stored === undefined) return { ...comparison, exitCode: comparisonExit(comparison) };
  const { findings, notes } = changesSince(stored, runs, meeting);
  // Code that a rule forbids, and that did not run in the stored runs.
  const before = new Set(stored.records.flatMap(rules.producer(stored.records, stored.known)).map(({ id }) => id));
  const dead = comparison.findings.filter(
    ({ kind, id, title }) => kind === 'rule' && /^dead code/.test(title) && !before.has(id),
  );
  const blind = blindness(records, comparison.meeting.meeting).filter(({ id }) => id !== 'not-compared/others');
  const changed = { ...comparison, findings: [...findings, ...dead], notes: [...blind, ...notes], against };
  return { ...changed, exitCode: comparisonExit(changed) };
}
