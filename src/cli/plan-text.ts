/** The printed form of a plan.
 *
 * Made for 80 columns and more; what is long wraps in its last column.   Next: cli/plan-diff.ts. */
import { basename } from 'node:path';
import { formatSize, hex } from '../base/numbers.ts';
import { frameOrderName, handoverFields, segmentsJson } from '../boot/describe.ts';
import type { BootPlan } from '../boot/index.ts';
import { span } from '../boot/plan.ts';
import { e820TypeName } from '../memory/memory-map.ts';
import { CR0, RFLAGS, SEGMENT } from '../x86/constants.ts';
import { GPR_NAMES } from '../x86/vcpu-state.ts';
import { type Style, textTable } from './text-table.ts';

export function planText(plan: BootPlan, width: number, style: Style): string {
  const { handover, state, claims, notes, memoryMap, writes, xen, frames } = plan;
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
  if (xen && frames) {
    add(`In the builder’s order, from ${hex(xen.virtBase)} to ${hex(xen.virtEnd)}`, [
      ['PFN', 'pages', 'first MFN', 'mapped at', 'what', 'purpose'],
      ...xen.segments.map(({ name, pfn, pages, va, purpose }) => [
        hex(pfn), hex(pages), hex(frames.mfnOf(pfn)), va === undefined ? 'not mapped' : hex(va), name, purpose,
      ]),
    ]); // biome-ignore format: a table
    add('Xen’s own machine frames, above the guest’s', [
      ['MFN', 'frames', 'what', 'why'],
      ...Object.entries(frames.hypervisor).map(([name, { first, count, why }]) => [hex(first), hex(count), name, why]),
    ]);
  }
  if (claims.length > 0) {
    add('Kept free for the guest', claims.map(({ at, length, what, purpose }) => [hex(at), hex(length), what, purpose])); // biome-ignore format: one line
  }
  if (handover) {
    add(`${handedOver(plan).replace(' in ', ', in ')}: what is not zero`, [
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

export function kernelFacts({ image }: BootPlan): string[][] {
  const version = image.format === 'bzimage' ? image.kernelVersion : undefined;
  return [['kernel', `${image.name} (${image.format})`], ...(version ? [['version', version]] : [])];
}

/** Columns are for what differs; where the file lies stands above them. */
function shortName({ image }: BootPlan, from: string): string {
  return from.replace(image.name, basename(image.name));
}

export function facts(plan: BootPlan): string[][] {
  const { image, state, frames } = plan;
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
    ['entered in', enteredIn(plan)],
    ...(frames
      ? [
          [
            'frames',
            `${frameOrderName(frames)}: ${hex(frames.nrPages)} of the guest, ${hex(frames.end - frames.nrPages)} of Xen above`,
          ],
        ]
      : []),
    ['handed over', handedOver(plan)],
    [
      'boot_params',
      { loader: 'filled by the loader', guest: 'filled by the guest', nobody: 'none' }[plan.bootParamsFilledBy],
    ],
  ];
}

/** "long mode, ring 3, paging on, interrupts on" */
function enteredIn({ state: { segments, cpl, cr0, rflags } }: BootPlan): string {
  const mode = segments.cs.attributes & SEGMENT.L ? 'long mode' : '32-bit protected mode';
  const paging = cr0 & BigInt(CR0.PG) ? 'paging on' : 'paging off';
  return `${mode}, ring ${cpl}, ${paging}, interrupts ${rflags & BigInt(RFLAGS.IF) ? 'on' : 'off'}`;
}

function handedOver({ handover }: BootPlan): string {
  if (!handover) return 'nothing';
  const { struct, at, register, virtual } = handover;
  return `${struct} at ${hex(at)} in ${register}${virtual === undefined ? '' : ` (${hex(virtual)})`}`;
}

/** In the order of the plan's printed form; zeros are the reader's to drop. */
export function registers({ state }: BootPlan): string[][] {
  const names = ['rip', 'rflags', ...GPR_NAMES, 'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const;
  return [
    ...names.map((name) => [name, hex(state[name])]),
    ['gdtr', `${hex(state.gdtr.base)}, limit ${hex(state.gdtr.limit)}`],
    ['idtr', `${hex(state.idtr.base)}, limit ${hex(state.idtr.limit)}`],
    ['dr6, dr7', `${hex(state.dr[4])}, ${hex(state.dr[5])}`],
  ];
}
