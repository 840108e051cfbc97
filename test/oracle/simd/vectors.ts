/** Vectors of MMX and SSE: what the host did, kept as what changed in each state.
 *
 * One block for each form: its name, a checksum of its states as they are generated, and the outcomes; the whole
 * compressed with Brotli. May not: hold inputs.   Next: test/oracle/simd/replay.ts. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { SimdOutcome } from './native.ts';
import type { SimdCase, SimdState } from './states.ts';

const FILE = fileURLToPath(new URL('../vectors/simd.bin.br', import.meta.url));
/** The x87's, in the same form. */
export const X87_FILE = fileURLToPath(new URL('../vectors/x87.bin.br', import.meta.url));
const MOST = 64 * 1024 * 1024;

type Place = readonly [at: number, length: number];
const STATE_BYTES = 16 * 8 + 8 + 4 + 3 * 2 + 1 + 128 + 256 + 64;
/** General registers, flags, MXCSR and the x87's words; ST and XMM registers; memory. */
const FIELDS: readonly Place[] = [
  ...Array.from({ length: 16 }, (_, i): Place => [8 * i, 8]),
  [128, 8],
  [136, 4],
  [140, 7],
  ...Array.from({ length: 24 }, (_, i): Place => [147 + 16 * i, 16]),
  [531, 64],
];

/** Everything that is compared, in one piece. */
export function imageOf(state: SimdState & { vector?: number }): Uint8Array {
  const bytes = new Uint8Array(STATE_BYTES);
  const view = new DataView(bytes.buffer);
  state.gpr.forEach((value, i) => {
    view.setBigUint64(8 * i, value, true);
  });
  view.setBigUint64(128, state.rflags & 0x8d5n, true);
  view.setUint32(136, state.mxcsr, true);
  view.setUint16(140, state.fcw, true);
  view.setUint16(142, state.fsw, true);
  view.setUint8(144, state.ftw);
  view.setUint8(145, state.vector ?? 0);
  bytes.set(state.st, 147);
  bytes.set(state.xmm, 275);
  bytes.set(state.data, 531);
  return bytes;
}

/** FNV-1a over everything that a form's cases begin with. */
export function checksumOf(cases: readonly SimdCase[]): number {
  let h = 0x811c9dc5;
  for (const { start, code } of cases) {
    for (const bytes of [imageOf(start), code]) for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
  }
  return h >>> 0;
}

export type SimdBlock = { id: string; cases: readonly SimdCase[]; outcomes: readonly SimdOutcome[] };

/** A header of names, checksums and lengths in JSON, and behind it the changes. */
export function writeSimdVectors(blocks: readonly SimdBlock[], file = FILE): number {
  const bodies = blocks.map(({ cases, outcomes }) => Buffer.from(outcomes.flatMap((o, i) => changes(cases[i], o))));
  const header = blocks.map(({ id, cases }, i) => [id, checksumOf(cases), cases.length, bodies[i].length]);
  const raw = Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), ...bodies]);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  const packed = brotliCompressSync(raw, { params });
  writeFileSync(file, packed);
  return packed.length;
}

/** Which fields differ, as 6 bytes of a mask, and of each its bytes that do: a mask and the differences. */
function changes({ start }: SimdCase, outcome: SimdOutcome): number[] {
  const [before, after] = [imageOf(start), imageOf(outcome)];
  const out: number[] = [];
  let mask = 0n;
  FIELDS.forEach(([at, length], n) => {
    const different = Array.from({ length }, (_, i) => before[at + i] !== after[at + i]);
    if (!different.includes(true)) return;
    mask |= 1n << BigInt(n);
    for (let i = 0; i < length; i += 8) {
      out.push(different.slice(i, i + 8).reduce((sum, d, k) => (d ? sum | (1 << k) : sum), 0));
    }
    different.forEach((d, i) => {
      if (d) out.push(before[at + i] ^ after[at + i]);
    });
  });
  return [...Array.from({ length: 6 }, (_, i) => Number((mask >> BigInt(8 * i)) & 0xffn)), ...out];
}

export class SimdVectors {
  readonly #bytes: Uint8Array;
  readonly #blocks = new Map<string, { checksum: number; count: number; at: number }>();

  constructor(file = FILE) {
    const raw = brotliDecompressSync(readFileSync(file), { maxOutputLength: MOST });
    const end = raw.indexOf(10);
    let at = end + 1;
    for (const [id, checksum, count, length] of JSON.parse(raw.subarray(0, end).toString()) as [
      string,
      number,
      number,
      number,
    ][]) {
      this.#blocks.set(id, { checksum, count, at });
      at += length;
    }
    this.#bytes = raw;
  }

  get ids(): string[] {
    return [...this.#blocks.keys()];
  }

  /** The outcomes of a form. Throws, and says so, when it was not recorded from these states. */
  outcomes(id: string, cases: readonly SimdCase[]): SimdOutcome[] {
    const block = this.#blocks.get(id);
    if (!block) throw new Error(`${id} was never recorded: run test/oracle/simd/record.ts on a machine with gcc`);
    if (block.checksum !== checksumOf(cases)) throw new Error(`${id} was recorded from other states: record it again`);
    let { at } = block;
    const bytes = this.#bytes;
    return cases.map(({ start }) => {
      const after = imageOf(start);
      let mask = 0n;
      for (let i = 0; i < 6; i++) mask |= BigInt(bytes[at++]) << BigInt(8 * i);
      FIELDS.forEach(([from, length], n) => {
        if (((mask >> BigInt(n)) & 1n) === 0n) return;
        const masks = bytes.subarray(at, at + Math.ceil(length / 8));
        at += masks.length;
        for (let i = 0; i < length; i++) if ((masks[i >> 3] >> (i & 7)) & 1) after[from + i] ^= bytes[at++];
      });
      return stateOf(after);
    });
  }
}

function stateOf(bytes: Uint8Array): SimdOutcome {
  const view = new DataView(bytes.buffer);
  return {
    gpr: Array.from({ length: 16 }, (_, i) => view.getBigUint64(8 * i, true)),
    rflags: view.getBigUint64(128, true),
    mxcsr: view.getUint32(136, true),
    fcw: view.getUint16(140, true),
    fsw: view.getUint16(142, true),
    ftw: view.getUint8(144),
    vector: view.getUint8(145),
    st: bytes.slice(147, 275),
    xmm: bytes.slice(275, 531),
    data: bytes.slice(531, 595),
  };
}
