/** The host as the oracle of MMX and SSE: compiles harness.c, runs cases, and says what came of each.
 *
 * Next: test/oracle/simd/vectors.ts, the form in which outcomes are kept. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CODE, type SimdCase, type SimdState, WINDOW } from './states.ts';

/** The exception that the instruction raised, or 0; registers behind it. */
export type SimdOutcome = SimdState & { vector: number };

const SIZE = 18 * 8 + 8 + 8 + 128 + 256 + 16 + WINDOW;

export function runSimdNatively(cases: readonly SimdCase[]): SimdOutcome[] {
  const folder = mkdtempSync(join(tmpdir(), 'zeropage-simd-'));
  try {
    const [program, from, to] = ['harness', 'in', 'out'].map((name) => join(folder, name));
    const source = fileURLToPath(new URL('harness.c', import.meta.url));
    execFileSync('gcc', ['-O1', '-mno-red-zone', '-o', program, source], { stdio: 'pipe' });
    writeFileSync(from, inputOf(cases));
    execFileSync(program, [from, to], { stdio: 'pipe' });
    return outcomesOf(readFileSync(to), cases);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function inputOf(cases: readonly SimdCase[]): Buffer {
  const out = Buffer.alloc(4 + cases.length * SIZE);
  out.writeUInt32LE(cases.length, 0);
  cases.forEach(({ start, code }, n) => {
    let at = 4 + n * SIZE;
    for (const value of [...start.gpr, BigInt(CODE), start.rflags]) at = out.writeBigUInt64LE(value, at);
    at = out.writeUInt32LE(0, at);
    at = out.writeUInt32LE(start.mxcsr, at);
    for (const word of [start.fcw, start.fsw, start.ftw, code.length]) at = out.writeUInt16LE(word, at);
    for (const [bytes, room] of [
      [start.st, 128],
      [start.xmm, 256],
      [code, 16],
      [start.data, WINDOW],
    ] as const) {
      out.set(bytes, at);
      at += room;
    }
  });
  return out;
}

function outcomesOf(raw: Buffer, cases: readonly SimdCase[]): SimdOutcome[] {
  return cases.map((_, n) => {
    const at = n * SIZE;
    const u64 = (i: number): bigint => raw.readBigUInt64LE(at + 8 * i);
    const tail = at + 18 * 8;
    const bytes = (offset: number, length: number): Uint8Array =>
      Uint8Array.from(raw.subarray(tail + offset, tail + offset + length));
    return {
      gpr: Array.from({ length: 16 }, (_, i) => u64(i)),
      rflags: u64(17),
      // Past its instruction, what happened is the filler's affair.
      vector: u64(16) === BigInt(CODE) ? raw.readUInt32LE(tail) : 0,
      mxcsr: raw.readUInt32LE(tail + 4),
      fcw: raw.readUInt16LE(tail + 8),
      fsw: raw.readUInt16LE(tail + 10),
      ftw: raw.readUInt16LE(tail + 12) & 0xff,
      st: bytes(16, 128),
      xmm: bytes(144, 256),
      data: bytes(416, WINDOW),
    };
  });
}
