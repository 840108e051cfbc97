/** Stacks as far transfers and exceptions use them: looked at, checked and probed first, written last.
 *
 * A frame often goes onto a stack that SS does not hold yet, so the checks that core.linear makes for loaded segments
 * are made here for any segment. Nothing is written before every push has been checked and its pages probed.
 * Follows: SDM Vol. 1, 6.2 (stacks), Vol. 3, 5.8.5 and 6.14.2-6.14.4 (stack switching).
 * May not: load a segment register.   Next: engine/system/segments.ts. */
import { SEGMENT, VECTOR } from '../../x86/constants.ts';
import { selectorError, TSS16_LAYOUT, TSS32_LAYOUT, TSS64_LAYOUT } from '../../x86/descriptor.ts';
import { nullSegment, type Segment } from '../../x86/vcpu-state.ts';
import { isCanonical } from '../access.ts';
import { ACCESS, type CpuCore, GuestFault } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { SEG } from '../state.ts';

export const RSP = 4;
export const U64 = 0xffff_ffff_ffff_ffffn;
export const U32 = 0xffff_ffffn;
export const U16 = 0xffffn;

export type Size = 2 | 4 | 8;
export const maskOf = (size: Size): bigint => (size === 8 ? U64 : size === 4 ? U32 : U16);

/** The part of RSP that pushes and pops change: all of it in 64-bit code, else as SS.B says. */
export function stackMask(is64: boolean, ss: Pick<Segment, 'attributes'>): bigint {
  if (is64) return U64;
  return ss.attributes & SEGMENT.DB ? U32 : U16;
}
export const currentStackMask = (state: CpuState): bigint =>
  stackMask(state.is64, { attributes: state.attributes(SEG.SS) });

/** Writes the stack pointer as a pop to it would: a 16-bit stack leaves the upper half of ESP as it was. (This is the
 * leak that Linux's espfix hides.) */
export function setStackPointer(state: CpuState, value: bigint, mask: bigint): void {
  state.setGpr(RSP, value, mask === U64 ? 8 : mask === U32 ? 4 : 2);
}

/** Offset of what lies `delta` bytes up the current stack; wraps where the stack pointer would. */
export function stackOffset(state: CpuState, delta: number | bigint): bigint {
  return (state.gpr(RSP) + BigInt(delta)) & currentStackMask(state);
}
/** Reads the current stack without popping. */
export function peek(core: CpuCore, delta: number | bigint, size: Size): bigint {
  return core.readSegment(SEG.SS, stackOffset(core.state, delta), size);
}
/** Moves the current stack pointer up. */
export function drop(state: CpuState, bytes: number | bigint): void {
  const mask = currentStackMask(state);
  setStackPointer(state, (state.gpr(RSP) & mask) + BigInt(bytes), mask);
}
/** One push onto the current stack; nothing has changed if it faults. */
export function push(core: CpuCore, value: bigint, size: Size): void {
  const { state } = core;
  const mask = currentStackMask(state);
  const to = (state.gpr(RSP) - BigInt(size)) & mask;
  core.writeSegment(SEG.SS, to, size, value & maskOf(size));
  setStackPointer(state, to, mask);
}

/** Whether an access fits a stack segment's limit (SDM Vol. 3, 5.3). As for other accesses, a flat segment wraps. */
export function fitsStack(ss: Segment, offset: bigint, size: number): boolean {
  if (ss.attributes === 0) return false;
  const last = Number(offset) + size - 1;
  if ((ss.attributes & (SEGMENT.CODE | SEGMENT.EXPAND_DOWN)) !== SEGMENT.EXPAND_DOWN) {
    return last <= ss.limit || ss.limit === 0xffff_ffff;
  }
  return Number(offset) > ss.limit && last <= (ss.attributes & SEGMENT.DB ? 0xffff_ffff : 0xffff);
}

/** A stack that a frame goes to: its segment, its pointer, and whether 64-bit code will use it. */
export type Stack = { ss: Segment; sp: bigint; is64: boolean };

/** Pushes of one size that are collected, then checked, then probed, and then written at once. */
export class Frame {
  readonly #core: CpuCore;
  readonly #stack: Stack;
  readonly #size: Size;
  readonly #system: boolean;
  readonly #overflow: number;
  readonly #values: bigint[] = [];
  readonly #addresses: bigint[] = [];
  #sp: bigint;

  /** `level` is the privilege level that the frame is written with; `overflow` the error code of #SS without room. */
  constructor(core: CpuCore, stack: Stack, size: Size, level: number, overflow: number) {
    this.#core = core;
    this.#stack = stack;
    this.#size = size;
    this.#system = level < 3;
    this.#overflow = overflow;
    this.#sp = stack.sp;
  }

  push(value: bigint): void {
    this.#values.push(value);
  }

  /** Room on the stack: limit, or canonical form in 64-bit mode. Raises #SS. */
  check(): void {
    const { ss, is64 } = this.#stack;
    const mask = stackMask(is64, ss);
    const step = BigInt(this.#size);
    for (let left = this.#values.length; left > 0; left--) {
      const to = (this.#sp - step) & mask;
      this.#sp = is64 ? to : (this.#sp & ~mask & U64) | to;
      if (!is64 && !fitsStack(ss, to, this.#size)) throw new GuestFault(VECTOR.SS, this.#overflow);
      this.#addresses.push(is64 ? to : (ss.base + to) & U32);
    }
    // The frame is far smaller than the hole between the canonical halves: its two ends say it all.
    const ends = [this.#sp, (this.#stack.sp - 1n) & U64];
    if (is64 && this.#values.length > 0 && !ends.every(isCanonical)) throw new GuestFault(VECTOR.SS, this.#overflow);
  }

  /** Raises what the writes would raise. The first push faults first; one probe serves all that lie in its page. */
  probe(): void {
    let probed = -1n;
    for (const address of this.#addresses) {
      const page = address & ~0xfffn;
      if (page === probed && (address & 0xfffn) <= BigInt(4096 - this.#size)) continue;
      this.#core.probeLinear(address, this.#size, ACCESS.WRITE, this.#system);
      probed = page;
    }
  }

  /** Writes everything and returns the stack pointer behind it. */
  commit(): bigint {
    const mask = maskOf(this.#size);
    for (const [i, address] of this.#addresses.entries()) {
      this.#core.writeLinear(address, this.#size, this.#values[i] & mask, this.#system);
    }
    return this.#sp;
  }
}

/** The stack in use, as a Frame takes it. */
export function currentStack(state: CpuState): Stack {
  return { ss: state.segment(SEG.SS), sp: state.gpr(RSP), is64: state.is64 };
}

/** Reads a field of the TSS that TR holds, after its limit: #TS(TR | ext). Only the TSS that is present can be asked; a
 * TR that was never loaded has a limit that is too small, or leads to whatever memory it names. */
function readTss(core: CpuCore, offset: number, size: Size, bytes: number, ext: number): bigint {
  const { state } = core;
  if (offset + bytes - 1 > state.limit(SEG.TR)) {
    throw new GuestFault(VECTOR.TS, selectorError(state.selector(SEG.TR)) | ext);
  }
  const address = state.base(SEG.TR) + BigInt(offset);
  return core.readLinear(state.longMode ? address & U64 : address & U32, size, true);
}

/** Long mode: the stack pointer of an inner level, or of an interrupt stack table entry; SS becomes null. */
export function innerStack64(core: CpuCore, level: number, ist: number, ext: number): { ss: Segment; sp: bigint } {
  const offset =
    ist === 0 ? TSS64_LAYOUT.stack + level * TSS64_LAYOUT.stride : TSS64_LAYOUT.ist1 + (ist - 1) * TSS64_LAYOUT.stride;
  const sp = readTss(core, offset, 8, 8, ext);
  return { ss: nullSegment(level), sp };
}

/** Legacy mode: selector and pointer of an inner level's stack, from a 16- or 32-bit TSS. Not checked yet. */
export function innerStack32(core: CpuCore, level: number, ext: number): { selector: number; sp: bigint } {
  const is32 = (core.state.attributes(SEG.TR) & 8) !== 0;
  const layout = is32 ? TSS32_LAYOUT : TSS16_LAYOUT;
  const at = layout.stack + level * layout.stride;
  const size = layout.pointerBytes;
  const sp = readTss(core, at, size, size + 2, ext);
  const selector = Number(readTss(core, at + size, 2, 2, ext));
  return { selector, sp };
}
