/** A plan for people and machines: its JSON form (also part of the boot report), and rows to print.
 *
 * Addresses, lengths and registers are strings, 0x and lower-case hex, so that no JSON reader rounds them. A write is
 * told by what, at, length and hash, never by its bytes.
 * May not: hash (the caller brings SHA-256), print or decide anything.   Next: machine/board.ts. */
import { assert } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import { BootParams } from '../layout/boot-params.ts';
import { HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../layout/hvm-start-info.ts';
import { MultibootInfo, MultibootMmapEntry, MultibootModule } from '../layout/multiboot.ts';
import { latin1, type PrintedField } from '../layout/struct.ts';
import { StartInfo } from '../layout/xen/start-info.ts';
import type { MachineFrames } from '../memory/machine-frames.ts';
import { e820TypeName } from '../memory/memory-map.ts';
import { GPR_NAMES, SEGMENT_NAMES, type Segment, type VcpuState } from '../x86/vcpu-state.ts';
import type { BootPlan } from './plan.ts';

/** SHA-256 of bytes as lower-case hex; the host provides it. */
export type Sha256 = (bytes: Uint8Array) => string;

export type WriteJson = {
  what: string;
  at: string;
  /** All that is written, the zeroed tail included. */
  length: string;
  /** How much of the end is zeroed. */
  zeroed: string;
  /** Of the first length - zeroed bytes. */
  sha256: string;
  purpose: string;
  from: string;
};
export type SegmentJson = { selector: string; base: string; limit: string; attributes: string };
export type TableJson = { base: string; limit: string };
export type PlanJson = {
  via: string;
  follows: string;
  personality: string;
  memory: { size: string; map: { addr: string; size: string; type: number; name: string }[] };
  cmdline: string;
  unpackedOnHost: boolean;
  writes: WriteJson[];
  claims: { what: string; at: string; length: string; purpose: string }[];
  handover?: { struct: string; at: string; register: string; fields: Record<string, string> };
  bootParamsFilledBy: string;
  /** xen-pv: guest frames by number in the builder's order, and how they lie in the machine. */
  xen?: XenJson;
  entrySymbolHint?: string;
  registers: Record<string, string>;
  segments: Record<string, SegmentJson>;
  tables: Record<'gdtr' | 'idtr', TableJson>;
  notes: string[];
};

export type XenJson = {
  mfn: string;
  nrPages: string;
  segments: { name: string; pfn: string; pages: string; va?: string }[];
  virtBase: string;
  virtEnd: string;
  hypercallPage?: string;
  ports: { store: number; console: number };
  /** Machine frames above the guest's. */
  hypervisor: Record<string, { first: string; count: string }>;
};

export function planJson(plan: BootPlan, sha256: Sha256): PlanJson {
  const { via, follows, personality, state, handover } = plan;
  return {
    via,
    follows,
    personality,
    memory: {
      size: hex(plan.memorySize),
      map: plan.memoryMap.map(({ addr, size, type }) => ({
        addr: hex(addr),
        size: hex(size),
        type,
        name: e820TypeName(type),
      })),
    },
    cmdline: plan.cmdline,
    unpackedOnHost: plan.unpackedKernel !== undefined,
    writes: plan.writes.map(({ what, at, bytes, length, purpose, from }) => ({
      what,
      at: hex(at),
      length: hex(length),
      zeroed: hex(length - bytes.length),
      sha256: sha256(bytes),
      purpose,
      from,
    })),
    claims: plan.claims.map(({ what, at, length, purpose }) => ({ what, at: hex(at), length: hex(length), purpose })),
    handover: handover && {
      struct: handover.struct,
      at: hex(handover.at),
      register: handover.register,
      fields: Object.fromEntries(handoverFields(plan).map(({ name, value }) => [name, value])),
    },
    bootParamsFilledBy: plan.bootParamsFilledBy,
    xen: xenJson(plan),
    entrySymbolHint: plan.entrySymbolHint,
    registers: registersJson(state),
    segments: segmentsJson(state),
    tables: { gdtr: tableJson(state.gdtr), idtr: tableJson(state.idtr) },
    notes: [...plan.notes],
  };
}

/** What a report says of the kernel's file and of the plan. A plan from a snapshot has it in place of the two. */
export type PlanRecord = {
  image: { sha256: string; size: number; [detail: string]: unknown };
  plan: PlanJson;
  bytesWrittenByLoader: number;
  initrdBytes: number;
};

/** "identity", "scrambled:7": as --mfn takes it. */
export function frameOrderName({ order }: MachineFrames): string {
  return typeof order === 'object' ? `scrambled:${order.scrambled}` : order;
}

function xenJson({ xen, frames }: BootPlan): XenJson | undefined {
  if (!xen || !frames) return undefined;
  return {
    mfn: frameOrderName(frames),
    nrPages: hex(frames.nrPages),
    segments: xen.segments.map(({ name, pfn, pages, va }) => ({
      name,
      pfn: hex(pfn),
      pages: hex(pages),
      va: va === undefined ? undefined : hex(va),
    })),
    virtBase: hex(xen.virtBase),
    virtEnd: hex(xen.virtEnd),
    hypercallPage: xen.hypercallPage === undefined ? undefined : hex(xen.hypercallPage),
    ports: xen.ports,
    hypervisor: Object.fromEntries(
      Object.entries(frames.hypervisor).map(([name, { first, count }]) => [
        name,
        { first: hex(first), count: hex(count) },
      ]),
    ),
  };
}

/** General, control and debug registers and named MSRs, in the order people read them. */
export function registersJson(state: VcpuState): Record<string, string> {
  const rows: [string, bigint][] = [
    ['rip', state.rip],
    ['rflags', state.rflags],
    ...GPR_NAMES.map((name): [string, bigint] => [name, state[name]]),
    ...(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const).map((name): [string, bigint] => [name, state[name]]),
    ...[0, 1, 2, 3, 6, 7].map((number, i): [string, bigint] => [`dr${number}`, state.dr[i]]),
    ...Object.entries(state.msrs),
  ];
  return Object.fromEntries(rows.map(([name, value]) => [name, hex(value)]));
}

/** The six segment registers, LDTR and TR with their hidden parts. */
export function segmentsJson(state: VcpuState): Record<string, SegmentJson> {
  const rows: [string, Segment][] = SEGMENT_NAMES.map((name) => [name, state.segments[name]]);
  rows.push(['ldtr', state.ldtr], ['tr', state.tr]);
  return Object.fromEntries(
    rows.map(([name, { selector, base, limit, attributes }]) => [
      name,
      { selector: hex(selector), base: hex(base), limit: hex(limit), attributes: hex(attributes) },
    ]),
  );
}

const tableJson = ({ base, limit }: { base: bigint; limit: number }): TableJson => ({
  base: hex(base),
  limit: hex(limit),
});

/** The structure that the guest is handed, field by field, with what it points to in the same page. Fields that are
 * zero are left out: a loader did not fill them. */
export function handoverFields({ handover, writes }: BootPlan): PrintedField[] {
  if (!handover) return [];
  const page = writes.find(({ what }) => what === handover.struct);
  assert(page && page.at === handover.at, `the plan writes its ${handover.struct}`);
  return { boot_params: bootParams, hvm_start_info: startInfo, multiboot_info: multibootInfo, start_info: xenStartInfo }[handover.struct](page.bytes, page.at)
    .filter(({ value }) => !/^(0|0x0+|""|.*all zero)$/.test(value)); // biome-ignore format: a table, then what is done with it
}

function bootParams(bytes: Uint8Array): PrintedField[] {
  return BootParams.print(BootParams.read(bytes));
}

function startInfo(bytes: Uint8Array, at: number): PrintedField[] {
  const info = HvmStartInfo.read(bytes);
  const modules = listed(HvmModlistEntry, 'modlist', bytes, Number(info.modlist_paddr) - at, info.nr_modules);
  const map = listed(HvmMemmapTableEntry, 'memmap', bytes, Number(info.memmap_paddr) - at, info.memmap_entries);
  return [...HvmStartInfo.print(info), ...modules, ...map];
}

function xenStartInfo(bytes: Uint8Array): PrintedField[] {
  return StartInfo.print(StartInfo.read(bytes));
}

function multibootInfo(bytes: Uint8Array, at: number): PrintedField[] {
  const info = MultibootInfo.read(bytes);
  const entries = info.mmap_length / MultibootMmapEntry.size;
  const name = info.boot_loader_name - at;
  return [
    ...MultibootInfo.print(info),
    ...listed(MultibootModule, 'mods', bytes, info.mods_addr - at, info.mods_count),
    ...listed(MultibootMmapEntry, 'mmap', bytes, info.mmap_addr - at, entries),
    { offset: name, name: '*boot_loader_name', value: JSON.stringify(latin1(bytes.subarray(name))), meaning: '' },
  ];
}

type Table = typeof HvmModlistEntry | typeof HvmMemmapTableEntry | typeof MultibootModule | typeof MultibootMmapEntry;

function listed(table: Table, name: string, bytes: Uint8Array, at: number, count: number): PrintedField[] {
  return Array.from({ length: count }, (_, i) => at + i * table.size).flatMap((offset, i) =>
    table
      .print(table.read(bytes, offset) as never, offset)
      .map((row) => ({ ...row, name: `${name}[${i}].${row.name}` })),
  );
}
