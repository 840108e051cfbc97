/** MemoryAccess: guest memory as the TypeScript half of the CPU reads and writes it.
 *
 * Rare instructions, exception delivery and task switches touch memory through here, by linear address or by segment
 * and offset. The same TLBs serve as for generated code, so the order of fills, A and D bits is the machine's.
 * Whatever the access raises is thrown as a GuestFault before anything has been written.
 * Follows: SDM Vol. 3, 5.3 (limits), 5.5 (types), 3.3.7.1 (canonical addresses), 6.15 (#SS, #GP).
 * May not: change registers.   Next: engine/system/system-core.ts. */
import { SEGMENT, VECTOR } from '../x86/constants.ts';
import { ACCESS, type Access, GuestFault } from './core.ts';
import type { CpuState } from './cpu-state.ts';
import { highHalf, lowHalf } from './halves.ts';
import { BOUNCE, type Mmu, SLOW } from './mmu.ts';
import { FAULT } from './page-walk.ts';
import { SEG, STATE, TLB_BYTES, TLB_ENTRIES, TLB_SUPERVISOR, TLB_USER } from './state.ts';

export class MemoryAccess {
  readonly #state: CpuState;
  readonly #view: DataView;
  readonly #mmu: Mmu;

  constructor(state: CpuState, mmu: Mmu) {
    this.#state = state;
    this.#view = state.view;
    this.#mmu = mmu;
  }

  /** `system` accesses are supervisor accesses at any CPL, and never checked for alignment. */
  readLinear(address: bigint, size: 1 | 2 | 4 | 8, system = false): bigint {
    const at = this.#locate(address, size, SLOW.READ | (system ? SLOW.SYSTEM : 0));
    switch (size) {
      case 1:
        return BigInt(this.#view.getUint8(at));
      case 2:
        return BigInt(this.#view.getUint16(at, true));
      case 4:
        return BigInt(this.#view.getUint32(at, true));
      default:
        return this.#view.getBigUint64(at, true);
    }
  }

  writeLinear(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, system = false): void {
    const at = this.#locate(address, size, SLOW.STORE | (system ? SLOW.SYSTEM : 0));
    switch (size) {
      case 1:
        this.#view.setUint8(at, Number(value & 0xffn));
        break;
      case 2:
        this.#view.setUint16(at, Number(value & 0xffffn), true);
        break;
      case 4:
        this.#view.setUint32(at, Number(value & 0xffff_ffffn), true);
        break;
      default:
        this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
    }
    if (at === BOUNCE) this.#mmu.commit();
  }

  /** Raises what an access to each page of the range would raise, and sets A and D as it would, without doing it. */
  probeLinear(address: bigint, length: number, access: Access, system = false): void {
    const user = !system && this.#state.cpl === 3;
    const last = address + BigInt(Math.max(length, 1) - 1);
    for (let page = address; page <= last; page = (page & ~0xfffn) + 0x1000n) {
      const linear = this.#wrap(page);
      const low = lowHalf(linear);
      const high = highHalf(linear);
      const result =
        access === ACCESS.FETCH
          ? this.#mmu.fetchTranslate(low, high, user)
          : this.#mmu.translate(low, high, access, user);
      if (result === FAULT) throw this.#takeFault();
      if (result < 0) throw new GuestFault(VECTOR.GP, 0);
    }
  }

  /** Linear address of `size` bytes at segment:offset, after limit, type and canonical checks. */
  linear(segment: number, offset: bigint, size: number, write: boolean): bigint {
    const state = this.#state;
    const vector = segment === SEG.SS ? VECTOR.SS : VECTOR.GP;
    if (state.is64) {
      const based = segment === SEG.FS || segment === SEG.GS;
      const address = BigInt.asUintN(64, based ? state.base(segment) + offset : offset);
      const last = BigInt.asUintN(64, address + BigInt(size - 1));
      if (!isCanonical(address) || !isCanonical(last)) throw new GuestFault(vector, 0);
      return address;
    }
    const at = Number(BigInt.asUintN(32, offset));
    checkSegment(state.attributes(segment), state.limit(segment), at, size, write, vector);
    return BigInt.asUintN(32, state.base(segment) + BigInt(at));
  }

  readSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8): bigint {
    return this.readLinear(this.linear(segment, offset, size, false), size);
  }
  writeSegment(segment: number, offset: bigint, size: 1 | 2 | 4 | 8, value: bigint): void {
    this.writeLinear(this.linear(segment, offset, size, true), size, value);
  }

  /** Host offset of the bytes, from the TLB or the slow path; throws the fault. */
  #locate(address: bigint, size: number, kind: number): number {
    const system = (kind & SLOW.SYSTEM) !== 0;
    const linear = this.#wrap(address);
    const low = lowHalf(linear);
    const high = highHalf(linear);
    const user = !system && this.#state.cpl === 3;
    if ((low & 0xfff) + size <= 4096) {
      const write = (kind & SLOW.WRITE) !== 0;
      const entry =
        (user ? TLB_USER : TLB_SUPERVISOR) + (write ? TLB_BYTES : 0) + ((low >>> 12) & (TLB_ENTRIES - 1)) * 16;
      const view = this.#view;
      if (view.getInt32(entry, true) === (low & ~0xfff) && view.getInt32(entry + 4, true) === high) {
        return (low + view.getInt32(entry + 8, true)) >>> 0;
      }
    }
    const at = this.#mmu.slow(low, high, size | kind);
    if (at === FAULT) throw this.#takeFault();
    return at;
  }

  /** Outside long mode linear addresses have 32 bits. In compatibility mode segment arithmetic has cut them already, and
   * system tables keep 64. */
  #wrap(address: bigint): bigint {
    return BigInt.asUintN(this.#state.longMode ? 64 : 32, address);
  }

  #takeFault(): GuestFault {
    const view = this.#view;
    const vector = view.getInt32(STATE.FAULT_VECTOR, true);
    const errorCode = view.getInt32(STATE.FAULT_ERROR, true);
    view.setInt32(STATE.FAULT_VECTOR, -1, true);
    const cr2 = vector === VECTOR.PF ? view.getBigUint64(STATE.FAULT_CR2, true) : undefined;
    return new GuestFault(vector, errorCode < 0 ? undefined : errorCode, cr2);
  }
}

/** Limit and type of a data access outside 64-bit code (SDM Vol. 3, 5.3 and 5.5). `vector`: #SS for SS, else #GP.
 * Offsets do not wrap at 4 GiB, whatever the limit (the SDM leaves that open; so it is on an AMD EPYC). */
export function checkSegment(
  attributes: number,
  limit: number,
  offset: number,
  size: number,
  write: boolean,
  vector: number,
): void {
  if ((attributes & SEGMENT.P) === 0) throw new GuestFault(vector, 0); // null or unusable
  const code = (attributes & SEGMENT.CODE) !== 0;
  const allowed = write
    ? !code && (attributes & SEGMENT.WRITABLE) !== 0
    : !code || (attributes & SEGMENT.READABLE) !== 0;
  if (!allowed) throw new GuestFault(VECTOR.GP, 0);
  const last = offset + size - 1;
  if (!code && (attributes & SEGMENT.EXPAND_DOWN) !== 0) {
    const top = (attributes & SEGMENT.DB) !== 0 ? 0xffff_ffff : 0xffff;
    if (offset <= limit || last > top) throw new GuestFault(vector, 0);
  } else if (last > limit) {
    throw new GuestFault(vector, 0);
  }
}

/** Bits 63-47 all equal (48-bit linear addresses). */
export function isCanonical(address: bigint): boolean {
  const top = BigInt.asIntN(64, address) >> 47n;
  return top === 0n || top === -1n;
}
