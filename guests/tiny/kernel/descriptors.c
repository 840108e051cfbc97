/* The kernel's own GDT, TSS and IDT, written through pv_ops.cpu.
 * Follows: SDM Vol. 3, 3.4.5 (segments), 6.11 and 6.14 (gates), 7.2 (TSS).   Next: traps.c. */
#include "kernel.h"

/* A page of its own, among the page tables: under Xen a page that holds a GDT may be mapped read-only and nothing else. */
gdt_desc gdt_page[PAGE_SIZE / sizeof(gdt_desc)] __section(".bss..page_tables") __aligned(PAGE_SIZE);
static gate_desc idt[NR_VECTORS] __aligned(16);
static struct tss_struct tss __aligned(16);
static char double_fault_stack[4096] __aligned(16);
char entry_stack[ENTRY_STACK_SIZE] __aligned(16);

extern char trap_stubs[][16]; /* entry/traps_*.S */

static void set_gate(unsigned int vector, u16 attributes)
{
	unsigned long handler = (unsigned long)trap_stubs[vector];
	gate_desc gate = { .segment = KERNEL_CS | pv_ops.kernel_rpl, .offset_low = handler, .attributes = attributes };

#ifdef CONFIG_X86_64
	gate.offset_middle = handler >> 16;
	gate.offset_high = handler >> 32;
	if (vector == 8)
		gate.attributes |= 1; /* IST 1: a double fault may mean that the stack is gone */
#else
	gate.offset_high = handler >> 16;
#endif
	pv_ops.cpu.write_idt_entry(idt, vector, &gate);
}

static void load_idt(void)
{
	const struct desc_ptr descr = { sizeof(idt) - 1, (unsigned long)idt };

	pv_ops.cpu.load_idt(&descr);
}

/* Exceptions from the first C function on, with no stack switching yet: a fault before trap_init() is told, not lost. */
void idt_setup_early_handler(void)
{
	for (unsigned int vector = 0; vector < 32; vector++)
		set_gate(vector, GATE_INTERRUPT);
	set_gate(3, GATE_INTERRUPT | GATE_DPL3); /* int3 is an instruction, and not every kernel runs in ring 0 */
	load_idt();
}

void trap_init(void)
{
	for (unsigned int irq = 0; irq < 16; irq++)
		set_gate(FIRST_IRQ_VECTOR + irq, GATE_INTERRUPT);
	set_gate(SYSCALL_VECTOR, GATE_INTERRUPT | GATE_DPL3);
	load_idt();
}

static void write_tss_descriptor(void)
{
	u64 base = (unsigned long)&tss, limit = sizeof(tss) - 1;

	pv_ops.cpu.write_gdt_entry(gdt_page, TSS_SELECTOR / 8, limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base & 0xff000000) << 32);
#ifdef CONFIG_X86_64
	pv_ops.cpu.write_gdt_entry(gdt_page, TSS_SELECTOR / 8 + 1, base >> 32);
#endif
}

void cpu_init(void)
{
	const struct desc_ptr descr = { GDT_ENTRIES * sizeof(gdt_desc) - 1, (unsigned long)gdt_page };

#ifdef CONFIG_X86_64
	pv_ops.cpu.write_gdt_entry(gdt_page, KERNEL32_CS / 8, 0x00cf9b000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, KERNEL_CS / 8, 0x00af9b000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, KERNEL_DS / 8, 0x00cf93000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, USER32_CS / 8, 0x00cffb000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, USER_DS / 8, 0x00cff3000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, USER_CS / 8, 0x00affb000000ffff);
	tss.ist[0] = (unsigned long)double_fault_stack + sizeof(double_fault_stack);
#else
	pv_ops.cpu.write_gdt_entry(gdt_page, KERNEL_CS / 8, 0x00cf9b000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, KERNEL_DS / 8, 0x00cf93000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, USER_CS / 8, 0x00cffb000000ffff);
	pv_ops.cpu.write_gdt_entry(gdt_page, USER_DS / 8, 0x00cff3000000ffff);
	tss.ss0 = KERNEL_DS;
	(void)double_fault_stack; /* a 32-bit #DF would need a task gate to have a stack of its own */
#endif
	tss.io_bitmap_base = sizeof(tss); /* none: user mode has no ports */
	write_tss_descriptor();
	pv_ops.cpu.load_gdt(&descr);
	pv_ops.cpu.load_tr(TSS_SELECTOR);
	pv_ops.cpu.load_sp0(&tss, (unsigned long)entry_stack + sizeof(entry_stack));
	pv_ops.cpu.syscall_init();
	fpu__init_cpu();
}
