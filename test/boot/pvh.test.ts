/** PVH plans, and the same boot as QEMU 7.2 hands it over (test/boot/qemu.ts). Legitimate differences: QEMU has ACPI
 * (rsdp_paddr, ACPI ranges in the map, an initrd below them) and its own places for everything. */
import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import { type BootPlan, planBoot } from '../../src/boot/index.ts';
import { placePlan } from '../../src/boot/plan.ts';
import { HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../src/layout/hvm-start-info.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { bzImage, elf, linuxNote, pvhNote } from './files.ts';
import { QEMU_PVH } from './qemu.ts';

const initrd = new Uint8Array(5632).fill(0x55);
const code = new Uint8Array(0x1000).fill(0x90);
const kernel = elf({
  entry: 0x100_0000,
  segments: [{ paddr: 0x100_0000, bytes: code, memsz: 0x4000 }],
  notes: [linuxNote, pvhNote(0x100_0850)],
});

function placed(plan: BootPlan) {
  const memory = new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
  placePlan(plan, memory);
  return memory;
}
const text = (memory: GuestMemory, at: bigint, length: number) =>
  new TextDecoder().decode(memory.bytes(Number(at), length));

describe('pvh', () => {
  const plan = planBoot(kernel, { via: 'pvh', memory: '32M', cmdline: 'console=ttyS0', initrd });
  const memory = placed(plan);
  const info = HvmStartInfo.read(memory, Number(plan.state.rbx));

  it('enters at the note, in 32-bit protected mode with paging off, EBX at the start info', () => {
    expect(plan.state).toMatchObject({
      rip: 0x100_0850n,
      rbx: 0x7000n,
      cr0: QEMU_PVH.cr0,
      cr3: 0n,
      cr4: 0n,
      efer: 0n,
      rflags: 2n,
    });
    expect(plan.state.segments.cs).toMatchObject({ base: 0n, limit: 0xffff_ffff, attributes: 0xc09b });
    for (const name of ['ds', 'es', 'ss'] as const)
      expect(plan.state.segments[name]).toMatchObject({ base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
    expect(plan.state.tr).toMatchObject({ base: 0n, limit: 0x67, attributes: 0x8b });
  });

  it('hands over what QEMU hands over, but for ACPI', () => {
    expect(info).toMatchObject({
      magic: QEMU_PVH.magic,
      version: QEMU_PVH.version,
      flags: QEMU_PVH.flags,
      nr_modules: QEMU_PVH.nr_modules,
      rsdp_paddr: 0n,
    });
    const [module] = [HvmModlistEntry.read(memory, Number(info.modlist_paddr))];
    expect(module).toEqual({ paddr: BigInt(32 * MiB - 0x2000), size: BigInt(QEMU_PVH.initrd.size), cmdline_paddr: 0n });
    expect(memory.bytes(Number(module.paddr), initrd.length)).toEqual(initrd);
  });

  it('points to the command line and to the memory map', () => {
    expect(text(memory, info.cmdline_paddr, 14)).toBe('console=ttyS0\0');
    const map = [0, 1].map((i) =>
      HvmMemmapTableEntry.read(memory, Number(info.memmap_paddr) + i * HvmMemmapTableEntry.size),
    );
    expect(info.memmap_entries).toBe(2);
    expect(map).toEqual([
      { addr: 0n, size: 0xa_0000n, type: 1 },
      { addr: 0x10_0000n, size: BigInt(31 * MiB), type: 1 },
    ]);
  });

  it('leaves boot_params to the guest', () => {
    expect(plan.bootParamsFilledBy).toBe('guest');
    expect(plan.writes.some(({ what }) => what === 'boot_params')).toBe(false);
  });

  it('has an empty module list without an initrd', () => {
    const bare = placed(planBoot(kernel, { via: 'pvh', memory: '32M' }));
    expect(HvmStartInfo.read(bare, 0x7000)).toMatchObject({
      nr_modules: 0,
      modlist_paddr: 0n,
      cmdline_paddr: 0x2_0000n,
    });
    expect(bare.readU8(0x2_0000)).toBe(0);
  });

  it('takes a bzImage by its unpacked payload', () => {
    const fromBzImage = planBoot(bzImage(), { via: 'pvh', unpackedKernel: kernel, memory: '32M' });
    expect(fromBzImage.state.rip).toBe(0x100_0850n);
    expect(fromBzImage.unpackedKernel).toBe(kernel);
    expect(fromBzImage.image.format).toBe('bzimage');
  });

  it('asks for enough memory for all segments at once', () => {
    const segments = [0x100_0000, 0x300_0000, 0x400_0000].map((paddr) => ({ paddr, bytes: code }));
    const spread = elf({ entry: 0x100_0000, segments, notes: [linuxNote, pvhNote(0x100_0000)] });
    expect(() => planBoot(spread, { via: 'pvh', memory: '16M' })).toThrow('give it --memory 65M or more');
    expect(() => planBoot(spread, { via: 'pvh', memory: '65M' })).not.toThrow();
  });

  it('takes the low 32 bits of an 8-byte note', () => {
    const desc = new Uint8Array(new BigUint64Array([0xdead_beef_0100_0100n]).buffer);
    const image = elf({ segments: [{ paddr: 0x100_0000, bytes: code }], notes: [{ owner: 'Xen', type: 18, desc }] });
    expect(planBoot(image, { via: 'pvh' }).state.rip).toBe(0x100_0100n);
  });

  it.each([
    ['a note that points outside', [pvhNote(0x300_0000)], 'XEN_ELFNOTE_PHYS32_ENTRY'],
    ['no note', [], 'no note named "Xen" of type 18 (XEN_ELFNOTE_PHYS32_ENTRY); 0 other notes were read'],
    ['a note of another owner', [{ ...pvhNote(0x100_0000), owner: 'GNU' }], '1 other note was read'],
  ])('refuses a kernel with %s', (_, notes, message) => {
    const image = elf({ segments: [{ paddr: 0x100_0000, bytes: code }], notes });
    expect(() => planBoot(image, { via: 'pvh' })).toThrow(BootError);
    expect(() => planBoot(image, { via: 'pvh' })).toThrow(message);
  });
});
