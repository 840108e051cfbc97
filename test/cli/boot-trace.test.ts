/** `boot --trace` and `--waypoint`: the run that it is without, and files that are alike every time. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratch, zeropage } from './run.ts';

const json = (file: string) => JSON.parse(readFileSync(file, 'utf8'));
const ENDINGS = ['json', 'perfetto.json', 'ftrace.txt', 'trace.dat', 'drcov', 'lcov'];

describe('boot --trace', { concurrent: true, timeout: 60_000 }, () => {
  it.each(['linux64', 'xen-pv'])('writes every format alike in two runs through %s', async (via) => {
    const folder = scratch();
    const runs = ['a', 'b'].map((name) => ENDINGS.flatMap((ending) => ['--trace', join(folder, `${name}.${ending}`)]));
    const [one, two] = await Promise.all(runs.map((traces) => zeropage(['boot', 'tiny', '--via', via, ...traces])));
    expect([one.code, two.code]).toEqual([0, 0]);
    for (const ending of ENDINGS) {
      const [a, b] = ['a', 'b'].map((name) => readFileSync(join(folder, `${name}.${ending}`)));
      expect(a.equals(b), ending).toBe(true);
    }
    expect(readdirSync(folder)).toHaveLength(2 * ENDINGS.length);
    const record = json(join(folder, 'a.json'));
    expect(record).toMatchObject({ schema: 1, via, exit: { reason: 'power-off', code: 0 } });
    const count = (value: number) => value.toLocaleString('en');
    const { waypoints, functions, events } = record;
    const said = `trace of ${waypoints.length} waypoints, ${count(functions.length)} functions, ${count(events.length)} events`;
    expect(one.stderr).toContain(said);
    expect(readFileSync(join(folder, 'a.lcov'), 'utf8')).toContain(`\nFNH:${functions.length}\n`);
    const lines = readFileSync(join(folder, 'a.ftrace.txt'), 'utf8');
    expect(lines).toContain('console: verdict: success');
    expect(lines).toMatch(/ setup_arch <-start_kernel$/m);
  });

  it.each([
    [['--via', 'pvh']],
    [['--via', 'pvh', '--max-instructions', '70k']],
    [['--via', 'pvh', '--until', 'setup_arch']],
    [['--via', 'xen-pv', '--expect', 'Memory:']],
    [['--via', 'pvh', '--cmdline', 'panic']],
  ])('changes nothing of %j but the files', async (args) => {
    const folder = scratch();
    const files = [join(folder, 'plain'), join(folder, 'traced')];
    const trace = ['--trace', join(folder, 'a.json')];
    const [plain, traced] = await Promise.all([
      zeropage(['boot', ...args, '--quiet', '--report', files[0]]),
      zeropage(['boot', ...args, '--quiet', '--report', files[1], ...trace]),
    ]);
    const { code, stdout } = plain;
    expect(traced).toMatchObject({ code, stdout });
    const [before, after] = files.map(json);
    expect(before.waypoints).toEqual([]);
    expect(after.waypoints.at(-1)).toMatchObject({ name: 'end', at: before.instructions });
    for (const report of [before, after]) {
      for (const part of ['host', 'waypoints']) delete report[part];
      delete report.crash?.lastBlocks; // where blocks end is the engine's affair, and events end them
    }
    expect(after).toEqual(before);
  });

  it('is written whole on Ctrl-C', async () => {
    const [signal, code] = ['SIGINT', 130] as const;
    const folder = scratch();
    let sent = false;
    const traces = ENDINGS.flatMap((ending) => ['--trace', join(folder, `a.${ending}`)]);
    const finished = await zeropage(['boot', 'tiny', '--via', 'pvh', '--cmdline', 'spin', '--quiet', ...traces], {
      during: (child, stdout) => {
        if (sent || !stdout().includes('initrd')) return;
        sent = true;
        child.kill(signal);
      },
    });
    expect(finished.code).toBe(code);
    expect(json(join(folder, 'a.json')).exit).toMatchObject({ reason: 'interrupted', code });
    expect(json(join(folder, 'a.perfetto.json')).traceEvents.length).toBeGreaterThan(100);
    expect(readFileSync(join(folder, 'a.lcov'), 'utf8')).toMatch(/end_of_record\n$/);
    expect(readdirSync(folder)).toHaveLength(ENDINGS.length);
  });

  it('lets a guest take its input from a pipe to the end', async () => {
    const trace = join(scratch(), 'a.ftrace.txt');
    const args = ['boot', 'tiny', '--via', 'pvh', '--interactive', '--quiet', '--trace', trace];
    expect((await zeropage(args, { input: 'x' })).code).toBe(0);
  });

  it('keeps the state at places that --waypoint names, and says which were not reached', async () => {
    const report = join(scratch(), 'report.json');
    const args = ['--waypoint', 'paging_init', '--waypoint', 'spin_forever', '--report', report];
    const { code, stderr } = await zeropage([
      'boot',
      'tiny',
      '--via',
      'pvh',
      '--waypoint',
      '0xffffffff81000000',
      ...args,
    ]);
    expect(code).toBe(0);
    const { waypoints } = json(report);
    const place = waypoints.find(({ name }: { name: string }) => name === 'paging_init');
    expect(place.state.registers.rip).toMatch(/^0xffffffff81/);
    expect(place.state.paging.kind).toBe('4-level');
    expect(stderr).toMatch(/ startup_64 ([\d,]+), 0xffffffff81000000 \1, /); // at its physical address
    expect(stderr).toMatch(/waypoints: entry 0, .*setup_arch [\d,]+, .*paging_init [\d,]+, .*end [\d,]+\n/);
    expect(stderr).toContain('not reached: spin_forever\n');
  });

  it('refuses a name that says no format, and a place that is not there, before the guest starts', async () => {
    const ending = await zeropage(['boot', 'tiny', '--trace', '/tmp/zeropage-trace.txt']);
    expect(ending).toMatchObject({ code: 2, stdout: '' });
    expect(ending.stderr).toContain('.perfetto.json, .json, .ftrace.txt, .trace.dat, .drcov, .lcov');
    const place = await zeropage(['boot', 'tiny', '--waypoint', 'no_such_place']);
    expect(place).toMatchObject({ code: 3, stdout: '' });
    expect(place.stderr).toMatch(/no symbol "no_such_place"/);
  });
});
