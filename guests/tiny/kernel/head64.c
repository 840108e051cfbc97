/* From startup_64 to start_kernel: the bare-metal path's first C function, and the place where all 64-bit paths meet.
 * Follows: Linux arch/x86/kernel/head64.c.   Next: head_common.c, then main.c. */
#include "kernel.h"

/* Where the tables in use before paging_init() hold physical memory: ours do, from 0 to 4 GiB, at PAGE_OFFSET; those of
 * Xen's domain builder hold it where the kernel is linked. */
unsigned long early_page_offset __initdata = PAGE_OFFSET;

extern pte_t early_top_pgt[]; /* entry/head_64.S */

static void *early_va(phys_t address)
{
	return (void *)(early_page_offset + address);
}

static void copy_bootdata(unsigned long real_mode_data)
{
	memcpy(&boot_params, early_va(real_mode_data), sizeof(boot_params));
	sanitize_boot_params(&boot_params);

	phys_t cmdline = boot_params.hdr.cmd_line_ptr | (phys_t)boot_params.ext_cmd_line_ptr << 32;
	if (cmdline)
		strscpy(boot_command_line, early_va(cmdline), COMMAND_LINE_SIZE);
}

/* From entry/head_64.S, at our linked address, with the physical address of the zero page. */
void x86_64_start_kernel(unsigned long real_mode_data)
{
	const struct boot_params *params = early_va(real_mode_data);

	note_plants(params->hdr.cmd_line_ptr ? early_va(params->hdr.cmd_line_ptr) : NULL);
	cr4_init_shadow();
	clear_bss();
	kasan_early_init(early_top_pgt);
	idt_setup_early_handler();
	copy_bootdata(real_mode_data);
	load_ucode_bsp();
	x86_64_start_reservations(real_mode_data);
}

/* Here the paths join. Xen PV's comes without copy_bootdata(), and leaves the version 0 to say so. */
void x86_64_start_reservations(unsigned long real_mode_data)
{
	if (!boot_params.hdr.version)
		copy_bootdata(real_mode_data);
	x86_early_init_platform_quirks();
	start_kernel();
}
