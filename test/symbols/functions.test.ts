import { describe, expect, it } from 'vitest';
import { functionStarts } from '../../src/symbols/functions.ts';
import { readKallsyms } from '../../src/symbols/kallsyms.ts';
import type { Kallsyms } from '../../src/symbols/kallsyms-table.ts';
import type { SymbolSource } from '../../src/symbols/symbol-list.ts';
import { type KernelSymbol, Symtab } from '../../src/symbols/symtab.ts';
import { KERNEL, kallsymsKernel, type Row } from './build-kallsyms.ts';

const listed = (table: SymbolSource) => {
  const { count, addresses, nameAt } = functionStarts(table);
  expect(addresses.length).toBe(count);
  return Array.from(addresses, (address, i) => [address, nameAt(i)] as const);
};

describe('the functions of a symbol table', () => {
  const symbol = (name: string, address: number, size: number, more: Partial<KernelSymbol> = {}): KernelSymbol => ({
    name, address: BigInt(address), size: BigInt(size), kind: 'function', global: true, ...more,
  }); // biome-ignore format: short
  const rows = [
    symbol('_text', 0x1000, 0, { kind: 'label' }), symbol('startup_64', 0x1000, 0x80),
    symbol('local_twin', 0x1080, 16, { global: false }), symbol('weak_twin', 0x1080, 16, { weak: true }), symbol('the_strong_twin', 0x1080, 16),
    symbol('table', 0x1090, 64, { kind: 'object' }), symbol('__memcpy', 0x10d0, 16), symbol('memcpy', 0x10d0, 16),
    symbol('bb', 0x10e0, 0), symbol('ab', 0x10e0, 0), symbol('ccc', 0x10e0, 0),
    symbol('_etext', 0x10f0, 0, { kind: 'label' }),
  ]; // biome-ignore format: a table

  it('are one for each address, under the name that a crash report uses', () => {
    const expected = [[0x1000n, 'startup_64'], [0x1080n, 'the_strong_twin'], [0x10d0n, 'memcpy'], [0x10e0n, 'ab']]; // biome-ignore format: a table
    expect(listed(new Symtab(rows))).toEqual(expected);
    for (const [address, name] of listed(new Symtab(rows))) expect(new Symtab(rows).lookup(address)?.name).toBe(name);
  });

  it('do not depend on the order of the names that share an address', () => {
    const shuffled = rows.toReversed().toSorted((a, b) => Number(a.address - b.address));
    expect(listed(new Symtab(shuffled))).toEqual(listed(new Symtab(rows)));
  });

  it('are none in an empty table', () => {
    expect(listed(new Symtab([]))).toEqual([]);
  });
});

describe('the functions of kallsyms', () => {
  const at = (offset: number, type: string, name: string): Row => ({ address: KERNEL + BigInt(offset), type, name });
  const rows: Row[] = [
    { address: 0n, type: 'A', name: 'fixed_percpu_data' },
    at(0, 'T', '_text'), at(0, 'T', '_stext'), at(0, 'T', 'startup_64'), at(0x40, 't', 'helper'), at(0x40, 'W', 'arch_hook'),
    at(0x50, 'D', 'data'), at(0x60, 'V', 'weak_data'), at(0x70, 'B', 'bss'), at(0x70, 't', 'stray'), at(0x80, 'w', 'last'),
  ]; // biome-ignore format: a table

  it('are what nm marks t, T, w and W', () => {
    const table = readKallsyms(kallsymsKernel({ rows })) as Kallsyms;
    expect(listed(table).map(([address, name]) => [Number(address - KERNEL), name])).toEqual([
      [0, 'startup_64'],
      [0x40, 'arch_hook'],
      [0x70, 'stray'],
      [0x80, 'last'],
    ]);
  });
});
