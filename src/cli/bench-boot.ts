/** `bench boot`: whole boots, each a process of its own, beside QEMU's of the same files in the same run.
 *
 * What a user waits for is measured, from the start of the process to its end: reading, unpacking, starting Node and all.
 * The boots take turns within a round, since figures from different minutes of one machine cannot be compared. Then each
 * path boots once more under V8's sampling profiler, which says where its time goes; those boots are not timed.
 * May not: assert anything about time; whoever reads the figures judges them.   Next: cli/bench-boot-rows.ts. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, Option } from 'commander';
import { parseSize } from '../base/numbers.ts';
import { DEFAULT_MEMORY } from '../boot/index.ts';
import type { TextPattern } from '../machine/pattern.ts';
import { checkRamSize } from '../memory/memory-map.ts';
import { type BootResult, type BootRun, bootJson, bootText, type MeasuredBoots } from './bench-boot-report.ts';
import { type BootRow, bootRows } from './bench-boot-rows.ts';
import { loaderMachine } from './bench-loaders.ts';
import { HOW_TO_GET, newerThanBuilt, qemuVersion, ROOT } from './bench-peers.ts';
import { checkWritable, writeFileWhole } from './files.ts';
import { DEFAULT_GUEST, findGuest } from './guests.ts';
import { parseCount, parsePattern, parseSeconds } from './options.ts';
import { FdOutput } from './output.ts';
import { type PartTimes, parseProfile, sortProfile } from './profile-parts.ts';
import { Progress } from './progress.ts';
import { type ProcessTimes, timeProcess } from './timed-process.ts';

type Options = {
  via?: string;
  unpack?: 'host' | 'guest';
  memory: string;
  initrd?: string;
  cmdline?: string;
  rounds: string;
  line?: string;
  timeout: string;
  qemu: boolean;
  profile: boolean;
  json?: string;
};

const INIT = 'init';
const LINE = 'line';
/** Linux says so just before its first program: "Run /init as init process". */
const RUN_INIT = /Run \/\S+ as init process/;

export function addBenchBoot(bench: Command): void {
  bench
    .command('boot')
    .description('whole boots beside QEMU, and where their time goes')
    .argument('[kernel]', 'a kernel file, or the name of a built-in guest', DEFAULT_GUEST)
    .option('--via <paths>', 'entry paths, as pvh,linux64 (default: linux64, linux32, pvh, xen-pvh, if supported)')
    .addOption(
      new Option('--unpack <who>', 'who unpacks a bzImage on linux64 (default: one row each)').choices([
        'host',
        'guest',
      ]),
    )
    .option('--initrd <path>', 'initial RAM disk; a folder is packed once, beforehand')
    .option('--cmdline <string>', 'kernel command line')
    .option('--memory <size>', 'RAM of the machine', `${DEFAULT_MEMORY / 2 ** 20}M`)
    .option('--line <text>', 'what is waited for on the console: TEXT or /RE/ (default: the end of the guest)')
    .option('--rounds <n>', 'each figure is the median of so many', '3')
    .option('--timeout <seconds>', 'give a boot up after this time', '600')
    .option('--no-qemu', 'without QEMU, also where it is installed')
    .option('--no-profile', 'without the boots that show where the time goes')
    .option('--json <file>', 'everything that was measured')
    .addHelpText('after', HELP)
    .showHelpAfterError('(zeropage bench boot --help explains the options)')
    .action(benchBoot);
}

const HELP = `
Every boot is a process of its own, timed from its start to its first byte of console, to Linux's "Run /init", to the line
that --line waits for, and to its end. One round is one boot of each row, A B C; the next round follows, A B C. Beside
linux64 and linux32 stands QEMU (TCG, one thread, -M pc -nodefaults) with the same bzImage, beside pvh and xen-pvh QEMU
with the kernel inside it, unpacked beforehand and entered at its PVH note. "× QEMU" is our time over QEMU's, to the line
or to the end: the median over the rounds; below 1 we are faster. "× CPU" is the same of processor time.

  zeropage bench boot                                        the built-in guest: little but starting
  zeropage bench boot vmlinuz --initrd init.cpio --cmdline 'console=ttyS0 panic=-1'
  zeropage bench boot vmlinuz --initrd root --cmdline console=ttyS0 --line 'login:' --via pvh --rounds 5
  zeropage bench boot vmlinuz --initrd init.cpio --cmdline console=ttyS0 --unpack host --no-qemu --json boot.json

With --line, ours ends there in order (--expect), and QEMU is killed there. Without, the guest has to end by itself: an init
that powers off, or a panic with panic=-1, which counts as failed. A boot that fails is left out of further rounds, is
named with its reason, and the exit code is 1; QEMU's own failures are only named.

The last table comes from one more boot of each row under node --cpu-prof: samples, a thousand a second, by the part of the
program that was running. Peak memory is that of the whole process: what the guest has touched of its RAM, and ours.
`;

async function benchBoot(kernel: string, options: Options): Promise<void> {
  const rounds = parseCount(options.rounds, '--rounds', 1, 1000);
  const timeoutSeconds = parseSeconds(options.timeout, '--timeout');
  const line = options.line === undefined ? undefined : parsePattern(options.line, '--line');
  const memory = parseSize(options.memory, '--memory');
  checkRamSize(memory);
  if (options.json) checkWritable(options.json, '--json');
  const remarks = new FdOutput(2);
  const progress = new Progress(remarks, process.stderr.isTTY === true);
  const qemu = options.qemu ? qemuVersion() : undefined;

  const stop = new AbortController();
  const folder = mkdtempSync(join(tmpdir(), 'zeropage-bench-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.on('exit', remove); // a bug of ours leaves by process.exit
  const interrupt = (signal: NodeJS.Signals) => stop.abort(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, interrupt);
  try {
    progress.update(() => `reading ${kernel}`);
    const rows = await bootRows(kernel, { ...options, qemu: qemu !== undefined }, folder);
    const stale = staleText();
    if (options.qemu && qemu === undefined) remarks.write(`without QEMU: it is not installed; ${HOW_TO_GET.qemu}\n`);
    if (stale) remarks.write(stale);
    const boots = new Boots({ folder, line, timeoutSeconds, signal: stop.signal, progress });
    const measured: MeasuredBoots = {
      machine: loaderMachine(),
      qemu,
      date: new Date().toISOString(),
      kernel,
      builtIn: findGuest(kernel) !== undefined,
      memory,
      cmdline: options.cmdline,
      line: options.line,
      rounds,
      ...(await boots.measure(rows, rounds)),
    };
    if (options.profile) await boots.profile(rows, measured.results);
    progress.clear();
    if (stop.signal.aborted) {
      process.exitCode = 128 + constants.signals[stop.signal.reason as NodeJS.Signals];
      return;
    }
    const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
    new FdOutput(1).write(bootText(measured, colour));
    if (options.json) writeFileWhole(options.json, `${JSON.stringify(bootJson(measured), null, 2)}\n`);
    if (measured.results.some(({ via, failed }) => via !== undefined && failed !== undefined)) process.exitCode = 1;
  } finally {
    for (const signal of signals) process.off(signal, interrupt);
    process.off('exit', remove);
    remove();
    progress.clear();
  }
}

/** What runs is measured: the built program, or the sources with the loader that makes them run. */
function staleText(): string | undefined {
  if (import.meta.url.endsWith('.ts'))
    return 'this runs from its sources, and what compiles them is measured too: npm run build\n';
  const newer = existsSync(join(ROOT, 'src')) ? newerThanBuilt(ROOT) : undefined;
  return newer && `src/${newer} is newer than dist, and dist is what is measured: npm run build\n`;
}

/** This very program, as it was started. */
const program = (...nodeOptions: string[]) => [process.execPath, ...process.execArgv, ...nodeOptions, process.argv[1]];

type BootsOptions = {
  folder: string;
  line: TextPattern | undefined;
  timeoutSeconds: number;
  signal: AbortSignal;
  progress: Progress;
};

class Boots {
  readonly #options: BootsOptions;

  constructor(options: BootsOptions) {
    this.#options = options;
  }

  /** All rows taking turns. Stops without a word when it is interrupted. */
  async measure(rows: readonly BootRow[], rounds: number): Promise<Pick<MeasuredBoots, 'results' | 'othersCpus'>> {
    const results = rows.map(({ name, via, beside }): BootResult => ({ name, via, beside, runs: [] }));
    const busyBefore = busySeconds();
    const started = performance.now();
    let own = 0;
    for (let round = 0; round < rounds; round++) {
      for (const [i, row] of rows.entries()) {
        if (results[i].failed !== undefined) continue;
        const doing = `round ${round + 1} of ${rounds}: ${row.name} (${i + 1} of ${rows.length})`;
        const run = await this.#boot(row, doing);
        if (this.#options.signal.aborted) return { results, othersCpus: undefined };
        if (typeof run === 'string') results[i].failed = run;
        else results[i].runs.push(run);
        own += typeof run === 'string' ? 0 : (run.cpuSeconds ?? 0);
      }
    }
    const busyAfter = busySeconds();
    if (busyBefore === undefined || busyAfter === undefined) return { results, othersCpus: undefined };
    const seconds = (performance.now() - started) / 1000;
    return { results, othersCpus: Math.max(0, (busyAfter - busyBefore - own) / seconds) };
  }

  /** One more boot of each row of ours, under the profiler. */
  async profile(rows: readonly BootRow[], results: readonly BootResult[]): Promise<void> {
    for (const [i, row] of rows.entries()) {
      if (row.via === undefined || results[i].failed !== undefined || this.#options.signal.aborted) continue;
      const folder = join(this.#options.folder, `profile-${i}`);
      mkdirSync(folder);
      const run = await this.#boot(row, `where the time goes: ${row.name}`, ['--cpu-prof', `--cpu-prof-dir=${folder}`]);
      if (typeof run !== 'string') results[i].profile = readProfile(folder);
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** The figures, or why there are none. */
  async #boot(row: BootRow, doing: string, nodeOptions: readonly string[] = []): Promise<BootRun | string> {
    const { line, timeoutSeconds, signal, progress } = this.#options;
    const ours = row.via !== undefined;
    const command = ours ? [...program(...nodeOptions), ...row.command] : row.command;
    const alive = setInterval(() => progress.update(() => doing), 500);
    try {
      progress.update(() => doing);
      const times = await timeProcess(command, {
        marks: { [INIT]: RUN_INIT, ...(line !== undefined && { [LINE]: line }) },
        ...(!ours && line !== undefined && { lastMark: LINE }),
        timeoutSeconds,
        signal,
      });
      const failed = ours
        ? whyOursFailed(times, timeoutSeconds)
        : whyQemuFailed(times, line !== undefined, timeoutSeconds);
      if (failed !== undefined) return failed;
      const { firstByte, marks, end, cpuSeconds, peakMemory, errors } = times;
      return {
        firstByte,
        init: marks[INIT],
        line: marks[LINE],
        end,
        cpuSeconds,
        peakMemory,
        ...(ours && saidBy(errors)),
      };
    } finally {
      clearInterval(alive);
    }
  }
}

const gaveUp = (seconds: number) => `did not come to its end in ${seconds} s (--timeout, --line)`;

function whyOursFailed({ timedOut, code, signal, errors }: ProcessTimes, seconds: number): string | undefined {
  if (timedOut) return gaveUp(seconds);
  if (code === 0) return undefined;
  const said = /^zeropage: (.*, exit \d+: .*)$/m.exec(errors)?.[1] ?? errors.trim().split('\n')[0];
  return said || `ended with ${code ?? signal}`;
}

/** QEMU's own exit code says little: a guest that ends through the debug exit makes it odd. */
function whyQemuFailed(times: ProcessTimes, wantsLine: boolean, seconds: number): string | undefined {
  const { timedOut, code, signal, errors, firstByte, marks } = times;
  if (timedOut) return gaveUp(seconds);
  if (wantsLine && marks[LINE] !== undefined) return undefined;
  if (firstByte !== undefined && !wantsLine && signal === null) return undefined;
  const said = errors.trim().split('\n')[0];
  return (
    said || `ended with ${code ?? signal}, ${firstByte === undefined ? 'and no byte of console' : 'without the line'}`
  );
}

/** From our closing words. A report would say it too, but takes its time for hashing all of the guest's memory. */
function saidBy(errors: string): Pick<BootRun, 'instructions' | 'instructionsPerSecond'> {
  const said = / ([\d,]+) instructions in [\d.]+ s \(([\d.]+) M\/s\)/.exec(errors);
  if (!said) return {};
  return { instructions: Number(said[1].replaceAll(',', '')), instructionsPerSecond: Number(said[2]) * 1e6 };
}

/** Of the main thread, which V8 numbers 0; a loader may have one of its own. */
function readProfile(folder: string): PartTimes | undefined {
  const file = readdirSync(folder).find((name) => /\.0\.\d+\.cpuprofile$/.test(name));
  if (file === undefined) return undefined;
  const path = join(folder, file);
  return sortProfile(parseProfile(readFileSync(path, 'utf8'), path), pathToFileURL(ROOT).href);
}

/** CPU seconds of everybody on this machine; only Linux tells. */
function busySeconds(): number | undefined {
  try {
    const [user, nice, system, , , irq, softIrq] = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0].trim().split(/\s+/).slice(1).map(Number); // biome-ignore format: one line
    return (user + nice + system + irq + softIrq) / 100;
  } catch {
    return undefined;
  }
}
