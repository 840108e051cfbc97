/* The memory map that came in boot_params.   Follows: Linux arch/x86/kernel/e820.c.   Next: cpu.c. */
#include "kernel.h"

static const char *e820_type_name(u32 type)
{
	static const char *const names[] = { "?", "usable", "reserved", "ACPI data", "ACPI NVS", "unusable" };

	return type < ARRAY_SIZE(names) ? names[type] : "other";
}

void e820__memory_setup(void)
{
	const char *who = pv_ops.mmu.memory_setup();

	printk("%s-provided physical RAM map:\n", who);
	for (unsigned int i = 0; i < boot_params.e820_entries && i < E820_MAX_ENTRIES_ZEROPAGE; i++) {
		const struct boot_e820_entry *entry = &boot_params.e820_table[i];
		printk("%s: [mem 0x%016llx-0x%016llx] %s\n", who, entry->addr, entry->addr + entry->size - 1,
		       e820_type_name(entry->type));
	}
	printk("Memory: %lu KiB usable\n", (unsigned long)(e820_ram_bytes() >> 10));
}

phys_t e820_ram_bytes(void)
{
	phys_t sum = 0;

	for (unsigned int i = 0; i < boot_params.e820_entries && i < E820_MAX_ENTRIES_ZEROPAGE; i++)
		if (boot_params.e820_table[i].type == E820_TYPE_RAM)
			sum += boot_params.e820_table[i].size;
	return sum;
}
