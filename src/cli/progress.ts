/** Progress: a word on standard error for what takes longer than a second.
 *
 * On a terminal it is one line that is rewritten and taken away at the end; elsewhere, a line every ten seconds, so
 * that a build log shows life without filling up. Short runs show nothing at all.
 * May not: touch standard output.   Next: cli/boot-help.ts. */
import type { Output } from './output.ts';

const FIRST_AFTER_MS = 1000;
const ON_TERMINAL_EVERY_MS = 250;
const IN_LOG_EVERY_MS = 10_000;

export class Progress {
  readonly #to: Output;
  readonly #terminal: boolean;
  readonly #clock: () => number;
  readonly #started: number;
  #next: number;
  #shown = 0;

  /** `clock` gives milliseconds; tests pass their own. */
  constructor(to: Output, terminal: boolean, clock: () => number = () => performance.now()) {
    this.#to = to;
    this.#terminal = terminal;
    this.#clock = clock;
    this.#started = clock();
    this.#next = this.#started + (terminal ? FIRST_AFTER_MS : IN_LOG_EVERY_MS);
  }

  /** Called as often as the work likes; `describe` is asked only when a line is due, or at once when `force` says that
   * what follows will not come back for a while. */
  update(describe: (seconds: number) => string, force = false): void {
    const now = this.#clock();
    if (now < this.#next && !force) return;
    this.#next = now + (this.#terminal ? ON_TERMINAL_EVERY_MS : IN_LOG_EVERY_MS);
    const line = describe((now - this.#started) / 1000);
    if (this.#terminal) {
      this.#to.write(`\r${line.padEnd(this.#shown)}`);
      this.#shown = line.length;
    } else this.#to.write(`${line}\n`);
  }

  /** Takes the line away, before anything else is printed and at the end. */
  clear(): void {
    if (this.#shown) this.#to.write(`\r${' '.repeat(this.#shown)}\r`);
    this.#shown = 0;
  }
}
