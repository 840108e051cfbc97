/** The x87's instructions over the state: a stack of eight registers of 80 bits.
 *
 * Every one that is not a control instruction first asks for #NM and the pending #MF, then for its operand (whatever
 * that raises leaves the state alone), and only then touches the stack. A stack fault is the invalid operation with SF;
 * masked, the indefinite QNaN takes the result's place.
 * Follows: SDM Vol. 1, 8.1.2, 8.5.1.   Next: engine/system/syscall.ts. */
import type { CpuCore, HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { STATE } from '../state.ts';
import {
  FSW,
  get16,
  IMAGE,
  isEmpty,
  moveTop,
  needQuietX87,
  notePointers,
  pop,
  ST,
  set16,
  setEmpty,
  setPresent,
  summarise,
} from './x87-state.ts';

/** Flags an exception; true when it is masked. */
function raise(state: CpuState, flags: number): boolean {
  set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) | flags);
  summarise(state);
  return (flags & FSW.EXCEPTIONS & ~get16(state, IMAGE.FCW)) === 0;
}

const clearC1 = (state: CpuState) => set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) & ~FSW.C1);

/** A value onto the stack: `high` is sign and exponent. */
function push(state: CpuState, high: number, significand: bigint): void {
  if (!isEmpty(state, 7)) {
    if (!raise(state, FSW.IE | FSW.SF | FSW.C1)) return;
    [high, significand] = [0xffff, 0xc000_0000_0000_0000n];
  } else clearC1(state);
  moveTop(state, -1);
  setPresent(state, 0);
  state.view.setBigUint64(STATE.FXSAVE + ST, significand, true);
  state.view.setUint16(STATE.FXSAVE + ST + 8, high, true);
}

/** An integer is exact in 64 bits of significand. */
function pushInteger(state: CpuState, value: bigint): void {
  if (value === 0n) {
    push(state, 0, 0n);
    return;
  }
  const magnitude = value < 0n ? -value : value;
  const shift = Math.clz32(Number(magnitude >> 32n));
  const zeros = shift < 32 ? shift : 32 + Math.clz32(Number(magnitude & 0xffff_ffffn));
  push(state, (value < 0n ? 0x8000 : 0) | (0x3fff + 63 - zeros), magnitude << BigInt(zeros));
}

function fild(core: CpuCore, insn: HelperInsn, bytes: 2 | 4 | 8): void {
  needQuietX87(core);
  const offset = insn.offset();
  const value = BigInt.asIntN(bytes * 8, core.readSegment(insn.segment, offset, bytes));
  notePointers(core, insn, offset);
  pushInteger(core.state, value);
}

function ffree(core: CpuCore, insn: HelperInsn): void {
  needQuietX87(core);
  notePointers(core, insn, 0n);
  setEmpty(core.state, insn.rm & 7);
}

function turn(core: CpuCore, insn: HelperInsn, step: -1 | 1): void {
  needQuietX87(core);
  notePointers(core, insn, 0n);
  clearC1(core.state);
  moveTop(core.state, step);
}

export const x87Helpers: Record<string, (core: CpuCore, insn: HelperInsn) => void> = {
  fild_m16: (core, insn) => fild(core, insn, 2),
  fild_m32: (core, insn) => fild(core, insn, 4),
  fild_m64: (core, insn) => fild(core, insn, 8),
  ffree,
  ffreep: (core, insn) => {
    ffree(core, insn);
    pop(core.state);
  },
  fnop: (core, insn) => {
    needQuietX87(core);
    notePointers(core, insn, 0n);
  },
  fdecstp: (core, insn) => turn(core, insn, -1),
  fincstp: (core, insn) => turn(core, insn, 1),
};
