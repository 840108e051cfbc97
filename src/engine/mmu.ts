/** Mmu: the TLBs that generated code looks into, and what happens when no tag matches.
 *
 * `slow` is what generated code calls then: it walks the tables, fills the TLB, and returns a host offset. An access
 * that is no single range of RAM (two pages, or a device) goes through a bounce buffer in the state page. Addresses
 * travel as two 32-bit halves; nothing is allocated and nothing throws on these paths, and every RAM access is checked
 * against the size of RAM.
 * Where hardware leaves room: INVLPG of a large page drops everything, #AC comes
 * before #PF and behind the canonical check (as on AMD EPYC; the SDM's table of priorities has #PF first).
 * Follows: SDM Vol. 3, 4.10 (TLBs), 6.15 (#AC), 17.2 (breakpoints).
 * May not: raise exceptions; it leaves them in STATE.FAULT_*.   Next: engine/walk-trace.ts. */
import { assert } from '../base/errors.ts';
import { bytes, flag, int32s, misfit, record, type Saved, uint32s } from '../base/saved.ts';
import { CR0, EFER, RFLAGS, VECTOR } from '../x86/constants.ts';
import { ACCESS, type Access, type CpuHost } from './core.ts';
import type { CpuState } from './cpu-state.ts';
import { FAULT, PAGING_FEATURES, PageWalk, type PagingFeatures } from './page-walk.ts';
import {
  FETCH_TLB_ENTRIES,
  FETCH_TLB_SUPERVISOR,
  FETCH_TLB_USER,
  RAM,
  SEG,
  SEG_ATTRIBUTES,
  SEG_BASE,
  SEG_BYTES,
  STATE,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_SUPERVISOR,
  TLB_USER,
} from './state.ts';

/** Where reads that cross pages or reach devices find their bytes, and where such writes leave theirs until commit(). */
export const READ_BOUNCE = 0x600;
export const BOUNCE = 0x620;
/** i32: data breakpoints (bits 0-3, as in DR6) that accesses matched since it was last cleared. */
export const BREAKPOINT_HITS = 0x660;

/** What slow() is asked for, beside the size in bits 0-3 (1 to 15 bytes, 0 for 16). WRITE alone means that the value
 * there is read first (read-modify-write); STORE is a write that reads nothing, which devices can tell. */
export const SLOW = { READ: 0, WRITE: 0x10, STORE: 0x90, SYSTEM: 0x20, STACK: 0x40 } as const;
const STORE_ONLY = 0x80;

export interface MmuCore {
  readonly state: CpuState;
  readonly host: CpuHost;
  readonly ramSize: number;
  physicalWritten(gpa: number, length: number): void;
  /** True when the frame at this guest-physical page address holds decoded code. */
  hasCode(gpaPage: number): boolean;
  /** Asked when an access is about to be handed out: true when the instruction must first leave its block and then run
   * alone, because it reaches a device (which may move the next event) or has changed its own block's code. */
  mustRunAlone?(device: boolean): boolean;
}

/** Left as FAULT_VECTOR when it must: no exception; nothing is committed, the instruction begins again. */
export const AGAIN = -2;

/** Entries remembered for a quick flush; with more than these, the tables are wiped whole. */
const REMEMBERED = 768;
const ALL_TLBS_END = FETCH_TLB_USER + (FETCH_TLB_USER - FETCH_TLB_SUPERVISOR);
const CODE_STORES = 32;
const EMPTY_LOW = 1; // EMPTY_TAG in halves

export class Mmu {
  readonly #core: MmuCore;
  readonly #i32: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #ramSize: number;
  readonly #walk: PageWalk;

  /** A bit for each frame of RAM that the guest has read, written or fetched from; what only table walks touched is not
   * among them. */
  readonly touchedFrames: Uint32Array;
  readonly #filled = new Int32Array(REMEMBERED);
  #filledCount = 0;
  /** The same of global pages, which a CR3 load does not drop. */
  readonly #globals = new Int32Array(REMEMBERED);
  #globalCount = 0;
  /** 4 MiB regions (hashed) with a tag that came from a large page, and whether one came from a 1 GiB page: INVLPG of any
   * address in a large page must drop all of it. */
  readonly #largeRegions = new Uint8Array(1024);
  #hasLarge = false;
  #hasHuge = false;
  #checkedAlignment = false;

  /** Translations of stores to frames with decoded code, which have no write tag: data beside code would pay a walk each
   * time. 32 entries for each privilege, (low, high, frame); flushed with the TLB and just as stale as it may be. */
  readonly #codeStores = new Int32Array(3 * 2 * CODE_STORES);
  #hasCodeStores = true; // until they are first forgotten

  #pendingSize = 0;
  #pendingFirst = 0;
  #pendingSecond = 0;
  #pendingFirstLength = 0;

  constructor(core: MmuCore, buffer: ArrayBuffer, features: PagingFeatures = PAGING_FEATURES) {
    this.#core = core;
    this.#ramSize = core.ramSize;
    this.touchedFrames = new Uint32Array(Math.ceil(core.ramSize / 4096 / 32));
    this.#i32 = new Int32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#walk = new PageWalk(core, buffer, features);
    for (let at = TLB_SUPERVISOR; at < ALL_TLBS_END; at += 16) this.#clearEntry(at);
  }

  /** Guest-physical address of one byte for one access, or FAULT with STATE.FAULT_* set, or NON_CANONICAL (the caller
   * knows whether that is #GP or #SS). Sets A and D. `user` is false for implicit supervisor accesses. */
  translate(addressLow: number, addressHigh: number, access: Access, user: boolean): number {
    return this.#walk.translate(addressLow, addressHigh, access, user);
  }

  /** See PageWalk.loadPdptes. */
  loadPdptes(cr3: number): boolean {
    return this.#walk.loadPdptes(cr3);
  }

  /** The page a fetch reads from, with the fetch TLB filled when it is RAM; FAULT or NON_CANONICAL as in translate. */
  fetchTranslate(addressLow: number, addressHigh: number, user: boolean): number {
    const address = this.#walk.translate(addressLow, addressHigh, ACCESS.FETCH, user);
    if (address < 0) return address;
    const page = address - (addressLow & 0xfff);
    if (page < this.#ramSize) {
      this.#touch(page);
      const index = (addressLow >>> 12) & (FETCH_TLB_ENTRIES - 1);
      const at = (user ? FETCH_TLB_USER : FETCH_TLB_SUPERVISOR) + index * 16;
      this.#setEntry(at, addressLow & ~0xfff, addressHigh, page);
      this.#noteLarge(addressLow);
    }
    return page;
  }

  // ---- The slow path of loads and stores

  /** Called when no tag matched. Returns the host offset of the bytes (unsigned: compare with -1, not by sign), or -1 with
   * the exception in STATE.FAULT_*. READ_BOUNCE: the bytes were gathered there. BOUNCE: the code stores there and calls
   * commit(); writes that are also reads find the old bytes there. Nothing is written before commit. */
  slow(addressLow: number, addressHigh: number, sizeAndKind: number): number {
    const size = sizeAndKind & 15 || 16;
    const system = (sizeAndKind & SLOW.SYSTEM) !== 0;
    const write = (sizeAndKind & SLOW.WRITE) !== 0;
    const user = !system && this.#i32[STATE.CPL >> 2] === 3;
    const access = write ? ACCESS.WRITE : ACCESS.READ;
    if ((addressLow & 0xfff) + size > 4096) return this.#slowSplit(addressLow, addressHigh, size, sizeAndKind, user);
    if (write) {
      const gpa = this.#knownCodeStore(addressLow, addressHigh, user);
      if (gpa >= 0) {
        this.#core.physicalWritten(gpa, size);
        return this.#handOut(RAM + gpa);
      }
    }

    if (!this.#walk.isCanonical(addressHigh)) return this.#outside(sizeAndKind);
    if (user && this.#misaligned(addressLow, size)) return this.#walk.fault(VECTOR.AC, 0);
    const first = this.#walk.translate(addressLow, addressHigh, access, user);
    if (first === FAULT) return FAULT;
    const tagged = this.#fill(addressLow, addressHigh, first, user);
    if (!tagged) this.#matchBreakpoints(addressLow, addressHigh, size, write);
    if (first < this.#ramSize) {
      if (write) this.#tellCode(first, size);
      return this.#handOut(RAM + first);
    }
    return this.#bounce(first, size, 0, size, sizeAndKind);
  }

  /** An access that touches two pages: both are checked, then both translated, before anything is read. */
  #slowSplit(addressLow: number, addressHigh: number, size: number, sizeAndKind: number, user: boolean): number {
    const write = (sizeAndKind & SLOW.WRITE) !== 0;
    const access = write ? ACCESS.WRITE : ACCESS.READ;
    const system = (sizeAndKind & SLOW.SYSTEM) !== 0;
    const nextLow = ((addressLow & ~0xfff) + 0x1000) | 0;
    let nextHigh = addressHigh;
    if (nextLow === 0) {
      if (this.#wraps64(addressHigh, system)) nextHigh = (addressHigh + 1) | 0;
      else if (!system && this.#flat) return this.#outside(sizeAndKind); // past the limit of a 4 GiB segment
    }
    if (!this.#walk.isCanonical(addressHigh) || !this.#walk.isCanonical(nextHigh)) return this.#outside(sizeAndKind);
    if (user && this.#misaligned(addressLow, size)) return this.#walk.fault(VECTOR.AC, 0);

    const first = this.#walk.translate(addressLow, addressHigh, access, user);
    if (first === FAULT) return FAULT;
    let tagged = this.#fill(addressLow, addressHigh, first, user);
    const second = this.#walk.translate(nextLow, nextHigh, access, user);
    if (second === FAULT) return FAULT;
    tagged = this.#fill(nextLow, nextHigh, second, user) && tagged;
    if (!tagged) this.#matchBreakpoints(addressLow, addressHigh, size, write);
    return this.#bounce(first, 4096 - (addressLow & 0xfff), second, size, sizeAndKind);
  }

  /** True when no segment has a base: then an access over the 4 GiB line is past its segment's limit. With a base the
   * checked path has asked the limit already, and the sum may wrap. */
  get #flat(): boolean {
    for (let segment = SEG.ES as number; segment <= SEG.GS; segment++) {
      if (this.#i32[(STATE.SEG + segment * SEG_BYTES + SEG_BASE) >> 2] !== 0) return false;
    }
    return true;
  }

  /** Whether linear addresses go past 4 GiB (64-bit code, and system tables in long mode) or wrap there. */
  #wraps64(addressHigh: number, system: boolean): boolean {
    const i32 = this.#i32;
    if ((i32[STATE.EFER >> 2] & EFER.LMA) === 0) return false;
    if (system || addressHigh !== 0) return true;
    return (i32[(STATE.SEG + SEG.CS * SEG_BYTES + SEG_ATTRIBUTES) >> 2] & 0x2000) !== 0; // CS.L
  }

  /** The answer to an access, unless its instruction must run alone. */
  #handOut(at: number, device = false): number {
    return this.#core.mustRunAlone?.(device) ? this.#walk.fault(AGAIN, 0) : at;
  }

  #bounce(first: number, firstLength: number, second: number, size: number, sizeAndKind: number): number {
    const write = (sizeAndKind & SLOW.WRITE) !== 0;
    const splits = firstLength < size;
    if (write && first < this.#ramSize) this.#tellCode(first, firstLength);
    if (write && splits && second < this.#ramSize) this.#tellCode(second, size - firstLength);
    const device = first >= this.#ramSize || (splits && second >= this.#ramSize);
    if (this.#handOut(BOUNCE, device) === FAULT) return FAULT;
    const at = write ? BOUNCE : READ_BOUNCE;
    // Gathering RAM has no effect that a guest could see; a device is only read when the instruction does read it.
    const reads = (sizeAndKind & STORE_ONLY) === 0;
    if (reads || first < this.#ramSize) this.#gather(first, at, firstLength);
    if (splits && (reads || second < this.#ramSize)) this.#gather(second, at + firstLength, size - firstLength);
    if (!write) return at;
    this.#pendingSize = size;
    this.#pendingFirst = first;
    this.#pendingFirstLength = firstLength;
    this.#pendingSecond = second;
    return at;
  }

  #gather(gpa: number, to: number, length: number): void {
    const bytes = this.#bytes;
    if (gpa < this.#ramSize) {
      for (let i = 0; i < length; i++) bytes[to + i] = bytes[RAM + gpa + i];
      return;
    }
    for (let i = 0; i < length; ) {
      const piece = pieceAt(gpa + i, length - i);
      let value = this.#core.host.mmioRead(gpa + i, piece);
      for (let k = 0; k < piece; k++, value >>>= 8) bytes[to + i + k] = value;
      i += piece;
    }
  }

  /** Moves the bytes at BOUNCE to where the last write translation said. The store is complete afterwards. */
  commit(): void {
    const size = this.#pendingSize;
    assert(size > 0, 'commit() follows a slow() that returned BOUNCE');
    this.#pendingSize = 0;
    this.#scatter(this.#pendingFirst, BOUNCE, this.#pendingFirstLength);
    if (this.#pendingFirstLength < size) {
      this.#scatter(this.#pendingSecond, BOUNCE + this.#pendingFirstLength, size - this.#pendingFirstLength);
    }
  }

  #scatter(gpa: number, from: number, length: number): void {
    const bytes = this.#bytes;
    if (gpa < this.#ramSize) {
      for (let i = 0; i < length; i++) bytes[RAM + gpa + i] = bytes[from + i];
      return;
    }
    for (let i = 0; i < length; ) {
      const piece = pieceAt(gpa + i, length - i);
      let value = 0;
      for (let k = piece - 1; k >= 0; k--) value = (value << 8) | bytes[from + i + k];
      this.#core.host.mmioWrite(gpa + i, piece, value >>> 0);
      i += piece;
    }
  }

  /** Before a store to a frame with decoded code, whose pages have no write tag. */
  #tellCode(gpa: number, length: number): void {
    if (this.#core.hasCode(gpa - (gpa % 4096))) this.#core.physicalWritten(gpa, length);
  }

  /** A non-canonical address, or one past the limit: #GP(0), or #SS(0) by way of the stack segment. */
  #outside(sizeAndKind: number): number {
    return this.#walk.fault((sizeAndKind & SLOW.STACK) !== 0 ? VECTOR.SS : VECTOR.GP, 0);
  }

  /** True while CPL 3 accesses are checked for alignment (SDM Vol. 3, 6.15, #AC). */
  get alignmentChecked(): boolean {
    const i32 = this.#i32;
    return (
      (i32[STATE.CR0 >> 2] & CR0.AM) !== 0 && (i32[STATE.SYS_FLAGS >> 2] & RFLAGS.AC) !== 0 && i32[STATE.CPL >> 2] === 3
    );
  }

  /** Scalars and 16-byte vectors are aligned to their size, 80-bit reals to 8. Instructions that move more than one
   * value call once for each. */
  #misaligned(addressLow: number, size: number): boolean {
    const alignment = size === 10 ? 8 : size;
    return (addressLow & (alignment - 1)) !== 0 && this.alignmentChecked;
  }

  // ---- The TLB

  /** Tags a page of RAM for reads and, where nothing needs to see them, writes. False when an access to it must come here
   * each time because of a data breakpoint. Uses what the last walk found. */
  #fill(addressLow: number, addressHigh: number, gpa: number, user: boolean): boolean {
    const low = addressLow & ~0xfff;
    const page = gpa - (addressLow & 0xfff);
    if (page < this.#ramSize) this.#touch(page); // no access reaches a frame for the first time but through here
    if (this.#watched(low, addressHigh)) return false;
    if (page >= this.#ramSize || (user && this.alignmentChecked)) return true;
    const at = (user ? TLB_USER : TLB_SUPERVISOR) + ((low >>> 12) & (TLB_ENTRIES - 1)) * 16;
    const addend = (RAM + page - low) | 0;
    this.#setEntry(at, low, addressHigh, addend);
    if (this.#walk.writable) {
      if (!this.#core.hasCode(page)) this.#setEntry(at + TLB_BYTES, low, addressHigh, addend);
      else {
        const entry = codeStoreIndex(low, user);
        this.#hasCodeStores = true;
        this.#codeStores[entry] = low;
        this.#codeStores[entry + 1] = addressHigh;
        this.#codeStores[entry + 2] = page;
      }
    }
    this.#noteLarge(addressLow);
    return true;
  }

  /** Guest-physical address of a store to a frame with code, or -1 when that is not known, or no longer so. */
  #knownCodeStore(addressLow: number, addressHigh: number, user: boolean): number {
    const entry = codeStoreIndex(addressLow, user);
    if (this.#codeStores[entry] !== (addressLow & ~0xfff) || this.#codeStores[entry + 1] !== (addressHigh | 0))
      return -1;
    const page = this.#codeStores[entry + 2] >>> 0;
    return this.#core.hasCode(page) ? page + (addressLow & 0xfff) : -1;
  }

  #setEntry(at: number, tagLow: number, tagHigh: number, valueLow: number): void {
    const i32 = this.#i32;
    const index = at >> 2;
    const { global } = this.#walk;
    if (global) {
      if (this.#globalCount < REMEMBERED) this.#globals[this.#globalCount] = at;
      this.#globalCount++;
    } else {
      if (this.#filledCount < REMEMBERED) this.#filled[this.#filledCount] = at;
      this.#filledCount++;
    }
    i32[index] = tagLow;
    i32[index + 1] = tagHigh;
    i32[index + 2] = valueLow;
    i32[index + 3] = global ? 1 : 0;
  }

  #touch(page: number): void {
    const frame = page / 4096;
    this.touchedFrames[frame >>> 5] |= 1 << (frame & 31);
  }

  #noteLarge(addressLow: number): void {
    if (this.#walk.pageShift === 12) return;
    if (this.#walk.pageShift === 30) this.#hasHuge = true;
    this.#hasLarge = true;
    this.#largeRegions[addressLow >>> 22] = 1;
  }

  #clearEntry(at: number): void {
    const index = at >> 2;
    this.#i32[index] = EMPTY_LOW;
    this.#i32[index + 1] = 0;
    this.#i32[index + 3] = 0;
  }

  /** Drops every translation, or all but those of global pages (SDM Vol. 3, 4.10.2.4). */
  flushTlb(keepGlobal = false): void {
    this.#forgetCodeStores();
    if (keepGlobal) {
      if (this.#filledCount > REMEMBERED) {
        for (let at = TLB_SUPERVISOR; at < ALL_TLBS_END; at += 16) this.#clearUnlessGlobal(at);
      } else for (let i = 0; i < this.#filledCount; i++) this.#clearUnlessGlobal(this.#filled[i]);
      this.#filledCount = 0;
      return;
    }
    if (this.#filledCount > REMEMBERED || this.#globalCount > REMEMBERED) {
      for (let at = TLB_SUPERVISOR; at < ALL_TLBS_END; at += 16) this.#clearEntry(at);
    } else {
      for (let i = 0; i < this.#filledCount; i++) this.#clearEntry(this.#filled[i]);
      for (let i = 0; i < this.#globalCount; i++) this.#clearEntry(this.#globals[i]);
    }
    this.#filledCount = 0;
    this.#globalCount = 0;
    if (this.#hasLarge) this.#largeRegions.fill(0);
    this.#hasLarge = false;
    this.#hasHuge = false;
  }

  #clearUnlessGlobal(at: number): void {
    if (this.#i32[(at >> 2) + 3] === 0) this.#clearEntry(at);
  }

  // ---- Snapshots. What the TLBs hold is the machine's: a guest that changes a page table without telling goes on seeing
  // the old page until it is replaced, and whether it is must not depend on a snapshot.

  save(): Saved {
    return {
      tables: this.#tables(),
      touched: this.touchedFrames,
      largeRegions: this.#largeRegions,
      hasLarge: this.#hasLarge,
      hasHuge: this.#hasHuge,
      checkedAlignment: this.#checkedAlignment,
      codeStores: this.#codeStores,
    };
  }

  /** To be called twice: `early` before the mode is worked out, then for the tables, when nothing flushes them any more. */
  restore(saved: Saved, where: string, early: boolean): void {
    const state = record({
      tables: int32s(this.#tables().length),
      touched: uint32s(this.touchedFrames.length),
      largeRegions: bytes(this.#largeRegions.length),
      hasLarge: flag,
      hasHuge: flag,
      checkedAlignment: flag,
      codeStores: int32s(this.#codeStores.length),
    })(saved, where);
    this.#checkedAlignment = state.checkedAlignment;
    if (early) return;
    this.#checkTables(state.tables, `${where}.tables`);
    this.#tables().set(state.tables);
    this.#filledCount = this.#globalCount = REMEMBERED + 1; // which they are is not known: the next flush looks at all
    this.touchedFrames.set(state.touched);
    this.#largeRegions.set(state.largeRegions);
    this.#hasLarge = state.hasLarge;
    this.#hasHuge = state.hasHuge;
    this.#codeStores.set(state.codeStores);
    this.#hasCodeStores = true;
  }

  #tables(): Int32Array {
    return this.#i32.subarray(TLB_SUPERVISOR >> 2, ALL_TLBS_END >> 2);
  }

  /** A translation out of a file leads to a page of RAM, or it is no translation. */
  #checkTables(tables: Int32Array, where: string): void {
    const fetches = (FETCH_TLB_SUPERVISOR - TLB_SUPERVISOR) >> 2;
    for (let i = 0; i < tables.length; i += 4) {
      if (tables[i] === EMPTY_LOW) continue;
      const page = i < fetches ? (tables[i] + tables[i + 2] - RAM) >>> 0 : tables[i + 2] >>> 0;
      if ((tables[i] & 0xfff) !== 0 || (page & 0xfff) !== 0 || page >= this.#ramSize)
        throw misfit(where, `entry ${i / 4} leads out of RAM`);
    }
  }

  /** INVLPG: drops the page of an address, all of it when it was a large one (SDM Vol. 3, 4.10.4.1). */
  flushPage(addressLow: number, addressHigh: number): void {
    if (this.#hasHuge || (this.#hasLarge && this.#largeRegions[addressLow >>> 22] !== 0)) {
      this.flushTlb(); // more than asked for, which is always allowed
      return;
    }
    this.#forgetCodeStores();
    const low = addressLow & ~0xfff;
    const data = ((low >>> 12) & (TLB_ENTRIES - 1)) * 16;
    const fetch = ((low >>> 12) & (FETCH_TLB_ENTRIES - 1)) * 16;
    const high = addressHigh | 0;
    this.#clearMatch(TLB_USER + data, low, high);
    this.#clearMatch(TLB_USER + TLB_BYTES + data, low, high);
    this.#clearMatch(TLB_SUPERVISOR + data, low, high);
    this.#clearMatch(TLB_SUPERVISOR + TLB_BYTES + data, low, high);
    this.#clearMatch(FETCH_TLB_USER + fetch, low, high);
    this.#clearMatch(FETCH_TLB_SUPERVISOR + fetch, low, high);
  }

  #forgetCodeStores(): void {
    if (this.#hasCodeStores) this.#codeStores.fill(EMPTY_LOW);
    this.#hasCodeStores = false;
  }

  #clearMatch(at: number, low: number, high: number): void {
    if (this.#i32[at >> 2] === low && this.#i32[(at >> 2) + 1] === high) this.#clearEntry(at);
  }

  /** Removes the write tags of every alias of a frame, when it gets its first decoded code. */
  dropWriteTags(gpaPage: number): void {
    const i32 = this.#i32;
    const host = (RAM + gpaPage) | 0;
    for (const table of [TLB_USER + TLB_BYTES, TLB_SUPERVISOR + TLB_BYTES]) {
      const end = (table + TLB_BYTES) >> 2;
      for (let i = table >> 2; i < end; i += 4) {
        if (i32[i] !== EMPTY_LOW && ((i32[i] + i32[i + 2]) | 0) === host) this.#clearEntry(i << 2);
      }
    }
  }

  /** To be called when CR0.AM, RFLAGS.AC or CPL changed: pages under alignment checks have no tags. */
  alignmentChanged(): void {
    const checked = this.alignmentChecked;
    if (checked && !this.#checkedAlignment) this.flushTlb();
    this.#checkedAlignment = checked;
  }

  // ---- Data breakpoints (SDM Vol. 3, 17.2.5). mov_to_dr flushes the TLB, so no tag outlives a new breakpoint.

  /** True when an enabled data breakpoint may touch this page. */
  #watched(pageLow: number, high: number): boolean {
    const i32 = this.#i32;
    const dr7 = i32[(STATE.DR >> 2) + 10];
    if ((dr7 & 0xff) === 0) return false;
    for (let n = 0; n < 4; n++) {
      if (((dr7 >> (2 * n)) & 3) === 0 || ((dr7 >> (16 + 4 * n)) & 1) === 0) continue;
      const address = i32[(STATE.DR >> 2) + 2 * n];
      if ((address & ~0xfff) === pageLow && i32[(STATE.DR >> 2) + 2 * n + 1] === (high | 0)) return true;
    }
    return false;
  }

  #matchBreakpoints(addressLow: number, addressHigh: number, size: number, write: boolean): void {
    const i32 = this.#i32;
    const dr7 = i32[(STATE.DR >> 2) + 10];
    for (let n = 0; n < 4; n++) {
      if (((dr7 >> (2 * n)) & 3) === 0) continue;
      const control = (dr7 >> (16 + 4 * n)) & 15;
      const condition = control & 3; // 1: writes, 3: reads and writes
      if ((condition & 1) === 0 || (condition === 1 && !write)) continue;
      const length = [1, 2, 8, 4][control >> 2];
      const from = (i32[(STATE.DR >> 2) + 2 * n] & ~(length - 1)) >>> 0;
      // Distance on the 64-bit circle, near 0 on either side; the upper halves differ only across a 4 GiB line.
      const carry = (addressHigh - i32[(STATE.DR >> 2) + 2 * n + 1]) | 0;
      const distance = carry * 0x1_0000_0000 + ((addressLow >>> 0) - from);
      if (distance < length && distance > -size) i32[BREAKPOINT_HITS >> 2] |= 1 << n;
    }
  }
}

/** Where #codeStores keeps the page of an address. */
function codeStoreIndex(addressLow: number, user: boolean): number {
  return 3 * (((addressLow >>> 12) & (CODE_STORES - 1)) + (user ? CODE_STORES : 0));
}

/** The largest naturally aligned bus access at `gpa` within `length` bytes. */
function pieceAt(gpa: number, length: number): 1 | 2 | 4 {
  if (gpa % 4 === 0 && length >= 4) return 4;
  return gpa % 2 === 0 && length >= 2 ? 2 : 1;
}
