/* startup_xen: how Xen's domain builder starts us. It found our address in the ELF notes below.
 *
 *   from              registers
 *   Xen, or a         rsi = virtual address of start_info; rsp = a page of stack; all others 0
 *   domain builder
 *
 * Everything that the other paths work for is there already: long mode, and page tables that map all the builder loaded,
 * linearly, where we are linked. But we are in ring 3 and no privileged instruction works any more. The one below faults,
 * and Xen carries it out for us; from here on we ask by hypercall. Nobody has filled a zero page.
 *
 *   virtual                    what the builder put there, page by page            (drawn for 256 MiB, no initrd)
 *   VIRT_BASE                  16 MiB of padding: we are linked as high as Linux
 *   VIRT_BASE + 16 MiB         the kernel, .bss included
 *                              start_info, the xenstore page, the console page     <- rsi
 *                              page tables, mapped read-only
 *                              the boot stack, one page                            <- rsp, its end
 *                              padding up to a multiple of 4 MiB
 *   INIT_P2M                   the p2m: for each of our frames the machine's number for it
 *
 * Follows: Linux arch/x86/xen/xen-head.S; Xen xen/include/public/elfnote.h.   Next: kernel/xen.c. */
#include "asm.h"
#include "xen/numbers.h"

	.section .head.text, "ax"
	.code64
FUNC(startup_xen)
	cld
	movq	$early_stack_end, %rsp		/* a stack of our own: the builder's is not in our image */

	xorl	%ebp, %ebp			/* the end of every frame chain */

	movq	%rsi, %rbx
	leaq	START_INFO_cmd_line(%rsi), %rdi
	call	note_plants
	PLANTED	"gs-base-pv", 1f
	call	load_percpu_segment		/* its WRMSR raises #GP; Xen sees what it wanted to be and does it */
1:	movq	%rbx, %rdi
	call	xen_start_kernel
	ud2					/* does not return */
END_FUNC(startup_xen)

/* The promises to a domain builder: owner "Xen", then for each its type and value. */
	.macro ELFNOTE type:req, desc:vararg
	.section .notes, "a", @note
	.balign	4
	.long	4, 2f - 1f, \type
	.asciz	"Xen"
1:	\desc
2:	.balign	4
	.endm

	ELFNOTE	6,  .asciz "linux"		/* GUEST_OS: with this name a builder asks nothing more of LOADER */
	ELFNOTE	7,  .asciz "tiny-1.0"		/* GUEST_VERSION */
	ELFNOTE	5,  .asciz "xen-3.0"		/* XEN_VERSION: of the interface */
	ELFNOTE	3,  .quad START_KERNEL_MAP	/* VIRT_BASE: where frame 0 is to be mapped */
	ELFNOTE	15, .quad 0x8000000000		/* INIT_P2M: where the p2m is to be mapped */
	ELFNOTE	1,  .quad startup_xen		/* ENTRY */
	ELFNOTE	10, .ascii "!writable_page_tables|pae_pgdir_above_4gb"	/* FEATURES, "!": cannot do without */
	ELFNOTE	17, .long 1 << 11 | 1 << 0	/* SUPPORTED_FEATURES: dom0, writable_page_tables */
	ELFNOTE	9,  .asciz "yes"		/* PAE_MODE */
	ELFNOTE	8,  .asciz "generic"		/* LOADER */
	ELFNOTE	13, .quad 1, 1			/* L1_MFN_VALID: mask and value that tell a present entry */
	ELFNOTE	16, .long 1			/* MOD_START_PFN: the initrd need not be mapped */
	ELFNOTE	12, .quad 0xffff800000000000	/* HV_START_LOW: from here on the address space may be Xen's */
	ELFNOTE	4,  .quad 0			/* PADDR_OFFSET: physical addresses in the ELF file start at 0 */
