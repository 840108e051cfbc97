/* The first sectors of a bzImage: the setup header, and real-mode code that fills a zero page with a BIOS's help.
 *
 * Direct loaders (ours, and those of every hypervisor) read the header and never run this code. Boot loaders and QEMU's
 * -kernel do; with it they are an independent check of the image. zoffset.h comes from the linked unpacker.
 * Follows: Linux arch/x86/boot/header.S and Documentation/x86/boot.rst.   Next: head_64.S or head_32.S. */
#include "../include/layout.h"
#include "zoffset.h"

	.code16
	.section .text
	.globl	_start
_start:
	int	$0x18			/* as a boot sector: there is no boot code here any more */
1:	jmp	1b

	.org	0x1ef
	.byte	0xff, 0xff		/* sentinel: a loader that copies too much gives itself away */

	.org	0x1f1
hdr:
	.byte	SETUP_SECTS		/* 1f1 setup_sects */
	.word	1			/* 1f2 root_flags */
	.long	ZO__bss / 16		/* 1f4 syssize */
	.word	0			/* 1f8 ram_size */
	.word	0xffff			/* 1fa vid_mode: normal */
	.word	0			/* 1fc root_dev */
	.word	0xaa55			/* 1fe boot_flag */
	.byte	0xeb, start_of_setup - 1f	/* 200 jump */
1:	.ascii	"HdrS"			/* 202 header */
	.word	0x020f			/* 206 version 2.15 */
	.long	0			/* 208 realmode_swtch */
	.word	0x1000			/* 20c start_sys_seg */
	.word	kernel_version - 0x200	/* 20e kernel_version */
type_of_loader:
	.byte	0			/* 210 type_of_loader: the loader's */
	.byte	0x01			/* 211 loadflags: LOADED_HIGH */
	.word	0x8000			/* 212 setup_move_size */
code32_start:
	.long	0x100000		/* 214 code32_start */
	.long	0			/* 218 ramdisk_image */
	.long	0			/* 21c ramdisk_size */
	.long	0			/* 220 bootsect_kludge */
	.word	setup_end - 0x200	/* 224 heap_end_ptr */
	.byte	0			/* 226 ext_loader_ver */
	.byte	0			/* 227 ext_loader_type */
	.long	0			/* 228 cmd_line_ptr */
	.long	0x7fffffff		/* 22c initrd_addr_max */
#ifdef CONFIG_X86_64
	.long	0x200000		/* 230 kernel_alignment */
	.byte	1			/* 234 relocatable_kernel */
	.byte	21			/* 235 min_alignment: 2 MiB */
	.word	1			/* 236 xloadflags: KERNEL_64 */
#else
	.long	0x1000000		/* 230 kernel_alignment */
	.byte	0			/* 234 relocatable_kernel: addresses are fixed at link time */
	.byte	24			/* 235 min_alignment: 16 MiB */
	.word	0			/* 236 xloadflags */
#endif
	.long	2047			/* 238 cmdline_size */
	.long	0			/* 23c hardware_subarch: PC */
	.quad	0			/* 240 hardware_subarch_data */
	.long	ZO_input_data		/* 248 payload_offset */
	.long	ZO_payload_length	/* 24c payload_length */
	.quad	0			/* 250 setup_data */
	.quad	LOAD_PHYSICAL_ADDR	/* 258 pref_address */
	.long	ZO_init_size		/* 260 init_size */
	.long	0			/* 264 handover_offset: no EFI */
	.long	ZO_kernel_info		/* 268 kernel_info_offset */
header_end:
	.if	header_end - hdr != 0x7b
	.error	"a setup_header of protocol 2.15 ends at 0x26c"
	.endif

/* From a boot loader: ds = our segment, cs = ds + 0x20, registers otherwise unknown. */
start_of_setup:
	movw	%ds, %ax
	movw	%ax, %es
	cli
	movw	%ax, %ss
	movl	$setup_end, %esp
	sti
	cld
	pushw	%ds
	pushw	$1f
	lretw
1:
	xorl	%eax, %eax		/* an empty zero page, with the header copied into it */
	movw	$boot_params, %di
	movw	$1024, %cx
	rep stosl
	movw	$hdr, %si
	movw	$(boot_params + 0x1f1), %di
	movw	$(header_end - hdr), %cx
	rep movsb

	/* The BIOS's memory map, an entry per call. */
	movw	$(boot_params + 0x2d0), %di
	xorl	%ebx, %ebx
next_entry:
	movl	$0xe820, %eax
	movl	$20, %ecx
	movl	$0x534d4150, %edx	/* "SMAP" */
	int	$0x15
	jc	map_done
	cmpl	$0x534d4150, %eax
	jne	map_done
	addw	$20, %di
	incb	boot_params + 0x1e8
	cmpb	$128, boot_params + 0x1e8
	je	map_done
	testl	%ebx, %ebx
	jnz	next_entry
map_done:
	inb	$0x92, %al		/* the A20 gate, the fast way */
	orb	$2, %al
	outb	%al, $0x92

	cli
	xorl	%ebx, %ebx
	movw	%ds, %bx
	shll	$4, %ebx		/* our linear address */
	leal	boot_params(%ebx), %esi
	leal	boot_gdt(%ebx), %eax
	movl	%eax, boot_gdt_descr + 2
	lgdtl	boot_gdt_descr
	leal	in_protected_mode(%ebx), %eax
	movl	%eax, far_jump + 2
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	jmp	far_jump
far_jump:
	.byte	0x66, 0xea		/* ljmpl $0x10, $in_protected_mode */
	.long	0
	.word	0x10

	.code32
in_protected_mode:
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	movl	0x214(%esi), %eax	/* code32_start */
	xorl	%ebx, %ebx
	xorl	%ebp, %ebp
	xorl	%edi, %edi
	jmp	*%eax

	.balign	8
boot_gdt:
	.quad	0, 0
	.quad	0x00cf9b000000ffff	/* 0x10, as the boot protocol wants it */
	.quad	0x00cf93000000ffff	/* 0x18 */
boot_gdt_descr:
	.word	. - boot_gdt - 1
	.long	0

kernel_version:
#ifdef CONFIG_X86_64
	.asciz	"1.0.0-tiny64 (zeropage) #1 x86_64"
#else
	.asciz	"1.0.0-tiny32 (zeropage) #1 i386"
#endif

	.org	(SETUP_SECTS + 1) * 512
	/* Memory beyond the file, in the 32 KiB that a loader gives us. */
	.struct	(SETUP_SECTS + 1) * 512
boot_params:	.skip 4096
setup_stack:	.skip 1024
setup_end:
