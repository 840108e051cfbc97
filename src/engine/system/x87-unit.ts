/** What every x87 instruction does around its own business: waits, takes operands from the stack, and books exceptions.
 *
 * An instruction first asks for #NM and the pending #MF, then for its operand in memory (whatever that raises leaves
 * everything alone), and only then touches the stack. A stack fault is the invalid operation with SF; masked, the
 * indefinite QNaN takes the missing value's place. Unmasked exceptions wait in the status word for the next instruction.
 * Follows: SDM Vol. 1, 8.1.3, 8.5, 8.7.   Next: engine/system/x87-moves.ts. */
import { FloatContext, type Rounding } from '../../x86/float/context.ts';
import { decode80, Float, high80, KIND, significand80 } from '../../x86/float/formats.ts';
import type { CpuCore, HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { STATE } from '../state.ts';
import { FSW, get16, IMAGE, isEmpty, moveTop, needQuietX87, notePointers, ST, set16, setPresent } from './x87-state.ts';

export type X87Helper = (core: CpuCore, insn: HelperInsn) => void;

/** The unit's rounding, masks and precision; its Floats are reused by each instruction. */
export const ctx = new FloatContext();
const PRECISION = [24, 64, 53, 64] as const; // 1 is reserved
let modes = -1;

/** Waits; then the context has the control word's modes and no exceptions. */
export function begin(core: CpuCore): CpuState {
  needQuietX87(core);
  const { state } = core;
  const control = get16(state, IMAGE.FCW);
  if (control !== modes) {
    modes = control;
    ctx.rounding = ((control >> 10) & 3) as Rounding;
    ctx.masks = control & 0x3f;
    ctx.precision = PRECISION[(control >> 8) & 3];
  }
  ctx.flags = 0;
  ctx.roundedUp = false;
  return state;
}
/** The same for an instruction without an operand in memory. */
export function beginPlain(core: CpuCore, insn: HelperInsn): CpuState {
  const state = begin(core);
  notePointers(core, insn, 0n);
  return state;
}

/** Books what the context raised; C1 says whether rounding went up, and is clear otherwise. */
export function finish(state: CpuState, flags = ctx.flags, c1 = ctx.roundedUp): void {
  let status = (get16(state, IMAGE.FSW) & ~FSW.C1) | flags | (c1 ? FSW.C1 : 0);
  if ((status & ~ctx.masks & FSW.EXCEPTIONS) !== 0) status |= FSW.ES | FSW.B;
  set16(state, IMAGE.FSW, status);
}

/** Condition codes besides C1. */
export function setConditions(state: CpuState, conditions: number): void {
  set16(state, IMAGE.FSW, (get16(state, IMAGE.FSW) & ~(FSW.C0 | FSW.C2 | FSW.C3)) | conditions);
}

/** A register that should hold something is empty, or (overflow) the other way round. True when masked. */
export function stackFault(state: CpuState, overflow = false): boolean {
  finish(state, FSW.IE | FSW.SF, overflow);
  return (ctx.masks & FSW.IE) !== 0;
}

export function readSt(state: CpuState, i: number, into: Float): Float {
  const at = STATE.FXSAVE + ST + 16 * i;
  return decode80(into, state.view.getUint16(at + 8, true), state.view.getBigUint64(at, true));
}
export function writeSt(state: CpuState, i: number, value: Float): void {
  putSt(state, i, high80(value), significand80(value));
}
export function putSt(state: CpuState, i: number, high: number, significand: bigint): void {
  const at = STATE.FXSAVE + ST + 16 * i;
  state.view.setBigUint64(at, significand, true);
  state.view.setUint16(at + 8, high, true);
  setPresent(state, i);
}
export const INDEFINITE_HIGH = 0xffff;
export const INDEFINITE = 0xc000_0000_0000_0000n;
export const putIndefinite = (state: CpuState, i: number) => putSt(state, i, INDEFINITE_HIGH, INDEFINITE);

/** Makes room on top; false when it was taken, by an indefinite QNaN or (unmasked) by nothing. */
export function pushRoom(state: CpuState): boolean {
  if (isEmpty(state, 7)) {
    moveTop(state, -1);
    return true;
  }
  if (stackFault(state, true)) {
    moveTop(state, -1);
    putIndefinite(state, 0);
  }
  return false;
}

/** Pushes a value that needs no rounding. */
export function push(state: CpuState, high: number, significand: bigint): void {
  if (!pushRoom(state)) return;
  putSt(state, 0, high, significand);
  finish(state);
}

/** An integer of up to 64 bits as a Float. */
export function setInteger(into: Float, value: bigint): Float {
  if (value === 0n) return into.zero(0);
  const magnitude = value < 0n ? -value : value;
  const high = Math.clz32(Number(magnitude >> 32n));
  const zeros = high < 32 ? high : 32 + Math.clz32(Number(magnitude & 0xffff_ffffn));
  return into.set(KIND.NORMAL, value < 0n ? 1 : 0, 63 - zeros, magnitude << BigInt(zeros));
}

/** Operands. */
export const x = new Float();
export const y = new Float();
