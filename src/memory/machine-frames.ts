/** The two frame spaces of Xen PV: the guest counts its frames from 0 (PFN), the machine's tables speak in others (MFN).
 *
 * A PV guest writes page-table entries itself, so it must know the machine's frame numbers and keep the two apart; a
 * kernel that mixes them up works as long as they happen to be equal. They are scrambled here unless somebody asks for
 * `identity`. The guest's frames fill [0, nrPages) in some order. Xen's own frames lie directly above: not part of the
 * guest's memory, but in the same machine, and some of them mapped into every guest.
 * Follows: Xen xen/include/public/xen.h (start_info, machine-to-physical window), grant_table.h.
 * May not: fill a frame; that is the personality's.   Next: memory/guest-ram.ts. */
import { assert } from '../base/errors.ts';
import { alignUp, hex } from '../base/numbers.ts';
import { FRAME_SIZE, type Gpa } from './address.ts';

/** The guest's own frame number. */
export type Pfn = number & { readonly kind: 'guest frame' };
/** The machine's frame number. */
export type Mfn = number & { readonly kind: 'machine frame' };

export const pfn = (frame: number): Pfn => frame as Pfn;
export const mfn = (frame: number): Mfn => frame as Mfn;

/** Where a guest frame begins in the guest's own (pseudo-physical) address space. */
export const gpaOfPfn = (frame: Pfn): Gpa => (frame * FRAME_SIZE) as number as Gpa;
export const pfnOfGpa = (at: Gpa): Pfn => Math.floor(at / FRAME_SIZE) as Pfn;
/** Where a machine frame begins in machine memory, which is the engine's physical memory. */
export const machineAddress = (frame: Mfn): number => frame * FRAME_SIZE;

/** How guest frames lie in the machine. */
export type FrameOrder = 'identity' | 'scrambled' | { scrambled: number };

/** What `scrambled` means when nobody gives a seed. */
export const DEFAULT_SEED = 1;

export type HypervisorArea = { first: Mfn; count: number; why: string };
export const HYPERVISOR_AREAS = ['sharedInfo', 'gdt', 'emptyGdt', 'tss', 'gdtTables', 'grants', 'm2p', 'm2pTables'] as const; // biome-ignore format: a list
export type HypervisorFrames = Record<(typeof HYPERVISOR_AREAS)[number], HypervisorArea>;

/** v1 grant frames: 512 entries of 8 bytes in each. */
export const GRANT_FRAMES = 32;

/** `order` is a permutation of the guest's frames: none, the usual one, or that of a seed (0 to 2^32 - 1). */
export function machineFrames(nrPages: number, order: FrameOrder = 'scrambled'): MachineFrames {
  return new MachineFrames(nrPages, order);
}

export class MachineFrames {
  /** Frames of the guest. */
  readonly nrPages: number;
  readonly order: FrameOrder;
  /** MFN by PFN, as the domain starts; what a guest exchanges later is the personality's to know. */
  readonly p2m: Uint32Array<ArrayBuffer>;
  readonly hypervisor: HypervisorFrames;
  /** Machine frames altogether: machine memory is [0, end) frames. */
  readonly end: number;
  #m2p: Uint32Array<ArrayBuffer> | undefined;

  constructor(nrPages: number, order: FrameOrder) {
    assert(Number.isInteger(nrPages) && nrPages > 0 && nrPages <= 1 << 20, `a domain of ${nrPages} frames can be made`);
    this.nrPages = nrPages;
    this.order = order;
    const seed = typeof order === 'object' ? order.scrambled : DEFAULT_SEED;
    this.p2m = order === 'identity' ? ascending(nrPages) : shuffled(nrPages, seed);
    this.hypervisor = layOut(nrPages);
    const last = this.hypervisor.m2pTables;
    this.end = last.first + last.count;
  }

  mfnOf(frame: Pfn): Mfn {
    assert(frame >= 0 && frame < this.nrPages, `PFN ${hex(frame)} is one of the guest's ${hex(this.nrPages)}`);
    return this.p2m[frame] as Mfn;
  }

  /** Undefined for frames that are not the guest's. Safe for any number. */
  pfnOf(frame: Mfn): Pfn | undefined {
    return frame >= 0 && frame < this.nrPages ? (this.m2p[frame] as Pfn | undefined) : undefined;
  }

  /** PFN by MFN, for the guest's frames: p2m the other way round. */
  get m2p(): Uint32Array<ArrayBuffer> {
    if (this.#m2p === undefined) {
      const inverse = new Uint32Array(this.nrPages);
      for (let i = 0; i < inverse.length; i++) inverse[this.p2m[i]] = i;
      this.#m2p = inverse;
    }
    return this.#m2p;
  }

  /** Which of the hypervisor's areas a machine frame is part of. */
  areaOf(frame: Mfn): keyof HypervisorFrames | undefined {
    return HYPERVISOR_AREAS.find((name) => {
      const { first, count } = this.hypervisor[name];
      return frame >= first && frame < first + count;
    });
  }
}

function layOut(nrPages: number): HypervisorFrames {
  let next = nrPages;
  const take = (count: number, why: string): HypervisorArea => {
    const first = next as Mfn;
    next += count;
    return { first, count, why };
  };
  const fixed = {
    sharedInfo: take(1, 'shared_info: start_info names it by machine address, the guest maps it by update_va_mapping'),
    gdt: take(1, 'page 14 of the descriptor table: Xen has its selectors 0xe000-0xefff there'),
    emptyGdt: take(1, 'zeros, for the pages of the descriptor table that the guest has not set'),
    tss: take(1, 'task-state segment for TR 0xe040: no stacks, and no port is allowed by its bitmap'),
    gdtTables: take(3, 'L3, L2, L1 that map descriptor table and TSS at 0xffff820000000000 (root slot 260)'),
    grants: take(GRANT_FRAMES, 'grant table, version 1: the guest learns the frames by setup_table and maps them'),
  };
  // The M2P has an entry for each machine frame, its own and those of its tables included, so it depends on its size.
  let [m2p, tables] = [0, 0];
  for (let end = next, before = -1; end !== before; ) {
    before = end;
    m2p = alignUp(end * 8, FRAME_SIZE) / FRAME_SIZE;
    tables = 2 + Math.ceil(m2p / 512);
    end = next + m2p + tables;
  }
  return {
    ...fixed,
    m2p: take(m2p, 'PFN by MFN, a u64 for each machine frame; the guest reads it at 0xffff800000000000'),
    m2pTables: take(tables, 'L3, L2 and the L1s that map the M2P (root slot 256)'),
  };
}

function ascending(length: number): Uint32Array<ArrayBuffer> {
  const frames = new Uint32Array(length);
  for (let i = 0; i < length; i++) frames[i] = i;
  return frames;
}

/** Frames in 2 MiB. */
const BLOCK = 512;

/** Blocks of 2 MiB change places, and frames inside each block: no two frames stay side by side but by chance, and yet a
 * kernel of 60 MB touches 30 blocks of the host's memory, not all of it. A last block that is not whole keeps its place. */
function shuffled(length: number, seed: number): Uint32Array<ArrayBuffer> {
  assert(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32, `seed ${seed} is a 32-bit number`);
  const whole = Math.floor(length / BLOCK);
  const blocks = new Uint32Array(whole);
  const state = shuffle(blocks, [0], seed | 0, whole);
  // MFN 0 goes to PFN 0: no guest has a page-table root there, and 0 is how a guest says that it has no user root.
  bringFirst(blocks, 0);
  const frames = new Uint32Array(length);
  // Behind the whole blocks, the rest is a run of its own.
  shuffle(frames, [...blocks, whole], state, BLOCK);
  bringFirst(frames, 0);
  return frames;
}

function bringFirst(list: Uint32Array, value: number): void {
  const at = list.indexOf(value);
  if (at > 0) [list[0], list[at]] = [list[at], list[0]];
}

/** Fills each run of `size` entries with the numbers of a run, `size` * `runs[i]` onwards, in some order: Fisher and
 * Yates from the inside out, by numbers from Mulberry32 by T. Ettinger (public domain), the same on every host. Takes
 * and returns the generator's state. All is one loop, because it runs once, before V8 has compiled it. */
function shuffle(out: Uint32Array, runs: ArrayLike<number>, seed: number, size: number): number {
  let state = seed;
  for (let i = 0, start = 0, run = 0, base = (runs[0] ?? 0) * size; i < out.length; i++) {
    if (i - start === size) {
      start = i;
      run++;
      base = (runs[run] ?? 0) * size;
    }
    state = (state + 0x6d2b_79f5) | 0;
    let random = Math.imul(state ^ (state >>> 15), state | 1);
    random ^= random + Math.imul(random ^ (random >>> 7), random | 61);
    const j = start + Math.floor((((random ^ (random >>> 14)) >>> 0) * (i - start + 1)) / 2 ** 32);
    out[i] = out[j];
    out[j] = base + (i - start);
  }
  return state;
}
