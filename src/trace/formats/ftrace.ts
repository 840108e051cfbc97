/** Text as the kernel's own function tracer prints it: `trace` in tracefs.
 *
 * One line for a function's first entry, with its first caller; events, waypoints and console lines between them in the
 * form of trace events. Two things a kernel would know are not recorded, and shown as the tracer shows what is not there:
 * the task (`<...>-0`) and the flags for interrupts and preemption (dots). Nanoseconds stand in the time, as in a trace
 * that was made with a nanosecond clock. Arrivals after the first are counted, not listed: our own format has the counts.
 * Follows: Linux Documentation/trace/ftrace.rst, kernel/trace/trace.c.   Next: trace/formats/trace-dat.ts. */
import type { EventRun, RunRecord } from '../run-record.ts';
import { clockOf, type Happening, type TraceExtras, timeline } from './timeline.ts';

export function* ftracePieces(record: RunRecord, extras: TraceExtras = {}): Generator<string> {
  const { waypoints, functions, events, eventsDropped } = record;
  const entries = waypoints.length + functions.length + events.length + (extras.consoleLines?.length ?? 0);
  const time = clockOf(record);
  yield `# tracer: function
#
# entries-in-buffer/entries-written: ${entries}/${entries + eventsDropped}   #P:1
#
#                                _-----=> irqs-off: not recorded
#                               / _----=> need-resched: not recorded
#                              | / _---=> hardirq/softirq: not recorded
#                              || / _--=> preempt-depth: not recorded
#                              ||| /
#           TASK-PID     CPU#  ||||  TIMESTAMP  FUNCTION
#              | |         |   ||||     |         |
`;
  for (const happening of timeline(record, extras)) {
    yield `           <...>-0       [000] .... ${seconds(time(happening.at))}: ${line(happening)}\n`;
  }
}

function line(happening: Happening): string {
  switch (happening.type) {
    case 'waypoint':
      return `tracing_mark_write: waypoint ${happening.waypoint.name}`;
    case 'function':
      return `${happening.run.name} <-${callerName(happening.run.caller)}`;
    case 'event':
      return eventText(happening.event);
    case 'console':
      return `console: ${oneLine(happening.text)}`;
  }
}

/** "cr_write: what=CR4 values=0x20 ip=native_write_cr4+0x3": a name and fields, as trace events have them. */
export const eventText = ({ kind, what, values, where, rip }: EventRun): string =>
  `${kind.replaceAll('-', '_')}: what=${what.replaceAll(' ', '_')} values=${values.join(',')} ip=${where ?? rip}`;

/** The tracer names callers without offsets, and prints an address that has no name as a number. */
const callerName = (caller: string | undefined) => caller?.replace(/\+0x[0-9a-f]+$/, '') ?? '0x0';

/** A guest prints what it likes; a control character must not begin a line of ours. */
export const oneLine = (text: string) =>
  text.replaceAll(/\p{Cc}/gu, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);

function seconds(ns: number): string {
  const digits = String(Math.round(ns)).padStart(10, '0');
  return `${digits.slice(0, -9).padStart(5)}.${digits.slice(-9)}`;
}
