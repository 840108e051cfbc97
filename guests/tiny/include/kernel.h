/* What the files of kernel/ know of each other, in the order in which a boot meets it. */
#pragma once
#include "bootparam.h"
#include "hvm_start_info.h"
#include "paravirt.h"
#include "processor.h"
#include "types.h"

/* kernel.lds.S */
extern char _text[], _etext[], __start_rodata[], __end_rodata[], _sdata[], _end[], __bss_start[], __bss_stop[];
extern char __tables_start[], __tables_end[]; /* pages that are or may become page tables, and the GDT */
extern char __brk_base[], __brk_limit[]; /* part of them */

/* How we came in, for the banner; in .data, since it is set before .bss is cleared. */
struct boot_origin {
	const char *entry;     /* the symbol of the first instruction of the kernel proper */
	const char *filled_by; /* who wrote boot_params */
};
extern struct boot_origin boot_origin;

extern struct boot_params boot_params;
extern char boot_command_line[COMMAND_LINE_SIZE];

/* plant.c: answers from the first C function on */
void note_plants(const char *command_line);
int planted(const char *name);
int is_word_of(const char *text, const char *word);

/* head64.c, head32.c, head_common.c: from the entry path to start_kernel */
void x86_64_start_kernel(unsigned long real_mode_data);
void x86_64_start_reservations(unsigned long real_mode_data);
void i386_start_kernel(void);
void clear_bss(void);
void sanitize_boot_params(struct boot_params *params);
void add_e820_entry(struct boot_params *params, u64 addr, u64 size, u32 type);
extern unsigned long early_page_offset;
void prepare_pvh(unsigned long start_info); /* pvh.c */
void prepare_multiboot(unsigned long info_address); /* multiboot.c */

/* cpu.c, cr4.c */
#define X86_FEATURE_MTRR 12
#define X86_FEATURE_FXSR 24
#define X86_FEATURE_XMM 25
#define X86_FEATURE_NX (32 + 20)
struct cpuinfo_x86 {
	u32 x86_capability[2]; /* CPUID 1 and 0x80000001, edx */
	u32 x86_phys_bits;
	u32 microcode, microcode_known; /* legacy.c */
};
extern struct cpuinfo_x86 boot_cpu_data;
extern unsigned long __supported_pte_mask;
struct tlb_state {
	unsigned long cr4;
};
extern struct tlb_state cpu_tlbstate;
void get_cpu_cap(void);
int boot_cpu_has(unsigned int feature);
void get_cpu_address_sizes(void);
void x86_configure_nx(void);
void early_cpu_init(void);
void cr4_init_shadow(void);
void fpu__init_cpu(void);

/* kasan.c */
#ifdef CONFIG_X86_64
void kasan_early_init(pte_t *root);
void kasan_map_early_shadow(pte_t *root);
void kasan_init(void);
void kasan_explain_fault(unsigned long address);
void *__asan_memset(void *to, int byte, size_t n);
#else
#define __asan_memset memset
static inline void kasan_map_early_shadow(pte_t *root) { (void)root; }
static inline void kasan_init(void) {}
static inline void kasan_explain_fault(unsigned long address) { (void)address; }
#endif

/* legacy.c */
struct x86_platform_ops {
	struct x86_legacy_features {
		int bios_areas, mtrr;
	} legacy;
};
extern struct x86_platform_ops x86_platform;
void x86_early_init_platform_quirks(void);
void load_ucode_bsp(void);
void find_bios_areas(void);
void mtrr_bp_init(void);

/* memblock.c */
struct memblock_region {
	phys_t base, size;
};
struct memblock {
	struct {
		unsigned int cnt;
		struct memblock_region regions[16];
	} reserved;
};
extern struct memblock memblock;
void memblock_reserve(phys_t base, phys_t size);
int memblock_regions_overlap(void);
phys_t memblock_phys_alloc(phys_t size);
void early_reserve_memory(void);

/* pages.c */
struct page {
	unsigned int flags; /* PG_* */
	unsigned int mapcount;
};
#define PG_pinned 1
struct page *virt_to_page(const void *p);
void sparse_init(void);

/* main.c */
void start_kernel(void) __noreturn;
void rest_init(void) __noreturn;
void check(int holds, const char *what); /* a failed check spoils the verdict */

/* setup.c, e820.c, initrd.c */
void setup_arch(void);
void e820__memory_setup(void);
phys_t e820_ram_bytes(void);
void list_initrd(void);
int cmdline_has(const char *word);
const char *cmdline_value(const char *key); /* "exit=" → what follows it, or NULL */

/* mm.c */
void paging_init(void);
void map_page(unsigned long va, phys_t page, unsigned long flags);
void map_user_page(unsigned long va, void *page, unsigned long flags);
void read_physical(void *to, phys_t from, size_t length);
void write_physical(phys_t to, const void *from, size_t length);
phys_t virt_to_phys(const void *symbol);

/* traps.c, descriptors.c */
extern gdt_desc gdt_page[];
void idt_setup_early_handler(void);
void early_trap_selftest(void);
void trap_init(void);
void cpu_init(void);
void do_trap(struct pt_regs *regs);
void show_regs(const struct pt_regs *regs);
extern unsigned int breakpoints_taken;

/* time.c */
void time_init(void);
void do_timer(const struct pt_regs *regs);
void wait_for_ticks(unsigned int count);
extern volatile unsigned int jiffies, user_ticks;

/* user.c, entry/traps_*.S */
void run_user_task(void);
void do_syscall(struct pt_regs *regs);
int enter_user_mode(unsigned long ip, unsigned long sp);
void leave_user_mode(int status) __noreturn;
extern char user_task_start[], user_task_end[];
extern char entry_stack[ENTRY_STACK_SIZE];

/* faults.c, panic.c, printk.c */
void deliberate_faults(void);
void panic(const char *format, ...) __attribute__((format(printf, 1, 2))) __noreturn;
void printk(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vprintk(const char *format, __builtin_va_list arguments);
