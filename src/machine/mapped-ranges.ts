/** mappedRanges: what a set of page tables maps, as runs of linear addresses with equal rights.
 *
 * A walk over all present entries, without following one table twice for one range. Runs join where addresses go on and
 * rights are the same; what they map to is left out, since it differs between loaders on purpose. Bounded: at most so many
 * entries are looked at, and a table that points to itself is followed as deep as there are levels and no deeper.
 * Follows: SDM Vol. 3, 4.3-4.5.   May not: set accessed bits.   Next: machine/leftovers.ts. */

export type MappedRange = { from: bigint; to: bigint; rights: string };

const MOST_ENTRIES = 200_000;
const MOST_RANGES = 512;
const FRAME = 0x000f_ffff_ffff_f000n;
/** Root slots that belong to Xen under PV: its window onto the machine. */
export const XEN_SLOTS: ReadonlySet<number> = new Set(Array.from({ length: 16 }, (_, n) => 256 + n));

type Level = { shift: bigint; entries: number; bytes: 4 | 8; large: boolean };
const LEVELS: Record<string, readonly Level[]> = {
  '4-level': [
    { shift: 39n, entries: 512, bytes: 8, large: false },
    { shift: 30n, entries: 512, bytes: 8, large: true },
    { shift: 21n, entries: 512, bytes: 8, large: true },
    { shift: 12n, entries: 512, bytes: 8, large: false },
  ],
  PAE: [
    { shift: 30n, entries: 4, bytes: 8, large: false },
    { shift: 21n, entries: 512, bytes: 8, large: true },
    { shift: 12n, entries: 512, bytes: 8, large: false },
  ],
  '2-level': [
    { shift: 22n, entries: 1024, bytes: 4, large: true },
    { shift: 12n, entries: 1024, bytes: 4, large: false },
  ],
};

/** `physical` reads RAM, less than asked for at its end; root entries in `skip` are not the guest's. */
export function mappedRanges(
  physical: (at: number, length: number) => Uint8Array,
  kind: '4-level' | 'PAE' | '2-level',
  cr3: bigint,
  skip: ReadonlySet<number> = new Set(),
): MappedRange[] {
  const levels = LEVELS[kind];
  const ranges: MappedRange[] = [];
  let looked = 0;
  const add = (from: bigint, to: bigint, rights: string): void => {
    const last = ranges.at(-1);
    if (last && last.to === from && last.rights === rights) last.to = to;
    else ranges.push({ from, to, rights });
  };
  const walk = (depth: number, table: number, base: bigint, writable: boolean, user: boolean, runs: boolean): void => {
    const { shift, entries, bytes, large } = levels[depth];
    const memory = physical(table, entries * bytes);
    const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    for (let n = 0; (n + 1) * bytes <= memory.byteLength && n < entries; n++) {
      if (++looked > MOST_ENTRIES || ranges.length >= MOST_RANGES) return;
      const entry = bytes === 8 ? view.getBigUint64(n * 8, true) : BigInt(view.getUint32(n * 4, true));
      if ((entry & 1n) === 0n) continue;
      if (depth === 0 && skip.has(n)) continue;
      let from = base + (BigInt(n) << shift);
      if (kind === '4-level' && depth === 0 && n >= 256) from = BigInt.asUintN(64, from | (0xffffn << 48n));
      const pdpte = kind === 'PAE' && depth === 0; // no rights of its own
      const w = pdpte ? writable : writable && (entry & 2n) !== 0n;
      const u = pdpte ? user : user && (entry & 4n) !== 0n;
      const x = runs && (bytes === 4 || entry >> 63n === 0n);
      const leaf = depth === levels.length - 1 || (large && (entry & 0x80n) !== 0n);
      if (leaf) add(from, from + (1n << shift), `r${w ? 'w' : '-'}${x ? 'x' : '-'}${u ? ' user' : ''}`);
      else walk(depth + 1, Number(entry & (bytes === 8 ? FRAME : 0xffff_f000n)), from, w, u, x);
    }
  };
  const root = Number(cr3 & (kind === 'PAE' ? 0xffff_ffe0n : kind === '2-level' ? 0xffff_f000n : FRAME));
  walk(0, root, 0n, true, true, true);
  return ranges;
}
