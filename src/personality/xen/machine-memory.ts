/** MachineMemory: what the hypervisor's memory rules see of the machine, frame by frame.
 *
 * The engine's physical space is machine memory: the guest's frames, and above them the hypervisor's. A page table is
 * 512 entries of 64 bits there; a call that changes tables runs 50,000 times in a kernel's boot, so entries are read and
 * written as two 32-bit words and never as bigints. A `slot` is the place of an entry, counted in 32-bit words.
 * May not: judge what is written.   Next: personality/xen/frame-types.ts. */
import { assert } from '../../base/errors.ts';
import type { PersonalityCpu } from '../personality.ts';

/** What of the CPU the memory rules need. */
export type MemoryCpu = Pick<
  PersonalityCpu,
  'buffer' | 'ramOffset' | 'ramSize' | 'physicalWritten' | 'flushTlb' | 'flushTlbPage'
>;

export const ENTRIES = 512;
export const WORDS_PER_FRAME = 1024;
const FRAME_BYTES = 4096;

/** The slot of entry `index` of the table in a frame. */
export const slotOf = (mfn: number, index: number): number => mfn * WORDS_PER_FRAME + index * 2;

export class MachineMemory {
  /** All of machine memory; index = machine address / 4. */
  readonly words: Uint32Array;
  /** Frames that the machine has: an MFN is valid below this. */
  readonly frames: number;
  /** Set when a translation that the CPU may hold is no longer what the tables say. `settle` acts on it. */
  stale = false;
  readonly #cpu: MemoryCpu;

  /** `frames`: as many as the domain builder laid out; the rest of the engine's memory is no machine memory. */
  constructor(cpu: MemoryCpu, frames: number) {
    assert(frames * FRAME_BYTES <= cpu.ramSize, 'the engine has all of machine memory');
    this.#cpu = cpu;
    this.frames = frames;
    this.words = new Uint32Array(cpu.buffer, cpu.ramOffset, this.frames * WORDS_PER_FRAME);
  }

  /** Writes one entry. */
  set(slot: number, low: number, high: number): void {
    this.words[slot] = low;
    this.words[slot + 1] = high;
    this.#cpu.physicalWritten(slot * 4, 8);
  }

  /** Said once after many writes into one frame. */
  frameWritten(mfn: number): void {
    this.#cpu.physicalWritten(mfn * FRAME_BYTES, FRAME_BYTES);
  }

  bytesWritten(at: number, length: number): void {
    this.#cpu.physicalWritten(at, length);
  }

  clearFrame(mfn: number): void {
    this.words.fill(0, mfn * WORDS_PER_FRAME, (mfn + 1) * WORDS_PER_FRAME);
    this.frameWritten(mfn);
  }

  copyFrame(to: number, from: number): void {
    this.words.copyWithin(to * WORDS_PER_FRAME, from * WORDS_PER_FRAME, (from + 1) * WORDS_PER_FRAME);
    this.frameWritten(to);
  }

  /** Drops what is stale, before the guest runs on. */
  settle(): void {
    if (!this.stale) return;
    this.stale = false;
    this.#cpu.flushTlb();
  }

  flushTlb(): void {
    this.stale = false;
    this.#cpu.flushTlb();
  }

  flushTlbPage(address: bigint): void {
    this.#cpu.flushTlbPage(address);
  }
}
