/** `boot`: from a kernel file to an exit code.
 *
 * Standard output carries the guest's console and nothing else; whatever we have to say goes to standard error. The
 * order: options, file, plan, machine, run, then dumps, recording, report, and a closing line. Ctrl-C and SIGTERM end
 * the run in order, so all of that still happens; a second one leaves at once.
 * May not: judge the guest (machine/verdict.ts does).   Next: cli/host-usage.ts. */
import { createHash } from 'node:crypto';
import { type Command, Option } from 'commander';
import { hex, MiB } from '../base/numbers.ts';
import { type BootPlan, type BootSpec, needsUnpackedKernel, planBoot } from '../boot/index.ts';
import type { KernelImage } from '../image/kernel-image.ts';
import { initrdSays } from '../initrd/recognise.ts';
import { type CrashReport, crashReport, formatCrash } from '../machine/crash-report.ts';
import { type ExitReason, INTERRUPTED, type Interrupt } from '../machine/exit-reason.ts';
import { formatRecording, parseRecording, type RecordedInput } from '../machine/input.ts';
import { type AsyncRunOptions, Machine, type MachineOptions, type SymbolTable } from '../machine/machine.ts';
import { makeReport } from '../machine/report.ts';
import { type TracedKernel, type TracedRunOptions, tracedRun } from '../machine/traced-run.ts';
import type { ConsoleLine } from '../trace/formats/timeline.ts';
import type { RunRecord } from '../trace/run-record.ts';
import { bootHelp, VIA_CHOICES, VIA_KNOWN } from './boot-help.ts';
import { type BootOptions, type BootSettings, bootSettings } from './boot-settings.ts';
import { kernelToTrace, listenToLines, traceLines, writeTraces } from './boot-trace.ts';
import { writeFileWhole } from './files.ts';
import { peakMemory } from './host-usage.ts';
import { initrdOfProgram, readInitrd, wantsInitramfs } from './initrd-file.ts';
import { KEYS_HELP, KEYS_HINT, openKeyboard } from './interactive.ts';
import { openKernel, readFileBytes, unpackKernel } from './kernel-file.ts';
import { createLogger, LOG_LEVELS, type Logger } from './logging.ts';
import { collect, type Place, parseDump, UsageError } from './options.ts';
import { CLOSED_PIPE_STATUS, FdOutput, type Output } from './output.ts';
import { Progress } from './progress.ts';
import {
  addSnapshotOptions,
  checkSnapshotOptions,
  memoryOf,
  notSaved,
  type OpenedState,
  openState,
  savedLine,
  saveState,
  stateToTrace,
} from './snapshot.ts';
import { withSnapshotFile } from './snapshot-host.ts';
import { kernelSymbols, symbolsFromFile } from './symbols.ts';

const asIs = (text: string) => text;

/** Why a run is aborted, beside signals. */
const CLOSED = 'standard output was closed';
const QUIT = 'keyboard';

export function addBoot(program: Command): void {
  const boot = program
    .command('boot')
    .description('boot a kernel, its console on standard output')
    .argument('[kernel]', 'a kernel file, or the name of a built-in guest', 'tiny')
    .optionsGroup('What is booted:')
    .addOption(new Option('--via <path>', `entry path: ${VIA_CHOICES.join(', ')}`).default('auto'))
    .option('--memory <size>', 'RAM of the machine, as 64M or 2G', '256M')
    .option('--initrd <path>', 'initial RAM disk or first module; a folder is packed')
    .option('--init <file>', 'a static program, packed as /init of an initial RAM disk')
    .option('--cmdline <string>', 'kernel command line')
    .option('--append <string>', 'the same, as QEMU calls it')
    .addOption(
      new Option('--unpack <who>', 'who unpacks a bzImage on linux64 (default: guest)').choices(['host', 'guest']),
    )
    .option('--load <address>', 'where flat code (default: 0x100000) or a relocatable bzImage is loaded')
    .option('--mfn <order>', 'xen-pv: how guest frames lie in the machine: identity, scrambled, scrambled:SEED')
    .optionsGroup('The machine:')
    .option('--cpu <model>', 'max or default, with +FEATURE and -FEATURE: what CPUID shows (max,-SMEP)')
    .option('--rtc <date>', 'date of the real-time clock at the start, in UTC: 2024-02-29T12:00:00')
    .addOption(
      new Option('--engine <engine>', 'how guest code is run').choices(['interpreter', 'auto']).default('auto'),
    )
    .optionsGroup('When it ends:')
    .option('--timeout <seconds>', 'give up after this time of the host')
    .option('--max-instructions <n>', 'give up after this many instructions (500M, 2e9)')
    .option('--expect <text>', 'succeed as soon as the console shows TEXT or /RE/')
    .option('--until <place>', 'succeed as soon as execution reaches a symbol or 0xADDRESS')
    .option('--halt-ok', 'a guest that halts for good has ended well')
    .option('--debug-exit-success <value>', 'the one value at port 0xf4 that means success')
    .optionsGroup('Input:')
    .option('--interactive', 'the keyboard is the serial line; Ctrl-A x ends, Ctrl-A h helps')
    .option('--send <text>', 'text for the serial line, with C escapes (repeatable)', collect(asIs, '--send'))
    .option('--after <text>', 'what the console must show before a --send: TEXT or /RE/', collect(asIs, '--after'))
    .option('--record-input <file>', 'keep all input with its times')
    .option('--replay-input <file>', 'give the input of a recording at its times')
    .optionsGroup('What is kept:')
    .option('--report <file>', 'everything about the run, as JSON')
    .option('--trace <file>', 'what ran, in the format of the ending (repeatable; see below)', collect(asIs, '--trace'))
    .option(
      '--waypoint <place>',
      'a symbol or 0xADDRESS where the state is kept, beside the usual ones (repeatable)',
      collect(asIs, '--waypoint'),
    )
    .option('--dump <addr:length:file>', 'guest physical memory at the end (repeatable)', collect(parseDump, '--dump'))
    .option('--symbols <file>', 'an ELF file or System.map to take symbols from')
    .option('--last-blocks <n>', 'how many of the last blocks a crash report shows', '16');
  addSnapshotOptions(boot)
    .optionsGroup('What is said:')
    .option('--quiet', 'no logs, no progress, no closing line')
    .addOption(new Option('--log-level <level>', 'logs on standard error').choices(LOG_LEVELS).default('warn'))
    .addHelpText('after', () => bootHelp())
    .action(async (kernel: string, options: BootOptions, command: Command) => {
      checkSnapshotOptions(command);
      const { from } = options;
      const run = (file: string, state?: OpenedState) => new BootCommand(file, options, state).run();
      if (from === undefined) process.exitCode = await run(kernel);
      else {
        process.exitCode = await withSnapshotFile(from, async (source) => {
          const state = await openState(source, command.args[0]);
          options.memory = memoryOf(state);
          return run(state.snapshot.facts.kernel.path ?? state.plan.image.name, state);
        });
      }
    });
}

class BootCommand {
  readonly #kernel: string;
  readonly #options: BootOptions;
  readonly #settings: BootSettings;
  readonly #stop = new AbortController();
  readonly #stderr: Output = new FdOutput(2);
  readonly #console: FdOutput = new FdOutput(1, () => this.#stop.abort(CLOSED));
  readonly #log: Logger;
  readonly #progress: Progress;
  readonly #milliseconds: Record<string, number> = {};
  /** What a traced run was. */
  #trace: { kernel: TracedKernel; record: RunRecord; lines: ConsoleLine[] } | undefined;
  /** What was done to make the initrd. */
  #initrdNotes: string[] = [];
  /** Ends of console lines, so that our own lines do not start in the middle of one. */
  #column = 0;

  /** What the run goes on from. */
  readonly #state: OpenedState | undefined;
  /** Of the run that was saved. */
  #before = 0;
  #saved: { instructions: number; place: string | undefined } | undefined;

  constructor(kernel: string, options: BootOptions, state?: OpenedState) {
    this.#state = state;
    this.#kernel = kernel;
    this.#options = options;
    this.#settings = bootSettings(options);
    this.#log = createLogger(options.quiet ? 'silent' : options.logLevel, { pretty: process.stderr.isTTY === true });
    this.#progress = new Progress(this.#stderr, process.stderr.isTTY === true);
  }

  async run(): Promise<number> {
    const interrupt = (signal: NodeJS.Signals) => {
      if (this.#stop.signal.aborted) process.exit(INTERRUPTED[signal as Interrupt]);
      this.#stop.abort(signal);
    };
    // SIGHUP is left alone where there is no terminal to restore: nohup has set it to be ignored.
    const signals: Interrupt[] = this.#options.interactive ? ['SIGINT', 'SIGTERM', 'SIGHUP'] : ['SIGINT', 'SIGTERM'];
    for (const signal of signals) process.on(signal, interrupt);
    try {
      return await this.#run();
    } finally {
      for (const signal of signals) process.off(signal, interrupt);
      this.#progress.clear();
    }
  }

  async #run(): Promise<number> {
    const plan = this.#state?.plan ?? (await this.#makePlan());
    const { until, maxInstructions, timeoutSeconds } = this.#settings;
    let flush = () => {};
    let closeKeyboard = () => {};
    let instructions = () => 0;
    let started = performance.now();
    const attach = (made: Machine) => {
      flush = this.#showConsole(made);
      closeKeyboard = this.#openKeyboard(made);
      instructions = () => made.instructions;
      this.#before = made.instructions;
      started = performance.now();
    };
    const options = await this.#machineOptions();
    const limits = {
      until: until && placeOf(until),
      maxInstructions,
      timeoutSeconds,
      interactive: this.#options.interactive,
      signal: this.#stop.signal,
      onSlice: () => {
        flush();
        this.#showProgress((seconds) => `${count(instructions())} instructions, ${seconds.toFixed(0)} s`);
      },
    };
    let run: { machine: Machine; exit: ExitReason };
    try {
      run = await (this.#isTraced
        ? this.#runTraced(plan, { ...options, ...limits }, attach)
        : this.#runPlain(plan, options, limits, attach));
    } finally {
      closeKeyboard();
      flush();
      this.#milliseconds.run = performance.now() - started;
      this.#progress.clear();
    }
    const exit = this.#saveAtEnd(run.machine, this.#inUsersWords(run.exit));
    await this.#after(plan, run.machine, exit);
    return exit.code;
  }

  async #runPlain(plan: BootPlan, options: MachineOptions, limits: AsyncRunOptions, attach: (made: Machine) => void) {
    const machine = await this.#makeMachine(plan, options);
    attach(machine);
    const { saveAt } = this.#settings;
    const exit = await machine.run({
      ...limits,
      ...(saveAt && { stopAt: [placeOf(saveAt)] }),
      onPlace: () => {
        this.#save(machine);
        return [];
      },
    });
    return { machine, exit };
  }

  #save(machine: Machine): void {
    const started = performance.now();
    saveState(this.#options.saveState as string, machine, this.#kernel);
    this.#milliseconds.save = performance.now() - started;
    this.#saved = { instructions: machine.instructions, place: machine.symbolise(machine.vcpu.state().rip) };
  }

  /** A run that stopped where it could go on; one that ended has nothing to save. */
  #saveAtEnd(machine: Machine, exit: ExitReason): ExitReason {
    const { saveState: file } = this.#options;
    const { saveAt } = this.#settings;
    if (file === undefined || this.#saved) return exit;
    if (saveAt || machine.isOver) return notSaved(exit, file, saveAt);
    this.#save(machine);
    return exit;
  }

  get #isTraced(): boolean {
    return this.#settings.traces.length > 0 || this.#settings.waypoints.length > 0;
  }

  /** The same run, written down. */
  async #runTraced(
    plan: BootPlan,
    options: Omit<TracedRunOptions, 'kernel' | 'sha256'>,
    attach: (made: Machine) => void,
  ) {
    const { traces, waypoints, saveAt } = this.#settings;
    if (!plan.unpackedKernel) this.#announceUnpacking(plan.image);
    const kernel = await this.#timed('symbols', () =>
      this.#state ? stateToTrace(this.#state, this.#options.symbols) : kernelToTrace(plan, this.#options.symbols),
    );
    this.#progress.clear();
    if (!kernel.symbols)
      this.#log.warn({ kernel: plan.image.name }, 'no symbols: no functions are traced (--symbols FILE)');
    const events = traces.some(({ format }) => format.wantsEvents);
    const started = performance.now();
    let lines: ConsoleLine[] = [];
    const onMachine = (machine: Machine) => {
      this.#milliseconds.place = performance.now() - started;
      lines = listenToLines(machine);
      attach(machine);
    };
    const { record, exit, machine } = await tracedRun(plan, {
      ...options,
      kernel,
      waypoints: saveAt ? [...waypoints, placeOf(saveAt)] : waypoints,
      events,
      sha256,
      onMachine,
      create: (made, options) => this.#create(made, options ?? {}),
      ...(saveAt && {
        onWaypoint: (name, machine) => {
          const asked = placeOf(saveAt);
          if (!this.#saved && name === (typeof asked === 'string' ? asked : hex(asked))) this.#save(machine);
        },
      }),
    });
    this.#trace = { kernel, record, lines };
    return { machine, exit };
  }

  /** Two ways to interrupt a run are no signals of the system. */
  #inUsersWords(exit: ExitReason): ExitReason {
    if (exit.kind !== 'interrupted') return exit;
    const { reason } = this.#stop.signal;
    if (reason === CLOSED) return { ...exit, code: CLOSED_PIPE_STATUS, detail: 'nobody reads the console any more' };
    return reason === QUIT ? { ...exit, detail: 'ended from the keyboard' } : exit;
  }

  async #makePlan(): Promise<BootPlan> {
    const { via, unpack } = this.#options;
    const { memorySize, cmdline, load, mfn } = this.#settings;
    if (!VIA_KNOWN.includes(via)) {
      throw new UsageError({
        what: `there is no entry path ${JSON.stringify(via)}`,
        where: '--via',
        why: `known are ${VIA_CHOICES.join(', ')}`,
        fix: 'use one of these',
      });
    }
    const spec: BootSpec = { via: via as BootSpec['via'], memory: memorySize, cmdline, load, unpack, mfn };
    const image = await this.#timed('read', () => openKernel(this.#kernel, spec.via));
    for (const warning of image.warnings) this.#log.warn({ kernel: image.name }, warning);
    spec.initrd = await this.#initrd(image, spec.via);
    if (image.format === 'bzimage' && needsUnpackedKernel(image, spec)) {
      this.#announceUnpacking(image);
      spec.unpackedKernel = await this.#timed('unpack', () => unpackKernel(image));
      this.#progress.clear();
    }
    const plan = await this.#timed('plan', () => planBoot(image, spec));
    for (const note of plan.notes) this.#log.info({ via: plan.via }, note);
    this.#log.info({ via: plan.via, format: image.format, entry: hex(plan.state.rip) }, 'planned');
    return plan;
  }

  async #initrd(image: KernelImage, via: BootSpec['via']): Promise<Uint8Array | undefined> {
    const { initrd, init } = this.#options;
    if (initrd === undefined && init === undefined) return undefined;
    const { bytes, notes, warnings } = await this.#timed('initrd', () =>
      initrd === undefined ? initrdOfProgram(init as string) : readInitrd(initrd, wantsInitramfs(image, via)),
    );
    for (const note of notes) this.#log.info({ initrd }, note);
    if (!this.#settings.cmdline?.includes('rdinit='))
      for (const warning of warnings) this.#log.warn({ initrd }, warning);
    this.#initrdNotes = notes;
    return bytes;
  }

  #announceUnpacking(image: KernelImage): void {
    if (image.format !== 'bzimage' || (image.payload?.bytes.length ?? 0) < 4 * MiB) return;
    this.#showProgress(() => `unpacking ${image.name} (${image.payload?.compression})`, true);
  }

  async #machineOptions(): Promise<MachineOptions> {
    const { expect, script, rtcSeconds, debugExitSuccess, cpu } = this.#settings;
    const { replayInput, haltOk } = this.#options;
    let replay: RecordedInput[] | undefined;
    if (replayInput !== undefined) {
      const bytes = await readFileBytes(replayInput, '--replay-input');
      replay = parseRecording(new TextDecoder().decode(bytes), replayInput);
    }
    return { expect, script, rtcSeconds, debugExitSuccess, haltOk, replay, cpu };
  }

  async #makeMachine(plan: BootPlan, options: MachineOptions): Promise<Machine> {
    const file = this.#options.symbols;
    const symbols =
      file === undefined
        ? (this.#state?.symbols ?? (() => this.#kernelSymbols(plan)))
        : symbolsFromFile(file, await readFileBytes(file, '--symbols'));
    return this.#timed('place', () => this.#create(plan, { ...options, symbols }));
  }

  #create(plan: BootPlan, options: MachineOptions): Promise<Machine> {
    return this.#state ? this.#state.restore(plan, options) : Machine.create(plan, options);
  }

  /** The console goes out at each newline and whenever the machine pauses, so that a prompt shows too. */
  #showConsole(machine: Machine): () => void {
    const pending = new Uint8Array(4096);
    let length = 0;
    const flush = () => {
      if (length === 0) return;
      if (this.#column === 0) this.#progress.clear();
      this.#column = pending[length - 1] === 0x0a ? 0 : 1;
      this.#console.write(pending.subarray(0, length));
      length = 0;
    };
    machine.console.onByte((byte) => {
      pending[length++] = byte;
      if (byte === 0x0a || length === pending.length) flush();
    });
    return flush;
  }

  #openKeyboard(machine: Machine): () => void {
    if (!this.#options.interactive) return () => {};
    if (process.stdin.isTTY && !this.#options.quiet) this.#say(`zeropage: ${KEYS_HINT}\n`);
    return openKeyboard(process.stdin, {
      onBytes: (bytes) => machine.type(bytes),
      onEnd: () => machine.endInput(),
      onQuit: () => this.#stop.abort(QUIT),
      onHelp: () => this.#say(KEYS_HELP),
    });
  }

  /** The kernel's own names; a stripped kernel has none. Unpacking a large one takes seconds. */
  #kernelSymbols(plan: BootPlan): SymbolTable | undefined {
    if (!plan.unpackedKernel) this.#announceUnpacking(plan.image);
    const symbols = kernelSymbols(plan);
    this.#progress.clear();
    return symbols;
  }

  async #after(plan: BootPlan, machine: Machine, exit: ExitReason): Promise<void> {
    const { quiet, dump = [], recordInput, report, lastBlocks } = { ...this.#options, ...this.#settings };
    let crash: CrashReport | undefined;
    if (exit.code >= 4 && exit.code <= 6) {
      const scene = machine.scene(lastBlocks);
      crash = await crashReport(scene, (address) => machine.symbolise(address));
      const looping = exit.kind === 'timeout' || exit.kind === 'instruction-limit';
      if (!(looping && quiet)) this.#say(formatCrash(exit, scene, crash));
    }
    for (const { at, length, file } of dump) writeFileWhole(file, machine.memory.bytes(at, length));
    if (recordInput !== undefined) writeFileWhole(recordInput, formatRecording(machine.takenInput));
    const { traces, waypoints } = this.#settings;
    if (this.#trace) writeTraces(traces, this.#trace.record, this.#trace.kernel, this.#trace.lines);
    const outcome = report === undefined ? undefined : machine.outcome();
    if (report !== undefined && outcome) {
      const host = {
        milliseconds: Object.fromEntries(Object.entries(this.#milliseconds).map(([step, ms]) => [step, round(ms)])),
        sinceProcessStart: round(performance.now()),
        instructionsPerSecond: Math.round(((machine.instructions - this.#before) / this.#milliseconds.run) * 1000),
        memory: process.memoryUsage.rss(),
        peakMemory: peakMemory(),
        node: process.version,
        ...(this.#state && { from: this.#options.from, fromInstructions: this.#before }),
      };
      const parts = {
        plan,
        imagePath: this.#kernel,
        exit,
        outcome,
        crash,
        waypoints: this.#trace?.record.waypoints,
        host,
        sha256,
      };
      writeFileWhole(report, `${JSON.stringify(makeReport(parts), null, 2)}\n`);
    }
    if (quiet || this.#console.closed) return;
    const traced = this.#trace ? traceLines(this.#trace.record, traces, waypoints) : [];
    const { saveState: file } = this.#options;
    const kept = file !== undefined && this.#saved ? [savedLine(file, this.#saved)] : [];
    const from = this.#options.from === undefined ? undefined : { file: this.#options.from, before: this.#before };
    const more = [...this.#initrdLines(plan), ...traced, ...kept];
    this.#say(closingLines(plan, machine, exit, this.#milliseconds.run, more, from));
  }

  #initrdLines({ writes }: BootPlan): string[] {
    const initrd = writes.find(({ what }) => what === 'initrd');
    if (!initrd) return [];
    const says = initrdSays(initrd.bytes) ?? 'of no kind that Linux knows';
    return [`initrd: ${[says, `${count(initrd.length)} bytes`, ...this.#initrdNotes].join(', ')}`];
  }

  /** Our own words begin on a line of their own, also where both streams go to one terminal. */
  #say(text: string): void {
    this.#progress.clear();
    const together = process.stdout.isTTY && process.stderr.isTTY;
    this.#stderr.write(this.#column !== 0 && together ? `\n${text}` : text);
    this.#column = 0;
  }

  #showProgress(describe: (seconds: number) => string, now = false): void {
    if (this.#options.quiet || this.#options.interactive || this.#column !== 0) return;
    this.#progress.update((seconds) => `zeropage: ${describe(seconds)}`, now);
  }

  async #timed<T>(step: string, work: () => T | Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work();
    } finally {
      this.#milliseconds[step] = (this.#milliseconds[step] ?? 0) + performance.now() - started;
    }
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function closingLines(
  plan: BootPlan,
  machine: Machine,
  exit: ExitReason,
  milliseconds: number,
  traced: readonly string[],
  from: { file: string; before: number } | undefined,
): string {
  const ran = machine.instructions - (from?.before ?? 0);
  const speed = ran / milliseconds / 1000;
  const lines = [
    `zeropage: ${exit.kind}, exit ${exit.code}: ${exit.detail}`,
    `zeropage: ${plan.image.name} via ${plan.via}, ${from ? `from ${from.file} (after ${count(from.before)}), ` : ''}${count(ran)} instructions in ` +
      `${(milliseconds / 1000).toFixed(2)} s (${speed.toFixed(1)} M/s), ${(machine.virtualTimeNs / 1e9).toFixed(3)} s of virtual time`,
  ];
  lines.push(...traced.map((line) => `zeropage: ${line}`));
  if (exit.hint) lines.push(`zeropage: hint: ${exit.hint}`);
  return `${lines.join('\n')}\n`;
}

const placeOf = (place: Place) => ('symbol' in place ? place.symbol : place.address);
const count = (value: number) => value.toLocaleString('en');
const round = (value: number) => Math.round(value * 1000) / 1000;
