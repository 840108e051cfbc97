/** LZ4, in the legacy frame that the kernel's build uses.
 *
 * A magic word, then blocks: their packed length, then sequences of literals and matches. Each block unpacks to at most
 * 8 MiB and stands alone. A magic word in place of a length starts another frame.
 * Follows: lz4 doc/lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md.   Next: unpack/lzo.ts. */
import { cutShort, DamagedStream, tooMuch } from './stream.ts';

const LEGACY_MAGIC = 0x184c_2102;

/** Returns how many bytes were written to `out`. */
export function unlz4(input: Uint8Array, out: Uint8Array): number {
  let at = 0;
  let to = 0;
  let blocks = -1; // none before the magic
  while (at < input.length) {
    if (at + 4 > input.length) throw cutShort(input.length);
    const word = (input[at] | (input[at + 1] << 8) | (input[at + 2] << 16) | (input[at + 3] << 24)) >>> 0;
    at += 4;
    if (word === LEGACY_MAGIC) blocks = Math.max(blocks, 0);
    else if (blocks < 0) throw new DamagedStream('it does not begin with the magic of a legacy LZ4 frame');
    else {
      if (word === 0) throw new DamagedStream(`block ${blocks} at byte ${at - 4} has length 0`);
      if (at + word > input.length) throw cutShort(input.length);
      to = block(input, at, at + word, out, to);
      at += word;
      blocks++;
    }
  }
  return to;
}

function block(input: Uint8Array, start: number, end: number, out: Uint8Array, begin: number): number {
  let at = start;
  let to = begin;
  const size = out.length;
  while (at < end) {
    const token = input[at++];
    let literals = token >>> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (at >= end) throw cutShort(at);
        more = input[at++];
        literals += more;
      } while (more === 255);
    }
    if (at + literals > end) throw cutShort(end);
    if (to + literals > size) throw tooMuch(size);
    if (literals > 24) {
      out.set(input.subarray(at, at + literals), to);
      at += literals;
      to += literals;
    } else for (const stop = at + literals; at < stop; ) out[to++] = input[at++];
    if (at === end) return to; // the last sequence has no match

    if (at + 2 > end) throw cutShort(end);
    const distance = input[at] | (input[at + 1] << 8);
    at += 2;
    if (distance === 0 || distance > to - begin) {
      throw new DamagedStream(`a match at byte ${at - 2} reaches ${distance} bytes back, and ${to - begin} are there`);
    }
    let length = token & 15;
    if (length === 15) {
      let more: number;
      do {
        if (at >= end) throw cutShort(at);
        more = input[at++];
        length += more;
      } while (more === 255);
    }
    length += 4;
    if (to + length > size) throw tooMuch(size);
    if (length > 32 && distance >= length) {
      out.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else for (const stop = to + length; to < stop; to++) out[to] = out[to - distance];
  }
  return to;
}
