/** Xen's leaves of CPUID for a PVH guest, and the bit that says that there is a hypervisor.
 *
 * CPUID leaves an HVM guest for Xen each time, so there is no prefix here: the CPU simply has these leaves. The guest is
 * told of no vector of its own for upcalls, since there is no local APIC at which to acknowledge it.
 * Follows: xen/arch/x86/traps.c (cpuid_hypervisor_leaves), xen/include/public/arch-x86/cpuid.h.
 * Next: personality/xen/hvm/hypercall-page.ts. */
import { XEN_CPUID_BASE, XEN_HVM_CPUID } from '../../../layout/xen/hvm.ts';
import type { CpuModel } from '../../../x86/cpuid.ts';
import { xenLeaf } from '../cpuid-policy.ts';
import { GUEST_DOMID } from '../guest-domain.ts';

/** The same CPU, behind Xen. */
export function cpuBehindXen(model: CpuModel): CpuModel {
  return {
    ...model,
    features: new Set([...model.features, 'HYPERVISOR']),
    hypervisorLeaf(leaf, subleaf) {
      const number = leaf - XEN_CPUID_BASE;
      if (number === 2) return { eax: 1, ebx: XEN_CPUID_BASE, ecx: 0, edx: 0 };
      if (number === 4) {
        const { IOMMU_MAPPINGS, VCPU_ID_PRESENT, DOMID_PRESENT } = XEN_HVM_CPUID;
        return { eax: IOMMU_MAPPINGS | VCPU_ID_PRESENT | DOMID_PRESENT, ebx: 0, ecx: GUEST_DOMID, edx: 0 };
      }
      if (number === 5) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
      return xenLeaf(model, number, subleaf);
    },
  };
}
