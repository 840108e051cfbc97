/** What hypercalls about the CPU and memory take: traps, callbacks, page-table updates, batches, memory_op, xen_version.
 *
 * A table named ...32 is the form of 32-bit guests; where there is none, both widths have the same.
 * Follows: Xen xen/include/public/xen.h, callback.h, memory.h, version.h and arch-x86/xen.h.
 * Next: layout/xen/event-arguments.ts. */
import { array, cstring, struct, u8, u16, u32, u64 } from '../struct.ts';

const from = 'xen/include/public/xen.h';
const arch = 'xen/include/public/arch-x86/xen.h';
const callback = 'xen/include/public/callback.h';
const memory = 'xen/include/public/memory.h';
const version = 'xen/include/public/version.h';

/** Bits of trap_info.flags. */
export const TRAP_DPL = 3;
export const TRAP_MASKS_EVENTS = 4;
const trapFlags = 'bits 0-1: who may raise it by INT n; bit 2: events are masked on the way in';

export const TrapInfo = struct(
  'trap_info',
  { from: arch, size: 0x10, reserved: [[4, 4]] },
  {
    vector: u8(0),
    flags: u8(1, trapFlags),
    cs: u16(2),
    address: u64(8, 'of the handler; 0 ends the list'),
  },
);
export const TrapInfo32 = struct('trap_info', { from: arch, size: 8 }, {
  vector: u8(0), flags: u8(1, trapFlags), cs: u16(2), address: u32(4, 'of the handler; 0 ends the list'),
}); // biome-ignore format: as above

/** CALLBACKTYPE_*. */
export const CALLBACK_TYPE = { event: 0, failsafe: 1, syscall: 2, nmi: 4, sysenter: 5, syscall32: 7 } as const;
/** CALLBACKF_mask_events. */
export const CALLBACK_MASKS_EVENTS = 1;
const callbackType = { values: { 0: 'event', 1: 'failsafe', 2: 'syscall', 4: 'nmi', 5: 'sysenter', 7: 'syscall32' } };

export const CallbackRegister = struct(
  'callback_register',
  { from: callback, size: 0x10, reserved: [[4, 4]] },
  {
    type: u16(0, callbackType),
    flags: u16(2, { bits: ['CALLBACKF_mask_events'] }),
    address: u64(8),
  },
);
export const CallbackRegister32 = struct(
  'callback_register',
  { from: callback, size: 0xc },
  {
    type: u16(0, callbackType),
    flags: u16(2, { bits: ['CALLBACKF_mask_events'] }),
    'address.cs': u32(4),
    'address.eip': u32(8),
  },
);

export const MmuUpdate = struct(
  'mmu_update',
  { from, size: 0x10 },
  {
    ptr: u64(0, 'machine address of the entry; the command in its low bits'),
    val: u64(8, 'new contents'),
  },
);
/** Low bits of mmu_update.ptr. */
export const MMU_COMMAND = { NORMAL_PT_UPDATE: 0, MACHPHYS_UPDATE: 1, PT_UPDATE_PRESERVE_AD: 2, PT_UPDATE_NO_TRANSLATE: 3 } as const; // biome-ignore format: short

/** MMUEXT_*. */
export const MMUEXT = {
  PIN_L1_TABLE: 0, PIN_L2_TABLE: 1, PIN_L3_TABLE: 2, PIN_L4_TABLE: 3, UNPIN_TABLE: 4, NEW_BASEPTR: 5,
  TLB_FLUSH_LOCAL: 6, INVLPG_LOCAL: 7, TLB_FLUSH_MULTI: 8, INVLPG_MULTI: 9, TLB_FLUSH_ALL: 10, INVLPG_ALL: 11,
  FLUSH_CACHE: 12, SET_LDT: 13, NEW_USER_BASEPTR: 15, CLEAR_PAGE: 16, COPY_PAGE: 17, FLUSH_CACHE_GLOBAL: 18,
  MARK_SUPER: 19, UNMARK_SUPER: 20,
} as const; // biome-ignore format: a table

export const MmuextOp = struct(
  'mmuext_op',
  { from, size: 0x18, reserved: [[4, 4]] },
  {
    cmd: u32(0, 'MMUEXT_*'),
    'arg1.mfn': u64(8, 'mfn, or linear_addr'),
    'arg2.src_mfn': u64(0x10, 'src_mfn, nr_ents or vcpumask'),
  },
);
export const MmuextOp32 = struct(
  'mmuext_op',
  { from, size: 0xc },
  {
    cmd: u32(0, 'MMUEXT_*'),
    'arg1.mfn': u32(4, 'mfn, or linear_addr'),
    'arg2.src_mfn': u32(8, 'src_mfn, nr_ents or vcpumask'),
  },
);

export const MulticallEntry = struct(
  'multicall_entry',
  { from, size: 0x40 },
  {
    op: u64(0, 'hypercall number'),
    result: u64(8),
    args: array(0x10, u64, 6),
  },
);
export const MulticallEntry32 = struct(
  'multicall_entry',
  { from, size: 0x20 },
  {
    op: u32(0, 'hypercall number'),
    result: u32(4),
    args: array(8, u32, 6),
  },
);

export const XenMemoryReservation = struct('xen_memory_reservation', { from: memory, size: 0x20, reserved: [[0x1a, 6]] }, {
  extent_start: u64(0, 'list of frames'),
  nr_extents: u64(8),
  extent_order: u32(0x10, 'each has 2^order frames'),
  mem_flags: u32(0x14),
  domid: u16(0x18),
}); // biome-ignore format: as the others
export const XenMemoryReservation32 = struct('xen_memory_reservation', { from: memory, size: 0x14, reserved: [[0x12, 2]] }, {
  extent_start: u32(0, 'list of frames'),
  nr_extents: u32(4),
  extent_order: u32(8, 'each has 2^order frames'),
  mem_flags: u32(0xc),
  domid: u16(0x10),
}); // biome-ignore format: as the others

/** `buffer` takes entries as struct boot_e820_entry has them, of 20 bytes. */
export const XenMemoryMap = struct(
  'xen_memory_map',
  { from: memory, size: 0x10, reserved: [[4, 4]] },
  {
    nr_entries: u32(0, 'in: room; out: entries'),
    buffer: u64(8),
  },
);
export const XenMemoryMap32 = struct(
  'xen_memory_map',
  { from: memory, size: 8 },
  {
    nr_entries: u32(0, 'in: room; out: entries'),
    buffer: u32(4),
  },
);

export const XenMachphysMapping = struct(
  'xen_machphys_mapping',
  { from: memory, size: 0x18 },
  {
    v_start: u64(0, 'of the M2P'),
    v_end: u64(8),
    max_mfn: u64(0x10, 'last frame that may be looked up'),
  },
);
export const XenMachphysMapping32 = struct(
  'xen_machphys_mapping',
  { from: memory, size: 0xc },
  {
    v_start: u32(0, 'of the M2P'),
    v_end: u32(4),
    max_mfn: u32(8, 'last frame that may be looked up'),
  },
);

export const XenAddToPhysmap = struct(
  'xen_add_to_physmap',
  { from: memory, size: 0x18 },
  {
    domid: u16(0),
    size: u16(2),
    space: u32(4, { values: { 0: 'shared_info', 1: 'grant_table' } }),
    idx: u64(8),
    gpfn: u64(0x10),
  },
);
export const XenAddToPhysmap32 = struct(
  'xen_add_to_physmap',
  { from: memory, size: 0x10 },
  {
    domid: u16(0),
    size: u16(2),
    space: u32(4, { values: { 0: 'shared_info', 1: 'grant_table' } }),
    idx: u32(8),
    gpfn: u32(0xc),
  },
);

export const XenRemoveFromPhysmap = struct(
  'xen_remove_from_physmap',
  { from: memory, size: 0x10, reserved: [[2, 6]] },
  {
    domid: u16(0),
    gpfn: u64(8),
  },
);
export const XenRemoveFromPhysmap32 = struct(
  'xen_remove_from_physmap',
  { from: memory, size: 8, reserved: [[2, 2]] },
  {
    domid: u16(0),
    gpfn: u32(4),
  },
);

export const XenFeatureInfo = struct(
  'xen_feature_info',
  { from: version, size: 8 },
  {
    submap_idx: u32(0, 'in: which 32 features'),
    submap: u32(4, 'out: a bit for each'),
  },
);
export const XenCompileInfo = struct(
  'xen_compile_info',
  { from: version, size: 0x90 },
  {
    compiler: cstring(0, 64),
    compile_by: cstring(0x40, 16),
    compile_domain: cstring(0x50, 32),
    compile_date: cstring(0x70, 32),
  },
);
