/** Where rules plug in: whoever knows what may run on which path gives findings for a record.
 *
 * The rules themselves (what is dead code where, and why) are somebody else's business; a comparison only asks.
 * Next: compare/compare.ts. */
import type { RunRecord } from '../trace/run-record.ts';
import type { Finding } from './findings.ts';

export type RuleProducer = (record: RunRecord) => Finding[];
