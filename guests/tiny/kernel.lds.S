/* Linker script of the kernel proper, for both word sizes.
 *
 * Linked high, loaded at physical 16 MiB, and e_entry is a physical address, as in Linux (arch/x86/kernel/vmlinux.lds.S):
 * whoever enters does so before our page tables exist. File offsets run in step with addresses, which the Multiboot
 * a.out fields of the 32-bit build rely on. */
#include "include/layout.h"

#ifdef CONFIG_X86_64
OUTPUT_FORMAT("elf64-x86-64")
ENTRY(phys_startup_64)
#else
OUTPUT_FORMAT("elf32-i386")
ENTRY(phys_startup_32)
#endif

PHDRS
{
	text PT_LOAD FLAGS(5);
	rodata PT_LOAD FLAGS(4);
	data PT_LOAD FLAGS(6);
	note PT_NOTE FLAGS(4);
}

SECTIONS
{
	. = START_KERNEL_MAP + LOAD_PHYSICAL_ADDR;
#ifdef CONFIG_X86_64
	phys_startup_64 = ABSOLUTE(startup_64 - START_KERNEL_MAP);
#else
	phys_startup_32 = ABSOLUTE(startup_32 - START_KERNEL_MAP);
#endif
	phys_pvh_start = ABSOLUTE(pvh_start - START_KERNEL_MAP);

	.text : AT(ADDR(.text) - START_KERNEL_MAP) {
		_text = .;
		*(.head.text)
		*(.text .text.*)
		_etext = .;
	} :text

	. = ALIGN(PAGE_SIZE);
	.rodata : AT(ADDR(.rodata) - START_KERNEL_MAP) {
		__start_rodata = .;
		*(.rodata .rodata.*)
	} :rodata

	.notes : AT(ADDR(.notes) - START_KERNEL_MAP) {
		KEEP(*(.notes))
		__end_rodata = .;
	} :rodata :note

	. = ALIGN(PAGE_SIZE);
	.data : AT(ADDR(.data) - START_KERNEL_MAP) {
		_sdata = .;
		*(.data .data.*)
		_edata = .;
	} :data

	.bss ALIGN(PAGE_SIZE) (NOLOAD) : AT(ADDR(.bss) - START_KERNEL_MAP) {
		/* .brk: memory to be given away in pieces before there is an allocator. Cleared like .bss. */
		__tables_start = .;
		__brk_base = .;
		*(.bss..brk)
		__brk_limit = .;
		__bss_start = .;
		*(.bss..page_tables)
		__tables_end = .;
		*(.bss..page_aligned)
		*(.bss .bss.[!.]*)
		. = ALIGN(PAGE_SIZE);
		__bss_stop = .;
		/* In use before C code runs, so clear_bss() must not touch it: first stack, first page tables. */
		*(.bss..early)
		. = ALIGN(PAGE_SIZE);
		_end = .;
	} :data

	/DISCARD/ : { *(.comment) *(.note.*) *(.eh_frame*) }
}

#ifndef CONFIG_X86_64
ASSERT(_end - START_KERNEL_MAP <= EARLY_MAP_TABLES * 0x400000, "initial_page_table must map the whole kernel")
#endif
ASSERT(_end - _text <= 0x200000, "the kernel fits one 2 MiB page: mm.c plans its tables for that")
