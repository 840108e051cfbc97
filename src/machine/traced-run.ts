/** tracedRun: boots a plan and writes down what ran, as a RunRecord.
 *
 * The run stops at waypoints, each at its first arrival, and the machine's state is captured there; functions and events
 * are told by the engine all along. The guest cannot tell: stops are between instructions, and captures touch nothing.
 * A path that never comes to a waypoint simply has none of that name.
 * May not: judge.   Next: compare/line-up.ts. */
import { BootError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import type { BootPlan } from '../boot/plan.ts';
import type { ElfImage } from '../image/kernel-image.ts';
import { type Btf, readBtf } from '../symbols/btf.ts';
import { type FunctionStarts, functionStarts } from '../symbols/functions.ts';
import { isMovedCode, type KernelPlace } from '../symbols/kernel-place.ts';
import type { SymbolSource } from '../symbols/symbol-list.ts';
import { readSymtab } from '../symbols/symtab.ts';
import { kernelVariable } from '../symbols/variables.ts';
import { type FunctionList, FunctionMap } from '../trace/function-map.ts';
import { TABLE, type TraceEvent, TraceRecorder } from '../trace/recorder.ts';
import { type EventRun, type FunctionRun, RECORD_SCHEMA, type RunRecord, type Waypoint } from '../trace/run-record.ts';
import { VECTOR_NAMES } from '../x86/constants.ts';
import { MSRS } from '../x86/msr.ts';
import { type CapturedObject, captureState } from './capture.ts';
import type { ExitReason } from './exit-reason.ts';
import { Leftovers } from './leftovers.ts';
import { type AsyncRunOptions, Machine, type MachineOptions, type SymbolTable } from './machine.ts';
import { codeOf, physicalRanges, placeName, WaypointWatch } from './waypoint-watch.ts';

/** Names of a kernel, and the ELF file that they belong to. */
export type TracedKernel = {
  source: RunRecord['kernel']['symbols'];
  symbols?: SymbolSource | undefined;
  elf?: ElfImage | undefined;
};

export type TracedRunOptions = Omit<AsyncRunOptions, 'until'> &
  Omit<MachineOptions, 'symbols' | 'tracer'> & {
    kernel: TracedKernel;
    /** Symbols or addresses beside the usual ones; those must exist. */
    waypoints?: readonly (string | bigint)[];
    /** Stop here instead of at the end. */
    until?: string | bigint;
    /** Variables to capture beside the usual ones; those must exist. */
    objects?: readonly string[];
    /** Is given the machine before its first instruction: to show its console, to type. */
    onMachine?: (machine: Machine) => void;
    /** Told of each waypoint when it was captured, before the guest goes on. */
    onWaypoint?: (name: string, machine: Machine) => void;
    /** How the machine is made (default: Machine.create). */
    create?: typeof Machine.create;
    /** Registers, ports, MSRs, exceptions, hypercalls as well. Default: true. */
    events?: boolean;
    /** The host hashes the kernel's file. */
    sha256: (bytes: Uint8Array) => string;
  };

export type TracedRun = { record: RunRecord; exit: ExitReason; machine: Machine };

/** The places where Linux's entry paths come by and meet, in that order; those that a kernel lacks do not count. */
export const USUAL_WAYPOINTS = [
  'startup_64', 'startup_32', 'startup_xen', 'pvh_start_xen', 'lguest_entry',
  'x86_64_start_kernel', 'xen_start_kernel', 'i386_start_kernel',
  'x86_64_start_reservations', 'start_kernel', 'setup_arch', 'rest_init',
] as const; // biome-ignore format: a list

/** Variables that say how far and how a path has set the kernel up. */
const USUAL_OBJECTS = [
  'boot_params', 'boot_command_line', 'pv_ops', 'pv_info', 'x86_init', 'x86_platform', 'machine_ops', 'xen_domain_type',
  'boot_cpu_data', 'cpu_tlbstate', 'phys_base', '__supported_pte_mask', '__default_kernel_pte_mask', 'early_boot_irqs_disabled',
  'saved_command_line', 'initrd_start', 'initrd_end', 'memblock', 'mmu_cr4_features', 'trampoline_cr4_features',
  'page_offset_base', 'vmalloc_base', 'vmemmap_base',
] as const; // biome-ignore format: a list

const LARGEST_USUAL = 4096;
/** A small kernel's own variables are captured one and all, up to this size each. */
const LARGEST_OTHER = 512;
const SMALL_KERNEL = 1000;

export async function tracedRun(plan: BootPlan, options: TracedRunOptions): Promise<TracedRun> {
  const { kernel, waypoints = [], until, objects = [], events = true, sha256, ...rest } = options;
  const { symbols } = kernel;
  const starts = symbols && functionStarts(symbols);
  const ranges = physicalRanges(plan, kernel.elf);
  const map = starts && new FunctionMap(withCode(starts, kernel.elf), ranges, movableOf(symbols) !== undefined);
  const recorder = new TraceRecorder({ functions: map, events });
  const machine = await (options.create ?? Machine.create)(plan, { ...rest, symbols, tracer: recorder });

  const wanted = new Map<string, bigint>();
  for (const name of USUAL_WAYPOINTS) {
    const address = symbols?.address(name);
    if (address !== undefined) wanted.set(name, address);
  }
  for (const place of waypoints) wanted.set(placeName(place), addressOf(machine, place, '--waypoint'));
  if (until !== undefined) wanted.set(placeName(until), addressOf(machine, until, '--until'));
  const watch = new WaypointWatch(machine, wanted, kernel.elf);
  const readKernel = (address: bigint, length: number) => watch.read(address, length);
  const chosen = chooseObjects(kernel, objects, plan);
  let captured: readonly CapturedObject[] = chosen;
  const reached: Waypoint[] = [];
  const counts: Int32Array[] = [];
  let leftovers: Leftovers | undefined;
  const capture = (name: string): void => {
    const state = captureState(machine, captured);
    if (leftovers) state.objects.push(...leftovers.objects(readKernel));
    reached.push({ name, at: machine.instructions, ns: machine.virtualTimeNs, state });
    counts.push(recorder.readCounts());
  };

  const pass = (here: bigint): void => {
    for (const name of watch.passed(here)) {
      capture(name);
      options.onWaypoint?.(name, machine);
    }
  };

  /** A kernel that unpacked itself is about to run: now it is known where it does. */
  let enteredAt: number | undefined;
  const onKernel = (place: KernelPlace): readonly bigint[] => {
    const { virtual, physical } = place;
    enteredAt = machine.instructions;
    watch.move(place);
    const there = ranges.map(({ paddr, ...range }) => ({ ...range, paddr: paddr + physical }));
    map?.place(virtual, there, (found, linked) => isMovedCode(found, linked, virtual));
    captured = chosen.map((object) => (object.perCpu ? object : { ...object, address: object.address + virtual }));
    leftovers ??= new Leftovers(machine, readKernel);
    pass(machine.vcpu.state().rip); // the entry itself may be a waypoint
    return watch.ahead();
  };

  const restoredAfter = machine.instructions;
  options.onMachine?.(machine);
  // A machine that goes on from a saved state has its kernel running already: what it left uncleared nobody knows then.
  const goesOn = machine.instructions > 0;
  if (goesOn && machine.symbols && machine.kernelPlace) {
    leftovers = new Leftovers({ symbols: undefined }, readKernel);
    onKernel(machine.kernelPlace);
  } else if (!movableOf(symbols) && !goesOn) leftovers = new Leftovers(machine, readKernel);
  capture('entry');
  const last = until === undefined ? undefined : placeName(until);
  const { signal, onSlice, interactive, maxInstructions, timeoutSeconds } = rest;
  const exit = await machine.run({
    ...{ signal, onSlice, interactive, maxInstructions, timeoutSeconds, until },
    stopAt: watch.ahead(),
    ...(movableOf(symbols) && { onKernel }),
    onPlace: (at) => {
      pass(at);
      return last !== undefined && !watch.has(last) ? undefined : watch.ahead();
    },
  });
  if (exit.kind === 'until') pass(machine.vcpu.state().rip);
  const { kind, code, detail } = exit;
  capture('end');
  const outcome = machine.outcome();
  const { image } = plan;
  const { recorded } = plan;
  // Where a guest unpacks itself, its unpacker runs first: at addresses that are the kernel's later, without a name.
  const unpacksItself =
    image.format === 'bzimage' && image.payload && !plan.unpackedKernel && !recorded?.plan.unpackedOnHost;
  const ownFrom = unpacksItself ? (enteredAt ?? recorder.entries[0]?.at ?? Number.POSITIVE_INFINITY) : 0;
  const place = enteredAt === undefined ? undefined : machine.kernelPlace;
  const record: RunRecord = {
    schema: RECORD_SCHEMA,
    via: plan.via,
    kernel: {
      name: image.name,
      version: image.format === 'bzimage' ? image.kernelVersion : undefined,
      sha256: recorded?.image.sha256 ?? sha256(image.bytes),
      symbols: kernel.source,
      ...(place && {
        moved: { virtual: hex(place.virtual), physical: signedHex(place.physical), at: enteredAt ?? 0 },
      }),
    },
    input: {
      cmdline: plan.cmdline,
      memory: plan.memorySize,
      initrdBytes: recorded?.initrdBytes ?? plan.writes.find(({ what }) => what === 'initrd')?.bytes.length ?? 0,
    },
    ...(restoredAfter > 0 && { restoredAfter }),
    bootParamsFilledBy: plan.bootParamsFilledBy,
    exit: { reason: kind, code, detail },
    instructions: machine.instructions,
    virtualTimeNs: machine.virtualTimeNs,
    sleeps: recorder.sleeps,
    waypoints: reached,
    functions: functionRuns(recorder, machine, counts),
    events: recorder.events.map((event) => eventRun(event, event.at < ownFrom ? undefined : machine)),
    eventsDropped: recorder.eventsDropped,
    console: outcome.console,
  };
  return { record, exit, machine };
}

const movableOf = (symbols: (SymbolSource & SymbolTable) | undefined) => symbols?.movable;

const signedHex = (value: bigint): string => (value < 0n ? `-${hex(-value)}` : hex(value));

function addressOf(machine: Machine, place: string | bigint, option: string): bigint {
  if (typeof place === 'bigint') return place;
  const address = machine.symbols?.address(place);
  if (address !== undefined) return address;
  throw new BootError({
    what: `there is no symbol ${JSON.stringify(place)}`,
    where: option,
    why: `${machine.plan.image.name} has ${machine.symbols ? 'symbols, without this name' : 'no symbols'}`,
    fix: `give an address (${option} 0x...), or name a file with symbols: --symbols FILE`,
  });
}

function withCode(starts: FunctionStarts, elf: ElfImage | undefined): FunctionList {
  return {
    addresses: starts.addresses,
    nameAt: (slot) => starts.nameAt(slot),
    codeAt: (slot) => elf && codeOf(elf, starts.addresses[slot]),
  };
}

function chooseObjects(
  { symbols, elf }: TracedKernel,
  asked: readonly string[],
  { image }: BootPlan,
): CapturedObject[] {
  if (!symbols) return [];
  const own = elf ? readSymtab(elf) : [];
  const sizes = new Map(own.filter(({ size }) => size > 0n).map(({ address, size }) => [address, Number(size)]));
  const sizeAt = (address: bigint) => Math.min(LARGEST_USUAL, sizes.get(address) ?? toNext(symbols, address));
  const lastPerCpu = symbols.perCpuCount > 0 ? symbols.addressAt(symbols.perCpuCount - 1) : -1n;
  const chosen = new Map<string, CapturedObject>();
  for (const name of [...USUAL_OBJECTS, ...asked]) {
    const address = symbols.address(name);
    const perCpu = address !== undefined && address <= lastPerCpu;
    if (address !== undefined) chosen.set(name, { name, address, size: sizeAt(address), perCpu });
    else if (asked.includes(name)) {
      throw new BootError({
        what: `there is no variable ${JSON.stringify(name)}`,
        where: '--object',
        why: `${image.name} has symbols, without this name`,
        fix: 'check the spelling; static variables may have a suffix',
      });
    }
  }
  if (own.length < SMALL_KERNEL) {
    for (const { name, address, size, kind } of own) {
      const bytes = Number(size);
      if (kind !== 'object' || bytes === 0 || bytes > LARGEST_OTHER || chosen.has(name)) continue;
      chosen.set(name, { name, address, size: bytes });
    }
  }
  if (elf) addTypes(chosen, symbols, readBtf(elf));
  return [...chosen.values()].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}

/** What the kernel's own types say of its variables. */
function addTypes(chosen: ReadonlyMap<string, CapturedObject>, symbols: SymbolSource, btf: Btf | undefined): void {
  if (!btf) return;
  for (const object of chosen.values()) {
    const variable = kernelVariable(symbols, btf, object.name);
    if (variable && variable.size <= LARGEST_USUAL) object.typed = { btf, variable };
  }
}

/** Up to the next symbol, where no table tells a size. */
function toNext(symbols: SymbolSource, address: bigint): number {
  let next = address;
  for (let index = symbols.perCpuCount; index < symbols.count; index++) {
    next = symbols.addressAt(index);
    if (next > address) break;
  }
  return Math.max(1, Number(next - address));
}

function functionRuns(recorder: TraceRecorder, machine: Machine, counts: readonly Int32Array[]): FunctionRun[] {
  const list = recorder.functions?.functions;
  if (!list) return [];
  const total = counts[counts.length - 1];
  return recorder.entries.map(({ slot, at, caller }) => ({
    name: list.nameAt(slot),
    address: hex(list.addresses[slot]),
    first: at,
    caller: caller === undefined ? undefined : callerName(machine, caller),
    count: total[slot],
    counts: counts.map((each) => each[slot]),
  }));
}

/** By the CALL and not by what follows: behind a call that never returns the next function begins. */
function callerName(machine: Machine, returnAddress: bigint): string {
  const found = machine.symbols?.lookup(returnAddress - 1n);
  return found ? `${found.name}+${hex(found.offset + 1n)}` : hex(returnAddress);
}

const MSR_NAMES = new Map<number, string>(MSRS.map(({ number, name }) => [number, name]));
const TABLE_NAMES = Object.fromEntries(Object.entries(TABLE).map(([name, number]) => [number, name]));

function eventRun(event: TraceEvent, machine: Machine | undefined): EventRun {
  const { kind, at, rip, number, values } = event;
  return {
    kind,
    at,
    rip: hex(rip),
    where: machine?.symbolise(rip),
    number,
    what: whatOf(event),
    values: values.map((value) => hex(value)),
  };
}

function whatOf({ kind, number, name }: TraceEvent): string {
  if (name !== undefined) return name;
  switch (kind) {
    case 'cr-write':
      return `CR${number}`;
    case 'dr-write':
      return `DR${number}`;
    case 'msr-read':
    case 'msr-write':
      return MSR_NAMES.get(number) ?? `MSR ${hex(number)}`;
    case 'table-load':
      return TABLE_NAMES[number] ?? String(number);
    case 'cpuid':
      return `leaf ${hex(number)}`;
    case 'port-in':
    case 'port-out':
      return `port ${hex(number)}`;
    case 'exception':
      return VECTOR_NAMES[number] ?? `exception ${number}`;
    case 'hypercall':
      return `hypercall ${number}`;
    default:
      return `vector ${hex(number)}`;
  }
}
