/** The state of a machine at one place, in the words of a RunRecord: registers, tables, paging, named objects of memory.
 *
 * Everything is read without touching anything, so a capture changes no trace. What is long is cut by rule and not by
 * luck: at most so many ranges, gates and bytes, always the first ones.
 * May not: judge; what may differ is compare's business.   Next: machine/waypoint-watch.ts. */
import { hex } from '../base/numbers.ts';
import { BootParams } from '../layout/boot-params.ts';
import type { Btf } from '../symbols/btf.ts';
import { decode } from '../symbols/decode.ts';
import { perCpuAddress } from '../symbols/per-cpu.ts';
import type { KernelVariable } from '../symbols/variables.ts';
import type { ObjectRecord, StateRecord } from '../trace/run-record.ts';
import { CR0, CR4, EFER, SYSTEM_TYPE } from '../x86/constants.ts';
import { gateOf, segmentOf, splitDescriptor } from '../x86/descriptor.ts';
import { GPR_NAMES, SEGMENT_NAMES, type Segment, type VcpuState } from '../x86/vcpu-state.ts';
import type { Machine } from './machine.ts';
import { mappedRanges, XEN_SLOTS } from './mapped-ranges.ts';

/** A variable of the guest, by name. */
export type CapturedObject = {
  name: string;
  address: bigint;
  size: number;
  /** The address is an offset into a CPU's own area (symbols/per-cpu.ts). */
  perCpu?: boolean;
  /** Its C type, when the kernel's own types tell it. */
  typed?: { btf: Btf; variable: KernelVariable };
};

const MOST_DESCRIPTORS = 64;

export function captureState(machine: Machine, objects: readonly CapturedObject[]): StateRecord {
  const state = machine.vcpu.state();
  const { cs } = state.segments;
  const mode = (cs.attributes & 0x2000) !== 0 ? '64-bit' : (cs.attributes & 0x4000) !== 0 ? '32-bit' : '16-bit';
  const registers = Object.fromEntries(GPR_NAMES.map((name) => [name, hex(state[name])]));
  const segments = Object.fromEntries(SEGMENT_NAMES.map((name) => [name, segmentText(state.segments[name])]));
  const msrs = Object.entries(state.msrs).map(([name, value]) => [name, hex(value)] as const);
  return {
    cpl: state.cpl,
    mode,
    registers: { ...registers, rip: hex(state.rip), rflags: hex(state.rflags) },
    control: {
      cr0: hex(state.cr0),
      cr2: hex(state.cr2),
      cr3: hex(state.cr3),
      cr4: hex(state.cr4),
      cr8: hex(state.cr8),
      efer: hex(state.efer),
    },
    msrs: { FS_BASE: hex(state.segments.fs.base), GS_BASE: hex(state.segments.gs.base), ...Object.fromEntries(msrs) },
    segments: { ...segments, ldtr: segmentText(state.ldtr), tr: segmentText(state.tr) },
    tables: {
      gdtr: `${hex(state.gdtr.base)}, limit ${hex(state.gdtr.limit)}`,
      idtr: `${hex(state.idtr.base)}, limit ${hex(state.idtr.limit)}`,
      gdt: descriptors(machine, state),
      idt: gates(machine, state),
    },
    paging: paging(machine, state),
    objects: objects
      .map((object) => captureObject(machine, object, mode === '64-bit' ? 8 : 4))
      .filter((o) => o !== undefined),
  };
}

const segmentText = ({ selector, base, limit, attributes }: Segment): string =>
  `${hex(selector)}: ${attributes === 0 ? 'null' : `${hex(base)}, ${hex(limit)}, ${hex(attributes)}`}`;

function descriptors(machine: Machine, { gdtr, efer }: VcpuState): Record<string, string> {
  const long = (efer & BigInt(EFER.LMA)) !== 0n;
  const out: Record<string, string> = {};
  const count = Math.min(MOST_DESCRIPTORS, (gdtr.limit + 1) >> 3);
  for (let index = 0; index < count; index++) {
    const quad = quadAt(machine, gdtr.base + BigInt(index * 8));
    if (quad === undefined || quad === 0n) continue;
    const segment = segmentOf(index * 8, splitDescriptor(quad));
    let { base } = segment;
    // In long mode a TSS or LDT takes two entries, and the second has the upper half of its base.
    if (long && isSystemSegment(segment.attributes)) {
      const upper = quadAt(machine, gdtr.base + BigInt(++index * 8)) ?? 0n;
      base |= (upper & 0xffff_ffffn) << 32n;
      out[hex(index * 8 - 8)] = `${hex(base)}, ${hex(segment.limit)}, ${hex(segment.attributes)}`;
      continue;
    }
    out[hex(index * 8)] = `${hex(base)}, ${hex(segment.limit)}, ${hex(segment.attributes)}`;
  }
  return out;
}

/** S clear, and type LDT, TSS or busy TSS (SDM Vol. 3, table 3-2). */
const isSystemSegment = (attributes: number): boolean =>
  (attributes & 0x10) === 0 && [2, 9, 11].includes(attributes & 0xf);

/** Gates of the IDT, or what the guest has registered with its hypervisor. */
function gates(machine: Machine, { idtr, efer }: VcpuState): Record<string, string> {
  const name = (address: bigint) => machine.symbolise(address) ?? hex(address);
  const registered = machine.registeredTraps();
  if (registered) {
    const rows = [...registered].map(([vector, { address, dpl, kind }]) => [
      String(vector),
      `${name(address)}, ${kind}, DPL ${dpl}`,
    ]);
    return Object.fromEntries(rows);
  }
  const long = (efer & BigInt(EFER.LMA)) !== 0n;
  const bytes = long ? 16 : 8;
  const out: Record<string, string> = {};
  for (let vector = 0; vector < 256 && (vector + 1) * bytes <= idtr.limit + 1; vector++) {
    const at = idtr.base + BigInt(vector * bytes);
    const quad = quadAt(machine, at);
    const top = long ? quadAt(machine, at + 8n) : 0n;
    if (quad === undefined || top === undefined) continue;
    const gate = gateOf(splitDescriptor(quad), Number(top & 0xffff_ffffn));
    if (!gate.present) continue;
    const kind = gate.type === SYSTEM_TYPE.INTERRUPT_GATE ? 'interrupt gate' : `gate type ${hex(gate.type)}`;
    out[vector] = `${name(gate.offset)}, ${kind}, DPL ${gate.dpl}${gate.ist ? `, IST ${gate.ist}` : ''}`;
  }
  return out;
}

function quadAt(machine: Machine, address: bigint): bigint | undefined {
  const bytes = machine.peek(address, 8);
  return bytes && new DataView(bytes.buffer).getBigUint64(0, true);
}

function paging(machine: Machine, { cr0, cr3, cr4, efer }: VcpuState): StateRecord['paging'] {
  if ((cr0 & BigInt(CR0.PG)) === 0n) return { kind: 'off', root: '0x0', mapped: [] };
  const long = (efer & BigInt(EFER.LMA)) !== 0n;
  const pae = (cr4 & BigInt(CR4.PAE)) !== 0n;
  const kind = long ? '4-level' : pae ? 'PAE' : '2-level';
  const skip = machine.plan.personality === 'xen-pv' ? XEN_SLOTS : undefined;
  const mapped = mappedRanges((at, length) => machine.physical(at, length), kind, cr3, skip);
  return {
    kind,
    root: hex(cr3),
    mapped: mapped.map(({ from, to, rights }) => ({ from: hex(from), to: hex(to), rights })),
  };
}

/** An object by fields where its type is known, by words where it is not. A word that is the address of a function or a
 * variable says so. */
function captureObject(
  machine: Machine,
  { name, address: linked, size, perCpu, typed }: CapturedObject,
  width: 4 | 8,
): ObjectRecord | undefined {
  let address = linked;
  if (perCpu || typed?.variable.perCpu) {
    const { base } = machine.vcpu.state().segments.gs;
    address = perCpuAddress(address, base);
  }
  const bytes = machine.peek(address, size);
  if (bytes === undefined) return undefined;
  const where = { name, address: hex(address) };
  if (name === 'boot_params' && size === BootParams.size) {
    const rows = BootParams.print(BootParams.read(bytes));
    return { ...where, type: 'struct boot_params', fields: rows.map(({ name: path, value }) => ({ path, value })) };
  }
  if (typed) return captureTyped(machine, address, typed);
  const view = new DataView(bytes.buffer);
  const fields: ObjectRecord['fields'] = [];
  if (looksLikeText(bytes)) {
    return { ...where, type: 'char []', fields: [{ path: '', value: JSON.stringify(textOf(bytes)) }] };
  }
  for (let at = 0; at + width <= size; at += width) {
    const value = width === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
    const symbol = pointee(machine, value, width);
    fields.push({ path: `+${hex(at)}`, value: hex(value), ...(symbol !== undefined && { symbol }) });
  }
  for (let at = size - (size % width); at < size; ) {
    const part = [4, 2, 1].find((bytes) => at + bytes <= size) as 1 | 2 | 4;
    const value = part === 4 ? view.getUint32(at, true) : part === 2 ? view.getUint16(at, true) : bytes[at];
    fields.push({ path: `+${hex(at)}`, value: hex(value) });
    at += part;
  }
  return { ...where, type: undefined, fields };
}

/** Every field by its C path; padding is left out. */
function captureTyped(
  machine: Machine,
  address: bigint,
  { btf, variable: { name, type, size } }: NonNullable<CapturedObject['typed']>,
): ObjectRecord | undefined {
  const bytes = machine.peek(address, size);
  if (bytes === undefined) return undefined;
  const rows = decode(btf, bytes, type, { everything: true }).filter(({ kind }) => kind !== 'padding');
  const fields = rows.map(({ path, value, text, bits }) => {
    if (value === undefined) return { path, value: text };
    const symbol = pointee(machine, BigInt.asUintN(bits, value), bits === 32 ? 4 : 8);
    return { path, value: hex(BigInt.asUintN(bits, value)), ...(symbol !== undefined && { symbol }) };
  });
  return { name, address: hex(address), type: typeof type === 'string' ? type : btf.declaration(type), fields };
}

/** What a word points to, if it can be an address of a kernel: sizes and flags look like physical ones. */
function pointee(machine: Machine, value: bigint, width: 4 | 8): string | undefined {
  const isKernels = width === 8 ? value >= 0xffff_8000_0000_0000n : value >= 0xc000_0000n && value <= 0xffff_ffffn;
  return isKernels ? machine.symbolise(value) : undefined;
}

/** Printable characters, at least four, up to the first NUL; zeros behind it, or anything when it is text long enough. */
function looksLikeText(bytes: Uint8Array): boolean {
  const end = bytes.indexOf(0);
  if (end < 4) return false;
  return bytes.subarray(0, end).every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 10);
}

const textOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
