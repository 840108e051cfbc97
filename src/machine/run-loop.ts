/** The run loop: lets the CPU run from one thing that matters to the next, and decides nothing that a guest could feel.
 *
 * What matters has a virtual time or an instruction count: the next device event, the next recorded input, a panic's
 * grace, the next state hash, the caller's limit. Between two of them the CPU runs alone. While it runs, a nanosecond
 * passes with each instruction; while it is halted, time jumps to the next event that could wake it. How the host cuts
 * this into slices (to look at the clock, to let the console out) is invisible to the guest.
 * The order at one instant is fixed: input, device events, then the CPU, which takes a pending interrupt first.
 * May not: know about host time beyond a slice's end, or why somebody waits.   Next: machine/board-host.ts. */
import {
  anything,
  bytes,
  flag,
  listOf,
  maybe,
  misfit,
  oneOf,
  real,
  record,
  type Saved,
  type Shape,
  text,
  whole,
} from '../base/saved.ts';
import { UnbuiltDeviceFunction } from '../devices/device.ts';
import { Unbuilt } from '../engine/core.ts';
import type { Cpu, CpuExit } from '../engine/cpu.ts';
import type { Hypervisor } from '../personality/personality.ts';
import { RFLAGS } from '../x86/constants.ts';
import type { Board } from './board.ts';
import type { InputScript, RecordedInput } from './input.ts';
import { Profile } from './profile.ts';
import { nextFold, type StateHash } from './state-hash.ts';
import type { Signal, Verdict } from './verdict.ts';

/** Why a slice came back. */
export type Stop =
  /** Nothing happened; the host wanted a look. */
  | { kind: 'slice' }
  /** The run is over by this signal, or by what the console said. */
  | { kind: 'signal'; signal: Signal }
  | { kind: 'console' }
  | { kind: 'limit' }
  | { kind: 'until'; at: bigint }
  /** Halted, and the host may wait for live input: until virtual time `until`, or for ever. */
  | { kind: 'idle'; until: number | undefined };

const LOOK_EVERY = 32;

/** What may have been signalled by the last instruction before a stop, beside the caller's own wishes. */
const PENDING = {
  reset: record({ kind: text, how: text }),
  'debug-exit': record({ kind: text, value: whole(0xffff_ffff) }),
  killed: record({ kind: text, why: text }),
  shutdown: (saved: Saved, where: string) => {
    const { words, ...rest } = saved as { words?: Saved };
    const how = oneOf('poweroff', 'reboot', 'suspend', 'crash');
    return {
      ...record({ kind: text, how })(rest, where),
      ...(words !== undefined && { words: text(words, `${where}.words`) }),
    };
  },
};

const pendingSignal: Shape<Signal> = (saved, where) => {
  const kind = (saved as { kind?: unknown } | null)?.kind as keyof typeof PENDING;
  if (typeof kind !== 'string' || !Object.hasOwn(PENDING, kind)) throw misfit(where, 'it is no signal that can wait');
  return PENDING[kind](saved, where) as Signal;
};

export type LoopParts = {
  cpu: Cpu;
  board: Board;
  verdict: Verdict;
  hash: StateHash;
  script: InputScript;
  /** Recorded input, in order; taken from its front. */
  replay: RecordedInput[];
  /** Largest number of instructions in one go; for tests, since nothing depends on it. */
  quantum?: number;
};

export class RunLoop {
  readonly #parts: LoopParts;
  readonly #quantum: number;
  #nextHash = nextFold(0);
  /** Typed by a person and not yet taken by the guest's machine. */
  #live: Uint8Array[] = [];
  /** Rounds until the host's clock is looked at again; a look costs as much as a port access. */
  #sinceLook = 0;
  /** Where the instructions go. */
  readonly profile = new Profile();
  /** Someone may type: a halt without an event is a wait. */
  liveInput = false;
  /** Set by devices and by the console's watchers from inside the CPU's run. */
  pending: Signal | undefined;
  /** All input as the machine took it, for --record-input. */
  readonly taken: RecordedInput[] = [];
  /** What stands behind the guest, when it is not on bare metal: it has events of its own, and interrupts instead of
   * the board. */
  personality: Hypervisor | undefined;
  /** Input goes to the serial port, and not to the hypervisor's console: to where the guest has last printed. */
  boardTakesInput = true;

  constructor(parts: LoopParts) {
    this.#parts = parts;
    this.#quantum = parts.quantum ?? Number.POSITIVE_INFINITY;
  }

  /** What the running stretch was cut to: while it stays so, a port access need not end it. */
  #armedEvent: number | undefined;
  #armedDeadline: number | undefined;

  /** True when a device access moved no event, asked for no stop, and made no input ready. */
  settled(): boolean {
    const { board, verdict, script } = this.#parts;
    return (
      this.pending === undefined &&
      !verdict.ended &&
      verdict.deadline === this.#armedDeadline &&
      !script.hasReady &&
      this.#eventStays(board)
    );
  }

  #eventStays({ pio }: Board): boolean {
    if (!pio.eventsTouched) return true;
    pio.eventsTouched = false;
    return this.#nextEvent() === this.#armedEvent;
  }

  /** Scripts, recordings and limits are the caller's; what they have caused so far is here. */
  save(): Saved {
    const { pending } = this;
    return {
      nextHash: this.#nextHash,
      live: this.#live,
      pending: pending && pending.kind in PENDING ? { ...pending } : undefined,
      taken: this.taken,
      boardTakesInput: this.boardTakesInput,
      profile: this.profile.save(),
    };
  }

  /** `now`: a recording that is to be given back has been given back until then. */
  restore(saved: Saved, where: string, now: number): void {
    const input = record({ atNs: real, bytes: bytes() });
    const shape = {
      nextHash: whole(),
      live: listOf(bytes()),
      pending: maybe(pendingSignal),
      taken: listOf(input),
      boardTakesInput: flag,
      profile: anything,
    };
    const state = record(shape)(saved, where);
    if (state.nextHash !== nextFold(state.nextHash - 1)) throw misfit(where, 'its next hash is due at an odd time');
    this.#nextHash = state.nextHash;
    this.#live = state.live;
    this.pending = state.pending;
    this.boardTakesInput = state.boardTakesInput;
    this.profile.restore(state.profile, `${where}.profile`);
    this.taken.splice(0, this.taken.length, ...state.taken);
    const { replay } = this.#parts;
    const given = this.taken.filter(({ atNs }) => atNs === now).length;
    const before = replay.filter(({ atNs }) => atNs < now).length;
    const same = replay.filter(({ atNs }) => atNs === now).length;
    replay.splice(0, before + Math.min(given, same));
  }

  type(bytes: Uint8Array): void {
    this.#live.push(bytes);
  }

  get hasLiveInput(): boolean {
    return this.#live.length > 0;
  }

  /** Runs until `limit` instructions have completed in all, or `isOver` (asked now and then) says that the host wants
   * its turn, or something happens. */
  slice(limit: number, isOver: () => boolean): Stop {
    const { cpu, board, verdict, replay } = this.#parts;
    for (;;) {
      this.#takeInput();
      if (this.pending) return { kind: 'signal', signal: this.#takePending() };
      if (verdict.ended) return { kind: 'console' };
      const now = cpu.now;
      if (verdict.deadline !== undefined && now >= verdict.deadline)
        return { kind: 'signal', signal: { kind: 'deadline' } };
      if (cpu.instructions >= limit) return { kind: 'limit' };
      if (this.#sinceLook-- <= 0) {
        this.#sinceLook = LOOK_EVERY;
        if (isOver()) return { kind: 'slice' };
      }

      let event = this.#nextEvent();
      if (event !== undefined && event <= now) {
        this.#runEvents();
        event = this.#nextEvent();
      }
      board.pio.eventsTouched = false;
      this.#armedEvent = event;
      this.#armedDeadline = verdict.deadline;
      const next = earliest(event, replay[0]?.atNs, verdict.deadline);
      const { instructions } = cpu;
      const toNext = next === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.ceil(next - now));
      const exit = this.#run(Math.min(limit, this.#nextHash, instructions + this.#quantum, instructions + toNext));
      if (exit.kind === 'budget') this.#sinceLook = 0; // a long stretch, as the loop counts
      if (cpu.instructions >= this.#nextHash) this.#foldRegisters();
      const stop = exit.kind === 'halt' ? this.#halted() : this.#signalOf(exit);
      if (stop) return stop;
    }
  }

  /** A function of a device that is not built surfaces here when the CPU lets it through. */
  #run(until: number): CpuExit {
    try {
      return this.#parts.cpu.run(until);
    } catch (error) {
      if (error instanceof Unbuilt) return { kind: 'unbuilt', what: error.what, table: error.table };
      if (error instanceof UnbuiltDeviceFunction) {
        return { kind: 'unbuilt', what: `${error.device}: ${error.function}`, table: 'src/devices' };
      }
      throw error;
    }
  }

  #signalOf(exit: Exclude<CpuExit, { kind: 'halt' }>): Stop | undefined {
    switch (exit.kind) {
      case 'budget':
      case 'event':
        return undefined;
      case 'breakpoint':
        return { kind: 'until', at: exit.at };
      case 'triple-fault':
      case 'fault-loop':
        return { kind: 'signal', signal: { kind: exit.kind } };
      case 'unbuilt':
        return { kind: 'signal', signal: exit };
    }
  }

  /** The CPU waits for an interrupt. Time jumps to what can bring one; if nothing can, the guest is at its end. */
  #halted(): Stop | undefined {
    const { cpu, verdict, replay } = this.#parts;
    if (this.pending || verdict.ended) return undefined; // an OUT right before the HLT; the loop's head sees to it
    const call = this.personality?.blockedCall?.();
    if (call === 'over') {
      this.personality?.wake?.();
      cpu.wake();
      return undefined;
    }
    if (call === undefined && (cpu.state.rflags & RFLAGS.IF) === 0) return halt(true);
    if ((cpu.state.rflags & RFLAGS.IF) !== 0 && cpu.host.interruptPending()) return undefined;
    const event = earliest(this.#nextEvent(), replay[0]?.atNs);
    if (this.liveInput) return this.#live.length > 0 ? undefined : { kind: 'idle', until: event };
    if (event === undefined) return halt(false);
    this.idleUntil(earliest(event, verdict.deadline) as number);
    return undefined;
  }

  /** Lets time pass without instructions. */
  idleUntil(time: number): void {
    const { cpu } = this.#parts;
    if (time > cpu.now) {
      const ns = Math.ceil(time - cpu.now);
      cpu.idleNs += ns;
      cpu.tracer?.slept(cpu.instructions, ns);
    }
    this.#runEvents();
  }

  #nextEvent(): number | undefined {
    const event = this.#parts.board.nextEvent();
    return this.personality ? earliest(event, this.personality.nextEvent()) : event;
  }

  #runEvents(): void {
    this.#parts.board.runEvents();
    this.personality?.runEvents();
  }

  #takeInput(): void {
    const { cpu, script, replay } = this.#parts;
    while (replay.length > 0 && replay[0].atNs <= cpu.now) this.#send((replay.shift() as RecordedInput).bytes);
    for (const bytes of script.take()) this.#send(bytes);
    if (this.#live.length === 0) return;
    for (const bytes of this.#live) this.#send(bytes);
    this.#live = [];
  }

  #send(bytes: Uint8Array): void {
    const { cpu, board } = this.#parts;
    this.taken.push({ atNs: cpu.now, bytes });
    if (this.boardTakesInput) board.send(bytes);
    else this.personality?.receive?.(bytes);
  }

  #takePending(): Signal {
    const signal = this.pending as Signal;
    this.pending = undefined;
    return signal;
  }

  #foldRegisters(): void {
    const { cpu, hash } = this.#parts;
    hash.foldWords(cpu.registerWords());
    this.profile.sample(cpu.state.rip, cpu.state.cpl === 3);
    this.#nextHash = nextFold(this.#nextHash);
  }
}

const halt = (interruptsOff: boolean): Stop => ({ kind: 'signal', signal: { kind: 'halt', interruptsOff } });

function earliest(...times: (number | undefined)[]): number | undefined {
  let first: number | undefined;
  for (const time of times) if (time !== undefined && (first === undefined || time < first)) first = time;
  return first;
}
