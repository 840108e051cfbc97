/* pv_ops.console under Xen: a ring in a page that we share with whoever shows our console.
 *
 *           out_cons (theirs)          out_prod (ours)
 *               v                          v
 *   out  . . . [ t e x t   n o t   y e t   r e a d ] . . .       2048 bytes, round and round
 *
 * We put text behind out_prod, move it, and send an event. Is the ring full, we give the CPU away until they have read.
 * Before the ring is mapped, and in dom0, which has none, text goes by hypercall; a release build of Xen lets nobody but
 * dom0 do that, and then the text is lost.
 * Follows: Xen xen/include/public/io/console.h; Linux drivers/tty/hvc/hvc_xen.c.   Next: kernel/main.c. */
#include "kernel.h"
#include "xen/hypercall.h"

char xen_console_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);
static volatile struct xencons_interface *ring; /* NULL: by hypercall */

static void xen_console_init(void)
{
	if (!xen_domain() || xen_initial_domain() || ring)
		return;
	xen_lay_frame_over(xen_console_page, xen_start_info.console.domU.mfn);
	ring = (void *)xen_console_page;
}

/* Where its page is mapped from now on. */
void xen_console_moved(void *page)
{
	ring = page;
}

/* As much as there is room for; x86 keeps the order of the stores. */
static unsigned int put_in_ring(const char *text, unsigned int length)
{
	unsigned int prod = ring->out_prod, done = 0;

	while (done < length && prod - ring->out_cons < sizeof(ring->out))
		ring->out[prod++ & (sizeof(ring->out) - 1)] = text[done++];
	ring->out_prod = prod;
	return done;
}

static void xen_console_write(const char *text, unsigned int length)
{
	struct evtchn_send send = { xen_start_info.console.domU.evtchn };

	if (!xen_domain())
		return; /* plant=domain-type: a kernel that does not know where it is has nobody to talk to */
	if (!ring) {
		hypercall3(console_io, CONSOLEIO_write, length, text);
		return;
	}
	while (length) {
		unsigned int done = put_in_ring(text, length);
		hypercall2(event_channel_op, EVTCHNOP_send, &send);
		if (!done)
			hypercall2(sched_op, SCHEDOP_yield, NULL);
		text += done;
		length -= done;
	}
}

const struct pv_console_ops xen_console_ops = {
	.init = xen_console_init,
	.write = xen_console_write,
};
