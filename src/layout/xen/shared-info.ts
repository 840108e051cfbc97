/** shared_info: the page that guest and hypervisor write together: event bits, the upcall flag, the clock.
 *
 * Each CPU has a vcpu_info in it, which a guest may move elsewhere (register_vcpu_info). The clock is read like a
 * seqlock: version is odd while Xen writes. The number of event channels follows from the word size: 64 × 64 or 32 × 32.
 * Follows: Xen xen/include/public/xen.h, vcpu.h and arch-x86/xen.h.   Next: layout/xen/memory-arguments.ts. */
import { array, nested, struct, u8, u32, u64, type ValuesOf } from '../struct.ts';

const from = 'xen/include/public/xen.h';

/** XEN_LEGACY_MAX_VCPUS: those that have a vcpu_info in the page. */
export const LEGACY_VCPUS = 32;

/** Same in both widths. Time in ns = system_time + ((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul / 2^32; a
 * negative shift is to the right. */
export const VcpuTimeInfo = struct('vcpu_time_info', { from, size: 0x20, reserved: [[4, 4], [0x1e, 2]] }, {
  version:           u32(0x00, 'odd while it is written'),
  tsc_timestamp:     u64(0x08, 'TSC at system_time'),
  system_time:       u64(0x10, 'ns since boot'),
  tsc_to_system_mul: u32(0x18, 'a 32-bit fraction'),
  tsc_shift:         u8(0x1c, 'signed'),
  flags:             u8(0x1d, { bits: ['TSC_STABLE', 'GUEST_STOPPED'] }),
}); // biome-ignore format: a table
export type VcpuTimeInfoValues = ValuesOf<typeof VcpuTimeInfo>;

export const VcpuInfo = struct('vcpu_info', { from, size: 0x40, reserved: [[2, 6], [0x18, 8]] }, {
  evtchn_upcall_pending: u8(0x00, 'an event waits; Xen sets it, the guest clears it'),
  evtchn_upcall_mask:    u8(0x01, 'no upcalls now: what RFLAGS.IF is on hardware'),
  evtchn_pending_sel:    u64(0x08, 'words of evtchn_pending with something in them'),
  'arch.cr2':            u64(0x10, 'address of the last page fault'),
  time:                  nested(0x20, VcpuTimeInfo),
}); // biome-ignore format: a table
export type VcpuInfoValues = ValuesOf<typeof VcpuInfo>;

export const VcpuInfo32 = struct('vcpu_info', { from, size: 0x40, reserved: [[2, 2], [0xc, 0x14]] }, {
  evtchn_upcall_pending: u8(0x00, 'an event waits; Xen sets it, the guest clears it'),
  evtchn_upcall_mask:    u8(0x01, 'no upcalls now: what EFLAGS.IF is on hardware'),
  evtchn_pending_sel:    u32(0x04, 'words of evtchn_pending with something in them'),
  'arch.cr2':            u32(0x08, 'address of the last page fault'),
  time:                  nested(0x20, VcpuTimeInfo),
}); // biome-ignore format: a table

export const ArchSharedInfo = struct('arch_shared_info', { from: 'xen/include/public/arch-x86/xen.h', size: 0x30 }, {
  max_pfn:                    u64(0x00, 'entries in the p2m; the guest writes all of this'),
  pfn_to_mfn_frame_list_list: u64(0x08, 'machine frame of the p2m tree, for tools'),
  nmi_reason:                 u64(0x10),
  p2m_cr3:                    u64(0x18, 'address space in which p2m_vaddr holds'),
  p2m_vaddr:                  u64(0x20, 'linear p2m'),
  p2m_generation:             u64(0x28, 'odd while it changes'),
}); // biome-ignore format: a table

export const ArchSharedInfo32 = struct('arch_shared_info', { from: 'xen/include/public/arch-x86/xen.h', size: 0x1c }, {
  max_pfn:                    u32(0x00, 'entries in the p2m; the guest writes all of this'),
  pfn_to_mfn_frame_list_list: u32(0x04, 'machine frame of the p2m tree, for tools'),
  nmi_reason:                 u32(0x08),
  p2m_cr3:                    u32(0x0c, 'address space in which p2m_vaddr holds'),
  p2m_vaddr:                  u32(0x10, 'linear p2m'),
  p2m_generation:             u32(0x14, 'odd while it changes'),
  wc_sec_hi:                  u32(0x18, 'upper half of wc_sec'),
}); // biome-ignore format: a table

export const SharedInfo = struct('shared_info', { from, size: 0xc40 }, {
  vcpu_info:      array(0x000, (at) => nested(at, VcpuInfo), LEGACY_VCPUS),
  evtchn_pending: array(0x800, u64, 64, 'a bit for each event channel: it has fired'),
  evtchn_mask:    array(0xa00, u64, 64, 'a bit for each event channel: not now'),
  wc_version:     u32(0xc00, 'odd while the wall clock is written'),
  wc_sec:         u32(0xc04, 'seconds since 1970 at system time 0'),
  wc_nsec:        u32(0xc08),
  wc_sec_hi:      u32(0xc0c, 'upper half of wc_sec'),
  arch:           nested(0xc10, ArchSharedInfo),
}); // biome-ignore format: a table

export const SharedInfo32 = struct('shared_info', { from, size: 0x928 }, {
  vcpu_info:      array(0x000, (at) => nested(at, VcpuInfo32), LEGACY_VCPUS),
  evtchn_pending: array(0x800, u32, 32, 'a bit for each event channel: it has fired'),
  evtchn_mask:    array(0x880, u32, 32, 'a bit for each event channel: not now'),
  wc_version:     u32(0x900, 'odd while the wall clock is written'),
  wc_sec:         u32(0x904, 'seconds since 1970 at system time 0'),
  wc_nsec:        u32(0x908),
  arch:           nested(0x90c, ArchSharedInfo32),
}); // biome-ignore format: a table

export const RUNSTATE = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const;
const runstate = { values: { 0: 'running', 1: 'runnable', 2: 'blocked', 3: 'offline' } };

export const VcpuRunstateInfo = struct('vcpu_runstate_info', { from: 'xen/include/public/vcpu.h', size: 0x30, reserved: [[4, 4]] }, {
  state:            u32(0x00, runstate),
  state_entry_time: u64(0x08, 'ns'),
  time:             array(0x10, u64, 4, 'ns spent in each state'),
}); // biome-ignore format: a table

export const VcpuRunstateInfo32 = struct('vcpu_runstate_info', { from: 'xen/include/public/vcpu.h', size: 0x2c }, {
  state:            u32(0x00, runstate),
  state_entry_time: u64(0x04, 'ns'),
  time:             array(0x0c, u64, 4, 'ns spent in each state'),
}); // biome-ignore format: a table
