/* What only a PC has, or only who owns the machine may do. Run elsewhere it is dead code: harmless with luck, and never
 * meant to be there.
 *
 *   load_ucode_bsp            the revision of the CPU's microcode, in order to replace it
 *   reserve_bios_regions      the BIOS data area, which only a BIOS fills
 *   default_find_smp_config   its tables of processors, in the low megabyte
 *   get_mtrr_state            memory type ranges: registers of the machine, not of a guest
 *
 * x86_early_init_platform_quirks() decides by hardware_subarch; about microcode the entry paths do (that of bare hardware
 * calls). plant=mtrr and plant=bios-area let a Xen guest count as a PC, plant=microcode adds the call to Xen's path.
 * Follows: Linux arch/x86/kernel/platform-quirks.c, ebda.c, mpparse.c, cpu/mtrr/, cpu/microcode/.   Next: memblock.c. */
#include "kernel.h"

#define MSR_MTRRcap 0xfe
#define MSR_AMD64_PATCH_LEVEL 0x8b

struct x86_platform_ops x86_platform;

void x86_early_init_platform_quirks(void)
{
	int pc = boot_params.hdr.hardware_subarch == X86_SUBARCH_PC;
	int xen = boot_params.hdr.hardware_subarch == X86_SUBARCH_XEN;

	x86_platform.legacy.bios_areas = pc || (xen && planted("bios-area"));
	x86_platform.legacy.mtrr = pc || (xen && planted("mtrr"));
}

#ifdef CONFIG_X86_64
void load_ucode_bsp(void)
{
	/* AMD's number for it, in the lower half. Intel has the same register, and its number in the upper. */
	u64 level = pv_ops.cpu.read_msr(MSR_AMD64_PATCH_LEVEL);

	boot_cpu_data.microcode = (u32)level ?: level >> 32;
	boot_cpu_data.microcode_known = 1;
}
#endif

/* --- what a BIOS leaves in low memory --- */

/* The extended data area lies below 640 KiB; a word at 0x40e has its segment. From there on nothing is RAM. */
static phys_t reserve_bios_regions(void)
{
	u16 segment;

	read_physical(&segment, 0x40e, sizeof(segment));
	phys_t start = (phys_t)segment << 4;
	if (start < 0x80000 || start > 0x9f000)
		start = 0x9f000;
	memblock_reserve(start, 0x100000 - start);
	return start;
}

/* Looks for the letters that a table of processors begins with. */
static int smp_scan_config(phys_t base)
{
	static char kib[1024];

	read_physical(kib, base, sizeof(kib));
	for (unsigned int at = 0; at < sizeof(kib); at += 16)
		if (!memcmp(kib + at, "_MP_", 4))
			return 1;
	return 0;
}

static int default_find_smp_config(void)
{
	return smp_scan_config(0) || smp_scan_config(0x9fc00);
}

void find_bios_areas(void)
{
	if (!x86_platform.legacy.bios_areas)
		return;
	phys_t start = reserve_bios_regions();
	printk("bios: [mem 0x%llx-0xfffff] reserved, %s processor table below\n", start, default_find_smp_config() ? "a" : "no");
}

/* --- memory type ranges --- */

static u32 get_mtrr_state(void)
{
	return boot_cpu_has(X86_FEATURE_MTRR) ? pv_ops.cpu.read_msr(MSR_MTRRcap) & 0xff : 0;
}

void mtrr_bp_init(void)
{
	if (x86_platform.legacy.mtrr)
		printk("mtrr: %u variable ranges\n", get_mtrr_state());
}
