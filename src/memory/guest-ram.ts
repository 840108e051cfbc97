/** GuestRam: a guest's memory as loaders, reports and tests see it, whatever way it lies in the machine.
 *
 * On bare paths guest physical memory is one range of the engine's (GuestMemory); under Xen PV the guest's frames are
 * spread over the machine (PseudoPhysicalMemory). Both check every access and count the frames that were written.
 * May not: know about virtual addresses.   Next: memory/guest-memory.ts. */
import type { Snapshotable } from '../base/saved.ts';
import type { ByteTarget } from '../layout/struct.ts';
import type { AtGpa } from './address.ts';
import type { MachineFrames } from './machine-frames.ts';

/** Told after bytes [at, at + length) of the engine's physical memory changed by other means than guest instructions. */
export type WriteObserver = (at: number, length: number) => void;

export interface GuestRam extends ByteTarget, Snapshotable {
  /** RAM in bytes; guest physical addresses run from 0 to size - 1. */
  readonly size: number;
  /** The engine's memory. */
  readonly buffer: ArrayBuffer;
  /** Where the engine's physical address 0 lies in `buffer`. */
  readonly byteOffset: number;
  /** How guest frames lie in the machine; undefined where they are the machine's own. */
  readonly frames: MachineFrames | undefined;
  contains(at: AtGpa, length: number): boolean;
  /** For reading: a view where the bytes lie side by side, otherwise a copy. */
  bytes(at: AtGpa, length: number): Uint8Array<ArrayBuffer>;
  write(at: AtGpa, bytes: Uint8Array): void;
  /** Where structs are written to; what it gives out is always a view. */
  readonly writing: ByteTarget;
  zero(at: AtGpa, length: number): void;
  readU8(at: AtGpa): number;
  readU16(at: AtGpa): number;
  readU32(at: AtGpa): number;
  readU64(at: AtGpa): bigint;
  writeU8(at: AtGpa, value: number): void;
  writeU16(at: AtGpa, value: number): void;
  writeU32(at: AtGpa, value: number): void;
  writeU64(at: AtGpa, value: bigint): void;
  setWriteObserver(observer: WriteObserver | undefined): void;
  touch(at: AtGpa, length: number): void;
  /** 4 KiB frames written at least once. */
  readonly touchedFrames: number;
  /** Frames of the guest touched here or in another account, which goes by the engine's physical frames. */
  countTouched(other: Uint32Array): number;
  isTouched(at: AtGpa): boolean;
  /** Where a guest frame lies in `buffer`. */
  frameOffset(frame: number): number;
}
