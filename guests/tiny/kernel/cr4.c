/* CR4 and its shadow: to read the register is slow, and under a hypervisor a trap, so Linux keeps a copy for each CPU and
 * never reads it again. Whoever sets a bit starts from the copy: it must have been made, once, on every entry path.
 *
 * plant=cr4-shadow leaves that out under Xen, as Linux 4.0 did: the first update starts from 0, and all bits that were
 * set before are gone from the copy and from what is written.
 * Follows: Linux arch/x86/include/asm/tlbflush.h (2015), arch/x86/kernel/fpu/init.c.   Next: kasan.c. */
#include "kernel.h"

#define X86_CR4_OSFXSR 0x200ul
#define X86_CR4_OSXMMEXCPT 0x400ul

struct tlb_state cpu_tlbstate __initdata; /* of the one CPU there is */

void cr4_init_shadow(void)
{
	cpu_tlbstate.cr4 = pv_ops.cpu.read_cr4();
}

static void cr4_set_bits(unsigned long mask)
{
	unsigned long cr4 = cpu_tlbstate.cr4;

	if ((cr4 | mask) == cr4)
		return;
	cpu_tlbstate.cr4 = cr4 | mask;
	pv_ops.cpu.write_cr4(cr4 | mask);
}

/* Tells the CPU that this kernel knows FXSAVE and the exceptions of SSE: on every path the first who changes CR4. */
void fpu__init_cpu(void)
{
	unsigned long before = pv_ops.cpu.read_cr4(), mask = 0;

	if (boot_cpu_has(X86_FEATURE_FXSR))
		mask |= X86_CR4_OSFXSR;
	if (boot_cpu_has(X86_FEATURE_XMM))
		mask |= X86_CR4_OSXMMEXCPT;
	cr4_set_bits(mask);
	check(!(before & ~cpu_tlbstate.cr4), "CR4 keeps the bits that were set before");
}
