import { describe, expect, it } from 'vitest';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { functionStarts } from '../../src/symbols/functions.ts';
import { readKallsyms } from '../../src/symbols/kallsyms.ts';
import type { Kallsyms } from '../../src/symbols/kallsyms-table.ts';
import { kaslrOffset, withOffset } from '../../src/symbols/kaslr.ts';
import { perCpuAddress } from '../../src/symbols/per-cpu.ts';
import { buildElf } from '../image/build.ts';
import { KERNEL, kallsymsKernel, type Row } from './build-kallsyms.ts';

const STEP = 0x20_0000;
const DELTA = 0x1220_0000n;

describe('a table moved', () => {
  const rows: Row[] = [
    { address: 0x1000n, type: 'A', name: 'cpu_tlbstate' },
    { address: KERNEL, type: 'T', name: 'startup_64' },
    { address: KERNEL + 0x40n, type: 'T', name: 'start_kernel' },
    { address: KERNEL + 0x80n, type: 'D', name: 'data' },
  ];
  const table = readKallsyms(kallsymsKernel({ rows })) as Kallsyms;
  const moved = withOffset(table, DELTA);

  it('names the addresses of the running kernel, and no others', () => {
    expect(moved.lookup(KERNEL + DELTA + 0x44n)).toEqual({ name: 'start_kernel', offset: 4n });
    expect(moved.lookup(KERNEL + 0x44n)).toBeUndefined();
    expect(moved.address('start_kernel')).toBe(KERNEL + DELTA + 0x40n);
    expect(Array.from(functionStarts(moved).addresses)).toEqual([KERNEL + DELTA, KERNEL + DELTA + 0x40n]);
  });

  it('leaves per-CPU variables, whose base the CPU knows', () => {
    expect(moved.address('cpu_tlbstate')).toBe(0x1000n);
    expect([0, 1].map((index) => moved.addressAt(index))).toEqual([0x1000n, KERNEL + DELTA]);
    expect(perCpuAddress(0x1000n, 0xffff_8880_0f60_0000n)).toBe(0xffff_8880_0f60_1000n);
    // From 6.15 on the symbol is an address, and the base the way from there: it may wrap.
    expect(perCpuAddress(0xffff_ffff_8300_1000n, 0xffff_8881_0000_0000n)).toBe(0xffff_8880_8300_1000n);
  });

  it('is the same table when the kernel was not moved', () => {
    expect(withOffset(table, 0n)).toBe(table);
  });
});

describe('how far a kernel was moved', () => {
  // Pseudo-random code, with a copy of its first page 10 MiB later and padding between.
  const code = new Uint8Array(20 * STEP).fill(0xcc);
  let seed = 1;
  for (const page of [0, 3, 7]) {
    for (let i = 0; i < 0x1000; i++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      code[page * STEP + i] = seed >>> 24;
    }
  }
  code.copyWithin(9 * STEP, 0, 0x800);
  const numbers: [number, 1 | -1][] = [[0x900, 1], [0x90a, 1], [0x930, -1], [0x3 * STEP + 0x20, 1]]; // biome-ignore format: short
  const view = new DataView(code.buffer);
  const image = parseKernel('vmlinux', buildElf({ code })) as ElfImage;

  /** The code as the decompressor leaves it. */
  function running(delta: number): Uint8Array {
    const bytes = code.slice();
    const out = new DataView(bytes.buffer);
    for (const [at, sign] of numbers) out.setUint32(at, (view.getUint32(at, true) + sign * delta) >>> 0, true);
    return bytes;
  }
  const ask = (delta: number, at: number, length: number) =>
    kaslrOffset(image, KERNEL + BigInt(delta + at), running(delta).subarray(at, at + length));

  const found: [string, number, number, number][] = [
    ['not moved', 0, 0x900, 64], ['not moved, few bytes', 0, 0x3 * STEP, 16], ['one step', STEP, 0x900, 64], ['sixteen MiB, so that one byte changes', 8 * STEP, 0x900, 64],
    ['far', 400 * STEP, 0x8f8, 96], ['to the end', 480 * STEP, 0x3 * STEP + 0x10, 64], ['with a number whose last byte is cut off', 5 * STEP, 0x8f0, 0x13],
    ['with nothing relocated', 33 * STEP, 0x7 * STEP + 0x100, 32],
  ]; // biome-ignore format: a table
  it.each(found)('shows in its code: %s', (_, delta, at, length) => {
    expect(ask(delta, at, length)).toBe(BigInt(delta));
  });

  const unknown: [string, bigint, Uint8Array][] = [
    ['padding fits everywhere', KERNEL + BigInt(2 * STEP), code.subarray(STEP, STEP + 64)],
    ['code that stands twice', KERNEL + BigInt(9 * STEP), code.subarray(0, 64)],
    ['too few bytes', KERNEL + 0x900n, code.subarray(0x900, 0x908)],
    ['none', KERNEL + 0x900n, new Uint8Array()],
    ['another program', KERNEL + 0x900n, new Uint8Array(64).fill(0x5a)],
    ['moved by another distance than its numbers', KERNEL + BigInt(3 * STEP + 0x900), running(2 * STEP).subarray(0x900, 0x940)],
    ['not by whole steps', KERNEL + 0x1900n, code.subarray(0x900, 0x940)],
    ['a physical address', 0x100_0900n, code.subarray(0x900, 0x940)],
    ['below the kernel', KERNEL - BigInt(STEP) + 0x900n, code.subarray(0x900, 0x940)],
    ['farther than the kernel can be', KERNEL + BigInt(600 * STEP + 0x900), running(600 * STEP).subarray(0x900, 0x940)],
  ]; // biome-ignore format: a table
  it.each(unknown)('stays unknown: %s', (_, address, bytes) => {
    expect(kaslrOffset(image, address, bytes)).toBeUndefined();
  });
});
