/* The unpacker of the 32-bit bzImage: one door.
 *
 *   door          offset   from                      registers
 *   startup_32    0        32-bit boot protocol      esi = zero page; protected mode, paging off, flat segments
 *                          lguest's launcher         the same in ring 1, with KEEP_SEGMENTS in loadflags
 *
 * It moves itself out of the way, unpacks the kernel to its linked address and jumps to the kernel's own startup_32 with
 * esi still pointing to the zero page. Unlike the 64-bit one it takes no address from the zero page: the kernel is not
 * relocatable, and lguest's launcher, which makes a zero page from nothing, leaves init_size 0.
 * Follows: Linux arch/x86/boot/compressed/head_32.S of lguest's time.   Next: misc.c, then entry/head_32.S. */
#include "../include/asm.h"
#include "boot.h"

	.section .head.text, "ax"
	.code32
FUNC(startup_32)
	cld
	cmpw	$0x207, BP_version(%esi)
	jb	1f
	testb	$KEEP_SEGMENTS, BP_loadflags(%esi)
	jnz	2f
1:	cli
	movl	$0x18, %eax		/* the boot protocol's own selector */
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
2:
	/* Where are we? The zero page's scratch field is the only stack that is promised. */
	leal	(BP_scratch + 4)(%esi), %esp
	call	1f
1:	popl	%ebp
	subl	$(1b - startup_32), %ebp

	movl	$(init_size + LOAD_PHYSICAL_ADDR), %ebx
	subl	$_end, %ebx
	leal	boot_stack_end(%ebx), %esp

	/* Move, the last word first, since the places may overlap. */
	pushl	%esi
	leal	(_bss - 4)(%ebp), %esi
	leal	(_bss - 4)(%ebx), %edi
	movl	$(_bss - startup_32), %ecx
	shrl	$2, %ecx
	std
	rep movsl
	cld
	popl	%esi
	leal	relocated(%ebx), %eax
	jmp	*%eax
END_FUNC(startup_32)

	.text
FUNC(relocated)
	xorl	%eax, %eax
	leal	_bss(%ebx), %edi
	leal	_ebss(%ebx), %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	rep stosl

	pushl	%esi
	pushl	$LOAD_PHYSICAL_ADDR	/* extract_kernel(zero page, payload, length, output) */
	movl	%esi, %eax
	leal	input_data(%ebx), %edx
	movl	$payload_length, %ecx
	call	extract_kernel
	addl	$4, %esp
	popl	%esi
	xorl	%ebx, %ebx
	xorl	%ebp, %ebp
	xorl	%edi, %edi
	jmp	*%eax
END_FUNC(relocated)

	.bss
	.balign	16
	.skip	4096
boot_stack_end:
