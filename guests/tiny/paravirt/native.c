/* pv_ops on bare hardware: one operation, one instruction or a few port accesses. The table at the end is the initial
 * value of pv_ops; a hypervisor's entry path replaces what it must.
 * Follows: SDM Vol. 3; the data sheets of 8259A, 8254 and 16550.   Next: kernel/main.c. */
#include "kernel.h"

void native_iret(void); /* entry/traps_*.S */
void native_swapgs(void);
void entry_SYSCALL_64(void);

/* --- cpu --- */

static void native_load_gdt(const struct desc_ptr *gdt)
{
	asm volatile("lgdt %0" : : "m"(*gdt));
}

static void native_load_idt(const struct desc_ptr *idt)
{
	asm volatile("lidt %0" : : "m"(*idt));
}

static void native_load_tr(unsigned int selector)
{
	asm volatile("ltr %w0" : : "q"(selector));
}

static void native_write_gdt_entry(gdt_desc *gdt, unsigned int index, gdt_desc desc)
{
	gdt[index] = desc;
}

static void native_write_idt_entry(gate_desc *idt, unsigned int vector, const gate_desc *gate)
{
	idt[vector] = *gate;
}

static void native_load_sp0(struct tss_struct *tss, unsigned long sp)
{
	tss->sp0 = sp;
	fixed_percpu_data.entry_sp = sp; /* `syscall` does not look into the TSS */
}

u64 native_read_msr(u32 msr)
{
	u32 low, high;
	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (u64)high << 32;
}

#ifdef CONFIG_X86_64
static void native_write_msr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

static void native_syscall_init(void)
{
	native_write_msr(MSR_STAR, (u64)USER32_CS << 48 | (u64)KERNEL_CS << 32);
	native_write_msr(MSR_LSTAR, (unsigned long)entry_SYSCALL_64);
	native_write_msr(MSR_SFMASK, 0x47700); /* TF IF DF IOPL NT AC */
	native_write_msr(MSR_KERNEL_GS_BASE, 0); /* the user's */
	native_write_msr(MSR_EFER, native_read_msr(MSR_EFER) | 1); /* SCE */
}
#else
static void native_syscall_init(void)
{
	/* int $0x80 needs no more than its gate. */
}
#endif

static void native_cpuid(u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	asm volatile("cpuid" : "+a"(*eax), "=b"(*ebx), "+c"(*ecx), "=d"(*edx));
}

unsigned long native_read_cr0(void)
{
	unsigned long value;
	asm volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

unsigned long native_read_cr4(void)
{
	unsigned long value;
	asm volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

void native_write_cr4(unsigned long value)
{
	asm volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

/* Port 0xf4 is the debug-exit device of zeropage and of QEMU (isa-debug-exit). Where there is none, we stay halted. */
static void __noreturn native_power_off(int status)
{
	outl(0xf4, status);
	pv_ops.irq.halt();
}

/* --- irq: two 8259A --- */

#define PIC1_COMMAND 0x20
#define PIC1_DATA 0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA 0xa1
#define PIC_SPECIFIC_EOI 0x60

static u16 cached_irq_mask = 0xffff;

static unsigned long native_save_fl(void)
{
	unsigned long flags;
	asm volatile("pushf; pop %0" : "=r"(flags) : : "memory");
	return flags;
}

static void native_irq_enable(void)
{
	asm volatile("sti" : : : "memory");
}

static void native_irq_disable(void)
{
	asm volatile("cli" : : : "memory");
}

static void native_safe_halt(void)
{
	asm volatile("sti; hlt" : : : "memory"); /* sti holds interrupts off for one more instruction */
}

static void __noreturn native_halt(void)
{
	for (;;)
		asm volatile("cli; hlt" : : : "memory");
}

static void write_irq_mask(void)
{
	outb(PIC1_DATA, cached_irq_mask & 0xff);
	outb(PIC2_DATA, cached_irq_mask >> 8);
}

static void native_init_IRQ(void)
{
	outb(PIC1_COMMAND, 0x11); /* ICW1: edge triggered, cascade, ICW4 follows */
	outb(PIC1_DATA, FIRST_IRQ_VECTOR);
	outb(PIC1_DATA, 1 << 2); /* the second one sits at IRQ 2 */
	outb(PIC1_DATA, 0x01); /* 8086 mode, EOI by hand */
	outb(PIC2_COMMAND, 0x11);
	outb(PIC2_DATA, FIRST_IRQ_VECTOR + 8);
	outb(PIC2_DATA, 2);
	outb(PIC2_DATA, 0x01);
	cached_irq_mask = 0xffff & ~(1 << 2);
	write_irq_mask();
}

static void unmask_irq(unsigned int irq)
{
	cached_irq_mask &= ~(1 << irq);
	write_irq_mask();
}

static void end_of_interrupt(unsigned int irq)
{
	if (irq >= 8) {
		outb(PIC2_COMMAND, PIC_SPECIFIC_EOI | (irq & 7));
		irq = 2;
	}
	outb(PIC1_COMMAND, PIC_SPECIFIC_EOI | irq);
}

static void native_handle(struct pt_regs *regs)
{
	unsigned int irq = regs->vector - FIRST_IRQ_VECTOR;

	if (irq == 0)
		do_timer(regs);
	end_of_interrupt(irq);
}

/* --- mmu --- */

/* Loaders of the oldest kind only say how many KiB lie above the first MiB. */
static const char *native_memory_setup(void)
{
	if (boot_params.e820_entries)
		return "BIOS-e820";
	add_e820_entry(&boot_params, 0, 0xa0000, E820_TYPE_RAM);
	add_e820_entry(&boot_params, 0x100000, (u64)boot_params.alt_mem_k << 10, E820_TYPE_RAM);
	return "BIOS-88";
}

static unsigned long native_read_cr2(void)
{
	unsigned long value;
	asm volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}

static unsigned long native_read_cr3(void)
{
	unsigned long value;
	asm volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static void native_write_cr3(phys_t table)
{
	asm volatile("mov %0, %%cr3" : : "r"((unsigned long)table) : "memory");
}

pte_t native_make_pte(phys_t page, unsigned long flags)
{
	return (pte_t)page | flags;
}

phys_t native_pte_phys(pte_t pte)
{
	return pte & ~PAGE_NX & ~0xffful;
}

static void native_alloc_table(phys_t page, unsigned int level)
{
	(void)page, (void)level; /* the hardware does not care; a hypervisor wants to know first */
}

static void native_set_table(pte_t *entry, pte_t value, unsigned int level)
{
	(void)level;
	*(volatile pte_t *)entry = value;
}

static void native_set_pte_at(unsigned long va, pte_t *entry, pte_t value)
{
	(void)va;
	*(volatile pte_t *)entry = value;
}

static void native_flush_tlb_one(unsigned long va)
{
	asm volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* --- time: counter 0 of the 8254 on IRQ 0 --- */

#define PIT_COUNTER0 0x40
#define PIT_COMMAND 0x43
#define PIT_HZ 1193182

static void load_counter0(u8 command, unsigned int count)
{
	outb(PIT_COMMAND, command);
	outb(PIT_COUNTER0, count & 0xff);
	outb(PIT_COUNTER0, count >> 8);
}

static void native_time_init(void)
{
	unmask_irq(0);
}

static void native_set_periodic(unsigned int hz)
{
	load_counter0(0x34, (PIT_HZ + hz / 2) / hz); /* counter 0, low then high byte, mode 2: rate generator */
}

static void native_set_next_event(unsigned int microseconds)
{
	load_counter0(0x30, microseconds * (PIT_HZ / 1000) / 1000 + 1); /* mode 0: interrupt on terminal count */
}

static void native_time_shutdown(void)
{
	outb(PIT_COMMAND, 0x30); /* mode 0 without a count: OUT stays low */
}

/* --- console: 16550 at COM1, polled --- */

#define UART 0x3f8

static void native_console_init(void)
{
	outb(UART + 1, 0x00); /* no interrupts */
	outb(UART + 3, 0x80); /* divisor latch: 115200 baud */
	outb(UART + 0, 0x01);
	outb(UART + 1, 0x00);
	outb(UART + 3, 0x03); /* 8 data bits, no parity, 1 stop bit */
	outb(UART + 2, 0x07); /* FIFOs on and empty */
	outb(UART + 4, 0x03); /* DTR, RTS */
}

static void native_console_write(const char *text, unsigned int length)
{
	for (; length; text++, length--) {
		while (!(inb(UART + 5) & 0x20)) /* transmitter holding register empty */
			;
		outb(UART, *text);
	}
}

struct paravirt pv_ops __initdata = {
	.cpu = {
		.iret = native_iret,
#ifdef CONFIG_X86_64
		.swapgs = native_swapgs,
#endif
		.load_gdt = native_load_gdt,
		.load_idt = native_load_idt,
		.load_tr = native_load_tr,
		.write_gdt_entry = native_write_gdt_entry,
		.write_idt_entry = native_write_idt_entry,
		.load_sp0 = native_load_sp0,
		.syscall_init = native_syscall_init,
		.cpuid = native_cpuid,
		.read_msr = native_read_msr,
		.read_cr0 = native_read_cr0,
		.read_cr4 = native_read_cr4,
		.write_cr4 = native_write_cr4,
		.power_off = native_power_off,
	},
	.irq = {
		.save_fl = native_save_fl,
		.irq_enable = native_irq_enable,
		.irq_disable = native_irq_disable,
		.safe_halt = native_safe_halt,
		.halt = native_halt,
		.init_IRQ = native_init_IRQ,
		.handle = native_handle,
	},
	.mmu = {
		.memory_setup = native_memory_setup,
		.read_cr2 = native_read_cr2,
		.read_cr3 = native_read_cr3,
		.write_cr3 = native_write_cr3,
		.make_pte = native_make_pte,
		.pte_phys = native_pte_phys,
		.alloc_table = native_alloc_table,
		.set_table = native_set_table,
		.set_pte_at = native_set_pte_at,
		.flush_tlb_one = native_flush_tlb_one,
		.table_flags = PAGE_RW,
	},
	.time = {
		.init = native_time_init,
		.set_periodic = native_set_periodic,
		.set_next_event = native_set_next_event,
		.shutdown = native_time_shutdown,
	},
	.console = {
		.init = native_console_init,
		.write = native_console_write,
	},
	.name = "native",
	.kernel_rpl = 0,
};
