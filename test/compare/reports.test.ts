/** Forms in which findings leave: JUnit, SARIF, a baseline's files. Each is read back by a reader that is not ours, or by
 * what its standard says. */
import { describe, expect, it } from 'vitest';
import { comparisonText } from '../../src/cli/compare-text.ts';
import { BaselineError, baselineFiles, readBaseline } from '../../src/compare/baseline.ts';
import { changesSince } from '../../src/compare/changes.ts';
import { compareRecords } from '../../src/compare/compare.ts';
import { FINDING_KINDS, type Finding } from '../../src/compare/findings.ts';
import { junitXml } from '../../src/compare/junit.ts';
import { sarifJson } from '../../src/compare/sarif.ts';
import { functionRun, recordOf, waypoint } from './hand-made.ts';

const finding: Finding = {
  id: 'function/a<b>&"c"/xen-pv',
  kind: 'function',
  paths: ['xen-pv'],
  subject: 'a<b>&"c"',
  title: 'xen-pv does not run a<b>&"c"\u0001 before start_kernel',
  waypoint: 'start_kernel',
  evidence: [{ path: 'linux64', text: "first called by x'y ]]>", at: 12_345 }],
};
const judged = {
  kernel: 'my kernel#1?.bin',
  paths: ['linux64', 'xen-pv'],
  findings: [finding],
  notes: [{ ...finding, id: 'note' }],
};

describe('JUnit', () => {
  const xml = junitXml(judged);

  it('is XML whose tags match, with what is hostile in it escaped', () => {
    const open: string[] = [];
    for (const [, close, name, self] of xml
      .replace(/^<\?.*\?>\n/, '')
      .matchAll(/<(\/?)([a-z]+)(?: [a-z]+="[^"<]*")*(\/?)>/g)) {
      if (close) expect(open.pop()).toBe(name);
      else if (!self) open.push(name);
    }
    expect(open).toEqual([]);
    expect(xml).not.toContain('\u0001');
    expect(xml.replaceAll(/<[^<>]*>/g, '')).not.toMatch(/<|&(?!amp;|lt;|gt;|quot;|#\d+;)/);
    expect(xml).toContain('a&lt;b&gt;&amp;&quot;c&quot;');
  });

  it('counts one failure for a finding, and a passing case for every path and kind without one', () => {
    const cases = xml.match(/<testcase /g)?.length;
    expect(cases).toBe(1 + 2 * FINDING_KINDS.length - 1);
    expect(xml).toContain(`<testsuites tests="${cases}" failures="1">`);
    expect(xml.match(/<failure /g)?.length).toBe(1);
    expect(xml).toContain("linux64: first called by x'y ]]&gt;, after 12,345 instructions");
  });
});

describe('a terminal', () => {
  const verdict = { schema: 1, kernel: 'k', meeting: { meeting: 'start_kernel', reached: [], missing: [], pairs: [] }, paths: [], notes: [], exitCode: 1 } as const; // biome-ignore format: one line
  const many = (kind: Finding['kind'], count: number) =>
    Array.from({ length: count }, (_, i) => ({ ...finding, kind, id: `${kind}/${i}`, title: `${kind} number ${i}` }));

  it('shows the first findings of each kind, and how many there are', () => {
    const findings = [...many('function', 10_000), ...many('state', 3)];
    const text = comparisonText({ ...verdict, findings } as never, 120, false);
    expect(text.split('\n').length).toBeLessThan(400);
    expect(text).toContain('10003. state: state number 2\n');
    expect(text).toContain('... and 9,950 of kind function that are not shown (--json and --junit have them all)\n');
    expect(text).toContain('\n10,003 findings.\n');
  });

  it('is told in a moment that ten thousand steps have another order', () => {
    const functions = Array.from({ length: 10_000 }, (_, i) => functionRun(`step_${i}`, i));
    const backwards = [...functions].reverse().map((run, i) => ({ ...run, first: i }));
    const [a, b] = [functions, backwards].map((each, i) =>
      recordOf(['linux64', 'pvh'][i], {
        functions: each,
        waypoints: [waypoint('entry', 0), waypoint('start_kernel', 10_001), waypoint('end', 10_002)],
      }),
    );
    const found = compareRecords([a, b]).findings.filter(({ kind }) => kind === 'order');
    expect(found.map(({ id, title }) => `${id}: ${title}`)).toEqual([
      expect.stringMatching(/^order\/many\/pvh: pvh runs 9,999 steps in other places than linux64 before start_kernel/),
    ]);
  }, 10_000);
});

describe('SARIF', () => {
  const log = JSON.parse(sarifJson(judged, '1.2.3'));
  const [run] = log.runs;

  it('has what 2.1.0 requires of a log, a run and a result', () => {
    expect(log.version).toBe('2.1.0');
    expect(run.tool.driver).toMatchObject({ name: 'zeropage', version: '1.2.3' });
    for (const result of run.results) {
      expect(run.tool.driver.rules[result.ruleIndex].id).toBe(result.ruleId);
      expect(['error', 'note']).toContain(result.level);
      expect(result.message.text.length).toBeGreaterThan(0);
      const { uri } = result.locations[0].physicalLocation.artifactLocation;
      expect(uri).toMatch(/^[A-Za-z0-9\-._~:/@!$&'()*+,;=%]+$/);
      expect(decodeURIComponent(uri)).toBe(judged.kernel);
      expect(Object.values(result.partialFingerprints).every((value) => typeof value === 'string')).toBe(true);
    }
  });

  it('gives findings as errors and notes as notes, with ids that stay the same', () => {
    expect(run.results.map((result: { level: string }) => result.level)).toEqual(['error', 'note']);
    expect(run.results[0].partialFingerprints['zeropageFinding/v1']).toBe(finding.id);
    expect(new Set(run.tool.driver.rules.map(({ id }: { id: string }) => id)).size).toBe(FINDING_KINDS.length);
  });
});

describe('a baseline', () => {
  const record = (via: string) =>
    recordOf(via, { functions: [functionRun('clear_bss', 5), functionRun('start_kernel', 1000)] });
  const runs = { records: [record('linux64'), record('xen-pv')], known: () => new Set(['start_kernel', 'clear_bss']) };
  const files = () => baselineFiles(runs, '1.0.0');
  const read = (changed: Map<string, string>) => readBaseline((file) => changed.get(file), 'good');

  it('is read as it was written, with the index written last', () => {
    const back = read(files());
    expect(back.records).toEqual(runs.records.map((each) => JSON.parse(JSON.stringify(each))));
    expect([...(back.known('xen-pv') ?? [])]).toEqual(['clear_bss', 'start_kernel']);
    expect([...files().keys()].at(-1)).toBe('index.json');
    expect(changesSince(back, runs)).toMatchObject({ findings: [], notes: [] });
  });

  it('is the same, byte for byte, for the same runs', () => {
    expect([...files()]).toEqual([...files()]);
  });

  it.each([
    ['no index', (all: Map<string, string>) => all.delete('index.json'), /holds no baseline/],
    ['another schema', (all: Map<string, string>) => all.set('index.json', (all.get('index.json') ?? '').replace('"schema": 1', '"schema": 99')), /another version/],
    ['a missing record', (all: Map<string, string>) => all.delete('xen-pv.json'), /xen-pv\.json/],
    ['a record cut short', (all: Map<string, string>) => all.set('xen-pv.json', (all.get('xen-pv.json') ?? '').slice(0, 200)), /damaged/],
    ['a record of another path', (all: Map<string, string>) => all.set('xen-pv.json', all.get('linux64.json') ?? ''), /no record of a run through xen-pv/],
    ['a file outside the folder', (all: Map<string, string>) => all.set('index.json', (all.get('index.json') ?? '').replace('xen-pv.json', '../../etc/passwd')), /list of paths/],
    ['a list of nothing', (all: Map<string, string>) => all.set('index.json', '{"schema":1,"recordSchema":1,"paths":[null]}'), /list of paths/],
    ['no JSON object', (all: Map<string, string>) => all.set('index.json', '7'), /no JSON object/],
    ['missing function names', (all: Map<string, string>) => { for (const file of all.keys()) if (file.startsWith('functions')) all.delete(file); }, /functions-/],
  ] as const)('with %s is refused in words', (_, damage, words) => {
    const all = files();
    damage(all);
    expect(() => read(all)).toThrow(BaselineError);
    expect(() => read(all)).toThrow(words);
  }); // biome-ignore format: a table

  it('of other inputs or other paths is compared as far as it goes, and says so', () => {
    const now = {
      ...runs,
      records: [{ ...record('linux64'), input: { cmdline: 'other', memory: 1, initrdBytes: 0 } }, record('pvh')],
    };
    expect(changesSince(runs, now).notes.map(({ id }) => id)).toEqual([
      'init-mismatch/input/linux64',
      'init-mismatch/not-compared/xen-pv',
      'init-mismatch/not-compared/pvh',
    ]);
  });
});
