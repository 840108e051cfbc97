/** FunctionMap: which code addresses begin a function, page by page, as the engine asks when it decodes.
 *
 * A kernel's symbols are virtual addresses. Its first instructions run elsewhere: at physical ones, before its page tables
 * are on. Where the loader has placed the kernel (or the guest has unpacked it), an address outside the table is looked
 * for through the kernel's segments; because something else may lie there earlier, the code found must begin as the
 * function does.
 * A kernel that unpacks itself chooses where it runs; until `place` says where, no answer is certain.
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
  #physical: readonly PhysicalRange[];
  /** How far above its linked place the kernel runs; undefined as long as it is to be told. */
  #moved: bigint | undefined;
  #isSame: (found: Uint8Array, linked: Uint8Array) => boolean = isSame;
  /** What begins in a page of virtual addresses never changes, and is asked for whenever control comes there. */
  readonly #pages = new Map<number, Map<number, number>>();

  /** `movable`: the kernel may turn out to run elsewhere. */
  constructor(functions: FunctionList, physical: readonly PhysicalRange[] = [], movable = false) {
    this.functions = functions;
    this.#addresses = functions.addresses;
    this.#physical = physical.filter(({ vaddr, paddr, size }) => vaddr !== paddr && size > 0n);
    this.#moved = movable ? undefined : 0n;
  }

  /** The kernel runs that far above its linked place, `physical` are its ranges as they came to lie, and `same` says
   * whether the code found there is the linked one. */
  place(
    moved: bigint,
    physical: readonly PhysicalRange[],
    same: (found: Uint8Array, linked: Uint8Array) => boolean,
  ): void {
    this.#moved = moved;
    this.#physical = physical.filter(({ vaddr, paddr, size }) => vaddr !== paddr && size > 0n);
    this.#isSame = same;
    this.#pages.clear();
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
      this.#collect(page - (this.#moved ?? 0n), starts);
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
        if (code !== undefined && this.#isSame(codeAt(offset, code.length), code)) early.set(offset, slot);
      }
    }
    return early.size > 0 ? early : undefined;
  }

  /** Whether the answer for a page is always the same, whatever lies there. */
  isCertain(page: bigint): boolean {
    if (this.#moved === undefined) return false;
    return !this.#physical.some(({ paddr, size }) => page + PAGE > paddr && page < paddr + size);
  }

  /** `from` and `low` are linked addresses. */
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
