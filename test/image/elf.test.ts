import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { type ElfImage, isElf, xenNote } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import * as layout from '../../src/layout/elf.ts';
import { buildElf, noteBytes, PV_NOTES, PVH_NOTE, survives, text, u32Bytes, u64Bytes } from './build.ts';

function parse(bytes: Uint8Array): ElfImage {
  const image = parseKernel('vmlinux', bytes);
  if (!isElf(image)) throw new Error(`parsed as ${image.format}`);
  return image;
}

const symbols = [{ name: 'startup', value: 0xc100_0000n }];

describe('an ELF kernel', () => {
  for (const wide of [true, false]) {
    const bits = wide ? 64 : 32;
    it(`of ${bits} bits is read with segments, sections and notes`, () => {
      const bytes = buildElf({ wide, notes: [PVH_NOTE], symbols: [{ name: 'startup', value: 0xc100_0000n }] });
      const image = parse(bytes);
      expect(image).toMatchObject({
        format: `elf${bits}`,
        type: 2,
        machine: wide ? 62 : 3,
        entry: 0x100_0000n,
        warnings: [],
      });
      const [load, note] = image.segments;
      expect(load).toMatchObject({ type: 1, flags: 7, paddr: 0x100_0000n, filesz: 64, memsz: 64 + 0x1000 });
      expect(load.vaddr).toBe(wide ? 0xffff_ffff_8100_0000n : 0xc100_0000n);
      expect(load.bytes.buffer).toBe(bytes.buffer);
      expect(load.bytes[0]).toBe(0xf4);
      expect(note.type).toBe(4);
      expect(image.sections.map(({ name }) => name)).toEqual(['', '.symtab', '.strtab', '.shstrtab']);
      expect(image.notes).toHaveLength(1);
    });

    it(`of ${bits} bits, cut at any byte or with any bit flipped, is an error or a kernel`, () => {
      const bytes = buildElf({ wide, notes: [...PV_NOTES, PVH_NOTE], symbols });
      expect(survives(bytes)).toBe(true);
      for (let length = 0; length < bytes.length; length++) survives(bytes.subarray(0, length));
      for (let at = 0; at < bytes.length; at++) {
        for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
          const flipped = bytes.slice();
          flipped[at] ^= mask;
          survives(flipped);
        }
      }
    });
  }

  const offsetOf = (field: keyof typeof layout.Elf64Ehdr.fields) => layout.Elf64Ehdr.offsetOf(field);
  const phdr = (field: keyof typeof layout.Elf64Phdr.fields) => 64 + layout.Elf64Phdr.offsetOf(field);
  const wrong: [string, number, Uint8Array, string][] = [
    ['an unknown class', 4, Uint8Array.of(3), 'class 3 is neither 1 (32-bit) nor 2 (64-bit)'],
    ['big-endian data', 5, Uint8Array.of(2), 'byte order 2 is not 1'],
    ['another machine', offsetOf('e_machine'), Uint8Array.of(183), 'it is for machine 183 (AArch64)'],
    ['the type of an object file', offsetOf('e_type'), Uint8Array.of(1), 'its type is 1 (REL)'],
    ['no program headers', offsetOf('e_phnum'), Uint8Array.of(0, 0), 'it has no program headers'],
    ['too many program headers', offsetOf('e_phnum'), Uint8Array.of(0xff, 0xff), 'more than 65534 program headers'],
    ['program headers past the end', offsetOf('e_phoff'), u64Bytes(1n << 60n), 'the table of 2 program headers at 0x1000000000000000'],
    ['program headers of another size', offsetOf('e_phentsize'), Uint8Array.of(32), 'a program header has 32 bytes instead of 56'],
    ['a segment past the end', phdr('p_offset'), u64Bytes(0x10_0000n), 'segment 0 (LOAD) ends at 0x100040'],
    ['a segment larger in the file than in memory', phdr('p_memsz'), u64Bytes(1n), 'it has 0x40 bytes in the file and only 0x1 in memory'],
    ['a segment larger than any memory', phdr('p_memsz'), u64Bytes(1n << 50n), 'it would take 0x4000000000000 bytes of memory'],
    ['nothing to load', phdr('p_type'), Uint8Array.of(0), 'none of its segments is loaded'],
  ]; // biome-ignore format: a table
  for (const [what, at, bytes, why] of wrong) {
    it(`with ${what} is an ImageError that says so`, () => {
      const file = buildElf({ notes: [PVH_NOTE] });
      file.set(bytes, at);
      expect(() => parse(file)).toThrow(ImageError);
      expect(() => parse(file)).toThrow(why);
    });
  }

  it('with a damaged section table has a warning and no sections', () => {
    const file = buildElf({ symbols });
    file.set(u64Bytes(1n << 40n), offsetOf('e_shoff'));
    const image = parse(file);
    expect(image.sections).toEqual([]);
    expect(image.warnings).toEqual([
      'the section table (4 entries of 64 bytes at 0x10000000000) does not fit and is ignored',
    ]);
  });

  it('any bytes behind its magic are an error or a kernel', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 60, maxLength: 600 }), fc.constantFrom(1, 2), (tail, elfClass) => {
        survives(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, elfClass, 1, 1, ...tail));
        return true;
      }),
      { numRuns: 500 },
    );
  });
});

describe('notes', () => {
  const cases: [number, Uint8Array, unknown, string][] = [
    [1, u64Bytes(0xffff_ffff_8307_91c0n), 0xffff_ffff_8307_91c0n, 'XEN_ELFNOTE_ENTRY'],
    [18, u32Bytes(0x100_0850), 0x100_0850n, 'XEN_ELFNOTE_PHYS32_ENTRY'],
    [18, u64Bytes(0x100_0850n), 0x100_0850n, 'XEN_ELFNOTE_PHYS32_ENTRY'],
    [5, text('xen-3.0\0'), 'xen-3.0', 'XEN_ELFNOTE_XEN_VERSION'],
    [10, text('!writable_page_tables|pae_pgdir_above_4gb'), '!writable_page_tables|pae_pgdir_above_4gb', 'XEN_ELFNOTE_FEATURES'],
    [13, u64Bytes(1n, 1n), 'mask 0x1 value 0x1', 'XEN_ELFNOTE_L1_MFN_VALID'],
    [13, u32Bytes(1, 1), 'mask 0x1 value 0x1', 'XEN_ELFNOTE_L1_MFN_VALID'],
    [19, u32Bytes(0x20_0000, 0x100_0000, 0x8000_0000), 'align 0x200000, min 0x1000000, max 0x80000000', 'XEN_ELFNOTE_PHYS32_RELOC'],
    [2, Uint8Array.of(1, 2), undefined, 'XEN_ELFNOTE_HYPERCALL_PAGE'],
    [99, u32Bytes(1), undefined, undefined as never],
  ]; // biome-ignore format: a table
  for (const [type, desc, value, name] of cases) {
    it(`of type ${type} with ${desc.length} bytes are decoded by name`, () => {
      const [note] = parse(buildElf({ notes: [{ owner: 'Xen', type, desc }] })).notes;
      expect(note).toMatchObject({ owner: 'Xen', type, truncated: false });
      expect(note.value).toBe(value);
      expect(note.name).toBe(name);
      expect(note.desc).toEqual(desc);
    });
  }

  it('of other owners have their names too', () => {
    const image = parse(
      buildElf({
        notes: [
          { owner: 'GNU', type: 3, desc: new Uint8Array(20) },
          { owner: 'Linux', type: 0x100, desc: text('6.1\0') },
        ],
      }),
    );
    expect(image.notes.map(({ name, value }) => [name, value])).toEqual([['NT_GNU_BUILD_ID', undefined], ['LINUX_ELFNOTE_BUILD_SALT', '6.1']]); // biome-ignore format: short
    expect(xenNote(image, 3)).toBeUndefined();
  });

  it('keep a last one that overruns its segment, as far as it goes, with a warning', () => {
    const notes = [...PV_NOTES, { owner: 'Xen', type: 9, desc: text('yes\0padding\0') }];
    const image = parse(buildElf({ notes, cutNotes: 8 }));
    expect(image.notes.at(-1)).toMatchObject({ value: 'yes', truncated: true });
    expect(image.warnings).toHaveLength(1);
    expect(image.warnings[0]).toMatch(
      /^segment 1 ends inside the note at 0x[0-9a-f]+ \(Xen, type 9\): 4 of 12 bytes are there$/,
    );
  });

  it('repeated by a kernel count as the last one says', () => {
    const image = parse(buildElf({ notes: [PVH_NOTE, { ...PVH_NOTE, desc: u32Bytes(7) }] }));
    expect(xenNote(image, 18)?.value).toBe(7n);
  });

  it('are read from sections when there is no segment', () => {
    const file = buildElf({ notes: [PVH_NOTE], symbols });
    const image = parse(file);
    const [, note] = image.segments;
    file.set(u32Bytes(0), 64 + 56); // the segment is none any more
    const shoff = new DataView(file.buffer).getUint32(0x28, true);
    layout.Elf64Shdr.write(file, shoff + 64, {
      sh_type: 7,
      sh_offset: BigInt(note.offset),
      sh_size: BigInt(note.filesz),
    });
    const [found] = parse(file).notes;
    expect(found).toMatchObject({ owner: 'Xen', type: 18 });
    expect(found.segment).toBeUndefined();
  });

  it('without end are cut off by number', () => {
    const many = noteBytes([{ owner: '', type: 1, desc: new Uint8Array(0) }]);
    const image = parse(
      buildElf({ notes: Array.from({ length: 5000 }, () => ({ owner: '', type: 1, desc: new Uint8Array(0) })) }),
    );
    expect(many).toHaveLength(16);
    expect(image.notes).toHaveLength(4096);
    expect(image.warnings).toEqual(['segment 1 holds more than 4096 notes; the others are ignored']);
  });
});
