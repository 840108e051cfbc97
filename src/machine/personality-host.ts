/** PersonalityHost: the CPU's way to a hypervisor instead of to the board, and the making of that hypervisor.
 *
 * A guest behind a personality reaches no device: ports lead to the personality, interrupts come from it, and physical
 * addresses outside its memory are the personality's, or read all-ones as everywhere. The plan named the personality;
 * here it is made.
 * May not: know what a personality does with what it is asked.   Next: machine/hvm-host.ts. */
import { BootError } from '../base/errors.ts';
import type { BootPlan } from '../boot/plan.ts';
import type { CpuHost } from '../engine/core.ts';
import { createLguest } from '../personality/lguest/lguest.ts';
import type { Personality, PersonalityWorld } from '../personality/personality.ts';
import { createXenPv } from '../personality/xen/index.ts';
import type { Board } from './board.ts';

export class PersonalityHost implements CpuHost {
  board!: Board; // both are there before the first instruction
  personality!: Personality;

  portRead(port: number, size: 1 | 2 | 4): number {
    return this.personality.portRead(port, size);
  }
  portWrite(port: number, size: 1 | 2 | 4, value: number): void {
    this.personality.portWrite(port, size, value);
  }
  mmioRead(gpa: number, size: 1 | 2 | 4): number {
    return this.personality.physicalRead?.(gpa, size) ?? this.board.mmio.read(gpa, size);
  }
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void {
    if (this.personality.physicalWrite) this.personality.physicalWrite(gpa, size, value);
    else this.board.mmio.write(gpa, size, value);
  }
  interruptPending(): boolean {
    return this.personality.interruptPending();
  }
  /** Never asked: the personality takes its interrupts itself. */
  acknowledgeInterrupt(): number {
    throw new Error('broken belief: a guest behind a personality has no interrupt controller');
  }
}

export function createPersonality(plan: BootPlan, world: PersonalityWorld): Personality {
  const { frames, xen } = plan;
  if (plan.personality === 'lguest') return createLguest(world, plan);
  if (plan.personality === 'xen-pv' && frames && xen) return createXenPv(world, { frames, ...xen });
  throw new BootError({
    what: `the ${plan.personality} personality is not built in this version of zeropage`,
    where: `--via ${plan.via}`,
    why: 'this version stands behind lguest and Xen PV guests',
    fix: 'use --via lguest or xen-pv, or a path without a hypervisor',
  });
}
