/** Where a kernel runs that unpacked itself: found without its help, and the names that go with the place.
 *
 * A decompressor chooses two places, or its loader has chosen one: the physical one, where it unpacks to, and the virtual
 * one, which it links the code for anew. It then jumps to the kernel's first instruction, still at a physical address. That
 * address is a multiple of the kernel's alignment plus a distance that the ELF file tells, so few addresses come into
 * question; the code there is the kernel's, and the numbers in it say how far it was moved. Whoever can stop a guest stops
 * it there. Whoever looks later (a crash, a restored machine) finds the kernel by its banner, a text that nobody patches:
 * in physical memory, and through the page tables.
 * Follows: Linux arch/x86/boot/compressed/{kaslr.c,misc.c,head_64.S}.
 * May not: read a guest by itself; it is given the means.   Next: symbols/per-cpu.ts. */
import type { ElfImage, ElfSegment } from '../image/kernel-image.ts';
import { PT_LOAD } from '../layout/elf.ts';
import { isSameCode, KERNEL_ALIGN, KERNEL_IMAGE_SIZE, relocatedBy, withOffset } from './kaslr.ts';
import { type SymbolSource, withRanges } from './symbol-list.ts';

/** How far from where it is linked: above it, except that the physical distance may be negative. */
export type KernelPlace = { virtual: bigint; physical: bigint };

/** What is asked of a machine. */
export interface MemoryView {
  /** Physical memory; less than asked for at its end. */
  physical(at: number, length: number): Uint8Array;
  /** By linear address, as the guest's page tables map it now. */
  peek(address: bigint, length: number): Uint8Array | undefined;
  readonly ramSize: number;
  readonly rip: bigint;
}

/** Names of a kernel that chooses its place: linked ones, until it is known. */
export type MovableSymbols = SymbolSource & { movable: MovableKernel };

const EXECUTABLE = 1;
/** Enough code to have relocated numbers in it. */
const CODE_BYTES = 0x1_0000;
const BANNER = 'Linux version ';
const BANNER_BYTES = 64;

export class MovableKernel {
  readonly elf: ElfImage;
  readonly #table: SymbolSource;
  readonly #align: bigint;
  readonly #loads: readonly ElfSegment[];

  /** `align` is the kernel_alignment of its setup header; `table` has the names as linked. */
  constructor(table: SymbolSource, elf: ElfImage, align = 0) {
    this.#table = table;
    this.elf = elf;
    // A place is aligned to this or more; a header that says nonsense is as good as none.
    const sane = align >= 0x1000 && align <= 0x100_0000 && (align & (align - 1)) === 0;
    this.#align = sane ? BigInt(align) : KERNEL_ALIGN;
    this.#loads = elf.segments.filter(({ type, memsz }) => type === PT_LOAD && memsz > 0);
  }

  /** Physical addresses at which the kernel's first instruction may be. */
  entries(ramSize: number): bigint[] {
    const [first] = this.#loads;
    if (!first) return [];
    const base = first.paddr;
    const inside = this.elf.entry >= base && this.elf.entry < base + BigInt(first.memsz);
    const distance = inside ? this.elf.entry - base : 0n;
    const entries: bigint[] = [];
    for (let at = base % this.#align; at < BigInt(ramSize); at += this.#align) entries.push(at + distance);
    return entries;
  }

  /** The place of a kernel whose first instruction is about to run; undefined when something else is. */
  atEntry(view: MemoryView): KernelPlace | undefined {
    const [first] = this.#loads;
    if (!first) return undefined;
    const { entry } = this.elf;
    const known = entry >= first.paddr && entry < first.paddr + BigInt(first.memsz) ? entry : first.paddr;
    return this.#atPhysical(view.rip - known, view);
  }

  /** The place of a kernel that has been running for a while. */
  now(view: MemoryView): KernelPlace | undefined {
    const banner = this.#banner();
    const [first] = this.#loads;
    if (!banner || !first) return undefined;
    const isIt = (bytes: Uint8Array | undefined) => bytes !== undefined && isEqual(bytes, banner.bytes);
    let physical: bigint | undefined;
    for (let at = first.paddr % this.#align; at < BigInt(view.ramSize); at += this.#align) {
      if (!isIt(view.physical(Number(at - first.paddr + banner.paddr), banner.bytes.length))) continue;
      physical = at - first.paddr;
      break;
    }
    if (physical === undefined) return undefined;
    for (let virtual = 0n; virtual < KERNEL_IMAGE_SIZE; virtual += this.#align) {
      if (isIt(view.peek(banner.vaddr + virtual, banner.bytes.length))) return { virtual, physical };
    }
    // Its page tables are not on yet, if it is running at all: the unpacker does before it has moved the code.
    const start = first.paddr + physical;
    const running = view.rip >= start && view.rip < start + BigInt(first.filesz);
    return running ? this.#atPhysical(physical, view) : undefined;
  }

  /** The names there. Physical addresses have names, too: the kernel's first instructions run at those. */
  symbolsAt({ virtual, physical }: KernelPlace): SymbolSource {
    const ranges = this.#loads
      .filter(({ paddr, vaddr }) => paddr !== vaddr)
      .map(({ paddr, vaddr, memsz }) => ({ paddr: paddr + physical, vaddr: vaddr + virtual, memsz }));
    return withRanges(withOffset(this.#table, virtual), ranges);
  }

  #atPhysical(physical: bigint, view: MemoryView): KernelPlace | undefined {
    const segment = this.#loads.find(({ flags, filesz }) => (flags & EXECUTABLE) !== 0 && filesz > 0);
    if (!segment) return undefined;
    const linked = segment.bytes.subarray(0, Math.min(CODE_BYTES, segment.filesz));
    const at = segment.paddr + physical;
    if (at < 0n) return undefined;
    const virtual = relocatedBy(linked, view.physical(Number(at), linked.length), this.#align);
    return virtual === undefined ? undefined : { virtual, physical };
  }

  /** linux_banner as it stands in the file. */
  #banner(): { vaddr: bigint; paddr: bigint; bytes: Uint8Array } | undefined {
    const vaddr = this.#table.address('linux_banner');
    const segment =
      vaddr === undefined
        ? undefined
        : this.#loads.find((each) => vaddr >= each.vaddr && vaddr < each.vaddr + BigInt(each.filesz));
    if (vaddr === undefined || !segment) return undefined;
    const offset = Number(vaddr - segment.vaddr);
    const bytes = segment.bytes.subarray(offset, Math.min(offset + BANNER_BYTES, segment.filesz));
    const isBanner = [...BANNER].every((character, i) => bytes[i] === character.charCodeAt(0));
    return isBanner ? { vaddr, paddr: vaddr - segment.vaddr + segment.paddr, bytes } : undefined;
  }
}

export function movableSymbols(table: SymbolSource, elf: ElfImage, align?: number): MovableSymbols {
  return { ...withRanges(table, []), movable: new MovableKernel(table, elf, align) };
}

/** Whether the code found at a physical address is the linked one, moved. */
export const isMovedCode = (found: Uint8Array, linked: Uint8Array, virtual: bigint): boolean => {
  const length = Math.min(found.length, linked.length);
  return length > 0 && isSameCode(linked.subarray(0, length), found.subarray(0, length), virtual);
};

const isEqual = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
