/* lguest's side of the fence, as a guest sees it: hypercalls by number, and the page that both share. Read by C and by
 * assembly. kernel/structs.c holds the structs against zeropage's own tables.
 * Follows: Linux arch/x86/include/asm/lguest_hcall.h, include/linux/lguest.h (4.1). */
#pragma once

#define LGUEST_TRAP_ENTRY 0x1f /* int $0x1f: eax = number, ebx, ecx, edx, esi = arguments */

#define LHCALL_FLUSH_ASYNC 0
#define LHCALL_LGUEST_INIT 1 /* (physical address of lguest_data): the first call of all */
#define LHCALL_SHUTDOWN 2 /* (physical address of a message, reason) */
#define LHCALL_NEW_PGTABLE 4 /* (physical address of a page directory): what a load of CR3 was */
#define LHCALL_LOAD_IDT_ENTRY 6 /* (vector, low word, high word) */
#define LHCALL_SET_STACK 7 /* (selector, esp, pages): the stack for entries from user mode */
#define LHCALL_SET_CLOCKEVENT 9 /* (nanoseconds until interrupt 0; 0: never) */
#define LHCALL_HALT 10
#define LHCALL_SET_PTE 14 /* (page directory, virtual address, entry) */
#define LHCALL_SET_PGD 15 /* (page directory, index) */
#define LHCALL_NOTIFY 17 /* (physical address of a string): print it */
#define LHCALL_LOAD_GDT_ENTRY 18 /* (index, low word, high word) */
#define LHCALL_SEND_INTERRUPTS 19

#define LGUEST_SHUTDOWN_POWEROFF 1

#define LGUEST_DATA_irq_enabled 0 /* offset in struct lguest_data */

#ifndef __ASSEMBLER__
#include "types.h"

#define LHCALL_RING_SIZE 64

struct hcall_args {
	u32 arg0, arg1, arg2, arg3, arg4;
};

struct lguest_timespec {
	u32 tv_sec, tv_nsec;
};

/* We write some fields and the host the others, without asking each other. */
struct lguest_data {
	u32 irq_enabled;                         /* ours, and the host's: 0x200 or 0, in place of EFLAGS.IF */
	u32 blocked_interrupts;                  /* ours: a bit for each of 32 */
	u32 cr2;                                 /* the host's, before it hands us a page fault */
	struct lguest_timespec time;             /* the host's, at each interrupt */
	u32 irq_pending;                         /* the host's: something waits for irq_enabled */
	u8 hcall_status[LHCALL_RING_SIZE];       /* 0: we have filled the slot; 0xff: the host has emptied it */
	struct hcall_args hcalls[LHCALL_RING_SIZE];
	u32 reserve_mem;                         /* the host's: bytes at the top of virtual memory that are not for us */
	u32 tsc_khz;                             /* the host's: 0 if the TSC is of no use */
	u32 noirq_iret;                          /* ours: where not to interrupt us */
	u32 kernel_address;                      /* ours: where kernel mappings begin */
	u32 syscall_vec;                         /* ours */
};
_Static_assert(offsetof(struct lguest_data, irq_enabled) == LGUEST_DATA_irq_enabled, "lguest_iret in entry/lguest.S");

extern volatile struct lguest_data lguest_data;
#endif
