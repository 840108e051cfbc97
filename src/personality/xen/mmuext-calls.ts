/** mmuext_op: everything about page tables that is not writing an entry.
 *
 * Pinning (a table stays valid although nothing uses it), the two roots, flushing, the LDT, and clearing or copying a
 * frame. Linux pins a process's root when it makes one and unpins it when the process ends, so that each of its tables is
 * checked once.
 * Follows: xen/arch/x86/mm.c (do_mmuext_op, new_guest_cr3), xen/include/public/xen.h (struct mmuext_op).
 * May not: leave the CPU on a root that is not validated.   Next: personality/xen/reservations.ts. */
import { MMUEXT, MmuextOp } from '../../layout/xen/memory-arguments.ts';
import type { Descriptors } from './descriptors.ts';
import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from './errno.ts';
import { FRAME, isPlainMemory } from './frame-types.ts';
import { type MmuParts, pageOwner, type RequestList, runList } from './mmu-calls.ts';
import { PAGE_OWNER } from './page-tables.ts';

const OP_WORDS = MmuextOp.size / 4;

/** The guest's two roots, as the domain keeps them. A user root of 0 is none. */
export interface Roots {
  kernelRoot: number;
  userRoot: number;
  /** CR3 := the root of the mode that the guest is in. */
  loadRoot(): void;
}

export class MmuextCalls {
  readonly #parts: MmuParts;
  readonly #descriptors: Descriptors;
  readonly #roots: Roots;

  constructor(parts: MmuParts, descriptors: Descriptors, roots: Roots) {
    this.#parts = parts;
    this.#descriptors = descriptors;
    this.#roots = roots;
  }

  mmuextOp(call: RequestList): number {
    if (!this.#parts.guest.isAddressOk(call.list)) return -EFAULT;
    const owner = pageOwner(call.domain & 0xffff, this.#parts.domid);
    // For none of these is there a frame that belongs to a device.
    if (owner !== PAGE_OWNER.SELF) return owner === -ESRCH ? -ESRCH : -EPERM;
    const result = runList(this.#parts, call, OP_WORDS, this.#one);
    this.#parts.memory.settle();
    return result;
  }

  readonly #one = (): number => {
    const { guest, memory, types } = this.#parts;
    const { numbers } = guest;
    const command = numbers[0];
    const mfn = frame(numbers[2], numbers[3]);
    switch (command) {
      case MMUEXT.PIN_L1_TABLE:
      case MMUEXT.PIN_L2_TABLE:
      case MMUEXT.PIN_L3_TABLE:
      case MMUEXT.PIN_L4_TABLE:
        return types.pin(mfn, FRAME.L1 + command);
      case MMUEXT.UNPIN_TABLE:
        return types.unpin(mfn);
      case MMUEXT.NEW_BASEPTR:
        return this.newKernelRoot(mfn);
      case MMUEXT.NEW_USER_BASEPTR:
        return this.#newUserRoot(mfn);
      case MMUEXT.TLB_FLUSH_LOCAL:
      case MMUEXT.TLB_FLUSH_ALL:
        memory.flushTlb();
        return 0;
      case MMUEXT.INVLPG_LOCAL:
      case MMUEXT.INVLPG_ALL:
        memory.flushTlbPage(address(numbers));
        return 0;
      case MMUEXT.TLB_FLUSH_MULTI:
      case MMUEXT.INVLPG_MULTI:
        return this.#flushOnVcpus(command, address(numbers));
      case MMUEXT.FLUSH_CACHE:
      case MMUEXT.FLUSH_CACHE_GLOBAL:
        // For domains with a device only.
        return -EACCES;
      case MMUEXT.SET_LDT:
        return this.#descriptors.setLdt(address(numbers), numbers[4]);
      case MMUEXT.CLEAR_PAGE:
        if (!isPlainMemory(types, mfn)) return -EINVAL;
        memory.clearFrame(mfn);
        return 0;
      case MMUEXT.COPY_PAGE: {
        const from = frame(numbers[4], numbers[5]);
        if (!types.isGuests(from) || !isPlainMemory(types, mfn)) return -EINVAL;
        memory.copyFrame(mfn, from);
        return 0;
      }
      case MMUEXT.MARK_SUPER:
      case MMUEXT.UNMARK_SUPER:
        return -EOPNOTSUPP;
      default:
        return -ENOSYS;
    }
  };

  /** MMUEXT_NEW_BASEPTR, and a MOV to CR3. */
  newKernelRoot(mfn: number): number {
    const { memory, types } = this.#parts;
    const roots = this.#roots;
    const old = roots.kernelRoot;
    if (mfn !== old) {
      const failed = types.getWithType(mfn, FRAME.L4);
      if (failed !== 0) return failed;
      this.#descriptors.dropLdt();
      roots.kernelRoot = mfn;
      roots.loadRoot();
      types.putWithType(old);
    }
    memory.flushTlb();
    return 0;
  }

  #newUserRoot(mfn: number): number {
    const { types } = this.#parts;
    const roots = this.#roots;
    const old = roots.userRoot;
    if (mfn === old) return 0;
    if (mfn !== 0) {
      const failed = types.getWithType(mfn, FRAME.L4);
      if (failed !== 0) return failed;
    }
    roots.userRoot = mfn;
    if (old !== 0) types.putWithType(old);
    return 0;
  }

  /** A bitmap of virtual CPUs, of which there is one: whether it is in it makes no difference to anybody. */
  #flushOnVcpus(command: number, linear: bigint): number {
    const { guest, memory } = this.#parts;
    const bitmap = (BigInt(guest.numbers[5]) << 32n) | BigInt(guest.numbers[4]);
    if (!guest.read(bitmap, 2)) return -EINVAL;
    if (command === MMUEXT.TLB_FLUSH_MULTI) memory.flushTlb();
    else memory.flushTlbPage(linear);
    return 0;
  }
}

const frame = (low: number, high: number): number => (high === 0 ? low : -1);
const address = (numbers: Uint32Array): bigint => (BigInt(numbers[3]) << 32n) | BigInt(numbers[2]);
