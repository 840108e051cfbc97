/* plant=NAME on the command line: the one artificial thing in this kernel.
 *
 * Linux has often done a step of its start-up on one entry path and forgotten it on another. Each such bug that this
 * kernel can show has a name (the table is in guests/README.md), and the place where the step belongs asks planted(name)
 * before it takes it. Without the word every path does all that it must.
 *
 * The steps in question come before anything else, so the question must be answered before .bss is clear and before
 * boot_command_line is copied: each entry path calls note_plants() first, with the command line where its loader put it.
 * Whoever traces a boot sees these two functions on every path.   Next: main.c. */
#include "kernel.h"

static char planted_names[256] __initdata; /* "cr4-shadow kasan ", names with a space behind each */

/* Is `word` in the text, between spaces? Uses nothing but its arguments: the 32-bit PVH entry calls it where it is
 * loaded, not where it is linked. */
int is_word_of(const char *text, const char *word)
{
	while (*text) {
		const char *w = word;

		while (*w && *text == *w)
			text++, w++;
		if (!*w && (*text == ' ' || !*text))
			return 1;
		while (*text && *text++ != ' ')
			;
	}
	return 0;
}

void note_plants(const char *command_line)
{
	size_t length = 0;

	for (const char *word = command_line; word && *word;) {
		if (!memcmp(word, "plant=", 6)) {
			for (word += 6; *word && *word != ' ' && length < sizeof(planted_names) - 2; word++)
				planted_names[length++] = *word;
			planted_names[length++] = ' ';
		}
		while (*word && *word++ != ' ')
			;
		if (length >= sizeof(planted_names) - 2)
			break;
	}
	planted_names[length] = '\0';
}

int planted(const char *name)
{
	return is_word_of(planted_names, name);
}
