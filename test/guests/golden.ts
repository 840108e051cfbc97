/** Consoles of the tiny guest that QEMU 7.2 recorded: an independent word on what each entry path must print.
 *
 * test/golden/tiny.<path>.qemu.txt is the whole serial console. QEMU's machine differs from ours in a few lines (its
 * BIOS reserves memory, and it puts the initrd elsewhere): `comparable` leaves exactly those out and keeps the order of
 * all others, so that a console of ours can be held against it.   Next: test/guests/qemu.test.ts. */
import { readFileSync } from 'node:fs';

export const IMAGES = new URL('../../guests/images/', import.meta.url);

/** How each recording was made: QEMU's `-kernel` with this image, always with `initrd()` and COMMAND_LINE; linux64 by
 * way of guests/test/loader.S, whose zero page is like ours. */
export const RECORDED = [
  { path: 'linux64', image: 'tiny64.bzimage' },
  { path: 'linux32', image: 'tiny64.bzimage' }, // through the real-mode setup code, then startup_32
  { path: 'linux32-i386', image: 'tiny32.bzimage' },
  { path: 'pvh', image: 'tiny64.elf' },
  { path: 'multiboot', image: 'tiny32.elf' },
] as const;
export type RecordedPath = (typeof RECORDED)[number]['path'];

export const COMMAND_LINE = 'console=ttyS0 unknown=word';

export const goldenFile = (path: RecordedPath) => new URL(`../golden/tiny.${path}.qemu.txt`, import.meta.url);
export const golden = (path: RecordedPath) => readFileSync(goldenFile(path), 'latin1');

/** The same guest as dom0 on Debian's Xen 4.17 (test/real/xen.test.ts), only its own lines. */
export const xenGolden = new URL('../golden/tiny.xen-pv.xen.txt', import.meta.url);

/** What belongs to the machine and not to the guest. */
const MACHINE_LINES = [
  /^(BIOS-e820|Xen): \[mem /, // QEMU: what SeaBIOS reserves; ours: two entries
  /^Memory: /,
  /^initrd: \[mem /, // each loader chooses its own place
  /^Command line: /, // QEMU's Multiboot loader puts the file's name before it
  /^loader: /, // QEMU is loader 0xb0
  /^Xen version: |^Grant table: /,
  /^check: the console page is granted/, // a dom0 has no such page
  /^microcode: |^mtrr: |^bios: /, // of the PC that it runs on, if it is one
];

export function comparable(console: string): string[] {
  return console
    .replaceAll('\r', '')
    .split('\n')
    .filter((line) => line !== '' && !MACHINE_LINES.some((machine) => machine.test(line)));
}

/** A small newc archive, the same on every machine. */
export function initrd(): Uint8Array {
  const entries = [
    ['etc', '', 0o40755],
    ['etc/motd', 'hello from the initrd\n', 0o100644],
    ['init', '#!/bin/sh\n'.repeat(70), 0o100755],
    ['TRAILER!!!', '', 0],
  ] as const;
  const pad = (text: string) => text + '\0'.repeat(-text.length & 3);
  const hex8 = (value: number) => value.toString(16).padStart(8, '0');
  const archive = entries.map(([name, data, mode], index) => {
    const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    return pad(`070701${fields.map(hex8).join('')}${name}\0`) + pad(data);
  });
  return Buffer.from(archive.join(''), 'latin1');
}
