/* System call numbers, Linux's where Linux has the call. Read by C and by assembly. */
#pragma once
#ifdef CONFIG_X86_64
#define SYS_write 1
#define SYS_exit 60
#else
#define SYS_write 4
#define SYS_exit 1
#endif
#define SYS_user_ticks 1000 /* ours: how many timer ticks have interrupted user mode */
