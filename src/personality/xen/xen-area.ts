/** XenArea: root slots 256 to 271, which every root of the guest's has from Xen.
 *
 * Two of them hold something. Slot 256 maps the M2P, the table from machine frame to the guest's frame, read-only for the
 * guest, as far as there are frames; what lies behind is a hole. Slot 260 maps the CPU's descriptor table (the guest's
 * pages first, zeros where it set none, then Xen's page), Xen's task-state segment, and the LDT; only the CPU itself can
 * read there, since US is clear. The tables are real ones in the hypervisor's frames, so the engine knows nothing of this.
 * Follows: xen/arch/x86/x86_64/mm.c (M2P), pv/descriptor-tables.c and desc.c (GDT); layout/xen/addresses.ts.
 * May not: be written by the guest: it owns none of these frames.   Next: personality/xen/guest-access.ts. */
import { assert } from '../../base/errors.ts';
import {
  GDT_LIMIT,
  GDT_PAGES,
  GDT_ROOT_SLOT,
  GDT_VIRT_START,
  GUEST_GDT_PAGES,
  M2P_ROOT_SLOT,
  TSS_VIRT,
  XEN_GDT_DESCRIPTORS,
  XEN_GDT_OFFSET,
  XEN_ROOT_SLOTS,
  XEN_SELECTOR,
} from '../../layout/xen/addresses.ts';
import type { MachineFrames } from '../../memory/machine-frames.ts';
import { PTE, SEGMENT, SYSTEM_TYPE } from '../../x86/constants.ts';
import { encodeSystem64 } from '../../x86/descriptor.ts';
import { ENTRIES, type MachineMemory, slotOf, WORDS_PER_FRAME } from './machine-memory.ts';

/** A and D are set beforehand, so that no walk of the CPU's changes these tables. */
const TABLE = PTE.P | PTE.RW | PTE.A | PTE.D;
const FOR_GUEST = TABLE | PTE.US;
const M2P_PAGE = PTE.P | PTE.US | PTE.A;
const XEN_PAGE = PTE.P | PTE.RW | PTE.A | PTE.D;
const EMPTY_GDT_PAGE = PTE.P | PTE.A;

/** Where in slot 260 the pages lie, in pages. */
const XEN_GDT_PAGE = XEN_GDT_OFFSET / 0x1000;
const TSS_PAGE = GDT_PAGES;
const LDT_PAGE = 2 * GDT_PAGES;
export const LDT_PAGES = 16;
export const LDT_VIRT_START = GDT_VIRT_START + BigInt(LDT_PAGE * 0x1000);
/** A 64-bit TSS without a bitmap: its offset points at the end, so every port is refused. */
const TSS_BYTES = 0x68;
const TSS_BITMAP_WORD = 0x64 / 4;

export class XenArea {
  readonly #memory: MachineMemory;
  readonly #frames: MachineFrames;
  readonly #gdtTable: number;

  /** Fills the hypervisor's frames, and `xenSlots` with what goes into every root. */
  constructor(memory: MachineMemory, frames: MachineFrames, xenSlots: Uint32Array) {
    this.#memory = memory;
    this.#frames = frames;
    this.#gdtTable = frames.hypervisor.gdtTables.first + 2;
    this.#fillM2p();
    const m2pRoot = this.#mapM2p();
    const gdtRoot = this.#mapGdt();
    this.#fillGdtPage();
    xenSlots[2 * (M2P_ROOT_SLOT - XEN_ROOT_SLOTS.first)] = entry(m2pRoot, FOR_GUEST);
    xenSlots[2 * (GDT_ROOT_SLOT - XEN_ROOT_SLOTS.first)] = entry(gdtRoot, TABLE);
  }

  /** M2P[mfn] := a 64-bit number, all ones for none. */
  setM2p(mfn: number, low: number, high: number): void {
    this.#memory.set(this.#m2pSlot(mfn), low, high);
  }

  /** The guest's frame number by the M2P, -1 for none or for what is no frame number. */
  pfnOf(mfn: number): number {
    const slot = this.#m2pSlot(mfn);
    return this.#memory.words[slot + 1] === 0 ? this.#memory.words[slot] : -1;
  }

  /** Page 0-13 of the GDT is this frame; -1: an empty page. */
  setGdtPage(page: number, mfn: number): void {
    assert(page >= 0 && page < GUEST_GDT_PAGES, 'the guest has 14 pages of the GDT');
    const frame = mfn < 0 ? entry(this.#frames.hypervisor.emptyGdt.first, EMPTY_GDT_PAGE) : entry(mfn, XEN_PAGE);
    this.#memory.set(slotOf(this.#gdtTable, page), frame, 0);
  }

  /** Page 0-15 of the LDT is this frame; -1: nothing is there. */
  setLdtPage(page: number, mfn: number): void {
    this.#memory.set(slotOf(this.#gdtTable, LDT_PAGE + page), mfn < 0 ? 0 : entry(mfn, XEN_PAGE), 0);
  }

  /** The descriptor at 0xe050: so many entries of the LDT, or none. */
  setLdtDescriptor(entries: number): void {
    const attributes = SEGMENT.P | SYSTEM_TYPE.LDT;
    const limit = entries * 8 - 1;
    const [low, high] = entries === 0 ? [0n, 0n] : encodeSystem64({ base: LDT_VIRT_START, limit, attributes });
    this.#setDescriptor(XEN_SELECTOR.LDT, low);
    this.#setDescriptor(XEN_SELECTOR.LDT + 8, high);
  }

  #m2pSlot(mfn: number): number {
    return this.#frames.hypervisor.m2p.first * WORDS_PER_FRAME + 2 * mfn;
  }

  #fillM2p(): void {
    const { words } = this.#memory;
    const { first, count } = this.#frames.hypervisor.m2p;
    words.fill(0xffff_ffff, first * WORDS_PER_FRAME, (first + count) * WORDS_PER_FRAME);
    const { p2m } = this.#frames;
    const base = this.#m2pSlot(0);
    for (let pfn = 0; pfn < p2m.length; pfn++) {
      words[base + 2 * p2m[pfn]] = pfn;
      words[base + 2 * p2m[pfn] + 1] = 0;
    }
  }

  /** L3, L2, then the L1s; returns the L3. */
  #mapM2p(): number {
    const { m2p, m2pTables } = this.#frames.hypervisor;
    const [l3, l2, l1] = [m2pTables.first, m2pTables.first + 1, m2pTables.first + 2];
    const l1s = Math.ceil(m2p.count / ENTRIES);
    assert(l1s + 2 <= m2pTables.count && l1s <= ENTRIES, 'the M2P has tables enough');
    for (let i = 0; i < m2pTables.count; i++) this.#memory.clearFrame(m2pTables.first + i);
    this.#memory.set(slotOf(l3, 0), entry(l2, FOR_GUEST), 0);
    for (let i = 0; i < l1s; i++) this.#memory.set(slotOf(l2, i), entry(l1 + i, FOR_GUEST), 0);
    for (let i = 0; i < m2p.count; i++) this.#memory.set(slotOf(l1, i), entry(m2p.first + i, M2P_PAGE), 0);
    return l3;
  }

  #mapGdt(): number {
    const { gdt, tss, gdtTables } = this.#frames.hypervisor;
    const [l3, l2, l1] = [gdtTables.first, gdtTables.first + 1, this.#gdtTable];
    for (let i = 0; i < gdtTables.count; i++) this.#memory.clearFrame(gdtTables.first + i);
    this.#memory.set(slotOf(l3, 0), entry(l2, TABLE), 0);
    this.#memory.set(slotOf(l2, 0), entry(l1, TABLE), 0);
    for (let page = 0; page < GUEST_GDT_PAGES; page++) this.setGdtPage(page, -1);
    this.#memory.set(slotOf(l1, XEN_GDT_PAGE), entry(gdt.first, XEN_PAGE), 0);
    this.#memory.set(slotOf(l1, TSS_PAGE), entry(tss.first, XEN_PAGE), 0);
    return l3;
  }

  #fillGdtPage(): void {
    const { gdt, emptyGdt, tss } = this.#frames.hypervisor;
    for (const { first } of [gdt, emptyGdt, tss]) this.#memory.clearFrame(first);
    assert(GDT_LIMIT < (XEN_GDT_PAGE + 1) * 0x1000, 'the GDT ends with Xen’s page');
    for (const [selector, descriptor] of XEN_GDT_DESCRIPTORS) this.#setDescriptor(selector, descriptor);
    const attributes = SEGMENT.P | SYSTEM_TYPE.TSS_BUSY;
    const [low, high] = encodeSystem64({ base: TSS_VIRT, limit: TSS_BYTES - 1, attributes });
    this.#setDescriptor(XEN_SELECTOR.TSS, low);
    this.#setDescriptor(XEN_SELECTOR.TSS + 8, high);
    this.#memory.words[tss.first * WORDS_PER_FRAME + TSS_BITMAP_WORD] = TSS_BYTES << 16;
  }

  #setDescriptor(selector: number, bits: bigint): void {
    const slot = slotOf(this.#frames.hypervisor.gdt.first, (selector - XEN_GDT_OFFSET) >>> 3);
    this.#memory.set(slot, Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }
}

const entry = (mfn: number, flags: number): number => ((mfn << 12) | flags) >>> 0;
