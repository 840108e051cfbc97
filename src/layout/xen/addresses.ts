/** Xen PV's virtual addresses and selectors: what every 64-bit guest finds in its address space without asking.
 *
 * Root slots 256 to 271 belong to Xen in every root that a guest loads. In the first of them lies the table from
 * machine frame to guest frame (M2P), which the guest reads; in slot 260 the descriptor table of its CPU: fourteen
 * pages of the guest's own, then Xen's, whose selectors begin with 0xe0.
 * Follows: Xen xen/include/public/arch-x86/xen-x86_64.h and xen/arch/x86/include/asm/config.h.
 * Next: layout/xen/start-info.ts. */

/** First and last root slot of Xen's own area, 0xffff800000000000-0xffff87ffffffffff. */
export const XEN_ROOT_SLOTS = { first: 256, last: 271 } as const;
export const XEN_AREA = { start: 0xffff_8000_0000_0000n, end: 0xffff_8800_0000_0000n } as const;

/** M2P: a u64 for each machine frame, all ones where no guest frame belongs to it. The window is 256 GiB. */
export const M2P_VIRT_START = 0xffff_8000_0000_0000n;
export const M2P_VIRT_END = 0xffff_8040_0000_0000n;
export const M2P_ROOT_SLOT = 256;
/** In M2P and p2m: no frame. */
export const INVALID_FRAME = 0xffff_ffff_ffff_ffffn;

/** The descriptor table of vCPU 0, and its limit as SGDT shows it. */
export const GDT_VIRT_START = 0xffff_8200_0000_0000n;
export const GDT_ROOT_SLOT = 260;
export const GDT_LIMIT = 0xefff;
/** The table is 16 pages long: 14 that the guest may set, Xen's own, and one without descriptors. */
export const GDT_PAGES = 16;
export const GUEST_GDT_PAGES = 14;
/** FIRST_RESERVED_GDT_ENTRY: the most that set_gdt takes, in descriptors. */
export const GUEST_GDT_ENTRIES = GUEST_GDT_PAGES * 512;
/** Byte offset of Xen's page in the table, so also its first selector. */
export const XEN_GDT_OFFSET = 0xe000;
/** Xen's task-state segment, in the page behind the descriptor table. */
export const TSS_VIRT = GDT_VIRT_START + BigInt(GDT_PAGES * 0x1000);

/** FLAT_RING3_* and the system selectors, as a guest sees them in 64-bit mode. */
export const XEN_SELECTOR = {
  HYPERVISOR_CS: 0xe008,
  HYPERVISOR_DS: 0xe010,
  USER_CS32: 0xe023,
  DS: 0xe02b,
  SS: 0xe02b,
  CS: 0xe033,
  TSS: 0xe040,
  LDT: 0xe050,
  PER_CPU: 0xe060,
} as const;

/** The descriptors in Xen's page by selector (RPL left out), as a 64-bit guest sees them: all others are null, but for
 * the two system descriptors at 0xe040 and 0xe050. */
export const XEN_GDT_DESCRIPTORS: readonly (readonly [selector: number, descriptor: bigint])[] = [
  [0xe008, 0x00af_9b00_0000_ffffn], // Xen's code
  [0xe010, 0x00cf_9300_0000_ffffn], // Xen's data
  [0xe020, 0x00cf_fb00_0000_ffffn], // the guest's 32-bit code
  [0xe028, 0x00cf_f300_0000_ffffn], // its data and stack
  [0xe030, 0x00af_fb00_0000_ffffn], // its 64-bit code
];
