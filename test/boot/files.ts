/** Kernel files made in memory for the boot tests: just enough of a bzImage or an ELF file, with every field at hand.
 *
 * They go through the real parser, so a test plans from what a user's file would give. */

import type { ElfImage, KernelImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { Elf32Ehdr, Elf32Phdr, Elf64Ehdr, Elf64Phdr } from '../../src/layout/elf.ts';
import { MULTIBOOT_HEADER_MAGIC, MultibootHeader } from '../../src/layout/multiboot.ts';
import { SetupHeader } from '../../src/layout/setup-header.ts';

export type HeaderFields = Parameters<typeof SetupHeader.write>[2];

/** A bzImage as Linux 6.1 makes them, with `fields` changed and `code` bytes of protected-mode code. */
export function bzImageFile(fields: HeaderFields = {}, code = 0x2000): Uint8Array {
  const file = new Uint8Array(0x400 + code).fill(0xcc, 0x400);
  file.fill(0xee, 0, 0x1f1); // a boot sector that must not end up in the zero page
  file[0x1ef] = 0xff;
  SetupHeader.write(file, 0, {
    setup_sects: 1, boot_flag: 0xaa55, jump: 0x6aeb, header: 0x5372_6448, version: 0x20f, loadflags: 1,
    code32_start: 0x10_0000, initrd_addr_max: 0x7fff_ffff, kernel_alignment: 0x20_0000, relocatable_kernel: 1,
    min_alignment: 21, xloadflags: 0x7f, cmdline_size: 0x7ff, pref_address: 0x100_0000n, init_size: 0x80_0000,
    ...fields,
  }); // biome-ignore format: a table
  return file;
}

export type TestSegment = {
  paddr: number | bigint;
  vaddr?: number | bigint;
  bytes: Uint8Array;
  memsz?: number;
  type?: number;
};
export type TestElf = {
  bits?: 32 | 64;
  type?: number;
  machine?: number;
  entry?: number | bigint;
  segments: TestSegment[];
  notes?: { owner: string; type: number; desc: Uint8Array }[];
};

/** An ELF file with program headers only; notes become a PT_NOTE segment. */
export function elfFile({
  bits = 64,
  type = 2,
  machine,
  entry = 0x100_0000,
  segments,
  notes = [],
}: TestElf): Uint8Array {
  const [ehdr, phdr] = bits === 64 ? [Elf64Ehdr, Elf64Phdr] : [Elf32Ehdr, Elf32Phdr];
  const all =
    notes.length > 0
      ? [...segments, { paddr: 0, bytes: noteBytes(notes), type: 4, memsz: undefined, vaddr: 0 }]
      : segments;
  let end = ehdr.size + all.length * phdr.size;
  const offsets = all.map(({ bytes }) => {
    end = Math.ceil(end / 16) * 16;
    const offset = end;
    end += bytes.length;
    return offset;
  });
  const file = new Uint8Array(end);
  const ident = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, bits === 64 ? 2 : 1, 1, 1);
  const number = (value: number | bigint) => (bits === 64 ? BigInt(value) : Number(value)) as never;
  ehdr.write(file, 0, {
    e_ident: ident, e_type: type, e_machine: machine ?? (bits === 64 ? 62 : 3), e_version: 1, e_entry: number(entry),
    e_phoff: number(ehdr.size), e_ehsize: ehdr.size, e_phentsize: phdr.size, e_phnum: all.length,
  } as never); // biome-ignore format: a table
  all.forEach(({ bytes, paddr, vaddr = paddr, memsz = bytes.length, type: kind = 1 }, i) => {
    phdr.write(file, ehdr.size + i * phdr.size, {
      p_type: kind, p_flags: 7, p_offset: number(offsets[i]), p_vaddr: number(vaddr), p_paddr: number(paddr),
      p_filesz: number(bytes.length), p_memsz: number(memsz), p_align: number(4),
    } as never); // biome-ignore format: a table
    file.set(bytes, offsets[i]);
  });
  return file;
}

function noteBytes(notes: { owner: string; type: number; desc: Uint8Array }[]): Uint8Array {
  const pad = (length: number) => Math.ceil(length / 4) * 4;
  const out: number[] = [];
  for (const { owner, type, desc } of notes) {
    const words = new Uint8Array(new Uint32Array([owner.length + 1, desc.length, type]).buffer);
    const name = new Uint8Array(pad(owner.length + 1));
    name.set(new TextEncoder().encode(owner));
    const padded = new Uint8Array(pad(desc.length));
    padded.set(desc);
    out.push(...words, ...name, ...padded);
  }
  return Uint8Array.from(out);
}

/** XEN_ELFNOTE_PHYS32_ENTRY. */
export const pvhNote = (entry: number) => ({
  owner: 'Xen',
  type: 18,
  desc: new Uint8Array(new Uint32Array([entry]).buffer),
});
export const linuxNote = { owner: 'Linux', type: 0x100, desc: new TextEncoder().encode('6.1\0') };

/** Bytes that begin with a Multiboot 1 header. */
export function multibootBytes(
  flags: number,
  addresses: Partial<Parameters<typeof MultibootHeader.write>[2]> = {},
  length = 0x1000,
): Uint8Array {
  const bytes = new Uint8Array(length).fill(0x90);
  const magic = MULTIBOOT_HEADER_MAGIC;
  const checksum = -(magic + flags) >>> 0;
  bytes.fill(0, 0, MultibootHeader.size);
  MultibootHeader.write(bytes, 0, { magic, flags, checksum, ...addresses });
  return bytes;
}

export const parsed = (bytes: Uint8Array, name = 'kernel'): KernelImage => parseKernel(name, bytes);
export const bzImage = (fields?: HeaderFields, code?: number) => parsed(bzImageFile(fields, code), 'bzImage');
export const elf = (spec: TestElf) => parsed(elfFile(spec), 'vmlinux') as ElfImage;
