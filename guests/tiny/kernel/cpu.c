/* Who made this CPU.   Follows: SDM Vol. 2, CPUID.   Next: mm.c. */
#include "kernel.h"

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
}
