import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { buildInitrd } from '../../src/initrd/build.ts';
import { type InitrdEntry, packInitrd } from '../../src/initrd/newc.ts';
import { recogniseInitrd } from '../../src/initrd/recognise.ts';

const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);
const listed = (bytes: Uint8Array) => {
  const [part] = recogniseInitrd('test', bytes).parts;
  return part.kind === 'cpio' ? part.entries.map(({ path, mode, size }) => `${mode.toString(8)} ${size} ${path}`) : [];
};

describe('packInitrd', () => {
  it('writes what the format says, byte for byte', () => {
    const bytes = packInitrd([{ kind: 'file', path: 'init', mode: 0o755, data: 'hi\n' }]);
    const header = (fields: number[]) => `070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`;
    const expected =
      `${header([1, 0o100755, 0, 0, 1, 0, 3, 0, 0, 0, 0, 5, 0])}init\0\0hi\n\0` +
      `${header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0])}TRAILER!!!\0`;
    expect(text(bytes)).toBe(expected.padEnd(512, '\0'));
  });

  it('gives the same bytes again, and other bytes for another mode', () => {
    const entries = (mode: number): InitrdEntry[] => [{ kind: 'file', path: 'a', mode, data: 'x' }];
    expect(packInitrd(entries(0o644))).toEqual(packInitrd(entries(0o644)));
    expect(packInitrd(entries(0o644))).not.toEqual(packInitrd(entries(0o4644)));
  });

  const wrong: [string, InitrdEntry[], RegExp][] = [
    ['an absolute path', [{ kind: 'folder', path: '/etc' }], /empty part/],
    ['a way out of the root', [{ kind: 'folder', path: 'a/../../b' }], /"\.\."/],
    ['the name that ends an archive', [{ kind: 'folder', path: 'TRAILER!!!' }], /ends an archive/],
    ['no name', [{ kind: 'folder', path: '' }], /no name/],
    ['a NUL in a name', [{ kind: 'folder', path: 'a\0b' }], /NUL/],
    ['a name that Linux would skip', [{ kind: 'folder', path: 'a'.repeat(4096) }], /4096 bytes/],
    ['the same name twice', [{ kind: 'folder', path: 'a' }, { kind: 'folder', path: 'a' }], /came before/],
    ['a link to nothing', [{ kind: 'link', path: 'a', sameAs: 'b' }], /no entry before it is called b/],
    ['a link to a folder', [{ kind: 'folder', path: 'b' }, { kind: 'link', path: 'a', sameAs: 'b' }], /is no file/],
    ['a mode with a type in it', [{ kind: 'file', path: 'a', data: '', mode: 0o100644 }], /permission bits/],
    ['a symlink to nowhere', [{ kind: 'symlink', path: 'a', target: '' }], /target/],
    ['a device with a strange number', [{ kind: 'block device', path: 'a', major: -1, minor: 0 }], /device number/],
  ]; // biome-ignore format: a table
  it.each(wrong)('refuses %s', (_, entries, why) => {
    expect(() => packInitrd(entries)).toThrow(ImageError);
    expect(() => packInitrd(entries)).toThrow(why);
  });

  it('makes hard links one file, with the data at its last name', () => {
    const bytes = packInitrd([
      { kind: 'file', path: 'a', data: 'data', mode: 0o755 },
      { kind: 'file', path: 'other', data: 'x' },
      { kind: 'link', path: 'b', sameAs: 'a' },
      { kind: 'link', path: 'c', sameAs: 'b' },
    ]);
    expect(listed(bytes)).toEqual(['100755 0 a', '100644 1 other', '100755 0 b', '100755 4 c']);
  });

  const everything = buildInitrd([
    { kind: 'file', path: 'init', mode: 0o4755, data: '#!/bin/sh\n' },
    { kind: 'link', path: 'another', sameAs: 'init' },
    { kind: 'symlink', path: 'bin', target: 'usr/bin' },
    { kind: 'file', path: 'usr/bin/größe', data: 'x'.repeat(5) },
    { kind: 'fifo', path: 'run/pipe' },
  ]).bytes;

  it('is read by cpio', ({ skip }) => {
    const folder = mkdtempSync(join(tmpdir(), 'zeropage-'));
    const run = spawnSync('cpio', ['-idm', '--no-absolute-filenames', '--quiet', '--no-preserve-owner'], { input: everything, cwd: folder }); // biome-ignore format: one line
    if (run.error) return skip('cpio is not installed');
    expect(readFileSync(join(folder, 'usr/bin/größe'), 'utf8')).toBe('xxxxx');
    expect(readlinkSync(join(folder, 'bin'))).toBe('usr/bin');
    expect(statSync(join(folder, 'init')).mode & 0o7777).toBe(0o4755);
    expect(statSync(join(folder, 'init')).ino).toBe(statSync(join(folder, 'another')).ino);
    expect(statSync(join(folder, 'run/pipe')).isFIFO()).toBe(true);
  });
});

describe('buildInitrd', () => {
  it('adds the devices that a first process needs, and says so', () => {
    const { bytes, notes } = buildInitrd([{ kind: 'file', path: 'init', data: '', mode: 0o755 }]);
    expect(listed(bytes)).toEqual(['40755 0 dev', '20600 0 dev/console', '20666 0 dev/null', '100755 0 init']);
    expect(notes).toEqual(['added /dev/console (5, 1) and /dev/null (1, 3)']);
  });

  it('leaves devices alone that are there, and takes an empty file for one', () => {
    const { bytes, notes } = buildInitrd([
      { kind: 'character device', path: 'dev/console', mode: 0o644, major: 4, minor: 64 },
      { kind: 'file', path: 'dev/null', data: '' },
    ]);
    expect(listed(bytes)).toEqual(['40755 0 dev', '20644 0 dev/console', '20666 0 dev/null']);
    expect(notes).toEqual(['added /dev/null (1, 3) in place of an empty file']);
  });

  it('does not touch a /dev that is a link', () => {
    const { bytes, notes } = buildInitrd([{ kind: 'symlink', path: 'dev', target: 'run' }]);
    expect(listed(bytes)).toEqual(['120777 3 dev']);
    expect(notes).toEqual(['/dev is a symlink: no devices were added']);
  });

  it('sorts by bytes and makes folders that are missing, whatever the order given', () => {
    const entries: InitrdEntry[] = [
      { kind: 'file', path: 'usr/bin/b', data: '' },
      { kind: 'file', path: 'usr/bin-x', data: '' },
      { kind: 'file', path: 'a', data: '' },
    ];
    const paths = (given: InitrdEntry[]) => listed(buildInitrd(given).bytes).map((line) => line.split(' ')[2]);
    expect(paths(entries)).toEqual(['a', 'dev', 'dev/console', 'dev/null', 'usr', 'usr/bin', 'usr/bin-x', 'usr/bin/b']);
    expect(buildInitrd(entries.toReversed()).bytes).toEqual(buildInitrd(entries).bytes);
  });

  it('refuses a name that came twice', () => {
    const twice: InitrdEntry = { kind: 'folder', path: 'a' };
    expect(() => buildInitrd([twice, twice])).toThrow(/came before/);
  });
});
