/** Standard output and standard error, written at once and in order.
 *
 * The guest's console goes to standard output byte by byte as it appears: whoever waits behind a pipe sees a line when
 * the guest has printed it, and what was printed before a crash is never lost in a buffer. Node's own streams are
 * asynchronous on pipes, so these writes go to the file descriptor. A reader that went away (EPIPE) is not an error:
 * the writer says so once and swallows the rest. Remarks on standard error that nobody can take (a full disk, a closed
 * descriptor) are lost without a word: they must not change how a run ends.
 * May not: know what it writes.   Next: cli/logging.ts. */
import { writeSync } from 'node:fs';
import { VmError } from '../base/errors.ts';

/** The operating system took no more, at a moment when nothing could be done about it: exit 3. */
export class OutputError extends VmError {}

export interface Output {
  write(data: Uint8Array | string): void;
  /** True when the reader has closed its end. */
  readonly closed: boolean;
}

/** Writes to a file descriptor and returns when everything is with the operating system. */
export class FdOutput implements Output {
  readonly #fd: number;
  readonly #onClosed: () => void;
  #closed = false;

  /** `onClosed` is called once, from within the write that found the reader gone. */
  constructor(fd: number, onClosed: () => void = () => {}) {
    this.#fd = fd;
    this.#onClosed = onClosed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  write(data: Uint8Array | string): void {
    if (this.#closed) return;
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    let at = 0;
    while (at < bytes.length) {
      try {
        at += writeSync(this.#fd, bytes, at, bytes.length - at);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EAGAIN') {
          pause(2); // a pipe that somebody made non-blocking, and its reader is slow
        } else if (code === 'EPIPE' || code === 'ECONNRESET' || this.#fd === 2) {
          this.#closed = true;
          this.#onClosed();
          return;
        } else {
          throw new OutputError({
            what: 'standard output could not be written',
            where: `file descriptor ${this.#fd}`,
            why: (error as Error).message,
            fix: 'make room, or send it elsewhere, and run again',
          });
        }
      }
    }
  }
}

/** The exit status of a program whose reader went away, as a shell reports it: 128 + SIGPIPE. */
export const CLOSED_PIPE_STATUS = 141;

/** Makes a closed pipe a quiet end for everything that prints through process.stdout and process.stderr. */
export function quietOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(CLOSED_PIPE_STATUS);
    throw error;
  });
  process.stderr.on('error', () => {}); // nobody reads our remarks, or nobody can: carry on
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread. Only for a full pipe: there is nothing better to do than wait for its reader. */
function pause(milliseconds: number): void {
  Atomics.wait(sleeper, 0, 0, milliseconds);
}
