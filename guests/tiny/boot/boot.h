/* Offsets in boot_params that assembly reads (bootparam.h holds the struct; misc.c compares the two). */
#pragma once
#define BP_scratch 0x1e4
#define BP_version 0x206
#define BP_loadflags 0x211
#define BP_kernel_alignment 0x230
#define BP_init_size 0x260
#define BP_cmd_line_ptr 0x228
#define BP_hardware_subarch 0x23c
#define KEEP_SEGMENTS (1 << 6) /* loadflags, protocol 2.07: leave my segments alone */
