/* struct page: a few bytes of bookkeeping for each page frame, in an array that is found by arithmetic alone.
 *
 *     virt_to_page(p) = vmemmap + physical address of p / 4096
 *
 * Most of that array would describe memory that is none of ours; only the pages of it that describe the kernel's own
 * 2 MiB exist. They do from sparse_init() on, and paging_init() must have come before.
 *
 * plant=struct-pages calls sparse_init() one step later, as Linux 7.0 did for a while. Nobody notices but Xen's hook
 * between the two, which notes in the struct pages which pages are page tables now.
 * Follows: Linux mm/sparse.c, include/asm-generic/memory_model.h.   Next: descriptors.c. */
#include "kernel.h"

#define NR_PAGES (0x200000 / PAGE_SIZE) /* kernel.lds.S asserts that the kernel is no larger */

struct page *virt_to_page(const void *p)
{
	return (struct page *)VMEMMAP_START + (virt_to_phys(p) >> 12);
}

void sparse_init(void)
{
	phys_t size = NR_PAGES * sizeof(struct page), memory = memblock_phys_alloc(size);
	struct page *first = virt_to_page(_text);

	for (phys_t at = 0; at < size; at += PAGE_SIZE)
		map_page((unsigned long)first + at, memory + at, PAGE_RW | (PAGE_NX & __supported_pte_mask));
	memset(first, 0, size);
	printk("mm: %u struct pages at %p\n", NR_PAGES, first);
}
