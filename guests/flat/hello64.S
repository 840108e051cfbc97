/* hello64: flat 64-bit code, for `zeropage boot --via flat64`.
 *
 *   from               state
 *   the flat64 path    long mode, the low 4 GiB identity-mapped, every register 0 but rsp = 0x80000; loaded anywhere
 *
 * Prints through the serial port at 0x3f8, asking it each time whether it can take a byte, and ends with hlt: on the flat
 * paths that is a good end. */
	.globl	_start
_start:
	leaq	message(%rip), %rsi
	cld
1:	movw	$0x3fd, %dx		/* line status */
2:	inb	%dx, %al
	testb	$0x20, %al		/* transmitter holding register empty */
	jz	2b
	lodsb
	testb	%al, %al
	jz	3f
	movw	$0x3f8, %dx
	outb	%al, %dx
	jmp	1b
3:	hlt
	jmp	3b

message:
	.asciz	"hello from flat 64-bit code\n"
