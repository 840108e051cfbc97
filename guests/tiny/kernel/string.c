/* The few memory functions that C code (and the compiler on its behalf) calls. */
#include "types.h"

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;
	asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	if (to <= from || (const char *)to >= (const char *)from + n)
		return memcpy(to, from, n);
	for (char *d = (char *)to + n, *s = (char *)from + n; n--;)
		*--d = *--s;
	return to;
}

#ifdef CONFIG_X86_64
#define STOS_WORD "rep stosq"
#define SCAS_WORD "repe scasq"
#else
#define STOS_WORD "rep stosl"
#define SCAS_WORD "repe scasl"
#endif

/* By words, then the rest: .bss is the biggest thing we ever fill. */
void *memset(void *to, int byte, size_t n)
{
	void *d = to;
	unsigned long word = (u8)byte * (~0ul / 0xff);
	size_t words = n / sizeof(word), rest = n % sizeof(word);

	asm volatile(STOS_WORD : "+D"(d), "+c"(words) : "a"(word) : "memory");
	asm volatile("rep stosb" : "+D"(d), "+c"(rest) : "a"(word) : "memory");
	return to;
}

int is_clear(const void *area, size_t n)
{
	size_t words = n / sizeof(long);

	asm volatile(SCAS_WORD : "+D"(area), "+c"(words) : "a"(0ul) : "memory", "cc");
	return !((const unsigned long *)area)[-1]; /* the last word that was looked at */
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	for (; n--; x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

/* As much of a text as there is room for, and always an end. */
void strscpy(char *to, const char *from, size_t room)
{
	while (--room && *from)
		*to++ = *from++;
	*to = '\0';
}

size_t strlen(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}
