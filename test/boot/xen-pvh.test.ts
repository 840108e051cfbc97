/** xen-pvh's plan: what pvh plans, with Xen's special pages in the memory map. Facts: tools/libs/guest/xg_dom_x86.c. */
import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { placePlan } from '../../src/boot/plan.ts';
import { HvmMemmapTableEntry, HvmStartInfo } from '../../src/layout/hvm-start-info.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { elf, linuxNote, pvhNote } from './files.ts';

const kernel = elf({
  entry: 0x100_0000,
  segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(0x1000).fill(0x90), memsz: 0x4000 }],
  notes: [linuxNote, pvhNote(0x100_0850)],
});
const request = { memory: '32M', cmdline: 'console=hvc0', initrd: new Uint8Array(5632).fill(0x55) } as const;

describe('xen-pvh', () => {
  const plan = planBoot(kernel, { via: 'xen-pvh', ...request });
  const pvh = planBoot(kernel, { via: 'pvh', ...request });

  it('enters as pvh does, with the same things in the same places', () => {
    expect(plan.state).toEqual(pvh.state);
    expect(plan.writes.map(({ what, at }) => [what, at])).toEqual(pvh.writes.map(({ what, at }) => [what, at]));
    expect([plan.personality, pvh.personality]).toEqual(['xen-hvm', 'bare']);
  });

  it('keeps the guest from the special pages, by an entry of the memory map', () => {
    const memory = new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
    placePlan(plan, memory);
    const info = HvmStartInfo.read(memory, 0x7000);
    const at = (i: number) =>
      HvmMemmapTableEntry.read(memory, Number(info.memmap_paddr) + i * HvmMemmapTableEntry.size);
    expect(info.memmap_entries).toBe(3);
    expect([0, 1, 2].map((i) => at(i))).toEqual([
      { addr: 0n, size: 0xa_0000n, type: 1 },
      { addr: 0x10_0000n, size: 0x1f0_0000n, type: 1 },
      { addr: 0xfeff_8000n, size: 0x8000n, type: 2 },
    ]);
  });

  it('needs the note, as pvh does', () => {
    const without = elf({ entry: 0x100_0000, segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(16) }] });
    expect(() => planBoot(without, { via: 'xen-pvh' })).toThrow(/XEN_ELFNOTE_PHYS32_ENTRY/);
  });
});
