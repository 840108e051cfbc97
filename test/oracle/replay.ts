/** replay: runs cases through a CpuDriver and says what the host did otherwise.
 *
 * The same loop serves every driver. Memory is put back between cases by writing only what a case touched.
 * May not: know which engine is behind the driver.   Next: test/oracle/replay.test.ts. */
import type { CpuDriver } from '../engine/cpu-driver.ts';
import { differences } from './compare.ts';
import type { Form } from './forms.ts';
import { PAGES, segmentOf, WORLD } from './sandbox.ts';
import { type Case, casesOf } from './states.ts';
import type { Outcome, Vectors } from './vectors.ts';

export type Failure = { case: Case; lines: string[] };

type Change = { at: number; bytes: Uint8Array };

/** Pages as the next case shall find them; what the last one changed is undone from the sandbox's own bytes. */
class Memory {
  readonly #before = PAGES.map((page) => Buffer.from(page.bytes));
  #dirty: { at: number; length: number }[] = [];

  /** The writes that bring memory into the state of this case. */
  prepare(c: Case): Change[] {
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

export class Replay {
  readonly #driver: CpuDriver;
  readonly #vectors: Vectors;
  readonly #memory = new Memory();

  constructor(driver: CpuDriver, vectors: Vectors) {
    this.#driver = driver;
    this.#vectors = vectors;
    driver.enter(WORLD);
  }

  /** Runs all states of a form. Throws when the recording does not fit the form. */
  run(form: Form): Failure[] {
    const cases = casesOf(form);
    const outcomes = this.#vectors.outcomes(form, cases);
    if (typeof outcomes === 'string') throw new Error(outcomes);
    const failures: Failure[] = [];
    cases.forEach((c, i) => {
      const lines = this.#one(c, outcomes[i]);
      if (lines.length > 0) failures.push({ case: c, lines });
    });
    return failures;
  }

  #one(c: Case, expected: Outcome): string[] {
    const driver = this.#driver;
    driver.load({ ...c.start, memory: this.#memory.prepare(c) });
    let fault: Outcome['fault'];
    let stopped: string | undefined;
    try {
      fault = driver.step();
    } catch (error) {
      stopped = `the driver threw ${error instanceof Error ? error.message.split('\n')[0] : error}`;
    }
    const memory = this.#memory.changes(driver);
    if (stopped) return [stopped];
    const [cs, ss, ds, es, fs, gs] = (['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map((n) => driver.segment(n));
    const actual: Outcome = {
      gpr: driver.gpr(),
      rip: driver.rip(),
      rflags: driver.rflags(),
      fault,
      selectors: {
        cs: cs.selector, ss: ss.selector, ds: ds.selector, es: es.selector, fs: fs.selector, gs: gs.selector,
      }, // biome-ignore format: short
      fsBase: fs.base,
      gsBase: gs.base,
      memory,
    };
    const lines = differences(c, expected, actual);
    // The harness cannot read hidden bases in 32-bit code, but the descriptor says what they must be.
    if (c.start.mode === 32) {
      for (const [name, segment] of Object.entries({ cs, ss, ds, es, fs, gs })) {
        if ((segment.selector & ~3) === 0) continue;
        const { base } = segmentOf(segment.selector);
        if (segment.base !== base)
          lines.push(`${name} base: expected ${base.toString(16)}, got ${segment.base.toString(16)}`);
      }
    }
    return lines;
  }
}
