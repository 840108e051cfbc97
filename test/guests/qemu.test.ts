/** The committed images in another machine: QEMU boots each through its own loader. Skipped where there is no QEMU;
 * then the recordings stand. UPDATE_GOLDEN=1 rewrites them. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { readSymtab } from '../../src/symbols/symtab.ts';
import {
  COMMAND_LINE,
  comparable,
  golden,
  goldenFile,
  IMAGES,
  initrd,
  RECORDED,
  type RecordedPath,
  xenGolden,
} from './golden.ts';

const QEMU = 'qemu-system-x86_64';
const haveQemu = spawnSync(QEMU, ['--version']).status === 0;
if (!haveQemu) console.log(`skipped: ${QEMU} is not installed, the tiny guest is not booted there`);

const haveCompiler = spawnSync('gcc', ['--version']).status === 0 && spawnSync('ld', ['--version']).status === 0;
if (haveQemu && !haveCompiler) console.log('skipped: gcc is not installed, linux64 is not tried in QEMU');
const tried = RECORDED.filter(({ path }) => path !== 'linux64' || haveCompiler);

const folder = mkdtempSync(join(tmpdir(), 'zeropage-qemu-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A Multiboot image that hands the bzImage to the 64-bit boot protocol. */
function inLoader(image: string): string {
  const source = fileURLToPath(new URL('../test/loader.S', IMAGES));
  const [object, linked] = [join(folder, 'loader.o'), join(folder, 'loader.elf')];
  const define = `-DIMAGE="${fileURLToPath(new URL(image, IMAGES))}"`;
  expect(spawnSync('gcc', ['-m32', '-c', define, source, '-o', object], { encoding: 'utf8' }).stderr).toBe('');
  spawnSync('ld', ['-m', 'elf_i386', '-Ttext', '0x4000000', '-e', 'start', '-o', linked, object]);
  return linked;
}

function command(path: RecordedPath, image: string, commandLine: string): string[] {
  const initrdFile = join(folder, 'initrd');
  writeFileSync(initrdFile, initrd());
  const options = ['-M', 'pc', '-m', '128', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'];
  const exit = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'];
  const kernel = [
    '-kernel',
    path === 'linux64' ? inLoader(image) : image,
    '-append',
    commandLine,
    '-initrd',
    initrdFile,
  ];
  return [...options, ...exit, ...kernel];
}

const cwd = fileURLToPath(IMAGES);

function boot(path: RecordedPath, image: string, commandLine: string) {
  const run = spawnSync(QEMU, command(path, image, commandLine), { cwd, encoding: 'latin1', timeout: 20_000 });
  return { console: run.stdout.replaceAll('\r', ''), status: run.status };
}

/** For guests that never end by themselves: the console up to and with `last`. */
function bootUntil(last: string, path: RecordedPath, image: string, commandLine: string): Promise<string> {
  return new Promise((resolve) => {
    const qemu = spawn(QEMU, command(path, image, commandLine), { cwd, timeout: 20_000 });
    let console = '';
    qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
      console += text.replaceAll('\r', '');
      if (console.includes(last)) qemu.kill();
    });
    qemu.on('close', () => resolve(console));
  });
}

/** isa-debug-exit ends QEMU with twice the value and one more. */
const debugExit = (value: number) => 2 * value + 1;

describe.skipIf(!haveQemu)('the committed images in QEMU', () => {
  for (const { path, image } of tried) {
    it(`prints through ${path} (${image}) what was recorded, and powers off with 0`, () => {
      const run = boot(path, image, COMMAND_LINE);
      if (process.env.UPDATE_GOLDEN) writeFileSync(goldenFile(path), run.console);
      expect(run.console).toBe(golden(path));
      expect(run.status).toBe(debugExit(0));
    });
  }

  for (const { path, image } of tried) {
    it(`reports exit=3 through ${path} as its verdict and to the debug-exit port`, () => {
      const run = boot(path, image, 'exit=3');
      expect(run.console.trimEnd().split('\n').at(-1)).toBe('verdict: failure 3');
      expect(run.status).toBe(debugExit(3));
    });
  }

  for (const { path, image } of tried.filter(({ path }) => path === 'pvh' || path === 'linux32-i386')) {
    it(`panics as Linux does when asked to, in ${image}`, async () => {
      const lines = comparable(await bootUntil(' ]---\n', path, image, 'panic'));
      const why = 'Kernel panic - not syncing: asked for on the command line';
      expect(lines.slice(-2)).toEqual([why, `---[ end ${why} ]---`]);
    });

    it(`tells a bad pointer with its address and the function that used it, in ${image}`, async () => {
      const console = await bootUntil(' ]---\n', path, image, 'badptr');
      const elf = parseKernel(image, readFileSync(new URL(image.replace('bzimage', 'elf'), IMAGES))) as ElfImage;
      const culprit = readSymtab(elf).find(({ name }) => name === 'touch_bad_pointer');
      const ip = BigInt(`0x${/[ER]IP: [0-9a-f]{4}:([0-9a-f]+)/.exec(console)?.[1]}`);
      expect(console).toMatch(/^BUG: unable to handle page fault for address: 0*dead0000$/m);
      expect(console).toContain(
        '#PF: supervisor read access in kernel mode\n#PF: error_code(0x0000) - not-present page\n',
      );
      expect(ip).toBeGreaterThanOrEqual(culprit?.address ?? 0n);
      expect(ip).toBeLessThan((culprit?.address ?? 0n) + (culprit?.size ?? 0n));
      expect(console.match(/^ \[<[0-9a-f]+>\]$/gm)?.length).toBeGreaterThan(2);
      expect(console.trimEnd()).toMatch(/---\[ end Kernel panic - not syncing: Fatal exception \]---$/);
    });
  }

  it('resets without another word when asked for a triple fault', () => {
    const run = boot('pvh', 'tiny64.elf', 'triple');
    expect(run.status).toBe(0); // -no-reboot
    expect(run.console).not.toContain('verdict');
    expect(comparable(run.console).at(-1)).toMatch(/^initrd: init /);
  });
});

describe('the recordings', () => {
  it('agree with each other line for line on what does not depend on the path, Xen included', () => {
    const guest = (console: string) =>
      comparable(console).filter(
        (line) => !/ via |^boot_params: |-provided |^mm: |^user: hello|^NX |^kasan: /.test(line),
      );
    const recordings = [...RECORDED.map(({ path }) => golden(path)), readFileSync(xenGolden, 'latin1')];
    const [first, ...others] = recordings.map(guest);
    expect(first.at(-1)).toBe('verdict: success');
    expect(first.length).toBeGreaterThan(8);
    for (const other of others) expect(other).toEqual(first);
  });
});
