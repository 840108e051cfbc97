/** A whole process, timed from its start: its first byte, the lines that were waited for, its end.
 *
 * Times are taken when the output arrives here, so a program that keeps its output in a buffer is late. Only one process
 * runs at a time, which is why the CPU time of "all children so far" gives that of one of them.
 * May not: know what the process does.   Next: cli/profile-parts.ts. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { TextPattern } from '../machine/pattern.ts';
import { peakMemoryOf } from './host-usage.ts';

export type ProcessTimes = {
  /** Milliseconds from the start to the first byte of standard output. */
  firstByte?: number;
  /** Milliseconds to each text that was seen. */
  marks: Record<string, number>;
  /** Milliseconds to the end; undefined when it was ended from here. */
  end?: number;
  /** Seconds, user and system; undefined where the system does not tell. */
  cpuSeconds?: number;
  /** Bytes, as of the last look before the end. */
  peakMemory?: number;
  code: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  /** The end of what it said on standard error. */
  errors: string;
};

export type TimedOptions = {
  marks: Readonly<Record<string, TextPattern>>;
  /** The mark behind which the process is ended. */
  lastMark?: string;
  timeoutSeconds: number;
  /** Ends the process. */
  signal: AbortSignal;
};

const KEPT_ERRORS = 4096;
const LOOK_AT_MEMORY_EVERY_MS = 50;

export async function timeProcess(command: readonly string[], options: TimedOptions): Promise<ProcessTimes> {
  const { marks, lastMark, timeoutSeconds, signal } = options;
  const times: ProcessTimes = { marks: {}, code: null, signal: null, timedOut: false, errors: '' };
  const watch = new MarkWatch(marks);
  const cpuBefore = childrensCpuSeconds();
  const started = performance.now();
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  let ended = false;
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  const timer = setTimeout(() => {
    times.timedOut = true;
    kill();
  }, timeoutSeconds * 1000);
  // The newest value is the greatest, and not that of this process, which the child is before it becomes itself.
  const looking = setInterval(() => {
    times.peakMemory = peakMemoryOf(child.pid ?? 0) ?? times.peakMemory;
  }, LOOK_AT_MEMORY_EVERY_MS);
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    const now = performance.now() - started;
    times.firstByte ??= now;
    for (const name of watch.push(text)) {
      times.marks[name] = now;
      if (name !== lastMark) continue;
      ended = true;
      kill();
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    times.errors = (times.errors + text).slice(-KEPT_ERRORS);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', () => {
        if (!ended && !times.timedOut) times.end = performance.now() - started;
      });
      child.on('close', (code, endedBy) => {
        Object.assign(times, { code, signal: endedBy });
        resolve();
      });
    });
  } finally {
    clearTimeout(timer);
    clearInterval(looking);
    signal.removeEventListener('abort', kill);
  }
  const cpuAfter = childrensCpuSeconds();
  if (cpuBefore !== undefined && cpuAfter !== undefined) times.cpuSeconds = cpuAfter - cpuBefore;
  return times;
}

/** Finds texts in output that arrives in pieces: plain text anywhere, an expression within a line, each once. */
export class MarkWatch {
  readonly #waiting: Map<string, TextPattern>;
  #line = '';
  #text = '';

  constructor(marks: Readonly<Record<string, TextPattern>>) {
    this.#waiting = new Map(Object.entries(marks));
  }

  /** The names of what this piece has completed. */
  push(piece: string): string[] {
    this.#text += piece;
    const lines = (this.#line + piece).split('\n').map((line) => line.replaceAll('\r', ''));
    this.#line = lines[lines.length - 1];
    const found: string[] = [];
    for (const [name, pattern] of this.#waiting) {
      const seen =
        typeof pattern === 'string' ? this.#text.includes(pattern) : lines.some((line) => pattern.test(line));
      if (!seen) continue;
      found.push(name);
      this.#waiting.delete(name);
    }
    const longest = Math.max(
      0,
      ...[...this.#waiting.values()].map((each) => (typeof each === 'string' ? each.length : 0)),
    );
    this.#text = longest > 1 ? this.#text.slice(1 - longest) : '';
    return found;
  }
}

/** Of all processes that were started from here and have ended. Only Linux tells, in hundredths of a second. */
function childrensCpuSeconds(): number | undefined {
  try {
    const fields = readFileSync('/proc/self/stat', 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    const seconds = (Number(fields[13]) + Number(fields[14])) / 100;
    return Number.isFinite(seconds) ? seconds : undefined;
  } catch {
    return undefined;
  }
}
