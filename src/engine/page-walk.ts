/** PageWalk: the guest's own page tables, read one entry after the other.
 *
 * Four ways: paging off, 2-level (4 MiB pages, PSE-36), PAE, 4-level (2 MiB and 1 GiB pages); all with WP, NX, SMEP,
 * reserved bits, A and D. Addresses travel as two 32-bit halves, physical ones as numbers; nothing is allocated and
 * nothing throws. A walk reads at most four entries, and what lies outside RAM reads as ones.
 * Where hardware leaves room: upper entries get their A bit as the walk passes, the leaf its A and D only when the
 * access is allowed.
 * Follows: SDM Vol. 3, 4.3-4.8.   May not: raise exceptions; it leaves them in STATE.FAULT_*.
 * Next: engine/mmu.ts, which caches the answers. */
import { assert } from '../base/errors.ts';
import { CR0, CR4, EFER, PF_ERROR, PTE, PTE_HIGH, VECTOR } from '../x86/constants.ts';
import type { CpuModel } from '../x86/cpuid.ts';
import { ACCESS, type Access } from './core.ts';
import { RAM, STATE } from './state.ts';

/** The four PDPTEs of PAE paging, as loaded with CR3 (4 × i64). */
export const PDPTES = 0x640;

/** Results of translate() beside an address. */
export const FAULT = -1;
export const NON_CANONICAL = -2;

/** What of paging the CPUID model shows. */
export type PagingFeatures = { physicalBits: number; pages1GiB: boolean; pse36: boolean };
export const PAGING_FEATURES: PagingFeatures = { physicalBits: 40, pages1GiB: true, pse36: true };

export function pagingFeatures(model: CpuModel): PagingFeatures {
  const { features, physicalBits } = model;
  return { physicalBits, pages1GiB: features.has('PDPE1GB'), pse36: features.has('PSE36') };
}

/** What a walk asks of the CPU around it. */
export interface WalkCore {
  readonly ramSize: number;
  /** An entry's A or D bit was set. */
  physicalWritten(gpa: number, length: number): void;
}

export class PageWalk {
  /** After a successful walk: a write at the same privilege would be allowed, and D is set. */
  writable = true;
  /** After a successful walk: log2 of the size of the page. */
  pageShift = 12;
  /** After a successful walk: CR3 loads keep the page (CR4.PGE, and G in its entry). */
  global = false;
  readonly #core: WalkCore;
  readonly #i32: Int32Array;
  readonly #ramSize: number;
  readonly #features: PagingFeatures;
  /** Bits of an 8-byte entry's upper half that lie between the physical address width and bit 51. */
  readonly #beyondWidth: number;

  constructor(core: WalkCore, buffer: ArrayBuffer, features: PagingFeatures = PAGING_FEATURES) {
    assert(core.ramSize % 4096 === 0, 'RAM is whole pages');
    assert(RAM + core.ramSize <= buffer.byteLength, 'RAM lies within the memory');
    this.#core = core;
    this.#ramSize = core.ramSize;
    this.#i32 = new Int32Array(buffer);
    this.#features = features;
    this.#beyondWidth = 0xf_ffff & ~(2 ** (features.physicalBits - 32) - 1);
  }

  /** Guest-physical address of one byte for one access, or FAULT with STATE.FAULT_* set, or NON_CANONICAL (the caller
   * knows whether that is #GP or #SS). Sets A and D. `user` is false for implicit supervisor accesses. */
  translate(addressLow: number, addressHigh: number, access: Access, user: boolean): number {
    const i32 = this.#i32;
    this.pageShift = 12;
    if (i32[STATE.CR0 >> 2] >= 0) {
      this.writable = true; // CR0.PG, the sign bit, is clear
      this.global = false;
      return addressLow >>> 0;
    }
    if ((i32[STATE.CR4 >> 2] & CR4.PAE) === 0) return this.#walk2(addressLow, access, user);
    if ((i32[STATE.EFER >> 2] & EFER.LMA) === 0) return this.#walkPae(addressLow, access, user);
    if (!this.isCanonical(addressHigh)) return NON_CANONICAL;
    return this.#walk4(addressLow, addressHigh, access, user);
  }

  /** Bits 63-47 are equal, or this is not long mode, where addresses have 32 bits. */
  isCanonical(addressHigh: number): boolean {
    const top = addressHigh >> 15;
    return top === 0 || top === -1 || (this.#i32[STATE.EFER >> 2] & EFER.LMA) === 0;
  }

  #walk4(low: number, high: number, access: Access, user: boolean): number {
    const i32 = this.#i32;
    const nxe = (i32[STATE.EFER >> 2] & EFER.NXE) !== 0;
    const reservedHigh = this.#beyondWidth | (nxe ? 0 : PTE_HIGH.NX);
    let table = (i32[STATE.CR3 >> 2] & ~0xfff) >>> 0;
    table += (i32[(STATE.CR3 >> 2) + 1] & 0xf_ffff) * 0x1_0000_0000;

    let at = table + ((high >>> 7) & 0x1ff) * 8;
    let entry = this.#read(at);
    let entryHigh = this.#read(at + 4);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, high, access, user, 0);
    if ((entryHigh & reservedHigh) !== 0 || (entry & PTE.PS) !== 0) return this.#reserved(low, high, access, user);
    if ((entry & PTE.A) === 0) this.#write(at, entry | PTE.A);
    let rights = entry;
    let rightsHigh = entryHigh;

    at = tableAt(entry, entryHigh) + (((high & 0x7f) << 2) | (low >>> 30)) * 8;
    entry = this.#read(at);
    entryHigh = this.#read(at + 4);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, high, access, user, 0);
    if ((entryHigh & reservedHigh) !== 0) return this.#reserved(low, high, access, user);
    if ((entry & PTE.PS) !== 0) {
      if (!this.#features.pages1GiB || (entry & 0x3fff_e000) !== 0) return this.#reserved(low, high, access, user);
      this.pageShift = 30;
      return this.#leaf(at, entry, entryHigh, 0xc000_0000, rights, rightsHigh, low, high, access, user);
    }
    if ((entry & PTE.A) === 0) this.#write(at, entry | PTE.A);
    rights &= entry;
    rightsHigh |= entryHigh;
    return this.#walkLower(entry, entryHigh, reservedHigh, rights, rightsHigh, low, high, access, user);
  }

  #walkPae(low: number, access: Access, user: boolean): number {
    const i32 = this.#i32;
    const at = (PDPTES >> 2) + (low >>> 30) * 2;
    const entry = i32[at];
    // Loading CR3 has refused reserved bits (#GP), so only presence is left to ask. PDPTEs have no rights.
    if ((entry & PTE.P) === 0) return this.#pageFault(low, 0, access, user, 0);
    const nxe = (i32[STATE.EFER >> 2] & EFER.NXE) !== 0;
    const reservedHigh = this.#beyondWidth | 0x7ff0_0000 | (nxe ? 0 : PTE_HIGH.NX);
    return this.#walkLower(entry, i32[at + 1], reservedHigh, PTE.RW | PTE.US, 0, low, 0, access, user);
  }

  /** The page directory and page table of 8-byte entries, common to PAE and 4-level paging. */
  #walkLower(
    directory: number,
    directoryHigh: number,
    reservedHigh: number,
    rights: number,
    rightsHigh: number,
    low: number,
    high: number,
    access: Access,
    user: boolean,
  ): number {
    let at = tableAt(directory, directoryHigh) + ((low >>> 21) & 0x1ff) * 8;
    let entry = this.#read(at);
    let entryHigh = this.#read(at + 4);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, high, access, user, 0);
    if ((entryHigh & reservedHigh) !== 0) return this.#reserved(low, high, access, user);
    if ((entry & PTE.PS) !== 0) {
      if ((entry & 0x1f_e000) !== 0) return this.#reserved(low, high, access, user);
      this.pageShift = 21;
      return this.#leaf(at, entry, entryHigh, 0xffe0_0000, rights, rightsHigh, low, high, access, user);
    }
    if ((entry & PTE.A) === 0) this.#write(at, entry | PTE.A);
    rights &= entry;
    rightsHigh |= entryHigh;
    at = tableAt(entry, entryHigh) + ((low >>> 12) & 0x1ff) * 8;
    entry = this.#read(at);
    entryHigh = this.#read(at + 4);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, high, access, user, 0);
    if ((entryHigh & reservedHigh) !== 0) return this.#reserved(low, high, access, user);
    return this.#leaf(at, entry, entryHigh, 0xffff_f000, rights, rightsHigh, low, high, access, user);
  }

  #walk2(low: number, access: Access, user: boolean): number {
    const i32 = this.#i32;
    let at = ((i32[STATE.CR3 >> 2] & ~0xfff) >>> 0) + (low >>> 22) * 4;
    let entry = this.#read(at);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, 0, access, user, 0);
    if ((entry & PTE.PS) !== 0 && (i32[STATE.CR4 >> 2] & CR4.PSE) !== 0) {
      if ((entry & (this.#features.pse36 ? 0x20_0000 : 0x3f_e000)) !== 0) return this.#reserved(low, 0, access, user);
      this.pageShift = 22;
      const entryHigh = (entry >>> 13) & 0xff; // PSE-36: address bits 32-39
      return this.#leaf(at, entry, entryHigh, 0xffc0_0000, PTE.RW | PTE.US, 0, low, 0, access, user);
    }
    if ((entry & PTE.A) === 0) this.#write(at, entry | PTE.A);
    const rights = entry;
    at = ((entry & ~0xfff) >>> 0) + ((low >>> 12) & 0x3ff) * 4;
    entry = this.#read(at);
    if ((entry & PTE.P) === 0) return this.#pageFault(low, 0, access, user, 0);
    return this.#leaf(at, entry, 0, 0xffff_f000, rights, 0, low, 0, access, user);
  }

  /** Rights of the whole path against the access (SDM Vol. 3, 4.6), then A and D of the leaf, then the address. */
  #leaf(
    at: number,
    entry: number,
    entryHigh: number,
    mask: number,
    rights: number,
    rightsHigh: number,
    low: number,
    high: number,
    access: Access,
    user: boolean,
  ): number {
    const all = rights & entry;
    const i32 = this.#i32;
    const userPage = (all & PTE.US) !== 0;
    if (user && !userPage) return this.#pageFault(low, high, access, user, PF_ERROR.P);
    const writable = (all & PTE.RW) !== 0 || (!user && (i32[STATE.CR0 >> 2] & CR0.WP) === 0);
    let wanted = PTE.A;
    if (access === ACCESS.WRITE) {
      if (!writable) return this.#pageFault(low, high, access, user, PF_ERROR.P);
      wanted |= PTE.D;
    } else if (access === ACCESS.FETCH) {
      const forbidden =
        ((rightsHigh | entryHigh) & PTE_HIGH.NX) !== 0 || (!user && userPage && (i32[STATE.CR4 >> 2] & CR4.SMEP) !== 0);
      if (forbidden) return this.#pageFault(low, high, access, user, PF_ERROR.P);
    }
    if ((entry & wanted) !== wanted) this.#write(at, entry | wanted);
    this.writable = writable && ((entry | wanted) & PTE.D) !== 0;
    this.global = (entry & PTE.G) !== 0 && (i32[STATE.CR4 >> 2] & CR4.PGE) !== 0;
    const page = ((entry & mask) | (low & ~mask)) >>> 0;
    return page + (entryHigh & 0xf_ffff) * 0x1_0000_0000;
  }

  #reserved(low: number, high: number, access: Access, user: boolean): number {
    return this.#pageFault(low, high, access, user, PF_ERROR.P | PF_ERROR.RSVD);
  }

  /** Leaves #PF in the state (SDM Vol. 3, 4.7). */
  #pageFault(low: number, high: number, access: Access, user: boolean, code: number): number {
    const i32 = this.#i32;
    let error = code;
    if (access === ACCESS.WRITE) error |= PF_ERROR.W;
    if (user) error |= PF_ERROR.U;
    if (access === ACCESS.FETCH) {
      const cr4 = i32[STATE.CR4 >> 2];
      const nxe = (cr4 & CR4.PAE) !== 0 && (i32[STATE.EFER >> 2] & EFER.NXE) !== 0;
      if (nxe || (cr4 & CR4.SMEP) !== 0) error |= PF_ERROR.I;
    }
    this.fault(VECTOR.PF, error);
    i32[STATE.FAULT_CR2 >> 2] = low;
    i32[(STATE.FAULT_CR2 >> 2) + 1] = (i32[STATE.EFER >> 2] & EFER.LMA) !== 0 ? high : 0;
    return FAULT;
  }

  /** Leaves an exception in the state; the caller returns what this returns. */
  fault(vector: number, errorCode: number): number {
    this.#i32[STATE.FAULT_VECTOR >> 2] = vector;
    this.#i32[STATE.FAULT_ERROR >> 2] = errorCode;
    return FAULT;
  }

  /** 4 bytes of a table; as from any absent memory, all ones outside RAM. */
  #read(at: number): number {
    return at < this.#ramSize ? this.#i32[(RAM + at) >>> 2] : -1;
  }

  /** Sets bits in the lower half of an entry. Outside RAM there is nothing to set. */
  #write(at: number, value: number): void {
    if (at >= this.#ramSize) return;
    this.#i32[(RAM + at) >>> 2] = value;
    this.#core.physicalWritten(at, 4);
  }

  /** Loads the four PDPTEs of PAE paging from CR3's table; false (and nothing changed) when a present one has reserved
   * bits set, which makes the loading instruction #GP (SDM Vol. 3, 4.4.1). */
  loadPdptes(cr3: number): boolean {
    const table = (cr3 & ~0x1f) >>> 0;
    for (let i = 0; i < 4; i++) {
      const low = this.#read(table + i * 8);
      const high = this.#read(table + i * 8 + 4);
      if ((low & PTE.P) === 0) continue;
      if ((low & 0x1e6) !== 0 || (high & (this.#beyondWidth | 0xfff0_0000)) !== 0) return false;
    }
    for (let i = 0; i < 8; i++) this.#i32[(PDPTES >> 2) + i] = this.#read(table + i * 4);
    return true;
  }
}

/** Physical address of the table that a non-leaf entry names. */
function tableAt(entry: number, entryHigh: number): number {
  return ((entry & ~0xfff) >>> 0) + (entryHigh & 0xf_ffff) * 0x1_0000_0000;
}
