import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import type { BzImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { HDRS_MAGIC, SetupHeader } from '../../src/layout/setup-header.ts';
import { buildBzImage, buildElf, PVH_NOTE, storedLz4, survives, u32Bytes } from './build.ts';

const inner = buildElf({ notes: [PVH_NOTE] });
const whole = buildBzImage({ payload: storedLz4(inner) });

function parse(bytes: Uint8Array): BzImage {
  const image = parseKernel('bzImage', bytes);
  if (image.format !== 'bzimage') throw new Error(`parsed as ${image.format}`);
  return image;
}

describe('a bzImage', () => {
  it('is taken apart into views of the file', () => {
    const image = parse(whole);
    expect(image).toMatchObject({
      protocol: 0x20f, headerEnd: 0x26c, protectedModeOffset: 0x600, loadedHigh: true, has64BitEntry: true, kernelVersion: '1.2.3-test',
      warnings: [], kernelInfo: { size: 16, sizeTotal: 16, setupTypeMax: 0x8000_0009 },
      payload: { compression: 'lz4', offset: 0x600 + 0x240, uncompressedSize: inner.length },
    }); // biome-ignore format: a table
    expect(image.setupBytes.buffer).toBe(whole.buffer);
    expect(image.protectedModeBytes.byteOffset).toBe(0x600);
    expect(image.protectedModeBytes.length).toBe(whole.length - 0x600);
    expect(image.setupHeader.pref_address).toBe(0x100_0000n);
  });

  it('gives the ELF kernel inside when it is unpacked', () => {
    const kernel = unpackKernel(parse(whole), nodeUnpackers);
    expect(kernel.unpackedFrom).toEqual({ name: 'bzImage', compression: 'lz4' });
    expect(kernel.bytes).toEqual(inner);
    expect(kernel.notes[0]).toMatchObject({
      owner: 'Xen',
      type: 18,
      name: 'XEN_ELFNOTE_PHYS32_ENTRY',
      value: 0x100_0040n,
    });
  });

  it('with an uncompressed payload gives it as it stands', () => {
    const image = parse(buildBzImage({ payload: inner }));
    expect(image.payload?.compression).toBe('none');
    expect(unpackKernel(image, nodeUnpackers).bytes).toEqual(inner);
  });

  it('with 0 setup sectors has 4', () => {
    expect(parse(buildBzImage({ setupSects: 0 })).protectedModeOffset).toBe(5 * 512);
  });

  // Protocol, and what it knows: payload, kernel_info, the 64-bit entry, init_size.
  const versions: [number, boolean, boolean, boolean, number][] = [
    [0x200, false, false, false, 0], [0x201, false, false, false, 0], [0x202, false, false, false, 0], [0x203, false, false, false, 0],
    [0x204, false, false, false, 0], [0x205, false, false, false, 0], [0x206, false, false, false, 0], [0x207, false, false, false, 0],
    [0x208, true, false, false, 0], [0x209, true, false, false, 0], [0x20a, true, false, false, 0x10_0000],
    [0x20b, true, false, false, 0x10_0000], [0x20c, true, false, true, 0x10_0000], [0x20d, true, false, true, 0x10_0000],
    [0x20e, true, false, true, 0x10_0000], [0x20f, true, true, true, 0x10_0000],
  ]; // biome-ignore format: a table
  for (const [protocol, payload, info, wide, initSize] of versions) {
    it(`of protocol 0x${protocol.toString(16)} is read with the fields of its time, and zeros for later ones`, () => {
      const bytes = buildBzImage({ protocol, payload: storedLz4(inner) });
      // What stands behind an old header is code; it must not be taken for fields.
      const end = parse(bytes).headerEnd;
      bytes.fill(0x90, end, 0x2f0);
      const image = parse(bytes);
      expect(image.warnings).toEqual([]);
      expect([image.payload !== undefined, image.kernelInfo !== undefined, image.has64BitEntry]).toEqual([
        payload,
        info,
        wide,
      ]);
      expect(image.setupHeader.init_size).toBe(initSize);
      expect(image.setupHeader.code32_start).toBe(0x10_0000);
    });
  }

  it('before 2.04 has a syssize of two bytes', () => {
    const header = { syssize: 0xdead_0010 };
    expect(() => parse(buildBzImage({ protocol: 0x203, header }))).not.toThrow();
    expect(() => parse(buildBzImage({ protocol: 0x204, header }))).toThrow(/cut short/);
  });

  const errors: [string, Parameters<typeof buildBzImage>[0], string, string][] = [
    ['protocol 1.00', { protocol: 0x20f, header: { version: 0x100 } }, 'bzImage is damaged', 'boot protocol 0x0100'],
    ['a header that ends past its room', { header: { jump: 0xffeb } }, 'bzImage is damaged', '0x301'],
    ['a header that ends in its version', { header: { jump: 0x04eb } }, 'bzImage is damaged', '0x206'],
    ['more setup than file', { header: { setup_sects: 200 } }, 'bzImage is cut short', '0x19200'],
    ['less code than syssize says', { header: { syssize: 0x1000 } }, 'bzImage is cut short', '0x10600'],
    ['a payload past the end', { header: { payload_length: 0x10000 } }, 'bzImage is cut short', '0x10840'],
    ['a payload that begins past the end', { header: { payload_offset: 0xffff_ff00, payload_length: 1 } }, 'bzImage is cut short', '0x100000501'],
  ]; // biome-ignore format: a table
  for (const [what, spec, message, why] of errors) {
    it(`with ${what} is an ImageError with the numbers in it`, () => {
      const bytes = buildBzImage(spec);
      expect(() => parse(bytes)).toThrow(ImageError);
      expect(() => parse(bytes)).toThrow(message);
      expect(() => parse(bytes)).toThrow(why);
    });
  }

  it('that is nothing but setup code says so', () => {
    const bytes = buildBzImage({ header: { syssize: 0 } });
    const setup = bytes.subarray(0, parse(bytes).protectedModeOffset);
    expect(() => parse(setup)).toThrow('nothing follows its 1536 bytes of setup code');
    expect(() => parse(setup.subarray(0, -1))).toThrow('the setup code ends at 0x600, and the file has 0x5ff bytes');
  });

  it('with oddities that do not stop a boot has warnings', () => {
    const bytes = buildBzImage({
      header: { boot_flag: 0, kernel_version: 0xfff0, kernel_info_offset: 0x10, jump: 0x6ae9 },
    });
    expect(parse(bytes).warnings).toEqual([
      'boot_flag (0x1fe) is 0x0000 instead of 0xaa55',
      'jump (0x200) is no short jump, so the header\'s end 0x26c follows from its version',
      'kernel_version (0x20e) points to 0x101f0, behind the setup code',
      'kernel_info_offset (0x268) is 0x10, and no "LToP" is there',
    ]); // biome-ignore format: a table
    expect(parse(buildBzImage({ header: { jump: 0x5eeb } })).warnings).toEqual([
      'the header ends at 0x260; protocol 2.15 has fields up to 0x26c',
    ]);
  });

  it('whose payload cannot be unpacked says which bytes are wrong', () => {
    const cases: [Uint8Array, string][] = [
      [storedLz4(Uint8Array.of(1, 2, 3)), 'what it unpacks to is not an ELF file'],
      [
        Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
        'its first bytes, 01 02 03 04 05 06, are of none of the seven compressions',
      ],
      [Uint8Array.of(...storedLz4(inner).subarray(0, 60), ...u32Bytes(inner.length)), 'the stream ends too early'],
      [new Uint8Array(0), 'the length is 0'],
    ];
    for (const [payload, why] of cases) {
      expect(() => unpackKernel(parse(buildBzImage({ payload })), nodeUnpackers)).toThrow(ImageError);
      expect(() => unpackKernel(parse(buildBzImage({ payload })), nodeUnpackers)).toThrow(why);
    }
    expect(() => unpackKernel(parse(whole), nodeUnpackers, 100)).toThrow('the limit is 100 bytes');
    expect(() => unpackKernel(parse(buildBzImage({ protocol: 0x207 })), nodeUnpackers)).toThrow(
      'protocols before 2.08',
    );
  });
});

describe('damage', () => {
  it('any values in the fields of the header are an error or a kernel', () => {
    const value = fc.oneof(fc.constantFrom(0, 1, 0x10, 0x200, 0x7fff_ffff, 0xffff_ffff), fc.nat(0xffff_ffff));
    const fields = fc.dictionary(fc.constantFrom(...Object.keys(SetupHeader.fields)), value, { maxKeys: 4 });
    fc.assert(
      fc.property(fields, (given) => {
        const header = Object.entries(given).map(([name, number]) => {
          const { size } = SetupHeader.fields[name as keyof typeof SetupHeader.fields];
          return [name, number % 2 ** (8 * size)];
        });
        survives(
          buildBzImage({ payload: storedLz4(inner), header: { ...Object.fromEntries(header), header: HDRS_MAGIC } }),
        );
        return true;
      }),
      { numRuns: 500 },
    );
  });

  it('a bzImage cut at any byte is an error or a kernel, never another exception', () => {
    for (let length = 0; length < whole.length - 64; length++) survives(whole.subarray(0, length));
    expect(survives(whole)).toBe(true);
    // Behind the header nothing but the whole file will do.
    for (let length = 0x208; length < 0x600 + 0x240 + 0x100; length++)
      expect(survives(whole.subarray(0, length))).toBe(false);
  });

  it('any flipped bit of the setup header, and any of the inner ELF header, is an error or a kernel', () => {
    const elfStart = 0x600 + 0x240 + 8 + 1 + 2;
    const ranges: [number, number][] = [[0, 4], [0x1f1, 0x290], [0x600 + 0x240, elfStart + 0xc0], [whole.length - 40, whole.length]]; // biome-ignore format: short
    let kernels = 0;
    for (const [start, end] of ranges) {
      for (let at = start; at < end; at++) {
        for (let bit = 0; bit < 8; bit++) {
          const bytes = whole.slice();
          bytes[at] ^= 1 << bit;
          if (survives(bytes)) kernels++;
        }
        const bytes = whole.slice();
        bytes[at] ^= 0xff;
        survives(bytes);
      }
    }
    expect(kernels).toBeGreaterThan(100); // most header bits are no reason to refuse a file
  });
});
