/** The verdict: how console lines and signals become one exit reason. A false green is the worst answer.
 *
 * Two kinds of evidence. Lines say what the guest thinks of itself (a panic, "verdict: success", "Restarting system");
 * signals say what happened to the machine (halt, reset, a value at the debug-exit port, out of time). A line alone
 * ends a run only after a panic. When a signal ends it, the worst verdict seen wins: a panic beats everything but the
 * user's own wishes, a reported failure beats any good or neutral end, and good news counts only if the right signal
 * follows it.
 * Good news is believed only at the start of a line, after an optional printk timestamp. A panic is believed behind a
 * timestamp anywhere in a line too, since a kernel does not wait for user space to finish its line.
 * May not: end the run itself; it answers whoever runs the machine.   Next: machine/pattern.ts. */
import { hex } from '../base/numbers.ts';
import {
  flag,
  keepFields,
  maybe,
  oneOf,
  putFields,
  real,
  record,
  type Saved,
  type Shape,
  text,
} from '../base/saved.ts';
import type { Clock } from '../devices/device.ts';
import { type ExitReason, INTERRUPTED, type Interrupt } from './exit-reason.ts';

/** What ended the run, as the machine saw it. */
export type Signal =
  /** `interruptsOff`: cli; hlt. Otherwise a hlt that nothing can ever wake. */
  | { kind: 'halt'; interruptsOff: boolean }
  | { kind: 'reset'; how: string }
  | { kind: 'triple-fault'; detail?: string }
  | { kind: 'debug-exit'; value: number }
  | { kind: 'fault-loop'; detail?: string }
  | { kind: 'killed'; why: string }
  /** The guest asked its hypervisor; `words` is what it said. */
  | { kind: 'shutdown'; how: 'poweroff' | 'reboot' | 'suspend' | 'crash'; words?: string }
  | { kind: 'unbuilt'; what: string; table?: string }
  | { kind: 'timeout'; seconds: number }
  | { kind: 'instruction-limit'; instructions: number }
  /** The time that `Verdict.deadline` gave has come. */
  | { kind: 'deadline' }
  | { kind: 'expected'; text: string }
  | { kind: 'until'; place: string }
  | { kind: 'interrupted'; signal: Interrupt };

export type VerdictOptions = {
  clock: Clock;
  /** Flat code, or --halt-ok: a halt for good is a good end. */
  haltOk?: boolean;
  /** --debug-exit-success: the only value at the debug-exit port that means success, instead of 0 and 0x10. */
  debugExitSuccess?: number;
};

/** A panic's last lines are worth waiting for, but not for ever (virtual ns). */
const PANIC_GRACE = 1_000_000_000;

const TIMESTAMP = /\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? /;
const AT_START = new RegExp(`^${TIMESTAMP.source}`);
const LATE_PANIC = new RegExp(`${TIMESTAMP.source}(Kernel panic|---\\[ end Kernel panic)`);
/** Colours and cursor movements, which a terminal would not show either (ECMA-48, control sequences). */
const CONTROL_SEQUENCE = new RegExp(`${String.fromCharCode(27)}\\[[0-?]*[ -/]*[@-~]`, 'g');

type LineRow = {
  /** Matched at the start of a line, behind the timestamp. */
  pattern: RegExp;
  /** As --help shows it. */
  line: string;
  follows: string;
  code: string;
  apply: (verdict: Verdict, match: RegExpExecArray) => void;
};

/** The lines that mean something. The first row that matches counts. */
const lineRows: readonly LineRow[] = [
  {
    pattern: /^Kernel panic\b(?: - not syncing: )?(.*)/,
    line: 'Kernel panic ...',
    follows: 'the run ends at the next row, at a reset or halt, or 1 s of virtual time later',
    code: '4',
    apply: (verdict, match) => verdict.panic(match[1]),
  },
  {
    pattern: /^---\[ end Kernel panic\b(?: - not syncing: )?(.*?)(?: \]---)?$/,
    line: '---[ end Kernel panic ...',
    follows: 'the run ends at once',
    code: '4',
    apply: (verdict, match) => verdict.panicEnd(match[1]),
  },
  {
    pattern: /^reboot: (?:(?:Power off not available: )?System halted|Power down)\b|^(?:System halted|Power down)\.$/,
    line: 'reboot: System halted, reboot: Power down',
    follows: 'then a halt',
    code: '0',
    apply: (verdict, match) => verdict.announce('halt', match[0]),
  },
  {
    pattern: /^(?:reboot: )?Restarting system\b/,
    line: 'reboot: Restarting system',
    follows: 'then a reset or triple fault',
    code: '0',
    apply: (verdict, match) => verdict.announce('reset', match[0]),
  },
  {
    pattern: /^Test result: SUCCESS(?: with warnings)?$/,
    line: 'Test result: SUCCESS (XTF)',
    follows: 'then a halt, or debug-exit 0',
    code: '0',
    apply: (verdict, match) => verdict.success(match[0]),
  },
  {
    pattern: /^Test result:\s*(.*)/,
    line: 'Test result: SKIP, ERROR, FAILURE, CRASH (XTF)',
    follows: 'whatever good end follows',
    code: '1',
    apply: (verdict, match) => verdict.failure(`Test result: ${match[1]}`, match[1]),
  },
  {
    pattern: /^verdict: success$/,
    line: 'verdict: success',
    follows: 'then a halt, or debug-exit 0',
    code: '0',
    apply: (verdict) => verdict.success('verdict: success'),
  },
  {
    pattern: /^verdict: failure (\d+)$/,
    line: 'verdict: failure N',
    follows: 'whatever good end follows',
    code: '1',
    apply: (verdict, match) => verdict.failure(`verdict: failure ${match[1]}`, Number(match[1])),
  },
  {
    pattern: /^verdict:\s*(.*)/,
    line: 'verdict: anything else',
    follows: 'whatever good end follows',
    code: '1',
    apply: (verdict, match) => verdict.failure(`verdict: ${match[1]}`, match[1]),
  },
];

/** What `boot --help` prints: first the lines, then the signals without a line before them. */
export const verdictTable: readonly { when: string; follows: string; code: string }[] = [
  ...lineRows.map(({ line, follows, code }) => ({ when: line, follows, code })),
  { when: 'debug-exit 0 or 0x10 (or the value of --debug-exit-success)', follows: 'the run ends', code: '0' },
  { when: 'debug-exit, any other value', follows: 'the run ends, the value is in the report', code: '1' },
  { when: 'halt on flat32 or flat64, or with --halt-ok', follows: 'the run ends', code: '0' },
  { when: 'halt for good, without a verdict', follows: 'the run ends', code: '5' },
  { when: 'poweroff or reboot asked of the hypervisor', follows: 'the run ends', code: '0' },
  { when: 'crash told to the hypervisor, or killed by it', follows: 'the run ends', code: '4' },
  { when: 'reset or triple fault that no line announced', follows: 'the run ends', code: '4' },
  { when: 'a thousand faults without one instruction', follows: 'the run ends', code: '4' },
  { when: '--expect seen on the console, --until reached', follows: 'the run ends', code: '0' },
  { when: 'out of time or instructions', follows: 'the run ends', code: '5' },
  { when: 'something that zeropage has not built', follows: 'the run ends and names it', code: '6' },
];

const valueOfFailure: Shape<number | string> = (saved, where) =>
  typeof saved === 'number' ? saved : text(saved, where);
/** What the console has said so far. */
const FIELDS = {
  panicMessage: maybe(text),
  panicOver: flag,
  panicTime: real,
  failureSeen: maybe(record({ line: text, value: valueOfFailure })),
  successLine: maybe(text),
  announced: maybe(record({ what: oneOf('halt', 'reset'), line: text })),
};

export class Verdict {
  private readonly options: VerdictOptions;
  private panicMessage: string | undefined;
  private panicOver = false;
  private panicTime = 0;
  private failureSeen: { line: string; value: number | string } | undefined;
  private successLine: string | undefined;
  private announced: { what: 'halt' | 'reset'; line: string } | undefined;

  constructor(options: VerdictOptions) {
    this.options = options;
  }

  /** A complete console line. Afterwards `ended` may say that the run is over. */
  line(text: string): void {
    const plain = text.replace(CONTROL_SEQUENCE, '').trimEnd();
    const late = LATE_PANIC.exec(plain);
    const said = late ? plain.slice(late.index).replace(AT_START, '') : plain.replace(AT_START, '');
    for (const row of lineRows) {
      const match = row.pattern.exec(said);
      if (match === null) continue;
      row.apply(this, match);
      return;
    }
  }

  save(): Saved {
    return keepFields(this, FIELDS);
  }

  restore(saved: Saved, where: string): void {
    putFields(this, FIELDS, saved, where);
  }

  /** Set once a console line has ended the run. */
  get ended(): ExitReason | undefined {
    return this.panicOver ? this.panicReason() : undefined;
  }

  /** Virtual time (ns) at which the run ends for what the console has said so far, if nothing ends it before. */
  get deadline(): number | undefined {
    return this.panicMessage === undefined ? undefined : this.panicTime + PANIC_GRACE;
  }

  /** The run ends by this signal: the exit reason, all that was seen considered. */
  end(signal: Signal): ExitReason {
    switch (signal.kind) {
      // What the user asked for comes before any judgement.
      case 'interrupted':
        return {
          kind: 'interrupted',
          code: INTERRUPTED[signal.signal],
          detail: `stopped by ${signal.signal}`,
        };
      case 'expected':
        return { kind: 'expected', code: 0, detail: `the console showed ${signal.text}` };
      case 'until':
        return { kind: 'until', code: 0, detail: `reached ${signal.place}` };
      default:
        return this.panicMessage === undefined ? this.judge(signal) : this.panicReason();
    }
  }

  private judge(signal: Exclude<Signal, { kind: 'interrupted' | 'expected' | 'until' }>): ExitReason {
    switch (signal.kind) {
      case 'debug-exit':
        return this.failureReason() ?? this.judgeDebugExit(signal.value);
      case 'halt':
        return this.failureReason() ?? this.judgeHalt(signal.interruptsOff);
      case 'reset': {
        const line = this.announced?.what === 'reset' ? this.announced.line : undefined;
        if (line !== undefined)
          return this.failureReason() ?? goodEnd(`the guest said "${line}" and reset the machine`);
        return {
          kind: 'reset',
          code: 4,
          detail: `the guest reset the machine (${signal.how}) without announcing it`,
          hint: 'a reset counts as a good end after the console line "reboot: Restarting system"',
        };
      }
      case 'triple-fault': {
        const line = this.announced?.what === 'reset' ? this.announced.line : undefined;
        if (line !== undefined) {
          return this.failureReason() ?? goodEnd(`the guest said "${line}" and reset the machine by a triple fault`);
        }
        return { kind: 'triple-fault', code: 4, detail: signal.detail ?? 'triple fault: the CPU shut down' };
      }
      case 'fault-loop':
        return {
          kind: 'fault-loop',
          code: 4,
          detail: signal.detail ?? 'a thousand faults in a row without one completed instruction',
        };
      case 'killed':
        return { kind: 'killed', code: 4, detail: signal.why };
      case 'shutdown':
        return this.judgeShutdown(signal.how, signal.words);
      case 'unbuilt':
        return {
          kind: 'unbuilt',
          code: 6,
          detail: `the guest needs what is not built yet: ${signal.what}${signal.table ? ` (${signal.table})` : ''}`,
          value: signal.what,
        };
      case 'timeout':
        return (
          this.failureReason() ?? {
            kind: 'timeout',
            code: 5,
            detail: `still running after ${signal.seconds} s (--timeout)`,
          }
        );
      case 'instruction-limit':
        return (
          this.failureReason() ?? {
            kind: 'instruction-limit',
            code: 5,
            detail: `still running after ${signal.instructions} instructions (--max-instructions)`,
          }
        );
      case 'deadline': // only a panic sets one, and that was answered before
        return this.judgeHalt(false);
    }
  }

  private judgeDebugExit(value: number): ExitReason {
    const wanted = this.options.debugExitSuccess;
    const success = wanted === undefined ? value === 0 || value === 0x10 : value === wanted;
    if (success) return { ...goodEnd(`the guest wrote ${hex(value)} to the debug-exit port`), value };
    const hint = wanted === undefined ? undefined : `--debug-exit-success asks for ${hex(wanted)}`;
    const detail = `the guest wrote ${hex(value)} to the debug-exit port`;
    return { kind: 'verdict-failure', code: 1, detail, value, ...(hint === undefined ? {} : { hint }) };
  }

  private judgeShutdown(how: 'poweroff' | 'reboot' | 'suspend' | 'crash', words: string | undefined): ExitReason {
    const said = words ? `, saying "${words}"` : '';
    switch (how) {
      case 'crash':
        return { kind: 'crashed', code: 4, detail: `the guest told its hypervisor that it crashed${said}` };
      case 'suspend':
        return { kind: 'unbuilt', code: 6, detail: `the guest asked to be suspended${said}`, value: 'suspend' };
      default:
        return this.failureReason() ?? goodEnd(`the guest asked its hypervisor for ${how}${said}`);
    }
  }

  private judgeHalt(interruptsOff: boolean): ExitReason {
    const how = interruptsOff ? 'halted with interrupts off' : 'halted with nothing that could wake it';
    const good = this.announced?.what === 'halt' ? this.announced.line : this.successLine;
    if (good !== undefined) return goodEnd(`the guest said "${good}" and halted`);
    if (this.options.haltOk) return { kind: 'halted', code: 0, detail: `the CPU ${how}` };
    return {
      kind: 'halted',
      code: 5,
      detail: `the CPU ${how}, and the console gave no verdict`,
      hint: 'pass --halt-ok if halting is how this guest ends; boot --help lists the lines and signals that count',
    };
  }

  private failureReason(): ExitReason | undefined {
    if (this.failureSeen === undefined) return undefined;
    const { line, value } = this.failureSeen;
    return { kind: 'verdict-failure', code: 1, detail: `the guest reported failure: "${line}"`, value };
  }

  private panicReason(): ExitReason {
    const message = this.panicMessage ? `: ${this.panicMessage}` : '';
    return { kind: 'panic', code: 4, detail: `kernel panic${message}` };
  }

  // What the rows of the table call.

  /** The first panic is the one that tells; later ones are its echo. */
  panic(message: string): void {
    if (this.panicMessage !== undefined) return;
    this.panicMessage = message.trim();
    this.panicTime = this.options.clock();
  }

  panicEnd(message: string): void {
    this.panic(message);
    this.panicOver = true;
  }

  /** The first failure is kept. */
  failure(line: string, value: number | string): void {
    this.failureSeen ??= { line: line.trim(), value };
  }

  success(line: string): void {
    this.successLine ??= line;
  }

  /** The latest announcement counts: a guest that gave up halting and resets says so. */
  announce(what: 'halt' | 'reset', line: string): void {
    this.announced = { what, line };
  }
}

function goodEnd(detail: string): ExitReason {
  return { kind: 'power-off', code: 0, detail };
}
