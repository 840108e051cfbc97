/* printk: formatted lines to pv_ops.console. It knows %s %c %d %u %x %p %%, l and ll, zero padding and a width.
 * Decimal numbers are at most one machine word wide: 64-bit division in the 32-bit build would need libgcc.
 * Next: panic.c. */
#include "kernel.h"

struct out {
	char text[128];
	unsigned int length;
};

static void flush(struct out *out)
{
	pv_ops.console.write(out->text, out->length);
	out->length = 0;
}

static void put(struct out *out, char c)
{
	if (out->length == sizeof(out->text))
		flush(out);
	out->text[out->length++] = c;
}

static void put_padded(struct out *out, const char *text, unsigned int length, int width, char pad)
{
	for (int i = width - (int)length; i > 0; i--)
		put(out, pad);
	while (length--)
		put(out, *text++);
}

static void put_hex(struct out *out, u64 value, int width, char pad)
{
	char digits[16];
	unsigned int n = sizeof(digits);
	do {
		digits[--n] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	put_padded(out, digits + n, sizeof(digits) - n, width, pad);
}

static void put_decimal(struct out *out, unsigned long value, int negative, int width, char pad)
{
	char digits[24];
	unsigned int n = sizeof(digits);
	do {
		digits[--n] = '0' + value % 10;
		value /= 10;
	} while (value);
	if (negative)
		digits[--n] = '-';
	put_padded(out, digits + n, sizeof(digits) - n, width, pad);
}

void vprintk(const char *format, __builtin_va_list arguments)
{
	struct out out = { .length = 0 };

	for (; *format; format++) {
		if (*format != '%') {
			put(&out, *format);
			continue;
		}
		char pad = ' ';
		int width = 0, longs = 0;
		if (*++format == '0')
			pad = *format++;
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (*format - '0');
		for (; *format == 'l'; format++)
			longs++;

		switch (*format) {
		case 's': {
			const char *text = __builtin_va_arg(arguments, const char *);
			put_padded(&out, text, strlen(text), width, ' ');
			break;
		}
		case 'c':
			put(&out, (char)__builtin_va_arg(arguments, int));
			break;
		case 'd': {
			long value = longs ? __builtin_va_arg(arguments, long) : __builtin_va_arg(arguments, int);
			put_decimal(&out, value < 0 ? -(unsigned long)value : (unsigned long)value, value < 0, width, pad);
			break;
		}
		case 'u':
			put_decimal(&out, longs ? __builtin_va_arg(arguments, unsigned long) : __builtin_va_arg(arguments, unsigned int), 0, width, pad);
			break;
		case 'x':
			put_hex(&out, longs == 2 ? __builtin_va_arg(arguments, u64) : longs ? __builtin_va_arg(arguments, unsigned long) : __builtin_va_arg(arguments, unsigned int), width, pad);
			break;
		case 'p':
			put_hex(&out, (unsigned long)__builtin_va_arg(arguments, void *), 2 * sizeof(void *), '0');
			break;
		default: /* also %% */
			put(&out, *format);
		}
	}
	flush(&out);
}

void printk(const char *format, ...)
{
	__builtin_va_list arguments;
	__builtin_va_start(arguments, format);
	vprintk(format, arguments);
	__builtin_va_end(arguments);
}
