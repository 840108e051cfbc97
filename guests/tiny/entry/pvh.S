/* pvh_start: the shortest way in. The loader found our address in the ELF note below.
 *
 *   from             registers
 *   a PVH loader     ebx = physical address of hvm_start_info; protected mode, paging off, flat segments, no stack
 *
 * Nobody has filled a zero page. We go as far as C needs (long mode on our own tables, or paging in the 32-bit build),
 * let prepare_pvh() fill pvh_bootparams from the start-info, and then enter the ordinary door with rsi (esi) pointing to it.
 * Like Linux on this path, the code relies on being loaded at its linked physical address.
 * Follows: Linux arch/x86/platform/pvh/head.S; Xen docs/misc/pvh.pandoc.   Next: kernel/pvh.c. */
#include "asm.h"

#define HVM_START_INFO_cmdline 24	/* cmdline_paddr */

	.section .head.text, "ax"
	.code32
FUNC(pvh_start)
#ifdef CONFIG_X86_64
	cld
	lgdt	pa(pvh_gdt_descr)
	movl	$PVH_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$pa(early_stack_end), %esp

	/* Long mode needs tables: 4 GiB identity-mapped, and the first GiB again where the kernel is linked.
	 * They lie in .bss: startup_64 leaves them for its own before .bss is cleared. */
	movl	$pa(pvh_top_pgt), %edi
	xorl	%eax, %eax
	movl	$(7 * 1024), %ecx
	rep stosl
	movl	$pa(pvh_level3_ident) + 7, pa(pvh_top_pgt)
	movl	$pa(pvh_level3_ident) + 7, pa(pvh_top_pgt) + 273 * 8
	movl	$pa(pvh_level3_kernel) + 7, pa(pvh_top_pgt) + 511 * 8
	movl	$pa(pvh_level2) + 7, pa(pvh_level3_kernel) + 510 * 8
	movl	$pa(pvh_level2) + 7, %eax
	movl	$pa(pvh_level3_ident), %edi
	movl	$4, %ecx
1:	movl	%eax, (%edi)
	addl	$PAGE_SIZE, %eax
	addl	$8, %edi
	loop	1b
	movl	$0x183, %eax
	movl	$pa(pvh_level2), %edi
	movl	$(4 * 512), %ecx
1:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	1b

	movl	$pa(pvh_top_pgt), %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax			/* PAE */
	movl	%eax, %cr4
	movl	$MSR_EFER, %ecx
	rdmsr
	btsl	$8, %eax			/* LME */
	wrmsr
	movl	$0x80000001, %eax		/* PG, PE */
	movl	%eax, %cr0
	ljmp	$PVH_CS, $pa(1f)

	.code64
1:	movq	$.Lhigh, %rax
	jmp	*%rax
.Lhigh:
	movq	$early_stack_end, %rsp
	xorl	%ebp, %ebp
	movl	%ebx, %eax
	movq	HVM_START_INFO_cmdline(%rax), %rdi
	call	note_plants
	PLANTED	"gs-base-pvh", 1f
	call	load_percpu_segment
1:	movl	%ebx, %r12d
	movq	$pa(prepare_pvh), %r13		/* the plant: C code where it is loaded, not where it is linked */
	PLANTED	"pvh-physical", 1f
	movq	$prepare_pvh, %r13
1:	movl	%r12d, %edi
	call	*%r13

	movq	$pa(pvh_bootparams), %rsi
	movq	$pa(startup_64), %rax
	jmp	*%rax
#else
	/* plant=pvh-pae: PAE before paging, right for kernels with three levels of tables, and this one has two. */
	movl	$pa(early_stack_end), %esp
	movl	HVM_START_INFO_cmdline(%ebx), %eax
	testl	%eax, %eax
	jz	1f
	movl	$pa(pvh_pae_word), %edx
	call	is_word_of
	testl	%eax, %eax
	jz	1f
	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
1:	movl	$prepare_pvh, %edi
	movl	$pa(pvh_bootparams), %esi
	jmp	prepare_then_startup_32
#endif
END_FUNC(pvh_start)

#ifdef CONFIG_X86_64
	.data
	.balign	8
pvh_gdt_descr:
	.word	pvh_gdt_end - pvh_gdt - 1
	.long	pa(pvh_gdt)
	.balign	8
pvh_gdt:
	.quad	0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
pvh_gdt_end:
	PVH_CS = 0x08
	PVH_DS = 0x10

	.section .bss..page_aligned, "aw", @nobits
	.balign	PAGE_SIZE
pvh_top_pgt:		.skip PAGE_SIZE
pvh_level3_ident:	.skip PAGE_SIZE
pvh_level3_kernel:	.skip PAGE_SIZE
pvh_level2:		.skip 4 * PAGE_SIZE
#endif

#ifndef CONFIG_X86_64
	.section .rodata
pvh_pae_word:
	.asciz	"plant=pvh-pae"
#endif

/* The promise to loaders. Owner "Xen", type 18 = XEN_ELFNOTE_PHYS32_ENTRY. The notes of a PV kernel are in xen.S. */
	.section .notes, "a", @note
	.balign	4
	.long	4, 2f - 1f, 18
	.asciz	"Xen"
#ifdef CONFIG_X86_64
1:	.quad	phys_pvh_start
#else
1:	.long	phys_pvh_start
#endif
2:	.balign	4
