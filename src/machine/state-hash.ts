/** The state hash: one number for what a run did, so that two runs can be compared by a glance at their reports.
 *
 * It folds the registers at every multiple of 100,000 instructions, from ten million on at every million, and at the end
 * the registers and RAM. It is a
 * fingerprint against accident, not against malice: two lanes of 32-bit multiply-and-rotate, fast enough to read all
 * of RAM in a moment. Frames that hold only zeros are skipped and the others come with their number, so the size of RAM
 * does not matter.
 * May not: depend on the host (byte order included: both sides of WebAssembly are little-endian by definition).
 * Next: machine/machine.ts. */
import { integer, listOf, type Saved } from '../base/saved.ts';
import { FRAME_SIZE } from '../memory/address.ts';
import type { GuestRam } from '../memory/guest-ram.ts';

/** Registers are folded whenever the instruction count is a multiple of this: often while a difference is near its cause,
 * rarely in runs of thousands of millions, since each fold ends a stretch of generated code in mid-block. */
const SHORT_INTERVAL = 100_000;
const LONG_INTERVAL = 1_000_000;
const LONG_FROM = 10_000_000;

/** When the registers are folded next, after they were at `count`. */
export function nextFold(count: number): number {
  const interval = count < LONG_FROM ? SHORT_INTERVAL : LONG_INTERVAL;
  return count - (count % interval) + interval;
}

/** Instruction count of the n-th fold, counted from 1. */
export function countOfFold(n: number): number {
  const short = LONG_FROM / SHORT_INTERVAL;
  return n <= short ? n * SHORT_INTERVAL : LONG_FROM + (n - short) * LONG_INTERVAL;
}

const FRAME_WORDS = 1024; // 4 KiB

export class StateHash {
  #a = 0x9e37_79b9;
  #b = 0x85eb_ca6b;

  /** Folds 32-bit words; their number is part of the hash. */
  foldWords(words: Int32Array | Uint32Array, from = 0, to = words.length): void {
    let a = Math.imul(this.#a ^ (to - from), 0x0100_0193) + 1;
    let b = this.#b;
    for (let i = from; i < to; i++) {
      const word = words[i];
      a = Math.imul(a ^ word, 0x9e37_79b1);
      a ^= a >>> 15;
      b = Math.imul(((b << 13) | (b >>> 19)) ^ word, 0x85eb_ca77);
    }
    this.#a = a;
    this.#b = b;
  }

  /** Folds the frames of RAM that hold anything, each with its number. Returns how many those are. */
  foldMemory(memory: GuestRam): number {
    const words = new Int32Array(memory.buffer, 0, memory.buffer.byteLength >>> 2);
    let used = 0;
    for (let frame = 0; frame * FRAME_SIZE < memory.size; frame++) {
      const at = memory.frameOffset(frame) >>> 2;
      const end = at + Math.min(FRAME_WORDS, (memory.size - frame * FRAME_SIZE) >>> 2);
      if (isZero(words, at, end)) continue;
      used++;
      this.#a = Math.imul(this.#a ^ frame, 0x0100_0193);
      this.foldWords(words, at, end);
    }
    return used;
  }

  /** A hash that can go on without changing this one. */
  copy(): StateHash {
    const copy = new StateHash();
    copy.#a = this.#a;
    copy.#b = this.#b;
    return copy;
  }

  save(): Saved {
    return [this.#a | 0, this.#b | 0];
  }

  restore(saved: Saved, where: string): void {
    [this.#a, this.#b] = listOf(integer, 2)(saved, where).map((lane) => lane | 0);
  }

  /** 0x and 16 digits. */
  digest(): string {
    const digits = (lane: number) => (finish(lane) >>> 0).toString(16).padStart(8, '0');
    return `0x${digits(this.#a ^ (this.#b >>> 7))}${digits(this.#b ^ (this.#a << 5))}`;
  }
}

function isZero(words: Int32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i += 8) {
    if (
      (words[i] |
        words[i + 1] |
        words[i + 2] |
        words[i + 3] |
        words[i + 4] |
        words[i + 5] |
        words[i + 6] |
        words[i + 7]) !==
      0
    ) {
      return false; // RAM comes in whole frames: nothing past its end is read
    }
  }
  return true;
}

/** The last steps of MurmurHash3 by A. Appleby (public domain): every bit in depends on every bit out. */
function finish(lane: number): number {
  let h = lane;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return h ^ (h >>> 16);
}
