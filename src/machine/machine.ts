/** Machine: a plan placed into memory, a CPU, a board, a console, and the means to run them.
 *
 * `run` comes back to the event loop every few dozen milliseconds, so that a console is live and a time-out or an
 * interrupt works; `runSync` and `step` never do. All of them answer with an ExitReason for whatever the guest did; they
 * throw only for our own mistakes. A run that stopped at a limit, a place or a text can go on; one that ended stays so.
 * Several machines can live in one process: nothing here is global.
 * May not: open files or print.   Next: machine/profile.ts. */
import { BootError } from '../base/errors.ts';
import { alignUp, hex } from '../base/numbers.ts';
import { anything, flag, integer, maybe, misfit, record, type Saved, text, whole } from '../base/saved.ts';
import { type BootPlan, machineSize, placePlan, planMemory } from '../boot/plan.ts';
import { DEFAULT_RTC_SECONDS } from '../devices/cmos-rtc.ts';
import { Cpu } from '../engine/cpu.ts';
import { peekLinear } from '../engine/peek.ts';
import { walkTrace } from '../engine/walk-trace.ts';
import type { GuestRam } from '../memory/guest-ram.ts';
import { PseudoPhysicalMemory } from '../memory/pseudo-physical-memory.ts';
import type { Hypervisor, PersonalityWorld, RegisteredTrap, ToldEvent } from '../personality/personality.ts';
import { cpuBehindXen } from '../personality/xen/hvm/cpuid.ts';
import type { KernelPlace, MemoryView, MovableKernel } from '../symbols/kernel-place.ts';
import type { TraceRecorder } from '../trace/recorder.ts';
import { DEFAULT_MODEL, MAX_MODEL, parseCpuModel } from '../x86/cpuid.ts';
import type { VcpuState } from '../x86/vcpu-state.ts';
import { type Board, createBoard } from './board.ts';
import { BoardHost } from './board-host.ts';
import { GuestConsole } from './console.ts';
import type { CrashScene } from './crash-report.ts';
import { type ExitReason, INTERRUPTED, type Interrupt } from './exit-reason.ts';
import { createHvmPersonality, HvmHost } from './hvm-host.ts';
import { InputScript, type RecordedInput, type ScriptStep } from './input.ts';
import { PatternWatch, type TextPattern } from './pattern.ts';
import { createPersonality, PersonalityHost } from './personality-host.ts';
import type { Outcome } from './report.ts';
import { RunLoop, type Stop } from './run-loop.ts';
import { StateHash } from './state-hash.ts';
import { type Signal, Verdict } from './verdict.ts';

/** Names for addresses and addresses for names; src/symbols makes them. */
export interface SymbolTable {
  /** The symbol that covers an address, and how far behind its start the address lies. */
  lookup(address: bigint): { name: string; offset: bigint } | undefined;
  address(name: string): bigint | undefined;
  /** Present when the kernel chooses its place while it unpacks itself: where to look for it. */
  movable?: Pick<MovableKernel, 'entries' | 'atEntry' | 'now' | 'symbolsAt'>;
}

export type MachineOptions = {
  /** Names for --until and crash reports; a function is asked when the first name is needed. */
  symbols?: SymbolTable | (() => SymbolTable | undefined);
  /** What CPUID shows, as x86/cpuid.ts reads it: "max", "+POPCNT,-SMEP". Flat code starts from max. */
  cpu?: string;
  /** Seconds since 1970 at virtual time 0. */
  rtcSeconds?: number;
  /** Halting for good is a good end; flat code has it so anyway. */
  haltOk?: boolean;
  /** The only value at the debug-exit port that means success. */
  debugExitSuccess?: number;
  /** Ends the run with success when the console shows it. */
  expect?: TextPattern;
  /** Input that waits for the console. */
  script?: readonly ScriptStep[];
  /** Input of an earlier run, at its times. */
  replay?: readonly RecordedInput[];
  /** Instructions in one go; nothing depends on it (tests show that). */
  quantum?: number;
  /** Instructions in one call into generated code; nothing depends on it either. */
  cpuQuantum?: number;
  /** One instruction at a time, always; nothing depends on it, too. */
  plain?: boolean;
  /** Records what runs, from the first instruction on; the guest cannot tell. */
  tracer?: TraceRecorder;
};

export type RunOptions = {
  /** A symbol or an address, or several; the run stops before the instruction there. */
  until?: string | bigint | readonly (string | bigint)[];
  /** Places to stop at in passing: an end that comes without them is as good as any. */
  stopAt?: readonly (string | bigint)[];
  /** Asked at each place of `stopAt` instead of stopping there: where to look out from now on, or undefined to stop. */
  onPlace?: (at: bigint) => readonly bigint[] | undefined;
  /** A kernel that unpacks itself is about to run its first instruction, and where it is linked for is known: where to
   * look out from now on, instead of `stopAt`. */
  onKernel?: (place: KernelPlace) => readonly bigint[];
  /** How many instructions this call may run. */
  maxInstructions?: number;
  /** Host seconds. */
  timeoutSeconds?: number;
};

export type AsyncRunOptions = RunOptions & {
  /** Its reason, SIGINT, SIGTERM or SIGHUP, is told in the exit reason. */
  signal?: AbortSignal;
  /** Called whenever the machine lets the event loop have its turn. */
  onSlice?: () => void;
  /** Somebody may type (`machine.type`): a guest that waits for input is not at its end. */
  interactive?: boolean;
};

/** What of MachineOptions a snapshot keeps. */
export type MachineMade = {
  cpu: string | undefined;
  haltOk: boolean;
  debugExitSuccess: number | undefined;
  rtcSeconds: number;
};

const MACHINE = {
  made: record({ cpu: maybe(text), haltOk: flag, debugExitSuccess: maybe(whole()), rtcSeconds: integer }),
  features: text,
  stoppedAt: integer,
  cpu: anything,
  frames: anything,
  console: anything,
  verdict: anything,
  hash: anything,
  loop: anything,
  board: anything,
  personality: anything,
};

/** The engine's memory comes in WebAssembly pages. */
const RAM_GRAIN = 65_536;

/** How long the event loop waits for its turn, in host milliseconds. */
const SLICE_MS = 30;

/** Refuses what no run could ever reach; NaN is smaller than nothing and would run for ever. */
function checkLimit(name: string, limit: number | undefined): void {
  if (limit === undefined || (typeof limit === 'number' && limit >= 0)) return;
  throw new BootError({
    what: `${name} is no limit: ${String(limit)}`,
    where: `run({ ${name} }), or step(count)`,
    why: 'a number from 0 on is expected',
    fix: 'leave it out to run without a limit',
  });
}

export class Machine {
  readonly plan: BootPlan;
  readonly memory: GuestRam;
  readonly console: GuestConsole;
  readonly board: Board;
  readonly vcpu: { state(): VcpuState; setState(state: Partial<VcpuState>): void };
  #symbolSource: MachineOptions['symbols'];
  /** Where a kernel that unpacked itself runs, and its names there; and when it was last looked for in vain. */
  #placed: { place: KernelPlace; symbols: SymbolTable } | undefined;
  #lookedAt = -1;
  readonly #cpu: Cpu;
  readonly #verdict: Verdict;
  readonly #loop: RunLoop;
  readonly #hash = new StateHash();
  #personality: Hypervisor | undefined;
  readonly #rtcSeconds: number;
  readonly #options: MachineOptions;
  readonly #script: InputScript;
  #expectSeen = false;
  readonly #expect: PatternWatch | undefined;
  #ended: ExitReason | undefined;
  /** Instruction count of the last stop at a place, so that going on gets past it. */
  #stoppedAt = -1;
  #wake: (() => void) | undefined;

  /** Builds the machine that the plan asks for and places the plan in its memory. */
  static async create(plan: BootPlan, options: MachineOptions = {}): Promise<Machine> {
    const host = hostFor(plan);
    const base = plan.cpuDefault === 'max' ? MAX_MODEL : DEFAULT_MODEL;
    const asked = options.cpu === undefined ? base : parseCpuModel(options.cpu, base);
    const cpuModel = host instanceof HvmHost ? cpuBehindXen(asked) : asked;
    const cpu = Cpu.create({
      ramSize: alignUp(machineSize(plan), RAM_GRAIN),
      cpuModel,
      host,
      plain: options.plain,
      quantum: options.cpuQuantum,
    });
    const machine = new Machine(plan, cpu, options);
    host.board = machine.board;
    cpu.tracer = options.tracer;
    if (host instanceof PersonalityHost) machine.#stepBehind(host);
    else host.settled = () => machine.#loop.settled();
    if (host instanceof HvmHost) machine.#stepBeside(host);
    return machine;
  }

  /** Puts the plan's personality between the guest and the board. */
  #stepBehind(host: PersonalityHost): void {
    const { plan } = this;
    const personality = createPersonality(plan, this.#world());
    host.personality = personality;
    this.#cpu.hooks = personality;
    this.#have(personality);
    this.#loop.boardTakesInput = false;
  }

  /** Puts it beside the two. */
  #stepBeside(host: HvmHost): void {
    const personality = createHvmPersonality(this.plan, this.#world());
    host.personality = personality;
    this.#cpu.calls = personality;
    this.#have(personality);
  }

  #have(personality: Hypervisor): void {
    this.#loop.personality = personality;
    this.#personality = personality;
  }

  #world(): PersonalityWorld {
    return {
      cpu: this.#cpu,
      console: (byte) => {
        this.#loop.boardTakesInput = false;
        this.console.push(byte);
      },
      end: (end) => this.#signal(end),
      rtcSeconds: this.#rtcSeconds,
      told: this.#toldOf(),
    };
  }

  /** Where a personality tells what it does, when events are traced. */
  #toldOf(): ((event: ToldEvent) => void) | undefined {
    const cpu = this.#cpu;
    const { tracer } = cpu;
    if (!tracer?.wantsEvents) return undefined;
    return ({ kind, number, name, values }) => {
      const { instructions } = cpu;
      const { rip } = cpu.state;
      if (name === undefined) tracer.event(kind, instructions, rip, number, ...values);
      else tracer.named(kind, instructions, rip, number, name, values);
    };
  }

  private constructor(plan: BootPlan, cpu: Cpu, options: MachineOptions) {
    this.plan = plan;
    this.#cpu = cpu;
    this.#rtcSeconds = options.rtcSeconds ?? DEFAULT_RTC_SECONDS;
    this.#options = options;
    this.#symbolSource = options.symbols;
    this.memory = planMemory(plan, cpu.buffer, cpu.ramOffset);
    placePlan(plan, this.memory); // before the observer: no code has been decoded yet
    this.memory.setWriteObserver((at, length) => cpu.physicalWritten(at, length));
    cpu.setState(plan.state);
    this.vcpu = { state: () => cpu.vcpuState(), setState: (state) => cpu.setState(state) };

    const clock = () => cpu.now;
    this.console = new GuestConsole();
    this.#verdict = new Verdict({ clock, haltOk: options.haltOk || plan.haltIsSuccess, debugExitSuccess: options.debugExitSuccess }); // biome-ignore format: one line
    this.board = createBoard({
      clock,
      console: (byte) => {
        this.#loop.boardTakesInput = true;
        this.console.push(byte);
      },
      debugConsole: (byte) => this.console.push(byte),
      rtcSeconds: options.rtcSeconds,
      onReset: (how) => this.#signal({ kind: 'reset', how }),
      onDebugExit: (value) => this.#signal({ kind: 'debug-exit', value }),
    });
    const script = new InputScript(options.script ?? []);
    this.#script = script;
    this.#loop = new RunLoop({
      cpu,
      board: this.board,
      verdict: this.#verdict,
      hash: this.#hash,
      script,
      replay: [...(options.replay ?? [])],
      quantum: options.quantum,
    });
    this.#expect = options.expect === undefined ? undefined : new PatternWatch(options.expect);
    this.console.onByte((byte) => {
      script.push(byte);
      if (!this.#expectSeen && this.#expect?.push(byte)) {
        this.#expectSeen = true;
        this.#signal({ kind: 'expected', text: String(this.#expect) });
      }
    });
    this.console.onLine((line) => this.#verdict.line(line));
  }

  get instructions(): number {
    return this.#cpu.instructions;
  }

  /** Nanoseconds since the first instruction. */
  get virtualTimeNs(): number {
    return this.#cpu.now;
  }

  /** All input as the guest's machine took it, with its times. */
  get takenInput(): readonly RecordedInput[] {
    return this.#loop.taken;
  }

  /** Input as a person types it; taken when the machine comes around to it. */
  type(bytes: Uint8Array): void {
    this.#loop.type(bytes);
    this.#wake?.();
  }

  /** Nobody will type any more. */
  endInput(): void {
    this.#loop.liveInput = false;
    this.#wake?.();
  }

  /** Runs `count` instructions. */
  step(count = 1): ExitReason {
    return this.runSync({ maxInstructions: count });
  }

  /** Runs without coming back before the end. */
  runSync(options: RunOptions = {}): ExitReason {
    const run = this.#begin(options);
    while (run.result === undefined) this.#advance(run, Number.POSITIVE_INFINITY);
    return run.result;
  }

  async run(options: AsyncRunOptions = {}): Promise<ExitReason> {
    const { signal, onSlice, interactive = false } = options;
    const run = this.#begin(options);
    this.#loop.liveInput = interactive && run.result === undefined;
    const onAbort = () => this.#wake?.();
    signal?.addEventListener('abort', onAbort);
    try {
      while (run.result === undefined) {
        const stop = this.#advance(run, SLICE_MS);
        onSlice?.();
        if (run.result !== undefined) break;
        if (stop.kind === 'idle') await this.#idle(stop.until, run.deadline, signal);
        else await turnOfTheEventLoop();
        if (signal?.aborted) run.result = this.#end({ kind: 'interrupted', signal: signalName(signal.reason) }, run);
      }
      return run.result;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#loop.liveInput = false;
    }
  }

  /** What the run has left behind so far. */
  outcome(): Outcome {
    const hash = this.#hash.copy();
    hash.foldWords(this.#cpu.registerWords());
    const framesInUse = hash.foldMemory(this.memory);
    return {
      instructions: this.#cpu.instructions,
      virtualTimeNs: this.#cpu.now,
      state: this.#cpu.vcpuState(),
      stateHash: hash.digest(),
      framesInUse,
      framesTouched: this.memory.countTouched(this.#cpu.touchedFrames),
      console: this.console.text,
      faults: this.#cpu.faultCount,
      absent: this.board.absentAccesses(),
      unknownMsrs: [...this.#cpu.unknownMsrs].map(([msr, accesses]) => ({ msr, accesses })),
      missing: this.#personality?.missing ?? [],
    };
  }

  /** How the machine was made, as far as a snapshot has to make one alike. */
  get made(): MachineMade {
    const { cpu, haltOk, debugExitSuccess } = this.#options;
    return { cpu, haltOk: haltOk === true, debugExitSuccess, rtcSeconds: this.#rtcSeconds };
  }

  /** Whether the guest has come to an end of its own. */
  get isOver(): boolean {
    return this.#ended !== undefined;
  }

  /** The state of all parts but the bytes of memory (`physical`). A BootError when the run is over, or when a part has
   * state and no way to tell it. */
  save(): Saved {
    const { plan } = this;
    const refuse = (what: string, why: string, fix: string) => new BootError({ what, where: 'snapshot', why, fix });
    if (this.#ended) {
      const why = `its run is over: ${this.#ended.detail}`;
      throw refuse('the machine cannot be saved', why, 'stop it before, at a place (--until) or by a limit');
    }
    const personality = this.#personality;
    if (personality && !(personality.save && personality.restore)) {
      const why = `what stands behind its guest (${plan.personality}) has state and does not say it`;
      throw refuse(`a snapshot of a ${plan.via} machine is not built yet`, why, 'run it without a snapshot');
    }
    return {
      made: { ...this.made },
      features: this.#features,
      stoppedAt: this.#stoppedAt,
      cpu: this.#cpu.save(),
      frames: this.memory.save(),
      console: this.console.save(),
      verdict: this.#verdict.save(),
      hash: this.#hash.save(),
      loop: this.#loop.save(),
      board: this.board.save(),
      personality: personality?.save?.(),
    };
  }

  get #features(): string {
    return [...this.#cpu.model.features].sort().join(' ');
  }

  /** Into a machine that was made alike (`made`) and has not run. Its memory is put back by whoever calls this. */
  restore(saved: Saved, where: string): void {
    const state = record(MACHINE)(saved, where);
    if (state.features !== this.#features)
      throw misfit(`${where}.features`, `its CPU shows ${state.features}; the one of this version: ${this.#features}`);
    this.#stoppedAt = state.stoppedAt;
    this.#personality?.restore?.(state.personality, `${where}.personality`);
    this.#cpu.restore(state.cpu, `${where}.cpu`);
    this.memory.restore(state.frames, `${where}.frames`);
    this.console.restore(state.console, `${where}.console`);
    for (const byte of this.console.begunLine) this.#script.push(byte); // a prompt that waits is one to answer
    this.#verdict.restore(state.verdict, `${where}.verdict`);
    this.#hash.restore(state.hash, `${where}.hash`);
    this.board.restore(state.board, `${where}.board`);
    this.#loop.restore(state.loop, `${where}.loop`, this.#cpu.now);
  }

  /** How a saved machine was made. */
  static madeOf(saved: Saved, where: string): MachineMade {
    return record(MACHINE)(saved, where).made;
  }

  /** Bytes of the engine's physical memory: what `physical` takes a view of. */
  get physicalSize(): number {
    return this.#cpu.ramSize;
  }

  /** What a crash report is made from. */
  scene(lastBlocks: number): CrashScene {
    return {
      state: this.#cpu.vcpuState(),
      // What `walk` answers is an address of the engine's physical memory, which under Xen PV is the machine's.
      memory: this.memory instanceof PseudoPhysicalMemory ? this.memory.machine : this.memory,
      instructions: this.#cpu.instructions,
      firstFault: this.#cpu.firstFault,
      lastFaults: this.#cpu.recentFaults,
      faultCount: this.#cpu.faultCount,
      recentBlocks: this.#cpu.recentBlocks(Math.max(256, lastBlocks)),
      lastBlocks,
      walk: (address) => walkTrace(this.#cpu.state, this.#cpu.ramSize, address),
      consoleLines: this.console.lines,
      samples: this.#loop.profile.samples,
      sampled: this.#loop.profile.covered,
      virtualTimeNs: this.#cpu.now,
      idleNs: this.#cpu.idleNs,
    };
  }

  /** Bytes by linear address, as the guest's page tables map them now, without touching anything; undefined where a page
   * is missing. */
  peek(address: bigint, length: number): Uint8Array | undefined {
    return peekLinear(this.#cpu.state, this.#cpu.ramSize, address, length);
  }

  /** Bytes of the engine's physical memory (under Xen PV the machine's, not the guest's frames). */
  physical(at: number, length: number): Uint8Array {
    const size = this.#cpu.ramSize;
    return new Uint8Array(
      this.#cpu.buffer,
      this.#cpu.ramOffset + Math.min(at, size),
      Math.max(0, Math.min(length, size - at)),
    );
  }

  /** Traps that the guest has registered with what stands behind it, by vector; undefined on bare metal. */
  registeredTraps(): ReadonlyMap<number, RegisteredTrap> | undefined {
    return this.#personality?.traps?.();
  }

  get symbols(): SymbolTable | undefined {
    const source = this.#linkedSymbols();
    if (source?.movable && !this.#placed && this.#lookedAt !== this.instructions) {
      this.#lookedAt = this.instructions;
      this.#place(source, source.movable.now(this.#view()));
    }
    return this.#placed?.symbols ?? source;
  }

  #linkedSymbols(): SymbolTable | undefined {
    if (typeof this.#symbolSource === 'function') this.#symbolSource = this.#symbolSource();
    return this.#symbolSource;
  }

  /** Where a kernel that unpacked itself runs; undefined as long as nobody knows, and for one that others have placed. */
  get kernelPlace(): KernelPlace | undefined {
    return this.#placed?.place;
  }

  #place({ movable }: SymbolTable, place: KernelPlace | undefined): boolean {
    if (movable && place) this.#placed = { place, symbols: movable.symbolsAt(place) };
    return place !== undefined;
  }

  #view(): MemoryView {
    return {
      physical: (at, length) => this.physical(at, length),
      peek: (address, length) => this.peek(address, length),
      ramSize: this.memory.size,
      rip: this.#cpu.state.rip,
    };
  }

  /** `start_kernel+0x12`. */
  symbolise(address: bigint): string | undefined {
    const found = this.symbols?.lookup(address);
    if (!found) return undefined;
    return found.offset === 0n ? found.name : `${found.name}+${hex(found.offset)}`;
  }

  #begin({ until, stopAt = [], onPlace, onKernel, maxInstructions, timeoutSeconds }: RunOptions): Run {
    checkLimit('maxInstructions', maxInstructions);
    checkLimit('timeoutSeconds', timeoutSeconds);
    const start = this.#cpu.instructions;
    const wanted = until === undefined ? [] : typeof until === 'object' ? until : [until];
    const awaited = wanted.map((place) => this.#placeOf(place));
    const places = [...awaited, ...stopAt.map((place) => this.#placeOf(place))];
    const byName = onKernel !== undefined || [...wanted, ...stopAt].some((place) => typeof place === 'string');
    const entries = byName && !this.#placed ? (this.symbols?.movable?.entries(this.memory.size) ?? []) : [];
    const run: Run = {
      limit: start + (maxInstructions ?? Number.POSITIVE_INFINITY),
      maxInstructions: maxInstructions ?? Number.POSITIVE_INFINITY,
      deadline: timeoutSeconds === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutSeconds * 1000,
      timeoutSeconds: timeoutSeconds ?? Number.POSITIVE_INFINITY,
      places,
      awaited,
      entries: new Map(entries.map((address) => [address, 0])),
      onPlace,
      onKernel,
      result: this.#ended,
    };
    if (run.result !== undefined || (places.length === 0 && entries.length === 0)) {
      this.#cpu.setBreakpoints([]);
      return run;
    }
    const { rip } = this.#cpu.state;
    const here = places.find(({ address }) => address === rip);
    if (here) {
      if (this.#stoppedAt !== start && !this.#passOn(run, rip)) {
        this.#stoppedAt = start;
        run.result = this.#end({ kind: 'until', place: here.name }, run);
        return run;
      }
      this.#cpu.setBreakpoints([]); // go on from where the last call stopped
      run.passing = true;
    } else this.#cpu.setBreakpoints(lookout(run));
    return run;
  }

  /** One slice; sets `run.result` when the run is over. */
  #advance(run: Run, milliseconds: number): Stop {
    const sliceEnd = performance.now() + milliseconds;
    const until = Math.min(sliceEnd, run.deadline);
    const limit = run.passing ? Math.min(run.limit, this.#cpu.instructions + 1) : run.limit;
    const stop = this.#loop.slice(limit, () => performance.now() >= until);
    if (run.passing && stop.kind === 'limit' && this.#cpu.instructions < run.limit) {
      run.passing = false;
      this.#cpu.setBreakpoints(lookout(run));
      return { kind: 'slice' };
    }
    if (stop.kind === 'until' && run.entries.has(stop.at)) this.#mayBeKernel(run, stop.at);
    if (stop.kind === 'until' && !run.places.some(({ address }) => address === stop.at)) {
      this.#cpu.setBreakpoints([]);
      run.passing = true;
      return { kind: 'slice' };
    }
    if (stop.kind === 'until' && this.#passOn(run, stop.at)) {
      this.#cpu.setBreakpoints([]);
      run.passing = true;
      return { kind: 'slice' };
    }
    const result = this.#resultOf(stop, run);
    if (result !== undefined) run.result = result;
    else if (performance.now() >= run.deadline)
      run.result = this.#end({ kind: 'timeout', seconds: run.timeoutSeconds }, run);
    return stop;
  }

  /** Control has come to where a kernel that unpacked itself may begin. */
  #mayBeKernel(run: Run, at: bigint): void {
    const source = this.#linkedSymbols();
    const visits = (run.entries.get(at) ?? 0) + 1;
    if (!source?.movable || !this.#place(source, source.movable.atEntry(this.#view()))) {
      // Something else, and a loop may come by here.
      if (visits < MOST_VISITS) run.entries.set(at, visits);
      else run.entries.delete(at);
      return;
    }
    run.entries.clear();
    const again = ({ name, address }: { name: string; address: bigint }) => {
      const moved = this.symbols?.address(name);
      return { name, address: moved ?? address };
    };
    run.awaited = run.awaited.map(again);
    const next = this.#placed && run.onKernel?.(this.#placed.place);
    const others = next ? next.map((place) => this.#placeOf(place)) : run.places.slice(run.awaited.length).map(again);
    run.places = [...run.awaited, ...others];
  }

  /** True when whoever looks at places in passing wants the run to go on. */
  #passOn(run: Run, at: bigint): boolean {
    if (run.awaited.some(({ address }) => address === at)) return false;
    if (run.onPlace) this.#stoppedAt = this.#cpu.instructions; // a snapshot that is taken there goes on past it
    const wanted = run.onPlace?.(at);
    if (wanted === undefined) return false;
    run.places = [...run.awaited, ...wanted.map((place) => this.#placeOf(place))];
    return true;
  }

  #resultOf(stop: Stop, run: Run): ExitReason | undefined {
    switch (stop.kind) {
      case 'signal':
        return this.#end(stop.signal, run);
      case 'console':
        return this.#end({ kind: 'deadline' }, run);
      case 'limit':
        return this.#end({ kind: 'instruction-limit', instructions: run.maxInstructions }, run);
      case 'until':
        this.#stoppedAt = this.#cpu.instructions;
        return this.#end({ kind: 'until', place: placeAt(run, stop.at) }, run);
      case 'slice':
      case 'idle':
        return undefined;
    }
  }

  /** Asks the verdict. An end that is the guest's own doing is final. A good end is none when it came instead of what
   * the user was waiting for. */
  #end(signal: Signal, run: Run): ExitReason {
    const byUs = ['timeout', 'instruction-limit', 'expected', 'until', 'interrupted'].includes(signal.kind);
    if (byUs) return this.#verdict.end(signal);
    this.console.finish();
    const reason = this.#verdict.ended ?? this.#verdict.end(signal);
    const missed = [
      ...(this.#expect && !this.#expectSeen ? [`without showing ${this.#expect}`] : []),
      ...(run.awaited.length > 0 ? [`without reaching ${run.awaited.map(({ name }) => name).join(' or ')}`] : []),
    ];
    const fails = reason.code === 0 && missed.length > 0;
    this.#ended = fails ? { ...reason, code: 1, detail: `${reason.detail}, ${missed.join(' and ')}` } : reason;
    return this.#ended;
  }

  /** The first signal of a slice counts; a device cannot take another one's word back. */
  #signal(signal: Signal): void {
    this.#loop.pending ??= signal;
  }

  #placeOf(until: string | bigint): { address: bigint; name: string } {
    if (typeof until === 'bigint') {
      return { address: until, name: hex(until) };
    }
    const address = this.symbols?.address(until);
    if (address !== undefined) return { address, name: until };
    throw new BootError({
      what: `there is no symbol ${JSON.stringify(until)}`,
      where: '--until',
      why: this.symbols
        ? `${this.plan.image.name} has a symbol table, without this name`
        : `${this.plan.image.name} comes without symbols`,
      fix: 'give an address (--until 0x...), or name a file with symbols: --symbols FILE',
    });
  }

  /** The guest waits and somebody may type. Its clock then runs with the host's, so that it can wait for a second
   * without burning one; input that comes in between arrives at the time that has passed. */
  async #idle(until: number | undefined, deadline: number, signal: AbortSignal | undefined): Promise<void> {
    const { now } = this.#cpu;
    const started = performance.now();
    const longest = until === undefined ? Number.POSITIVE_INFINITY : (until - now) / 1e6;
    const wait = Math.min(longest, deadline - started);
    if (!this.#loop.hasLiveInput && !signal?.aborted && wait > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(wait, 0x7fff_ffff));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    if (until === undefined) return;
    const passed = performance.now() - started;
    this.#loop.idleUntil(passed >= longest ? until : Math.min(until, now + Math.floor(passed * 1e6)));
  }
}

type Run = {
  limit: number;
  maxInstructions: number;
  /** performance.now() at which the time is out. */
  deadline: number;
  timeoutSeconds: number;
  places: readonly { address: bigint; name: string }[];
  /** Those of them that the run is meant to come to. */
  awaited: readonly { address: bigint; name: string }[];
  /** Where a kernel that unpacks itself may begin, and how often something else was met there. */
  entries: Map<bigint, number>;
  onPlace: RunOptions['onPlace'];
  onKernel: RunOptions['onKernel'];
  /** One instruction is run without the breakpoint it stands on. */
  passing?: boolean;
  result: ExitReason | undefined;
};

const MOST_VISITS = 16;

const lookout = ({ places, entries }: Run): bigint[] => [...places.map(({ address }) => address), ...entries.keys()];

const placeAt = ({ places }: Run, at: bigint): string => places.find(({ address }) => address === at)?.name ?? hex(at);

/** Whatever else somebody aborts a run with is as good as Ctrl-C. */
const signalName = (reason: unknown): Interrupt =>
  typeof reason === 'string' && reason in INTERRUPTED ? (reason as Interrupt) : 'SIGINT';

/** What the plan's personality wants between the CPU and the board. */
function hostFor({ personality }: BootPlan): BoardHost | PersonalityHost {
  if (personality === 'bare') return new BoardHost();
  return personality === 'xen-hvm' ? new HvmHost() : new PersonalityHost();
}

/** Lets timers, signals and streams have their turn. */
function turnOfTheEventLoop(): Promise<void> {
  return new Promise((resolve) =>
    typeof setImmediate === 'function' ? setImmediate(resolve) : setTimeout(resolve, 0),
  );
}
