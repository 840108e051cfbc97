/** LZ4, legacy frame: the compressor that makes the guests' payload.
 *
 * gzip's bytes differ between zlib versions, so a payload that must rebuild byte for byte has a compressor of its own;
 * this one is greedy and small, not strong. The kernel's payload ends in four bytes more, its unpacked size, which
 * belong to no format.
 * Follows: LZ4 block format and "legacy frame" (magic 0x184c2102).   Next: piggy.ts. */

const LEGACY_MAGIC = 0x184c2102;
const BLOCK = 8 * 1024 * 1024; // a legacy block holds at most 8 MiB
const MIN_MATCH = 4;
const LAST_LITERALS = 5; // the format's end rules: the last 5 bytes are literals,
const MATCH_LIMIT = 12; // and no match starts in the last 12
const MAX_OFFSET = 65535;
const HASH_BITS = 16;

export function lz4Legacy(input: Uint8Array): Uint8Array {
  const out: number[] = [];
  pushU32(out, LEGACY_MAGIC);
  for (let at = 0; at < input.length; at += BLOCK) {
    const block = compressBlock(input.subarray(at, at + BLOCK));
    pushU32(out, block.length);
    for (const byte of block) out.push(byte);
  }
  return Uint8Array.from(out);
}

function compressBlock(input: Uint8Array): number[] {
  const out: number[] = [];
  const last = new Int32Array(1 << HASH_BITS).fill(-1); // the latest position of each hash
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  let anchor = 0; // where the pending literals begin
  let at = 0;
  while (at < input.length - MATCH_LIMIT) {
    const word = view.getUint32(at, true);
    const hash = Math.imul(word, 2654435761) >>> (32 - HASH_BITS);
    const from = last[hash];
    last[hash] = at;
    if (from < 0 || at - from > MAX_OFFSET || view.getUint32(from, true) !== word) {
      at++;
      continue;
    }
    let length = MIN_MATCH;
    while (at + length < input.length - LAST_LITERALS && input[from + length] === input[at + length]) length++;
    pushSequence(out, input.subarray(anchor, at), length, at - from);
    at += length;
    anchor = at;
  }
  pushSequence(out, input.subarray(anchor), 0, 0);
  return out;
}

/** One sequence: literals, then a match; the block's last sequence has no match (length 0). */
function pushSequence(out: number[], literals: Uint8Array, length: number, offset: number): void {
  const extra = length ? length - MIN_MATCH : 0;
  out.push((Math.min(literals.length, 15) << 4) | Math.min(extra, 15));
  if (literals.length >= 15) pushLength(out, literals.length - 15);
  for (const byte of literals) out.push(byte);
  if (!length) return;
  out.push(offset & 0xff, offset >> 8);
  if (extra >= 15) pushLength(out, extra - 15);
}

function pushLength(out: number[], rest: number): void {
  for (; rest >= 255; rest -= 255) out.push(255);
  out.push(rest);
}

export function pushU32(out: number[], value: number): void {
  out.push(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff);
}
