/** Where the paths meet: the place from which on all of them run the same kernel.
 *
 * Entry paths come together in steps. The bare-metal ones and PVH meet in startup_64 and x86_64_start_kernel, Xen PV joins
 * in x86_64_start_reservations, 32-bit paths in i386_start_kernel; start_kernel is the first place that all can reach. What
 * ran before the meeting place is a path's own way, and what is different there is a mismatch or has a reason.
 * Follows: Linux arch/x86/kernel/head64.c, head32.c, xen/enlighten_pv.c, platform/pvh.   Next: compare/findings.ts. */
import type { RunRecord } from '../trace/run-record.ts';

/** In the order in which a kernel comes by. */
const PLACES: readonly string[] = [
  'startup_64', 'startup_32', 'x86_64_start_kernel', 'i386_start_kernel', 'x86_64_start_reservations', 'start_kernel',
  'setup_arch', 'rest_init',
]; // biome-ignore format: a list

export type LineUp = {
  /** The first place that all paths reached, or most of them when some never arrive; undefined when there is none. */
  meeting: string | undefined;
  /** Paths that came there. */
  reached: string[];
  /** Paths that did not. */
  missing: string[];
  /** Where two paths meet, which may be earlier. */
  pairs: { a: string; b: string; place: string; at: [number, number] }[];
};

export function lineUp(records: readonly RunRecord[], asked?: string): LineUp {
  const common = PLACES.slice(PLACES.indexOf('start_kernel'));
  const candidates = asked === undefined ? [...common] : [asked];
  const arrived = (place: string) => records.filter((record) => arrival(record, place) !== undefined);
  // A path that dies early must not pull the meeting place away: the place where most arrive counts, the first of equals.
  // A single path meets nobody, but has the place all the same.
  let meeting: string | undefined;
  let most = 0;
  for (const place of candidates) {
    const count = arrived(place).length;
    if (count > most) [meeting, most] = [place, count];
  }
  const reached = meeting === undefined ? [] : arrived(meeting).map(({ via }) => via);
  return {
    meeting,
    reached,
    missing: records.map(({ via }) => via).filter((via) => !reached.includes(via)),
    pairs: meetingPairs(records, asked),
  };
}

function meetingPairs(records: readonly RunRecord[], asked: string | undefined): LineUp['pairs'] {
  const pairs: LineUp['pairs'] = [];
  for (const [i, a] of records.entries()) {
    for (const b of records.slice(i + 1)) {
      for (const place of asked === undefined ? PLACES : [asked]) {
        const at = [arrival(a, place), arrival(b, place)];
        if (at[0] === undefined || at[1] === undefined) continue;
        pairs.push({ a: a.via, b: b.via, place, at: [at[0], at[1]] });
        break;
      }
    }
  }
  return pairs;
}

/** Instructions to a waypoint, or to the first entry of a function of that name. */
function arrival(record: RunRecord, place: string): number | undefined {
  const waypoint = record.waypoints.find(({ name }) => name === place);
  if (waypoint) return waypoint.at;
  return record.functions.find(({ name }) => name === place)?.first;
}
