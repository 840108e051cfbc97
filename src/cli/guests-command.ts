/** `guests`: the kernels that come with zeropage, and which image each entry path takes.
 *
 * Next: cli/paths.ts, which boots one through all of its paths. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { BOOT_PROTOCOLS } from '../boot/index.ts';
import { DEFAULT_GUEST, GUESTS, type Guest, guestImagePath } from './guests.ts';
import { FdOutput } from './output.ts';

export function addGuests(program: Command): void {
  program
    .command('guests')
    .description('the built-in guests')
    .option('--json', 'for machines')
    .action(({ json }: { json?: boolean }) => {
      new FdOutput(1).write(json ? `${JSON.stringify(guestsJson(), null, 2)}\n` : guestsText());
    });
}

/** The built entry paths that a guest has an image for. */
export function pathsOf(guest: Guest): string[] {
  return BOOT_PROTOCOLS.map(({ name }) => name as string).filter((via) => via in guest.images);
}

function guestsJson() {
  return GUESTS.map((guest) => ({
    name: guest.name,
    summary: guest.summary,
    default: guest.name === DEFAULT_GUEST,
    images: Object.fromEntries(pathsOf(guest).map((via) => [via, guestImagePath(guest, via)])),
  }));
}

function guestsText(): string {
  const blocks = GUESTS.map((guest) => {
    const rows = pathsOf(guest).map((via) => {
      const path = guestImagePath(guest, via);
      return `  --via ${via.padEnd(10)} ${path} (${statSync(path).size} bytes)`;
    });
    const mark = guest.name === DEFAULT_GUEST ? ', the default' : '';
    return [`${guest.name}: ${guest.summary}${mark}`, ...rows].join('\n');
  });
  return `${blocks.join('\n\n')}\n\nUse a name where a command takes a kernel: zeropage boot ${DEFAULT_GUEST}, zeropage inspect ${DEFAULT_GUEST}.\n`;
}
