/** A kernel's names in a snapshot, so that it can be used without the kernel's file.
 *
 * They are kept as they are at the moment of saving: of a kernel that chose its place, with the places it chose. Of one
 * that has not unpacked itself yet, nobody knows where its names will be; then the file is needed after all.
 * Next: cli/snapshot.ts. */
import { bytes, listOf, maybe, misfit, record, type Saved, text, uint32s, whole, wide } from '../base/saved.ts';
import type { SymbolTable } from '../machine/machine.ts';
import { type Binding, type SymbolSource, withRanges } from '../symbols/symbol-list.ts';
import { type KernelSymbol, Symtab } from '../symbols/symtab.ts';

const BINDINGS: readonly Binding[] = ['local', 'global', 'weak'];
const FUNCTION = 4;
const PER_CPU = 8;

const isSource = (table: SymbolTable): table is SymbolTable & SymbolSource => 'addressAt' in table;

/** Undefined when there are none, or none that will hold. */
export function savedSymbols(table: SymbolTable | undefined): Saved {
  if (!table || !isSource(table) || table.movable) return undefined;
  const { count } = table;
  const addresses = new Uint32Array(2 * count);
  const sizes = new Uint32Array(count);
  const kinds = new Uint8Array(count);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const address = table.addressAt(i);
    addresses[2 * i] = Number(address & 0xffff_ffffn);
    addresses[2 * i + 1] = Number((address >> 32n) & 0xffff_ffffn);
    sizes[i] = Number(table.sizeAt?.(i) ?? 0n);
    kinds[i] =
      BINDINGS.indexOf(table.bindingAt(i)) +
      (table.isFunctionAt(i) ? FUNCTION : 0) +
      (i < table.perCpuCount ? PER_CPU : 0);
    names.push(table.nameAt(i));
  }
  const physical = table.physical?.map(({ vaddr, paddr, memsz }) => ({ vaddr, paddr, memsz }));
  return { addresses, sizes, kinds, names: names.join('\n'), physical };
}

export function restoredSymbols(saved: Saved, where = 'symbols'): SymbolSource {
  const ranges = listOf(record({ vaddr: wide, paddr: wide, memsz: whole() }));
  const shape = { addresses: uint32s(), sizes: uint32s(), kinds: bytes(), names: text, physical: maybe(ranges) };
  const { addresses, sizes, kinds, names: joined, physical } = record(shape)(saved, where);
  const names = joined === '' ? [] : joined.split('\n');
  const count = kinds.length;
  if (names.length !== count || sizes.length !== count || addresses.length !== 2 * count)
    throw misfit(where, `${names.length} names, ${sizes.length} sizes, ${count} kinds`);
  const symbols = names.map((name, i): KernelSymbol => {
    const binding = BINDINGS[kinds[i] & 3] ?? 'local';
    return {
      name,
      address: (BigInt(addresses[2 * i + 1]) << 32n) | BigInt(addresses[2 * i]),
      size: BigInt(sizes[i]),
      kind: (kinds[i] & FUNCTION) !== 0 ? 'function' : 'label',
      global: binding !== 'local',
      weak: binding === 'weak',
      perCpu: (kinds[i] & PER_CPU) !== 0,
    };
  });
  const table = new Symtab(symbols);
  return physical ? withRanges(table, physical) : table;
}
