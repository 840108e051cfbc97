import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { planBoot } from '../../src/boot/index.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { parseFile } from '../../src/cli/kernel-file.ts';
import { kernelSymbols, symbolsFromFile } from '../../src/cli/symbols.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { buildElf } from '../image/build.ts';
import { KERNEL, kallsymsFile } from '../symbols/build-kallsyms.ts';

const file = (name: string) => new Uint8Array(readFileSync(imagePath(name)));
const text = (lines: string[]) => new TextEncoder().encode(`${lines.join('\n')}\n`);

describe('symbols of a run', () => {
  it('come from the payload of a bzImage, which is unpacked for them', () => {
    const image = parseFile('tiny64.bzimage', file('tiny64.bzimage'));
    const symbols = kernelSymbols(planBoot(image, { via: 'linux64' }));
    const start = symbols?.address('start_kernel') as bigint;
    expect(start).toBeGreaterThan(0n);
    expect(symbols?.lookup(start + 2n)).toEqual({ name: 'start_kernel', offset: 2n });
  });

  it('are found by physical address too where the loader placed the kernel, for code before its page tables', () => {
    const image = parseFile('tiny64.bzimage', file('tiny64.bzimage'));
    if (image.format !== 'bzimage') throw new Error('tiny64.bzimage is a bzImage');
    const kernel = unpackKernel(image, nodeUnpackers);
    const symbols = kernelSymbols(planBoot(image, { via: 'pvh', unpackedKernel: kernel }));
    const start = symbols?.address('start_kernel') as bigint;
    const segment = kernel.segments.find((s) => s.type === 1 && start >= s.vaddr && start < s.vaddr + BigInt(s.memsz));
    expect(segment?.paddr).not.toBe(segment?.vaddr);
    const physical = start - (segment?.vaddr ?? 0n) + (segment?.paddr ?? 0n);
    expect(symbols?.lookup(physical + 1n)).toEqual({ name: 'start_kernel', offset: 1n });
    // Where the guest unpacks itself, its decompressor runs at such addresses first.
    expect(kernelSymbols(planBoot(image, { via: 'linux64' }))?.lookup(physical + 1n)).toBeUndefined();
  });

  it('can come from a System.map', () => {
    const map = text(['ffffffff81000000 T _text', 'ffffffff81000040 t helper', 'ffffffff82000000 D data']);
    const symbols = symbolsFromFile('System.map', map);
    expect(symbols.address('helper')).toBe(0xffff_ffff_8100_0040n);
    expect(symbols.lookup(0xffff_ffff_8100_0044n)).toEqual({ name: 'helper', offset: 4n });
    expect(symbols.lookup(0x1000n)).toBeUndefined();
  });

  it('of a System.map leave low addresses alone where per-CPU variables are linked at 0', () => {
    const map = text(['0000000000000000 D __per_cpu_start', '0000000000001000 D cpu_tlbstate', '0000000000034000 D __per_cpu_end', 'ffffffff81000000 T _text', 'ffffffff81000040 t helper']); // biome-ignore format: short
    const symbols = symbolsFromFile('System.map', map);
    expect(symbols.address('cpu_tlbstate')).toBe(0x1000n);
    for (const address of [0n, 0x1000n, 0x3_4000n, 0x10_0000n]) expect(symbols.lookup(address)).toBeUndefined();
    expect(symbols.lookup(0xffff_ffff_8100_0001n)).toEqual({ name: '_text', offset: 1n });
  });

  it('come from kallsyms where a kernel was stripped, and say why when there is none', () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({
      address: KERNEL + BigInt(16 * i),
      type: 'T',
      name: `function_${i}`,
    }));
    const stripped = kallsymsFile({ rows });
    expect(symbolsFromFile('vmlinux', stripped).lookup(KERNEL + 0x22n)).toEqual({ name: 'function_2', offset: 2n });
    const image = parseFile('vmlinux', stripped);
    const symbols = kernelSymbols(planBoot(image, { via: 'linux64' }));
    expect(symbols?.address('function_299')).toBe(KERNEL + 0x12b0n);
    expect(symbols?.lookup(0x100_0011n), 'by its physical address').toEqual({ name: 'function_1', offset: 1n });
    expect(() => symbolsFromFile('bare', buildElf())).toThrow(
      /bare has no symbol table, and no kallsyms: no kallsyms_token_table/,
    );
  });

  it('are asked for in vain where there are none', () => {
    expect(() => symbolsFromFile('notes.txt', text(['hello', 'world']))).toThrow(/no line reads as in System.map/);
    expect(() => symbolsFromFile('empty', new Uint8Array())).toThrow(ImageError);
    const image = parseFile('hello64.bin', file('hello64.bin'), 'flat64');
    expect(kernelSymbols(planBoot(image, { via: 'flat64' }))).toBeUndefined();
  });
});
