/** PseudoPhysicalMemory: a Xen PV guest's memory by its own frame numbers, over machine memory.
 *
 * It looks like GuestMemory, but each 4 KiB frame lies somewhere else, as the domain's first p2m says. Accesses are
 * split where frames end. `bytes` is a view when the frames lie side by side in the machine, and a copy when they do
 * not: then it is for reading only, like a photograph. Frames that the guest gives back or exchanges later are not
 * followed here.
 * May not: reach the hypervisor's frames.   Next: memory/memory-map.ts. */
import { hex } from '../base/numbers.ts';
import type { Saved } from '../base/saved.ts';
import type { ByteTarget } from '../layout/struct.ts';
import { type AtGpa, FRAME_SIZE } from './address.ts';
import { GuestMemory, MemoryRangeError } from './guest-memory.ts';
import type { GuestRam, WriteObserver } from './guest-ram.ts';
import type { MachineFrames } from './machine-frames.ts';

export class PseudoPhysicalMemory implements GuestRam {
  readonly size: number;
  readonly buffer: ArrayBuffer;
  readonly byteOffset: number;
  readonly frames: MachineFrames;
  /** Machine memory: it has the bytes and counts the frames. */
  readonly machine: GuestMemory;
  readonly #p2m: Uint32Array;

  /** Machine memory is [byteOffset, byteOffset + frames.end * 4096) of a buffer that is never grown. */
  constructor(buffer: ArrayBuffer, byteOffset: number, frames: MachineFrames) {
    this.machine = new GuestMemory(buffer, byteOffset, frames.end * FRAME_SIZE);
    this.size = frames.nrPages * FRAME_SIZE;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.frames = frames;
    this.#p2m = frames.p2m;
  }

  contains(at: AtGpa, length: number): boolean {
    return (
      Number.isSafeInteger(at) && Number.isSafeInteger(length) && at >= 0 && length >= 0 && at + length <= this.size
    );
  }

  bytes(at: AtGpa, length: number): Uint8Array<ArrayBuffer> {
    this.#check(at, length, 'read');
    if (length === 0) return this.machine.bytes(0, 0);
    if (this.#sideBySide(at, length)) return this.machine.bytes(this.#machineAddress(at), length);
    const copy = new Uint8Array(length);
    this.#pieces(at, length, (from, to, size) => copy.set(this.machine.bytes(to, size), from));
    return copy;
  }

  write(at: AtGpa, bytes: Uint8Array): void {
    this.#check(at, bytes.length, 'write');
    this.#pieces(at, bytes.length, (from, to, size) =>
      this.machine.write(to, size === bytes.length ? bytes : bytes.subarray(from, from + size)),
    );
  }

  /** For structs within one frame, or frames that lie side by side: a copy would take the write and lose it. */
  readonly writing: ByteTarget = {
    bytes: (at, length) => {
      this.#check(at, length, 'write');
      if (length > 0 && !this.#sideBySide(at, length)) {
        throw new MemoryRangeError({
          what: `cannot write ${length} bytes at ${hex(at)} in one piece`,
          where: 'guest memory, by its own frame numbers',
          why: 'its frames do not lie side by side in the machine',
          fix: 'write each frame by itself',
        });
      }
      return this.machine.writing.bytes(length > 0 ? this.#machineAddress(at) : 0, length) as Uint8Array<ArrayBuffer>;
    },
  };

  zero(at: AtGpa, length: number): void {
    this.#check(at, length, 'clear');
    this.#pieces(at, length, (_, to, size) => this.machine.zero(to, size));
  }

  readU8(at: AtGpa): number {
    return this.#view(at, 1).getUint8(0);
  }

  readU16(at: AtGpa): number {
    return this.#view(at, 2).getUint16(0, true);
  }

  readU32(at: AtGpa): number {
    return this.#view(at, 4).getUint32(0, true);
  }

  readU64(at: AtGpa): bigint {
    return this.#view(at, 8).getBigUint64(0, true);
  }

  writeU8(at: AtGpa, value: number): void {
    this.#number(at, 1, (view) => view.setUint8(0, value));
  }

  writeU16(at: AtGpa, value: number): void {
    this.#number(at, 2, (view) => view.setUint16(0, value, true));
  }

  writeU32(at: AtGpa, value: number): void {
    this.#number(at, 4, (view) => view.setUint32(0, value, true));
  }

  writeU64(at: AtGpa, value: bigint): void {
    this.#number(at, 8, (view) => view.setBigUint64(0, value, true));
  }

  save(): Saved {
    return this.machine.save();
  }

  restore(saved: Saved, where: string): void {
    this.machine.restore(saved, where);
  }

  /** It is told machine addresses, as the engine knows them. */
  setWriteObserver(observer: WriteObserver | undefined): void {
    this.machine.setWriteObserver(observer);
  }

  touch(at: AtGpa, length: number): void {
    this.#check(at, length, 'touch');
    this.#pieces(at, length, (_, to, size) => this.machine.touch(to, size));
  }

  get touchedFrames(): number {
    return this.countTouched(new Uint32Array(0));
  }

  countTouched(other: Uint32Array): number {
    // The guest's frames are the machine's first ones, in another order.
    return this.machine.countTouched(other, this.frames.nrPages);
  }

  isTouched(at: AtGpa): boolean {
    this.#check(at, 1, 'look up');
    return this.machine.isTouched(this.#machineAddress(at));
  }

  frameOffset(frame: number): number {
    return this.byteOffset + this.#p2m[frame] * FRAME_SIZE;
  }

  #machineAddress(at: number): number {
    return this.#p2m[Math.floor(at / FRAME_SIZE)] * FRAME_SIZE + (at % FRAME_SIZE);
  }

  #sideBySide(at: number, length: number): boolean {
    const first = Math.floor(at / FRAME_SIZE);
    const last = Math.floor((at + length - 1) / FRAME_SIZE);
    for (let frame = first; frame < last; frame++) {
      if (this.#p2m[frame + 1] !== this.#p2m[frame] + 1) return false;
    }
    return true;
  }

  /** Visits runs of frames that lie side by side: `from` counts from `at`, `to` is a machine address. A 60 MB kernel has
   * fifteen thousand of them, so nothing is allocated for each. */
  #pieces(at: number, length: number, visit: (from: number, to: number, size: number) => void): void {
    const p2m = this.#p2m;
    const end = at + length;
    for (let here = at; here < end; ) {
      let frame = Math.floor(here / FRAME_SIZE);
      const to = p2m[frame] * FRAME_SIZE + (here % FRAME_SIZE);
      let next = (frame + 1) * FRAME_SIZE;
      while (next < end && p2m[frame + 1] === p2m[frame] + 1) {
        frame++;
        next += FRAME_SIZE;
      }
      const size = Math.min(next, end) - here;
      visit(here - at, to, size);
      here += size;
    }
  }

  #view(at: number, length: number): DataView {
    const { buffer, byteOffset } = this.bytes(at, length);
    return new DataView(buffer, byteOffset, length);
  }

  #number(at: number, length: number, set: (view: DataView) => void): void {
    const bytes = new Uint8Array(length);
    set(new DataView(bytes.buffer));
    this.write(at, bytes);
  }

  #check(at: number, length: number, verb: string): void {
    if (this.contains(at, length)) return;
    throw new MemoryRangeError({
      what: `cannot ${verb} guest memory at ${Number.isSafeInteger(at) ? hex(at) : at}, ${length} bytes`,
      where: 'guest memory, by its own frame numbers',
      why: `RAM is [0x0, ${hex(this.size)})`,
      fix: 'stay inside RAM, or give the domain more with --memory',
    });
  }
}
