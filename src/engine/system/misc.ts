/** Instructions that no other file of this folder is about: wide compare-and-exchange, old 32-bit frame instructions,
 * port strings, HLT, UD2.
 *
 * Follows: SDM Vol. 2, by name.   Next: engine/cpu.ts. */
import { RFLAGS, VECTOR } from '../../x86/constants.ts';
import { ACCESS, type CpuCore, GuestFault, type HelperInsn } from '../core.ts';
import { SEG } from '../state.ts';
import { currentStackMask, peek, setStackPointer } from './stack.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;

function ud(): never {
  throw new GuestFault(VECTOR.UD);
}

/** CMPXCHG8B and CMPXCHG16B: rDX:rAX against memory; ZF tells; memory is written in both cases. */
function cmpxchg8b(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const half = insn.operandSize === 8 ? 8 : 4;
  const at = core.linear(insn.segment, insn.offset(), 2 * half, true);
  if (half === 8 && (at & 15n) !== 0n) throw new GuestFault(VECTOR.GP, 0);
  core.probeLinear(at, 2 * half, ACCESS.WRITE);
  const high = at + BigInt(half);
  // Eight bytes are one access, which alignment checks see as such.
  const both = half === 4 ? core.readLinear(at, 8) : 0n;
  const low = half === 4 ? both & 0xffff_ffffn : core.readLinear(at, half);
  const up = half === 4 ? both >> 32n : core.readLinear(high, half);
  const same = low === state.gpr(RAX, half) && up === state.gpr(RDX, half);
  core.writeLinear(at, half, same ? state.gpr(RBX, half) : low);
  core.writeLinear(high, half, same ? state.gpr(RCX, half) : up);
  if (!same) {
    state.setGpr(RAX, low, half);
    state.setGpr(RDX, up, half);
  }
  state.rflags = (state.rflags & ~RFLAGS.ZF) | (same ? RFLAGS.ZF : 0);
}

/** ENTER with its nested frame pointers. */
function enter(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const size = insn.operandSize;
  const step = BigInt(size);
  const mask = currentStackMask(state);
  const locals = insn.immediate & 0xffffn;
  const level = insn.immediate2 & 31;
  // On a 16-bit stack the frame pointer still gets all of ESP, whose upper half does not move.
  const above = state.gpr(RSP) - (state.gpr(RSP) & mask);
  const frame = above + ((state.gpr(RSP) - step) & mask);
  const display = (i: number): bigint => core.readSegment(SEG.SS, (state.gpr(RBP) - step * BigInt(i)) & mask, size);
  for (let i = 1; i < level; i++) display(i); // for their faults
  const places = Array.from({ length: level + 1 }, (_, i) => {
    const at = core.linear(SEG.SS, (state.gpr(RSP) - step * BigInt(i + 1)) & mask, size, true);
    core.probeLinear(at, size, ACCESS.WRITE);
    return at;
  });
  const top = (state.gpr(RSP) - step * BigInt(places.length) - locals) & mask;
  // The manual has the processor try the new top of the stack before it moves there.
  core.probeLinear(core.linear(SEG.SS, top, size, true), size, ACCESS.WRITE);
  // One by one: where the frames overlap, a word that was just pushed is copied on.
  places.forEach((at, i) => {
    const word = i === 0 ? state.gpr(RBP) : i < level ? display(i) : frame;
    core.writeLinear(at, size, BigInt.asUintN(size * 8, word));
  });
  state.setGpr(RBP, frame, size);
  setStackPointer(state, top, mask);
}

function pusha(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const size = insn.operandSize;
  const mask = currentStackMask(state);
  const old = state.gpr(RSP);
  const places = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => {
    const at = core.linear(SEG.SS, (old - BigInt(size * (n + 1))) & mask, size, true);
    core.probeLinear(at, size, ACCESS.WRITE);
    return at;
  });
  places.forEach((at, n) => {
    core.writeLinear(at, size, state.gpr(n, size));
  });
  setStackPointer(state, (old - BigInt(size * 8)) & mask, mask);
}

function popa(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const size = insn.operandSize;
  const mask = currentStackMask(state);
  const values = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => peek(core, n * size, size));
  const top = (state.gpr(RSP) + BigInt(size * 8)) & mask;
  for (const [i, n] of [RDI, RSI, RBP, RSP, RBX, RDX, RCX, RAX].entries()) {
    if (n !== RSP) state.setGpr(n, values[i], size);
  }
  setStackPointer(state, top, mask);
}

function bound(core: CpuCore, insn: HelperInsn): void {
  const size = insn.operandSize as 2 | 4;
  const at = insn.offset();
  const bits = size * 8;
  const lower = BigInt.asIntN(bits, core.readSegment(insn.segment, at, size));
  const upper = BigInt.asIntN(bits, core.readSegment(insn.segment, at + BigInt(size), size));
  const index = BigInt.asIntN(bits, core.state.gpr(insn.reg, size));
  if (index < lower || index > upper) throw new GuestFault(VECTOR.BR);
}

function xlatb(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const bits = insn.addressSize * 8;
  const at = BigInt.asUintN(bits, state.gpr(RBX) + state.gpr(RAX, 1));
  state.setGpr(RAX, core.readSegment(insn.segment, at, 1), 1);
}

function cld(core: CpuCore): void {
  core.state.rflags &= ~RFLAGS.DF;
}
function std(core: CpuCore): void {
  core.state.rflags |= RFLAGS.DF;
}

export const miscHelpers = { cmpxchg8b, enter, pusha, popa, bound, xlatb, cld, std, ud2: ud, undefined: ud };
