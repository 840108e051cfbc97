/** IN, OUT and one element of INS and OUTS, with the permission that they need.
 *
 * Level 0-IOPL may use every port; others only those whose bits in the TSS's I/O map are clear. The permission is
 * asked before anything is read, and for strings before memory is touched.
 * Follows: SDM Vol. 1, 19.5 (I/O protection); Vol. 2, IN, OUT, INS, OUTS; Vol. 3, 17.2.4 (breakpoints on ports).
 * May not: loop (the string code does) or know what is on a port.   Next: engine/system/x87-state.ts. */
import { CR4, IOPL_SHIFT, RFLAGS, SYSTEM_TYPE, VECTOR } from '../../x86/constants.ts';
import { ACCESS, type CpuCore, type HelperInsn } from '../core.ts';
import { BREAKPOINT_HITS } from '../mmu.ts';
import { SEG, STATE } from '../state.ts';
import { fault, RAX, RDX } from './system-core.ts';

type PortSize = 1 | 2 | 4;
const RSI = 6;
const RDI = 7;
/** Where a 32- or 64-bit TSS keeps the offset of its I/O map. */
const MAP_BASE = 0x66;

/** Raises #GP(0) unless the current level may use all `size` ports from `port`. */
export function checkIo(core: CpuCore, port: number, size: PortSize): void {
  const { state } = core;
  if (state.cpl <= (state.rflags & RFLAGS.IOPL) >> IOPL_SHIFT) return;
  const type = state.attributes(SEG.TR) & 15;
  const limit = state.limit(SEG.TR);
  const tss = type === SYSTEM_TYPE.TSS || type === SYSTEM_TYPE.TSS_BUSY;
  if (!tss || (state.attributes(SEG.TR) & 0x80) === 0 || limit < MAP_BASE + 1) fault(VECTOR.GP, 0);
  const base = state.base(SEG.TR);
  const at = Number(core.readLinear(base + BigInt(MAP_BASE), 2, true)) + (port >> 3);
  // Two bytes are read whatever the port, so the map's last byte must have one behind it within the limit.
  if (at + 1 > limit) fault(VECTOR.GP, 0);
  const bits = Number(core.readLinear(base + BigInt(at), 2, true)) >> (port & 7);
  if ((bits & (2 ** size - 1)) !== 0) fault(VECTOR.GP, 0);
}

/** E4-E7 have the port as an immediate, EC-EF in DX; odd opcodes move the operand size, at most 4 bytes. */
function portOf(core: CpuCore, insn: HelperInsn): number {
  return (insn.opcode & 0x08) === 0 ? Number(insn.immediate & 0xffn) : Number(core.state.gpr(RDX, 2));
}
function sizeOf(insn: HelperInsn): PortSize {
  if ((insn.opcode & 1) === 0) return 1;
  return insn.operandSize === 2 ? 2 : 4;
}

function in_(core: CpuCore, insn: HelperInsn): void {
  const size = sizeOf(insn);
  const port = portOf(core, insn);
  checkIo(core, port, size);
  const value = core.host.portRead(port, size);
  matchPortBreakpoints(core, port, size);
  core.state.setGpr(RAX, BigInt(value >>> 0), size);
}

function out(core: CpuCore, insn: HelperInsn): void {
  const size = sizeOf(insn);
  const port = portOf(core, insn);
  checkIo(core, port, size);
  matchPortBreakpoints(core, port, size);
  core.host.portWrite(port, size, Number(core.state.gpr(RAX, size)));
}

/** Moves one element from port DX to ES:rDI and advances rDI. Counting rCX is the string code's. */
export function ins_step(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const size = sizeOf(insn);
  const port = Number(state.gpr(RDX, 2));
  checkIo(core, port, size);
  const address = core.linear(SEG.ES, state.gpr(RDI, insn.addressSize), size, true);
  core.probeLinear(address, size, ACCESS.WRITE); // a port that was read cannot be read again after a fault
  const value = core.host.portRead(port, size);
  core.writeLinear(address, size, BigInt(value >>> 0));
  matchPortBreakpoints(core, port, size);
  advance(core, RDI, size, insn.addressSize);
}

/** Moves one element from segment:rSI to port DX and advances rSI. */
export function outs_step(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const size = sizeOf(insn);
  const port = Number(state.gpr(RDX, 2));
  checkIo(core, port, size);
  const value = core.readSegment(insn.segment, state.gpr(RSI, insn.addressSize), size);
  matchPortBreakpoints(core, port, size);
  core.host.portWrite(port, size, Number(value));
  advance(core, RSI, size, insn.addressSize);
}

function advance(core: CpuCore, register: number, size: PortSize, addressSize: 2 | 4 | 8): void {
  const { state } = core;
  const step = (state.rflags & RFLAGS.DF) !== 0 ? -size : size;
  const next = state.gpr(register, addressSize) + BigInt(step);
  state.setGpr(register, BigInt.asUintN(8 * addressSize, next), addressSize);
}

/** Breakpoints of type 2 watch ports while CR4.DE is set; like data breakpoints they trap behind the instruction. */
function matchPortBreakpoints(core: CpuCore, port: number, size: PortSize): void {
  const { state } = core;
  const { view } = state;
  const dr7 = view.getUint32(STATE.DR + 5 * 8, true);
  if ((dr7 & 0xff) === 0 || (view.getUint32(STATE.CR4, true) & CR4.DE) === 0) return;
  for (let n = 0; n < 4; n++) {
    const control = (dr7 >>> (16 + 4 * n)) & 15;
    if (((dr7 >>> (2 * n)) & 3) === 0 || (control & 3) !== 2) continue;
    const length = [1, 2, 8, 4][control >> 2];
    const from = (view.getUint32(STATE.DR + n * 8, true) & ~(length - 1)) >>> 0;
    if (port < from + length && from < port + size) {
      view.setInt32(BREAKPOINT_HITS, view.getInt32(BREAKPOINT_HITS, true) | (1 << n), true);
    }
  }
}

export const ioHelpers = { in: in_, out, ins_step, outs_step };
