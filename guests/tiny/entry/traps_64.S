/* Exceptions, interrupts and system calls of the 64-bit kernel: from the CPU's frame to a struct pt_regs and back.
 *
 * Each vector has a stub of 16 bytes that completes the frame (vectors without an error code push 0) and names itself;
 * all meet in common_trap, which calls do_trap(). The way out goes through pv_ops.cpu.iret, because under a hypervisor
 * returning is not the CPU's business alone.
 * Follows: SDM Vol. 3, 6.14; Linux arch/x86/entry/entry_64.S.   Next: kernel/traps.c. */
#include "asm.h"

#define PT_CS (18 * 8)
#define PV_IRET pv_ops + 0	/* struct paravirt begins with these two: paravirt.h asserts that */
#define PV_SWAPGS pv_ops + 8
#define PER_CPU_USER_SP 0	/* struct fixed_percpu_data, processor.h */
#define PER_CPU_ENTRY_SP 8

	.text
	.balign	16
FUNC(trap_stubs)
	.set	vector, 0
	.rept	NR_VECTORS
	.balign	16
	/* 8 #DF, 10-14, 17 #AC, 21 #CP push an error code themselves. */
	.if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21)
	pushq	$0
	.endif
	pushq	$vector
	jmp	common_trap
	.set	vector, vector + 1
	.endr
END_FUNC(trap_stubs)

	.macro PUSH_REGS
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	.endm
	.macro POP_REGS
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	.endm

FUNC(common_trap)
	PUSH_REGS
	cld
	testb	$3, PT_CS(%rsp)		/* from user mode: GS is the user's */
	jz	1f
	call	*PV_SWAPGS(%rip)
1:	movq	%rsp, %rdi
	xorl	%ebp, %ebp
	call	do_trap
	testb	$3, PT_CS(%rsp)
	jz	1f
	call	*PV_SWAPGS(%rip)
1:	POP_REGS
	addq	$16, %rsp		/* vector, error code */
	jmp	*PV_IRET(%rip)
END_FUNC(common_trap)

FUNC(native_iret)
	iretq
END_FUNC(native_iret)

FUNC(native_swapgs)
	swapgs
	ret
END_FUNC(native_swapgs)

/* syscall: rcx = user rip, r11 = user rflags, rsp still the user's, interrupts off (SFMASK). Native only: what a
 * hypervisor does with `syscall` is its own affair, and it gets an entry of its own. */
FUNC(entry_SYSCALL_64)
	swapgs
	movq	%rsp, %gs:PER_CPU_USER_SP
	movq	%gs:PER_CPU_ENTRY_SP, %rsp
	pushq	$USER_DS
	pushq	%gs:PER_CPU_USER_SP
	pushq	%r11
	pushq	$USER_CS
	pushq	%rcx
	pushq	$0
	pushq	$SYSCALL_VECTOR
	PUSH_REGS
	cld
	movq	%rsp, %rdi
	xorl	%ebp, %ebp
	call	do_trap
	POP_REGS
	addq	$16, %rsp
	popq	%rcx			/* rip */
	addq	$8, %rsp		/* cs */
	popq	%r11			/* rflags */
	popq	%rsp
	swapgs
	sysretq
END_FUNC(entry_SYSCALL_64)

/* int enter_user_mode(unsigned long ip, unsigned long sp): drops to ring 3; returns when leave_user_mode is called.
 * Interrupts must be off. */
FUNC(enter_user_mode)
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, kernel_resume_sp(%rip)
	pushq	$USER_DS
	pushq	%rsi
	pushq	$0x202			/* IF */
	pushq	$USER_CS
	pushq	%rdi
	call	*PV_SWAPGS(%rip)
	xorl	%eax, %eax		/* nothing of the kernel's is left in a register */
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	jmp	*PV_IRET(%rip)
END_FUNC(enter_user_mode)

/* void leave_user_mode(int status): called on the entry stack; enter_user_mode returns status on its own. */
FUNC(leave_user_mode)
	movq	kernel_resume_sp(%rip), %rsp
	movl	%edi, %eax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
END_FUNC(leave_user_mode)

	.bss
	.balign	8
kernel_resume_sp:
	.quad	0
