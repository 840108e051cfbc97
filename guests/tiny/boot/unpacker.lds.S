/* Linker script of the unpacker, the protected-mode part of a bzImage. Linked at 0: every symbol is an offset from
 * wherever the loader put it. The part up to _bss is the file; the rest is memory that it needs in its second place.
 *
 * init_size (setup_header): at the start the unpacked file, later the kernel with its .bss; behind both the moved
 * unpacker. They must not touch: the kernel builds its first page tables (in its .bss) while it runs on the unpacker's. */
#ifdef CONFIG_X86_64
OUTPUT_FORMAT("elf64-x86-64")
#else
OUTPUT_FORMAT("elf32-i386")
#endif
ENTRY(startup_32)
SECTIONS
{
	. = 0;
	.head.text : { *(.head.text) }
	.text : { *(.text .text.*) }
	.rodata : { *(.rodata.payload) . = ALIGN(16); *(.rodata .rodata.*) }
	.data : { *(.data .data.*) *(.got .got.plt) . = ALIGN(16); }
	. = ALIGN(16);
	_bss = .; /* the end of the file */
	.bss : { *(.bss .bss.*) . = ALIGN(16); }
	_ebss = .;
	. = ALIGN(4096);
	.pgtable (NOLOAD) : { *(.pgtable) } /* in use while .bss is cleared */
	. = ALIGN(4096);
	_end = .;
	init_size = ALIGN(MAX(kernel_span, output_length), 4096) + _end;
	payload_length = input_data_end - input_data;
	/DISCARD/ : { *(.comment) *(.note.*) *(.eh_frame*) }
}
