/* list_initrd: names and sizes of what the loader brought along, a cpio archive in newc format.
 * The archive is read where it lies, a piece at a time through a window (mm.c): it may be larger than what we map.
 * Follows: Linux Documentation/driver-api/early-userspace/buffer-format.rst.   Next: faults.c. */
#include "kernel.h"

#define NEWC_HEADER 110
#define MAX_NAME 256

static phys_t initrd_start, initrd_size;

/* Copies from the archive; 0 when it ends too early. */
static int read_initrd(void *to, phys_t offset, size_t length)
{
	if (offset > initrd_size || length > initrd_size - offset)
		return 0;
	read_physical(to, initrd_start + offset, length);
	return 1;
}

static u32 hex_field(const char *header, unsigned int index)
{
	u32 value = 0;

	for (unsigned int i = 0; i < 8; i++) {
		char c = header[6 + 8 * index + i];
		value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

static phys_t align4(phys_t offset)
{
	return (offset + 3) & ~3ull;
}

void list_initrd(void)
{
	char header[NEWC_HEADER], name[MAX_NAME];

	initrd_start = boot_params.hdr.ramdisk_image | (phys_t)boot_params.ext_ramdisk_image << 32;
	initrd_size = boot_params.hdr.ramdisk_size | (phys_t)boot_params.ext_ramdisk_size << 32;
	if (!initrd_size) {
		printk("initrd: none\n");
		return;
	}
	printk("initrd: [mem 0x%llx-0x%llx]\n", initrd_start, initrd_start + initrd_size - 1);

	for (phys_t offset = 0; read_initrd(header, offset, sizeof(header));) {
		u32 size = hex_field(header, 6), name_size = hex_field(header, 11);
		if (memcmp(header, "070701", 6) && memcmp(header, "070702", 6)) {
			printk("initrd: no newc header at offset 0x%llx (compressed?)\n", offset);
			return;
		}
		if (!name_size || name_size > MAX_NAME || !read_initrd(name, offset + NEWC_HEADER, name_size))
			break;
		name[name_size - 1] = '\0';
		if (!memcmp(name, "TRAILER!!!", 11)) {
			return;
		}
		printk("initrd: %s %u bytes\n", name, size);
		offset = align4(align4(offset + NEWC_HEADER + name_size) + size);
	}
	printk("initrd: the archive is cut short\n");
}
