/** The formats of a trace, by the end of the file's name.
 *
 * Each writer turns a record into pieces of a file: text, or bytes. None of them looks at a clock or at the file's name,
 * so two runs of one input give the same file.
 * May not: open files; the command line does.   Next: trace/recorder.ts. */
import type { RunRecord } from '../run-record.ts';
import { drcovPieces } from './drcov.ts';
import { ftracePieces } from './ftrace.ts';
import { lcovPieces } from './lcov.ts';
import { perfettoPieces } from './perfetto.ts';
import { recordJsonPieces } from './record-json.ts';
import type { TraceExtras } from './timeline.ts';
import { traceDatPieces } from './trace-dat.ts';

export type TraceFormat = {
  ending: string;
  /** What it is and who reads it. */
  about: string;
  /** Functions alone, or functions and events: what has to be traced for it. */
  wantsEvents: boolean;
  pieces: (record: RunRecord, extras: TraceExtras) => Iterable<string | Uint8Array>;
};

/** A longer ending comes before the shorter one that it ends in. */
export const TRACE_FORMATS: readonly TraceFormat[] = [
  { ending: '.perfetto.json', about: 'Chrome trace events: ui.perfetto.dev', wantsEvents: true, pieces: perfettoPieces },
  { ending: '.json', about: 'everything, with the state at each waypoint', wantsEvents: true, pieces: recordJsonPieces },
  { ending: '.ftrace.txt', about: 'text as the kernel\'s function tracer prints it', wantsEvents: true, pieces: ftracePieces },
  { ending: '.trace.dat', about: 'what trace-cmd records: trace-cmd report, KernelShark', wantsEvents: true, pieces: traceDatPieces },
  { ending: '.drcov', about: 'functions that ran, as blocks: Lighthouse', wantsEvents: false, pieces: drcovPieces },
  { ending: '.lcov', about: 'functions that ran or did not: genhtml --ignore-errors source', wantsEvents: false, pieces: lcovPieces },
]; // biome-ignore format: a table

/** Undefined for an ending that no format has. */
export function traceFormat(file: string): TraceFormat | undefined {
  return TRACE_FORMATS.find(({ ending }) => file.endsWith(ending) && file.length > ending.length);
}
