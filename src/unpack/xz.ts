/** xz: blocks of LZMA2 chunks, filtered so that calls compress well, with checksums around everything.
 *
 * Kernels use one stream with CRC-32 and the x86 filter ("BCJ"): it turned the relative targets of E8/E9 into absolute ones,
 * and we turn them back. CRC-32 and CRC-64 checks are verified; a SHA-256 check is not (no kernel build writes one).
 * Follows: The .xz File Format 1.1.0; the filter as XZ Embedded describes it.   Next: unpack/zstd.ts. */
import { LzmaDecoder } from './lzma.ts';
import { crc32, crc64, cutShort, DamagedStream, tooMuch } from './stream.ts';

const HEADER_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]; // by check id
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;

/** Returns how many bytes were written to `out`. */
export function unxz(input: Uint8Array, out: Uint8Array): number {
  if (input.length < 12) throw cutShort(input.length);
  if (!HEADER_MAGIC.every((byte, i) => input[i] === byte))
    throw new DamagedStream('it does not begin with the xz magic');
  expectCrc(input, 6, 8, 'the xz stream header');
  if (input[6] !== 0 || input[7] > 15) throw new DamagedStream('the xz stream header has unknown flags');
  const check = input[7];
  let at = 12;
  let to = 0;
  while (at < input.length && input[at] !== 0) {
    const headerEnd = at + 4 * (input[at] + 1);
    const startOffset = blockHeader(input, at, headerEnd);
    const begin = to;
    const end = lzma2(input, headerEnd, out, begin);
    to = end.to;
    if (startOffset !== undefined) undoX86Filter(out, begin, to, startOffset);
    at = end.at + ((4 - ((end.at - headerEnd) & 3)) & 3);
    if (at + CHECK_SIZES[check] > input.length) throw cutShort(input.length);
    if (check === CHECK_CRC32 && crc32(out.subarray(begin, to)) !== word(input, at)) wrong('CRC-32');
    if (check === CHECK_CRC64) {
      const [low, high] = crc64(out.subarray(begin, to));
      if (low !== word(input, at) || high !== word(input, at + 4)) wrong('CRC-64');
    }
    at += CHECK_SIZES[check];
  }
  checkEnd(input, at);
  return to;
}

/** Index and footer: their checksums, and that the footer knows where the index began. The index's records only repeat
 * what the blocks said. */
function checkEnd(input: Uint8Array, index: number) {
  const footer = input.length - 12;
  if (footer < index + 8) throw cutShort(input.length);
  if (input[footer + 10] !== 0x59 || input[footer + 11] !== 0x5a)
    throw new DamagedStream('the xz stream footer has no magic');
  if (crc32(input.subarray(footer + 4, footer + 10)) !== word(input, footer)) {
    throw new DamagedStream('the xz stream footer has a wrong CRC-32');
  }
  if (index + 4 * (word(input, footer + 4) + 1) !== footer)
    throw new DamagedStream('the xz index does not end at the footer');
  expectCrc(input, index, footer - 4, 'the xz index');
}

function wrong(check: string): never {
  throw new DamagedStream(`the unpacked bytes of an xz block have a wrong ${check}`);
}

function word(input: Uint8Array, at: number): number {
  return (input[at] | (input[at + 1] << 8) | (input[at + 2] << 16) | (input[at + 3] << 24)) >>> 0;
}

function expectCrc(input: Uint8Array, from: number, to: number, what: string) {
  if (crc32(input.subarray(from, to)) !== word(input, to)) throw new DamagedStream(`${what} has a wrong CRC-32`);
}

/** Checks a block header; returns the x86 filter's start offset when the block has that filter. */
function blockHeader(input: Uint8Array, start: number, end: number): number | undefined {
  if (end > input.length) throw cutShort(input.length);
  expectCrc(input, start, end - 4, 'an xz block header');
  let at = start + 2;
  const number = (): number => {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      if (at >= end - 4) throw new DamagedStream('an xz block header is too short for its fields');
      const byte = input[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new DamagedStream('a number in an xz block header is too large');
  };
  const flags = input[start + 1];
  if (flags & 0x3c) throw new DamagedStream('an xz block header has unknown flags');
  if (flags & 0x40) number(); // packed size
  if (flags & 0x80) number(); // unpacked size
  let startOffset: number | undefined;
  const filters = (flags & 3) + 1;
  for (let i = 0; i < filters; i++) {
    const id = number();
    const properties = number();
    if (at + properties > end - 4) throw new DamagedStream('an xz block header is too short for its fields');
    const last = i === filters - 1;
    if (id === FILTER_X86 && !last && startOffset === undefined && (properties === 0 || properties === 4)) {
      startOffset = properties === 4 ? word(input, at) : 0;
    } else if (id !== FILTER_LZMA2 || !last || properties !== 1) {
      throw new DamagedStream(
        `an xz block has filter 0x${id.toString(16)} in place ${i + 1} of ${filters}; x86 and LZMA2 are known`,
      );
    }
    at += properties;
  }
  return startOffset;
}

/** Chunks up to the zero byte. The dictionary is the output since the last dictionary reset. */
function lzma2(input: Uint8Array, start: number, out: Uint8Array, begin: number): { at: number; to: number } {
  const decoder = new LzmaDecoder();
  let at = start;
  let to = begin;
  let dictionary = -1; // none before the first reset
  let hasProperties = false;
  let hasState = false;
  for (;;) {
    if (at >= input.length) throw cutShort(at);
    const control = input[at++];
    if (control === 0) return { at, to };
    if (control >= 0xe0 || control === 1) {
      dictionary = to;
      hasProperties = false;
    } else if (dictionary < 0) throw new DamagedStream('the first LZMA2 chunk does not reset the dictionary');
    if (at + 5 > input.length) throw cutShort(input.length);
    if (control < 0x80) {
      if (control > 2) throw new DamagedStream(`LZMA2 control byte 0x${control.toString(16)} is not known`);
      const size = (input[at] << 8) + input[at + 1] + 1;
      at += 2;
      if (at + size > input.length) throw cutShort(input.length);
      if (to + size > out.length) throw tooMuch(out.length);
      out.set(input.subarray(at, at + size), to);
      at += size;
      to += size;
      continue;
    }
    const unpacked = ((control & 0x1f) << 16) + (input[at] << 8) + input[at + 1] + 1;
    const packed = (input[at + 2] << 8) + input[at + 3] + 1;
    at += 4;
    if (control >= 0xc0) {
      decoder.setProperties(input[at++]);
      hasProperties = true;
    } else if (!hasProperties) throw new DamagedStream('an LZMA2 chunk needs properties and brings none');
    if (control >= 0xa0) {
      decoder.resetState();
      hasState = true;
    } else if (!hasState) throw new DamagedStream('an LZMA2 chunk needs a state and brings none');
    if (at + packed > input.length) throw cutShort(input.length);
    if (to + unpacked > out.length) throw tooMuch(out.length);
    to = decoder.decode(input, at, at + packed, out, to, to + unpacked, dictionary, 'exact');
    at += packed;
  }
}

/** Undoes the x86 filter in place. A target counts as one when its top byte is 00 or FF and the bytes before it do not make
 * it part of another one; `mask` remembers which of the last three bytes looked like an opcode. */
function undoX86Filter(out: Uint8Array, begin: number, end: number, startOffset: number) {
  const allowed = 0b0001_0111; // by mask: 0, 1, 2 and 4
  const bitNumber = [0, 1, 2, 2, 3, 3, 3, 3];
  let mask = 0;
  let previous = begin - 1; // place of the last opcode byte
  const last = end - 4;
  // Four bytes at a time while none of them can be a call or a jump: most are not.
  const words = out.byteOffset % 4 === 0 ? new Int32Array(out.buffer, out.byteOffset, out.length >>> 2) : undefined;
  for (let at = begin; at < last; at++) {
    if (words !== undefined && (at & 3) === 0) {
      let word = at >>> 2;
      const end = last >>> 2;
      for (; word < end; word++) {
        const different = (words[word] & 0xfefe_fefe) ^ 0xe8e8_e8e8; // a zero byte where there is one
        if (((different - 0x0101_0101) & ~different & 0x8080_8080) !== 0) break;
      }
      at = word << 2;
      if (at >= last) break;
    }
    if ((out[at] & 0xfe) !== 0xe8) continue;
    const distance = at - previous;
    if (distance > 3) mask = 0;
    else {
      mask = (mask << (distance - 1)) & 7;
      if (mask !== 0) {
        const byte = out[at + 4 - bitNumber[mask]];
        if (!((allowed >>> mask) & 1) || byte === 0 || byte === 0xff) {
          previous = at;
          mask = (mask << 1) | 1;
          continue;
        }
      }
    }
    previous = at;
    const top = out[at + 4];
    if (top !== 0 && top !== 0xff) {
      mask = (mask << 1) | 1;
      continue;
    }
    let target = out[at + 1] | (out[at + 2] << 8) | (out[at + 3] << 16) | (top << 24);
    const next = startOffset + (at - begin) + 5;
    for (;;) {
      const relative = (target - next) | 0;
      target = relative;
      if (mask === 0) break;
      const shift = bitNumber[mask] * 8;
      const byte = (relative >>> (24 - shift)) & 255;
      if (byte !== 0 && byte !== 0xff) break;
      target = relative ^ ((1 << (32 - shift)) - 1);
    }
    out[at + 1] = target;
    out[at + 2] = target >>> 8;
    out[at + 3] = target >>> 16;
    out[at + 4] = (target & 0x0100_0000) !== 0 ? 0xff : 0;
    at += 4;
  }
}
