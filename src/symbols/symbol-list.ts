/** What every table of names offers, wherever it was read: rows by address, and the rule for rows that share one.
 *
 * Several names for one address are common: a section's first label beside the function there, a weak alias beside the
 * strong one. All of `symbols` chooses among them by one rule, so that a crash report and a trace never disagree:
 * functions before data, global before weak before local, then fewer leading underscores (`startup_64`, not `_text`), then
 * the shorter, then the alphabet. The table's order decides nothing: a rebuild that only shuffles it changes no name.
 * May not: know a file format.   Next: symbols/symtab.ts. */

export type Binding = 'global' | 'weak' | 'local';

/** Rows in ascending order of their addresses. */
export interface SymbolList {
  readonly count: number;
  addressAt(index: number): bigint;
  nameAt(index: number): string;
  /** STT_FUNC, or one of kallsyms' letters t, T, w and W. */
  isFunctionAt(index: number): boolean;
  bindingAt(index: number): Binding;
  /** In bytes; 0, as for all rows where this is absent, when nobody knows. */
  sizeAt?(index: number): bigint;
}

/** What is linked at `vaddr` lies at `paddr`. */
export type SymbolRange = { vaddr: bigint; paddr: bigint; memsz: number };

/** A list that answers the two questions of a machine too (machine/machine.ts, SymbolTable). */
export interface SymbolSource extends SymbolList {
  /** The symbol that covers an address, and how far behind its start the address lies. */
  lookup(address: bigint): { name: string; offset: bigint } | undefined;
  address(name: string): bigint | undefined;
  /** Rows below this index are offsets into a per-CPU area (symbols/per-cpu.ts), not addresses: they name no address, and
   * stay where they are when the kernel moves. */
  readonly perCpuCount: number;
  /** Where addresses have names beside their own: a kernel's first instructions run at physical ones. */
  readonly physical?: readonly SymbolRange[];
}

/** The table with names for the physical addresses of some ranges, too. */
export function withRanges(table: SymbolSource, moved: readonly SymbolRange[]): SymbolSource {
  return {
    count: table.count,
    perCpuCount: table.perCpuCount,
    addressAt: (index) => table.addressAt(index),
    nameAt: (index) => table.nameAt(index),
    isFunctionAt: (index) => table.isFunctionAt(index),
    bindingAt: (index) => table.bindingAt(index),
    sizeAt: (index) => table.sizeAt?.(index) ?? 0n,
    physical: moved,
    address: (name) => table.address(name),
    lookup(address) {
      const found = table.lookup(address);
      if (found) return found;
      const segment = moved.find(({ paddr, memsz }) => address >= paddr && address < paddr + BigInt(memsz));
      return segment && table.lookup(address - segment.paddr + segment.vaddr);
    },
  };
}

/** The best of the rows in [first, end), which share an address; those that `fits` refuses do not count. */
export function bestName(list: SymbolList, first: number, end: number, fits: (index: number) => boolean = () => true) {
  let best = -1;
  for (let index = first; index < end; index++) {
    if (fits(index) && (best < 0 || isBetter(list, index, best))) best = index;
  }
  return best;
}

const RANKS: Record<Binding, number> = { global: 0, weak: 1, local: 2 };

function isBetter(list: SymbolList, candidate: number, than: number): boolean {
  const rank = (index: number) => (list.isFunctionAt(index) ? 0 : 3) + RANKS[list.bindingAt(index)];
  if (rank(candidate) !== rank(than)) return rank(candidate) < rank(than);
  const a = list.nameAt(candidate);
  const b = list.nameAt(than);
  const underscores = leadingUnderscores(a) - leadingUnderscores(b);
  if (underscores !== 0) return underscores < 0;
  return a.length === b.length ? a < b : a.length < b.length;
}

function leadingUnderscores(name: string): number {
  let count = 0;
  while (name[count] === '_') count++;
  return count;
}

/** The last row of [first, end) that is not above what is looked for, or -1. */
export function lastNotAbove(first: number, end: number, isAbove: (index: number) => boolean): number {
  let low = first;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isAbove(middle)) high = middle;
    else low = middle + 1;
  }
  return low === first ? -1 : low - 1;
}
