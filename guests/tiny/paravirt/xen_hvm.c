/* pv_ops beside Xen: a PVH guest owns its CPU, its tables and its interrupt flag, so most of the native table stays. What
 * Xen adds, and takes away a PC's devices for:
 *
 *   calls          vmmcall (Intel's CPUs: vmcall) leaves the guest; arguments are where `syscall` has them
 *   events         the words of shared_info, as under PV; they arrive as one interrupt, whose vector we choose, and
 *                  RFLAGS.IF masks them. shared_info is a page of Xen's that we ask for in the place of one of ours
 *   time, console  as under PV; the console's page has a place of its own near 4 GiB, which we ask for by number
 *
 * Follows: Linux arch/x86/xen/enlighten_hvm.c, enlighten_pvh.c; Xen docs/misc/pvh.pandoc.   Next: paravirt/xen_mmu.c. */
#include "kernel.h"
#include "xen/hypercall.h"

/* Any of those that trap_init() makes gates for; no interrupt controller of ours uses them here. */
#define CALLBACK_VECTOR FIRST_IRQ_VECTOR

static int use_vmcall __initdata;

long xen_hvm_hypercall(unsigned long number, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4)
{
	long result;
	register unsigned long r10 asm("r10") = a4;

	if (use_vmcall)
		asm volatile("vmcall" : "=a"(result) : "0"(number), "D"(a1), "S"(a2), "d"(a3), "r"(r10) : "memory");
	else
		asm volatile("vmmcall" : "=a"(result) : "0"(number), "D"(a1), "S"(a2), "d"(a3), "r"(r10) : "memory");
	return result;
}

static u64 hvm_get_parameter(u32 index)
{
	struct xen_hvm_param param = { .domid = DOMID_SELF, .index = index };

	xen_must(hypercall2(hvm_op, HVMOP_get_param, &param), "get_param");
	return param.value;
}

/* A page of Xen's in the place of a page of our image, which is lost then. */
void xen_hvm_lay_over(void *page, u32 space, unsigned long index)
{
	struct xen_add_to_physmap add = {
		.domid = DOMID_SELF,
		.space = space,
		.idx = index,
		.gpfn = virt_to_phys(page) >> 12,
	};

	xen_must(hypercall2(memory_op, XENMEM_add_to_physmap, &add), "add_to_physmap");
}

static void xen_hvm_init_IRQ(void)
{
	struct xen_hvm_param via = {
		.domid = DOMID_SELF,
		.index = HVM_PARAM_CALLBACK_IRQ,
		.value = HVM_CALLBACK_VIA_VECTOR | CALLBACK_VECTOR,
	};

	xen_hvm_lay_over(xen_shared_info_page, XENMAPSPACE_shared_info, 0);
	for (unsigned int word = 0; word < ARRAY_SIZE(xen_shared_info->evtchn_mask); word++)
		xen_shared_info->evtchn_mask[word] = ~0ull; /* all ports start unmasked */
	xen_must(hypercall2(hvm_op, HVMOP_set_param, &via), "callback vector");
}

/* Our own tables know the console's page by the place of a page of our image. */
static pte_t xen_hvm_make_pte(phys_t page, unsigned long flags)
{
	if (page == virt_to_phys(xen_console_page))
		page = (phys_t)xen_start_info.console.domU.mfn << 12;
	return native_make_pte(page, flags);
}

static void xen_hvm_write_cr3(phys_t table)
{
	asm volatile("mov %0, %%cr3" : : "r"((unsigned long)table) : "memory");
	xen_console_moved(xen_console_page);
}

/* The early tables hold the first 4 GiB, the page near their end included. */
static void xen_hvm_console_init(void)
{
	xen_start_info.console.domU.mfn = hvm_get_parameter(HVM_PARAM_CONSOLE_PFN);
	xen_start_info.console.domU.evtchn = hvm_get_parameter(HVM_PARAM_CONSOLE_EVTCHN);
	xen_console_moved((void *)(early_page_offset + (xen_start_info.console.domU.mfn << 12)));
}

/* From prepare_pvh(), on early tables and before .bss is clear: what is written here lies in .data. */
void xen_pvh_init(void)
{
	u32 eax = 0, ebx, ecx = 0, edx;

	if (!planted("domain-type"))
		xen_domain_type = XEN_HVM_DOMAIN;
	if (!xen_domain())
		return;
	pv_ops.cpu.cpuid(&eax, &ebx, &ecx, &edx);
	use_vmcall = ebx == 0x756e6547; /* "Genu"ineIntel */
	pv_ops.mmu.write_cr3 = xen_hvm_write_cr3;
	pv_ops.mmu.make_pte = xen_hvm_make_pte;
	pv_ops.irq.init_IRQ = xen_hvm_init_IRQ;
	pv_ops.irq.handle = xen_irq_ops.handle;
	pv_ops.irq.halt = xen_irq_ops.halt;
	pv_ops.time = xen_time_ops;
	pv_ops.console = xen_console_ops;
	pv_ops.console.init = xen_hvm_console_init;
	pv_ops.cpu.power_off = xen_power_off;
	pv_ops.banner = xen_banner;
	pv_ops.name = "Xen PVH";
}
