/** Where a guest spends its time: the place of every 100,000th instruction (of every millionth, later), for the last
 * stretch of a run.
 *
 * A guest that hangs leaves no fault behind. What it did last is told best by where most of its instructions went: the
 * samples are taken at fixed instruction counts, so two runs have the same ones, and taking them costs nothing that can
 * be measured. A waiting guest executes little: how much of virtual time passed in HLT is told beside them.
 * Follows: nothing; any sampling profiler.   Next: machine/crash-report.ts. */
import { bytes, record, type Saved, uint32s, whole } from '../base/saved.ts';
import { countOfFold } from './state-hash.ts';

/** Samples that are kept: the last hundred million instructions of a long run. */
const KEPT = 100;

export class Profile {
  readonly #places = new BigUint64Array(KEPT);
  readonly #user = new Uint8Array(KEPT);
  #taken = 0;

  sample(rip: bigint, user: boolean): void {
    const at = this.#taken++ % KEPT;
    this.#places[at] = rip;
    this.#user[at] = user ? 1 : 0;
  }

  save(): Saved {
    return { places: new Uint32Array(this.#places.buffer), user: this.#user, taken: this.#taken };
  }

  restore(saved: Saved, where: string): void {
    const shape = { places: uint32s(2 * KEPT), user: bytes(KEPT), taken: whole() };
    const { places, user, taken } = record(shape)(saved, where);
    new Uint32Array(this.#places.buffer).set(places);
    this.#user.set(user);
    this.#taken = taken;
  }

  /** Instructions that the samples stand for. */
  get covered(): number {
    return countOfFold(this.#taken) - countOfFold(Math.max(0, this.#taken - KEPT));
  }

  /** What is kept, in no order. */
  get samples(): ProfileSample[] {
    const count = Math.min(this.#taken, KEPT);
    return Array.from({ length: count }, (_, at) => ({ rip: this.#places[at], user: this.#user[at] === 1 }));
  }
}

export type ProfileSample = { rip: bigint; user: boolean };

/** A function and its part of the samples. */
export type ProfileRow = { where: string; samples: number };

const MOST_ROWS = 8;
const PAGE = 4096n;

/** The functions with most samples first. Code without a name is told by its page; user space by that word too. */
export function topFunctions(
  samples: readonly ProfileSample[],
  symbolise: (address: bigint) => string | undefined,
): ProfileRow[] {
  const counts = new Map<string, number>();
  for (const { rip, user } of samples) {
    const name = symbolise(rip)?.replace(/\+0x[0-9a-f]+$/, '');
    const where = name ?? `${user ? 'user space, ' : ''}page 0x${(rip - (rip % PAGE)).toString(16)}`;
    counts.set(where, (counts.get(where) ?? 0) + 1);
  }
  const rows = Array.from(counts, ([where, number]) => ({ where, samples: number }));
  // Names decide between equals, so that the list is the same for the same run.
  return rows.sort((a, b) => b.samples - a.samples || (a.where < b.where ? -1 : 1)).slice(0, MOST_ROWS);
}
