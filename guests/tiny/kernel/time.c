/* Timer ticks.   Next: initrd.c. */
#include "kernel.h"

#define HZ 100

volatile unsigned int jiffies, user_ticks;

void time_init(void)
{
	pv_ops.time.init();
}

/* From do_trap, interrupts off. */
void do_timer(const struct pt_regs *regs)
{
	jiffies++;
	if (user_mode(regs))
		user_ticks++;
}

void wait_for_ticks(unsigned int count)
{
	unsigned int until = jiffies + count;

	pv_ops.time.set_periodic(HZ);
	while ((int)(until - jiffies) > 0)
		pv_ops.irq.safe_halt();
	pv_ops.irq.irq_disable();
	pv_ops.time.shutdown();
	printk("timer: %u ticks at %u Hz\n", count, HZ);
}
