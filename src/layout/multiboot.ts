/** Multiboot 1: the header a kernel carries and the structures a loader hands over.
 *
 * Follows: Multiboot specification 0.6.96, sections 3.1 and 3.3. The header's address and video fields are only there
 * when flag bits 16 and 2 say so; the table is the full header.   Next: layout/elf.ts. */
import { struct, u8, u16, u32, u64, type ValuesOf } from './struct.ts';

const from = 'multiboot.h (Multiboot specification 0.6.96)';

export const MULTIBOOT_HEADER_MAGIC = 0x1bad_b002;
/** In EAX at entry. */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2bad_b002;
/** The header lies in the first 8192 bytes, on a multiple of 4. */
export const MULTIBOOT_SEARCH = 8192;

export const MULTIBOOT_PAGE_ALIGN = 1 << 0; // flags in the header
export const MULTIBOOT_MEMORY_INFO = 1 << 1;
export const MULTIBOOT_VIDEO_MODE = 1 << 2;
export const MULTIBOOT_AOUT_KLUDGE = 1 << 16;

export const MultibootHeader = struct('multiboot_header', { from, size: 48 }, {
  magic:         u32(0,  'must be 0x1badb002'),
  flags:         u32(4,  { bits: ['PAGE_ALIGN', 'MEMORY_INFO', 'VIDEO_MODE', ...Array(13).fill(undefined), 'AOUT_KLUDGE'] }),
  checksum:      u32(8,  'magic + flags + checksum is 0'),
  header_addr:   u32(12, 'with AOUT_KLUDGE: where the header lands'),
  load_addr:     u32(16, 'with AOUT_KLUDGE: where the loaded part begins'),
  load_end_addr: u32(20, 'with AOUT_KLUDGE: where it ends; 0 is the end of the file'),
  bss_end_addr:  u32(24, 'with AOUT_KLUDGE: end of the zeroed part; 0 is none'),
  entry_addr:    u32(28, 'with AOUT_KLUDGE: first instruction'),
  mode_type:     u32(32, 'with VIDEO_MODE: 0 graphics, 1 text'),
  width:         u32(36),
  height:        u32(40),
  depth:         u32(44),
}); // biome-ignore format: a table
export type MultibootHeaderValues = ValuesOf<typeof MultibootHeader>;

export const MULTIBOOT_INFO_MEMORY = 1 << 0; // flags in the information structure
export const MULTIBOOT_INFO_BOOTDEV = 1 << 1;
export const MULTIBOOT_INFO_CMDLINE = 1 << 2;
export const MULTIBOOT_INFO_MODS = 1 << 3;
export const MULTIBOOT_INFO_AOUT_SYMS = 1 << 4;
export const MULTIBOOT_INFO_ELF_SHDR = 1 << 5;
export const MULTIBOOT_INFO_MEM_MAP = 1 << 6;
export const MULTIBOOT_INFO_DRIVE_INFO = 1 << 7;
export const MULTIBOOT_INFO_CONFIG_TABLE = 1 << 8;
export const MULTIBOOT_INFO_BOOT_LOADER_NAME = 1 << 9;
export const MULTIBOOT_INFO_APM_TABLE = 1 << 10;
export const MULTIBOOT_INFO_VBE_INFO = 1 << 11;
export const MULTIBOOT_INFO_FRAMEBUFFER_INFO = 1 << 12;

/** What EBX points to at entry. */
export const MultibootInfo = struct('multiboot_info', { from, size: 116, reserved: [[110, 6]] }, {
  flags:              u32(0, { bits: ['MEMORY', 'BOOTDEV', 'CMDLINE', 'MODS', 'AOUT_SYMS', 'ELF_SHDR', 'MEM_MAP', 'DRIVE_INFO', 'CONFIG_TABLE', 'BOOT_LOADER_NAME', 'APM_TABLE', 'VBE_INFO', 'FRAMEBUFFER_INFO'] }),
  mem_lower:          u32(4,  'KiB of memory from 0 on'),
  mem_upper:          u32(8,  'KiB of memory from 1 MiB on, up to the first hole'),
  boot_device:        u32(12),
  cmdline:            u32(16, 'physical address'),
  mods_count:         u32(20),
  mods_addr:          u32(24, 'physical address'),
  syms_0:             u32(28, 'a.out: tabsize; ELF: num'),
  syms_1:             u32(32, 'a.out: strsize; ELF: size'),
  syms_2:             u32(36, 'addr'),
  syms_3:             u32(40, 'a.out: reserved; ELF: shndx'),
  mmap_length:        u32(44, 'in bytes'),
  mmap_addr:          u32(48, 'physical address'),
  drives_length:      u32(52),
  drives_addr:        u32(56),
  config_table:       u32(60),
  boot_loader_name:   u32(64, 'physical address'),
  apm_table:          u32(68),
  vbe_control_info:   u32(72),
  vbe_mode_info:      u32(76),
  vbe_mode:           u16(80),
  vbe_interface_seg:  u16(82),
  vbe_interface_off:  u16(84),
  vbe_interface_len:  u16(86),
  framebuffer_addr:   u64(88),
  framebuffer_pitch:  u32(96),
  framebuffer_width:  u32(100),
  framebuffer_height: u32(104),
  framebuffer_bpp:    u8(108),
  framebuffer_type:   u8(109),
}); // biome-ignore format: a table

export const MultibootModule = struct('multiboot_mod_list', { from, size: 16 }, {
  mod_start: u32(0,  'physical address'),
  mod_end:   u32(4,  'first address behind it'),
  cmdline:   u32(8,  'physical address'),
  pad:       u32(12, 'must be 0'),
}); // biome-ignore format: a table

/** `size` does not count itself; entries are `size` + 4 bytes apart. */
export const MultibootMmapEntry = struct('multiboot_mmap_entry', { from, size: 24 }, {
  size: u32(0,  'bytes that follow this field: 20'),
  addr: u64(4),
  len:  u64(12),
  type: u32(20, { values: { 1: 'available', 2: 'reserved', 3: 'ACPI reclaimable', 4: 'ACPI NVS', 5: 'bad memory' } }),
}); // biome-ignore format: a table
