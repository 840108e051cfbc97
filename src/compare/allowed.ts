/** Legitimate differences: what entry paths may do differently, and why.
 *
 * Each row is a fact about how Linux (and our tiny guest, which is named after it) comes up, with its reason. What no row
 * allows is a finding. A row says which functions or fields it is about, between which kinds of paths the difference is
 * legitimate, and the reason that `--json` prints beside what was let through.
 * Follows: Linux arch/x86/{kernel,xen,platform/pvh,lguest} as of 6.1 (lguest: 4.13); Xen docs/misc/pvh.pandoc.
 * May not: hold a row without a reason.   Next: compare/arrival.ts. */

/** Kinds of paths: the families that rows speak of. */
export function kindOf(via: string): PathKind {
  if (via.startsWith('xen-pvh')) return 'xen-pvh';
  if (via.startsWith('xen-pv')) return 'xen-pv';
  if (via === 'lguest' || via === 'pvh' || via === 'multiboot') return via;
  return 'bare';
}
export type PathKind = 'bare' | 'pvh' | 'xen-pvh' | 'xen-pv' | 'lguest' | 'multiboot';

export type AllowedFunctions = {
  names: RegExp;
  /** The only kinds of paths on which these may run alone. */
  on: readonly PathKind[];
  /** What such a function calls is its own business, too. Never for a path's first C functions: their calls are the very
   * steps that a comparison is about. */
  withCallees?: true;
  because: string;
};

const NATIVE: readonly PathKind[] = ['bare', 'pvh', 'xen-pvh', 'multiboot'];

/** Functions that may run before the meeting place on some paths only. */
export const ALLOWED_FUNCTIONS: readonly AllowedFunctions[] = [
  {
    names:
      /^(?:startup_64|startup_32|secondary_startup_64\w*|x86_64_start_kernel|i386_start_kernel|default_entry|common_startup_64)$/,
    on: [...NATIVE, 'lguest'],
    because: 'the bare-metal entry; Xen PV starts at startup_xen and joins later',
  },
  {
    names: /^(?:startup_xen|xen_start_kernel|asm_cpu_bringup_and_idle)$/,
    on: ['xen-pv'],
    because: "Xen PV's own entry",
  },
  {
    names: /^(?:xen_prepare_pvh|prepare_pvh|pvh_start(?:_xen)?|pvh_start_kernel)$/,
    on: ['pvh', 'xen-pvh'],
    because: "PVH's own entry",
  },
  {
    names: /^(?:lguest_entry|lguest_init)$/,
    on: ['lguest'],
    because: "lguest's own entry",
  },
  {
    names: /^(?:multiboot_start|prepare_multiboot)$/,
    on: ['multiboot'],
    because: "Multiboot's own entry",
  },
  {
    names:
      /^(?:prandom_bytes_state|prandom_seed_state|kaslr_get_random_long|init_trampoline_kaslr|__init_trampoline_\w+|get_random_u16)$/,
    on: ['bare'],
    withCallees: true,
    because:
      'the decompressor says that addresses are to be random (KASLR_FLAG); where it does not run, kernel_randomize_memory, module areas and what follows leave theirs alone',
  },
  {
    names: /^prepare_then_startup_32$/,
    on: ['pvh', 'multiboot'],
    because: 'where a 32-bit guest fills boot_params itself, this calls who does and goes on to startup_32',
  },
  {
    names:
      /^(?:extract_kernel|decompress_kernel|relocated|\.?Lrelocated|parse_elf|handle_relocations|choose_random_location)$/,
    on: ['bare', 'lguest'],
    withCallees: true,
    because: 'a bzImage that unpacks itself; other loaders unpack for it',
  },
  {
    names:
      /^(?:make_early_tables|verify_cpu|__startup_64|__startup_secondary_64|startup_64_setup_(?:gdt_idt|env)|startup_64_load_idt|early_setup_idt|sev_\w+|snp_\w+|sme_\w+|__pti_\w+|tdx_early_init|reset_early_page_tables|__early_make_pgtable|early_make_pgtable|do_early_exception|native_write_cr4|set_bringup_idt_handler)$/,
    on: NATIVE,
    withCallees: true,
    because:
      'before paging is set up only paths without a builder of page tables do this; memory encryption is bare metal',
  },
  {
    names: /^(?:early_idt_handler\w*|restore_regs_and_return_to_kernel|early_xen_iret_patch)$/,
    on: NATIVE,
    withCallees: true,
    because: 'bare metal makes its early page tables by the faults that lack of them raises; the way back has labels',
  },
  {
    names: /^(?:(?:pv_)?native_\w+|early_idt_handler_\w+)$/,
    on: NATIVE,
    withCallees: true,
    because: 'the bare-metal side of pv_ops',
  },
  {
    names:
      /^(?:__xen\w*|_*xen_\w+|HYPERVISOR_\w+|hypercall_\w+|p2m\w*|pfn_to_mfn|mfn_to_pfn|m2p_\w+|set_mapping|make_lowmem_page\w*|pin_\w+|unpin_\w+|privcmd_\w+|gnttab_\w+|hvc_\w+|convert_pfn_mfn|set_aliased_prot|cvt_gate_to_trap|get_phys_to_machine|load_trap_info|register_callback|update_entry|protect_tables)$/,
    on: ['xen-pv'],
    withCallees: true,
    because: 'the Xen PV side of pv_ops and its hypercalls',
  },
  {
    names: /^(?:_*xen_\w+|pvclock_\w+|pci_xen_\w+|(?:asm_)?sysvec_xen_\w+|hvc_\w+|x86_init_xen_\w+)$/,
    on: ['xen-pvh', 'xen-pv'],
    withCallees: true,
    because: 'Xen announces itself to the guest, which takes clock, console, interrupts and hypercalls from it',
  },
  {
    names: /^(?:lguest_\w+|hcall|async_hcall|load_idt_entry|load_gdt_entry)$/,
    on: ['lguest'],
    withCallees: true,
    because: 'the lguest side of pv_ops and its hypercalls',
  },
  {
    names: /^(?:fill_boot_params|ramdisk_address)$/,
    on: ['xen-pv'],
    withCallees: true,
    because: 'nobody prepares a zero page for a PV guest, so it fills its own from start_info',
  },
  {
    names: /^(?:add_e820_entry|pvh_\w+|mem_map_via_hcall|init_pvh_bootparams)$/,
    on: ['pvh', 'xen-pvh', 'multiboot'],
    withCallees: true,
    because: 'nobody prepares a zero page for this path, so the guest fills its own',
  },
  {
    names: /^(?:load_ucode_bsp|get_builtin_firmware|load_\w*ucode\w*|mk_early_pgtbl_32|clear_page\w*|microcode_\w+)$/,
    on: [...NATIVE, 'lguest'],
    withCallees: true,
    because: 'microcode and early tables belong to whoever owns the machine',
  },
  {
    names:
      /^(?:x86_configure_nx|get_cpu_cap|get_cpu_address_sizes|cpuid_\w+|__cpuid|disable_srat|get_cpu_vendor|cpu_has_nx|boot_cpu_has|setup_(?:clear|force)_cpu_cap|(?:do_)?clear_cpu_cap|cpu_detect|init_speculation_control|memblock_reserve|memblock_add_range|memblock_\w+|early_memremap\w*|__early_ioremap|__early_set_fixmap|native_set_fixmap|__native_set_fixmap|apic_\w+|register_\w+|add_preferred_console|__add_preferred_console|static_call_\w+|__static_call_\w+|static_key_\w+|jump_label_\w+|text_poke\w*|arch_static_call_transform|set_page_prot\w*|get_debugreg|setup_switch\w*|switch_\w+|load_percpu_segment|__set_fixmap)$/,
    on: ['xen-pv'],
    withCallees: true,
    because: 'a PV guest must know CPU features, NX and its reservations before it may touch its page tables',
  },
];

/** Functions that a path may leave out where another runs them. */
export const ALLOWED_TO_LACK: readonly AllowedFunctions[] = [
  {
    names: /^x86_64_start_reservations$/,
    on: ['lguest', 'multiboot'],
    because: '32-bit paths meet the others in start_kernel',
  },
  {
    names: /^(?:pv_)?native_\w+$/,
    on: ['lguest', 'xen-pv'],
    withCallees: true,
    because: 'a paravirtual guest has its own operations in that place of pv_ops',
  },
  {
    names: /^(?:default_banner|mach_get_cmos_time|mach_set_cmos_time)$/,
    on: ['xen-pvh', 'xen-pv'],
    withCallees: true,
    because: "a guest of Xen says so in a banner of Xen's, and asks it for the time of day",
  },
  {
    names: /^x86_default_get_root_pointer$/,
    on: ['pvh', 'xen-pvh'],
    because: 'PVH gets the address of the ACPI tables in start_info, and pvh_get_root_pointer tells it',
  },
  {
    names: /^clear_bss$/,
    on: ['lguest'],
    because: 'the 32-bit startup_32 clears .bss in assembly',
  },
];

export type AllowedFields = {
  /** As compare/state.ts names them: "control.cr3", "boot_params.hdr.version", "pv_ops+0x8". */
  fields: RegExp;
  /** The difference is legitimate when a path of one of these kinds is on one of its sides; undefined: between any. */
  between?: readonly PathKind[];
  because: string;
};

const PARAVIRTUAL: readonly PathKind[] = ['xen-pv', 'lguest'];

/** State that may differ where the paths meet. */
export const ALLOWED_FIELDS: readonly AllowedFields[] = [
  {
    fields: /^\.(?:bss|brk)\.garbage$/,
    because: "what lay there before is the loader's; that nothing of it is left is an invariant of its own",
  },
  {
    fields: /^(?:x86_init|x86_platform)\b/,
    between: ['pvh', 'xen-pvh'],
    because: 'PVH gets the address of the ACPI tables in start_info, and hooks in how it is asked for',
  },
  {
    fields: /^early_boot_irqs_disabled/,
    between: ['xen-pv'],
    because: 'xen_start_kernel switches interrupts off, and says so, before start_kernel does',
  },
  { fields: /^control\.(?:cr2|cr3|cr8)$/, because: 'page tables lie where there was room for them' },
  {
    fields: /^(?:cpl|mode|control\.|efer|msrs\.|segments\.|tables\.|paging)/,
    between: PARAVIRTUAL,
    because:
      "a hypervisor owns rings, control registers, descriptor tables and page tables; what a PV guest sees of them is Xen's",
  },
  {
    fields: /^(?:msrs\.(?:TSC_OFFSET|APIC_BASE|KERNEL_GS_BASE)|segments\.(?:ldtr|tr))/,
    because: 'left by the loader, and set again by cpu_init',
  },
  {
    fields: /^segments\./,
    between: ['pvh', 'xen-pvh', 'multiboot'],
    because: 'data segments are flat or null in long mode; each contract starts from its own',
  },
  {
    fields:
      /^(?:pv_ops|pv_info|x86_init|x86_platform|machine_ops|apic\b|smp_ops|x86_cpuinit|x86_apic_ops|x86_hyper\w*)/,
    between: [...PARAVIRTUAL, 'xen-pvh'],
    because: 'the tables through which a kernel reaches its hypervisor',
  },
  {
    fields:
      /^boot_params\.hdr\.(?:version|type_of_loader|hardware_subarch\w*|cmd_line_ptr|code32_start|heap_end_ptr|loadflags|ramdisk_image|setup_\w+|boot_flag|header|jump|realmode_swtch|start_sys_seg|kernel_version|ext_loader_\w+|initrd_addr_max|kernel_alignment|relocatable_kernel|min_alignment|xloadflags|cmdline_size|payload_\w+|pref_address|init_size|handover_offset|kernel_info_offset|root_flags|syssize|ram_size|vid_mode|root_dev)/,
    because: 'who fills boot_params says so in it, and guests that fill it themselves copy no header from a file',
  },
  {
    fields:
      /^boot_params\.(?:e820_\w+|screen_info|acpi_rsdp_addr|alt_mem_k|ext_ramdisk_image|kbd_status|edid_info|eddbuf\w*|edd_\w+|efi_info|sys_desc_table|apm_bios_info|ist_info|hd[01]_info|olpc_\w+|tboot_addr|secure_boot|scratch|_)/,
    because: "memory map and screen come with the loader, Xen PV asks its hypervisor later; scratch is the unpacker's",
  },
  {
    fields:
      /^boot_origin|^early_page_offset|^phys_base|^init_top_pgt|^early_top_pgt|^early_dynamic_pgts|^next_early_pgt|^early_recursion_flag/,
    because: 'says by which way the kernel came in, and where it lies',
  },
  {
    fields:
      /^(?:boot_cpu_data|__supported_pte_mask|__default_kernel_pte_mask|x86_legacy|nx\b|mmu_cr4_features|trampoline_cr4_features)/,
    between: ['xen-pv'],
    because: 'a PV guest has asked for its CPU features already, and must leave the global bit out of page tables',
  },
  {
    fields: /^(?:boot_cpu_data\.(?:x86_capability|loops_per_jiffy)|tables\.idt\.243)\b/,
    between: ['xen-pvh'],
    because:
      'CPUID under Xen has the hypervisor bit, and its clock gives the speed; vector 0xf3 is the one that events come by',
  },
  {
    fields: /^boot_cpu_data\.microcode/,
    between: [...PARAVIRTUAL],
    because: 'microcode belongs to whoever owns the machine',
  },
  {
    fields: /^(?:page_offset_base|vmalloc_base|vmemmap_base)\b/,
    because: 'chosen at random where the decompressor has set KASLR_FLAG, and left alone where there was none',
  },
  {
    fields: /^memblock\.(?:reserved|memory)\.(?:cnt|total_size|max)$/,
    because:
      'the memory map and what is kept of it come with the loader: neighbours join to one piece or do not, so later counts differ',
  },
  {
    fields: /^(?:fixed_percpu_data|__supported_pte_mask|__default_kernel_pte_mask)/,
    between: ['lguest'],
    because: 'a word of a 32-bit kernel is half as long',
  },
  {
    fields: /^cpu_tlbstate/,
    between: [...PARAVIRTUAL],
    because: "a copy of CR4, which is the hypervisor's there; that it is a copy is an invariant of its own",
  },
  {
    fields: /^(?:memblock|early_brk|_brk_end)/,
    between: ['xen-pv'],
    because: 'a PV guest has reserved its start_info, page tables and console pages by now',
  },
  {
    fields:
      /^(?:__?xen|xen_|p2m|lguest|hypercall_page|ring\b|handlers\b|next_tick\b|calls\b|current_root\b|user_root\b|pvh_|HYPERVISOR|traps\b|line\b|next_slot\b|current_cr3\b|tables_protected\b)/,
    because: "a path's own variables",
  },
];
