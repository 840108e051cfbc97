/** ELF notes, read the way Xen reads them: tolerantly.
 *
 * Notes come from PT_NOTE segments that are in the file, else from SHT_NOTE sections. Alignment is 4 bytes in both classes.
 * GRUB's i386 image ends its segment inside its last note, and Xen takes it all the same; so do we, with a warning.
 * Follows: Xen xen/common/libelf/libelf-dominfo.c; gABI chapter 5, "Note Section".   Next: image/multiboot.ts. */
import { alignUp, hex } from '../base/numbers.ts';
import { ElfNhdr, PT_NOTE, SHT_NOTE } from '../layout/elf.ts';
import { latin1 } from '../layout/struct.ts';
import { type NoteKind, OTHER_NOTES, XEN_NOTES } from '../layout/xen-notes.ts';
import type { ElfNote, ElfSection, ElfSegment } from './kernel-image.ts';

/** A kernel has about twenty; a megabyte of zeros would be ninety thousand. */
const MOST_NOTES = 4096;
const LONGEST_OWNER = 256;

type Area = { what: string; segment?: number; offset: number; length: number };

export function readNotes(
  bytes: Uint8Array,
  segments: readonly ElfSegment[],
  sections: readonly ElfSection[],
  warnings: string[],
): ElfNote[] {
  let areas: Area[] = segments
    .filter(({ type, offset }) => type === PT_NOTE && offset !== 0)
    .map(({ index, offset, bytes: { length } }) => ({ what: `segment ${index}`, segment: index, offset, length }));
  if (areas.length === 0) {
    areas = sections
      .filter(({ type, offset, size }) => type === SHT_NOTE && offset + size <= bytes.length)
      .map(({ name, offset, size }) => ({ what: `section ${name}`, offset, length: size }));
  }
  const notes: ElfNote[] = [];
  for (const area of areas) readArea(bytes, area, notes, warnings);
  return notes;
}

function readArea(bytes: Uint8Array, { what, segment, offset, length }: Area, notes: ElfNote[], warnings: string[]) {
  const end = offset + length;
  let at = offset;
  while (at < end) {
    if (notes.length === MOST_NOTES)
      return warnings.push(`${what} holds more than ${MOST_NOTES} notes; the others are ignored`);
    if (at + ElfNhdr.size > end) return warnings.push(`${what} ends inside a note's header at ${hex(at)}`);
    const { n_namesz, n_descsz, n_type: type } = ElfNhdr.read(bytes, at);
    const ownerAt = at + ElfNhdr.size;
    const descAt = ownerAt + alignUp(n_namesz, 4);
    if (descAt > end || n_namesz > LONGEST_OWNER)
      return warnings.push(`the note at ${hex(at)} has an owner of ${n_namesz} bytes; the rest of ${what} is ignored`);
    const owner = latin1(bytes.subarray(ownerAt, ownerAt + n_namesz));
    const desc = bytes.subarray(descAt, Math.min(descAt + n_descsz, end));
    const truncated = descAt + n_descsz > end;
    if (truncated)
      warnings.push(
        `${what} ends inside the note at ${hex(at)} (${owner}, type ${type}): ${desc.length} of ${n_descsz} bytes are there`,
      );
    notes.push({ owner, type, ...decode(owner, type, desc), desc, fileOffset: at, segment, truncated });
    at = descAt + alignUp(n_descsz, 4);
  }
}

function decode(owner: string, type: number, desc: Uint8Array): Pick<ElfNote, 'name' | 'value'> {
  const row = owner === 'Xen' ? XEN_NOTES.find((note) => note.type === type) : OTHER_NOTES[owner]?.[type];
  if (!row) return {};
  return { name: row.name, value: row.kind && noteValue(row.kind, desc) };
}

function noteValue(kind: NoteKind, desc: Uint8Array): bigint | string | undefined {
  if (kind === 'string') return latin1(desc);
  const view = new DataView(desc.buffer, desc.byteOffset, desc.length);
  if (kind === 'number') {
    if (desc.length >= 8) return view.getBigUint64(0, true);
    return desc.length >= 4 ? BigInt(view.getUint32(0, true)) : undefined;
  }
  const words: string[] = [];
  if (kind === 'three words') {
    for (let at = 0; at + 4 <= Math.min(desc.length, 12); at += 4) words.push(hex(view.getUint32(at, true)));
    return ['align', 'min', 'max'].slice(0, words.length).map((name, i) => `${name} ${words[i]}`).join(', '); // biome-ignore format: short
  }
  // Pairs of words, each as wide as the guest's page-table entry: 8 bytes here, 4 in old 32-bit kernels.
  const wide = desc.length % 16 === 0;
  for (let at = 0; at + (wide ? 8 : 4) <= Math.min(desc.length, 64); at += wide ? 8 : 4) {
    words.push(hex(wide ? view.getBigUint64(at, true) : view.getUint32(at, true)));
  }
  return words.map((word, i) => `${i % 2 ? 'value' : 'mask'} ${word}`).join(' ');
}
