/** The memory-mapped I/O bus: whatever guest physical addresses lie outside RAM.
 *
 * The engine comes here only for addresses that are not RAM. A device claims a range; everything else reads all-ones,
 * ignores writes and is counted by page. An 8-byte access arrives as two of 4 bytes, the lower one first.
 * May not: see RAM, or allocate without bound when a wild guest walks the address space.
 * Next: machine/board.ts. */
import { assert } from '../base/errors.ts';
import { float64s, record, type Saved, whole } from '../base/saved.ts';
import type { Device } from '../devices/device.ts';
import type { AbsentRange, AccessSize } from './pio-bus.ts';

/** Where a device sits in guest physical memory, or a hole that has a name. */
export type MmioRow = { at: number; length: number } & ({ device: Device } | { absent: string });

const PAGE = 4096;
/** Pages counted one by one; a guest that touches more has its other accesses counted together. */
const COUNTED_PAGES = 4096;

export class MmioBus {
  private readonly rows: readonly MmioRow[];
  private readonly absent = new Map<number, { reads: number; writes: number }>();
  private readonly others = { reads: 0, writes: 0 };

  constructor(rows: readonly MmioRow[] = []) {
    this.rows = [...rows].sort((a, b) => a.at - b.at);
    for (const [i, row] of this.rows.entries()) {
      const previous = this.rows[i - 1];
      assert(!previous || previous.at + previous.length <= row.at, 'rows of the MMIO table do not overlap');
    }
  }

  /** Reads 1, 2 or 4 bytes at a guest physical address; unsigned, no wider than `size`. */
  read(gpa: number, size: AccessSize): number {
    const row = this.rowAt(gpa);
    if (row !== undefined && 'device' in row) return truncate(row.device.read(gpa - row.at, size), size);
    this.countersOf(gpa).reads++;
    return truncate(-1, size);
  }

  write(gpa: number, size: AccessSize, value: number): void {
    const row = this.rowAt(gpa);
    if (row !== undefined && 'device' in row) row.device.write(gpa - row.at, size, truncate(value, size));
    else this.countersOf(gpa).writes++;
  }

  /** Counts of accesses without a device: page, reads, writes for each, and what is counted together. */
  save(): Saved {
    const absent = [...this.absent].flatMap(([page, { reads, writes }]) => [page, reads, writes]);
    return { absent: Float64Array.from(absent), otherReads: this.others.reads, otherWrites: this.others.writes };
  }

  restore(saved: Saved, where: string): void {
    const shape = { absent: float64s(), otherReads: whole(), otherWrites: whole() };
    const { absent, otherReads, otherWrites } = record(shape)(saved, where);
    this.absent.clear();
    for (let i = 0; i + 2 < absent.length && this.absent.size < COUNTED_PAGES; i += 3) {
      this.absent.set(absent[i], { reads: absent[i + 1], writes: absent[i + 2] });
    }
    this.others.reads = otherReads;
    this.others.writes = otherWrites;
  }

  /** Touched pages without a device, neighbours of one name merged, in order of address. */
  absentAccesses(): AbsentRange[] {
    const ranges: AbsentRange[] = [];
    for (const [page, { reads, writes }] of [...this.absent].sort(([a], [b]) => a - b)) {
      const first = page * PAGE;
      const row = this.rowAt(first);
      const name = row !== undefined && 'absent' in row ? row.absent : 'unassigned';
      const previous = ranges.at(-1);
      if (previous && previous.last + 1 === first && previous.name === name) {
        previous.last = first + PAGE - 1;
        previous.reads += reads;
        previous.writes += writes;
      } else ranges.push({ first, last: first + PAGE - 1, name, reads, writes });
    }
    const { reads, writes } = this.others;
    if (reads + writes > 0) ranges.push({ first: 0, last: 2 ** 52 - 1, name: 'elsewhere', reads, writes });
    return ranges;
  }

  private rowAt(gpa: number): MmioRow | undefined {
    for (const row of this.rows) if (gpa >= row.at && gpa < row.at + row.length) return row;
    return undefined;
  }

  private countersOf(gpa: number): { reads: number; writes: number } {
    const page = Math.floor(gpa / PAGE);
    let counters = this.absent.get(page);
    if (counters === undefined) {
      if (this.absent.size >= COUNTED_PAGES) return this.others;
      counters = { reads: 0, writes: 0 };
      this.absent.set(page, counters);
    }
    return counters;
  }
}

function truncate(value: number, size: AccessSize): number {
  return size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value >>> 0;
}
