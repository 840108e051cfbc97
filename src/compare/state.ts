/** The state at a waypoint as one flat table: field → value, by names that read well and stay the same.
 *
 * A pointer to a symbol becomes its name, since addresses move from build to build. Scratch registers are not state: each
 * path arrives with what its last instructions left in them. What is zero in raw memory says something, an address does
 * not, so compare/changes.ts asks `looksLikeAddress`. Of a kernel that runs above its linked place (KASLR) addresses in the
 * image are taken back to where they are linked: the distance is chosen, not a difference. Nor is it one where an
 * allocation came to lie, so an address in memory that the kernel gives out says only that it is one.
 * Next: compare/invariants.ts. */
import type { RunRecord, StateRecord } from '../trace/run-record.ts';
import { sourceName } from './names.ts';

export type StateTable = Map<string, string>;

/** `moved` is how far above its linked place the kernel runs. */
export function stateTable(state: StateRecord, moved = 0n): StateTable {
  const table: StateTable = new Map();
  table.set('cpl', String(state.cpl));
  table.set('mode', state.mode);
  for (const [name, value] of Object.entries(state.control)) table.set(`control.${name}`, value);
  for (const [name, value] of Object.entries(state.msrs)) table.set(`msrs.${name}`, value);
  for (const [name, value] of Object.entries(state.segments)) table.set(`segments.${name}`, value);
  for (const [index, text] of Object.entries(state.tables.gdt)) table.set(`tables.gdt.${index}`, text);
  for (const [vector, text] of Object.entries(state.tables.idt)) table.set(`tables.idt.${vector}`, text);
  table.set('paging.kind', state.paging.kind);
  for (const [region, from, to] of regionsOf(state)) {
    const inside = state.paging.mapped.filter((range) => BigInt(range.from) < to && BigInt(range.to) > from);
    table.set(`paging.${region}`, inside.length > 0 ? 'mapped' : 'not mapped');
  }
  for (const { name, fields } of state.objects) {
    const object = sourceName(name);
    for (const { path, value, symbol } of fields) {
      const field =
        path === '' || path.startsWith('+') || path.startsWith('[') ? `${object}${path}` : `${object}.${path}`;
      table.set(field, symbol === undefined ? textOnly(value) : symbolValue(symbol));
    }
  }
  for (const [field, value] of table) table.set(field, field.startsWith('control.') ? value : asLinked(value, moved));
  return table;
}

/** How far above its linked place a run's kernel was. */
export const movedBy = ({ kernel }: RunRecord): bigint => BigInt(kernel.moved?.virtual ?? 0);

const KERNEL_HALF = 0xffff_8000_0000_0000n;
const IMAGE_START = 0xffff_ffff_8000_0000n;
const IMAGE_END = 0xffff_ffff_c000_0000n;

/** A value with what is no difference taken out of it: where the kernel runs, and where its allocations lie. */
export function asLinked(value: string, moved: bigint): string {
  return value.replace(/0x[0-9a-f]{16}\b/g, (text) => {
    const address = BigInt(text);
    if (address >= KERNEL_HALF && address < IMAGE_START) return DYNAMIC;
    return address >= IMAGE_START + moved && address < IMAGE_END ? `0x${(address - moved).toString(16)}` : text;
  });
}

/** What a text says ends with its NUL; whoever copied a whole buffer brought along what lay behind. */
export const textOnly = (value: string): string => value.replace(/^("(?:[^"\\]|\\.)*").+$/, '$1');

/** An offset into a symbol moves when what lies before it grows; which symbol it is stays. */
const symbolValue = (symbol: string): string => `&${sourceName(symbol.replace(/\+0x[0-9a-f]+$/, ''))}`;

/** What stands for an address in memory that the kernel has given out. */
const DYNAMIC = 'an address in its memory';

type Region = readonly [name: string, from: bigint, to: bigint];

/** Regions of the kernel's half that are mapped or not, whatever for: the layout of Linux without KASLR. */
const REGIONS: readonly Region[] = [
  ['kasan shadow', 0xffff_ec00_0000_0000n, 0xffff_fc00_0000_0000n],
  ['struct pages', 0xffff_ea00_0000_0000n, 0xffff_eb00_0000_0000n],
  ['kernel image', 0xffff_ffff_8000_0000n, 0xffff_ffff_c000_0000n],
];
/** page_offset_base, unless the kernel has chosen another (CONFIG_RANDOMIZE_MEMORY, never with KASAN). */
const PAGE_OFFSET = 0xffff_8880_0000_0000n;

function regionsOf({ objects }: StateRecord): readonly Region[] {
  const base = (name: string) => {
    const value = objects.find((object) => object.name === name)?.fields[0]?.value;
    return value !== undefined && /^0x[0-9a-f]+$/.test(value) ? BigInt(value) : undefined;
  };
  const [pageOffset, pages] = [base('page_offset_base'), base('vmemmap_base')];
  if (pageOffset === undefined || pages === undefined || pageOffset === PAGE_OFFSET) return REGIONS;
  return [['struct pages', pages, pages + (1n << 40n)], ...REGIONS.filter(([name]) => name === 'kernel image')];
}

/** Whether a value is the address of something rather than a number: those differ between builds without a reason. */
export function looksLikeAddress(value: string): boolean {
  if (!/^0x[0-9a-f]+$/.test(value)) return false;
  const number = BigInt(value);
  return number >= 0xffff_8000_0000_0000n || (number >= 0xc000_0000n && number <= 0xffff_f000n) || number >= 0x10_0000n;
}
