/** XXH64, the checksum of zstd frames.
 *
 * The stripes, which are nearly all of the work, are done in pairs of 32-bit words; what remains, at most 31 bytes and the
 * last mixing, in bigints, where the formulas read as they are written.
 * Follows: xxHash, doc/xxhash_spec.md 0.2.0.   Next: image/kernel-image.ts. */

const P1 = 0x9e37_79b1_85eb_ca87n;
const P2 = 0xc2b2_ae3d_27d4_eb4fn;
const P3 = 0x1656_67b1_9e37_79f9n;
const P4 = 0x85eb_ca77_c2b2_ae63n;
const P5 = 0x27d4_eb2f_1656_67c5n;

const wrap = (value: bigint) => BigInt.asUintN(64, value);
const rotate = (value: bigint, by: bigint) => wrap(value << by) | (value >> (64n - by));
const round = (lane: bigint, input: bigint) => wrap(rotate(wrap(lane + input * P2), 31n) * P1);

/** With seed 0. */
export function xxh64(bytes: Uint8Array): bigint {
  let hash = P5;
  let at = 0;
  if (bytes.length >= 32) {
    at = bytes.length - (bytes.length % 32);
    const lanes = stripes(bytes, at);
    hash = wrap(rotate(lanes[0], 1n) + rotate(lanes[1], 7n) + rotate(lanes[2], 12n) + rotate(lanes[3], 18n));
    for (const lane of lanes) hash = wrap((hash ^ round(0n, lane)) * P1 + P4);
  }
  hash = wrap(hash + BigInt(bytes.length));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (; at + 8 <= bytes.length; at += 8)
    hash = wrap(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
  if (at + 4 <= bytes.length) {
    hash = wrap(rotate(hash ^ wrap(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
    at += 4;
  }
  for (; at < bytes.length; at++) hash = wrap(rotate(hash ^ wrap(BigInt(bytes[at]) * P5), 11n) * P1);
  hash = wrap((hash ^ (hash >> 33n)) * P2);
  hash = wrap((hash ^ (hash >> 29n)) * P3);
  return hash ^ (hash >> 32n);
}

/** The four lanes after `end` bytes, a multiple of 32. */
function stripes(bytes: Uint8Array, end: number): bigint[] {
  const start = [wrap(P1 + P2), P2, 0n, wrap(-P1)];
  const low = Int32Array.from(start, (lane) => Number(BigInt.asIntN(32, lane)));
  const high = Int32Array.from(start, (lane) => Number(BigInt.asIntN(32, lane >> 32n)));
  const [p1Low, p1High, p2Low, p2High] = [0x85eb_ca87, 0x9e37_79b1, 0x27d4_eb4f, 0xc2b2_ae3d];
  for (let at = 0; at < end; at += 8) {
    const lane = (at >>> 3) & 3;
    const inLow = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    const inHigh = bytes[at + 4] | (bytes[at + 5] << 8) | (bytes[at + 6] << 16) | (bytes[at + 7] << 24);
    // lane += input * P2
    const productLow = Math.imul(inLow, p2Low);
    const productHigh = (upper(inLow, p2Low) + Math.imul(inLow, p2High) + Math.imul(inHigh, p2Low)) | 0;
    const sumLow = (low[lane] + productLow) | 0;
    const sumHigh = (high[lane] + productHigh + (sumLow >>> 0 < productLow >>> 0 ? 1 : 0)) | 0;
    // lane = rotate(lane, 31) * P1
    const turnedHigh = (sumHigh << 31) | (sumLow >>> 1);
    const turnedLow = (sumLow << 31) | (sumHigh >>> 1);
    low[lane] = Math.imul(turnedLow, p1Low);
    high[lane] = upper(turnedLow, p1Low) + Math.imul(turnedLow, p1High) + Math.imul(turnedHigh, p1Low);
  }
  return start.map((_, i) => (BigInt(high[i] >>> 0) << 32n) | BigInt(low[i] >>> 0));
}

/** The upper 32 bits of the product of two unsigned words. */
function upper(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = (Math.imul(a1, b0) >>> 0) + (Math.imul(a0, b0) >>> 16);
  const other = (Math.imul(a0, b1) >>> 0) + (middle & 0xffff);
  return (Math.imul(a1, b1) + (middle >>> 16) + (other >>> 16)) | 0;
}
