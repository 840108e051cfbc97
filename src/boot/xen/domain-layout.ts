/** Where the domain builder puts things: its segments, one behind the other, in its order.
 *
 * Two cursors run side by side, one over guest frames from 0, one over virtual addresses from VIRT_BASE, so that all
 * that is mapped at first is mapped in one line. The page tables that map it lie inside of it and are part of what they
 * map; their number is found by trying. Behind the mapping's end, at a 4 MiB boundary, come an initrd and a p2m that the
 * kernel did not ask to find there: the latter with page tables of its own.
 * Follows: Xen tools/libs/guest/xg_dom_core.c (build_image) and xg_dom_x86.c (count_pgtables, alloc_pgtables).
 * May not: know frames of the machine, or write anything.   Next: boot/xen/page-tables.ts. */
import { assert } from '../../base/errors.ts';
import { alignUp } from '../../base/numbers.ts';
import { FRAME_SIZE } from '../../memory/address.ts';
import type { Pfn } from '../../memory/machine-frames.ts';
import type { XenParameters } from './parameters.ts';

export type DomainSegment = {
  name: string;
  pfn: Pfn;
  pages: number;
  /** Where the first mapping has it; undefined for what is not mapped. */
  va?: bigint;
  purpose: string;
};

/** Page tables of one level in one mapping. Level 0 holds entries for pages. Addresses are masked to the width that the
 * tables translate, and so exact as numbers. */
export type TableLevel = { from: number; to: number; tables: number; pfn: Pfn };
export type TableMap = {
  /** First and last address that is mapped. */
  from: number;
  to: number;
  levels: TableLevel[];
  tables: number;
  pfn: Pfn;
};

/** What differs between guests of 64 and 32 bits. The latter have page-table entries of 8 bytes, too. */
export type GuestWidth = { word: 4 | 8; levels: 3 | 4; mask: number };
export const WIDTH_64: GuestWidth = { word: 8, levels: 4, mask: 2 ** 48 - 1 };
export const WIDTH_32P: GuestWidth = { word: 4, levels: 3, mask: 2 ** 32 - 1 };

export type DomainLayout = {
  width: GuestWidth;
  /** In the builder's order. */
  segments: DomainSegment[];
  /** Guest frames that the builder takes altogether. */
  pages: number;
  /** The first mapping: [VIRT_BASE, virtEnd). */
  virtEnd: bigint;
  map: TableMap;
  /** The p2m's own mapping, with INIT_P2M. */
  p2mMap?: TableMap;
  segment(name: SegmentName): DomainSegment;
};
export type SegmentName =
  | 'kernel' | 'initrd' | 'p2m' | 'start_info' | 'xenstore' | 'console' | 'page tables' | 'boot stack' | 'padding'; // biome-ignore format: a list

/** Slack behind the tables that the builder plans for, beside the boot stack: 512 KiB. */
const SLACK_PAGES = 128;
const FOUR_MIB = 0x40_0000n;

/** `nrPages` is the domain's size; whether it is enough is for the caller to see. */
export function layOutDomain(
  parameters: XenParameters,
  { nrPages, initrdLength = 0, width = WIDTH_64 }: { nrPages: number; initrdLength?: number; width?: GuestWidth },
): DomainLayout {
  const { virtBase, kernelStart, kernelEnd, p2mBase, initrdUnmapped } = parameters;
  const segments: DomainSegment[] = [];
  let cursor = 0;
  const vaOf = (frame: number) => virtBase + BigInt(frame) * BigInt(FRAME_SIZE);
  const take = (name: SegmentName | 'pad', pages: number, purpose: string, mapped = true): DomainSegment => {
    const segment = { name, pfn: cursor as Pfn, pages, purpose, ...(mapped && { va: vaOf(cursor) }) };
    segments.push(segment);
    cursor += pages;
    return segment;
  };
  const pagesFor = (bytes: number) => alignUp(bytes, FRAME_SIZE) / FRAME_SIZE;

  const below = Number(kernelStart - virtBase) / FRAME_SIZE;
  if (below > 0) take('pad', below, 'from VIRT_BASE to the kernel: mapped, and unused');
  take('kernel', pagesFor(Number(kernelEnd - kernelStart)), 'the kernel’s segments');
  if (initrdLength > 0 && !initrdUnmapped) take('initrd', pagesFor(initrdLength), 'initial RAM disk');
  const p2mPages = pagesFor(nrPages * width.word);
  if (p2mBase === undefined) take('p2m', p2mPages, 'machine frame of each guest frame');
  take('start_info', 1, 'what the guest is told');
  take('xenstore', 1, 'ring to the store');
  take('console', 1, 'ring to the console');
  const { end, tables } = sizeTables(virtBase, vaOf(cursor), width);
  const map = tableMap(virtBase, end, cursor, width);
  assert(map.tables === tables, 'the tables that were counted are those that are made');
  take('page tables', tables, 'map all of this, themselves read-only');
  take('boot stack', 1, 'first stack');
  const virtEnd = end + 1n;
  const rest = Number(virtEnd - vaOf(cursor)) / FRAME_SIZE;
  if (rest > 0) take('padding', rest, 'to the end of the mapping, a multiple of 4 MiB');
  if (initrdLength > 0 && initrdUnmapped) take('initrd', pagesFor(initrdLength), 'initial RAM disk', false);
  let p2mMap: TableMap | undefined;
  if (p2mBase !== undefined) {
    const last = p2mBase + BigInt(p2mPages * FRAME_SIZE) - 1n;
    p2mMap = tableMap(p2mBase, last, cursor + p2mPages, width, map);
    const purpose = `machine frame of each guest frame, then ${p2mMap.tables} page tables that map it`;
    const p2m = take('p2m', p2mPages + p2mMap.tables, purpose, false);
    p2m.va = p2mBase;
  }
  return {
    width, segments, pages: cursor, virtEnd, map, p2mMap,
    segment(name) {
      const found = segments.find((one) => one.name === name);
      assert(found, `the layout has a segment ${name}`);
      return found;
    },
  }; // biome-ignore format: short
}

/** The loop of alloc_pgtables: tables map themselves and what follows, so their number depends on itself. */
function sizeTables(virtBase: bigint, at: bigint, width: GuestWidth): { end: bigint; tables: number } {
  const extra = 1 + SLACK_PAGES;
  for (let pages = extra; ; ) {
    const end = (at + BigInt(pages * FRAME_SIZE)) | (FOUR_MIB - 1n);
    const { tables } = tableMap(virtBase, end, 0, width);
    pages = tables + extra;
    if (at + BigInt(pages * FRAME_SIZE) <= end + 1n) return { end, tables };
  }
}

/** Bytes that a table of a level translates: 2 MiB for level 0. */
export const tableReach = (level: number): number => 2 ** (12 + 9 * (level + 1));

/** The tables that map [from, to], the highest level first in guest frames. A second mapping uses what the first has. */
export function tableMap(
  from: bigint,
  to: bigint,
  firstPfn: number,
  { levels, mask }: GuestWidth,
  first?: TableMap,
): TableMap {
  const masked = (va: bigint) => Number(BigInt.asUintN(levels === 4 ? 48 : 32, va));
  const map: TableMap = { from: masked(from), to: masked(to), levels: [], tables: 0, pfn: firstPfn as Pfn };
  for (let level = levels - 1; level >= 0; level--) {
    const reach = tableReach(level);
    let [low, high] = [Math.floor(map.from / reach) * reach, Math.floor(map.to / reach) * reach + reach - 1];
    if (level === levels - 1) [low, high] = [0, mask];
    // A 32-bit kernel keeps its own part of the address space in the fourth directory, whatever is mapped at first.
    if (levels === 3 && level === 1 && map.to < 0xc000_0000) high = mask;
    const shared = first?.levels[level];
    // The p2m lies below VIRT_BASE: tables can only be shared at its end.
    if (shared && high >= shared.from) high = shared.from - 1;
    const tables = level === levels - 1 ? (first ? 0 : 1) : Math.max(0, (high - low + 1) / reach);
    map.levels[level] = { from: low, to: high, tables, pfn: (firstPfn + map.tables) as Pfn };
    map.tables += tables;
  }
  return map;
}
