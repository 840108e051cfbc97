/* pv_ops under Xen: the CPU, and the table's other groups put in place.
 *
 * The kernel runs in ring 3. Three things can become of what it used to do with one instruction:
 *
 *   a hypercall    what changes the CPU's tables: Xen checks the new GDT, trap handlers, stack
 *   shared memory  what is only told or asked: events masked or pending, CR2, the time (xen_irq.c, xen_time.c)
 *   emulation      what traps by itself and is rare: MOV from CR0 and CR4. Xen decodes the instruction and plays it;
 *                  CPUID does not trap and needs a prefix that does
 *
 * Follows: Linux arch/x86/xen/enlighten_pv.c.   Next: paravirt/xen_hvm.c. */
#include "kernel.h"
#include "xen/hypercall.h"

void native_iret(void); /* entry/traps_64.S */
void xen_iret(void); /* entry/traps_xen.S */
void xen_swapgs(void);
void xen_entry_SYSCALL_64(void);
extern char xen_trap_stubs[][16];

/* Xen reads the table where it lies: it may hold no privileged descriptor, and nobody may write to it but Xen. */
static void xen_load_gdt(const struct desc_ptr *gdt)
{
	u64 frame = virt_to_mfn((void *)gdt->address);

	xen_make_readonly((void *)gdt->address);
	xen_must(hypercall2(set_gdt, &frame, (gdt->size + 1) / sizeof(gdt_desc)), "set_gdt");
}

static void xen_write_gdt_entry(gdt_desc *gdt, unsigned int index, gdt_desc desc)
{
	u64 machine_address = virt_to_mfn(gdt) << 12 | index * sizeof(gdt_desc);

	if (index == TSS_SELECTOR / 8 || index == TSS_SELECTOR / 8 + 1)
		return; /* the TSS is Xen's; it would refuse a descriptor for another */
	xen_must(hypercall2(update_descriptor, machine_address, desc), "update_descriptor");
}

/* Nor is there a task register of ours: of a TSS only the stack for entries from user mode means anything. */
static void xen_load_tr(unsigned int selector)
{
	(void)selector;
}

static void xen_load_sp0(struct tss_struct *tss, unsigned long sp)
{
	(void)tss;
	xen_must(hypercall2(stack_switch, KERNEL_DS, sp), "stack_switch");
}

static void xen_write_idt_entry(gate_desc *idt, unsigned int vector, const gate_desc *gate)
{
	idt[vector] = *gate; /* only a note to ourselves: see xen_load_idt */
}

/* An IDT becomes a list of (vector, handler) that Xen consults from its own IDT. Interrupt vectors are of no use in it:
 * interrupts come as events. */
static void xen_load_idt(const struct desc_ptr *idt)
{
	static struct trap_info traps[NR_VECTORS + 1]; /* address 0 ends the list */
	const gate_desc *gates = (const gate_desc *)idt->address;
	unsigned int count = 0;

	for (unsigned int vector = 0; vector < (idt->size + 1) / sizeof(gate_desc); vector++) {
		u16 attributes = gates[vector].attributes;
		if (!attributes)
			continue;
		traps[count++] = (struct trap_info){
			.vector = vector,
			.flags = (attributes >> 13 & 3) | ((attributes & GATE_TRAP) == GATE_INTERRUPT ? TRAP_MASK_EVENTS : 0),
			.cs = gates[vector].segment,
			.address = (unsigned long)xen_trap_stubs[vector],
		};
	}
	traps[count].address = 0;
	xen_must(hypercall1(set_trap_table, count ? traps : NULL), "set_trap_table");
}

static void xen_syscall_init(void)
{
	struct callback_register callback = {
		.type = CALLBACKTYPE_syscall,
		.flags = CALLBACKF_mask_events,
		.address = (unsigned long)xen_entry_SYSCALL_64,
	};

	xen_must(hypercall2(callback_op, CALLBACKOP_register, &callback), "syscall callback");
	xen_must(hypercall2(set_segment_base, SEGBASE_GS_USER, 0), "set_segment_base");
}

/* `ud2` and the letters "xen" raise an exception that no kernel wants; Xen takes it to mean: play the next instruction,
 * and show the CPU as I want this guest to see it. A bare CPUID would show the one below Xen. */
static void xen_cpuid(u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	asm volatile("ud2; .ascii \"xen\"; cpuid" : "+a"(*eax), "=b"(*ebx), "+c"(*ecx), "=d"(*edx));
}

/* Xen knows no status; the verdict on the console has said it. */
void __noreturn xen_power_off(int status)
{
	struct sched_shutdown shutdown = { SHUTDOWN_poweroff };

	(void)status;
	for (;;)
		hypercall2(sched_op, SCHEDOP_shutdown, &shutdown);
}

static const struct pv_cpu_ops xen_cpu_ops = {
	.iret = native_iret, /* until xen_early_iret_patch() */
	.swapgs = xen_swapgs,
	.load_gdt = xen_load_gdt,
	.load_idt = xen_load_idt,
	.load_tr = xen_load_tr,
	.write_gdt_entry = xen_write_gdt_entry,
	.write_idt_entry = xen_write_idt_entry,
	.load_sp0 = xen_load_sp0,
	.syscall_init = xen_syscall_init,
	.cpuid = xen_cpuid,
	.read_msr = native_read_msr, /* these four trap, and Xen plays them */
	.read_cr0 = native_read_cr0,
	.read_cr4 = native_read_cr4,
	.write_cr4 = native_write_cr4,
	.power_off = xen_power_off,
};

/* The way back from an exception is code of its own in Linux, with an IRET in it that must become a jump before the first
 * exception. plant=native-iret forgets that. */
void xen_early_iret_patch(void)
{
	pv_ops.cpu.iret = xen_iret;
}

/* A first GDT of ours, with nothing in it but what a kernel needs; cpu_init() completes it. */
void xen_setup_gdt(void)
{
	const struct desc_ptr descr = { (KERNEL_DS / 8 + 1) * sizeof(gdt_desc) - 1, (unsigned long)gdt_page };

	gdt_page[KERNEL_CS / 8] = 0x00affb000000ffff; /* ring 3, as all of ours */
	gdt_page[KERNEL_DS / 8] = 0x00cff3000000ffff;
	xen_load_gdt(&descr);
}

void xen_init_pv_ops(void)
{
	struct physdev_set_iopl set_iopl = { 1 };

	pv_ops = (struct paravirt){
		.cpu = xen_cpu_ops,
		.irq = xen_irq_ops,
		.mmu = xen_mmu_ops,
		.time = xen_time_ops,
		.console = xen_console_ops,
		.name = "Xen",
		.banner = xen_banner,
		.kernel_rpl = 3,
	};
	xen_lay_frame_over(xen_shared_info_page, xen_start_info.shared_info >> 12);

	/* Ports go through Xen, too: with this IOPL it plays IN and OUT for kernel mode, as far as the domain has ports. */
	hypercall2(physdev_op, PHYSDEVOP_set_iopl, &set_iopl);
}
