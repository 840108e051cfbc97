/** What a PVH guest on Xen finds by number: HVM params, special pages, CPUID, hvm_op.
 *
 * Follows: xen/include/public/hvm/{params,hvm_op}.h, arch-x86/cpuid.h; tools/libs/guest/xg_dom_x86.c (special pages).
 * Next: layout/lguest-data.ts. */
import { struct, u8, u16, u32, u64 } from '../struct.ts';

const hvmOp = 'xen/include/public/hvm/hvm_op.h';

export const HVM_PARAM = {
  CALLBACK_IRQ: 0, STORE_PFN: 1, STORE_EVTCHN: 2, IDENT_PT: 12, VM86_TSS: 15, CONSOLE_PFN: 17, CONSOLE_EVTCHN: 18,
  ACPI_IOPORTS_LOCATION: 19, VM_GENERATION_ID_ADDR: 34, X87_FIP_WIDTH: 36, VM86_TSS_SIZED: 37,
} as const; // biome-ignore format: a table
/** HVM_NR_PARAMS of 4.17. */
export const HVM_PARAMS = 39;

export const XenHvmParam = struct('xen_hvm_param', { from: hvmOp, size: 0x10, reserved: [[2, 2]] }, {
  domid: u16(0),
  index: u32(4),
  value: u64(8, 'in or out'),
}); // biome-ignore format: a table
export const XenHvmEvtchnUpcallVector = struct('xen_hvm_evtchn_upcall_vector', { from: hvmOp, size: 8, reserved: [[5, 3]] }, {
  vcpu: u32(0),
  vector: u8(4),
}); // biome-ignore format: a table

/** How HVM_PARAM_CALLBACK_IRQ says what is to happen: bits 63-56. */
export const CALLBACK_VIA = { GSI: 0, PCI_INTX: 1, VECTOR: 2 } as const;

/** Frames near 4 GiB that the toolstack keeps for the domain's rings and their kin (X86_HVM_NR_SPECIAL_PAGES). */
export const SPECIAL_PAGES = { first: 0xf_eff8, count: 8, store: 0xf_effc, console: 0xf_efff } as const;

/** The guest's ends of its first two event channels, in the toolstack's order. */
export const XEN_GUEST_PORTS = { store: 1, console: 2 } as const;

/** First leaf of Xen's in CPUID, and the register that takes the address of a hypercall page. */
export const XEN_CPUID_BASE = 0x4000_0000;
export const XEN_HYPERCALL_MSR = 0x4000_0000;
/** Bits of leaf base + 4, EAX. */
export const XEN_HVM_CPUID = { IOMMU_MAPPINGS: 1 << 2, VCPU_ID_PRESENT: 1 << 3, DOMID_PRESENT: 1 << 4 } as const;
