/** setup_header: what a bzImage says about itself, and what a loader answers in the same place.
 *
 * The same bytes stand at 0x1f1 of the file and at 0x1f1 of the zero page, so the table carries those offsets and
 * reading or writing takes the address of the file's or the zero page's start. The header grew with the protocol:
 * `since` is the first version that has a field, and a loader must not believe a field that is newer than the file.
 * Follows: Linux Documentation/x86/boot.rst.   Next: layout/boot-params.ts, the page around it. */
import { struct, u8, u16, u32, u64, type ValuesOf } from './struct.ts';

/** "HdrS" as a little-endian word. */
export const HDRS_MAGIC = 0x5372_6448;
export const BOOT_FLAG = 0xaa55;

export const LOADED_HIGH = 1 << 0; // loadflags
export const KEEP_SEGMENTS = 1 << 6;
export const CAN_USE_HEAP = 1 << 7;
export const XLF_KERNEL_64 = 1 << 0; // xloadflags
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;

const NONE = undefined; // a bit without a name

export const SUBARCHITECTURES = { 0: 'PC', 1: 'lguest', 2: 'Xen', 3: 'Intel MID', 4: 'CE4100' } as const;

export const SetupHeader = struct('setup_header', {
  from: 'linux/arch/x86/include/uapi/asm/bootparam.h', origin: 0x1f1, size: 0x7b,
}, {
  setup_sects:           u8(0x1f1,  { text: 'sectors of setup code behind the first; 0 means 4' }),
  root_flags:            u16(0x1f2, { text: 'nonzero mounts the root file system read-only (deprecated)' }),
  syssize:               u32(0x1f4, { text: 'protected-mode code in units of 16 bytes (2 bytes wide before 2.04)' }),
  ram_size:              u16(0x1f8, { text: 'obsolete' }),
  vid_mode:              u16(0x1fa, { values: { 65535: 'normal', 65534: 'extended', 65533: 'ask' }, text: 'video mode' }),
  root_dev:              u16(0x1fc, { text: 'default root device (deprecated)' }),
  boot_flag:             u16(0x1fe, { text: 'must be 0xaa55' }),
  jump:                  u16(0x200, { text: 'short jump over the header; its displacement tells where the header ends', since: 0x200 }),
  header:                u32(0x202, { text: 'must be 0x53726448, "HdrS"', since: 0x200 }),
  version:               u16(0x206, { text: 'boot protocol, major << 8 | minor', since: 0x200 }),
  realmode_swtch:        u32(0x208, { text: '16-bit hook', since: 0x200 }),
  start_sys_seg:         u16(0x20c, { text: 'obsolete', since: 0x200 }),
  kernel_version:        u16(0x20e, { text: 'version string, 0x200 before its place in the file', since: 0x200 }),
  type_of_loader:        u8(0x210,  { text: 'written by the loader; with 0 the kernel ignores its initrd', since: 0x200 }),
  loadflags:             u8(0x211,  { bits: ['LOADED_HIGH', 'KASLR', NONE, NONE, NONE, 'QUIET', 'KEEP_SEGMENTS', 'CAN_USE_HEAP'], since: 0x200 }),
  setup_move_size:       u16(0x212, { text: 'for protocols 2.00 and 2.01 only', since: 0x200 }),
  code32_start:          u32(0x214, { text: 'where the 32-bit code is loaded and entered from 16-bit code', since: 0x200 }),
  ramdisk_image:         u32(0x218, { text: 'initrd address, low 32 bits; written by the loader', since: 0x200 }),
  ramdisk_size:          u32(0x21c, { text: 'initrd size, low 32 bits; written by the loader', since: 0x200 }),
  bootsect_kludge:       u32(0x220, { text: 'internal', since: 0x200 }),
  heap_end_ptr:          u16(0x224, { text: 'end of the 16-bit heap, minus 0x200', since: 0x201 }),
  ext_loader_ver:        u8(0x226,  { text: 'more of the loader version', since: 0x202 }),
  ext_loader_type:       u8(0x227,  { text: 'more of the loader type', since: 0x202 }),
  cmd_line_ptr:          u32(0x228, { text: 'command line address, low 32 bits; written by the loader', since: 0x202 }),
  initrd_addr_max:       u32(0x22c, { text: 'highest address that the initrd may occupy', since: 0x203 }),
  kernel_alignment:      u32(0x230, { text: 'alignment of the load address', since: 0x205 }),
  relocatable_kernel:    u8(0x234,  { text: 'nonzero: loads at any multiple of kernel_alignment', since: 0x205 }),
  min_alignment:         u8(0x235,  { text: 'least alignment, as a power of two', since: 0x20a }),
  xloadflags:            u16(0x236, { bits: ['KERNEL_64', 'CAN_BE_LOADED_ABOVE_4G', 'EFI_HANDOVER_32', 'EFI_HANDOVER_64', 'EFI_KEXEC', '5LEVEL', '5LEVEL_ENABLED', 'MEM_ENCRYPTION'], since: 0x20c }),
  cmdline_size:          u32(0x238, { text: 'longest command line, without its NUL', since: 0x206 }),
  hardware_subarch:      u32(0x23c, { values: SUBARCHITECTURES, text: 'written by the loader', since: 0x207 }),
  hardware_subarch_data: u64(0x240, { text: 'for the subarchitecture; unused on a PC', since: 0x207 }),
  payload_offset:        u32(0x248, { text: 'compressed kernel, from the protected-mode code on', since: 0x208 }),
  payload_length:        u32(0x24c, { text: 'its length, size trailer included', since: 0x208 }),
  setup_data:            u64(0x250, { text: 'first setup_data node; written by the loader', since: 0x209 }),
  pref_address:          u64(0x258, { text: 'preferred load address', since: 0x20a }),
  init_size:             u32(0x260, { text: 'contiguous memory that the kernel needs before it knows its memory map', since: 0x20a }),
  handover_offset:       u32(0x264, { text: 'EFI handover entry', since: 0x20b }),
  kernel_info_offset:    u32(0x268, { text: 'kernel_info, from the protected-mode code on', since: 0x20f }),
}); // biome-ignore format: a table

export type SetupHeaderValues = ValuesOf<typeof SetupHeader>;

/** What each version of the protocol brought. */
export const PROTOCOLS: readonly { version: number; adds: string }[] = [
  { version: 0x200, adds: 'bzImage, initrd, and this header' },
  { version: 0x201, adds: 'heap_end_ptr' },
  { version: 0x202, adds: 'cmd_line_ptr: the command line anywhere' },
  { version: 0x203, adds: 'initrd_addr_max' },
  { version: 0x204, adds: 'syssize of four bytes' },
  { version: 0x205, adds: 'relocatable_kernel, kernel_alignment' },
  { version: 0x206, adds: 'cmdline_size' },
  { version: 0x207, adds: 'hardware_subarch, hardware_subarch_data, KEEP_SEGMENTS' },
  { version: 0x208, adds: 'payload_offset, payload_length: the least that Xen takes' },
  { version: 0x209, adds: 'setup_data' },
  { version: 0x20a, adds: 'min_alignment, pref_address, init_size' },
  { version: 0x20b, adds: 'handover_offset for EFI' },
  { version: 0x20c, adds: 'xloadflags: 64-bit entry, loading above 4 GiB' },
  { version: 0x20d, adds: 'xloadflags may name both 32- and 64-bit EFI handover' },
  { version: 0x20e, adds: 'nothing: taken back, to be read as 2.13' },
  { version: 0x20f, adds: 'kernel_info_offset' },
];
