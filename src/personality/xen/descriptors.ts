/** Descriptors: the guest's GDT and LDT, which the CPU reads for it.
 *
 * A guest fills ordinary frames with descriptors and hands them over; from then on they are of a type of their own and
 * change only through update_descriptor. No descriptor may give more than CPL 3, and no system descriptor is taken but
 * call gates, disarmed. The CPU's GDT is Xen's: the guest's frames in its first 14 pages, Xen's own selectors (0xe000 and
 * up) behind. The LDT fills page by page, when the CPU first asks for a descriptor there.
 * Follows: xen/arch/x86/pv/descriptor-tables.c, pv/mm.c (pv_map_ldt_shadow_page).
 * May not: let a frame be writable and a table of descriptors at once (frame-types.ts sees to it).
 * Next: personality/xen/xen-area.ts. */
import { int32s, record, type Saved, whole, wide } from '../../base/saved.ts';
import { GUEST_GDT_ENTRIES, GUEST_GDT_PAGES, XEN_SELECTOR } from '../../layout/xen/addresses.ts';
import { PTE, SEGMENT, SYSTEM_TYPE } from '../../x86/constants.ts';
import { nullSegment, type Segment } from '../../x86/vcpu-state.ts';
import { EFAULT, EINVAL } from './errno.ts';
import { FRAME, type FrameTypes } from './frame-types.ts';
import type { GuestAccess } from './guest-access.ts';
import { ENTRIES, type MachineMemory, slotOf } from './machine-memory.ts';
import { LDT_PAGES, LDT_VIRT_START, type XenArea } from './xen-area.ts';

const MAX_LDT_ENTRIES = 8192;
/** Bits of a descriptor's upper half. */
const PRESENT = SEGMENT.P << 8;
const IS_SEGMENT = SEGMENT.S << 8;
const DPL = SEGMENT.DPL << 8;
const TYPE = 0xf << 8;
const CALL_GATE = SYSTEM_TYPE.CALL_GATE << 8;
const GATE_RESERVED = 0xff;
const LDTR = 6;

/** What SET_LDT does to the CPU. */
export type LdtRegister = { setSegment(segment: number, value: Segment): void };

export class Descriptors {
  /** Frames of the GDT's first 14 pages, -1 where the guest has set none. */
  readonly gdtFrames = new Int32Array(GUEST_GDT_PAGES).fill(-1);
  gdtEntries = 0;
  ldtBase = 0n;
  ldtEntries = 0;
  readonly #ldtFrames = new Int32Array(LDT_PAGES).fill(-1);
  readonly #memory: MachineMemory;
  readonly #types: FrameTypes;
  readonly #area: XenArea;
  readonly #guest: GuestAccess;
  readonly #registers: LdtRegister;
  /** A safe form of the descriptor that was looked at last. */
  #low = 0;
  #high = 0;

  constructor(memory: MachineMemory, types: FrameTypes, area: XenArea, guest: GuestAccess, registers: LdtRegister) {
    this.#memory = memory;
    this.#types = types;
    this.#area = area;
    this.#guest = guest;
    this.#registers = registers;
  }

  save(): Saved {
    const { gdtFrames, gdtEntries, ldtBase, ldtEntries } = this;
    return { gdtFrames, gdtEntries, ldtBase, ldtEntries, ldtFrames: this.#ldtFrames };
  }

  restore(saved: Saved, where: string): void {
    const state = record({
      gdtFrames: int32s(GUEST_GDT_PAGES),
      gdtEntries: whole(GUEST_GDT_ENTRIES),
      ldtBase: wide,
      ldtEntries: whole(MAX_LDT_ENTRIES),
      ldtFrames: int32s(LDT_PAGES),
    })(saved, where);
    this.gdtFrames.set(state.gdtFrames);
    this.gdtEntries = state.gdtEntries;
    this.ldtBase = state.ldtBase;
    this.ldtEntries = state.ldtEntries;
    this.#ldtFrames.set(state.ldtFrames);
  }

  /** May a frame be a page of descriptors? 0, with all of them made safe, or -EINVAL and nothing changed. */
  checkFrame(mfn: number): number {
    const { words } = this.#memory;
    const first = slotOf(mfn, 0);
    this.#types.work += ENTRIES;
    for (let i = first; i < first + 2 * ENTRIES; i += 2) if (!this.#makeSafe(words[i], words[i + 1])) return -EINVAL;
    for (let i = first; i < first + 2 * ENTRIES; i += 2) {
      this.#makeSafe(words[i], words[i + 1]);
      words[i] = this.#low;
      words[i + 1] = this.#high;
    }
    this.#memory.frameWritten(mfn);
    return 0;
  }

  /** set_gdt: `list` is the address of 64-bit frame numbers, for so many descriptors. */
  setGdt(list: bigint, entries: number): number {
    if (entries > GUEST_GDT_ENTRIES) return -EINVAL;
    const pages = Math.ceil(entries / ENTRIES);
    const numbers = this.#guest.numbers;
    if (pages > 0 && !this.#guest.read(list, 2 * pages)) return -EFAULT;
    const frames = new Int32Array(GUEST_GDT_PAGES).fill(-1);
    for (let i = 0; i < pages; i++) {
      const mfn = numbers[2 * i + 1] === 0 ? numbers[2 * i] : -1;
      if (this.#types.getWithType(mfn, FRAME.SEGDESC) !== 0) {
        while (i-- > 0) this.#types.putWithType(frames[i]);
        return -EINVAL;
      }
      frames[i] = mfn;
    }
    for (let i = 0; i < GUEST_GDT_PAGES; i++) {
      const old = this.gdtFrames[i];
      if (old >= 0) this.#types.putWithType(old);
      this.gdtFrames[i] = frames[i];
      this.#area.setGdtPage(i, frames[i]);
    }
    this.gdtEntries = entries;
    this.#memory.flushTlb();
    return 0;
  }

  /** update_descriptor: one descriptor at a machine address. */
  update(address: bigint, descriptor: bigint): number {
    if ((address & 7n) !== 0n) return -EINVAL;
    if (!this.#makeSafe(Number(descriptor & 0xffff_ffffn), Number(descriptor >> 32n))) return -EINVAL;
    const mfn = frameOf(address);
    if (!this.#types.isGuests(mfn)) return -EINVAL;
    const inUse = this.#types.count[mfn] !== 0;
    const type = this.#types.type[mfn];
    if (inUse && type !== FRAME.SEGDESC && type !== FRAME.WRITABLE) return -EINVAL;
    this.#memory.set(Number(address) / 4, this.#low, this.#high);
    return 0;
  }

  /** MMUEXT_SET_LDT: where in its own address space the guest has so many descriptors. */
  setLdt(base: bigint, entries: number): number {
    const start = entries === 0 ? 0n : base;
    if (entries > MAX_LDT_ENTRIES) return -EINVAL;
    if (entries !== 0 && ((start & 0xfffn) !== 0n || !this.#guest.isAddressOk(start))) return -EINVAL;
    if (entries === this.ldtEntries && start === this.ldtBase) return 0;
    this.dropLdt();
    this.ldtBase = start;
    this.ldtEntries = entries;
    this.#area.setLdtDescriptor(entries);
    this.#registers.setSegment(LDTR, ldtSegment(entries));
    return 0;
  }

  /** The CPU looked for a descriptor of the LDT and found no page. `mapped`: it may look again. An address: there is no
   * such page, and this is where the guest has to be told of a fault. Undefined: it is no address of the LDT. */
  ldtFault(address: bigint): 'mapped' | bigint | undefined {
    const offset = Number(address - LDT_VIRT_START);
    if (!(offset >= 0 && offset < this.ldtEntries * 8)) return undefined;
    const page = offset >>> 12;
    if (this.#ldtFrames[page] >= 0) return undefined; // the guest itself looked there
    const linear = BigInt.asUintN(64, this.ldtBase + BigInt(offset));
    const entry = this.#guest.entryOf(linear);
    const mfn = entry >= 0 && (this.#memory.words[entry] & PTE.P) !== 0 ? this.#memory.words[entry] >>> 12 : -1;
    if (this.#types.getWithType(mfn, FRAME.SEGDESC) !== 0) return linear;
    this.#ldtFrames[page] = mfn;
    this.#area.setLdtPage(page, mfn);
    return 'mapped';
  }

  /** Forgets the pages of the LDT, which come back one by one: the address space behind them has changed. */
  dropLdt(): void {
    for (let page = 0; page < LDT_PAGES; page++) {
      const mfn = this.#ldtFrames[page];
      if (mfn < 0) continue;
      this.#ldtFrames[page] = -1;
      this.#area.setLdtPage(page, -1);
      this.#types.putWithType(mfn);
      this.#memory.stale = true;
    }
  }

  /** Xen's check_descriptor. The safe form is left in #low and #high. */
  #makeSafe(low: number, high: number): boolean {
    this.#low = low;
    this.#high = high;
    // What is not present always faults, and type 0 is the second half of a call gate.
    if ((high & PRESENT) === 0) return true;
    if ((high & IS_SEGMENT) !== 0) {
      this.#high = (high | DPL) >>> 0;
      return true;
    }
    if ((high & TYPE) === 0) return true;
    if ((high & TYPE) !== CALL_GATE || !isGateTarget(low >>> 16)) return false;
    // DPL 0: using the gate faults and names it. The guest's own DPL is kept in the selector's RPL.
    this.#high = (high & ~DPL) >>> 0;
    this.#low = ((low & 0xffff) | ((low >>> 16) | 3) << 16) >>> 0; // biome-ignore format: as written
    return (this.#high & GATE_RESERVED) === 0;
  }
}

const isGateTarget = (selector: number): boolean =>
  selector >>> 3 < GUEST_GDT_ENTRIES || selector === XEN_SELECTOR.CS || (selector & 4) !== 0;

function ldtSegment(entries: number): Segment {
  if (entries === 0) return nullSegment();
  return {
    selector: XEN_SELECTOR.LDT,
    base: LDT_VIRT_START,
    limit: entries * 8 - 1,
    attributes: SEGMENT.P | SYSTEM_TYPE.LDT,
  };
}

/** The frame of a machine address, -1 beyond all machines. */
export const frameOf = (address: bigint): number => (address < 1n << 52n ? Number(address >> 12n) : -1);
