/* Runs the tests one by one on tables that are made anew for each, and prints what happened: a line per test. */
#include "test.h"

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;
typedef unsigned long word;
typedef unsigned long long u64;

struct test { void (*run)(void); const char *name; };
extern struct test tests_start[], tests_end[];
extern char stubs[], early_pml4[];
void run(void (*test)(void));

volatile word exc_ax, exc_ip, exc_cs, exc_flags, exc_sp, exc_error, exc_cr2, exc_frame, resume_sp;
volatile u32 exc_vector;

static void put(char c) { asm volatile("outb %0, $0xe9" ::"a"(c)); }
static void print(const char *text) { while (*text) put(*text++); }
static void hex(u64 value, int digits)
{
	while (digits--) put("0123456789abcdef"[(value >> (4 * digits)) & 15]);
}
static void number(u64 value)
{
	int digits = 1;
	while (digits < 16 && value >> (4 * digits)) digits++;
	hex(value, digits);
}

static volatile u64 *const gdt = (u64 *)GDT;

static void clear(word from, word to)
{
	word words = (to - from) / 4;
	asm volatile("rep stosl" : "+D"(from), "+c"(words) : "a"(0) : "memory");
}

static void gate(int vector, int type, int ist)
{
	word at = (word)stubs + 16 * vector;
	u64 low = (at & 0xffff) | 0x100000 | ((u64)type << 40) | ((u64)(at & 0xffff0000) << 32) | ((u64)ist << 32);
#ifdef __x86_64__
	volatile u64 *entry = (u64 *)IDT + 2 * vector;
	entry[0] = low;
	entry[1] = 0;
#else
	((volatile u64 *)IDT)[vector] = low;
#endif
}

static void descriptors(void)
{
	for (int i = 0; i < 512; i++) gdt[i] = 0;
#ifdef __x86_64__
	static const u64 table[] = {
		0, 0xcf9b000000ffff, 0xaf9b000000ffff, 0xcf93000000ffff, /* 08 code32, 10 code64, 18 data */
		0xcffb000000ffff, 0xcff3000000ffff, 0xaffb000000ffff,    /* 20 code32/3, 28 data/3, 30 code64/3 */
		0, 0,                                                    /* 38 TSS, below */
		0xcf13000000ffff, 0xaf1b000000ffff, 0xcf91000000ffff,    /* 48 absent data, 50 absent code, 58 read-only */
		0xaf9f000000ffff, 0xcff9000000ffff,                      /* 60 conforming, 68 execute-only/3 */
		0, 0, 0, 0, 0x4093000000ffff,                            /* 70 gate, 80 LDT, 90 small data */
		0xaffb000000ffff, 0xefbb000000ffff,       /* 98 code64/3, a0 L and D */
	};
#else
	static const u64 table[] = {
		0, 0, 0xcf9b000000ffff, 0xcf93000000ffff,                /* 10 code, 18 data */
		0xcffb000000ffff, 0xcff3000000ffff, 0xcfbb000000ffff,    /* 20 code/3, 28 data/3, 30 code/1 */
		0, 0xcfb3000000ffff,                                     /* 38 TSS, 40 data/1 */
		0xcf13000000ffff, 0xcf1b000000ffff, 0xcf91000000ffff,    /* 48 absent data, 50 absent code, 58 read-only */
		0xcf9f000000ffff, 0xcff9000000ffff,                      /* 60 conforming, 68 execute-only/3 */
		0, 0, 0, 0, 0x40930000000fff,                            /* 70 gate, 80 LDT, 90 data of 4 KiB */
		0x40970000000fff, 0x9b000000ffff, 0x93000000ffff,        /* 98 expand-down, a0 code16, a8 stack16 */
	};
#endif
	for (unsigned i = 0; i < sizeof table / sizeof *table; i++) gdt[i] = table[i];
	gdt[7] = (u64)0x206f | (u64)(TSS & 0xffff) << 16 | (u64)((TSS >> 16) & 0xff) << 32 | (u64)0x89 << 40;
	gdt[16] = (u64)0x3f | (u64)(LDT & 0xffff) << 16 | (u64)((LDT >> 16) & 0xff) << 32 | (u64)0x82 << 40;
	clear(TSS, LDT + 0x1000);
	*(volatile u32 *)(TSS + 4) = KERNEL_STACK;
#ifdef __x86_64__
	*(volatile u32 *)(TSS + 0x24) = IST_STACK;
#else
	*(volatile u32 *)(TSS + 8) = 0x18;
	*(volatile u32 *)(TSS + 12) = INNER_STACK;
	*(volatile u32 *)(TSS + 16) = 0x41;
#endif
	*(volatile u16 *)(TSS + 0x66) = 0x68; /* every port allowed to level 3 */
	*(volatile u8 *)(TSS + 0x68 + 0x2000) = 0xff;
	*(volatile u8 *)(TSS + 0x68 + 0x81 / 8) = 2; /* but 0x81 */
	((volatile u64 *)LDT)[1] = gdt[3];
	for (int v = 0; v < 256; v++) gate(v, v == 3 || v == 4 || v == 0x80 ? 0xee : v == 0x81 ? 0xef : 0x8e, 0);
	struct { u16 limit; word base; } __attribute__((packed)) table_register = { 0xfff, GDT };
	asm volatile("lgdt %0" ::"m"(table_register));
	table_register.base = IDT;
	table_register.limit = sizeof(word) == 8 ? 0xfff : 0x7ff;
	asm volatile("lidt %0" ::"m"(table_register));
	asm volatile("ltr %w0; lldt %w1" ::"r"(0x38), "r"(0x80));
}

static void paging(void)
{
	clear(TABLES, TABLES + 0x8000);
#if defined __x86_64__ || defined PAE
	volatile u64 *root = (u64 *)TABLES;
	volatile u64 *pd = (u64 *)(TABLES + 0x2000), *pt = (u64 *)(TABLES + 0x4000);
#ifdef __x86_64__
	root[0] = TABLES + 0x1067;
	((volatile u64 *)(TABLES + 0x1000))[0] = TABLES + 0x2067;
#else
	root[0] = TABLES + 0x2001;
#endif
	pd[0] = TABLES + 0x4067;
	pd[1] = TABLES + 0x5067;
	pd[3] = TABLES + 0x6067;
	pd[4] = LARGE_PAGE | 0xe7;
	for (u32 i = 0; i < 1024; i++) pt[i] = (i << 12) | 0x67;
	for (u32 i = 0; i < 512; i++) pt[1024 + i] = (PAGE + (i << 12)) | 0x67;
#else
	volatile u32 *root = (u32 *)TABLES, *pt = (u32 *)(TABLES + 0x4000);
	root[0] = TABLES + 0x4067;
	root[1] = TABLES + 0x6067;
	root[2] = LARGE_PAGE | 0xe7;
	for (u32 i = 0; i < 1024; i++) pt[i] = (i << 12) | 0x67;
	for (u32 i = 0; i < 1024; i++) pt[0x800 + i] = ((1024 + i) << 12) | 0x67;
#endif
}

static void reset(void)
{
#ifdef __x86_64__
	word cr0 = 0x80010033, cr4 = 0x28;
	asm volatile("mov %0, %%cr3" ::"r"((word)early_pml4)); /* the tests' tables are about to go */
	paging();
	asm volatile("mov %0, %%cr4" ::"r"(cr4));
	asm volatile("mov %0, %%cr3" ::"r"((word)TABLES));
	asm volatile("mov %0, %%cr0" ::"r"(cr0));
	asm volatile("wrmsr" ::"c"(0xc0000080), "a"(0x901), "d"(0));
	asm volatile("wrmsr" ::"c"(0xc0000081), "a"(0), "d"(0x200010)); /* STAR */
	asm volatile("wrmsr" ::"c"(0xc0000084), "a"(0x700), "d"(0));
#else
	word cr4 = 0x18;
	asm volatile("mov %0, %%cr0" ::"r"(0x33));
	paging();
#ifdef PAE
	cr4 |= 0x20;
	asm volatile("wrmsr" ::"c"(0xc0000080), "a"(0x801), "d"(0));
#endif
	asm volatile("mov %0, %%cr4" ::"r"(cr4));
	asm volatile("mov %0, %%cr3" ::"r"((word)TABLES));
	asm volatile("mov %0, %%cr0" ::"r"(0x80010033));
#endif
	descriptors();
	word zero = 0, dr6 = 0xffff0ff0, dr7 = 0x400;
	asm volatile("mov %0, %%dr7; mov %1, %%dr6; mov %2, %%dr0; mov %2, %%dr1; mov %2, %%cr2" ::"r"(dr7), "r"(dr6), "r"(zero));
	asm volatile("mov %0, %%fs; mov %0, %%gs" ::"r"(0x18));
	clear(PAGE, PAGE + 0x4000);
	clear(0x228000, 0x22f000);
	exc_ip = exc_cs = exc_flags = exc_sp = exc_error = exc_cr2 = 0;
}

void main(void)
{
	for (struct test *test = tests_start; test < tests_end; test++) {
		reset();
		run(test->run);
		print(test->name);
		word dr6;
		asm volatile("mov %%dr6, %0" : "=r"(dr6));
		if (exc_vector == (u32)-1) {
			print(": done");
		} else {
			print(": #");
			number(exc_vector);
			if (exc_vector == 8 || (exc_vector >= 10 && exc_vector <= 14) || exc_vector == 17) {
				put('(');
				number(exc_error);
				put(')');
			}
			word offset = exc_ip - (word)test->run;
			print(offset < 0x400 ? " at +" : " at ");
			number(offset < 0x400 ? offset : exc_ip);
			print(" cs ");
			number(exc_cs & 0xffff);
			print(" flags ");
			number(exc_flags & 0x67700);
			if (exc_vector == 14) {
				print(" cr2 ");
				number(exc_cr2);
			}
			if (exc_vector == 1) {
				print(" dr6 ");
				number(dr6 & 0xe00f);
			}
		}
		print(" ax ");
		number(exc_ax);
		put('\n');
	}
	print("end\n");
	asm volatile("outb %0, $0xf4" ::"a"((u8)0x10));
	for (;;) asm volatile("cli; hlt");
}
