/* start_kernel: one kernel from here on, whichever way it came up. It knows its machine through pv_ops only.
 * Follows: Linux init/main.c (the order of the steps).   Next: setup.c. */
#include "kernel.h"

#ifdef CONFIG_X86_64
#define ARCH "x86_64"
#else
#define ARCH "i386"
#endif

static unsigned int failures;

void check(int holds, const char *what)
{
	printk("check: %s: %s\n", what, holds ? "ok" : "FAILED");
	if (!holds)
		failures++;
}

void start_kernel(void)
{
	pv_ops.console.init();
	printk("zeropage tiny kernel (" ARCH ") via %s on %s\n", boot_origin.entry, pv_ops.name);
	if (pv_ops.banner)
		pv_ops.banner();

	setup_arch();
	trap_init();
	cpu_init();
	pv_ops.irq.init_IRQ();
	time_init();
	rest_init();
}

/* The last line is the verdict, and nothing comes after it but the power switch. */
static void __noreturn report_and_power_off(void)
{
	const char *asked = cmdline_value("exit=");
	int status = failures ? 1 : 0;

	for (int n = 0; asked && *asked >= '0' && *asked <= '9'; asked++)
		status = n = n * 10 + (*asked - '0');
	if (status)
		printk("verdict: failure %d\n", status);
	else
		printk("verdict: success\n");
	pv_ops.cpu.power_off(status);
}

static void exercise_breakpoint(void)
{
	unsigned int before = breakpoints_taken;

	asm volatile("int3");
	check(breakpoints_taken == before + 1, "int3 is taken and returns");
}

void rest_init(void)
{
	exercise_breakpoint();
	wait_for_ticks(3);
	list_initrd();
	deliberate_faults();
	run_user_task();
	report_and_power_off();
}
