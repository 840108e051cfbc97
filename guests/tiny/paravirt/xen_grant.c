/* What a Xen guest says of its hypervisor after the first line, and its grant table: who may see which page of ours.
 *
 * Domains share nothing but what is granted. The table lies in a frame of Xen's that we ask for; each entry names a page of
 * ours and the one domain that may map it. Entries 0 and 1 the toolstack has written before we ran, since the other ends
 * of the console and of xenstore have to be there first. A dom0 has neither.
 * Follows: Xen xen/include/public/grant_table.h; Linux arch/x86/xen/enlighten.c (xen_banner).
 * Next: paravirt/xen_console.c. */
#include "kernel.h"
#include "xen/hypercall.h"

#define GRANT_OF_CONSOLE 0

static char grant_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);

static const volatile struct grant_entry_v1 *map_grant_table(void)
{
	u64 frame;

	if (xen_hvm_domain()) {
		xen_hvm_lay_over(grant_page, XENMAPSPACE_grant_table, 0);
		return (const void *)grant_page;
	}

	struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1, .frame_list = &frame };

	xen_must(hypercall3(grant_table_op, GNTTABOP_setup_table, &setup, 1), "grant table");
	xen_must(setup.status, "grant table: setup_table");
	xen_lay_frame_over(grant_page, frame);
	return (const void *)grant_page;
}

void xen_banner(void)
{
	long version = hypercall2(xen_version, XENVER_version, NULL);
	struct gnttab_query_size size = { .dom = DOMID_SELF };
	const volatile struct grant_entry_v1 *grant = map_grant_table() + GRANT_OF_CONSOLE;

	hypercall3(grant_table_op, GNTTABOP_query_size, &size, 1);
	printk("Xen version: %ld.%ld\n", version >> 16, version & 0xffff);
	printk("Grant table: %u of at most %u frames\n", size.nr_frames, size.max_nr_frames);
	if (xen_initial_domain())
		return;
	check(grant->flags & GTF_permit_access && grant->frame == xen_start_info.console.domU.mfn,
	      "the console page is granted to its backend");
}
