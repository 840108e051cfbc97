/* Entry from Multiboot 1 (32-bit, paging off), exception stubs, and `run`, which calls a test and comes back from it
 * whatever it raised. The 64-bit guest turns long mode on here, on tables that main.c completes. */
#include "test.h"
        .section .header, "a"
        .balign 4
        .long 0x1badb002, 0, -0x1badb002

        .text
        .code32
        .globl start
start:  cld
        mov $boot_stack_top, %esp
#ifdef __x86_64__
        movl $early_pdpt + 0x27, early_pml4
        movl $early_pd + 0x27, early_pdpt
        movl $0xe7, early_pd
        movl $0x2000e7, early_pd + 8
        movl $0x6000e7, early_pd + 24
        movl $0x8000e7, early_pd + 32
        mov $0x20, %eax
        mov %eax, %cr4
        mov $early_pml4, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        or $0x901, %eax                 /* NXE, LME, SCE */
        wrmsr
        mov %cr0, %eax
        or $0x80010001, %eax
        mov %eax, %cr0
        lgdt early_gdtr
        ljmp $0x10, $1f
        .code64
1:      mov $0x18, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        call main
#else
        lgdt early_gdtr
        ljmp $0x10, $1f
1:      mov $0x18, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        call main
#endif
        hlt

        /* run(test): calls it with every register 0 but the stack's; returns when it does or when it faults. */
        .globl run, run_return
#ifdef __x86_64__
run:    push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, resume_sp
        mov %rdi, %r15
        xor %eax, %eax
        xor %ebx, %ebx
        xor %ecx, %ecx
        xor %edx, %edx
        xor %esi, %esi
        xor %edi, %edi
        xor %ebp, %ebp
        call *%r15
        .globl test_done
test_done:
        mov %rax, exc_ax
        movl $-1, exc_vector
run_return:
        mov resume_sp, %rsp
        cld
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret
common: mov %rax, exc_ax
        pop %rax
        mov %eax, exc_vector
        pop exc_error
        pop exc_ip
        pop exc_cs
        pop exc_flags
        pop exc_sp
        mov %rsp, exc_frame
        mov %cr2, %rax
        mov %rax, exc_cr2
        mov $0x18, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        jmp run_return
#else
run:    mov 4(%esp), %eax
        push %ebx
        push %ebp
        push %esi
        push %edi
        mov %esp, resume_sp
        xor %ebx, %ebx
        xor %ecx, %ecx
        xor %edx, %edx
        xor %esi, %esi
        xor %edi, %edi
        xor %ebp, %ebp
        mov %eax, test_entry
        xor %eax, %eax
        call *test_entry
        .globl test_done
test_done:
        mov %eax, exc_ax
        movl $-1, exc_vector
run_return:
        mov $0x18, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov resume_sp, %esp
        cld
        pop %edi
        pop %esi
        pop %ebp
        pop %ebx
        ret
common: push %eax
        mov $0x18, %eax
        mov %eax, %ds
        pop exc_ax
        pop exc_vector
        pop exc_error
        pop exc_ip
        pop exc_cs
        pop exc_flags
        pop exc_sp
        mov %esp, exc_frame
        mov %cr2, %eax
        mov %eax, exc_cr2
        jmp run_return
#endif

        /* 16 bytes for each vector. */
        .balign 16
        .globl stubs
stubs:
        .set v, 0
        .rept 256
        .balign 16
        .if !(v == 8 || (v >= 10 && v <= 14) || v == 17)
        push $0
        .endif
        .byte 0x68
        .long v
        jmp common
        .set v, v + 1
        .endr

        .data
        .balign 8
early_gdt:
#ifdef __x86_64__
        .quad 0, 0, 0xaf9b000000ffff, 0xcf93000000ffff
#else
        .quad 0, 0, 0xcf9b000000ffff, 0xcf93000000ffff
#endif
early_gdtr:
        .word 31
        .long early_gdt, 0
        .bss
        .balign 4096
        .globl early_pml4
early_pml4: .skip 4096
early_pdpt: .skip 4096
early_pd: .skip 4096
        .skip 8192
boot_stack_top:
        .globl test_entry
test_entry: .skip 8
