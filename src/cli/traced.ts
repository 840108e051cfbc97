/** A kernel opened for tracing: its plan, and its names with the ELF file that they belong to.
 *
 * Whoever unpacks (host or guest), a trace needs the unpacked kernel on the host: names and first bytes of functions come
 * from there. A kernel without names is traced too, with events and without functions.
 * Next: cli/boot.ts. */
import { createHash } from 'node:crypto';
import { type BootPlan, type BootSpec, needsUnpackedKernel, planBoot } from '../boot/index.ts';
import { type ElfImage, isElf } from '../image/kernel-image.ts';
import type { TracedKernel } from '../machine/traced-run.ts';
import { movableSymbols } from '../symbols/kernel-place.ts';
import type { SymbolSource } from '../symbols/symbol-list.ts';
import { readSymtab } from '../symbols/symtab.ts';
import { openKernel, readFileBytes, unpackKernel } from './kernel-file.ts';
import { kernelSymbols, symbolsFromFile } from './symbols.ts';

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** `symbolsFile` is what --symbols names. */
export async function planTraced(
  kernel: string,
  spec: BootSpec,
  symbolsFile?: string,
): Promise<{ plan: BootPlan; kernel: TracedKernel }> {
  const image = await openKernel(kernel, spec.via);
  const unpacked = image.format === 'bzimage' && image.payload ? await unpackKernel(image) : undefined;
  const plan = planBoot(image, needsUnpackedKernel(image, spec) ? { ...spec, unpackedKernel: unpacked } : spec);
  const elf = unpacked ?? (isElf(image) ? image : undefined);
  return { plan, kernel: await tracedKernel(plan, elf, symbolsFile) };
}

const unpacksItself = ({ image, unpackedKernel }: BootPlan): boolean => image.format === 'bzimage' && !unpackedKernel;

function ownPlace(symbols: SymbolSource, elf: ElfImage, { image }: BootPlan): SymbolSource {
  return image.format === 'bzimage' ? movableSymbols(symbols, elf, image.setupHeader.kernel_alignment) : symbols;
}

/** `elf` is the kernel unpacked, whoever unpacks it in the run. */
export async function tracedKernel(
  plan: BootPlan,
  elf: ElfImage | undefined,
  symbolsFile?: string,
): Promise<TracedKernel> {
  if (symbolsFile !== undefined) {
    const symbols = symbolsFromFile(symbolsFile, await readFileBytes(symbolsFile, '--symbols'));
    return { source: 'file', symbols: elf && unpacksItself(plan) ? ownPlace(symbols, elf, plan) : symbols, elf };
  }
  const symbols = elf && kernelSymbols(plan, elf);
  if (!symbols) return { source: 'none', elf };
  return { source: readSymtab(elf).length > 0 ? 'symtab' : 'kallsyms', symbols, elf };
}
