/** start_info: the page that Xen's domain builder hands to a PV guest, its address in RSI or ESI.
 *
 * Three kinds of numbers meet in it: virtual addresses (pt_base, mfn_list), machine frames (store_mfn, console) and one
 * machine address (shared_info). The 32-bit form has words of 4 bytes. What the guest needs for boot_params it takes
 * from here by itself; no field of boot_params is ever filled by the builder.
 * Follows: Xen xen/include/public/xen.h.   Next: layout/xen/shared-info.ts. */
import { cstring, struct, u32, u64, type ValuesOf } from '../struct.ts';

const from = 'xen/include/public/xen.h';
const flags = {
  bits: ['SIF_PRIVILEGED', 'SIF_INITDOMAIN', 'SIF_MULTIBOOT_MOD', 'SIF_MOD_START_PFN', 'SIF_VIRT_P2M_4TOOLS'],
};

export { SIF_MOD_START_PFN, SIF_VIRT_P2M_4TOOLS } from '../hvm-start-info.ts';
/** MAX_GUEST_CMDLINE, its NUL included. */
export const MAX_GUEST_CMDLINE = 1024;
export const XEN_MAGIC_64 = 'xen-3.0-x86_64';
export const XEN_MAGIC_32P = 'xen-3.0-x86_32p';

export const StartInfo = struct('start_info', { from, size: 0x490, reserved: [[0x34, 4], [0x44, 4], [0x54, 4]] }, {
  magic:                 cstring(0x00, 32, 'guest type'),
  nr_pages:              u64(0x20, 'frames of the domain'),
  shared_info:           u64(0x28, 'machine address'),
  flags:                 u32(0x30, flags),
  store_mfn:             u64(0x38, 'machine frame of the xenstore page'),
  store_evtchn:          u32(0x40, 'its event channel'),
  'console.domU.mfn':    u64(0x48, 'machine frame of the console page'),
  'console.domU.evtchn': u32(0x50, 'its event channel'),
  pt_base:               u64(0x58, 'virtual address of the root page table'),
  nr_pt_frames:          u64(0x60, 'page tables of the first mapping'),
  mfn_list:              u64(0x68, 'virtual address of the p2m'),
  mod_start:             u64(0x70, 'initrd: virtual address, or PFN with SIF_MOD_START_PFN'),
  mod_len:               u64(0x78, 'in bytes'),
  cmd_line:              cstring(0x80, MAX_GUEST_CMDLINE),
  first_p2m_pfn:         u64(0x480, 'first frame of the p2m, if it is mapped at INIT_P2M'),
  nr_p2m_frames:         u64(0x488, 'its frames, page tables included'),
}); // biome-ignore format: a table
export type StartInfoValues = ValuesOf<typeof StartInfo>;

export const StartInfo32 = struct('start_info', { from, size: 0x458 }, {
  magic:                 cstring(0x00, 32, 'guest type'),
  nr_pages:              u32(0x20, 'frames of the domain'),
  shared_info:           u32(0x24, 'machine address'),
  flags:                 u32(0x28, flags),
  store_mfn:             u32(0x2c, 'machine frame of the xenstore page'),
  store_evtchn:          u32(0x30, 'its event channel'),
  'console.domU.mfn':    u32(0x34, 'machine frame of the console page'),
  'console.domU.evtchn': u32(0x38, 'its event channel'),
  pt_base:               u32(0x3c, 'virtual address of the root page table'),
  nr_pt_frames:          u32(0x40, 'page tables of the first mapping'),
  mfn_list:              u32(0x44, 'virtual address of the p2m'),
  mod_start:             u32(0x48, 'initrd: virtual address, or PFN with SIF_MOD_START_PFN'),
  mod_len:               u32(0x4c, 'in bytes'),
  cmd_line:              cstring(0x50, MAX_GUEST_CMDLINE),
  first_p2m_pfn:         u32(0x450, 'always 0: INIT_P2M is for 64-bit guests'),
  nr_p2m_frames:         u32(0x454),
}); // biome-ignore format: a table
