import { describe, expect, it } from 'vitest';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { readSymtab, Symtab } from '../../src/symbols/symtab.ts';
import { buildElf, type SymbolSpec } from '../image/build.ts';

const FUNCTION = 2;
const GLOBAL = 1 << 4;
const symbols: SymbolSpec[] = [
  { name: 'start_kernel', value: 0x2000n, size: 0x100n, info: GLOBAL | FUNCTION },
  { name: 'local_alias', value: 0x2000n, size: 0x100n, info: FUNCTION },
  { name: 'boot_params', value: 0x3000n, size: 0x1000n, info: GLOBAL | 1 },
  { name: 'startup_64', value: 0x1000n, info: GLOBAL },
  { name: 'main.c', value: 0n, info: 4 }, // a file
  { name: '', value: 0x1000n, info: 3 }, // a section
  { name: 'undefined', value: 0x5000n, shndx: 0 },
  { name: 'absolute', value: 0x6000n, shndx: 0xfff1 },
];

for (const wide of [true, false]) {
  describe(`the symbol table of an ELF${wide ? 64 : 32} file`, () => {
    const image = parseKernel('vmlinux', buildElf({ wide, symbols })) as ElfImage;

    it('gives functions, objects and labels by address', () => {
      expect(readSymtab(image).map(({ name, kind, global }) => [name, kind, global])).toEqual([
        ['startup_64', 'label', true],
        ['start_kernel', 'function', true],
        ['local_alias', 'function', false],
        ['boot_params', 'object', true],
      ]);
    });

    it('names addresses and finds names', () => {
      const table = new Symtab(readSymtab(image));
      const cases: [bigint, string | undefined, bigint][] = [
        [0xfffn, undefined, 0n], [0x1000n, 'startup_64', 0n], [0x1fffn, 'startup_64', 0xfffn], [0x2000n, 'start_kernel', 0n],
        [0x20ffn, 'start_kernel', 0xffn], [0x2100n, undefined, 0n], [0x3fffn, 'boot_params', 0xfffn], [0x4000n, undefined, 0n],
      ]; // biome-ignore format: a table
      for (const [address, name, offset] of cases) {
        expect(table.lookup(address), address.toString(16)).toEqual(name === undefined ? undefined : { name, offset });
      }
      expect(table.address('boot_params')).toBe(0x3000n);
      expect(table.address('main.c')).toBeUndefined();
    });
  });
}

describe('per-CPU symbols linked at 0', () => {
  it('are found by name and name no address', () => {
    const at = (name: string, address: bigint, perCpu: boolean) => ({ name, address, size: 0n, kind: 'object' as const, global: true, perCpu });
    const table = new Symtab([at('fixed', 0n, true), at('cpu_tlbstate', 0x1000n, true), at('_text', 0x10_0000n, false), at('_end', 0x20_0000n, false)]);
    expect([table.perCpuCount, table.address('cpu_tlbstate')]).toEqual([2, 0x1000n]);
    expect(table.lookup(0x1004n)).toBeUndefined();
    expect(table.lookup(0x10_0004n)?.name).toBe('_text');
  }); // biome-ignore format: short
});

describe('a damaged symbol table', () => {
  const whole = parseKernel('vmlinux', buildElf({ symbols })) as ElfImage;
  const [, symtab] = whole.sections;
  const withSection = (change: object): ElfImage => ({
    ...whole,
    sections: whole.sections.map((each) => (each === symtab ? { ...each, ...change } : each)),
  });
  const cases: [string, object, number][] = [
    ['past the end of the file', { offset: 1e9 }, 0],
    ['longer than the file', { size: 2 ** 60 }, 4],
    ['without names', { link: 77 }, 0],
    ['with entries of another size', { entsize: 16 }, 0],
  ];
  for (const [what, change, count] of cases) {
    it(`${what} gives what can be read`, () => {
      expect(readSymtab(withSection(change)).length).toBeGreaterThanOrEqual(count);
      if (count === 0) expect(readSymtab(withSection(change))).toEqual([]);
    });
  }

  it('that is missing gives none', () => {
    expect(readSymtab(parseKernel('vmlinux', buildElf()) as ElfImage)).toEqual([]);
    expect(new Symtab([]).lookup(0x1000n)).toBeUndefined();
  });
});
