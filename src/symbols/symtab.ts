/** Symbols from an ELF symbol table: names for addresses and addresses for names.
 *
 * Functions, objects and plain labels of the kernel's sections count; section, file and undefined symbols do not. Which of
 * several names for one address counts, symbols/symbol-list.ts says. A damaged table gives fewer symbols.
 * Follows: gABI chapter 4, "Symbol Table". May not: fail; symbols are a convenience.   Next: symbols/kallsyms.ts. */
import type { ElfImage, ElfSection } from '../image/kernel-image.ts';
import { Elf32Sym, Elf64Sym, SHT_SYMTAB } from '../layout/elf.ts';
import { latin1 } from '../layout/struct.ts';
import { type Binding, bestName, lastNotAbove, type SymbolSource } from './symbol-list.ts';

export type KernelSymbol = {
  name: string;
  /** Virtual, as the kernel is linked. */
  address: bigint;
  /** In bytes; 0 when the table does not say. */
  size: bigint;
  kind: 'function' | 'object' | 'label';
  /** Weak ones included. */
  global: boolean;
  weak?: boolean;
  /** An offset into a per-CPU area that is linked at 0 (symbols/per-cpu.ts), and no address. */
  perCpu?: boolean;
};

const KINDS: Record<number, KernelSymbol['kind']> = { 0: 'label', 1: 'object', 2: 'function' };
const LONGEST_NAME = 1024;
const SHN_LORESERVE = 0xff00;
const STB_WEAK = 2;

/** All symbols, by address. Empty when the file has no symbol table. */
export function readSymtab(image: ElfImage): KernelSymbol[] {
  const symbols: KernelSymbol[] = [];
  for (const section of image.sections) {
    if (section.type === SHT_SYMTAB) readTable(image, section, symbols);
  }
  return symbols.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
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
    symbols.push({
      name,
      kind,
      address: BigInt(st_value),
      size: BigInt(st_size),
      global: st_info >> 4 !== 0,
      weak: st_info >> 4 === STB_WEAK,
      perCpu: sections[st_shndx]?.name === '.data..percpu' && sections[st_shndx].addr === 0n,
    });
  }
}

/** What a machine asks (machine/machine.ts, SymbolTable), over symbols that are known beforehand. */
export class Symtab implements SymbolSource {
  readonly symbols: readonly KernelSymbol[];
  readonly perCpuCount: number;
  private readonly byName = new Map<string, KernelSymbol>();

  /** `symbols` ordered by address, as `readSymtab` gives them. */
  constructor(symbols: readonly KernelSymbol[]) {
    this.symbols = symbols;
    const first = symbols.findIndex(({ perCpu }) => !perCpu);
    this.perCpuCount = first < 0 ? symbols.length : first;
    for (const symbol of symbols) {
      const known = this.byName.get(symbol.name);
      if (!known || (symbol.global && !known.global)) this.byName.set(symbol.name, symbol);
    }
  }

  get count(): number {
    return this.symbols.length;
  }
  addressAt(index: number): bigint {
    return this.symbols[index].address;
  }
  nameAt(index: number): string {
    return this.symbols[index].name;
  }
  isFunctionAt(index: number): boolean {
    return this.symbols[index].kind === 'function';
  }
  bindingAt(index: number): Binding {
    const { global, weak } = this.symbols[index];
    return weak ? 'weak' : global ? 'global' : 'local';
  }

  sizeAt(index: number): bigint {
    return this.symbols[index].size;
  }

  address(name: string): bigint | undefined {
    return this.byName.get(name)?.address;
  }

  /** The symbol that covers an address. One without a size reaches to the next symbol. */
  lookup(address: bigint): { name: string; offset: bigint } | undefined {
    const { symbols } = this;
    const last = lastNotAbove(this.perCpuCount, symbols.length, (index) => symbols[index].address > address);
    if (last < 0) return undefined;
    const start = symbols[last].address;
    let first = last;
    while (first > this.perCpuCount && symbols[first - 1].address === start) first--;
    const isLast = last === symbols.length - 1;
    const covers = (index: number) =>
      symbols[index].size === 0n ? !isLast || address === start : address < start + symbols[index].size;
    const best = bestName(this, first, last + 1, covers);
    return best < 0 ? undefined : { name: symbols[best].name, offset: address - start };
  }
}
