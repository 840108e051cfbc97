/** CPUID as a PV guest is shown it: the CPU's own, without what a guest at CPL 3 cannot have, and Xen's leaves.
 *
 * A plain CPUID instruction shows the CPU itself, as on hardware that cannot intercept it. A kernel that wants what Xen
 * has to say puts the forced-emulation prefix before it (emulate.ts).
 * Follows: xen/include/public/arch-x86/{cpuid.h,cpufeatureset.h}; xen/arch/x86/cpuid.c (cpuid_hypervisor_leaves).
 * Next: personality/xen/msrs.ts. */

import { CR4 } from '../../x86/constants.ts';
import { type CpuidResult, type CpuModel, cpuid } from '../../x86/cpuid.ts';
import type { Domain } from './domain.ts';
import { XEN_VERSION } from './version.ts';

const XEN_BASE = 0x4000_0000;
/** "XenVMMXenVMM" in EBX, ECX and EDX. */
const SIGNATURE = { ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e };
const KHZ = 1_000_000;

const bits = (...numbers: number[]): number => numbers.reduce((mask, bit) => mask | (1 << bit), 0);

/** By leaf: what is taken away. Paging and caches are Xen's, and so is what needs CPL 0. */
const HIDDEN: Readonly<Record<number, Partial<CpuidResult>>> = {
  1: {
    edx: bits(1, 3, 12, 13, 17, 21, 29), // VME PSE MTRR PGE PSE36 DS TM
    ecx: bits(3, 5, 15, 17, 21, 24), // MONITOR VMX PDCM PCID X2APIC TSC_DEADLINE
  },
  7: {
    ebx: bits(1, 2, 7, 10, 14, 20), // TSC_ADJUST SGX SMEP INVPCID MPX SMAP
    ecx: bits(2, 3, 4, 7, 16), // UMIP PKU OSPKE CET_SS LA57
  },
  2147483649: {
    // 0x80000001
    edx: bits(1, 3, 12, 13, 17, 26), // VME PSE MTRR PGE PSE36, and 1 GiB pages
    ecx: bits(2, 9, 10, 22), // SVM OSVW IBS TOPOEXT
  },
};
const HYPERVISOR = bits(31);
const OSXSAVE = bits(27);

export function guestCpuid(domain: Domain, leaf: number, subleaf: number): CpuidResult {
  if (leaf >>> 8 === XEN_BASE >>> 8) return xenLeaf(domain.cpu.model, leaf - XEN_BASE, subleaf);
  const result = cpuid(domain.cpu.model, leaf, subleaf);
  const hidden = HIDDEN[leaf];
  if (hidden) {
    for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
      result[register] = (result[register] & ~(hidden[register] ?? 0)) >>> 0;
    }
  }
  if (leaf === 1) {
    const osxsave = (domain.guestCr4 & CR4.OSXSAVE) !== 0 ? OSXSAVE : 0;
    result.ecx = ((result.ecx & ~OSXSAVE) | HYPERVISOR | osxsave) >>> 0;
  }
  return result;
}

/** Xen's own leaf, counted from its first, as a PV guest has it. */
export function xenLeaf(model: CpuModel, leaf: number, subleaf: number): CpuidResult {
  const nothing = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  switch (leaf) {
    case 0:
      return { eax: XEN_BASE + 5, ...SIGNATURE };
    case 1:
      return { ...nothing, eax: XEN_VERSION };
    case 2: // one hypercall page, by MSR 0x40000000; bit 0: MMU_PT_UPDATE_PRESERVE_AD
      return { eax: 1, ebx: XEN_BASE, ecx: 1, edx: 0 };
    case 3:
      if (subleaf === 0) return { eax: 2, ebx: 0, ecx: KHZ, edx: 0 }; // the TSC is reliable, and not emulated
      if (subleaf === 1) return { ...nothing, ecx: 0x8000_0000, edx: 1 }; // offset 0; multiplier and shift of the clock
      return subleaf === 2 ? { ...nothing, eax: KHZ } : nothing;
    case 5: // the width of machine addresses: at most 44 bits, or Linux takes grant table version 2
      return { ...nothing, ebx: Math.min(model.physicalBits, 44) };
    default:
      return nothing;
  }
}
