/** The domain's first page tables and its p2m, as bytes.
 *
 * Entries name machine frames. A page that holds a page table is mapped read-only, as Xen will insist; everything else
 * is writable. Kernel pages have no U/S bit here: Xen sets it when it validates the tables, since a 64-bit PV kernel runs
 * in ring 3. Everything is done in 32-bit halves; a bigint for each entry would cost more than all the rest.
 * Follows: Xen tools/libs/guest/xg_dom_x86.c (setup_pgtables_x86_64, get_pg_prot).   Next: boot/xen-pv.ts. */
import { AssertionError, assert } from '../../base/errors.ts';
import { FRAME_SIZE } from '../../memory/address.ts';
import type { MachineFrames } from '../../memory/machine-frames.ts';
import { PTE } from '../../x86/constants.ts';
import { type DomainLayout, type TableMap, tableReach } from './domain-layout.ts';

const UPPER = PTE.P | PTE.RW | PTE.US | PTE.A | PTE.D;
const PAGE = PTE.P | PTE.RW | PTE.A;
const READ_ONLY_PAGE = PTE.P | PTE.A;
const ENTRY_WORDS = 2;
const TABLE_WORDS = 1024;

/** The tables of the first mapping, and those of the p2m's, each in the order of their guest frames. */
export function pageTables(
  layout: DomainLayout,
  { p2m }: MachineFrames,
): { first: Uint8Array; second: Uint8Array | undefined } {
  const { map, p2mMap } = layout;
  assert(layout.width.levels === 4, 'tables are made for 64-bit guests');
  const words = [map, ...(p2mMap ? [p2mMap] : [])].map((one) => new Uint32Array(one.tables * TABLE_WORDS));
  const maps: [TableMap, Uint32Array][] = words.map((table, i) => [[map, p2mMap][i] as TableMap, table]);

  /** The word at which the entry for `va` in a table of `level` begins, in whichever mapping has that table. */
  const slot = (level: number, va: number): { table: Uint32Array; at: number } => {
    for (const [{ levels, pfn }, table] of maps) {
      const { from, tables, pfn: first } = levels[level];
      if (tables === 0 || va < from || va >= from + tables * tableReach(level)) continue;
      const number = first - pfn + Math.floor((va - from) / tableReach(level));
      const index = Math.floor((va % tableReach(level)) / (tableReach(level) / 512));
      return { table, at: number * TABLE_WORDS + index * ENTRY_WORDS };
    }
    throw new AssertionError('broken belief: every address that is mapped has a table');
  };
  const put = (table: Uint32Array, at: number, frame: number, flags: number) => {
    const mfn = p2m[frame];
    table[at] = (mfn << 12) | flags;
    table[at + 1] = mfn >>> 20;
  };

  for (const [one] of maps) {
    for (let level = 0; level < layout.width.levels - 1; level++) {
      const { from, tables, pfn } = one.levels[level];
      for (let i = 0; i < tables; i++) {
        const parent = slot(level + 1, from + i * tableReach(level));
        put(parent.table, parent.at, pfn + i, UPPER);
      }
    }
    // The first mapping shows all frames from 0 on, the second those of the p2m.
    let frame = one === map ? 0 : layout.segment('p2m').pfn;
    for (let va = one.from; va < one.to; ) {
      let { table, at } = slot(0, va);
      const end = Math.min(one.to, va - (va % tableReach(0)) + tableReach(0));
      for (; va < end; va += FRAME_SIZE, at += ENTRY_WORDS, frame++) put(table, at, frame, PAGE);
    }
  }
  // Of all tables, the guest can see those of the first mapping, in that mapping.
  for (let frame = map.pfn as number; frame < map.pfn + map.tables; frame++) {
    const { table, at } = slot(0, map.from + frame * FRAME_SIZE);
    put(table, at, frame, READ_ONLY_PAGE);
  }
  const [first, second] = words.map(({ buffer }) => new Uint8Array(buffer));
  return { first, second };
}

/** A u64 for each guest frame; the rest of the last page is zero. */
export function p2mBytes({ p2m }: MachineFrames): Uint8Array {
  const words = new Uint32Array(p2m.length * 2);
  for (let i = 0; i < p2m.length; i++) words[i * 2] = p2m[i];
  return new Uint8Array(words.buffer);
}
