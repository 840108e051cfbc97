import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AssertionError } from '../../src/base/errors.ts';
import { array, bytes, cstring, nested, struct, u8, u16, u32, u64 } from '../../src/layout/struct.ts';

const from = 'point.h';
const Point = struct('point', { from, size: 8 }, { x: u32(0, 'across'), y: u32(4) });
const Everything = struct('everything', { from: 'everything.h', size: 56, reserved: [[3, 1], [54, 2]] }, {
  small:  u8(0, { bits: ['FIRST', undefined, 'THIRD'] }),
  medium: u16(1, { values: { 7: 'seven' }, text: 'a lucky number' }),
  large:  u32(4),
  huge:   u64(8),
  raw:    bytes(16, 4),
  name:   cstring(20, 6, 'a name'),
  list:   array(26, u16, 2),
  points: array(30, (offset) => nested(offset, Point), 2),
  point:  nested(46, Point),
}); // biome-ignore format: a table

describe('a table', () => {
  const wrong: [string, () => unknown, string][] = [
    ['two fields overlap', () => struct('s', { from, size: 8 }, { a: u32(0), b: u32(3) }), 'struct s (point.h): b at 0x3 overlaps a, which ends at 0x4'],
    ['a gap is not declared', () => struct('s', { from, size: 8 }, { a: u16(0), b: u32(4) }), 'nothing is declared between a (0x2) and b (0x4)'],
    ['the first field leaves a gap', () => struct('s', { from, size: 8 }, { a: u32(4) }), 'nothing is declared between its start (0x0) and a (0x4)'],
    ['a field lies past the size', () => struct('s', { from, size: 6 }, { a: u32(0), b: u32(4) }), 'b ends at 0x8, past the size 0x6'],
    ['the end is not declared', () => struct('s', { from, size: 8 }, { a: u32(0) }), 'nothing is declared between a (0x4) and the end (0x8)'],
    ['a reserved range overlaps', () => struct('s', { from, size: 4, reserved: [[2, 1]] }, { a: u32(0) }), 'a reserved range at 0x2 overlaps a'],
    ['a field lies before the origin', () => struct('s', { from, size: 4, origin: 8 }, { a: u32(6), b: u16(10) }), 'a at 0x6 overlaps its start, which ends at 0x8'],
  ]; // biome-ignore format: a table
  for (const [what, make, message] of wrong) {
    it(`is refused when it loads if ${what}, and the header is named`, () => {
      expect(make).toThrow(AssertionError);
      expect(make).toThrow(message);
      expect(make).toThrow('(point.h)');
    });
  }

  it('gives offsets, C asserts and its size', () => {
    expect(Everything.offsetOf('point')).toBe(46);
    expect(Point.staticAsserts()).toBe(
      '_Static_assert(__builtin_offsetof(struct point, x) == 0x0, "point.x: point.h");\n' +
        '_Static_assert(__builtin_offsetof(struct point, y) == 0x4, "point.y: point.h");\n' +
        '_Static_assert(sizeof(struct point) == 0x8, "point: point.h");\n',
    );
    const Typedef = struct('Elf_T', { from, size: 1, typedef: true }, { a: u8(0) });
    expect(Typedef.staticAsserts()).toContain('sizeof(Elf_T) == 0x1');
  });

  it('with an origin carries the offsets of what surrounds it', () => {
    const Inner = struct('inner', { from, size: 3, origin: 0x1f1 }, { a: u8(0x1f1), b: u16(0x1f2) });
    const page = new Uint8Array(0x200);
    Inner.write(page, 0, { a: 1, b: 0x302 });
    expect([...page.subarray(0x1f1, 0x1f4)]).toEqual([1, 2, 3]);
    expect(Inner.read(page)).toEqual({ a: 1, b: 0x302 });
    expect(Inner.staticAsserts()).toContain('offsetof(struct inner, b) == 0x1,');
    expect(Inner.print(Inner.read(page), 0)[1].offset).toBe(0x1f2);
    const Outer = struct('outer', { from, size: 0x200, reserved: [[0, 0x1f1], [0x1f4, 12]] }, { hdr: nested(0x1f1, Inner) }); // biome-ignore format: short
    expect(Outer.read(page).hdr.b).toBe(0x302);
    expect(Outer.print(Outer.read(page), 0x1000).map(({ offset, name }) => [offset, name])).toEqual([
      [0x11f1, 'hdr.a'],
      [0x11f2, 'hdr.b'],
    ]);
    expect(Inner.fits(0x1f3)).toBe(false);
    expect(Inner.fits(0x1f4)).toBe(true);
  });
});

describe('reading and writing', () => {
  const values = {
    small: 5, medium: 7, large: 0xffff_ffff, huge: 0xffff_ffff_ffff_fffen, raw: Uint8Array.of(1, 2, 3, 4), name: 'abc',
    list: [1, 2], points: [{ x: 1, y: 2 }, { x: 3, y: 4 }], point: { x: 5, y: 6 },
  }; // biome-ignore format: short

  it('give back what was written, at any place', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(0xffff_ffff), (at, huge, large) => {
        const memory = new Uint8Array(100);
        Everything.write(memory, at, { ...values, huge, large });
        expect(Everything.read(memory, at)).toEqual({ ...values, huge, large });
      }),
    );
  });

  it('touch nothing but the fields that are given', () => {
    const memory = new Uint8Array(60).fill(0xaa);
    Everything.write(memory, 2, { huge: 1, list: [9] });
    const expected = new Uint8Array(60).fill(0xaa);
    expected.set([1, 0, 0, 0, 0, 0, 0, 0], 10);
    expected.set([9, 0], 28);
    expect(memory).toEqual(expected);
  });

  it('work through anything that hands out views of bytes', () => {
    const ram = new Uint8Array(128);
    const target = { bytes: (at: number, length: number) => ram.subarray(at, at + length) };
    Point.write(target, 100, { x: 1, y: 0x1234 });
    expect(ram[105]).toBe(0x12);
    expect(Point.read(target, 100)).toEqual({ x: 1, y: 0x1234 });
  });

  const refused: [string, Parameters<typeof Everything.write>[2]][] = [
    ['256 is a u8', { small: 256 }],
    ['-1 is a u16', { medium: -1 }],
    ['1.5 is a u32', { large: 1.5 }],
    ['NaN is a u32', { large: Number.NaN }],
    ['18446744073709551616 is a u64', { huge: 2n ** 64n }],
    ['-1 is a u64', { huge: -1n }],
    ['5 bytes fit into 4', { raw: new Uint8Array(5) }],
    ['"1234567" is a string of up to 6 bytes', { name: '1234567' }],
    ['"\u0100" is a string of up to 6 bytes', { name: '\u0100' }],
    ['3 elements fit into 2', { list: [1, 2, 3] }],
    ['struct everything (everything.h) has a field nonsense', { nonsense: 1 } as never],
  ];
  for (const [belief, given] of refused) {
    it(`are refused when the belief is broken that ${belief}`, () => {
      expect(() => Everything.write(new Uint8Array(56), 0, given)).toThrow(AssertionError);
      expect(() => Everything.write(new Uint8Array(56), 0, given)).toThrow(belief);
    });
  }

  it('refuse a place outside the bytes', () => {
    expect(() => Point.read(new Uint8Array(8), 1)).toThrow('struct point at 0x1 lies within 8 bytes');
    expect(() => Point.write(new Uint8Array(8), -1, { x: 1 })).toThrow(AssertionError);
  });

  it('print rows with names, hex and meaning', () => {
    const memory = new Uint8Array(56);
    Everything.write(memory, 0, { ...values, points: [{ x: 1, y: 2 }], raw: new Uint8Array(4) });
    const rows = Everything.print(Everything.read(memory), 0x100);
    expect(rows.map(({ offset, name, value, meaning }) => [offset, name, value, meaning])).toEqual([
      [0x100, 'small', '0x5', 'FIRST | THIRD'],
      [0x101, 'medium', '0x7', 'seven; a lucky number'],
      [0x104, 'large', '0xffffffff', ''],
      [0x108, 'huge', '0xfffffffffffffffe', ''],
      [0x110, 'raw', '4 bytes, all zero', ''],
      [0x114, 'name', '"abc"', 'a name'],
      [0x11a, 'list[0]', '0x1', ''],
      [0x11c, 'list[1]', '0x2', ''],
      [0x11e, 'points[0].x', '0x1', 'across'],
      [0x122, 'points[0].y', '0x2', ''],
      [0x126, 'points[1...]', '0', '1 more elements, all zero'],
      [0x12e, 'point.x', '0x5', 'across'],
      [0x132, 'point.y', '0x6', ''],
    ]);
  });
});
