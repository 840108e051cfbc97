/* panic: the kernel cannot go on. The two lines are Linux's, because tools look for them.   Next: faults.c. */
#include "kernel.h"

void panic(const char *format, ...)
{
	__builtin_va_list arguments;

	pv_ops.irq.irq_disable();
	for (int end = 0; end < 2; end++) {
		printk(end ? "---[ end Kernel panic - not syncing: " : "Kernel panic - not syncing: ");
		__builtin_va_start(arguments, format);
		vprintk(format, arguments);
		__builtin_va_end(arguments);
		printk(end ? " ]---\n" : "\n");
	}
	pv_ops.irq.halt();
}
