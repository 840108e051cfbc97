/** PathView: a record as a comparison reads it: functions under their source names, who called each first, and whether that
 * was before the place where the paths meet.
 *
 * Counts and addresses stay behind here; what is compared from now on are names, sets and order. Where two symbols have one
 * source name the earlier entry counts. A caller that the record could not name (a call that never returns is the last
 * instruction of its function, so the return address lies behind it) is looked for among the functions that ran.
 * Next: compare/line-up.ts. */
import type { FunctionRun, RunRecord, Waypoint } from '../trace/run-record.ts';
import { functionOf, isTool, sourceName } from './names.ts';

export type Ran = {
  name: string;
  /** Instructions completed before the first entry. */
  first: number;
  /** The function that called it first; undefined when it was no call, or nobody knows. */
  caller: string | undefined;
  /** As the record says it: "xen_start_kernel+0x15". */
  callSite: string | undefined;
  /** Entered before the meeting place. */
  before: boolean;
  /** Its chain of first callers leads to the path's own entry or to the meeting place. Others hang off interrupts,
   * exceptions and system calls, and when those run is a matter of time. */
  mainLine: boolean;
  /** A tool, or called first by one. */
  tool: boolean;
};

export type PathView = {
  via: string;
  record: RunRecord;
  /** Undefined when the path never came there. */
  meeting: Waypoint | undefined;
  /** By first entry. */
  functions: ReadonlyMap<string, Ran>;
};

export function pathView(record: RunRecord, meetingPlace: string | undefined): PathView {
  const meeting = record.waypoints.find(({ name }) => name === meetingPlace);
  const functions = new Map<string, Ran>();
  const byAddress = new Map<bigint, string>();
  const addressOf = new Map<string, bigint>();
  const places = new Set(record.waypoints.map(({ name }) => name));
  for (const { name, address } of record.functions) {
    byAddress.set(BigInt(address), sourceName(name));
    addressOf.set(name, BigInt(address));
  }
  const addresses = [...byAddress.keys()].sort((a, b) => (a < b ? -1 : 1));
  for (const run of record.functions) {
    const name = sourceName(run.name);
    if (functions.has(name)) continue;
    const caller = callerOf(run, addressOf, addresses, byAddress);
    const from = caller === undefined ? undefined : functions.get(caller);
    // The meeting place itself belongs to both sides: it is the first function that is not before it.
    const before = meeting === undefined || run.first < meeting.at;
    const called = caller === undefined ? run.caller !== undefined : (from?.mainLine ?? false);
    const mainLine = before || places.has(name) || called;
    const tool = isTool(name) || (from?.tool ?? false);
    functions.set(name, { name, first: run.first, caller, callSite: run.caller, before, mainLine, tool });
  }
  return { via: record.via, record, meeting, functions };
}

/** A return address at the very beginning of a function is the end of the one before it. */
function callerOf(
  { caller }: FunctionRun,
  addressOf: ReadonlyMap<string, bigint>,
  addresses: readonly bigint[],
  names: ReadonlyMap<bigint, string>,
): string | undefined {
  if (caller === undefined) return undefined;
  if (caller.includes('+')) return functionOf(caller);
  const wanted = caller.startsWith('0x') ? BigInt(caller) : addressOf.get(caller);
  if (wanted === undefined) return undefined;
  let low = 0;
  let high = addresses.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (addresses[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  const found = addresses[low - 1];
  return found !== undefined && wanted - found < LONGEST_FUNCTION ? names.get(found) : undefined;
}

const LONGEST_FUNCTION = 0x4000n;

/** From a function up to the first that was entered without a call. */
export function callChain(view: PathView, name: string): string[] {
  const chain: string[] = [];
  for (let at: string | undefined = name; at !== undefined && !chain.includes(at); ) {
    chain.push(at);
    at = view.functions.get(at)?.caller;
  }
  return chain;
}
