/** Zstandard: frames of blocks, each block literals and sequences of (literals, match) over them.
 *
 * The output is its own window, so window sizes need no memory of their own. Huffman and FSE tables are in
 * unpack/zstd-entropy.ts. A frame's checksum, where it
 * has one, is verified.
 * Follows: RFC 8878.   Next: unpack/zstd-entropy.ts. */
import { cutShort, DamagedStream, tooMuch } from './stream.ts';
import { xxh64 } from './xxh64.ts';
import {
  decodeLiterals,
  type FseTable,
  fseTable,
  type HuffmanTable,
  huffmanTable,
  ReverseBits,
  readFseTable,
} from './zstd-entropy.ts';

const MAGIC = 0xfd2f_b528;
const BLOCK_MAX = 128 * 1024;

// RFC 8878, 3.1.1.3.2.1.1: what a code stands for, its base and how many more bits follow.
const LITERALS_LENGTH_BASE = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64,
  128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536,
]; // biome-ignore format: a table
const LITERALS_LENGTH_BITS = [
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
]; // biome-ignore format: a table
const MATCH_LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34,
  35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539,
]; // biome-ignore format: a table
const MATCH_LENGTH_BITS = [
  ...new Array(32).fill(0),
  1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
]; // biome-ignore format: a table

/** 3.1.1.3.2.2: the distributions that need no description; -1 is "less than one". */
const DEFAULTS = {
  literalsLength: [6, [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1]],
  offset: [5, [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1]],
  matchLength: [6, [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1]],
} as const; // biome-ignore format: a table
/** Largest table and symbol of each kind. */
const LIMITS = { literalsLength: [9, 35], offset: [8, 31], matchLength: [9, 52] } as const;
type SequenceKind = keyof typeof LIMITS;

type Frame = {
  huffman: HuffmanTable | undefined;
  tables: Partial<Record<SequenceKind, FseTable>>;
  repeats: [number, number, number];
  /** Where the frame's output begins; no match reaches further back. */
  begin: number;
};

/** Returns how many bytes were written to `out`. */
export function unzstd(input: Uint8Array, out: Uint8Array): number {
  let at = 0;
  let to = 0;
  const need = (bytes: number) => {
    if (at + bytes > input.length) throw cutShort(input.length);
  };
  const take = (bytes: number): number => {
    need(bytes);
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) value = value * 256 + input[at + i];
    at += bytes;
    return value;
  };
  while (at < input.length) {
    const magic = take(4);
    if (magic >>> 4 === 0x0184_d2a5) {
      const length = take(4); // a skippable frame
      need(length);
      at += length;
      continue;
    }
    if (magic !== MAGIC) throw new DamagedStream(`a zstd frame at byte ${at - 4} does not begin with its magic`);
    const descriptor = take(1);
    const single = (descriptor >>> 5) & 1;
    if (descriptor & 8) throw new DamagedStream('a zstd frame has a reserved bit set');
    if (!single) take(1); // window
    if (take([0, 1, 2, 4][descriptor & 3])) throw new DamagedStream('the zstd frame needs a dictionary');
    const sizeBytes = [single, 2, 4, 8][descriptor >>> 6];
    if (sizeBytes > 0) {
      const content = take(sizeBytes) + (sizeBytes === 2 ? 256 : 0);
      if (to + content > out.length) throw tooMuch(out.length);
    }
    const frame: Frame = { huffman: undefined, tables: {}, repeats: [1, 4, 8], begin: to };
    for (let last = false; !last; ) {
      const header = take(3);
      last = (header & 1) === 1;
      const size = header >>> 3;
      const type = (header >>> 1) & 3;
      if (type === 3 || (type !== 1 && size > BLOCK_MAX))
        throw new DamagedStream(`zstd block header 0x${header.toString(16)} is not valid`);
      need(type === 1 ? 1 : size);
      if (type < 2 && to + size > out.length) throw tooMuch(out.length);
      if (type === 0) {
        out.set(input.subarray(at, at + size), to);
        to += size;
      } else if (type === 1) {
        out.fill(input[at], to, to + size);
        to += size;
      } else to = compressedBlock(input.subarray(at, at + size), frame, out, to);
      at += type === 1 ? 1 : size;
    }
    if (descriptor & 4 && take(4) !== Number(xxh64(out.subarray(frame.begin, to)) & 0xffff_ffffn)) {
      throw new DamagedStream('a zstd frame has a wrong checksum');
    }
  }
  return to;
}

function compressedBlock(input: Uint8Array, frame: Frame, out: Uint8Array, begin: number): number {
  const { literals, at: start } = literalsSection(input, frame);
  let at = start;
  if (at >= input.length) throw cutShort(at);
  let count = input[at++];
  if (count >= 128) {
    const wide = count === 255;
    if (at + (wide ? 2 : 1) > input.length) throw cutShort(at);
    count = wide ? input[at] + (input[at + 1] << 8) + 0x7f00 : ((count - 128) << 8) + input[at];
    at += wide ? 2 : 1;
  }
  if (count === 0) {
    if (begin + literals.length > out.length) throw tooMuch(out.length);
    out.set(literals, begin);
    return begin + literals.length;
  }
  if (at >= input.length) throw cutShort(at);
  const modes = input[at++];
  if (modes & 3) throw new DamagedStream('zstd sequence modes have a reserved bit set');
  const literalsLength = sequenceTable('literalsLength', modes >>> 6);
  const offset = sequenceTable('offset', (modes >>> 4) & 3);
  const matchLength = sequenceTable('matchLength', (modes >>> 2) & 3);
  return sequences(input.subarray(at), count, literalsLength, offset, matchLength, literals, frame, out, begin);

  function sequenceTable(kind: SequenceKind, mode: number): FseTable {
    let table = frame.tables[kind];
    if (mode === 0) table = fseTable(DEFAULTS[kind][1], DEFAULTS[kind][0]);
    else if (mode === 1) {
      if (at >= input.length) throw cutShort(at);
      table = { log: 0, symbols: Uint8Array.of(input[at++]), bits: new Uint8Array(1), bases: new Uint16Array(1) };
    } else if (mode === 2) {
      const read = readFseTable(input, at, LIMITS[kind][0], LIMITS[kind][1]);
      table = read.table;
      at = read.at;
    } else if (!table) throw new DamagedStream('a zstd block repeats a table that it does not have');
    if (table.symbols.some((symbol) => symbol > LIMITS[kind][1]))
      throw new DamagedStream('a zstd sequence code is too large');
    frame.tables[kind] = table;
    return table;
  }
}

function sequences(
  input: Uint8Array,
  count: number,
  literalsLengths: FseTable,
  offsets: FseTable,
  matchLengths: FseTable,
  literals: Uint8Array,
  frame: Frame,
  out: Uint8Array,
  begin: number,
): number {
  const bits = new ReverseBits(input);
  const { repeats } = frame;
  const size = out.length;
  let literalsState = bits.take(literalsLengths.log);
  let offsetState = bits.take(offsets.log);
  let matchState = bits.take(matchLengths.log);
  let to = begin;
  let from = 0;
  for (let left = count; left > 0; left--) {
    const offsetCode = offsets.symbols[offsetState];
    const matchCode = matchLengths.symbols[matchState];
    const literalsCode = literalsLengths.symbols[literalsState];
    let value = offsetCode > 16 ? bits.take(offsetCode - 16) * 65536 + bits.take(16) : bits.take(offsetCode);
    value += 2 ** offsetCode;
    const length = MATCH_LENGTH_BASE[matchCode] + bits.take(MATCH_LENGTH_BITS[matchCode]);
    const plain = LITERALS_LENGTH_BASE[literalsCode] + bits.take(LITERALS_LENGTH_BITS[literalsCode]);
    if (left > 1) {
      literalsState = literalsLengths.bases[literalsState] + bits.take(literalsLengths.bits[literalsState]);
      matchState = matchLengths.bases[matchState] + bits.take(matchLengths.bits[matchState]);
      offsetState = offsets.bases[offsetState] + bits.take(offsets.bits[offsetState]);
    }
    if (bits.left < 0) throw new DamagedStream('a zstd block has fewer bits than sequences');

    // 3.1.1.5: values 1 to 3 repeat an earlier distance, shifted by one when no literals come first.
    let distance: number;
    if (value > 3) {
      distance = value - 3;
      repeats[2] = repeats[1];
      repeats[1] = repeats[0];
      repeats[0] = distance;
    } else {
      const which = plain === 0 ? value : value - 1;
      distance = which === 3 ? repeats[0] - 1 : repeats[which];
      if (which > 1) repeats[2] = repeats[1];
      if (which > 0) repeats[1] = repeats[0];
      repeats[0] = distance;
    }

    if (from + plain > literals.length) throw new DamagedStream('a zstd sequence takes more literals than there are');
    if (to + plain + length > size) throw tooMuch(size);
    if (plain > 32) {
      out.set(literals.subarray(from, from + plain), to);
      from += plain;
      to += plain;
    } else for (const stop = to + plain; to < stop; ) out[to++] = literals[from++];
    if (distance <= 0 || distance > to - frame.begin) {
      throw new DamagedStream(`a match reaches ${distance} bytes back, and ${to - frame.begin} are there`);
    }
    if (length > 32 && distance >= length) {
      out.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else for (const stop = to + length; to < stop; to++) out[to] = out[to - distance];
  }
  if (bits.left !== 0) throw new DamagedStream(`a zstd block leaves ${bits.left} bits unread`);
  if (to + literals.length - from > size) throw tooMuch(size);
  out.set(literals.subarray(from), to);
  return to + literals.length - from;
}

function literalsSection(input: Uint8Array, frame: Frame): { literals: Uint8Array; at: number } {
  if (input.length < 1) throw cutShort(0);
  const type = input[0] & 3; // raw, repeated byte, Huffman, Huffman with the table before
  const format = (input[0] >>> 2) & 3;
  const headerSize = type < 2 ? [1, 2, 1, 3][format] : [3, 3, 4, 5][format];
  if (input.length < headerSize) throw cutShort(input.length);
  let header = 0;
  for (let i = headerSize - 1; i >= 0; i--) header = header * 256 + input[i];
  if (type < 2) {
    const size = Math.floor(header / [8, 16, 8, 16][format]);
    if (size > BLOCK_MAX) throw new DamagedStream(`a zstd block has ${size} literals`);
    const packed = type === 0 ? size : 1;
    if (headerSize + packed > input.length) throw cutShort(input.length);
    const bytes = input.subarray(headerSize, headerSize + packed);
    return { literals: type === 0 ? bytes : new Uint8Array(size).fill(bytes[0]), at: headerSize + packed };
  }
  const width = [10, 10, 14, 18][format];
  const size = Math.floor(header / 16) % 2 ** width;
  const packed = Math.floor(header / (16 * 2 ** width));
  const end = headerSize + packed;
  if (size > BLOCK_MAX) throw new DamagedStream(`a zstd block has ${size} literals`);
  if (end > input.length) throw cutShort(input.length);
  let at = headerSize;
  if (type === 2) ({ table: frame.huffman, at } = huffmanTable(input.subarray(0, end), at));
  if (!frame.huffman) throw new DamagedStream('a zstd block repeats a table that it does not have');
  const literals = new Uint8Array(size);
  if (format === 0) decodeLiterals(input.subarray(at, end), frame.huffman, literals);
  else {
    // Four streams of equal length but the last; their packed lengths stand before them.
    if (at + 6 > end) throw cutShort(end);
    const part = (size + 3) >>> 2;
    if (3 * part > size) throw new DamagedStream(`a zstd block has ${size} literals in four streams`);
    let from = at + 6;
    for (let i = 0; i < 4; i++) {
      const length = i < 3 ? input[at + 2 * i] | (input[at + 2 * i + 1] << 8) : end - from;
      if (length < 0 || from + length > end) throw cutShort(end);
      decodeLiterals(
        input.subarray(from, from + length),
        frame.huffman,
        literals.subarray(i * part, i < 3 ? (i + 1) * part : size),
      );
      from += length;
    }
  }
  return { literals, at: end };
}
