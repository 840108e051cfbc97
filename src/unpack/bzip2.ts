/** bzip2: Huffman codes, move-to-front, and the Burrows-Wheeler transform undone.
 *
 * Blocks of up to 900,000 bytes, each with its CRC; a stream may follow a stream. The bits come most significant first.
 * Follows: the format as bzip2 1.0 writes it.   Next: unpack/lzma.ts. */
import { cutShort, DamagedStream, tooMuch } from './stream.ts';

const BLOCK_MAGIC = 0x3141_5926; // then 0x5359: pi
const END_MAGIC = 0x1772_4538; // then 0x5090: its root
const GROUP = 50; // symbols that share one table
const MAX_CODE = 20;

type Table = { minimum: number; limit: Int32Array; base: Int32Array; symbols: Uint16Array };

/** Returns how many bytes were written to `out`. */
export function unbzip2(input: Uint8Array, out: Uint8Array): number {
  const bits = new BitReader(input);
  let to = 0;
  // A block is at most 5/4 of what it unpacks to (four equal bytes take a fifth), so a small output bounds this too. It is
  // made once: a file may consist of a million empty streams.
  const longest = Math.min(900_000, Math.ceil(out.length * 1.25) + 1);
  const words = new Uint32Array(longest);
  do {
    if (bits.take(16) !== 0x425a || bits.take(8) !== 0x68)
      throw new DamagedStream('a bzip2 stream does not begin with BZh');
    const level = bits.take(8) - 0x30;
    if (level < 1 || level > 9) throw new DamagedStream(`bzip2 level ${level} is not between 1 and 9`);
    let streamCrc = 0;
    for (;;) {
      const magic = bits.take32();
      const rest = bits.take(16);
      const crc = bits.take32();
      if (magic === END_MAGIC && rest === 0x5090) {
        if (crc !== streamCrc >>> 0) throw new DamagedStream('a bzip2 stream has a wrong CRC');
        break;
      }
      if (magic !== BLOCK_MAGIC || rest !== 0x5359)
        throw new DamagedStream('a bzip2 block does not begin with its magic');
      const begin = to;
      to = block(bits, words.subarray(0, level * 100_000), out, to);
      const found = blockCrc(out, begin, to);
      if (found !== crc)
        throw new DamagedStream(`a bzip2 block has CRC 0x${found.toString(16)} instead of 0x${crc.toString(16)}`);
      streamCrc = ((streamCrc << 1) | (streamCrc >>> 31)) ^ crc;
    }
    bits.alignToByte();
  } while (bits.more());
  return to;
}

function block(bits: BitReader, words: Uint32Array, out: Uint8Array, begin: number): number {
  if (bits.take(1)) throw new DamagedStream('a randomised bzip2 block (from before version 0.9.5) is not known here');
  const origin = bits.take(24);
  const used = symbolsInUse(bits);
  const alphabet = used.length + 2;
  const { tables, selectors } = readTables(bits, alphabet);

  // Run lengths and move-to-front give the transformed block, its bytes in the low part of `words`.
  const counts = new Int32Array(256);
  const endOfBlock = alphabet - 1;
  let count = 0;
  let run = 0;
  let runBit = 1;
  let group = 0;
  let left = 0;
  let table = tables[0];
  for (;;) {
    if (left === 0) {
      if (group >= selectors.length) throw new DamagedStream('a bzip2 block has more symbols than its selectors');
      table = tables[selectors[group++]];
      left = GROUP;
    }
    left--;
    const symbol = bits.symbol(table);
    if (symbol <= 1) {
      run += runBit << symbol;
      runBit <<= 1;
      if (run > words.length) throw new DamagedStream('a bzip2 run is longer than its block');
      continue;
    }
    if (run > 0) {
      if (count + run > words.length) throw new DamagedStream('a bzip2 block is longer than its level allows');
      words.fill(used[0], count, count + run);
      counts[used[0]] += run;
      count += run;
      run = 0;
    }
    runBit = 1;
    if (symbol === endOfBlock) break;
    if (count >= words.length) throw new DamagedStream('a bzip2 block is longer than its level allows');
    const byte = used[symbol - 1];
    used.copyWithin(1, 0, symbol - 1);
    used[0] = byte;
    words[count++] = byte;
    counts[byte]++;
  }
  if (origin >= count) throw new DamagedStream(`a bzip2 block begins at ${origin}, and has ${count} bytes`);

  // The inverse transform: the upper 24 bits of a word say where the text goes on.
  let sum = 0;
  for (let i = 0; i < 256; i++) {
    sum += counts[i];
    counts[i] = sum - counts[i];
  }
  for (let i = 0; i < count; i++) words[counts[words[i] & 255]++] |= i << 8;

  // The first pass of run lengths: four equal bytes are followed by how many more there are.
  const size = out.length;
  let to = begin;
  let equal = 0;
  let last = -1;
  let next = words[origin] >>> 8;
  for (let i = 0; i < count; i++) {
    const word = words[next];
    const byte = word & 255;
    next = word >>> 8;
    if (equal === 4) {
      if (to + byte > size) throw tooMuch(size);
      out.fill(last, to, to + byte);
      to += byte;
      equal = 0;
      last = -1;
      continue;
    }
    equal = byte === last ? equal + 1 : 1;
    last = byte;
    if (to >= size) throw tooMuch(size);
    out[to++] = byte;
  }
  return to;
}

function symbolsInUse(bits: BitReader): Uint8Array {
  const ranges = bits.take(16);
  const used: number[] = [];
  for (let i = 0; i < 16; i++) {
    if (!((ranges << i) & 0x8000)) continue;
    const range = bits.take(16);
    for (let j = 0; j < 16; j++) if ((range << j) & 0x8000) used.push(16 * i + j);
  }
  if (used.length === 0) throw new DamagedStream('a bzip2 block uses no symbols');
  return Uint8Array.from(used);
}

function readTables(bits: BitReader, alphabet: number): { tables: Table[]; selectors: Uint8Array } {
  const groups = bits.take(3);
  const count = bits.take(15);
  if (groups < 2 || groups > 6 || count === 0)
    throw new DamagedStream(`a bzip2 block has ${groups} tables and ${count} selectors`);
  const order = [0, 1, 2, 3, 4, 5].slice(0, groups);
  const selectors = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    let place = 0;
    while (bits.take(1))
      if (++place >= groups) throw new DamagedStream('a bzip2 selector names a table that is not there');
    const [table] = order.splice(place, 1);
    order.unshift(table);
    selectors[i] = table;
  }
  const tables = Array.from({ length: groups }, () => {
    const lengths = new Uint8Array(alphabet);
    let length = bits.take(5);
    for (let i = 0; i < alphabet; i++) {
      while (bits.take(1)) {
        length += bits.take(1) ? -1 : 1;
        if (length < 1 || length > MAX_CODE) break;
      }
      if (length < 1 || length > MAX_CODE) throw new DamagedStream(`a bzip2 code is ${length} bits long`);
      lengths[i] = length;
    }
    return canonical(lengths);
  });
  return { tables, selectors };
}

/** Canonical Huffman codes: for each length the largest code, and what to subtract to index the sorted symbols. */
function canonical(lengths: Uint8Array): Table {
  const minimum = Math.min(...lengths);
  const symbols = new Uint16Array(lengths.length);
  const limit = new Int32Array(MAX_CODE + 2).fill(-1);
  const base = new Int32Array(MAX_CODE + 2);
  let code = 0;
  let index = 0;
  for (let length = minimum; length <= MAX_CODE; length++) {
    base[length] = code - index;
    for (let symbol = 0; symbol < lengths.length; symbol++) {
      if (lengths[symbol] === length) {
        symbols[index++] = symbol;
        code++;
      }
    }
    limit[length] = code - 1;
    code <<= 1;
  }
  return { minimum, limit, base, symbols };
}

const CRC = new Int32Array(256).map((_, i) => {
  let crc = i << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c1_1db7 : crc << 1;
  return crc;
});

/** CRC-32 with the most significant bit first, unlike gzip's. */
function blockCrc(bytes: Uint8Array, from: number, to: number): number {
  let crc = -1;
  for (let i = from; i < to; i++) crc = (crc << 8) ^ CRC[(crc >>> 24) ^ bytes[i]];
  return ~crc >>> 0;
}

class BitReader {
  private readonly input: Uint8Array;
  private at = 0;
  private buffer = 0;
  private count = 0; // valid low bits of buffer

  constructor(input: Uint8Array) {
    this.input = input;
  }

  /** Up to 24 bits. */
  take(bits: number): number {
    while (this.count < bits) {
      if (this.at >= this.input.length) throw cutShort(this.at);
      this.buffer = (this.buffer << 8) | this.input[this.at++];
      this.count += 8;
    }
    this.count -= bits;
    return (this.buffer >>> this.count) & ((1 << bits) - 1);
  }

  take32(): number {
    const high = this.take(16);
    return ((high << 16) | this.take(16)) >>> 0;
  }

  symbol({ minimum, limit, base, symbols }: Table): number {
    let length = minimum;
    let code = this.take(length);
    while (code > limit[length]) {
      if (++length > MAX_CODE) throw new DamagedStream('a bzip2 code is not in its table');
      code = (code << 1) | this.take(1);
    }
    const index = code - base[length];
    if (index < 0 || index >= symbols.length) throw new DamagedStream('a bzip2 code is not in its table');
    return symbols[index];
  }

  alignToByte() {
    this.count -= this.count % 8;
  }

  more(): boolean {
    return this.count >= 8 || this.at < this.input.length;
  }
}
