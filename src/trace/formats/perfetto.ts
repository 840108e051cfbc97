/** A trace for ui.perfetto.dev and chrome://tracing: the JSON that Chrome's tracing began with.
 *
 * One process is the run, its threads are tracks: the stretches between waypoints as spans, then first entries of
 * functions, each kind of event and console lines as instants. Times are microseconds of virtual time, three digits behind
 * the point: one is an instruction. Instruction counts, addresses and values are arguments, to be seen when a mark is
 * clicked.
 * Follows: "Trace Event Format" (Chromium's document).   Next: trace/formats/ftrace.ts. */
import type { RunRecord } from '../run-record.ts';
import { clockOf, type TraceExtras, timeline } from './timeline.ts';

const TRACKS = ['waypoints', 'functions, first entries', 'console'] as const;
const [WAYPOINTS, FUNCTIONS, CONSOLE] = [1, 2, 3];

export function* perfettoPieces(record: RunRecord, extras: TraceExtras = {}): Generator<string> {
  const time = clockOf(record);
  const ts = (at: number) => micro(time(at));
  const tracks = new Map<string, number>();
  yield `{"displayTimeUnit":"ns",\n"otherData":${JSON.stringify(about(record))},\n"traceEvents":[\n`;
  yield metadata('process_name', 0, { name: `${record.kernel.name} via ${record.via}` });
  for (const [i, name] of TRACKS.entries()) yield `,\n${track(i + 1, name)}`;
  for (const { kind } of record.events) {
    if (tracks.has(kind)) continue;
    const tid = TRACKS.length + 1 + tracks.size;
    tracks.set(kind, tid);
    yield `,\n${track(tid, kind)}`;
  }
  let waypoint = 0;
  for (const happening of timeline(record, extras)) {
    const { at } = happening;
    switch (happening.type) {
      case 'waypoint': {
        const { name, ns, state } = happening.waypoint;
        const next = record.waypoints[++waypoint];
        const args = { instructions: at, mode: state.mode, cpl: state.cpl, ...state.control };
        const span = next ? `"ph":"X","dur":${micro(next.ns - ns)}` : '"ph":"i","s":"p"';
        yield `,\n{"name":${JSON.stringify(name)},"cat":"waypoint",${span},"ts":${micro(ns)},"pid":1,"tid":${WAYPOINTS},"args":${JSON.stringify(args)}}`;
        break;
      }
      case 'function': {
        const { name, address, caller, count } = happening.run;
        yield instant(name, 'function', ts(at), FUNCTIONS, { instructions: at, address, caller, count });
        break;
      }
      case 'event': {
        const { kind, what, where, rip, values } = happening.event;
        yield instant(what, kind, ts(at), tracks.get(kind) as number, { instructions: at, where, rip, values });
        break;
      }
      case 'console':
        yield instant(happening.text, 'console', ts(at), CONSOLE, { instructions: at });
        break;
    }
  }
  yield '\n]}\n';
}

const about = ({ via, kernel, input, exit, instructions, eventsDropped }: RunRecord) => ({
  via,
  kernel: kernel.name,
  version: kernel.version,
  sha256: kernel.sha256,
  cmdline: input.cmdline,
  exit: `${exit.reason} (${exit.code}): ${exit.detail}`,
  instructions,
  eventsDropped,
});

function instant(name: string, category: string, ts: string, tid: number, args: object): string {
  return `,\n{"name":${JSON.stringify(name)},"cat":${JSON.stringify(category)},"ph":"i","s":"t","ts":${ts},"pid":1,"tid":${tid},"args":${JSON.stringify(args)}}`;
}

const track = (tid: number, name: string) =>
  `${metadata('thread_name', tid, { name })},\n${metadata('thread_sort_index', tid, { sort_index: tid })}`;

const metadata = (name: string, tid: number, args: object) =>
  `{"name":"${name}","ph":"M","pid":1,"tid":${tid},"args":${JSON.stringify(args)}}`;

const micro = (ns: number) => (ns / 1000).toFixed(3);
