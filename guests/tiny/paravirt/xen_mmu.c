/* pv_ops.mmu under Xen: our page tables are the ones the CPU walks, and so Xen must see every change before the CPU does.
 *
 * Two numbers for each page. We count our memory from 0 (pseudo-physical frames, PFN), as every kernel does; the frames
 * that Xen gave us lie anywhere in the machine (MFN), and only those can stand in a page-table entry:
 *
 *            p2m[pfn] = mfn    ours, made by the domain builder
 *     PFN  <------------------------------------------------->  MFN
 *            m2p[mfn] = pfn    Xen's, read-only, for the whole machine
 *
 * A frame has one kind at a time: ordinary (may be mapped writable), or page table of level 1, 2, 3, 4 (may be mapped
 * read-only), or descriptor table (the same). So before a page becomes a table its writable mappings must go; then it is
 * pinned: Xen checks all its entries once, and from then on checks each single change, made by hypercall.
 *
 * Kernel and user mode both run in ring 3, and the ring cannot keep them apart. Two root tables do:
 *
 *     kernel root                            user root, in use only in user mode
 *     user half       ----> same tables <---- user half
 *     Xen, M2P  (256-271)                     Xen (256-271)
 *     kernel (511), p2m                       nothing
 *
 * Follows: Linux arch/x86/xen/mmu_pv.c; Xen xen/arch/x86/mm.c (the rules).   Next: paravirt/xen_irq.c. */
#include "kernel.h"
#include "xen/hypercall.h"

#define PTE_ADDRESS 0x000ffffffffff000ul
#define USER_HALF 256 /* entries of a root */

static const u64 *const machine_to_phys = (const u64 *)MACH2PHYS_VIRT_START;
static pte_t user_root[PTRS_PER_TABLE] __section(".bss..page_tables") __aligned(PAGE_SIZE);
static phys_t current_root; /* 0 while we run on the domain builder's tables */
static int tables_protected;

static u64 *p2m(void)
{
	return (u64 *)xen_start_info.mfn_list;
}

unsigned long pfn_to_mfn(unsigned long pfn)
{
	if (pfn >= xen_start_info.nr_pages)
		panic("xen: no frame behind physical address 0x%lx", pfn << 12);
	return p2m()[pfn];
}

unsigned long virt_to_mfn(const void *symbol)
{
	return pfn_to_mfn(virt_to_phys(symbol) >> 12);
}

static void set_mapping(void *page, pte_t pte)
{
	xen_must(hypercall3(update_va_mapping, page, pte, UVMF_INVLPG), "update_va_mapping");
}

void xen_make_readonly(void *page)
{
	set_mapping(page, virt_to_mfn(page) << 12 | PAGE_PRESENT | (PAGE_NX & __supported_pte_mask));
}

/* Lays another machine frame over a page of our image, which is lost then. In the p2m as well, so that paging_init(),
 * which maps our image anew, does the same. */
void xen_lay_frame_over(void *page, unsigned long mfn)
{
	p2m()[virt_to_phys(page) >> 12] = mfn;
	set_mapping(page, mfn << 12 | PAGE_PRESENT | PAGE_RW);
}

static void pin_table(unsigned long mfn, unsigned int level)
{
	struct mmuext_op op = { .cmd = MMUEXT_PIN_L1_TABLE + level - 1, .arg1.mfn = mfn };

	xen_must(hypercall4(mmuext_op, &op, 1, NULL, DOMID_SELF), "pin a table");
}

static void update_entry(pte_t *entry, pte_t value, const char *what)
{
	struct mmu_update update = {
		.ptr = virt_to_mfn(entry) << 12 | ((unsigned long)entry & (PAGE_SIZE - 1)) | MMU_NORMAL_PT_UPDATE,
		.val = value,
	};

	xen_must(hypercall4(mmu_update, &update, 1, NULL, DOMID_SELF), what);
}

/* Takes the right to write from all pages that are or may become tables, in one hypercall of many. */
static void protect_tables(void)
{
	static struct multicall_entry calls[32];

	tables_protected = 1;
	unsigned int count = 0;

	for (char *page = __tables_start; page < __tables_end; page += PAGE_SIZE)
		calls[count++] = (struct multicall_entry){
			.op = __HYPERVISOR_update_va_mapping,
			.args = { (unsigned long)page, virt_to_mfn(page) << 12 | PAGE_PRESENT, UVMF_INVLPG },
		};
	xen_must(hypercall2(multicall, calls, count), "multicall");
	while (count--)
		xen_must(calls[count].result, "update_va_mapping of a table, in a multicall");
}

/* A new root begins with what must not get lost: the p2m, which the builder's own tables map at INIT_P2M. Xen's part,
 * the M2P among it, Xen puts in by itself. */
static void prepare_root(pte_t *root)
{
	const pte_t *builders_root = (const pte_t *)xen_start_info.pt_base;
	unsigned int slot = xen_start_info.mfn_list >> 39 & (PTRS_PER_TABLE - 1);

	if (slot == PTRS_PER_TABLE - 1)
		panic("xen: the domain builder did not put the p2m where our note INIT_P2M says");
	update_entry(&root[slot], builders_root[slot], "p2m in the new root");
	pin_table(virt_to_mfn(user_root), 4);
}

static void xen_alloc_table(phys_t page, unsigned int level)
{
	if (!tables_protected)
		protect_tables();
	pin_table(pfn_to_mfn(page >> 12), level);
	if (level == 4)
		prepare_root((pte_t *)(START_KERNEL_MAP + page));
}

static void xen_set_table(pte_t *entry, pte_t value, unsigned int level)
{
	unsigned int index = (unsigned long)entry / sizeof(pte_t) % PTRS_PER_TABLE;

	update_entry(entry, value, "link a table");
	if (level == 4 && index < USER_HALF)
		update_entry(&user_root[index], value, "link a table in the user root");
}

/* In the tables that are in use an entry can be named by the address it maps; in others only by its place. */
static void xen_set_pte_at(unsigned long va, pte_t *entry, pte_t value)
{
	if (current_root)
		xen_must(hypercall3(update_va_mapping, va, value, UVMF_NONE), "update_va_mapping");
	else
		update_entry(entry, value, "set a page-table entry");
}

static void xen_flush_tlb_one(unsigned long va)
{
	struct mmuext_op op = { .cmd = MMUEXT_INVLPG_LOCAL, .arg1.linear_addr = va };

	xen_must(hypercall4(mmuext_op, &op, 1, NULL, DOMID_SELF), "INVLPG_LOCAL");
}

static pte_t xen_make_pte(phys_t page, unsigned long flags)
{
	unsigned long physical_mask = (1ul << boot_cpu_data.x86_phys_bits) - 1;

	return (pfn_to_mfn(page >> 12) << 12 & physical_mask) | flags;
}

static phys_t xen_pte_phys(pte_t pte)
{
	return machine_to_phys[(pte & PTE_ADDRESS) >> 12] << 12;
}

/* Both roots at once; the builder's has served its time. */
static void xen_write_cr3(phys_t table)
{
	struct mmuext_op ops[] = {
		{ .cmd = MMUEXT_NEW_BASEPTR, .arg1.mfn = pfn_to_mfn(table >> 12) },
		{ .cmd = MMUEXT_NEW_USER_BASEPTR, .arg1.mfn = virt_to_mfn(user_root) },
		{ .cmd = MMUEXT_UNPIN_TABLE, .arg1.mfn = virt_to_mfn((void *)xen_start_info.pt_base) },
	};

	xen_must(hypercall4(mmuext_op, ops, ARRAY_SIZE(ops), NULL, DOMID_SELF), "change the root");
	current_root = table;
}

/* The register itself holds a machine address, which means nothing to us. */
static unsigned long xen_read_cr3(void)
{
	return current_root ?: virt_to_phys((void *)xen_start_info.pt_base);
}

/* The address of a page fault: Xen took the fault and its CR2, and leaves us a copy. */
static unsigned long xen_read_cr2(void)
{
	return xen_vcpu->arch.cr2;
}

/* What only we know of: pages that the domain builder made and that are still in use. Before anything is allocated. */
void xen_reserve_special_pages(void)
{
	memblock_reserve(virt_to_phys((void *)xen_start_info.pt_base), xen_start_info.nr_pt_frames * PAGE_SIZE);
	if (!xen_initial_domain())
		memblock_reserve(xen_pte_phys(xen_start_info.console.domU.mfn << 12), PAGE_SIZE);
	memblock_reserve(xen_start_info.first_p2m_pfn << 12, xen_start_info.nr_p2m_frames * PAGE_SIZE);
}

static phys_t mfn_list_page;

/* The machine frames that hold our p2m: who saves or moves a domain reads it from outside. */
static void xen_build_mfn_list(void)
{
	static u64 mfns[PAGE_SIZE / sizeof(u64)];

	for (unsigned long i = 0; i < xen_start_info.nr_p2m_frames && i < ARRAY_SIZE(mfns); i++)
		mfns[i] = pfn_to_mfn(xen_start_info.first_p2m_pfn + i);
	write_physical(mfn_list_page, mfns, sizeof(mfns));
}

/* There are struct pages now: those of page tables say so. */
static void xen_after_bootmem(void)
{
	for (char *page = __tables_start; page < __tables_end; page += PAGE_SIZE)
		virt_to_page(page)->flags |= PG_pinned;
	xen_build_mfn_list();
}

/* What RAM there is, in PFNs. Without an answer (Xen has none for dom0): what the builder counted. */
static const char *xen_memory_setup(void)
{
	mfn_list_page = memblock_phys_alloc(PAGE_SIZE);

	struct xen_memory_map map = { E820_MAX_ENTRIES_ZEROPAGE, boot_params.e820_table };

	if (hypercall2(memory_op, XENMEM_memory_map, &map) == 0)
		boot_params.e820_entries = map.nr_entries;
	else
		add_e820_entry(&boot_params, 0, xen_start_info.nr_pages << 12, E820_TYPE_RAM);
	return "Xen";
}

const struct pv_mmu_ops xen_mmu_ops = {
	.memory_setup = xen_memory_setup,
	.init_after_bootmem = xen_after_bootmem,
	.read_cr2 = xen_read_cr2,
	.read_cr3 = xen_read_cr3,
	.write_cr3 = xen_write_cr3,
	.make_pte = xen_make_pte,
	.pte_phys = xen_pte_phys,
	.alloc_table = xen_alloc_table,
	.set_table = xen_set_table,
	.set_pte_at = xen_set_pte_at,
	.flush_tlb_one = xen_flush_tlb_one,
	.table_flags = 0,
};
