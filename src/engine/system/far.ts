/** Far jumps, calls and returns, and IRET: transfers of control that load CS.
 *
 * Everything is checked in the manual's order and every byte probed before the first commit. A helper here returns true:
 * it has set state.rip itself.
 * Follows: SDM Vol. 2, JMP, CALL, RET, IRET/IRETD/IRETQ; Vol. 3, 5.8 (gates and stack switching), 6.12, 6.14.3 (IRET).
 * Where makers differ this is AMD: REX.W widens what LCALL pushes but not the pointer in memory (observed on an EPYC).
 * Not built, ends the run by name: task switches through JMP, CALL and IRET, returns to virtual-8086 mode.
 * Known gap: IRET does not unblock NMIs, since none is ever blocked.   Next: engine/system/stack-flags.ts. */
import { RFLAGS, SEGMENT, SYSTEM_TYPE, VECTOR } from '../../x86/constants.ts';
import {
  dplOf,
  type Gate,
  gateOf,
  isGate16,
  isNull,
  isTss,
  limitOf,
  rplOf,
  selectorError,
  systemType,
  TSS_BUSY_BIT,
} from '../../x86/descriptor.ts';
import { nullSegment } from '../../x86/vcpu-state.ts';
import { isCanonical } from '../access.ts';
import { type CpuCore, GuestFault, type HelperInsn, Unbuilt } from '../core.ts';
import { SEG } from '../state.ts';
import { switchStack32 } from './exceptions.ts';
import {
  type CheckedStack,
  checkStack,
  codeOrData,
  dropInnerSegments,
  type FoundDescriptor,
  findDescriptor,
  installSegment,
  isCode,
  isCode64,
  isConforming,
  isPresent,
  markAccessed,
  probeAccessed,
  probeStack,
  readFarPointer,
} from './segments.ts';
import {
  currentStack,
  currentStackMask,
  drop,
  Frame,
  innerStack64,
  maskOf,
  peek,
  RSP,
  type Size,
  type Stack,
  setStackPointer,
  stackMask,
  U32,
  U64,
} from './stack.ts';
import { writeReturnFlags } from './stack-flags.ts';

const TABLE = 'engine/system/far.ts';
const gp = (error: number): GuestFault => new GuestFault(VECTOR.GP, error);
const np = (error: number): GuestFault => new GuestFault(VECTOR.NP, error);

/** Whether code of this segment runs in 64-bit mode. */
const runs64 = (core: CpuCore, code: FoundDescriptor): boolean =>
  core.state.longMode && (code.attributes & SEGMENT.L) !== 0;

/** The new instruction pointer against its segment: limit, or canonical form for 64-bit code. */
function checkTarget(core: CpuCore, code: FoundDescriptor, offset: bigint): void {
  if (runs64(core, code) ? !isCanonical(offset) : offset > limitOf(code)) throw gp(0);
}

/** CS, RIP and, for a change of level, CPL. The accessed bit has been set. */
function enterCode(core: CpuCore, code: FoundDescriptor, selector: number, offset: bigint): void {
  installSegment(core, SEG.CS, code, selector);
  core.state.rip = offset;
  core.state.cpl = rplOf(selector);
}

// ---- Jumps and calls

type Transfer = { selector: number; offset: bigint; size: Size; returnTo: bigint | undefined };

/** JMP (returnTo undefined) or CALL to selector:offset: to code, or through a gate whose own offset counts. */
function transfer(core: CpuCore, to: Transfer): true {
  const { selector } = to;
  if (isNull(selector)) throw gp(0);
  const error = selectorError(selector);
  const found = findDescriptor(core, selector);
  if (!found) throw gp(error);
  if (!codeOrData(found.attributes)) return throughSystemDescriptor(core, to, found);
  if (!isCode(found.attributes)) throw gp(error);
  if (core.state.longMode && (found.attributes & SEGMENT.L) !== 0 && (found.attributes & SEGMENT.DB) !== 0) {
    throw gp(error);
  }
  const { cpl } = core.state;
  const dpl = dplOf(found.attributes);
  if (isConforming(found.attributes) ? dpl > cpl : rplOf(selector) > cpl || dpl !== cpl) throw gp(error);
  if (!isPresent(found.attributes)) throw np(error);
  return sameLevel(core, found, selector, to.offset, to.size, to.returnTo);
}

/** Same privilege level: a call pushes CS and the return address on the stack in use. */
function sameLevel(
  core: CpuCore,
  code: FoundDescriptor,
  selector: number,
  offset: bigint,
  size: Size,
  returnTo: bigint | undefined,
): true {
  const { state } = core;
  const frame = new Frame(core, currentStack(state), size, state.cpl, 0);
  if (returnTo !== undefined) {
    frame.push(BigInt(state.selector(SEG.CS)));
    frame.push(returnTo);
    frame.check();
  }
  checkTarget(core, code, offset);
  frame.probe();
  probeAccessed(core, code);

  const sp = frame.commit();
  markAccessed(core, code);
  if (returnTo !== undefined) setStackPointer(state, sp, currentStackMask(state));
  enterCode(core, code, (selector & ~3) | state.cpl, offset);
  core.modeChanged();
  return true;
}

function throughSystemDescriptor(core: CpuCore, to: Transfer, found: FoundDescriptor): true {
  const error = selectorError(to.selector);
  const { state } = core;
  const type = systemType(found);
  const gate16 = type === SYSTEM_TYPE.CALL_GATE16 && !state.longMode;
  if (type === SYSTEM_TYPE.CALL_GATE || gate16) return throughCallGate(core, to, readCallGate(core, found));
  if (state.longMode || !(type === SYSTEM_TYPE.TASK_GATE || isTss(type))) throw gp(error);
  const dpl = dplOf(found.attributes);
  if (dpl < state.cpl || dpl < rplOf(to.selector)) throw gp(error);
  if (isTss(type) && (type as number) & TSS_BUSY_BIT) throw gp(error);
  if (!isPresent(found.attributes)) throw np(error);
  throw new Unbuilt('hardware task switch', TABLE);
}

/** The whole gate: in long mode the second eight bytes too, whose type must be zero. */
function readCallGate(core: CpuCore, found: FoundDescriptor): Gate {
  if (!core.state.longMode) return gateOf(found);
  const error = selectorError(found.selector);
  if (!findDescriptor(core, found.selector, 16)) throw gp(error);
  const upper = core.readLinear((found.address + 8n) & U64, 8, true);
  if (((upper >> 40n) & 0x1fn) !== 0n) throw gp(error);
  return gateOf(found, Number(upper & U32));
}

function throughCallGate(core: CpuCore, to: Transfer, gate: Gate): true {
  const { state } = core;
  const error = selectorError(to.selector);
  if (gate.dpl < state.cpl || gate.dpl < rplOf(to.selector)) throw gp(error);
  if (!gate.present) throw np(error);
  if (isNull(gate.selector)) throw gp(0);
  const codeError = selectorError(gate.selector);
  const code = findDescriptor(core, gate.selector);
  if (!code || !isCode(code.attributes)) throw gp(codeError);
  const dpl = dplOf(code.attributes);
  const inward = !isConforming(code.attributes) && dpl < state.cpl;
  if (dpl > state.cpl || (inward && to.returnTo === undefined)) throw gp(codeError);
  if (state.longMode && !isCode64(code.attributes)) throw gp(codeError);
  if (!isPresent(code.attributes)) throw np(codeError);
  const size: Size = state.longMode ? 8 : isGate16(gate.type) ? 2 : 4;
  if (!inward || to.returnTo === undefined) {
    return sameLevel(core, code, gate.selector, gate.offset, size, to.returnTo);
  }
  return callInward(core, gate, code, dpl, size, to.returnTo);
}

/** A call to an inner level: new stack from the TSS, the old one saved on it, parameters copied in legacy mode. */
function callInward(
  core: CpuCore,
  gate: Gate,
  code: FoundDescriptor,
  level: number,
  size: Size,
  returnTo: bigint,
): true {
  const { state } = core;
  let checked: CheckedStack | undefined;
  let stack: Stack;
  if (state.longMode) {
    stack = { ...innerStack64(core, level, 0, 0), is64: true };
  } else {
    const inner = switchStack32(core, level, 0);
    checked = inner.checked;
    stack = { ss: inner.checked.segment, sp: inner.sp, is64: false };
  }
  const overflow = selectorError(stack.ss.selector);
  const parameters = state.longMode ? 0 : gate.parameters;
  const build = (parameter: (index: number) => bigint): Frame => {
    const frame = new Frame(core, stack, size, level, overflow);
    frame.push(BigInt(state.selector(SEG.SS)));
    frame.push(state.gpr(RSP));
    for (let i = parameters - 1; i >= 0; i--) frame.push(parameter(i));
    frame.push(BigInt(state.selector(SEG.CS)));
    frame.push(returnTo);
    frame.check();
    return frame;
  };
  build(() => 0n); // room on the new stack comes before the target, and both before the old stack is read
  checkTarget(core, code, gate.offset);
  const frame = build((i) => peek(core, i * size, size));
  frame.probe();
  if (checked) probeStack(core, checked);
  probeAccessed(core, code);

  const sp = frame.commit();
  if (checked?.found) markAccessed(core, checked.found);
  markAccessed(core, code);
  state.setSegment(SEG.SS, stack.ss);
  state.setGpr(RSP, sp, state.longMode ? 8 : 4);
  enterCode(core, code, (gate.selector & ~3) | level, gate.offset);
  core.modeChanged();
  return true;
}

// ---- Returns

/** The code segment that a return names (SDM Vol. 2, RET, "return to same or outer privilege level"). */
function checkReturnCode(core: CpuCore, selector: number): FoundDescriptor {
  const { state } = core;
  if (isNull(selector)) throw gp(0);
  const error = selectorError(selector);
  const code = findDescriptor(core, selector);
  if (!code || !isCode(code.attributes)) throw gp(error);
  const rpl = rplOf(selector);
  const dpl = dplOf(code.attributes);
  if (rpl < state.cpl) throw gp(error);
  if (isConforming(code.attributes) ? dpl > rpl : dpl !== rpl) throw gp(error);
  if (state.longMode && (code.attributes & SEGMENT.L) !== 0 && (code.attributes & SEGMENT.DB) !== 0) throw gp(error);
  if (!isPresent(code.attributes)) throw np(error);
  return code;
}

/** The stack segment that a return names; null is good for 64-bit code below level 3. */
function checkReturnStack(core: CpuCore, selector: number, level: number, to64: boolean): CheckedStack {
  if (!isNull(selector)) return checkStack(core, selector, level, VECTOR.GP);
  if (!to64 || level === 3) throw gp(0);
  return { segment: nullSegment(selector), found: undefined };
}

/** Loads SS and the stack pointer that came with it. Returns to a 16-bit stack leave the upper half of ESP as it was. */
function installReturnStack(core: CpuCore, stack: CheckedStack, sp: bigint, to64: boolean): void {
  const { state } = core;
  const mask = stackMask(to64, stack.segment);
  const keep = mask === U64 ? 0n : state.gpr(RSP) & U32 & ~mask;
  state.setSegment(SEG.SS, stack.segment);
  state.setGpr(RSP, keep | (sp & mask), 8);
}

function farReturn(core: CpuCore, insn: HelperInsn, release: bigint): true {
  const { state } = core;
  const size = insn.operandSize;
  const offset = peek(core, 0, size);
  const selector = Number(peek(core, size, size) & 0xffffn);
  const code = checkReturnCode(core, selector);
  const level = rplOf(selector);
  const to64 = runs64(core, code);
  if (level === state.cpl) {
    checkTarget(core, code, offset);
    probeAccessed(core, code);
    markAccessed(core, code);
    drop(state, BigInt(2 * size) + release);
    enterCode(core, code, selector, offset);
    core.modeChanged();
    return true;
  }
  const above = BigInt(2 * size) + release;
  const sp = peek(core, above, size);
  const stackSelector = Number(peek(core, above + BigInt(size), size) & 0xffffn);
  const stack = checkReturnStack(core, stackSelector, level, to64);
  checkTarget(core, code, offset);
  probeStack(core, stack);
  probeAccessed(core, code);

  if (stack.found) markAccessed(core, stack.found);
  markAccessed(core, code);
  enterCode(core, code, selector, offset);
  installReturnStack(core, stack, sp + release, to64);
  dropInnerSegments(core);
  core.modeChanged();
  return true;
}

function iret(core: CpuCore, insn: HelperInsn): true {
  const { state } = core;
  const size = insn.operandSize;
  if ((state.rflags & RFLAGS.NT) !== 0) {
    if (state.longMode) throw gp(0);
    throw new Unbuilt('hardware task switch (IRET with NT set)', TABLE);
  }
  const offset = peek(core, 0, size);
  const selector = Number(peek(core, size, size) & 0xffffn);
  const flags = Number(peek(core, 2 * size, size) & U32);
  if (size === 4 && !state.longMode && (flags & RFLAGS.VM) !== 0 && state.cpl === 0) {
    throw new Unbuilt('virtual-8086 mode', TABLE);
  }
  const code = checkReturnCode(core, selector);
  const level = rplOf(selector);
  const to64 = runs64(core, code);
  const popsStack = state.is64 || level > state.cpl;
  let stack: CheckedStack | undefined;
  let sp = 0n;
  if (popsStack) {
    sp = peek(core, 3 * size, size);
    stack = checkReturnStack(core, Number(peek(core, 4 * size, size) & 0xffffn), level, to64);
  }
  checkTarget(core, code, offset);
  if (stack) probeStack(core, stack);
  probeAccessed(core, code);

  if (stack?.found) markAccessed(core, stack.found);
  markAccessed(core, code);
  const outward = level > state.cpl;
  writeReturnFlags(core, flags, size); // by the level that executes IRET
  if (!stack) drop(state, 3 * size);
  enterCode(core, code, selector, offset);
  if (stack) installReturnStack(core, stack, sp, to64);
  if (outward) dropInnerSegments(core);
  core.modeChanged();
  return true;
}

// ---- The instructions

const immediateOf = (insn: HelperInsn): bigint => insn.immediate & maskOf(insn.operandSize === 2 ? 2 : 4);

function fromMemory(core: CpuCore, insn: HelperInsn): { offset: bigint; selector: number } {
  if (!insn.isMemory) throw new GuestFault(VECTOR.UD);
  return readFarPointer(core, insn);
}

function ljmp_imm(core: CpuCore, insn: HelperInsn): true {
  const { immediate2: selector, operandSize: size } = insn;
  return transfer(core, { selector, offset: immediateOf(insn), size, returnTo: undefined });
}
function ljmp_mem(core: CpuCore, insn: HelperInsn): true {
  return transfer(core, { ...fromMemory(core, insn), size: insn.operandSize, returnTo: undefined });
}
function lcall_imm(core: CpuCore, insn: HelperInsn): true {
  const { immediate2: selector, operandSize: size, nextRip } = insn;
  return transfer(core, { selector, offset: immediateOf(insn), size, returnTo: nextRip });
}
function lcall_mem(core: CpuCore, insn: HelperInsn): true {
  return transfer(core, { ...fromMemory(core, insn), size: insn.operandSize, returnTo: insn.nextRip });
}
/** RETF with (CA) and without (CB) bytes to release; without, the immediate is 0. */
const lret = (core: CpuCore, insn: HelperInsn): true => farReturn(core, insn, insn.immediate & 0xffffn);

export const farHelpers = { ljmp_imm, ljmp_mem, lcall_imm, lcall_mem, lret, iret };
