/* The user task: what runs in ring 3. The kernel copies it to a page of its own, mapped for the user; it must
 * therefore not care where it runs.
 *
 * It prints a line by a system call (64-bit: `syscall`, 32-bit: `int $0x80`), then counts, and asks now and then whether
 * a timer tick has interrupted it, and exits with 0 if its code selector says ring 3.
 * Follows: Linux's system call numbers for write and exit.   Next: kernel/user.c. */
#include "asm.h"
#include "syscall.h"

	.section .rodata
	.globl	user_task_start, user_task_end
	.balign	16
user_task_start:
#ifdef CONFIG_X86_64
	movl	$SYS_write, %eax
	movl	$1, %edi
	leaq	user_message(%rip), %rsi
	movl	$user_message_length, %edx
	syscall
	movl	$10000, %ebx
1:	movl	$1000, %ecx			/* stay where the tick is to find us */
2:	decl	%ecx
	jnz	2b
	movl	$SYS_user_ticks, %eax
	syscall
	testl	%eax, %eax
	jnz	3f
	decl	%ebx
	jnz	1b
	movl	$2, %edi			/* no tick ever came */
	jmp	4f
3:	movl	%cs, %edi
	andl	$3, %edi
	xorl	$3, %edi
4:	movl	$SYS_exit, %eax
	syscall
#else
	call	1f
1:	popl	%ecx
	addl	$(user_message - 1b), %ecx
	movl	$SYS_write, %eax
	movl	$1, %ebx
	movl	$user_message_length, %edx
	int	$SYSCALL_VECTOR
	movl	$10000, %esi
1:	movl	$1000, %ecx
2:	decl	%ecx
	jnz	2b
	movl	$SYS_user_ticks, %eax
	int	$SYSCALL_VECTOR
	testl	%eax, %eax
	jnz	3f
	decl	%esi
	jnz	1b
	movl	$2, %ebx
	jmp	4f
3:	movl	%cs, %ebx
	andl	$3, %ebx
	xorl	$3, %ebx
4:	movl	$SYS_exit, %eax
	int	$SYSCALL_VECTOR
#endif
	ud2					/* exit does not return */
user_message:
#ifdef CONFIG_X86_64
	.ascii	"user: hello from ring 3, by syscall\n"
#else
	.ascii	"user: hello from ring 3, by int $0x80\n"
#endif
	user_message_length = . - user_message
user_task_end:
