/* hello32: flat 32-bit code, for `zeropage boot --via flat32`.
 *
 *   from               state
 *   the flat32 path    protected mode, paging off, flat segments, every register 0 but esp = 0x80000; loaded anywhere
 *
 * Prints through the debug console, port 0xe9, which takes a byte at any time, and ends with hlt: on the flat paths that
 * is a good end.   Next: hello64.S. */
	.code32
	.globl	_start
_start:
	call	1f			/* where are we? */
1:	popl	%esi
	addl	$(message - 1b), %esi
	cld
2:	lodsb
	testb	%al, %al
	jz	3f
	outb	%al, $0xe9
	jmp	2b
3:	hlt
	jmp	3b

message:
	.asciz	"hello from flat 32-bit code\n"
