import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { findGuest, GUESTS, guestImagePath } from '../../src/cli/guests.ts';
import { inspectKernel } from '../../src/cli/inspect.ts';
import { inspectionText } from '../../src/cli/inspect-text.ts';
import { LARGEST_FILE, openKernel, readFileBytes, resolveKernel, unpackKernel } from '../../src/cli/kernel-file.ts';
import { COLOURED, PLAIN, textTable, wrap } from '../../src/cli/text-table.ts';
import type { BzImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import {
  buildBzImage,
  buildElf,
  buildMultiboot,
  PV_ENTRY,
  PV_NOTES,
  PVH_NOTE,
  storedLz4,
  text,
  u32Bytes,
} from '../image/build.ts';

const folder = mkdtempSync(join(tmpdir(), 'zeropage-inspect-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, bytes: Uint8Array | string) => {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
};

const features = { owner: 'Xen', type: 17, desc: u32Bytes(0x8801) };
const inner = buildElf({
  notes: [...PV_NOTES, PV_ENTRY, PVH_NOTE, features],
  symbols: [{ name: 'startup_64', value: 0x1000n }],
});
const image = parseKernel('vmlinuz', buildBzImage({ payload: storedLz4(inner) }));

describe('inspect on a bzImage', () => {
  const { inspection, damage } = inspectKernel(image, '/boot/vmlinuz');
  const printed = inspectionText(inspection, 80, PLAIN);

  it('shows what parse-bzimage shows: magic, version, protocol table and the offsets that loaders rely on', () => {
    expect(inspection.bootProtocol).toMatchObject({
      version: '2.15', value: '0x020f',
      magic: { onImage: '0x53726448', xenExpects: '0x53726448', qemuExpects: '0x53726448', match: true },
      xenMinimum: { value: '0x0208', met: true },
      offsets: [
        { field: 'loadflags', offset: '0x0211', expected: '0x0211', match: true },
        { field: 'hardware_subarch', offset: '0x023c' },
        { field: 'hardware_subarch_data', offset: '0x0240' },
      ],
    }); // biome-ignore format: a table
    expect(inspection.bootProtocol?.protocols.map(({ version, value }) => `${version} ${value}`)).toContain(
      '2.07 0x0207',
    );
    for (const line of [
      'Xen expects     0x53726448',
      'QEMU expects    0x53726448',
      'magic on image  0x53726448',
      '2.15 (0x020f, 527)',
    ]) {
      expect(printed).toContain(line);
    }
    expect(printed).toMatch(/loadflags +0x0211 +0x0211 +yes/);
    expect(printed).toMatch(/hardware_subarch +0x023c/);
    expect(printed).toMatch(/hardware_subarch_data +0x0240/);
  });

  it('shows every field of the setup header with offset, value and meaning', () => {
    const rows = Object.fromEntries((inspection.setupHeader ?? []).map((row) => [row.name, row]));
    expect(Object.keys(rows)).toHaveLength(39);
    expect(rows.xloadflags).toEqual({
      offset: '0x236',
      name: 'xloadflags',
      value: '0x1',
      meaning: 'KERNEL_64',
      since: '2.12',
    });
    expect(rows.hardware_subarch).toMatchObject({
      offset: '0x23c',
      value: '0x0',
      meaning: 'PC; written by the loader',
    });
    expect(rows.pref_address.value).toBe('0x1000000');
    expect(printed).toMatch(/0x238 +cmdline_size +0x7ff +longest command line/);
  });

  it('shows payload, segments, notes by name, and symbols of the kernel inside', () => {
    expect(damage).toBeUndefined();
    expect(inspection.payload).toEqual({
      offset: '0x840', length: storedLz4(inner).length, compression: 'lz4', uncompressedSize: inner.length, unpackedSize: inner.length, error: undefined,
    }); // biome-ignore format: short
    expect(inspection.elf).toMatchObject({
      class: 64,
      machine: 'x86-64',
      type: 'EXEC',
      entry: '0x1000000',
      symbols: 1,
    });
    expect(inspection.elf?.segments[0]).toMatchObject({
      type: 'LOAD',
      flags: 'RWX',
      paddr: '0x1000000',
      vaddr: '0xffffffff81000000',
    });
    expect(inspection.elf?.notes.map(({ name, value }) => `${name} ${value}`)).toEqual([
      'XEN_ELFNOTE_XEN_VERSION "xen-3.0"',
      'XEN_ELFNOTE_LOADER "generic"',
      'XEN_ELFNOTE_VIRT_BASE 0xffffffff80000000',
      'XEN_ELFNOTE_ENTRY 0xffffffff81000000',
      'XEN_ELFNOTE_PHYS32_ENTRY 0x1000040',
      'XEN_ELFNOTE_SUPPORTED_FEATURES 0x8801 (writable_page_tables, dom0, linux_rsdp_unrestricted)',
    ]);
    expect(printed).toMatch(/Xen +18 +XEN_ELFNOTE_PHYS32_ENTRY +0x1000040/);
  });

  it('says for each entry path: supported, not built, or why not', () => {
    const paths = Object.fromEntries(inspection.entryPaths.map((path) => [path.via, path]));
    expect(Object.keys(paths).sort()).toEqual(['flat32', 'flat64', 'lguest', 'linux32', 'linux64', 'multiboot', 'pvh', 'xen-pv', 'xen-pv32', 'xen-pvh']); // biome-ignore format: short
    for (const via of ['linux32', 'linux64', 'pvh', 'xen-pvh', 'xen-pv'])
      expect(paths[via], via).toMatchObject({ supported: true });
    for (const via of ['lguest', 'xen-pv32', 'multiboot', 'flat32', 'flat64']) {
      expect(paths[via], via).toMatchObject({
        supported: false,
        carried: false,
        why: expect.any(String),
        fix: expect.any(String),
      });
    }
    expect(printed).toMatch(/lguest +no +the kernel is 64-bit/);
    expect(printed).toMatch(/pvh +supported\n/);
  });

  it('fits its lines into the width, and is JSON as it stands', () => {
    const long = printed.split('\n').filter((line) => line.length > 80 && !line.includes('XEN_ELFNOTE'));
    expect(long.filter((line) => !/^ {2}\d /.test(line))).toEqual([]);
    const json = JSON.parse(JSON.stringify(inspection));
    expect(json).toMatchObject({
      schema: 1,
      image: { path: '/boot/vmlinuz', format: 'bzimage', versionString: '1.2.3-test' },
    });
  });

  it('of an old protocol shows which fields are not there', () => {
    const old = inspectKernel(parseKernel('zImage', buildBzImage({ protocol: 0x203 }))).inspection;
    const row = old.setupHeader?.find(({ name }) => name === 'xloadflags');
    expect(row).toMatchObject({ value: '-', meaning: 'absent: since protocol 2.12' });
    expect(old.bootProtocol).toMatchObject({ version: '2.03', xenMinimum: { met: false } });
    expect(old.payload).toBeUndefined();
    expect(inspectionText(old, 100, PLAIN)).toContain('2.08 (0x0208, 520) or newer: not met');
  });

  it('with a damaged payload shows the rest, and the damage', () => {
    const payload = storedLz4(inner);
    payload[4] = 0xff;
    const broken = inspectKernel(parseKernel('vmlinuz', buildBzImage({ payload })));
    expect(broken.damage).toBeInstanceOf(ImageError);
    expect(broken.inspection.payload?.error).toContain('the stream ends too early');
    expect(broken.inspection.setupHeader).toHaveLength(39);
    const why = broken.inspection.entryPaths.find(({ via }) => via === 'pvh')?.why;
    expect(why).toContain('the payload cannot be unpacked: the stream ends too early');
    expect(broken.inspection.entryPaths.find(({ via }) => via === 'lguest')?.why).toContain('64-bit');
    expect(inspectionText(broken.inspection, 100, PLAIN)).toContain('failed: the stream ends too early');
  });
});

describe('inspect on other files', () => {
  it('shows a Multiboot header with the fields that its flags announce', () => {
    const { inspection } = inspectKernel(parseKernel('kernel', buildMultiboot()));
    expect(inspection.multiboot?.fields.map(({ name }) => name)).toEqual(['magic', 'flags', 'checksum', 'header_addr', 'load_addr', 'load_end_addr', 'bss_end_addr', 'entry_addr']); // biome-ignore format: short
    expect(inspection.multiboot?.fields[1]).toMatchObject({ offset: '0x24', meaning: 'AOUT_KLUDGE' });
    expect(inspectionText(inspection, 100, PLAIN)).toContain('Multiboot header at 0x20');
    const plain = inspectKernel(parseKernel('kernel', buildMultiboot({ flags: 0 }))).inspection;
    expect(plain.multiboot?.fields).toHaveLength(3);
  });

  it('marks a note that its segment cuts, with the warning', () => {
    const notes = [...PV_NOTES, { owner: 'Xen', type: 9, desc: text('yes\0padding\0') }];
    const printed = inspectionText(
      inspectKernel(parseKernel('grub', buildElf({ wide: false, notes, cutNotes: 8 }))).inspection,
      100,
      PLAIN,
    );
    expect(printed).toContain('"yes" (cut short by its segment)');
    expect(printed.match(/4 of 12 bytes are there/g)).toHaveLength(1);
    expect(printed).toMatch(/xen-pv32 +not built/);
  });

  it('knows flat code for what it may be', () => {
    const { inspection } = inspectKernel(parseKernel('code', Uint8Array.of(0xf4)));
    expect(inspection.image.format).toBe('flat');
    expect(inspection.entryPaths.filter(({ supported }) => supported).map(({ via }) => via)).toEqual([
      'flat32',
      'flat64',
    ]);
  });
});

describe('opening kernels', () => {
  it('finds every image of every built-in guest, for each of its paths', async () => {
    for (const guest of GUESTS) {
      for (const via of [...Object.keys(guest.images), 'auto']) {
        const { path, bytes, guest: name } = await resolveKernel(guest.name, via);
        expect([path, name]).toEqual([guestImagePath(guest, via), guest.name]);
        expect(bytes.length).toBeGreaterThan(0);
      }
      const kernel = await openKernel(guest.name, guest.usual);
      expect(kernel.format).toBe('bzimage');
      expect((await unpackKernel(kernel as BzImage)).notes.length).toBeGreaterThan(0);
    }
    expect(findGuest('./tiny')).toBeUndefined();
  });

  it('takes bytes as flat code on the flat paths, unless another format claims them', async () => {
    const sector = Uint8Array.from({ length: 512 }, (_, i) => (i === 510 ? 0x55 : i === 511 ? 0xaa : 0x90));
    expect((await openKernel(file('sector', sector), 'flat64')).format).toBe('flat');
    await expect(openKernel(file('sector', sector))).rejects.toThrow('boot sector');
    expect((await openKernel(file('elf', inner), 'flat64')).format).toBe('elf64');
  });

  const huge = file('huge', 'x');
  truncateSync(huge, LARGEST_FILE + 1);
  const errors: [string, string, string][] = [
    ['a missing file', join(folder, 'absent'), 'there is no such file'],
    ['a directory', folder, 'it is a directory'],
    ['a device', '/dev/null', 'it is not a regular file'],
    ['an empty file', file('empty', ''), 'it is empty'],
    ['a file that is too large', huge, 'it has 1073741825 bytes, and 1073741824 (1 GiB) is the limit'],
    ['a path through a file', join(huge, 'kernel'), 'there is no such file'],
    ['an impossible name', 'x'.repeat(5000), 'ENAMETOOLONG'],
  ];
  for (const [what, path, why] of errors) {
    it(`refuses ${what} with an ImageError`, async () => {
      await expect(readFileBytes(path, '[kernel]')).rejects.toThrow(ImageError);
      await expect(readFileBytes(path, '--initrd')).rejects.toThrow(why);
    });
  }

  it('names the built-in guests when there is no such file', async () => {
    await expect(resolveKernel('tinny')).rejects.toThrow('or the name of a built-in guest: tiny');
  });
});

describe('tables', () => {
  it('line columns up, wrap the last one, and colour without moving anything', () => {
    const rows = [
      ['a', 'bb', 'one two three four five six seven'],
      ['ccc', 'd', 'x'],
    ];
    const plain = textTable(rows, 36);
    expect(plain).toBe('  a    bb  one two three four five\n           six seven\n  ccc  d   x');
    const coloured = textTable(rows, 36, (cell, _row, column) => (column === 0 ? COLOURED.good(cell) : cell));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are made of them
    expect(coloured.replace(/\x1b\[\d+m/g, '')).toBe(plain);
    expect(coloured).toContain('\x1b[32m');
    expect(wrap('a verylongwordindeed b', 5)).toEqual(['a', 'verylongwordindeed', 'b']);
  });
});
