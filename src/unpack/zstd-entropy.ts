/** Zstandard's two entropy coders: FSE (finite state) and Huffman, and the bits that are read from the end.
 *
 * Follows: RFC 8878, section 4.   Next: unpack/xxh64.ts. */
import { cutShort, DamagedStream } from './stream.ts';

/** Decoding: in a state, `symbols` gives the symbol; the next state is bases + so many more bits. */
export type FseTable = { log: number; symbols: Uint8Array; bits: Uint8Array; bases: Uint16Array };
/** By the next `log` bits: the symbol and how many of them it takes. */
export type HuffmanTable = { log: number; symbols: Uint8Array; bits: Uint8Array };

/** Bits from the end of the bytes to their beginning; the last byte's highest 1 marks where they start. */
export class ReverseBits {
  /** Bits not yet taken; negative when more were taken than there are (those read as 0). */
  left: number;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    const last = bytes.length > 0 ? bytes[bytes.length - 1] : 0;
    if (last === 0) throw new DamagedStream('a zstd bit stream has no end mark');
    this.bytes = bytes;
    this.left = bytes.length * 8 - 1 - Math.clz32(last) + 24;
  }

  /** Up to 25 bits. */
  take(count: number): number {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  peek(count: number): number {
    if (count === 0) return 0;
    const mask = (1 << count) - 1;
    const place = this.left - count;
    if (place < 0) {
      if (this.left <= 0) return 0;
      return (load(this.bytes, 0) << -place) & mask;
    }
    return (load(this.bytes, place >>> 3) >>> (place & 7)) & mask;
  }
}

function load(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

/** 4.1.1: how often each symbol occurs becomes a table of states. */
export function fseTable(counts: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let top = size - 1;
  counts.forEach((count, symbol) => {
    next[symbol] = Math.abs(count);
    if (count === -1) symbols[top--] = symbol;
  });
  const step = (size >>> 1) + (size >>> 3) + 3;
  let place = 0;
  counts.forEach((count, symbol) => {
    for (let i = 0; i < count; i++) {
      symbols[place] = symbol;
      do place = (place + step) & (size - 1);
      while (place > top);
    }
  });
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const count = next[symbols[state]]++;
    bits[state] = log - (31 - Math.clz32(count));
    bases[state] = (count << bits[state]) - size;
  }
  return { log, symbols, bits, bases };
}

/** 4.1.1: the description of a table, in bits from the beginning. */
export function readFseTable(
  input: Uint8Array,
  start: number,
  maxLog: number,
  maxSymbol: number,
): { table: FseTable; at: number } {
  let position = start * 8;
  const end = input.length * 8;
  const take = (count: number): number => {
    const value = (load(input, position >>> 3) >>> (position & 7)) & ((1 << count) - 1);
    position += count;
    return value;
  };
  const log = take(4) + 5;
  if (log > maxLog) throw new DamagedStream(`a zstd table has ${log} bits, and ${maxLog} are the most`);
  const counts: number[] = [];
  let remaining = (1 << log) + 1;
  while (remaining > 1) {
    if (position > end) throw cutShort(input.length);
    if (counts.length > maxSymbol) throw new DamagedStream('a zstd table has too many symbols');
    // Values below `short` take one bit less.
    const width = 32 - Math.clz32(remaining);
    const short = (1 << width) - 1 - remaining;
    let value = take(width - 1);
    if (value >= short) {
      value |= take(1) << (width - 1);
      if (value >= 1 << (width - 1)) value -= short;
    }
    const count = value - 1;
    remaining -= Math.abs(count);
    counts.push(count);
    if (count === 0) {
      for (let repeat = 3; repeat === 3; ) {
        repeat = take(2);
        for (let i = 0; i < repeat; i++) counts.push(0);
        if (position > end || counts.length > maxSymbol + 1)
          throw new DamagedStream('a zstd table has too many symbols');
      }
    }
  }
  if (remaining !== 1 || position > end || counts.length > maxSymbol + 1)
    throw new DamagedStream('a zstd table does not add up');
  return { table: fseTable(counts, log), at: (position + 7) >>> 3 };
}

/** 4.2.1: weights of the symbols, plain or FSE-compressed, become a table over the longest code. */
export function huffmanTable(input: Uint8Array, start: number): { table: HuffmanTable; at: number } {
  if (start >= input.length) throw cutShort(start);
  const header = input[start];
  let at = start + 1;
  const weights: number[] = [];
  if (header >= 128) {
    const count = header - 127;
    const bytes = (count + 1) >>> 1;
    if (at + bytes > input.length) throw cutShort(input.length);
    for (let i = 0; i < count; i++) weights.push(i & 1 ? input[at + (i >>> 1)] & 15 : input[at + (i >>> 1)] >>> 4);
    at += bytes;
  } else {
    if (at + header > input.length) throw cutShort(input.length);
    const section = input.subarray(at, at + header);
    const { table, at: bitsAt } = readFseTable(section, 0, 6, 255);
    fseWeights(new ReverseBits(section.subarray(bitsAt)), table, weights);
    at += header;
  }
  let sum = 0;
  for (const weight of weights) {
    if (weight > 11) throw new DamagedStream(`a zstd Huffman weight is ${weight}`);
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0) throw new DamagedStream('a zstd Huffman table is empty');
  const log = 32 - Math.clz32(sum);
  const rest = (1 << log) - sum; // what the last symbol, which is not listed, must have
  if (log > 11 || (rest & (rest - 1)) !== 0) throw new DamagedStream('a zstd Huffman table does not add up');
  weights.push(32 - Math.clz32(rest));

  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let place = 0;
  for (let weight = 1; weight <= log; weight++) {
    for (let symbol = 0; symbol < weights.length; symbol++) {
      if (weights[symbol] !== weight) continue;
      const span = 1 << (weight - 1);
      symbols.fill(symbol, place, place + span);
      bits.fill(log + 1 - weight, place, place + span);
      place += span;
    }
  }
  return { table: { log, symbols, bits }, at };
}

/** Two states take turns until the bits run out; then each has one symbol left to give. */
function fseWeights(bits: ReverseBits, table: FseTable, weights: number[]) {
  let state = bits.take(table.log);
  let other = bits.take(table.log);
  for (;;) {
    if (bits.left < 0 || weights.length > 253) throw new DamagedStream('zstd Huffman weights do not end');
    weights.push(table.symbols[state]);
    const more = table.bits[state];
    if (bits.left < more) {
      weights.push(table.symbols[other]);
      return;
    }
    state = table.bases[state] + bits.take(more);
    [state, other] = [other, state];
  }
}

/** Fills `out` from one Huffman stream, which must end exactly there. */
export function decodeLiterals(input: Uint8Array, { log, symbols, bits }: HuffmanTable, out: Uint8Array) {
  let left = new ReverseBits(input).left;
  const mask = (1 << log) - 1;
  for (let to = 0; to < out.length; to++) {
    const place = left - log;
    const index = place >= 0 ? (load(input, place >>> 3) >>> (place & 7)) & mask : (load(input, 0) << -place) & mask;
    out[to] = symbols[index];
    left -= bits[index];
    if (left < 0) throw new DamagedStream('a zstd literal stream ends too early');
  }
  if (left !== 0) throw new DamagedStream(`a zstd literal stream leaves ${left} bits unread`);
}
