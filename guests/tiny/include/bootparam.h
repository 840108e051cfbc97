/* struct boot_params: the zero page, filled by the loader or by the guest itself.
 *
 * Follows: Linux arch/x86/include/uapi/asm/bootparam.h and Documentation/x86/zero-page.rst, without the parts that
 * no guest of ours reads. kernel/structs.c holds the offsets against zeropage's own tables, so that both sides of the
 * boundary agree or the build stops. */
#pragma once
#include "types.h"

#define E820_MAX_ENTRIES_ZEROPAGE 128
#define E820_TYPE_RAM 1
#define E820_TYPE_RESERVED 2
#define COMMAND_LINE_SIZE 2048

#define X86_SUBARCH_PC 0
#define X86_SUBARCH_LGUEST 1
#define X86_SUBARCH_XEN 2

struct setup_header {
	u8 setup_sects;
	u16 root_flags;
	u32 syssize;
	u16 ram_size;
	u16 vid_mode;
	u16 root_dev;
	u16 boot_flag;
	u16 jump;
	u32 header;
	u16 version;
	u32 realmode_swtch;
	u16 start_sys_seg;
	u16 kernel_version;
	u8 type_of_loader;
	u8 loadflags;
	u16 setup_move_size;
	u32 code32_start;
	u32 ramdisk_image;
	u32 ramdisk_size;
	u32 bootsect_kludge;
	u16 heap_end_ptr;
	u8 ext_loader_ver;
	u8 ext_loader_type;
	u32 cmd_line_ptr;
	u32 initrd_addr_max;
	u32 kernel_alignment;
	u8 relocatable_kernel;
	u8 min_alignment;
	u16 xloadflags;
	u32 cmdline_size;
	u32 hardware_subarch;
	u64 hardware_subarch_data;
	u32 payload_offset;
	u32 payload_length;
	u64 setup_data;
	u64 pref_address;
	u32 init_size;
	u32 handover_offset;
	u32 kernel_info_offset;
} __packed;

struct boot_e820_entry {
	u64 addr;
	u64 size;
	u32 type;
} __packed;

struct boot_params {
	u8 screen_info[0x40];
	u8 apm_bios_info[0x14];
	u8 _pad2[4];
	u64 tboot_addr;
	u8 ist_info[0x10];
	u64 acpi_rsdp_addr;
	u8 _pad3[8];
	u8 hd0_info[16];
	u8 hd1_info[16];
	u8 sys_desc_table[0x10];
	u8 olpc_ofw_header[0x10];
	u32 ext_ramdisk_image;
	u32 ext_ramdisk_size;
	u32 ext_cmd_line_ptr;
	u8 _pad4[112];
	u32 cc_blob_address;
	u8 edid_info[0x80];
	u8 efi_info[0x20];
	u32 alt_mem_k;
	u32 scratch;
	u8 e820_entries;
	u8 eddbuf_entries;
	u8 edd_mbr_sig_buf_entries;
	u8 kbd_status;
	u8 secure_boot;
	u8 _pad5[2];
	u8 sentinel;
	u8 _pad6[1];
	struct setup_header hdr;
	u8 _pad7[0x290 - 0x1f1 - sizeof(struct setup_header)];
	u32 edd_mbr_sig_buffer[16];
	struct boot_e820_entry e820_table[E820_MAX_ENTRIES_ZEROPAGE];
	u8 _pad8[48];
	u8 eddbuf[0x1ec];
	u8 _pad9[276];
} __packed;
