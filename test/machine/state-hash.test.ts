import { describe, expect, it } from 'vitest';
import { countOfFold, nextFold, StateHash } from '../../src/machine/state-hash.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';

const hashOf = (...folds: number[][]) => {
  const hash = new StateHash();
  for (const words of folds) hash.foldWords(Int32Array.from(words));
  return hash.digest();
};
const memoryHash = (size: number, ...bytes: [number, number][]) => {
  const memory = new GuestMemory(new ArrayBuffer(size + 64), 64, size);
  for (const [at, value] of bytes) memory.writeU8(at, value);
  const hash = new StateHash();
  const frames = hash.foldMemory(memory);
  return { frames, digest: hash.digest() };
};

describe('the folds of registers', () => {
  it('come every 100,000 instructions, and every million from ten million on', () => {
    const folds = [0];
    while (folds.length < 105) folds.push(nextFold(folds.at(-1) as number));
    expect(folds.slice(0, 3)).toEqual([0, 100_000, 200_000]);
    expect(folds.slice(99, 104)).toEqual([9_900_000, 10_000_000, 11_000_000, 12_000_000, 13_000_000]);
    expect(folds.map((_, n) => countOfFold(n))).toEqual(folds);
  });
});

describe('the state hash', () => {
  it('is the same for the same bytes and has 16 digits', () => {
    expect(hashOf([1, 2, 3])).toBe(hashOf([1, 2, 3]));
    expect(hashOf([1, 2, 3])).toMatch(/^0x[0-9a-f]{16}$/);
  });
  it.each([
    [[[1, 2, 3]], [[1, 3, 2]]],
    [[[0]], [[0, 0]]],
    [
      [[1], [2]],
      [[2], [1]],
    ],
    [[[]], []],
  ])('differs between %j and %j', (one, other) => expect(hashOf(...one)).not.toBe(hashOf(...other)));

  it('changes with every single bit of a register file', () => {
    const seen = new Set<string>();
    for (let bit = 0; bit < 512; bit++) {
      const bytes = new Array(64).fill(0x5a);
      bytes[bit >> 3] ^= 1 << (bit & 7);
      seen.add(hashOf(bytes));
    }
    expect(seen.size).toBe(512);
  });

  it('sees a byte anywhere in RAM, and where it lies', () => {
    const seen = [0, 1, 4095, 4096, 65536, 0xfffff].map((at) => memoryHash(1 << 20, [at, 1]).digest);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).not.toContain(memoryHash(1 << 20).digest);
  });
  it('counts the frames that hold anything and does not depend on how much is empty behind them', () => {
    expect(memoryHash(1 << 20, [5, 1], [6, 2], [0x9000, 3]).frames).toBe(2);
    expect(memoryHash(1 << 20, [5, 1]).digest).toBe(memoryHash(4 << 20, [5, 1]).digest);
  });
});
