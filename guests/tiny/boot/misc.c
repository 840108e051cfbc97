/* extract_kernel: unpacks the payload and puts the kernel's segments where they are linked.
 *
 * Runs wherever the unpacker was moved to, so it holds no absolute address: no tables of pointers, no jump tables.
 * Follows: Linux arch/x86/boot/compressed/misc.c; LZ4 block format; the ELF specification.   Next: ../entry/head_64.S
 * or ../entry/head_32.S, the kernel's own first instruction. */
#include "../include/bootparam.h"
#include "../include/layout.h"
#include "boot.h"

_Static_assert(offsetof(struct boot_params, scratch) == BP_scratch, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.version) == BP_version, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.loadflags) == BP_loadflags, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.kernel_alignment) == BP_kernel_alignment, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.init_size) == BP_init_size, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.cmd_line_ptr) == BP_cmd_line_ptr, "boot.h");
_Static_assert(offsetof(struct boot_params, hdr.hardware_subarch) == BP_hardware_subarch, "boot.h");

#ifdef CONFIG_X86_64
typedef struct {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
} elf_header;
typedef struct {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
} elf_segment;
#else
typedef struct {
	u8 ident[16];
	u16 type, machine;
	u32 version, entry, phoff, shoff, flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
} elf_header;
typedef struct {
	u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
} elf_segment;
#endif

#define PT_LOAD 1
#define MAX_SEGMENTS 8
#define LZ4_LEGACY_MAGIC 0x184c2102

static void outb(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* Nothing but the first serial port is known at this point, and that only by custom. */
static void __noreturn error(const char *what)
{
	for (; *what; what++)
		outb(0x3f8, *what);
	for (const char *end = "\n\n -- System halted"; *end; end++)
		outb(0x3f8, *end);
	for (;;)
		asm volatile("hlt");
}

static void copy_bytes(u8 *to, const u8 *from, size_t length)
{
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static u32 read_u32(const u8 *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (u32)at[3] << 24;
}

/* A length that does not fit its four bits goes on in bytes, the last of which is not 255. */
static size_t long_length(size_t length, const u8 **in)
{
	if (length == 15)
		do
			length += **in;
		while (*(*in)++ == 255);
	return length;
}

static u8 *unpack_block(const u8 *in, const u8 *end, u8 *out)
{
	while (in < end) {
		u8 token = *in++;
		size_t literals = long_length(token >> 4, &in);

		copy_bytes(out, in, literals);
		in += literals;
		out += literals;
		if (in >= end)
			break; /* the last sequence has no match */

		const u8 *match = out - (in[0] | in[1] << 8);
		in += 2;
		size_t length = long_length(token & 15, &in) + 4;
		copy_bytes(out, match, length); /* ascending: an overlap repeats what was just written */
		out += length;
	}
	return out;
}

static void unpack(const u8 *in, size_t length, u8 *out)
{
	const u8 *end = in + length - 4; /* the size trailer is not part of the frame */
	const u8 *start = out;

	if (read_u32(in) != LZ4_LEGACY_MAGIC)
		error("the payload is not LZ4");
	for (in += 4; in < end; in += 4 + read_u32(in))
		out = unpack_block(in + 4, in + 4 + read_u32(in), out);
	if ((size_t)(out - start) != read_u32(end))
		error("the payload unpacked to a wrong size");
}

/* The file lies where the kernel shall be; its segments move down to their places, the lowest first. */
static void load_segments(u8 *output)
{
	elf_segment segments[MAX_SEGMENTS];
	elf_header header;

	copy_bytes((u8 *)&header, output, sizeof(header));
	if (read_u32(header.ident) != 0x464c457f || header.phnum > MAX_SEGMENTS)
		error("the kernel is not a usable ELF file");
	copy_bytes((u8 *)segments, output + header.phoff, header.phnum * sizeof(elf_segment));
	for (unsigned int i = 0; i < header.phnum; i++)
		if (segments[i].type == PT_LOAD)
			copy_bytes(output + (segments[i].paddr - LOAD_PHYSICAL_ADDR), output + segments[i].offset, segments[i].filesz);
}

/* Returns the physical address of the kernel's first instruction. */
void *extract_kernel(struct boot_params *params, const u8 *payload, size_t length, u8 *output)
{
	if (params->sentinel) /* as every later stage would do; the kernel looks again */
		params->ext_ramdisk_image = params->ext_ramdisk_size = params->ext_cmd_line_ptr = 0;
	unpack(payload, length, output);

	elf_header header;
	copy_bytes((u8 *)&header, output, sizeof(header));
	load_segments(output);
	return output + (header.entry - LOAD_PHYSICAL_ADDR);
}
