/* What this CPU is and has: boot_cpu_data, and what follows from it for page-table entries.
 *
 * Under Xen xen_start_kernel() asks early, since it needs NX and the width of addresses before its first page tables;
 * setup_arch() asks again on every path. plant=nx-order: NX is asked for after the first entry that has it;
 * plant=phys-bits: the width not at all, until setup_arch().
 * Follows: Linux arch/x86/kernel/cpu/common.c, arch/x86/mm/setup_nx.c; SDM Vol. 2, CPUID.   Next: cr4.c. */
#include "kernel.h"

struct cpuinfo_x86 boot_cpu_data;

/* Bits that may stand in a page-table entry; all, until we know better. */
unsigned long __supported_pte_mask __initdata = ~0ul;

static u32 cpuid_edx(u32 leaf)
{
	u32 eax = leaf, ebx, ecx = 0, edx;

	pv_ops.cpu.cpuid(&eax, &ebx, &ecx, &edx);
	return edx;
}

static u32 cpuid_eax(u32 leaf)
{
	u32 eax = leaf, ebx, ecx = 0, edx;

	pv_ops.cpu.cpuid(&eax, &ebx, &ecx, &edx);
	return eax;
}

void get_cpu_cap(void)
{
	boot_cpu_data.x86_capability[0] = cpuid_edx(1);
	boot_cpu_data.x86_capability[1] = cpuid_eax(0x80000000) >= 0x80000001 ? cpuid_edx(0x80000001) : 0;
}

int boot_cpu_has(unsigned int feature)
{
	return boot_cpu_data.x86_capability[feature / 32] >> feature % 32 & 1;
}

void get_cpu_address_sizes(void)
{
	boot_cpu_data.x86_phys_bits = cpuid_eax(0x80000000) >= 0x80000008 ? cpuid_eax(0x80000008) & 0xff : 36;
}

/* Two-level tables have no such bit, whatever the CPU says. */
void x86_configure_nx(void)
{
	if (boot_cpu_has(X86_FEATURE_NX))
		__supported_pte_mask |= PAGE_NX;
	else
		__supported_pte_mask &= ~PAGE_NX;
}

static void x86_report_nx(void)
{
	if (!PAGE_NX)
		printk("NX (Execute Disable) protection: not in two-level tables\n");
	else if (__supported_pte_mask & PAGE_NX)
		printk("NX (Execute Disable) protection: active\n");
	else
		printk("NX (Execute Disable) protection: missing in CPU\n");
}

void early_cpu_init(void)
{
	union {
		u32 words[3];
		char text[13];
	} vendor = { .text = "" };
	u32 max = 0, ecx = 0, signature = 1, ebx, edx;

	pv_ops.cpu.cpuid(&max, &vendor.words[0], &vendor.words[2], &vendor.words[1]);
	vendor.text[12] = '\0';
	pv_ops.cpu.cpuid(&signature, &ebx, &ecx, &edx);

	u32 family = signature >> 8 & 15, model = signature >> 4 & 15;
	if (family == 15)
		family += signature >> 20 & 0xff;
	if (family >= 6)
		model |= signature >> 12 & 0xf0;
	printk("CPU: %s family 0x%x model 0x%x stepping 0x%x\n", vendor.text, family, model, signature & 15);
	if (boot_cpu_data.microcode_known)
		printk("microcode: revision 0x%x\n", boot_cpu_data.microcode);

	get_cpu_cap();
	get_cpu_address_sizes();
	x86_configure_nx();
	x86_report_nx();
}
