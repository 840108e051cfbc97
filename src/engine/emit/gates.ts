/** Gates in generated code: INT n and IRET that stay in the kernel.
 *
 * From level 0 to level 0, with CS as it is in the descriptor table, a flat stack, and every table entry and the whole
 * frame behind present tags. That is every system call of a toy kernel without user mode, and the return from every
 * fault and interrupt of kernel code. Whatever else there is answers ASK with nothing changed, and QuickGates or the
 * complete transfer does it; the result is the same to the bit, and tests run every gate all three ways.
 * Follows: engine/quick-gates.ts, condition by condition; the sections stand in engine/system/exceptions.ts and far.ts.
 * Next: engine/emit/quick.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import { EFER, RFLAGS } from '../../x86/constants.ts';
import { LEAVE, REC, RETURN, STATUS } from '../record.ts';
import {
  SEG,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_BYTES,
  SEG_LIMIT,
  SEG_SELECTOR,
  STATE,
  TLB_BYTES,
  TLB_SUPERVISOR,
} from '../state.ts';
import {
  binary,
  type Code,
  type CoreFunctions,
  call,
  type Expression,
  extend,
  field32,
  i32,
  i64,
  load,
  nextOffset,
  setState32,
  setState64,
  state32,
  state64,
  unary,
  wrap,
} from './code.ts';
import type { LoopMode } from './hot.ts';

const RSP = STATE.GPR + 4 * 8;
const CS = STATE.SEG + SEG.CS * SEG_BYTES;
const SS = STATE.SEG + SEG.SS * SEG_BYTES;
/** Descriptor bits of its upper half: P, DPL, S, type with the accessed bit, G, D/B, L. */
const KIND_BITS = 0xe0_ff00;
const CODE_KIND = { 32: 0xc0_9b00, 64: 0xa0_9b00 } as const;
const DATA_KIND = 0xc0_9300;
const ARITHMETIC = 0x8d5;

export const add = (a: Expression, b: Expression): Expression => binary(OP.i32_add, I32, a, b);
export const and = (a: Expression, b: Expression | number): Expression => binary(OP.i32_and, I32, a, number(b));
export const or = (a: Expression, b: Expression): Expression => binary(OP.i32_or, I32, a, b);
export const differs = (a: Expression, b: Expression | number): Expression => binary(OP.i32_ne, I32, a, number(b));
const above = (a: Expression, b: Expression): Expression => binary(OP.i32_gt_u, I32, a, b);
const high16 = (e: Expression): Expression => binary(OP.i32_shr_u, I32, e, i32(16));
const at16 = (offset: number): Expression => load(OP.i32_load16_u, I32, i32(0), offset);
const at32 = (host: Expression, offset = 0): Expression => load(OP.i32_load, I32, host, offset);
const at64 = (host: Expression, offset = 0): Expression => load(OP.i64_load, I64, host, offset);
function number(value: Expression | number): Expression {
  return typeof value === 'number' ? i32(value) : value;
}

/** Code that does something only where everything is as it usually is. */
export class Shortcut {
  readonly code: Code;
  readonly mode: LoopMode;

  constructor(code: Code, mode: LoopMode) {
    this.code = code;
    this.mode = mode;
  }

  /** Gives up when the condition holds. */
  refuse(condition: Expression): void {
    this.code.if(condition, () => this.code.return(i32(RETURN.ASK)));
  }

  /** Level 0, and the kind of code that this build of the loop runs. A loop for 32-bit code may be in compatibility
   * mode, where gates have 16 bytes. */
  refuseOtherModes(): void {
    this.refuse(state32(STATE.CPL));
    if (this.mode === 32) this.refuse(and(state32(STATE.EFER), EFER.LMA));
  }

  /** Host offset of an aligned run of bytes in one page, by the supervisor's tags or those of the running level.
   * `address` is named already. */
  locate(address: Expression, bytes: number, write: boolean, running = false): Expression {
    const { code } = this;
    const low = code.let(wrap(address));
    this.refuse(and(low, 3));
    if (bytes > 4) this.refuse(above(and(low, 0xfff), i32(4096 - bytes)));
    const slot = and(binary(OP.i32_shr_u, I32, low, i32(8)), 0x3ff0);
    const entry = code.let(running ? add(slot, state32(STATE.TLB)) : slot);
    const table = (running ? 0 : TLB_SUPERVISOR) + (write ? TLB_BYTES : 0);
    const page = binary(OP.i64_and, I64, address, i64(-4096));
    this.refuse(binary(OP.i64_ne, I32, at64(entry, table), page));
    return code.let(add(low, at32(entry, table + 8)));
  }

  /** Host offset of a selector's descriptor, which must be of this kind, flat, and what `segment` holds already. */
  refuseOtherSegment(selector: Expression, segment: number, kind: number): void {
    const { code } = this;
    const at = CS + (segment - SEG.CS) * SEG_BYTES;
    this.refuse(differs(at16(at + SEG_SELECTOR), selector));
    this.refuse(or(and(selector, 4), unary(OP.i32_eqz, I32, and(selector, 0xfff8))));
    const offset = code.let(and(selector, 0xfff8));
    this.refuse(above(add(offset, i32(7)), state32(STATE.GDTR_LIMIT)));
    const address = code.let(binary(OP.i64_add, I64, state64(STATE.GDTR_BASE), extend(offset)));
    if (this.mode === 32) this.refuse(wrap(binary(OP.i64_shr_u, I64, address, i64(32))));
    const descriptor = this.locate(address, 8, false);
    const high = code.let(at32(descriptor, 4));
    this.refuse(differs(at32(descriptor), 0xffff)); // base 0, limit 0xfffff
    this.refuse(differs(and(high, 0xff0f_00ff | 0), 0x000f_0000));
    this.refuse(differs(and(high, KIND_BITS), kind));
    const attributes = and(binary(OP.i32_shr_u, I32, high, i32(8)), 0xf0ff);
    this.refuse(differs(state32(at + SEG_ATTRIBUTES), attributes));
    this.refuse(differs(state32(at + SEG_LIMIT), -1));
    this.refuse(unary(OP.i32_eqz, I32, unary(OP.i64_eqz, I32, state64(at + SEG_BASE))));
  }

  /** RSP plus some bytes, cut to the stack's width. */
  stack(bytes: number): Expression {
    if (this.mode === 64) return binary(OP.i64_add, I64, state64(RSP), i64(bytes));
    return extend(add(state32(RSP), i32(bytes)));
  }

  refuseOtherStack(): void {
    if (this.mode === 64) return; // in 64-bit code SS decides nothing
    this.refuse(differs(and(state32(SS + SEG_ATTRIBUTES), 0x409e), 0x4092));
    this.refuse(differs(state32(SS + SEG_LIMIT), -1));
    this.refuse(unary(OP.i32_eqz, I32, unary(OP.i64_eqz, I32, state64(SS + SEG_BASE))));
  }

  refuseNonCanonical(address: Expression): void {
    const top = binary(OP.i64_shr_s, I64, address, i64(47));
    this.refuse(binary(OP.i64_gt_u, I32, binary(OP.i64_add, I64, top, i64(1)), i64(1)));
  }
}

/** INT n: no error code, RF pushed as it is; at level 0 every gate's DPL will do. */
export function emitInt(code: Code, fn: CoreFunctions, mode: LoopMode): void {
  const gate = new Shortcut(code, mode);
  const vector = field32(REC.IMMEDIATE);
  const next = binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), extend(nextOffset()));
  const rip = code.let(binary(OP.i64_and, I64, next, state64(STATE.RIP_MASK)));
  const bytes = mode === 64 ? 16 : 8;
  const sysFlags = code.let(state32(STATE.SYS_FLAGS));
  gate.refuseOtherModes();
  gate.refuse(and(sysFlags, RFLAGS.VM));
  const offset = code.let(binary(OP.i32_mul, I32, vector, i32(bytes)));
  gate.refuse(above(add(offset, i32(bytes - 1)), state32(STATE.IDTR_LIMIT)));
  const address = code.let(binary(OP.i64_add, I64, state64(STATE.IDTR_BASE), extend(offset)));
  if (mode === 32) gate.refuse(wrap(binary(OP.i64_shr_u, I64, address, i64(32))));
  const entry = gate.locate(address, bytes, false);
  const word0 = code.let(at32(entry));
  const word1 = code.let(at32(entry, 4));
  // Present, interrupt or trap gate of 32 or 64 bits, no stack table entry.
  gate.refuse(differs(and(word1, 0x9e00 | (mode === 64 ? 7 : 0)), 0x8e00));
  gate.refuseOtherSegment(code.let(and(high16(word0), 0xfffc)), SEG.CS, CODE_KIND[mode]);
  const low = or(and(word0, 0xffff), and(word1, 0xffff_0000 | 0));
  const target = code.let(
    mode === 32
      ? extend(low)
      : binary(OP.i64_or, I64, extend(low), binary(OP.i64_shl, I64, extend(at32(entry, 8)), i64(32))),
  );
  if (mode === 64) gate.refuseNonCanonical(target);
  gate.refuseOtherStack();
  const before = code.let(state64(RSP));
  const pushed = code.let(or(call(I32, fn.flags), sysFlags));
  const cs = extend(at16(CS + SEG_SELECTOR));
  if (mode === 64) {
    const top = binary(OP.i64_and, I64, before, i64(-16));
    const to = code.let(binary(OP.i64_sub, I64, top, i64(40)));
    const frame = gate.locate(to, 40, true);
    const words = [rip, cs, extend(pushed), before, extend(at16(SS + SEG_SELECTOR))];
    for (const [n, word] of words.entries()) code.store(OP.i64_store, frame, word, n * 8);
    setState64(code, RSP, to);
  } else {
    const sp = code.let(wrap(before));
    gate.refuse(binary(OP.i32_lt_u, I32, sp, i32(12)));
    const to = code.let(extend(binary(OP.i32_sub, I32, sp, i32(12))));
    const frame = gate.locate(to, 12, true);
    for (const [n, word] of [wrap(rip), wrap(cs), pushed].entries()) code.store(OP.i32_store, frame, word, n * 4);
    setState64(code, RSP, to);
  }
  setState64(code, STATE.RIP, target);
  const always = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM;
  // An interrupt gate clears IF, a trap gate (bit 8 of the upper word) does not.
  const keepsIf = binary(OP.i32_shl, I32, and(word1, 0x100), i32(1));
  setState32(code, STATE.SYS_FLAGS, and(sysFlags, or(i32(~(always | RFLAGS.IF)), keepsIf)));
  setState32(code, STATE.SHADOW, i32(0));
  code.emit(i32(RETURN.JUMP));
}

/** IRET with a frame of the code's own width. */
export function emitIret(code: Code, fn: CoreFunctions, mode: LoopMode): void {
  const gate = new Shortcut(code, mode);
  const sysFlags = code.let(state32(STATE.SYS_FLAGS));
  gate.refuseOtherModes();
  gate.refuse(and(sysFlags, RFLAGS.NT | RFLAGS.VM));
  gate.refuseOtherStack();
  const width = mode / 8;
  const words = mode === 64 ? 5 : 3;
  const sp = code.let(mode === 64 ? state64(RSP) : extend(state32(RSP)));
  const frame = gate.locate(sp, words * width, false);
  const rip = code.let(mode === 64 ? at64(frame) : extend(at32(frame)));
  if (mode === 64) gate.refuseNonCanonical(rip);
  const popped = code.let(at32(frame, 2 * width));
  // What would change the mode or stop the loop is left to others, and so is a return to level 3. RF ends with the next
  // instruction; with none left to run, it must stay.
  gate.refuse(and(binary(OP.i32_xor, I32, popped, sysFlags), RFLAGS.AC));
  gate.refuse(and(popped, RFLAGS.TF | RFLAGS.VM));
  const last = unary(OP.i32_eqz, I32, state32(STATE.LEFT));
  gate.refuse(and(binary(OP.i32_shl, I32, last, i32(16)), popped)); // RF is bit 16
  gate.refuseOtherSegment(code.let(and(at32(frame, width), 0xffff)), SEG.CS, CODE_KIND[mode]);
  if (mode === 64) {
    // A null SS stays one; any other must be what it is already.
    const ss = code.let(and(at32(frame, 4 * width), 0xffff));
    code.if(
      ss,
      () => gate.refuseOtherSegment(ss, SEG.SS, DATA_KIND),
      () => gate.refuse(or(at16(SS + SEG_SELECTOR), state32(SS + SEG_ATTRIBUTES))),
    );
  }
  const writable = RFLAGS.IF | RFLAGS.DF | RFLAGS.IOPL | RFLAGS.NT | RFLAGS.AC | RFLAGS.VIF | RFLAGS.VIP | RFLAGS.ID;
  setState32(code, STATE.SYS_FLAGS, or(and(popped, writable), i32(RFLAGS.ONE)));
  setState32(code, STATE.FLAG_BITS, and(popped, ARITHMETIC));
  setState64(code, STATE.FLAG_R, i64(1));
  setState64(code, STATE.RIP, rip);
  setState64(code, RSP, mode === 64 ? at64(frame, 3 * width) : extend(add(wrap(sp), i32(12))));
  // With interrupts off before and on now, one may have been waiting.
  const opens = and(and(popped, binary(OP.i32_xor, I32, sysFlags, i32(-1))), RFLAGS.IF);
  code.if(opens, () => code.if(call(I32, fn.pending), () => code.return(i32(LEAVE + STATUS.JUMPED))));
  code.emit(i32(RETURN.JUMP));
}
