/* The unpacker of the 64-bit bzImage: two doors, one room.
 *
 *   door          offset   from                      registers
 *   startup_32    0        32-bit boot protocol      esi = zero page; protected mode, paging off, flat segments
 *   startup_64    0x200    64-bit boot protocol      rsi = zero page; long mode, [runtime start, +init_size), the image,
 *                                                    the zero page and the command line identity-mapped
 *
 * It moves itself to the end of the memory that init_size promises, unpacks the kernel to the start of that memory and
 * jumps to the kernel's own startup_64 with rsi still pointing to the zero page. kernel_alignment and init_size come
 * from the zero page handed over, not from this file: a loader that does not copy the setup header fails here.
 * Follows: Linux arch/x86/boot/compressed/head_64.S.   Next: misc.c, then entry/head_64.S. */
#include "../include/asm.h"
#include "boot.h"

#define BOOT_CS32 0x08
#define BOOT_CS 0x10
#define BOOT_DS 0x18

	.section .head.text, "ax"
	.code32
FUNC(startup_32)
	cld
	cli
	/* Where are we? The zero page's scratch field is the only stack that is promised. */
	leal	(BP_scratch + 4)(%esi), %esp
	call	1f
1:	popl	%ebp
	subl	$(1b - startup_32), %ebp

	leal	gdt(%ebp), %eax
	movl	%eax, (gdt_descr + 2)(%ebp)
	lgdt	gdt_descr(%ebp)
	movl	$BOOT_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	leal	boot_stack_end(%ebp), %esp
	pushl	$BOOT_CS32
	leal	1f(%ebp), %eax
	pushl	%eax
	lretl
1:
	call	verify_cpu
	testl	%eax, %eax
	jz	no_long_mode

	/* ebx: where we shall move; our page tables go there at once. */
	movl	BP_kernel_alignment(%esi), %eax
	decl	%eax
	leal	(%ebp, %eax), %ebx
	notl	%eax
	andl	%eax, %ebx
	cmpl	$LOAD_PHYSICAL_ADDR, %ebx
	jae	1f
	movl	$LOAD_PHYSICAL_ADDR, %ebx
1:	addl	BP_init_size(%esi), %ebx
	subl	$_end, %ebx

	/* 4 GiB, identity-mapped by 2 MiB pages: one level 4, one level 3, four level 2 tables. */
	leal	pgtable(%ebx), %edi
	xorl	%eax, %eax
	movl	$(6 * 1024), %ecx
	rep stosl
	leal	(pgtable + 0x1007)(%ebx), %eax
	movl	%eax, pgtable(%ebx)
	leal	(pgtable + 0x1000)(%ebx), %edi
	leal	(pgtable + 0x2007)(%ebx), %eax
	movl	$4, %ecx
1:	movl	%eax, (%edi)
	addl	$0x1000, %eax
	addl	$8, %edi
	loop	1b
	leal	(pgtable + 0x2000)(%ebx), %edi
	movl	$0x183, %eax
	movl	$2048, %ecx
1:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	1b

	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	leal	pgtable(%ebx), %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	btsl	$8, %eax		/* LME */
	wrmsr
	pushl	$BOOT_CS
	leal	startup_64(%ebp), %eax
	pushl	%eax
	movl	$0x80050033, %eax	/* PG AM WP NE ET MP PE */
	movl	%eax, %cr0
	lretl
END_FUNC(startup_32)

	.org	0x200
	.code64
FUNC(startup_64)
	cld
	cli
	xorl	%eax, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%eax, %fs
	movl	%eax, %gs

	/* rbp: where the kernel goes. rbx: where we shall move. */
	leaq	startup_32(%rip), %rbp
	movl	BP_kernel_alignment(%rsi), %eax
	decl	%eax
	addq	%rax, %rbp
	notq	%rax
	andq	%rax, %rbp
	cmpq	$LOAD_PHYSICAL_ADDR, %rbp
	jae	1f
	movq	$LOAD_PHYSICAL_ADDR, %rbp
1:	movl	BP_init_size(%rsi), %ebx
	subl	$_end, %ebx
	addq	%rbp, %rbx
	leaq	boot_stack_end(%rbx), %rsp

	leaq	gdt(%rip), %rax
	movq	%rax, (gdt_descr + 2)(%rip)
	lgdt	gdt_descr(%rip)
	pushq	$BOOT_CS
	leaq	1f(%rip), %rax
	pushq	%rax
	lretq
1:
	pushq	$0
	popfq

	/* Move, the last byte first, since the places may overlap. */
	pushq	%rsi
	leaq	(_bss - 8)(%rip), %rsi
	leaq	(_bss - 8)(%rbx), %rdi
	movl	$(_bss - startup_32), %ecx
	shrl	$3, %ecx
	std
	rep movsq
	cld
	popq	%rsi

	/* The old GDT may soon be under the kernel. */
	leaq	gdt(%rbx), %rax
	movq	%rax, (gdt_descr + 2)(%rbx)
	lgdt	gdt_descr(%rbx)
	leaq	relocated(%rbx), %rax
	jmp	*%rax
END_FUNC(startup_64)

	.text
FUNC(relocated)
	xorl	%eax, %eax
	leaq	_bss(%rip), %rdi
	leaq	_ebss(%rip), %rcx
	subq	%rdi, %rcx
	shrq	$3, %rcx
	rep stosq

	pushq	%rsi
	movq	%rsi, %rdi		/* extract_kernel(zero page, payload, length, output) */
	leaq	input_data(%rip), %rsi
	movl	$payload_length, %edx
	movq	%rbp, %rcx
	call	extract_kernel
	popq	%rsi
	jmp	*%rax
END_FUNC(relocated)

	.code32
/* verify_cpu: eax = 1 when the CPU has long mode. Keeps esi, ebp. */
FUNC(verify_cpu)
	movl	$0x80000000, %eax
	cpuid
	cmpl	$0x80000001, %eax
	jb	1f
	movl	$0x80000001, %eax
	cpuid
	btl	$29, %edx
	jnc	1f
	movl	$1, %eax
	ret
1:	xorl	%eax, %eax
	ret
END_FUNC(verify_cpu)

FUNC(no_long_mode)			/* as silent as Linux */
	hlt
	jmp	no_long_mode
END_FUNC(no_long_mode)

	.data
	.balign	8
gdt_descr:
	.word	gdt_end - gdt - 1
	.quad	0			/* filled at run time */
	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
gdt_end:

	.bss
	.balign	16
	.skip	4096
boot_stack_end:

	.section .pgtable, "aw", @nobits
	.balign	4096
pgtable:
	.skip	6 * 4096
