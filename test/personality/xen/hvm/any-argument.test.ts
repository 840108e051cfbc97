/** A call with any argument whatsoever, in either width, leaves the VMM alive and ends in the guest’s own registers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE, DATA, HvmGuest, MEMORY, SPECIAL } from './hvm-guest.ts';

const EDGES = [
  0n, 1n, 2n, 3n, 7n, 15n, 64n, 0x7ff0n, 4096n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 0x1_0000_0000n, 1n << 47n, 1n << 63n,
  (1n << 64n) - 1n, (1n << 64n) - 8n,
]; // biome-ignore format: a table
const FRAMES = [0x13, 0x130, 0x131, MEMORY / 4096 - 1, MEMORY / 4096, 0x8_0000, 0xf_eff8, 0xf_effc, 0xf_efff, 0xf_f000, 0xfff_ffff].map(BigInt); // biome-ignore format: one line
const PLACES = [DATA, DATA + 0xff9, CODE, MEMORY - 4, MEMORY, SPECIAL.console, SPECIAL.store, 0x13_0000, 0x8000_0000].map(BigInt); // biome-ignore format: one line

const word = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...EDGES) },
  { weight: 4, arbitrary: fc.constantFrom(...FRAMES) },
  { weight: 3, arbitrary: fc.constantFrom(...PLACES) },
  { weight: 3, arbitrary: fc.bigInt(0n, 40n) },
  { weight: 1, arbitrary: fc.bigInt(0n, (1n << 64n) - 1n) },
);
const argument = fc.oneof({ weight: 3, arbitrary: fc.constant(BigInt(DATA)) }, { weight: 4, arbitrary: word });
const oneCall = fc.record({
  number: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(12, 12, 12, 13, 15, 17, 18, 20, 24, 32, 34) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 70 }) },
  ),
  args: fc.tuple(argument, argument, argument, argument, argument),
  /** Struct fields of 4 bytes, some of which make words of 8. */
  data: fc.array(word, { minLength: 8, maxLength: 16 }),
});

describe.each([64, 32] as const)('a call of %i bits with any argument', (bits) => {
  it('is answered', async () => {
    const seen = new Set<number>();
    let successes = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(oneCall, { minLength: 20, maxLength: 50 }), async (calls) => {
        const guest = await HvmGuest.create(bits);
        for (const { number, args, data } of calls) {
          data.forEach((value, i) => {
            guest.number(DATA + 4 * i, value, i % 2 === 0 ? 4 : 8);
          });
          const result = guest.call(number, ...args);
          seen.add(number);
          if (guest.machine.step(0).code !== 5) return; // it has ended: sched_op, or its only vCPU went down
          if (result >= 0) successes++;
        }
        guest.machine.outcome();
      }),
      { numRuns: 25, seed: 21 },
    );
    expect(seen.size).toBeGreaterThan(15);
    expect(successes).toBeGreaterThan(50);
  }, 60_000);

  it.each([
    ['memory_op decrease of 2^32-1 extents', 12, [1, DATA]],
    ['multicall of 2^32-1 calls', 13, [DATA, 0xffff_ffff]],
    ['console_io of 4 GiB', 18, [0, 0xffff_ffff, 0]],
    ['poll of 2^32-1 ports', 29, [3, DATA]],
    ['grant set-up of 2^32-1 frames', 20, [2, DATA, 1]],
  ])('%s is soon over', async (_, number, args) => {
    const guest = await HvmGuest.create(bits);
    guest.words(DATA, 0, 0xffff_ffff, 0, 0);
    const start = performance.now();
    guest.call(number, ...args);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});
