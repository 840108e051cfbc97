#!/usr/bin/env node
/** The command line: finds the command and leaves with its exit code.
 *
 * Only the module of the command that was asked for is loaded, because starting is a good part of the time that a
 * small guest takes; help needs them all.
 * May not: know what a command does.   Next: cli/exit-codes.ts. */
import { Command } from 'commander';
import { EXIT_CODES, explain, version } from './exit-codes.ts';
import { quietOnClosedPipe } from './output.ts';

type CommandModule = (program: Command) => void | Promise<void>;

/** In the order of `--help`. */
const COMMANDS: readonly { name: string; hidden?: boolean; load: () => Promise<CommandModule> }[] = [
  { name: 'boot', load: async () => (await import('./boot.ts')).addBoot },
  { name: 'inspect', load: async () => (await import('./inspect.ts')).addInspect },
  { name: 'plan', load: async () => (await import('./plan.ts')).addPlan },
  { name: 'compare', load: async () => (await import('./compare.ts')).addCompare },
  { name: 'guests', load: async () => (await import('./guests-command.ts')).addGuests },
  { name: 'paths', load: async () => (await import('./paths.ts')).addPaths },
  { name: 'bench', load: async () => (await import('./bench.ts')).addBench },
];

/** Runs a command line (without node and the script); the result is the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  const program = new Command('zeropage')
    .description('Boots one x86 kernel binary through every entry path, deterministically, without KVM, Xen or root.')
    .version(version(), '-V, --version')
    .helpCommand(true)
    .showHelpAfterError('(zeropage --help lists the commands)')
    .exitOverride()
    .addHelpText('after', () => rootHelp());
  const asked = COMMANDS.find(({ name }) => name === args[0]);
  try {
    for (const command of asked ? [asked] : COMMANDS) await (await command.load())(program);
    for (const command of program.commands) {
      command.exitOverride().showHelpAfterError(`(zeropage ${command.name()} --help explains the options)`);
    }
    await program.parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    return explain(error);
  }
}

function rootHelp(): string {
  const width = Math.max(...EXIT_CODES.map(([code]) => code.length));
  const codes = EXIT_CODES.map(([code, meaning]) => `  ${code.padEnd(width)}  ${meaning}`).join('\n');
  return `
Start here:
  zeropage boot                       boot the built-in guest
  zeropage inspect vmlinuz            what a kernel file is, and which entry paths it supports
  zeropage plan vmlinuz --diff linux64,pvh
  zeropage compare vmlinux            where the entry paths differ, and should not
  zeropage boot vmlinuz --via pvh --append "console=ttyS0"

Exit codes:
${codes}
`;
}

quietOnClosedPipe();
// What is thrown where nobody waits for it (a listener of a stream) is a bug of ours as well; Node would say 1.
process.on('uncaughtException', (error) => process.exit(explain(error)));
process.exitCode = await main(process.argv.slice(2));
