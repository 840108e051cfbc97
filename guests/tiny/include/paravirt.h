/* pv_ops: the only way in which the kernel touches its machine.
 *
 * On bare hardware an operation is one instruction or a few port accesses (paravirt/native.c). Behind a hypervisor the
 * same operation may be a hypercall or a store to shared memory; such a table is installed by that path's own first C
 * function, before anything below is called:
 *
 *   path      table                    installed by
 *   native    paravirt/native.c        the initial value of pv_ops
 *   Xen PV    paravirt/xen*.c          xen_start_kernel
 *   lguest    paravirt/lguest.c        lguest_init
 *
 * Outside paravirt/ and entry/ no file of the kernel executes a privileged instruction or touches a port.
 * Follows: Linux arch/x86/include/asm/paravirt_types.h. */
#pragma once
#include "processor.h"
#include "types.h"

typedef unsigned long pte_t;

/* Bits of a page-table entry as the hardware defines them (SDM Vol. 3, 4.5); NX exists in 64-bit tables only. */
#define PAGE_PRESENT 0x001ul
#define PAGE_RW 0x002ul
#define PAGE_USER 0x004ul
#define PAGE_ACCESSED 0x020ul
#define PAGE_DIRTY 0x040ul
#ifdef CONFIG_X86_64
#define PAGE_NX (1ul << 63)
#else
#define PAGE_NX 0ul
#endif

struct pv_cpu_ops {
	void (*iret)(void);   /* jumped to by entry/traps_*.S with the CPU's frame on the stack */
	void (*swapgs)(void); /* called from there; must not clobber any register */
	void (*load_gdt)(const struct desc_ptr *gdt);
	void (*load_idt)(const struct desc_ptr *idt);
	void (*load_tr)(unsigned int selector);
	void (*write_gdt_entry)(gdt_desc *gdt, unsigned int index, gdt_desc desc);
	void (*write_idt_entry)(gate_desc *idt, unsigned int vector, const gate_desc *gate);
	void (*load_sp0)(struct tss_struct *tss, unsigned long sp); /* the stack for entries from user mode */
	void (*syscall_init)(void);
	void (*cpuid)(u32 *eax, u32 *ebx, u32 *ecx, u32 *edx); /* eax and ecx are read first */
	u64 (*read_msr)(u32 msr);
	unsigned long (*read_cr0)(void);
	unsigned long (*read_cr4)(void);
	void (*write_cr4)(unsigned long value);
	void (*power_off)(int status) __noreturn; /* 0: all is well */
};

struct pv_irq_ops {
	unsigned long (*save_fl)(void); /* only X86_EFLAGS_IF means anything */
	void (*irq_enable)(void);
	void (*irq_disable)(void);
	void (*safe_halt)(void);        /* enable interrupts and sleep, with no gap between */
	void (*halt)(void) __noreturn;  /* disable interrupts and sleep for good */
	void (*init_IRQ)(void);
	void (*handle)(struct pt_regs *regs); /* one has come: find out which, serve it, acknowledge it */
};

struct pv_mmu_ops {
	/* Where no loader put a memory map into boot_params, this does; it says who knew. */
	const char *(*memory_setup)(void);
	void (*init_after_bootmem)(void); /* page tables and struct pages are there; may be NULL */
	unsigned long (*read_cr2)(void);
	unsigned long (*read_cr3)(void);
	void (*write_cr3)(phys_t table);
	/* An entry for a page of ours; a hypervisor may number frames differently from us. */
	pte_t (*make_pte)(phys_t page, unsigned long flags);
	phys_t (*pte_phys)(pte_t pte);
	/* A page becomes a table of the given level (1 is the lowest), before any entry points to it. */
	void (*alloc_table)(phys_t page, unsigned int level);
	void (*set_table)(pte_t *entry, pte_t value, unsigned int level);
	void (*set_pte_at)(unsigned long va, pte_t *entry, pte_t value);
	void (*flush_tlb_one)(unsigned long va);
	unsigned long table_flags; /* how the kernel may map its own tables: PAGE_RW, or 0 where a hypervisor guards them */
};

struct pv_time_ops {
	void (*init)(void);
	void (*set_periodic)(unsigned int hz);
	void (*set_next_event)(unsigned int microseconds); /* one tick, then silence */
	void (*shutdown)(void);
};

struct pv_console_ops {
	void (*init)(void);
	void (*write)(const char *text, unsigned int length);
};

struct paravirt {
	struct pv_cpu_ops cpu; /* first: assembly knows the offsets of iret and swapgs */
	struct pv_irq_ops irq;
	struct pv_mmu_ops mmu;
	struct pv_time_ops time;
	struct pv_console_ops console;
	const char *name;
	void (*banner)(void); /* what there is to say of a hypervisor, or NULL */
	unsigned int kernel_rpl; /* the ring in which the kernel runs */
};
_Static_assert(offsetof(struct paravirt, cpu.iret) == 0, "PV_IRET in entry/traps_*.S");
_Static_assert(offsetof(struct paravirt, cpu.swapgs) == sizeof(void *), "PV_SWAPGS in entry/traps_64.S");

extern struct paravirt pv_ops;

/* Of the native operations those that other tables use, too. */
u64 native_read_msr(u32 msr);
unsigned long native_read_cr0(void);
unsigned long native_read_cr4(void);
void native_write_cr4(unsigned long value);
pte_t native_make_pte(phys_t page, unsigned long flags);
phys_t native_pte_phys(pte_t pte);

#define X86_EFLAGS_IF 0x200ul
