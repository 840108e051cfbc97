/** The timeline of a record: waypoints, first entries, events and console lines in one row, with virtual time.
 *
 * Other tools want time; a record counts instructions. An instruction takes a nanosecond, and the record says where the
 * guest slept and for how long, so the sum is exact. Where a record does not, time is known at its waypoints only: what was
 * slept through between two of them is then added at the later one.
 * May not: write; the formats beside it do.   Next: trace/formats/record-json.ts. */
import type { EventRun, FunctionRun, RunRecord, Waypoint } from '../run-record.ts';

/** What a writer may be told beside the record. */
export type TraceExtras = {
  /** All functions of the kernel by rising address, also those that did not run. Without them a format that wants both
   * lists only what ran. */
  functions?: readonly KernelFunction[];
  /** When each line of the console was complete; the record only has the text. */
  consoleLines?: readonly ConsoleLine[];
};

export type KernelFunction = {
  name: string;
  address: bigint;
  /** In bytes; undefined where the symbols do not say. */
  size?: number;
};

export type ConsoleLine = {
  /** Instructions completed before its last byte. */
  at: number;
  text: string;
};

export type Happening =
  | { type: 'waypoint'; at: number; waypoint: Waypoint }
  | { type: 'function'; at: number; run: FunctionRun }
  | { type: 'event'; at: number; event: EventRun }
  | { type: 'console'; at: number; text: string };

/** Everything by time; at one instant in this order: waypoint, function, event, console. */
export function* timeline(record: RunRecord, { consoleLines = [] }: TraceExtras = {}): Generator<Happening> {
  const { waypoints, functions, events } = record;
  let [w, f, e, c] = [0, 0, 0, 0];
  for (;;) {
    const times = [waypoints[w]?.at, functions[f]?.first, events[e]?.at, consoleLines[c]?.at];
    let next = -1;
    for (let i = 0; i < times.length; i++) {
      if (times[i] !== undefined && (next < 0 || times[i] < times[next])) next = i;
    }
    if (next < 0) return;
    const at = times[next];
    if (next === 0) yield { type: 'waypoint', at, waypoint: waypoints[w++] };
    else if (next === 1) yield { type: 'function', at, run: functions[f++] };
    else if (next === 2) yield { type: 'event', at, event: events[e++] };
    else yield { type: 'console', at, text: consoleLines[c++].text };
  }
}

/** Virtual nanoseconds for an instruction count; to be asked with rising counts or not, it does not matter. */
export function clockOf({ waypoints, sleeps }: RunRecord): (at: number) => number {
  if (sleeps) return clockWithSleeps(sleeps);
  let last = 0;
  return (at) => {
    if (waypoints.length === 0) return at;
    if (waypoints[last].at > at) last = 0;
    while (last + 1 < waypoints.length && waypoints[last + 1].at <= at) last++;
    const { at: count, ns } = waypoints[last];
    return count > at ? at : at + (ns - count);
  };
}

function clockWithSleeps(sleeps: NonNullable<RunRecord['sleeps']>): (at: number) => number {
  let next = 0;
  let slept = 0;
  return (at) => {
    if (next > 0 && sleeps[next - 1].at > at) [next, slept] = [0, 0];
    // What has the sleep's own count came behind it: the interrupt that ended it.
    for (; next < sleeps.length && sleeps[next].at <= at; next++) slept += sleeps[next].ns;
    return at + slept;
  };
}

/** All functions by rising address, with how often each was entered: those of the kernel, or else those that ran. */
export function functionCounts(
  record: RunRecord,
  { functions }: TraceExtras,
): { name: string; address: bigint; size: number | undefined; count: number }[] {
  const counts = new Map(record.functions.map((run) => [BigInt(run.address), run]));
  const rows = (functions ?? []).map(({ name, address, size }) => {
    const count = counts.get(address)?.count ?? 0;
    counts.delete(address);
    return { name, address, size, count };
  });
  for (const [address, { name, count }] of counts) rows.push({ name, address, size: undefined, count });
  return rows.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

/** A file's name, without its folder and without what would end a line or a field in another tool's format. */
export const plainName = (name: string): string => (name.split('/').at(-1) ?? '').replaceAll(/[^\w.+@-]+/g, '_');
