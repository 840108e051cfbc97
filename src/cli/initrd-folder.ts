/** A folder becomes an initrd: its files are read, and initrd/build.ts packs them.
 *
 * Everything under the folder goes in as it is, but owners and times, which would make each packing different: the owner
 * is root, times are 0. Symbolic links stay links and are never followed, so nothing outside of the folder gets in and
 * there are no circles. Hard links stay one file. Sockets are left out and named.
 * Next: cli/host.ts. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { ImageError } from '../base/errors.ts';
import { formatSize } from '../base/numbers.ts';
import { type BuiltInitrd, buildInitrd } from '../initrd/build.ts';
import { type InitrdEntry, keyOf, LARGEST_INITRD, LONGEST_PATH, showPath } from '../initrd/newc.ts';

/** Far above any root file system that fits into memory; it ends a mistake like `--initrd /` in time. */
const MOST_ENTRIES = 500_000;

export function packFolder(folder: string, option: string): BuiltInitrd {
  const reader = new FolderReader(folder, option);
  reader.read('');
  const { bytes, notes } = buildInitrd(reader.entries);
  return { bytes, notes: [...reader.notes, ...notes] };
}

class FolderReader {
  readonly entries: InitrdEntry[] = [];
  readonly notes: string[] = [];
  readonly #folder: string;
  readonly #option: string;
  /** The first name of each file that has several, by device and inode. */
  readonly #linked = new Map<string, Uint8Array>();
  #size = 0;

  constructor(folder: string, option: string) {
    this.#folder = folder;
    this.#option = option;
  }

  /** What lies in `path`, relative to the folder and as one character to a byte: names need not be UTF-8. */
  read(path: string): void {
    const names = this.#asking(path, () => readdirSync(this.#hostPath(path), { encoding: 'buffer' }));
    for (const name of names.map((bytes) => bytes.toString('latin1')).sort()) {
      const inside = path === '' ? name : `${path}/${name}`;
      if (inside.length >= LONGEST_PATH) throw this.#refuse(inside, `its name has ${inside.length} bytes; Linux reads up to ${LONGEST_PATH - 1}`, 'shorten it'); // biome-ignore format: one line
      this.#add(inside);
      if (this.entries.length > MOST_ENTRIES) {
        throw this.#refuse(
          inside,
          `the folder holds more than ${MOST_ENTRIES} entries`,
          'check that it is the right folder',
        );
      }
    }
  }

  #add(inside: string): void {
    const stat = this.#asking(inside, () => lstatSync(this.#hostPath(inside)));
    const path = Buffer.from(inside, 'latin1');
    const mode = stat.mode & 0o7777;
    if (stat.isDirectory()) {
      this.entries.push({ kind: 'folder', path, mode });
      this.read(inside);
    } else if (stat.isFile()) this.#addFile(path, mode, stat);
    else if (stat.isSymbolicLink()) {
      const target = this.#asking(inside, () => readlinkSync(this.#hostPath(inside), { encoding: 'buffer' }));
      this.entries.push({ kind: 'symlink', path, target });
    } else if (stat.isFIFO()) this.entries.push({ kind: 'fifo', path, mode });
    else if (stat.isCharacterDevice() || stat.isBlockDevice()) {
      const kind = stat.isCharacterDevice() ? 'character device' : 'block device';
      this.entries.push({ kind, path, mode, ...deviceNumbers(stat.rdev) });
    } else this.notes.push(`left out ${showPath(path)}: a ${stat.isSocket() ? 'socket' : 'kind of file'} that an archive cannot hold`); // biome-ignore format: one line
  }

  #addFile(path: Uint8Array, mode: number, stat: Stats): void {
    const key = `${stat.dev}:${stat.ino}`;
    const sameAs = stat.nlink > 1 ? this.#linked.get(key) : undefined;
    if (sameAs) {
      this.entries.push({ kind: 'link', path, sameAs });
      return;
    }
    if (stat.nlink > 1) this.#linked.set(key, path);
    const data = this.#asking(keyOf(path), () => this.#readFile(keyOf(path)));
    this.entries.push({ kind: 'file', path, mode, data });
  }

  /** The file may have changed since it was looked at: what is opened is looked at again, and its size is the limit. */
  #readFile(inside: string): Uint8Array {
    const fd = openSync(this.#hostPath(inside), constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0)); // biome-ignore format: one line
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw this.#refuse(inside, 'it stopped being a file while it was read', 'pack it again');
      this.#size += stat.size;
      if (this.#size > LARGEST_INITRD) {
        throw this.#refuse(inside, `the files up to here have ${this.#size} bytes, and ${formatSize(LARGEST_INITRD)} is the limit`, 'check that it is the right folder, or leave things out of it'); // biome-ignore format: one line
      }
      const data = new Uint8Array(stat.size);
      let length = 0;
      while (length < data.length) {
        const count = readSync(fd, data, length, data.length - length, null);
        if (count === 0) break;
        length += count;
      }
      return data.subarray(0, length);
    } finally {
      closeSync(fd);
    }
  }

  #hostPath(inside: string): Buffer {
    return inside === '' ? Buffer.from(this.#folder) : Buffer.concat([Buffer.from(`${this.#folder}/`), Buffer.from(inside, 'latin1')]); // biome-ignore format: one line
  }

  #asking<T>(inside: string, ask: () => T): T {
    try {
      return ask();
    } catch (error) {
      if (error instanceof ImageError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      const denied = code === 'EACCES' || code === 'EPERM';
      throw this.#refuse(
        inside,
        denied ? 'this user may not read it' : message,
        denied ? 'change its permissions, or take it out of the folder' : 'pack it again when nobody changes it',
      );
    }
  }

  #refuse(inside: string, why: string, fix: string): ImageError {
    const place = inside === '' ? this.#folder : showPath(this.#hostPath(inside));
    return new ImageError({ what: `cannot pack ${this.#folder}`, where: `${this.#option}, ${place}`, why, fix });
  }
}

/** As glibc's major() and minor() take st_rdev apart. */
function deviceNumbers(rdev: number): { major: number; minor: number } {
  const value = BigInt(rdev);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & ~0xfffn);
  const minor = (value & 0xffn) | ((value >> 12n) & ~0xffn);
  return { major: Number(BigInt.asUintN(32, major)), minor: Number(BigInt.asUintN(32, minor)) };
}
