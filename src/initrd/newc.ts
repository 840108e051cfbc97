/** newc: the archive that Linux unpacks into its first root file system.
 *
 * Each entry is a header of 110 hexadecimal characters, a name, and its data, each padded to four bytes; an entry called
 * TRAILER!!! ends the archive. `packInitrd` writes entries in the order given, with nothing of this computer in them:
 * inode numbers count from 1, owner and group are root, times are 0. The same entries give the same bytes anywhere.
 * Follows: Linux Documentation/driver-api/early-userspace/buffer-format.rst, and what GNU cpio writes for hard links.
 * May not: read files (cli/initrd-folder.ts does).   Next: initrd/build.ts, which adds what a bootable one needs. */
import { ImageError } from '../base/errors.ts';
import { alignUp, formatSize, GiB } from '../base/numbers.ts';

/** Where an entry lies, without a leading slash ("etc/motd"); bytes where it is no UTF-8. */
export type EntryPath = string | Uint8Array;

/** One thing in the archive. `mode` holds the permission bits, set-user-ID and the like included (07777). */
export type InitrdEntry = { path: EntryPath; mode?: number } & (
  | { kind: 'file'; data: Uint8Array | string; sameAs?: undefined }
  /** Another name of the file at `sameAs`: a hard link. */
  | { kind: 'link'; sameAs: EntryPath }
  | { kind: 'folder' }
  | { kind: 'symlink'; target: EntryPath }
  | { kind: 'character device' | 'block device'; major: number; minor: number }
  | { kind: 'fifo' }
);

/** The largest archive made here, as for files that are given ready-made. */
export const LARGEST_INITRD = GiB;

export const S_IFMT = 0o170000;
export const FILE_TYPES = {
  folder: 0o040000,
  file: 0o100000,
  symlink: 0o120000,
  'character device': 0o020000,
  'block device': 0o060000,
  fifo: 0o010000,
} as const;

const USUAL_MODES = {
  folder: 0o755, file: 0o644, symlink: 0o777, 'character device': 0o600, 'block device': 0o600, fifo: 0o644,
} as const; // biome-ignore format: a table

export const NEWC_MAGIC = '070701';
export const NEWC_CRC_MAGIC = '070702';
export const NEWC_HEADER_SIZE = 110;
export const TRAILER = 'TRAILER!!!';
/** PATH_MAX of Linux; its unpacker skips longer names. With the NUL. */
export const LONGEST_PATH = 4096;

/** The thirteen numbers of a header, in their order. */
export const NEWC_FIELDS = [
  'ino', 'mode', 'uid', 'gid', 'nlink', 'mtime', 'filesize', 'devmajor', 'devminor', 'rdevmajor', 'rdevminor', 'namesize', 'check',
] as const; // biome-ignore format: a list
export type NewcHeader = Record<(typeof NEWC_FIELDS)[number], number>;

type Packed = { path: Uint8Array; header: Partial<NewcHeader>; data: Uint8Array };

/** Throws an ImageError that names the entry. */
export function packInitrd(entries: readonly InitrdEntry[]): Uint8Array {
  const records = recordsOf(entries);
  records.push({ path: bytesOf(TRAILER), header: { nlink: 1 }, data: NOTHING });
  let size = 0;
  for (const { path, data } of records) size += sizeOf(path, data);
  if (size > LARGEST_INITRD) {
    throw refuse('the initrd', `it would have ${size} bytes, and ${formatSize(LARGEST_INITRD)} is the limit`, 'leave things out of it'); // biome-ignore format: one line
  }
  // Archives end at a multiple of 512 bytes by custom; what follows the trailer must be zeros.
  const out = new Uint8Array(alignUp(size, 512));
  let at = 0;
  for (const { path, header, data } of records) {
    const fields = { ...header, filesize: data.length, namesize: path.length + 1 };
    const text = NEWC_FIELDS.map((name) => (fields[name as keyof typeof fields] ?? 0).toString(16).padStart(8, '0'));
    out.set(bytesOf(NEWC_MAGIC + text.join('')), at);
    out.set(path, at + NEWC_HEADER_SIZE);
    at = alignUp(at + NEWC_HEADER_SIZE + path.length + 1, 4);
    out.set(data, at);
    at = alignUp(at + data.length, 4);
  }
  return out;
}

const NOTHING = new Uint8Array(0);

export const bytesOf = (text: EntryPath): Uint8Array =>
  typeof text === 'string' ? new TextEncoder().encode(text) : text;

/** A path as a key: one character to a byte, so that no two paths share one. */
export const keyOf = (path: EntryPath): string => String.fromCharCode(...bytesOf(path));

/** A path as messages show it. */
export const showPath = (path: EntryPath): string => (typeof path === 'string' ? path : new TextDecoder().decode(path));

const sizeOf = (path: Uint8Array, data: Uint8Array) =>
  alignUp(NEWC_HEADER_SIZE + path.length + 1, 4) + alignUp(data.length, 4);

function recordsOf(entries: readonly InitrdEntry[]): Packed[] {
  const numbers = new Map<string, number>(); // by path
  const names = new Map<number, number[]>(); // of a file with several: their places among the records, by inode
  const records: Packed[] = [];
  for (const entry of entries) {
    const path = checkedPath(entry.path);
    const key = keyOf(path);
    if (numbers.has(key)) throw refuse(showPath(path), 'an entry of this name came before', 'give each name once');
    const ino = entry.kind === 'link' ? numberOfTarget(entry, numbers) : numbers.size + 1;
    numbers.set(key, ino);
    if (entry.kind === 'link') {
      const first = records.findIndex(({ header }) => header.ino === ino);
      if (((records[first].header.mode as number) & S_IFMT) !== FILE_TYPES.file)
        throw refuse(showPath(path), `what it is another name of (${showPath(entry.sameAs)}) is no file`, 'link to a file'); // biome-ignore format: one line
      const places = names.get(ino) ?? [first];
      names.set(ino, [...places, records.length]);
      records.push({ path, header: { ...records[first].header }, data: NOTHING });
      continue;
    }
    records.push({ path, header: { ino, ...headerOf(entry, path) }, data: dataOf(entry, path) });
  }
  // By custom the data stands with the last name.
  for (const places of names.values()) {
    const last = records[places.at(-1) as number];
    last.data = records[places[0]].data;
    records[places[0]].data = NOTHING;
    for (const place of places) records[place].header.nlink = places.length;
  }
  return records;
}

function numberOfTarget({ path, sameAs }: { path: EntryPath; sameAs: EntryPath }, numbers: Map<string, number>) {
  const ino = numbers.get(keyOf(sameAs));
  if (ino !== undefined) return ino;
  throw refuse(showPath(path), `no entry before it is called ${showPath(sameAs)}`, 'give the file first, then its other names'); // biome-ignore format: one line
}

function headerOf(entry: Exclude<InitrdEntry, { kind: 'link' }>, path: Uint8Array): Partial<NewcHeader> {
  const { mode = USUAL_MODES[entry.kind] } = entry;
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777)
    throw refuse(showPath(path), `its mode is ${String(mode)}`, 'give permission bits from 0 to 0o7777');
  const header = { mode: FILE_TYPES[entry.kind] | mode, nlink: entry.kind === 'folder' ? 2 : 1 };
  if (entry.kind !== 'character device' && entry.kind !== 'block device') return header;
  for (const number of [entry.major, entry.minor]) {
    if (!Number.isInteger(number) || number < 0 || number > 0xffff_ffff)
      throw refuse(showPath(path), `its device number is ${entry.major}, ${entry.minor}`, 'give major and minor');
  }
  return { ...header, rdevmajor: entry.major, rdevminor: entry.minor };
}

function dataOf(entry: InitrdEntry, path: Uint8Array): Uint8Array {
  if (entry.kind === 'file') return bytesOf(entry.data);
  if (entry.kind !== 'symlink') return NOTHING;
  const target = bytesOf(entry.target);
  if (target.length === 0 || target.length >= LONGEST_PATH || target.includes(0))
    throw refuse(showPath(path), `its target has ${target.length} bytes or a NUL in it`, 'give a target as a path');
  return target;
}

/** Relative, without empty parts, "." and "..": what lands outside of the root is a mistake. */
function checkedPath(path: EntryPath): Uint8Array {
  const bytes = bytesOf(path);
  const text = showPath(bytes);
  const wrong = (why: string) => refuse(JSON.stringify(text), why, 'write it as in "etc/motd"');
  if (bytes.length === 0) throw wrong('it has no name');
  if (bytes.length >= LONGEST_PATH)
    throw wrong(`its name has ${bytes.length} bytes; Linux reads up to ${LONGEST_PATH - 1}`);
  if (bytes.includes(0)) throw wrong('its name holds a NUL');
  if (text === TRAILER) throw wrong('this name ends an archive');
  if (text.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw wrong('its name begins or ends with a slash, or has an empty part, "." or ".." in it');
  return bytes;
}

function refuse(where: string, why: string, fix: string): ImageError {
  return new ImageError({ what: 'the initrd cannot be packed', where, why, fix });
}
