/* Where the kernel lives. Read by C, by assembly and by the linker script. */
#pragma once

#define LOAD_PHYSICAL_ADDR 0x1000000 /* 16 MiB, as Linux's CONFIG_PHYSICAL_START */
#define PAGE_SIZE 4096

#ifdef CONFIG_X86_64
#ifdef __ASSEMBLER__
#define START_KERNEL_MAP 0xffffffff80000000 /* the kernel image: virtual = this + physical - phys_base */
#define PAGE_OFFSET 0xffff888000000000      /* all physical memory, in the early tables only */
#else
#define START_KERNEL_MAP 0xffffffff80000000ul
#define PAGE_OFFSET 0xffff888000000000ul
#endif
#define VMEMMAP_START 0xffffea0000000000ul /* an array of struct page, by page frame */
#define PTRS_PER_TABLE 512
#else
#ifdef __ASSEMBLER__
#define START_KERNEL_MAP 0xc0000000
#else
#define START_KERNEL_MAP 0xc0000000ul
#endif
#define PAGE_OFFSET START_KERNEL_MAP /* 32-bit: the image lies in the direct map */
#define VMEMMAP_START 0xf0000000ul /* an array of struct page, by page frame */
#define PTRS_PER_TABLE 1024
#define EARLY_MAP_TABLES 8 /* initial_page_table maps 32 MiB */
#endif

#define EARLY_STACK_SIZE 8192
#define ENTRY_STACK_SIZE 8192
