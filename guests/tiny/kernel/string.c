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

void *memset(void *to, int byte, size_t n)
{
	void *d = to;
	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	for (; n--; x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}
