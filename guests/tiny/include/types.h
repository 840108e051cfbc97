/* Sizes and small helpers. The kernel is freestanding: nothing comes from a C library. */
#pragma once

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
typedef unsigned long size_t;

#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define __packed __attribute__((packed))
#define __aligned(n) __attribute__((aligned(n)))
#define __noreturn __attribute__((noreturn))
#define __section(name) __attribute__((section(name)))
/* Data that C code uses before .bss is cleared (clear_bss would wipe it otherwise). */
#define __initdata __section(".data")

/* With a canary between its locals and its return address, which it takes from per-CPU data (64-bit build only). */
#ifdef CONFIG_X86_64
#define __stack_protected __attribute__((stack_protect))
#else
#define __stack_protected
#endif

/* One definition for both builds; an address that is really a physical one is a phys_t. */
typedef u64 phys_t;

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
int is_clear(const void *area, size_t n); /* nothing but zeros; n is a multiple of the word */
size_t strlen(const char *s);
void strscpy(char *to, const char *from, size_t room);
