import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { Btf } from '../../src/symbols/btf.ts';
import { decode, formatDecoded } from '../../src/symbols/decode.ts';
import { type Field, flatten, flattenType, readField, sizeOfNamed } from '../../src/symbols/flatten.ts';
import { Symtab } from '../../src/symbols/symtab.ts';
import { kernelVariable } from '../../src/symbols/variables.ts';
import { buildBtf, SAMPLE, TYPES, type TypeSpec } from './build-btf.ts';

const btf = new Btf(buildBtf(SAMPLE), 'sample');
const short = ({ path, offset, size, bit, bits, kind, overlaps }: Field) =>
  `${path} +${offset}${bits === 8 * size ? `, ${size}` : `:${bit}, ${bits} bits`} ${kind}${overlaps ? ' overlaps' : ''}`;

describe('a struct as a list', () => {
  it('has every member under the name by which C reaches it, and every gap', () => {
    expect(flatten(btf, 'struct thing').map(short)).toEqual([
      'name +0, 16 text',
      'low +16:0, 3 bits signed', 'sign +16:3, 1 bits signed', '(padding) +16:4, 4 bits padding', '(padding) +17:0, 4 bits padding',
      'wide +17:4, 9 bits unsigned', '(padding) +18:5, 3 bits padding', '(padding) +19, 1 padding',
      'on +20, 1 bool', '(padding) +21, 3 padding',
      'whole +24, 8 unsigned', 'half +24, 4 signed overlaps',
      'parts.x +24, 4 signed overlaps', 'parts.y +28, 1 unsigned overlaps', 'parts.(padding) +29, 3 padding overlaps',
      'links.next +32, 8 pointer', 'links.prev +40, 8 pointer',
      'points[0].x +48, 4 signed', 'points[0].y +52, 1 unsigned', 'points[0].(padding) +53, 3 padding',
      'points[1].x +56, 4 signed', 'points[1].y +60, 1 unsigned', 'points[1].(padding) +61, 3 padding',
      'points[2].x +64, 4 signed', 'points[2].y +68, 1 unsigned', 'points[2].(padding) +69, 3 padding',
      'points[3].x +72, 4 signed', 'points[3].y +76, 1 unsigned', 'points[3].(padding) +77, 3 padding',
      'color +80, 4 enum', '(padding) +84, 4 padding', 'kind +88, 8 enum', 'raw +96, 16 bytes',
    ]); // biome-ignore format: a table
  });

  it('covers each bit, whatever limits it is given', () => {
    for (const limits of [{}, { maxFields: 10 }, { maxFields: 1 }, { maxDepth: 1 }, { maxDepth: 0 }, { maxFields: 20, maxDepth: 2 }]) {
      const seen = new Uint8Array(8 * 112);
      const fields = flatten(btf, 'thing', limits);
      for (const { offset, bit, bits, overlaps } of fields) {
        for (let i = 0; i < bits; i++) seen[8 * offset + bit + i] += overlaps ? 0 : 1;
      }
      expect(seen.every((times) => times === 1), JSON.stringify(limits)).toBe(true);
      expect(fields.length).toBeLessThanOrEqual((limits.maxFields ?? 99) + 3);
    }
  }); // biome-ignore format: short

  it('can be a typedef, a number, an array, and has a size', () => {
    expect(flatten(btf, 'thing_t')).toEqual(flatten(btf, 'struct thing'));
    expect(flatten(btf, 'long unsigned int').map(short)).toEqual([' +0, 8 unsigned']);
    expect(flatten(btf, 'list_head[2]').map(short)).toEqual(['[0].next +0, 8 pointer', '[0].prev +8, 8 pointer', '[1].next +16, 8 pointer', '[1].prev +24, 8 pointer']); // biome-ignore format: short
    expect(flatten(btf, 'char[2048]').map(({ type, kind, size }) => [type, kind, size])).toEqual([
      ['char[2048]', 'text', 2048],
    ]);
    expect([sizeOfNamed(btf, 'thing[3]'), sizeOfNamed(btf, 'struct ops')]).toEqual([336, 24]);
  });

  it('of a 32-bit kernel has narrow pointers', () => {
    const narrow: TypeSpec[] = [{ ptr: 0 }, { array: 1, length: 2 }, { name: 's', struct: 12, members: [['a', 1, 0], ['b', 2, 32]] }];
    const fields = flatten(new Btf(buildBtf(narrow), 'x', 4), 's');
    expect(fields.map(short)).toEqual(['a +0, 4 pointer', 'b[0] +4, 4 pointer', 'b[1] +8, 4 pointer']);
  }); // biome-ignore format: short

  it('is refused by name when there is no such type', () => {
    expect(() => flatten(btf, 'struct nothing')).toThrow(BootError);
    expect(() => flatten(btf, 'struct nothing')).toThrow(/no type named "struct nothing"/);
  });

  it('stays short for types that would fill the world', () => {
    // Each struct has two of the one before: 2^40 leaves. And an array of four billion structs.
    const bomb: TypeSpec[] = [{ name: 'int', int: 4 }, { name: 's2', struct: 8, members: [['a', 1, 0], ['b', 1, 32]] }];
    for (let i = 3; i <= 18; i++) bomb.push({ name: `s${i}`, struct: 2 ** i, members: [['a', i - 1, 0], ['b', i - 1, 8 * 2 ** (i - 1)]] });
    bomb.push({ array: 2, length: 0xffff_ffff }, { name: 'empty', struct: 0, members: [] }, { array: 20, length: 0xffff_ffff });
    // A struct within itself, as only damage can make it.
    bomb.push({ name: 'snake', struct: 8, members: [['tail', 22, 0], ['tail2', 22, 0]] });
    const types = new Btf(buildBtf(bomb), 'x');
    const start = performance.now();
    for (const [id, most] of [[18, 20_100], [19, 20_100], [21, 0], [22, 20_100]]) expect(flattenType(types, id).length, `${id}`).toBeLessThanOrEqual(most);
    expect(decode(types, new Uint8Array(4096), 19).length).toBeLessThanOrEqual(20_100);
    expect(performance.now() - start).toBeLessThan(5000);
  }); // biome-ignore format: short
});

describe('a field', () => {
  const bytes = Uint8Array.from({ length: 112 }, (_, i) => i);
  const field = (path: string) => flatten(btf, 'thing').find((each) => each.path === path) as Field;

  it('is read with its width and sign', () => {
    bytes.set([0b0000_1101, 0b1111_0000, 0b0001_0101], 16);
    const cases: [string, bigint | undefined][] = [
      ['low', -3n], ['sign', -1n], ['wide', 0b1_0101_1111n], ['half', 0x1b1a1918n], ['whole', 0x1f1e1d1c1b1a1918n], ['name', undefined], ['raw', undefined],
    ]; // biome-ignore format: a table
    for (const [path, value] of cases) expect(readField(bytes, field(path)), path).toBe(value);
    expect(readField(bytes.subarray(0, 31), field('whole'))).toBeUndefined();
  });
});

describe('a struct in words', () => {
  const bytes = new Uint8Array(112);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('a "name"\n\0x'));
  view.setUint32(16, 0b0101);
  view.setBigUint64(24, 0x1234n, true);
  view.setBigUint64(32, 0xffff_ffff_8100_0010n, true);
  view.setInt32(64, -1000, true);
  view.setUint32(80, 5, true);
  view.setBigUint64(88, 1n << 63n, true);
  bytes[104] = 7;
  bytes[20] = 1;
  const symbolise = (address: bigint) =>
    address >> 31n === 0x1_ffff_ffffn ? `start+0x${(address & 0xffn).toString(16)}` : undefined;
  const rows = decode(btf, bytes, 'struct thing', { symbolise });
  const words = Object.fromEntries(rows.map(({ path, text }) => [path, text]));

  it('says what numbers, names and pointers mean', () => {
    expect(words).toMatchObject({
      name: '"a \\"name\\"\\x0a" and more behind the NUL', on: 'true', whole: '0x1234', half: '4660 (0x1234)', 'links.next': '0xffffffff81000010 <start+0x10>',
      'links.prev': 'NULL', 'points[2].x': '-1000 (0xfffffc18)', color: 'GREEN (5)', kind: 'HIGH (9223372036854775808)',
      raw: '00 00 00 00 00 00 00 00 07 00 00 00 00 00 00 00',
    });
  }); // biome-ignore format: a table

  it('says once that elements are zero, and keeps quiet about padding that is', () => {
    expect(words).toMatchObject({ 'points[0..1]': 'zero', 'points[3]': 'zero' });
    expect(Object.keys(words).filter((path) => path.includes('(padding)'))).toEqual(['(padding)']); // bits 4 to 7 of byte 19
    expect(decode(btf, bytes, 'thing', { everything: true }).map(({ path }) => path)).toEqual(flatten(btf, 'thing').map(({ path }) => path));
  }); // biome-ignore format: short

  it('makes a table of functions a list of names', () => {
    const table = new Uint8Array(BigUint64Array.of(0xffff_ffff_8100_0020n, 0n, 0x1000n).buffer);
    expect(formatDecoded(decode(btf, table, 'struct ops', { symbolise }))).toEqual([
      '+0x0   open     0xffffffff81000020 <start+0x20>  int (*)(char *, enum color)',
      '+0x8   close    NULL                             int (*)(char *, enum color)',
      '+0x10  private  0x1000                           char *',
    ]);
  });

  it('tells what was not captured, and numbers that have no name', () => {
    const cut = decode(btf, bytes.subarray(0, 82), 'thing');
    expect(cut.find(({ path }) => path === 'color')?.text).toBe('(not captured)');
    expect(decode(btf, Uint8Array.of(9, 0, 0, 0), 'enum color')[0].text).toBe('9 (no name)');
    expect(decode(btf, new Uint8Array(4).fill(0xff), 'enum color')[0].text).toBe('NONE (-1)');
    expect(decode(btf, Uint8Array.of(2), '_Bool')[0].text).toBe('0x2 (neither true nor false)');
    expect(decode(btf, new Uint8Array(), 'thing').every(({ text }) => text === '(not captured)')).toBe(true);
  });
});

describe('a variable of the kernel', () => {
  const types: TypeSpec[] = [
    ...SAMPLE,
    { name: 'boot_params', struct: 4096, members: [['scratch', TYPES.int, 0]] },
    { name: 'jiffies', var: TYPES.u64 },
  ];
  const kernel = new Btf(buildBtf(types), 'x');
  const symbol = (name: string, address: bigint) => ({
    name,
    address,
    size: 0n,
    kind: 'object' as const,
    global: true,
  });
  const table = new Symtab([
    symbol('cpu_thing', 0x40n),
    symbol('boot_params', 0x1000n),
    symbol('pv_ops', 0x2000n),
    symbol('mine', 0x3000n),
    symbol('jiffies', 0x4000n),
  ]);

  it('has the type that the kernel describes, that its source gives it, or that the user names', () => {
    expect(kernelVariable(table, kernel, 'cpu_thing')).toEqual({ name: 'cpu_thing', address: 0x40n, perCpu: true, type: TYPES.thing, size: 112 });
    expect(kernelVariable(table, kernel, 'boot_params')).toEqual({ name: 'boot_params', address: 0x1000n, perCpu: false, type: 'struct boot_params', size: 4096 });
    expect(kernelVariable(table, kernel, 'jiffies')).toEqual({ name: 'jiffies', address: 0x4000n, perCpu: false, type: TYPES.u64, size: 8 });
    expect(kernelVariable(table, kernel, 'mine', 'list_head[2]')).toMatchObject({ address: 0x3000n, size: 32 });
  }); // biome-ignore format: short

  it('has none where symbol or type is missing', () => {
    for (const name of ['mine', 'pv_ops', 'nothing']) expect(kernelVariable(table, kernel, name), name).toBeUndefined();
    expect(() => kernelVariable(table, kernel, 'mine', 'struct no_such')).toThrow(/no type named/);
  });
});
