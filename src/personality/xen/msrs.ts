/** The model-specific registers of a PV guest: the segment bases for real, a few as constants, the rest #GP.
 *
 * A kernel without a #GP handler yet could not survive that, so until it has one, registers that the CPU has read as 0.
 * Follows: xen/arch/x86/pv/emul-priv-op.c (read_msr, write_msr), msr.c.   Next: personality/xen/hypercall-page.ts. */
import { VECTOR } from '../../x86/constants.ts';
import { findMsr } from '../../x86/msr.ts';
import { type Domain, isCanonical } from './domain.ts';
import { writeHypercallPage } from './hypercall-page.ts';
import { FS, GS } from './traps.ts';

const MSR = {
  TSC: 0x10, APIC_BASE: 0x1b, PATCH_LEVEL: 0x8b, PAT: 0x277, PERF_CAPABILITIES: 0x345, DE_CFG: 0xc001_1029,
  EFER: 0xc000_0080, FS_BASE: 0xc000_0100, GS_BASE: 0xc000_0101, KERNEL_GS_BASE: 0xc000_0102, TSC_AUX: 0xc000_0103,
  XEN_HYPERCALL_PAGE: 0x4000_0000,
} as const; // biome-ignore format: a table

/** The local APIC's usual place, enabled, of the boot processor. */
const APIC_BASE = 0xfee0_0900n;
/** Xen's: WB WT UC- UC WC WP UC UC. */
const XEN_PAT = 0x0000_0501_0007_0406n;
/** LFENCE waits for all before it. */
const LFENCE_SERIALISES = 2n;
const EFER_SHOWN = 0xd01n; // SCE LME LMA NXE

/** AMD's power and performance registers, which Xen keeps to itself: they read 0 and forget what is written. */
function isIgnored(number: number): boolean {
  return (
    (number >= 0xc001_0000 && number <= 0xc001_0007) || // performance counters
    number === 0xc001_0015 || // HWCR
    number === 0xc001_001f || // NB_CFG
    number === 0xc001_0041 ||
    number === 0xc001_0042 || // FIDVID
    (number >= 0xc001_0061 && number <= 0xc001_006b) // P-states
  );
}

/** Undefined: #GP. */
export function readMsr(domain: Domain, number: number): bigint | undefined {
  const { state } = domain;
  switch (number) {
    case MSR.TSC:
      return BigInt(Math.floor(domain.clock.now));
    case MSR.APIC_BASE:
      return APIC_BASE;
    case MSR.PAT:
      return XEN_PAT;
    case MSR.PATCH_LEVEL:
    case MSR.PERF_CAPABILITIES:
    case MSR.XEN_HYPERCALL_PAGE:
      return 0n;
    case MSR.DE_CFG:
      return LFENCE_SERIALISES;
    case MSR.EFER:
      return EFER_SHOWN;
    case MSR.FS_BASE:
      return state.base(FS);
    case MSR.GS_BASE:
      return state.base(GS);
    case MSR.KERNEL_GS_BASE:
      return state.get64('KERNEL_GS_BASE');
    case MSR.TSC_AUX:
      if (!domain.cpu.model.features.has('RDTSCP')) break;
      return state.read().msrs.TSC_AUX;
  }
  if (isIgnored(number)) return 0n;
  const isOnCpu = findMsr(number) !== undefined;
  const handled = domain.trapTable[VECTOR.GP].address !== 0n;
  if (!handled && isOnCpu && number >>> 16 !== 0x4000) return 0n;
  domain.notBuilt(`MSR 0x${number.toString(16)}`);
  return undefined;
}

/** False: #GP. */
export function writeMsr(domain: Domain, number: number, value: bigint): boolean {
  const { state } = domain;
  switch (number) {
    case MSR.FS_BASE:
    case MSR.GS_BASE:
      if (!isCanonical(value)) return false;
      state.setBase(number === MSR.FS_BASE ? FS : GS, value);
      return true;
    case MSR.KERNEL_GS_BASE:
      if (!isCanonical(value)) return false;
      state.set64('KERNEL_GS_BASE', value);
      return true;
    case MSR.TSC_AUX:
      if (!domain.cpu.model.features.has('RDTSCP') || value >> 32n !== 0n) return false;
      state.write({ msrs: { TSC_AUX: value } });
      return true;
    case MSR.EFER:
      return value === EFER_SHOWN;
    case MSR.XEN_HYPERCALL_PAGE:
      return writeHypercallPage(domain, value);
  }
  if (isIgnored(number) || number === MSR.DE_CFG) return true;
  domain.notBuilt(`MSR 0x${number.toString(16)}`);
  return false;
}
