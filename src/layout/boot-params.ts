/** boot_params, "the zero page": everything a Linux kernel learns from its loader, in 4096 bytes.
 *
 * On the Linux paths the loader fills it and passes its address in ESI or RSI; on the PVH and Xen paths the kernel fills
 * one for itself. setup_header sits in its middle.   Next: layout/hvm-start-info.ts, what PVH hands over instead.
 * Follows: Linux Documentation/x86/zero-page.rst and the header named below. */
import { SetupHeader } from './setup-header.ts';
import { array, bytes, nested, struct, u8, u16, u32, u64, type ValuesOf } from './struct.ts';

const from = 'linux/arch/x86/include/uapi/asm/bootparam.h';

/** What loaders report as RAM and what not. */
export const E820_TYPES = {
  1: 'RAM', 2: 'reserved', 3: 'ACPI reclaimable', 4: 'ACPI NVS', 5: 'unusable', 7: 'persistent',
} as const; // biome-ignore format: short
export const E820_RAM = 1;
export const E820_RESERVED = 2;
/** Entries that fit into the zero page; more go into a setup_data node. */
export const E820_MAX_ENTRIES = 128;

export const E820Entry = struct('boot_e820_entry', { from, size: 20 }, {
  addr: u64(0),
  size: u64(8),
  type: u32(16, { values: E820_TYPES }),
}); // biome-ignore format: a table

export const ScreenInfo = struct('screen_info', {
  from: 'linux/include/uapi/linux/screen_info.h', size: 0x40, reserved: [[0x09, 1], [0x0c, 2], [0x3e, 2]],
}, {
  orig_x:            u8(0x00),
  orig_y:            u8(0x01),
  ext_mem_k:         u16(0x02, 'KiB above 1 MiB, the oldest way to say it'),
  orig_video_page:   u16(0x04),
  orig_video_mode:   u8(0x06),
  orig_video_cols:   u8(0x07),
  flags:             u8(0x08),
  orig_video_ega_bx: u16(0x0a),
  orig_video_lines:  u8(0x0e),
  orig_video_isVGA:  u8(0x0f, '0: no VGA, the kernel takes its dummy console'),
  orig_video_points: u16(0x10),
  lfb_width:         u16(0x12),
  lfb_height:        u16(0x14),
  lfb_depth:         u16(0x16),
  lfb_base:          u32(0x18),
  lfb_size:          u32(0x1c),
  cl_magic:          u16(0x20),
  cl_offset:         u16(0x22),
  lfb_linelength:    u16(0x24),
  red_size:          u8(0x26),
  red_pos:           u8(0x27),
  green_size:        u8(0x28),
  green_pos:         u8(0x29),
  blue_size:         u8(0x2a),
  blue_pos:          u8(0x2b),
  rsvd_size:         u8(0x2c),
  rsvd_pos:          u8(0x2d),
  vesapm_seg:        u16(0x2e),
  vesapm_off:        u16(0x30),
  pages:             u16(0x32),
  vesa_attributes:   u16(0x34),
  capabilities:      u32(0x36),
  ext_lfb_base:      u32(0x3a),
}); // biome-ignore format: a table

export const EfiInfo = struct('efi_info', { from, size: 0x20 }, {
  efi_loader_signature: u32(0x00, '"EL32" or "EL64" when an EFI loader started the kernel'),
  efi_systab:           u32(0x04),
  efi_memdesc_size:     u32(0x08),
  efi_memdesc_version:  u32(0x0c),
  efi_memmap:           u32(0x10),
  efi_memmap_size:      u32(0x14),
  efi_systab_hi:        u32(0x18),
  efi_memmap_hi:        u32(0x1c),
}); // biome-ignore format: a table

export const BootParams = struct('boot_params', {
  from, size: 4096,
  reserved: [[0x054, 4], [0x078, 8], [0x0cc, 0x70], [0x1ed, 2], [0x1f0, 1], [0x26c, 0x24], [0xcd0, 0x30], [0xeec, 0x114]],
}, {
  screen_info:             nested(0x000, ScreenInfo),
  apm_bios_info:           bytes(0x040, 0x14),
  tboot_addr:              u64(0x058),
  ist_info:                bytes(0x060, 0x10),
  acpi_rsdp_addr:          u64(0x070, '0: the kernel searches for it'),
  hd0_info:                bytes(0x080, 0x10, 'obsolete'),
  hd1_info:                bytes(0x090, 0x10, 'obsolete'),
  sys_desc_table:          bytes(0x0a0, 0x10, 'obsolete'),
  olpc_ofw_header:         bytes(0x0b0, 0x10),
  ext_ramdisk_image:       u32(0x0c0, 'high 32 bits'),
  ext_ramdisk_size:        u32(0x0c4, 'high 32 bits'),
  ext_cmd_line_ptr:        u32(0x0c8, 'high 32 bits'),
  cc_blob_address:         u32(0x13c),
  edid_info:               bytes(0x140, 0x80),
  efi_info:                nested(0x1c0, EfiInfo),
  alt_mem_k:               u32(0x1e0, 'KiB above 1 MiB'),
  scratch:                 u32(0x1e4, 'startup_32 uses it as a four-byte stack'),
  e820_entries:            u8(0x1e8),
  eddbuf_entries:          u8(0x1e9),
  edd_mbr_sig_buf_entries: u8(0x1ea),
  kbd_status:              u8(0x1eb),
  secure_boot:             u8(0x1ec),
  sentinel:                u8(0x1ef, 'must be 0, or the kernel wipes what it does not trust'),
  hdr:                     nested(0x1f1, SetupHeader),
  edd_mbr_sig_buffer:      array(0x290, u32, 16),
  e820_table:              array(0x2d0, (offset) => nested(offset, E820Entry), E820_MAX_ENTRIES),
  eddbuf:                  bytes(0xd00, 0x1ec),
}); // biome-ignore format: a table
export type BootParamsValues = ValuesOf<typeof BootParams>;

/** setup_data types; the data follows the node. */
export const SETUP_DATA_TYPES = {
  0: 'NONE', 1: 'E820_EXT', 2: 'DTB', 3: 'PCI', 4: 'EFI', 5: 'APPLE_PROPERTIES', 6: 'JAILHOUSE', 7: 'CC_BLOB',
  8: 'IMA', 9: 'RNG_SEED',
} as const; // biome-ignore format: short

/** A node of the list at setup_header.setup_data; `len` bytes of data follow. */
export const SetupData = struct('setup_data', { from, size: 16 }, {
  next: u64(0, 'physical address of the next node; 0 ends the list'),
  type: u32(8, { values: SETUP_DATA_TYPES }),
  len:  u32(12, 'bytes that follow'),
}); // biome-ignore format: a table
