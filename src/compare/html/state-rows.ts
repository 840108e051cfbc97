/** State rows: the state of all paths at the meeting place, field by field, with what each difference means.
 *
 * A row is equal, differs, or differs with a known reason: the list of legitimate differences (compare/allowed.ts), with
 * which the findings were made. What no comparison looks at, because each path leaves its own there, has its reason here.
 * May not: print.   Next: compare/html/state-view.ts. */
import type { ObjectRecord, StateRecord } from '../../trace/run-record.ts';
import { ALLOWED_FIELDS, kindOf } from '../allowed.ts';
import { sourceName } from '../names.ts';
import { asLinked, textOnly } from '../state.ts';

/** One path's state; undefined when it never arrived. */
export type PathState = {
  via: string;
  sha256: string;
  state: StateRecord | undefined;
  /** How far above its linked place the kernel runs. */
  moved?: bigint;
};

export type Cell = { text: string; symbol?: string | undefined } | undefined;
export type StateRow = {
  field: string;
  /** In the order of the paths. */
  cells: Cell[];
  kind: 'same' | 'differs' | 'legitimate';
  /** Why a difference is legitimate. */
  because: string | undefined;
};
export type StateSection = { id: string; title: string; note?: string; rows: StateRow[] };

const SCRATCH = 'each path arrives with what its last instructions left there';
const MOVED = 'the same, as linked: KASLR has moved the kernel, and allocations lie where there was room';
const BEHIND = 'the same text: what lies behind its end was copied along';
const OTHER_BUILD = 'raw memory of another build: its layout is its own';

export function stateSections(paths: readonly PathState[]): StateSection[] {
  const section = (id: string, title: string, values: (state: StateRecord) => Record<string, string>, prefix: string) => ({
    id,
    title,
    rows: rowsOf(paths, (state) => new Map(Object.entries(values(state)).map(([key, text]) => [key, { text }])), prefix),
  });
  const sections: StateSection[] = [
    section('mode', 'Mode and control registers', (s) => ({ mode: s.mode, cpl: String(s.cpl), ...s.control }), 'control.'),
    section('registers', 'General registers', (s) => s.registers, 'registers.'),
    section('msrs', 'Model-specific registers', (s) => s.msrs, 'msrs.'),
    section('segments', 'Segments', (s) => s.segments, 'segments.'),
    section('gdt', 'GDT', (s) => ({ gdtr: s.tables.gdtr, ...s.tables.gdt }), 'tables.gdt.'),
    section('idt', 'IDT, or traps registered with the hypervisor', (s) => ({ idtr: s.tables.idtr, ...s.tables.idt }), 'tables.idt.'),
    section('paging', 'Paging', pagingFields, 'paging.'),
  ];
  for (const name of objectNames(paths)) {
    const rows = rowsOf(paths, (state) => objectCells(state.objects.find((o) => o.name === name)), `${sourceName(name)}.`);
    const object = paths.flatMap(({ state }) => state?.objects.filter((o) => o.name === name) ?? [])[0];
    const note = object.type === undefined ? 'raw memory, its type is not known' : object.type;
    sections.push({ id: `object-${name}`, title: name, note, rows });
  }
  return sections.filter(({ rows }) => rows.length > 0).map(shortened);
} // biome-ignore format: a table

/** Of a very long object the fields that are equal everywhere make room first. */
const MOST_ROWS = 500;

function shortened(section: StateSection): StateSection {
  const { rows, note } = section;
  if (rows.length <= MOST_ROWS) return section;
  const order = ['differs', 'legitimate', 'same'];
  const kept = new Set([...rows].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind)).slice(0, MOST_ROWS));
  const left = `${rows.length - MOST_ROWS} fields left out`;
  return {
    ...section,
    rows: rows.filter((row) => kept.has(row)),
    note: note === undefined ? left : `${note}, ${left}`,
  };
}

/** boot_params and the tables of pointers first: they are what people look for. */
const FIRST = ['boot_params', 'boot_command_line', 'pv_ops', 'x86_init', 'x86_platform'];

function objectNames(paths: readonly PathState[]): string[] {
  const names = new Set(paths.flatMap(({ state }) => state?.objects.map(({ name }) => name) ?? []));
  const rank = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return [...names].sort((a, b) => rank(a) - rank(b));
}

function objectCells(object: ObjectRecord | undefined): Map<string, NonNullable<Cell>> {
  return new Map((object?.fields ?? []).map(({ path, value, symbol }) => [path === '' ? 'value' : path, { text: value, symbol }])); // biome-ignore format: one line
}

const MOST_RANGES = 48;

function pagingFields({ paging }: StateRecord): Record<string, string> {
  const ranges = paging.mapped.slice(0, MOST_RANGES).map(({ from, to, rights }) => [`${from} to ${to}`, rights]);
  const more = paging.mapped.length - ranges.length;
  return {
    kind: paging.kind,
    root: paging.root,
    ...Object.fromEntries(ranges),
    ...(more > 0 && { 'and more': `${more} ranges that are not shown` }),
  };
}

function rowsOf(
  paths: readonly PathState[],
  read: (state: StateRecord) => Map<string, NonNullable<Cell>>,
  prefix: string,
): StateRow[] {
  const tables = paths.map(({ state }) => (state === undefined ? undefined : read(state)));
  const fields = [...new Set(tables.flatMap((table) => [...(table?.keys() ?? [])]))].sort(naturally);
  return fields.map((field) => {
    const cells = tables.map((table) => table?.get(field));
    return { field, cells, ...judge(fieldName(prefix, field), cells, paths) };
  });
}

/** As compare/state.ts names it. */
function fieldName(prefix: string, field: string): string {
  if (field === 'mode' || field === 'cpl') return field;
  if (field === 'gdtr' || field === 'idtr') return `tables.${field}`;
  if (field === 'value') return prefix.slice(0, -1);
  return /^[+[]/.test(field) ? prefix.slice(0, -1) + field : prefix + field;
}

function judge(name: string, cells: readonly Cell[], paths: readonly PathState[]): Pick<StateRow, 'kind' | 'because'> {
  const raw = paths.flatMap((path, i) => (path.state === undefined ? [] : [{ ...path, value: meaningOf(cells[i]) }]));
  const differ = (some: readonly { value: string }[]) => new Set(some.map(({ value }) => value)).size > 1;
  if (!differ(raw)) return { kind: 'same', because: undefined };
  const here = raw.map((each) => {
    const value = name.startsWith('control.') ? each.value : asLinked(textOnly(each.value), each.moved ?? 0n);
    return { ...each, value };
  });
  if (!differ(here)) return { kind: 'legitimate', because: raw[0].value.startsWith('"') ? BEHIND : MOVED };
  if (name.startsWith('registers.') && name !== 'registers.rsp') return { kind: 'legitimate', because: SCRATCH };
  if (name.startsWith('registers.')) return { kind: 'legitimate', because: 'each path comes with its own stack' };
  if (/^tables\.[gi]dtr$/.test(name)) return { kind: 'legitimate', because: 'tables lie where each path has put them' };
  if (/^paging\.(?:root|0x|and more)/.test(name)) return { kind: 'legitimate', because: 'page tables lie where there was room for them, and map what each path needs' }; // biome-ignore format: one line
  const reasons: string[] = [];
  let rest = here;
  for (const { fields, between, because } of ALLOWED_FIELDS) {
    if (!fields.test(name)) continue;
    const kept = between === undefined ? [] : rest.filter(({ via }) => !between.includes(kindOf(via)));
    if (kept.length < rest.length) reasons.push(because);
    rest = kept;
    if (!differ(rest)) return { kind: 'legitimate', because: reasons.join('; ') };
  }
  // Raw memory means the same in one build only; a path that lacks an object has nothing to compare.
  const present = rest.filter(({ value }) => value !== ABSENT);
  if (!name.startsWith('tables.') && !differ(present)) return { kind: 'legitimate', because: 'not everywhere there' };
  if (/[+[]/.test(name) && !differ(present.filter(({ sha256 }) => sha256 === present[0].sha256))) {
    return { kind: 'legitimate', because: OTHER_BUILD };
  }
  return { kind: 'differs', because: undefined };
}

const ABSENT = '';

/** A pointer is the symbol that it points to: addresses move from build to build. */
function meaningOf(cell: Cell): string {
  if (cell === undefined) return ABSENT;
  return cell.symbol === undefined ? cell.text : `&${sourceName(cell.symbol.replace(/\+0x[0-9a-f]+$/, ''))}`;
}

/** Numbers in names by their value: rax before r8 stays as it is, +0x8 before +0x10, vector 2 before 10. Names that begin
 * with a letter keep the order in which they came. */
function naturally(a: string, b: string): number {
  const [x, y] = [a, b].map((name) => /^\+?(0x[0-9a-f]{1,16}|\d{1,15})(?=$| )/.exec(name)?.[1]);
  if (x === undefined || y === undefined) return x === y ? 0 : x === undefined ? -1 : 1;
  return BigInt(x) < BigInt(y) ? -1 : BigInt(x) > BigInt(y) ? 1 : 0;
}
