/** Where a kernel runs that unpacked itself: at its first instruction, and later by its banner. */
import { describe, expect, it } from 'vitest';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { MovableKernel } from '../../src/symbols/kernel-place.ts';
import { readSymtab, Symtab } from '../../src/symbols/symtab.ts';
import { buildElf, text } from '../image/build.ts';
import { KERNEL } from './build-kallsyms.ts';

const STEP = 0x20_0000n;
const LINKED_AT = 0x100_0000n;
const RAM = 64 << 20;
const BANNER_AT = 0x800;
const NUMBERS = [0x20, 0x95, 0x400];

// Code without a pattern, with three numbers that are relocated, and the banner.
const code = new Uint8Array(0x1000);
for (let i = 0, seed = 7; i < code.length; i++) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  code[i] = seed >>> 24;
}
code.set(text('Linux version 6.1.0-test (somebody@somewhere) #1 SMP'), BANNER_AT);
const symbols = [
  { name: 'startup_64', value: KERNEL },
  { name: 'linux_banner', value: KERNEL + BigInt(BANNER_AT), info: 0x11 },
  { name: 'start_kernel', value: KERNEL + 0x900n, size: 0x80n },
];
const elf = parseKernel('vmlinux', buildElf({ code, symbols })) as ElfImage;
const kernel = new MovableKernel(new Symtab(readSymtab(elf)), elf, Number(STEP));

/** A machine in which the kernel has been unpacked. */
function machine(
  virtual: bigint,
  physical: bigint,
  { rip = LINKED_AT + physical, paged = false, relocated = true } = {},
) {
  const ram = new Uint8Array(RAM);
  const at = Number(LINKED_AT + physical);
  ram.set(code, at);
  const view = new DataView(ram.buffer);
  if (relocated)
    for (const n of NUMBERS) view.setUint32(at + n, (view.getUint32(at + n, true) + Number(virtual)) >>> 0, true);
  return {
    ramSize: RAM,
    rip,
    physical: (from: number, length: number) => ram.subarray(from, from + length),
    peek: (address: bigint, length: number) => {
      const from = address - KERNEL - virtual;
      if (!paged || from < 0n || from + BigInt(length) > BigInt(code.length)) return undefined;
      return ram.slice(at + Number(from), at + Number(from) + length);
    },
  };
}

describe('a kernel about to run', () => {
  it.each([
    ['where it is linked', 0n, 0n],
    ['linked anew', 147n * STEP, 0n],
    ['at another physical address', 0n, 5n * STEP],
    ['below its linked place', 3n * STEP, -4n * STEP],
    ['moved in both ways', 500n * STEP, 20n * STEP],
  ])('tells its place: %s', (_, virtual, physical) => {
    const view = machine(virtual, physical);
    expect(kernel.entries(RAM)).toContain(view.rip);
    expect(kernel.atEntry(view)).toEqual({ virtual, physical });
  });

  it('may begin at each multiple of its alignment, and at nothing else', () => {
    const entries = kernel.entries(RAM);
    expect(entries.length).toBe(RAM / Number(STEP));
    expect(entries.every((at) => at % STEP === 0n && at < BigInt(RAM))).toBe(true);
    // A header with a senseless alignment must not make a place of every byte.
    for (const align of [0, 1, 3, 0x30_0000, 0x4000_0000]) {
      expect(new MovableKernel(new Symtab([]), elf, align).entries(RAM).length).toBe(RAM / Number(STEP));
    }
  });

  it('is not taken for something else there', () => {
    const view = machine(STEP, 0n);
    view.physical(Number(LINKED_AT), 0x1000).fill(0x90);
    expect(kernel.atEntry(view)).toBeUndefined();
    expect(kernel.atEntry({ ...machine(STEP, 0n), rip: LINKED_AT + STEP })).toBeUndefined();
    expect(kernel.atEntry({ ...machine(STEP, 0n), rip: 0n })).toBeUndefined();
  });
});

describe('a kernel that has run for a while', () => {
  it('is found by its banner, whatever has been patched', () => {
    const view = machine(9n * STEP, 2n * STEP, { rip: KERNEL + 9n * STEP + 0x900n, paged: true });
    view.physical(Number(LINKED_AT + 2n * STEP), 0x100).fill(0xcc);
    expect(kernel.now(view)).toEqual({ virtual: 9n * STEP, physical: 2n * STEP });
  });

  it('is found before its page tables are on, when it is the one that runs', () => {
    expect(kernel.now(machine(9n * STEP, 2n * STEP, { rip: LINKED_AT + 2n * STEP + 0x40n }))).toEqual({
      virtual: 9n * STEP,
      physical: 2n * STEP,
    });
  });

  it('is not found while its unpacker has still to move it', () => {
    expect(kernel.now(machine(9n * STEP, 2n * STEP, { rip: 0x300_0000n, relocated: false }))).toBeUndefined();
  });
});

describe('names of a moved kernel', () => {
  it('are those of virtual and of physical addresses', () => {
    const table = kernel.symbolsAt({ virtual: STEP, physical: -STEP });
    expect(table.address('start_kernel')).toBe(KERNEL + STEP + 0x900n);
    expect(table.lookup(KERNEL + STEP + 0x904n)).toEqual({ name: 'start_kernel', offset: 4n });
    expect(table.lookup(LINKED_AT - STEP + 4n)).toEqual({ name: 'startup_64', offset: 4n });
    expect(table.lookup(KERNEL + 4n)).toBeUndefined();
  });
});
