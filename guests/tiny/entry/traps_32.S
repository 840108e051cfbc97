/* Exceptions, interrupts and system calls of the 32-bit kernel: from the CPU's frame to a struct pt_regs and back.
 *
 * Each vector has a stub of 16 bytes that completes the frame (vectors without an error code push 0) and names itself;
 * all meet in common_trap, which calls do_trap(). System calls come the same way, as vector 0x80. The way out goes
 * through pv_ops.cpu.iret, because under a hypervisor returning is not the CPU's business alone.
 * Follows: SDM Vol. 3, 6.12 and 6.13; Linux arch/x86/entry/entry_32.S.   Next: kernel/traps.c. */
#include "asm.h"

#define PV_IRET pv_ops + 0	/* struct paravirt begins with it: paravirt.h asserts that */

	.text
	.balign	16
FUNC(trap_stubs)
	.set	vector, 0
	.rept	NR_VECTORS
	.balign	16
	/* 8 #DF, 10-14, 17 #AC, 21 #CP push an error code themselves. */
	.if (vector != 8) && ((vector < 10) || (vector > 14)) && (vector != 17) && (vector != 21)
	pushl	$0
	.endif
	pushl	$vector
	jmp	common_trap
	.set	vector, vector + 1
	.endr
END_FUNC(trap_stubs)

FUNC(common_trap)
	pushl	%gs
	pushl	%fs
	pushl	%es
	pushl	%ds
	pushl	%eax
	pushl	%ebp
	pushl	%edi
	pushl	%esi
	pushl	%edx
	pushl	%ecx
	pushl	%ebx
	cld
	movl	%ss, %eax		/* the kernel's data segment, whatever its ring */
	movl	%eax, %ds
	movl	%eax, %es
	movl	%esp, %eax
	xorl	%ebp, %ebp
	call	do_trap
	popl	%ebx
	popl	%ecx
	popl	%edx
	popl	%esi
	popl	%edi
	popl	%ebp
	popl	%eax
	popl	%ds
	popl	%es
	popl	%fs
	popl	%gs
	addl	$8, %esp		/* vector, error code */
	jmp	*%ss:PV_IRET		/* ds may be the user's by now */
END_FUNC(common_trap)

FUNC(native_iret)
	iret
END_FUNC(native_iret)

/* int enter_user_mode(unsigned long ip, unsigned long sp): drops to ring 3; returns when leave_user_mode is called.
 * Interrupts must be off. */
FUNC(enter_user_mode)
	pushl	%ebp
	pushl	%ebx
	pushl	%esi
	pushl	%edi
	movl	%esp, kernel_resume_sp
	pushl	$USER_DS
	pushl	%edx
	pushl	$0x202			/* IF */
	pushl	$USER_CS
	pushl	%eax
	movl	$USER_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	xorl	%eax, %eax		/* nothing of the kernel's is left in a register */
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	jmp	*%ss:PV_IRET
END_FUNC(enter_user_mode)

/* void leave_user_mode(int status): called on the entry stack; enter_user_mode returns status on its own. */
FUNC(leave_user_mode)
	movl	kernel_resume_sp, %esp
	popl	%edi
	popl	%esi
	popl	%ebx
	popl	%ebp
	ret
END_FUNC(leave_user_mode)

	.bss
	.balign	4
kernel_resume_sp:
	.long	0
