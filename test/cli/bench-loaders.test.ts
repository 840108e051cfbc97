/** `bench loaders` measures; these tests look at what it counts and how it answers, never at a time. */
import { readFileSync, writeFileSync } from 'node:fs';
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
  waypoints: { name: string; instructions: number; virtualTimeNs: number; top: { name: string; part: number }[] }[];
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
    expect(paths).toEqual(['lguest', 'linux32', 'linux64', 'pvh', 'xen-pvh', ...xen, 'multiboot']);
    for (const row of document.loaders) {
      expect(utf8(stdout)).toContain(`│ ${row.path} `);
      for (const [step, ms] of Object.entries(row.milliseconds)) {
        expect(ms, `${row.path}, ${step}`).toBeGreaterThanOrEqual(0);
      }
      expect(row.placeToCopy).toBeGreaterThan(0);
      expect(row.framesTouched).toBeGreaterThanOrEqual(row.bytesWritten / 4096);
      expect(row.instructionsToStartKernel).toBeGreaterThan(10_000);
    }
    for (const { path, waypoints, instructionsToStartKernel } of document.loaders) {
      const counts = waypoints.map(({ instructions }) => instructions);
      expect(counts, path).toEqual([...counts].sort((a, b) => a - b));
      expect(waypoints.at(-1)).toMatchObject({ name: 'start_kernel', instructions: instructionsToStartKernel });
      for (const { top } of waypoints) expect(top.reduce((sum, { part }) => sum + part, 0)).toBeLessThan(1.01);
    }
    // No name of the kernel for what unpacks it, which fills most of the way there.
    const unpacking = document.loaders.find(({ path }) => path === 'linux64')?.waypoints[0].top[0];
    expect(unpacking).toMatchObject({ name: '(no name)' });
    expect(unpacking?.part).toBeGreaterThan(0.9);
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

  it('draws the same as a page that needs nothing but itself', async () => {
    const folder = scratch();
    const [page, json, dear] = ['loaders.html', 'a.json', 'b.json'].map((name) => join(folder, name));
    const args = ['bench', 'loaders', 'tiny', '--via', 'linux64,pvh', '--rounds', '1'];
    expect((await zeropage([...args, '--json', json])).code).toBe(0);
    const document = JSON.parse(readFileSync(json, 'utf8')) as { loaders: Row[] };
    document.loaders[0].waypoints[0].instructions -= 5000;
    writeFileSync(dear, JSON.stringify(document));
    expect((await zeropage([...args, '--html', page, '--against', dear])).code).toBe(1);
    const text = readFileSync(page, 'utf8');
    expect(text).toContain("default-src 'none'");
    expect(text).not.toMatch(/<script|https?:|url\(|src=/);
    expect(text).toMatch(/class="verdict bad">1 dearer</);
    // A bar for each path in each chart, with the waypoints as its parts; far apart, so to two scales.
    const charts = text.split('<h3>').filter((part) => part.includes('class="bars"'));
    expect(charts.map((chart) => chart.slice(0, chart.indexOf('</h3>')))).toEqual([
      ...['Instructions of the guest to start_kernel', 'Milliseconds of the host'],
    ]);
    for (const name of ['startup_64', 'x86_64_start_kernel', 'start_kernel'])
      expect(charts[0]).toContain(`>${name}</text>`);
    const { instructionsToStartKernel } = document.loaders[1];
    expect(charts[0]).toContain(`>${instructionsToStartKernel?.toLocaleString('en')}<`);
    expect(charts[0].split('class="bars"').length - 1).toBe(text.includes('by logarithm') ? 2 : 1);
    const widths = [...charts[0].matchAll(/ x="([\d.]+)%" width="([\d.]+)%"/g)].map(
      ([, x, width]) => Number(x) + Number(width),
    );
    expect(Math.max(...widths)).toBeCloseTo(100, 1);
  });

  it('takes some of the paths, and does not run the guest when it is not wanted', async () => {
    const args = ['bench', 'loaders', 'tiny', '--via', 'pvh,linux64', '--rounds', '1', '--no-guest'];
    const { code, stdout } = await zeropage(args);
    expect(code).toBe(0);
    expect(utf8(stdout)).toMatch(/│ pvh .* - │\n│ linux64 .* - │\n/);
    expect(stdout).not.toContain('multiboot');
  });

  it('holds exact figures against a stored run, and exits with 1 when one has become dearer', async () => {
    const folder = scratch();
    const [json, cheaper] = [join(folder, 'a.json'), join(folder, 'b.json')];
    const args = ['bench', 'loaders', 'tiny', '--via', 'pvh', '--rounds', '1'];
    await zeropage([...args, '--json', json]);
    const document = JSON.parse(readFileSync(json, 'utf8')) as { loaders: Row[] };
    document.loaders[0].bytesWritten -= 8192;
    for (const waypoint of document.loaders[0].waypoints) {
      waypoint.instructions = Math.round(waypoint.instructions * (waypoint.name === 'start_kernel' ? 0.99 : 0.9995));
    }
    writeFileSync(cheaper, JSON.stringify(document));
    const [same, dearer] = await Promise.all([json, cheaper].map((file) => zeropage([...args, '--against', file])));
    expect(same.code).toBe(0);
    expect(same.stdout).toContain(`nothing has become dearer than in ${json}\n`);
    expect(dearer.code).toBe(1);
    const told = utf8(dearer.stdout).match(/^dearer: .*$/gm);
    expect(told).toHaveLength(2);
    expect(told?.[0]).toMatch(/tiny via pvh, bytes written: /);
    expect(told?.[1]).toMatch(/tiny via pvh, instructions to start_kernel: [\d,]+, now [\d,]+ \(\+1\.01 %\)/);
  });

  it.each([
    [['--against', '/nowhere'], 3, /\/nowhere/],
    [['--against', 'package.json'], 2, /package.json is no run of bench loaders[\s\S]*its schema is not 1/],
    [['--against', 'README.md'], 2, /README.md is no run of bench loaders/],
    [['--tolerance', 'none'], 2, /--tolerance is no percentage/],
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
