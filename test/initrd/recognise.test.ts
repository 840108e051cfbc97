import { brotliCompressSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { buildInitrd } from '../../src/initrd/build.ts';
import { packInitrd } from '../../src/initrd/newc.ts';
import { checkUnpacked, initrdSays, recogniseInitrd } from '../../src/initrd/recognise.ts';

const join = (...parts: (Uint8Array | string | number[])[]) =>
  new Uint8Array(Buffer.concat(parts.map((part) => Buffer.from(part as Uint8Array))));
const file = (path: string, mode = 0o755) => ({ kind: 'file', path, mode, data: 'data' }) as const;

const archive = buildInitrd([file('init')]).bytes;
const microcode = packInitrd([
  { kind: 'folder', path: 'kernel' },
  { kind: 'folder', path: 'kernel/x86' },
  { kind: 'folder', path: 'kernel/x86/microcode' },
  file('kernel/x86/microcode/AuthenticAMD.bin'),
]);
const zeros = new Uint8Array(3000);
const at = (offset: number, bytes: number[]) => {
  const image = new Uint8Array(4096);
  image.set(bytes, offset);
  return image;
};

describe('what an initrd is', () => {
  const cases: [string, Uint8Array, string][] = [
    ['an archive', archive, 'cpio (newc), 4 entries'],
    ['an archive of the format with checksums', join(text(archive).replaceAll('070701', '070702')), 'cpio (newc), 4 entries'],
    ['an archive without a trailer', archive.subarray(0, text(archive).lastIndexOf('070701')), 'cpio (newc), 4 entries'],
    ['two archives with zeros between', join(archive, zeros, [0, 0, 0, 0].slice(zeros.length % 4), archive), 'cpio (newc), 4 entries, then cpio (newc), 4 entries'],
    ['gzip', gzipSync(archive), 'compressed with gzip'],
    ['bzip2', join('BZh91AY'), 'compressed with bzip2'],
    ['xz', join([0xfd], '7zXZ\0more'), 'compressed with xz'],
    ['zstd', join([0x28, 0xb5, 0x2f, 0xfd, 1]), 'compressed with zstd'],
    ['lzma', join([0x5d, 0, 0, 0x80, 0]), 'compressed with lzma'],
    ['lzo', join([0x89], 'LZO\0'), 'compressed with lzo'],
    ['lz4', join([2, 0x21, 0x4c, 0x18]), 'compressed with lz4'],
    ['microcode in front of the compressed rest', join(microcode, zeros, gzipSync(archive)), 'early CPU microcode (cpio), then compressed with gzip'],
    ['an ext2 image', at(0x438, [0x53, 0xef]), 'ext2 file system'],
    ['a squashfs image', join('hsqs', zeros), 'squashfs file system'],
    ['a romfs image', join('-rom1fs-', zeros), 'romfs file system'],
    ['a cramfs image', join([0x45, 0x3d, 0xcd, 0x28], zeros), 'cramfs file system'],
    ['a minix image', at(0x410, [0x8f, 0x13]), 'minix file system'],
  ]; // biome-ignore format: a table
  it.each(cases)('knows %s', (_, bytes, says) => {
    // A file system begins with bytes that may be zero; Linux reads its superblock first.
    expect(recogniseInitrd('x', bytes).says).toBe(says);
  });

  const wrong: [string, Uint8Array, RegExp][] = [
    ['an ELF file', join([0x7f], 'ELF', zeros), /ELF file[\s\S]*--init FILE/],
    ['a kernel', at(0x202, [...Buffer.from('HdrS')]), /bzImage/],
    ['a text file', join('hello\nworld\n'), /text file, beginning with "hello"/],
    ['a script', join('#!/bin/sh\n'), /text file[\s\S]*with its interpreter/],
    ['a page of a server that said no', join('<!DOCTYPE html>\n'), /"<!DOCTYPE html>"/],
    ['digits', join('0123456789'), /text file/],
    ['a tar archive', at(257, [...Buffer.from('ustar')]), /nothing but zeros|tar archive/],
    ['a Debian package', join('!<arch>\ndebian-binary'), /Debian package/],
    ['a zip archive', join('PK', [3, 4]), /zip/],
    ['cpio of the old format', join('070707000000'), /old portable format[\s\S]*-H newc/],
    ['zeros', zeros, /nothing but zeros/],
    ['random bytes', new Uint8Array(brotliCompressSync('x'.repeat(99))).fill(0xa7), /begins with a7/],
    ['rubbish behind an archive', join(archive, 'rubbish'), /behind its first \d+ bytes \(cpio \(newc\), 4 entries\) stands 72 75 62 62/],
  ]; // biome-ignore format: a table
  it.each(wrong)('refuses %s', (_, bytes, why) => {
    expect(() => recogniseInitrd('x', bytes)).toThrow(ImageError);
    expect(() => recogniseInitrd('x', bytes)).toThrow(why);
    expect(initrdSays(bytes)).toBeUndefined();
  });

  it('refuses an archive cut short anywhere, or takes it as a shorter one, and never stumbles', () => {
    let refused = 0;
    for (let length = 1; length < archive.length; length++) {
      try {
        recogniseInitrd('x', archive.subarray(0, length));
      } catch (error) {
        expect(error, `cut to ${length}`).toBeInstanceOf(ImageError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(400);
  });

  it('takes any byte of an archive changed without stumbling', () => {
    for (let at = 0; at < 480; at++) {
      for (const value of [0, 0x30, 0x46, 0xff]) {
        const bytes = archive.slice();
        bytes[at] = value;
        expect(() => initrdSays(bytes)).not.toThrow();
      }
    }
  });

  it('warns where Linux would not find its first process', () => {
    const warnings = (...entries: ReturnType<typeof file>[]) => recogniseInitrd('x', packInitrd(entries)).warnings;
    expect(warnings(file('init'))).toEqual([]);
    expect(warnings(file('sbin'))).toEqual([expect.stringContaining('no /init')]);
    expect(warnings(file('init', 0o644))).toEqual([expect.stringContaining('not executable')]);
  });

  it('looks into what was unpacked', () => {
    expect(() => checkUnpacked('x', 'gzip', archive)).not.toThrow();
    expect(() => checkUnpacked('x', 'gzip', at(257, [...Buffer.from('ustar')]))).toThrow(/compressed with gzip, and inside it is a tar/); // biome-ignore format: one line
  });
});

function text(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
