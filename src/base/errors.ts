/** Errors: what a user sees when a file or a flag is wrong, and what we see when we are.
 *
 * A VmError always says what, where, why and how to fix it. A guest that does something fatal never throws;
 * it ends the run with an ExitReason value. A broken belief of our own is an AssertionError from `assert`.
 * May not: import anything.   Next: layout/struct.ts, the tables that read and write C structs. */

export type Explanation = { what: string; where: string; why: string; fix: string };

export class VmError extends Error {
  readonly what: string;
  readonly where: string;
  readonly why: string;
  readonly fix: string;

  constructor(explanation: Explanation) {
    const { what, where, why, fix } = explanation;
    super(`${what}\n  where: ${where}\n  why:   ${why}\n  fix:   ${fix}`);
    this.name = new.target.name;
    this.what = what;
    this.where = where;
    this.why = why;
    this.fix = fix;
  }
}

/** The file is not what it says it is, or is damaged. */
export class ImageError extends VmError {}

/** The file is fine, but it cannot be booted as asked: path, memory, initrd, command line. */
export class BootError extends VmError {}

/** Our own mistake: the message states the belief that turned out wrong. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

export function assert(holds: unknown, belief: string): asserts holds {
  if (!holds) throw new AssertionError(`broken belief: ${belief}`);
}

export function unreachable(value: never, belief: string): never {
  throw new AssertionError(`broken belief: ${belief} (got ${String(value)})`);
}
