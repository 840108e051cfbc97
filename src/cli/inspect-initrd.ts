/** `inspect` for a file that is an initial RAM disk: its parts, and the entries of those that are not compressed.
 *
 * May not: unpack anything; kernels do that.   Next: cli/inspect-text.ts. */
import { ImageError } from '../base/errors.ts';
import { formatSize, hex } from '../base/numbers.ts';
import { FILE_TYPES, S_IFMT } from '../initrd/newc.ts';
import { type InitrdFacts, recogniseInitrd } from '../initrd/recognise.ts';
import { type Style, textTable } from './text-table.ts';

/** What `--json` prints for an initrd. */
export type InitrdInspection = { schema: 1; initrd: InitrdFacts & { path: string; size: number; sha256: string } };

/** The facts, or undefined for what is no initrd. Only archives are certain: a compressed file may be anything else. */
export function asInitrd(name: string, bytes: Uint8Array): { facts: InitrdFacts; certain: boolean } | undefined {
  try {
    const facts = recogniseInitrd(name, bytes);
    return { facts, certain: facts.parts[0].kind === 'cpio' };
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}

export function initrdText({ initrd }: InitrdInspection, width: number, style: Style): string {
  const { path, size, says, parts, warnings } = initrd;
  const sections: string[] = [];
  const add = (title: string, rows: readonly (readonly string[])[]) =>
    sections.push(`${style.heading(title)}\n${textTable(rows, width)}`);
  add('Initial RAM disk', [
    ['file', path],
    ['size', formatSize(size)],
    ['is', says],
    ['boot it', `zeropage boot KERNEL --initrd ${path}`],
  ]);
  for (const part of parts) {
    if (part.kind !== 'cpio') continue;
    const shown = part.entries.slice(0, MOST_SHOWN);
    const rows = shown.map((entry) => [modeText(entry.mode), String(entry.size), printable(entry.path)]);
    const more = part.entries.length - shown.length;
    if (more > 0) rows.push(['...', '', `${more} more; --json lists all`]);
    add(`Archive at ${hex(part.at)}`, [['mode', 'size', 'path'], ...rows]);
  }
  if (warnings.length > 0) add('Warnings', warnings.map((warning) => [warning])); // biome-ignore format: one line
  return `${sections.join('\n\n')}\n`;
}

/** A distribution's initrd has some thousand; a root file system has more than anybody reads. */
const MOST_SHOWN = 2000;

/** A name is a file's word, and a terminal obeys some of those. */
const printable = (path: string) => path.replace(/\p{Cc}/gu, '?');

const LETTERS: readonly (readonly [number, string])[] = [
  [FILE_TYPES.folder, 'd'],
  [FILE_TYPES.symlink, 'l'],
  [FILE_TYPES['character device'], 'c'],
  [FILE_TYPES['block device'], 'b'],
  [FILE_TYPES.fifo, 'p'],
];

/** As ls prints the type, and the permissions in octal, which hide nothing. */
function modeText(mode: number): string {
  const type = LETTERS.find(([bits]) => bits === (mode & S_IFMT))?.[1] ?? '-';
  return `${type} ${(mode & 0o7777).toString(8).padStart(4, '0')}`;
}
