/* What tests and the machinery around them share. */
#define PAGE 0x600000           /* the tests' page, present, writable, user; its neighbours too. It has a directory
                                 * entry of its own; behind it, at 8 MiB, lies a large page. */
#define LARGE_PAGE 0x800000
#define GDT 0x200000            /* tables at known places, rebuilt before each test */
#define IDT 0x201000
#define TSS 0x202000            /* with an I/O map over two pages */
#define LDT 0x206000
#define TABLES 0x210000         /* root; then the lower levels, a page each */
#define KERNEL_STACK 0x22f000   /* top: from level 3 */
#define IST_STACK 0x22e000
#define USER_STACK 0x22d000
#define INNER_STACK 0x22c000    /* of level 1 */

#ifdef __ASSEMBLER__
/* A test: its name and where it begins; it ends by RET or by whatever it raises. */
.macro TEST name
        .pushsection .rodata
9001:   .asciz "\name"
        .popsection
        .pushsection .tests
#ifdef __x86_64__
        .quad 9002f, 9001b
#else
        .long 9002f, 9001b
#endif
        .popsection
        .balign 16
9002:
.endm
#endif
