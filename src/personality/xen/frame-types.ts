/** FrameTypes: what each machine frame is being used as, and by whom.
 *
 * Xen lets a guest write its own page tables into memory and then checks them, once. What keeps the check true is this
 * bookkeeping: a frame has one type at a time and a count of the uses that rely on it. Being mapped writable is such a
 * use, and so is being a page table of a level, or a page of descriptors. Only at count 0 may the type change; therefore
 * no page table is ever writable, and no writable frame can become a table.
 * Beside it, `refs` counts everything that needs the frame to stay the guest's (its allocation, each mapping, each
 * typed use): a frame that the guest gives back is free when the last of them is gone.
 * Follows: xen/arch/x86/mm.c (get_page, _get_page_type, _put_page_type), include/asm-x86/mm.h (PGT_*, PGC_*).
 * Simpler than there: one vCPU and no preemption inside a validation, so no partial states and no locks.
 * May not: read or write a frame (that is FrameContents).   Next: personality/xen/page-tables.ts. */
import { bytes, fill, int32s, record, type Saved, whole } from '../../base/saved.ts';
import { EINVAL } from './errno.ts';

/** A table's type is its level. NONE exactly when the count is 0. */
export const FRAME = { NONE: 0, L1: 1, L2: 2, L3: 3, L4: 4, SEGDESC: 5, WRITABLE: 6 } as const;
export const OWNER = { NONE: 0, GUEST: 1, XEN: 2 } as const;

/** Who knows what must hold inside a frame of a type. */
export interface FrameContents {
  /** The frame is about to be used as `type`: 0, or -errno with nothing changed. */
  promote(mfn: number, type: number): number;
  /** The last use as `type` has gone. */
  demote(mfn: number, type: number): void;
  /** Nobody needs the frame any more. */
  freed(mfn: number): void;
}

export class FrameTypes {
  readonly frames: number;
  /** By MFN. */
  readonly owner: Uint8Array;
  readonly type: Uint8Array;
  readonly count: Int32Array;
  readonly refs: Int32Array;
  /** 1: the guest pinned it, which holds one count. */
  readonly pinned: Uint8Array;
  /** 1: the allocation still holds its ref (PGC_allocated). */
  readonly allocated: Uint8Array;
  /** Frames that the guest has, those lent by Xen not among them. */
  guestFrames = 0;
  /** Entries looked at, since the last time somebody asked: what a hypercall has cost. */
  work = 0;
  readonly #contents: FrameContents;
  /** No free frame is below this one. */
  #lowestFree: number;

  constructor(frames: number, contents: FrameContents) {
    this.frames = frames;
    this.owner = new Uint8Array(frames);
    this.type = new Uint8Array(frames);
    this.count = new Int32Array(frames);
    this.refs = new Int32Array(frames);
    this.pinned = new Uint8Array(frames);
    this.allocated = new Uint8Array(frames);
    this.#contents = contents;
    this.#lowestFree = frames;
  }

  save(): Saved {
    const { owner, type, count, refs, pinned, allocated, guestFrames, work } = this;
    return { owner, type, count, refs, pinned, allocated, guestFrames, work, lowestFree: this.#lowestFree };
  }

  restore(saved: Saved, where: string): void {
    const arrays = {
      owner: bytes(),
      type: bytes(),
      count: int32s(),
      refs: int32s(),
      pinned: bytes(),
      allocated: bytes(),
    };
    const shape = { ...arrays, guestFrames: whole(this.frames), work: whole(), lowestFree: whole(this.frames) };
    const state = record(shape)(saved, where);
    for (const name of Object.keys(arrays) as (keyof typeof arrays)[])
      fill(this[name], state[name], `${where}.${name}`);
    this.guestFrames = state.guestFrames;
    this.work = state.work;
    this.#lowestFree = state.lowestFree;
  }

  /** The guest gets a frame that was nobody's. */
  give(mfn: number): void {
    this.owner[mfn] = OWNER.GUEST;
    this.allocated[mfn] = 1;
    this.refs[mfn] = 1;
    this.guestFrames++;
  }

  /** The same for the first frames of the machine, together. */
  giveFirst(count: number): void {
    this.owner.fill(OWNER.GUEST, 0, count);
    this.allocated.fill(1, 0, count);
    this.refs.fill(1, 0, count);
    this.guestFrames = count;
  }

  /** A frame of Xen's that the guest may map and write (shared_info, grant table), but can use for nothing else. */
  lend(mfn: number): void {
    this.owner[mfn] = OWNER.GUEST;
    this.refs[mfn] = 1;
    this.type[mfn] = FRAME.WRITABLE;
    this.count[mfn] = 1;
  }

  isGuests(mfn: number): boolean {
    return mfn >= 0 && mfn < this.frames && this.owner[mfn] === OWNER.GUEST;
  }

  /** Takes a reference; false when the frame is not the guest's. */
  get(mfn: number): boolean {
    if (!this.isGuests(mfn)) return false;
    this.refs[mfn]++;
    return true;
  }

  put(mfn: number): void {
    if (--this.refs[mfn] !== 0) return;
    this.owner[mfn] = OWNER.NONE;
    this.guestFrames--;
    if (mfn < this.#lowestFree) this.#lowestFree = mfn;
    this.#contents.freed(mfn);
  }

  /** Takes one use of a frame as `type`, for which the caller holds a reference. 0 or -errno. */
  getType(mfn: number, type: number): number {
    if (this.count[mfn] !== 0) {
      if (this.type[mfn] !== type) return -EINVAL;
      this.count[mfn]++;
      return 0;
    }
    this.type[mfn] = type;
    this.count[mfn] = 1;
    if (type === FRAME.WRITABLE) return 0;
    const failed = this.#contents.promote(mfn, type);
    if (failed !== 0) {
      this.count[mfn] = 0;
      this.type[mfn] = FRAME.NONE;
    }
    return failed;
  }

  putType(mfn: number): void {
    if (this.count[mfn] > 1) {
      this.count[mfn]--;
      return;
    }
    const type = this.type[mfn];
    if (type !== FRAME.WRITABLE) this.#contents.demote(mfn, type);
    this.count[mfn] = 0;
    this.type[mfn] = FRAME.NONE;
  }

  /** Reference and use together. */
  getWithType(mfn: number, type: number): number {
    if (!this.get(mfn)) return -EINVAL;
    const failed = this.getType(mfn, type);
    if (failed !== 0) this.put(mfn);
    return failed;
  }

  putWithType(mfn: number): void {
    this.putType(mfn);
    this.put(mfn);
  }

  /** MMUEXT_PIN_Ln_TABLE. */
  pin(mfn: number, type: number): number {
    const failed = this.getWithType(mfn, type);
    if (failed !== 0) return failed;
    if (this.pinned[mfn] !== 0) {
      this.putWithType(mfn);
      return -EINVAL;
    }
    this.pinned[mfn] = 1;
    return 0;
  }

  unpin(mfn: number): number {
    if (!this.isGuests(mfn) || this.pinned[mfn] === 0) return -EINVAL;
    this.pinned[mfn] = 0;
    this.putWithType(mfn);
    return 0;
  }

  /** The guest gives a frame back: it is free as soon as nothing refers to it. False when it was not the guest's to give. */
  release(mfn: number): boolean {
    if (!this.isGuests(mfn) || this.allocated[mfn] === 0) return false;
    this.allocated[mfn] = 0;
    this.put(mfn);
    return true;
  }

  /** 2^order free frames, aligned and adjoining, become the guest's; the first one's MFN, or -1. */
  allocate(order: number): number {
    const size = 2 ** order;
    let first = Math.floor((this.#lowestFree + size - 1) / size) * size;
    for (; first + size <= this.frames; first += size) {
      let free = 0;
      while (free < size && this.owner[first + free] === OWNER.NONE) free++;
      this.work += 1 + free;
      if (free !== size) continue;
      for (let i = 0; i < size; i++) this.give(first + i);
      if (order === 0) this.#lowestFree = first + 1;
      return first;
    }
    if (order === 0) this.#lowestFree = this.frames;
    return -1;
  }
}

/** Of the guest's, and in no use that writing it would break. */
export const isPlainMemory = (types: FrameTypes, mfn: number): boolean =>
  types.isGuests(mfn) && (types.count[mfn] === 0 || types.type[mfn] === FRAME.WRITABLE);
