/** What `boot --help` teaches beside the options: examples, how an end is judged, exit codes.
 *
 * The tables come from where they are used, so the help cannot disagree with what happens.
 * Next: cli/boot-settings.ts. */
import { BOOT_PROTOCOLS, UNBUILT_PATHS } from '../boot/index.ts';
import { verdictTable } from '../machine/verdict.ts';
import { TRACE_FORMATS } from '../trace/formats/formats.ts';
import { EXIT_CODES } from './exit-codes.ts';

/** What --via takes. Paths that are designed but not built are known, so that they can be refused by name. */
export const VIA_CHOICES: readonly string[] = [...BOOT_PROTOCOLS.map(({ name }) => name), 'auto'];
export const VIA_KNOWN: readonly string[] = [...VIA_CHOICES, ...UNBUILT_PATHS];

export function bootHelp(): string {
  return `
Entry paths:
${columns([...BOOT_PROTOCOLS.map(({ name, summary }) => [name, summary]), ['auto', 'the best one that the file supports; the closing line says which']])}

Examples:
  zeropage boot                                     the built-in guest
  zeropage boot tiny --cmdline panic                what a panic looks like, and its exit code
  zeropage boot vmlinuz --via pvh --append "console=ttyS0 panic=-1" --timeout 60
  zeropage boot vmlinuz --initrd rootfs.cpio --append console=ttyS0 \\
      --after "login: " --send "root\\n" --after "# " --send "poweroff\\n"
  zeropage boot vmlinuz --append console=ttyS0 --expect /Freeing.*memory/ --report run.json
  zeropage boot vmlinuz --until start_kernel --dump 0x10000:4K:zeropage.bin
  zeropage boot vmlinuz --append console=ttyS0 --until start_kernel --save-state start.snap
  zeropage boot --from start.snap --expect /Run .init/
  zeropage boot code.bin --via flat64 --load 0x200000 --report run.json
  zeropage boot vmlinuz --via xen-pv --until rest_init --trace boot.perfetto.json --trace boot.json

Formats of --trace, by the end of the file's name:
${columns(TRACE_FORMATS.map(({ ending, about }) => [ending, about]))}

How the end is judged (the worst verdict seen wins):
${columns(verdictTable.map(({ when, follows, code }) => [code, follows === 'the run ends' ? when : `${when}, ${follows}`]))}

Exit codes:
${columns(EXIT_CODES.map(([code, meaning]) => [code, meaning]))}
`;
}

function columns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i])).join('  ')}`.trimEnd()).join('\n');
}
