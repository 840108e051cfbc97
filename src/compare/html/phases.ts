/** Phases: what lies between two waypoints of one path, until the meeting place or the end.
 *
 * Times are instruction counts and exact. What ran most is told by entries, since that is what a trace counts; how long a
 * function took nobody measured.
 * May not: print.   Next: compare/html/timeline.ts. */
import type { RunRecord } from '../../trace/run-record.ts';
import { isTool, sourceName } from '../names.ts';

export type Phase = {
  /** The waypoint that it begins with. */
  name: string;
  /** The waypoint that it ends with. */
  next: string;
  at: number;
  length: number;
  /** Functions entered for the first time. */
  fresh: number;
  /** Functions entered most often in it, tools of everybody left out. */
  top: { name: string; count: number }[];
};

const TOP = 5;

/** `meeting` undefined, or a place that the path never came to: phases until the end. Empty ones are left out. */
export function phasesOf(record: RunRecord, meeting: string | undefined): Phase[] {
  const { waypoints, functions } = record;
  const last = waypoints.findIndex(({ name }) => name === meeting);
  const until = last < 0 ? waypoints.length - 1 : last;
  const phases: Phase[] = [];
  let from = 0;
  for (let index = 1; index <= until; index++) {
    // Where several waypoints lie at one instruction the last has the name: entry is startup_xen.
    if (waypoints[index].at === waypoints[from].at && index < until) {
      from = index;
      continue;
    }
    const [start, end] = [waypoints[from], waypoints[index]];
    const entered = functions
      .map(({ name, counts }) => ({ name: sourceName(name), count: (counts[index] ?? 0) - (counts[from] ?? 0) }))
      .filter(({ name, count }) => count > 0 && !isTool(name))
      .sort((a, b) => b.count - a.count);
    const fresh = functions.filter(({ first }) => first >= start.at && first < end.at).length;
    phases.push({ name: start.name, next: end.name, at: start.at, length: end.at - start.at, fresh, top: entered.slice(0, TOP) }); // biome-ignore format: one line
    from = index;
  }
  return phases;
}

/** Instructions to the meeting place, or all that were run. */
export function lengthOf(record: RunRecord, meeting: string | undefined): number {
  return record.waypoints.find(({ name }) => name === meeting)?.at ?? record.instructions;
}
