/** Patterns over the console: plain text or a regular expression, watched for byte by byte.
 *
 * A pattern is found at the byte that completes it, so what hangs on it (the end of a run, the next line of input)
 * happens at an exact instruction count. Plain text may span lines; an expression sees one line at a time, from the
 * line's start to the newest byte, without its newline.
 * May not: know what happens when it is found.   Next: machine/input.ts. */

export type TextPattern = string | RegExp;

/** An expression sees at most this much of a line, so that a guest without newlines cannot make each byte cost more
 * than the one before. */
const LONGEST_LINE = 4096;

export class PatternWatch {
  readonly pattern: TextPattern;
  #window = '';

  constructor(pattern: TextPattern) {
    this.pattern =
      typeof pattern === 'string' ? pattern : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
  }

  /** Takes the console's next byte; true when it completes the pattern. */
  push(byte: number): boolean {
    if (typeof this.pattern === 'string') {
      this.#window = (this.#window + String.fromCharCode(byte)).slice(-this.pattern.length);
      return this.#window === this.pattern;
    }
    if (byte === 0x0a) {
      this.#window = '';
      return false;
    }
    if (byte === 0x0d || this.#window.length === LONGEST_LINE) return false;
    this.#window += String.fromCharCode(byte);
    return this.pattern.test(this.#window);
  }

  toString(): string {
    return typeof this.pattern === 'string' ? JSON.stringify(this.pattern) : String(this.pattern);
  }
}
