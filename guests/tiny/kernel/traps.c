/* do_trap: every exception, interrupt and system call passes here. What nobody expected is told in full, then panic.
 * Follows: SDM Vol. 3, 6.15; the wording of Linux's oopses.   Next: time.c. */
#include "kernel.h"

unsigned int breakpoints_taken;

static const char *const exception_names[32] = {
	"divide error", "debug", "NMI", "int3", "overflow", "bounds", "invalid opcode", "device not available",
	"double fault", "coprocessor segment overrun", "invalid TSS", "segment not present", "stack segment",
	"general protection fault", "page fault", "exception 15", "coprocessor error", "alignment check",
	"machine check", "simd exception", "virtualization exception", "control protection exception",
};

void show_regs(const struct pt_regs *regs)
{
	/* Without a change of ring the 32-bit CPU pushes no stack pointer: the frame ends where the stack stood. */
#ifdef CONFIG_X86_64
	printk("RIP: %04lx:%p RSP: %04lx:%p EFLAGS: %08lx\n", regs->cs & 0xffff, (void *)regs->ip, regs->ss, (void *)regs->sp, regs->flags);
	printk("RAX: %p RBX: %p RCX: %p\n", (void *)regs->ax, (void *)regs->bx, (void *)regs->cx);
	printk("RDX: %p RSI: %p RDI: %p\n", (void *)regs->dx, (void *)regs->si, (void *)regs->di);
	printk("RBP: %p R08: %p R09: %p\n", (void *)regs->bp, (void *)regs->r8, (void *)regs->r9);
	printk("R10: %p R11: %p R12: %p\n", (void *)regs->r10, (void *)regs->r11, (void *)regs->r12);
	printk("R13: %p R14: %p R15: %p\n", (void *)regs->r13, (void *)regs->r14, (void *)regs->r15);
#else
	unsigned long sp = user_mode(regs) ? regs->sp : (unsigned long)&regs->sp;

	printk("EIP: %04lx:%p ESP: %p EFLAGS: %08lx\n", regs->cs & 0xffff, (void *)regs->ip, (void *)sp, regs->flags);
	printk("EAX: %p EBX: %p ECX: %p EDX: %p\n", (void *)regs->ax, (void *)regs->bx, (void *)regs->cx, (void *)regs->dx);
	printk("ESI: %p EDI: %p EBP: %p\n", (void *)regs->si, (void *)regs->di, (void *)regs->bp);
#endif
	printk("CR0: %p CR2: %p CR3: %p CR4: %p\n", (void *)pv_ops.cpu.read_cr0(), (void *)pv_ops.mmu.read_cr2(),
	       (void *)pv_ops.mmu.read_cr3(), (void *)pv_ops.cpu.read_cr4());
}

static void show_page_fault(const struct pt_regs *regs)
{
	unsigned long error = regs->error_code;

	printk("BUG: unable to handle page fault for address: %p\n", (void *)pv_ops.mmu.read_cr2());
	kasan_explain_fault(pv_ops.mmu.read_cr2());
	printk("#PF: %s %s in %s mode\n", error & 4 ? "user" : "supervisor",
	       error & 16 ? "instruction fetch" : error & 2 ? "write access" : "read access",
	       user_mode(regs) ? "user" : "kernel");
	printk("#PF: error_code(0x%04lx) - %s\n", error,
	       error & 8 ? "reserved bit violation" : error & 1 ? "permissions violation" : "not-present page");
}

/* The chain of saved frame pointers; a reader finds the names with the image's symbols. */
static void show_call_trace(const struct pt_regs *regs)
{
	const unsigned long *frame = (const unsigned long *)regs->bp;

	printk("Call Trace:\n");
	for (unsigned int depth = 0; depth < 16; depth++) {
		if ((unsigned long)frame < (unsigned long)_sdata || (unsigned long)frame >= (unsigned long)_end || !frame[1])
			return;
		printk(" [<%p>]\n", (void *)frame[1]);
		if (frame[0] <= (unsigned long)frame) /* the stack grows down, so callers lie above */
			return;
		frame = (const unsigned long *)frame[0];
	}
}

static void unexpected_exception(const struct pt_regs *regs)
{
	if (regs->vector == 14)
		show_page_fault(regs);
	printk("Oops: %s: error code %04lx\n", exception_names[regs->vector] ?: "reserved", regs->error_code);
	show_regs(regs);
	if (user_mode(regs)) {
		printk("user task killed\n");
		leave_user_mode(128 + (int)regs->vector);
	}
	show_call_trace(regs);
	panic("Fatal exception");
}

void do_trap(struct pt_regs *regs)
{
	if (regs->vector == SYSCALL_VECTOR) {
		do_syscall(regs);
	} else if (regs->vector == 3) {
		breakpoints_taken++;
	} else if (regs->vector < FIRST_IRQ_VECTOR) {
		unexpected_exception(regs);
	} else {
		pv_ops.irq.handle(regs);
	}
}

/* An exception must be survived long before trap_init(): Linux's WARN is one, and so are the breakpoints with which it
 * tries out its patching of code. Who has told the hypervisor of no handlers (plant=early-traps), or goes back the wrong
 * way (plant=native-iret), ends here. */
void early_trap_selftest(void)
{
	unsigned int before = breakpoints_taken;

	asm volatile("int3" : : : "memory");
	check(breakpoints_taken == before + 1, "an early exception is taken and returns");
}
