/* pv_ops under lguest: what a kernel in ring 1 does instead of privileged instructions.
 *
 * lguest is the smallest hypervisor there is a contract for, so this file is the place to see what paravirtualisation
 * needs. Each operation below is one of three things:
 *
 *   a store            the interrupt flag and the mask of interrupts: they change often, and the host looks at them only
 *                      when it has something to deliver
 *   a hypercall now    what must be true before the next instruction: page directory, stack, clock, sleep
 *   a hypercall later  what only has to be true soon: put into a ring, which the host empties at the next call
 *
 * What needs neither is an ordinary instruction: page tables are ours to write, the host is only told.
 * Follows: Linux arch/x86/lguest/boot.c.   Next: kernel/head32.c. */
#include "kernel.h"
#include "lguest.h"

void lguest_iret(void); /* entry/lguest.S */
extern char lguest_noirq_iret[];

/* Both sides' page. The host learns of it by the first hypercall, before any C code runs. */
volatile struct lguest_data lguest_data __initdata = {
	.blocked_interrupts = ~0u,
	.hcall_status = { [0 ... LHCALL_RING_SIZE - 1] = 0xff },
	.noirq_iret = (u32)lguest_noirq_iret,
	.kernel_address = START_KERNEL_MAP,
	.syscall_vec = SYSCALL_VECTOR,
};

/* --- hypercalls --- */

static void hcall(u32 call, u32 arg1, u32 arg2, u32 arg3)
{
	asm volatile("int %0" : : "i"(LGUEST_TRAP_ENTRY), "a"(call), "b"(arg1), "c"(arg2), "d"(arg3) : "memory");
}

/* Puts a call into the next slot of the ring. Is that one still full, so is the ring: then the call goes directly, and the
 * host does those that wait first. Entering the host is what costs, not what it does there. */
static void async_hcall(u32 call, u32 arg1, u32 arg2, u32 arg3)
{
	static unsigned int next_slot;
	volatile struct hcall_args *slot = &lguest_data.hcalls[next_slot];

	if (lguest_data.hcall_status[next_slot] != 0xff) {
		hcall(call, arg1, arg2, arg3);
		return;
	}
	slot->arg0 = call;
	slot->arg1 = arg1;
	slot->arg2 = arg2;
	slot->arg3 = arg3;
	lguest_data.hcall_status[next_slot] = 0; /* last: now it is the host's */
	next_slot = (next_slot + 1) % LHCALL_RING_SIZE;
}

/* --- cpu --- */

/* The host keeps the table that the CPU uses, and corrects what we put there: DPL 0 becomes 1. */
static void load_gdt_entry(unsigned int index, gdt_desc desc)
{
	async_hcall(LHCALL_LOAD_GDT_ENTRY, index, (u32)desc, (u32)(desc >> 32));
}

static void lguest_write_gdt_entry(gdt_desc *gdt, unsigned int index, gdt_desc desc)
{
	gdt[index] = desc;
	load_gdt_entry(index, desc);
}

static void lguest_load_gdt(const struct desc_ptr *gdt)
{
	const gdt_desc *entries = (const gdt_desc *)gdt->address;

	for (unsigned int index = 0; index < (gdt->size + 1) / sizeof(gdt_desc); index++)
		load_gdt_entry(index, entries[index]);
	hcall(LHCALL_FLUSH_ASYNC, 0, 0, 0);
}

/* Every exception enters the host, which looks up in its copy where we want it. */
static void load_idt_entry(unsigned int vector, const gate_desc *gate)
{
	async_hcall(LHCALL_LOAD_IDT_ENTRY, vector, gate->offset_low | (u32)gate->segment << 16,
		    gate->attributes | (u32)gate->offset_high << 16);
}

static void lguest_write_idt_entry(gate_desc *idt, unsigned int vector, const gate_desc *gate)
{
	idt[vector] = *gate;
	load_idt_entry(vector, gate);
}

/* What lies behind the limit is no handler any more, as with `lidt`. */
static void lguest_load_idt(const struct desc_ptr *idt)
{
	static const gate_desc absent;
	const gate_desc *gates = (const gate_desc *)idt->address;

	for (unsigned int vector = 0; vector < NR_VECTORS; vector++)
		load_idt_entry(vector, (vector + 1) * sizeof(gate_desc) <= idt->size + 1u ? &gates[vector] : &absent);
	hcall(LHCALL_FLUSH_ASYNC, 0, 0, 0);
}

static void lguest_load_tr(unsigned int selector)
{
	(void)selector; /* the TSS is the host's */
}

/* The one thing a TSS would have told the CPU. The host wants to know how many pages must be there when it pushes. */
static void lguest_load_sp0(struct tss_struct *tss, unsigned long sp)
{
	tss->sp0 = sp;
	hcall(LHCALL_SET_STACK, KERNEL_DS | pv_ops.kernel_rpl, sp, ENTRY_STACK_SIZE / PAGE_SIZE);
}

static void lguest_syscall_init(void)
{
	/* int $0x80 needs no more than its gate. */
}

/* CPUID does not trap, so the host cannot filter what it says; we do. Kernels read model-specific registers by family,
 * and RDMSR faults here: family 5 has none that matter. */
static void lguest_cpuid(u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	u32 leaf = *eax;

	asm volatile("cpuid" : "+a"(*eax), "=b"(*ebx), "+c"(*ecx), "=d"(*edx));
	if (leaf == 1)
		*eax = (*eax & ~0xf00u) | 0x500;
}

/* Reading a control register faults. Of CR0 we could only know TS, which we never set; CR4 is none of our business. */
static unsigned long lguest_read_cr0(void)
{
	return 0;
}

static unsigned long lguest_read_cr4(void)
{
	return 0;
}

static void lguest_write_cr4(unsigned long value)
{
	(void)value;
}

static void __noreturn lguest_shutdown(const char *message)
{
	for (;;)
		hcall(LHCALL_SHUTDOWN, virt_to_phys(message), LGUEST_SHUTDOWN_POWEROFF, 0);
}

/* The launcher knows no status, only a message; the verdict on the console has said the rest. */
static void __noreturn lguest_power_off(int status)
{
	(void)status;
	lguest_shutdown("Power down");
}

/* --- irq: a word in memory instead of EFLAGS.IF --- */

static unsigned long lguest_save_fl(void)
{
	return lguest_data.irq_enabled;
}

static void lguest_irq_disable(void)
{
	lguest_data.irq_enabled = 0;
}

/* Something may have come while we were not listening. */
static void lguest_irq_enable(void)
{
	lguest_data.irq_enabled = X86_EFLAGS_IF;
	if (lguest_data.irq_pending)
		hcall(LHCALL_SEND_INTERRUPTS, 0, 0, 0);
}

/* The host sets irq_enabled when it wakes us, so there is no gap. */
static void lguest_safe_halt(void)
{
	hcall(LHCALL_HALT, 0, 0, 0);
}

/* Nothing will ever run again here (a panic). Who sleeps for ever had better say so. */
static void __noreturn lguest_halt(void)
{
	lguest_shutdown("the kernel has stopped");
}

static void lguest_init_IRQ(void)
{
	/* All 32 interrupts are blocked until somebody wants one; they come as vectors from FIRST_IRQ_VECTOR on. */
}

/* --- mmu: the tables are ours, and the host has caches of them to drop --- */

static unsigned long current_cr3;

/* The launcher wrote one entry, from 0 to the end of memory: there is no PC here and no hole below 1 MiB. */
static const char *lguest_memory_setup(void)
{
	return "LGUEST";
}

static unsigned long lguest_read_cr2(void)
{
	return lguest_data.cr2;
}

static unsigned long lguest_read_cr3(void)
{
	return current_cr3;
}

static void lguest_write_cr3(phys_t table)
{
	current_cr3 = table;
	hcall(LHCALL_NEW_PGTABLE, table, 0, 0);
}

static void lguest_alloc_table(phys_t page, unsigned int level)
{
	(void)page, (void)level; /* any page may be a table */
}

/* Before the first write_cr3 no table of ours is in use, and the host has seen none of them. */
static void lguest_set_table(pte_t *entry, pte_t value, unsigned int level)
{
	(void)level; /* there are two, and only the directory points to tables */
	*(volatile pte_t *)entry = value;
	if (current_cr3) {
		u32 at = virt_to_phys(entry);
		hcall(LHCALL_SET_PGD, at & ~(PAGE_SIZE - 1), (at & (PAGE_SIZE - 1)) / sizeof(pte_t), 0);
	}
}

static void lguest_set_pte_at(unsigned long va, pte_t *entry, pte_t value)
{
	*(volatile pte_t *)entry = value;
	if (current_cr3)
		hcall(LHCALL_SET_PTE, current_cr3, va, value);
}

/* There is no call for it: to say that the entry is empty makes the host forget it, and it will find it again. */
static void lguest_flush_tlb_one(unsigned long va)
{
	hcall(LHCALL_SET_PTE, current_cr3, va, 0);
}

/* --- time: one interrupt, so many nanoseconds from now --- */

#define CLOCK_IRQ 0
#define NSEC_PER_SEC 1000000000u

static u32 period; /* ns between ticks, 0 for a single one */

static void set_clockevent(u32 nanoseconds)
{
	hcall(LHCALL_SET_CLOCKEVENT, nanoseconds, 0, 0);
}

static void lguest_time_init(void)
{
	lguest_data.blocked_interrupts &= ~(1u << CLOCK_IRQ);
}

static void lguest_set_periodic(unsigned int hz)
{
	period = NSEC_PER_SEC / hz;
	set_clockevent(period);
}

static void lguest_set_next_event(unsigned int microseconds)
{
	period = 0;
	set_clockevent(microseconds * 1000);
}

static void lguest_time_shutdown(void)
{
	period = 0;
	set_clockevent(0);
}

/* An interrupt of the host's needs no acknowledgement. The clock fires once, so the next tick is asked for here. */
static void lguest_handle(struct pt_regs *regs)
{
	if (regs->vector - FIRST_IRQ_VECTOR != CLOCK_IRQ)
		return;
	if (period)
		set_clockevent(period);
	do_timer(regs);
}

/* --- console: a string that ends, at an address that the host can read --- */

static void lguest_console_init(void)
{
}

static void lguest_console_write(const char *text, unsigned int length)
{
	static char line[256];

	while (length) {
		unsigned int piece = length < sizeof(line) ? length : sizeof(line) - 1;

		memcpy(line, text, piece);
		line[piece] = '\0';
		hcall(LHCALL_NOTIFY, virt_to_phys(line), 0, 0);
		text += piece;
		length -= piece;
	}
}

static const struct paravirt lguest_pv_ops = {
	.cpu = {
		.iret = lguest_iret,
		.load_gdt = lguest_load_gdt,
		.load_idt = lguest_load_idt,
		.load_tr = lguest_load_tr,
		.write_gdt_entry = lguest_write_gdt_entry,
		.write_idt_entry = lguest_write_idt_entry,
		.load_sp0 = lguest_load_sp0,
		.syscall_init = lguest_syscall_init,
		.cpuid = lguest_cpuid,
		.read_cr0 = lguest_read_cr0,
		.read_cr4 = lguest_read_cr4,
		.write_cr4 = lguest_write_cr4,
		.power_off = lguest_power_off,
	},
	.irq = {
		.save_fl = lguest_save_fl,
		.irq_enable = lguest_irq_enable,
		.irq_disable = lguest_irq_disable,
		.safe_halt = lguest_safe_halt,
		.halt = lguest_halt,
		.init_IRQ = lguest_init_IRQ,
		.handle = lguest_handle,
	},
	.mmu = {
		.memory_setup = lguest_memory_setup,
		.read_cr2 = lguest_read_cr2,
		.read_cr3 = lguest_read_cr3,
		.write_cr3 = lguest_write_cr3,
		.make_pte = native_make_pte, /* frames have the numbers that we think they have */
		.pte_phys = native_pte_phys,
		.alloc_table = lguest_alloc_table,
		.set_table = lguest_set_table,
		.set_pte_at = lguest_set_pte_at,
		.flush_tlb_one = lguest_flush_tlb_one,
		.table_flags = PAGE_RW,
	},
	.time = {
		.init = lguest_time_init,
		.set_periodic = lguest_set_periodic,
		.set_next_event = lguest_set_next_event,
		.shutdown = lguest_time_shutdown,
	},
	.console = {
		.init = lguest_console_init,
		.write = lguest_console_write,
	},
	.name = "lguest",
	.kernel_rpl = 1,
};

/* From entry/lguest.S, on initial_page_table. Then this path joins the others. */
void lguest_init(void)
{
	pv_ops = lguest_pv_ops;
	boot_origin.entry = "lguest_entry";
	i386_start_kernel();
}
