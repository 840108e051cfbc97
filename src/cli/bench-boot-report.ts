/** What the boots come to: medians, the times of QEMU, the project's targets, where the time goes; as text and as JSON.
 *
 * A row is held beside QEMU's within each round, and the median of these ratios is shown: a slow minute of the machine
 * makes both slow. May not: measure.   Next: cli/bench-peers.ts. */
import Table from 'cli-table3';
import { formatSize } from '../base/numbers.ts';
import { median } from './bench-loaders.ts';
import { PARTS, type PartTimes } from './profile-parts.ts';

/** Times are milliseconds since the process was started. */
export type BootRun = {
  firstByte?: number;
  /** Linux's "Run /init". */
  init?: number;
  /** What --line waits for. */
  line?: number;
  /** Undefined where the process was killed at the line. */
  end?: number;
  /** Of the process and all its threads. */
  cpuSeconds?: number;
  peakMemory?: number;
  instructions?: number;
  instructionsPerSecond?: number;
};

export type BootResult = {
  name: string;
  /** The entry path; undefined for QEMU. */
  via: string | undefined;
  /** The row of QEMU that this one is held beside. */
  beside: string | undefined;
  runs: BootRun[];
  /** Why there are no further runs. */
  failed?: string;
  profile?: PartTimes;
};

export type MeasuredBoots = {
  machine: string;
  /** Its version, when it took part. */
  qemu: string | undefined;
  /** ISO, of the start. */
  date: string;
  kernel: string;
  builtIn: boolean;
  memory: number;
  cmdline: string | undefined;
  line: string | undefined;
  rounds: number;
  results: BootResult[];
  /** How many CPUs other processes kept busy meanwhile. */
  othersCpus: number | undefined;
};

const MEGABYTE = 1e6;
/** More of others than this, and the figures are doubtful. */
const QUIET_CPUS = 0.15;

/** Seconds; less is not worth a line. */
const SHOWN_FROM = 0.0005;

/** Interpreting, this is what the project aims at on a stock kernel: our time over QEMU's, at most. */
const TARGETS: Readonly<Record<string, number>> = { linux64: 2.5, 'linux64, host unpacks': 1, pvh: 2.5 };
/** Beyond guest RAM. */
const MEMORY_TARGET = 300 * MEGABYTE;

/** The time that is compared: to the line, if there is one, or to the end. */
export const judgedTime = ({ line, end }: BootRun, wantsLine: boolean) => (wantsLine ? line : end);

/** Our time over QEMU's, the median over the rounds that both have. */
export function timesQemu(row: BootResult, measured: MeasuredBoots): number | undefined {
  return besideQemu(row, measured, (run) => judgedTime(run, measured.line !== undefined));
}

/** The same of processor time. */
export function timesQemusCpu(row: BootResult, measured: MeasuredBoots): number | undefined {
  return besideQemu(row, measured, ({ cpuSeconds }) => cpuSeconds || undefined);
}

function besideQemu(
  row: BootResult,
  { results }: MeasuredBoots,
  figure: (run: BootRun) => number | undefined,
): number | undefined {
  const peer = results.find(({ name }) => name === row.beside);
  const ratios = row.runs.flatMap((run, i) => {
    const [ours, theirs] = [run, peer?.runs[i]].map((each) => each && figure(each));
    return ours !== undefined && theirs !== undefined ? [ours / theirs] : [];
  });
  return ratios.length > 0 ? median(ratios) : undefined;
}

/** Of those runs that have the figure. */
export function medianOf(runs: readonly BootRun[], figure: (run: BootRun) => number | undefined): number | undefined {
  const values = runs.flatMap((run) => figure(run) ?? []);
  return values.length > 0 ? median(values) : undefined;
}

const isBusy = ({ othersCpus }: MeasuredBoots) => othersCpus !== undefined && othersCpus > QUIET_CPUS;

type Column = { head: string; cell: (row: BootResult) => string };

const seconds = (ms: number | undefined) => (ms === undefined ? '-' : (ms / 1000).toFixed(ms < 1000 ? 3 : 2));
const optional = (value: number | undefined, text: (value: number) => string) =>
  value === undefined ? '-' : text(value);

export function bootText(measured: MeasuredBoots, colour: boolean): string {
  const { machine, qemu, kernel, memory, cmdline, line, rounds, results, othersCpus } = measured;
  const others = othersCpus === undefined ? '' : `; other processes kept ${othersCpus.toFixed(2)} CPUs busy meanwhile`;
  const lines = [
    `${machine}${qemu === undefined ? '' : `; QEMU ${qemu}`}${others}`,
    `${kernel}, ${formatSize(memory)}${cmdline === undefined ? '' : `, ${JSON.stringify(cmdline)}`}; seconds from the start of each process, ${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}`,
    '',
    bootTable(measured, colour),
  ];
  if (results.some((row) => timesQemu(row, measured) !== undefined)) {
    const until = line === undefined ? 'to the end' : 'to the line';
    lines.push(
      `× QEMU is our time over QEMU's, ${until}; × CPU the same of processor time, ours with V8's own threads.`,
    );
  }
  if (isBusy(measured)) {
    lines.push('The machine was not left alone: believe processor time a little, the clock less.');
  }
  for (const { name, failed } of results) if (failed !== undefined) lines.push(`${name}: n/a, ${failed}`);
  lines.push(...unsteady(results), ...targetLines(measured));
  if (results.some(({ profile }) => profile)) lines.push('', profileTable(results, colour));
  return `${lines.join('\n')}\n`;
}

function bootTable(measured: MeasuredBoots, colour: boolean): string {
  const { results, line } = measured;
  const time = (head: string, figure: (run: BootRun) => number | undefined): Column => ({
    head,
    cell: ({ runs }) => seconds(medianOf(runs, figure)),
  });
  const has = (figure: (run: BootRun) => unknown) =>
    results.some(({ runs }) => runs.some((run) => figure(run) !== undefined));
  const judged = (run: BootRun) => judgedTime(run, line !== undefined);
  const range = ({ runs }: BootResult) => {
    const values = runs.flatMap((run) => judged(run) ?? []);
    return values.length > 1 ? `${seconds(Math.min(...values))}-${seconds(Math.max(...values))}` : '-';
  };
  const held = results.some((row) => timesQemu(row, measured) !== undefined);
  const ratio = (value: number | undefined) => optional(value, (each) => each.toFixed(2));
  const columns: (Column | false)[] = [
    { head: 'boot', cell: ({ name }) => name },
    time('first byte', ({ firstByte }) => firstByte),
    has(({ init }) => init) && time('Run /init', ({ init }) => init),
    line !== undefined && time('the line', (run) => run.line),
    line !== undefined && { head: 'its range', cell: range },
    time('end', ({ end }) => end),
    line === undefined && { head: 'its range', cell: range },
    has(({ cpuSeconds }) => cpuSeconds) &&
      time('CPU', ({ cpuSeconds }) => (cpuSeconds === undefined ? undefined : cpuSeconds * 1000)),
    { head: 'peak MB', cell: ({ runs }) => optional(medianOf(runs, (run) => run.peakMemory), (bytes) => (bytes / MEGABYTE).toFixed(0)) },
    { head: 'M instructions', cell: ({ runs }) => optional(medianOf(runs, (run) => run.instructions), (n) => (n / 1e6).toFixed(1)) },
    { head: 'M/s', cell: ({ runs }) => optional(medianOf(runs, (run) => run.instructionsPerSecond), (n) => (n / 1e6).toFixed(0)) },
    held && { head: '× QEMU', cell: (row) => ratio(timesQemu(row, measured)) },
    held && { head: '× CPU', cell: (row) => ratio(timesQemusCpu(row, measured)) },
  ]; // biome-ignore format: a table
  const shown = columns.filter((column) => column !== false);
  return drawn(
    shown.map(({ head }) => head),
    results.map((row) => shown.map(({ cell }) => cell(row))),
    colour,
  );
}

function drawn(head: string[], rows: readonly string[][], colour: boolean): string {
  const table = new Table({
    head,
    style: { head: colour ? ['cyan'] : [], border: [], compact: true },
    colAligns: head.map((_, x) => (x === 0 ? 'left' : 'right')),
  });
  table.push(...rows);
  return table.toString();
}

/** The same files run the same instructions, on every computer. Anything else is a bug worth a line. */
function unsteady(results: readonly BootResult[]): string[] {
  return results.flatMap(({ name, runs }) => {
    const counts = new Set(runs.flatMap(({ instructions }) => instructions ?? []));
    return counts.size > 1
      ? [
          `${name}: the rounds differ in their instructions (${[...counts].join(', ')}); that is a bug, please report it`,
        ]
      : [];
  });
}

/** They are about kernels; the built-in guest takes no time beyond starting. */
function targetLines(measured: MeasuredBoots): string[] {
  const { results, builtIn, memory } = measured;
  if (builtIn) return [];
  const word = (met: boolean) => (met ? 'met' : 'missed');
  const doubt = isBusy(measured) ? ' (on a busy machine)' : '';
  const lines = results.flatMap((row) => {
    const [target, ratio] = [TARGETS[row.name], timesQemu(row, measured)];
    if (target === undefined || ratio === undefined) return [];
    return [
      `- ${row.name}: ${ratio.toFixed(2)}× the time of ${row.beside}; the target is at most ${target}×: ${word(ratio <= target)}${doubt}`,
    ];
  });
  const ours = results.filter(({ via }) => via !== undefined);
  const peaks = ours.flatMap(({ runs }) => runs.flatMap(({ peakMemory }) => peakMemory ?? []));
  if (peaks.length > 0) {
    const beyond = Math.max(...peaks) - memory;
    const words = `${(Math.abs(beyond) / MEGABYTE).toFixed(0)} MB ${beyond < 0 ? 'less than' : 'more than'}`;
    lines.push(
      `- peak memory: at most ${words} the guest's RAM; the target is 300 MB more: ${word(beyond <= MEMORY_TARGET)}`,
    );
  }
  return lines.length > 0 ? ['', 'Targets:', ...lines] : [];
}

function profileTable(results: readonly BootResult[], colour: boolean): string {
  const profiled = results.flatMap(({ name, profile }) => (profile ? [{ name, profile }] : []));
  const total = (times: PartTimes) => times.reduce((sum, { seconds: each }) => sum + each, 0);
  const cell = (value: number, all: number) =>
    `${value.toFixed(2)} s ${((value / all) * 100).toFixed(0).padStart(3)} %`;
  const rows = PARTS.map(([part, words]) => [
    words,
    ...profiled.map(({ profile }) => {
      const value = profile.find((each) => each.part === part)?.seconds ?? 0;
      return value < SHOWN_FROM ? '-' : cell(value, total(profile));
    }),
  ]).filter(([, ...cells]) => cells.some((each) => each !== '-'));
  rows.push(['all', ...profiled.map(({ profile }) => cell(total(profile), total(profile)))]);
  return drawn(['where the time goes', ...profiled.map(({ name }) => name)], rows, colour);
}

/** Every run and what is made of them. */
export function bootJson(measured: MeasuredBoots): object {
  const { results, builtIn: _, ...setting } = measured;
  const figures = ['firstByte', 'init', 'line', 'end', 'cpuSeconds', 'peakMemory', 'instructions', 'instructionsPerSecond'] as const; // biome-ignore format: one line
  return {
    schema: 1,
    ...setting,
    boots: results.map(({ profile, ...row }) => ({
      ...row,
      medians: Object.fromEntries(figures.map((name) => [name, medianOf(row.runs, (run) => run[name])])),
      timesQemu: timesQemu(row, measured),
      timesQemusCpu: timesQemusCpu(row, measured),
      ...(profile && { profileSeconds: Object.fromEntries(profile.map((each) => [each.part, each.seconds])) }),
    })),
  };
}
