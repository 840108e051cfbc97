/** replay: runs cases through a CpuDriver and says what the host did otherwise.
 *
 * The same loop serves every driver. Memory is put back between cases by writing only what a case touched.
 * May not: know which engine is behind the driver.   Next: test/oracle/replay.test.ts. */

import { hex } from '../../src/base/numbers.ts';
import type { CpuDriver } from '../engine/cpu-driver.ts';
import { differences, programDifferences } from './compare.ts';
import type { Form } from './forms.ts';
import { PAGES, segmentOf, WORLD } from './sandbox.ts';
import { type Sequence, sequencesOf } from './sequences.ts';
import { blockOf, type Case } from './states.ts';
import type { Outcome, Recorded, Vectors } from './vectors.ts';

export type Failure = { case: Case | Sequence; lines: string[] };

const SEGMENTS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;

type Change = { at: number; bytes: Uint8Array };

/** Pages as the next case shall find them; what the last one changed is undone from the sandbox's own bytes. */
class Memory {
  readonly #before = PAGES.map((page) => Buffer.from(page.bytes));
  #dirty: { at: number; length: number }[] = [];

  /** The writes that bring memory into the state of this case. */
  prepare(c: Recorded): Change[] {
    const writes = this.#dirty.map(({ at, length }) => ({ at, bytes: this.#pristine(at, length) }));
    writes.push(...c.start.memory);
    for (const { at, bytes } of writes) this.#write(at, bytes);
    this.#dirty = c.start.memory.map(({ at, bytes }) => ({ at, length: bytes.length }));
    return writes;
  }

  /** Runs of bytes that the driver's memory holds otherwise; runs closer than 4 bytes are one, as in harness.c. */
  changes(driver: CpuDriver): Change[] {
    const changes: Change[] = [];
    PAGES.forEach(({ at, bytes }, p) => {
      const before = this.#before[p];
      const now = driver.memory(at, bytes.length);
      if (before.equals(now)) return;
      for (let i = 0; i < now.length; i++) {
        if (now[i] === before[i]) continue;
        let last = i;
        for (let n = i + 1; n < now.length && n - last <= 4; n++) if (now[n] !== before[n]) last = n;
        changes.push({ at: at + i, bytes: now.slice(i, last + 1) });
        i = last;
      }
    });
    for (const { at, bytes } of changes) this.#dirty.push({ at, length: bytes.length });
    return changes;
  }

  #pristine(at: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (const page of PAGES) {
      const from = Math.max(at, page.at);
      const to = Math.min(at + length, page.at + page.bytes.length);
      if (from < to) bytes.set(page.bytes.subarray(from - page.at, to - page.at), from - at);
    }
    return bytes;
  }

  #write(at: number, bytes: Uint8Array): void {
    PAGES.forEach((page, p) => {
      const from = Math.max(at, page.at);
      const to = Math.min(at + bytes.length, page.at + page.bytes.length);
      if (from < to) this.#before[p].set(bytes.subarray(from - at, to - at), from - page.at);
    });
  }
}

/** No program of the oracle is longer. */
const LIMIT = 10_000;

export class Replay {
  readonly #driver: CpuDriver;
  readonly #memory = new Memory();

  constructor(driver: CpuDriver) {
    this.#driver = driver;
    driver.enter(WORLD);
  }

  /** Runs all states of a form. */
  form(form: Form, vectors: Vectors): Failure[] {
    const block = blockOf(form);
    const outcomes = vectors.outcomes(block);
    return block.cases.flatMap((c, i) => {
      const lines = this.check(c, outcomes[i]);
      return lines.length > 0 ? [{ case: c, lines }] : [];
    });
  }

  /** What this CPU does otherwise in one state. */
  check(c: Case, expected: Outcome): string[] {
    const actual = this.#run(c, (driver) => driver.step());
    if (typeof actual === 'string') return [actual];
    const lines = differences(c, expected, actual);
    return c.start.mode === 32 ? [...lines, ...this.#wrongBases()] : lines;
  }

  /** Runs all sequences of a mode to their fault, at full speed or instruction by instruction. */
  sequences(mode: 64 | 32, vectors: Vectors, how: 'run' | 'step'): Failure[] {
    const cases = sequencesOf(mode);
    const outcomes = vectors.outcomes({ id: 'sequences', cases });
    return cases.flatMap((c, i) => {
      const lines = this.checkProgram(c, outcomes[i], how);
      return lines.length > 0 ? [{ case: c, lines }] : [];
    });
  }

  checkProgram(c: Sequence, expected: Outcome, how: 'run' | 'step'): string[] {
    const actual = this.#run(c, (driver) => {
      if (how === 'run') return driver.run(LIMIT);
      for (let n = 0; n < LIMIT; n++) {
        const fault = driver.step();
        if (fault) return fault;
      }
      return undefined;
    });
    return typeof actual === 'string' ? [actual] : programDifferences(c, expected, actual);
  }

  /** What came of a first state, or why it stopped. */
  #run(c: Recorded, go: (driver: CpuDriver) => Outcome['fault']): Outcome | string {
    const driver = this.#driver;
    driver.load({ ...c.start, memory: this.#memory.prepare(c) });
    let fault: Outcome['fault'];
    let stopped: string | undefined;
    try {
      fault = go(driver);
    } catch (error) {
      stopped = `the driver threw ${error instanceof Error ? error.message.split('\n')[0] : error}`;
    }
    const memory = this.#memory.changes(driver);
    if (stopped) return stopped;
    const [cs, ss, ds, es, fs, gs] = SEGMENTS.map((name) => driver.segment(name).selector);
    return {
      gpr: driver.gpr(),
      rip: driver.rip(),
      rflags: driver.rflags(),
      fault,
      selectors: { cs, ss, ds, es, fs, gs },
      fsBase: driver.segment('fs').base,
      gsBase: driver.segment('gs').base,
      memory,
    };
  }

  /** The harness cannot read hidden bases in 32-bit code, but the descriptor says what they must be. */
  #wrongBases(): string[] {
    return SEGMENTS.flatMap((name) => {
      const { selector, base } = this.#driver.segment(name);
      const expected = (selector & ~3) === 0 ? base : segmentOf(selector).base;
      return base === expected ? [] : [`${name} base: expected ${hex(expected)}, got ${hex(base)}`];
    });
  }
}
