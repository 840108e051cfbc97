/** HvmHost: the CPU's way to the board, with a hypervisor beside it.
 *
 * The guest owns its machine: ports and devices are the board's as on bare metal. What is added is the hypervisor's
 * interrupt, which comes before any device's, and its pages in the physical address space.
 * May not: know what the hypervisor does with what it is asked.   Next: machine/state-hash.ts. */
import type { BootPlan } from '../boot/plan.ts';
import type { HvmPersonality, PersonalityWorld } from '../personality/personality.ts';
import { createXenHvm } from '../personality/xen/hvm/index.ts';
import { BoardHost } from './board-host.ts';

export class HvmHost extends BoardHost {
  personality!: HvmPersonality; // there before the first instruction

  override interruptPending(): boolean {
    return this.personality.interruptPending() || super.interruptPending();
  }
  override acknowledgeInterrupt(): number {
    if (this.personality.interruptPending()) return this.personality.acknowledge();
    this.personality.deviceInterrupt();
    return super.acknowledgeInterrupt();
  }
  override mmioRead(gpa: number, size: 1 | 2 | 4): number {
    return this.personality.physicalRead(gpa, size) ?? super.mmioRead(gpa, size);
  }
  override mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void {
    if (!this.personality.physicalWrite(gpa, size, value)) super.mmioWrite(gpa, size, value);
  }
}

export function createHvmPersonality({ memorySize, memoryMap }: BootPlan, world: PersonalityWorld): HvmPersonality {
  return createXenHvm(world, { memorySize, memoryMap });
}
