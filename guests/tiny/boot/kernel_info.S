/* kernel_info: what setup_header.kernel_info_offset points to (protocol 2.15). */
	.section .rodata
	.balign	16
	.globl	kernel_info
kernel_info:
	.ascii	"LToP"
	.long	kernel_info_end - kernel_info	/* size */
	.long	kernel_info_end - kernel_info	/* size_total */
	.long	0				/* setup_type_max: we read no setup_data */
kernel_info_end:
	.section .note.GNU-stack, "", @progbits
