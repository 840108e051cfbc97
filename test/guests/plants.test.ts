/** The bugs that the tiny guest can be asked to have: each word `plant=NAME`, on the path that it belongs to, ends as
 * guests/README.md says and shows where it says; on every other path it changes nothing. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { planTraced, sha256 } from '../../src/cli/traced.ts';
import { tracedRun } from '../../src/machine/traced-run.ts';
import type { RunRecord } from '../../src/trace/run-record.ts';
import { IMAGES } from './golden.ts';

/** Paths by the names that the table uses; the file where the built-in guest would be another. */
const PATHS = {
  linux64: ['linux64'],
  linux32: ['linux32'],
  pvh: ['pvh'],
  'xen-pv': ['xen-pv'],
  lguest: ['lguest'],
  multiboot: ['multiboot'],
  'pvh, 32-bit': ['pvh', 'tiny32.elf'],
} as const;
type Path = keyof typeof PATHS;

const file = (name: string) => fileURLToPath(new URL(name, IMAGES));

async function run(path: Path, cmdline: string, cpu?: string): Promise<RunRecord> {
  const [via, image] = PATHS[path] as readonly ['pvh', string?];
  const { plan, kernel } = await planTraced(image ? file(image) : 'tiny', { via, cmdline, memory: '64M' });
  const waypoints = ['xen_setup_gdt', 'prepare_pvh', 'paging_init'].filter(
    (name) => kernel?.symbols?.address(name) !== undefined,
  );
  const { record } = await tracedRun(plan, { kernel, sha256, maxInstructions: 5e6, waypoints, ...(cpu && { cpu }) });
  return record;
}

type Ending = [reason: string, code: number];
const SUCCESS: Ending = ['power-off', 0];
type Row = {
  plant: string;
  on: Path[];
  ends: Ending;
  /** In the console, or in what is said of the exit. */
  says?: RegExp;
  /** Functions that no longer run before start_kernel, or only now do. */
  lost?: string[];
  gained?: string[];
  /** What else tells it, in the record of the run beside that of the clean one. */
  shows?: (planted: RunRecord, clean: RunRecord) => void;
};

const at = (record: RunRecord, name: string) => record.waypoints.find((waypoint) => waypoint.name === name)?.state;
const first = (record: RunRecord, name: string) =>
  record.functions.find((each) => each.name === name)?.first ?? Number.NaN;
const panicked: Ending = ['panic', 4];

const ROWS: Row[] = [
  { plant: 'cr4-shadow', on: ['xen-pv'], ends: ['verdict-failure', 1], lost: ['cr4_init_shadow'], says: /^check: CR4 keeps the bits that were set before: FAILED$/m },
  { plant: 'kasan', on: ['xen-pv'], ends: panicked, lost: ['kasan_early_init'], says: /^BUG: unable to handle page fault for address: fffffbfff0[0-9a-f]+\nKASAN: no shadow memory for an access to ffffffff8[0-9a-f]+$/m },
  { plant: 'gs-base-pv', on: ['xen-pv'], ends: ['killed', 4], lost: ['load_percpu_segment'], says: /#PF page fault on 0x28 / },
  { plant: 'gs-base-pvh', on: ['pvh'], ends: SUCCESS,
    shows: (planted, clean) => {
      expect(at(clean, 'prepare_pvh')?.msrs.GS_BASE).toMatch(/^0xffffffff8/);
      expect(at(planted, 'prepare_pvh')?.msrs.GS_BASE).toBe('0x0');
    } },
  { plant: 'early-traps', on: ['xen-pv'], ends: ['killed', 4], lost: ['idt_setup_early_handler'], says: /#BP breakpoint .*without a handler/ },
  { plant: 'native-iret', on: ['xen-pv'], ends: panicked, lost: ['xen_early_iret_patch'], says: /^Oops: general protection fault: error code e030$/m },
  { plant: 'nx-order', on: ['xen-pv'], ends: SUCCESS,
    shows: (planted, clean) => {
      expect(first(clean, 'x86_configure_nx')).toBeLessThan(first(clean, 'xen_setup_gdt'));
      expect(first(planted, 'x86_configure_nx')).toBeGreaterThan(first(planted, 'xen_setup_gdt'));
    } },
  { plant: 'phys-bits', on: ['xen-pv'], ends: panicked, lost: ['get_cpu_address_sizes'], says: /^Kernel panic - not syncing: xen: pin a table: error -22$/m },
  { plant: 'bss', on: ['xen-pv'], ends: SUCCESS, lost: ['clear_bss'] },
  { plant: 'brk', on: ['linux64', 'linux32'], ends: panicked, says: /^Kernel panic - not syncing: mm: the \.brk area was not clear/m },
  { plant: 'early-reserve', on: ['xen-pv'], ends: ['fault-loop', 4], says: /^check: no memory is reserved for two: FAILED$/m,
    shows: (planted, clean) => {
      expect(first(clean, 'early_reserve_memory')).toBeLessThan(first(clean, 'e820__memory_setup'));
      expect(first(planted, 'early_reserve_memory')).toBeGreaterThan(first(planted, 'e820__memory_setup'));
    } },
  { plant: 'struct-pages', on: ['xen-pv'], ends: panicked, says: /^BUG: unable to handle page fault for address: ffffea00[0-9a-f]+$/m },
  { plant: 'boot-version', on: ['pvh', 'pvh, 32-bit'], ends: SUCCESS, says: /^loader: type 0xb0, boot protocol 2\.18, /m },
  { plant: 'domain-type', on: ['xen-pv'], ends: SUCCESS, shows: ({ console }) => expect(console).toBe('') },
  { plant: 'pvh-physical', on: ['pvh'], ends: SUCCESS,
    shows: (planted, clean) => {
      expect(at(clean, 'prepare_pvh')?.registers.rip).toMatch(/^0xffffffff8/);
      expect(at(planted, 'prepare_pvh')?.registers.rip).toMatch(/^0x100/);
    } },
  { plant: 'pvh-kasan', on: ['pvh'], ends: ['triple-fault', 4], lost: ['kasan_early_init'], gained: ['__asan_memset'] },
  { plant: 'pvh-pae', on: ['pvh, 32-bit'], ends: ['triple-fault', 4],
    shows: ({ waypoints }) => expect(BigInt(waypoints.at(-1)?.state.control.cr4 ?? 0) & 0x20n).toBe(0x20n) },
  { plant: 'mtrr', on: ['xen-pv'], ends: SUCCESS, says: /^mtrr: 0 variable ranges$/m },
  { plant: 'microcode', on: ['xen-pv'], ends: SUCCESS, gained: ['load_ucode_bsp'], says: /^microcode: revision 0x0$/m },
  { plant: 'bios-area', on: ['xen-pv'], ends: SUCCESS, says: /^bios: \[mem 0x9f000-0xfffff\] reserved/m },
]; // biome-ignore format: a table

const ranEarly = (record: RunRecord): Set<string> => {
  const meeting = record.waypoints.find(({ name }) => name === 'start_kernel')?.at ?? Number.POSITIVE_INFINITY;
  return new Set(record.functions.filter((each) => each.first < meeting).map(({ name }) => name));
};
const clean: Partial<Record<Path, RunRecord>> = {};
const verdict = (record: RunRecord) => record.console.trimEnd().split('\n').at(-1);

beforeAll(async () => {
  for (const path of Object.keys(PATHS) as Path[]) clean[path] = await run(path, '');
}, 60_000);

describe('without a plant', () => {
  it.each(Object.keys(PATHS) as Path[])('the guest ends well through %s', (path) => {
    expect(verdict(clean[path] as RunRecord)).toBe('verdict: success');
  });
});

describe.each(ROWS)('plant=$plant', ({ plant, on, ends, says, lost, gained, shows }) => {
  it.each(on)(`ends as "${ends.join(' ')}" through %s, and can be seen`, async (path) => {
    const [was, is] = [clean[path] as RunRecord, await run(path, `plant=${plant}`)];
    expect([is.exit.reason, is.exit.code]).toEqual(ends);
    if (says) {
      expect(`${is.console}\n${is.exit.detail}`).toMatch(says);
      expect(was.console).not.toMatch(says);
    }
    const [functions, cleanFunctions] = [ranEarly(is), ranEarly(was)];
    for (const name of lost ?? [])
      expect([name, cleanFunctions.has(name), functions.has(name)]).toEqual([name, true, false]);
    for (const name of gained ?? [])
      expect([name, cleanFunctions.has(name), functions.has(name)]).toEqual([name, false, true]);
    shows?.(is, was);
  });
});

describe('on the paths that they do not belong to', () => {
  it.each(Object.keys(PATHS) as Path[])('all plants together change nothing through %s', async (path) => {
    const words = ROWS.filter(({ on }) => !on.includes(path))
      .map(({ plant }) => `plant=${plant}`)
      .join(' ');
    const record = await run(path, words);
    const guest = (console: string) => console.split('\n').filter((line) => !line.startsWith('Command line: '));
    expect(guest(record.console)).toEqual(guest(clean[path]?.console ?? ''));
    expect(record.exit).toEqual(clean[path]?.exit);
  });
});

it('guests/README.md has a row for each of them', () => {
  const readme = readFileSync(new URL('../README.md', IMAGES), 'utf8');
  const rows = [...readme.matchAll(/^\| `([a-z0-9-]+)` \| [^|]+ \| (?:linux|pvh|xen-pv)/gm)].map(([, name]) => name);
  expect(rows.sort()).toEqual(ROWS.map(({ plant }) => plant).sort());
});
