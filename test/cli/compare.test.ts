import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scratch, zeropage } from './run.ts';

describe('the command line of compare', { concurrent: true, timeout: 90_000 }, () => {
  it('finds nothing in the clean guest, and says through which paths', async () => {
    const { code, stdout, stderr } = await zeropage(['compare', '--quiet']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const via of ['lguest', 'linux32', 'linux64', 'pvh', 'xen-pv'])
      expect(stdout).toMatch(new RegExp(`^  ${via} `, 'm'));
    expect(stdout).toContain('No differences but those that have a reason.');
  });

  it('tells a planted bug in words, most important first, with what shows it', async () => {
    const args = ['compare', 'tiny', '--via', 'linux64,xen-pv', '--cmdline', 'plant=cr4-shadow'];
    const { code, stdout } = await zeropage(args);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /1\. arrival: xen-pv ends badly[\s\S]*2\. invariant: .*CR4[\s\S]*function: xen-pv does not run cr4_init_shadow/,
    );
    expect(stdout).toMatch(/linux64 {2}first called by x86_64_start_kernel\+0x[0-9a-f]+, after [\d,]+ instructions/);
    expect(stdout).not.toContain('\x1b[');
  });

  it('writes JSON, JUnit, SARIF and a baseline, and holds the next run against it', async () => {
    const folder = scratch();
    const at = (name: string) => join(folder, name);
    const made = await zeropage([
      'compare',
      '--via',
      'linux64,pvh',
      '--json',
      '--junit',
      at('a.xml'),
      '--sarif',
      at('a.sarif'),
      '--save',
      at('good/one'),
    ]);
    expect(made.code).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({
      schema: 1,
      meeting: { meeting: 'start_kernel' },
      findings: [],
      exitCode: 0,
    });
    expect(readFileSync(at('a.xml'), 'utf8')).toContain('failures="0"');
    expect(JSON.parse(readFileSync(at('a.sarif'), 'utf8')).runs[0].results).toEqual([]);
    expect(existsSync(at('good/one/index.json'))).toBe(true);
    const same = await zeropage(['compare', '--against', at('good/one')]);
    expect(same.code).toBe(0);
    expect(same.stdout).toContain('No change that reached some of the paths only.');
    const broken = await zeropage([
      'compare',
      '--against',
      at('good/one'),
      '--cmdline',
      'plant=boot-version',
      '--json',
    ]);
    expect(broken.code).toBe(1);
    expect(JSON.parse(broken.stdout).findings[0]).toMatchObject({ kind: 'init mismatch', paths: ['pvh'] });
    const other = await zeropage(['compare', '--against', at('good/one'), '--via', 'xen-pv']);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('has none of these paths');
  });

  it('ends with 4 or 5 only when every path does', async () => {
    const all = await zeropage(['compare', '--via', 'linux64,pvh', '--cmdline', 'panic']);
    expect(all.code).toBe(4);
    expect(all.stdout).toContain('Every path ends badly');
    const limit = await zeropage(['compare', '--via', 'linux64,pvh', '--max-instructions', '1000']);
    expect(limit.code).toBe(5);
  });

  it('ends each run well at the place that --until names', async () => {
    const { code, stdout } = await zeropage(['compare', '--via', 'linux64,xen-pv', '--until', 'setup_arch', '--json']);
    expect(code).toBe(0);
    const { paths } = JSON.parse(stdout) as { paths: { exit: { reason: string } }[] };
    expect(paths.map(({ exit }) => exit.reason)).toEqual(['until', 'until']);
  });

  it('is the same, byte for byte, when it is asked again', async () => {
    const args = ['compare', '--via', 'pvh,xen-pv', '--cmdline', 'plant=bss', '--json'];
    const [once, again] = await Promise.all([zeropage(args), zeropage(args)]);
    expect(again.stdout).toBe(once.stdout);
  });

  it('teaches its options', async () => {
    const { code, stdout } = await zeropage(['compare', '--help']);
    expect(code).toBe(0);
    for (const word of ['--via', '--against', '--save', '--junit', '--sarif', 'init mismatch', 'Exit codes']) {
      expect(stdout).toContain(word);
    }
  });

  it.each([
    [['--via', 'pvh,nowhere'], 2, /there is no entry path "nowhere"/],
    [['--via', 'auto'], 2, /there is no entry path "auto"/],
    [['--via', ','], 2, /--via names no path/],
    [['--cmdline', 'a', '--append', 'b'], 2, /two command lines/],
    [['--against', '/nowhere'], 3, /\/nowhere holds no baseline/],
    [['--junit', '/nowhere/a.xml'], 2, /cannot be written/],
    [['--waypoint', 'no such'], 2, /neither a symbol nor an address/],
    [['--waypoint', 'no_such_symbol'], 3, /there is no symbol "no_such_symbol"/],
    [['guests/images/hello64.bin'], 2, /hello64.bin/],
    [['--timeout', 'soon'], 2, /--timeout/],
  ] as const)('%j ends with %i and says why', async (args, expected, words) => {
    const { code, stderr, stdout } = await zeropage(['compare', ...args]);
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(stderr).toMatch(words);
  });

  it('refuses a file as a baseline folder before it runs anything', async () => {
    const file = join(scratch(), 'file');
    writeFileSync(file, '');
    const { code, stderr } = await zeropage(['compare', '--save', file]);
    expect(code).toBe(2);
    expect(stderr).toContain('is no folder');
    mkdirSync(`${file}.d`);
  });
});
