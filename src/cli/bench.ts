/** `bench`: how fast this is, beside others and in one run with them.
 *
 * `bench boot` times whole boots as processes of their own. `bench loaders` measures in this process what each entry path
 * costs before the guest runs. `bench engine` hands the measuring to bench/peers/bench.mjs and prints what comes back. All
 * emulators take turns within the run, for figures from different hours of one machine cannot be compared.
 * May not: assert anything about time; whoever reads the figures judges them.   Next: cli/bench-loaders.ts. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { addBenchBoot } from './bench-boot.ts';
import { benchLoaders, loaderMachine, loadersText } from './bench-loaders.ts';
import { loadersPage } from './bench-page.ts';
import {
  checkCheckout,
  chooseEmulators,
  chooseImages,
  findInstalled,
  newerThanBuilt,
  PEERS,
  ROOT,
  readImages,
} from './bench-peers.ts';
import { judge, type Measured, reportText } from './bench-report.ts';
import { dearerText, dearerThan, parseLoaders } from './bench-waypoints.ts';
import { checkWritable, writeFileWhole } from './files.ts';
import { DEFAULT_GUEST } from './guests.ts';
import { readFileBytes } from './kernel-file.ts';
import { parseCount, UsageError } from './options.ts';
import { FdOutput } from './output.ts';
import { Progress } from './progress.ts';
import { COLOURED, PLAIN } from './text-table.ts';

type Options = {
  only?: string;
  reps?: string;
  emulators?: string;
  quick?: boolean;
  checkOnly?: boolean;
  json?: string;
  md?: string;
};

const BENCHMARKS = [
  ['boot', 'whole boots, each a process, beside QEMU on the same kernel, and where their time goes'],
  ['loaders', 'what each entry path costs: reading, unpacking, tables, placing'],
  ['engine', 'guest code, beside QEMU and v86 on the same images; needs a checkout'],
] as const;

export function addBench(program: Command): void {
  const bench = program
    .command('bench')
    .description('how fast this is, beside others')
    .usage('<benchmark> [options]')
    .argument('[benchmark]', `one of: ${BENCHMARKS.map(([name]) => name).join(', ')}`)
    .action((name: string | undefined) => {
      if (name !== undefined) throw noBenchmark(name);
      new FdOutput(1).write(listText());
    });
  addBenchBoot(bench);
  bench
    .command('engine')
    .description('speed on guest images, beside QEMU and v86 in one run; needs a checkout')
    .option('--only <workloads>', 'some of the workloads, as sieve,fib')
    .option('--emulators <names>', `some of: ${PEERS.map(({ name }) => name).join(', ')} (default: all installed)`)
    .option('--reps <n>', 'undisturbed pairs of runs for each figure (default: 3, with --quick 1)')
    .option('--quick', 'a first look: short runs, once, however busy the machine is')
    .option('--check-only', 'run every image once and compare the checksums, without timing')
    .option('--json <file>', 'everything that was measured')
    .option('--md <file>', 'the printed report, as Markdown')
    .addHelpText('after', engineHelp())
    .showHelpAfterError('(zeropage bench engine --help explains the options)')
    .action(benchEngine);
  bench
    .command('loaders')
    .description('what each entry path costs the host, and the guest on its way to start_kernel')
    .argument('[kernels...]', 'kernel files, or names of built-in guests (default: tiny)')
    .option('--via <paths>', 'some of the paths, as linux64,xen-pv (default: all that the kernel supports)')
    .option('--memory <size>', 'RAM of the machine', '256M')
    .option('--cmdline <string>', 'kernel command line')
    .option('--initrd <file>', 'initial RAM disk, or first module')
    .option('--symbols <file>', 'where start_kernel is: System.map, or a vmlinux with symbols')
    .option('--rounds <n>', 'each figure is the median of so many', '7')
    .option('--no-guest', 'do not run the guest to start_kernel')
    .option('--json <file>', 'everything that was measured')
    .option('--html <file>', 'the same as a page with charts')
    .option('--against <file>', 'a stored --json: exit 1 when a loader or a path has become dearer')
    .option('--tolerance <percent>', 'how much dearer is no matter', '0.1')
    .addHelpText('after', LOADERS_HELP)
    .showHelpAfterError('(zeropage bench loaders --help explains the options)')
    .action(loaders);
}

const LOADERS_HELP = `
Steps of the host, in milliseconds: reading the file, parsing it, unpacking its payload where the path wants that, making
the tables (zero page, start-info, page tables, p2m), placing everything in fresh guest memory. Beside placing stands a
plain copy of the same bytes to the same places of equally fresh memory. xen-pv comes twice, since its guest memory lies
frame by frame in the machine: with identity the frames are in order, scrambled is what boot does.

  zeropage bench loaders                                  the built-in guest
  zeropage bench loaders vmlinuz --memory 512M            a kernel, through every path it supports
  zeropage bench loaders vmlinuz --via pvh,xen-pv --json loaders.json
  zeropage bench loaders vmlinuz --html loaders.html      bars on common axes, in one file

A second table follows the guest to start_kernel: instructions and virtual time to each place where Linux's paths come by,
and the functions that most of them went into (sampled). Without symbols there are no such places.

  zeropage bench loaders vmlinux --json good.json         keep the figures ...
  zeropage bench loaders vmlinux --against good.json      ... and exit with 1 when a kernel or a loader became dearer

Held against a stored run are exact figures alone: instructions, bytes written, frames touched. They are the same on every
computer; milliseconds are not, and nothing is judged by them.
`;

type LoadersOptions = {
  via?: string;
  memory: string;
  cmdline?: string;
  initrd?: string;
  symbols?: string;
  rounds: string;
  guest: boolean;
  json?: string;
  html?: string;
  against?: string;
  tolerance: string;
};

async function loaders(kernels: string[], given: LoadersOptions): Promise<void> {
  const { guest, json, html, against, ...options } = given;
  const rounds = parseCount(options.rounds, '--rounds', 1, 1000);
  const tolerance = parsePercent(options.tolerance, '--tolerance');
  if (json) checkWritable(json, '--json');
  if (html) checkWritable(html, '--html');
  const stored =
    against === undefined
      ? undefined
      : parseLoaders(new TextDecoder().decode(await readFileBytes(against, '--against')), against);
  const progress = new Progress(new FdOutput(2), process.stderr.isTTY === true);
  const names = kernels.length > 0 ? kernels : [DEFAULT_GUEST];
  const rows = await benchLoaders(names, { ...options, rounds, noGuest: !guest }, progress);
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  new FdOutput(1).write(loadersText(rows, rounds, colour));
  if (json) {
    const document = { schema: 1, machine: loaderMachine(), rounds, memory: options.memory, loaders: rows };
    writeFileWhole(json, `${JSON.stringify(document, null, 2)}\n`);
  }
  const dearer = stored && dearerThan(stored, rows, tolerance);
  if (html) {
    const held = dearer && against !== undefined ? { file: against, dearer } : undefined;
    const page = { machine: loaderMachine(), rounds, memory: options.memory, rows, ...(held && { against: held }) };
    writeFileWhole(html, loadersPage(page));
  }
  if (stored && dearer && against !== undefined) {
    new FdOutput(1).write(dearerText(stored, rows, dearer, against));
    if (dearer.length > 0) process.exitCode = 1;
  }
}

function parsePercent(text: string, option: string): number {
  if (/^\d{1,3}(\.\d+)?$/.test(text)) return Number(text) / 100;
  throw new UsageError({
    what: `${option} is no percentage: ${JSON.stringify(text)}`,
    where: option,
    why: 'a number from 0 on is expected, with or without a decimal point',
    fix: `write it as in ${option} 0.1`,
  });
}

function noBenchmark(name: string): UsageError {
  return new UsageError({
    what: `there is no benchmark ${JSON.stringify(name)}`,
    where: `zeropage bench ${name}`,
    why: `there is: ${BENCHMARKS.map(([known]) => known).join(', ')}`,
    fix: 'zeropage bench lists what there is',
  });
}

function listText(): string {
  const lines = BENCHMARKS.map(([name, about]) => `  zeropage bench ${name.padEnd(7)}   ${about}`);
  return `${lines.join('\n')}\n\nEach has a --help that says what is measured and how.\n`;
}

function engineHelp(): string {
  const width = Math.max(...PEERS.map(({ name }) => name.length));
  return `
Emulators, each measured if it is installed, and zeropage itself:
${PEERS.map(({ name, about }) => `  ${name.padEnd(width)}  ${about}`).join('\n')}
  QEMU: apt-get install qemu-system-x86.   v86: sh bench/peers/setup-v86.sh.

Every image is run with n and with 3n iterations; the difference of the two times is what the iterations cost, without
starting anything. A pair of runs is repeated until enough pairs were undisturbed by other work. At the end stand the
project's targets: our speed as a multiple of v86's interpreter and of QEMU with -icount, in the geometric mean, and the
time from starting the process to the tiny guest's verdict. Progress goes to standard error.

  zeropage bench engine                       everything: leave the machine alone meanwhile
  zeropage bench engine --only sieve,fib --quick
  zeropage bench engine --check-only          do all emulators compute the same?

A missed target is no failure; a wrong checksum is, and exits with 1. bench/README.md explains how to read the figures.
`;
}

async function benchEngine(options: Options): Promise<void> {
  checkCheckout(ROOT);
  const all = readImages(ROOT);
  const images = chooseImages(options.only, all);
  const { emulators, missing } = chooseEmulators(options.emulators, findInstalled(ROOT));
  const reps = parseCount(options.reps ?? (options.quick ? '1' : '3'), '--reps', 1, 100);
  if (options.json) checkWritable(options.json, '--json');
  if (options.md) checkWritable(options.md, '--md');

  const remarks = new FdOutput(2);
  const newer = newerThanBuilt(ROOT);
  if (newer) remarks.write(`src/${newer} is newer than dist, and dist is what is measured: npm run build\n`);
  for (const each of missing) remarks.write(`${each}\n`);
  remarks.write(
    `${images.length} images under ${emulators.join(', ')}${duration(options, images.length, emulators, reps)}\n`,
  );

  const measured = await measure([
    ...['--emulators', emulators.join(','), '--reps', String(reps)],
    ...(options.only ? ['--only', options.only.replaceAll(' ', '')] : []),
    ...(options.quick ? ['--extra', '0', '--target', '0.3', '--quiet-wait', '0'] : []),
    ...(options.checkOnly ? ['--check-only'] : []),
  ]);
  if (measured === undefined) return;
  const terminal = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
  new FdOutput(1).write(reportText(measured, all, terminal ? COLOURED : PLAIN));
  if (options.md) writeFileWhole(options.md, reportText(measured, all, PLAIN));
  if (options.json) {
    const document = { schema: 1, ...measured, targets: measured.checkOnly ? undefined : judge(measured, all) };
    writeFileWhole(options.json, `${JSON.stringify(document, null, 2)}\n`);
  }
  if (measured.wrong) process.exitCode = 1;
}

/** A guess at the minutes: each figure takes its pairs of runs and one more to find the number of iterations. */
function duration(options: Options, images: number, emulators: readonly string[], reps: number): string {
  if (options.checkOnly) return '';
  const seconds = (reps + 1) * (options.quick ? 1.1 : 2.6) * images * emulators.length * 0.8; // v86 skips 64-bit images
  return `; about ${Math.max(1, Math.round(seconds / 60))} min`;
}

/** Runs the runner. Undefined when a signal ended it; the exit code says so then. */
async function measure(args: readonly string[]): Promise<Measured | undefined> {
  const runner = spawn(process.execPath, [join(ROOT, 'bench/peers/bench.mjs'), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let ended: NodeJS.Signals | undefined;
  const pass = (signal: NodeJS.Signals) => {
    ended = signal;
    runner.kill(signal); // a terminal has sent it there too, `kill` has not; it takes the emulator along
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, pass);
  try {
    let text = '';
    runner.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const code = await new Promise<number | null>((resolve, reject) => {
      runner.on('error', reject);
      runner.on('close', resolve);
    });
    if (ended) {
      process.exitCode = 128 + constants.signals[ended];
      return undefined;
    }
    if (text === '') throw new Error(`the benchmark's runner ended with ${code} and measured nothing`);
    return JSON.parse(text) as Measured;
  } finally {
    for (const signal of signals) process.off(signal, pass);
  }
}
