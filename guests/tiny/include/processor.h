/* The CPU as C code sees it: saved registers, descriptors, the TSS, per-CPU data.
 * Follows: SDM Vol. 3, chapters 3 (descriptors), 6 (frames) and 7 (TSS). */
#pragma once
#include "layout.h"
#include "segment.h"
#include "types.h"

/* In the order in which entry/traps_*.S push them, then the CPU's own frame. */
struct pt_regs {
#ifdef CONFIG_X86_64
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long vector, error_code;
	unsigned long ip, cs, flags, sp, ss;
#else
	unsigned long bx, cx, dx, si, di, bp, ax, ds, es, fs, gs;
	unsigned long vector, error_code;
	unsigned long ip, cs, flags;
	unsigned long sp, ss; /* pushed by the CPU only when it came from an outer ring */
#endif
};
#ifdef CONFIG_X86_64
_Static_assert(offsetof(struct pt_regs, cs) == 18 * 8, "PT_CS in entry/traps_64.S");
#else
_Static_assert(offsetof(struct pt_regs, cs) == 14 * 4, "PT_CS in entry/traps_32.S");
#endif

/* What lgdt and lidt read. */
struct desc_ptr {
	u16 size;
	unsigned long address;
} __packed;

typedef u64 gdt_desc;

typedef struct {
#ifdef CONFIG_X86_64
	u16 offset_low, segment, attributes, offset_middle;
	u32 offset_high, reserved;
#else
	u16 offset_low, segment, attributes, offset_high;
#endif
} gate_desc;

#define GATE_INTERRUPT 0x8e00 /* present, DPL 0, interrupts off on entry */
#define GATE_TRAP 0x8f00
#define GATE_DPL3 0x6000

struct tss_struct {
#ifdef CONFIG_X86_64
	u32 reserved0;
	u64 sp0, sp1, sp2, reserved1, ist[7], reserved2;
	u16 reserved3, io_bitmap_base;
#else
	u32 back_link, sp0, ss0, sp1, ss1, sp2, ss2, cr3, ip, flags, ax, cx, dx, bx, sp, bp, si, di;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trace, io_bitmap_base;
#endif
} __packed;
_Static_assert(sizeof(struct tss_struct) == 104, "a TSS without an I/O bitmap");

/* Reached through GS in 64-bit code: the first two by assembly, the last by the compiler, which has set its offset. */
struct fixed_percpu_data {
	unsigned long user_sp;  /* the user's rsp during a system call */
	unsigned long entry_sp; /* where the kernel's stack begins on entry from user mode */
	unsigned long unused[3];
	unsigned long stack_canary;
};
extern struct fixed_percpu_data fixed_percpu_data;
#ifdef CONFIG_X86_64
_Static_assert(offsetof(struct fixed_percpu_data, stack_canary) == 0x28, "where gcc reads it");
#endif

static inline int user_mode(const struct pt_regs *regs)
{
	return (regs->cs & 3) == 3;
}

static inline void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 value;
	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline void outl(u16 port, u32 value)
{
	asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}
