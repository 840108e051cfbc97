/* multiboot_start: the door of toy kernels, in the 32-bit ELF.
 *
 *   from                  registers
 *   a Multiboot loader    eax = 0x2badb002, ebx = physical address of the Multiboot information; protected mode,
 *                         paging off, flat segments, no stack
 *
 * The header gives load addresses and an entry of its own ("a.out kludge"), so that e_entry can stay what Linux says it
 * is. It must lie in the first 8192 bytes of the file.
 * Follows: Multiboot Specification 0.6.96.   Next: prepare_32.S, kernel/multiboot.c. */
#include "asm.h"

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x10003		/* modules on page boundaries, memory map, addresses below are valid */

	.section .head.text, "ax"
	.code32
	.balign	4
multiboot_header:
	.long	MULTIBOOT_MAGIC
	.long	MULTIBOOT_FLAGS
	.long	-(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
	.long	pa(multiboot_header)		/* header_addr */
	.long	pa(_text)			/* load_addr */
	.long	pa(_edata)			/* load_end_addr */
	.long	pa(_end)			/* bss_end_addr */
	.long	pa(multiboot_start)		/* entry_addr */

FUNC(multiboot_start)
	movl	$prepare_multiboot, %edi
	movl	$pa(multiboot_bootparams), %esi
	jmp	prepare_then_startup_32
END_FUNC(multiboot_start)
