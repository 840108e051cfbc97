/** What all decoders share: the complaint, and the checksums that the formats carry.
 *
 * Follows: RFC 1952 (CRC-32), RFC 1950 (Adler-32), the .xz format 1.1.0 (CRC-64).   Next: unpack/lz4.ts. */

/** The compressed bytes are wrong. image/ adds which file and where, and makes an ImageError of it. */
export class DamagedStream extends Error {
  override name = 'DamagedStream';
}

export const tooMuch = (size: number) =>
  new DamagedStream(`it unpacks to more than the ${size} bytes that its size trailer promises`);
export const cutShort = (at: number) => new DamagedStream(`the stream ends too early, at byte ${at}`);

/** CRC-32 as gzip, xz and zlib have it; eight bytes at a time, since a kernel has 65 MB of them. */
export function crc32(bytes: Uint8Array): number {
  const t = crc32Tables();
  let crc = -1;
  let at = 0;
  for (const end = bytes.length - 7; at < end; at += 8) {
    const low = crc ^ (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24));
    crc =
      t[0x700 | (low & 255)] ^ t[0x600 | ((low >>> 8) & 255)] ^ t[0x500 | ((low >>> 16) & 255)] ^ t[0x400 | (low >>> 24)] ^
      t[0x300 | bytes[at + 4]] ^ t[0x200 | bytes[at + 5]] ^ t[0x100 | bytes[at + 6]] ^ t[bytes[at + 7]]; // biome-ignore format: eight lanes
  }
  for (; at < bytes.length; at++) crc = t[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

let tables: Int32Array | undefined;
function crc32Tables(): Int32Array {
  if (tables) return tables;
  tables = new Int32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
    tables[i] = crc;
  }
  for (let i = 256; i < tables.length; i++) tables[i] = tables[tables[i - 256] & 255] ^ (tables[i - 256] >>> 8);
  return tables;
}

/** CRC-64 of the .xz format as [low, high] words. */
export function crc64(bytes: Uint8Array): [number, number] {
  const low = new Int32Array(256);
  const high = new Int32Array(256);
  for (let i = 0; i < 256; i++) {
    let lo = i;
    let hi = 0;
    for (let bit = 0; bit < 8; bit++) {
      const carry = lo & 1;
      lo = (lo >>> 1) | (hi << 31);
      hi >>>= 1;
      if (carry) {
        lo ^= 0xd787_0f42; // 0xc96c5795_d7870f42, the ECMA-182 polynomial reflected
        hi ^= 0xc96c_5795;
      }
    }
    low[i] = lo;
    high[i] = hi;
  }
  let lo = -1;
  let hi = -1;
  for (const byte of bytes) {
    const i = (lo ^ byte) & 255;
    lo = ((lo >>> 8) | (hi << 24)) ^ low[i];
    hi = (hi >>> 8) ^ high[i];
  }
  return [~lo >>> 0, ~hi >>> 0];
}

export function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; ) {
    for (const end = Math.min(at + 3800, bytes.length); at < end; at++) {
      a += bytes[at];
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}
