import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { flatImage, parseKernel } from '../../src/image/parse.ts';
import { judgeXenPath, type XenPath } from '../../src/image/xen-entry.ts';
import {
  type BzImageSpec,
  buildBzImage,
  buildElf,
  buildMultiboot,
  type ElfSpec,
  PV_NOTES,
  survives,
  text,
} from './build.ts';

describe('telling files apart', () => {
  const gzipped = new Uint8Array(gzipSync(buildElf()));
  const cases: [string, Uint8Array, string][] = [
    ['an ELF64 file', buildElf(), 'elf64'],
    ['an ELF32 file', buildElf({ wide: false }), 'elf32'],
    ['a bzImage', buildBzImage(), 'bzimage'],
    ['a gzip\'d ELF file', gzipped, 'elf64'],
    ['a Multiboot file with addresses', buildMultiboot(), 'multiboot-aout'],
    ['a Multiboot file without addresses', buildMultiboot({ flags: 0 }), 'flat'],
    ['code', Uint8Array.of(0xf4), 'flat'],
  ]; // biome-ignore format: a table
  for (const [what, bytes, format] of cases) {
    it(`${what} is ${format}`, () => {
      expect(parseKernel('kernel', bytes, { host: nodeUnpackers }).format).toBe(format);
    });
  }

  const errors: [string, Uint8Array, string][] = [
    ['nothing', new Uint8Array(0), 'kernel is empty'],
    ['a boot sector', Uint8Array.from({ length: 512 }, (_, i) => (i === 510 ? 0x55 : i === 511 ? 0xaa : 0)), 'kernel is a boot sector without a setup header'],
    ['the beginning of a bzImage', Uint8Array.of(0x4d, 0x5a, 0, 0), 'kernel is cut short'],
    ['a gzip\'d text', new Uint8Array(gzipSync(text('hello, hello'))), 'kernel is a gzip file without a kernel'],
    ['an xz file', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0), 'kernel is a compressed file, not a kernel'],
    ['an EFI program', Uint8Array.from({ length: 0x300 }, (_, i) => ({ 0: 0x4d, 1: 0x5a, 60: 0x80, 128: 0x50, 129: 0x45 })[i] ?? 0), 'kernel is an EFI program, not a bzImage'],
    ['a cut gzip file', gzipped.subarray(0, 40), 'kernel is damaged'],
  ]; // biome-ignore format: a table
  for (const [what, bytes, message] of errors) {
    it(`${what} is an ImageError: ${message}`, () => {
      expect(() => parseKernel('kernel', bytes, { host: nodeUnpackers })).toThrow(ImageError);
      expect(() => parseKernel('kernel', bytes, { host: nodeUnpackers })).toThrow(message);
    });
  }

  it('a gzip file stays packed where the host has no gunzip, and says so', () => {
    expect(() => parseKernel('kernel', gzipped)).toThrow('kernel is a compressed file');
  });

  it('flat code is taken as it is when the user says so', () => {
    expect(flatImage('code', buildElf()).format).toBe('flat');
  });

  it('any bytes are an error or an image', () => {
    const starts = [[], [0x1f, 0x8b, 8], [0x7f, 0x45, 0x4c, 0x46], [0x4d, 0x5a]];
    fc.assert(
      fc.property(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 700 }), (start, tail) => {
        survives(Uint8Array.of(...start, ...tail));
        return true;
      }),
      { numRuns: 500 },
    );
  });
});

describe('a Multiboot header', () => {
  it('with addresses says what is loaded where', () => {
    const bytes = buildMultiboot({ load_end_addr: 0x10_00f0 });
    expect(parseKernel('kernel', bytes)).toMatchObject({
      format: 'multiboot-aout', entry: 0x10_0050, loadAddress: 0x10_0000, bssEnd: 0x10_2000, multiboot: { offset: 0x20 },
      loadBytes: { length: 0xf0, byteOffset: 0 },
    }); // biome-ignore format: short
    expect(parseKernel('kernel', buildMultiboot({ bss_end_addr: 0 }))).toMatchObject({ bssEnd: 0x10_0100 });
    expect(parseKernel('kernel', buildMultiboot({ load_addr: 0x10_0010 }))).toMatchObject({
      loadBytes: { byteOffset: 0x10, length: 0xf0 },
    });
  });

  it('counts in an ELF file as well, and only on a multiple of 4 with a right checksum', () => {
    const header = buildMultiboot().subarray(0x20, 0x50);
    const code = new Uint8Array(0x80);
    code.set(header, 16);
    expect(parseKernel('kernel', buildElf({ code })).multiboot).toMatchObject({ magic: 0x1bad_b002 });
    code.copyWithin(18, 16, 64);
    expect(parseKernel('kernel', buildElf({ code })).multiboot).toBeUndefined();
    expect(parseKernel('kernel', buildMultiboot({ checksum: 1 })).multiboot).toBeUndefined();
  });

  it('is looked for in the first 8192 bytes', () => {
    const at = (offset: number) => {
      const bytes = new Uint8Array(0x4000);
      bytes.set(buildMultiboot({ flags: 0 }).subarray(0x20, 0x50), offset);
      return parseKernel('kernel', bytes).multiboot?.offset;
    };
    expect([at(8180), at(8184), at(8192)]).toEqual([8180, undefined, undefined]);
  });

  const wrong: [Parameters<typeof buildMultiboot>[0], string][] = [
    [{ load_addr: 0x10_0024 }, 'load_addr 0x100024 lies behind header_addr 0x100020'],
    [{ load_addr: 0x1000 }, 'before the file\'s start'],
    [{ load_end_addr: 0x10_0000 }, 'load_end_addr 0x100000 does not lie behind load_addr'],
    [{ load_end_addr: 0x20_0000 }, 'it loads the file up to 0x100000, and the file has 0x100 bytes'],
    [{ bss_end_addr: 0x10_0080 }, 'bss_end_addr 0x100080 lies before the end of what is loaded'],
    [{ entry_addr: 0x10_0100 }, 'entry_addr 0x100100 does not lie in [0x100000, 0x100100)'],
    [{ header_addr: 0xffff_ffff, load_addr: 0xffff_ffdf, entry_addr: 0xffff_ffe0, bss_end_addr: 0 }, 'above 4 GiB'],
  ]; // biome-ignore format: a table
  for (const [fields, why] of wrong) {
    it(`that contradicts itself is an ImageError: ${why}`, () => {
      expect(() => parseKernel('kernel', buildMultiboot(fields))).toThrow(ImageError);
      expect(() => parseKernel('kernel', buildMultiboot(fields))).toThrow(why);
    });
  }

  it('with any byte flipped or the file cut is an error or an image', () => {
    const bytes = buildMultiboot();
    for (let at = 0; at < bytes.length; at++) {
      survives(bytes.subarray(0, at));
      for (let bit = 0; bit < 8; bit++) {
        const flipped = bytes.slice();
        flipped[at] ^= 1 << bit;
        survives(flipped);
      }
    }
    expect(survives(bytes)).toBe(true);
  });
});

describe('what an image carries for paths that are not built', () => {
  const elf = (spec: ElfSpec) => parseKernel('kernel', buildElf(spec));
  const bz = (spec: BzImageSpec) => parseKernel('kernel', buildBzImage(spec));
  const pae = { owner: 'Xen', type: 9, desc: text('yes\0') };
  const features = (names: string) => ({ owner: 'Xen', type: 10, desc: text(names) });
  const cases: [XenPath, string, ReturnType<typeof elf>, true | RegExp][] = [
    ['xen-pv32', 'optional features', elf({ wide: false, notes: [...PV_NOTES, pae, features('dom0|x')] }), true],
    ['xen-pv32', 'required dom0', elf({ wide: false, notes: [...PV_NOTES, pae, features('!x|!dom0')] }), /requires dom0/],
    ['xen-pv32', 'no notes', elf({ wide: false }), /no note named "Xen" of type 5/],
    ['xen-pv32', 'another version', elf({ wide: false, notes: [{ owner: 'Xen', type: 5, desc: text('xen-2.0') }] }), /"xen-2.0" instead of "xen-3.0"/],
    ['xen-pv32', 'no loader', elf({ wide: false, notes: PV_NOTES.filter(({ type }) => type !== 8) }), /XEN_ELFNOTE_LOADER/],
    ['xen-pv32', '32 bits with PAE', elf({ wide: false, notes: [...PV_NOTES, pae] }), true],
    ['xen-pv32', '32 bits without PAE', elf({ wide: false, notes: PV_NOTES }), /PAE_MODE/],
    ['xen-pv32', '64 bits', elf({ notes: PV_NOTES }), /64-bit/],
    ['xen-pv32', 'a bzImage that was not unpacked', bz({}), /there is none to read/],
  ]; // biome-ignore format: a table
  for (const [via, what, image, expected] of cases) {
    it(`${via}: ${what}`, () => {
      const judgement = judgeXenPath(via, image);
      if (expected === true) expect(judgement).toEqual({ carries: true });
      else
        expect(judgement).toMatchObject({
          carries: false,
          why: expect.stringMatching(expected),
          fix: expect.any(String),
        });
    });
  }
});
