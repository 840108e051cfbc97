/** Exit codes: what they mean, and which one stands for something that was thrown.
 *
 * A user's mistake is a VmError and reads what, where, why, fix; wrong usage exits with 2, a bad file or plan with 3.
 * Anything else that is thrown is our own bug: 70, and a request to tell us. What a guest does is never thrown; its
 * exit reason carries the code.
 * Next: cli/options.ts. */
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { VmError } from '../base/errors.ts';
import { UsageError } from './options.ts';

/** As `--help` lists them. */
export const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  ['0', 'the guest ended well: power off, good verdict, or what --expect or --until asked for'],
  ['1', 'the guest reported failure, or ended without what --expect or --until asked for'],
  ['2', 'wrong usage'],
  ['3', 'the file or the plan is bad'],
  ['4', 'the guest crashed: panic, triple fault, unannounced reset'],
  ['5', 'out of time or instructions, or halted for good without a verdict'],
  ['6', 'the guest needs something that is not built yet; it is named'],
  ['70', "a bug of zeropage's own"],
  ['129, 130, 143', 'ended by SIGHUP, SIGINT, SIGTERM'],
  ['141', 'whoever read the standard output closed it'],
];

/** Prints what went wrong, in the form that fits, and gives the exit code. */
export function explain(error: unknown, print: (text: string) => void = (text) => process.stderr.write(text)): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0; // --help, --version
    return 2; // commander has printed it already
  }
  if (error instanceof VmError) {
    // The parsers of base/numbers.ts throw the plain class: they only ever see what the user typed.
    const usage = error instanceof UsageError || error.constructor === VmError;
    print(`${usage ? 'UsageError' : error.name}: ${error.message}\n`);
    return usage ? 2 : 3;
  }
  const stack = error instanceof Error ? (error.stack ?? String(error)) : String(error);
  print(
    `${stack}\n\nThis is a bug in zeropage ${version()} (Node ${process.version}), not in your kernel or command line.\n` +
      'Please report it with the lines above, the command line and, if you may share it, the file.\n',
  );
  return 70;
}

export function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return version;
}
