/* From startup_32 to start_kernel: the place where all 32-bit paths meet.
 * Follows: Linux arch/x86/kernel/head32.c.   Next: head_common.c, then main.c. */
#include "kernel.h"

/* From entry/head_32.S, at our linked address; .bss is clear, boot_params and boot_command_line are copied. */
void i386_start_kernel(void)
{
	note_plants(boot_command_line);
	cr4_init_shadow();
	idt_setup_early_handler();
	sanitize_boot_params(&boot_params);
	x86_early_init_platform_quirks();
	start_kernel();
}
