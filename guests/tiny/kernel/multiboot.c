/* prepare_multiboot: the guest fills its own zero page from the Multiboot information, as it does for PVH. Linux has no
 * such door; type and version are those that it gives an unnamed loader.
 * Runs on the tables of entry/prepare_32.S, before .bss is cleared.   Next: head32.c. */
#include "kernel.h"
#include "multiboot.h"

struct boot_params multiboot_bootparams __section(".bss..early") __aligned(8);

static void *low_memory(u32 address)
{
	return (void *)(unsigned long)address; /* identity-mapped here */
}

void prepare_multiboot(unsigned long info_address)
{
	const struct multiboot_info *info = low_memory(info_address);
	struct boot_params *params = &multiboot_bootparams;

	boot_origin.entry = "multiboot_start";
	boot_origin.filled_by = "the guest, from multiboot_info";
	memset(params, 0, sizeof(*params));

	if (info->flags & MULTIBOOT_INFO_MEM_MAP) {
		const char *at = low_memory(info->mmap_addr), *end = at + info->mmap_length;
		while (at < end) {
			const struct multiboot_mmap_entry *entry = (const void *)at;
			add_e820_entry(params, entry->addr, entry->len, entry->type);
			at += entry->size + sizeof(entry->size);
		}
	} else if (info->flags & MULTIBOOT_INFO_MEMORY) {
		params->alt_mem_k = info->mem_upper;
	}
	if (info->flags & MULTIBOOT_INFO_CMDLINE)
		params->hdr.cmd_line_ptr = info->cmdline;
	if (info->flags & MULTIBOOT_INFO_MODS && info->mods_count) {
		const struct multiboot_mod_list *initrd = low_memory(info->mods_addr);
		params->hdr.ramdisk_image = initrd->mod_start;
		params->hdr.ramdisk_size = initrd->mod_end - initrd->mod_start;
	}
	params->hdr.version = 0x20c;
	params->hdr.type_of_loader = 0xff;
}
