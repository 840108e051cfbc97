/** FaultLog: the exceptions of a run, kept for reports, and a watch for faults that get nowhere.
 *
 * The first one and the last few, as numbers, because ordinary guests fault all the time and pay for what this does.
 * May not: deliver anything.   Next: engine/code-fetch.ts. */
import { float64s, int32s, integer, record, type Saved, whole } from '../base/saved.ts';
import { VECTOR } from '../x86/constants.ts';
import { STATE } from './state.ts';

/** An exception as the CPU raised it. */
export type RaisedFault = {
  vector: number;
  errorCode: number | undefined;
  /** Linear address, for #PF. */
  cr2: bigint | undefined;
  rip: bigint;
  /** Instructions completed before it. */
  instructions: number;
};

const KEPT = 8;
/** The first one has a slot of its own. */
const FIRST = KEPT;
const WORDS = 6;
/** Faults in a row without one completed instruction that end a run. */
const LIMIT = 1000;

export class FaultLog {
  /** Exceptions so far. */
  count = 0;
  /** Of them, how many since an instruction last completed, after the first. */
  inRow = 0;
  readonly #view: DataView;
  readonly #words = new Int32Array((KEPT + 1) * WORDS);
  readonly #counts = new Float64Array(KEPT + 1);
  #lastAt = -1;

  constructor(view: DataView) {
    this.#view = view;
  }

  /** Keeps an exception; the address of a #PF is taken from STATE.FAULT_CR2, an error code below 0 is none. True when
   * nothing else has happened for too long. */
  note(vector: number, error: number, ripLow: number, ripHigh: number, completed: number): boolean {
    const slot = this.count === 0 ? FIRST : this.count % KEPT;
    const at = slot * WORDS;
    const words = this.#words;
    words[at] = vector;
    words[at + 1] = error;
    words[at + 2] = ripLow;
    words[at + 3] = ripHigh;
    words[at + 4] = this.#view.getInt32(STATE.FAULT_CR2, true);
    words[at + 5] = this.#view.getInt32(STATE.FAULT_CR2 + 4, true);
    this.#counts[slot] = completed;
    this.count++;
    this.inRow = this.#lastAt === completed ? this.inRow + 1 : 0;
    this.#lastAt = completed;
    return this.inRow >= LIMIT;
  }

  save(): Saved {
    const { count, inRow } = this;
    return { count, inRow, words: this.#words, counts: this.#counts, lastAt: this.#lastAt };
  }

  restore(saved: Saved, where: string): void {
    const words = int32s(this.#words.length);
    const shape = { count: whole(), inRow: whole(), words, counts: float64s(this.#counts.length), lastAt: integer };
    const state = record(shape)(saved, where);
    this.count = state.count;
    this.inRow = state.inRow;
    this.#words.set(state.words);
    this.#counts.set(state.counts);
    this.#lastAt = state.lastAt;
  }

  get first(): RaisedFault | undefined {
    return this.count === 0 ? undefined : this.#at(FIRST);
  }

  /** The last ones, newest last. */
  get recent(): RaisedFault[] {
    const kept = Math.min(this.count, KEPT);
    return Array.from({ length: kept }, (_, i) => {
      const n = this.count - kept + i;
      return this.#at(n === 0 ? FIRST : n % KEPT);
    });
  }

  #at(slot: number): RaisedFault {
    const at = slot * WORDS;
    const words = this.#words;
    const wide = (n: number): bigint => (BigInt(words[at + n + 1] >>> 0) << 32n) | BigInt(words[at + n] >>> 0);
    return {
      vector: words[at],
      errorCode: words[at + 1] < 0 ? undefined : words[at + 1],
      cr2: words[at] === VECTOR.PF ? wide(4) : undefined,
      rip: wide(2),
      instructions: this.#counts[slot],
    };
  }
}
