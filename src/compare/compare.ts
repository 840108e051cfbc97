/** compareRecords: several runs of one kernel, lined up and judged.
 *
 * Each kind of finding comes from a file of its own; here they are put together, most important first. A path that never
 * arrives is judged for that alone: what it did not do after its death says nothing new.
 * May not: run anything; it reads records.   Next: compare/steps.ts, the same question about two builds. */
import type { RunRecord } from '../trace/run-record.ts';
import { arrivalFindings } from './arrival.ts';
import { byImportance, type Finding, list } from './findings.ts';
import { invariantFindings } from './invariants.ts';
import { type LineUp, lineUp } from './line-up.ts';
import { type KnownFunctions, onePathFunctions } from './one-path-functions.ts';
import { orderDifferences } from './order.ts';
import { pathView } from './path-view.ts';
import { precedenceFindings } from './precedence.ts';
import type { RuleProducer } from './rules-slot.ts';
import { stateDifferences } from './state-difference.ts';

/** Rises when a field changes its meaning or goes away. */
export const COMPARISON_SCHEMA = 1;

export type ComparedPath = {
  via: string;
  kernel: RunRecord['kernel'];
  exit: RunRecord['exit'];
  instructions: number;
  /** Instructions to the meeting place; undefined when the path never came there. */
  toMeeting: number | undefined;
  /** Functions entered before it. */
  functionsBefore: number;
};

export type Comparison = {
  schema: typeof COMPARISON_SCHEMA;
  kernel: string;
  meeting: LineUp;
  paths: ComparedPath[];
  /** Most important first. */
  findings: Finding[];
  /** Good to know; they do not count. */
  notes: Finding[];
};

export type CompareOptions = {
  /** Where the paths meet, instead of the usual places. */
  meeting?: string;
  /** All functions of a path's kernel, also those that never ran. */
  known?: KnownFunctions;
  rules?: RuleProducer;
};

export function compareRecords(records: readonly RunRecord[], options: CompareOptions = {}): Comparison {
  const meeting = lineUp(records, options.meeting);
  const views = records.map((record) => pathView(record, meeting.meeting));
  const known = options.known ?? (() => undefined);
  const ruled = options.rules ? records.flatMap(options.rules) : [];
  // What a path has not done that died on its way is good to know, and need not be why.
  const isUnfinished = ({ title }: Finding) => /before the run ended/.test(title);
  const findings = [
    ...arrivalFindings(views, meeting),
    ...invariantFindings(views, meeting.meeting),
    ...precedenceFindings(views, known),
    ...ruled.filter((finding) => !isUnfinished(finding)),
    ...onePathFunctions(views, meeting.meeting, known),
    ...stateDifferences(views, meeting.meeting),
    ...orderDifferences(views, meeting.meeting),
  ];
  return {
    schema: COMPARISON_SCHEMA,
    kernel: [...new Set(records.map(({ kernel }) => kernel.name))].join(', '),
    meeting,
    paths: views.map(({ via, record, meeting: place, functions }) => ({
      via,
      kernel: record.kernel,
      exit: record.exit,
      instructions: record.instructions,
      toMeeting: place?.at,
      functionsBefore:
        place === undefined ? functions.size : [...functions.values()].filter(({ before }) => before).length,
    })),
    findings: byImportance(findings),
    notes: [...blindness(records, meeting.meeting), ...ruled.filter(isUnfinished)],
  };
}

/** What this comparison could not see: silence must not be taken for agreement. */
export function blindness(records: readonly RunRecord[], meeting: string | undefined): Finding[] {
  const note = (id: string, paths: string[], title: string): Finding => ({
    id: `not-compared/${id}`,
    kind: 'arrival',
    paths,
    subject: id,
    title,
    evidence: [],
  });
  const paths = records.map(({ via }) => via);
  const nameless = records.filter(({ kernel }) => kernel.symbols === 'none').map(({ via }) => via);
  const notes: Finding[] = [];
  if (nameless.length > 0) {
    notes.push(
      note(
        'symbols',
        nameless,
        `no functions were compared on ${list(nameless)}: the kernel has no symbols, and no file with some was given (--symbols FILE)`,
      ),
    );
  }
  if (meeting === undefined && records.length > 1) {
    notes.push(
      note(
        'meeting',
        paths,
        'the paths come to no place that is known by name, so only how they ended was compared (--meeting SYMBOL)',
      ),
    );
  }
  if (records.length === 1)
    notes.push(note('others', paths, `${paths[0]} was held against no other path; name two with --via`));
  return notes;
}

/** Exit code: 0 without findings, 1 with any; what all paths have in common when all end badly. */
export function comparisonExit({ findings, paths }: Pick<Comparison, 'findings' | 'paths'>): number {
  const codes = paths.map(({ exit }) => exit.code);
  if (codes.length > 0 && codes.every((code) => code >= 4)) return Math.min(...codes);
  return findings.length > 0 ? 1 : 0;
}
