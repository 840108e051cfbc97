/** memory_op's reservations: the guest gives frames back to Xen and gets others.
 *
 * A list of extents, each 2^order frames that lie side by side. decrease_reservation takes machine frames; a frame that is
 * still mapped or in use goes when the last use has gone. populate_physmap takes the guest's own numbers, and puts machine
 * frames into the same list; increase_reservation only puts. What a domain started with is the most that it can have. The
 * result is how many extents were done; a list that cannot be read ends there.
 * Follows: xen/common/memory.c (do_memory_op, decrease_reservation, populate_physmap, guest_remove_page).
 * May not: give out a frame that anything still refers to.   Next: personality/xen/store-decoder.ts. */
import { XenMemoryReservation } from '../../layout/xen/memory-arguments.ts';
import type { Domain } from './domain.ts';
import { Refused } from './errno.ts';
import { isSelf } from './guest-domain.ts';
import { WORK_LIMIT } from './mmu-calls.ts';

/** Largest order for a domain without devices (CONFIG_DOMU_MAX_ORDER), and most extents that a call can count. */
const MAX_ORDER = 9;
const MAX_EXTENTS = 0x3ff_ffff;
/** Where in the command a long call's progress is. */
const PROGRESS_SHIFT = 6n;
const COMMAND = (1n << PROGRESS_SHIFT) - 1n;
/** mem_flags. */
const ADDRESS_BITS = 0xff;
const PAGE_BITS = 12;
const POPULATE_ON_DEMAND = 1 << 16;

/** One extent at `at` in the guest's list; false when the list ends here. */
type Extent = (domain: Domain, at: bigint, order: number) => boolean;

/** By memory_op command. */
export const RESERVATIONS: Readonly<Record<number, (domain: Domain, command: bigint, arg: bigint) => number>> = {
  0: (domain, command, arg) => change(domain, command, arg, increase),
  1: (domain, command, arg) => change(domain, command, arg, decrease),
  6: (domain, command, arg) => change(domain, command, arg, populate),
}; // biome-ignore format: a table

function change(domain: Domain, command: bigint, arg: bigint, one: Extent): number {
  const start = Number(BigInt.asUintN(32, command) >> PROGRESS_SHIFT);
  const { types, machine } = domain.memory;
  const bytes = orNothing(() => domain.copyFromGuest(arg, XenMemoryReservation.size));
  if (bytes === undefined) return start;
  const call = XenMemoryReservation.read(bytes);
  if (call.nr_extents > MAX_EXTENTS || start >= call.nr_extents || !isSelf(call.domid)) return start;
  const bits = call.mem_flags & ADDRESS_BITS;
  if (call.extent_order > MAX_ORDER || (bits !== 0 && bits <= PAGE_BITS)) return start;
  if (one === populate && (call.mem_flags & POPULATE_ON_DEMAND) !== 0) return start;
  const list = one === increase && call.extent_start === 0n ? undefined : call.extent_start;
  types.work = 0;
  let done = start;
  for (; done < Number(call.nr_extents); done++) {
    if (types.work > WORK_LIMIT && done > start) {
      domain.again = [(command & COMMAND) | (BigInt(done) << PROGRESS_SHIFT), arg, 0n, 0n, 0n];
      break;
    }
    types.work += 16 + 2 ** call.extent_order;
    const at = list === undefined ? undefined : BigInt.asUintN(64, list + BigInt(8 * done));
    const went =
      at === undefined ? take(domain, call.extent_order) >= 0 : orNothing(() => one(domain, at, call.extent_order));
    if (!went) break;
  }
  machine.settle();
  return done;
}

const increase: Extent = (domain, at, order) => {
  const mfn = take(domain, order);
  if (mfn < 0) return false;
  domain.setGuest64(at, BigInt(mfn));
  return true;
};

const populate: Extent = (domain, at, order) => {
  const pfn = domain.guest64(at);
  const mfn = take(domain, order);
  if (mfn < 0) return false;
  for (let i = 0; i < 2 ** order; i++) {
    const own = BigInt.asUintN(64, pfn + BigInt(i));
    domain.memory.area.setM2p(mfn + i, Number(own & 0xffff_ffffn), Number(own >> 32n));
  }
  domain.setGuest64(at, BigInt(mfn));
  return true;
};

const decrease: Extent = (domain, at, order) => {
  const first = domain.guest64(at);
  if (first >= BigInt(domain.frames.end)) return false;
  for (let i = 0; i < 2 ** order; i++) if (!domain.memory.types.release(Number(first) + i)) return false;
  return true;
};

/** Frames become the guest's, zeroed; -1 when there are none side by side. */
function take(domain: Domain, order: number): number {
  const mfn = domain.memory.types.allocate(order);
  for (let i = 0; mfn >= 0 && i < 2 ** order; i++) domain.memory.machine.clearFrame(mfn + i);
  return mfn;
}

/** A bad pointer here ends a list, and is no error of the call. */
function orNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (e) {
    if (e instanceof Refused) return undefined;
    throw e;
  }
}
