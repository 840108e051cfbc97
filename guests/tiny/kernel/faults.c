/* Deliberate faults, so that users see what a tool says then. Each is a word on the command line:
 *
 *   panic    a kernel panic
 *   triple   a fault while no handler can be reached
 *   spin     an endless loop with interrupts off, in spin_forever
 *   badptr   a read from an address that nothing is mapped at, in touch_bad_pointer
 *   exit=N   the guest reports failure N
 *
 * Next: user.c. */
#include "kernel.h"

#define BAD_POINTER 0xdead0000ul /* in user space, never mapped */

static void spin_forever(void)
{
	pv_ops.irq.irq_disable();
	for (;;)
		asm volatile("");
}

static void touch_bad_pointer(void)
{
	printk("badptr: read %x\n", *(volatile u32 *)BAD_POINTER);
}

/* No descriptor table for exceptions: #UD cannot be delivered, nor #GP, nor #DF. Bare hardware calls this a triple
 * fault and resets; a hypervisor ends the guest. */
static void fault_without_handler(void)
{
	const struct desc_ptr empty = { 0, 0 };

	pv_ops.irq.irq_disable();
	pv_ops.cpu.load_idt(&empty);
	asm volatile("ud2");
}

void deliberate_faults(void)
{
	if (cmdline_has("panic"))
		panic("asked for on the command line");
	if (cmdline_has("triple"))
		fault_without_handler();
	if (cmdline_has("spin"))
		spin_forever();
	if (cmdline_has("badptr"))
		touch_bad_pointer();
}
