import { describe, expect, it } from 'vitest';
import { bytesSource, nodeSnapshotHost as host } from '../../src/cli/snapshot-host.ts';
import { restoredSymbols, savedSymbols } from '../../src/cli/snapshot-symbols.ts';
import { kernelSymbols } from '../../src/cli/symbols.ts';
import { type BootPlan, planBoot, readKernel } from '../../src/index.ts';
import { crashReport } from '../../src/machine/crash-report.ts';
import type { ExitReason } from '../../src/machine/exit-reason.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';
import { makeReport } from '../../src/machine/report.ts';
import { machineSnapshot, openSnapshot, type RestoreOptions, restoreMachine } from '../../src/machine/snapshot.ts';

const PATHS = ['linux64', 'linux32', 'pvh', 'xen-pvh', 'xen-pv', 'lguest', 'multiboot'] as const;

const planFor = async (via: string, spec: object = {}): Promise<BootPlan> =>
  planBoot(await readKernel('tiny', via), { via: via as never, memory: '64M', cmdline: 'quiet=no', ...spec });

const create = (plan: BootPlan, options: MachineOptions = {}) =>
  Machine.create(plan, { symbols: () => kernelSymbols(plan), ...options });

/** The whole file. */
const save = (machine: Machine): Uint8Array =>
  new Uint8Array(Buffer.concat([...machineSnapshot(machine, host, { symbols: savedSymbols(machine.symbols) })]));

/** Names of a kernel that has not unpacked itself yet are not in a snapshot: they come from its file. */
const restore = (file: Uint8Array, plan: BootPlan, options: RestoreOptions = {}): Promise<Machine> => {
  const snapshot = openSnapshot(bytesSource('it', file), host);
  const { symbols } = snapshot;
  const names = () => (symbols === undefined ? kernelSymbols(plan) : restoredSymbols(symbols));
  return restoreMachine(snapshot, { symbols: names, ...options });
};

/** Everything that the command line would report. How the last blocks were found is not state: no blocks survive. */
async function reportOf(machine: Machine, exit: ExitReason): Promise<string> {
  const crash = await crashReport(machine.scene(0), (address) => machine.symbolise(address));
  const parts = { plan: machine.plan, imagePath: 'tiny', exit, outcome: machine.outcome(), crash };
  return JSON.stringify(makeReport({ ...parts, host: { milliseconds: {} }, sha256: host.sha256 }), null, 1);
}

/** The same numbers in every run of the tests. */
function* places(total: number, count: number): Generator<number> {
  let state = 12345;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    yield i === 0 ? 0 : Math.floor((state / 2 ** 32) * total);
  }
}

describe('a machine from a snapshot', () => {
  for (const via of PATHS) {
    it(`ends on ${via} as one that was never saved, wherever it was saved`, async () => {
      const plan = await planFor(via);
      const whole = await create(plan);
      const wanted = await reportOf(whole, whole.runSync());
      for (const at of places(whole.instructions, 6)) {
        const machine = await create(plan);
        machine.runSync({ maxInstructions: at });
        const again = await restore(save(machine), plan);
        expect(again.instructions).toBe(at);
        expect(await reportOf(again, again.runSync()), `saved after ${at}`).toBe(wanted);
        expect(await reportOf(machine, machine.runSync()), `the saved one itself, after ${at}`).toBe(wanted);
      }
    });
  }
});
