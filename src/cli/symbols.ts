/** Symbols for a run: from the kernel itself, or from a file with --symbols.
 *
 * A kernel that was not stripped has an ELF symbol table; any other carries kallsyms, which is nearly as good.
 * A kernel's symbols are virtual addresses, but its first instructions run at physical ones, before its page tables are
 * on. Where the loader placed the kernel itself, an address that is nowhere in the table is looked for a second time as a
 * physical one, through the segments.
 * May not: fail because a kernel has no symbols; only a file that was asked for must have some.
 * Next: cli/boot.ts. */
import { BootError, VmError } from '../base/errors.ts';
import type { BootPlan } from '../boot/plan.ts';
import type { BzImage, ElfImage, ElfSegment } from '../image/kernel-image.ts';
import { isElf } from '../image/kernel-image.ts';
import { parseKernel } from '../image/parse.ts';
import { unpackKernel } from '../image/unpack-kernel.ts';
import { findKallsyms } from '../symbols/kallsyms.ts';
import { movableSymbols } from '../symbols/kernel-place.ts';
import { type SymbolSource, withRanges } from '../symbols/symbol-list.ts';
import { type KernelSymbol, readSymtab, Symtab } from '../symbols/symtab.ts';
import { nodeUnpackers } from './host.ts';

/** The symbols of the kernel that a plan boots; undefined when it has none. A bzImage is unpacked for it if need be, unless
 * somebody has done so already. */
export function kernelSymbols(
  { image, unpackedKernel }: Pick<BootPlan, 'image' | 'unpackedKernel'>,
  known?: ElfImage,
): SymbolSource | undefined {
  const loaded = unpackedKernel ?? (isElf(image) ? image : undefined);
  if (loaded) {
    const { table } = elfSymbols(loaded);
    return table && withPhysical(table, loaded.segments);
  }
  // The guest unpacks itself, to a place of its own choice.
  if (image.format !== 'bzimage') return undefined;
  const unpacked = known ?? tryUnpack(image);
  const table = unpacked && elfSymbols(unpacked).table;
  return table && movableSymbols(table, unpacked, image.setupHeader.kernel_alignment);
}

/** A guest that unpacks itself may know better than we what its payload is. */
function tryUnpack(image: BzImage): ElfImage | undefined {
  if (!image.payload) return undefined;
  try {
    return unpackKernel(image, nodeUnpackers);
  } catch (error) {
    if (error instanceof VmError) return undefined;
    throw error;
  }
}

/** --symbols FILE: an ELF file with a symbol table or kallsyms, a bzImage with such a file in it, or a System.map. */
export function symbolsFromFile(name: string, bytes: Uint8Array): SymbolSource {
  const image = parseKernel(name, bytes);
  const elf = isElf(image) ? image : image.format === 'bzimage' ? unpackKernel(image, nodeUnpackers) : undefined;
  const found = elf ? elfSymbols(elf) : systemMapSymbols(bytes);
  if (found.table) return found.table;
  throw new BootError({
    what: `${name} has no symbols`,
    where: `--symbols ${name}`,
    why: found.why,
    fix: 'give the vmlinux that was not stripped, a kernel with CONFIG_KALLSYMS=y, or System.map',
  });
}

type Found = { table: SymbolSource } | { table: undefined; why: string };

function elfSymbols(elf: ElfImage): Found {
  const symbols = readSymtab(elf);
  if (symbols.length > 0) return { table: new Symtab(symbols) };
  const kallsyms = findKallsyms(elf);
  if (kallsyms.table) return kallsyms;
  return { table: undefined, why: `${elf.name} has no symbol table, and no kallsyms: ${kallsyms.why}` };
}

const LINE = /^([0-9a-f]{8,16}) ([a-zA-Z]) (\S+)/;

function systemMapSymbols(bytes: Uint8Array): Found {
  const symbols: KernelSymbol[] = [];
  for (const line of new TextDecoder('latin1').decode(bytes).split('\n')) {
    const match = LINE.exec(line);
    if (!match) continue;
    const [, address, type, name] = match;
    const kind = /[tw]/i.test(type) ? 'function' : 'object';
    symbols.push({
      name,
      address: BigInt(`0x${address}`),
      size: 0n,
      kind,
      global: type !== type.toLowerCase(),
      weak: /[vw]/i.test(type),
    });
  }
  symbols.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  const named = (wanted: string) => symbols.find(({ name }) => name === wanted)?.address;
  const perCpuEnd = named('__per_cpu_start') === 0n ? named('__per_cpu_end') : undefined;
  for (const symbol of symbols) symbol.perCpu = perCpuEnd !== undefined && symbol.address <= perCpuEnd;
  if (symbols.length > 0) return { table: new Symtab(symbols) };
  return { table: undefined, why: 'no line reads as in System.map: address, type, name' };
}

const PT_LOAD = 1;

function withPhysical(table: SymbolSource, segments: readonly ElfSegment[]): SymbolSource {
  const moved = segments.filter(({ type, vaddr, paddr, memsz }) => type === PT_LOAD && vaddr !== paddr && memsz > 0);
  return withRanges(table, moved);
}
