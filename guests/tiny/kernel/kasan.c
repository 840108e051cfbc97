/* Shadow memory: for each 8 bytes of the kernel's address space one byte that says whether they may be touched.
 *
 * The compiler puts a call in front of every access in the files that the Makefile names (setup.c, e820.c), and the
 * functions below look into the shadow. So the shadow must be there before the first such access, on every entry path.
 * There is no memory for it so early, nor need: nothing is forbidden yet, and one page of zeros serves for all of it.
 *
 *     root, slots 472-503 --> kasan_early_shadow_pud --> _pmd --> _pte --> _page
 *                              all 512 entries the same, on each level
 *
 * plant=kasan leaves the map out under Xen, as Linux does: its only call stands in x86_64_start_kernel(). The first
 * access of setup_arch() ends in a page fault in the shadow. plant=pvh-kasan is the same bug elsewhere: prepare_pvh(), which
 * runs before the map is made, clears its boot_params with a memset that looks into it.
 * Follows: Linux arch/x86/mm/kasan_init_64.c, mm/kasan/generic.c.   Next: legacy.c. */
#include "kernel.h"

#define KASAN_SHADOW_OFFSET 0xdffffc0000000000ul /* shadow address = address / 8 + this; the Makefile says the same */
#define KASAN_SHADOW_START 0xffffec0000000000ul  /* the shadow of 0xffff800000000000 */
#define KASAN_SHADOW_END 0xfffffc0000000000ul
#define ROOT_SLOT(va) ((va) >> 39 & (PTRS_PER_TABLE - 1))
#define TABLE __section(".bss..page_tables") __aligned(PAGE_SIZE)

static pte_t kasan_early_shadow_pud[PTRS_PER_TABLE] TABLE;
static pte_t kasan_early_shadow_pmd[PTRS_PER_TABLE] TABLE;
static pte_t kasan_early_shadow_pte[PTRS_PER_TABLE] TABLE;
static u8 kasan_early_shadow_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);

static void fill_table(pte_t *table, const void *below, unsigned long flags)
{
	pte_t entry = pv_ops.mmu.make_pte(virt_to_phys(below), flags);

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		table[i] = entry;
}

/* Into the root in use, and later into the one that paging_init() makes. */
void kasan_map_early_shadow(pte_t *root)
{
	pte_t entry = pv_ops.mmu.make_pte(virt_to_phys(kasan_early_shadow_pud), PAGE_PRESENT | PAGE_RW | PAGE_USER);

	if (!kasan_early_shadow_pud[0])
		return; /* never made */
	for (unsigned int slot = ROOT_SLOT(KASAN_SHADOW_START); slot < ROOT_SLOT(KASAN_SHADOW_END); slot++)
		pv_ops.mmu.set_table(&root[slot], entry, 4);
}

void kasan_early_init(pte_t *root)
{
	/* Filled while they are ordinary pages. Once it is a table, a hypervisor wants to see every change. */
	fill_table(kasan_early_shadow_pte, kasan_early_shadow_page, PAGE_PRESENT);
	fill_table(kasan_early_shadow_pmd, kasan_early_shadow_pte, PAGE_PRESENT | PAGE_RW | PAGE_USER);
	fill_table(kasan_early_shadow_pud, kasan_early_shadow_pmd, PAGE_PRESENT | PAGE_RW | PAGE_USER);
	pv_ops.mmu.alloc_table(virt_to_phys(kasan_early_shadow_pte), 1);
	pv_ops.mmu.alloc_table(virt_to_phys(kasan_early_shadow_pmd), 2);
	pv_ops.mmu.alloc_table(virt_to_phys(kasan_early_shadow_pud), 3);
	kasan_map_early_shadow(root);
}

/* A real KASAN would now lay memory under the shadow of what is RAM, and begin to forbid. */
void kasan_init(void)
{
	printk("kasan: KernelAddressSanitizer initialized\n");
}

/* For the crash report: a page fault in the shadow means that somebody wanted to touch something else. */
void kasan_explain_fault(unsigned long address)
{
	if (address >= KASAN_SHADOW_START && address < KASAN_SHADOW_END)
		printk("KASAN: no shadow memory for an access to %p\n", (void *)((address - KASAN_SHADOW_OFFSET) << 3));
}

/* --- called by the compiler, before the access --- */

static void check_memory_region(unsigned long address, unsigned long size)
{
	const s8 *shadow = (const s8 *)((address >> 3) + KASAN_SHADOW_OFFSET);
	const s8 *last = (const s8 *)(((address + size - 1) >> 3) + KASAN_SHADOW_OFFSET);

	for (; shadow <= last; shadow++)
		if (*shadow)
			panic("KASAN: access to %p, %lu bytes", (void *)address, size);
}

#define DEFINE_ASAN_CHECKS(size) \
	void __asan_load##size##_noabort(unsigned long address); \
	void __asan_load##size##_noabort(unsigned long address) { check_memory_region(address, size); } \
	void __asan_store##size##_noabort(unsigned long address); \
	void __asan_store##size##_noabort(unsigned long address) { check_memory_region(address, size); }

DEFINE_ASAN_CHECKS(1)
DEFINE_ASAN_CHECKS(2)
DEFINE_ASAN_CHECKS(4)
DEFINE_ASAN_CHECKS(8)
DEFINE_ASAN_CHECKS(16)

void __asan_loadN_noabort(unsigned long address, unsigned long size);
void __asan_loadN_noabort(unsigned long address, unsigned long size) { check_memory_region(address, size); }
void __asan_storeN_noabort(unsigned long address, unsigned long size);
void __asan_storeN_noabort(unsigned long address, unsigned long size) { check_memory_region(address, size); }
void *__asan_memset(void *to, int byte, size_t n)
{
	check_memory_region((unsigned long)to, n);
	return memset(to, byte, n);
}
void __asan_handle_no_return(void);
void __asan_handle_no_return(void) {}
