import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { adler32, crc32, crc64, DamagedStream } from '../../src/unpack/stream.ts';
import { type CompressionName, compressionOf, type HostUnpackers, unpack } from '../../src/unpack/unpack.ts';
import { xxh64 } from '../../src/unpack/xxh64.ts';
import { concat, sample, smallSample } from './sample.ts';

const folder = new URL('fixtures/', import.meta.url);
const fixture = (name: string) => new Uint8Array(readFileSync(new URL(name, folder)));
const LIMIT = 1 << 20;
const big = sample();
const small = smallSample();

const cases: [string, CompressionName][] = [
  ['gz', 'gzip'], ['bz2', 'bzip2'], ['lzma', 'lzma'], ['xz', 'xz'], ['lzo', 'lzo'], ['lz4', 'lz4'], ['zst', 'zstd'],
]; // biome-ignore format: a table

function unpackAny(bytes: Uint8Array, compression: CompressionName, limit = LIMIT): Uint8Array {
  return unpack(bytes, compression, limit, nodeUnpackers);
}

/** The bytes, or the complaint; anything else that is thrown fails the test. */
function outcome(bytes: Uint8Array, compression: CompressionName): Uint8Array | DamagedStream {
  try {
    return unpackAny(bytes, compression);
  } catch (error) {
    if (error instanceof DamagedStream) return error;
    throw error;
  }
}

const withSize = (payload: Uint8Array, size: number) =>
  concat([payload.subarray(0, -4), Uint8Array.of(size & 255, (size >> 8) & 255, (size >> 16) & 255, size >>> 24)]);

describe('what the usual tools packed', () => {
  const names = readdirSync(folder).filter((name) => /^(sample|small)\./.test(name));

  it('covers all seven compressions', () => {
    expect([...new Set(names.map((name) => compressionOf(fixture(name))))].sort()).toEqual(
      cases.map(([, name]) => name).sort(),
    );
  });

  for (const name of names) {
    it(`unpacks ${name} to the bytes that went in`, () => {
      const bytes = fixture(name);
      const out = unpackAny(bytes, compressionOf(bytes) as CompressionName);
      expect(Buffer.compare(out, name.startsWith('small') ? small : big)).toBe(0);
    });
  }
});

describe('bad payloads', () => {
  for (const [suffix, compression] of cases) {
    const good = fixture(`small.${suffix}`);

    it(`${compression}: every cut is refused`, () => {
      for (let length = 0; length < good.length - 4; length++) {
        // The trailer is kept, or the cut would be found there already.
        expect(outcome(concat([good.subarray(0, length), good.subarray(-4)]), compression)).toBeInstanceOf(
          DamagedStream,
        );
        expect(outcome(good.subarray(0, length), compression)).toBeInstanceOf(DamagedStream);
      }
    });

    it(`${compression}: every flipped byte gives a complaint, or the promised number of bytes`, () => {
      for (let at = 0; at < good.length - 4; at++) {
        for (const mask of [0xff, 1 << (at % 8)]) {
          const bytes = good.slice();
          bytes[at] ^= mask;
          const result = outcome(bytes, compression);
          if (result instanceof Uint8Array) expect(result.length).toBe(small.length);
        }
      }
    });

    it(`${compression}: bytes without order behind its magic give a complaint`, () => {
      const bytes = fc.uint8Array({ minLength: 4, maxLength: 400 });
      const magic = good.subarray(0, compression === 'lzo' ? 34 : compression === 'zstd' ? 6 : 10);
      fc.assert(
        fc.property(bytes, (tail) => {
          const result = outcome(withSize(concat([magic, tail]), 5000), compression);
          return result instanceof DamagedStream || result.length === 5000;
        }),
        { numRuns: 200 },
      );
    });

    it(`${compression}: a bomb is refused before memory is taken for it`, () => {
      const bomb = fixture(`sample.${suffix}`);
      expect(() => unpackAny(bomb, compression, big.length - 1)).toThrow(/promises \d+ bytes, and the limit is/);
      expect(() => unpackAny(withSize(bomb, 0xffff_ffff), compression)).toThrow(
        'promises 4294967295 bytes, and the limit is 1048576',
      );
      // A trailer that lies is found when the stream goes on, or ends too early.
      expect(() => unpackAny(withSize(bomb, 1000), compression)).toThrow(DamagedStream);
      expect(() => unpackAny(withSize(bomb, big.length + 1), compression)).toThrow(DamagedStream);
      expect(() => unpackAny(withSize(bomb, 0), compression)).toThrow('its size trailer promises 0 bytes');
    });
  }

  it('a checksum that does not fit its bytes is found', () => {
    const wrong: [string, number, RegExp][] = [ // the byte from the end, of the checksum or under it
      ['sample.bz2', 6, /CRC/], ['sample.lzo', 400, /Adler-32|match|too early|bytes/], ['sample.crc32.lzo', 400, /CRC-32|match|too early|bytes/],
    ]; // biome-ignore format: a table
    for (const [name, fromEnd, message] of wrong) {
      const bytes = fixture(name);
      bytes[bytes.length - fromEnd] ^= 0x40;
      expect(() => unpackAny(bytes, compressionOf(bytes) as CompressionName), name).toThrow(message);
    }
    const frame = fixture('sample.zst');
    frame[frame.length - 5] ^= 1;
    expect(() => unpackAny(frame, 'zstd')).toThrow('a zstd frame has a wrong checksum');
    // xz: the check stands before index and footer, whose size the footer tells.
    for (const [name, size, message] of [
      ['sample.xz', 4, 'CRC-32'],
      ['sample.crc64.xz', 8, 'CRC-64'],
    ] as const) {
      const bytes = fixture(name);
      const footer = bytes.length - 4 - 12;
      const index = 4 * (bytes[footer + 4] + 1 + (bytes[footer + 5] << 8));
      bytes[footer - index - size] ^= 1;
      expect(() => unpackAny(bytes, 'xz'), name).toThrow(`wrong ${message}`);
    }
  });

  it('what the host throws becomes the complaint', () => {
    const host: HostUnpackers = {
      gunzip() {
        throw new Error('no gunzip today');
      },
    };
    expect(() => unpack(fixture('small.gz'), 'gzip', LIMIT, host)).toThrow(new DamagedStream('no gunzip today'));
  });
});

describe('checksums', () => {
  const check = new TextEncoder().encode('123456789'); // the check value of every catalogue of CRCs
  it('agree with the published check values', () => {
    expect(crc32(check)).toBe(0xcbf4_3926);
    expect(crc64(check)).toEqual([0xdf19_39fa, 0x995d_c9bb]);
    expect(adler32(new TextEncoder().encode('Wikipedia'))).toBe(0x11e6_0398);
  });

  it('XXH64 agrees with published values, and in pairs of words with the formula in bigints', () => {
    const hash = (string: string) => xxh64(new TextEncoder().encode(string));
    expect([hash(''), hash('a'), hash('abc')]).toEqual([
      0xef46_db37_51d8_e999n,
      0xd24e_c4f1_a98c_6e5bn,
      0x44bc_2cf5_ad77_0999n,
    ]);
    const wrap = (value: bigint) => BigInt.asUintN(64, value);
    const turn = (value: bigint, by: bigint) => wrap(value << by) | (value >> (64n - by));
    const [p1, p2, p4] = [0x9e37_79b1_85eb_ca87n, 0xc2b2_ae3d_27d4_eb4fn, 0x85eb_ca77_c2b2_ae63n];
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 4, maxLength: 40 }), (words) => {
        const whole = words.slice(0, words.length - (words.length % 4));
        const lanes = [wrap(p1 + p2), p2, 0n, wrap(-p1)];
        const round = (lane: bigint, word: bigint) => wrap(turn(wrap(lane + word * p2), 31n) * p1);
        whole.forEach((word, i) => {
          lanes[i % 4] = round(lanes[i % 4], word);
        });
        let h = wrap(turn(lanes[0], 1n) + turn(lanes[1], 7n) + turn(lanes[2], 12n) + turn(lanes[3], 18n));
        for (const lane of lanes) h = wrap((h ^ round(0n, lane)) * p1 + p4);
        h = wrap(h + BigInt(whole.length * 8));
        h = wrap((h ^ (h >> 33n)) * p2);
        h = wrap((h ^ (h >> 29n)) * 0x1656_67b1_9e37_79f9n);
        return xxh64(new Uint8Array(BigUint64Array.from(whole).buffer)) === (h ^ (h >> 32n));
      }),
    );
  });

  it('CRC-32 by eights agrees with CRC-32 by ones', () => {
    const one = (bytes: Uint8Array) => {
      let crc = -1;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
      }
      return ~crc >>> 0;
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => crc32(bytes) === one(bytes)));
  });
});
