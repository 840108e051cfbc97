/** Segment descriptors, gates and task-state segments: their bits, read and written.
 *
 * A descriptor is eight bytes, held here as two unsigned halves. In long mode the system descriptors and gates are
 * sixteen bytes: a third dword has bits 32-63 of the base or offset, a fourth must have zeros where the type would be.
 * Follows: SDM Vol. 3, 3.4.5 (segments), 5.8.3 (call gates), 6.11 (IDT gates), 6.14.1 (64-bit IDT), 7.2, 7.6 and 7.7
 * (TSS).   May not: look a descriptor up in a table, or judge a privilege.   Next: engine/system/stack.ts. */
import { DPL_SHIFT, SEGMENT, SYSTEM_TYPE } from './constants.ts';
import type { Segment } from './vcpu-state.ts';

/** Bits 0-31 and 32-63 of a descriptor, both unsigned. */
export type Descriptor = { low: number; high: number };

/** Attribute bits as Segment.attributes has them: descriptor bits 40-55 without the limit's four. */
const ATTRIBUTE_BITS = 0xf0ff;

export function splitDescriptor(bits: bigint): Descriptor {
  return { low: Number(BigInt.asUintN(32, bits)), high: Number(BigInt.asUintN(32, bits >> 32n)) };
}

export const attributesOf = (d: Descriptor): number => (d.high >>> 8) & ATTRIBUTE_BITS;
export const dplOf = (attributes: number): number => (attributes & SEGMENT.DPL) >> DPL_SHIFT;
/** Type of a system descriptor, or undefined for a code or data segment. */
export function systemType(d: Descriptor): number | undefined {
  return attributesOf(d) & SEGMENT.S ? undefined : attributesOf(d) & 0xf;
}
/** Base of an eight-byte descriptor. */
export const baseOf = (d: Descriptor): number =>
  ((d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff00_0000)) >>> 0;
/** Last valid offset in bytes (G applied). For an expand-down segment: the last invalid one. */
export function limitOf(d: Descriptor): number {
  const raw = (d.low & 0xffff) | (d.high & 0xf_0000);
  return d.high & 0x80_0000 ? ((raw << 12) | 0xfff) >>> 0 : raw;
}
export function segmentOf(selector: number, d: Descriptor): Segment {
  return { selector, base: BigInt(baseOf(d)), limit: limitOf(d), attributes: attributesOf(d) };
}

/** The eight bytes that `segmentOf` reads back. `limit` is in bytes; with G set its low twelve bits are lost. Of a base
 * above 4 GiB (long-mode system segments) see `encodeSystem64`. */
export function encodeSegment(segment: Omit<Segment, 'selector'>): bigint {
  const { base, attributes } = segment;
  const raw = attributes & SEGMENT.G ? segment.limit >>> 12 : segment.limit;
  const low = BigInt(raw & 0xffff) | ((base & 0xffffn) << 16n);
  const high =
    ((base >> 16n) & 0xffn) |
    (BigInt(attributes & ATTRIBUTE_BITS) << 8n) |
    BigInt(raw & 0xf_0000) |
    (base & 0xff00_0000n);
  return low | (high << 32n);
}
/** Long mode's sixteen bytes for an LDT or a TSS. */
export function encodeSystem64(segment: Omit<Segment, 'selector'>): [bigint, bigint] {
  return [encodeSegment(segment), (segment.base >> 32n) & 0xffff_ffffn];
}

/** A call, interrupt, trap or task gate. */
export type Gate = {
  selector: number;
  offset: bigint;
  /** SYSTEM_TYPE. */
  type: number;
  dpl: number;
  present: boolean;
  /** Interrupt stack table entry, 0 for none: 64-bit IDT gates only. */
  ist: number;
  /** Words or doublewords copied between stacks: call gates in legacy mode only. */
  parameters: number;
};

/** Decodes a gate; `top` is the third dword of a long-mode gate. A 16-bit gate's offset has no upper half. */
export function gateOf(d: Descriptor, top = 0): Gate {
  const type = (d.high >>> 8) & 0xf;
  const upper = isGate16(type) ? 0 : d.high & 0xffff_0000;
  return {
    selector: d.low >>> 16,
    offset: BigInt(((d.low & 0xffff) | upper) >>> 0) | (BigInt(top >>> 0) << 32n),
    type,
    dpl: (d.high >>> 13) & 3,
    present: (d.high & 0x8000) !== 0,
    ist: d.high & 7,
    parameters: d.high & 0x1f,
  };
}
export function encodeGate(gate: Partial<Gate> & Pick<Gate, 'selector' | 'offset' | 'type'>): bigint {
  const { selector, offset, type, dpl = 0, present = true, ist = 0, parameters = 0 } = gate;
  const low = (offset & 0xffffn) | (BigInt(selector) << 16n);
  const rights = (present ? 0x80 : 0) | (dpl << 5) | type;
  const high = BigInt(ist | parameters) | (BigInt(rights) << 8n) | (offset & 0xffff_0000n);
  return low | (high << 32n);
}
export function encodeGate64(gate: Partial<Gate> & Pick<Gate, 'selector' | 'offset' | 'type'>): [bigint, bigint] {
  return [encodeGate(gate), (gate.offset >> 32n) & 0xffff_ffffn];
}

/** 80286 gates and TSS have bit 3 of their type clear. */
export const isGate16 = (type: number): boolean => (type & 8) === 0;
export const isTss = (type: number | undefined): boolean =>
  type === SYSTEM_TYPE.TSS ||
  type === SYSTEM_TYPE.TSS_BUSY ||
  type === SYSTEM_TYPE.TSS16 ||
  type === SYSTEM_TYPE.TSS16_BUSY;
/** The bit in a TSS descriptor's type that makes it busy. */
export const TSS_BUSY_BIT = 2;

/** Where a TSS keeps the stacks of the inner levels, and its I/O bitmap's offset. `stack` is that of level 0's stack
 * pointer, `stride` leads to the next level; the selector, where there is one, follows its pointer. */
export const TSS16_LAYOUT = { stack: 2, stride: 4, pointerBytes: 2 } as const;
export const TSS32_LAYOUT = { stack: 4, stride: 8, pointerBytes: 4, ioMapBase: 0x66 } as const;
export const TSS64_LAYOUT = { stack: 4, stride: 8, pointerBytes: 8, ist1: 0x24, ioMapBase: 0x66 } as const;

/** Selectors. */
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
export const rplOf = (selector: number): number => selector & 3;
/** How an error code names a selector: index and table, bits 0 and 1 are EXT and IDT. */
export const selectorError = (selector: number): number => selector & 0xfffc;
/** Set in an error code that names an IDT entry (its vector in bits 3-10). */
export const ERROR_EXT = 1;
export const ERROR_IDT = 2;
