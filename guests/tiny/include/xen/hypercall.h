/* How a Xen guest calls its hypervisor, and what the files of paravirt/xen*.c know of each other.
 *
 * A PV kernel runs in ring 3, so `syscall` does not reach it but Xen. Xen knows by a flag of its own whether this vCPU is
 * in kernel mode (then it is a hypercall) or in user mode (then it is a system call for us: xen_entry_SYSCALL_64).
 *
 *   rax                    rdi  rsi  rdx  r10  r8      rax              rcx, r11
 *   number of the call     up to five arguments        result, < 0: -errno    lost, as in every `syscall`
 *
 * A PVH kernel runs in ring 0, and has an instruction of its own for it (paravirt/xen_hvm.c). Older guests call into a
 * "hypercall page" that Xen fills with such stubs; Linux has not since 2024, nor do we. */
#pragma once
#include "interface.h"

/* kernel/xen.c: who is asked through xen_domain() goes its Xen way only from the moment on that this is set */
enum xen_domain_type { XEN_NATIVE, XEN_PV_DOMAIN, XEN_HVM_DOMAIN };
extern enum xen_domain_type xen_domain_type;
static inline int xen_domain(void)
{
	return xen_domain_type != XEN_NATIVE;
}
static inline int xen_hvm_domain(void)
{
	return xen_domain_type == XEN_HVM_DOMAIN;
}

/* paravirt/xen_hvm.c */
long xen_hvm_hypercall(unsigned long number, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4);
void xen_pvh_init(void);
void xen_hvm_lay_over(void *page, u32 space, unsigned long index);

/* No function of its own under -Os either: who reads a trace wants to see the caller, as in Linux. */
#ifdef __OPTIMIZE_SIZE__
__attribute__((always_inline))
#endif
static inline long hypercall(unsigned long number, unsigned long a1, unsigned long a2, unsigned long a3, unsigned long a4)
{
	long result;
	register unsigned long r10 asm("r10") = a4;

	if (xen_hvm_domain())
		return xen_hvm_hypercall(number, a1, a2, a3, a4);
	asm volatile("syscall"
		     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10)
		     : "0"(number)
		     : "rcx", "r11", "memory");
	return result;
}

#define hypercall1(name, a) hypercall(__HYPERVISOR_##name, (unsigned long)(a), 0, 0, 0)
#define hypercall2(name, a, b) hypercall(__HYPERVISOR_##name, (unsigned long)(a), (unsigned long)(b), 0, 0)
#define hypercall3(name, a, b, c) \
	hypercall(__HYPERVISOR_##name, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), 0)
#define hypercall4(name, a, b, c, d) \
	hypercall(__HYPERVISOR_##name, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), (unsigned long)(d))

/* For calls that cannot fail unless we broke a rule. */
void xen_must(long result, const char *what);

/* kernel/xen.c: what rsi pointed to, copied while it was mapped */
extern struct start_info xen_start_info;
static inline int xen_initial_domain(void)
{
	return xen_start_info.flags & SIF_INITDOMAIN;
}

/* paravirt/xen.c */
void xen_init_pv_ops(void);
void xen_early_iret_patch(void);
void xen_setup_gdt(void);
void xen_power_off(int status) __noreturn;

/* paravirt/xen_mmu.c */
unsigned long pfn_to_mfn(unsigned long pfn);
unsigned long virt_to_mfn(const void *symbol);
void xen_make_readonly(void *page);
void xen_reserve_special_pages(void);
void xen_lay_frame_over(void *page, unsigned long mfn);

/* paravirt/xen_irq.c */
extern char xen_shared_info_page[];
#define xen_shared_info ((volatile struct shared_info *)xen_shared_info_page)
#define xen_vcpu (&xen_shared_info->vcpu_info[0]) /* there is one vCPU */
struct pt_regs;
void xen_bind_virq(unsigned int virq, void (*handler)(const struct pt_regs *regs));

/* paravirt/xen_console.c */
extern char xen_console_page[];
void xen_console_moved(void *page);

/* paravirt/xen_grant.c */
void xen_banner(void);

/* The groups of pv_ops */
struct pv_irq_ops;
struct pv_mmu_ops;
struct pv_time_ops;
struct pv_console_ops;
extern const struct pv_irq_ops xen_irq_ops;
extern const struct pv_mmu_ops xen_mmu_ops;
extern const struct pv_time_ops xen_time_ops;
extern const struct pv_console_ops xen_console_ops;
