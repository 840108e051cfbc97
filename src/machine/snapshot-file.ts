/** The file of a snapshot: a head, then sections, each with its own SHA-256, then an end that covers them all.
 *
 *   head      8 bytes of magic, u32 version of this format, u32 zero
 *   section   16 bytes of name, u32 version, u32 packing, u32 bytes here, u32 bytes unpacked, 32 bytes SHA-256 of the 32
 *             before it and of the bytes, then the bytes
 *   end       a section whose bytes are the SHA-256 of all others' in their order
 *
 * So it is written in one go, read in one go, and a file that was cut, changed, or put together from two is refused with
 * the place. Sizes are held against limits before anything is allocated.
 * May not: know what a section means, or touch files; bytes come from a SnapshotSource and go out in pieces.
 * Next: machine/snapshot-memory.ts. */
import { ImageError } from '../base/errors.ts';
import { hex, MiB } from '../base/numbers.ts';

/** What the host does for snapshots. */
export type SnapshotHost = {
  /** Lower-case hex, over all pieces in their order. */
  sha256(...pieces: Uint8Array[]): string;
  /** Something fast; the file says that it was used. */
  pack(bytes: Uint8Array): Uint8Array;
  /** Throws when the bytes are no packed ones, or unpack to more than `size`. */
  unpack(bytes: Uint8Array, size: number): Uint8Array;
  /** Of zeropage, for people. */
  version: string;
};

/** A file that is read piece by piece, so that its memory need not be held twice. */
export interface SnapshotSource {
  /** As messages name it. */
  readonly name: string;
  readonly size: number;
  /** Exactly so many bytes, which lie inside. */
  read(at: number, length: number): Uint8Array;
}

/** The file is damaged, no snapshot, or of another version. */
export class SnapshotError extends ImageError {}

export type Section = { name: string; version: number; bytes: Uint8Array };

const MAGIC = Uint8Array.from('ZPSNAP\r\n', (character) => character.charCodeAt(0));
const FORMAT = 1;
const HEAD = 16;
const NAME = 16;
const SECTION_HEAD = 64;
const HASH = 32;
const PACKING = { none: 0, host: 1 } as const;
/** No section is larger unpacked; memory comes in many. */
const LARGEST_SECTION = 256 * MiB;
/** More than a machine of 3 GiB in sections of 1 MiB has. */
const MOST_SECTIONS = 4096;
const END = 'end';

/** The file in pieces. What does not get smaller by packing stays as it is. */
export function* snapshotPieces(sections: Iterable<Section>, host: SnapshotHost): Generator<Uint8Array> {
  const head = new Uint8Array(HEAD);
  head.set(MAGIC);
  new DataView(head.buffer).setUint32(8, FORMAT, true);
  yield head;
  const hashes: Uint8Array[] = [];
  for (const section of sections) {
    const [sectionHead, bytes] = packed(section, host);
    hashes.push(sectionHead.subarray(HASH));
    yield sectionHead;
    yield bytes;
  }
  yield* packed({ name: END, version: 1, bytes: fromHex(host.sha256(...hashes)) }, host);
}

function packed({ name, version, bytes }: Section, host: SnapshotHost): [Uint8Array, Uint8Array] {
  const smaller = bytes.length > 256 ? host.pack(bytes) : bytes;
  const packing = smaller.length < bytes.length ? PACKING.host : PACKING.none;
  const stored = packing === PACKING.host ? smaller : bytes;
  const head = new Uint8Array(SECTION_HEAD);
  head.set(new TextEncoder().encode(name).subarray(0, NAME));
  const view = new DataView(head.buffer);
  for (const [i, value] of [version, packing, stored.length, bytes.length].entries())
    view.setUint32(NAME + 4 * i, value, true);
  head.set(fromHex(host.sha256(head.subarray(0, HASH), stored)), HASH);
  return [head, stored];
}

/** The sections one by one, each checked when it comes. `wanted` (default: all) leaves sections unread that nobody asks for;
 * their hashes count all the same. */
export function* readSections(
  source: SnapshotSource,
  host: SnapshotHost,
  wanted: (name: string) => boolean = () => true,
): Generator<Section> {
  checkHead(source);
  const hashes: Uint8Array[] = [];
  for (let at = HEAD; ; ) {
    const place = `${source.name}, offset ${hex(at)}`;
    if (hashes.length > MOST_SECTIONS) throw damaged(source, place, `more than ${MOST_SECTIONS} sections`);
    const head = piece(source, at, SECTION_HEAD, place);
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    const name = new TextDecoder('latin1').decode(head.subarray(0, NAME)).replace(/\0+$/, '');
    const [version, packing, stored, size] = [0, 4, 8, 12].map((i) => view.getUint32(NAME + i, true));
    const what = /^[a-z]+$/.test(name) ? `its section "${name}"` : 'a section without a name';
    if (stored > LARGEST_SECTION || size > LARGEST_SECTION)
      throw damaged(source, place, `${what} claims ${size} bytes`);
    if (name === END || wanted(name)) {
      const bytes = piece(source, at + SECTION_HEAD, stored, place);
      if (host.sha256(head.subarray(0, HASH), bytes) !== toHex(head.subarray(HASH)))
        throw damaged(source, place, `${what} does not have the SHA-256 that it was written with`);
      if (name === END) {
        if (toHex(bytes) !== host.sha256(...hashes))
          throw damaged(source, place, 'its sections are not those of one file');
        if (at + SECTION_HEAD + stored !== source.size) throw damaged(source, place, 'something lies behind its end');
        return;
      }
      yield {
        name,
        version,
        bytes: unpacked(bytes, packing, size, host, (why) => damaged(source, place, `${what} ${why}`)),
      };
    }
    hashes.push(head.slice(HASH));
    at += SECTION_HEAD + stored;
  }
}

function unpacked(
  bytes: Uint8Array,
  packing: number,
  size: number,
  host: SnapshotHost,
  refuse: (why: string) => SnapshotError,
): Uint8Array {
  let whole = bytes;
  if (packing === PACKING.host) {
    try {
      whole = host.unpack(bytes, size);
    } catch (error) {
      throw refuse(`cannot be unpacked: ${(error as Error).message}`);
    }
  } else if (packing !== PACKING.none) throw refuse(`is packed in a way (${packing}) that nobody knows`);
  if (whole.length !== size) throw refuse(`has ${whole.length} bytes instead of ${size}`);
  return whole;
}

/** Whether a file begins as snapshots do. */
export function looksLikeSnapshot(bytes: Uint8Array): boolean {
  return bytes.length >= MAGIC.length && MAGIC.every((byte, i) => bytes[i] === byte);
}

function checkHead(source: SnapshotSource): void {
  const { name } = source;
  const head = source.read(0, Math.min(HEAD, source.size));
  if (!looksLikeSnapshot(head)) {
    throw new SnapshotError({
      what: `${name} is no snapshot of a machine`,
      where: `${name}, offset 0x0`,
      why: 'it does not begin with "ZPSNAP"',
      fix: 'give a file that boot --save-state has written; a kernel is given without --from',
    });
  }
  if (head.length < HEAD) throw damaged(source, `${name}, offset 0x8`, `it ends after ${head.length} bytes`);
  const view = new DataView(head.buffer, head.byteOffset, HEAD);
  const version = view.getUint32(8, true);
  if (version !== FORMAT) {
    throw new SnapshotError({
      what: `${name} is a snapshot of another version`,
      where: `${name}, offset 0x8`,
      why: `its format is ${version}; this version of zeropage reads ${FORMAT}`,
      fix: 'use the version that wrote it, or save it again with this one',
    });
  }
  if (view.getUint32(12, true) !== 0)
    throw damaged(source, `${name}, offset 0xc`, 'four bytes of its head are not zero');
}

function piece(source: SnapshotSource, at: number, length: number, place: string): Uint8Array {
  if (at + length > source.size)
    throw damaged(source, place, `it ends after ${source.size} bytes, in the middle of a section`);
  return source.read(at, length);
}

export function damaged(source: SnapshotSource, where: string, why: string): SnapshotError {
  return new SnapshotError({
    what: `the snapshot ${source.name} is damaged`,
    where,
    why,
    fix: 'copy it again from where it was good, or save it again',
  });
}

function fromHex(digits: string): Uint8Array {
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
