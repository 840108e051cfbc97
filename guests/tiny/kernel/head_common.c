/* What every entry path shares before start_kernel: boot_params and its sanitising, the origin for the banner.
 * Follows: Linux arch/x86/include/asm/bootparam_utils.h.   Next: plant.c. */
#include "kernel.h"

struct boot_origin boot_origin __initdata = {
#ifdef CONFIG_X86_64
	.entry = "startup_64",
#else
	.entry = "startup_32",
#endif
	.filled_by = "the loader",
};

struct boot_params boot_params;
char boot_command_line[COMMAND_LINE_SIZE];
struct fixed_percpu_data fixed_percpu_data __initdata = { .stack_canary = (unsigned long)0x57ac6ca17a121e00ull };

/* Nobody promises zeros: behind the data of a kernel that unpacked itself lies the rest of what it unpacked.
 * plant=brk forgets the .brk area, as Linux did until 5.19. */
void clear_bss(void)
{
	memset(__bss_start, 0, __bss_stop - __bss_start);
	if (!planted("brk"))
		memset(__brk_base, 0, __brk_limit - __brk_base);
}

#ifdef CONFIG_X86_64
/* The compiler's call when the canary of a function has changed on its way. */
void __stack_chk_fail(void);
void __stack_chk_fail(void)
{
	panic("stack-protector: Kernel stack is corrupted in: %p", __builtin_return_address(0));
}
#endif

/* A loader that copied the whole file over the zero page, garbage included, left the sentinel byte nonzero. Then only
 * those fields that such a loader must have written can be believed. */
void sanitize_boot_params(struct boot_params *params)
{
	if (!params->sentinel)
		return;
	params->acpi_rsdp_addr = 0;
	params->ext_ramdisk_image = 0;
	params->ext_ramdisk_size = 0;
	params->ext_cmd_line_ptr = 0;
	params->kbd_status = 0;
	params->sentinel = 0;
}

/* For the paths on which the guest fills boot_params itself. */
void add_e820_entry(struct boot_params *params, u64 addr, u64 size, u32 type)
{
	if (params->e820_entries < E820_MAX_ENTRIES_ZEROPAGE)
		params->e820_table[params->e820_entries++] = (struct boot_e820_entry){ addr, size, type };
}
