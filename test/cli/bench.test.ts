import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  checkCheckout,
  chooseEmulators,
  chooseImages,
  newerThanBuilt,
  PEERS,
  readImages,
} from '../../src/cli/bench-peers.ts';
import {
  type Figures,
  geometricMean,
  judge,
  type Measured,
  reportText,
  round,
  speedRatio,
} from '../../src/cli/bench-report.ts';
import { UsageError } from '../../src/cli/options.ts';
import { PLAIN } from '../../src/cli/text-table.ts';
import { COMMAND, scratch, zeropage } from './run.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const guests = join(root, 'bench/peers/guests');

/** What was thrown, as the user reads it. */
function complaint(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return 'nothing was thrown';
}

describe('the command line of bench', { concurrent: true }, () => {
  it('without a word lists what there is, and only that', async () => {
    const { code, stdout } = await zeropage(['bench']);
    expect(code).toBe(0);
    expect(stdout).toContain('zeropage bench engine');
    expect(stdout).toContain('zeropage bench loaders');
  });

  it('teaches bench engine: options, emulators, how to get them', async () => {
    const { code, stdout, stderr } = await zeropage(['bench', 'engine', '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const options = ['--only', '--emulators', '--reps', '--quick', '--check-only', '--json', '--md'];
    const ways = ['apt-get install qemu-system-x86', 'sh bench/peers/setup-v86.sh'];
    for (const word of [...options, ...ways, ...PEERS.map(({ about }) => about)]) expect(stdout).toContain(word);
  });

  it.each([
    [['bench', 'loader'], /there is no benchmark "loader"[\s\S]*there is: boot, loaders, engine/],
    [['bench', 'engine', '--rep', '1'], /Did you mean --reps\?[\s\S]*zeropage bench engine --help/],
    [['bench', 'engine', '--json', '/nowhere/x'], /\/nowhere\/x cannot be written/],
  ])('%j is wrong usage, and says why', async (args, why) => {
    const { code, stdout, stderr } = await zeropage(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(why);
  });
});

const isBuilt = existsSync(join(root, 'dist/cli/main.js'));

describe.skipIf(!isBuilt)(
  'bench engine on the built program (skipped when there is no dist)',
  { timeout: 60_000 },
  () => {
    it('finds the checksums right', async () => {
      const json = join(scratch(), 'bench.json');
      const args = ['--only', 'sieve', '--emulators', 'zeropage', '--check-only', '--json', json];
      const { code, stdout, stderr } = await zeropage(['bench', 'engine', ...args]);
      expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('2 images, 0 wrong') });
      expect(stdout).toContain('- zeropage: 2 of 2 images ran with the right checksum');
      expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({ schema: 1, wrong: 0, emulators: ['zeropage'] });
    });

    it('is ended by a signal in the middle, without a report', async () => {
      const args = 'bench engine --only sieve --emulators zeropage';
      const child = spawn('sh', ['-c', `exec ${COMMAND} ${args}`], { stdio: ['ignore', 'pipe', 'pipe'] });
      let stdout = '';
      child.stdout.on('data', (part) => {
        stdout += part;
      });
      child.stderr.on('data', (part) => {
        if (String(part).includes('checksums')) child.kill('SIGTERM');
      });
      const code = await new Promise((resolve) => child.on('close', resolve));
      expect({ code, stdout }).toEqual({ code: 143, stdout: '' });
    });
  },
);

describe('what bench engine needs', () => {
  it('is not in an installed package, and the complaint says where it is', () => {
    expect(complaint(() => checkCheckout(scratch()))).toMatch(
      /not part of the installed package[\s\S]*checkout[\s\S]*clone the repository/,
    );
  });

  it('is the built program: without one it says how to build', () => {
    const folder = scratch();
    mkdirSync(join(folder, 'bench/peers'), { recursive: true });
    writeFileSync(join(folder, 'bench/peers/bench.mjs'), '');
    expect(complaint(() => checkCheckout(folder))).toMatch(/not built[\s\S]*npm run build/);
  });

  it('is there in this checkout', () => {
    if (isBuilt) expect(() => checkCheckout(root)).not.toThrow();
    for (const name of ['bench.mjs', 'v86-run.mjs', 'setup-v86.sh'])
      expect(existsSync(join(root, 'bench/peers', name))).toBe(true);
  });

  it('notices sources that are newer than what was built', () => {
    const folder = scratch();
    for (const path of ['dist/cli', 'src/cli']) mkdirSync(join(folder, path), { recursive: true });
    for (const file of ['dist/cli/main.js', 'src/a.ts', 'src/cli/b.ts']) {
      writeFileSync(join(folder, file), '');
      utimesSync(join(folder, file), 1000, 1000);
    }
    expect(newerThanBuilt(folder)).toBeUndefined();
    utimesSync(join(folder, 'src/cli/b.ts'), 2000, 2000);
    expect(newerThanBuilt(folder)).toBe(join('cli', 'b.ts'));
  });
});

describe('who takes part', () => {
  const all = { qemu: true, v86: true };
  const none = { qemu: false, v86: false };

  it.each([
    // asked for, installed, who runs
    [undefined, all, 'qemu icount v86 v86i zeropage'],
    [undefined, { qemu: true, v86: false }, 'qemu icount zeropage'],
    [undefined, none, 'zeropage'],
    ['v86i,icount', all, 'icount v86i zeropage'],
    ['zeropage', none, 'zeropage'],
    ['qemu, zeropage', { qemu: true, v86: false }, 'qemu zeropage'],
  ])('asked for %j with %j installed: %s', (asked, installed, who) => {
    expect(chooseEmulators(asked, installed).emulators.join(' ')).toBe(who);
  });

  it('names what is missing once, with the way to get it', () => {
    expect(chooseEmulators(undefined, none).missing).toEqual([
      'without qemu and icount: qemu is not installed; apt-get install qemu-system-x86 (another binary: QEMU=/path/to/qemu-system-x86_64)',
      'without v86 and v86i: v86 is not installed; sh bench/peers/setup-v86.sh',
    ]);
    expect(chooseEmulators('qemu', all).missing).toEqual([]);
  });

  it('refuses who was asked for and is not there', () => {
    expect(complaint(() => chooseEmulators('v86i,icount', { qemu: true, v86: false }))).toMatch(
      /^v86i cannot be measured here[\s\S]*not installed: v86[\s\S]*setup-v86\.sh/,
    );
    expect(complaint(() => chooseEmulators('bochs', all))).toMatch(/"bochs"[\s\S]*qemu, icount, v86, v86i, zeropage/);
  });

  it('are emulators that the runner knows', async () => {
    const path = '../../bench/peers/emulators.mjs';
    const { EMULATORS } = (await import(path)) as { EMULATORS: object };
    expect(Object.keys(EMULATORS)).toEqual([...PEERS.map(({ name }) => name), 'zeropage']);
  });
});

describe('the guest images', () => {
  const sums = readFileSync(join(guests, 'SHA256SUMS'), 'utf8').trim().split('\n');
  const images = readImages(root);

  it.each(sums.map((line) => line.split(/\s+/)))('%s is the sum of %s', (sum, file) => {
    expect(
      createHash('sha256')
        .update(readFileSync(join(guests, 'bin', file)))
        .digest('hex'),
    ).toBe(sum);
  });

  it('are those of the workloads', () => {
    const files = images.map(({ name, bits }) => `${name}-${bits}.elf`);
    expect(files.sort()).toEqual(sums.map((line) => line.split(/\s+/)[1]).sort());
  });

  it('are chosen by workload, in both widths where there are two', () => {
    expect(chooseImages('fib, mandel87', images)).toEqual([
      { name: 'fib', bits: 32 },
      { name: 'mandel87', bits: 32 },
      { name: 'fib', bits: 64 },
    ]);
    expect(chooseImages(undefined, images)).toEqual(images);
    expect(complaint(() => chooseImages('fib,sive', images))).toMatch(/no workload "sive"[\s\S]*sieve, crc32/);
  });
});

const us = (time: number): Figures => ({ ok: true, us: time, mips: 100 / time, spread: 0.02, pairs: 3, cleanPairs: 3 });
const lack = (reason: string): Figures => ({ ok: false, reason });
const images = [
  { name: 'sieve', bits: 32 }, { name: 'fib', bits: 32 }, { name: 'mandel', bits: 32 }, { name: 'mandel87', bits: 32 },
  { name: 'sieve', bits: 64 }, { name: 'mandelp', bits: 64 },
]; // biome-ignore format: a table

/** Times of icount, v86i and ours for each of the images. */
function measured(times: readonly (readonly [Figures, Figures, Figures])[], more: Partial<Measured> = {}): Measured {
  return {
    machine: { cpu: 'Some CPU', cores: 2, system: 'Linux 6.1', date: '2026-01-01', loadBefore: 0, loadAfter: 1 },
    versions: { node: 'v20.0.0' },
    emulators: ['icount', 'v86i', 'zeropage'],
    checkOnly: false,
    wrong: 0,
    results: times.map(([icount, v86i, zeropage], i) => ({ ...images[i], emulators: { icount, v86i, zeropage } })),
    startup: { ok: true, starts: 10, verdict: 400, end: 420, node: 61.2 },
    ...more,
  };
}

const NO_64 = lack('v86 has no 64-bit mode');
const full = measured([
  [us(10), us(80), us(20)], // sieve-32: 0.5 times icount, 4 times v86i
  [us(4), us(200), us(20)], // fib-32: 0.2, 10
  [us(1), us(1), us(1000)], // mandel is slow, and counts for no target
  [us(1), us(1), us(1000)],
  [us(30), NO_64, us(60)], // sieve-64: 0.5
  [us(1), NO_64, us(1000)],
]);

describe('the ratios', () => {
  it.each([
    [[], undefined],
    [[7], 7],
    [[2, 0.5], 1],
    [[1, 10, 100], 10],
    [[1e-300, 1e300, 1e-300, 1e300, 1e300, 1e300], 1e100], // a product would have overflowed
  ])('the geometric mean of %j is %s', (values, mean) => {
    const found = geometricMean(values);
    if (mean === undefined) expect(found).toBeUndefined();
    else expect((found as number) / mean).toBeCloseTo(1, 9);
  });

  it('are the time of the other over ours, where both have one', () => {
    const [sieve32, , , , sieve64] = full.results;
    expect(speedRatio(sieve32, 'icount')).toBe(0.5);
    expect(speedRatio(sieve32, 'v86i')).toBe(4);
    expect(speedRatio(sieve64, 'v86i')).toBeUndefined();
    expect(speedRatio(sieve32, 'qemu')).toBeUndefined();
  });

  it('become the targets: v86i over 32-bit images, icount over all, neither over mandel*', () => {
    const [v86i, icount, startup] = judge(full, images);
    expect(v86i).toMatchObject({ target: 5, met: true, remark: '2 of 2 images' });
    expect(v86i.value).toBeCloseTo(Math.sqrt(40), 12);
    expect(icount).toMatchObject({ target: 0.3, met: true, remark: '3 of 3 images' });
    expect(icount.value).toBeCloseTo(Math.cbrt(0.5 * 0.2 * 0.5), 12);
    expect(startup).toMatchObject({ value: 400, target: 400, met: true });
    expect(startup.remark).toBe('median of 10; node -e 0 takes 61.2 ms');
  });

  it('above a target have met it, and below it they have not', () => {
    const at = (theirs: number, ours: number) => judge(measured([[us(0.301), us(theirs), us(ours)]]), images);
    expect(at(5.01, 1).map(({ met }) => met)).toEqual([true, true, true]);
    expect(at(4.99, 1).map(({ met }) => met)).toEqual([false, true, true]);
    expect(at(100, 1.01).map(({ met }) => met)).toEqual([true, false, true]);
  });

  it('say over how many images of the target they go', () => {
    const some = measured([[us(1), us(10), us(1)], [us(1), us(10), lack('exit 6 before done')]]); // biome-ignore format: pairs
    expect(judge(some, images).map(({ remark }) => remark)).toEqual([
      '1 of 2 images',
      '1 of 3 images',
      expect.any(String),
    ]);
  });

  it('are n/a with a reason where nothing was measured', () => {
    const alone = { emulators: ['icount', 'zeropage'], startup: { ...full.startup, ok: false, reason: 'no verdict' } };
    const run = measured([[lack('x'), lack('x'), us(1)]], alone as Partial<Measured>);
    expect(judge(run, images).map(({ value, met, remark }) => [value, met, remark])).toEqual([
      [undefined, undefined, 'v86i did not take part'],
      [undefined, undefined, 'no image ran in both'],
      [undefined, undefined, 'no verdict'],
    ]);
  });

  it.each([[3621.999, '3622'], [100, '100'], [99.94, '99.9'], [0.6034, '0.603'], [34.23, '34.2']])(
    'print %d as %s', (value, text) => expect(round(value)).toBe(text)); // biome-ignore format: a table
});

describe('the report', () => {
  const text = reportText(full, images, PLAIN);
  const cells = (row: string) =>
    text
      .split('\n')
      .find((line) => line.startsWith(`| ${row} `))
      ?.split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());

  it('has one row for each image, and the means below', () => {
    expect(cells('image')).toEqual(
      ['image', 'icount µs', 'v86i µs', 'zeropage µs', '× icount', '× v86i', 'our MIPS'], // biome-ignore format: a row
    );
    expect(cells('sieve-32')).toEqual(['sieve-32', '10.0 ±2%', '80.0 ±2%', '20.0 ±2%', '0.500', '4.00', '5']);
    expect(cells('sieve-64')).toEqual(['sieve-64', '30.0 ±2%', 'n/a', '60.0 ±2%', '0.500', 'n/a', '2']);
    expect(cells('geometric mean')?.[5]).toBe(round((40 * 0.001 * 0.001) ** (1 / 4)));
  });

  it('says what did not run, and for which images', () => {
    expect(text).toContain('- v86i: v86 has no 64-bit mode (all 64-bit images)');
    const one = measured([[us(1), us(1), us(1)], [us(1), us(1), lack('exit 6 before done')]]); // biome-ignore format: pairs
    expect(reportText(one, images, PLAIN)).toContain('- zeropage: exit 6 before done (fib-32)');
  });

  it('ends with the targets', () => {
    expect(text.trimEnd().split('\n').slice(-4)).toEqual([
      'Targets:',
      '- speed as a multiple of v86i, 32-bit images but mandel*: 6.32× (2 of 2 images); the target is at least 5×: met',
      '- speed as a multiple of icount, all images but mandel*: 0.368× (3 of 3 images); the target is at least 0.3×: met',
      "- process start to the tiny guest's verdict: 400 ms (median of 10; node -e 0 takes 61.2 ms); the target is at most 400 ms: met",
    ]);
  });

  it('marks figures without an undisturbed pair', () => {
    const noisy = { ...us(1234), cleanPairs: 0 };
    const disturbed = reportText(measured([[us(1), us(1), noisy]]), images, PLAIN);
    expect(disturbed).toContain(' ~1234 ±2% |');
    expect(disturbed).toContain('~ was disturbed');
    expect(text).not.toContain('~');
  });

  it('without times says how many checksums were right, and judges nothing', () => {
    const ok = { ok: true };
    const checked = measured([[ok, NO_64, ok], [ok, ok, lack('checksum 0')]], { checkOnly: true, wrong: 1 }); // biome-ignore format: pairs
    const lines = reportText(checked, images, PLAIN).split('\n');
    expect(lines).toContain('- icount: 2 of 2 images ran with the right checksum');
    expect(lines).toContain('- zeropage: 1 of 2 images ran with the right checksum');
    expect(lines).toContain('1 wrong checksums: the figures mean nothing before that is clear.');
    expect(lines).not.toContain('Targets:');
  });
});
