/* paging_init: the kernel's own page tables, built entry by entry through pv_ops.mmu.
 *
 * They map what the kernel is made of (text read-only, constants read-only, data writable, the latter two not
 * executable where the CPU can say so), one window for looking at physical memory, and later the user task's pages.
 * Only small pages: a hypervisor may know no others. The early tables of entry/ are not used again after this.
 * Follows: SDM Vol. 3, chapter 4.   Next: pages.c. */
#include "kernel.h"

#ifdef CONFIG_X86_64
#define LEVELS 4
#define BITS_PER_LEVEL 9
extern unsigned long phys_base;
#else
#define LEVELS 2
#define BITS_PER_LEVEL 10
#define phys_base 0ul
#endif

/* The window lies behind the kernel's 2 MiB, under a table of its own. */
#define WINDOW (START_KERNEL_MAP + LOAD_PHYSICAL_ADDR + 0x400000)

#define NR_TABLES 16

/* RESERVE_BRK: what extend_brk() can give away, pages for tables. */
static char brk_area[NR_TABLES * PAGE_SIZE] __section(".bss..brk") __aligned(PAGE_SIZE);
static char *brk_end = brk_area;
static unsigned int tables_used;
static pte_t *top_table; /* init_top_pgt, swapper_pg_dir */
static unsigned long nx;

phys_t virt_to_phys(const void *symbol)
{
	return (unsigned long)symbol - START_KERNEL_MAP + phys_base;
}

static pte_t *table_at(phys_t address)
{
	return (pte_t *)((unsigned long)address - phys_base + START_KERNEL_MAP); /* tables are part of our image */
}

static void *extend_brk(size_t size)
{
	void *area = brk_end;

	if (brk_end + size > brk_area + sizeof(brk_area))
		panic("mm: more than %u page tables", NR_TABLES);
	brk_end += size;
	return area;
}

/* Garbage in a new table would be entries; a hypervisor looks for itself, so for the sake of all others we do. */
static pte_t *alloc_table(unsigned int level)
{
	pte_t *table = extend_brk(PAGE_SIZE);

	tables_used++;
	if (!is_clear(table, PAGE_SIZE))
		panic("mm: the .brk area was not clear: garbage in page table %u", tables_used);
	pv_ops.mmu.alloc_table(virt_to_phys(table), level);
	return table;
}

/* The lowest-level entry for an address, with the tables above it made on the way. */
static pte_t *walk(unsigned long va)
{
	pte_t *table = top_table;

	for (unsigned int level = LEVELS; level > 1; level--) {
		pte_t *entry = &table[va >> (12 + BITS_PER_LEVEL * (level - 1)) & (PTRS_PER_TABLE - 1)];
		if (!(*entry & PAGE_PRESENT)) {
			phys_t lower = virt_to_phys(alloc_table(level - 1));
			/* Rights are decided at the lowest level. */
			pv_ops.mmu.set_table(entry, pv_ops.mmu.make_pte(lower, PAGE_PRESENT | PAGE_RW | PAGE_USER), level);
		}
		table = table_at(pv_ops.mmu.pte_phys(*entry));
	}
	return &table[va >> 12 & (PTRS_PER_TABLE - 1)];
}

void map_page(unsigned long va, phys_t page, unsigned long flags)
{
	pv_ops.mmu.set_pte_at(va, walk(va), pv_ops.mmu.make_pte(page, flags | PAGE_PRESENT));
}

static void map_kernel_range(const char *from, const char *to, unsigned long flags)
{
	for (; from < to; from += PAGE_SIZE)
		map_page((unsigned long)from, virt_to_phys(from), flags);
}

void paging_init(void)
{
	nx = PAGE_NX & __supported_pte_mask;
	top_table = alloc_table(LEVELS);
	map_kernel_range(_text, _etext, 0);
	map_kernel_range(__start_rodata, __end_rodata, nx);
	map_kernel_range(_sdata, __tables_start, PAGE_RW | nx);
	map_kernel_range(__tables_start, __tables_end, pv_ops.mmu.table_flags | nx);
	map_kernel_range(__tables_end, _end, PAGE_RW | nx);
	walk(WINDOW);
	kasan_map_early_shadow(top_table);
	pv_ops.mmu.write_cr3(virt_to_phys(top_table));
	printk("mm: kernel [mem 0x%llx-0x%llx] on %u tables of its own\n", virt_to_phys(_text), virt_to_phys(_end) - 1,
	       tables_used);
}

void map_user_page(unsigned long va, void *page, unsigned long flags)
{
	map_page(va, virt_to_phys(page), flags | PAGE_USER | (flags & PAGE_RW ? nx : 0));
	virt_to_page(page)->mapcount++;
}

/* Physical memory that is not mapped, through the window. What it is used for must not cross a page. */
static void *open_window(phys_t address, unsigned long flags)
{
	unsigned long offset = address & (PAGE_SIZE - 1);

	map_page(WINDOW, address - offset, flags | nx);
	pv_ops.mmu.flush_tlb_one(WINDOW);
	return (void *)(WINDOW + offset);
}

static size_t rest_of_page(phys_t address, size_t length)
{
	size_t rest = PAGE_SIZE - (address & (PAGE_SIZE - 1));

	return rest < length ? rest : length;
}

void read_physical(void *to, phys_t from, size_t length)
{
	for (size_t piece; length; to = (char *)to + piece, from += piece, length -= piece) {
		piece = rest_of_page(from, length);
		memcpy(to, open_window(from, 0), piece);
	}
}

void write_physical(phys_t to, const void *from, size_t length)
{
	for (size_t piece; length; to += piece, from = (const char *)from + piece, length -= piece) {
		piece = rest_of_page(to, length);
		memcpy(open_window(to, PAGE_RW), from, piece);
	}
}
