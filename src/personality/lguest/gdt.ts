/** The guest's GDT as its host keeps it, and the window that the CPU reads it through.
 *
 * A guest in ring 1 could make itself a descriptor of ring 0, so it never owns the table that the CPU uses: it hands
 * over entry by entry (LHCALL_LOAD_GDT_ENTRY), and the host keeps a corrected copy. DPL 0 becomes 1; the accessed bit
 * is set beforehand, since the CPU would otherwise have to write it into a table that nobody but the host may write;
 * entries that belong to the host (TSS, the Switcher's two segments, the double-fault TSS) are ignored.
 *
 * The copy is not in the guest's memory and not above it either, where a guest's page tables could reach it. It is read
 * like a device: physical LGUEST_HOST answers with it, and a write there kills. While paging is off, linear is physical
 * and GDTR works as it stands; from LHCALL_NEW_PGTABLE on, the top entry of every page directory is one read-only 4 MiB
 * page that maps these addresses to themselves. That is where lguest's Switcher lay, and reserve_mem tells the guest so.
 *
 * Stricter than lguest: another system descriptor (an LDT, a gate, a TSS of its own) is kept as not present, where lguest
 * kept it with its type spoiled by the accessed bit.
 * Follows: Linux drivers/lguest/segments.c.   Next: personality/lguest/idt.ts. */
import { bytes, fill, type Saved } from '../../base/saved.ts';
import { LGUEST_HOST } from '../../memory/map.ts';
import { SEGMENT } from '../../x86/constants.ts';
import { dplOf, segmentOf, splitDescriptor } from '../../x86/descriptor.ts';
import type { Segment } from '../../x86/vcpu-state.ts';
import { GUEST_RING, KERNEL_CS, kill } from './host.ts';

/** Entries of 32-bit Linux's GDT. */
const ENTRIES = LGUEST_HOST.gdtBytes / 8;
/** Entry 16 is the TSS, 10 and 11 are the Switcher's code and data, 31 is the TSS of double faults. */
const IGNORED = new Set([10, 11, 16, 31]);
const TLS_FIRST = 6;
export const TLS_ENTRIES = 3;

const FLAT_CODE = 0x00cf_9b00_0000_ffffn;
const FLAT_DATA = 0x00cf_9300_0000_ffffn;
/** Of a descriptor's upper half. */
const HIGH_ACCESSED = 1 << 8;
const HIGH_S = 1 << 12;
const HIGH_DPL = 3 << 13;
const HIGH_P = 1 << 15;

/** PS, A, P: one page of 4 MiB for the host's addresses, read-only, for the kernel alone. */
export const HOST_DIRECTORY_ENTRY = LGUEST_HOST.at + 0xa1;

export class GuestGdt {
  readonly #view = new DataView(new ArrayBuffer(ENTRIES * 8));

  /** setup_guest_gdt(): everything is absent but the kernel's two flat segments. */
  constructor() {
    this.#view.setBigUint64(12 * 8, FLAT_CODE | (BigInt(GUEST_RING) << 45n), true);
    this.#view.setBigUint64(13 * 8, FLAT_DATA | (BigInt(GUEST_RING) << 45n), true);
  }

  load(index: number, low: number, high: number): void {
    if (index >= ENTRIES) kill(`it sets GDT entry ${index}, and there are ${ENTRIES}`);
    if (IGNORED.has(index)) return;
    let upper = high | HIGH_ACCESSED;
    if ((high & HIGH_DPL) === 0) upper |= GUEST_RING << 13;
    if ((high & HIGH_S) === 0) upper &= ~HIGH_P;
    this.#view.setUint32(index * 8, low >>> 0, true);
    this.#view.setUint32(index * 8 + 4, upper >>> 0, true);
  }

  save(): Saved {
    return new Uint8Array(this.#view.buffer);
  }

  restore(saved: Saved, where: string): void {
    fill(new Uint8Array(this.#view.buffer), bytes(this.#view.byteLength)(saved, where), where);
  }

  /** Three descriptors, as they lie in the guest's memory. */
  loadTls(descriptors: Uint8Array): void {
    const view = new DataView(descriptors.buffer, descriptors.byteOffset, TLS_ENTRIES * 8);
    for (let i = 0; i < TLS_ENTRIES; i++)
      this.load(TLS_FIRST + i, view.getUint32(i * 8, true), view.getUint32(i * 8 + 4, true));
  }

  /** The segment that every handler runs in. */
  kernelCode(): Segment {
    return this.#segment(KERNEL_CS, SEGMENT.S | SEGMENT.CODE | SEGMENT.P, 'code segment for its handlers');
  }

  /** A stack segment for ring 1. */
  stack(selector: number): Segment {
    return this.#segment(selector, SEGMENT.S | SEGMENT.WRITABLE | SEGMENT.P, 'kernel stack segment');
  }

  #segment(selector: number, wanted: number, what: string): Segment {
    const offset = selector & 0xfff8;
    const within = offset !== 0 && (selector & 4) === 0 && offset < ENTRIES * 8;
    const segment = segmentOf(selector, splitDescriptor(within ? this.#view.getBigUint64(offset, true) : 0n));
    const { attributes } = segment;
    const kind = SEGMENT.S | SEGMENT.CODE | SEGMENT.P;
    const fits = (attributes & wanted) === wanted && (attributes & kind) === (wanted & kind);
    if (!fits || dplOf(attributes) !== GUEST_RING || (selector & 3) !== GUEST_RING)
      kill(`its ${what}, 0x${selector.toString(16)}, is none for ring ${GUEST_RING} (lguest: unhandled trap 256)`);
    return segment;
  }

  /** The window: bytes of the table by their offset in it, zero behind it. */
  read(offset: number, size: 1 | 2 | 4): number {
    if (offset + size > this.#view.byteLength) return 0;
    if (size === 1) return this.#view.getUint8(offset);
    return size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }
}
