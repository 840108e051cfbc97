/** `bench loaders`: what each entry path costs the host before the first instruction, and the guest before start_kernel.
 *
 * A loader reads the file, parses it, unpacks it where the path wants that, makes its tables (zero page, start-info, page
 * tables, p2m: the plan) and places everything in guest memory. Each step is timed by itself, as the median of a few
 * rounds, each into memory that nobody has touched. Placing is held beside a plain copy of the same bytes to the same
 * places of equally fresh memory, in the same round: most of either is the host's page faults.
 * May not: assert anything about time; whoever reads the figures judges them.   Next: cli/bench-waypoints.ts. */
import { cpus } from 'node:os';
import Table from 'cli-table3';
import { BOOT_PROTOCOLS, type BootPlan, type BootSpec, needsUnpackedKernel, planBoot } from '../boot/index.ts';
import { machineSize, placePlan, planMemory } from '../boot/plan.ts';
import { type ElfImage, isElf, type KernelImage } from '../image/kernel-image.ts';
import { createMemory } from '../wasm/runtime.ts';
import { type WaypointCost, waypointCosts } from './bench-waypoints.ts';
import { findGuest } from './guests.ts';
import { readInitrd } from './initrd-file.ts';
import { parseFile, resolveKernel, unpackKernel } from './kernel-file.ts';
import { UsageError } from './options.ts';
import type { Progress } from './progress.ts';
import { tracedKernel } from './traced.ts';

/** Where the entry paths of Linux have met; a kernel without symbols has no such place. */
const MEETING_PLACE = 'start_kernel';
const PAGE = 65_536;

export type LoaderOptions = {
  via?: string;
  memory: string;
  cmdline?: string;
  initrd?: string;
  symbols?: string;
  rounds: number;
  /** Do not run the guest. */
  noGuest: boolean;
};

/** Host milliseconds of each step; medians. */
export type LoaderTimes = {
  read: number;
  parse: number;
  /** Undefined where the guest unpacks itself, or nothing is packed. */
  unpack: number | undefined;
  tables: number;
  place: number;
  copy: number;
};

export type LoaderRow = {
  /** The entry path, and for Xen PV the order of its frames: "xen-pv, identity". */
  path: string;
  via: string;
  kernel: string;
  milliseconds: LoaderTimes;
  /** place over copy, the median over rounds. */
  placeToCopy: number;
  bytesWritten: number;
  framesTouched: number;
  /** Undefined when the kernel has no symbol start_kernel, never came there, or was not run. */
  instructionsToStartKernel: number | undefined;
  /** What the guest passes on its way there; undefined when it was not run, or has no symbols. */
  waypoints?: WaypointCost[];
};

type Case = { via: string; path: string; spec: BootSpec };

export async function benchLoaders(
  kernels: readonly string[],
  options: LoaderOptions,
  progress: Progress,
): Promise<LoaderRow[]> {
  const initrd = options.initrd === undefined ? undefined : (await readInitrd(options.initrd, false)).bytes;
  const wanted = choosePaths(options.via);
  const rows: LoaderRow[] = [];
  for (const kernel of kernels) {
    const before = rows.length;
    for (const via of wanted) {
      if (findGuest(kernel)?.images[via] === undefined && findGuest(kernel)) continue;
      const image = (await open(kernel, via)).image;
      const unpacked = image.format === 'bzimage' && image.payload ? await unpackKernel(image) : undefined;
      const protocol = BOOT_PROTOCOLS.find(({ name }) => name === via);
      const verdict = protocol?.accepts(image, unpacked);
      if (verdict !== true) {
        if (options.via === undefined) continue;
        planBoot(image, { via: via as 'pvh', unpackedKernel: unpacked }); // asked for by name: says why not
      }
      for (const each of casesOf(via, { ...options, initrd })) {
        rows.push(await measure(kernel, each, options, unpacked, progress));
      }
    }
    if (rows.length === before) planBoot((await open(kernel)).image); // throws: it supports no path, and says why
  }
  progress.clear();
  return rows;
}

/** Flat code has no loader to speak of. */
function choosePaths(via: string | undefined): string[] {
  const all = BOOT_PROTOCOLS.map(({ name }) => name).filter((name) => !name.startsWith('flat'));
  if (via === undefined) return all;
  const asked = via.split(',').map((name) => name.trim());
  const unknown = asked.find((name) => !(all as string[]).includes(name));
  if (unknown === undefined) return asked;
  throw new UsageError({
    what: `there is no loader for ${JSON.stringify(unknown)}`,
    where: `--via ${via}`,
    why: `there are: ${all.join(', ')}`,
    fix: 'give one or several of these, with commas between',
  });
}

function casesOf(via: string, { memory, cmdline, initrd }: { memory: string; cmdline?: string; initrd?: Uint8Array }) {
  const spec: BootSpec = { via: via as 'pvh', memory, cmdline, initrd };
  if (via !== 'xen-pv') return [{ via, path: via, spec }];
  return (['identity', 'scrambled'] as const).map((mfn) => ({ via, path: `${via}, ${mfn}`, spec: { ...spec, mfn } }));
}

async function open(kernel: string, via?: string): Promise<{ image: KernelImage; read: number; parse: number }> {
  const started = performance.now();
  const { name, bytes } = await resolveKernel(kernel, via);
  const read = performance.now() - started;
  const image = parseFile(name, bytes, via);
  return { image, read, parse: performance.now() - started - read };
}

async function measure(
  kernel: string,
  { via, path, spec }: Case,
  options: LoaderOptions,
  unpackedBefore: ElfImage | undefined,
  progress: Progress,
): Promise<LoaderRow> {
  const rounds: LoaderTimes[] = [];
  let last: { plan: BootPlan; frames: number } | undefined;
  for (let round = 0; round < options.rounds; round++) {
    progress.update(() => `${kernel} via ${path}: round ${round + 1} of ${options.rounds}`);
    const { image, read, parse } = await open(kernel, via);
    const times: LoaderTimes = { read, parse, unpack: undefined, tables: 0, place: 0, copy: 0 };
    let unpackedKernel: ElfImage | undefined;
    if (needsUnpackedKernel(image, spec) && image.format === 'bzimage') {
      const started = performance.now();
      unpackedKernel = await unpackKernel(image);
      times.unpack = performance.now() - started;
    }
    const started = performance.now();
    const plan = planBoot(image, { ...spec, unpackedKernel });
    times.tables = performance.now() - started;
    // Whoever comes first would warm the source up for the other, so they take turns.
    const placing = () => placeFresh(plan, times);
    const copying = () => copyFresh(plan, times);
    if (round % 2 === 0) copying();
    const frames = placing();
    if (round % 2 === 1) copying();
    rounds.push(times);
    last = { plan, frames };
  }
  const { plan, frames } = last as { plan: BootPlan; frames: number };
  const of = (step: keyof LoaderTimes) => median(rounds.map((times) => times[step] ?? 0));
  const elf = unpackedBefore ?? (isElf(plan.image) ? plan.image : undefined);
  const names = options.noGuest ? undefined : (await tracedKernel(plan, elf, options.symbols)).symbols;
  const waypoints = names && (await waypointCosts(plan, { symbols: names, elf }, MEETING_PLACE, progress));
  return {
    path,
    via,
    kernel,
    milliseconds: {
      read: of('read'),
      parse: of('parse'),
      unpack: rounds[0].unpack === undefined ? undefined : of('unpack'),
      tables: of('tables'),
      place: of('place'),
      copy: of('copy'),
    },
    placeToCopy: median(rounds.map(({ place, copy }) => place / copy)),
    bytesWritten: plan.writes.reduce((sum, { length }) => sum + length, 0),
    framesTouched: frames,
    instructionsToStartKernel: waypoints?.find(({ name }) => name === MEETING_PLACE)?.instructions,
    ...(waypoints && { waypoints }),
  };
}

/** Memory as a machine gets it: zeros that the host has not backed with pages yet. */
const freshMemory = (plan: BootPlan): ArrayBuffer => createMemory(Math.ceil(machineSize(plan) / PAGE)).buffer;

function placeFresh(plan: BootPlan, times: LoaderTimes): number {
  const memory = planMemory(plan, freshMemory(plan), 0);
  const started = performance.now();
  placePlan(plan, memory);
  times.place = performance.now() - started;
  return memory.touchedFrames;
}

function copyFresh({ writes, ...plan }: BootPlan, times: LoaderTimes): void {
  const target = new Uint8Array(freshMemory({ ...plan, writes }));
  const started = performance.now();
  for (const { at, bytes } of writes) target.set(bytes, at);
  times.copy = performance.now() - started;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function loaderMachine(): string {
  return `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${cpus().length} cores; Node ${process.versions.node}`;
}

export function loadersText(rows: readonly LoaderRow[], rounds: number, colour: boolean): string {
  const ms = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(value < 10 ? 2 : 1));
  const count = (value: number | undefined) => value?.toLocaleString('en') ?? '-';
  const lines = [
    `${loaderMachine()}; ${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}, in milliseconds of this computer`,
  ];
  for (const kernel of new Set(rows.map((row) => row.kernel))) {
    const table = new Table({
      head: [
        ...['path', 'read', 'parse', 'unpack', 'tables', 'place', 'plain copy', 'place/copy'],
        ...['bytes written', 'frames touched', `instructions to ${MEETING_PLACE}`],
      ],
      style: { head: colour ? ['cyan'] : [], border: [], compact: true },
      colAligns: ['left', ...Array.from({ length: 10 }, () => 'right' as const)],
    });
    for (const row of rows.filter((each) => each.kernel === kernel)) {
      const { read, parse, unpack, tables, place, copy } = row.milliseconds;
      const times = [read, parse, unpack, tables, place, copy].map(ms);
      const counts = [row.bytesWritten, row.framesTouched, row.instructionsToStartKernel].map(count);
      table.push([row.path, ...times, `${row.placeToCopy.toFixed(2)}×`, ...counts]);
    }
    lines.push(`\n${kernel}`, table.toString());
    const ways = rows.filter((each) => each.kernel === kernel && (each.waypoints?.length ?? 0) > 0);
    if (ways.length > 0) lines.push(waysTable(ways, colour));
  }
  return `${lines.join('\n')}\n`;
}

/** Instructions to each waypoint, and what the stretch before it was spent on. */
function waysTable(rows: readonly LoaderRow[], colour: boolean): string {
  const table = new Table({
    head: ['path', 'waypoint', 'instructions', 'virtual ms', 'host ms since the one before', 'most of them in'],
    style: { head: colour ? ['cyan'] : [], border: [], compact: true },
    colAligns: ['left', 'left', 'right', 'right', 'right', 'left'],
  });
  for (const { path, waypoints = [] } of rows) {
    for (const [i, { name, instructions, virtualTimeNs, hostMilliseconds, top }] of waypoints.entries()) {
      const spent = top.map((each) => `${each.name} ${(each.part * 100).toFixed(0)} %`).join(', ');
      const times = [(virtualTimeNs / 1e6).toFixed(3), hostMilliseconds.toFixed(1)];
      table.push([i === 0 ? path : '', name, instructions.toLocaleString('en'), ...times, spent]);
    }
  }
  return table.toString();
}
