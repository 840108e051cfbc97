/* The user task: a page of code and a page of stack in ring 3, three system calls.
 * Next: entry/user_task.S, what runs there. */
#include "kernel.h"
#include "syscall.h"

#define USER_CODE 0x400000ul
#define USER_STACK 0x402000ul /* the page between stays unmapped */

static char code_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);
static char stack_page[PAGE_SIZE] __section(".bss..page_aligned") __aligned(PAGE_SIZE);
static unsigned int system_calls;

void run_user_task(void)
{
	memcpy(code_page, user_task_start, user_task_end - user_task_start);
	map_user_page(USER_CODE, code_page, 0);
	map_user_page(USER_STACK, stack_page, PAGE_RW);

	pv_ops.time.set_next_event(50); /* one tick that finds us in ring 3 */
	int status = enter_user_mode(USER_CODE, USER_STACK + PAGE_SIZE);
	pv_ops.time.shutdown();

	printk("user: exit status %d\n", status);
	check(!status && system_calls && user_ticks, "ring 3 ran, was interrupted by a tick, and came back");
}

static int is_user_text(unsigned long at, unsigned long length)
{
	return at >= USER_CODE && length <= PAGE_SIZE && at - USER_CODE <= PAGE_SIZE - length;
}

/* Arguments as in Linux: rdi, rsi, rdx for `syscall`, ebx, ecx, edx for int $0x80. */
void do_syscall(struct pt_regs *regs)
{
#ifdef CONFIG_X86_64
	unsigned long first = regs->di, second = regs->si, third = regs->dx;
#else
	unsigned long first = regs->bx, second = regs->cx, third = regs->dx;
#endif

	system_calls++;
	switch (regs->ax) {
	case SYS_write:
		if (first != 1 || !is_user_text(second, third)) {
			regs->ax = -14; /* EFAULT */
			break;
		}
		pv_ops.console.write((const char *)second, third);
		regs->ax = third;
		break;
	case SYS_user_ticks:
		regs->ax = user_ticks;
		break;
	case SYS_exit:
		leave_user_mode((int)first);
	default:
		regs->ax = -38; /* ENOSYS */
	}
}
