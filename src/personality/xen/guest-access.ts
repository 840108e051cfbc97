/** GuestAccess: hypercall arguments in the guest's memory, by linear address, through the kernel's root.
 *
 * Page-table calls come 50,000 times in a boot, each with one or a few 16-byte requests: so this walks the tables itself
 * and hands out 32-bit words, where the CPU's own readLinear makes a bigint for each eight bytes. Every table under the
 * root has been validated, so entries lead only to frames of the guest's. As hardware would, it sets A and D.
 * Follows: xen/arch/x86/include/asm/uaccess.h (copy_from_guest, __addr_ok); SDM Vol. 3, 4.5.
 * May not: touch Xen's own address range for a guest.   Next: personality/xen/mmu-calls.ts. */
import { XEN_AREA } from '../../layout/xen/addresses.ts';
import { PTE } from '../../x86/constants.ts';
import { type MachineMemory, slotOf } from './machine-memory.ts';

/** Upper halves of the first address that is no guest's, and of the first that is one again. */
const LOW_END_HIGH = 0x8000;
const XEN_END_HIGH = Number(XEN_AREA.end >> 32n);
const { P, RW, A, D } = PTE;
const MOST_WORDS = 64;

/** The guest kernel's root. */
export type KernelRoot = { readonly kernelRoot: number };

export class GuestAccess {
  /** What `read` has read. */
  readonly numbers = new Uint32Array(MOST_WORDS);
  readonly #memory: MachineMemory;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #root: KernelRoot;

  constructor(memory: MachineMemory, root: KernelRoot) {
    this.#memory = memory;
    this.#words = memory.words;
    this.#bytes = new Uint8Array(memory.words.buffer, memory.words.byteOffset, memory.words.byteLength);
    this.#root = root;
  }

  /** __addr_ok: canonical and not Xen's. */
  isAddressOk(address: bigint): boolean {
    return isOk(Number(address >> 32n));
  }

  /** Reads up to 64 words at any address into `numbers`. False: -EFAULT. */
  read(address: bigint, words: number): boolean {
    return this.readAt(Number(address & 0xffff_ffffn), Number(address >> 32n), words);
  }

  readAt(low: number, high: number, words: number): boolean {
    let at = -1;
    for (let i = 0; i < words; i++) {
      const here = low + 4 * i;
      const offset = here & 0xfff;
      if (at < 0 || offset < 4 || offset > 0xffc) {
        at = this.translate(here, high, false);
        if (at < 0) return false;
        if (offset > 0xffc) {
          const next = this.translate(here + 3, high, false);
          if (next < 0) return false;
          this.numbers[i] = this.#acrossPages(at, 0x1000 - offset, next - ((here + 3) & 0xfff));
          at = -1;
          continue;
        }
      }
      this.numbers[i] = (at & 3) === 0 ? this.#words[at / 4] : this.#unaligned(at, at + 1, at + 2, at + 3);
      at += 4;
    }
    return true;
  }

  /** Writes bytes of 32-bit values, little-endian. False: -EFAULT, and what came before the bad page is written. */
  write(address: bigint, value: number): boolean {
    const low = Number(address & 0xffff_ffffn);
    const high = Number(address >> 32n);
    for (let i = 0; i < 4; i++) {
      const at = this.translate(low + i, high, true);
      if (at < 0) return false;
      this.#bytes[at] = value >>> (8 * i);
      this.#memory.bytesWritten(at, 1);
    }
    return true;
  }

  /** Copies raw bytes, as of an instruction; how many could be read. */
  bytes(address: bigint, into: Uint8Array): number {
    const low = Number(address & 0xffff_ffffn);
    const high = Number(address >> 32n);
    for (let i = 0; i < into.length; i++) {
      const at = this.translate(low + i, high, false);
      if (at < 0) return i;
      into[i] = this.#bytes[at];
    }
    return into.length;
  }

  /** Machine address of a byte, or -1. `low` may have run over into the upper half. */
  translate(low: number, high: number, write: boolean): number {
    const carried = low >= 2 ** 32;
    const top = carried ? high + 1 : high;
    const slot = isOk(top) ? this.#leaf(low >>> 0, top, write) : -1;
    if (slot < 0) return -1;
    const entry = this.#words[slot];
    const wanted = write ? P | RW : P;
    if ((entry & wanted) !== wanted) return -1;
    this.#mark(slot, write ? A | D : A);
    return (entry >>> 12) * 4096 + (low & 0xfff);
  }

  /** The slot of the level 1 entry that is responsible for an address, present or not; -1 when no table is there. */
  entryOf(address: bigint): number {
    const high = Number(address >> 32n);
    return isOk(high) ? this.#leaf(Number(address & 0xffff_ffffn), high, false) : -1;
  }

  #leaf(low: number, high: number, write: boolean): number {
    const words = this.#words;
    const wanted = write ? P | RW : P;
    const l4 = slotOf(this.#root.kernelRoot, (high >>> 7) & 511);
    if ((words[l4] & wanted) !== wanted) return -1;
    this.#mark(l4, A);
    const l3 = slotOf(words[l4] >>> 12, ((high & 0x7f) << 2) | (low >>> 30));
    if ((words[l3] & wanted) !== wanted) return -1;
    this.#mark(l3, A);
    const l2 = slotOf(words[l3] >>> 12, (low >>> 21) & 511);
    if ((words[l2] & wanted) !== wanted) return -1;
    this.#mark(l2, A);
    return slotOf(words[l2] >>> 12, (low >>> 12) & 511);
  }

  #mark(slot: number, bits: number): void {
    const entry = this.#words[slot];
    if ((entry & bits) !== bits) this.#memory.set(slot, entry | bits, this.#words[slot + 1]);
  }

  #unaligned(a: number, b: number, c: number, d: number): number {
    const bytes = this.#bytes;
    return bytes[a] | (bytes[b] << 8) | (bytes[c] << 16) | (bytes[d] << 24);
  }

  /** A word of which `before` bytes lie at `at` and the rest at the start of another page. */
  #acrossPages(at: number, before: number, next: number): number {
    const place = (i: number) => (i < before ? at + i : next + i - before);
    return this.#unaligned(place(0), place(1), place(2), place(3));
  }
}

const isOk = (high: number): boolean => high < LOW_END_HIGH || (high >= XEN_END_HIGH && high < 2 ** 32);
