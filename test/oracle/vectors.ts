/** Vectors: what the host did, kept in a few hundred kilobytes.
 *
 * A file holds blocks: a name (of a form), a checksum of its cases as they are generated (states.ts makes them again; a
 * file that no longer fits says so), and for each case only what changed. Values are kept as differences where
 * that is shorter. The whole is compressed with Brotli. May not: hold inputs.   Next: test/oracle/compare.ts. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { CpuStart } from '../engine/cpu-driver.ts';
import { DATA } from './sandbox.ts';

const SEGMENT_ORDER = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;

/** Everything a case can change, after the instruction. */
export type Outcome = {
  gpr: bigint[];
  rip: bigint;
  rflags: bigint;
  /** The exception that the instruction raised; what happens behind it is not its affair. */
  fault?: { vector: number; errorCode?: number; cr2?: bigint };
  selectors: Record<(typeof SEGMENT_ORDER)[number], number>;
  fsBase: bigint;
  gsBase: bigint;
  /** Runs of bytes that differ from before, in the order of their addresses. */
  memory: { at: number; bytes: Uint8Array }[];
};

/** What is recorded: a first state, and the instructions that run from it. */
export type Recorded = { start: CpuStart; bytes: Uint8Array };

/** Recorded states under one name; `vectors/64.bin.br` has a block for each form. */
export type Block = { id: string; cases: readonly Recorded[] };

export type FileName = '64' | '32' | 'sequences-64' | 'sequences-32';
export const vectorFile = (name: FileName): string => fileURLToPath(new URL(`vectors/${name}.bin.br`, import.meta.url));

const MAGIC = 'zeropage vectors 1\n';
/** Of the file after decompression; the real ones have a few megabytes. */
const MOST = 64 * 1024 * 1024;

/** FNV-1a over everything that defines the cases of a form. */
export function checksum(cases: readonly Recorded[]): number {
  let h = 0x811c9dc5;
  const add = (word: number): void => {
    h = Math.imul(h ^ word, 0x01000193);
  };
  const wide = new BigUint64Array(18);
  const words = new Uint32Array(wide.buffer);
  for (const { start } of cases) {
    wide.set(start.gpr);
    wide[16] = start.rip;
    wide[17] = start.rflags;
    for (const word of words) add(word);
    for (const name of SEGMENT_ORDER) add(start.segments[name].selector);
    for (const { at, bytes } of start.memory) {
      add(at);
      for (const byte of bytes) add(byte);
    }
  }
  return h >>> 0;
}

export function encodeVectors(blocks: readonly (Block & { outcomes: readonly Outcome[] })[]): Uint8Array {
  const out = new Out();
  out.text(MAGIC);
  out.number(blocks.length);
  for (const { id, cases, outcomes } of blocks) {
    out.text(id);
    out.number(checksum(cases));
    out.number(cases.length);
    outcomes.forEach((outcome, i) => {
      writeOutcome(out, cases[i], outcome);
    });
  }
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  return brotliCompressSync(out.bytes(), { params });
}

/** The recorded outcomes of a file, block by block. */
export class Vectors {
  readonly #in: In;
  readonly #at = new Map<string, { at: number; checksum: number }>();

  constructor(name: FileName) {
    this.#in = new In(brotliDecompressSync(readFileSync(vectorFile(name)), { maxOutputLength: MOST }));
    if (this.#in.text() !== MAGIC) throw new Error(`${vectorFile(name)} is no file of vectors`);
    for (let n = this.#in.number(); n > 0; n--) {
      const id = this.#in.text();
      const sum = this.#in.number();
      const states = this.#in.number();
      this.#at.set(id, { at: this.#in.at, checksum: sum });
      for (let i = 0; i < states; i++) skipOutcome(this.#in);
    }
  }

  get ids(): string[] {
    return [...this.#at.keys()];
  }

  /** The outcomes of a block. Throws, and says so, when it was not recorded from these states. */
  outcomes({ id, cases }: Block): Outcome[] {
    const found = this.#at.get(id);
    if (!found) throw new Error(`${id} was never recorded: run test/oracle/record.ts on a machine with gcc`);
    if (found.checksum !== checksum(cases)) throw new Error(`${id} was recorded from other states: record it again`);
    this.#in.at = found.at;
    return cases.map((c) => readOutcome(this.#in, c));
  }
}

const FAULT = 1;
const MEMORY = 2;
const SELECTORS = 4;
const BASES = 8;
const FLAGS = 16;
const RIP = 32;

function writeOutcome(out: Out, { start, bytes }: Recorded, o: Outcome): void {
  const gpr = o.gpr.reduce((mask, value, i) => (value === start.gpr[i] ? mask : mask | (1 << i)), 0);
  const selectors = SEGMENT_ORDER.map((name) => o.selectors[name] !== start.segments[name].selector);
  const hasBase = o.fsBase !== start.segments.fs.base || o.gsBase !== start.segments.gs.base;
  const expected = o.fault ? start.rip : start.rip + BigInt(bytes.length);
  let kind = 0;
  if (o.fault) kind |= FAULT;
  if (o.memory.length > 0) kind |= MEMORY;
  if (selectors.includes(true)) kind |= SELECTORS;
  if (hasBase) kind |= BASES;
  if (o.rflags !== start.rflags) kind |= FLAGS;
  if (o.rip !== expected) kind |= RIP;
  out.byte(kind);
  out.number(gpr);
  for (let i = 0; i < 16; i++) if (gpr & (1 << i)) out.value(o.gpr[i], start.gpr[i]);
  if (kind & RIP) out.value(o.rip, expected);
  if (kind & FLAGS) out.number(Number(o.rflags ^ start.rflags));
  if (o.fault) {
    out.byte(o.fault.vector);
    out.number((o.fault.errorCode ?? -1) + 1);
    if (o.fault.cr2 !== undefined) out.value(o.fault.cr2, 0n);
  }
  if (kind & SELECTORS) for (const name of SEGMENT_ORDER) out.number(o.selectors[name]);
  if (kind & BASES) for (const base of [o.fsBase, o.gsBase]) out.value(base, 0n);
  if (kind & MEMORY) {
    out.number(o.memory.length);
    for (const change of o.memory) {
      out.number(change.at - DATA);
      out.number(change.bytes.length);
      out.raw(change.bytes);
    }
  }
}

const PAGE_FAULT = 14;

function readOutcome(from: In, { start, bytes }: Recorded): Outcome {
  const kind = from.byte();
  const changed = from.number();
  const gpr = start.gpr.map((value, i) => (changed & (1 << i) ? from.value(value) : value));
  const expected = kind & FAULT ? start.rip : start.rip + BigInt(bytes.length);
  const rip = kind & RIP ? from.value(expected) : expected;
  const rflags = kind & FLAGS ? start.rflags ^ BigInt(from.number()) : start.rflags;
  let fault: Outcome['fault'];
  if (kind & FAULT) {
    const vector = from.byte();
    const errorCode = from.number() - 1;
    fault = {
      vector,
      ...(errorCode < 0 ? {} : { errorCode }),
      ...(vector === PAGE_FAULT ? { cr2: from.value(0n) } : {}),
    };
  }
  const selector = (name: (typeof SEGMENT_ORDER)[number]): number =>
    kind & SELECTORS ? from.number() : start.segments[name].selector;
  const [cs, ss, ds, es, fs, gs] = SEGMENT_ORDER.map(selector);
  const [fsBase, gsBase] = [start.segments.fs.base, start.segments.gs.base].map((b) =>
    kind & BASES ? from.value(0n) : b,
  );
  const memory: Outcome['memory'] = [];
  if (kind & MEMORY) {
    for (let n = from.number(); n > 0; n--) {
      const at = from.number() + DATA;
      memory.push({ at, bytes: from.raw(from.number()) });
    }
  }
  return { gpr, rip, rflags, fault, selectors: { cs, ss, ds, es, fs, gs }, fsBase, gsBase, memory };
}

/** The same walk without a case at hand: nothing in it depends on the start. */
function skipOutcome(from: In): void {
  const kind = from.byte();
  for (let changed = from.number(); changed; changed &= changed - 1) from.value(0n);
  if (kind & RIP) from.value(0n);
  if (kind & FLAGS) from.number();
  if (kind & FAULT) {
    const vector = from.byte();
    from.number();
    if (vector === PAGE_FAULT) from.value(0n);
  }
  if (kind & SELECTORS) for (let i = 0; i < SEGMENT_ORDER.length; i++) from.number();
  if (kind & BASES) for (let i = 0; i < 2; i++) from.value(0n);
  if (kind & MEMORY) {
    for (let n = from.number(); n > 0; n--) {
      from.number();
      from.raw(from.number());
    }
  }
}

/** In the head byte of a value: it is to be added to what was there before. */
const RELATIVE = 0x10;

class Out {
  #buffer = new Uint8Array(1 << 16);
  #length = 0;

  byte(value: number): void {
    if (this.#length === this.#buffer.length) {
      const grown = new Uint8Array(2 * this.#length);
      grown.set(this.#buffer);
      this.#buffer = grown;
    }
    this.#buffer[this.#length++] = value;
  }
  /** LEB128. */
  number(value: number): void {
    let rest = value;
    for (; rest > 0x7f; rest = Math.floor(rest / 128)) this.byte((rest % 128) | 0x80);
    this.byte(rest);
  }
  raw(bytes: Uint8Array): void {
    for (const byte of bytes) this.byte(byte);
  }
  text(value: string): void {
    const bytes = Buffer.from(value);
    this.number(bytes.length);
    this.raw(bytes);
  }
  /** A 64-bit value, or its difference from `before`: a head byte with the length, then as many bytes as it needs. */
  value(value: bigint, before: bigint): void {
    const difference = BigInt.asIntN(64, value - before);
    const relative = signedLength(difference) < signedLength(BigInt.asIntN(64, value));
    const kept = relative ? difference : BigInt.asIntN(64, value);
    const length = signedLength(kept);
    this.byte(length | (relative ? RELATIVE : 0));
    for (let i = 0; i < length; i++) this.byte(Number((kept >> BigInt(8 * i)) & 0xffn));
  }
  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }
}

function signedLength(value: bigint): number {
  for (let bytes = 0; bytes < 8; bytes++) if (BigInt.asIntN(8 * bytes, value) === value) return bytes;
  return 8;
}

class In {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  byte(): number {
    return this.#bytes[this.at++];
  }
  number(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
  raw(length: number): Uint8Array {
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }
  text(): string {
    return Buffer.from(this.raw(this.number())).toString();
  }
  value(before: bigint): bigint {
    const head = this.byte();
    const length = head & 0xf;
    let value = 0n;
    for (let i = 0; i < length; i++) value |= BigInt(this.byte()) << BigInt(8 * i);
    value = BigInt.asIntN(8 * length, value);
    return BigInt.asUintN(64, head & RELATIVE ? before + value : value);
  }
}
