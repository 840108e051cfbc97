import { describe, expect, it } from 'vitest';
import { AssertionError, BootError } from '../../src/base/errors.ts';
import { GiB, KiB, MiB } from '../../src/base/numbers.ts';
import { FLAT_STACK_TOP, LOW_MEMORY, LOW_RAM_END } from '../../src/memory/map.ts';
import {
  checkMemoryMap,
  e820TypeName,
  entryAt,
  isRam,
  ramBytes,
  ramEnd,
  standardMemoryMap,
} from '../../src/memory/memory-map.ts';

describe('the standard memory map', () => {
  it('has two RAM entries around the hole of the PC', () => {
    expect(standardMemoryMap(256 * MiB)).toEqual([
      { addr: 0, size: 0xa_0000, type: 1 },
      { addr: 0x10_0000, size: 255 * MiB, type: 1 },
    ]);
  });

  it.each([2 * MiB, 3 * GiB])('can be made for %d bytes', (size) => {
    const map = standardMemoryMap(size);
    checkMemoryMap(map);
    expect(ramEnd(map)).toBe(size);
    expect(ramBytes(map)).toBe(size - 384 * KiB);
  });

  it.each([
    [0, '2 MiB are needed'],
    [1 * MiB, '2 MiB are needed'],
    [-4096, '2 MiB are needed'],
    [3 * GiB + 4096, 'share one 4 GiB'],
    [256 * MiB + 1, 'frames of 4 KiB'],
    [Number.NaN, 'whole number'],
    [Number.POSITIVE_INFINITY, 'whole number'],
    [2.5 * MiB + 0.5, 'whole number'],
  ])('is refused for %d bytes of RAM', (size, why) => {
    expect(() => standardMemoryMap(size)).toThrow(BootError);
    expect(() => standardMemoryMap(size)).toThrow(why);
  });

  it.each([
    [0x0, 1, true],
    [0x9_ffff, 1, true],
    [0x9_ffff, 2, false],
    [0xa_0000, 1, false],
    [0xf_ffff, 1, false],
    [0x10_0000, 255 * MiB, true],
    [0x10_0000, 255 * MiB + 1, false],
    [256 * MiB, 0, false],
    [-1, 1, false],
  ])('says of %d, %d bytes: RAM is %s', (at, length, ram) => {
    expect(isRam(standardMemoryMap(256 * MiB), at, length)).toBe(ram);
  });

  it('finds the entry of an address', () => {
    const map = standardMemoryMap(4 * MiB);
    expect(entryAt(map, 0x12_3456)).toBe(map[1]);
    expect(entryAt(map, 0xc_0000)).toBeUndefined();
  });

  it('names types in words, unknown ones by number', () => {
    expect([1, 2, 3, 4, 5, 12].map(e820TypeName)).toEqual([
      'RAM', 'reserved', 'ACPI reclaimable', 'ACPI NVS', 'unusable', 'type 12',
    ]); // biome-ignore format: a list
  });
});

describe('a memory map that makes no sense', () => {
  it.each([
    ['overlaps', [{ addr: 0, size: 2, type: 1 }, { addr: 1, size: 2, type: 2 }]],
    ['is out of order', [{ addr: 8, size: 2, type: 1 }, { addr: 0, size: 2, type: 1 }]],
    ['has an empty entry', [{ addr: 0, size: 0, type: 1 }]],
    ['begins below zero', [{ addr: -1, size: 2, type: 1 }]],
    ['has an unknown type', [{ addr: 0, size: 2, type: 99 }]],
    ['ends past 2^53', [{ addr: 2 ** 53 - 2, size: 4, type: 1 }]],
  ])('is our mistake when it %s', (_, map) => {
    expect(() => checkMemoryMap(map as never)).toThrow(AssertionError);
  }); // biome-ignore format: a table
});

describe('the places of the machine in low memory', () => {
  const ranges = Object.entries(LOW_MEMORY).sort(([, a], [, b]) => a.at - b.at);

  it('do not overlap and end below the hole', () => {
    let end = 0;
    for (const [name, { at, size }] of ranges) {
      expect(at, name).toBeGreaterThanOrEqual(end);
      end = at + size;
    }
    expect(end).toBeLessThanOrEqual(LOW_RAM_END);
  });

  it('each say what they are for', () => {
    for (const [name, { why }] of ranges) expect(why, name).toMatch(/^(struct |[A-Z]).+\.$/);
  });

  it('put the stack of flat code below 0x80000', () => {
    expect(FLAT_STACK_TOP).toBe(0x8_0000);
  });
});
