/** Symbols that a kernel carries for itself: kallsyms, found in the image by its structure alone.
 *
 * Distributions strip their kernels and ship no System.map, but a kernel prints its own backtraces from a table in
 * .rodata. Nothing points to that table from outside, so it is recognised: 256 rising 16-bit offsets (token_index) behind
 * the 256 strings that they index (token_table), before them the markers, a rising sequence that starts with 0, before
 * those the compressed names with their count in front. Every name is then walked, and each marker has to point at the
 * name that it claims. Addresses stand before the names up to Linux 6.3, behind token_index from 6.4 on, and have to rise
 * and to lie in the kernel's own segments.
 *
 *   up to 6.3   offsets, relative_base | num_syms, names, markers, (seqs_of_names,) token_table, token_index
 *   from 6.4                             num_syms, names, markers, token_table, token_index | offsets, relative_base
 *
 * seqs_of_names, the order of the names, is there since 6.2 and in later 6.1 stable kernels.
 * Follows: Linux scripts/kallsyms.c, write_src(). Not read, and said so: kernels before 4.20, whose markers have 64 bits.
 * May not: throw for a damaged image, or search without end.   Next: symbols/kallsyms-table.ts, where a name is spelt out. */
import { alignUp, hex } from '../base/numbers.ts';
import type { ElfImage, ElfSegment } from '../image/kernel-image.ts';
import { PT_LOAD } from '../layout/elf.ts';
import { Kallsyms } from './kallsyms-table.ts';

/** A compressed name is not longer than the name, and KSYM_NAME_LEN is 512. */
const LONGEST_NAME = 512;
/** Three times what the largest configuration has. */
const MOST_SYMBOLS = 2_000_000;
/** How far before the tokens the markers may start: seqs_of_names may stand between. */
const MARKER_WINDOW = 4 * MOST_SYMBOLS;
/** Steps of searching in places that look right at first; a real kernel takes about a million. */
const BUDGET = 60_000_000;
/** Part of the addresses that must lie within the kernel's segments. */
const ENOUGH = 0.9;

export type KallsymsResult = { table: Kallsyms } | { table: undefined; why: string };

/** The table, or why there is none. */
export function findKallsyms(image: ElfImage): KallsymsResult {
  let why = 'no kallsyms_token_table was found in its segments';
  const budget = { steps: BUDGET };
  for (const segment of image.segments) {
    if (segment.type !== PT_LOAD || segment.bytes.length < 2048) continue;
    const search = new Search(image, segment, budget);
    for (const tokens of search.tokens()) {
      const names = search.names(tokens);
      const addresses = names && search.addresses(tokens, names);
      if (addresses) return { table: new Kallsyms({ bytes: segment.bytes, ...tokens, ...names, ...addresses }) };
      const place = `kallsyms_token_table at ${hex(segment.vaddr + BigInt(tokens.tokenTable))}`;
      why = names
        ? `${place} has ${names.nameOffsets.length} names, but no table of as many rising addresses beside it`
        : `${place} has no names and markers before it as Linux 4.20 and later write them`;
    }
    if (budget.steps < 0) return { table: undefined, why: 'too many places look like a kallsyms table' };
  }
  return { table: undefined, why };
}

export function readKallsyms(image: ElfImage): Kallsyms | undefined {
  return findKallsyms(image).table;
}

/** All offsets count from the start of the segment's bytes. */
type Tokens = { tokenTable: number; tokenStarts: Uint16Array; indexAt: number };
type Names = { countAt: number; nameOffsets: Uint32Array };
type Addresses = { addresses: Float64Array; perCpuCount: number; layout: 'up to 6.3' | 'from 6.4' };

class Search {
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  /** ALGN and PTR of scripts/kallsyms.c. */
  private readonly word: 4 | 8;
  private readonly inKernel: (address: number) => boolean;
  private readonly budget: { steps: number };

  constructor(image: ElfImage, { bytes }: ElfSegment, budget: { steps: number }) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.word = image.format === 'elf64' ? 8 : 4;
    this.budget = budget;
    const ranges = image.segments
      .filter(({ type, vaddr }) => type === PT_LOAD && vaddr !== 0n)
      .map(({ vaddr, memsz }) => [signed(vaddr), signed(vaddr) + memsz]);
    // One range from the lowest to the highest: the linker leaves gaps, and marks their ends.
    const low = Math.min(...ranges.map(([start]) => start));
    const high = Math.max(...ranges.map(([, end]) => end));
    this.inKernel = (address) => address >= low && address <= high;
  }

  *tokens(): Generator<Tokens> {
    const { view, word } = this;
    for (let at = 256; at + 512 <= view.byteLength; at += word) {
      // 0, then a small number: nearly every place is refused here.
      const first = view.getUint32(at, true);
      if ((first & 0xffff) !== 0 || first === 0 || first > LONGEST_NAME << 16) continue;
      const starts = this.tokenStarts(at);
      const tokenTable = starts && this.tokenTable(at, starts);
      if (tokenTable !== undefined) yield { tokenTable, tokenStarts: starts as Uint16Array, indexAt: at };
      if (this.budget.steps < 0) return;
    }
  }

  private tokenStarts(at: number): Uint16Array | undefined {
    const starts = new Uint16Array(256);
    for (let i = 1; i < 256; i++) {
      starts[i] = this.view.getUint16(at + 2 * i, true);
      const length = starts[i] - starts[i - 1];
      if (length < 1 || length > LONGEST_NAME) {
        this.budget.steps -= i;
        return undefined;
      }
    }
    return starts;
  }

  /** Where 256 strings start that end right before `indexAt` and lie as `starts` says. The last one's length is not in it. */
  private tokenTable(indexAt: number, starts: Uint16Array): number | undefined {
    const { bytes, word } = this;
    for (let length = 1; length <= LONGEST_NAME; length += word) {
      const table = Math.floor((indexAt - starts[255] - length) / word) * word;
      if (table < 0) return undefined;
      let i = 1;
      while (i < 256 && bytes[table + starts[i] - 1] === 0) i++;
      this.budget.steps -= i;
      if (i < 256) continue;
      const last = bytes.indexOf(0, table + starts[255]);
      const isPadded = last >= 0 && last < indexAt && bytes.subarray(last, indexAt).every((byte) => byte === 0);
      if (isPadded && indexAt - last <= word && this.hasNoEmptyStrings(table, starts)) return table;
    }
    return undefined;
  }

  /** Every NUL ends a token. A code that a tiny kernel has no use for is an empty string, and takes one byte. */
  private hasNoEmptyStrings(table: number, starts: Uint16Array): boolean {
    for (let i = 0; i < 255; i++) {
      for (let at = table + starts[i]; at < table + starts[i + 1] - 1; at++) if (this.bytes[at] === 0) return false;
    }
    this.budget.steps -= starts[255];
    return true;
  }

  names({ tokenTable }: Tokens): Names | undefined {
    const { view, word } = this;
    const lowest = Math.max(word, tokenTable - MARKER_WINDOW);
    for (let markers = tokenTable - word; markers >= lowest && this.budget.steps > 0; markers -= word) {
      if (view.getUint32(markers, true) !== 0) continue;
      const run = this.markerRun(markers, tokenTable);
      // Up to 256 names have a single marker, and any zero looks like it; then only names and order are between.
      if (run === 1 && tokenTable - markers > 4 * 256 + 2 * word) continue;
      const found = this.namesBefore(markers, run);
      if (found) return found;
    }
    return undefined;
  }

  /** How many numbers rise from 0 in steps that 256 names can take. What follows the markers may prolong the run. */
  private markerRun(at: number, end: number): number {
    let run = 1;
    let before = 0;
    for (let next = at + 4; next + 4 <= end; next += 4, run++) {
      const marker = this.view.getUint32(next, true);
      if (marker < before + 2 * 256 || marker > before + 256 * (LONGEST_NAME + 2)) break;
      before = marker;
    }
    this.budget.steps -= run;
    return run;
  }

  /** num_syms is a word, the names follow it, and end less than a word before the markers. */
  private namesBefore(markers: number, run: number): Names | undefined {
    const { view, word } = this;
    const longest = view.getUint32(markers + 4 * (run - 1), true) + 256 * (LONGEST_NAME + 2);
    const lowest = Math.max(word, markers - longest);
    for (let names = markers - word; names >= lowest; names -= word) {
      if (--this.budget.steps < 0) return undefined;
      const count = view.getUint32(names - word, true);
      if (count === 0 || count > MOST_SYMBOLS || Math.ceil(count / 256) > run) continue;
      if (word === 8 && view.getUint32(names - 4, true) !== 0) continue;
      const nameOffsets = this.walk(names, markers, count);
      if (nameOffsets) return { countAt: names - word, nameOffsets };
    }
    return undefined;
  }

  /** Steps from name to name; undefined when one does not fit or a marker does not point at its name. */
  private walk(names: number, markers: number, count: number): Uint32Array | undefined {
    const { bytes, view, word } = this;
    if (2 * count > markers - names) return undefined;
    // Before anything is allocated: the last marker leaves room for as many names as remain, and for no more.
    const lastChunk = markers - names - view.getUint32(markers + 4 * (Math.ceil(count / 256) - 1), true);
    const remaining = ((count - 1) & 255) + 1;
    if (lastChunk < 2 * remaining || lastChunk > remaining * (LONGEST_NAME + 2) + word) return undefined;
    const offsets = new Uint32Array(count);
    let at = names;
    for (let i = 0; i < count; i++) {
      if ((i & 255) === 0 && at - names !== view.getUint32(markers + (i >> 6), true)) {
        this.budget.steps -= i;
        return undefined;
      }
      if (at >= markers) return undefined;
      offsets[i] = at;
      let length = bytes[at++];
      // From 6.1 on a length above 127 takes a second byte; before, no name was that long.
      if (length > 0x7f) length = (length & 0x7f) | (bytes[at++] << 7);
      if (length === 0 || length > LONGEST_NAME) return undefined;
      at += length;
    }
    return at <= markers && alignUp(at, word) === markers ? offsets : undefined;
  }

  addresses({ indexAt }: Tokens, { countAt, nameOffsets }: Names): Addresses | undefined {
    const { word } = this;
    const count = nameOffsets.length;
    const offsetBytes = alignUp(4 * count, word);
    const behind = indexAt + 512;
    const before = 'up to 6.3';
    const after = 'from 6.4';
    return (
      this.offsets(countAt - word - offsetBytes, countAt - word, count, before) ??
      this.offsets(behind, behind + offsetBytes, count, after) ??
      this.pointers(countAt - word * count, count, before) ??
      this.pointers(behind, count, after)
    );
  }

  /** CONFIG_KALLSYMS_BASE_RELATIVE: 32 bits each. With KALLSYMS_ABSOLUTE_PERCPU (x86-64 with SMP, up to 6.14) what is not
   * negative is an address within the per-CPU area, and -1 is the base itself; without, all count up from the base. */
  private offsets(at: number, baseAt: number, count: number, layout: Addresses['layout']): Addresses | undefined {
    const { view } = this;
    if (at < 0 || baseAt + this.word > view.byteLength) return undefined;
    const base = this.pointer(baseAt);
    if (!this.inKernel(base)) return undefined;
    const offset = (i: number) => view.getInt32(at + 4 * i, true);
    let perCpuCount = 0;
    while (perCpuCount < count && offset(perCpuCount) >= 0) perCpuCount++;
    const perCpu = perCpuCount < count && offset(perCpuCount) === -1;
    if (!perCpu) perCpuCount = 0;
    const addresses = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      if (!perCpu) addresses[i] = base + (offset(i) >>> 0);
      else if (i < perCpuCount) addresses[i] = offset(i);
      else if (offset(i) < 0) addresses[i] = base - 1 - offset(i);
      else return undefined;
    }
    return this.checked({ addresses, perCpuCount, layout });
  }

  private pointers(at: number, count: number, layout: Addresses['layout']): Addresses | undefined {
    if (at < 0 || at + this.word * count > this.view.byteLength) return undefined;
    const addresses = Float64Array.from({ length: count }, (_, i) => this.pointer(at + this.word * i));
    const found = addresses.findIndex((address) => this.inKernel(address));
    return found < 0 ? undefined : this.checked({ addresses, perCpuCount: found, layout });
  }

  private pointer(at: number): number {
    return this.word === 8 ? signed(this.view.getBigUint64(at, true)) : this.view.getUint32(at, true);
  }

  private checked(result: Addresses): Addresses | undefined {
    const { addresses, perCpuCount } = result;
    let inside = 0;
    for (let i = 0; i < addresses.length; i++) {
      if (i !== 0 && i !== perCpuCount && addresses[i] < addresses[i - 1]) return undefined;
      if (i >= perCpuCount && this.inKernel(addresses[i])) inside++;
    }
    return inside >= ENOUGH * (addresses.length - perCpuCount) && inside > 0 ? result : undefined;
  }
}

/** A canonical address as a double: exact, and in order. */
function signed(address: bigint): number {
  return Number(BigInt.asIntN(64, address));
}
