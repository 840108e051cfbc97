import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import { type BootPlan, type BootSpec, placePlan, planBoot } from '../../src/boot/index.ts';
import { checkPlan } from '../../src/boot/plan.ts';
import type { KernelImage } from '../../src/image/kernel-image.ts';
import { gpa } from '../../src/memory/address.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { bzImage, elf, linuxNote, parsed, pvhNote } from './files.ts';

const memoryFor = (plan: BootPlan) => new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
const initrd = new Uint8Array(5000).fill(0x11);
const kernelElf = (memsz = 0x3000) =>
  elf({
    segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(0x1000).fill(0x77), memsz }],
    notes: [linuxNote, pvhNote(0x100_0000)],
  });

describe('a plan', () => {
  const cases: [string, KernelImage, BootSpec][] = [
    ['linux32', bzImage(), { via: 'linux32', initrd }],
    ['linux64', bzImage(), { via: 'linux64', initrd }],
    ['linux64 of an ELF file', kernelElf(), { via: 'linux64', initrd }],
    ['pvh', kernelElf(), { via: 'pvh', initrd }],
    ['flat64', parsed(new Uint8Array(100).fill(0xf4)), { via: 'flat64' }],
  ];
  it.each(cases)('holds views of file and initrd, no copies: %s', (_, image, spec) => {
    const plan = planBoot(image, { memory: 32 * MiB, ...spec });
    const fromFile = plan.writes.filter(({ from }) => from.startsWith(image.name));
    expect(fromFile.length).toBeGreaterThan(0);
    for (const { bytes } of fromFile) expect(bytes.buffer).toBe(image.bytes.buffer);
    const disk = plan.writes.find(({ what }) => what === 'initrd');
    expect(disk?.bytes).toBe(spec.initrd);
    // What is made here are a few pages: page tables are the biggest.
    const made = plan.writes.filter(({ from }) => from === 'made here' || from === '--cmdline');
    expect(made.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThan(10 * 0x1000);
  });

  it.each(cases)('is placed byte for byte, its tails zeroed, nothing else touched: %s', (_, image, spec) => {
    const plan = planBoot(image, { memory: 32 * MiB, ...spec });
    const memory = memoryFor(plan);
    memory.bytes(0, memory.size).fill(0xa5);
    placePlan(plan, memory);
    let end = 0;
    for (const { at, bytes, length } of plan.writes) {
      expect(Buffer.compare(memory.bytes(at, bytes.length), bytes)).toBe(0);
      expect(memory.bytes(at + bytes.length, length - bytes.length).every((byte) => byte === 0)).toBe(true);
      expect(memory.bytes(end, at - end).every((byte) => byte === 0xa5)).toBe(true);
      end = at + length;
    }
    expect(memory.bytes(end, memory.size - end).every((byte) => byte === 0xa5)).toBe(true);
  });

  it('writes every byte once', () => {
    const plan = planBoot(kernelElf(), { via: 'pvh', memory: 32 * MiB, initrd });
    const memory = memoryFor(plan);
    let written = 0;
    memory.setWriteObserver((_, length) => {
      written += length;
    });
    placePlan(plan, memory);
    expect(written).toBe(plan.writes.reduce((sum, { length }) => sum + length, 0));
  });

  it('is checked before the first byte is written', () => {
    const plan = planBoot(bzImage(), { memory: 32 * MiB });
    const last = plan.writes[plan.writes.length - 1];
    const broken = { ...plan, writes: [...plan.writes, { ...last, what: 'intruder', at: gpa(last.at + 1) }] };
    const memory = memoryFor(plan);
    expect(() => placePlan(broken, memory)).toThrow('intruder overlaps kernel');
    expect(memory.touchedFrames).toBe(0);
  });

  it.each([
    ['behind the end of RAM', 0x1ff_f000, 0x1001, 'give it --memory 33M or more'],
    ['in the hole below 1 MiB', 0xa_0000, 1, 'where a PC has no RAM'],
    ['across the start of the hole', 0x9_ffff, 2, 'where a PC has no RAM'],
  ])('with a write %s is refused, and says what would help', (_, at, length, fix) => {
    const plan = planBoot(bzImage(), { memory: 32 * MiB });
    const writes = [{ ...plan.writes[0], what: 'stray', at: gpa(at), length, bytes: new Uint8Array(length) }];
    expect(() => checkPlan({ ...plan, writes })).toThrow(BootError);
    expect(() => checkPlan({ ...plan, writes })).toThrow(fix);
  });

  it('is the same whatever was planned before', () => {
    const make = () => planBoot(bzImage(), { via: 'linux64', memory: '64M', cmdline: 'quiet', initrd });
    expect(make()).toEqual(make());
  });
});
