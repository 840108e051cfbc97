/** QuickGates: interrupt delivery and IRET in the case that kernels live in, without a bigint.
 *
 * A gate to flat code at the same level or from level 3 to level 0, on a flat stack, with every table entry and the
 * whole frame behind present TLB tags. Whatever else there is (IST, conforming code, an accessed bit to set, a page not
 * yet seen, any fault at all) returns false with nothing changed, and the complete transfer in engine/system does it.
 * The result is the same to the bit; tests run every gate both ways.
 * Follows: engine/system/exceptions.ts and far.ts, which hold the sections.   Next: engine/cpu.ts. */
import { CR0, EFER, RFLAGS } from '../x86/constants.ts';
import type { CpuState } from './cpu-state.ts';
import { setArithmetic } from './flags.ts';
import { SEG, SEG_ATTRIBUTES, SEG_BASE, SEG_BYTES, SEG_LIMIT, STATE, TLB_BYTES, TLB_SUPERVISOR } from './state.ts';

const FLAT_CODE64 = 0xa09b; // G L, present, DPL 0, readable code, accessed
const FLAT_CODE32 = 0xc09b;
const FLAT_DATA = 0xc093;
/** Bits that must match: G, D/B, L, P, S, code, conforming, readable, accessed. AVL and DPL are looked at apart. */
const CODE_BITS = 0xe09f;
const DPL = 0x60;
const RSP = STATE.GPR + 4 * 8;
const ARITHMETIC = 0x8d5;
/** Indices of segment registers in 32-bit words, and of their parts behind the selector. */
const CS = (STATE.SEG + SEG.CS * SEG_BYTES) >> 2;
const SS = (STATE.SEG + SEG.SS * SEG_BYTES) >> 2;
const TR = (STATE.SEG + SEG.TR * SEG_BYTES) >> 2;
const ATTRIBUTES = SEG_ATTRIBUTES >> 2;
const LIMIT = SEG_LIMIT >> 2;
const BASE = SEG_BASE >> 2;
const DATA_SEGMENTS = [SEG.ES, SEG.DS, SEG.FS, SEG.GS];

export class QuickGates {
  readonly #i32: Int32Array;
  readonly #view: DataView;
  readonly #state: CpuState;
  readonly #modeChanged: () => void;

  constructor(state: CpuState, buffer: ArrayBuffer, modeChanged: () => void) {
    this.#i32 = new Int32Array(buffer);
    this.#view = state.view;
    this.#state = state;
    this.#modeChanged = modeChanged;
  }

  /** Index into i32 of an aligned run of bytes in one page, by the supervisor's tags; -1 without one. */
  #locate(low: number, high: number, bytes: number, write: boolean): number {
    if ((low & 3) !== 0 || (low & 0xfff) + bytes > 4096) return -1;
    const entry = (TLB_SUPERVISOR + (write ? TLB_BYTES : 0) + ((low >>> 8) & 0x3ff0)) >> 2;
    const i32 = this.#i32;
    if (i32[entry] !== (low & ~0xfff) || i32[entry + 1] !== high) return -1;
    return ((low + i32[entry + 2]) | 0) >>> 2;
  }

  #segment(segment: number, field: number): number {
    return this.#i32[(STATE.SEG + segment * SEG_BYTES + field) >> 2];
  }

  /** Index of the GDT descriptor of a selector, or -1. */
  #descriptor(selector: number): number {
    if ((selector & 4) !== 0 || (selector & ~3) === 0) return -1;
    const i32 = this.#i32;
    const offset = selector & ~7;
    if (offset + 7 > i32[STATE.GDTR_LIMIT >> 2]) return -1;
    const base = i32[STATE.GDTR_BASE >> 2];
    const low = (base + offset) | 0;
    if (low >>> 0 < base >>> 0) return -1; // over a 4 GiB line
    return this.#locate(low, i32[(STATE.GDTR_BASE >> 2) + 1], 8, false);
  }

  /** Whether the descriptor is flat, accessed code or data of this kind, and its DPL; -1 if not. */
  #flat(at: number, kind: number): number {
    const low = this.#i32[at];
    const high = this.#i32[at + 1];
    if (((high >>> 8) & CODE_BITS) !== (kind & CODE_BITS)) return -1;
    // Base 0 and limit 0xfffff; 64-bit code looks at neither.
    if (kind !== FLAT_CODE64 && ((low | 0) !== 0xffff || (high & 0xff0f_00ff) !== 0x000f_0000)) return -1;
    return (high >>> 13) & 3;
  }

  #install(segment: number, selector: number, at: number): void {
    const i32 = this.#i32;
    const low = i32[at];
    const high = i32[at + 1];
    const raw = (low & 0xffff) | (high & 0xf_0000);
    const base = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000);
    this.#put(segment, selector, (high >>> 8) & 0xf0ff, high & 0x80_0000 ? (raw << 12) | 0xfff : raw, base);
  }

  #put(segment: number, selector: number, attributes: number, limit: number, base: number): void {
    const i32 = this.#i32;
    const at = (STATE.SEG + segment * SEG_BYTES) >> 2;
    this.#view.setUint16(at << 2, selector, true);
    i32[at + (SEG_ATTRIBUTES >> 2)] = attributes;
    i32[at + (SEG_LIMIT >> 2)] = limit;
    i32[at + (SEG_BASE >> 2)] = base;
    i32[at + (SEG_BASE >> 2) + 1] = 0;
    if (segment === SEG.CS) {
      i32[STATE.CS_BASE >> 2] = base;
      i32[(STATE.CS_BASE >> 2) + 1] = 0;
    }
  }

  /** Goes through a gate. `errorCode` is -1 for none; `rip` in two halves is what will be pushed; `resume` pushes RF. */
  deliver(
    vector: number,
    errorCode: number,
    ripLow: number,
    ripHigh: number,
    software: boolean,
    resume: boolean,
  ): boolean {
    const i32 = this.#i32;
    if ((i32[STATE.CR0 >> 2] & CR0.PE) === 0) return false;
    const sysFlags = i32[STATE.SYS_FLAGS >> 2];
    if ((sysFlags & RFLAGS.VM) !== 0) return false;
    const long = (i32[STATE.EFER >> 2] & EFER.LMA) !== 0;
    const gateBytes = long ? 16 : 8;
    if (vector * gateBytes + gateBytes - 1 > i32[STATE.IDTR_LIMIT >> 2]) return false;
    const idt = i32[STATE.IDTR_BASE >> 2];
    const gateLow = (idt + vector * gateBytes) | 0;
    if (gateLow >>> 0 < idt >>> 0) return false;
    const gate = this.#locate(gateLow, i32[(STATE.IDTR_BASE >> 2) + 1], gateBytes, false);
    if (gate < 0) return false;
    const word0 = i32[gate];
    const word1 = i32[gate + 1];
    const cpl = i32[STATE.CPL >> 2];
    // Present, interrupt or trap gate of 32 or 64 bits, no stack table entry.
    if ((word1 & 0x9e00) !== 0x8e00 || (long && (word1 & 7) !== 0)) return false;
    if (software && ((word1 >>> 13) & 3) < cpl) return false;
    const selector = word0 >>> 16;
    const code = this.#descriptor(selector);
    if (code < 0 || this.#flat(code, long ? FLAT_CODE64 : FLAT_CODE32) !== 0) return false;
    const toLow = (word0 & 0xffff) | (word1 & 0xffff_0000);
    const toHigh = long ? i32[gate + 2] : 0;
    if (long && (toHigh << 16) >> 16 !== toHigh) return false;
    if (long && toHigh >> 15 !== 0 && toHigh >> 15 !== -1) return false;
    const cr = long
      ? this.#push64(cpl, errorCode, ripLow, ripHigh, resume)
      : this.#push32(cpl, errorCode, ripLow, resume);
    if (!cr) return false;

    const stays = cpl === 0 && this.#isCurrent(selector & ~3, code);
    if (!stays) this.#install(SEG.CS, selector & ~3, code);
    i32[STATE.RIP >> 2] = toLow;
    i32[(STATE.RIP >> 2) + 1] = toHigh;
    const clear = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM | ((word1 & 0x100) === 0 ? RFLAGS.IF : 0);
    i32[STATE.SYS_FLAGS >> 2] = sysFlags & ~clear;
    i32[STATE.SHADOW >> 2] = 0;
    if (stays) return true;
    i32[STATE.CPL >> 2] = 0;
    this.#modeChanged();
    return true;
  }

  /** Whether CS holds this selector and descriptor already: then the mode stays, too. */
  #isCurrent(selector: number, at: number): boolean {
    const i32 = this.#i32;
    return (
      (i32[CS] & 0xffff) === selector &&
      i32[CS + ATTRIBUTES] === ((i32[at + 1] >>> 8) & 0xf0ff) &&
      i32[CS + LIMIT] === -1 &&
      (i32[at + 1] & 0x8f_0000) === 0x8f_0000 &&
      (i32[at] & 0xffff) === 0xffff &&
      i32[CS + BASE] === 0 &&
      i32[at] >>> 16 === 0 &&
      (i32[at + 1] & 0xff00_00ff) === 0
    );
  }

  #flags(resume: boolean): number {
    return resume ? this.#state.rflags | RFLAGS.RF : this.#state.rflags;
  }

  #push64(cpl: number, errorCode: number, ripLow: number, ripHigh: number, resume: boolean): boolean {
    const i32 = this.#i32;
    let spLow = i32[RSP >> 2];
    let spHigh = i32[(RSP >> 2) + 1];
    if (cpl === 3) {
      if (i32[TR + LIMIT] >>> 0 < 11) return false;
      const tss = TR + BASE;
      const at = this.#locate((i32[tss] + 4) | 0, i32[tss + 1], 8, false);
      if (at < 0) return false;
      spLow = i32[at];
      spHigh = i32[at + 1];
    } else if (cpl !== 0) return false;
    const words = errorCode < 0 ? 10 : 12;
    const top = spLow & ~15;
    const to = (top - words * 4) | 0;
    if (to >>> 0 > top >>> 0) return false; // over a 4 GiB line
    const at = this.#locate(to, spHigh, words * 4, true);
    if (at < 0) return false;
    let n = at;
    if (errorCode >= 0) {
      i32[n++] = errorCode;
      i32[n++] = 0;
    }
    i32[n] = ripLow;
    i32[n + 1] = ripHigh;
    i32[n + 2] = i32[CS] & 0xffff;
    i32[n + 3] = 0;
    i32[n + 4] = this.#flags(resume);
    i32[n + 5] = 0;
    i32[n + 6] = i32[RSP >> 2];
    i32[n + 7] = i32[(RSP >> 2) + 1];
    i32[n + 8] = i32[SS] & 0xffff;
    i32[n + 9] = 0;
    i32[RSP >> 2] = to;
    i32[(RSP >> 2) + 1] = spHigh;
    if (cpl === 3) this.#put(SEG.SS, 0, 0, 0, 0);
    return true;
  }

  #push32(cpl: number, errorCode: number, ripLow: number, resume: boolean): boolean {
    const i32 = this.#i32;
    let sp = i32[RSP >> 2];
    let stack = -1;
    let stackSelector = 0;
    if (cpl === 3) {
      if (i32[TR + LIMIT] >>> 0 < 9 || (i32[TR + ATTRIBUTES] & 8) === 0) return false;
      const tss = TR + BASE;
      const at = this.#locate((i32[tss] + 4) | 0, 0, 8, false);
      if (at < 0) return false;
      sp = i32[at];
      stackSelector = i32[at + 1] & 0xffff;
      stack = this.#descriptor(stackSelector);
      if ((stackSelector & 3) !== 0 || stack < 0 || this.#flat(stack, FLAT_DATA) !== 0) return false;
    } else if (cpl !== 0 || !this.#flatStack()) return false;
    const words = 3 + (cpl === 3 ? 2 : 0) + (errorCode < 0 ? 0 : 1);
    const to = (sp - words * 4) | 0;
    if (to >>> 0 > sp >>> 0) return false;
    const at = this.#locate(to, 0, words * 4, true);
    if (at < 0) return false;
    let n = at;
    if (errorCode >= 0) i32[n++] = errorCode;
    i32[n] = ripLow;
    i32[n + 1] = i32[CS] & 0xffff;
    i32[n + 2] = this.#flags(resume);
    if (cpl === 3) {
      i32[n + 3] = i32[RSP >> 2];
      i32[n + 4] = i32[SS] & 0xffff;
      this.#install(SEG.SS, stackSelector, stack);
    }
    i32[RSP >> 2] = to;
    i32[(RSP >> 2) + 1] = 0;
    return true;
  }

  /** SS is a flat 32-bit data segment. */
  #flatStack(): boolean {
    const i32 = this.#i32;
    return (i32[SS + ATTRIBUTES] & 0x409e) === 0x4092 && i32[SS + LIMIT] === -1 && i32[SS + BASE] === 0;
  }

  /** IRET at level 0 with frames of the code's own width: to level 0 or to level 3. */
  iret(size: number): boolean {
    const i32 = this.#i32;
    const sysFlags = i32[STATE.SYS_FLAGS >> 2];
    if (i32[STATE.CPL >> 2] !== 0 || (sysFlags & RFLAGS.NT) !== 0) return false;
    const long = (i32[STATE.EFER >> 2] & EFER.LMA) !== 0;
    return long ? size === 8 && this.#iret64(sysFlags) : size === 4 && this.#iret32(sysFlags);
  }

  #iret64(sysFlags: number): boolean {
    const i32 = this.#i32;
    if ((i32[CS + ATTRIBUTES] & 0x2000) === 0) return false;
    const sp = i32[RSP >> 2];
    const at = this.#locate(sp, i32[(RSP >> 2) + 1], 40, false);
    if (at < 0) return false;
    const ripHigh = i32[at + 1];
    const selector = i32[at + 2] & 0xffff;
    const level = selector & 3;
    if (level !== 0 && level !== 3) return false;
    const code = this.#descriptor(selector);
    if (code < 0 || this.#flat(code, FLAT_CODE64) !== level) return false;
    if (ripHigh >> 15 !== 0 && ripHigh >> 15 !== -1) return false;
    const stackSelector = i32[at + 8] & 0xffff;
    let stack = -1;
    if ((stackSelector & ~3) === 0) {
      if (level === 3 || stackSelector !== 0) return false;
    } else {
      stack = this.#descriptor(stackSelector);
      if (stack < 0 || (stackSelector & 3) !== level || this.#flat(stack, FLAT_DATA) !== level) return false;
    }
    if (level === 3 && !this.#keepsData()) return false;
    const stays = level === 0 && this.#isCurrent(selector, code);
    this.#returnFlags(i32[at + 4], sysFlags);
    i32[STATE.RIP >> 2] = i32[at];
    i32[(STATE.RIP >> 2) + 1] = ripHigh;
    i32[RSP >> 2] = i32[at + 6];
    i32[(RSP >> 2) + 1] = i32[at + 7];
    if (!stays) this.#install(SEG.CS, selector, code);
    if (stack < 0) this.#put(SEG.SS, stackSelector, 0, 0, 0);
    else this.#install(SEG.SS, stackSelector, stack);
    if (stays) return true; // in 64-bit code SS decides nothing
    i32[STATE.CPL >> 2] = level;
    this.#modeChanged();
    return true;
  }

  #iret32(sysFlags: number): boolean {
    const i32 = this.#i32;
    if (!this.#flatStack()) return false;
    const sp = i32[RSP >> 2];
    const at = this.#locate(sp, 0, 20, false);
    if (at < 0) return false;
    const selector = i32[at + 1] & 0xffff;
    const flags = i32[at + 2];
    const level = selector & 3;
    if ((flags & RFLAGS.VM) !== 0 || (level !== 0 && level !== 3)) return false;
    const code = this.#descriptor(selector);
    if (code < 0 || this.#flat(code, FLAT_CODE32) !== level) return false;
    let stack = -1;
    if (level === 3) {
      const stackSelector = i32[at + 4] & 0xffff;
      stack = this.#descriptor(stackSelector);
      if (stack < 0 || (stackSelector & 3) !== 3 || this.#flat(stack, FLAT_DATA) !== 3 || !this.#keepsData())
        return false;
    }
    this.#returnFlags(flags, sysFlags);
    i32[STATE.RIP >> 2] = i32[at];
    i32[(STATE.RIP >> 2) + 1] = 0;
    i32[RSP >> 2] = level === 3 ? i32[at + 3] : (sp + 12) | 0;
    i32[(RSP >> 2) + 1] = 0;
    if (level === 3) this.#install(SEG.SS, i32[at + 4] & 0xffff, stack);
    if (level === 0 && this.#isCurrent(selector, code)) return true;
    this.#install(SEG.CS, selector, code);
    i32[STATE.CPL >> 2] = level;
    this.#modeChanged();
    return true;
  }

  /** No data segment register would be dropped on the way out. */
  #keepsData(): boolean {
    for (const segment of DATA_SEGMENTS) {
      const attributes = this.#segment(segment, SEG_ATTRIBUTES);
      if (attributes !== 0 && (attributes & DPL) !== DPL) return false;
    }
    return true;
  }

  /** RFLAGS as IRET at level 0 writes them; VM is not among them. */
  #returnFlags(value: number, old: number): void {
    const keep = RFLAGS.VM;
    const writable =
      RFLAGS.TF |
      RFLAGS.IF |
      RFLAGS.DF |
      RFLAGS.IOPL |
      RFLAGS.NT |
      RFLAGS.RF |
      RFLAGS.AC |
      RFLAGS.VIF |
      RFLAGS.VIP |
      RFLAGS.ID;
    this.#i32[STATE.SYS_FLAGS >> 2] = (old & keep) | (value & writable) | 2;
    setArithmetic(this.#view, value & ARITHMETIC);
  }
}
