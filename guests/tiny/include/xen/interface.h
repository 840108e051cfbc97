/* What a Xen PV guest and its hypervisor say to each other: numbers and structs, 64-bit form.
 *
 * Follows: Xen xen/include/public/xen.h, arch-x86/xen.h, arch-x86/xen-x86_64.h, and per call callback.h,
 * event_channel.h, vcpu.h, sched.h, memory.h, physdev.h, hvm/hvm_op.h, hvm/params.h, io/console.h. Names are Xen's; what no guest of ours uses is
 * left out. kernel/structs.c holds the offsets against zeropage's own tables. */
#pragma once
#include "../types.h"
#include "numbers.h"

#define DOMID_SELF 0x7ff0

/* --- what we are given: start_info in rsi, shared_info at a machine address --- */

#define SIF_INITDOMAIN (1 << 1)    /* we are dom0: the console is console_io, not a ring */
#define SIF_MOD_START_PFN (1 << 3) /* mod_start is a frame number, and the initrd is not mapped */

struct start_info {
	char magic[32]; /* "xen-3.0-x86_64", and a "p" behind it for dom0 */
	u64 nr_pages;
	u64 shared_info; /* a machine address */
	u32 flags;
	u64 store_mfn;
	u32 store_evtchn;
	union {
		struct {
			u64 mfn;
			u32 evtchn;
		} domU;
		struct {
			u32 info_off, info_size; /* of a description of the VGA console */
		} dom0;
	} console;
	u64 pt_base;       /* where the builder's root table is mapped */
	u64 nr_pt_frames;
	u64 mfn_list;      /* the p2m: nr_pages machine frame numbers */
	u64 mod_start;     /* the initrd */
	u64 mod_len;
	char cmd_line[1024];
	u64 first_p2m_pfn; /* with a note INIT_P2M: where the p2m and its tables lie */
	u64 nr_p2m_frames;
};

struct arch_vcpu_info {
	u64 cr2;
	u64 pad;
};

/* nanoseconds since Xen started = system_time + ((rdtsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul / 2^32.
 * Xen changes the fields while `version` is odd. */
struct vcpu_time_info {
	u32 version;
	u32 pad0;
	u64 tsc_timestamp;
	u64 system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags;
	u8 pad1[2];
};

struct vcpu_info {
	u8 evtchn_upcall_pending; /* Xen: there is something to look at in evtchn_pending_sel */
	u8 evtchn_upcall_mask;    /* the guest's interrupt flag, upside down */
	u64 evtchn_pending_sel;   /* bit n: look at evtchn_pending[n] */
	struct arch_vcpu_info arch;
	struct vcpu_time_info time;
};

#define XEN_LEGACY_MAX_VCPUS 32

struct arch_shared_info {
	u64 max_pfn;
	u64 pfn_to_mfn_frame_list_list;
	u64 nmi_reason;
	u64 p2m_cr3;
	u64 p2m_vaddr;
	u64 p2m_generation;
};

struct shared_info {
	struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
	u64 evtchn_pending[64]; /* one bit per event channel */
	u64 evtchn_mask[64];
	u32 wc_version;
	u32 wc_sec;
	u32 wc_nsec;
	u32 wc_sec_hi;
	struct arch_shared_info arch;
};

/* M2P: for every machine frame the number that its owner knows it by. Xen maps it, read-only, into every address space. */
#define MACH2PHYS_VIRT_START 0xffff800000000000ul

/* --- CPU: traps, callbacks, segments --- */

struct trap_info {
	u8 vector;
	u8 flags; /* 0-1: DPL; 2: mask events on entry */
	u16 cs;
	u64 address; /* 0 ends the list */
};
#define TRAP_MASK_EVENTS (1 << 2)

#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1
#define CALLBACKTYPE_syscall 2
#define CALLBACKF_mask_events (1 << 0)
struct callback_register {
	u16 type;
	u16 flags;
	u64 address;
};

#define SEGBASE_GS_USER 1
#define SEGBASE_GS_KERNEL 2

/* --- memory --- */

struct mmu_update {
	u64 ptr; /* machine address of the entry; the lower bits are the command */
	u64 val;
};
#define MMU_NORMAL_PT_UPDATE 0

struct mmuext_op {
	u32 cmd;
	union {
		u64 mfn;
		u64 linear_addr;
	} arg1;
	union {
		u64 nr_ents;
		u64 src_mfn;
	} arg2;
};
#define MMUEXT_PIN_L1_TABLE 0 /* and L2, L3, L4 behind it */
#define MMUEXT_UNPIN_TABLE 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_INVLPG_LOCAL 7
#define MMUEXT_NEW_USER_BASEPTR 15

#define UVMF_NONE 0
#define UVMF_INVLPG 2

#define XENMEM_memory_map 9
struct xen_memory_map {
	u32 nr_entries; /* in: room, out: how many there are */
	void *buffer;
};

#define XENMEM_add_to_physmap 7
#define XENMAPSPACE_shared_info 0
#define XENMAPSPACE_grant_table 1
struct xen_add_to_physmap {
	u16 domid;
	u16 size;
	u32 space; /* what is wanted: one of the above, number idx */
	u64 idx;
	u64 gpfn;  /* where it is wanted */
};

/* --- what the toolstack has left for a PVH guest, by number --- */

#define HVMOP_set_param 0
#define HVMOP_get_param 1
#define HVM_PARAM_CALLBACK_IRQ 0
#define HVM_PARAM_CONSOLE_PFN 17
#define HVM_PARAM_CONSOLE_EVTCHN 18
#define HVM_CALLBACK_VIA_VECTOR (2ull << 56)
struct xen_hvm_param {
	u16 domid;
	u32 index;
	u64 value;
};
#define XEN_CPUID_FIRST_LEAF 0x40000000

struct multicall_entry {
	u64 op;
	s64 result;
	u64 args[6];
};

/* --- events and time --- */

#define VIRQ_TIMER 0
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_send 4
#define EVTCHNOP_unmask 9
struct evtchn_bind_virq {
	u32 virq;
	u32 vcpu;
	u32 port; /* out */
};
struct evtchn_send {
	u32 port;
};
struct evtchn_unmask {
	u32 port;
};

#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_set_singleshot_timer 8
#define VCPUOP_stop_singleshot_timer 9
struct vcpu_set_singleshot_timer {
	u64 timeout_abs_ns;
	u32 flags;
};

#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_shutdown 2
#define SHUTDOWN_poweroff 0
#define SHUTDOWN_crash 3
struct sched_shutdown {
	u32 reason;
};

/* --- grants --- */

#define GNTTABOP_setup_table 2
#define GNTTABOP_query_size 6
struct gnttab_setup_table {
	u16 dom;
	u32 nr_frames;
	s16 status; /* out, negative: an error */
	u64 *frame_list; /* out */
};
struct gnttab_query_size {
	u16 dom;
	u32 nr_frames; /* out, as the next two */
	u32 max_nr_frames;
	s16 status;
};

#define GTF_permit_access 1
struct grant_entry_v1 {
	u16 flags;
	u16 domid; /* who may */
	u32 frame; /* map this machine frame */
};

/* --- console and the rest --- */

/* A page that we share with the console's backend. Indices run freely; `& (sizeof(out) - 1)` makes them places. */
struct xencons_interface {
	char in[1024];
	char out[2048];
	u32 in_cons, in_prod;
	u32 out_cons, out_prod;
	u8 connection;
};

#define CONSOLEIO_write 0
#define XENVER_version 0
#define PHYSDEVOP_set_iopl 6
struct physdev_set_iopl {
	u32 iopl;
};
