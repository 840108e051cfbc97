/** ELF: the file and program headers, sections, symbols and notes of both classes.
 *
 * Field names are the same in both classes, widths and places are not. Follows: System V ABI (gABI) chapters 4 and 5,
 * names as in elf.h.   Next: layout/xen-notes.ts, the notes that make an ELF a Xen or PVH kernel. */
import { bytes, struct, u8, u16, u32, u64, type ValuesOf } from './struct.ts';

const from = 'elf.h';
const typedef = true;

export const ELFCLASS32 = 1;
export const ELFCLASS64 = 2;
export const ELFDATA2LSB = 1;
export const ET_EXEC = 2;
export const ET_DYN = 3;
export const EM_386 = 3;
export const EM_X86_64 = 62;
export const PT_LOAD = 1;
export const PT_INTERP = 3;
export const PT_NOTE = 4;
export const SHT_SYMTAB = 2;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;
export const PN_XNUM = 0xffff;

export const ELF_TYPES: Record<number, string> = { 0: 'NONE', 1: 'REL', 2: 'EXEC', 3: 'DYN', 4: 'CORE' };
export const ELF_MACHINES: Record<number, string> = {
  3: '386',
  40: 'ARM',
  62: 'x86-64',
  183: 'AArch64',
  243: 'RISC-V',
};
export const SEGMENT_TYPES: Record<number, string> = {
  0: 'NULL', 1: 'LOAD', 2: 'DYNAMIC', 3: 'INTERP', 4: 'NOTE', 5: 'SHLIB', 6: 'PHDR', 7: 'TLS',
  1685382480: 'GNU_EH_FRAME', 1685382481: 'GNU_STACK', 1685382482: 'GNU_RELRO', 1685382483: 'GNU_PROPERTY',
}; // biome-ignore format: short

export const Elf64Ehdr = struct('Elf64_Ehdr', { from, typedef, size: 64 }, {
  e_ident:     bytes(0, 16, '7f 45 4c 46, class, data, version, OS ABI'),
  e_type:      u16(16, { values: ELF_TYPES }),
  e_machine:   u16(18, { values: ELF_MACHINES }),
  e_version:   u32(20),
  e_entry:     u64(24),
  e_phoff:     u64(32),
  e_shoff:     u64(40),
  e_flags:     u32(48),
  e_ehsize:    u16(52),
  e_phentsize: u16(54),
  e_phnum:     u16(56),
  e_shentsize: u16(58),
  e_shnum:     u16(60),
  e_shstrndx:  u16(62),
}); // biome-ignore format: a table

export const Elf32Ehdr = struct('Elf32_Ehdr', { from, typedef, size: 52 }, {
  e_ident:     bytes(0, 16, '7f 45 4c 46, class, data, version, OS ABI'),
  e_type:      u16(16, { values: ELF_TYPES }),
  e_machine:   u16(18, { values: ELF_MACHINES }),
  e_version:   u32(20),
  e_entry:     u32(24),
  e_phoff:     u32(28),
  e_shoff:     u32(32),
  e_flags:     u32(36),
  e_ehsize:    u16(40),
  e_phentsize: u16(42),
  e_phnum:     u16(44),
  e_shentsize: u16(46),
  e_shnum:     u16(48),
  e_shstrndx:  u16(50),
}); // biome-ignore format: a table

export const Elf64Phdr = struct('Elf64_Phdr', { from, typedef, size: 56 }, {
  p_type:   u32(0, { values: SEGMENT_TYPES }),
  p_flags:  u32(4, { bits: ['X', 'W', 'R'] }),
  p_offset: u64(8),
  p_vaddr:  u64(16),
  p_paddr:  u64(24),
  p_filesz: u64(32),
  p_memsz:  u64(40),
  p_align:  u64(48),
}); // biome-ignore format: a table

export const Elf32Phdr = struct('Elf32_Phdr', { from, typedef, size: 32 }, {
  p_type:   u32(0, { values: SEGMENT_TYPES }),
  p_offset: u32(4),
  p_vaddr:  u32(8),
  p_paddr:  u32(12),
  p_filesz: u32(16),
  p_memsz:  u32(20),
  p_flags:  u32(24, { bits: ['X', 'W', 'R'] }),
  p_align:  u32(28),
}); // biome-ignore format: a table

export const Elf64Shdr = struct('Elf64_Shdr', { from, typedef, size: 64 }, {
  sh_name:      u32(0),
  sh_type:      u32(4),
  sh_flags:     u64(8),
  sh_addr:      u64(16),
  sh_offset:    u64(24),
  sh_size:      u64(32),
  sh_link:      u32(40),
  sh_info:      u32(44),
  sh_addralign: u64(48),
  sh_entsize:   u64(56),
}); // biome-ignore format: a table

export const Elf32Shdr = struct('Elf32_Shdr', { from, typedef, size: 40 }, {
  sh_name:      u32(0),
  sh_type:      u32(4),
  sh_flags:     u32(8),
  sh_addr:      u32(12),
  sh_offset:    u32(16),
  sh_size:      u32(20),
  sh_link:      u32(24),
  sh_info:      u32(28),
  sh_addralign: u32(32),
  sh_entsize:   u32(36),
}); // biome-ignore format: a table

export const Elf64Sym = struct('Elf64_Sym', { from, typedef, size: 24 }, {
  st_name:  u32(0),
  st_info:  u8(4, 'binding << 4 | type'),
  st_other: u8(5),
  st_shndx: u16(6),
  st_value: u64(8),
  st_size:  u64(16),
}); // biome-ignore format: a table

export const Elf32Sym = struct('Elf32_Sym', { from, typedef, size: 16 }, {
  st_name:  u32(0),
  st_value: u32(4),
  st_size:  u32(8),
  st_info:  u8(12, 'binding << 4 | type'),
  st_other: u8(13),
  st_shndx: u16(14),
}); // biome-ignore format: a table

/** The same in both classes; owner and descriptor follow, each padded to 4 bytes. */
export const ElfNhdr = struct('Elf64_Nhdr', { from, typedef, size: 12 }, {
  n_namesz: u32(0, 'with the NUL'),
  n_descsz: u32(4),
  n_type:   u32(8),
}); // biome-ignore format: a table

export type ElfEhdrValues = ValuesOf<typeof Elf64Ehdr>;
export type ElfPhdrValues = ValuesOf<typeof Elf64Phdr>;
