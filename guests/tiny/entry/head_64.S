/* startup_64: where the 64-bit kernel proper begins, whoever came before.
 *
 *   from              registers
 *   the unpacker      rsi = physical address of the zero page (boot/head_64.S jumps here)
 *   a loader of ELF   rsi = the same, placed by the loader at e_entry (64-bit boot protocol)
 *   pvh.S             rsi = physical address of pvh_bootparams, which the guest has just filled
 *
 * Long mode, interrupts off, and memory identity-mapped by somebody else's page tables in an unknown place; no stack.
 * We make tables of our own, move to our linked address and call C.
 * Follows: Linux arch/x86/kernel/head_64.S.   Next: kernel/head64.c. */
#include "asm.h"

	.section .head.text, "ax"
	.code64
FUNC(startup_64)
	cld
	cli
	leaq	early_stack_end(%rip), %rsp	/* physical for now, as everything rip-relative is */
	movq	%rsi, %r15			/* the zero page */

	/* phys_base: how far from its linked physical address the kernel was loaded (a multiple of 2 MiB). */
	leaq	_text(%rip), %rbp
	subq	$LOAD_PHYSICAL_ADDR, %rbp
	movq	%rbp, phys_base(%rip)

	call	make_early_tables
	leaq	early_top_pgt(%rip), %rax
	movq	%rax, %cr3

	/* EFER.NXE when the CPU has it, so that data pages need not be executable. */
	movl	$0x80000001, %eax
	cpuid
	btl	$20, %edx
	jnc	1f
	movl	$MSR_EFER, %ecx
	rdmsr
	btsl	$11, %eax
	wrmsr
1:
	/* CR0 = PE MP ET NE WP AM PG: supervisor writes obey read-only pages. */
	movl	$0x80050033, %eax
	movq	%rax, %cr0

	movq	$1f, %rax			/* from the physical address to the linked one */
	jmp	*%rax
1:
	movq	$early_stack_end, %rsp
	lgdt	early_gdt_descr(%rip)
	xorl	%eax, %eax
	movl	%eax, %ds
	movl	%eax, %ss
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	pushq	$KERNEL_CS
	pushq	$1f
	lretq
1:
	call	load_percpu_segment

	pushq	$0
	popfq
	xorl	%ebp, %ebp			/* the end of every frame chain */
	movq	%r15, %rdi
	call	x86_64_start_kernel
2:	hlt
	jmp	2b
END_FUNC(startup_64)

/* load_percpu_segment: per-CPU data hang off GS, the stack canary among them, so C code with a canary needs this before.
 * swapgs exchanges this base with the user's. Clobbers rax, rcx, rdx. */
FUNC(load_percpu_segment)
	movl	$MSR_GS_BASE, %ecx
	movq	$fixed_percpu_data, %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	wrmsr
	ret
END_FUNC(load_percpu_segment)

/* make_early_tables: 4 GiB by 2 MiB pages at 0 (identity) and at PAGE_OFFSET, and 1 GiB at START_KERNEL_MAP shifted by
 * phys_base (rbp). Written before .bss is cleared, so the tables lie in .bss..early. Clobbers rax, rcx, rdx, rdi. */
FUNC(make_early_tables)
	leaq	early_top_pgt(%rip), %rdi
	xorl	%eax, %eax
	movl	$(8 * 512), %ecx
	rep stosq

	leaq	early_top_pgt(%rip), %rdi
	leaq	level3_ident_pgt + 0x007(%rip), %rax
	movq	%rax, 0 * 8(%rdi)
	movq	%rax, 273 * 8(%rdi)		/* PAGE_OFFSET >> 39 & 511 */
	leaq	level3_kernel_pgt + 0x007(%rip), %rax
	movq	%rax, 511 * 8(%rdi)
	leaq	level2_kernel_pgt + 0x007(%rip), %rax
	movq	%rax, level3_kernel_pgt + 510 * 8(%rip)
	leaq	level2_ident_pgt + 0x007(%rip), %rax
	leaq	level3_ident_pgt(%rip), %rdi
	movl	$4, %ecx
1:	movq	%rax, (%rdi)
	addq	$PAGE_SIZE, %rax
	addq	$8, %rdi
	loop	1b

	leaq	level2_ident_pgt(%rip), %rdi
	movl	$0x183, %eax			/* present, writable, 2 MiB, global */
	movl	$(4 * 512), %ecx
	call	.Lfill_level2
	leaq	level2_kernel_pgt(%rip), %rdi
	leaq	0x183(%rbp), %rax
	movl	$512, %ecx
.Lfill_level2:
	movq	%rax, (%rdi)
	addq	$0x200000, %rax
	addq	$8, %rdi
	loop	.Lfill_level2
	ret
END_FUNC(make_early_tables)

	.data
	.balign	8
early_gdt_descr:
	.word	early_gdt_end - early_gdt - 1
	.quad	early_gdt
	.balign	8
early_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08 KERNEL32_CS */
	.quad	0x00af9b000000ffff	/* 0x10 KERNEL_CS, 64-bit */
	.quad	0x00cf93000000ffff	/* 0x18 KERNEL_DS */
early_gdt_end:
	.globl	phys_base
phys_base:
	.quad	0

	.section .bss..early, "aw", @nobits
	.balign	PAGE_SIZE
	.globl	early_top_pgt
early_top_pgt:		.skip PAGE_SIZE
level3_ident_pgt:	.skip PAGE_SIZE
level3_kernel_pgt:	.skip PAGE_SIZE
level2_kernel_pgt:	.skip PAGE_SIZE
level2_ident_pgt:	.skip 4 * PAGE_SIZE
early_stack:		.skip EARLY_STACK_SIZE
	.globl	early_stack_end
early_stack_end:
