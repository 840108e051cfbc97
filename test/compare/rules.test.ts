import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { evaluateRules, notesOnRules } from '../../src/compare/rules/evaluate.ts';
import { LINUX_RULES, LINUX_RULES_FILE } from '../../src/compare/rules/linux.ts';
import { parseRules, RulesError } from '../../src/compare/rules/parse.ts';
import { PATHS } from '../../src/compare/rules/paths.ts';
import { fitsFunction, fitsName } from '../../src/compare/rules/pattern.ts';
import { combineRules } from '../../src/compare/rules/rule.ts';
import type { RunRecord } from '../../src/trace/run-record.ts';
import { eventRun, functionRun, recordOf, waypoint } from './hand-made.ts';

const MTRR = 'feature mtrr\n  functions mtrr_*\n  msrs 0x2ff, MTRRcap\n  allowed on pc\n  reason Xen owns it\n';
const SHADOW = 'feature cr4-shadow\nfunctions cr4_init_shadow\nrequired on all before start_kernel\nreason updates start from it'; // biome-ignore format: one line

const rules = (text: string) => parseRules(text, 'my.rules');
const titles = (text: string, record: RunRecord, others: RunRecord[] = []) =>
  evaluateRules(rules(text), record, { others }).map(({ title }) => title);

function errorOf(text: string): RulesError {
  try {
    parseRules(text, 'my.rules');
  } catch (error) {
    if (error instanceof RulesError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

describe('a rules file', () => {
  it('becomes rules', () => {
    const [mtrr, shadow] = rules(`# a comment\n\n${MTRR}\n${SHADOW}\nreason (twice)\nsource head64.c`);
    expect([...(mtrr.allowed as Set<string>)]).toEqual(['linux32', 'linux64', 'pvh', 'xen-pvh', 'multiboot', 'flat32', 'flat64']); // biome-ignore format: one line
    expect(mtrr.evidence.map(({ kind, pattern }) => `${kind} ${pattern.text}`)).toEqual(['functions mtrr_*', 'msrs 0x2ff', 'msrs MTRRcap']); // biome-ignore format: one line
    expect(mtrr.from).toBe('my.rules:3');
    expect(shadow).toMatchObject({ reason: 'updates start from it (twice)', source: 'head64.c', allowed: undefined });
    expect(shadow.required).toMatchObject([{ before: 'start_kernel', text: 'all before start_kernel' }]);
    expect(shadow.required[0].paths.size).toBe(PATHS.length);
  });

  it.each([
    ['all but xen-pv, lguest', PATHS.filter((path) => path !== 'xen-pv' && path !== 'lguest')],
    ['on pv', ['lguest', 'xen-pv', 'xen-pv32']],
    ['on xen but xen-pvh', ['xen-pv', 'xen-pv32']],
    ['linux64 , pvh', ['linux64', 'pvh']],
    ['none', []],
  ])('reads the paths %s', (text, paths) => {
    const [rule] = rules(`feature a\nfunctions b\nallowed ${text}\nreason r`);
    expect([...(rule.allowed ?? [])].sort()).toEqual([...paths].sort());
  });

  it('is what the README shows one to be', () => {
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
    const [example] = /(?<=^```\n)# lines that begin[^`]*/m.exec(readme) ?? [''];
    expect(rules(example).map(({ feature }) => feature)).toEqual(['rtc', 'cr4-shadow']);
  });

  it('may have a byte order mark and the line ends of Windows', () => {
    expect(rules(`\ufeff${MTRR.replaceAll('\n', '\r\n')}`)).toEqual(rules(MTRR));
  });

  it('of several files the later has the last word on a feature', () => {
    const mine = parseRules('feature mtrr\nfunctions f\nallowed on none\nreason mine', 'b.rules');
    expect(combineRules([rules(MTRR + SHADOW), mine]).map(({ feature, reason }) => `${feature}: ${reason}`)).toEqual([
      'mtrr: mine',
      'cr4-shadow: updates start from it',
    ]);
  });
});

describe('a wrong rules file is refused with line, column and remedy', () => {
  const rest = 'allowed on pc\nreason r\n';
  it.each([
    // text, line:column, what, fix
    ['feature a\n  functons b\n', '2:3', '"functons" is no key', 'did you mean functions?'],
    ['feature a\nRequired on all\n', '2:1', '"Required" is no key', 'did you mean required?'],
    ['qqqq\n', '1:1', '"qqqq" is no key', 'a comment begins with #'],
    ['functions b\n', '1:1', 'stands before any feature', 'feature NAME'],
    ['feature\n', '1:8', 'has no name', 'feature cr4-shadow'],
    ['feature a b\n', '1:9', '"a b" is no name', 'feature cr4-shadow'],
    [`feature a\nfunctions b\n${rest}feature a\n`, '5:9', 'there twice', 'join the two'],
    ['feature a\n\tfunctions\n', '2:2', 'has no value', 'write it behind the key'],
    [`feature a\n${rest}`, '1:9', 'nothing that shows it', 'functions cr4_init_shadow'],
    ['feature a\nfunctions b\nreason r', '1:9', 'asks for nothing', 'allowed on pc'],
    ['feature a\nfunctions b\nallowed on pc', '1:9', 'no reason', 'reason ...'],
    ['feature a\nallowed on linux46\n', '2:12', '"linux46" is no entry path', 'did you mean linux64?'],
    ['feature a\nallowed on pc, xenpv\n', '2:16', '"xenpv" is no entry path', 'did you mean xen-pv?'],
    ['feature a\nallowed on all but pvhh\n', '2:20', '"pvhh" is no entry path', 'did you mean pvh?'],
    ['feature a\nallowed pc\nallowed pv\n', '3:1', '"allowed" comes twice', 'join'],
    ['feature a\nrequired on all before\n', '2:17', 'names no waypoint', 'start_kernel'],
    ['feature a\nrequired on all before the end\n', '2:24', '"the end" is no waypoint', 'name one'],
    ['feature a\nfunctions b\nallowed on pc\nrequired on xen-pv\nreason r', '1:9', 'required on xen-pv and not allowed there', 'add xen-pv'],
    ['feature a\nfunctions b,,c\n', '2:13', 'empty', 'remove the comma'],
    ['feature a\nfunctions b c\n', '2:11', '"b c" does not belong', 'commas'],
    ['feature a\nfunctions b # no\n', '2:11', 'does not belong', 'line of its own'],
    ['feature a\nfunctions *\n', '2:11', 'fits everything', 'letters'],
    ['feature a\nfunctions <script>\n', '2:11', 'does not belong', 'letters, digits'],
    ['feature a\nports 0x70, 0x7g\n', '2:13', '"0x7g" is no number', '0x70-0x71'],
    ['feature a\nports 0x71-0x70\n', '2:7', 'ends before it begins', 'swap'],
    ['feature a\nports 0x10000\n', '2:7', 'too high', 'lower'],
    ['feature a\nregisters CR77\n', '2:11', 'does not belong', 'CR0 to CR15'],
    ['feature a\nreason \u0000\n', '2:8', 'character 0x00', 'text file'],
    [`feature a\nreason ${'x'.repeat(3000)}\n`, '2:2001', 'too long', 'second line'],
  ])('%j', (text, place, what, fix) => {
    const error = errorOf(text);
    expect(error.where).toMatch(new RegExp(`^my\\.rules:${place}(?::|$)`));
    expect(error.what).toContain(what);
    expect(error.fix).toContain(fix);
  }); // biome-ignore format: a table

  it('whatever it holds, and never by a stray exception', () => {
    const word = fc.constantFrom(...LINUX_RULES.split(/(\s+|,)/), 'but', 'before', '0x', '-', '*', '\u0000', '\ud800');
    const soup = fc.array(word, { maxLength: 60 }).map((words) => words.join(''));
    const damaged = fc
      .tuple(fc.nat(LINUX_RULES.length), fc.nat(40), fc.string({ maxLength: 5, unit: 'binary' }))
      .map(([at, length, text]) => LINUX_RULES.slice(0, at) + text + LINUX_RULES.slice(at + length));
    let refused = 0;
    fc.assert(
      fc.property(fc.oneof(soup, damaged, fc.string({ unit: 'binary' })), (text) => {
        try {
          for (const record of [run('xen-pv'), run('linux64')]) evaluateRules(parseRules(text, 'x'), record);
        } catch (error) {
          if (!(error instanceof VmError)) throw error;
          refused++;
        }
      }),
      { numRuns: 500, seed: 4 },
    );
    expect(refused).toBeGreaterThan(150);
  });

  it('however large it is, in no time', () => {
    expect(errorOf('x'.repeat(2 << 20)).what).toContain('too long for a rules file');
    expect(errorOf(`feature a\nrequired on a${' '.repeat(1 << 19)}b`).what).toContain('too long');
    expect(errorOf(`feature a\n${'functions a,b\n'.repeat(20_000)}`).what).toContain('too many items');
  });
});

const run = (via: string, changes: Partial<RunRecord> = {}) =>
  recordOf(via, {
    functions: [
      functionRun('cr4_init_shadow', 200, { caller: 'x86_64_start_kernel+0x9' }),
      functionRun('mtrr_bp_init.isra.0', 500, { caller: 'setup_arch+0x80', count: 3 }),
      functionRun('start_kernel', 1000),
    ],
    events: [
      eventRun('cr-write', 210, 4, 'CR4', { where: 'native_write_cr4+0x3' }),
      eventRun('port-out', 600, 0x70, 'port 0x70', { where: 'rtc_read+0x4' }),
      eventRun('msr-read', 700, 0x2ff, 'MSR 0x2ff'),
      eventRun('msr-write', 720, 0xc0000080, 'MSR_EFER'),
      eventRun('hypercall', 800, 1, 'mmu_update'),
      eventRun('exception', 900, 14, '#PF'),
      eventRun('table-load', 950, 1, 'lidt'),
    ],
    ...changes,
  });
const lacking = (via: string) => run(via, { functions: [functionRun('start_kernel', 1000)] });

describe('dead code', () => {
  it('is what shows on a path where it is not allowed, with its caller and time', () => {
    const [finding, ...more] = evaluateRules(rules(MTRR), run('xen-pv'));
    expect(more).toEqual([]);
    expect(finding).toEqual({
      id: 'rule/mtrr/xen-pv',
      kind: 'rule',
      paths: ['xen-pv'],
      subject: 'mtrr',
      title: 'dead code: mtrr ran on xen-pv, where it does not belong (mtrr_bp_init.isra.0)',
      why: 'Xen owns it',
      evidence: [
        { path: 'xen-pv', at: 500, text: 'mtrr_bp_init.isra.0, called from setup_arch+0x80, 3 times in all' },
        { path: 'xen-pv', at: 700, text: 'MSR 0x2ff (msr-read), by 0xffffffff81000123' },
        {
          path: 'xen-pv',
          text: 'my.rules:1 allows it on linux32, linux64, pvh, xen-pvh, multiboot, flat32, flat64 only',
        },
      ],
    });
  });

  it('is nothing that shows where it is allowed', () => {
    expect(titles(MTRR, run('linux64'))).toEqual([]);
  });

  it.each([
    ['ports 0x70-0x71', 600],
    ['ports 0x71', undefined],
    ['msrs 0x200-0x2ff', 700],
    ['msrs EFER', 720],
    ['msrs msr_efer', 720],
    ['registers cr4', 210],
    ['registers IDTR', 950],
    ['registers GDTR', undefined],
    ['hypercalls mmu_*', 800],
    ['exceptions #PF', 900],
    ['exceptions 14', 900],
    ['cpuid 0x1', undefined],
    ['functions cr4_????_shadow', 200],
    ['functions cr4_???_shadow', undefined],
    ['memory 0xffffec0000000000-0xfffffbffffffffff', 1000],
    ['memory 0xfffffc0000000000', undefined],
  ])('is seen by %s', (evidence, at) => {
    const mapped = [{ from: '0xfffff00000000000', to: '0xfffff00000001000', rights: 'rw-' }];
    const paging = { kind: '4-level', root: '0x0', mapped };
    const record = run('xen-pv', { waypoints: [waypoint('entry', 0), waypoint('start_kernel', 1000, { paging })] });
    const found = evaluateRules(rules(`feature a\n${evidence}\nallowed on none\nreason r`), record);
    expect(found.map(({ evidence: [first] }) => first.at)).toEqual(at === undefined ? [] : [at]);
  });
});

describe('a missing feature', () => {
  it('is what a path requires and does not show before its waypoint', () => {
    const [finding, ...more] = evaluateRules(rules(SHADOW), lacking('xen-pv'), { others: [run('linux64')] });
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ id: 'rule/cr4-shadow/xen-pv', waypoint: 'start_kernel', paths: ['xen-pv'] });
    expect(finding.title).toBe('cr4-shadow is missing on xen-pv: nothing of cr4_init_shadow ran before start_kernel');
    expect(finding.evidence).toEqual([
      { path: 'xen-pv', at: 1000, text: 'arrived at start_kernel' },
      { path: 'linux64', at: 200, text: 'cr4_init_shadow, called from x86_64_start_kernel+0x9' },
      { path: 'xen-pv', text: 'my.rules:1 requires it on all before start_kernel' },
    ]);
  });

  it('is one that shows too late', () => {
    const late = run('pvh', { functions: [functionRun('start_kernel', 1000), functionRun('cr4_init_shadow', 2000)] });
    const [finding] = evaluateRules(rules(SHADOW), late);
    expect(finding.evidence).toContainEqual({ path: 'pvh', at: 2000, text: 'too late: cr4_init_shadow' });
  });

  it('is told of a run that ended before the waypoint, and the end with it', () => {
    const dead = recordOf('xen-pv', {
      waypoints: [waypoint('entry', 0), waypoint('end', 400)],
      functions: [functionRun('startup_xen', 0)],
      instructions: 400,
      exit: { reason: 'killed', code: 4, detail: 'a page fault without a handler' },
    });
    const [finding] = evaluateRules(rules(SHADOW), dead, { others: [run('linux64')] });
    expect(finding.title).toContain('ran before the run ended, without arriving at start_kernel');
    expect(finding.evidence[0].text).toBe('the run ended (killed): a page fault without a handler');
  });

  it.each([
    ['time was up', { reason: 'timeout', code: 5, detail: '' }, [functionRun('startup_xen', 0)]],
    ['it needed what is not built', { reason: 'unbuilt', code: 6, detail: '' }, [functionRun('startup_xen', 0)]],
    ['it died before the kernel began', { reason: 'triple-fault', code: 4, detail: '' }, []],
  ])('is not claimed of a run that did not arrive because %s', (_, exit, functions) => {
    const cut = recordOf('xen-pv', { waypoints: [waypoint('entry', 0), waypoint('end', 400)], functions, instructions: 400, exit }); // biome-ignore format: one line
    expect(titles(SHADOW, cut, [run('linux64')])).toEqual([]);
  });

  it.each([
    ['it showed', SHADOW, run('xen-pv'), []],
    ['the path is not asked', SHADOW.replace('on all', 'on pc'), lacking('xen-pv'), [run('linux64')]],
    ['the kernel has no such function', SHADOW, lacking('xen-pv'), [lacking('linux64')]],
    ['the kernel is not of the kind', `${SHADOW}\nwhen kasan_*`, lacking('xen-pv'), [run('linux64')]],
    ['there are no symbols', SHADOW, recordOf('xen-pv', { kernel: { ...recordOf('a').kernel, symbols: 'none' } }), [run('linux64')]],
  ])('is not claimed where %s', (_, text, record, others) => {
    expect(titles(text, record, others)).toEqual([]);
  }); // biome-ignore format: a table

  it('is not asked of another build than the one that has it', () => {
    const kernel = { ...recordOf('a').kernel, sha256: 'cd'.repeat(32) };
    const [older, same] = [{ ...run('linux64'), kernel }, lacking('pvh')];
    expect(titles(SHADOW, lacking('xen-pv'), [older, same])).toEqual([]);
    expect(titles(SHADOW, lacking('xen-pv'), [run('linux64'), older])).toHaveLength(1);
  });

  it('is claimed of a function that only the symbol table tells of', () => {
    expect(evaluateRules(rules(SHADOW), lacking('xen-pv'), { functions: ['cr4_init_shadow'] })).toHaveLength(1);
  });

  it('needs no symbols when a register shows it', () => {
    const text = 'feature a\nregisters CR3\nrequired on pvh\nreason r';
    expect(titles(text, lacking('pvh'))).toEqual(['a is missing on pvh: nothing of registers CR3 ran']); // biome-ignore format: one line
  });

  it('of which the kernel knows nothing is named, so that a misspelt name is noticed', () => {
    const text = `${SHADOW.replace('cr4_init', 'cr4_innit')}\n${MTRR}`;
    const notes = (names?: string[]) =>
      notesOnRules(rules(text), [run('linux64')], () => names).map(({ title }) => title);
    expect(notes()).toEqual(['the rule cr4-shadow was not asked: no path and no symbol shows cr4_innit_shadow']);
    expect(notes(['cr4_innit_shadow'])).toEqual([]);
    expect(notesOnRules(rules(`${SHADOW}\nwhen kasan_*`), [run('pvh')])[0].title).toContain('shows kasan_*');
  });
});

describe('a pattern', () => {
  it.each([
    ['mtrr_*', 'mtrr_', true],
    ['*_init', 'mtrr_bp_init', true],
    ['*_init', 'mtrr_bp_init_late', false],
    ['a*b*c', 'a1b2b3c', true],
    ['a*b*c', 'a1c2b', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['abc', 'abcd', false],
    ['', 'a', false],
  ])('%s and %s: %s', (pattern, name, fits) => {
    expect(fitsName(pattern, name)).toBe(fits);
  });

  it('is never slow', () => {
    expect(fitsName(`${'a*'.repeat(500)}b`, 'a'.repeat(20_000))).toBe(false);
  });

  it.each(['foo.constprop.0', 'foo.isra.0.cold', 'foo'])('fits %s, which a compiler made of foo', (name) => {
    expect(fitsFunction({ kind: 'name', text: 'fo?' }, name)).toBe(true);
  });
});

describe('the shipped rules', () => {
  const shipped = parseRules(LINUX_RULES, LINUX_RULES_FILE);

  it('cover what Linux has to tell its paths apart for, each with reason and source', () => {
    expect(shipped.map(({ feature }) => feature)).toEqual([
      'cr4-shadow', 'early-idt', 'kasan', 'microcode', 'mtrr', 'iommu', 'rtc', 'bios-areas',
    ]); // biome-ignore format: a list
    expect(shipped.filter(({ source, reason }) => source === undefined || reason.length < 60)).toEqual([]);
  });

  it.each([
    ['rtc', { events: [eventRun('port-out', 5, 0x70, 'port 0x70')] }],
    ['microcode', { functions: [functionRun('load_ucode_bsp', 5)] }],
    ['mtrr', { events: [eventRun('msr-read', 5, 0xfe, 'MSR 0xfe')] }],
    ['iommu', { functions: [functionRun('detect_intel_iommu', 5)] }],
    ['bios-areas', { functions: [functionRun('mpparse_find_mptable', 5)] }],
  ])('%s is dead code on xen-pv and none on linux64', (feature, changes) => {
    expect(evaluateRules(shipped, recordOf('xen-pv', changes)).map(({ subject }) => subject)).toEqual([feature]);
    expect(evaluateRules(shipped, recordOf('linux64', changes))).toEqual([]);
  });
});
