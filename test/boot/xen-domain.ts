/** Reads a placed Xen PV domain as its guest and its hypervisor would: through CR3, in machine memory. */
import { type BootPlan, placePlan } from '../../src/boot/index.ts';
import { machineSize, planMemory } from '../../src/boot/plan.ts';
import type { GuestRam } from '../../src/memory/guest-ram.ts';
import type { Mfn } from '../../src/memory/machine-frames.ts';

export type Mapping = { va: bigint; mfn: number; flags: number };

export class PlacedDomain {
  readonly memory: GuestRam;
  readonly #view: DataView;
  readonly #plan: BootPlan;

  constructor(plan: BootPlan) {
    this.#plan = plan;
    this.memory = planMemory(plan, new ArrayBuffer(machineSize(plan)), 0);
    placePlan(plan, this.memory);
    this.#view = new DataView(this.memory.buffer);
  }

  /** Every present entry of the last level, in order of addresses, with the flags of that entry. */
  *mappings(): Generator<Mapping> {
    yield* this.#table(Number(this.#plan.state.cr3), 4, 0n);
  }

  *#table(at: number, level: number, base: bigint): Generator<Mapping> {
    for (let i = 0; i < 512; i++) {
      const low = this.#view.getUint32(at + i * 8, true);
      if ((low & 1) === 0) continue;
      const high = this.#view.getUint32(at + i * 8 + 4, true);
      const mfn = (high & 0xf_ffff) * 2 ** 20 + (low >>> 12);
      const va = base | (BigInt(i) << BigInt(12 + 9 * (level - 1)));
      const canonical = level === 4 && i >= 256 ? va | 0xffff_0000_0000_0000n : va;
      const flags = low & 0xfff;
      if (level === 1) yield { va, mfn, flags };
      else {
        if (flags !== 0x67) throw new Error(`level ${level} entry ${i} has flags 0x${flags.toString(16)}`);
        yield* this.#table(mfn * 4096, level - 1, canonical);
      }
    }
  }

  /** The guest frame behind a machine frame. */
  pfnOf(mfn: number): number | undefined {
    return this.#plan.frames?.pfnOf(mfn as Mfn);
  }
}
