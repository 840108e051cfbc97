/* pv_ops.time under Xen: a clock read from shared memory, and a timer that is set by hypercall and comes as an event.
 *
 * There is no device to ask. Xen writes down what the TSC showed at a known time and how fast it runs; the rest is
 * arithmetic. The timer knows absolute times of the same clock, in nanoseconds since Xen started, and fires once.
 * Follows: Linux arch/x86/xen/time.c, arch/x86/kernel/pvclock.c.   Next: paravirt/xen_grant.c. */
#include "kernel.h"
#include "xen/hypercall.h"

#define NSEC_PER_SEC 1000000000ull

static u64 period; /* ns between ticks, 0 for a single one */
static u64 next_tick;

static u64 rdtsc(void)
{
	u32 low, high;
	asm volatile("rdtsc" : "=a"(low), "=d"(high)); /* does not trap */
	return low | (u64)high << 32;
}

static u64 xen_clock(void)
{
	const volatile struct vcpu_time_info *time = &xen_vcpu->time;
	u32 version;
	u64 now;

	do {
		version = time->version;
		u64 ticks = rdtsc() - time->tsc_timestamp;
		ticks = time->tsc_shift < 0 ? ticks >> -time->tsc_shift : ticks << time->tsc_shift;
		now = time->system_time + (u64)((unsigned __int128)ticks * time->tsc_to_system_mul >> 32);
	} while (version & 1 || version != time->version); /* Xen was writing */
	return now;
}

static void set_timer(u64 at)
{
	struct vcpu_set_singleshot_timer timer = { .timeout_abs_ns = at };

	next_tick = at;
	xen_must(hypercall3(vcpu_op, VCPUOP_set_singleshot_timer, 0, &timer), "set_singleshot_timer");
}

static void xen_timer_interrupt(const struct pt_regs *regs)
{
	if (period)
		set_timer(next_tick + period); /* from when it was due, not from now: ticks do not drift */
	do_timer(regs);
}

static void xen_time_init(void)
{
	/* A vCPU starts with a 100 Hz tick of Xen's, for guests that can do no better. */
	xen_must(hypercall3(vcpu_op, VCPUOP_stop_periodic_timer, 0, NULL), "stop_periodic_timer");
	xen_bind_virq(VIRQ_TIMER, xen_timer_interrupt);
}

static void xen_set_periodic(unsigned int hz)
{
	period = NSEC_PER_SEC / hz;
	set_timer(xen_clock() + period);
}

static void xen_set_next_event(unsigned int microseconds)
{
	period = 0;
	set_timer(xen_clock() + microseconds * 1000ull);
}

static void xen_time_shutdown(void)
{
	period = 0;
	xen_must(hypercall3(vcpu_op, VCPUOP_stop_singleshot_timer, 0, NULL), "stop_singleshot_timer");
}

const struct pv_time_ops xen_time_ops = {
	.init = xen_time_init,
	.set_periodic = xen_set_periodic,
	.set_next_event = xen_set_next_event,
	.shutdown = xen_time_shutdown,
};
