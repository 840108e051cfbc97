/** ExitReason: why a run stopped. A value, never an exception: everything a guest can do ends in one of these.
 *
 * The exit code is the command line's contract (README, "Exit codes"); `detail` is one sentence for people.
 * Next: machine/verdict.ts, which reads console lines and turns them into one of these. */

export type ExitKind =
  | 'power-off' // ended well: power off, good verdict and halt, debug-exit 0 or 0x10
  | 'expected' // the console showed what --expect asked for
  | 'until' // reached the symbol or address of --until
  | 'verdict-failure' // the guest itself reported failure
  | 'panic' // the guest printed a panic
  | 'triple-fault'
  | 'reset' // without a line that announced it
  | 'fault-loop' // a thousand faults without one completed instruction
  | 'killed' // by the personality
  | 'crashed' // by its own word, said to the personality
  | 'halted' // cli; hlt, or hlt with nothing that could ever wake it
  | 'timeout' // host seconds
  | 'instruction-limit'
  | 'unbuilt' // the guest needs something zeropage has not built yet
  | 'interrupted'; // by a signal of the host

/** Signals of the host that end a run in order, with the exit codes that shells give them. */
export const INTERRUPTED = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
export type Interrupt = keyof typeof INTERRUPTED;

/** A fault as the CPU saw it, kept for the crash report. */
export type FaultRecord = {
  vector: number;
  errorCode: number | undefined;
  rip: bigint;
  cr2: bigint | undefined;
  instructions: number;
};

export type ExitReason = {
  kind: ExitKind;
  /** The process exit code: 0, 1, 4, 5, 6, 129, 130 or 143. */
  code: number;
  /** One sentence: what happened. */
  detail: string;
  /** What the user can do about it, when there is something. */
  hint?: string;
  /** debug-exit value, unbuilt item's name and table, and so on. */
  value?: number | string;
};
