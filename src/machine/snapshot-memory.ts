/** A machine's memory in a snapshot: the frames that hold anything, a megabyte at a time.
 *
 * A guest of 256 MiB uses 30 to 100 of them when it reaches its C code, and the rest of its memory is zeros, which cost
 * nothing here: neither place in the file nor, when it is read, memory of the host.
 * A section is the number of its frames, their numbers, and their bytes.
 * May not: know whose memory it is.   Next: machine/snapshot.ts. */
import { FRAME_SIZE } from '../memory/address.ts';
import type { Section } from './snapshot-file.ts';

export const MEMORY = 'memory';
const VERSION = 1;
const FRAMES_AT_ONCE = 256;
const FRAME_WORDS = FRAME_SIZE / 4;

/** `memory` is whole frames, and begins at an even word. */
export function* memorySections(memory: Uint8Array): Generator<Section> {
  const words = new Int32Array(memory.buffer, memory.byteOffset, memory.length >>> 2);
  let used: number[] = [];
  const frames = memory.length / FRAME_SIZE;
  for (let frame = 0; frame < frames; frame++) {
    if (!isZero(words, frame)) used.push(frame);
    if (used.length === FRAMES_AT_ONCE || (frame === frames - 1 && used.length > 0)) {
      yield { name: MEMORY, version: VERSION, bytes: gathered(memory, used) };
      used = [];
    }
  }
}

function gathered(memory: Uint8Array, frames: readonly number[]): Uint8Array {
  const head = 4 + 4 * frames.length;
  const bytes = new Uint8Array(head + frames.length * FRAME_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, frames.length, true);
  for (const [i, frame] of frames.entries()) {
    view.setUint32(4 + 4 * i, frame, true);
    bytes.set(memory.subarray(frame * FRAME_SIZE, (frame + 1) * FRAME_SIZE), head + i * FRAME_SIZE);
  }
  return bytes;
}

/** Puts sections back. */
export class MemoryFiller {
  readonly #memory: Uint8Array;
  readonly #filled: Uint8Array;

  constructor(memory: Uint8Array) {
    this.#memory = memory;
    this.#filled = new Uint8Array(memory.length / FRAME_SIZE);
  }

  /** What is wrong with it, or undefined. */
  take({ version, bytes }: Section): string | undefined {
    if (version !== VERSION) return `memory of version ${version}, and ${VERSION} is known`;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const count = bytes.length < 4 ? 0 : view.getUint32(0, true);
    if (count === 0 || bytes.length !== 4 + count * (4 + FRAME_SIZE))
      return `memory of ${count} frames in ${bytes.length} bytes`;
    const head = 4 + 4 * count;
    for (let i = 0; i < count; i++) {
      const frame = view.getUint32(4 + 4 * i, true);
      if (frame >= this.#filled.length || this.#filled[frame] !== 0)
        return `frame ${frame}, which comes twice or is not among ${this.#filled.length}`;
      this.#filled[frame] = 1;
      this.#memory.set(bytes.subarray(head + i * FRAME_SIZE, head + (i + 1) * FRAME_SIZE), frame * FRAME_SIZE);
    }
    return undefined;
  }

  /** Zeros for whatever else somebody has written since the memory was made. */
  clearOthers(): void {
    const words = new Int32Array(this.#memory.buffer, this.#memory.byteOffset, this.#memory.length >>> 2);
    for (const [frame, filled] of this.#filled.entries()) {
      if (filled === 0 && !isZero(words, frame)) words.fill(0, frame * FRAME_WORDS, (frame + 1) * FRAME_WORDS);
    }
  }
}

function isZero(words: Int32Array, frame: number): boolean {
  const end = (frame + 1) * FRAME_WORDS;
  for (let i = frame * FRAME_WORDS; i < end; i += 4)
    if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) !== 0) return false;
  return true;
}
