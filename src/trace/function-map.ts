/** FunctionMap: which code addresses begin a function, page by page, as the engine asks when it decodes.
 *
 * A kernel's symbols are virtual addresses. Its first instructions run elsewhere: at physical ones, before its page tables
 * are on. Where the loader has placed the kernel (or the guest has unpacked it), an address outside the table is looked
 * for through the kernel's segments; because something else may lie there earlier, the code found must begin as the
 * function does.
 * May not: read guest memory by itself; whoever made it brings that along.   Next: engine/mode.ts. */

export interface FunctionList {
  /** Virtual addresses of first instructions, ascending, each once. A function's place in it is its slot. */
  readonly addresses: BigUint64Array;
  nameAt(slot: number): string;
  /** The function's first bytes, as far as they are known: how code at a physical address is told from something else. */
  codeAt?(slot: number): Uint8Array | undefined;
}

/** Where a part of the kernel lies: [paddr, paddr + size) holds what is linked at vaddr. */
export type PhysicalRange = { vaddr: bigint; paddr: bigint; size: bigint };

const PAGE = 4096n;

export class FunctionMap {
  readonly functions: FunctionList;
  readonly #addresses: BigUint64Array;
  readonly #physical: readonly PhysicalRange[];
  /** What begins in a page of virtual addresses never changes, and is asked for whenever control comes there. */
  readonly #pages = new Map<number, Map<number, number>>();

  constructor(functions: FunctionList, physical: readonly PhysicalRange[] = []) {
    this.functions = functions;
    this.#addresses = functions.addresses;
    this.#physical = physical.filter(({ vaddr, paddr, size }) => vaddr !== paddr && size > 0n);
  }

  get count(): number {
    return this.#addresses.length;
  }

  /** Functions that begin in a linear page: offset in the page → slot. `codeAt` reads bytes of that page. */
  startsIn(page: bigint, codeAt: (offset: number, length: number) => Uint8Array): Map<number, number> | undefined {
    const number = Number(page >> 12n);
    let starts = this.#pages.get(number);
    if (!starts) {
      starts = new Map<number, number>();
      this.#collect(page, starts);
      this.#pages.set(number, starts);
    }
    if (starts.size > 0) return starts;
    const early = new Map<number, number>();
    for (const { vaddr, paddr, size } of this.#physical) {
      if (page + PAGE <= paddr || page >= paddr + size) continue;
      const found = new Map<number, number>();
      this.#collect(page - paddr + vaddr, found, vaddr, vaddr + size);
      for (const [offset, slot] of found) {
        const code = this.functions.codeAt?.(slot);
        if (code !== undefined && isSame(codeAt(offset, code.length), code)) early.set(offset, slot);
      }
    }
    return early.size > 0 ? early : undefined;
  }

  /** Whether the answer for a page is always the same, whatever lies there. */
  isCertain(page: bigint): boolean {
    return !this.#physical.some(({ paddr, size }) => page + PAGE > paddr && page < paddr + size);
  }

  #collect(from: bigint, starts: Map<number, number>, low = 0n, high = 1n << 64n): void {
    for (let slot = this.#firstAt(from); slot < this.#addresses.length; slot++) {
      const address = this.#addresses[slot];
      if (address >= from + PAGE || address >= high) return;
      if (address >= low) starts.set(Number(address - from), slot);
    }
  }

  /** The first slot whose address is not below this one. */
  #firstAt(address: bigint): number {
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#addresses[middle] < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** As far as both go: a function at a page's end may have less there. */
function isSame(found: Uint8Array, code: Uint8Array): boolean {
  const length = Math.min(found.length, code.length);
  for (let i = 0; i < length; i++) if (found[i] !== code[i]) return false;
  return length > 0;
}
