/** Two plans side by side: what each loader hands over, row by row.
 *
 * A row that differs begins with `*`; `-` stands for "not there". Loaders with structures of their own say the same
 * things in other words (an initrd is `hdr.ramdisk_image` to one and `mod_start` to the other), so what means the same
 * stands in one row first, each side in the names of its own header; the rest follows. Nothing wraps
 * here: a row is one line, so that tools which look at lines can look at it too.
 * May not: judge which is right.   Next: cli/boot.ts. */
import { formatSize, hex } from '../base/numbers.ts';
import { handoverFields, segmentsJson } from '../boot/describe.ts';
import type { BootPlan } from '../boot/index.ts';
import { span } from '../boot/plan.ts';
import { e820TypeName, ramBytes } from '../memory/memory-map.ts';
import { facts, kernelFacts, registers } from './plan-text.ts';
import { type Style, textTable } from './text-table.ts';

/** What is not zero in a structure: the printed value by the field's name. */
type Fields = Map<string, string>;

export function planDiffText(a: BootPlan, b: BootPlan, style: Style): string {
  const rows: string[][] = [['', '', a.via, b.via]];
  const compare = (title: string, of: (plan: BootPlan) => string[][]) => {
    const [left, right] = [a, b].map((plan) => new Map(of(plan).map(([name, ...value]) => [name, value.join(' ')])));
    const names = [...new Set([...left.keys(), ...right.keys()])];
    if (names.length > 0) rows.push(['', '', '', ''], ['', title, '', '']);
    for (const name of names) {
      const [x, y] = [left.get(name) ?? '-', right.get(name) ?? '-'];
      const isNothing = (value: string) => value === '0x0' || value === NOTHING;
      if (!isNothing(x) || !isNothing(y)) rows.push([x === y ? '' : '*', name, x, y]);
    }
  };
  const oneKernel = a.image.name === b.image.name; // a built-in guest has an image for each path
  if (!oneKernel) compare('KERNEL', kernelFacts);
  compare('PLAN', facts);
  const sameStruct = a.handover?.struct === b.handover?.struct;
  if (!sameStruct) compare('WHAT THE GUEST IS TOLD', (plan) => wording(plan).map(({ what, text }) => [what, text])); // biome-ignore format: one line
  compare('MEMORY MAP', ({ memoryMap }) => memoryMap.map(({ addr, size, type }) => [`${e820TypeName(type)} at ${hex(addr)}`, formatSize(size)])); // biome-ignore format: one line
  compare('WRITES', ({ writes }) => writes.map(({ what, at, length }) => [what, span(at, length)]));
  compare('KEPT FREE', ({ claims }) => claims.map(({ what, at, length }) => [what, span(at, length)]));
  // Fields of different structs have nothing in common, whatever they are called.
  const prefix = ({ handover }: BootPlan) => (sameStruct ? '' : `${handover?.struct}.`);
  const said = (plan: BootPlan) =>
    sameStruct ? new Set<string>() : new Set(wording(plan).flatMap(({ names }) => names));
  const title = sameStruct ? 'HANDED OVER' : 'HANDED OVER BESIDE THAT';
  compare(title, (plan) => {
    const elsewhere = said(plan);
    return handoverFields(plan).flatMap(({ name, value }) =>
      elsewhere.has(name) ? [] : [[`${prefix(plan)}${name}`, value]],
    );
  });
  compare('FIRST REGISTERS (others 0x0)', registers);
  compare('FIRST SEGMENTS', ({ state }) =>
    Object.entries(segmentsJson(state)).map(([name, { selector, base, limit, attributes }]) => [name, `${selector}: ${base}, ${limit}, ${attributes}`]),
  ); // biome-ignore format: a table
  const isTitle = (row: number) => rows[row][2] === '' && rows[row][1] !== '';
  const marked = (cell: string, row: number, column: number) => {
    if (row === 0 || isTitle(row)) return style.heading(cell);
    return rows[row][0] === '*' && column === 0 ? style.bad(cell) : cell;
  };
  const above = oneKernel ? `${textTable(kernelFacts(a), Number.POSITIVE_INFINITY)}\n\n` : '';
  const lead = headline(a, b)
    .map((line) => `  ${style.heading(line)}\n`)
    .join('');
  return `${lead}${lead && '\n'}${above}${textTable(rows, Number.POSITIVE_INFINITY, marked)}\n`;
}

/** The first thing to know about two loaders. */
function headline(a: BootPlan, b: BootPlan): string[] {
  if (a.bootParamsFilledBy === b.bootParamsFilledBy) return [];
  const by = { loader: 'its loader fills it', guest: 'the guest fills it by itself', nobody: 'there is none' };
  const from = ({ bootParamsFilledBy, handover }: BootPlan) =>
    bootParamsFilledBy === 'guest' && handover ? `, from ${handover.struct}` : '';
  return [a, b].map((plan) => `boot_params under ${plan.via}: ${by[plan.bootParamsFilledBy]}${from(plan)}.`);
}

/** A loader that does not speak of something. */
const NOTHING = 'nothing';

/** What a loader says about one thing: in these fields, and what they come to. */
type Words = { names: string[]; means?: string };

function wording(plan: BootPlan): { what: string; names: string[]; text: string }[] {
  const { handover } = plan;
  if (!handover) return [];
  const fields: Fields = new Map(handoverFields(plan).map(({ name, value }) => [name, value]));
  return SUBJECTS.map(({ what, words }) => {
    const { names: all, means } = words[handover.struct]?.(fields, plan) ?? { names: [] };
    const names = all.filter((name) => fields.has(name));
    const said = names.map((name) => `${name} ${fields.get(name)}`).join(', ');
    return { what, names, text: names.length === 0 ? NOTHING : means === undefined ? said : `${said} (${means})` };
  });
}

const sizesOf = (fields: Fields, list: string) => [...fields.keys()].filter((name) => name.startsWith(`${list}[`) && name.endsWith('.size')); // biome-ignore format: one line
const lineOf = ({ cmdline }: BootPlan) => JSON.stringify(cmdline);
const ramOf = ({ memoryMap }: BootPlan) => formatSize(ramBytes(memoryMap));
const inBytes = (length: number | undefined) => (length === undefined ? undefined : `${length} bytes`);
const initrdOf = ({ writes }: BootPlan) => writes.find(({ what }) => what === 'initrd');
/** A machine frame and the guest's number for it. */
const frameOf = ({ xen }: BootPlan, which: 'consolePfn' | 'storePfn') => xen && `PFN ${hex(xen[which])}`;

type Struct = NonNullable<BootPlan['handover']>['struct'];
type Subject = { what: string; words: Partial<Record<Struct, (fields: Fields, plan: BootPlan) => Words>> };
/** What loaders say, and the fields of each structure in which they do. */
const SUBJECTS: Subject[] = [
  { what: 'known by', words: {
    boot_params: () => ({ names: ['hdr.header', 'hdr.version'] }),
    start_info: () => ({ names: ['magic'] }),
    hvm_start_info: () => ({ names: ['magic', 'version'] }),
    multiboot_info: () => ({ names: ['flags'] }) } },
  { what: 'whose platform', words: {
    boot_params: () => ({ names: ['hdr.type_of_loader', 'hdr.hardware_subarch'] }),
    start_info: (_, { xen }) => ({ names: ['flags'], means: xen && 'an ordinary domain' }),
    hvm_start_info: () => ({ names: ['flags'] }),
    multiboot_info: () => ({ names: ['*boot_loader_name'] }) } },
  { what: 'how much memory', words: {
    boot_params: (fields, plan) => ({ names: ['e820_entries', ...sizesOf(fields, 'e820_table')], means: ramOf(plan) }),
    start_info: (_, plan) => ({ names: ['nr_pages'], means: ramOf(plan) }),
    hvm_start_info: (fields, plan) => ({ names: ['memmap_entries', ...sizesOf(fields, 'memmap')], means: ramOf(plan) }),
    multiboot_info: () => ({ names: ['mem_lower', 'mem_upper', 'mmap_length'] }) } },
  { what: 'command line', words: {
    boot_params: (_, plan) => ({ names: ['hdr.cmd_line_ptr'], means: lineOf(plan) }),
    start_info: () => ({ names: ['cmd_line'] }),
    hvm_start_info: (_, plan) => ({ names: ['cmdline_paddr'], means: lineOf(plan) }),
    multiboot_info: (_, plan) => ({ names: ['cmdline'], means: lineOf(plan) }) } },
  { what: 'initrd lies at', words: {
    boot_params: () => ({ names: ['hdr.ramdisk_image'] }),
    start_info: (_, plan) => ({ names: ['mod_start'], means: meaningOfModStart(plan) }),
    hvm_start_info: () => ({ names: ['modlist[0].paddr'] }),
    multiboot_info: () => ({ names: ['mods[0].mod_start'] }) } },
  { what: 'initrd has', words: {
    boot_params: (_, plan) => ({ names: ['hdr.ramdisk_size'], means: inBytes(initrdOf(plan)?.length) }),
    start_info: (_, plan) => ({ names: ['mod_len'], means: inBytes(initrdOf(plan)?.length) }),
    hvm_start_info: (_, plan) => ({ names: ['modlist[0].size'], means: inBytes(initrdOf(plan)?.length) }),
    multiboot_info: () => ({ names: ['mods[0].mod_end'] }) } },
  { what: 'page tables', words: {
    start_info: (_, { state }) => ({ names: ['pt_base', 'nr_pt_frames'], means: `CR3 ${hex(state.cr3)}` }) } },
  { what: 'frames of the machine', words: {
    start_info: () => ({ names: ['mfn_list', 'first_p2m_pfn', 'nr_p2m_frames'] }) } },
  { what: 'page shared with the host', words: {
    start_info: () => ({ names: ['shared_info'], means: 'machine address' }) } },
  { what: 'console', words: {
    start_info: (_, plan) => ({ names: ['console.domU.mfn', 'console.domU.evtchn'], means: frameOf(plan, 'consolePfn') }) } },
  { what: 'store', words: {
    start_info: (_, plan) => ({ names: ['store_mfn', 'store_evtchn'], means: frameOf(plan, 'storePfn') }) } },
]; // biome-ignore format: a table

function meaningOfModStart(plan: BootPlan): string | undefined {
  const initrd = initrdOf(plan);
  const segment = plan.xen?.segments.find(({ name }) => name === 'initrd');
  if (!initrd || !segment) return undefined;
  return segment.va === undefined ? `PFN, ${hex(initrd.at)}, not mapped` : `virtual, ${hex(initrd.at)}`;
}
