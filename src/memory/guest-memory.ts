/** GuestMemory: the guest's RAM, one contiguous range [0, size) of guest physical addresses.
 *
 * It is a window into the ArrayBuffer of the engine's one WebAssembly.Memory, so what a loader or a device writes here
 * is what guest code reads, without a copy. Every access is checked against the window: nothing outside can be reached.
 * Guest instructions never come through here (the engine has its TLB); loaders, devices, hypercalls and reports do.
 * Writes tell an observer (the engine's map of translated code) and are counted by frame.
 * May not: know page tables, the memory map or who calls.   Next: memory/pseudo-physical-memory.ts. */
import { VmError } from '../base/errors.ts';
import { formatSize, GiB, hex } from '../base/numbers.ts';
import { type Saved, uint32s } from '../base/saved.ts';
import type { ByteTarget } from '../layout/struct.ts';
import { type AtGpa, FRAME_SHIFT, FRAME_SIZE } from './address.ts';
import type { GuestRam, WriteObserver } from './guest-ram.ts';

/** Largest RAM: a wasm memory ends at 4 GiB and the engine's own state shares it. */
export const MAX_RAM = 3 * GiB;

/** Somebody outside the guest asked for memory that is not there; a guest's own stray access never ends up here. */
export class MemoryRangeError extends VmError {}

export class GuestMemory implements GuestRam {
  /** RAM in bytes; guest physical addresses run from 0 to size - 1. */
  readonly size: number;
  readonly buffer: ArrayBuffer;
  /** Where guest physical 0 lies in `buffer`. */
  readonly byteOffset: number;
  /** Guest frames are the machine's own. */
  readonly frames = undefined;
  readonly #ram: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  /** One bit per 4 KiB frame that was written. */
  readonly #touched: Uint32Array;
  #touchedFrames = 0;
  #observer: WriteObserver | undefined;

  /** Takes [byteOffset, byteOffset + size) of a buffer that is never grown (growing would detach every view). */
  constructor(buffer: ArrayBuffer, byteOffset: number, size: number) {
    if (!(Number.isSafeInteger(size) && size > 0 && size <= MAX_RAM)) {
      throw new MemoryRangeError({
        what: `guest memory of ${size} bytes cannot be made`,
        where: 'guest memory',
        why: `RAM is between 1 byte and ${formatSize(MAX_RAM)}`,
        fix: 'ask for less memory',
      });
    }
    if (!(Number.isSafeInteger(byteOffset) && byteOffset >= 0 && byteOffset + size <= buffer.byteLength)) {
      throw new MemoryRangeError({
        what: `guest memory does not fit its buffer`,
        where: `buffer of ${buffer.byteLength} bytes`,
        why: `RAM would be ${hex(size)} bytes at offset ${byteOffset}`,
        fix: 'make the buffer as long as the engine state and RAM together',
      });
    }
    this.size = size;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.#ram = new Uint8Array(buffer, byteOffset, size);
    this.#view = new DataView(buffer, byteOffset, size);
    this.#touched = new Uint32Array(Math.ceil(size / 2 ** (FRAME_SHIFT + 5)));
  }

  /** True when all of [at, at + length) is RAM. Safe for any numbers, NaN included. */
  contains(at: AtGpa, length: number): boolean {
    return (
      Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0 && at + length <= this.size
    );
  }

  /** A view of RAM, no copy. For reading: what is written through it passes the observer and the frame count by. */
  bytes(at: AtGpa, length: number): Uint8Array<ArrayBuffer> {
    this.#check(at, length, 'read');
    return this.#ram.subarray(at, at + length);
  }

  write(at: AtGpa, bytes: Uint8Array): void {
    this.#check(at, bytes.length, 'write');
    this.#ram.set(bytes, at);
    this.#wrote(at, bytes.length);
  }

  /** Where structs are written to: `SomeStruct.write(memory.writing, at, values)`. Each view it gives out counts as a
   * write of all its bytes, at once; let go of the view before the guest runs on. */
  readonly writing: ByteTarget = {
    bytes: (at, length) => {
      this.#check(at, length, 'write');
      this.#wrote(at, length);
      return this.#ram.subarray(at, at + length);
    },
  };

  zero(at: AtGpa, length: number): void {
    this.#check(at, length, 'clear');
    this.#ram.fill(0, at, at + length);
    this.#wrote(at, length);
  }

  readU8(at: AtGpa): number {
    this.#check(at, 1, 'read');
    return this.#view.getUint8(at);
  }

  readU16(at: AtGpa): number {
    this.#check(at, 2, 'read');
    return this.#view.getUint16(at, true);
  }

  readU32(at: AtGpa): number {
    this.#check(at, 4, 'read');
    return this.#view.getUint32(at, true);
  }

  readU64(at: AtGpa): bigint {
    this.#check(at, 8, 'read');
    return this.#view.getBigUint64(at, true);
  }

  writeU8(at: AtGpa, value: number): void {
    this.#check(at, 1, 'write');
    this.#view.setUint8(at, value);
    this.#wrote(at, 1);
  }

  writeU16(at: AtGpa, value: number): void {
    this.#check(at, 2, 'write');
    this.#view.setUint16(at, value, true);
    this.#wrote(at, 2);
  }

  writeU32(at: AtGpa, value: number): void {
    this.#check(at, 4, 'write');
    this.#view.setUint32(at, value, true);
    this.#wrote(at, 4);
  }

  writeU64(at: AtGpa, value: bigint): void {
    this.#check(at, 8, 'write');
    this.#view.setBigUint64(at, value, true);
    this.#wrote(at, 8);
  }

  /** The one observer of writes that pass the engine's TLB by; undefined takes it away. */
  setWriteObserver(observer: WriteObserver | undefined): void {
    this.#observer = observer;
  }

  /** Counts the frames of [at, at + length) as written. The engine calls it for what its guest wrote. */
  touch(at: AtGpa, length: number): void {
    this.#check(at, length, 'touch');
    if (length === 0) return;
    const last = Math.floor((at + length - 1) / 2 ** FRAME_SHIFT);
    for (let frame = Math.floor(at / 2 ** FRAME_SHIFT); frame <= last; frame++) {
      const word = frame >>> 5;
      const bit = 1 << (frame & 31);
      if ((this.#touched[word] & bit) === 0) {
        this.#touched[word] |= bit;
        this.#touchedFrames++;
      }
    }
  }

  /** 4 KiB frames written at least once. */
  get touchedFrames(): number {
    return this.#touchedFrames;
  }

  /** Frames touched here or in another account of the same RAM (a bit for each frame, as the CPU keeps); of the first
   * `frames` frames only, when that is given. */
  countTouched(other: Uint32Array, frames = this.#touched.length * 32): number {
    let count = 0;
    for (let i = 0; i * 32 < frames; i++) {
      const counted = frames - i * 32;
      let bits = (this.#touched[i] | other[i]) & (counted < 32 ? (1 << counted) - 1 : -1);
      for (; bits !== 0; bits &= bits - 1) count++;
    }
    return count;
  }

  /** Which frames were written; their bytes are somebody else's to save. */
  save(): Saved {
    return this.#touched;
  }

  restore(saved: Saved, where: string): void {
    const touched = uint32s(this.#touched.length)(saved, where);
    this.#touched.set(touched);
    this.#touchedFrames = 0;
    for (let bits of touched) for (; bits !== 0; bits &= bits - 1) this.#touchedFrames++;
  }

  isTouched(at: AtGpa): boolean {
    this.#check(at, 1, 'look up');
    const frame = Math.floor(at / 2 ** FRAME_SHIFT);
    return ((this.#touched[frame >>> 5] >>> (frame & 31)) & 1) === 1;
  }

  frameOffset(frame: number): number {
    return this.byteOffset + frame * FRAME_SIZE;
  }

  #wrote(at: number, length: number): void {
    this.touch(at, length);
    if (length > 0) this.#observer?.(at, length);
  }

  #check(at: number, length: number, verb: string): void {
    if (this.contains(at, length)) return;
    throw new MemoryRangeError({
      what: `cannot ${verb} guest memory at ${Number.isSafeInteger(at) ? hex(at) : at}, ${length} bytes`,
      where: 'guest memory',
      why: `RAM is [0x0, ${hex(this.size)})`,
      fix: 'stay inside RAM, or give the machine more with --memory',
    });
  }
}
