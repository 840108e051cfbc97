/** Invariants: what must hold on every path at a given place, whatever the others do.
 *
 * Each row of the table names what it asserts, where, and what went wrong in the past when it did not hold. A row applies
 * only where the record has what it speaks of: a kernel without a CR4 shadow is not blamed for it.
 * Follows: Linux arch/x86 as of 6.1.   Next: compare/precedence.ts. */
import type { ObjectRecord, RunRecord, StateRecord, Waypoint } from '../trace/run-record.ts';
import { kindOf } from './allowed.ts';
import { type Evidence, type Finding, thousands } from './findings.ts';
import type { PathView } from './path-view.ts';

/** What is wrong, as "the shadow holds 0x0, CR4 is 0x660"; undefined when it holds; 'unknown' when it does not apply. */
type Verdict = { wrong: string; because?: string } | 'holds' | 'unknown';

type Invariant = {
  name: string;
  /** Completes "on xen-pv ...". */
  says: string;
  /** What its absence did in the past. */
  why: string;
  /** Where it is checked; the meeting place unless others are named. */
  at?: readonly string[];
  check(state: StateRecord, record: RunRecord, waypoint: Waypoint): Verdict;
};

/** Where the first C functions begin; on PVH it is the one that fills boot_params. */
const PVH_C = ['prepare_pvh', 'xen_prepare_pvh'];
const FIRST_C = ['x86_64_start_kernel', 'xen_start_kernel', 'x86_64_start_reservations', 'start_kernel'];

/** Linux Documentation/arch/x86/boot.rst. */
const NEWEST_PROTOCOL = 0x20fn;

/** Vectors that a kernel can meet before it has set up its own: #BR to #VE without those that no longer exist. */
const EARLY_VECTORS = [0, 1, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19];

export const INVARIANTS: readonly Invariant[] = [
  {
    name: 'cr4 shadow',
    says: "the CPU's copy of CR4 is CR4",
    why: 'later updates of CR4 start from the copy, so a copy that was never made switches features off',
    check: (state, record) => {
      const shadow = word(state, 'cpu_tlbstate', 'cr4');
      if (shadow === undefined || kindOf(record.via) === 'lguest') return 'unknown';
      const cr4 = BigInt(state.control.cr4);
      return shadow === cr4 ? 'holds' : { wrong: `the copy in cpu_tlbstate is ${hex(shadow)}, CR4 is ${hex(cr4)}` };
    },
  },
  {
    name: 'gs base',
    says: 'GS points to the per-CPU data before C code runs',
    why: 'code with a stack canary reads it through GS in its first line',
    at: [...PVH_C, ...FIRST_C],
    check: (state, _, { name }) => {
      if (state.mode !== '64-bit') return 'unknown';
      const base = BigInt(state.msrs.GS_BASE ?? state.segments.gs?.match(/: (0x[0-9a-f]+)/)?.[1] ?? '0x0');
      const area = object(state, 'fixed_percpu_data') ?? object(state, 'per_cpu_area');
      const wanted = area === undefined ? undefined : BigInt(area.address);
      if (base === 0n) return { wrong: 'GS base is 0' };
      // PVH may point it to a canary of its own at first.
      if (wanted === undefined || wanted < 0x1000n || wanted === base || PVH_C.includes(name)) return 'holds';
      return { wrong: `GS base is ${hex(base)}, ${area?.name} is at ${hex(wanted)}` };
    },
  },
  {
    name: 'virtual addresses',
    says: 'C code runs where it is linked',
    why: 'absolute addresses in it lead elsewhere, or nowhere ("x86/pvh: Call C code via the kernel virtual mapping")',
    at: [...PVH_C, ...FIRST_C],
    check: (state) => {
      if (state.mode !== '64-bit') return 'unknown';
      return BigInt(state.registers.rip) >= 0xffff_8000_0000_0000n
        ? 'holds'
        : { wrong: `RIP is ${state.registers.rip}` };
    },
  },
  {
    name: 'early traps',
    says: 'exceptions have handlers',
    why: 'the first WARN or fault then ends the guest without a word',
    check: (state, record) => {
      const idt = Object.keys(state.tables.idt);
      if (record.functions.length === 0 || state.tables.idt === undefined) return 'unknown';
      // A personality that cannot say what is registered shows nothing at all on any path.
      if (idt.length === 0 && kindOf(record.via) === 'lguest') return 'unknown';
      const missing = EARLY_VECTORS.filter((vector) => !(String(vector) in state.tables.idt));
      return missing.length === 0
        ? 'holds'
        : { wrong: `${idt.length} vectors have a handler; without one: ${missing.join(', ')}` };
    },
  },
  {
    name: 'interrupts off',
    says: 'interrupts are off',
    why: 'no handler is ready for them, and static calls and lockdep check that they are off',
    at: FIRST_C,
    check: (state, { via }) => {
      if (kindOf(via) === 'xen-pv' || kindOf(via) === 'lguest') return 'unknown'; // the real flag is the hypervisor's
      return (BigInt(state.registers.rflags) & 0x200n) === 0n
        ? 'holds'
        : { wrong: `RFLAGS is ${state.registers.rflags}` };
    },
  },
  {
    name: 'direction flag',
    says: 'string instructions go upwards',
    why: 'the ABI of C says so, and memcpy would write downwards',
    at: FIRST_C,
    check: (state) =>
      (BigInt(state.registers.rflags) & 0x400n) === 0n ? 'holds' : { wrong: `RFLAGS is ${state.registers.rflags}` },
  },
  {
    name: 'command line',
    says: 'boot_command_line is the command line that was given',
    why: 'options that are lost on one path change everything behind them',
    check: (state, { input }) => {
      const found = object(state, 'boot_command_line');
      const text = found && textOf(found);
      if (text === undefined) return 'unknown';
      const given = input.cmdline.slice(0, text.limit);
      return text.value.slice(0, given.length) === given && (given !== '' || text.value === '')
        ? 'holds'
        : { wrong: `it is ${JSON.stringify(text.value)}, given was ${JSON.stringify(input.cmdline)}` };
    },
  },
  {
    name: 'initrd',
    says: "boot_params has the loader's initrd",
    why: 'the kernel then boots without its initrd, or reserves the wrong memory for it',
    check: (state, { input }) => {
      const size = word(state, 'boot_params', 'hdr.ramdisk_size');
      const address = word(state, 'boot_params', 'hdr.ramdisk_image');
      if (size === undefined || address === undefined) return 'unknown';
      const high = word(state, 'boot_params', 'ext_ramdisk_size') ?? 0n;
      const whole = size | (high << 32n);
      // Loaders may round the size up to a page; none may cut it.
      const given = BigInt(input.initrdBytes);
      const rounded = whole >= given && whole - given < 4096n && (given > 0n || whole === 0n);
      if (!rounded)
        return {
          wrong: `ramdisk_size is ${thousands(Number(whole))}, given were ${thousands(input.initrdBytes)} bytes`,
        };
      if (given > 0n && address === 0n && (word(state, 'boot_params', 'ext_ramdisk_image') ?? 0n) === 0n) {
        return { wrong: 'ramdisk_image is 0' };
      }
      return 'holds';
    },
  },
  {
    name: 'boot protocol version',
    says: 'hdr.version says what the loader is',
    why: 'loader checks and sanitising go by it; Xen PV leaves 0, all others have 2.x (2.12 is 0x20c, not 0x212)',
    check: (state, { via, bootParamsFilledBy }) => {
      const version = word(state, 'boot_params', 'hdr.version');
      if (version === undefined || bootParamsFilledBy === 'nobody' || kindOf(via) === 'multiboot') return 'unknown';
      if (kindOf(via) === 'xen-pv')
        return version === 0n ? 'holds' : { wrong: `it is ${hex(version)}, and Xen PV leaves 0` };
      return version >= 0x200n && version <= NEWEST_PROTOCOL
        ? 'holds'
        : { wrong: `it is ${hex(version)}, and the newest protocol is 2.15 (${hex(NEWEST_PROTOCOL)})` };
    },
  },
  {
    name: 'xen domain type',
    says: 'the kernel knows that it runs on Xen',
    why: 'hypercalls and the console are refused until the domain type is set',
    check: (state, { via }) => {
      const kind = kindOf(via);
      const type = word(state, 'xen_domain_type', '');
      if (type === undefined || (kind !== 'xen-pv' && kind !== 'xen-pvh')) return 'unknown';
      return type !== 0n ? 'holds' : { wrong: 'xen_domain_type is 0 (native)' };
    },
  },
  ...(['.bss', '.brk'] as const).map(
    (section): Invariant => ({
      name: `${section} clear`,
      says: `${section} was cleared`,
      why:
        section === '.brk'
          ? 'early page tables come from it, and a hypervisor refuses garbage in them'
          : 'variables without an initial value would start with what was in memory before',
      check: (state) => {
        const garbage = word(state, section, 'garbage');
        if (garbage === undefined) return 'unknown';
        return garbage === 0n
          ? 'holds'
          : { wrong: `${thousands(Number(garbage))} bytes of what was in memory before are left` };
      },
    }),
  ),
];

export type Broken = { name: string; waypoint: string; wrong: string; at: number };

/** The invariants that do not hold on a path, each at the first place where it does not. */
export function brokenInvariants(record: RunRecord, meeting: string | undefined): Broken[] {
  const broken: Broken[] = [];
  for (const { name, at, check } of INVARIANTS) {
    for (const waypoint of record.waypoints) {
      if (!(at ?? [meeting]).includes(waypoint.name)) continue;
      const verdict = check(waypoint.state, record, waypoint);
      if (typeof verdict === 'string') continue;
      broken.push({ name, waypoint: waypoint.name, wrong: verdict.wrong, at: waypoint.at });
      break;
    }
  }
  return broken;
}

export function invariantFindings(views: readonly PathView[], meeting: string | undefined): Finding[] {
  const byName = new Map<string, { via: string; broken: Broken }[]>();
  for (const { via, record } of views) {
    for (const broken of brokenInvariants(record, meeting)) {
      byName.set(broken.name, [...(byName.get(broken.name) ?? []), { via, broken }]);
    }
  }
  return [...byName].map(([name, on]) => {
    const invariant = INVARIANTS.find((each) => each.name === name) as Invariant;
    const paths = on.map(({ via }) => via);
    return {
      id: `invariant/${name.replaceAll(' ', '-')}/${paths.join('+')}`,
      kind: 'invariant',
      paths,
      subject: name,
      title: `on ${paths.join(', ')} it does not hold that ${invariant.says}: ${on[0].broken.wrong}`,
      why: invariant.why,
      waypoint: on[0].broken.waypoint,
      evidence: [
        ...on.map(
          ({ via, broken }): Evidence => ({ path: via, text: `at ${broken.waypoint}: ${broken.wrong}`, at: broken.at }),
        ),
        ...views
          .filter(({ via, record }) => !paths.includes(via) && applies(invariant, record, meeting))
          .map(({ via }): Evidence => ({ path: via, text: 'it holds' })),
      ],
    } satisfies Finding;
  });
}

function applies({ at, check }: Invariant, record: RunRecord, meeting: string | undefined): boolean {
  return record.waypoints.some(
    (waypoint) => (at ?? [meeting]).includes(waypoint.name) && check(waypoint.state, record, waypoint) === 'holds',
  );
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

const object = (state: StateRecord, name: string): ObjectRecord | undefined =>
  state.objects.find((each) => each.name === name);

/** A field as a number; of an object without a type the first word, when the field is all that the object is for. */
function word(state: StateRecord, name: string, path: string): bigint | undefined {
  const found = object(state, name);
  if (!found) return undefined;
  const field =
    found.fields.find((each) => each.path === path) ?? (found.type === undefined ? wholeObject(found) : undefined);
  const text = /^(?:0x[0-9a-f]+|\d+)/.exec(field?.value ?? '')?.[0];
  return text === undefined ? undefined : BigInt(text);
}

/** Raw memory of one word, or of up to eight bytes. */
function wholeObject({ fields }: ObjectRecord): ObjectRecord['fields'][number] | undefined {
  if (fields.length === 1) return fields[0];
  if (fields.length > 8 || fields.some(({ value }) => BigInt(value) > 0xffn)) return undefined;
  const value = fields.reduce((sum, each, index) => sum | (BigInt(each.value) << BigInt(8 * index)), 0n);
  return { path: '', value: hex(value) };
}

/** Text, decoded or as words of raw memory. */
function textOf({ type, fields }: ObjectRecord): { value: string; limit: number } | undefined {
  if (type !== undefined && fields.length === 1 && fields[0].value.startsWith('"')) {
    // What lies behind its end may be said, too.
    const text = /^"(?:[^"\\]|\\.)*"/.exec(fields[0].value)?.[0];
    if (text !== undefined) return { value: JSON.parse(text) as string, limit: 4096 };
  }
  if (type !== undefined || fields.length === 0) return undefined;
  const width =
    fields.length > 1 ? Number(fields[1].path.replace('+', '')) - Number(fields[0].path.replace('+', '')) : 8;
  if (!(width > 0 && width <= 8)) return undefined;
  let value = '';
  for (const field of fields) {
    for (let i = 0, rest = BigInt(field.value); i < width; i++, rest >>= 8n) {
      const byte = Number(rest & 0xffn);
      if (byte === 0) return { value, limit: 4096 };
      value += String.fromCharCode(byte);
    }
  }
  return { value, limit: value.length };
}
