/** native: the host CPU behind the cases. Builds the harness, hands it the sandbox and the cases, reads what they did.
 *
 * May not: run where there is no C compiler for x86-64 Linux; `hostOracle` says why then.
 * Next: test/oracle/vectors.ts, the form in which outcomes are kept. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LDT, PAGES } from './sandbox.ts';
import type { Outcome, Recorded } from './vectors.ts';

let built: string | undefined;

/** The folder with the harness, compiled once for this process; `removeHarness` ends it. */
function harness(): string {
  if (built === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'zeropage-oracle-'));
    const source = fileURLToPath(new URL('harness.c', import.meta.url));
    const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-fno-stack-protector', '-Wl,-z,now'];
    execFileSync('gcc', [...flags, '-o', join(folder, 'harness'), source], { stdio: 'pipe' });
    built = folder;
  }
  return built;
}

export function removeHarness(): void {
  if (built !== undefined) rmSync(built, { recursive: true, force: true });
  built = undefined;
}

/** Why the harness cannot run here, or undefined when it can. */
export function noOracleHere(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the host is not x86-64 Linux';
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'gcc is not installed';
  }
  try {
    runNatively([], 'instructions');
  } catch (error) {
    const said = (error as { stderr?: Buffer }).stderr?.toString().trim();
    return `the harness does not run on this host: ${said || error}`;
  }
  return undefined;
}

/** Whose processor this is, and what it has, as Linux names it. */
export function hostCpu(): { vendor: string; features: Set<string> } {
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '';
  return { vendor: field('vendor_id'), features: new Set(field('flags').split(' ')) };
}

/** Runs the cases on this machine's CPU: single instructions, or programs, which always end in an exception. */
export function runNatively(cases: readonly Recorded[], what: 'instructions' | 'programs'): Outcome[] {
  const folder = harness();
  const [from, to] = [join(folder, 'in'), join(folder, 'out')];
  writeFileSync(from, inputOf(cases));
  execFileSync(join(folder, 'harness'), [from, to], { stdio: 'pipe' });
  return outcomesOf(readFileSync(to), cases, what);
}

/** PROT_READ, PROT_WRITE and PROT_EXEC of each kind of page. */
const PROTECTION = { r: 1, rw: 3, rx: 5 };

/** A buffer that grows; everything little-endian. */
class Writer {
  buffer = Buffer.alloc(1 << 20);
  length = 0;

  /** Makes room first: growing replaces the buffer. */
  #grow(bytes: number): Buffer {
    while (this.length + bytes > this.buffer.length) {
      this.buffer = Buffer.concat([this.buffer, Buffer.alloc(this.buffer.length)]);
    }
    this.length += bytes;
    return this.buffer.subarray(this.length - bytes, this.length);
  }
  u16 = (v: number): void => void this.#grow(2).writeUInt16LE(v & 0xffff);
  u32 = (v: number): void => void this.#grow(4).writeUInt32LE(v >>> 0);
  u64 = (v: bigint): void => void this.#grow(8).writeBigUInt64LE(BigInt.asUintN(64, v));
  bytes = (v: Uint8Array): void => void this.#grow(v.length).set(v);
}

/** The structures of harness.c, in order. */
function inputOf(cases: readonly Recorded[]): Uint8Array {
  const w = new Writer();
  for (const n of [PAGES.length, LDT.length, cases.length]) w.u32(n);
  for (const page of PAGES) {
    for (const n of [page.at, page.bytes.length, PROTECTION[page.access]]) w.u32(n);
    w.bytes(page.bytes);
  }
  LDT.forEach((e, index) => {
    // seg_32bit 0, contents 1-2, read_exec_only 3, limit_in_pages 4, seg_not_present 5, useable 6
    const flags =
      (e.big ? 1 : 0) | (e.contents << 1) | (e.restricted ? 8 : 0) | (e.pages ? 0x10 : 0) | (e.absent ? 0x20 : 0);
    for (const n of [index, e.base, e.limit, flags]) w.u32(n);
  });
  for (const { start } of cases) {
    const { segments } = start;
    for (const value of start.gpr) w.u64(value);
    for (const value of [start.rip, start.rflags, segments.fs.base, segments.gs.base]) w.u64(value);
    for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const) w.u16(segments[name].selector);
    w.u16(start.memory.length);
    w.u16(0);
    for (const { at, bytes } of start.memory) {
      w.u32(at);
      w.u32(bytes.length);
      w.bytes(bytes);
    }
  }
  return w.buffer.subarray(0, w.length);
}

const PAGE_FAULT = 14;
/** Exceptions that push an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, PAGE_FAULT, 17]);
/** #DB, #BP and #OF report behind their instruction, and no filler raises them. */
const TRAPS = new Set([1, 3, 4]);

function outcomesOf(raw: Buffer, cases: readonly Recorded[], what: string): Outcome[] {
  let at = 0;
  const next = (bytes: number): number => {
    at += bytes;
    return at - bytes;
  };
  const u16 = (): number => raw.readUInt16LE(next(2));
  const u32 = (): number => raw.readUInt32LE(next(4));
  const u64 = (): bigint => raw.readBigUInt64LE(next(8));
  return cases.map(({ start }): Outcome => {
    const gpr = Array.from({ length: 16 }, u64);
    const [rip, rflags, cr2, fsBase, gsBase] = [u64(), u64(), u64(), u64(), u64()];
    const [vector, error] = [u32(), u32()];
    const [cs, ss, ds, es, fs, gs] = [u16(), u16(), u16(), u16(), u16(), u16()];
    const changes = u16();
    u16();
    const memory = Array.from({ length: changes }, () => {
      const from = u32();
      const length = u32();
      const start = next(length);
      return { at: from, bytes: Uint8Array.from(raw.subarray(start, start + length)) };
    });
    // Past its instruction, what happened is the filler's affair.
    const isCompleted = what === 'instructions' && rip !== start.rip && !TRAPS.has(vector);
    const fault = isCompleted
      ? undefined
      : {
          vector,
          ...(WITH_ERROR.has(vector) ? { errorCode: error } : {}),
          ...(vector === PAGE_FAULT ? { cr2 } : {}),
        };
    return { gpr, rip, rflags, fault, selectors: { cs, ss, ds, es, fs, gs }, fsBase, gsBase, memory };
  });
}
