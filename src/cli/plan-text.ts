/** The printed form of a plan, and of two plans side by side.
 *
 * Made for 80 columns and more; what is long wraps in its last column.   Next: cli/boot.ts. */
import { basename } from 'node:path';
import { formatSize, hex } from '../base/numbers.ts';
import { handoverFields, segmentsJson } from '../boot/describe.ts';
import type { BootPlan } from '../boot/index.ts';
import { span } from '../boot/plan.ts';
import { e820TypeName } from '../memory/memory-map.ts';
import { GPR_NAMES } from '../x86/vcpu-state.ts';
import { type Style, textTable } from './text-table.ts';

export function planText(plan: BootPlan, width: number, style: Style): string {
  const { handover, state, claims, notes, memoryMap, writes } = plan;
  const sections: string[] = [];
  const add = (title: string, rows: readonly (readonly string[])[]) =>
    sections.push(`${style.heading(title)}\n${textTable(rows, width)}`);
  add('Plan', [...kernelFacts(plan), ...facts(plan)]);
  add('Memory map', memoryMap.map(({ addr, size, type }) => [span(addr, size), formatSize(size), e820TypeName(type)])); // biome-ignore format: one line
  add('Writes', [
    ['at', 'length', 'what', 'from', 'purpose'],
    ...writes.map(({ at, length, what, from, purpose }) => [
      hex(at),
      hex(length),
      what,
      shortName(plan, from),
      purpose,
    ]),
  ]);
  if (claims.length > 0) {
    add('Kept free for the guest', claims.map(({ at, length, what, purpose }) => [hex(at), hex(length), what, purpose])); // biome-ignore format: one line
  }
  if (handover) {
    add(`${handover.struct} at ${hex(handover.at)}, in ${handover.register}: what is not zero`, [
      ['offset', 'field', 'value', 'meaning'],
      ...handoverFields(plan).map(({ offset, name, value, meaning }) => [hex(offset, 3), name, value, meaning]),
    ]);
  }
  add('First registers', [...registers(plan).filter(([, value]) => value !== '0x0'), ['all others', '0x0']]);
  add('First segments', [
    ['', 'selector', 'base', 'limit', 'attributes'],
    ...Object.entries(segmentsJson(state)).map(([name, { selector, base, limit, attributes }]) => [name, selector, base, limit, attributes]),
  ]); // biome-ignore format: a table
  if (notes.length > 0) add('Notes', notes.map((note) => [note])); // biome-ignore format: one line
  return `${sections.join('\n\n')}\n`;
}

/** Three columns: what, and its value in either plan. A row that differs begins with `*`; `-` stands for "not there".
 * Nothing wraps here: a row is one line, so that tools which look at lines can look at it too. */
export function planDiffText(a: BootPlan, b: BootPlan, style: Style): string {
  const rows: string[][] = [['', '', a.via, b.via]];
  const compare = (title: string, of: (plan: BootPlan) => string[][]) => {
    const [left, right] = [a, b].map((plan) => new Map(of(plan).map(([name, ...value]) => [name, value.join(' ')])));
    const names = [...new Set([...left.keys(), ...right.keys()])];
    if (names.length > 0) rows.push(['', '', '', ''], ['', title, '', '']);
    for (const name of names) {
      const [x, y] = [left.get(name) ?? '-', right.get(name) ?? '-'];
      if (x !== '0x0' || y !== '0x0') rows.push([x === y ? '' : '*', name, x, y]);
    }
  };
  const oneKernel = a.image.name === b.image.name; // a built-in guest has an image for each path
  if (!oneKernel) compare('KERNEL', kernelFacts);
  compare('PLAN', facts);
  compare('MEMORY MAP', ({ memoryMap }) => memoryMap.map(({ addr, size, type }) => [`${e820TypeName(type)} at ${hex(addr)}`, formatSize(size)])); // biome-ignore format: one line
  compare('WRITES', ({ writes }) => writes.map(({ what, at, length }) => [what, span(at, length)]));
  compare('KEPT FREE', ({ claims }) => claims.map(({ what, at, length }) => [what, span(at, length)]));
  // Fields of different structs have nothing in common, whatever they are called.
  const prefix = ({ handover }: BootPlan) => (a.handover?.struct === b.handover?.struct ? '' : `${handover?.struct}.`);
  compare('HANDED OVER', (plan) => handoverFields(plan).map(({ name, value }) => [`${prefix(plan)}${name}`, value]));
  compare('FIRST REGISTERS (others 0x0)', registers);
  compare('FIRST SEGMENTS', ({ state }) =>
    Object.entries(segmentsJson(state)).map(([name, { selector, base, limit, attributes }]) => [name, `${selector}: ${base}, ${limit}, ${attributes}`]),
  ); // biome-ignore format: a table
  const marked = (cell: string, row: number) =>
    rows[row][0] === '*' ? style.bad(cell) : rows[row][0] === '' && row === 0 ? style.heading(cell) : cell;
  const above = oneKernel ? `${textTable(kernelFacts(a), Number.POSITIVE_INFINITY)}\n\n` : '';
  return `${above}${textTable(rows, Number.POSITIVE_INFINITY, marked)}\n`;
}

function kernelFacts({ image }: BootPlan): string[][] {
  const version = image.format === 'bzimage' ? image.kernelVersion : undefined;
  return [['kernel', `${image.name} (${image.format})`], ...(version ? [['version', version]] : [])];
}

/** Columns are for what differs; where the file lies stands above them. */
function shortName({ image }: BootPlan, from: string): string {
  return from.replace(image.name, basename(image.name));
}

function facts(plan: BootPlan): string[][] {
  const { image, handover, state } = plan;
  const unpackedBy =
    image.format !== 'bzimage' ? 'nobody, it is not packed' : plan.unpackedKernel ? 'the host' : 'the guest';
  return [
    ['via', plan.via],
    ['follows', plan.follows],
    ['memory', formatSize(plan.memorySize)],
    ['command line', JSON.stringify(plan.cmdline)],
    ['unpacked by', unpackedBy],
    ['personality', plan.personality],
    ['entry', `${hex(state.rip)}${plan.entrySymbolHint ? ` (${plan.entrySymbolHint})` : ''}`],
    ['handed over', handover ? `${handover.struct} at ${hex(handover.at)} in ${handover.register}` : 'nothing'],
    [
      'boot_params',
      { loader: 'filled by the loader', guest: 'filled by the guest', nobody: 'none' }[plan.bootParamsFilledBy],
    ],
  ];
}

/** In the order of the plan's printed form; zeros are the reader's to drop. */
function registers({ state }: BootPlan): string[][] {
  const names = ['rip', 'rflags', ...GPR_NAMES, 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const;
  return [
    ...names.map((name) => [name, hex(state[name])]),
    ['gdtr', `${hex(state.gdtr.base)}, limit ${hex(state.gdtr.limit)}`],
    ['idtr', `${hex(state.idtr.base)}, limit ${hex(state.idtr.limit)}`],
    ['dr6, dr7', `${hex(state.dr[4])}, ${hex(state.dr[5])}`],
  ];
}
