/** Names of functions, as two builds of one kernel share them.
 *
 * A compiler may keep a specialised copy of a function (foo.constprop.0), split off its cold part (foo.cold), drop unused
 * arguments (foo.isra.0) or number a static variable (calls.0); the numbers change from build to build. For a comparison
 * all of them are the function that its author wrote. Beside that, some functions are only tools: whoever copies memory or
 * prints a line has not initialised anything, so the first time that memcpy runs says nothing about a path.
 * May not: know any kernel; the table below holds names that every kernel of this family uses alike.
 * Next: compare/path-view.ts. */

const SUFFIX =
  /(?:\.(?:isra|constprop|part|cold|llvm|lto_priv|localalias|ipa_cp|resolver|specialized)(?:\.\d+)*|\.\d+)+$/;

/** The name in the source. */
export function sourceName(name: string): string {
  return name.replace(SUFFIX, '').replace(/^__pfx_|^__cfi_/, '');
}

/** "xen_start_kernel+0x15" → "xen_start_kernel"; undefined for a bare address. */
export function functionOf(place: string | undefined): string | undefined {
  if (place === undefined || place.startsWith('0x')) return undefined;
  return sourceName(place.replace(/\+0x[0-9a-f]+$/, ''));
}

/** Tools: string and memory functions, allocators, printing, arithmetic, address conversion, checks that a compiler inserts. */
const TOOLS: readonly RegExp[] = [
  /^_*(?:mem(?:cpy|set|move|cmp|chr|scan|chr_inv|set(?:16|32|64)|cpy_\w+|move_\w+|set_\w+)|bcmp)(?:_erms|_orig)?$/,
  /^_*str(?:n?len|n?cmp|n?casecmp|n?cpy|[ln]?cpy|scpy|n?cat|lcat|r?chr|nchr|n?str|sep|s?pn|cspn|pbrk|im|skip_spaces)$/,
  /^_*(?:find_(?:first|next|last)_\w*bit|bitmap_\w+|hweight\w+|div64_\w+|do_div|hex_field|align4)$/,
  /^_*(?:v|early_)?(?:sn?|sc|vsc|vs|vsn)?printk?f?$|^_*v?printk(?:_emit|_store|_default|_deferred|_sprint)?$|^console_unlock$/,
  /^put(?:s|char|_padded|_hex|_decimal)?$|^flush$|^number$|^format_decode$|^pointer$/,
  /^(?:native_|xen_|lguest_)?console_write$|^put_in_ring$/,
  /^__(?:asan|kasan|tsan|ubsan|sanitizer)_\w+$|^kasan_check_\w+$|^check_memory_region$|^__fentry__$|^__stack_chk_fail$/,
  /^_*(?:clear|copy)_page(?:_\w+)?$|^_*get_(?:zeroed_page|free_pages)(?:_noprof)?$/,
  /^__virt_addr_valid$|^virt_to_(?:phys|page|mfn)$|^__phys_addr\w*$|^phys_to_virt$|^early_va$|^low_memory$/,
  /^_*raw_(?:spin|read|write)_\w*(?:lock|unlock|trylock)\w*$|^mutex_(?:un)?lock\w*$|^__rcu_read_(?:un)?lock$/,
  /^cmdline_(?:has|value)$|^(?:__)?cmdline_find_option\w*$|^is_word_of$|^planted$|^note_plants$/,
];

export function isTool(name: string): boolean {
  return TOOLS.some((pattern) => pattern.test(name));
}
