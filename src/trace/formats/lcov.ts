/** An lcov tracefile: every function of the kernel, and how often it was entered.
 *
 * A stock kernel says nothing of its source, so there is one "source file", named after the kernel, and in it a line for
 * each function in the order of their addresses: line 7 is the seventh function. Line and function coverage are the same
 * figure then. The numbers hold for one kernel: tracefiles of its entry paths can be added up with `lcov -a`, and
 * `genhtml --show-details` tells them apart, since the test's name is the path. genhtml looks for the source and there is
 * none: it wants `--ignore-errors source`.
 * Follows: geninfo(1), "Tracefile format".   Next: trace/formats/formats.ts. */
import type { RunRecord } from '../run-record.ts';
import { functionCounts, plainName, type TraceExtras } from './timeline.ts';

export function* lcovPieces(record: RunRecord, extras: TraceExtras = {}): Generator<string> {
  const rows = functionCounts(record, extras);
  const ran = rows.filter(({ count }) => count > 0).length;
  const named = new Map<string, number>();
  for (const { name } of rows) named.set(name, (named.get(name) ?? 0) + 1);
  // Static functions may share a name, which is a key here.
  const key = ({ name, address }: (typeof rows)[number]) =>
    plainName((named.get(name) ?? 0) > 1 ? `${name}@0x${address.toString(16)}` : name);

  yield `TN:${record.via.replaceAll(/\W/g, '_')}\nSF:${plainName(record.kernel.name)}.functions\n`;
  for (const [i, row] of rows.entries()) yield `FN:${i + 1},${key(row)}\n`;
  for (const row of rows) yield `FNDA:${row.count},${key(row)}\n`;
  yield `FNF:${rows.length}\nFNH:${ran}\n`;
  for (const [i, { count }] of rows.entries()) yield `DA:${i + 1},${count}\n`;
  yield `LF:${rows.length}\nLH:${ran}\nend_of_record\n`;
}
