/** The calls that change page tables: mmu_update and update_va_mapping.
 *
 * A guest cannot store into its tables; it asks. mmu_update takes a list of requests, each a machine address whose lowest
 * bits say what is meant, and a 64-bit value: an entry of a table (with or without keeping its A and D), or a line of the
 * M2P. update_va_mapping names the entry of level 1 by the address that it maps. The first refused request ends a list; how
 * many were done goes to the guest's `done`.
 * Follows: xen/arch/x86/mm.c (do_mmu_update, do_update_va_mapping), xen/include/public/xen.h.
 * May not: allocate in a request; run on without end (RESTART).   Next: personality/xen/mmuext-calls.ts. */
import { MMU_COMMAND, MmuUpdate } from '../../layout/xen/memory-arguments.ts';
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from './errno.ts';
import { FRAME, type FrameTypes } from './frame-types.ts';
import type { GuestAccess } from './guest-access.ts';
import type { MachineMemory } from './machine-memory.ts';
import { PAGE_OWNER, type PageTables } from './page-tables.ts';
import type { XenArea } from './xen-area.ts';

const REQUEST_WORDS = MmuUpdate.size / 4;
/** Domains that a call may name beside the guest's own: 0 is the first domain, which exists. */
const DOMID = { FIRST: 0, SELF: 0x7ff0, IO: 0x7ff1, XEN: 0x7ff2 } as const;
/** update_va_mapping: the lowest two bits say what to flush, the others where. */
const FLUSH = { TLB: 1, INVLPG: 2 } as const;
const FLUSH_HERE = 0n;
const FLUSH_ALL = 4n;

/** In `count`: this call goes on with what an earlier one began (MMU_UPDATE_PREEMPTED). */
export const PREEMPTED = 0x8000_0000;
/** What a call returns that is not finished: its `list` has moved on, and the guest executes the hypercall again with
 * it. Xen's own number for it, which no guest ever sees. */
export const RESTART = -85;
/** Entries looked at in one call before the guest's other affairs get their turn (some 10 ms). */
export const WORK_LIMIT = 1 << 21;
/** A request costs as much as so many entries. */
const REQUEST_WORK = 64;

/** A list of requests, as the registers (or a multicall's entry) have it. */
export type RequestList = { list: bigint; count: number; done: bigint; domain: number };

/** What the calls work on. */
export type MmuParts = {
  memory: MachineMemory;
  types: FrameTypes;
  tables: PageTables;
  area: XenArea;
  guest: GuestAccess;
  domid: number;
};

export class MmuCalls {
  readonly #parts: MmuParts;

  constructor(parts: MmuParts) {
    this.#parts = parts;
  }

  mmuUpdate(call: RequestList): number {
    if (!this.#parts.guest.isAddressOk(call.list)) return -EFAULT;
    const tableDomain = call.domain >>> 16;
    if (tableDomain !== 0 && tableDomain - 1 !== this.#parts.domid) {
      return tableDomain - 1 === DOMID.FIRST ? -EPERM : -ESRCH;
    }
    const owner = pageOwner(call.domain & 0xffff, this.#parts.domid);
    if (owner === -ESRCH) return owner;
    const result = runList(this.#parts, call, REQUEST_WORDS, () => (owner < 0 ? owner : this.#request(owner)));
    this.#parts.memory.settle();
    return result;
  }

  /** One request, which is in guest.numbers. */
  #request(owner: number): number {
    const { guest, memory, types, tables, area } = this.#parts;
    const { numbers } = guest;
    const command = numbers[0] & 7;
    if (command > MMU_COMMAND.PT_UPDATE_NO_TRANSLATE) return -ENOSYS;
    const mfn = numbers[1] === 0 ? numbers[0] >>> 12 : -1;
    if (!types.isGuests(mfn)) return -EINVAL;
    if (command === MMU_COMMAND.MACHPHYS_UPDATE) {
      if (owner !== PAGE_OWNER.SELF) return -EINVAL;
      area.setM2p(mfn, numbers[2], numbers[3]);
      return 0;
    }
    const slot = mfn * 1024 + (numbers[0] & 0xff8) / 4;
    const type = types.count[mfn] === 0 ? FRAME.NONE : types.type[mfn];
    if (type === FRAME.NONE || type === FRAME.WRITABLE) memory.set(slot, numbers[2], numbers[3]);
    else if (type === FRAME.SEGDESC) return -EINVAL;
    else return tables.update(slot, numbers[2], numbers[3], command === MMU_COMMAND.PT_UPDATE_PRESERVE_AD, owner);
    return 0;
  }

  /** `domain` is DOMID_SELF for the plain call. */
  updateVaMapping(address: bigint, entry: bigint, flags: bigint, domain: number = DOMID.SELF): number {
    const { guest, memory, types, tables } = this.#parts;
    const owner = pageOwner(domain, this.#parts.domid);
    if (owner < 0) return owner;
    const slot = guest.entryOf(address);
    if (slot < 0 || types.type[slot >>> 10] !== FRAME.L1) return -EINVAL;
    const failed = tables.update(slot, Number(entry & 0xffff_ffffn), Number(entry >> 32n), false, owner);
    if (failed !== 0) return failed;
    const what = Number(flags & 3n);
    const where = flags & ~3n;
    if (what === FLUSH.TLB) memory.flushTlb();
    if (what === FLUSH.INVLPG) memory.flushTlbPage(address);
    // The old entry may have been used under other addresses, too.
    memory.settle();
    if ((what === FLUSH.TLB || what === FLUSH.INVLPG) && where !== FLUSH_HERE && where !== FLUSH_ALL) {
      return guest.read(where, 2) ? 0 : -EFAULT;
    }
    return 0;
  }
}

/** Whose frames are meant by a domain number: PAGE_OWNER, or -errno. Like Xen it knows the guest as DOMID_SELF only. */
export function pageOwner(domain: number, own: number): number {
  if (domain === DOMID.SELF) return PAGE_OWNER.SELF;
  if (domain === DOMID.IO) return PAGE_OWNER.IO;
  if (domain === DOMID.XEN || (domain === DOMID.FIRST && own !== DOMID.FIRST)) return -EPERM;
  return -ESRCH;
}

/** Runs the requests of a list, each read into guest.numbers, until one is refused. Writes `done`. */
export function runList(parts: MmuParts, call: RequestList, words: number, one: () => number): number {
  const { guest, types } = parts;
  let count = call.count >>> 0;
  let before = 0;
  if (count >= PREEMPTED) {
    count -= PREEMPTED;
    if (call.done !== 0n && guest.read(call.done, 1)) before = guest.numbers[0];
  }
  types.work = 0;
  let low = Number(call.list & 0xffff_ffffn);
  let high = Number(call.list >> 32n);
  let result = 0;
  let i = 0;
  for (; i < count; i++) {
    if (types.work > WORK_LIMIT && i > 0) {
      result = RESTART;
      break;
    }
    types.work += REQUEST_WORK;
    result = guest.readAt(low, high, words) ? one() : -EFAULT;
    if (result !== 0) break;
    low += 4 * words;
    if (low >= 2 ** 32) {
      low -= 2 ** 32;
      high++;
    }
  }
  if (call.done !== 0n) guest.write(call.done, before + i);
  if (result === RESTART) {
    call.list += BigInt(4 * words * i);
    call.count = count - i + PREEMPTED;
  }
  return result;
}

/** The call's arguments, as registers or a multicall's entry have them. */
export const requestList = (args: readonly bigint[]): RequestList => ({
  list: args[0],
  count: Number(BigInt.asUintN(32, args[1])),
  done: args[2],
  domain: Number(BigInt.asUintN(32, args[3])),
});
