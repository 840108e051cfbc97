/** The committed images in another machine: QEMU boots each through its own loader. Skipped where there is no QEMU;
 * then the recordings stand. UPDATE_GOLDEN=1 rewrites them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { COMMAND_LINE, comparable, golden, goldenFile, IMAGES, initrd, RECORDED } from './golden.ts';

const QEMU = 'qemu-system-x86_64';
const haveQemu = spawnSync(QEMU, ['--version']).status === 0;
if (!haveQemu) console.log(`skipped: ${QEMU} is not installed, the tiny guest is not booted there`);

const folder = mkdtempSync(join(tmpdir(), 'zeropage-qemu-'));
afterAll(() => rmSync(folder, { recursive: true }));

function boot(image: string, commandLine: string, milliseconds = 20_000) {
  const initrdFile = join(folder, 'initrd');
  writeFileSync(initrdFile, initrd());
  const options = ['-M', 'pc', '-m', '128', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'];
  const exit = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'];
  const kernel = ['-kernel', image, '-append', commandLine, '-initrd', initrdFile];
  const run = spawnSync(QEMU, [...options, ...exit, ...kernel], {
    cwd: fileURLToPath(IMAGES),
    encoding: 'latin1',
    timeout: milliseconds,
  });
  return { console: run.stdout.replaceAll('\r', ''), status: run.status };
}

/** isa-debug-exit ends QEMU with twice the value and one more. */
const debugExit = (value: number) => 2 * value + 1;

describe.skipIf(!haveQemu)('the committed images in QEMU', () => {
  for (const { path, image } of RECORDED) {
    it(`prints through ${path} (${image}) what was recorded, and powers off with 0`, () => {
      const run = boot(image, COMMAND_LINE);
      if (process.env.UPDATE_GOLDEN) writeFileSync(goldenFile(path), run.console);
      expect(run.console).toBe(golden(path));
      expect(run.status).toBe(debugExit(0));
    });
  }

  for (const { path, image } of RECORDED) {
    it(`reports exit=3 through ${path} as its verdict and to the debug-exit port`, () => {
      const run = boot(image, 'exit=3');
      expect(run.console.trimEnd().split('\n').at(-1)).toBe('verdict: failure 3');
      expect(run.status).toBe(debugExit(3));
    });
  }

  it('resets without another word when asked for a triple fault', () => {
    const run = boot('tiny64.elf', 'triple');
    expect(run.status).toBe(0); // -no-reboot
    expect(run.console).not.toContain('verdict');
    expect(comparable(run.console).at(-1)).toMatch(/^initrd: init /);
  });
});

describe('the recordings', () => {
  it('agree with each other line for line on what does not depend on the path', () => {
    const guest = (path: (typeof RECORDED)[number]['path']) =>
      comparable(golden(path)).filter((line) => !/ via |^boot_params: |^mm: |^user: hello/.test(line));
    const [first, ...others] = RECORDED.map(({ path }) => guest(path));
    expect(first.at(-1)).toBe('verdict: success');
    expect(first.length).toBeGreaterThan(8);
    for (const other of others) expect(other).toEqual(first);
  });
});
