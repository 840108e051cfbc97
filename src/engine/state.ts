/** The CPU's state in WebAssembly memory: where each register lives.
 *
 * One memory holds everything: the CPU state at low addresses (so that addresses fit 16 bits and are constants in
 * generated code), the TLBs, the decoded blocks, and guest RAM behind them. Generated code uses these offsets as
 * immediates; TypeScript uses them through `CpuState` (engine/cpu-state.ts). An offset stands in this file and nowhere
 * else. General registers are little-endian 64-bit words, so AL is at the register's offset and AH one above.
 *
 * Arithmetic flags are lazy. FLAG_BITS holds CF PF AF ZF SF OF at their RFLAGS positions, and above bit 16 a kind.
 * Kind 0: the flags are FLAG_BITS xor what FLAG_R (the result, sign-extended) says of ZF, SF and PF. Any other kind
 * names an addition or a subtraction of some width whose first operand is FLAG_X and whose result is FLAG_R; its ZF,
 * SF and PF still follow from FLAG_R alone. `flags.ts` has both directions.
 * May not: know about instructions.   Next: engine/flags.ts. */

/** Offsets of single registers, bytes from the start of the memory. i64 unless noted. */
export const STATE = {
  GPR: 0x040, // 16 × i64, in the encoding's order
  ZERO: 0x0c0, // always 0: the base of an address without base
  LINEAR: 0x0c8, // scratch: linear address made by the checked-segment step
  TEMP: 0x0d0, // scratch
  PAGE_BASE: 0x0d8, // RIP of the first byte of the page the running block lies in (linear page - CS base)
  RIP: 0x0e0, // valid whenever WebAssembly code is not running
  FLAG_BITS: 0x0e8, // i32
  SYS_FLAGS: 0x0ec, // i32: RFLAGS without CF PF AF ZF SF OF; bit 1 set
  FLAG_R: 0x0f0,
  FLAG_X: 0x0f8,
  ADDRESS_MASK: 0x100, // -1 in 64-bit code, 0xffffffff in 32-bit code
  RIP_MASK: 0x108, // the same for instruction pointers
  TLB: 0x110, // i32: the read table in use (user or supervisor); the write table follows it at +TLB_BYTES
  FETCH_TLB: 0x114, // i32: the fetch table in use
  LEFT: 0x118, // i32: instructions that may still complete before this entry must return; a block takes its count at entry
  CURRENT: 0x11c, // i32: address of the record that ran last when code left for TypeScript
  MODE: 0x120, // i32: the mode word that blocks are keyed by (engine/mode.ts)
  EXIT: 0x124, // i32: why code returned
  CS_BASE: 0x128, // linear base of CS where it is not 0 (copy of SEG[CS].base)
  LINK: 0x130, // i32: address of the i32 field to patch when a link was missing
  CPL: 0x138, // i32
  SHADOW: 0x13c, // i32: one of SHADOW below
  GDTR_BASE: 0x140,
  GDTR_LIMIT: 0x148, // i32
  IDTR_LIMIT: 0x14c, // i32
  IDTR_BASE: 0x150,
  CR0: 0x158,
  CR2: 0x160,
  CR3: 0x168,
  CR4: 0x170,
  CR8: 0x178,
  EFER: 0x180,
  DR: 0x188, // 6 × i64: DR0-3, DR6, DR7
  SEG: 0x1c0, // 8 × SEG_BYTES: ES CS SS DS FS GS LDTR TR
  STAR: 0x2c0,
  LSTAR: 0x2c8,
  CSTAR: 0x2d0,
  SFMASK: 0x2d8,
  KERNEL_GS_BASE: 0x2e0,
  SYSENTER_CS: 0x2e8,
  SYSENTER_ESP: 0x2f0,
  SYSENTER_EIP: 0x2f8,
  PAT: 0x300,
  TSC_OFFSET: 0x308,
  APIC_BASE: 0x310,
  TSC_AUX: 0x318,
  FAULT_VECTOR: 0x320, // i32: exception raised by the instruction at CURRENT; -1 none
  FAULT_ERROR: 0x324, // i32: its error code; -1 none
  FAULT_CR2: 0x328, // i64: the address, for #PF
  QUOTIENT: 0x330, // results of a 128-by-64-bit division
  REMAINDER: 0x338,
  SHORTCUTS: 0x340, // i32: 1 while generated code may do helpers' common cases by itself
  FXSAVE: 0x400, // 512 bytes, 16-byte aligned: the FXSAVE image is the FPU and SSE state
} as const;

/** The last places that jumps between blocks went to, for crash reports: a ring of RIPs. */
export const TRAIL_INDEX = 0x664; // i32: number of entries written
export const TRAIL = 0x800;
export const TRAIL_ENTRIES = 256;

/** What holds interrupts off for one instruction. After a load of SS, debug traps wait as well. */
export const SHADOW = { NONE: 0, STI: 1, STACK: 2 } as const;

/** One cached segment: selector u16 +0, attributes u32 +4 (descriptor bits 40-55, see VcpuState), limit u32 +8
 * (scaled), base i64 +16. */
export const SEG_BYTES = 32;
export const SEG_SELECTOR = 0;
export const SEG_ATTRIBUTES = 4;
export const SEG_LIMIT = 8;
export const SEG_BASE = 16;

/** Segment numbers as the encoding has them, then the two system segments. */
export const SEG = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

/** Data TLB: direct-mapped, 1024 entries of 16 bytes: tag i64 (linear page address, or EMPTY_TAG), addend i64 (host
 * offset minus linear address, modulo 2^32 matters). A read table, then a write table; one pair for CPL 3 and one for
 * supervisor accesses. Its size is part of the machine: every tier fills and replaces the same way. */
export const TLB_ENTRIES = 1024;
export const TLB_BYTES = TLB_ENTRIES * 16;
export const TLB_SUPERVISOR = 0x1_0000;
export const TLB_USER = TLB_SUPERVISOR + 2 * TLB_BYTES;
/** Fetch TLB: direct-mapped, 1024 entries of 16 bytes: tag i64, guest-physical page address u32 at +8. */
export const FETCH_TLB_ENTRIES = 1024;
export const FETCH_TLB_BYTES = FETCH_TLB_ENTRIES * 16;
export const FETCH_TLB_SUPERVISOR = TLB_USER + 2 * TLB_BYTES;
export const FETCH_TLB_USER = FETCH_TLB_SUPERVISOR + FETCH_TLB_BYTES;
/** A tag that no page address equals: page addresses have zero low bits. */
export const EMPTY_TAG = 1n;

/** Block lookup: direct-mapped by physical address, 262,144 entries of 16 bytes: physical address u32, mode i32, block
 * address i32, unused. A miss asks TypeScript, which has the exact table. */
export const BLOCK_TABLE = 0x4_0000;
export const BLOCK_TABLE_ENTRIES = 0x4_0000;
/** Decoded blocks, allocated upwards and dropped together when full. */
export const BLOCKS = BLOCK_TABLE + BLOCK_TABLE_ENTRIES * 16;
export const BLOCKS_END = 0x3f0_0000;
/** How often each traced function was entered: an i32 for each slot. */
export const COUNTERS = BLOCKS_END;
export const COUNTER_SLOTS = 0x4_0000;
/** Guest physical address 0 as an offset into the memory. */
export const RAM = 0x400_0000;
