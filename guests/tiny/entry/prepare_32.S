/* prepare_then_startup_32: for doors through which no zero page comes (PVH, Multiboot) in the 32-bit build.
 *
 * From pvh_start and multiboot_start:
 *   ebx = physical address of what the loader handed over
 *   edi = address of the C function that makes a zero page of it, at its linked address
 *   esi = physical address of that zero page
 *
 * C code runs at its linked address, so paging goes on for its sake, by 4 MiB pages, and off again: the ordinary door
 * wants it off.   Next: kernel/pvh.c or kernel/multiboot.c, then head_32.S. */
#include "asm.h"

#define PREPARE_CS 0x08
#define PREPARE_DS 0x10

	.section .head.text, "ax"
	.code32
FUNC(prepare_then_startup_32)
	cld
	cli
	lgdt	pa(prepare_gdt_descr)
	ljmp	$PREPARE_CS, $pa(1f)
1:	movl	$PREPARE_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$pa(early_stack_end), %esp

	/* 3 GiB identity-mapped, and the first GiB again where the kernel is linked. */
	movl	$pa(initial_page_table), %ebp
	xorl	%ecx, %ecx
	movl	$0x083, %eax			/* present, writable, 4 MiB */
1:	movl	%eax, (%ebp, %ecx, 4)
	addl	$0x400000, %eax
	incl	%ecx
	cmpl	$(START_KERNEL_MAP >> 22), %ecx
	jne	2f
	movl	$0x083, %eax
2:	cmpl	$1024, %ecx
	jb	1b

	movl	%cr4, %eax
	orl	$0x10, %eax			/* PSE */
	movl	%eax, %cr4
	movl	%ebp, %cr3
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	movl	$.Lhigh, %eax
	jmp	*%eax
.Lhigh:
	movl	$early_stack_end, %esp
	pushl	%esi
	movl	%ebx, %eax			/* the argument (regparm) */
	xorl	%ebp, %ebp
	call	*%edi
	popl	%esi

	movl	$pa(1f), %eax
	jmp	*%eax
1:	movl	%cr0, %eax
	andl	$0x7fffffff, %eax
	movl	%eax, %cr0
	movl	%cr4, %eax
	andl	$~0x10, %eax
	movl	%eax, %cr4
	movl	$pa(startup_32), %eax
	jmp	*%eax
END_FUNC(prepare_then_startup_32)

	.data
	.balign	8
prepare_gdt_descr:
	.word	prepare_gdt_end - prepare_gdt - 1
	.long	pa(prepare_gdt)
	.balign	8
prepare_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
prepare_gdt_end:
