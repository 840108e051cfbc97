/** RFLAGS as programs move it: PUSHF, POPF, CLI, STI, and the part that IRET shares.
 *
 * Which bits a write may change depends on the privilege level and the operand size; bits that it may not change keep
 * their value silently. Follows: SDM Vol. 2, POPF, IRET, STI; Vol. 3, 2.3 and 6.8.
 * Known gap: VME and PVI (CR4) are not built, so CLI and STI above IOPL always raise #GP.
 * May not: decide when an interrupt is taken.   Next: engine/system/syscall.ts. */
import { IOPL_SHIFT, RFLAGS, VECTOR } from '../../x86/constants.ts';
import { type CpuCore, GuestFault, type HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { STATE } from '../state.ts';
import { drop, peek, push, type Size } from './stack.ts';

/** What any program may write, by itself. */
const COMMON =
  RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.TF | RFLAGS.DF | RFLAGS.OF | RFLAGS.NT;
const WIDE = RFLAGS.AC | RFLAGS.ID;

export const iopl = (state: CpuState): number =>
  (state.view.getInt32(STATE.SYS_FLAGS, true) & RFLAGS.IOPL) >> IOPL_SHIFT;

/** Bits of RFLAGS that POPF changes at this level and size. */
export function writableFlags(cpl: number, ioPrivilege: number, size: Size): number {
  let mask = COMMON;
  if (cpl === 0) mask |= RFLAGS.IOPL;
  if (cpl <= ioPrivilege) mask |= RFLAGS.IF;
  return size === 2 ? mask : mask | WIDE;
}

/** Writes RFLAGS as POPF does: RF ends up clear, VM, VIF and VIP keep their values. The caller's CPL counts. */
export function writeFlags(core: CpuCore, value: number, size: Size): void {
  const { state } = core;
  replace(core, value, writableFlags(state.cpl, iopl(state), size));
}

/** Writes RFLAGS as IRET does, at the level that executes it: RF too, and VIF and VIP at level 0. */
export function writeReturnFlags(core: CpuCore, value: number, size: Size): void {
  const { state } = core;
  let mask = writableFlags(state.cpl, iopl(state), size);
  if (size !== 2) mask |= RFLAGS.RF | (state.cpl === 0 ? RFLAGS.VIF | RFLAGS.VIP : 0);
  replace(core, value, mask);
}

function replace(core: CpuCore, value: number, mask: number): void {
  const { state } = core;
  const old = state.rflags;
  state.rflags = (old & ~mask & ~RFLAGS.RF) | (value & mask);
  if (((old ^ state.rflags) & RFLAGS.AC) !== 0) core.modeChanged();
}

function pushf(core: CpuCore, insn: HelperInsn): void {
  push(core, BigInt(core.state.rflags & ~(RFLAGS.RF | RFLAGS.VM)), insn.operandSize);
}

function popf(core: CpuCore, insn: HelperInsn): void {
  const value = peek(core, 0, insn.operandSize);
  drop(core.state, insn.operandSize);
  writeFlags(core, Number(value & 0xffff_ffffn), insn.operandSize);
}

function cli(core: CpuCore): void {
  changeInterruptFlag(core, 0);
}

/** The instruction behind STI still runs with interrupts off, when they were off before. */
function sti(core: CpuCore): void {
  const wasOff = (core.state.rflags & RFLAGS.IF) === 0;
  changeInterruptFlag(core, RFLAGS.IF);
  if (wasOff) core.state.shadow = 1;
}

function changeInterruptFlag(core: CpuCore, flag: number): void {
  const { state } = core;
  if (state.cpl > iopl(state)) throw new GuestFault(VECTOR.GP, 0);
  state.rflags = (state.rflags & ~RFLAGS.IF) | flag;
}

export const stackFlagHelpers = { pushf, popf, cli, sti };
