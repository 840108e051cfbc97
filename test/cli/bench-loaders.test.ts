/** `bench loaders` measures; these tests look at what it counts and how it answers, never at a time. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratch, zeropage } from './run.ts';

type Row = {
  path: string;
  milliseconds: Record<string, number | undefined>;
  placeToCopy: number;
  bytesWritten: number;
  framesTouched: number;
  instructionsToStartKernel?: number;
};

/** The tables' lines are not Latin-1, which the harness reads. */
const utf8 = (text: string) => Buffer.from(text, 'latin1').toString();

describe('bench loaders', { concurrent: true }, () => {
  it('measures the built-in guest through every path, in a table and as JSON', async () => {
    const json = join(scratch(), 'loaders.json');
    const { code, stdout } = await zeropage(['bench', 'loaders', '--rounds', '2', '--json', json]);
    expect(code).toBe(0);
    const document = JSON.parse(readFileSync(json, 'utf8')) as { schema: number; rounds: number; loaders: Row[] };
    expect(document).toMatchObject({ schema: 1, rounds: 2 });
    const paths = document.loaders.map(({ path }) => path);
    const xen = ['xen-pv, identity', 'xen-pv, scrambled'];
    expect(paths).toEqual(['lguest', 'linux32', 'linux64', 'pvh', ...xen, 'multiboot']);
    for (const row of document.loaders) {
      expect(utf8(stdout)).toContain(`│ ${row.path} `);
      for (const [step, ms] of Object.entries(row.milliseconds)) {
        expect(ms, `${row.path}, ${step}`).toBeGreaterThanOrEqual(0);
      }
      expect(row.placeToCopy).toBeGreaterThan(0);
      expect(row.framesTouched).toBeGreaterThanOrEqual(row.bytesWritten / 4096);
      expect(row.instructionsToStartKernel).toBeGreaterThan(10_000);
    }
    const row = (path: string) => document.loaders.find((each) => each.path === path) as Row;
    // The host unpacks for pvh and xen-pv, so their guests have less to do and their loaders more to place.
    expect(row('linux64').milliseconds.unpack).toBeUndefined();
    expect(row('pvh').milliseconds.unpack).toBeGreaterThan(0);
    expect(row('pvh').instructionsToStartKernel).toBeLessThan(row('linux64').instructionsToStartKernel as number);
    expect(row('pvh').bytesWritten).toBeGreaterThan(row('linux64').bytesWritten);
    // The order of frames is nothing that a guest's own instructions depend on.
    const [identity, scrambled] = xen.map(row);
    expect(scrambled.instructionsToStartKernel).toBe(identity.instructionsToStartKernel);
    expect(scrambled.bytesWritten).toBe(identity.bytesWritten);
  });

  it('takes some of the paths, and does not run the guest when it is not wanted', async () => {
    const args = ['bench', 'loaders', 'tiny', '--via', 'pvh,linux64', '--rounds', '1', '--no-guest'];
    const { code, stdout } = await zeropage(args);
    expect(code).toBe(0);
    expect(utf8(stdout)).toMatch(/│ pvh .* - │\n│ linux64 .* - │\n/);
    expect(stdout).not.toContain('multiboot');
  });

  it.each([
    [['--via', 'flat32'], 2, /there is no loader for "flat32"[\s\S]*there are: lguest/],
    [['--rounds', '0'], 2, /--rounds/],
    [['/nowhere'], 3, /cannot open \/nowhere/],
    [['package.json'], 3, /package.json supports no entry path/],
    [['--memory', '1M'], 3, /1 MiB of memory cannot be built/],
  ] as const)('%j ends with %i and says why', async (args, expected, words) => {
    const { code, stderr, stdout } = await zeropage(['bench', 'loaders', '--no-guest', '--rounds', '1', ...args]);
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(stderr).toMatch(words);
  });
});
