/* What a Multiboot loader hands over in EBX.   Follows: Multiboot Specification 0.6.96, section 3.3. */
#pragma once
#include "types.h"

#define MULTIBOOT_INFO_MEMORY (1 << 0)
#define MULTIBOOT_INFO_CMDLINE (1 << 2)
#define MULTIBOOT_INFO_MODS (1 << 3)
#define MULTIBOOT_INFO_MEM_MAP (1 << 6)

struct multiboot_info {
	u32 flags;
	u32 mem_lower;
	u32 mem_upper;
	u32 boot_device;
	u32 cmdline;
	u32 mods_count;
	u32 mods_addr;
	u32 syms[4];
	u32 mmap_length;
	u32 mmap_addr;
};
_Static_assert(offsetof(struct multiboot_info, mmap_addr) == 48, "multiboot_info");

struct multiboot_module {
	u32 mod_start;
	u32 mod_end;
	u32 string;
	u32 reserved;
};

struct multiboot_mmap_entry {
	u32 size; /* of what follows */
	u64 addr;
	u64 len;
	u32 type;
} __packed;
