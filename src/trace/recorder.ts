/** TraceRecorder: what ran, as the engine tells it while a guest runs.
 *
 * Two kinds of knowledge. For every function of a map: whether control ever arrived at its first instruction, when first
 * and from where, how often, and in which order the functions came. And events: what the guest did to control registers,
 * MSRs, descriptor tables and ports, what it asked CPUID and its hypervisor, and which exceptions and interrupts it took.
 * All times are instruction counts, so two runs of one input record the same.
 * An entry is an arrival at a function's first instruction: a loop back to it counts again, and so does an instruction
 * that faults there and is run once more.
 * May not: know the engine; it is told.   Next: trace/function-map.ts. */
import type { FunctionMap } from './function-map.ts';

export const EVENT_KINDS = [
  'cr-write', 'dr-write', 'msr-read', 'msr-write', 'table-load', 'cpuid', 'port-in', 'port-out', 'hypercall', 'int',
  'exception', 'interrupt',
] as const; // biome-ignore format: a list
export type EventKind = (typeof EVENT_KINDS)[number];

export type TraceEvent = {
  kind: EventKind;
  /** Instructions completed before it. */
  at: number;
  /** Of the instruction that did it; for exceptions what was pushed. */
  rip: bigint;
  /** The register, MSR, port, leaf, vector or hypercall; for table-load one of TABLE. */
  number: number;
  /** What was written or answered: CR, MSR and port values; base and limit; subleaf and EAX, EBX, ECX, EDX; error code and
   * CR2; a hypercall's arguments. */
  values: readonly bigint[];
  /** A hypercall's name. */
  name?: string;
};

/** Numbers of table-load events. */
export const TABLE = { GDTR: 0, IDTR: 1, LDTR: 2, TR: 3 } as const;

/** A function's first entry. */
export type FirstEntry = {
  slot: number;
  /** Instructions completed before it. */
  at: number;
  /** Where the entry was called from: the return address on the stack; undefined when it was no call. */
  caller: bigint | undefined;
};

/** Time that passed without instructions. */
export type Sleep = {
  /** Instructions completed before it. */
  at: number;
  ns: number;
};

/** More sleeps than this are joined to the last one: times behind it are still right. */
export const MOST_SLEEPS = 1_000_000;

/** More events than this are counted and not kept. */
export const MOST_EVENTS = 4_000_000;

export class TraceRecorder {
  readonly functions: FunctionMap | undefined;
  /** Whether events are wanted: they cost more than entries. */
  readonly wantsEvents: boolean;
  readonly events: TraceEvent[] = [];
  /** Events beyond MOST_EVENTS. */
  eventsDropped = 0;
  /** In the order in which they happened. */
  readonly entries: FirstEntry[] = [];
  /** By time, one for each place. */
  readonly sleeps: Sleep[] = [];
  /** Set by the engine: entries of each slot so far. */
  readCounts: () => Int32Array = () => new Int32Array(0);

  constructor(options: { functions?: FunctionMap; events?: boolean }) {
    this.functions = options.functions;
    this.wantsEvents = options.events === true;
  }

  /** The first entry of a slot. */
  entered(slot: number, at: number, caller: bigint | undefined): void {
    this.entries.push({ slot, at, caller });
  }

  /** Virtual time jumped, as it does while the guest waits. */
  slept(at: number, ns: number): void {
    const last = this.sleeps.at(-1);
    if (last && (last.at === at || this.sleeps.length >= MOST_SLEEPS)) {
      last.at = at;
      last.ns += ns;
    } else this.sleeps.push({ at, ns });
  }

  event(kind: EventKind, at: number, rip: bigint, number: number, ...values: bigint[]): void {
    if (this.events.length >= MOST_EVENTS) {
      this.eventsDropped++;
      return;
    }
    this.events.push({ kind, at, rip, number, values });
  }

  /** An event that comes with a name. */
  named(kind: EventKind, at: number, rip: bigint, number: number, name: string, values: readonly bigint[]): void {
    if (this.events.length >= MOST_EVENTS) this.eventsDropped++;
    else this.events.push({ kind, at, rip, number, values, name });
  }
}
