import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildCore, planHandlers } from '../../src/engine/emit/core.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
/** In the checkout, where the built command finds the guests as it does from dist. */
const dist = mkdtempSync(join(root, '.dist-test-'));

describe('the build', { timeout: 120_000 }, () => {
  beforeAll(async () => {
    await run(process.execPath, ['--import', 'tsx', join(root, 'scripts/build.ts'), dist], { cwd: root });
  }, 120_000);
  afterAll(() => rmSync(dist, { recursive: true, force: true }));

  it('leaves nothing beside what it built', () => {
    const beside = readdirSync(root).filter((name) => name.startsWith(`.${dist.slice(root.length)}`));
    expect(beside).toEqual([]);
  });

  it('holds the same core, and the same numbers of handlers, as the sources make', async () => {
    const built = (await import(pathToFileURL(join(dist, 'engine/core-bytes.js')).href)) as {
      coreBytes(): Uint8Array;
      coreHandlers(mode: 32 | 64): unknown;
    };
    expect(Buffer.compare(built.coreBytes(), buildCore())).toBe(0);
    expect(built.coreHandlers(64)).toEqual(planHandlers(64).handlers);
    expect(built.coreHandlers(32)).toEqual(planHandlers(32).handlers);
  });

  it('makes the same core every time', () => {
    expect(Buffer.compare(buildCore(), buildCore())).toBe(0);
  });

  it('boots the built-in guest, and never loads the emitter', async () => {
    const main = join(dist, 'cli/main.js');
    expect(statSync(main).mode & 0o111, 'may be executed').toBe(0o111);
    rmSync(join(dist, 'engine/emit'), { recursive: true });
    const { stdout } = await run(main, ['boot', '--quiet']);
    expect(stdout).toMatch(/verdict: success\n$/);
  });

  it('brings types for the library', () => {
    expect(statSync(join(dist, 'index.d.ts')).size).toBeGreaterThan(500);
  });
});
