/** The architecture's bits and numbers, named as the manual prints them.
 *
 * Bits that fit 32 are plain unsigned numbers, so that hot code can use them; bit 31 (CR0.PG) is 0x8000_0000, and a
 * test of it must compare with 0, not with its sign. Where a register is a bigint, write BigInt(CR4.PAE). Bits above
 * 31 stand in a table of their own and belong to the upper half (PTE_HIGH).
 * Follows: SDM Vol. 3, 2.5 (control registers), 2.2.1 (EFER), 4.5 (paging entries), 6.3 (exceptions), 17.2 (debug).
 * May not: import anything.   Next: x86/msr.ts. */

/** SDM Vol. 3, 2.5. */
export const CR0 = {
  PE: 1 << 0,
  MP: 1 << 1,
  EM: 1 << 2,
  TS: 1 << 3,
  ET: 1 << 4,
  NE: 1 << 5,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 0x8000_0000,
} as const;

export const CR4 = {
  VME: 1 << 0,
  PVI: 1 << 1,
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  MCE: 1 << 6,
  PGE: 1 << 7,
  PCE: 1 << 8,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  UMIP: 1 << 11,
  LA57: 1 << 12,
  VMXE: 1 << 13,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
  PKE: 1 << 22,
} as const;

/** AMD64 Manual Vol. 2, 3.1.7. */
export const EFER = {
  SCE: 1 << 0,
  LME: 1 << 8,
  LMA: 1 << 10,
  NXE: 1 << 11,
  SVME: 1 << 12,
  FFXSR: 1 << 14,
} as const;

/** SDM Vol. 1, 3.4.3. Bit 1 always reads 1. */
export const RFLAGS = {
  CF: 1 << 0,
  ONE: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;
export const IOPL_SHIFT = 12;

/** Paging-structure entries, lower half (SDM Vol. 3, 4.3-4.5). PS and PAT share bit 7, by level. */
export const PTE = {
  P: 1 << 0,
  RW: 1 << 1,
  US: 1 << 2,
  PWT: 1 << 3,
  PCD: 1 << 4,
  A: 1 << 5,
  D: 1 << 6,
  PS: 1 << 7,
  PAT: 1 << 7,
  G: 1 << 8,
} as const;
/** Bits of an 8-byte entry's upper half. NX is the entry's bit 63. */
export const PTE_HIGH = { NX: 0x8000_0000 } as const;

/** Error code of #PF (SDM Vol. 3, 4.7). */
export const PF_ERROR = { P: 1 << 0, W: 1 << 1, U: 1 << 2, RSVD: 1 << 3, I: 1 << 4, PK: 1 << 5 } as const;

/** DR6 (SDM Vol. 3, 17.2.3); the bits that always read 1 and DR7's bit 10 are apart. */
export const DR6 = { B0: 1, B1: 2, B2: 4, B3: 8, BD: 1 << 13, BS: 1 << 14, BT: 1 << 15 } as const;
export const DR6_FIXED = 0xffff_0ff0;
export const DR7 = { L: 0x55, G: 0xaa, LE: 1 << 8, GE: 1 << 9, GD: 1 << 13 } as const;
export const DR7_FIXED = 0x400;

/** Exceptions (SDM Vol. 3, table 6-1). */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

export const VECTOR_NAMES: Readonly<Record<number, string>> = {
  0: '#DE divide error',
  1: '#DB debug',
  2: 'NMI',
  3: '#BP breakpoint',
  4: '#OF overflow',
  5: '#BR bound range exceeded',
  6: '#UD invalid opcode',
  7: '#NM device not available',
  8: '#DF double fault',
  10: '#TS invalid TSS',
  11: '#NP segment not present',
  12: '#SS stack fault',
  13: '#GP general protection',
  14: '#PF page fault',
  16: '#MF x87 floating-point error',
  17: '#AC alignment check',
  18: '#MC machine check',
  19: '#XM SIMD floating-point exception',
};

const WITH_ERROR_CODE = new Set<number>([8, 10, 11, 12, 13, 14, 17]);
/** Whether an exception (not an INT n to the same vector) pushes an error code. */
export function pushesErrorCode(vector: number): boolean {
  return WITH_ERROR_CODE.has(vector);
}

/** Bits of Segment.attributes (descriptor bits 40-55), see VcpuState. */
export const SEGMENT = {
  ACCESSED: 1 << 0,
  /** Data: writable. Code: readable. */
  WRITABLE: 1 << 1,
  READABLE: 1 << 1,
  /** Data: expand-down. Code: conforming. */
  EXPAND_DOWN: 1 << 2,
  CONFORMING: 1 << 2,
  CODE: 1 << 3,
  S: 1 << 4,
  DPL: 3 << 5,
  P: 1 << 7,
  AVL: 1 << 12,
  L: 1 << 13,
  DB: 1 << 14,
  G: 1 << 15,
} as const;
export const DPL_SHIFT = 5;

/** Types of system descriptors, bits 40-43 (SDM Vol. 3, table 3-2). */
export const SYSTEM_TYPE = {
  TSS16: 1,
  LDT: 2,
  TSS16_BUSY: 3,
  CALL_GATE16: 4,
  TASK_GATE: 5,
  INTERRUPT_GATE16: 6,
  TRAP_GATE16: 7,
  TSS: 9,
  TSS_BUSY: 11,
  CALL_GATE: 12,
  INTERRUPT_GATE: 14,
  TRAP_GATE: 15,
} as const;
