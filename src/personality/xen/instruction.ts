/** The instruction that a guest could not execute, read again at its RIP.
 *
 * Only what is looked at in emulate.ts is told apart: prefixes, the opcode, ModRM registers.
 * Follows: SDM Vol. 2, 2.1 and 2.2.   Next: personality/xen/ports.ts. */
import { isLinearFault, type Trap } from '../personality.ts';
import type { Domain } from './domain.ts';
import { EFAULT, Refused } from './errno.ts';
import { CS } from './traps.ts';

/** What an emulated instruction leads to: it is done, it stays the fault it was, or it raises something else. */
export type Outcome = 'done' | 'fault' | Trap;

const PREFIX_BYTES = new Set([0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65]);

/** The instruction at RIP, byte by byte. */
export class Instruction {
  readonly domain: Domain;
  #at: bigint;
  length = 0;
  rex = 0;
  operand16 = false;
  rep = false;
  segment: number | undefined;
  address32 = false;

  constructor(domain: Domain) {
    this.domain = domain;
    this.#at = domain.state.is64 ? domain.state.rip : domain.state.rip + domain.state.base(CS);
  }

  byte(): number {
    if (this.length === 15) throw new Refused(EFAULT);
    const value = codeByte(this.domain, this.#at + BigInt(this.length));
    this.length++;
    return value;
  }

  /** Reads prefixes and gives the first opcode byte. */
  opcode(): number {
    for (;;) {
      const byte = this.byte();
      if (this.domain.state.is64 && (byte & 0xf0) === 0x40) {
        this.rex = byte;
        return this.byte();
      }
      if (!PREFIX_BYTES.has(byte)) return byte;
      if (byte === 0x66) this.operand16 = true;
      else if (byte === 0x67) this.address32 = this.domain.state.is64;
      else if (byte >= 0xf2) this.rep = true;
      else if (byte === 0x64 || byte === 0x65) this.segment = byte === 0x64 ? 4 : 5;
    }
  }

  /** Registers of a ModRM byte: `reg` with REX.R, `rm` with REX.B. */
  modrm(): { byte: number; reg: number; rm: number } {
    const byte = this.byte();
    return { byte, reg: ((byte >> 3) & 7) | ((this.rex & 4) << 1), rm: (byte & 7) | ((this.rex & 1) << 3) };
  }

  /** RIP behind the instruction. */
  finish(): void {
    const { state } = this.domain;
    const next = state.rip + BigInt(this.length);
    state.rip = BigInt.asUintN(state.is64 ? 64 : 32, next);
  }
}

/** Code is read as the guest runs it, by the root in use. Refused where the fetch would have faulted. */
export function codeByte(domain: Domain, at: bigint): number {
  try {
    return Number(domain.cpu.readLinear(BigInt.asUintN(64, at), 1, true));
  } catch (e) {
    throw isLinearFault(e) ? new Refused(EFAULT) : e;
  }
}
