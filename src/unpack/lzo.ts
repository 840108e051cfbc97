/** LZO1X in the lzop container.
 *
 * The container has a header with flags and a file name, then blocks: unpacked length, packed length, checksums, bytes. A
 * block of equal lengths is stored. LZO1X instructions are bytes whose meaning depends on how many literals came before.
 * Follows: Linux Documentation/staging/lzo.rst (stream); lib/decompress_unlzo.c and lzop(1) (container).
 * Next: unpack/bzip2.ts. */
import { adler32, crc32, cutShort, DamagedStream, tooMuch } from './stream.ts';

const HEADER_MAGIC = [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a];
const ADLER32_D = 1; // flags: checksums of the unpacked (D) and packed (C) block
const ADLER32_C = 2;
const EXTRA_FIELD = 0x40;
const CRC32_D = 0x100;
const CRC32_C = 0x200;
const HAS_FILTER = 0x800;

/** Returns how many bytes were written to `out`. */
export function unlzop(input: Uint8Array, out: Uint8Array): number {
  let at = 0;
  const take = (bytes: number): number => {
    if (at + bytes > input.length) throw cutShort(input.length);
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + input[at++];
    return value;
  };
  if (!HEADER_MAGIC.every((byte, i) => input[i] === byte))
    throw new DamagedStream('it does not begin with the lzop magic');
  at = HEADER_MAGIC.length;
  const version = take(2);
  take(2); // of the library
  if (version >= 0x940) take(2); // needed to unpack
  const method = take(1);
  if (method < 1 || method > 3) throw new DamagedStream(`lzop method ${method} is not LZO1X`);
  if (version >= 0x940) take(1); // level
  const flags = take(4);
  if (flags & HAS_FILTER) throw new DamagedStream('lzop filters are not known here');
  take(version >= 0x940 ? 12 : 8); // mode, mtime
  const nameLength = take(1);
  at += nameLength;
  take(4); // header checksum
  if (flags & EXTRA_FIELD) {
    const extra = take(4);
    at += extra + 4;
  }

  let to = 0;
  for (let number = 0; ; number++) {
    const unpacked = take(4);
    if (unpacked === 0) return to;
    const packed = take(4);
    const adler = flags & ADLER32_D ? take(4) : undefined;
    const crc = flags & CRC32_D ? take(4) : undefined;
    if (packed < unpacked) take((flags & ADLER32_C ? 4 : 0) + (flags & CRC32_C ? 4 : 0));
    if (packed > unpacked) throw new DamagedStream(`block ${number} grew from ${unpacked} to ${packed} bytes`);
    if (at + packed > input.length) throw cutShort(input.length);
    if (to + unpacked > out.length) throw tooMuch(out.length);
    const bytes = input.subarray(at, at + packed);
    const place = out.subarray(to, to + unpacked);
    if (packed === unpacked) place.set(bytes);
    else {
      const written = lzo1x(bytes, place);
      if (written !== unpacked)
        throw new DamagedStream(`block ${number} gives ${written} bytes instead of ${unpacked}`);
    }
    if (adler !== undefined && adler32(place) !== adler)
      throw new DamagedStream(`block ${number} has a wrong Adler-32`);
    if (crc !== undefined && crc32(place) !== crc) throw new DamagedStream(`block ${number} has a wrong CRC-32`);
    at += packed;
    to += unpacked;
  }
}

/** One LZO1X block. Returns how many bytes were written. */
function lzo1x(input: Uint8Array, out: Uint8Array): number {
  const end = input.length;
  const size = out.length;
  let at = 0;
  let to = 0;
  /** Literals copied by the last instruction, 4 standing for more than 3: decides what bytes below 16 mean. */
  let state = 0;
  let literals = 0;

  if (input[0] > 17) {
    literals = input[at++] - 17;
    state = Math.min(literals, 4);
  }
  for (;;) {
    if (literals > 0) {
      if (at + literals > end) throw cutShort(end);
      if (to + literals > size) throw tooMuch(size);
      for (const stop = at + literals; at < stop; ) out[to++] = input[at++];
      literals = 0;
    }
    if (at >= end) throw cutShort(end);
    const code = input[at++];
    let length: number;
    let distance: number;
    if (code >= 64) {
      if (at >= end) throw cutShort(end);
      length = code >= 128 ? 5 + ((code >>> 5) & 3) : 3 + ((code >>> 5) & 1);
      distance = (input[at++] << 3) + ((code >>> 2) & 7) + 1;
      literals = code & 3;
    } else if (code >= 16) {
      const mask = code >= 32 ? 31 : 7;
      length = 2 + (code & mask || long(mask));
      if (at + 2 > end) throw cutShort(end);
      const word = input[at] | (input[at + 1] << 8);
      at += 2;
      literals = word & 3;
      if (code >= 32) distance = (word >>> 2) + 1;
      else {
        distance = 0x4000 + ((code & 8) << 11) + (word >>> 2);
        if (distance === 0x4000) return to; // the end marker
      }
    } else if (state === 0) {
      literals = 3 + (code || long(15));
      state = 4;
      continue;
    } else {
      if (at >= end) throw cutShort(end);
      length = state === 4 ? 3 : 2;
      distance = (input[at++] << 2) + (code >>> 2) + (state === 4 ? 2049 : 1);
      literals = code & 3;
    }
    state = literals;
    if (distance > to) throw new DamagedStream(`a match reaches ${distance} bytes back, and ${to} are there`);
    if (to + length > size) throw tooMuch(size);
    for (const stop = to + length; to < stop; to++) out[to] = out[to - distance];
  }

  /** A length that did not fit: 255 for each zero byte, then the first other byte. */
  function long(base: number): number {
    let value = base;
    while (at < end && input[at] === 0) {
      value += 255;
      at++;
    }
    if (at >= end) throw cutShort(end);
    return value + input[at++];
  }
}
