/** Comparisons of records made by hand: what is told, what is let through, and why. */
import { describe, expect, it } from 'vitest';
import { ALLOWED_FIELDS, ALLOWED_FUNCTIONS, ALLOWED_TO_LACK } from '../../src/compare/allowed.ts';
import { compareRecords, comparisonExit } from '../../src/compare/compare.ts';
import { lineUp } from '../../src/compare/line-up.ts';
import { isTool, sourceName } from '../../src/compare/names.ts';
import { misplaced } from '../../src/compare/order.ts';
import type { FunctionRun, ObjectRecord, RunRecord, StateRecord } from '../../src/trace/run-record.ts';
import { functionRun, recordOf, waypoint } from './hand-made.ts';

const IDT = Object.fromEntries(Array.from({ length: 32 }, (_, vector) => [vector, 'handler, interrupt gate, DPL 0']));
const good: Partial<StateRecord> = {
  tables: { gdtr: '0x1000, limit 0x7f', idtr: '0x2000, limit 0xfff', gdt: {}, idt: IDT },
};

/** Functions in a row, each called by the one named before the arrow: "a>b". */
function chain(...names: string[]): FunctionRun[] {
  return names.map((each, index) => {
    const [caller, name] = each.includes('>') ? each.split('>') : [undefined, each];
    return functionRun(name, 10 * (index + 1), caller === undefined ? {} : { caller: `${caller}+0x10` });
  });
}

function path(
  via: string,
  before: string[],
  changes: { state?: Partial<StateRecord> } & Partial<RunRecord> = {},
): RunRecord {
  const { state, ...rest } = changes;
  const functions = [
    ...chain(...before),
    functionRun('start_kernel', 1000, { caller: 'x86_64_start_reservations+0x30' }),
  ];
  const places = [waypoint('entry', 0), waypoint('start_kernel', 1000, { ...good, ...state }), waypoint('end', 10_000)];
  return recordOf(via, { functions, waypoints: places, ...rest });
}

const BARE = ['x86_64_start_kernel', 'x86_64_start_kernel>clear_bss', 'x86_64_start_kernel>idt_setup_early_handler'];
const XEN = ['xen_start_kernel', 'xen_start_kernel>clear_bss', 'xen_start_kernel>idt_setup_early_handler'];
const ids = (...records: RunRecord[]) => compareRecords(records).findings.map(({ id }) => id);
const object = (name: string, ...fields: [string, string][]): ObjectRecord => ({
  name,
  address: '0xffffffff81300000',
  type: 'struct',
  fields: fields.map(([field, value]) => ({ path: field, value })),
});

describe('functions before the meeting place', () => {
  it('say nothing when each path has its own entry and the same steps', () => {
    expect(ids(path('linux64', BARE), path('xen-pv', XEN))).toEqual([]);
  });

  it('are told when one path lacks a step, with who took it where', () => {
    const { findings } = compareRecords([path('linux64', BARE), path('pvh', BARE), path('xen-pv', XEN.slice(0, 2))]);
    expect(findings.map(({ id }) => id)).toEqual(['function/idt_setup_early_handler/xen-pv']);
    expect(findings[0].title).toBe(
      'xen-pv does not run idt_setup_early_handler before start_kernel; linux64 and pvh do',
    );
    expect(findings[0].evidence).toContainEqual({
      path: 'linux64',
      text: 'first called by x86_64_start_kernel+0x10',
      at: 30,
    });
  });

  it('are told at the top only: what a forgotten step calls went with it', () => {
    const tree = [...BARE, 'x86_64_start_kernel>feature_init', 'feature_init>feature_map', 'feature_map>feature_leaf'];
    expect(ids(path('linux64', tree), path('xen-pv', XEN))).toEqual(['function/feature_init/xen-pv']);
  });

  it('are told with the difference between never and later', () => {
    const late = path('xen-pv', XEN);
    late.functions.push(functionRun('load_early', 2000, { caller: 'start_kernel+0x9' }));
    const { findings } = compareRecords([path('linux64', [...BARE, 'x86_64_start_kernel>load_early']), late]);
    expect(findings[0].title).toBe('xen-pv runs load_early only after start_kernel; linux64 before it');
  });

  it('are no steps when they are tools, or called by a tool', () => {
    const tree = [...BARE, 'x86_64_start_kernel>memcpy', 'memcpy>copy_a_page', 'x86_64_start_kernel>printk'];
    expect(ids(path('linux64', tree), path('xen-pv', XEN))).toEqual([]);
  });

  it('are known by their source names', () => {
    const copies = [
      XEN[0],
      'xen_start_kernel>clear_bss.isra.0',
      'xen_start_kernel>idt_setup_early_handler.constprop.3',
    ];
    expect(ids(path('linux64', BARE), path('xen-pv', copies))).toEqual([]);
  });

  it('are not missed in a build that does not have them', () => {
    const other = path('lguest', ['i386_start_kernel', 'i386_start_kernel>idt_setup_early_handler']);
    other.kernel = { ...other.kernel, sha256: 'cd'.repeat(32) };
    const records = [path('linux64', [...BARE, 'x86_64_start_kernel>only_in_64_bits']), other];
    const told = (names: string[]) =>
      compareRecords(records, { known: (via) => (via === 'lguest' ? new Set(names) : undefined) }).findings.map(
        ({ id }) => id,
      );
    expect(told([])).toEqual([]);
    expect(told(['only_in_64_bits'])).toEqual(['function/only_in_64_bits/lguest']);
  });
});

describe('the other kinds of findings', () => {
  it('tell a path that never arrives, and how far it came', () => {
    const dead = path('xen-pv', XEN.slice(0, 2), {
      exit: { reason: 'killed', code: 4, detail: 'Xen ends the domain' },
    });
    dead.waypoints = [waypoint('entry', 0), waypoint('end', 500)];
    dead.functions.pop();
    const { findings, meeting } = compareRecords([path('linux64', BARE), dead]);
    expect(meeting).toMatchObject({ meeting: 'start_kernel', reached: ['linux64'], missing: ['xen-pv'] });
    expect(findings.map(({ id }) => id)).toEqual(['arrival/killed/xen-pv']);
    expect(findings[0].evidence.map(({ text }) => text).join('\n')).toContain('goes on to idt_setup_early_handler');
  });

  it.each([
    ['a CR4 shadow that is not CR4', { objects: [object('cpu_tlbstate', ['cr4', '0x0'])] }, 'invariant/cr4-shadow/linux64'],
    ['no GS base', { msrs: { GS_BASE: '0x0' } }, 'invariant/gs-base/linux64'],
    ['no handlers', { tables: { ...good.tables, idt: {} } }, 'invariant/early-traps/linux64'],
    ['interrupts on', { registers: { rip: '0xffffffff81000000', rflags: '0x202' } }, 'invariant/interrupts-off/linux64'],
    ['a direction flag', { registers: { rip: '0xffffffff81000000', rflags: '0x402' } }, 'invariant/direction-flag/linux64'],
    ['C code at a low address', { registers: { rip: '0x1000000', rflags: '0x2' } }, 'invariant/virtual-addresses/linux64'],
    ['another command line', { objects: [object('boot_command_line', ['', '"quiet"'])] }, 'invariant/command-line/linux64'],
    ['an initrd from nowhere', { objects: [object('boot_params', ['hdr.ramdisk_size', '0x9000'], ['hdr.ramdisk_image', '0x0'])] }, 'invariant/initrd/linux64'],
    ['a version that there is not', { objects: [object('boot_params', ['hdr.version', '0x212'])] }, 'invariant/boot-protocol-version/linux64'],
    ['.bss with something in it', { objects: [object('.bss', ['garbage', '0x10'])] }, 'invariant/.bss-clear/linux64'],
  ] as [string, Partial<StateRecord>, string][])('tell %s', (_, state, id) => {
    expect(ids(path('linux64', BARE, { state }))).toEqual([id]);
    expect(ids(path('linux64', BARE))).toEqual([]);
  }); // biome-ignore format: a table

  it('tell state that differs without a reason, and not what has one', () => {
    const state = (cr3: string, flag: string) => ({
      control: { cr0: '0x80050033', cr2: '0x0', cr3, cr4: '0x20', cr8: '0x0', efer: '0xd00' },
      objects: [object('early_flags', ['ready', flag])],
    });
    const records = [
      path('linux64', BARE, { state: state('0x1000', '1') }),
      path('pvh', BARE, { state: state('0x2000', '0') }),
    ];
    const { findings } = compareRecords([...records, path('xen-pv', XEN, { state: state('0x3000', '1') })]);
    expect(findings.map(({ id }) => id)).toEqual(['state/early_flags.ready/pvh']);
    expect(findings[0].title).toBe('early_flags.ready differs at start_kernel: pvh has 0, linux64 and xen-pv have 1');
  });

  it('tell common steps in another order, the fewest that explain it', () => {
    const steps = ['one_init', 'two_init', 'three_init', 'four_init'];
    const bare = ['x86_64_start_kernel', ...steps.map((name) => `x86_64_start_kernel>${name}`)];
    const xen = [
      'xen_start_kernel',
      ...['two_init', 'three_init', 'four_init', 'one_init'].map((name) => `xen_start_kernel>${name}`),
    ];
    expect(ids(path('linux64', bare), path('pvh', bare), path('xen-pv', xen))).toEqual(['order/one_init/xen-pv']);
  });

  it('say when there was little to compare', () => {
    const nameless = (via: string) =>
      recordOf(via, {
        functions: [],
        waypoints: [waypoint('entry', 0), waypoint('end', 9)],
        kernel: { name: 'k', version: undefined, sha256: 'ab', symbols: 'none' },
      });
    const { notes } = compareRecords([nameless('linux64'), nameless('pvh')]);
    expect(notes.map(({ id }) => id)).toEqual(['not-compared/symbols', 'not-compared/meeting']);
    expect(compareRecords([path('linux64', BARE)]).notes.map(({ id }) => id)).toEqual(['not-compared/others']);
  });
});

describe('exit codes', () => {
  const ended = (code: number) => ({ exit: { reason: 'x', code, detail: 'x' } });
  it.each([
    [[0, 0], 0],
    [[0, 4], 1],
    [[5, 0], 1],
    [[4, 4], 4],
    [[5, 5], 5],
    [[4, 5], 4],
  ])('of paths that end with %j are %i', (codes, expected) => {
    const records = codes.map((code, index) => path(['linux64', 'pvh'][index], BARE, ended(code)));
    expect(comparisonExit(compareRecords(records))).toBe(expected);
  });
});

describe('lining up', () => {
  it('finds where two paths meet, which may be before all do', () => {
    const at = (via: string, ...places: string[]) =>
      recordOf(via, { waypoints: places.map((name, index) => waypoint(name, index)) });
    const { meeting, pairs } = lineUp([
      at('linux64', 'startup_64', 'x86_64_start_kernel', 'x86_64_start_reservations', 'start_kernel'),
      at('pvh', 'startup_64', 'x86_64_start_kernel', 'x86_64_start_reservations', 'start_kernel'),
      at('xen-pv', 'x86_64_start_reservations', 'start_kernel'),
      at('lguest', 'i386_start_kernel', 'start_kernel'),
    ]);
    expect(meeting).toBe('start_kernel');
    const place = (a: string, b: string) => pairs.find((pair) => pair.a === a && pair.b === b)?.place;
    expect(place('linux64', 'pvh')).toBe('startup_64');
    expect(place('pvh', 'xen-pv')).toBe('x86_64_start_reservations');
    expect(place('xen-pv', 'lguest')).toBe('start_kernel');
  });
});

describe('names', () => {
  it.each([
    ['foo', 'foo'],
    ['foo.isra.0', 'foo'],
    ['foo.constprop.0.isra.12', 'foo'],
    ['foo.part.3', 'foo'],
    ['foo.cold', 'foo'],
    ['calls.0', 'calls'],
    ['foo.llvm.123456', 'foo'],
    ['.Lrelocated', '.Lrelocated'],
  ])('%s is %s in the source', (name, source) => expect(sourceName(name)).toBe(source));

  it.each(['memcpy', '__memset', 'strlen', '_printk', 'vprintk_emit', 'snprintf', '__asan_load8', '__stack_chk_fail'])(
    '%s is a tool',
    (name) => expect(isTool(name)).toBe(true),
  );
  it.each([
    'clear_bss',
    'setup_arch',
    'cr4_init_shadow',
    'memblock_reserve',
    'mem_init',
    'rcu_init',
    'strict_init',
    'bitmap',
  ])('%s is a step', (name) => expect(isTool(name)).toBe(false));
});

describe('the longest rising row', () => {
  it.each([
    [[1, 2, 3], []],
    [[4, 1, 2, 3], [0]],
    [[1, 3, 2, 4], [1]],
    [[], []],
  ])('of %j leaves out the places %j', (values, expected) => expect(misplaced(values)).toEqual(expected));
});

describe('the lists of legitimate differences', () => {
  it('give a reason for each row', () => {
    for (const row of [...ALLOWED_FUNCTIONS, ...ALLOWED_TO_LACK, ...ALLOWED_FIELDS])
      expect(row.because).toMatch(/\w+ \w+/);
  });
});
