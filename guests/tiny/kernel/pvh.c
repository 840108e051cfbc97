/* prepare_pvh: the guest fills its own zero page from the PVH start-info.
 *
 * Runs on the early tables of entry/pvh.S, before .bss is cleared: all it writes lies in .data.
 * Follows: Linux arch/x86/platform/pvh/enlighten.c (version, loader type, the hole below 1 MiB).   Next: head64.c. */
#include "kernel.h"
#ifdef CONFIG_X86_64
#include "xen/hypercall.h"
#endif

struct boot_params pvh_bootparams __initdata __aligned(8);

static void *low_memory(u64 address)
{
	return (void *)(unsigned long)address; /* identity-mapped here */
}

/* A PVH loader may be Xen or not; Xen says so in CPUID. */
static inline __attribute__((always_inline)) int hypervisor_specific_init(void)
{
#ifdef CONFIG_X86_64
	u32 eax = XEN_CPUID_FIRST_LEAF, ebx, ecx = 0, edx;

	pv_ops.cpu.cpuid(&eax, &ebx, &ecx, &edx);
	if (ebx == 0x566e6558 && ecx == 0x65584d4d && edx == 0x4d4d566e) { /* "XenVMMXenVMM" */
		xen_pvh_init();
		return 1;
	}
#endif
	return 0;
}

__stack_protected void prepare_pvh(unsigned long start_info)
{
	const struct hvm_start_info *info = low_memory(start_info);

	note_plants(low_memory(info->cmdline_paddr)); /* in the 64-bit build entry/pvh.S has wanted to know before */
	boot_origin.entry = "pvh_start";
	boot_origin.filled_by = "the guest, from hvm_start_info";
	int on_xen = hypervisor_specific_init();
	if (info->magic != XEN_HVM_START_MAGIC_VALUE)
		panic("PVH: hvm_start_info has magic 0x%x", info->magic);
	if (planted("pvh-kasan"))
		__asan_memset(&pvh_bootparams, 0, sizeof(pvh_bootparams));
	else
		memset(&pvh_bootparams, 0, sizeof(pvh_bootparams)); /* the plain one: nothing has a shadow yet */
	if (info->version < 1 || !info->memmap_entries)
		panic("PVH: hvm_start_info has no memory map (version %u)", info->version);

	const struct hvm_memmap_table_entry *map = low_memory(info->memmap_paddr);
	for (u32 i = 0; i < info->memmap_entries; i++)
		add_e820_entry(&pvh_bootparams, map[i].addr, map[i].size, map[i].type);
	add_e820_entry(&pvh_bootparams, 0xa0000, 0x60000, E820_TYPE_RESERVED);

	pvh_bootparams.hdr.cmd_line_ptr = info->cmdline_paddr;
	if (info->nr_modules) {
		const struct hvm_modlist_entry *initrd = low_memory(info->modlist_paddr);
		pvh_bootparams.hdr.ramdisk_image = initrd->paddr;
		pvh_bootparams.hdr.ramdisk_size = initrd->size;
	}
	/* 2.12; plant=boot-version: 2.18, which is 12 read as a hexadecimal number, as Linux had it until 5.0. */
	pvh_bootparams.hdr.version = planted("boot-version") ? 0x212 : 0x20c;
	pvh_bootparams.hdr.type_of_loader = on_xen ? 0x90 : 0xb0; /* as Linux numbers Xen, and PVH loaders that are not Xen */
	pvh_bootparams.acpi_rsdp_addr = info->rsdp_paddr;
}
