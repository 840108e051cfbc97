/** What hypercalls about events and time take: event channels, the scheduler, vCPUs, grant tables, physdev_op.
 *
 * A table named ...32 is the form of 32-bit guests; where there is none, both widths have the same. A `status` is signed
 * in C (GNTST_okay is 0, errors are negative) and 16 bits wide.
 * Follows: Xen xen/include/public/event_channel.h, sched.h, vcpu.h, grant_table.h and physdev.h.
 * Next: layout/xen/rings.ts. */
import { bytes, struct, u16, u32, u64 } from '../struct.ts';

const events = 'xen/include/public/event_channel.h';
const sched = 'xen/include/public/sched.h';
const vcpu = 'xen/include/public/vcpu.h';
const grants = 'xen/include/public/grant_table.h';
const physdev = 'xen/include/public/physdev.h';

/** "Me", in every `dom` and `domid`. */
export const DOMID_SELF = 0x7ff0;

export const EvtchnAllocUnbound = struct('evtchn_alloc_unbound', { from: events, size: 8 }, {
  dom: u16(0), remote_dom: u16(2), port: u32(4, 'out'),
}); // biome-ignore format: short
export const EvtchnBindInterdomain = struct('evtchn_bind_interdomain', { from: events, size: 0xc, reserved: [[2, 2]] }, {
  remote_dom: u16(0), remote_port: u32(4), local_port: u32(8, 'out'),
}); // biome-ignore format: short
export const EvtchnBindVirq = struct('evtchn_bind_virq', { from: events, size: 0xc }, {
  virq: u32(0, { values: { 0: 'VIRQ_TIMER', 1: 'VIRQ_DEBUG' } }), vcpu: u32(4), port: u32(8, 'out'),
}); // biome-ignore format: short
export const EvtchnBindIpi = struct('evtchn_bind_ipi', { from: events, size: 8 }, {
  vcpu: u32(0), port: u32(4, 'out'),
}); // biome-ignore format: short
export const EvtchnClose = struct('evtchn_close', { from: events, size: 4 }, { port: u32(0) });
export const EvtchnSend = struct('evtchn_send', { from: events, size: 4 }, { port: u32(0) });
export const EvtchnUnmask = struct('evtchn_unmask', { from: events, size: 4 }, { port: u32(0) });
export const EvtchnBindVcpu = struct('evtchn_bind_vcpu', { from: events, size: 8 }, { port: u32(0), vcpu: u32(4) });
export const EvtchnReset = struct('evtchn_reset', { from: events, size: 2 }, { dom: u16(0) });
export const EvtchnSetPriority = struct('evtchn_set_priority', { from: events, size: 8 }, {
  port: u32(0), priority: u32(4),
}); // biome-ignore format: short
/** EVTCHNSTAT_*. */
export const EVTCHN_STATUS = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;
export const EvtchnStatus = struct(
  'evtchn_status',
  { from: events, size: 0x18, reserved: [[2, 2]] },
  {
    dom: u16(0),
    port: u32(4),
    status: u32(8, { values: { 0: 'closed', 1: 'unbound', 2: 'interdomain', 3: 'pirq', 4: 'virq', 5: 'ipi' } }),
    vcpu: u32(0xc),
    u: bytes(0x10, 8, 'unbound: u16 dom; interdomain: u16 dom, u32 port at 4; pirq or virq: u32'),
  },
);

/** SHUTDOWN_*. */
export const SHUTDOWN_REASONS = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'soft_reset'] as const;
export const SchedShutdown = struct(
  'sched_shutdown',
  { from: sched, size: 4 },
  {
    reason: u32(0, { values: { ...SHUTDOWN_REASONS } }),
  },
);
export const SchedPoll = struct(
  'sched_poll',
  { from: sched, size: 0x18, reserved: [[0xc, 4]] },
  {
    ports: u64(0, 'list of u32'),
    nr_ports: u32(8),
    timeout: u64(0x10, 'absolute, ns; 0 for none'),
  },
);
export const SchedPoll32 = struct(
  'sched_poll',
  { from: sched, size: 0x10 },
  {
    ports: u32(0, 'list of u32'),
    nr_ports: u32(4),
    timeout: u64(8, 'absolute, ns; 0 for none'),
  },
);

export const VcpuSetSingleshotTimer = struct('vcpu_set_singleshot_timer', { from: vcpu, size: 0x10, reserved: [[0xc, 4]] }, {
  timeout_abs_ns: u64(0),
  flags: u32(8, { bits: ['VCPU_SSHOTTMR_future'] }),
}); // biome-ignore format: as the others
export const VcpuSetSingleshotTimer32 = struct(
  'vcpu_set_singleshot_timer',
  { from: vcpu, size: 0xc },
  {
    timeout_abs_ns: u64(0),
    flags: u32(8, { bits: ['VCPU_SSHOTTMR_future'] }),
  },
);
export const VcpuSetPeriodicTimer = struct('vcpu_set_periodic_timer', { from: vcpu, size: 8 }, { period_ns: u64(0) });
export const VcpuRegisterVcpuInfo = struct('vcpu_register_vcpu_info', { from: vcpu, size: 0x10, reserved: [[0xc, 4]] }, {
  mfn: u64(0, 'machine frame of its new place'),
  offset: u32(8, 'in that frame'),
}); // biome-ignore format: as the others
export const VcpuRegisterRunstateMemoryArea = struct(
  'vcpu_register_runstate_memory_area',
  { from: vcpu, size: 8 },
  {
    'addr.p': u64(0, 'virtual address'),
  },
);
export const VcpuRegisterTimeMemoryArea = struct(
  'vcpu_register_time_memory_area',
  { from: vcpu, size: 8 },
  {
    'addr.p': u64(0, 'virtual address'),
  },
);

/** GTF_permit_access. */
export const GTF_PERMIT_ACCESS = 1;
export const GrantEntryV1 = struct(
  'grant_entry_v1',
  { from: grants, size: 8 },
  {
    flags: u16(0),
    domid: u16(2, 'who may'),
    frame: u32(4, 'machine frame'),
  },
);
export const GnttabSetupTable = struct('gnttab_setup_table', { from: grants, size: 0x18, reserved: [[2, 2], [0xa, 6]] }, {
  dom: u16(0),
  nr_frames: u32(4),
  status: u16(8, 'out'),
  frame_list: u64(0x10, 'takes the machine frames'),
}); // biome-ignore format: as the others
export const GnttabSetupTable32 = struct('gnttab_setup_table', { from: grants, size: 0x10, reserved: [[2, 2], [0xa, 2]] }, {
  dom: u16(0),
  nr_frames: u32(4),
  status: u16(8, 'out'),
  frame_list: u32(0xc, 'takes the machine frames'),
}); // biome-ignore format: as the others
export const GnttabQuerySize = struct('gnttab_query_size', { from: grants, size: 0x10, reserved: [[2, 2], [0xe, 2]] }, {
  dom: u16(0),
  nr_frames: u32(4, 'out: now'),
  max_nr_frames: u32(8, 'out: at most'),
  status: u16(0xc, 'out'),
}); // biome-ignore format: as the others
export const GnttabSetVersion = struct('gnttab_set_version', { from: grants, size: 4 }, { version: u32(0) });
export const GnttabGetVersion = struct('gnttab_get_version', { from: grants, size: 8, reserved: [[2, 2]] }, {
  dom: u16(0), version: u32(4, 'out'),
}); // biome-ignore format: short

export const PhysdevSetIopl = struct('physdev_set_iopl', { from: physdev, size: 4 }, { iopl: u32(0) });
export const PhysdevSetIobitmap = struct('physdev_set_iobitmap', { from: physdev, size: 0x10, reserved: [[0xc, 4]] }, {
  bitmap: u64(0), nr_ports: u32(8),
}); // biome-ignore format: short
export const PhysdevSetIobitmap32 = struct('physdev_set_iobitmap', { from: physdev, size: 8 }, {
  bitmap: u32(0), nr_ports: u32(4),
}); // biome-ignore format: short
