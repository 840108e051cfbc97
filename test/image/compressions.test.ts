import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { inspectKernel } from '../../src/cli/inspect.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { buildBzImage, kernelSample } from './build.ts';

// The payloads are made by the tools that kernel builds use (test/unpack/fixtures/make).
const cases = [
  ['gz', 'gzip'], ['bz2', 'bzip2'], ['lzma', 'lzma'], ['xz', 'xz'], ['lzo', 'lzo'], ['lz4', 'lz4'], ['zst', 'zstd'],
] as const; // biome-ignore format: a table

describe('a bzImage whose payload is packed by', () => {
  for (const [suffix, compression] of cases) {
    const payload = new Uint8Array(readFileSync(new URL(`../unpack/fixtures/kernel.${suffix}`, import.meta.url)));

    it(`${compression} shows the kernel inside, and boots through pvh`, () => {
      const { inspection, damage } = inspectKernel(parseKernel('vmlinuz', buildBzImage({ payload })));
      expect(damage).toBeUndefined();
      const size = kernelSample().length;
      expect(inspection.payload).toMatchObject({
        compression,
        length: payload.length,
        uncompressedSize: size,
        unpackedSize: size,
      });
      expect(inspection.elf).toMatchObject({
        class: 64,
        symbols: 1,
        warnings: [],
        unpackedFrom: `vmlinuz (${compression})`,
      });
      expect(inspection.entryPaths.find(({ via }) => via === 'pvh')).toMatchObject({ supported: true });
    });

    it(`${compression} with any byte flipped shows the damage, or a kernel`, () => {
      for (let at = 0; at < payload.length; at += 3) {
        const flipped = payload.slice();
        flipped[at] ^= 1 << (at % 8);
        const { inspection, damage } = inspectKernel(parseKernel('vmlinuz', buildBzImage({ payload: flipped })));
        expect(inspection.setupHeader).toHaveLength(39);
        expect(damage === undefined).toBe(inspection.elf !== undefined);
      }
    });
  }
});
