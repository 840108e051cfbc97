/** The rules that are shipped for Linux, as a rules file that is a module, so that it is wherever the program is.
 *
 * Each was read in the sources it names (6.1, where nothing else is said) and holds for Debian's stock kernels through
 * every path; what a stub on every path enters is left out, however much its name sounds like the feature. The functions
 * of several versions stand side by side: which of them a kernel has is seen from the kernel.
 * May not: hold anything but the text.   Next: compare/rules/sightings.ts. */

export const LINUX_RULES_FILE = 'linux.rules (shipped)';

export const LINUX_RULES = `# What of Linux belongs to which entry paths. The format is told in the README, section Rules.

feature cr4-shadow
  functions   cr4_init_shadow
  required on all before start_kernel
  reason      Later updates of CR4 start from the per-CPU copy. Where nobody filled it, the first update writes
  reason      a CR4 that has lost PAE, PGE and the like. Compilers like to inline the function; the invariant "cr4 shadow"
reason      looks at the copy itself.
  source      arch/x86/kernel/head64.c, arch/x86/xen/enlighten_pv.c; "x86/xen: Initialize cr4 shadow for 64-bit PV(H) guests", 2015

feature early-idt
  functions   idt_setup_early_handler
  required on all before start_kernel
  reason      An exception before start_kernel (a WARN is one) must find a handler: through the IDT, or on Xen PV
  reason      through the trap table that is registered with the hypervisor.
  source      arch/x86/kernel/head64.c, head32.c, arch/x86/xen/enlighten_pv.c; "x86/xen: support early interrupts in xen pv guests", 2017

feature kasan
  functions   kasan_early_init
  required on all but lguest, xen-pv32 before start_kernel
  reason      Instrumented code looks into the shadow from its first memory access on. On a path that has not mapped
  reason      it, a kernel with CONFIG_KASAN (64-bit ones only have it) dies there.
  source      arch/x86/mm/kasan_init_64.c, called from x86_64_start_kernel alone; the gap on Xen PV was never closed in 6.1

feature microcode
  functions   load_ucode_bsp, load_ucode_amd_bsp, load_ucode_intel_bsp
  msrs        0x79, 0xc0010020
  allowed on  all but xen-pv, xen-pv32, lguest
  reason      A guest whose hypervisor owns the processor cannot load microcode into it. The loaders run at the very
  reason      beginning of the bare-metal path, which paravirtual guests do not pass.
  source      arch/x86/kernel/head64.c, arch/x86/kernel/cpu/microcode/core.c

feature mtrr
  functions   generic_get_mtrr, generic_set_mtrr, generic_set_all, get_mtrr_state, mtrr_bp_pat_init, mtrr_generic_set_state, mtrr_cleanup
  msrs        0xfe, 0x200-0x21f, 0x250, 0x258-0x259, 0x268-0x26f, 0x2ff
  allowed on  all but xen-pv, xen-pv32, lguest
  reason      Memory types belong to the hypervisor there: Linux takes the feature away from the CPU and keeps PAT.
  reason      mtrr_bp_init itself runs everywhere, finds nothing and returns; it shows nothing.
  source      arch/x86/kernel/cpu/mtrr, xen_init_capabilities in arch/x86/xen/enlighten_pv.c

feature iommu
  functions   gart_iommu_hole_init, amd_iommu_detect, detect_intel_iommu, gart_iommu_init, amd_iommu_init, intel_iommu_init
  allowed on  all but xen-pv, xen-pv32, lguest
  reason      A paravirtual guest has no IOMMU of the machine's own to look for; on Xen PV, pci_iommu_alloc turns to
  reason      Xen's swiotlb and returns.
  source      pci_iommu_alloc in arch/x86/kernel/pci-dma.c

feature rtc
  functions   mach_get_cmos_time, mach_set_cmos_time, mach_set_rtc_mmss, rtc_cmos_read, rtc_cmos_write
  ports       0x70-0x71
  allowed on  all but xen-pv, xen-pv32, lguest
  reason      There is no CMOS clock behind these ports; wall-clock time comes from the hypervisor. Linux says so by
  reason      x86_platform.legacy.rtc.
  source      x86_early_init_platform_quirks in arch/x86/kernel/platform-quirks.c

feature bios-areas
  functions   default_find_smp_config, mpparse_find_mptable, smp_scan_config
  allowed on  all but xen-pv, xen-pv32, lguest
  reason      No BIOS has left tables in the low megabyte of a paravirtual guest. What is found by looking there is
  reason      somebody's memory.
  source      xen_smp_init in arch/x86/xen/smp_pv.c, arch/x86/kernel/mpparse.c
`;
