/* Privileged behaviour in 32-bit code, with 2-level tables or (PAE defined) PAE ones. */
#include "test.h"
#ifdef PAE
#define PTE (TABLES + 0x6000)
#define PDE (TABLES + 0x2018)
#define LARGE (TABLES + 0x2020)
#define NEXT 8
#else
#define PTE (TABLES + 0x6800)
#define PDE (TABLES + 4)
#define LARGE (TABLES + 8)
#define NEXT 4
#endif
.macro user label
        mov $0x2b, %edx
        mov %edx, %ds
        xor %edx, %edx
        push $0x2b
        push $USER_STACK
        push $2
        push $0x23
        push $\label
        iret
.endm
        .text
TEST "pf: read of an absent page"
        movb $0, PTE
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: write of a read-only page with WP"
        movb $0x65, PTE
        invlpg PAGE
        mov %eax, PAGE
        ret
TEST "pf: write of a read-only page without WP"
        movb $0x65, PTE
        mov %cr0, %eax
        and $~0x10000, %eax
        mov %eax, %cr0
        movl $7, PAGE
        mov PAGE, %eax
        ret
TEST "pf: user read of a supervisor page"
        movb $0x63, PTE
        invlpg PAGE
        user 1f
1:      mov PAGE, %eax
TEST "pf: user write under a read-only directory"
        movb $0x65, PDE
        invlpg PAGE
        user 1f
1:      mov PAGE, %eax
        mov %eax, PAGE
TEST "pf: a fetch has no I without NX"
        movb $0, PTE
        invlpg PAGE
        mov $PAGE, %eax
        jmp *%eax
TEST "ad: a write sets A and D"
        movb $7, PTE
        invlpg PAGE
        mov %eax, PAGE
        mov PTE, %eax
        ret
TEST "ad: a read of a large page sets A"
        movb $0x87, LARGE
        invlpg LARGE_PAGE
        mov LARGE_PAGE, %eax
        movzbl LARGE, %eax
        ret
TEST "pf: split write, second page read-only"
        movb $0x65, PTE + NEXT
        invlpg PAGE + 0x1000
        mov %eax, PAGE + 0xffe
        ret
#ifdef PAE
TEST "pf: fetch of a page with NX"
        movb $0x80, PTE + 7
        invlpg PAGE
        mov $PAGE, %eax
        jmp *%eax
TEST "pf: reserved bit 62 of an entry"
        movb $0x40, PTE + 7
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: reserved bit 13 of a large page"
        orl $0x2000, LARGE
        invlpg LARGE_PAGE
        mov LARGE_PAGE, %eax
        ret
TEST "gp: mov to CR3 with a reserved bit in a PDPTE"
        orl $2, TABLES
        mov %cr3, %eax
        mov %eax, %cr3
        ret
TEST "ok: PDPTEs are read when CR3 is loaded, not later"
        movl $0, TABLES
        invlpg PAGE
        mov PAGE, %eax
        mov $5, %eax
        movl $TABLES + 0x2001, TABLES
        ret
TEST "pf: an absent PDPTE"
        mov 0x40000000, %eax
        ret
#else
TEST "pf: reserved bit 21 of a large page"
        orl $0x200000, LARGE
        invlpg LARGE_PAGE
        mov LARGE_PAGE, %eax
        ret
TEST "ok: a large page is a table without PSE"
        movl $TABLES + 0x60e7, LARGE
        mov %cr4, %eax
        and $~0x10, %eax
        mov %eax, %cr4
        movl $9, PAGE
        mov PAGE + 0x400000, %eax
        ret
#endif
TEST "gp: a read past the limit"
        mov $0x90, %eax
        mov %eax, %es
        mov %es:0xffc, %eax
        mov %es:0xffd, %eax
        ret
TEST "gp: expand-down, below"
        mov $0x98, %eax
        mov %eax, %es
        mov %es:0x1000, %ebx
        mov %es:0xffc, %eax
        ret
TEST "gp: write of read-only data"
        mov $0x58, %eax
        mov %eax, %es
        mov %es:0, %ebx
        mov %ebx, %es:0
        ret
TEST "gp: write of code"
        mov %eax, %cs:0
        ret
TEST "gp: read of a null segment"
        xor %eax, %eax
        mov %eax, %es
        mov %es:0, %eax
        ret
TEST "gp: null SS"
        xor %eax, %eax
        mov %eax, %ss
        ret
TEST "ss: absent SS"
        mov $0x48, %eax
        mov %eax, %ss
        ret
TEST "np: absent DS"
        mov $0x48, %eax
        mov %eax, %ds
        ret
TEST "gp: SS of another level"
        mov $0x2b, %eax
        mov %eax, %ss
        ret
TEST "gp: DS of level 0 at level 3"
        user 1f
1:      mov $0x18, %eax
        mov %eax, %ds
TEST "ok: conforming code as data at level 3"
        user 1f
1:      mov $0x60, %eax
        mov %eax, %es
        mov %es, %eax
        int $0x80
TEST "ok: iret to level 3 clears segments of level 0"
        user 1f
1:      mov %ds, %eax
        shl $16, %eax
        mov %fs, %ax
        int $0x80
TEST "int: from level 3 through a gate of level 0"
        user 1f
1:      int $0x40
TEST "int: a trap gate keeps IF"
        push $0x2b
        push $USER_STACK
        push $0x3002
        push $0x23
        push $1f
        iret
1:      int $0x81
TEST "int: absent gate"
        movb $0x0e, IDT + 0x40 * 8 + 5
        int $0x40
TEST "int: gate to data"
        movw $0x18, IDT + 0x40 * 8 + 2
        int $0x40
TEST "int: gate to absent code"
        movw $0x50, IDT + 0x40 * 8 + 2
        int $0x40
TEST "int: a 16-bit gate pushes words"
        movb $0x86, IDT + 0x40 * 8 + 5
        mov $1f, %ebx
        movw $0x60, IDT + 0x40 * 8 + 2
        mov %bx, IDT + 0x40 * 8
        movw $0, IDT + 0x40 * 8 + 6
        shr $16, %ebx
        mov %bl, GDT + 0x60 + 4
        mov %esp, %ebp
        int $0x40
1:      mov %ebp, %eax
        sub %esp, %eax
        mov %ebp, %esp
        ljmp $0x10, $2f
2:      ret
TEST "ts: a null SS1"
        movw $0, TSS + 16
        andb $0x9f, GDT + 0x48 + 5
        orb $0x20, GDT + 0x48 + 5
        movw $0x30, IDT + 0x80 * 8 + 2
        mov $2f, %ebx
        mov %bx, IDT + 0x80 * 8
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 8 + 6
        user 1f
1:      int $0x80
2:      mov %ss, %eax
        int $0x81
TEST "ts: SS1 of another level"
        movw $43, TSS + 16
        andb $0x9f, GDT + 0x48 + 5
        orb $0x20, GDT + 0x48 + 5
        movw $0x30, IDT + 0x80 * 8 + 2
        mov $2f, %ebx
        mov %bx, IDT + 0x80 * 8
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 8 + 6
        user 1f
1:      int $0x80
2:      mov %ss, %eax
        int $0x81
TEST "ts: SS1 that is code"
        movw $48, TSS + 16
        andb $0x9f, GDT + 0x48 + 5
        orb $0x20, GDT + 0x48 + 5
        movw $0x30, IDT + 0x80 * 8 + 2
        mov $2f, %ebx
        mov %bx, IDT + 0x80 * 8
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 8 + 6
        user 1f
1:      int $0x80
2:      mov %ss, %eax
        int $0x81
TEST "ss: SS1 absent"
        movw $73, TSS + 16
        andb $0x9f, GDT + 0x48 + 5
        orb $0x20, GDT + 0x48 + 5
        movw $0x30, IDT + 0x80 * 8 + 2
        mov $2f, %ebx
        mov %bx, IDT + 0x80 * 8
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 8 + 6
        user 1f
1:      int $0x80
2:      mov %ss, %eax
        int $0x81
TEST "ok: SS1"
        movw $65, TSS + 16
        andb $0x9f, GDT + 0x48 + 5
        orb $0x20, GDT + 0x48 + 5
        movw $0x30, IDT + 0x80 * 8 + 2
        mov $2f, %ebx
        mov %bx, IDT + 0x80 * 8
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 8 + 6
        user 1f
1:      int $0x80
2:      mov %ss, %eax
        int $0x81
TEST "df: a fault without its gate"
        movb $0, IDT + 13 * 8 + 5
        mov $0x1000, %eax
        mov %eax, %ds
TEST "into: without overflow and with"
        xor %eax, %eax
        into
        mov $0x7fffffff, %eax
        inc %eax
        into
TEST "bound: inside and outside"
        movl $1, PAGE
        movl $5, PAGE + 4
        mov $5, %eax
        bound %eax, PAGE
        inc %eax
        bound %eax, PAGE
TEST "call gate: level 3 to 0 with two parameters"
        mov $1f, %ebx
        movl $0x00100000, GDT + 0x70
        mov %bx, GDT + 0x70
        movw $0xec02, GDT + 0x74
        shr $16, %ebx
        mov %bx, GDT + 0x76
        user 2f
2:      push $0x11
        push $0x22
        lcall $0x73, $0
1:      mov 8(%esp), %eax
        shl $8, %eax
        or 12(%esp), %eax
        mov $KERNEL_STACK, %ebx
        sub %esp, %ebx
        shl $16, %ebx
        or %ebx, %eax
        jmp test_done
TEST "call gate: to level 1"
        mov $1f, %ebx
        movl $0x00310000, GDT + 0x70
        mov %bx, GDT + 0x70
        movw $0xec00, GDT + 0x74
        shr $16, %ebx
        mov %bx, GDT + 0x76
        user 2f
2:      lcall $0x73, $0
1:      mov %cs, %eax
        shl $16, %eax
        mov %ss, %ax
        int $0x80
TEST "call gate: of a lower level"
        movl $0x00100000, GDT + 0x70
        movw $0x8c00, GDT + 0x74
        user 2f
2:      lcall $0x73, $0
TEST "far call and return"
        lcall $0x10, $1f
        ret
1:      mov 4(%esp), %eax
        lret
TEST "far jump to level 3"
        ljmp $0x23, $1f
1:      ret
TEST "far jump past the limit"
        movl $0x0000ffff, GDT + 0x60
        movl $0x00409f00, GDT + 0x64
        ljmp $0x60, $0x10000
TEST "lret: to level 3 and its stack"
        push $0x2b
        push $USER_STACK
        push $0x23
        push $1f
        lret
1:      mov %esp, %eax
        sub $USER_STACK, %eax
        int $0x80
TEST "iret: to a null CS"
        pushf
        push $0
        push $1f
        iret
1:      ret
TEST "iret: to level 3 with a bad SS"
        push $0x18
        push $USER_STACK
        push $2
        push $0x23
        push $1f
        iret
1:      ret
TEST "arpl"
        mov $0x10, %eax
        mov $3, %ebx
        arpl %bx, %ax
        setz %bl
        mov %bl, %ah
        ret
TEST "ltr: busy"
        mov $0x38, %eax
        ltr %ax
        ret
TEST "lldt: of data"
        mov $0x18, %eax
        lldt %ax
        ret
TEST "lar and lsl"
        mov $0x90, %ecx
        lsl %ecx, %eax
        lar %ecx, %ebx
        and $0xff00, %ebx
        shl $8, %ebx
        or %ebx, %eax
        ret
TEST "verw: of read-only data"
        mov $0x58, %ecx
        verr %cx
        setz %al
        verw %cx
        setz %ah
        ret
TEST "io: refused by the map"
        user 1f
1:      in $0x81, %al
TEST "io: allowed by the map"
        user 1f
1:      in $0x80, %al
        xor %eax, %eax
        int $0x80
TEST "sysenter and sysexit"
        mov $0x174, %ecx
        mov $0x10, %eax
        xor %edx, %edx
        wrmsr
        inc %ecx
        mov $KERNEL_STACK, %eax
        wrmsr
        inc %ecx
        mov $1f, %eax
        wrmsr
        user 2f
2:      sysenter
1:      mov %esp, %eax
        sub $KERNEL_STACK, %eax
        mov %cs, %bx
        mov $3f, %edx
        mov $USER_STACK, %ecx
        sysexit
3:      mov %cs, %eax
        int $0x80
TEST "sysenter: with a null selector"
        mov $0x174, %ecx
        xor %eax, %eax
        xor %edx, %edx
        wrmsr
        sysenter
        ret
TEST "sysexit: at level 3"
        user 1f
1:      sysexit
TEST "db: single step"
        pushf
        orw $0x100, (%esp)
        popf
        nop
        ret
TEST "db: a push watched by DR2"
        lea -4(%esp), %ebx
        mov %ebx, %dr2
        mov $0x0d000020, %ebx
        mov %ebx, %dr7
        nop
        push %eax
        pop %eax
        ret
TEST "db: an iteration of rep stosb"
        mov $PAGE + 2, %ebx
        mov %ebx, %dr0
        mov $0x00010002, %ebx
        mov %ebx, %dr7
        mov $8, %ecx
        mov $PAGE, %edi
        rep stosb
        ret
TEST "16-bit code: a call and a push"
        mov %esp, %ebp
        ljmp $0x60, $1f
1:      pushw $5
        mov %ebp, %eax
        sub %esp, %eax
        mov %ebp, %esp
        ljmp $0x10, $2f
2:      ret
TEST "pg: off and on again"
        mov %cr0, %eax
        and $0x7fffffff, %eax
        mov %eax, %cr0
        or $0x80000000, %eax
        mov %eax, %cr0
        mov %cr0, %eax
        ret
TEST "ac: a misaligned access at level 3"
        mov %cr0, %eax
        or $0x40000, %eax
        mov %eax, %cr0
        push $0x2b
        push $USER_STACK
        push $0x40002
        push $0x23
        push $1f
        iret
1:      mov $0x2b, %eax
        mov %eax, %ds
        mov PAGE + 2, %ax
        mov PAGE + 2, %eax
        int $0x80
