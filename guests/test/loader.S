/* A loader for tests: hands a bzImage to the 64-bit boot protocol under any Multiboot loader, QEMU's -kernel for one.
 *
 *   gcc -m32 -c -DIMAGE='"tiny64.bzimage"' loader.S -o loader.o
 *   ld -m elf_i386 -Ttext 0x4000000 -e start -o loader.elf loader.o
 *   qemu-system-x86_64 -m 128 -kernel loader.elf -append "..." -initrd ...
 *
 * QEMU itself enters a bzImage only through its real-mode code. This does what zeropage's linux64 path promises: the
 * setup header copied to a clean zero page at 0x10000 and nothing else of the file, two e820 entries, loader type 0xff,
 * the code at pref_address, long mode with the low 4 GiB identity-mapped, rsi = zero page, entry at +0x200.
 * The command line is what follows the first word that Multiboot gives (the file's name), the initrd is its first module.
 * Follows: Linux Documentation/x86/boot.rst, "64-bit BOOT PROTOCOL"; Multiboot Specification 0.6.96. */

#define ZERO_PAGE 0x10000
#define BP(offset) ZERO_PAGE + offset
#define MBI_mem_upper 8
#define MBI_cmdline 16
#define MBI_mods_count 20
#define MBI_mods_addr 24
#define MAGIC 0x1badb002
#define FLAGS 0x10003

	.code32
	.text
	.globl	start
header:
	.long	MAGIC, FLAGS, -(MAGIC + FLAGS)
	.long	header, header, image_end, bss_end, start

start:
	movl	$stack_end, %esp
	cld
	movl	$ZERO_PAGE, %edi
	xorl	%eax, %eax
	movl	$1024, %ecx
	rep stosl
	movl	$(image + 0x1f1), %esi		/* setup_header, to 0x202 + the byte at 0x201 */
	movl	$BP(0x1f1), %edi
	movzbl	image + 0x201, %ecx
	addl	$(0x202 - 0x1f1), %ecx
	rep movsb

	movb	$0xff, BP(0x210)		/* type_of_loader */
	movb	$2, BP(0x1e8)			/* e820_entries */
	movl	$0xa0000, BP(0x2d0 + 8)
	movl	$1, BP(0x2d0 + 16)
	movl	$0x100000, BP(0x2e4)
	movl	MBI_mem_upper(%ebx), %eax
	shll	$10, %eax
	movl	%eax, BP(0x2e4 + 8)
	movl	$1, BP(0x2e4 + 16)

	movl	MBI_cmdline(%ebx), %eax
1:	cmpb	$0, (%eax)
	je	2f
	incl	%eax
	cmpb	$' ', -1(%eax)
	jne	1b
2:	movl	%eax, BP(0x228)			/* cmd_line_ptr */
	cmpl	$0, MBI_mods_count(%ebx)
	je	1f
	movl	MBI_mods_addr(%ebx), %edx
	movl	(%edx), %eax
	movl	%eax, BP(0x218)			/* ramdisk_image */
	subl	4(%edx), %eax
	negl	%eax
	movl	%eax, BP(0x21c)			/* ramdisk_size */
1:
	movzbl	image + 0x1f1, %eax		/* setup_sects */
	incl	%eax
	shll	$9, %eax
	leal	image(%eax), %esi
	movl	$image_end, %ecx
	subl	%esi, %ecx
	movl	BP(0x258), %edi			/* pref_address */
	movl	%edi, %ebp
	rep movsb

	movl	$pml4, %edi
	movl	$(pdpt + 7), (%edi)
	movl	$pdpt, %edi
	movl	$(directories + 7), %eax
	movl	$4, %ecx
1:	movl	%eax, (%edi)
	addl	$4096, %eax
	addl	$8, %edi
	loop	1b
	movl	$directories, %edi
	movl	$0x83, %eax
	movl	$2048, %ecx
1:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	loop	1b
	lgdt	gdt_descr
	movl	$0x18, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$0x20, %eax			/* PAE */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	btsl	$8, %eax			/* EFER.LME */
	wrmsr
	movl	$0x80000011, %eax		/* PG, ET, PE */
	movl	%eax, %cr0
	ljmp	$0x10, $1f
	.code64
1:	movl	$ZERO_PAGE, %esi
	leal	0x200(%rbp), %eax
	xorl	%esp, %esp			/* none is promised */
	jmp	*%rax

	.balign	8
gdt:
	.quad	0, 0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
gdt_descr:
	.word	. - gdt - 1
	.long	gdt
	.balign	16
image:
	.incbin	IMAGE
image_end:

	.bss
	.balign	0x100000		/* so that what QEMU puts behind us lies at one place, however long the image is */
pml4:		.skip 4096
pdpt:		.skip 4096
directories:	.skip 4 * 4096
		.skip 256
stack_end:
bss_end:
