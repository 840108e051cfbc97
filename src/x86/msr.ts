/** The model-specific registers that exist here, one row each; any other number raises #GP(0).
 *
 * A row says where the value lives and what a write must satisfy; engine/system/control.ts obeys. Rows with a feature
 * exist only when the CPUID model shows it. The `fixed` ones are what a stock Linux kernel touches on this AMD model:
 * they read as a constant and forget what is written.
 * Follows: SDM Vol. 4; AMD64 Manual Vol. 2, appendix A; AMD BKDG for family 0fh.
 * May not: hold values.   Next: x86/cpuid.ts. */

export type MsrKind =
  /** In the state under the row's name. `canonical` writes raise #GP(0) otherwise; `bits` are those that are kept. */
  | { kind: 'state'; canonical?: true; bits?: bigint }
  /** A segment base. */
  | { kind: 'base'; segment: 'FS' | 'GS' }
  | { kind: 'tsc' }
  | { kind: 'efer' }
  | { kind: 'pat' }
  /** Reads as this; writes are forgotten, or raise #GP(0) when the register is read-only. */
  | { kind: 'fixed'; value: bigint; readOnly?: true };

export type Msr = MsrKind & { number: number; name: string; feature?: string };

const LOW_32 = 0xffff_ffffn;

// biome-ignore format: a table
export const MSRS = [
  { number: 0x0000_0010, name: 'TSC', kind: 'tsc', feature: 'TSC' },
  { number: 0x0000_008b, name: 'PATCH_LEVEL', kind: 'fixed', value: 0n, readOnly: true },
  { number: 0x0000_0174, name: 'SYSENTER_CS', kind: 'state', bits: LOW_32, feature: 'SEP' },
  { number: 0x0000_0175, name: 'SYSENTER_ESP', kind: 'state', canonical: true, feature: 'SEP' },
  { number: 0x0000_0176, name: 'SYSENTER_EIP', kind: 'state', canonical: true, feature: 'SEP' },
  { number: 0x0000_0179, name: 'MCG_CAP', kind: 'fixed', value: 0n, readOnly: true },
  { number: 0x0000_0277, name: 'PAT', kind: 'pat', feature: 'PAT' },
  { number: 0xc000_0080, name: 'EFER', kind: 'efer' },
  { number: 0xc000_0081, name: 'STAR', kind: 'state', feature: 'SYSCALL' },
  { number: 0xc000_0082, name: 'LSTAR', kind: 'state', canonical: true, feature: 'LM' },
  { number: 0xc000_0083, name: 'CSTAR', kind: 'state', canonical: true, feature: 'LM' },
  { number: 0xc000_0084, name: 'SFMASK', kind: 'state', bits: LOW_32, feature: 'LM' },
  { number: 0xc000_0100, name: 'FS_BASE', kind: 'base', segment: 'FS', feature: 'LM' },
  { number: 0xc000_0101, name: 'GS_BASE', kind: 'base', segment: 'GS', feature: 'LM' },
  { number: 0xc000_0102, name: 'KERNEL_GS_BASE', kind: 'state', canonical: true, feature: 'LM' },
  { number: 0xc000_0103, name: 'TSC_AUX', kind: 'state', bits: LOW_32, feature: 'RDTSCP' },
  { number: 0xc001_0000, name: 'PERF_CTL0', kind: 'fixed', value: 0n },
  { number: 0xc001_0001, name: 'PERF_CTL1', kind: 'fixed', value: 0n },
  { number: 0xc001_0002, name: 'PERF_CTL2', kind: 'fixed', value: 0n },
  { number: 0xc001_0003, name: 'PERF_CTL3', kind: 'fixed', value: 0n },
  { number: 0xc001_0004, name: 'PERF_CTR0', kind: 'fixed', value: 0n },
  { number: 0xc001_0005, name: 'PERF_CTR1', kind: 'fixed', value: 0n },
  { number: 0xc001_0006, name: 'PERF_CTR2', kind: 'fixed', value: 0n },
  { number: 0xc001_0007, name: 'PERF_CTR3', kind: 'fixed', value: 0n },
  { number: 0xc001_0015, name: 'HWCR', kind: 'fixed', value: 0n },
  { number: 0xc001_0055, name: 'INTERRUPT_PENDING', kind: 'fixed', value: 0n },
  { number: 0xc001_1029, name: 'DE_CFG', kind: 'fixed', value: 0n },
] as const satisfies readonly Msr[];

/** MSR.EFER and so on: numbers by name. */
export const MSR = Object.fromEntries(MSRS.map((row) => [row.name, row.number])) as Readonly<
  Record<(typeof MSRS)[number]['name'], number>
>;

const byNumber = new Map<number, Msr>(MSRS.map((row) => [row.number, row]));

export function findMsr(number: number): Msr | undefined {
  return byNumber.get(number);
}

/** PAT at reset: WB WT UC- UC, twice (SDM Vol. 3, 11.12.4). */
export const PAT_RESET = 0x0007_0406_0007_0406n;
