/** What a path costs the guest: instructions from its first one to each waypoint, and which functions they went into.
 *
 * Instruction counts are exact: the same on every computer and in every run, so a stored figure may be held against a new
 * one to a tenth of a percent. Where they went is sampled in a second run, stopped every so many instructions; each sample
 * stands for the instructions up to the next, and is the same every time, too. Host time is not, and nothing is
 * judged by it.
 * May not: print.   Next: cli/bench-page.ts. */
import type { BootPlan } from '../boot/index.ts';
import type { ElfImage } from '../image/kernel-image.ts';
import { Machine, type SymbolTable } from '../machine/machine.ts';
import { USUAL_WAYPOINTS } from '../machine/traced-run.ts';
import { WaypointWatch } from '../machine/waypoint-watch.ts';
import type { SymbolSource } from '../symbols/symbol-list.ts';
import type { LoaderRow } from './bench-loaders.ts';
import { UsageError } from './options.ts';
import type { Progress } from './progress.ts';

export type WaypointCost = {
  name: string;
  /** Since the first instruction. */
  instructions: number;
  virtualTimeNs: number;
  /** Of this computer, since the waypoint before. */
  hostMilliseconds: number;
  /** Where the instructions since the waypoint before went, most first: parts of one. */
  top: { name: string; part: number }[];
};

/** Instructions between two samples, by how many have run. Primes, so that no loop keeps step. */
const INTERVALS = [[1e5, 97], [1e7, 997], [1e9, 9973], [Number.POSITIVE_INFINITY, 99_991]] as const; // biome-ignore format: a table
const MOST_INSTRUCTIONS = 20e9;
const LONGEST_SECONDS = 300;
const TOP = 3;
/** Code without a name: an unpacker, firmware-like stubs, user programs. */
const NAMELESS = '(no name)';

/** Names of a kernel, and the ELF file that they belong to. */
export type NamedKernel = { symbols: SymbolSource; elf: ElfImage | undefined };

/** Runs until all waypoints up to `last` have been passed; those that were, in their order. */
export async function waypointCosts(
  plan: BootPlan,
  { symbols, elf }: NamedKernel,
  last: string,
  progress: Progress,
): Promise<WaypointCost[]> {
  const { passed, names } = await passWaypoints(plan, { symbols, elf }, last, progress);
  await sample(plan, names, passed, progress);
  return passed;
}

async function passWaypoints(plan: BootPlan, { symbols, elf }: NamedKernel, last: string, progress: Progress) {
  const machine = await Machine.create(plan, { symbols });
  const wanted = new Map<string, bigint>();
  for (const name of USUAL_WAYPOINTS) {
    const address = symbols.address(name);
    if (address !== undefined) wanted.set(name, address);
    if (name === last) break;
  }
  const watch = new WaypointWatch(machine, wanted, elf);
  const passed: WaypointCost[] = [];
  let since = performance.now();
  const pass = (at: bigint): void => {
    for (const name of watch.passed(at)) {
      const { instructions, virtualTimeNs } = machine;
      const now = performance.now();
      passed.push({ name, instructions, virtualTimeNs, hostMilliseconds: now - since, top: [] });
      since = now;
    }
  };
  await machine.run({
    maxInstructions: MOST_INSTRUCTIONS,
    timeoutSeconds: LONGEST_SECONDS,
    onSlice: () => progress.update(lineOf(plan, machine)),
    stopAt: watch.ahead(),
    onKernel: (place) => {
      watch.move(place);
      pass(machine.vcpu.state().rip);
      return watch.ahead();
    },
    onPlace: (at) => {
      pass(at);
      return watch.has(last) ? watch.ahead() : undefined;
    },
  });
  return { passed, names: machine.symbols ?? symbols };
}

/** The same run again, looked at every so many instructions, to the last place that it came to. */
async function sample(plan: BootPlan, names: SymbolTable, passed: readonly WaypointCost[], progress: Progress) {
  const machine = await Machine.create(plan);
  const nameOf = namer(machine, names, passed[0]?.instructions ?? 0);
  for (const waypoint of passed) {
    const counts = new Map<string, number>();
    const start = machine.instructions;
    while (machine.instructions < waypoint.instructions) {
      const before = machine.instructions;
      const name = nameOf(machine.vcpu.state().rip);
      const interval = INTERVALS.find(([until]) => before < until)?.[1] ?? 1;
      machine.runSync({ maxInstructions: Math.min(interval, waypoint.instructions - before) });
      counts.set(name, (counts.get(name) ?? 0) + machine.instructions - before);
      progress.update(lineOf(plan, machine));
    }
    const byCount = [...counts].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, TOP);
    const part = (count: number) => Math.round((count / (waypoint.instructions - start)) * 1000) / 1000;
    waypoint.top = byCount.map(([name, count]) => ({ name, part: part(count) }));
  }
}

const lineOf =
  ({ via }: BootPlan, machine: Machine) =>
  (seconds: number) =>
    `${via}: ${machine.instructions.toLocaleString('en')} instructions, ${seconds.toFixed(0)} s`;

function namer(machine: Machine, names: SymbolTable, entered: number): (rip: bigint) => string {
  // While a guest unpacks itself, something else is where the kernel will be.
  const { image, unpackedKernel } = machine.plan;
  const unpacksItself = image.format === 'bzimage' && image.payload && !unpackedKernel;
  return (rip) => {
    if (unpacksItself && machine.instructions < entered) return NAMELESS;
    return names.lookup(rip)?.name ?? NAMELESS;
  };
}

/** A stored run as `--json` wrote it. */
export type StoredLoaders = { schema: number; loaders: LoaderRow[] };

export function parseLoaders(text: string, file: string): StoredLoaders {
  const refuse = (why: string) =>
    new UsageError({
      what: `${file} is no run of bench loaders`,
      where: `--against ${file}`,
      why,
      fix: 'store one with zeropage bench loaders --json FILE',
    });
  let stored: StoredLoaders;
  try {
    stored = JSON.parse(text) as StoredLoaders;
  } catch (error) {
    throw refuse((error as Error).message);
  }
  if (stored === null || typeof stored !== 'object' || stored.schema !== 1) throw refuse('its schema is not 1');
  const isRow = (row: LoaderRow) =>
    row !== null && typeof row === 'object' && [row.kernel, row.path].every((key) => typeof key === 'string');
  if (!Array.isArray(stored.loaders) || !stored.loaders.every(isRow)) throw refuse('it has no list of loaders');
  return stored;
}

export type Dearer = {
  kernel: string;
  path: string;
  what: string;
  before: number;
  /** Undefined: it was not reached any more. */
  now: number | undefined;
};

/** What costs more than it did, by more than `tolerance` (a part of one). Only exact figures are held against each other:
 * instructions to each waypoint, bytes that the loader writes, frames that it touches. */
export function dearerThan(stored: StoredLoaders, rows: readonly LoaderRow[], tolerance: number): Dearer[] {
  const dearer: Dearer[] = [];
  for (const { kernel, path, ...row } of rows) {
    const old = stored.loaders.find((each) => each.kernel === kernel && each.path === path);
    if (!old) continue;
    const hold = (what: string, before: number | undefined, now: number | undefined) => {
      if (before === undefined || (now !== undefined && now <= before * (1 + tolerance))) return;
      dearer.push({ kernel, path, what, before, now });
    };
    hold('bytes written', old.bytesWritten, row.bytesWritten);
    hold('frames touched', old.framesTouched, row.framesTouched);
    if (!row.waypoints) continue; // the guest was not run
    for (const { name, instructions } of old.waypoints ?? []) {
      const now = row.waypoints.find((waypoint) => waypoint.name === name)?.instructions;
      hold(`instructions to ${name}`, instructions, now);
    }
  }
  return dearer;
}

/** For people: one line each, or that there is nothing. */
export function dearerText(
  stored: StoredLoaders,
  rows: readonly LoaderRow[],
  dearer: readonly Dearer[],
  file: string,
): string {
  const known = rows.filter((row) =>
    stored.loaders.some(({ kernel, path }) => kernel === row.kernel && path === row.path),
  );
  const count = (value: number) => value.toLocaleString('en');
  const lines = dearer.map(({ kernel, path, what, before, now }) => {
    const change =
      now === undefined ? 'not any more' : `${count(now)} (+${(((now - before) / before) * 100).toFixed(2)} %)`;
    return `dearer: ${kernel} via ${path}, ${what}: ${count(before)}, now ${change}`;
  });
  if (known.length < rows.length) lines.push(`${rows.length - known.length} of ${rows.length} rows are not in ${file}`);
  if (dearer.length === 0 && known.length > 0) lines.push(`nothing has become dearer than in ${file}`);
  return `${lines.join('\n')}\n`;
}
