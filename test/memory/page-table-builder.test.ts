import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/errors.ts';
import { gva } from '../../src/memory/address.ts';
import { identityMap4GiB, PageTableBuilder } from '../../src/memory/page-table-builder.ts';
import { PTE } from '../../src/x86/constants.ts';

const RW = BigInt(PTE.RW);
const NX_US = (1n << 63n) | BigInt(PTE.US);

/** Walks 4 levels the way the manual says (SDM Vol. 3, 4.5.4), written apart from the builder. */
function walk(
  tables: Uint8Array,
  at: number,
  address: bigint,
): { physical: bigint; leaf: bigint; levels: number } | undefined {
  const view = new DataView(tables.buffer, tables.byteOffset, tables.length);
  let table = BigInt(at);
  for (let level = 4; level >= 1; level--) {
    const shift = BigInt(12 + 9 * (level - 1));
    const entry = view.getBigUint64(Number(table) - at + Number((address >> shift) & 511n) * 8, true);
    if ((entry & 1n) === 0n) return undefined;
    const frame = entry & 0x000f_ffff_ffff_f000n;
    if (level === 1 || (entry & 0x80n) !== 0n) {
      const mask = (1n << shift) - 1n;
      return { physical: (frame & ~mask) | (address & mask), leaf: entry & ~frame, levels: 5 - level };
    }
    table = frame;
  }
}

describe('the identity map of 4 GiB', () => {
  const tables = identityMap4GiB(0x1000);

  it('takes six tables: one root, one PDPT, four directories', () => {
    expect(tables.length).toBe(6 * 0x1000);
  });

  it.each([0n, 0xfffn, 0x1000n, 0x1f_ffffn, 0x20_0000n, 0x4000_0000n, 0x7fff_ffffn, 0xfee0_0000n, 0xffff_ffffn])(
    'maps %d onto itself, writable, executable, for the kernel only, by a 2 MiB page',
    (address) => {
      expect(walk(tables, 0x1000, address)).toEqual({ physical: address, leaf: 0x83n, levels: 3 });
    },
  );

  it.each([0x1_0000_0000n, 0x80_0000_0000n, 0xffff_ffff_8000_0000n])('does not map %d', (address) => {
    expect(walk(tables, 0x1000, BigInt.asUintN(48, address))).toBeUndefined();
  });

  it('has no other bits in the upper levels than present and writable', () => {
    const view = new DataView(tables.buffer);
    expect(view.getBigUint64(0, true)).toBe(0x2003n);
    expect([0, 8, 16, 24].map((at) => view.getBigUint64(0x1000 + at, true))).toEqual([
      0x3003n,
      0x4003n,
      0x5003n,
      0x6003n,
    ]);
  });
});

describe('a page-table builder', () => {
  it('maps 4 KiB pages at high virtual addresses with the bits asked for', () => {
    const builder = new PageTableBuilder(0x5000, 8, PTE.RW | PTE.US);
    builder.map(gva(0xffff_ffff_8100_0000n), 0x100_0000, 0x3000, 0x1000, NX_US);
    expect(builder.root).toBe(0x5000);
    expect(builder.bytes().length).toBe(4 * 0x1000);
    expect(walk(builder.bytes(), 0x5000, 0xffff_8100_2abcn)).toEqual({
      physical: 0x100_2abcn,
      leaf: NX_US | 1n,
      levels: 4,
    });
    expect(walk(builder.bytes(), 0x5000, 0xffff_8100_3000n)).toBeUndefined();
  });

  it('refuses to map a page twice, to run out of its area, and anything unaligned', () => {
    const builder = new PageTableBuilder(0x1000, 3);
    builder.map(gva(0n), 0, 0x20_0000, 0x20_0000, RW);
    expect(() => builder.map(gva(0n), 0, 0x20_0000, 0x20_0000, RW)).toThrow(AssertionError);
    expect(() => builder.map(gva(0x4000_0000n), 0, 0x20_0000, 0x20_0000, RW)).toThrow('room for table 4');
    expect(() => builder.map(gva(0x1000n), 0, 0x20_0000, 0x20_0000, RW)).toThrow('aligned');
    expect(() => new PageTableBuilder(0x1001, 1)).toThrow('page aligned');
  });
});
