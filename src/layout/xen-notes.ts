/** Xen's ELF notes: what a kernel tells the domain builder, by number and name.
 *
 * A number is 4 or 8 bytes wide, whatever the class; a string ends at its NUL or at the descriptor's end.
 * Follows: Xen xen/include/public/elfnote.h.   Next: unpack/unpack.ts, what stands between a file and its kernel. */

export type NoteKind = 'number' | 'string' | 'mask-value pairs' | 'three words';
export type NoteRow = { type: number; name: string; kind: NoteKind; meaning: string };

export const XEN_NOTES = [
  { type: 0,  name: 'XEN_ELFNOTE_INFO',               kind: 'string', meaning: 'NAME=VALUE pairs' },
  { type: 1,  name: 'XEN_ELFNOTE_ENTRY',              kind: 'number', meaning: 'virtual address of the PV entry' },
  { type: 2,  name: 'XEN_ELFNOTE_HYPERCALL_PAGE',     kind: 'number', meaning: 'virtual address of the page that Xen fills' },
  { type: 3,  name: 'XEN_ELFNOTE_VIRT_BASE',          kind: 'number', meaning: 'virtual address of the first frame' },
  { type: 4,  name: 'XEN_ELFNOTE_PADDR_OFFSET',       kind: 'number', meaning: 'subtracted from p_paddr' },
  { type: 5,  name: 'XEN_ELFNOTE_XEN_VERSION',        kind: 'string', meaning: 'interface version, "xen-3.0" for PV' },
  { type: 6,  name: 'XEN_ELFNOTE_GUEST_OS',           kind: 'string', meaning: 'name of the guest' },
  { type: 7,  name: 'XEN_ELFNOTE_GUEST_VERSION',      kind: 'string', meaning: 'its version' },
  { type: 8,  name: 'XEN_ELFNOTE_LOADER',             kind: 'string', meaning: 'loader type, "generic"' },
  { type: 9,  name: 'XEN_ELFNOTE_PAE_MODE',           kind: 'string', meaning: '32-bit PV: yes, bimodal or no' },
  { type: 10, name: 'XEN_ELFNOTE_FEATURES',           kind: 'string', meaning: 'features, ! before a required one' },
  { type: 11, name: 'XEN_ELFNOTE_BSD_SYMTAB',         kind: 'string', meaning: '"yes" loads the symbol table' },
  { type: 12, name: 'XEN_ELFNOTE_HV_START_LOW',       kind: 'number', meaning: 'lowest address that the hypervisor may use' },
  { type: 13, name: 'XEN_ELFNOTE_L1_MFN_VALID',       kind: 'mask-value pairs', meaning: 'how to tell a valid frame number' },
  { type: 14, name: 'XEN_ELFNOTE_SUSPEND_CANCEL',     kind: 'number', meaning: 'a suspend can be cancelled' },
  { type: 15, name: 'XEN_ELFNOTE_INIT_P2M',           kind: 'number', meaning: 'virtual address for the first p2m list' },
  { type: 16, name: 'XEN_ELFNOTE_MOD_START_PFN',      kind: 'number', meaning: 'nonzero: the initrd need not be mapped' },
  { type: 17, name: 'XEN_ELFNOTE_SUPPORTED_FEATURES', kind: 'number', meaning: 'supported features as bits' },
  { type: 18, name: 'XEN_ELFNOTE_PHYS32_ENTRY',       kind: 'number', meaning: 'physical address of the PVH entry' },
  { type: 19, name: 'XEN_ELFNOTE_PHYS32_RELOC',       kind: 'three words', meaning: 'PVH relocation: alignment, lowest, highest' },
] as const satisfies readonly NoteRow[]; // biome-ignore format: a table

/** Numbers by short name: `XEN_ELFNOTE.PHYS32_ENTRY` is 18. */
export const XEN_ELFNOTE = {
  ENTRY: 1, HYPERCALL_PAGE: 2, VIRT_BASE: 3, PADDR_OFFSET: 4, XEN_VERSION: 5, GUEST_OS: 6, GUEST_VERSION: 7, LOADER: 8,
  PAE_MODE: 9, FEATURES: 10, BSD_SYMTAB: 11, HV_START_LOW: 12, L1_MFN_VALID: 13, SUSPEND_CANCEL: 14, INIT_P2M: 15,
  MOD_START_PFN: 16, SUPPORTED_FEATURES: 17, PHYS32_ENTRY: 18, PHYS32_RELOC: 19,
} as const; // biome-ignore format: short

/** Bits of SUPPORTED_FEATURES and names in FEATURES. Follows: Xen xen/include/public/features.h. */
export const XEN_FEATURES: Record<number, string> = {
  0: 'writable_page_tables',
  1: 'writable_descriptor_tables',
  2: 'auto_translated_physmap',
  3: 'supervisor_mode_kernel',
  4: 'pae_pgdir_above_4gb',
  5: 'mmu_pt_update_preserve_ad',
  6: 'highmem_assist',
  7: 'gnttab_map_avail_bits',
  8: 'hvm_callback_vector',
  9: 'hvm_safe_pvclock',
  10: 'hvm_pirqs',
  11: 'dom0',
  12: 'grant_map_identity',
  13: 'memory_op_vnode_supported',
  14: 'ARM_SMCCC_supported',
  15: 'linux_rsdp_unrestricted',
  16: 'not_direct_mapped',
  17: 'direct_mapped',
};

/** Notes of other owners that kernels carry. */
export const OTHER_NOTES: Record<string, Record<number, { name: string; kind?: NoteKind; meaning: string }>> = {
  GNU: {
    3: { name: 'NT_GNU_BUILD_ID', meaning: 'build id' },
    5: { name: 'NT_GNU_PROPERTY_TYPE_0', meaning: 'properties' },
  },
  Linux: {
    256: { name: 'LINUX_ELFNOTE_BUILD_SALT', kind: 'string', meaning: 'build salt' },
    257: { name: 'LINUX_ELFNOTE_LTO_INFO', kind: 'number', meaning: 'built with link-time optimisation' },
  },
};
