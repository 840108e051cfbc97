/** Sightings: where in a run something shows that a rule names.
 *
 * A run's functions and events are indexed once, so that many rules over millions of events stay cheap: events come
 * down to one row for each thing that was touched, with its first time and how often.
 * May not: judge.   Next: compare/rules/evaluate.ts. */
import { TABLE } from '../../trace/recorder.ts';
import type { EventRun, FunctionRun, RunRecord } from '../../trace/run-record.ts';
import { findMsr } from '../../x86/msr.ts';
import { fitsFunction, fitsName, type Pattern } from './pattern.ts';
import type { EvidenceKind, Rule } from './rule.ts';

export type Sighting = {
  kind: EvidenceKind;
  /** "cr4_init_shadow", "port 0x70", "0xffffec0000000000-0xfffffbffffffffff mapped". */
  what: string;
  /** Instructions completed before it. */
  at: number;
  /** Who called the function, or where the instruction stands. */
  by: string | undefined;
  count: number;
};

const EVENTS: Partial<Record<EvidenceKind, readonly string[]>> = {
  msrs: ['msr-read', 'msr-write'],
  ports: ['port-in', 'port-out'],
  registers: ['cr-write', 'dr-write', 'table-load'],
  hypercalls: ['hypercall'],
  cpuid: ['cpuid'],
  exceptions: ['exception'],
};
const TABLE_NAMES = new Map<number, string>(Object.entries(TABLE).map(([name, number]) => [number, name]));

/** All events of one kind and number. */
type Touched = { first: EventRun; count: number; names: string[] };

export class RunIndex {
  readonly record: RunRecord;
  readonly #touched: Map<string, Touched>;

  constructor(record: RunRecord) {
    this.record = record;
    this.#touched = touchedBy(record.events);
  }

  /** When a waypoint or function was first arrived at; undefined when it was not. */
  arrival(name: string): number | undefined {
    const { waypoints, functions } = this.record;
    return waypoints.find((w) => w.name === name)?.at ?? functions.find((f) => f.name === name)?.first;
  }

  /** All that shows the rule's feature, by time. */
  sightings(rule: Rule): Sighting[] {
    const patternsOf = (kind: EvidenceKind) => rule.evidence.filter((e) => e.kind === kind).map((e) => e.pattern);
    const found = [
      ...functionsThatFit(this.record.functions, patternsOf('functions')),
      ...this.#mapped(patternsOf('memory')),
    ];
    for (const kind of Object.keys(EVENTS) as EvidenceKind[]) found.push(...this.#events(kind, patternsOf(kind)));
    return found.sort((a, b) => a.at - b.at);
  }

  #events(kind: EvidenceKind, patterns: readonly Pattern[]): Sighting[] {
    if (patterns.length === 0) return [];
    const seen: Sighting[] = [];
    for (const { first, count, names } of this.#touched.values()) {
      if (!EVENTS[kind]?.includes(first.kind) || !patterns.some((p) => fitsEvent(p, first.number, names))) continue;
      const what = `${first.what} (${first.kind})`;
      seen.push({ kind, what, at: first.at, by: first.where ?? first.rip, count });
    }
    return seen;
  }

  /** The first waypoint at which some of each range is mapped. */
  #mapped(patterns: readonly Pattern[]): Sighting[] {
    const seen: Sighting[] = [];
    for (const pattern of patterns) {
      if (pattern.kind !== 'range') continue;
      for (const { name, at, state } of this.record.waypoints) {
        const run = state.paging.mapped.find(({ from, to }) => BigInt(from) <= pattern.to && BigInt(to) > pattern.from);
        if (!run) continue;
        const what = `${run.from} to ${run.to} is mapped (${run.rights})`;
        seen.push({ kind: 'memory', what, at, by: `seen at ${name}`, count: 1 });
        break;
      }
    }
    return seen;
  }
}

export function functionsThatFit(functions: readonly FunctionRun[], patterns: readonly Pattern[]): Sighting[] {
  if (patterns.length === 0) return [];
  return functions
    .filter(({ name }) => patterns.some((pattern) => fitsFunction(pattern, name)))
    .map(({ name, first, caller, count }) => ({ kind: 'functions', what: name, at: first, by: caller, count }));
}

function touchedBy(events: readonly EventRun[]): Map<string, Touched> {
  const touched = new Map<string, Touched>();
  for (const event of events) {
    const key = `${event.kind} ${event.number}`;
    const there = touched.get(key);
    if (there) there.count++;
    else touched.set(key, { first: event, count: 1, names: namesOf(event) });
  }
  return touched;
}

/** The words by which a rule may call an event's register, MSR, hypercall or exception. */
function namesOf({ kind, number, what }: EventRun): string[] {
  const own: Record<string, string | undefined> = {
    'cr-write': `CR${number}`,
    'dr-write': `DR${number}`,
    'table-load': TABLE_NAMES.get(number),
    'msr-read': findMsr(number)?.name,
    'msr-write': findMsr(number)?.name,
  };
  return [what, what.replace(/^MSR_/, ''), own[kind] ?? what].map((name) => name.toLowerCase());
}

function fitsEvent(pattern: Pattern, number: number, names: readonly string[]): boolean {
  if (pattern.kind === 'range') return BigInt(number) >= pattern.from && BigInt(number) <= pattern.to;
  const wanted = pattern.text.toLowerCase();
  return names.some((name) => fitsName(wanted, name) || fitsName(wanted.replace(/^msr_/, ''), name));
}
