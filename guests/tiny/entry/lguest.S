/* lguest_entry: the kernel finds itself in ring 1, with a host underneath.
 *
 *   from              how it got here
 *   startup_32        hardware_subarch is 1 in the zero page, which lguest's launcher filled; physical addresses
 *                     still, flat segments of ring 1 (cs 0x61, ss 0x69), boot_params copied, initial_page_table made
 *
 * On bare hardware the next steps are `mov cr3`, `mov cr0` and `lgdt`, and each would fault here. The host does the first
 * two for us when we name a page directory; our segments are good already. Then we jump to where we are linked.
 * Follows: Linux arch/x86/lguest/head_32.S.   Next: paravirt/lguest.c. */
#include "asm.h"
#include "lguest.h"

	.section .head.text, "ax"
	.code32
FUNC(lguest_entry)
	movl	$LHCALL_LGUEST_INIT, %eax
	movl	$pa(lguest_data), %ebx
	int	$LGUEST_TRAP_ENTRY

	movl	$LHCALL_NEW_PGTABLE, %eax
	movl	$pa(initial_page_table), %ebx
	int	$LGUEST_TRAP_ENTRY		/* paging is on: the next instruction is fetched through our tables */

	movl	$early_stack_end, %esp
	movl	$1f, %eax
	jmp	*%eax				/* from the physical address to the linked one */
1:
	xorl	%ebp, %ebp			/* the end of every frame chain */
	call	lguest_init
	ud2					/* does not return */
END_FUNC(lguest_entry)

	.text
/* pv_ops.cpu.iret. On the stack: eip, cs, eflags, and when we return to user mode esp and ss.
 *
 * An IRET restores the interrupt flag together with all else, in one instruction. Ours is a word in memory, so there are
 * two: and an interrupt between them would find interrupts on and the frame not popped yet, which repeated often enough
 * overflows the stack. Hence noirq_iret: the host knows this address and takes the frame for its own instead of pushing
 * another. ds may be the user's by now, so the store goes through ss. */
FUNC(lguest_iret)
	pushl	%eax
	movl	12(%esp), %eax			/* eflags */
	andl	$0x200, %eax
	movl	%eax, %ss:lguest_data + LGUEST_DATA_irq_enabled
	popl	%eax
	.globl	lguest_noirq_iret
lguest_noirq_iret:
	iret
END_FUNC(lguest_iret)
