/** Notes of Xen PV kernels, and a small kernel that has them. */
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { elf, type TestElf } from './files.ts';

export type Note = { owner: string; type: number; desc: Uint8Array };

export const PV_BASE = 0xffff_ffff_8000_0000n;

const xen = (type: number, desc: Uint8Array): Note => ({ owner: 'Xen', type, desc });
export const wide = (type: number) => (value: bigint) => xen(type, new Uint8Array(new BigUint64Array([value]).buffer));
export const narrow = (type: number) => (value: number) => xen(type, new Uint8Array(new Uint32Array([value]).buffer));
export const text =
  (type: number, usual?: string) =>
  (value: string = usual ?? '') =>
    xen(type, new TextEncoder().encode(`${value}\0`));

export const note = {
  entry: wide(1), hypercallPage: wide(2), virtBase: wide(3), paddrOffset: wide(4), version: text(5, 'xen-3.0'), os: text(6),
  loader: text(8, 'generic'), pae: text(9), features: text(10), initP2m: wide(15), modStartPfn: narrow(16), supported: narrow(17),
}; // biome-ignore format: short

/** What a 64-bit Linux has at least. */
export const pvNotes = ({ entry = PV_BASE + 0x100_0010n, os = 'toy' } = {}): Note[] => [
  note.version(),
  note.loader(),
  note.os(os),
  note.virtBase(PV_BASE),
  note.entry(entry),
];

/** Three pages at 16 MiB, of which the last is zero. */
export const pvKernel = (spec: Partial<TestElf> = {}): ElfImage =>
  elf({
    segments: [
      { paddr: 0x100_0000, bytes: Uint8Array.from({ length: 0x1234 }, (_, i) => (i * 3) & 0xff) },
      { paddr: 0x100_2000, bytes: new Uint8Array(0x10).fill(0xdd), memsz: 0x900 },
    ],
    notes: pvNotes(),
    ...spec,
  });
