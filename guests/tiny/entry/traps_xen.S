/* What Xen jumps to: exceptions, events and system calls arrive here and join entry/traps_64.S.
 *
 * Xen pushes what the CPU would push, with two words below, because it comes by SYSRET, which needs rcx and r11:
 *
 *   rsp ->  rcx   r11   [error code]   rip   cs   rflags   rsp   ss
 *                                            |     |
 *        RPL 0: we were in kernel mode, 3: in user mode.  IF: were events unmasked
 *        (the ring is 3 in both)
 *
 * The way back is a hypercall: which address space comes next, and whether events are masked, only Xen can set in one go.
 * Follows: Xen xen/arch/x86/x86_64/entry.S, create_bounce_frame; Linux arch/x86/xen/xen-asm.S.   Next: kernel/traps.c. */
#include "asm.h"
#include "xen/numbers.h"

	.text
	/* One per vector, 16 bytes each: take the two words off, go where the CPU itself would have gone. */
	.balign	16
FUNC(xen_trap_stubs)
	.set	vector, 0
	.rept	NR_VECTORS
	.balign	16
	popq	%rcx
	popq	%r11
	jmp	trap_stubs + vector * 16
	.set	vector, vector + 1
	.endr
END_FUNC(xen_trap_stubs)

/* The event callback: something is pending in shared_info, and events are masked now. */
FUNC(xen_hypervisor_callback)
	popq	%rcx
	popq	%r11
	pushq	$0
	pushq	$HYPERVISOR_CALLBACK_VECTOR
	jmp	common_trap
END_FUNC(xen_hypervisor_callback)

/* The failsafe callback: our iret named a segment that cannot be loaded. ds, es, fs and gs lie below rip. */
FUNC(xen_failsafe_callback)
	popq	%rcx
	popq	%r11
	addq	$(4 * 8), %rsp
	pushq	$0
	pushq	$13				/* #GP, as the CPU would have raised */
	jmp	common_trap
END_FUNC(xen_failsafe_callback)

/* The syscall callback: `syscall` in user mode. Xen has switched to the kernel's address space and to the stack of
 * load_sp0(), but cannot know which selectors we gave the user. */
FUNC(xen_entry_SYSCALL_64)
	popq	%rcx
	popq	%r11
	movq	$USER_CS, 1 * 8(%rsp)
	movq	$USER_DS, 4 * 8(%rsp)
	pushq	$0
	pushq	$SYSCALL_VECTOR
	jmp	common_trap
END_FUNC(xen_entry_SYSCALL_64)

/* pv_ops.cpu.iret: rip, cs, rflags, rsp, ss on the stack, all registers restored. */
FUNC(xen_iret)
	pushq	$0				/* flags: restore everything, rcx and r11 too */
	pushq	%rcx
	pushq	%r11
	pushq	%rax
	movl	$__HYPERVISOR_iret, %eax
	syscall
	ud2					/* does not return */
END_FUNC(xen_iret)

/* pv_ops.cpu.swapgs: Xen exchanges the bases itself when it changes between user and kernel mode. */
FUNC(xen_swapgs)
	ret
END_FUNC(xen_swapgs)
