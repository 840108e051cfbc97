/* For assembly files: symbols with a type and a size, so that a trace can tell functions apart. */
#pragma once
#include "layout.h"
#include "segment.h"

#define FUNC(name) .globl name; .type name, @function; name:
#define END_FUNC(name) .size name, . - name

#ifdef CONFIG_X86_64
/* Goes to the label when plant=name stands on the command line: kernel/plant.c. Clobbers what any call of C does. */
.macro PLANTED name:req, label:req
	.pushsection .rodata
.Lplant_\@:
	.asciz	"\name"
	.popsection
	movq	$.Lplant_\@, %rdi
	call	planted
	testl	%eax, %eax
	jnz	\label
.endm
#endif
#define pa(symbol) ((symbol) - START_KERNEL_MAP) /* link-time physical address */
