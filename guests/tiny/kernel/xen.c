/* xen_start_kernel: the first C function under Xen PV. It finds its hypervisor, installs the Xen pv_ops, fills
 * boot_params from start_info, and joins the other paths in x86_64_start_reservations.
 *
 * Runs in ring 3 on the domain builder's page tables, events masked. Nobody has prepared a zero page for us: Xen's loader
 * knows nothing of Linux, so this kernel plays its own boot loader, number 0x90 (9: Xen).
 * Follows: Linux arch/x86/xen/enlighten_pv.c (xen_start_kernel), setup.c.   Next: paravirt/xen.c, then head64.c. */
#include "kernel.h"
#include "xen/hypercall.h"

struct start_info xen_start_info;
enum xen_domain_type xen_domain_type __initdata; /* prepare_pvh() knows it before .bss is clear */

void xen_must(long result, const char *what)
{
	if (result < 0)
		panic("xen: %s: error %ld", what, result);
}

/* The module that the builder loaded: by frame number when it did as our note MOD_START_PFN allows, else mapped. */
static phys_t ramdisk_address(const struct start_info *info)
{
	if (!info->mod_len)
		return 0;
	if (info->flags & SIF_MOD_START_PFN)
		return info->mod_start << 12;
	return virt_to_phys((void *)(unsigned long)info->mod_start);
}

static void fill_boot_params(const struct start_info *info)
{
	boot_params.hdr.type_of_loader = 9 << 4;
	boot_params.hdr.ramdisk_image = ramdisk_address(info);
	boot_params.ext_ramdisk_image = ramdisk_address(info) >> 32;
	boot_params.hdr.ramdisk_size = info->mod_len;
	boot_params.hdr.cmd_line_ptr = virt_to_phys(info->cmd_line);
	boot_params.hdr.hardware_subarch = X86_SUBARCH_XEN;
	/* hdr.version stays 0: no boot protocol was spoken. x86_64_start_reservations() understands. */
}

_Static_assert(offsetof(struct start_info, cmd_line) == START_INFO_cmd_line, "entry/xen.S");

/* Each step is one that other paths take, too, or need not; which of them may be forgotten says planted(). */
__stack_protected void xen_start_kernel(const struct start_info *info)
{
	if (!planted("bss"))
		clear_bss();
	boot_origin.entry = "startup_xen";
	boot_origin.filled_by = "the guest, from start_info";

	/* The builder mapped start_info behind our image; paging_init() will not. What we need of it later is in a copy. */
	memcpy(&xen_start_info, info, sizeof(xen_start_info));
	if (!planted("domain-type"))
		xen_domain_type = XEN_PV_DOMAIN;
	xen_init_pv_ops();
	pv_ops.console.init(); /* whatever goes wrong from here on can be said */
	if (!planted("native-iret"))
		xen_early_iret_patch();
	if (memcmp(info->magic, "xen-3.0-x86_64", 14))
		panic("xen: start_info has magic \"%s\"", info->magic);

	get_cpu_cap();
	if (planted("nx-order"))
		xen_setup_gdt();
	x86_configure_nx();
	if (!planted("nx-order"))
		xen_setup_gdt();
	if (!planted("phys-bits"))
		get_cpu_address_sizes();
	if (!planted("kasan"))
		kasan_early_init((pte_t *)info->pt_base);
	if (!planted("early-traps"))
		idt_setup_early_handler();

	xen_reserve_special_pages();
	fill_boot_params(info);
	if (planted("microcode"))
		load_ucode_bsp();
	if (!planted("cr4-shadow"))
		cr4_init_shadow();
	early_page_offset = START_KERNEL_MAP;
	x86_64_start_reservations(virt_to_phys(&boot_params));
}
