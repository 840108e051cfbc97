/** hvm_start_info: what a PVH loader hands over in EBX, with its module list and memory map.
 *
 * Address 0 means absent. Version 0 ends before memmap_paddr, but kernels copy the whole 56 bytes.
 * Follows: Xen docs/misc/pvh.pandoc and the header named below.   Next: layout/xen/addresses.ts. */
import { struct, u32, u64, type ValuesOf } from './struct.ts';

const from = 'xen/include/public/arch-x86/hvm/start_info.h';

/** XEN_HVM_START_MAGIC_VALUE: "xEn3" with the top bit of the E set. */
export const HVM_START_MAGIC = 0x336e_c578;
export const SIF_PRIVILEGED = 1 << 0;
export const SIF_INITDOMAIN = 1 << 1;
export const SIF_MULTIBOOT_MOD = 1 << 2;
export const SIF_MOD_START_PFN = 1 << 3;
export const SIF_VIRT_P2M_4TOOLS = 1 << 4;

export const HvmStartInfo = struct('hvm_start_info', { from, size: 56, reserved: [[52, 4]] }, {
  magic:          u32(0,  'must be 0x336ec578'),
  version:        u32(4,  '1: a memory map follows'),
  flags:          u32(8,  { bits: ['SIF_PRIVILEGED', 'SIF_INITDOMAIN', 'SIF_MULTIBOOT_MOD', 'SIF_MOD_START_PFN', 'SIF_VIRT_P2M_4TOOLS'] }),
  nr_modules:     u32(12),
  modlist_paddr:  u64(16, 'of hvm_modlist_entry'),
  cmdline_paddr:  u64(24, 'NUL-terminated'),
  rsdp_paddr:     u64(32, 'ACPI root'),
  memmap_paddr:   u64(40, 'of hvm_memmap_table_entry'),
  memmap_entries: u32(48),
}); // biome-ignore format: a table
export type HvmStartInfoValues = ValuesOf<typeof HvmStartInfo>;

export const HvmModlistEntry = struct('hvm_modlist_entry', { from, size: 32, reserved: [[24, 8]] }, {
  paddr:         u64(0),
  size:          u64(8),
  cmdline_paddr: u64(16),
}); // biome-ignore format: a table

export const HVM_MEMMAP_TYPES = {
  1: 'RAM', 2: 'reserved', 3: 'ACPI', 4: 'NVS', 5: 'unusable', 6: 'disabled', 7: 'PMEM',
} as const; // biome-ignore format: short

export const HvmMemmapTableEntry = struct('hvm_memmap_table_entry', { from, size: 24, reserved: [[20, 4]] }, {
  addr: u64(0),
  size: u64(8),
  type: u32(16, { values: HVM_MEMMAP_TYPES }),
}); // biome-ignore format: a table
