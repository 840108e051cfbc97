/* pv_ops.irq under Xen: event channels in place of an interrupt controller, a byte of shared memory in place of RFLAGS.IF.
 *
 *     evtchn_pending         . . 1 . .    a bit for each port: Xen sets it
 *                                |        ... and stops here while the same bit of evtchn_mask is set
 *     evtchn_pending_sel         1        a bit for each 64 ports
 *                                |
 *     evtchn_upcall_pending      1        a byte
 *                                |        ... and stops here while evtchn_upcall_mask is set
 *                                v
 *                     xen_hypervisor_callback
 *
 * Masking (what `cli` was) is a store; unmasking is a store and, if something came meanwhile, a hypercall so that Xen looks.
 * Follows: Linux arch/x86/xen/irq.c, drivers/xen/events/events_2l.c.   Next: paravirt/xen_time.c. */
#include "kernel.h"
#include "xen/hypercall.h"

void xen_hypervisor_callback(void); /* entry/traps_xen.S */
void xen_failsafe_callback(void);

/* A page of our image to lay shared_info over. */
char xen_shared_info_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);

#define NR_PORTS 64 /* that we keep handlers for: one word of the 64 */
static void (*handlers[NR_PORTS])(const struct pt_regs *regs);

#define barrier() asm volatile("" : : : "memory")

static unsigned long xen_save_fl(void)
{
	return xen_vcpu->evtchn_upcall_mask ? 0 : X86_EFLAGS_IF;
}

static void xen_irq_enable(void)
{
	xen_vcpu->evtchn_upcall_mask = 0;
	barrier();
	if (xen_vcpu->evtchn_upcall_pending)
		hypercall2(xen_version, XENVER_version, NULL); /* any call will do: Xen looks for events on the way back */
}

static void xen_irq_disable(void)
{
	xen_vcpu->evtchn_upcall_mask = 1;
	barrier();
}

/* Unmasks, and gives the CPU away until an event comes; returns when it has been handled. */
static void xen_safe_halt(void)
{
	xen_must(hypercall2(sched_op, SCHEDOP_block, NULL), "block");
}

/* Nothing will ever run again here (a panic). We say so instead of sleeping for ever: Xen can act on it. */
static void __noreturn xen_halt(void)
{
	struct sched_shutdown shutdown = { SHUTDOWN_crash };

	for (;;)
		hypercall2(sched_op, SCHEDOP_shutdown, &shutdown);
}

static void register_callback(u16 type, void (*entry)(void))
{
	struct callback_register callback = { .type = type, .address = (unsigned long)entry };

	if (type == CALLBACKTYPE_event)
		callback.flags = CALLBACKF_mask_events; /* always so; said for the reader */
	xen_must(hypercall2(callback_op, CALLBACKOP_register, &callback), "register a callback");
}

static void xen_init_IRQ(void)
{
	for (unsigned int word = 0; word < ARRAY_SIZE(xen_shared_info->evtchn_mask); word++)
		xen_shared_info->evtchn_mask[word] = ~0ull; /* all ports start unmasked */
	register_callback(CALLBACKTYPE_event, xen_hypervisor_callback);
	register_callback(CALLBACKTYPE_failsafe, xen_failsafe_callback);
}

/* VIRQs are what Xen itself has to say, such as "your timer is due". Bound to a port it is an event like any other. */
void xen_bind_virq(unsigned int virq, void (*handler)(const struct pt_regs *regs))
{
	struct evtchn_bind_virq bind = { .virq = virq, .vcpu = 0 };
	struct evtchn_unmask unmask;

	xen_must(hypercall2(event_channel_op, EVTCHNOP_bind_virq, &bind), "bind_virq");
	if (bind.port >= NR_PORTS)
		panic("xen: event channel %u is more than we have handlers for", bind.port);
	handlers[bind.port] = handler;
	unmask.port = bind.port;
	xen_must(hypercall2(event_channel_op, EVTCHNOP_unmask, &unmask), "unmask a port");
}

/* Atomic: a store that no event can slip behind. */
static u64 take_pending_sel(void)
{
	u64 words = 0;

	asm volatile("xchgq %0, %1" : "+r"(words), "+m"(xen_vcpu->evtchn_pending_sel) : : "memory");
	return words;
}

static void clear_pending(unsigned int port)
{
	asm volatile("lock btrq %1, %0" : "+m"(xen_shared_info->evtchn_pending[0]) : "r"((u64)port) : "memory");
}

/* The other way round than Xen raised it, or an event could fall between: first the flag down, then look. */
static void xen_evtchn_do_upcall(struct pt_regs *regs)
{
	do {
		xen_vcpu->evtchn_upcall_pending = 0;
		if (!(take_pending_sel() & 1))
			continue;
		u64 ports = xen_shared_info->evtchn_pending[0] & ~xen_shared_info->evtchn_mask[0];
		for (unsigned int port = 0; port < NR_PORTS; port++) {
			if (!(ports >> port & 1))
				continue;
			clear_pending(port);
			if (handlers[port])
				handlers[port](regs);
		}
	} while (xen_vcpu->evtchn_upcall_pending);
}

const struct pv_irq_ops xen_irq_ops = {
	.save_fl = xen_save_fl,
	.irq_enable = xen_irq_enable,
	.irq_disable = xen_irq_disable,
	.safe_halt = xen_safe_halt,
	.halt = xen_halt,
	.init_IRQ = xen_init_IRQ,
	.handle = xen_evtchn_do_upcall,
};
