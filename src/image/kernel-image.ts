/** KernelImage: a kernel file, taken apart and checked, with views instead of copies.
 *
 * Everything here is a value: what the headers say, and views of the file's bytes for whoever places them in memory.
 * Offsets and lengths have been checked against the file, so a reader of these types needs no bounds checks.
 * May not: write guest memory, open files, or decide how to boot (boot/ does).
 * Next: image/parse.ts, which tells the formats apart. */
import type { MultibootHeaderValues } from '../layout/multiboot.ts';
import type { SetupHeaderValues } from '../layout/setup-header.ts';

export type KernelImage = BzImage | ElfImage | MultibootAoutImage | FlatImage;
export type ImageFormat = KernelImage['format'];

type Common = {
  /** For messages: the file's name, without a claim that it can be opened again. */
  name: string;
  /** The whole file, or the whole unpacked payload. */
  bytes: Uint8Array;
  /** Oddities that do not stop a boot, one sentence each. */
  warnings: string[];
  /** Present when a Multiboot 1 header lies in the first 8192 bytes. */
  multiboot?: MultibootHeader;
};

/** A Linux bzImage or zImage. Follows Documentation/x86/boot.rst. */
export type BzImage = Common & {
  format: 'bzimage';
  /** All fields; those newer than `protocol` or behind `headerEnd` read as 0. */
  setupHeader: SetupHeaderValues;
  /** major << 8 | minor, so 0x20f is 2.15. */
  protocol: number;
  /** File offset behind the setup header; a loader copies [0x1f1, headerEnd) to the zero page and nothing else. */
  headerEnd: number;
  /** The legacy boot sector and the 16-bit setup code: what stands before the protected-mode code. */
  setupBytes: Uint8Array;
  /** File offset of the protected-mode code: (setup_sects || 4) + 1 sectors. */
  protectedModeOffset: number;
  /** From there to the end of the file; entered at +0 (32-bit) and, with XLF_KERNEL_64, at +0x200 (64-bit). */
  protectedModeBytes: Uint8Array;
  /** Loads at 1 MiB or above (LOADED_HIGH); a zImage, at 64 KiB, otherwise. */
  loadedHigh: boolean;
  /** Has the 64-bit entry (protocol 2.12 and XLF_KERNEL_64). */
  has64BitEntry: boolean;
  kernelVersion?: string;
  /** From protocol 2.08 on. */
  payload?: Payload;
  /** From protocol 2.15 on: the kernel_info block, as far as this version of us reads it. */
  kernelInfo?: { offset: number; size: number; sizeTotal: number; setupTypeMax: number };
};

export type Compression = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd' | 'none' | 'unknown';

export type Payload = {
  compression: Compression;
  /** In the file. */
  offset: number;
  /** The payload as the header gives it, size trailer included. */
  bytes: Uint8Array;
  /** The payload's last four bytes (gzip's own ISIZE, or appended by kbuild): what unpacking must give. */
  uncompressedSize: number;
};

export type ElfImage = Common & {
  format: 'elf64' | 'elf32';
  /** e_type: 2 is ET_EXEC, 3 is ET_DYN. */
  type: number;
  /** e_machine: 3 is 386, 62 is x86-64. */
  machine: number;
  /** e_entry; physical in Linux, whatever the linker script says elsewhere. */
  entry: bigint;
  segments: ElfSegment[];
  /** Empty when the file has no section table, or a damaged one (then a warning says so). */
  sections: ElfSection[];
  notes: ElfNote[];
  /** What the ELF was unpacked from. */
  unpackedFrom?: { name: string; compression: Compression };
};

export type ElfSegment = {
  index: number;
  /** p_type; see layout/elf.ts for the names. */
  type: number;
  /** p_flags: 1 execute, 2 write, 4 read. */
  flags: number;
  /** In the file. */
  offset: number;
  vaddr: bigint;
  paddr: bigint;
  filesz: number;
  memsz: number;
  align: bigint;
  /** The segment's bytes in the file: `filesz` of them for PT_LOAD, what the file has of them otherwise. */
  bytes: Uint8Array;
};

export type ElfSection = {
  index: number;
  name: string;
  type: number;
  flags: bigint;
  addr: bigint;
  offset: number;
  size: number;
  link: number;
  entsize: number;
};

export type ElfNote = {
  /** "Xen", "GNU", "Linux". */
  owner: string;
  type: number;
  /** The type's name for the owners that we know: "XEN_ELFNOTE_ENTRY". */
  name?: string;
  /** Decoded where the type says how: numbers as bigint, strings without their NUL. */
  value?: bigint | string;
  /** The descriptor as it stands in the file. */
  desc: Uint8Array;
  /** Of the note's header, in the file. */
  fileOffset: number;
  /** Index of the PT_NOTE segment; undefined when it came from a section. */
  segment?: number;
  /** The note claims more than its segment holds; `desc` is what there is. */
  truncated: boolean;
};

/** Multiboot 1. Follows the Multiboot specification 0.6.96, section 3.1. */
export type MultibootHeader = MultibootHeaderValues & {
  /** Of the header, in the file. */
  offset: number;
};

/** A file with a Multiboot header that carries its own addresses (flag bit 16). */
export type MultibootAoutImage = Common & {
  format: 'multiboot-aout';
  multiboot: MultibootHeader;
  /** Physical. */
  entry: number;
  loadAddress: number;
  /** What is loaded there. */
  loadBytes: Uint8Array;
  /** Physical address behind the zeroed part; equals the end of `loadBytes` when there is none. */
  bssEnd: number;
};

/** No format that we know: code for flat32 and flat64. */
export type FlatImage = Common & { format: 'flat' };

export function isElf(image: KernelImage): image is ElfImage {
  return image.format === 'elf64' || image.format === 'elf32';
}

/** Notes of the owner "Xen" by number; the last one counts when a kernel repeats it. */
export function xenNote(image: ElfImage, type: number): ElfNote | undefined {
  return image.notes.findLast((note) => note.owner === 'Xen' && note.type === type);
}
