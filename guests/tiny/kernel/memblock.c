/* memblock: which physical memory is spoken for, before there is anything better to keep it in.
 *
 * early_reserve_memory() enters what a loader left us: the kernel itself and the initrd. Each path has entered before
 * that what only it knows of. Whoever allocates gets the lowest pages from 16 MiB on (below is left to old DMA) that
 * nobody has reserved; so reservations come first.
 *
 * plant=early-reserve makes them after e820__memory_setup(), as Linux 5.15 did. On bare hardware that is as good, for
 * nobody allocates in between. Under Xen the hook that brings the memory map takes a page, and it is our own.
 * Follows: Linux mm/memblock.c, arch/x86/kernel/setup.c (early_reserve_memory).   Next: mm.c. */
#include "kernel.h"

struct memblock memblock;

static int overlaps(const struct memblock_region *region, phys_t base, phys_t size)
{
	return base < region->base + region->size && region->base < base + size;
}

void memblock_reserve(phys_t base, phys_t size)
{
	if (!size)
		return;
	if (memblock.reserved.cnt == ARRAY_SIZE(memblock.reserved.regions))
		panic("memblock: more than %u regions", memblock.reserved.cnt);
	memblock.reserved.regions[memblock.reserved.cnt++] = (struct memblock_region){ base, size };
}

int memblock_regions_overlap(void)
{
	const struct memblock_region *regions = memblock.reserved.regions;

	for (unsigned int i = 0; i < memblock.reserved.cnt; i++)
		for (unsigned int j = 0; j < i; j++)
			if (overlaps(&regions[j], regions[i].base, regions[i].size))
				return 1;
	return 0;
}

/* Whole pages, the lowest that are free. The memory map is not asked: all our machines have RAM where we look. */
phys_t memblock_phys_alloc(phys_t size)
{
	phys_t base = LOAD_PHYSICAL_ADDR;

	size = (size + PAGE_SIZE - 1) & -(phys_t)PAGE_SIZE;
	for (unsigned int i = 0; i < memblock.reserved.cnt; i++) {
		const struct memblock_region *region = &memblock.reserved.regions[i];
		if (overlaps(region, base, size)) {
			base = (region->base + region->size + PAGE_SIZE - 1) & -(phys_t)PAGE_SIZE;
			i = -1u; /* look at all of them again */
		}
	}
	memblock_reserve(base, size);
	return base;
}

void early_reserve_memory(void)
{
	phys_t initrd = boot_params.hdr.ramdisk_image | (phys_t)boot_params.ext_ramdisk_image << 32;
	phys_t initrd_size = boot_params.hdr.ramdisk_size | (phys_t)boot_params.ext_ramdisk_size << 32;

	memblock_reserve(virt_to_phys(_text), _end - _text);
	memblock_reserve(initrd, initrd_size);
}
