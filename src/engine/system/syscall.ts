/** SYSCALL, SYSRET, SYSENTER, SYSEXIT: fast ways in and out of the kernel, without descriptor tables.
 *
 * These are AMD's: SYSCALL works in compatibility mode (CSTAR) and in legacy mode (STAR's low half), SYSRET leaves the
 * hidden part of SS as it was and does not check RCX (a RIP that is not canonical faults at the target, at level 3),
 * SYSENTER does not exist in long mode. Segments get fixed contents; the selectors come from the MSRs unchecked.
 * Follows: AMD64 Manual Vol. 3, SYSCALL, SYSRET, SYSENTER, SYSEXIT; Vol. 2, 6.1.
 * May not: look at a descriptor table, or decide whether CPUID shows these (the decoder's feature test does).
 * Next: trace/run-record.ts. */
import { EFER, RFLAGS, VECTOR } from '../../x86/constants.ts';
import { isNull } from '../../x86/descriptor.ts';
import { flatCode32, flatCode64, flatData } from '../../x86/vcpu-state.ts';
import { type CpuCore, GuestFault, type HelperInsn } from '../core.ts';
import { SEG } from '../state.ts';
import { RSP, U32 } from './stack.ts';

const RCX = 1;
const RDX = 2;
const R11 = 11;
/** What SYSRET restores from R11: every defined flag but RF and VM. */
const RETURN_FLAGS = 0x3c_7fd7;

function needEnabled(core: CpuCore): void {
  if ((core.state.get64('EFER') & BigInt(EFER.SCE)) === 0n) throw new GuestFault(VECTOR.UD);
}
const starField = (core: CpuCore, shift: bigint): number => Number((core.state.get64('STAR') >> shift) & 0xffffn);

function syscall(core: CpuCore, insn: HelperInsn): true {
  const { state } = core;
  needEnabled(core);
  const selector = starField(core, 32n) & 0xfffc;
  const flags = state.rflags & ~RFLAGS.RF;
  const long = state.longMode;
  const target = long ? state.get64(state.is64 ? 'LSTAR' : 'CSTAR') : state.get64('STAR') & U32;
  state.setGpr(RCX, insn.nextRip, long ? 8 : 4);
  if (long) {
    state.setGpr(R11, BigInt(flags));
    state.rflags = flags & ~Number(state.get64('SFMASK') & U32);
  } else {
    state.rflags = flags & ~(RFLAGS.IF | RFLAGS.VM);
  }
  state.setSegment(SEG.CS, long ? flatCode64(selector) : flatCode32(selector));
  state.setSegment(SEG.SS, flatData((selector + 8) & 0xffff));
  state.cpl = 0;
  state.rip = target;
  core.modeChanged();
  return true;
}

function sysret(core: CpuCore, insn: HelperInsn): true {
  const { state } = core;
  needEnabled(core);
  if (state.cpl !== 0) throw new GuestFault(VECTOR.GP, 0);
  const base = starField(core, 48n);
  const to64 = state.longMode && state.is64 && insn.operandSize === 8;
  const flags = state.longMode ? Number(state.gpr(R11) & BigInt(RETURN_FLAGS)) : state.rflags | RFLAGS.IF;
  state.setSegment(SEG.CS, to64 ? flatCode64(((base + 16) & 0xffff) | 3, 3) : flatCode32(base | 3, 3));
  state.setSegment(SEG.SS, { ...state.segment(SEG.SS), selector: (base + 8) & 0xffff });
  state.rip = state.gpr(RCX, to64 ? 8 : 4);
  state.rflags = flags & ~RFLAGS.RF;
  state.cpl = 3;
  core.modeChanged();
  return true;
}

/** SYSENTER_CS, when the instruction may run: legacy mode, and a selector that is not null. */
function sysenterSelector(core: CpuCore): number {
  if (core.state.longMode) throw new GuestFault(VECTOR.UD);
  const selector = Number(core.state.get64('SYSENTER_CS') & 0xfffcn);
  if (isNull(selector)) throw new GuestFault(VECTOR.GP, 0);
  return selector;
}

function sysenter(core: CpuCore): true {
  const { state } = core;
  const selector = sysenterSelector(core);
  state.rflags = state.rflags & ~(RFLAGS.IF | RFLAGS.VM | RFLAGS.RF);
  state.setSegment(SEG.CS, flatCode32(selector));
  state.setSegment(SEG.SS, flatData((selector + 8) & 0xffff));
  state.cpl = 0;
  state.setGpr(RSP, state.get64('SYSENTER_ESP'), 4);
  state.rip = state.get64('SYSENTER_EIP') & U32;
  core.modeChanged();
  return true;
}

function sysexit(core: CpuCore): true {
  const { state } = core;
  if (state.cpl !== 0) throw new GuestFault(VECTOR.GP, 0); // before #UD of long mode, as observed on an EPYC
  const selector = sysenterSelector(core);
  state.setSegment(SEG.CS, flatCode32(((selector + 16) & 0xffff) | 3, 3));
  state.setSegment(SEG.SS, flatData(((selector + 24) & 0xffff) | 3, 3));
  state.cpl = 3;
  state.setGpr(RSP, state.gpr(RCX), 4);
  state.rip = state.gpr(RDX, 4);
  core.modeChanged();
  return true;
}

export const syscallHelpers = { syscall, sysret, sysenter, sysexit };
