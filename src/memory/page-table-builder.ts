/** PageTableBuilder: 4-level page tables as plain bytes, for a plan to write.
 *
 * Tables are taken one after the other from a given area, the root first. Entries are final: accessed and dirty bits
 * are left to the CPU. Upper levels are writable and executable and restrict nothing; the leaf decides.
 * Follows: SDM Vol. 3, 4.5 (4-level paging, table entry formats).
 * May not: touch guest memory; it returns bytes.   Next: boot/plan.ts. */
import { assert } from '../base/errors.ts';
import { alignDown, GiB, hex } from '../base/numbers.ts';
import { PTE } from '../x86/constants.ts';
import { type AtGpa, FRAME_SIZE, type Gva, gva } from './address.ts';

const ENTRIES = 512;
/** Bytes that one entry of level 1 (PT), 2 (PD), 3 (PDPT), 4 (PML4) covers. */
const reach = (level: number): bigint => 1n << BigInt(12 + 9 * (level - 1));
export type PageSize = 0x1000 | 0x20_0000;

/** Six tables that map [0, 4 GiB) onto itself, read-write-execute, by 2 MiB pages. */
export function identityMap4GiB(at: AtGpa): Uint8Array {
  const builder = new PageTableBuilder(at, 6);
  builder.map(gva(0n), 0, 4 * GiB, 0x20_0000, BigInt(PTE.RW));
  return builder.bytes();
}

export class PageTableBuilder {
  readonly #at: number;
  readonly #view: DataView;
  readonly #upper: bigint;
  #used = 1;

  /** Tables lie at `at` (page aligned), at most `capacity` of them. `upper` holds the bits of entries that name a
   * table, beside P. */
  constructor(at: AtGpa, capacity: number, upper: number = PTE.RW) {
    assert(at % FRAME_SIZE === 0, `page tables at ${hex(at)} are page aligned`);
    this.#at = at;
    this.#view = new DataView(new ArrayBuffer(capacity * FRAME_SIZE));
    this.#upper = BigInt(upper | PTE.P);
  }

  /** The root table's address: what CR3 takes. */
  get root(): number {
    return this.#at;
  }

  /** Maps [from, from + length) to physical `to` by pages of 4 KiB or 2 MiB. `leaf` holds the entry's bits
   * beside P and PS; it is a bigint because NX is bit 63. */
  map(from: Gva, to: AtGpa, length: number, pageSize: PageSize, leaf: bigint): void {
    assert(from % BigInt(pageSize) === 0n && to % pageSize === 0 && length % pageSize === 0, 'pages are aligned');
    const level = pageSize === 0x1000 ? 1 : 2;
    const bits = leaf | BigInt(level > 1 ? PTE.P | PTE.PS : PTE.P);
    const [low, high] = [Number(bits & 0xffff_ffffn), Number(bits >> 32n)];
    // One walk per table, then 32-bit halves: an identity map has 2048 entries, and a bigint for each costs milliseconds.
    for (let offset = 0; offset < length; ) {
      let slot = this.#slot(from + BigInt(offset), level);
      const tableEnd = alignDown(slot, FRAME_SIZE) + FRAME_SIZE;
      for (; slot < tableEnd && offset < length; slot += 8, offset += pageSize) {
        const page = to + offset;
        assert(this.#view.getUint32(slot, true) === 0, 'a page is mapped once');
        this.#view.setUint32(slot, (page | low) >>> 0, true);
        this.#view.setUint32(slot + 4, (Math.floor(page / 2 ** 32) | high) >>> 0, true);
      }
    }
  }

  /** The tables made so far, root first. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer, 0, this.#used * FRAME_SIZE);
  }

  /** Walks down to the entry of `address` at `level`, making tables on the way; returns its offset in the area. */
  #slot(address: bigint, level: number): number {
    let table = 0;
    for (let depth = 4; ; depth--) {
      const index = Number((address / reach(depth)) % BigInt(ENTRIES));
      const slot = table * FRAME_SIZE + index * 8;
      if (depth === level) return slot;
      const entry = this.#view.getBigUint64(slot, true);
      table = entry === 0n ? this.#newTable(slot) : (Number(entry & 0xf_ffff_ffff_f000n) - this.#at) / FRAME_SIZE;
    }
  }

  #newTable(slot: number): number {
    const table = this.#used++;
    assert(table * FRAME_SIZE < this.#view.byteLength, `the area at ${hex(this.#at)} has room for table ${table + 1}`);
    this.#view.setBigUint64(slot, BigInt(this.#at + table * FRAME_SIZE) | this.#upper, true);
    return table;
  }
}
