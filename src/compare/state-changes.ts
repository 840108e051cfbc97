/** What a path leaves behind at the meeting place, as far as two builds can be compared in it.
 *
 * Addresses move with every build, sizes with every message, and untyped memory may hold either. So of a number that can
 * be one of these only three things count: zero, not zero, or small (and in untyped memory, where counters live, only the
 * first two); a pointer counts by the symbol it points to; fields that describe the file are left out. Beside the state there are the traces of what was done to the machine: which
 * control registers and MSRs were written, which tables loaded, which hypercalls made, each once, however often.
 * Next: compare/changes.ts. */
import type { ObjectRecord, RunRecord } from '../trace/run-record.ts';
import { sourceName } from './names.ts';
import { looksLikeAddress, movedBy, stateTable } from './state.ts';

/** Field → what of its value is comparable. `known` are the functions of the kernel. */
export function comparableState(
  record: RunRecord,
  meeting: string | undefined,
  known: ReadonlySet<string> | undefined,
): Map<string, string> {
  const waypoint = record.waypoints.find(({ name }) => name === meeting);
  const out = new Map<string, string>();
  if (!waypoint) return out;
  const { objects } = waypoint.state;
  for (const [field, value] of stateTable({ ...waypoint.state, objects: objects.filter(isTyped) }, movedBy(record))) {
    if (BUILD_FIELDS.test(field)) continue;
    const text = comparableValue(field, value);
    if (text !== undefined) out.set(field, text);
  }
  for (const { name, fields } of objects.filter((each) => !isTyped(each))) {
    // The compiler's own tables, and statics that it has numbered, are not the same ones in another build.
    if (/\.\d+$/.test(name) || BUILD_FIELDS.test(name)) continue;
    for (const { path, value, symbol } of fields) {
      const target = symbol === undefined ? undefined : sourceName(symbol);
      // A table that has grown has moved its entries, so what counts is that a function is in it.
      if (target !== undefined && known?.has(target)) out.set(`${name}${HOLDS}${target}`, 'yes');
      else if (symbol === undefined && /^0x[0-9a-f]+$/.test(value)) {
        out.set(`${name}${path} of ${fields.length}`, BigInt(value) === 0n ? '0' : 'not 0');
      }
    }
  }
  return out;
}

const isTyped = ({ type, fields }: ObjectRecord): boolean =>
  type !== undefined || fields.every(({ path }) => !/^[+[]/.test(path));

const HOLDS = ' holds ';

/** Fields that are there or not, and that is what they say. */
export const isMembership = (field: string): boolean => field.startsWith('tables.') || field.includes(HOLDS);

/** What a header says of its own file, registers that point to tables, and contents that a clock or a compiler decides. */
const BUILD_FIELDS =
  /^boot_params\.(?:hdr\.(?:init_size|heap_end_ptr|payload_\w+|syssize|kernel_version|setup_sects|jump|pref_address|kernel_info_offset|handover_offset)|scratch|_\w+)|^control\.(?:cr2|cr3|cr8)|^msrs\.TSC_OFFSET|^CSWTCH|^names\b|^\.(?:bss|brk)/;

const SMALL = 0x1_0000n;

function comparableValue(field: string, value: string): string | undefined {
  if (value.startsWith('"')) return field.startsWith('boot_command_line') ? value : undefined;
  if (value.startsWith('&')) return value;
  if (field.startsWith('tables.idt')) return value.replace(/\+0x[0-9a-f]+/, '').replace(/0x[0-9a-f]{6,}/, 'somewhere');
  if (field.startsWith('segments.') || field.startsWith('tables.')) {
    return value
      .replace(/: 0x[0-9a-f]+,/, ':')
      .replace(/0x[0-9a-f]{6,}/g, (text) => (looksLikeAddress(text) ? 'somewhere' : text));
  }
  const number = /^0x[0-9a-f]+/.exec(value)?.[0];
  if (number === undefined || /^(?:cpl|mode|control\.)/.test(field)) return value;
  const amount = BigInt(number);
  return amount < SMALL ? number : 'large';
}

/** Kinds of events that say what was initialised; ports and CPUID follow from how things are looked up and printed. */
const TELLING = new Set(['cr-write', 'dr-write', 'msr-write', 'table-load', 'hypercall']);

/** What was done to the machine before the meeting place: "writes CR4", "loads IDTR". */
export function doings(record: RunRecord, meeting: string | undefined): Set<string> {
  const until = record.waypoints.find(({ name }) => name === meeting)?.at ?? Number.POSITIVE_INFINITY;
  const out = new Set<string>();
  for (const { kind, what, at } of record.events)
    if (at < until && TELLING.has(kind)) out.add(`${VERBS[kind]} ${what}`);
  return out;
}

const VERBS: Record<string, string> = {
  'cr-write': 'writes',
  'dr-write': 'writes',
  'msr-write': 'writes MSR',
  'table-load': 'loads',
  hypercall: 'calls the hypervisor for',
};
