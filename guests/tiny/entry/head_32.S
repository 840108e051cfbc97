/* startup_32: where the 32-bit kernel proper begins, whoever came before.
 *
 *   from              registers
 *   the unpacker      esi = physical address of the zero page (boot/head_32.S jumps here)
 *   a loader of ELF   esi = the same, placed by the loader at e_entry (32-bit boot protocol)
 *   prepare_32.S      esi = a zero page that the guest has just filled (PVH, Multiboot)
 *
 * Protected mode, flat segments, paging and interrupts off, no stack. A loader that sets KEEP_SEGMENTS in loadflags
 * (lguest does: the kernel then runs in ring 1) has segments that must not be reloaded.
 * Follows: Linux arch/x86/kernel/head_32.S; the subarchitecture table as long as Linux had one.   Next: kernel/head32.c. */
#include "asm.h"
#include "../boot/boot.h"

	.section .head.text, "ax"
	.code32
FUNC(startup_32)
	cld
	cmpw	$0x207, BP_version(%esi)
	jb	1f
	testb	$KEEP_SEGMENTS, BP_loadflags(%esi)
	jnz	2f
1:	cli
	lgdt	pa(boot_gdt_descr)
	movl	$BOOT_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
2:
	movl	$pa(early_stack_end), %esp

	/* .brk and .bss first: boot_params lies there. */
	xorl	%eax, %eax
	movl	$pa(__brk_base), %edi
	movl	$pa(__bss_stop), %ecx
	subl	%edi, %ecx
	shrl	$2, %ecx
	rep stosl

	/* The zero page and the command line, while physical addresses are still good. */
	movl	$pa(boot_params), %edi
	movl	$1024, %ecx
	rep movsl
	movl	pa(boot_params) + BP_cmd_line_ptr, %esi
	testl	%esi, %esi
	jz	1f
	movl	$pa(boot_command_line), %edi
	movl	$512, %ecx
	rep movsl
	movb	$0, -1(%edi)
1:
	/* initial_page_table: the first 32 MiB, at 0 and at START_KERNEL_MAP. */
	movl	$pa(initial_page_table), %edi
	xorl	%eax, %eax
	movl	$1024, %ecx
	rep stosl
	movl	$pa(initial_tables), %edi
	movl	$0x003, %eax			/* present, writable */
	movl	$(EARLY_MAP_TABLES * 1024), %ecx
1:	movl	%eax, (%edi)
	addl	$PAGE_SIZE, %eax
	addl	$4, %edi
	loop	1b
	movl	$pa(initial_tables) + 0x003, %eax
	movl	$pa(initial_page_table), %edi
	movl	$EARLY_MAP_TABLES, %ecx
1:	movl	%eax, (%edi)
	movl	%eax, (START_KERNEL_MAP >> 22) * 4(%edi)
	addl	$PAGE_SIZE, %eax
	addl	$4, %edi
	loop	1b

	/* Which kind of machine? Loaders before protocol 2.07 could not say. */
	cmpw	$0x207, pa(boot_params) + BP_version
	jb	default_entry
	movl	pa(boot_params) + BP_hardware_subarch, %eax
	cmpl	$nr_subarch_entries, %eax
	jae	bad_subarch
	movl	pa(subarch_entries)(, %eax, 4), %eax
	subl	$START_KERNEL_MAP, %eax
	jmp	*%eax
END_FUNC(startup_32)

FUNC(bad_subarch)
	.weak	xen_entry			/* no 32-bit Xen entry is linked in */
xen_entry:
	ud2
END_FUNC(bad_subarch)

FUNC(default_entry)
	movl	$pa(initial_page_table), %eax
	movl	%eax, %cr3
	movl	$0x80050033, %eax		/* PG AM WP NE ET MP PE */
	movl	%eax, %cr0
	movl	$1f, %eax			/* from the physical address to the linked one */
	jmp	*%eax
1:
	movl	$early_stack_end, %esp
	lgdt	early_gdt_descr
	ljmp	$KERNEL_CS, $1f
1:	movl	$KERNEL_DS, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	pushl	$0
	popfl
	xorl	%ebp, %ebp			/* the end of every frame chain */
	call	i386_start_kernel
2:	hlt
	jmp	2b
END_FUNC(default_entry)

	.data
	.balign	4
subarch_entries:				/* by hardware_subarch */
	.long	default_entry			/* 0 PC */
	.long	lguest_entry			/* 1 lguest: entry/lguest.S */
	.long	xen_entry			/* 2 Xen */
nr_subarch_entries = (. - subarch_entries) / 4

	.balign	8
boot_gdt_descr:
	.word	boot_gdt_end - boot_gdt - 1
	.long	pa(boot_gdt)
	.balign	8
boot_gdt:
	.quad	0, 0
	.quad	0x00cf9b000000ffff	/* 0x10 */
	.quad	0x00cf93000000ffff	/* 0x18 */
boot_gdt_end:
	BOOT_DS = 0x18

	.balign	8
early_gdt_descr:
	.word	early_gdt_end - early_gdt - 1
	.long	early_gdt
	.balign	8
early_gdt:
	.fill	KERNEL_CS / 8, 8, 0
	.quad	0x00cf9b000000ffff	/* 0x60 KERNEL_CS */
	.quad	0x00cf93000000ffff	/* 0x68 KERNEL_DS */
early_gdt_end:

	.section .bss..early, "aw", @nobits
	.balign	PAGE_SIZE
	.globl	initial_page_table
initial_page_table:	.skip PAGE_SIZE
initial_tables:		.skip EARLY_MAP_TABLES * PAGE_SIZE
early_stack:		.skip EARLY_STACK_SIZE
	.globl	early_stack_end
early_stack_end:
