/** Kernel files for tests, made from the layout tables: small, whole, and wrong only where a test wants it. */

import { VmError } from '../../src/base/errors.ts';
import { alignUp } from '../../src/base/numbers.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { inspectKernel } from '../../src/cli/inspect.ts';
import { parseKernel } from '../../src/image/parse.ts';
import * as elf from '../../src/layout/elf.ts';
import { MULTIBOOT_AOUT_KLUDGE, MULTIBOOT_HEADER_MAGIC, MultibootHeader } from '../../src/layout/multiboot.ts';
import { HDRS_MAGIC, SetupHeader } from '../../src/layout/setup-header.ts';

export const text = (string: string) => new TextEncoder().encode(string);

export type NoteSpec = { owner: string; type: number; desc: Uint8Array };
export type SymbolSpec = { name: string; value: bigint; size?: bigint; info?: number; shndx?: number };

export function u32Bytes(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
export function u64Bytes(...values: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

export function noteBytes(notes: readonly NoteSpec[]): Uint8Array {
  const parts = notes.map(({ owner, type, desc }) => {
    const name = text(`${owner}\0`);
    const out = new Uint8Array(12 + alignUp(name.length, 4) + alignUp(desc.length, 4));
    elf.ElfNhdr.write(out, 0, { n_namesz: name.length, n_descsz: desc.length, n_type: type });
    out.set(name, 12);
    out.set(desc, 12 + alignUp(name.length, 4));
    return out;
  });
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

export const PV_NOTES: NoteSpec[] = [
  { owner: 'Xen', type: 5, desc: text('xen-3.0\0') },
  { owner: 'Xen', type: 8, desc: text('generic\0') },
  { owner: 'Xen', type: 3, desc: u64Bytes(0xffff_ffff_8000_0000n) },
];
/** Where `buildElf` puts its code, as a PV kernel knows it. */
export const PV_ENTRY: NoteSpec = { owner: 'Xen', type: 1, desc: u64Bytes(0xffff_ffff_8100_0000n) };
export const PVH_NOTE: NoteSpec = { owner: 'Xen', type: 18, desc: u32Bytes(0x100_0040) };

export type ElfSpec = {
  wide?: boolean;
  notes?: NoteSpec[];
  symbols?: SymbolSpec[];
  code?: Uint8Array;
  /** Bytes that the PT_NOTE segment lacks at its end. */
  cutNotes?: number;
};

/** Headers, one PT_LOAD, one PT_NOTE; with symbols also a section table of four. */
export function buildElf({
  wide = true,
  notes = [],
  symbols,
  code = new Uint8Array(64).fill(0xf4),
  cutNotes = 0,
}: ElfSpec = {}): Uint8Array {
  const [Ehdr, Phdr, Shdr, Sym] = wide
    ? [elf.Elf64Ehdr, elf.Elf64Phdr, elf.Elf64Shdr, elf.Elf64Sym]
    : ([elf.Elf32Ehdr, elf.Elf32Phdr, elf.Elf32Shdr, elf.Elf32Sym] as never as [
        typeof elf.Elf64Ehdr,
        typeof elf.Elf64Phdr,
        typeof elf.Elf64Shdr,
        typeof elf.Elf64Sym,
      ]);
  const number = (value: number) => (wide ? BigInt(value) : value) as bigint;
  const note = noteBytes(notes);
  const phoff = Ehdr.size;
  const codeAt = alignUp(phoff + 2 * Phdr.size, 16);
  const noteAt = alignUp(codeAt + code.length, 4);
  const names = text('\0.symtab\0.strtab\0.shstrtab\0');
  let strings = '\0';
  const table = symbols && new Uint8Array((symbols.length + 1) * Sym.size);
  symbols?.forEach(({ name, value, size = 0n, info = 0x12, shndx = 1 }, i) => {
    Sym.write(table as Uint8Array, (i + 1) * Sym.size, {
      st_name: strings.length, st_info: info, st_shndx: shndx, st_value: wide ? value : (Number(value) as never), st_size: wide ? size : (Number(size) as never),
    }); // biome-ignore format: short
    strings += `${name}\0`;
  });
  const tableAt = alignUp(noteAt + note.length, 8);
  const stringsAt = tableAt + (table?.length ?? 0);
  const namesAt = stringsAt + strings.length;
  const shoff = alignUp(namesAt + names.length, 8);
  const out = new Uint8Array(symbols ? shoff + 4 * Shdr.size : noteAt + note.length);
  Ehdr.write(out, 0, {
    e_ident: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1),
    e_type: 2, e_machine: wide ? 62 : 3, e_version: 1, e_entry: number(0x100_0000), e_phoff: number(phoff), e_ehsize: Ehdr.size,
    e_phentsize: Phdr.size, e_phnum: 2, e_shentsize: Shdr.size,
    ...(symbols && { e_shoff: number(shoff), e_shnum: 4, e_shstrndx: 3 }),
  }); // biome-ignore format: a table
  Phdr.write(out, phoff, {
    p_type: 1, p_flags: 7, p_offset: number(codeAt), p_vaddr: wide ? 0xffff_ffff_8100_0000n : number(0xc100_0000),
    p_paddr: number(0x100_0000), p_filesz: number(code.length), p_memsz: number(code.length + 0x1000), p_align: number(0x1000),
  }); // biome-ignore format: a table
  Phdr.write(out, phoff + Phdr.size, {
    p_type: notes.length ? 4 : 0, p_flags: 4, p_offset: number(noteAt), p_filesz: number(note.length - cutNotes), p_align: number(4),
  }); // biome-ignore format: a table
  out.set(code, codeAt);
  out.set(note, noteAt);
  if (symbols && table) {
    out.set(table, tableAt);
    out.set(text(strings), stringsAt);
    out.set(names, namesAt);
    const sections: [number, number, number, number, number, number][] = [ // name, type, offset, size, link, entsize
      [0, 0, 0, 0, 0, 0], [1, 2, tableAt, table.length, 2, Sym.size], [9, 3, stringsAt, strings.length, 0, 0], [17, 3, namesAt, names.length, 0, 0],
    ]; // biome-ignore format: a table
    sections.forEach(([sh_name, sh_type, offset, size, sh_link, entsize], i) => {
      Shdr.write(out, shoff + i * Shdr.size, {
        sh_name,
        sh_type,
        sh_link,
        sh_offset: number(offset),
        sh_size: number(size),
        sh_entsize: number(entsize),
      });
    });
  }
  return out;
}

/** The ELF file that test/unpack/fixtures/kernel.* hold, packed by the usual tools. */
export function kernelSample(): Uint8Array {
  const code = Uint8Array.from({ length: 1500 }, (_, i) => (i % 13 === 0 ? 0xe8 : (i * i) % 7));
  return buildElf({
    notes: [...PV_NOTES, PVH_NOTE],
    symbols: [{ name: 'startup_64', value: 0xffff_ffff_8100_0000n }],
    code,
  });
}

export type BzImageSpec = {
  protocol?: number;
  /** As in the file: with its size trailer. */
  payload?: Uint8Array;
  setupSects?: number;
  header?: Parameters<typeof SetupHeader.write>[2];
  version?: string;
  code?: Uint8Array;
  /** Behind the payload. */
  tail?: number;
};

/** A file of 512 * (setupSects + 1) bytes of setup, then 32-bit code, payload and tail. */
export function buildBzImage({
  protocol = 0x20f,
  payload = new Uint8Array(0),
  setupSects = 2,
  header = {},
  version = '1.2.3-test',
  code = new Uint8Array(0x240).fill(0xf4),
  tail = 32,
}: BzImageSpec = {}): Uint8Array {
  const setup = ((setupSects || 4) + 1) * 512;
  const length = code.length + payload.length + tail;
  const out = new Uint8Array(setup + length);
  const kernelInfo = length - 16;
  const known = Object.entries(SetupHeader.fields).filter(([, { meaning }]) => (meaning.since ?? 0) <= protocol);
  const end = Math.max(...known.map(([, { offset, size }]) => offset + size));
  const values: Record<string, number | bigint> = {
    setup_sects: setupSects, syssize: Math.floor(length / 16), boot_flag: 0xaa55, jump: 0xeb | ((end - 0x202) << 8), header: HDRS_MAGIC,
    version: protocol, kernel_version: 0x300 - 0x200, loadflags: 1, code32_start: 0x10_0000, initrd_addr_max: 0x7fff_ffff,
    kernel_alignment: 0x20_0000, relocatable_kernel: 1, min_alignment: 21, xloadflags: 1, cmdline_size: 2047,
    payload_offset: code.length, payload_length: payload.length, pref_address: 0x100_0000n, init_size: 0x10_0000, kernel_info_offset: kernelInfo,
    ...header,
  }; // biome-ignore format: a table
  const knownNames = new Set(known.map(([name]) => name));
  SetupHeader.write(out, 0, Object.fromEntries(Object.entries(values).filter(([name]) => knownNames.has(name))));
  out.set(text(`${version}\0`), 0x300);
  out.set(code, setup);
  out.set(payload, setup + code.length);
  if (protocol >= 0x20f && tail >= 16) out.set(u32Bytes(0x506f_544c, 16, 16, 0x8000_0009), setup + kernelInfo);
  return out;
}

/** A flat file whose Multiboot header at 0x20 says that it loads at 1 MiB. */
export function buildMultiboot(fields: Parameters<typeof MultibootHeader.write>[2] = {}, size = 0x100): Uint8Array {
  const out = new Uint8Array(size).fill(0x90);
  const flags = (fields.flags as number | undefined) ?? MULTIBOOT_AOUT_KLUDGE;
  MultibootHeader.write(out, 0x20, {
    magic: MULTIBOOT_HEADER_MAGIC, flags, checksum: (2 ** 33 - MULTIBOOT_HEADER_MAGIC - flags) % 2 ** 32, header_addr: 0x10_0020,
    load_addr: 0x10_0000, load_end_addr: 0, bss_end_addr: 0x10_2000, entry_addr: 0x10_0050, mode_type: 0, width: 0, height: 0, depth: 0,
    ...fields,
  }); // biome-ignore format: a table
  return out;
}

/** An LZ4 legacy frame of literals only, with its size trailer: what any decoder takes. */
export function storedLz4(bytes: Uint8Array): Uint8Array {
  const more = bytes.length - 15;
  const lengths = more < 0 ? [] : [...new Array(Math.floor(more / 255)).fill(255), more % 255];
  const block = [Math.min(bytes.length, 15) << 4, ...lengths, ...bytes];
  return Uint8Array.from([0x02, 0x21, 0x4c, 0x18, ...u32Bytes(block.length), ...block, ...u32Bytes(bytes.length)]);
}

/** Parses, unpacks, judges and decodes everything in a file. True for a kernel, false for a VmError; anything else that
 * is thrown fails the test. */
export function survives(bytes: Uint8Array): boolean {
  try {
    return inspectKernel(parseKernel('kernel', bytes, { host: nodeUnpackers, limit: 1 << 20 })).damage === undefined;
  } catch (error) {
    if (error instanceof VmError) return false;
    throw error;
  }
}
