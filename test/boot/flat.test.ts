import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { GPR_NAMES } from '../../src/x86/vcpu-state.ts';
import { bzImage, elf, parsed } from './files.ts';

const code = Uint8Array.of(0xb8, 1, 0, 0, 0, 0xf4);
const image = parsed(code, 'code.bin');

describe.each(['flat32', 'flat64'] as const)('%s', (via) => {
  const plan = planBoot(image, { via });

  it('starts with every general register 0 but the stack pointer, and RFLAGS 2', () => {
    for (const name of GPR_NAMES) expect(plan.state[name], name).toBe(name === 'rsp' ? 0x8_0000n : 0n);
    expect(plan.state).toMatchObject({ rip: 0x10_0000n, rflags: 2n, cpl: 0, idtr: { base: 0n, limit: 0 }, msrs: {} });
  });

  it('loads and enters the code at 1 MiB, or where --load says, aligned or not', () => {
    expect(plan.writes.find(({ what }) => what === 'code')).toMatchObject({ at: 0x10_0000, length: 6 });
    const moved = planBoot(image, { via, load: 0x8_1235 });
    expect(moved.writes.find(({ what }) => what === 'code')).toMatchObject({ at: 0x8_1235, length: 6 });
    expect(moved.state.rip).toBe(0x8_1235n);
  });

  it('hands nothing over; a halt is its regular end, and CPUID shows everything', () => {
    expect(plan).toMatchObject({
      haltIsSuccess: true,
      cpuDefault: 'max',
      bootParamsFilledBy: 'nobody',
      personality: 'bare',
    });
    expect(plan.handover).toBeUndefined();
  });

  it.each([
    ['an ELF file', elf({ segments: [{ paddr: 0x100_0000, bytes: code }] }), '64-bit ELF file'],
    ['a bzImage', bzImage(), 'bzImage'],
  ])('does not take %s for code', (_, other, message) => {
    expect(() => planBoot(other, { via })).toThrow(message);
  });

  it('has a descriptor table at 0x500 that agrees with the segment registers', () => {
    const gdt = plan.writes.find(({ what }) => what === 'GDT');
    expect(gdt?.at).toBe(0x500);
    const entries = new BigUint64Array((gdt?.bytes ?? new Uint8Array()).slice().buffer);
    // The descriptors as Firecracker and the SDM print them: flat 4 GiB, accessed, and a busy TSS of 0x68 bytes.
    const codeDescriptor = via === 'flat32' ? 0x00cf_9b00_0000_ffffn : 0x00af_9b00_0000_ffffn;
    const rest = via === 'flat32' ? [] : [0n];
    expect([...entries]).toEqual([0n, 0n, codeDescriptor, 0x00cf_9300_0000_ffffn, 0x0000_8b00_0000_0067n, ...rest]);
    expect(plan.state.gdtr).toEqual({ base: 0x500n, limit: entries.byteLength - 1 });
    expect([plan.state.segments.cs.selector, plan.state.segments.ss.selector, plan.state.tr.selector]).toEqual([
      0x10, 0x18, 0x20,
    ]);
  });
});

it('flat32 runs in protected mode with paging off', () => {
  expect(planBoot(image, { via: 'flat32' }).state).toMatchObject({ cr0: 0x33n, cr3: 0n, cr4: 0n, efer: 0n });
});

it('flat64 runs in long mode with SSE enabled, on page tables at 0x1000-0x6fff', () => {
  const plan = planBoot(image, { via: 'flat64' });
  expect(plan.state).toMatchObject({ cr0: 0x8000_0033n, cr3: 0x1000n, cr4: 0x620n, efer: 0xd01n });
  expect(plan.writes.find(({ what }) => what === 'page tables')).toMatchObject({ at: 0x1000, length: 0x6000 });
});
