/* Selectors, with the numbers that Linux gives them. Read by C and by assembly. */
#pragma once

#ifdef CONFIG_X86_64
#define KERNEL32_CS 0x08
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER32_CS 0x23
#define USER_DS 0x2b /* sysret wants USER_DS 8 above USER32_CS and USER_CS 16 above it */
#define USER_CS 0x33
#define TSS_SELECTOR 0x40
#define GDT_ENTRIES 10 /* a 64-bit TSS descriptor takes two */
#else
#define KERNEL_CS 0x60
#define KERNEL_DS 0x68
#define USER_CS 0x73
#define USER_DS 0x7b
#define TSS_SELECTOR 0x80
#define GDT_ENTRIES 17
#endif

#define FIRST_IRQ_VECTOR 0x20 /* IRQ 0-15 arrive as 0x20-0x2f */
#define SYSCALL_VECTOR 0x80
#define NR_VECTORS 0x81 /* the last vector that anything uses is the system call */

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
