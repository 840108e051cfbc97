import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { initrdOfProgram, readInitrd } from '../../src/cli/initrd-file.ts';
import { recogniseInitrd } from '../../src/initrd/recognise.ts';
import { zeropage } from './run.ts';

const makeFolder = () => mkdtempSync(join(tmpdir(), 'zeropage-'));
const paths = (bytes: Uint8Array) =>
  recogniseInitrd('x', bytes).parts.flatMap((part) => (part.kind === 'cpio' ? part.entries : []));

/** The same files made in another order, at another time. */
function root(names: readonly string[]): string {
  const folder = makeFolder();
  mkdirSync(join(folder, 'bin'), { mode: 0o755 });
  for (const name of names) {
    writeFileSync(join(folder, name), `contents of ${name}`);
    chmodSync(join(folder, name), name === 'bin/su' ? 0o4755 : 0o755);
    utimesSync(join(folder, name), Math.random() * 1e9, Math.random() * 1e9);
  }
  symlinkSync('../..', join(folder, 'bin/up'));
  linkSync(join(folder, 'init'), join(folder, 'bin/init2'));
  return folder;
}

describe('--initrd with a folder', () => {
  it('packs the same bytes whatever the order, the times and the place of its files', async () => {
    const one = await readInitrd(root(['init', 'bin/su', 'bin/a']), true);
    const other = await readInitrd(root(['bin/a', 'bin/su', 'init']), true);
    expect(one.bytes).toEqual(other.bytes);
    expect(one.warnings).toEqual([]);
    expect(one.notes.at(-1)).toBe('added /dev/console (5, 1) and /dev/null (1, 3)');
  });

  it('keeps modes and links, and follows none', async () => {
    const { bytes } = await readInitrd(root(['init', 'bin/su']), true);
    const shown = paths(bytes).map(({ path, mode, size }) => `${mode.toString(8)} ${size} ${path}`);
    expect(shown).toEqual([
      '40755 0 bin', '100755 0 bin/init2', '104755 18 bin/su', '120777 5 bin/up',
      '40755 0 dev', '20600 0 dev/console', '20666 0 dev/null', '100755 16 init',
    ]); // biome-ignore format: a table
  });

  it('keeps names that are no UTF-8', async () => {
    const folder = makeFolder();
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0x41])]), '');
    const { bytes } = await readInitrd(folder, false);
    expect(Buffer.from(bytes).includes(Buffer.from([0xff, 0x41, 0]))).toBe(true);
  });

  it('leaves sockets out, with a word', async () => {
    const folder = makeFolder();
    const server = createServer().listen(join(folder, 'control'));
    const { bytes, notes } = await readInitrd(folder, false);
    server.close();
    expect(paths(bytes).map(({ path }) => path)).not.toContain('control');
    expect(notes).toContain('left out control: a socket that an archive cannot hold');
  });

  it('refuses what is too large before reading it', async () => {
    const folder = makeFolder();
    writeFileSync(join(folder, 'disk.img'), '');
    truncateSync(join(folder, 'disk.img'), 2 ** 31);
    await expect(readInitrd(folder, true)).rejects.toThrow(ImageError);
    await expect(readInitrd(folder, true)).rejects.toThrow(/disk\.img\n.*2147483648 bytes, and 1 GiB is the limit/);
  });

  it('names a file that may not be read', async ({ skip }) => {
    if (process.getuid?.() === 0) return skip('root may read everything');
    const folder = makeFolder();
    writeFileSync(join(folder, 'shadow'), 'secret', { mode: 0 });
    await expect(readInitrd(folder, true)).rejects.toThrow(/shadow\n.*this user may not read it/);
  });

  it('warns when there is no /init in it', async () => {
    expect((await readInitrd(makeFolder(), true)).warnings).toEqual([expect.stringContaining('no /init')]);
  });

  it('boots', async () => {
    const { code, stdout, stderr } = await zeropage(['boot', '--initrd', root(['init'])]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^initrd: init 16 bytes$/m);
    expect(stderr).toMatch(
      /^zeropage: initrd: cpio \(newc\), 7 entries, [\d,]+ bytes, packed .*, added \/dev\/console/m,
    );
  });
});

describe('--initrd with a file', () => {
  const folder = makeFolder();
  const file = (name: string, bytes: string | Uint8Array) => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  it('hands a compressed one on as it is', async () => {
    const packed = gzipSync((await readInitrd(root(['init']), true)).bytes);
    expect(Buffer.from((await readInitrd(file('ok.gz', packed), true)).bytes).equals(packed)).toBe(true);
  });

  it('refuses a wrong one for Linux, and none for others', async () => {
    const text = file('readme', 'hello\n');
    await expect(readInitrd(text, true)).rejects.toThrow(/is not an initrd[\s\S]*text file/);
    expect((await readInitrd(text, false)).bytes).toHaveLength(6);
  });

  it('looks into a gzip file, which may be of anything', async () => {
    const tar = new Uint8Array(100_000);
    tar.set(Buffer.from('ustar'), 257);
    await expect(readInitrd(file('root.tar.gz', gzipSync(tar)), true)).rejects.toThrow(/gzip, and inside it is a tar archive/); // biome-ignore format: one line
    expect((await readInitrd(file('cut.gz', gzipSync(tar).subarray(0, 12)), true)).warnings).toEqual([]);
  });

  it.each([
    ['boot', ['--initrd', file('text', 'hello\n')], 3, /text file/],
    ['plan', ['--initrd', file('text', 'hello\n')], 3, /text file/],
    ['compare', ['--initrd', file('text', 'hello\n')], 3, /text file/],
    ['boot', ['--initrd', folder, '--init', folder], 2, /two initial RAM disks/],
    ['boot', ['--init', process.execPath], 3, /dynamically linked/],
    ['boot', ['--init', file('script', '#!/bin/sh\n')], 3, /it is a script/],
    ['boot', ['--init', file('other', 'x')], 3, /no ELF file/],
  ])('%s %j ends with exit %i', async (command, options, exit, why) => {
    const { code, stderr } = await zeropage([command, 'tiny', ...(options as string[])]);
    expect(stderr).toMatch(why);
    expect(code).toBe(exit);
  });
});

describe('inspect', () => {
  it('says what an initrd is, entry by entry, and --json too', async () => {
    const file = join(makeFolder(), 'initrd.img');
    const folder = root(['init']);
    writeFileSync(join(folder, 'bad\x1bname'), '');
    writeFileSync(file, (await readInitrd(folder, true)).bytes);
    const { code, stdout, stderr } = await zeropage(['inspect', file]);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^ {2}is +cpio \(newc\), 8 entries$/m);
    expect(stdout).toMatch(/^ {2}- 0755 +16 +init$/m);
    expect(stdout).toMatch(/^ {2}c 0600 +0 +dev\/console$/m);
    expect(stdout).toMatch(/bad\?name$/m);
    const json = JSON.parse((await zeropage(['inspect', '--json', file])).stdout);
    expect(json.initrd.parts[0].entries).toHaveLength(8);
  });

  it('says of a compressed one how', async () => {
    const file = join(makeFolder(), 'initrd.img');
    writeFileSync(file, gzipSync((await readInitrd(root(['init']), true)).bytes));
    const { code, stdout } = await zeropage(['inspect', file]);
    expect({ code, is: /^ {2}is +(.*)$/m.exec(stdout)?.[1] }).toEqual({ code: 0, is: 'compressed with gzip' });
  });
});

describe('--init', () => {
  it('packs a static program as /init', async () => {
    const { bytes, notes } = await initrdOfProgram(imagePath('tiny64.elf'));
    expect(paths(bytes).map(({ path }) => path)).toEqual(['dev', 'dev/console', 'dev/null', 'init']);
    expect(notes[0]).toMatch(/^packed .* as \/init$/);
  });
});
