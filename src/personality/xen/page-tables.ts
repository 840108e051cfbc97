/** PageTables: what a guest may write into its page tables, and what each entry holds on to.
 *
 * A present entry of level 1 needs a frame of the guest's, and a writable one needs it to be writable memory. A present
 * entry of level 2 to 4 needs a table of the level below, which is validated when its first use comes: so validating a
 * root walks everything under it. All of it is undone when one entry is refused, and only when nothing was refused are
 * the entries rewritten: the guest's kernel runs at CPL 3, so every entry gets US; an entry of level 1 that had none is
 * marked with bit 52 as the kernel's, the others get G. Root slots 256-271 are Xen's in every root.
 * Follows: xen/arch/x86/mm.c (get_page_from_l1e, promote_l*_table, mod_l*_entry), pv/mm.h (adjust_guest_l*e).
 * Differs: Xen leaves the rewriting of a refused table half done. Tables that map themselves as tables of the level below
 * (linear page tables) are refused; Linux has none.
 * May not: allocate, or use bigints: it is the busiest code of the personality.
 * Next: personality/xen/descriptors.ts. */
import { XEN_ROOT_SLOTS } from '../../layout/xen/addresses.ts';
import { PTE } from '../../x86/constants.ts';
import { EBUSY, EINVAL, EPERM } from './errno.ts';
import { FRAME, type FrameContents, FrameTypes, OWNER } from './frame-types.ts';
import { ENTRIES, type MachineMemory, slotOf } from './machine-memory.ts';

const { P, RW, US, A, D, G } = PTE;
/** What a plain guest may not set: cache attributes at level 1; those, PS and G above. Bits 0-11. */
const L1_REFUSED = PTE.PWT | PTE.PCD | PTE.PAT;
const UPPER_REFUSED = PTE.PWT | PTE.PCD | PTE.PS | PTE.G;
/** Bits of an entry's upper half: frame bits 20-39, "the guest's kernel" (bit 52), "granted by Xen" (bit 62). */
const FRAME_HIGH = 0x000f_ffff;
const GUEST_KERNEL = 1 << 20;
const GRANTED = 1 << 30;
/** A present entry stays the same mapping when only other bits than these change, in its lower and upper half. */
const SAME_L1_LOW = ~0xfff | P | RW | L1_REFUSED;
const SAME_UPPER_LOW = ~0xfff | P | UPPER_REFUSED;

const XEN_SLOTS = { first: XEN_ROOT_SLOTS.first, end: XEN_ROOT_SLOTS.last + 1 } as const;

/** Who the guest says owns the frames that it maps. */
export const PAGE_OWNER = { SELF: 0, IO: 1 } as const;

/** What else happens to frames, in other files. */
export interface OtherFrameRules {
  /** May the frame be a page of descriptors? 0 or -errno; 0 also makes its descriptors safe. */
  checkDescriptors(mfn: number): number;
  /** A read-only mapping of a page of descriptors has gone: what Xen maps because of it must go too. */
  descriptorsUnmapped(): void;
  freed(mfn: number): void;
}

export class PageTables implements FrameContents {
  readonly types: FrameTypes;
  readonly #memory: MachineMemory;
  readonly #words: Uint32Array;
  readonly #rules: OtherFrameRules;
  /** Entries 256-271 of every root, low and high words. */
  readonly xenSlots = new Uint32Array(2 * (XEN_SLOTS.end - XEN_SLOTS.first));
  /** Tables that became valid in the validation that is going on; rewritten when all of it has succeeded. */
  readonly #fresh: Int32Array;
  #freshCount = 0;
  #depth = 0;

  constructor(memory: MachineMemory, rules: OtherFrameRules) {
    this.#memory = memory;
    this.#words = memory.words;
    this.#rules = rules;
    this.types = new FrameTypes(memory.frames, this);
    this.#fresh = new Int32Array(memory.frames);
  }

  // ---- Whole tables

  promote(mfn: number, type: number): number {
    if (type === FRAME.SEGDESC) return this.#rules.checkDescriptors(mfn);
    this.types.work += ENTRIES;
    this.#depth++;
    const failed = type === FRAME.L1 ? this.#holdL1(mfn) : this.#holdUpper(mfn, type);
    this.#depth--;
    if (failed === 0) this.#fresh[this.#freshCount++] = mfn;
    if (this.#depth === 0) {
      if (failed === 0) for (let i = 0; i < this.#freshCount; i++) this.#rewrite(this.#fresh[i]);
      this.#freshCount = 0;
    }
    return failed;
  }

  demote(mfn: number, type: number): void {
    if (type === FRAME.SEGDESC) return;
    this.types.work += ENTRIES;
    if (type === FRAME.L1) this.#letGoL1(mfn, ENTRIES);
    else this.#letGoUpper(mfn, type, ENTRIES);
  }

  freed(mfn: number): void {
    this.#rules.freed(mfn);
  }

  #holdL1(mfn: number): number {
    const words = this.#words;
    const first = slotOf(mfn, 0);
    for (let i = 0; i < ENTRIES; i++) {
      const low = words[first + 2 * i];
      if ((low & P) === 0) continue;
      const failed = this.#getL1(low, words[first + 2 * i + 1]);
      if (failed === 0) continue;
      this.#letGoL1(mfn, i);
      return failed;
    }
    return 0;
  }

  #letGoL1(mfn: number, end: number): void {
    const words = this.#words;
    const first = slotOf(mfn, 0);
    for (let i = 0; i < end; i++) {
      const low = words[first + 2 * i];
      if ((low & P) !== 0) this.#putL1(low);
    }
  }

  #holdUpper(mfn: number, level: number): number {
    const words = this.#words;
    const first = slotOf(mfn, 0);
    for (let i = 0; i < ENTRIES; i++) {
      if (level === FRAME.L4 && i === XEN_SLOTS.first) i = XEN_SLOTS.end;
      const low = words[first + 2 * i];
      if ((low & P) === 0) continue;
      const failed = this.#getUpper(low, words[first + 2 * i + 1], level);
      if (failed === 0) continue;
      this.#letGoUpper(mfn, level, i);
      return failed;
    }
    return 0;
  }

  #letGoUpper(mfn: number, level: number, end: number): void {
    const words = this.#words;
    const first = slotOf(mfn, 0);
    for (let i = 0; i < end; i++) {
      if (level === FRAME.L4 && i >= XEN_SLOTS.first && i < XEN_SLOTS.end) continue;
      const low = words[first + 2 * i];
      if ((low & P) !== 0) this.types.putWithType(low >>> 12);
    }
  }

  /** Makes the entries of a table that has been found right what the guest's kernel needs at CPL 3. */
  #rewrite(mfn: number): void {
    const words = this.#words;
    const first = slotOf(mfn, 0);
    const type = this.types.type[mfn];
    const add = type === FRAME.L4 ? US | A : US;
    for (let i = first; i < first + 2 * ENTRIES; i += 2) {
      const low = words[i];
      if ((low & P) === 0) continue;
      if (type === FRAME.L1) {
        words[i] = l1Low(low, words[i + 1]);
        words[i + 1] = l1High(low, words[i + 1]);
      } else words[i] = low | add;
    }
    if (type === FRAME.L4) words.set(this.xenSlots, first + 2 * XEN_SLOTS.first);
    this.#memory.frameWritten(mfn);
  }

  // ---- One entry

  /** What a present entry of level 1 holds: 0, or -errno and nothing. */
  #getL1(low: number, high: number): number {
    if ((low & L1_REFUSED) !== 0 || (high & GRANTED) !== 0) return -EINVAL;
    const types = this.types;
    const mfn = low >>> 12;
    if ((high & FRAME_HIGH) !== 0 || mfn >= types.frames) return noSuchFrame(mfn, high);
    if (types.owner[mfn] !== OWNER.GUEST) return -EBUSY;
    if ((low & RW) !== 0) {
      if (types.count[mfn] === 0) types.type[mfn] = FRAME.WRITABLE;
      else if (types.type[mfn] !== FRAME.WRITABLE) return -EBUSY;
      types.count[mfn]++;
    }
    types.refs[mfn]++;
    return 0;
  }

  #putL1(low: number): void {
    const mfn = low >>> 12;
    if ((low & RW) !== 0) this.types.putType(mfn);
    else if (this.types.type[mfn] === FRAME.SEGDESC) this.#rules.descriptorsUnmapped();
    this.types.put(mfn);
  }

  /** The same for an entry of a table of level 2 to 4. */
  #getUpper(low: number, high: number, level: number): number {
    if ((low & UPPER_REFUSED) !== 0 || (high & FRAME_HIGH) !== 0) return -EINVAL;
    return this.types.getWithType(low >>> 12, level - 1);
  }

  /** Writes the entry at `slot` of a table in use, after Xen's rules for its level. 0, or -errno and nothing changed.
   * `keepAd` keeps the old entry's A and D. */
  update(slot: number, low: number, high: number, keepAd: boolean, pageOwner: number): number {
    const level = this.types.type[slot >>> 10];
    if (level === FRAME.L1) return this.#updateL1(slot, low, high, keepAd, pageOwner);
    return pageOwner === PAGE_OWNER.SELF ? this.#updateUpper(slot, low, high, keepAd, level) : -EINVAL;
  }

  #updateL1(slot: number, low: number, high: number, keepAd: boolean, pageOwner: number): number {
    const oldLow = this.#words[slot];
    let newLow = low;
    let newHigh = high;
    if ((low & P) !== 0) {
      if ((low & L1_REFUSED) !== 0 || (high & GRANTED) !== 0) return -EINVAL;
      newLow = l1Low(low, high);
      newHigh = l1High(low, high);
      const changed = ((oldLow ^ newLow) & SAME_L1_LOW) | ((this.#words[slot + 1] ^ high) & FRAME_HIGH);
      if (changed === 0) {
        this.#write(slot, oldLow, newLow, newHigh, keepAd);
        return 0;
      }
      const failed = pageOwner === PAGE_OWNER.SELF ? this.#getL1(low, high) : this.#notIo(low, high);
      if (failed !== 0) return failed;
    }
    this.#write(slot, oldLow, newLow, newHigh, keepAd);
    if ((oldLow & P) !== 0) this.#putL1(oldLow);
    return 0;
  }

  #updateUpper(slot: number, low: number, high: number, keepAd: boolean, level: number): number {
    const index = (slot >>> 1) % ENTRIES;
    if (level === FRAME.L4 && index >= XEN_SLOTS.first && index < XEN_SLOTS.end) return -EINVAL;
    const oldLow = this.#words[slot];
    let newLow = low;
    if ((low & P) !== 0) {
      if ((low & UPPER_REFUSED) !== 0) return -EINVAL;
      newLow = low | (level === FRAME.L4 ? US | A : US);
      const changed = ((oldLow ^ newLow) & SAME_UPPER_LOW) | ((this.#words[slot + 1] ^ high) & FRAME_HIGH);
      if (changed === 0) {
        this.#write(slot, oldLow, newLow, high, keepAd);
        return 0;
      }
      const failed = this.#getUpper(low, high, level);
      if (failed !== 0) return failed;
    }
    this.#write(slot, oldLow, newLow, high, keepAd);
    if ((oldLow & P) !== 0) this.types.putWithType(oldLow >>> 12);
    return 0;
  }

  #write(slot: number, oldLow: number, low: number, high: number, keepAd: boolean): void {
    const kept = keepAd ? low | (oldLow & (A | D)) : low;
    // The CPU caches only entries that were present; a new one it finds by itself.
    if ((oldLow & P) !== 0 && ((oldLow ^ kept) | (this.#words[slot + 1] ^ high)) !== 0) this.#memory.stale = true;
    this.#memory.set(slot, kept, high);
  }

  /** The guest says that the frame is no RAM (DOMID_IO), and has been given no device. */
  #notIo(low: number, high: number): number {
    const mfn = low >>> 12;
    return (high & FRAME_HIGH) !== 0 || mfn >= this.types.frames ? noSuchFrame(mfn, high) : -EBUSY;
  }
}

const l1Low = (low: number, high: number): number =>
  (low & US) !== 0 && (high & GUEST_KERNEL) === 0 ? low | G : low | US;
const l1High = (low: number, high: number): number => ((low & US) === 0 ? high | GUEST_KERNEL : high);

/** A frame number beyond the machine: not this guest's business, or Xen's name for "none" (all ones). */
const noSuchFrame = (mfn: number, high: number): number =>
  mfn === 0xf_ffff && (high & FRAME_HIGH) === FRAME_HIGH ? -EINVAL : -EPERM;
