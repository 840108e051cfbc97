/** Ports: a plain domU has none. Reads are all ones, writes are dropped; only 0xcf8 remembers what it was told.
 *
 * Whether the guest may try is up to its kernel: a virtual I/O privilege level, and a bitmap for programs.
 * Follows: xen/arch/x86/pv/emul-priv-op.c (iopl_ok, guest_io_okay, guest_io_read, rep_ins).
 * Next: personality/xen/cpuid-policy.ts. */
import { isLinearFault } from '../personality.ts';
import type { Domain } from './domain.ts';
import { ASSIST } from './guest-domain.ts';
import type { Instruction, Outcome } from './instruction.ts';
import { RAX, RCX, RDI, RDX, RSI } from './traps.ts';

/** Whether virtual IOPL lets the present mode use ports, CLI and STI. The kernel counts as ring 1 unless it asked for
 * the architectural way. */
export function ioplAllows(domain: Domain): boolean {
  const cpl = domain.kernelMode ? (domain.hasAssist(ASSIST.ARCHITECTURAL_IOPL) ? 0 : 1) : 3;
  return cpl <= domain.iopl;
}

function portAllowed(domain: Domain, number: number, size: number): boolean {
  if (ioplAllows(domain)) return true;
  const { address, ports } = domain.ioBitmap;
  if (number + size > ports) return false;
  const mask = domain.guest16(BigInt.asUintN(64, address + BigInt(number >> 3)));
  return (mask & (((1 << size) - 1) << (number & 7))) === 0;
}

function readPort(domain: Domain, number: number, size: 1 | 2 | 4): bigint {
  if (number === 0xcf8 && size === 4) return BigInt(domain.configAddress);
  return (1n << BigInt(8 * size)) - 1n;
}

function writePort(domain: Domain, number: number, size: 1 | 2 | 4, value: bigint): void {
  if (number === 0xcf8 && size === 4) domain.configAddress = Number(value);
}

export function port(i: Instruction, opcode: number, number: number): Outcome {
  const { domain } = i;
  const size = (opcode & 1) === 0 ? 1 : i.operand16 ? 2 : 4;
  if (!portAllowed(domain, number, size)) return 'fault';
  const input = (opcode & 2) === 0;
  if (input) domain.state.setGpr(RAX, readPort(domain, number, size), size);
  else writePort(domain, number, size, domain.state.gpr(RAX, size));
  const values = [domain.state.gpr(RAX, size)];
  domain.world.told?.({ kind: input ? 'port-in' : 'port-out', number, values });
  i.finish();
  return 'done';
}

/** INS and OUTS, an element at a time: with REP the instruction is met again until its count is used up. */
export function portString(i: Instruction, opcode: number): Outcome {
  const { domain } = i;
  const { state } = domain;
  const size = (opcode & 1) === 0 ? 1 : i.operand16 ? 2 : 4;
  const width = state.is64 && !i.address32 ? 8 : 4;
  const number = Number(state.gpr(RDX, 2));
  if (!portAllowed(domain, number, size)) return 'fault';
  const count = i.rep ? state.gpr(RCX, width) : 1n;
  if (count > 0n) {
    const input = (opcode & 2) === 0;
    const index = input ? RDI : RSI;
    const segment = input ? 0 : (i.segment ?? 3);
    const based = !state.is64 || segment >= 4;
    const offset = state.gpr(index, width);
    const at = BigInt.asUintN(state.is64 ? 64 : 32, (based ? state.base(segment) : 0n) + offset);
    try {
      if (input) domain.cpu.writeLinear(at, size, readPort(domain, number, size));
      else writePort(domain, number, size, domain.cpu.readLinear(at, size));
    } catch (e) {
      if (isLinearFault(e)) return e;
      throw e;
    }
    const step = BigInt((state.rflags & 0x400) === 0 ? size : -size);
    state.setGpr(index, BigInt.asUintN(8 * width, offset + step), width);
    if (i.rep) state.setGpr(RCX, count - 1n, width);
  }
  if (!i.rep || count <= 1n) i.finish();
  return 'done';
}
