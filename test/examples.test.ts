import { execFile } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { scratch } from './cli/run.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'examples');
const library = new URL('../src/index.ts', import.meta.url).href;

/** Runs an example against the sources instead of the built package. */
async function example(name: string): Promise<string> {
  const text = readFileSync(join(folder, name), 'utf8').replace("from 'zeropage'", `from '${library}'`);
  const file = join(scratch(), name);
  writeFileSync(file, text);
  const { stdout } = await run(process.execPath, ['--import', 'tsx', file], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
  });
  return stdout;
}

describe('the examples', { concurrent: true, timeout: 60_000 }, () => {
  const shown: Record<string, RegExp[]> = {
    'boot.mjs': [/tiny64.bzimage is a bzimage/, /boot_params at 0x10000/, /until: reached start_kernel, after \d+/, /type_of_loader is 0xff/, /power-off/],
    'two-paths.mjs': [/linux64: start_kernel after \d+/, /pvh: start_kernel after \d+/, /^ {2}rip {4}0xffffffff81/m],
  }; // biome-ignore format: a table
  it.each(readdirSync(folder).filter((name) => name.endsWith('.mjs')))(
    '%s runs and shows what it says',
    async (name) => {
      const stdout = await example(name);
      expect(shown[name], `${name} has expectations`).toBeDefined();
      for (const pattern of shown[name]) expect(stdout).toMatch(pattern);
    },
  );

  it('kernel-tests is a project whose tests pass, the first time and against its own baseline', async () => {
    const project = join(scratch(), 'kernel-tests');
    cpSync(join(folder, 'kernel-tests'), project, { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));
    const tests = join(project, 'boot.test.js');
    const entry = join(root, 'src/vitest.ts');
    writeFileSync(tests, readFileSync(tests, 'utf8').replace("from 'zeropage/vitest'", `from '${entry}'`));
    const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--root', project];
    for (const round of [1, 2]) {
      const { stdout } = await run(process.execPath, vitest, {
        cwd: project,
        env: { ...process.env, CI: '', NO_COLOR: '1' },
      });
      expect(stdout, `round ${round}`).toMatch(/Tests {2}\d+ passed \(\d+\)/);
      expect(existsSync(join(project, 'baseline', 'index.json'))).toBe(true);
    }
  });
});
