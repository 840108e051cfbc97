/** What an initrd is, as Linux will see it: archives one behind the other, compressed or not.
 *
 * Linux reads newc archives and compressed streams in any order, with zeros between them; distributions put CPU microcode
 * as a plain archive in front of the compressed rest. Nothing is unpacked here: what a compressed stream holds is the
 * kernel's business. A file that no kernel could make anything of is refused, with the right way to make one.
 * Follows: Linux Documentation/driver-api/early-userspace/buffer-format.rst; init/initramfs.c for what is skipped.
 * Next: symbols/symbol-list.ts. */
import { ImageError } from '../base/errors.ts';
import { alignUp, hex } from '../base/numbers.ts';
import { looksLikeBzImage } from '../image/bzimage.ts';
import { looksLikeElf } from '../image/elf.ts';
import { type CompressionName, compressionOf } from '../unpack/unpack.ts';
import {
  FILE_TYPES,
  LONGEST_PATH,
  NEWC_CRC_MAGIC,
  NEWC_FIELDS,
  NEWC_HEADER_SIZE,
  NEWC_MAGIC,
  type NewcHeader,
  S_IFMT,
  TRAILER,
} from './newc.ts';

export type InitrdPart = { at: number; length: number } & (
  | { kind: 'cpio'; entries: ArchivedEntry[] }
  /** Its length is unknown without unpacking it: it is taken to reach the end. */
  | { kind: 'compressed'; compression: CompressionName }
  /** For kernels that mount their initrd as a disk. */
  | { kind: 'file system'; name: string }
);

export type ArchivedEntry = { path: string; mode: number; size: number };

export type InitrdFacts = {
  parts: InitrdPart[];
  /** One line: "cpio (newc), 12 entries". */
  says: string;
  /** What will go wrong with it, as far as can be seen. */
  warnings: string[];
};

/** What these bytes are. Throws an ImageError for what no kernel could use; `name` is for its message. */
export function recogniseInitrd(name: string, bytes: Uint8Array): InitrdFacts {
  const parts: InitrdPart[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) at++;
    else {
      const part = partAt(name, bytes, at, parts);
      parts.push(part);
      at += part.length;
    }
  }
  if (parts.length === 0) {
    throw notAnInitrd(name, 'it holds nothing but zeros', 'check how it was made; a download may have failed');
  }
  return { parts, says: parts.map(partSays).join(', then '), warnings: warningsOf(parts) };
}

/** The same line for whoever does not mind what it is. */
export function initrdSays(bytes: Uint8Array): string | undefined {
  try {
    return recogniseInitrd('', bytes).says;
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}

function partSays(part: InitrdPart): string {
  if (part.kind === 'cpio') {
    if (isMicrocode(part)) return 'early CPU microcode (cpio)';
    return `cpio (newc), ${part.entries.length} ${part.entries.length === 1 ? 'entry' : 'entries'}`;
  }
  return part.kind === 'compressed' ? `compressed with ${part.compression}` : `${part.name} file system`;
}

const isMicrocode = ({ entries }: { entries: ArchivedEntry[] }) =>
  entries.some(({ path }) => path.startsWith('kernel/x86/microcode/'));

/** What Linux would only say in the middle of its log, or after a minute. */
function warningsOf(parts: readonly InitrdPart[]): string[] {
  const warnings: string[] = [];
  if (!parts.every(({ kind }) => kind === 'cpio')) return warnings;
  const entries = parts.flatMap((part) => (part.kind === 'cpio' ? part.entries : []));
  const init = entries.findLast(({ path }) => path.replace(/^(?:\.?\/)+/, '') === 'init');
  if (!init)
    warnings.push('the initrd has no /init: Linux will look for a disk to boot from, unless rdinit= names another program'); // biome-ignore format: one line
  else if ((init.mode & S_IFMT) === FILE_TYPES.file && (init.mode & 0o111) === 0) {
    warnings.push('/init in the initrd is not executable: Linux will not run it (chmod +x init)');
  }
  return warnings;
}

function partAt(name: string, bytes: Uint8Array, at: number, before: readonly InitrdPart[]): InitrdPart {
  if (bytes[at] === 0x30 && at % 4 === 0) return archiveAt(name, bytes, at);
  const rest = bytes.subarray(at);
  const compression = compressionOf(rest);
  if (compression) return { kind: 'compressed', compression, at, length: rest.length };
  if (at > 0 && before.length > 0) {
    const first = Array.from(rest.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw notAnInitrd(
      name,
      `behind its first ${at} bytes (${partSays(before[before.length - 1])}) stands ${first}, neither a cpio archive at a multiple of 4 nor a compressed stream`,
      'put the parts together with cat, uncompressed ones first',
    );
  }
  const fileSystem = fileSystemOf(bytes);
  if (fileSystem) return { kind: 'file system', name: fileSystem, at: 0, length: bytes.length };
  throw wrongFile(name, bytes);
}

/** An archive up to its trailer, or to the end of the file. */
function archiveAt(name: string, bytes: Uint8Array, start: number): InitrdPart {
  const entries: ArchivedEntry[] = [];
  let at = start;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      at++; // the unpacker skips zeros between entries
      continue;
    }
    const header = headerAt(name, bytes, at);
    const nameAt = at + NEWC_HEADER_SIZE;
    const dataAt = alignUp(nameAt + header.namesize - start, 4) + start;
    const end = dataAt + header.filesize;
    const path = decoded(bytes.subarray(nameAt, Math.max(nameAt, nameAt + header.namesize - 1)));
    if (header.namesize < 1 || header.namesize > LONGEST_PATH) {
      throw damagedArchive(name, at, `its name has ${header.namesize} bytes; 1 to ${LONGEST_PATH} are possible`);
    }
    if (end > bytes.length) {
      throw damagedArchive(name, at, `${JSON.stringify(path)} ends at ${hex(end)}, and the file has ${hex(bytes.length)} bytes: it is cut short`); // biome-ignore format: one line
    }
    at = Math.min(alignUp(end - start, 4) + start, bytes.length);
    if (path === TRAILER) return { kind: 'cpio', entries, at: start, length: at - start };
    entries.push({ path, mode: header.mode, size: header.filesize });
  }
  return { kind: 'cpio', entries, at: start, length: at - start };
}

const decoded = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function headerAt(name: string, bytes: Uint8Array, at: number): NewcHeader {
  const text = String.fromCharCode(...bytes.subarray(at, at + NEWC_HEADER_SIZE));
  const magic = text.slice(0, 6);
  if (magic === '070707') {
    throw notAnInitrd(name, `at ${hex(at)} it is a cpio archive of the old portable format (070707); Linux reads newc alone`, 'make it with cpio -o -H newc, or give the folder to --initrd'); // biome-ignore format: one line
  }
  if (magic !== NEWC_MAGIC && magic !== NEWC_CRC_MAGIC) {
    if (at === 0) throw wrongFile(name, bytes);
    throw damagedArchive(name, at, `an entry begins with 070701 or 070702, this with ${JSON.stringify(magic)}`);
  }
  if (text.length < NEWC_HEADER_SIZE)
    throw damagedArchive(name, at, "the file ends in an entry's header: it is cut short");
  const fields = text.slice(6);
  if (!/^[0-9a-fA-F]+$/.test(fields))
    throw damagedArchive(name, at, 'its header holds something else than hexadecimal digits');
  return Object.fromEntries(
    NEWC_FIELDS.map((field, i) => [field, Number.parseInt(fields.slice(8 * i, 8 * i + 8), 16)]),
  ) as NewcHeader;
}

/** Disk images that old kernels load into /dev/ram0 (Linux init/do_mounts_rd.c): their magics. */
function fileSystemOf(bytes: Uint8Array): string | undefined {
  const text = (at: number, length: number) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (text(0, 8) === '-rom1fs-') return 'romfs';
  if (text(0, 4) === 'hsqs') return 'squashfs';
  if (text(0, 4) === 'E=\xcd(') return 'cramfs';
  if (bytes[0x438] === 0x53 && bytes[0x439] === 0xef) return 'ext2';
  const minix = (bytes[0x410] ?? 0) | ((bytes[0x411] ?? 0) << 8);
  return [0x137f, 0x138f, 0x2468, 0x2478].includes(minix) ? 'minix' : undefined;
}

/** For whoever could look into a compressed one: its first bytes must be an archive's. */
export function checkUnpacked(name: string, compression: CompressionName, start: Uint8Array): void {
  const magic = String.fromCharCode(...start.subarray(0, 6));
  if (start.length < 6 || magic === NEWC_MAGIC || magic === NEWC_CRC_MAGIC || fileSystemOf(start)) return;
  if (magic === '070707') headerAt(name, start, 0);
  const { why, fix } = wrongFile(name, start);
  throw notAnInitrd(name, `it is compressed with ${compression}, and inside ${why}`, fix);
}

function wrongFile(name: string, bytes: Uint8Array): ImageError {
  const FOLDER = 'give a cpio archive (find . | cpio -o -H newc), compressed or not, or the folder itself';
  if (looksLikeElf(bytes)) {
    return notAnInitrd(name, 'it is an ELF file: a program or a kernel', 'pack one static program as /init with --init FILE; the kernel is the first argument'); // biome-ignore format: one line
  }
  if (looksLikeBzImage(bytes)) return notAnInitrd(name, 'it is a kernel (a bzImage)', 'give the kernel as the first argument, and the initrd that belongs to it here'); // biome-ignore format: one line
  const text = (at: number, length: number) => String.fromCharCode(...bytes.subarray(at, at + length));
  if (text(257, 5) === 'ustar') return notAnInitrd(name, 'it is a tar archive', `unpack it into a folder and give that: ${FOLDER}`); // biome-ignore format: one line
  if (text(0, 2) === 'PK') return notAnInitrd(name, 'it is a zip archive', `unpack it into a folder and give that: ${FOLDER}`); // biome-ignore format: one line
  if (text(0, 8) === '!<arch>\n') return notAnInitrd(name, 'it is an ar archive or a Debian package', `unpack it (dpkg-deb -x) into a folder and give that: ${FOLDER}`); // biome-ignore format: one line
  if (text(0x8001, 5) === 'CD001')
    return notAnInitrd(name, 'it is an ISO image of a disc', 'take the initrd out of it');
  if (isText(bytes.subarray(0, 512))) {
    const fix = text(0, 2) === '#!' ? `put it as init, with its interpreter, into a folder: ${FOLDER}` : FOLDER;
    return notAnInitrd(
      name,
      `it is a text file, beginning with ${JSON.stringify(decoded(bytes.subarray(0, 24)).split('\n')[0])}`,
      fix,
    );
  }
  const first = Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return notAnInitrd(name, `it begins with ${first}: no cpio archive, none of the seven compressions that Linux unpacks, and no file system`, FOLDER); // biome-ignore format: one line
}

function isText(bytes: Uint8Array): boolean {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return [...text].every((character) => character >= ' ' || '\t\n\r\f\x1b'.includes(character));
  } catch {
    return false;
  }
}

function notAnInitrd(name: string, why: string, fix: string): ImageError {
  return new ImageError({ what: `${name} is not an initrd`, where: `--initrd ${name}`, why, fix });
}

function damagedArchive(name: string, at: number, why: string): ImageError {
  return new ImageError({
    what: `${name} is a damaged cpio archive`,
    where: `${name}, entry at ${hex(at)}`,
    why,
    fix: 'make it again, or get the file again',
  });
}
