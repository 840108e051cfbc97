/* Privileged behaviour in 64-bit and compatibility mode. */
#include "test.h"
#define PTE (TABLES + 0x6000)
#define PDE (TABLES + 0x2018)
.macro user label
        push $0x2b
        push $USER_STACK
        push $2
        push $0x33
        push $\label
        iretq
.endm
.macro msr number low high=0
        mov $\number, %ecx
        mov $\low, %eax
        mov $\high, %edx
        wrmsr
.endm
        .text
TEST "pf: read of an absent page"
        movb $0, PTE
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: write of an absent page"
        movb $0, PTE
        invlpg PAGE
        mov %eax, PAGE
        ret
TEST "pf: fetch of an absent page"
        movb $0, PTE
        invlpg PAGE
        mov $PAGE, %eax
        jmp *%rax
TEST "pf: write of a read-only page with WP"
        movb $0x65, PTE
        invlpg PAGE
        mov %eax, PAGE
        ret
TEST "pf: write of a read-only page without WP"
        movb $0x65, PTE
        mov %cr0, %rax
        and $~0x10000, %rax
        mov %rax, %cr0
        movl $7, PAGE
        mov PAGE, %eax
        ret
TEST "pf: user read of a supervisor page"
        movb $0x63, PTE
        invlpg PAGE
        user 1f
1:      mov PAGE, %eax
TEST "pf: user write of a read-only page without WP"
        movb $0x65, PTE
        mov %cr0, %rax
        and $~0x10000, %rax
        mov %rax, %cr0
        user 1f
1:      mov %eax, PAGE
TEST "pf: user write through a read-only directory"
        movb $0x65, PDE
        invlpg PAGE
        user 1f
1:      mov PAGE, %eax
        mov %eax, PAGE
TEST "pf: user fetch of a supervisor page"
        movb $0x63, PTE
        invlpg PAGE
        user PAGE
TEST "pf: fetch of a page with NX"
        movb $0x80, PTE + 7
        invlpg PAGE
        mov $PAGE, %eax
        jmp *%rax
TEST "pf: fetch under a directory with NX"
        movb $0x80, PDE + 7
        invlpg PAGE
        mov $PAGE, %eax
        jmp *%rax
TEST "pf: NX is reserved without NXE"
        movb $0x80, PTE + 7
        msr 0xc0000080, 0x101
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: reserved bit 51 of an entry"
        movb $8, PTE + 6
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: reserved bit 40 of a directory entry"
        movb $1, PDE + 5
        invlpg PAGE
        mov %eax, PAGE
        ret
TEST "pf: reserved bit 13 of a large page"
        movl $0x6000e7, PDE
        orl $0x2000, PDE
        invlpg PAGE
        mov PAGE, %eax
        ret
TEST "pf: PS in the root is reserved"
        mov $TABLES, %eax
        movq $TABLES + 0x10e7, TABLES + 8
        mov %cr3, %rax
        mov %rax, %cr3
        mov $0x8000000000, %rbx
        mov (%rbx), %eax
        ret
TEST "pf: user and reserved at once"
        movb $8, PTE + 6
        movb $0x63, PTE
        invlpg PAGE
        user 1f
1:      mov PAGE, %eax
TEST "pf: split write, second page absent"
        movb $0, PTE + 8
        invlpg PAGE + 0x1000
        mov $-1, %rax
        mov %rax, PAGE + 0xffc
        ret
TEST "pf: split write, nothing was written"
        movb $0, PTE + 8
        invlpg PAGE + 0x1000
        movq $1f, IDT + 14 * 16
        mov $1f, %ebx
        mov %bx, IDT + 14 * 16
        movl $0x10, IDT + 14 * 16 + 2
        movw $0x8e00, IDT + 14 * 16 + 4
        shr $16, %ebx
        mov %bx, IDT + 14 * 16 + 6
        mov $-1, %rax
        mov %rax, PAGE + 0xffc
1:      mov PAGE + 0xffc, %eax
        jmp test_done
TEST "ad: a read sets A"
        movb $7, PTE
        invlpg PAGE
        mov PAGE, %eax
        mov PTE, %eax
        ret
TEST "ad: a write sets A and D"
        movb $7, PTE
        invlpg PAGE
        mov %eax, PAGE
        mov PTE, %eax
        ret
TEST "ad: a cmpxchg that fails sets D"
        movb $7, PTE
        invlpg PAGE
        mov $1, %eax
        cmpxchg %ebx, PAGE
        mov PTE, %eax
        ret
TEST "ad: a refused write leaves D"
        movb $5, PTE
        invlpg PAGE
        mov $2f, %ebx
        mov %bx, IDT + 14 * 16
        shr $16, %ebx
        mov %bx, IDT + 14 * 16 + 6
        mov %eax, PAGE
2:      mov PTE, %eax
        and $0x40, %eax
        jmp test_done
TEST "ad: a large page"
        movl $0x600087, PDE
        invlpg PAGE
        mov %eax, PAGE
        mov PDE, %eax
        ret
TEST "gp: a read of a non-canonical address"
        mov $0x800000000000, %rbx
        mov (%rbx), %eax
        ret
TEST "ss: by RBP it is the stack segment"
        mov $0x800000000000, %rbp
        mov (%rbp), %eax
        ret
TEST "ss: push to a non-canonical stack, on an IST"
        movb $1, IDT + 12 * 16 + 4
        movb $1, IDT + 13 * 16 + 4
        mov $0x800000000000, %rsp
        add $8, %rsp
        add $0x100, %rsp
        push %rax
TEST "gp: a jump to a non-canonical address"
        mov $0x800000000000, %rbx
        jmp *%rbx
TEST "gp: ret to a non-canonical address"
        mov $0x800000000000, %rbx
        push %rbx
        ret
TEST "gp: load of DS beyond the GDT"
        mov $0x1000, %eax
        mov %eax, %ds
        ret
TEST "gp: load of DS with system type"
        mov $0x38, %eax
        mov %eax, %ds
        ret
TEST "np: load of an absent data segment"
        mov $0x48, %eax
        mov %eax, %es
        ret
TEST "gp: load of execute-only code"
        mov $0x6b, %eax
        mov %eax, %fs
        ret
TEST "gp: load of SS with RPL 3 at level 0"
        mov $0x2b, %eax
        mov %eax, %ss
        ret
TEST "gp: load of SS, read-only"
        mov $0x58, %eax
        mov %eax, %ss
        ret
TEST "ss: load of SS, absent"
        mov $0x48, %eax
        mov %eax, %ss
        ret
TEST "ok: null SS at level 0"
        xor %eax, %eax
        mov %eax, %ss
        push $5
        pop %rax
        ret
TEST "gp: null SS at level 3"
        user 1f
1:      mov $3, %eax
        mov %eax, %ss
TEST "gp: mov to CS is undefined"
        .byte 0x8e, 0xc8
        ret
TEST "ok: LDT data"
        mov $0x0c, %eax
        mov %eax, %ds
        mov %ds, %eax
        ret
TEST "gp: beyond the LDT"
        mov $0x44, %eax
        mov %eax, %ds
        ret
TEST "ok: loading sets the accessed bit"
        andb $0xfe, GDT + 0x58 + 5
        mov $0x58, %eax
        mov %eax, %es
        movzbl GDT + 0x58 + 5, %eax
        ret
TEST "gp: a privileged instruction at level 3"
        user 1f
1:      hlt
TEST "gp: mov from cr0 at level 3"
        user 1f
1:      mov %cr0, %rax
TEST "gp: cli at level 3"
        user 1f
1:      cli
TEST "ok: popf at level 3 leaves IF and IOPL"
        user 1f
1:      push $0x3202
        popf
        int $0x80
TEST "gp: LME cannot go while paging"
        msr 0xc0000080, 0x801
        ret
TEST "gp: an MSR that does not exist"
        mov $0x12345, %ecx
        rdmsr
        ret
TEST "gp: a non-canonical LSTAR"
        msr 0xc0000082, 0, 0x8000
        ret
TEST "ud: mov to CR5"
        .byte 0x0f, 0x22, 0xe8
        ret
TEST "ud: an instruction of 32-bit code"
        .byte 0x06
        ret
TEST "ud: LOCK without a memory destination"
        .byte 0xf0, 0x01, 0xc0
        ret
TEST "gp: an instruction of 16 bytes"
        .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
        ret
TEST "de: division by zero"
        div %ecx
        ret
TEST "de: quotient too large"
        mov $2, %edx
        mov $2, %ecx
        div %ecx
        ret
TEST "nm: x87 with TS"
        mov %cr0, %rax
        or $8, %rax
        mov %rax, %cr0
        fninit
        ret
TEST "bp: int3 is a trap"
        nop
        int3
        ret
TEST "int: from level 3 through a gate of level 3"
        user 1f
1:      int $0x80
TEST "int: from level 3 through a gate of level 0"
        user 1f
1:      int $0x40
TEST "int: through a gate that is absent"
        movb $0x0e, IDT + 0x40 * 16 + 5
        int $0x40
TEST "int: beyond the IDT"
        push $0
        movw $0x1ff, (%rsp)
        movq $IDT, 2(%rsp)
        lidt (%rsp)
        int $0x40
TEST "int: a gate of the wrong type"
        movb $0x8c, IDT + 0x40 * 16 + 5
        int $0x40
TEST "int: a gate to a data segment"
        movw $0x18, IDT + 0x40 * 16 + 2
        int $0x40
TEST "int: a gate to 32-bit code"
        movw $8, IDT + 0x40 * 16 + 2
        int $0x40
TEST "int: a gate to absent code"
        movw $0x50, IDT + 0x40 * 16 + 2
        int $0x40
TEST "int: a gate to a null selector"
        movw $0, IDT + 0x40 * 16 + 2
        int $0x40
TEST "int: a gate to conforming code keeps level 3"
        movw $0x60, IDT + 0x80 * 16 + 2
        mov $1f, %ebx
        mov %bx, IDT + 0x80 * 16
        shr $16, %ebx
        mov %bx, IDT + 0x80 * 16 + 6
        user 2f
2:      int $0x80
1:      mov %cs, %eax
        mov (%rsp), %ebx
        hlt
TEST "df: a general fault without its gate"
        movb $0, IDT + 13 * 16 + 5
        mov $0x1000, %eax
        mov %eax, %ds
TEST "df: a stack that is not there, on an IST"
        movb $1, IDT + 8 * 16 + 4
        movb $0, PTE
        invlpg PAGE
        mov $PAGE + 0x800, %esp
        push %rax
TEST "np: ud without its gate comes in turn"
        movb $0, IDT + 6 * 16 + 5
        ud2
TEST "ist: the frame lies on it, aligned"
        movb $1, IDT + 6 * 16 + 4
        movl $IST_STACK - 3, TSS + 0x24
        mov $1f, %ebx
        mov %bx, IDT + 6 * 16
        shr $16, %ebx
        mov %bx, IDT + 6 * 16 + 6
        mov %rsp, %rbp
        ud2
1:      mov %rsp, %rax
        sub $IST_STACK, %rax
        mov %rbp, %rsp
        ret
TEST "iret: to level 3, null data segments"
        mov $0x18, %eax
        mov %eax, %ds
        mov $0x2b, %eax
        mov %eax, %es
        user 1f
1:      mov %ds, %eax
        shl $16, %eax
        mov %es, %ax
        int $0x80
TEST "iret: to a non-canonical RIP"
        push $0x18
        push $USER_STACK
        push $2
        push $0x10
        mov $0x800000000000, %rax
        push %rax
        iretq
TEST "iret: with NT in long mode"
        push $0x18
        push $USER_STACK
        push $2
        push $0x10
        push $1f
        pushf
        orw $0x4000, (%rsp)
        popf
        iretq
1:      ret
TEST "iret: to a null CS"
        push $0x18
        push $USER_STACK
        push $2
        push $0
        push $1f
        iretq
1:      ret
TEST "iret: to a data segment"
        push $0x2b
        push $USER_STACK
        push $2
        push $0x2b
        push $1f
        iretq
1:      ret
TEST "iret: SS of another level"
        push $0x18
        push $USER_STACK
        push $2
        push $0x33
        push $1f
        iretq
1:      ret
TEST "iret: to an absent CS"
        push $0x18
        push $USER_STACK
        push $2
        push $0x50
        push $1f
        iretq
1:      ret
TEST "iret: to compatibility mode and a 32-bit push"
        push $0x2b
        push $USER_STACK
        push $2
        push $0x23
        push $1f
        iretq
        .code32
1:      mov $USER_STACK, %eax
        push $-1
        sub %esp, %eax
        int $0x80
        .code64
TEST "iret: with 32 bits from 64-bit code"
        sub $20, %rsp
        movl $1f, (%rsp)
        movl $0x23, 4(%rsp)
        movl $2, 8(%rsp)
        movl $USER_STACK, 12(%rsp)
        movl $0x2b, 16(%rsp)
        iretl
        .code32
1:      mov %cs, %eax
        int $0x80
        .code64
TEST "compat: a limit is checked"
        movl $0x0fff, GDT + 0x28
        andb $0x70, GDT + 0x28 + 6
        mov $0x2b, %eax
        mov %eax, %ds
        push $0x2b
        push $0x800
        push $2
        push $0x23
        push $1f
        iretq
        .code32
1:      mov $0x2b, %eax
        mov %eax, %ds
        mov 0xffd, %eax
        int $0x80
        .code64
TEST "syscall: to LSTAR, with RCX and R11"
        msr 0xc0000082, 1f
        user 2f
2:      syscall
1:      mov %cs, %eax
        sub $2b, %rcx
        shl $16, %eax
        mov %cx, %ax
        mov $boot, %esp
        jmp test_done
TEST "syscall: without SCE"
        msr 0xc0000080, 0x900
        syscall
        ret
TEST "syscall: masks flags"
        msr 0xc0000082, 1f
        stc
        std
        syscall
1:      pushf
        pop %rax
        mov %r11, %rbx
        cld
        jmp test_done
TEST "sysret: to 64-bit code"
        mov $1f, %ecx
        mov $2, %r11d
        sysretq
1:      mov %cs, %eax
        shl $16, %eax
        mov %ss, %ax
        mov $USER_STACK, %esp
        int $0x80
TEST "sysret: to 32-bit code"
        mov $1f, %ecx
        mov $2, %r11d
        sysretl
        .code32
1:      mov %cs, %eax
        int $0x80
        .code64
TEST "sysret: at level 3"
        user 1f
1:      sysretq
TEST "call gate: to level 0 from level 3, with the stack's switch"
        movl $0x00100000, GDT + 0x70
        mov $1f, %ebx
        mov %bx, GDT + 0x70
        movw $0xec00, GDT + 0x74
        shr $16, %ebx
        mov %bx, GDT + 0x76
        user 2f
2:      push $0x73
        push $0
        lcall *(%rsp)
1:      mov %rsp, %rax
        sub $KERNEL_STACK, %rax
        mov %ss, %ebx
        jmp test_done
TEST "call gate: of a lower level"
        movl $0x00100000, GDT + 0x70
        movw $0x8c00, GDT + 0x74
        user 2f
2:      push $0x73
        push $0
        lcall *(%rsp)
TEST "call gate: absent"
        movl $0x00100000, GDT + 0x70
        movw $0x6c00, GDT + 0x74
        push $0x73
        push $0
        lcall *(%rsp)
TEST "far call and return within level 0"
        push $0x10
        push $1f
        movl $0x10, 4(%rsp)
        lcall *(%rsp)
        add $16, %rsp
        ret
1:      mov 8(%rsp), %eax
        lretq
TEST "far jump to a segment of level 3"
        push $0
        movl $1f, (%rsp)
        movl $0x33, 4(%rsp)
        ljmp *(%rsp)
1:      ret
TEST "far jump to L and D both set"
        push $0
        movl $1f, (%rsp)
        movl $0xa0, 4(%rsp)
        ljmp *(%rsp)
1:      ret
TEST "lret: to level 3"
        push $0x2b
        push $USER_STACK
        push $0x33
        push $1f
        lretq
1:      mov %cs, %eax
        int $0x80
TEST "ltr: of a busy TSS"
        mov $0x38, %eax
        ltr %ax
        ret
TEST "ltr: of data"
        mov $0x18, %eax
        ltr %ax
        ret
TEST "ltr: absent"
        movb $0x09, GDT + 0x38 + 5
        mov $0x38, %eax
        ltr %ax
        ret
TEST "lldt: null is allowed"
        xor %eax, %eax
        lldt %ax
        sldt %eax
        ret
TEST "lldt: of a TSS"
        mov $0x38, %eax
        lldt %ax
        ret
TEST "lar, lsl, verr and verw"
        mov $0x18, %ecx
        lsl %ecx, %eax
        setz %bl
        verr %cx
        setz %bh
        verw %cx
        setz %cl
        add %cl, %bl
        movzx %bx, %eax
        ret
TEST "lsl: of a gate clears ZF"
        mov $0x70, %ecx
        mov $0x1234, %eax
        lsl %ecx, %eax
        ret
TEST "io: allowed by the map"
        user 1f
1:      in $0x80, %al
        xor %eax, %eax
        int $0x80
TEST "io: refused by the map"
        user 1f
1:      in $0x81, %al
TEST "io: a word of which one byte is refused"
        user 1f
1:      in $0x80, %ax
TEST "io: beyond the map"
        movw $0x3000, TSS + 0x66
        user 1f
1:      in $0x80, %al
TEST "io: by IOPL"
        movw $0x3000, TSS + 0x66
        push $0x2b
        push $USER_STACK
        push $0x3002
        push $0x33
        push $1f
        iretq
1:      in $0x81, %al
        cli
        mov $7, %eax
        int $0x80
TEST "db: single step"
        pushf
        orw $0x100, (%rsp)
        popf
        nop
        ret
TEST "db: single step over IRET's target"
        user 1f
1:      pushf
        orw $0x100, (%rsp)
        popf
        inc %eax
        inc %eax
TEST "db: a write watched by DR0"
        mov $PAGE, %ebx
        mov %rbx, %dr0
        mov $0x000d0002, %ebx
        mov %rbx, %dr7
        mov PAGE, %eax
        mov %eax, PAGE + 3
        inc %eax
        ret
TEST "db: a read watched by DR1"
        mov $PAGE + 8, %ebx
        mov %rbx, %dr1
        mov $0x00b00008, %ebx
        mov %rbx, %dr7
        mov PAGE, %eax
        mov PAGE + 15, %al
        inc %eax
        ret
TEST "db: an instruction watched by DR0"
        mov $1f, %ebx
        mov %rbx, %dr0
        mov $2, %ebx
        mov %rbx, %dr7
        nop
1:      inc %eax
        ret
TEST "db: debug registers under GD"
        mov $0x2400, %ebx
        mov %rbx, %dr7
        nop
        mov %dr0, %rax
        ret
TEST "ud: DR4 under DE"
        mov %dr4, %rax
        ret
TEST "db: int1"
        .byte 0xf1
        ret
TEST "ac: a misaligned access at level 3"
        mov %cr0, %rax
        or $0x40000, %rax
        mov %rax, %cr0
        push $0x2b
        push $USER_STACK
        push $0x40002
        push $0x33
        push $1f
        iretq
1:      mov PAGE, %eax
        mov PAGE + 1, %eax
        int $0x80
TEST "priority: a breakpoint before the fault"
        mov $1f, %ebx
        mov %rbx, %dr0
        mov $2, %ebx
        mov %rbx, %dr7
        movb $0, PTE
        invlpg PAGE
1:      mov PAGE, %eax
TEST "priority: a privileged instruction with a bad address"
        user 1f
1:      mov $0x800000000000, %rbx
        lgdt (%rbx)
TEST "priority: a division by zero of a page that is absent"
        movb $0, PTE
        invlpg PAGE
        divl PAGE
TEST "smsw and lmsw"
        mov $0xf, %eax
        lmsw %ax
        smsw %eax
        ret
TEST "swapgs at level 3"
        user 1f
1:      swapgs
TEST "swapgs"
        msr 0xc0000101, PAGE
        msr 0xc0000102, PAGE + 0x10
        movl $7, PAGE + 0x10
        swapgs
        mov %gs:0, %eax
        ret
TEST "sysenter does not exist in long mode"
        sysenter
        ret
TEST "cpuid: the highest leaves differ, the signature does not"
        mov $0x80000001, %eax
        cpuid
        mov %edx, %eax
        and $0x20100800, %eax
        ret
        .bss
        .skip 256
boot:
