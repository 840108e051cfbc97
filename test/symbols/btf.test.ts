import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError, VmError } from '../../src/base/errors.ts';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { Btf, readBtf } from '../../src/symbols/btf.ts';
import { decode } from '../../src/symbols/decode.ts';
import { flattenType } from '../../src/symbols/flatten.ts';
import { buildElf } from '../image/build.ts';
import { buildBtf, SAMPLE, TYPES, type TypeSpec } from './build-btf.ts';

const btf = new Btf(buildBtf(SAMPLE), 'sample');

describe('the types of a kernel', () => {
  it('are found by their names, with or without a keyword', () => {
    const cases: [string, number | undefined][] = [
      ['thing', TYPES.thing], ['struct thing', TYPES.thing], ['thing_t', TYPES.alias], ['enum color', TYPES.color], ['color', TYPES.color],
      ['union thing', undefined], ['struct color', undefined], ['int', TYPES.int], ['long unsigned int', TYPES.u64], ['', undefined], ['thin', undefined],
      ['thing_', undefined], ['struct ', undefined], ['cpu_thing', undefined], ['struct thing\0', undefined], ['\u4e00', undefined],
    ]; // biome-ignore format: a table
    for (const [name, id] of cases) expect(btf.find(name), name).toBe(id);
  });

  it('prefer a struct to a typedef of the same name, as a user means it', () => {
    const twice = new Btf(buildBtf([{ name: 'int', int: 4 }, { name: 'page', typedef: 1 }, { name: 'page', struct: 4, members: [] }]), 'x'); // biome-ignore format: short
    expect(twice.find('page')).toBe(3);
  });

  it('are decoded with everything that the format has', () => {
    const everything: TypeSpec[] = [
      { name: 'i', int: 4, encoding: 1 }, { ptr: 1 }, { array: 1, length: 3 }, { name: 's', struct: 8, members: [['a', 1, 0], ['', 2, 32]] },
      { name: 'u', union: 4, packed: true, members: [['a', 1, 0, 5]] }, { name: 'e', enum: 4, values: { A: 1, B: 0xffff_ffff } },
      { name: 'f', fwd: 'union' }, { name: 't', typedef: 1 }, { volatile: 1 }, { const: 1 }, { restrict: 2 }, { name: 'fn', func: 13, linkage: 1 },
      { func_proto: 1, parameters: [['a', 1], ['', 0]] }, { name: 'v', var: 1, linkage: 1 }, { name: '.data', datasec: 8, entries: [[14, 0, 4]] },
      { name: 'double', float: 8 }, { name: 'tag', decl_tag: 4, component: -1 }, { name: 'user', type_tag: 1 },
      { name: 'e64', enum64: 8, signed: true, values: { M: -1n } },
    ]; // biome-ignore format: a table
    const all = new Btf(buildBtf(everything), 'x');
    expect(all.count).toBe(20);
    expect(Array.from({ length: 20 }, (_, id) => all.type(id))).toEqual([
      { kind: 'void', name: 'void' },
      { kind: 'int', name: 'i', size: 4, bits: 32, bitOffset: 0, encoding: 'signed' },
      { kind: 'ptr', name: '', type: 1 },
      { kind: 'array', name: '', type: 1, indexType: 1, length: 3 },
      { kind: 'struct', name: 's', size: 8, members: [{ name: 'a', type: 1, bitOffset: 0 }, { name: '', type: 2, bitOffset: 32 }] },
      { kind: 'union', name: 'u', size: 4, members: [{ name: 'a', type: 1, bitOffset: 0, bits: 5 }] },
      { kind: 'enum', name: 'e', size: 4, signed: false, values: [{ name: 'A', value: 1n }, { name: 'B', value: 0xffff_ffffn }] },
      { kind: 'fwd', name: 'f', of: 'union' },
      { kind: 'typedef', name: 't', type: 1 }, { kind: 'volatile', name: '', type: 1 }, { kind: 'const', name: '', type: 1 }, { kind: 'restrict', name: '', type: 2 },
      { kind: 'func', name: 'fn', type: 13, linkage: 1 },
      { kind: 'func_proto', name: '', type: 1, parameters: [{ name: 'a', type: 1 }, { name: '', type: 0 }] },
      { kind: 'var', name: 'v', type: 1, linkage: 1 },
      { kind: 'datasec', name: '.data', size: 8, entries: [{ type: 14, offset: 0, size: 4 }] },
      { kind: 'float', name: 'double', size: 8 }, { kind: 'decl_tag', name: 'tag', type: 4, component: -1 }, { kind: 'type_tag', name: 'user', type: 1 },
      { kind: 'enum64', name: 'e64', size: 8, signed: true, values: [{ name: 'M', value: -1n }] },
    ]); // biome-ignore format: a table
  });

  it('take a bit field from its integer where members have no width, as older encoders write it', () => {
    const old = new Btf(buildBtf([{ name: 'int', int: 4, bits: 3, bitOffset: 2 }, { name: 's', struct: 4, members: [['a', 1, 8]] }]), 'x'); // biome-ignore format: short
    expect(old.type(2)).toMatchObject({ members: [{ name: 'a', bitOffset: 10, bits: 3 }] });
  });

  it('are declared as in C', () => {
    const more: TypeSpec[] = [
      ...SAMPLE, { const: TYPES.char }, { ptr: 26 }, { const: 27 }, { ptr: TYPES.name }, { array: TYPES.handler, length: 3 }, { ptr: 0 },
      { func_proto: 0 }, { ptr: 32 }, { func_proto: 31, parameters: [['', TYPES.int], ['', 0]] }, { ptr: 34 }, { name: 'gone', fwd: 'struct' }, { ptr: 36 },
      { array: TYPES.name, length: 2 }, { volatile: 32 }, { ptr: 39 },
    ]; // biome-ignore format: a table
    const declared = new Btf(buildBtf(more), 'x');
    const cases: [number, string][] = [
      [0, 'void'], [TYPES.int, 'int'], [TYPES.charPtr, 'char *'], [TYPES.name, 'char[16]'], [TYPES.listPtr, 'struct list_head *'], [TYPES.color, 'enum color'],
      [TYPES.handler, 'int (*)(char *, enum color)'], [TYPES.points, 'struct point[4]'], [TYPES.anonymous, 'union {...}'], [TYPES.constAlias, 'const thing_t'],
      [27, 'const char *'], [28, 'const char * const'], [29, 'char (*)[16]'], [30, 'int (*[3])(char *, enum color)'], [31, 'void *'], [33, 'void (*)(void)'],
      [35, 'void *(*)(int, ...)'], [37, 'struct gone *'], [38, 'char[2][16]'], [40, 'void (*)(void)'],
    ]; // biome-ignore format: a table
    for (const [id, text] of cases) expect(declared.declaration(id)).toBe(text);
  });

  it('have sizes', () => {
    const cases = [[0, 0], [TYPES.thing, 112], [TYPES.constAlias, 112], [TYPES.charPtr, 8], [TYPES.points, 32], [TYPES.flexible, 0], [TYPES.proto, 0]]; // biome-ignore format: a table
    for (const [id, size] of cases) expect(btf.sizeOf(id), `${id}`).toBe(size);
    expect(new Btf(buildBtf(SAMPLE), 'x', 4).sizeOf(TYPES.charPtr)).toBe(4);
  });

  it('say where per-CPU variables are', () => {
    expect(btf.variable('cpu_thing')).toEqual({ type: TYPES.thing, section: '.data..percpu', offset: 0x40, size: 112 });
    expect(btf.variable('thing')).toBeUndefined();
  });

  it('are found in a kernel without a section table by their header', () => {
    const code = new Uint8Array(0x4000).fill(0x9f);
    code.set(buildBtf(SAMPLE), 0x1234);
    const image = parseKernel('vmlinux', buildElf({ code })) as ElfImage;
    expect(readBtf(image)?.count).toBe(SAMPLE.length + 1);
    expect(readBtf(parseKernel('vmlinux', buildElf()) as ElfImage)).toBeUndefined();
  });
});

describe('damaged types', () => {
  const bytes = buildBtf(SAMPLE);
  const patched = (at: number, ...values: number[]) => {
    const copy = bytes.slice();
    copy.set(values, at);
    return copy;
  };
  const cases: [string, Uint8Array, RegExp][] = [
    ['nothing', new Uint8Array(), /it has 0 bytes/],
    ['another magic', buildBtf([], { magic: 0x9feb }), /starts with 0x9feb, not 0xeb9f/],
    ['a later version', buildBtf([], { version: 2 }), /version is 2; 1 is known/],
    ['a header of no size', patched(4, 0, 0, 0, 0), /its types are at 0x0/],
    ['types behind the end', patched(14, 0xff), /its types are at/],
    ['names behind the end', patched(22, 0xff), /its names are at/],
    ['an unknown kind', patched(24 + 7, 30), /type 1 is of kind 30; up to 19 are known/],
    ['a record that is cut off', patched(12, bytes[12] - 4), /does not end where the types do/],
  ];
  it.each(cases)('are refused with a reason: %s', (_, damaged, message) => {
    expect(() => new Btf(damaged, 'x')).toThrow(ImageError);
    expect(() => new Btf(damaged, 'x')).toThrow(message);
  });

  it('that refer to what is not there, or to themselves, are refused when they are used', () => {
    const circle = new Btf(buildBtf([{ name: 'a', typedef: 2 }, { const: 1 }, { ptr: 3 }, { array: 4, length: 0xffff_ffff }, { array: 4, length: 0xffff_ffff }, { ptr: 99 }, { array: 7, length: 2 }]), 'x'); // biome-ignore format: short
    expect(() => circle.resolve(1)).toThrow(/chain of more than 64/);
    expect(() => circle.sizeOf(7)).toThrow(/more than 64 dimensions|more bytes than can be counted/);
    expect(() => circle.type(99)).toThrow(/there is no type 99; the last is 7/);
    expect(() => circle.declaration(6)).toThrow(/there is no type 99/);
    expect(circle.declaration(3)).toContain('*'); // a pointer to itself has an end
  });

  it('never make anything but a VmError, or take long', () => {
    const start = performance.now();
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        (changes) => {
          const damaged = bytes.slice();
          for (const [at, value] of changes) damaged[at] = value;
          try {
            const types = new Btf(damaged, 'x');
            for (let id = 0; id < types.count; id++) {
              types.type(id);
              types.declaration(id);
              if (types.sizeOf(id) < 1 << 20) flattenType(types, id, { maxFields: 500 });
              decode(types, new Uint8Array(64), id, { maxFields: 500 });
            }
            types.find('thing');
            types.variable('cpu_thing');
          } catch (error) {
            if (!(error instanceof VmError)) throw error;
          }
        },
      ),
      { numRuns: 400, seed: 4 },
    );
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});
