/* setup_arch: says what the loader handed over, and gives the kernel its own page tables.
 * Follows: Linux arch/x86/kernel/setup.c.   Next: e820.c. */
#include "kernel.h"

static const char *subarch_name(u32 subarch)
{
	switch (subarch) {
	case X86_SUBARCH_PC:
		return "PC";
	case X86_SUBARCH_LGUEST:
		return "lguest";
	case X86_SUBARCH_XEN:
		return "Xen";
	default:
		return "unknown";
	}
}

void setup_arch(void)
{
	const struct setup_header *hdr = &boot_params.hdr;

	printk("boot_params: filled by %s\n", boot_origin.filled_by);
	printk("loader: type 0x%02x, boot protocol %u.%02u, hardware_subarch %u (%s)\n", hdr->type_of_loader,
	       hdr->version >> 8, hdr->version & 0xff, hdr->hardware_subarch, subarch_name(hdr->hardware_subarch));
	printk("Command line: %s\n", boot_command_line);
	early_cpu_init();
	early_trap_selftest();

	int late = planted("early-reserve");
	if (!late)
		early_reserve_memory();
	e820__memory_setup();
	if (late)
		early_reserve_memory();
	check(!memblock_regions_overlap(), "no memory is reserved for two");

	paging_init();
	kasan_init();
	late = planted("struct-pages");
	if (!late)
		sparse_init();
	if (pv_ops.mmu.init_after_bootmem)
		pv_ops.mmu.init_after_bootmem();
	if (late)
		sparse_init();

	find_bios_areas();
	mtrr_bp_init();
}

/* Words are separated by spaces; one that nobody knows is nobody's business. */
const char *cmdline_value(const char *key)
{
	size_t length = strlen(key);

	for (const char *word = boot_command_line; *word;) {
		while (*word == ' ')
			word++;
		if (!memcmp(word, key, length))
			return word + length;
		while (*word && *word != ' ')
			word++;
	}
	return NULL;
}

int cmdline_has(const char *word)
{
	const char *end = cmdline_value(word);

	return end && (*end == ' ' || *end == '\0');
}
