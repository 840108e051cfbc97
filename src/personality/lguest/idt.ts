/** The guest's IDT as its host keeps it: what LHCALL_LOAD_IDT_ENTRY may put there, and what it means.
 *
 * The CPU has no IDT at all while a guest runs: every trap comes to the host, which reads this copy. Only the address,
 * the present bit, DPL and whether it is an interrupt or a trap gate are kept; the code segment is always the kernel's.
 * NMI, double fault, vector 15 and the hypercall are the host's, and a guest that sets them is not told.
 *
 * lguest let some trap gates go to the guest directly, without itself. That shows in one place, and so it does here: the
 * flags pushed through such a gate have the hardware's IF, which is always set, and not the guest's irq_enabled.
 * Follows: Linux drivers/lguest/interrupts_and_traps.c.   Next: personality/lguest/traps.ts. */

import { flag, listOf, maybe, record, type Saved, whole, word32 } from '../../base/saved.ts';
import { SYSTEM_TYPE } from '../../x86/constants.ts';
import type { RegisteredTrap } from '../personality.ts';
import { kill, LGUEST_TRAP_ENTRY } from './host.ts';

const VECTORS = 256;
const IGNORED = new Set([2, 8, 15, LGUEST_TRAP_ENTRY]);
/** Page fault (for CR2), general protection (port emulation), device not available (TS), and the hypercall. */
const HOST_SEES = new Set([7, 13, 14, LGUEST_TRAP_ENTRY]);
export const FIRST_EXTERNAL_VECTOR = 0x20;
/** Linux's system call, the one vector from 0x20 on that a guest's program may use. */
export const SYSCALL_VECTOR = 0x80;

export type GuestGate = {
  offset: number;
  dpl: number;
  /** Entry clears irq_enabled. */
  interruptGate: boolean;
  /** Reaches the guest without the host. */
  direct: boolean;
};

export class GuestIdt {
  readonly #gates: (GuestGate | undefined)[] = new Array(VECTORS).fill(undefined);

  load(vector: number, low: number, high: number): void {
    if (IGNORED.has(vector)) return;
    if (vector >= VECTORS) kill(`it sets IDT entry ${vector}, and there are ${VECTORS}`);
    if ((high & 0x8000) === 0) {
      this.#gates[vector] = undefined;
      return;
    }
    const type = (high >>> 8) & 0xf;
    if (type !== SYSTEM_TYPE.INTERRUPT_GATE && type !== SYSTEM_TYPE.TRAP_GATE)
      kill(
        `it sets IDT entry ${vector} to type 0x${type.toString(16)}: only interrupt (0xe) and trap gates (0xf) serve`,
      );
    const interruptGate = type === SYSTEM_TYPE.INTERRUPT_GATE;
    const external = vector >= FIRST_EXTERNAL_VECTOR && vector !== SYSCALL_VECTOR;
    this.#gates[vector] = {
      offset: ((low & 0xffff) | (high & 0xffff_0000)) >>> 0,
      dpl: (high >>> 13) & 3,
      interruptGate,
      direct: !interruptGate && !external && !HOST_SEES.has(vector),
    };
  }

  save(): Saved {
    return this.#gates;
  }

  restore(saved: Saved, where: string): void {
    const gate = record({ offset: word32, dpl: whole(3), interruptGate: flag, direct: flag });
    for (const [vector, one] of listOf(maybe(gate), VECTORS)(saved, where).entries()) this.#gates[vector] = one;
  }

  /** All handlers, for traces. */
  registered(): ReadonlyMap<number, RegisteredTrap> {
    const traps = new Map<number, RegisteredTrap>();
    for (const [vector, gate] of this.#gates.entries()) {
      if (!gate) continue;
      const kind = gate.interruptGate ? 'interrupt gate' : 'trap gate';
      traps.set(vector, { address: BigInt(gate.offset), dpl: gate.dpl, kind });
    }
    return traps;
  }

  /** Undefined where the guest has no handler. */
  gate(vector: number): GuestGate | undefined {
    return this.#gates[vector];
  }
}
