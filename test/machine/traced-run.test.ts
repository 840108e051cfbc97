/** A traced run of the built-in guest: the same record every time and in every form, and the same run as without. */
import { describe, expect, it } from 'vitest';
import { planTraced, sha256 } from '../../src/cli/traced.ts';
import { brokenInvariants } from '../../src/compare/invariants.ts';
import { Machine } from '../../src/machine/machine.ts';
import { type TracedRunOptions, tracedRun } from '../../src/machine/traced-run.ts';
import { clockOf } from '../../src/trace/formats/timeline.ts';
import { type RunRecord, recordJson } from '../../src/trace/run-record.ts';

const PATHS = ['lguest', 'linux32', 'linux64', 'pvh', 'xen-pv'] as const;

async function run(via: string, options: Partial<TracedRunOptions> = {}, cmdline = '') {
  const { plan, kernel } = await planTraced('tiny', { via: via as 'pvh', cmdline });
  return tracedRun(plan, { kernel, sha256, maxInstructions: 1e7, ...options });
}

describe.each(PATHS)('a traced run through %s', (via) => {
  it('is recorded alike every time, in blocks, one at a time and in short quanta', async () => {
    const expected = recordJson((await run(via)).record);
    expect(recordJson((await run(via)).record)).toBe(expected);
    expect(recordJson((await run(via, { plain: true })).record)).toBe(expected);
    expect(recordJson((await run(via, { cpuQuantum: 13, quantum: 1009 })).record)).toBe(expected);
  });

  it('is the run that it is without a trace', async () => {
    const { machine, record } = await run(via);
    const { plan } = await planTraced('tiny', { via });
    const plain = await Machine.create(plan);
    plain.runSync({ maxInstructions: 1e7 });
    expect(record.instructions).toBe(plain.instructions);
    expect(machine.outcome().stateHash).toBe(plain.outcome().stateHash);
  });

  it('passes the waypoints in order, and counts functions up to each', async () => {
    const { record } = await run(via);
    const names = record.waypoints.map(({ name }) => name);
    expect(names[0]).toBe('entry');
    expect(names.at(-1)).toBe('end');
    expect(names).toContain('start_kernel');
    const times = record.waypoints.map(({ at }) => at);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(record.exit).toMatchObject({ reason: 'power-off', code: 0 });

    const meeting = names.indexOf('start_kernel');
    const start = record.functions.find(({ name }) => name === 'start_kernel');
    expect(start).toMatchObject({ first: record.waypoints[meeting].at, count: 1 });
    expect(start?.counts[meeting]).toBe(0); // not entered yet
    expect(start?.counts[meeting + 1]).toBe(1);
    for (const { counts, count, first } of record.functions) {
      expect(counts.at(-1)).toBe(count);
      expect(counts).toEqual([...counts].sort((a, b) => a - b));
      expect(first).toBeLessThanOrEqual(record.instructions);
    }
  });

  it('captures boot_params by field as start_kernel finds it, whoever filled it', async () => {
    const { record } = await run(via, {}, 'console=test');
    const { state } = record.waypoints.find(({ name }) => name === 'start_kernel') ?? {};
    const params = state?.objects.find(({ name }) => name === 'boot_params');
    expect(params?.type).toBe('struct boot_params');
    const field = (path: string) => params?.fields.find((each) => each.path === path)?.value;
    const subarch = { lguest: /^0x1\b/, 'xen-pv': /^0x2\b/ }[via as string] ?? /^0x0\b/;
    expect(field('hdr.hardware_subarch')).toMatch(subarch);
    const line = state?.objects.find(({ name }) => name === 'boot_command_line');
    expect(line?.fields[0].value).toContain('console=test');
    expect(Object.keys(state?.tables.idt ?? {}).length).toBeGreaterThanOrEqual(20);
    expect(state?.paging.mapped.length).toBeGreaterThan(0);
  });
});

describe('virtual time', () => {
  it.each(PATHS)('is exact at every instruction through %s, also where the guest sleeps', async (via) => {
    const { record } = await run(via);
    const { sleeps = [], waypoints, instructions, virtualTimeNs } = record;
    const time = clockOf(record);
    expect(time(instructions)).toBe(virtualTimeNs);
    expect(waypoints.map(({ at }) => time(at))).toEqual(waypoints.map(({ ns }) => ns));
    const slept = sleeps.reduce((sum, { ns }) => sum + ns, 0);
    expect(instructions + slept).toBe(virtualTimeNs);
    // Ticks that it waits for come after equal times, however few instructions lie between them.
    if (via !== 'linux64') return;
    const interrupts = record.events.filter(({ kind, what }) => kind === 'interrupt' && what === 'vector 0x20');
    const ticks = interrupts.map(({ at }) => time(at));
    const gaps = ticks.slice(1).map((tick, i) => tick - ticks[i]);
    expect(sleeps.length).toBeGreaterThan(0);
    const period = Math.max(...gaps);
    expect(gaps.filter((gap) => period - gap < 2000).length).toBeGreaterThanOrEqual(gaps.length / 2);
  });
});

describe('what lay in .bss and .brk before', () => {
  const left = ({ waypoints }: RunRecord, place: string) =>
    Object.fromEntries(
      (waypoints.find(({ name }) => name === place)?.state.objects ?? [])
        .filter(({ name }) => name === '.bss' || name === '.brk')
        .map(({ name, fields }) => [name, Number(fields[0].value)]),
    );
  /** As a loader leaves memory that was used before. */
  const used = ({ memory, symbols }: Machine) => {
    for (const name of ['__bss_stop', '__brk_limit']) {
      const at = Number((symbols?.address(name) ?? 0n) - 0xffff_ffff_8000_0000n);
      memory.write(at - 512, new Uint8Array(512).fill(0x5a));
    }
  };

  it.each(['linux64', 'linux32'])(
    'is there when the kernel begins and gone when it has cleared it (%s)',
    async (via) => {
      const { record } = await run(via);
      expect(left(record, 'startup_64')['.brk']).toBeGreaterThan(1000); // the unpacker's
      expect(left(record, 'start_kernel')).toEqual({ '.bss': 0, '.brk': 0 });
      const planted = (await run(via, {}, 'plant=brk')).record;
      expect(left(planted, 'start_kernel')).toEqual({ '.bss': 0, '.brk': left(record, 'startup_64')['.brk'] });
      expect(brokenInvariants(planted, 'start_kernel').map(({ name }) => name)).toEqual(['.brk clear']);
      expect(brokenInvariants(record, 'start_kernel')).toEqual([]);
    },
  );

  it.each(['pvh', 'xen-pv'])("is the loader's through %s, and a kernel that clears nothing keeps it", async (via) => {
    const { record } = await run(via, { onMachine: used });
    expect(left(record, 'entry')).toEqual({ '.bss': 512, '.brk': 512 });
    expect(left(record, 'start_kernel')).toEqual({ '.bss': 0, '.brk': 0 });
    const planted = (await run(via, { onMachine: used }, via === 'pvh' ? 'plant=brk' : 'plant=bss')).record;
    const wrong = via === 'pvh' ? ['.brk clear'] : ['.bss clear', '.brk clear'];
    expect(brokenInvariants(planted, 'start_kernel').map(({ name }) => name)).toEqual(wrong);
  });
});

describe('variables of a traced run', () => {
  it('are told by field where the kernel describes its types, pointers by what they point to', async () => {
    const { record } = await run('xen-pv');
    const { state } = record.waypoints.find(({ name }) => name === 'start_kernel') ?? {};
    const object = (name: string) => state?.objects.find((each) => each.name === name);
    expect(object('cpu_tlbstate')?.fields.map(({ path }) => path)).toContain('cr4');
    const operations = object('pv_ops')?.fields ?? [];
    expect(operations.map(({ path }) => path)).not.toContainEqual(expect.stringMatching(/^\+0x/));
    expect(operations.map(({ symbol }) => symbol)).toContain('xen_write_idt_entry');
    expect(object('xen_domain_type')?.fields).toMatchObject([{ path: '+0x0', value: '0x1' }]);
  });
});

describe('what a traced run can be asked', () => {
  it('stops where it is told, and knows places by address', async () => {
    const { record, exit } = await run('pvh', { until: 'setup_arch', waypoints: [0xffff_ffff_8100_00a0n] });
    expect(exit.kind).toBe('until');
    expect(record.waypoints.at(-2)?.name).toBe('setup_arch');
    expect(record.waypoints.at(-1)?.at).toBe(record.waypoints.at(-2)?.at);
  });

  it('refuses places and variables that the kernel has not', async () => {
    await expect(run('pvh', { waypoints: ['no_such_place'] })).rejects.toThrow(/no symbol "no_such_place"/);
    await expect(run('pvh', { objects: ['no_such_object'] })).rejects.toThrow(/no variable "no_such_object"/);
  });

  it('lists what the guest did to its machine, with the function that did it', async () => {
    const { events } = (await run('linux64')).record;
    const find = (kind: string, what: string) => events.find((event) => event.kind === kind && event.what === what);
    expect(find('cr-write', 'CR3')?.where).toMatch(/^startup_64/);
    expect(find('msr-write', 'GS_BASE')).toBeDefined();
    expect(find('table-load', 'IDTR')?.where).toMatch(/load_idt/);
    expect(find('exception', '#BP breakpoint') ?? find('int', 'vector 0x3')).toBeDefined();
    expect(find('interrupt', 'vector 0x20')).toBeDefined();
    expect(find('port-out', 'port 0x3f8')).toBeDefined();
  });

  it('gives no name of the kernel to what the unpacker does where the kernel will be', async () => {
    const { events, functions } = (await run('linux64')).record;
    const early = events.filter(({ at }) => at < functions[0].first);
    expect(early.map(({ what }) => what)).toContain('GDTR');
    expect(early.map(({ where }) => where).filter((where) => where !== undefined)).toEqual([]);
  });
});
