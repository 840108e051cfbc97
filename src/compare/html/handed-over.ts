/** What each loader hands over, thing by thing: zero page, start_info and hvm_start_info in one table.
 *
 * The structures say the same in different words, so a row is a subject, and each path's cell names the fields of its own
 * structure. What no row speaks of stands below, under its own name.
 * May not: read memory; fields come printed.   Next: compare/html/state-rows.ts. */

export type HandedOver = {
  via: string;
  /** "boot_params", "start_info", "hvm_start_info", "multiboot_info". */
  struct: string;
  /** Those that are not zero, as they are printed. */
  fields: readonly { name: string; value: string; meaning?: string }[];
};

/** A subject, and the fields that speak of it; a name ending in [ stands for all members of that list. */
const SUBJECTS: readonly { what: string; fields: Readonly<Record<string, readonly string[]>> }[] = [
  { what: 'known by', fields: { boot_params: ['hdr.header', 'hdr.boot_flag', 'hdr.version'], start_info: ['magic'], hvm_start_info: ['magic', 'version'], multiboot_info: ['flags'] } },
  { what: 'whose platform', fields: { boot_params: ['hdr.type_of_loader', 'hdr.hardware_subarch'], start_info: ['flags'], hvm_start_info: ['flags'], multiboot_info: ['*boot_loader_name'] } },
  { what: 'memory', fields: { boot_params: ['e820_entries', 'e820_table['], start_info: ['nr_pages'], hvm_start_info: ['memmap_entries', 'memmap_paddr', 'memmap['], multiboot_info: ['mem_lower', 'mem_upper', 'mmap_length'] } },
  { what: 'command line', fields: { boot_params: ['hdr.cmd_line_ptr', 'ext_cmd_line_ptr', 'hdr.cmdline_size'], start_info: ['cmd_line'], hvm_start_info: ['cmdline_paddr'], multiboot_info: ['cmdline'] } },
  { what: 'initrd', fields: { boot_params: ['hdr.ramdisk_image', 'hdr.ramdisk_size', 'ext_ramdisk_image', 'ext_ramdisk_size'], start_info: ['mod_start', 'mod_len'], hvm_start_info: ['nr_modules', 'modlist_paddr', 'modlist['], multiboot_info: ['mods_count', 'mods['] } },
  { what: 'ACPI', fields: { boot_params: ['acpi_rsdp_addr'], hvm_start_info: ['rsdp_paddr'] } },
  { what: 'screen', fields: { boot_params: ['screen_info.'], start_info: ['console.dom0.'], multiboot_info: ['framebuffer_'] } },
  { what: 'page tables', fields: { start_info: ['pt_base', 'nr_pt_frames'] } },
  { what: 'frames of the machine', fields: { start_info: ['mfn_list', 'first_p2m_pfn', 'nr_p2m_frames'] } },
  { what: 'shared with the hypervisor', fields: { start_info: ['shared_info'] } },
  { what: 'console', fields: { start_info: ['console.domU.mfn', 'console.domU.evtchn'] } },
  { what: 'store', fields: { start_info: ['store_mfn', 'store_evtchn'] } },
]; // biome-ignore format: a table

/** The row of what no subject speaks of. */
export const REST = 'beside that';

export type HandoverRow = { what: string; cells: { name: string; value: string; meaning?: string }[][] };

export function handoverRows(pages: readonly HandedOver[]): HandoverRow[] {
  const told = pages.map(() => new Set<string>());
  const rows = SUBJECTS.map(({ what, fields }) => ({
    what,
    cells: pages.map((page, i) => {
      const wanted = fields[page.struct] ?? [];
      const found = page.fields.filter(({ name }) => wanted.some((w) => (/[[._]$/.test(w) ? name.startsWith(w) : name === w)));
      for (const { name } of found) told[i].add(name);
      return found;
    }),
  }));
  const rest = pages.map((page, i) => page.fields.filter(({ name }) => !told[i].has(name)));
  return [...rows, { what: REST, cells: rest }].filter(({ cells }) => cells.some((cell) => cell.length > 0));
} // biome-ignore format: a table and one line per thought
