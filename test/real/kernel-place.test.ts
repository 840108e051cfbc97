/** A stock kernel that unpacks itself, with and without KASLR: names are right wherever it runs, and a trace is the same
 * by names. */
import { beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '../../src/cli/compare-run.ts';
import { planTraced, sha256 } from '../../src/cli/traced.ts';
import { compareRecords } from '../../src/compare/compare.ts';
import { Machine } from '../../src/machine/machine.ts';
import { tracedRun } from '../../src/machine/traced-run.ts';
import type { RunRecord } from '../../src/trace/run-record.ts';
import { describeReal, realPath } from './files.ts';

// It unpacks with lz4: a hundred million instructions to the first of the kernel's own, where the other flavour takes 3e9.
const FILE = 'vmlinuz-cloud-amd64';

describeReal(FILE, () => {
  const limits = { maxInstructions: 3e8 };
  const plan = (via: string, cmdline: string) => planTraced(realPath(FILE), { via: via as 'linux64', cmdline });

  describe('with KASLR and without', () => {
    const records: RunRecord[] = [];
    beforeAll(async () => {
      for (const cmdline of ['quiet nokaslr', 'quiet']) {
        const made = await plan('linux64', cmdline);
        records.push((await tracedRun(made.plan, { ...limits, ...made, sha256, until: 'setup_arch' })).record);
      }
    }, 120_000);

    it('runs where it is linked with nokaslr, and elsewhere without', () => {
      const [fixed, moved] = records.map(({ kernel }) => kernel.moved);
      expect(fixed).toMatchObject({ virtual: '0x0', physical: '0x0' });
      expect(BigInt(moved?.virtual ?? 0) > 0n && BigInt(moved?.virtual ?? 0) % 0x20_0000n === 0n).toBe(true);
      expect(BigInt(moved?.physical ?? 0)).not.toBe(0n);
    });

    it('passes the same waypoints, and enters the same functions from the same callers', () => {
      const names = records.map(({ waypoints }) => waypoints.map(({ name }) => name));
      expect(names[1]).toEqual(names[0]);
      expect(names[1]).toEqual(
        expect.arrayContaining(['startup_64', 'x86_64_start_kernel', 'start_kernel', 'setup_arch']),
      );
      const tree = ({ functions }: RunRecord) =>
        functions.map(({ name, caller, address }) => ({ name, caller, address }));
      expect(records[1].functions.length).toBeGreaterThan(60);
      expect(tree(records[1])).toEqual(tree(records[0]));
    });

    it('has the same state at start_kernel but for the places', () => {
      const two = records.map((record, i) => ({ ...record, via: ['linux64', 'linux32'][i] }));
      const found = compareRecords(two, { meeting: 'start_kernel' }).findings.map(({ id }) => id);
      expect(found).toEqual(['state/boot_command_line/linux64']); // they were given different ones
      const state = records[1].waypoints.find(({ name }) => name === 'start_kernel')?.state;
      const line = state?.objects.find(({ name }) => name === 'boot_command_line');
      expect(line?.fields.map(({ value }) => value)).toEqual(['"quiet"']);
    });

    it('names no code of the unpacker, and the code of the kernel from its first instruction on', () => {
      for (const { events, kernel } of records) {
        const at = kernel.moved?.at ?? 0;
        const nameless = events.filter((event) => event.at >= at && event.where === undefined);
        expect(nameless).toEqual([]);
        expect(events.filter((event) => event.at < at && event.where !== undefined)).toEqual([]);
        expect(events.find((event) => event.at > at && event.what === 'CR3')?.where).toMatch(/^secondary_startup_64/);
      }
    });
  });

  it('stops at a symbol without a trace, too, and names what it stands at when asked later', async () => {
    const made = await plan('linux64', 'quiet');
    const machine = await Machine.create(made.plan, { symbols: made.kernel.symbols });
    expect((await machine.run({ ...limits, until: 'start_kernel' })).kind).toBe('until');
    expect(machine.symbolise(machine.vcpu.state().rip)).toBe('start_kernel');

    // Without a place to stop at nobody looks out for the kernel; who asks for a name finds it.
    const plain = await Machine.create(made.plan, { symbols: made.kernel.symbols });
    await plain.run({ maxInstructions: machine.instructions });
    expect(plain.kernelPlace).toBeUndefined();
    expect(plain.symbolise(plain.vcpu.state().rip)).toBe('start_kernel');
    expect(plain.kernelPlace).toEqual(machine.kernelPlace);
    expect(plain.outcome().stateHash).toBe(machine.outcome().stateHash);
  }, 60_000);

  it('differs from path to path in nothing but what has a reason', async () => {
    const { records, known } = await runPaths(realPath(FILE), {
      via: ['linux64', 'linux32', 'pvh'],
      cmdline: 'console=ttyS0',
      until: 'start_kernel',
    });
    expect(records.map(({ kernel }) => kernel.moved !== undefined)).toEqual([true, true, false]);
    expect(compareRecords(records, { known }).findings).toEqual([]);
  }, 120_000);
});
