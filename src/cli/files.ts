/** Output files: whole or not at all.
 *
 * A file is written beside its place and renamed into it, so that nobody ever reads half a report, and an old one
 * survives a run that fails. Where the place is no regular file (/dev/stdout, a FIFO) it is written directly.
 * Whether a place can be written is asked before the guest starts: an hour's run must not end in a typing error.
 * Next: cli/interactive.ts. */
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UsageError } from './options.ts';
import { OutputError } from './output.ts';

type Piece = string | Uint8Array;

/** What is too long for one string comes in pieces. `durable`: the bytes are on the disk before the name is. */
export function writeFileWhole(
  file: string,
  data: Piece | Iterable<Piece>,
  { durable = false }: { durable?: boolean } = {},
): void {
  try {
    if (!isReplaceable(file)) {
      writePieces(file, data, false);
      return;
    }
    const folder = mkdtempSync(join(dirname(file), '.zeropage-'));
    try {
      const draft = join(folder, basename(file));
      writePieces(draft, data, durable);
      renameSync(draft, file);
      if (durable) syncFolder(dirname(file));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  } catch (error) {
    throw new OutputError({
      what: `${file} could not be written`,
      where: file,
      why: (error as Error).message,
      fix: 'make room or choose another place, and run again',
    });
  }
}

/** A name is on the disk when its folder is; not every system lets a folder be opened. */
function syncFolder(folder: string): void {
  try {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch {
    // The bytes are there; the name follows when the system writes it.
  }
}

const PIECES_AT_ONCE = 1 << 20;

function writePieces(file: string, data: Piece | Iterable<Piece>, durable: boolean): void {
  if (!durable && (typeof data === 'string' || data instanceof Uint8Array)) {
    writeFileSync(file, data);
    return;
  }
  const fd = openSync(file, 'w');
  try {
    let text = '';
    const pieces = typeof data === 'string' || data instanceof Uint8Array ? [data] : data;
    for (const piece of pieces) {
      if (typeof piece === 'string') text += piece;
      if (text.length > PIECES_AT_ONCE || typeof piece !== 'string') {
        writeFileSync(fd, text);
        text = '';
      }
      if (typeof piece !== 'string') writeFileSync(fd, piece);
    }
    writeFileSync(fd, text);
    if (durable) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Throws a UsageError for a place that cannot be written. */
export function checkWritable(file: string, option: string): void {
  try {
    if (isReplaceable(file)) accessSync(dirname(file), constants.W_OK | constants.X_OK);
    else if (statSync(file).isDirectory()) throw new Error('it is a directory');
    else accessSync(file, constants.W_OK);
  } catch (error) {
    throw new UsageError({
      what: `${file} cannot be written`,
      where: `${option} ${file}`,
      why: (error as Error).message,
      fix: 'choose a file in a directory that exists and may be written',
    });
  }
}

/** Absent, or a regular file. */
function isReplaceable(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? true;
}
