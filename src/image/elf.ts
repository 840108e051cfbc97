/** ELF kernels of both classes: what to load, where to enter, what sections there are.
 *
 * Program headers are believed only after a check against the file; a PT_LOAD that does not fit is an error, because it would
 * be loaded. The section table is a convenience (symbols, names): when it is damaged, that is a warning.
 * Follows: System V ABI (gABI), chapters 4 and 5.   Next: image/elf-notes.ts. */
import { ImageError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import * as elf from '../layout/elf.ts';
import { latin1 } from '../layout/struct.ts';
import { cutOff, damaged } from './damage.ts';
import { readNotes } from './elf-notes.ts';
import type { ElfImage, ElfSection, ElfSegment } from './kernel-image.ts';
import { findMultiboot } from './multiboot.ts';

/** The tables of one class; field names are the same in both, and reading gives numbers in one, bigints in the other. */
const CLASSES = {
  [elf.ELFCLASS32]: { format: 'elf32', Ehdr: elf.Elf32Ehdr, Phdr: elf.Elf32Phdr, Shdr: elf.Elf32Shdr },
  [elf.ELFCLASS64]: { format: 'elf64', Ehdr: elf.Elf64Ehdr, Phdr: elf.Elf64Phdr, Shdr: elf.Elf64Shdr },
} as const;
type ElfClass = (typeof CLASSES)[1 | 2];

export function looksLikeElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Takes a file for which `looksLikeElf` holds. */
export function parseElf(name: string, bytes: Uint8Array): ElfImage {
  if (bytes.length < 16) throw cutOff(name, 'e_ident', 16, bytes.length);
  const elfClass = CLASSES[bytes[4] as 1 | 2] as ElfClass | undefined;
  if (!elfClass) throw damaged(name, 'EI_CLASS (0x4)', `class ${bytes[4]} is neither 1 (32-bit) nor 2 (64-bit)`);
  if (bytes[5] !== elf.ELFDATA2LSB) {
    throw damaged(name, 'EI_DATA (0x5)', `byte order ${bytes[5]} is not 1 (little-endian), and x86 has no other`);
  }
  const { Ehdr, format } = elfClass;
  if (!Ehdr.fits(bytes.length)) throw cutOff(name, 'the ELF header', Ehdr.size, bytes.length);
  const header = Ehdr.read(bytes);
  checkMachine(name, header.e_machine, header.e_type);
  const warnings: string[] = [];
  const segments = readSegments(name, bytes, elfClass, header, warnings);
  const sections = readSections(bytes, elfClass, header, warnings);
  return {
    format,
    name,
    bytes,
    warnings,
    type: header.e_type,
    machine: header.e_machine,
    entry: BigInt(header.e_entry),
    segments,
    sections,
    notes: readNotes(bytes, segments, sections, warnings),
    multiboot: findMultiboot(bytes),
  };
}

function checkMachine(name: string, machine: number, type: number) {
  if (machine !== elf.EM_386 && machine !== elf.EM_X86_64) {
    throw new ImageError({
      what: `${name} is not an x86 kernel`,
      where: `${name}, e_machine (0x12)`,
      why: `it is for machine ${machine}${elf.ELF_MACHINES[machine] ? ` (${elf.ELF_MACHINES[machine]})` : ''}; x86 is 3 (386) or 62 (x86-64)`,
      fix: 'build it for x86',
    });
  }
  if (type !== elf.ET_EXEC && type !== elf.ET_DYN) {
    throw new ImageError({
      what: `${name} is not an executable ELF file`,
      where: `${name}, e_type (0x10)`,
      why: `its type is ${type}${elf.ELF_TYPES[type] ? ` (${elf.ELF_TYPES[type]})` : ''}; a kernel is 2 (EXEC) or 3 (DYN)`,
      fix: 'link it',
    });
  }
}

type Header = { e_phoff: number | bigint; e_phnum: number; e_phentsize: number } & {
  e_shoff: number | bigint;
  e_shnum: number;
  e_shentsize: number;
  e_shstrndx: number;
};

function readSegments(
  name: string,
  bytes: Uint8Array,
  { Phdr }: ElfClass,
  header: Header,
  warnings: string[],
): ElfSegment[] {
  const { e_phnum: count, e_phentsize: entrySize } = header;
  if (count === 0) throw nothingToLoad(name, 'it has no program headers');
  if (count === elf.PN_XNUM) throw damaged(name, 'e_phnum', 'more than 65534 program headers are not known here');
  if (entrySize !== Phdr.size)
    throw damaged(name, 'e_phentsize', `a program header has ${entrySize} bytes instead of ${Phdr.size}`);
  const start = Number(header.e_phoff);
  const end = start + count * entrySize;
  if (end > bytes.length)
    throw cutOff(name, `the table of ${count} program headers at ${hex(header.e_phoff)}`, end, bytes.length);

  const segments = Array.from({ length: count }, (_, index): ElfSegment => {
    const row = Phdr.read(bytes, start + index * entrySize);
    const offset = Number(row.p_offset);
    const filesz = Number(row.p_filesz);
    const memsz = Number(row.p_memsz);
    const what = `segment ${index} (${elf.SEGMENT_TYPES[row.p_type] ?? hex(row.p_type)})`;
    if (row.p_type === elf.PT_LOAD) {
      if (offset + filesz > bytes.length) throw cutOff(name, what, offset + filesz, bytes.length);
      if (filesz > memsz)
        throw damaged(name, what, `it has ${hex(filesz)} bytes in the file and only ${hex(memsz)} in memory`);
      if (memsz > 2 ** 48) throw damaged(name, what, `it would take ${hex(row.p_memsz)} bytes of memory`);
    } else if (offset + filesz > bytes.length) {
      warnings.push(`${what} ends at ${hex(offset + filesz)}, behind the file's end at ${hex(bytes.length)}`);
    }
    return {
      index,
      type: row.p_type,
      flags: row.p_flags,
      offset,
      vaddr: BigInt(row.p_vaddr),
      paddr: BigInt(row.p_paddr),
      filesz,
      memsz,
      align: BigInt(row.p_align),
      bytes: bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + filesz, bytes.length)),
    };
  });
  if (!segments.some(({ type, memsz }) => type === elf.PT_LOAD && memsz > 0))
    throw nothingToLoad(name, 'none of its segments is loaded');
  return segments;
}

function nothingToLoad(name: string, why: string): ImageError {
  return new ImageError({
    what: `${name} has nothing to load`,
    where: `${name}, program headers`,
    why,
    fix: 'use the linked kernel (vmlinux), not an object file or a module',
  });
}

function readSections(bytes: Uint8Array, { Shdr }: ElfClass, header: Header, warnings: string[]): ElfSection[] {
  const { e_shnum: count, e_shentsize: entrySize, e_shstrndx: namesIndex } = header;
  const start = Number(header.e_shoff);
  if (count === 0 || start === 0) return [];
  if (entrySize !== Shdr.size || start + count * entrySize > bytes.length) {
    warnings.push(
      `the section table (${count} entries of ${entrySize} bytes at ${hex(start)}) does not fit and is ignored`,
    );
    return [];
  }
  const rows = Array.from({ length: count }, (_, index) => Shdr.read(bytes, start + index * entrySize));
  const names = rows[namesIndex];
  const namesStart = names ? Number(names.sh_offset) : 0;
  const namesEnd = names ? Math.min(namesStart + Number(names.sh_size), bytes.length) : 0;
  return rows.map((row, index) => ({
    index,
    name:
      namesStart + row.sh_name < namesEnd
        ? latin1(bytes.subarray(namesStart + row.sh_name, Math.min(namesStart + row.sh_name + 256, namesEnd)))
        : '',
    type: row.sh_type,
    flags: BigInt(row.sh_flags),
    addr: BigInt(row.sh_addr),
    offset: Number(row.sh_offset),
    size: Number(row.sh_size),
    link: row.sh_link,
    entsize: Number(row.sh_entsize),
  }));
}
