/** Shortcuts: instructions that are TypeScript's, done by the core where everything is as it usually is.
 *
 * Kernels move RFLAGS, mask interrupts, read CR2 and touch ports all the time, and a call into TypeScript costs more than
 * any of these. Each function here either does its instruction completely or answers ASK with nothing changed; the
 * helper in engine/system then does it, and what is rare (a missing tag, a fault, a trap flag) stands only there. The
 * plain form never comes here, so tests hold the two against each other.
 * May not: fault.   Next: engine/emit/core.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import { IOPL_SHIFT, RFLAGS } from '../../x86/constants.ts';
import { LEAVE, REC, RETURN, STATUS } from '../record.ts';
import { SHADOW, STATE } from '../state.ts';
import {
  binary,
  type Code,
  type CoreFunctions,
  call,
  extend,
  field8,
  field16,
  field32,
  i32,
  i64,
  load,
  select,
  setState32,
  setState64,
  state32,
  unary,
} from './code.ts';
import { and, differs, emitInt, emitIret, or, Shortcut } from './gates.ts';
import { noteCurrent } from './handler.ts';
import type { LoopMode } from './hot.ts';

type Emit = (code: Code, fn: CoreFunctions, mode: LoopMode) => void;

/** The helpers that have one, by name. What the decoder checked beforehand stands in Blocks.shortcut. */
export const QUICK: readonly { name: string; emit: Emit }[] = [
  { name: 'int', emit: emitInt },
  { name: 'iret', emit: emitIret },
  { name: 'in', emit: (code, fn) => emitPort(code, fn, false) },
  { name: 'out', emit: (code, fn) => emitPort(code, fn, true) },
  { name: 'cli', emit: (code, _fn, mode) => emitInterruptFlag(code, mode, false) },
  { name: 'sti', emit: (code, _fn, mode) => emitInterruptFlag(code, mode, true) },
  { name: 'cld', emit: (code) => emitDirection(code, 0) },
  { name: 'std', emit: (code) => emitDirection(code, RFLAGS.DF) },
  { name: 'pushf', emit: emitPushf },
  { name: 'popf', emit: emitPopf },
  { name: 'pusha', emit: emitPusha },
  { name: 'popa', emit: emitPopa },
  { name: 'mov_from_cr', emit: emitMovFromCr },
  { name: 'mov_from_sreg', emit: emitMovFromSreg },
];

const RSP = STATE.GPR + 4 * 8;
const ARITHMETIC = 0x8d5;
const sysFlags = () => state32(STATE.SYS_FLAGS);
const next = (code: Code): void => code.emit(i32(RETURN.NEXT));

export function emitQuick(code: Code, fn: CoreFunctions, mode: LoopMode, emit: Emit): void {
  code.if(unary(OP.i32_eqz, I32, state32(STATE.SHORTCUTS)), () => code.return(i32(RETURN.ASK)));
  noteCurrent(code);
  emit(code, fn, mode);
}

/** Level above IOPL: #GP, or the I/O permission bitmap. */
function refuseAboveIopl(shortcut: Shortcut): void {
  const iopl = and(binary(OP.i32_shr_u, I32, sysFlags(), i32(IOPL_SHIFT)), 3);
  shortcut.refuse(binary(OP.i32_gt_u, I32, state32(STATE.CPL), iopl));
}

function emitPort(code: Code, fn: CoreFunctions, out: boolean): void {
  refuseAboveIopl(new Shortcut(code, 32));
  const immediate = code.let(field32(REC.IMMEDIATE));
  const dx = load(OP.i32_load16_u, I32, i32(STATE.GPR + 2 * 8));
  const port = select(I32, binary(OP.i32_lt_s, I32, immediate, i32(0)), dx, immediate);
  code.emit(call(I32, fn.port, port, field8(REC.SCALE), i32(out ? 1 : 0)));
}

/** STI holds interrupts off for one instruction more, which the run loop sees to. */
function emitInterruptFlag(code: Code, mode: LoopMode, on: boolean): void {
  refuseAboveIopl(new Shortcut(code, mode));
  const flags = code.let(sysFlags());
  setState32(code, STATE.SYS_FLAGS, on ? or(flags, i32(RFLAGS.IF)) : and(flags, ~RFLAGS.IF));
  if (on) {
    code.if(unary(OP.i32_eqz, I32, and(flags, RFLAGS.IF)), () => {
      setState32(code, STATE.SHADOW, i32(SHADOW.STI));
      code.return(i32(LEAVE + STATUS.DONE));
    });
  }
  next(code);
}

function emitDirection(code: Code, flag: number): void {
  setState32(code, STATE.SYS_FLAGS, or(and(sysFlags(), ~RFLAGS.DF), i32(flag)));
  next(code);
}

function emitPushf(code: Code, fn: CoreFunctions, mode: LoopMode): void {
  const shortcut = new Shortcut(code, mode);
  const bytes = mode / 8;
  const to = code.let(shortcut.stack(-bytes));
  const at = shortcut.locate(to, bytes, true, true);
  const flags = or(call(I32, fn.flags), and(sysFlags(), ~(RFLAGS.RF | RFLAGS.VM)));
  if (mode === 64) code.store(OP.i64_store, at, extend(flags));
  else code.store(OP.i32_store, at, flags);
  setState64(code, RSP, to);
  next(code);
}

/** What changes TF, NT or AC, or IOPL outside level 0, is left to others; so is IF where it may not change. */
function emitPopf(code: Code, fn: CoreFunctions, mode: LoopMode): void {
  const shortcut = new Shortcut(code, mode);
  const bytes = mode / 8;
  const sp = code.let(shortcut.stack(0));
  const value = code.let(load(OP.i32_load, I32, shortcut.locate(sp, bytes, false, true)));
  const old = code.let(sysFlags());
  shortcut.refuse(state32(STATE.CPL));
  shortcut.refuse(and(old, RFLAGS.VM | RFLAGS.RF));
  shortcut.refuse(and(binary(OP.i32_xor, I32, value, old), RFLAGS.TF | RFLAGS.NT | RFLAGS.AC));
  const writable = RFLAGS.IF | RFLAGS.DF | RFLAGS.IOPL | RFLAGS.ID;
  setState32(code, STATE.SYS_FLAGS, or(and(old, ~writable), and(value, writable)));
  setState32(code, STATE.FLAG_BITS, and(value, ARITHMETIC));
  setState64(code, STATE.FLAG_R, i64(1));
  setState64(code, RSP, shortcut.stack(bytes));
  const opens = and(and(value, RFLAGS.IF), binary(OP.i32_xor, I32, old, i32(-1)));
  code.if(opens, () => code.if(call(I32, fn.pending), () => code.return(i32(LEAVE + STATUS.DONE))));
  next(code);
}

function emitPusha(code: Code, _fn: CoreFunctions, mode: LoopMode): void {
  const shortcut = new Shortcut(code, mode);
  const to = code.let(shortcut.stack(-32));
  const at = shortcut.locate(to, 32, true, true);
  for (let n = 0; n < 8; n++) code.store(OP.i32_store, at, state32(STATE.GPR + n * 8), (7 - n) * 4);
  setState64(code, RSP, to);
  next(code);
}

/** ESP's word is skipped. */
function emitPopa(code: Code, _fn: CoreFunctions, mode: LoopMode): void {
  const shortcut = new Shortcut(code, mode);
  const at = shortcut.locate(code.let(shortcut.stack(0)), 32, false, true);
  for (let n = 0; n < 8; n++) {
    if (n !== 4) setState64(code, STATE.GPR + n * 8, extend(load(OP.i32_load, I32, at, (7 - n) * 4)));
  }
  setState64(code, RSP, shortcut.stack(32));
  next(code);
}

function emitMovFromCr(code: Code, _fn: CoreFunctions, mode: LoopMode): void {
  new Shortcut(code, mode).refuse(differs(state32(STATE.CPL), 0));
  const from = field16(REC.B);
  const value = mode === 64 ? load(OP.i64_load, I64, from) : extend(load(OP.i32_load, I32, from));
  code.store(OP.i64_store, field16(REC.A), value);
  next(code);
}

/** To a register, at the operand's size; the selector's address is in B. */
function emitMovFromSreg(code: Code): void {
  const selector = load(OP.i32_load16_u, I32, field16(REC.B));
  code.if(
    binary(OP.i32_eq, I32, field8(REC.SCALE), i32(2)),
    () => code.store(OP.i32_store16, field16(REC.A), selector),
    () => code.store(OP.i64_store, field16(REC.A), extend(selector)),
  );
  next(code);
}
