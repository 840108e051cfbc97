/** Symbols from an ELF symbol table: names for addresses and addresses for names.
 *
 * Functions, objects and plain labels of the kernel's sections count; section, file and undefined symbols do not. Of several
 * names for one address a global function wins, then the first in the table. A damaged table gives fewer symbols.
 * Follows: gABI chapter 4, "Symbol Table". May not: fail; symbols are a convenience.   Next: boot/plan.ts. */
import type { ElfImage, ElfSection } from '../image/kernel-image.ts';
import { Elf32Sym, Elf64Sym, SHT_SYMTAB } from '../layout/elf.ts';
import { latin1 } from '../layout/struct.ts';

export type KernelSymbol = {
  name: string;
  /** Virtual, as the kernel is linked. */
  address: bigint;
  /** In bytes; 0 when the table does not say. */
  size: bigint;
  kind: 'function' | 'object' | 'label';
  global: boolean;
};

const KINDS: Record<number, KernelSymbol['kind']> = { 0: 'label', 1: 'object', 2: 'function' };
const LONGEST_NAME = 1024;
const SHN_LORESERVE = 0xff00;

/** All symbols, by address. Empty when the file has no symbol table. */
export function readSymtab(image: ElfImage): KernelSymbol[] {
  const symbols: KernelSymbol[] = [];
  for (const section of image.sections) {
    if (section.type === SHT_SYMTAB) readTable(image, section, symbols);
  }
  const rank = ({ global, kind }: KernelSymbol) => (global ? 0 : 2) + (kind === 'function' ? 0 : 1);
  return symbols.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : rank(a) - rank(b)));
}

function readTable({ bytes, format, sections }: ElfImage, section: ElfSection, symbols: KernelSymbol[]) {
  const Sym = format === 'elf64' ? Elf64Sym : Elf32Sym;
  const strings = sections[section.link];
  if (!strings || section.entsize !== Sym.size) return;
  const namesEnd = Math.min(strings.offset + strings.size, bytes.length);
  const end = Math.min(section.offset + section.size, bytes.length);
  for (let at = section.offset; Sym.fits(end, at); at += Sym.size) {
    const { st_name, st_info, st_shndx, st_value, st_size } = Sym.read(bytes, at);
    const kind = KINDS[st_info & 15];
    const nameAt = strings.offset + st_name;
    if (!kind || st_shndx === 0 || st_shndx >= SHN_LORESERVE || st_name === 0 || nameAt >= namesEnd) continue;
    const name = latin1(bytes.subarray(nameAt, Math.min(nameAt + LONGEST_NAME, namesEnd)));
    if (name === '') continue;
    symbols.push({ name, kind, address: BigInt(st_value), size: BigInt(st_size), global: st_info >> 4 !== 0 });
  }
}

/** What a machine asks (machine/machine.ts, SymbolTable). */
export class Symtab {
  readonly symbols: readonly KernelSymbol[];
  private readonly byName = new Map<string, KernelSymbol>();

  /** `symbols` ordered by address, as `readSymtab` gives them. */
  constructor(symbols: readonly KernelSymbol[]) {
    this.symbols = symbols;
    for (const symbol of symbols) {
      const known = this.byName.get(symbol.name);
      if (!known || (symbol.global && !known.global)) this.byName.set(symbol.name, symbol);
    }
  }

  address(name: string): bigint | undefined {
    return this.byName.get(name)?.address;
  }

  /** The symbol that covers an address. One without a size reaches to the next symbol. */
  lookup(address: bigint): { name: string; offset: bigint } | undefined {
    let low = 0;
    let high = this.symbols.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.symbols[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    // The best of the names that share the nearest address comes first among them.
    const { address: start } = this.symbols[low - 1];
    let first = low - 1;
    while (first > 0 && this.symbols[first - 1].address === start) first--;
    for (const symbol of this.symbols.slice(first, low)) {
      const covers =
        symbol.size === 0n ? low < this.symbols.length || address === start : address < start + symbol.size;
      if (covers) return { name: symbol.name, offset: address - start };
    }
    return undefined;
  }
}
