import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { bytesSource, nodeSnapshotHost as host } from '../../src/cli/snapshot-host.ts';
import { restoredSymbols, savedSymbols } from '../../src/cli/snapshot-symbols.ts';
import { kernelSymbols } from '../../src/cli/symbols.ts';
import { planTraced } from '../../src/cli/traced.ts';
import { flatImage } from '../../src/image/parse.ts';
import { type BootPlan, planBoot, readKernel } from '../../src/index.ts';
import { crashReport } from '../../src/machine/crash-report.ts';
import type { ExitReason } from '../../src/machine/exit-reason.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';
import { makeReport } from '../../src/machine/report.ts';
import { machineSnapshot, openSnapshot, type RestoreOptions, restoreMachine } from '../../src/machine/snapshot.ts';
import { tracedRun } from '../../src/machine/traced-run.ts';
import { TraceRecorder } from '../../src/trace/recorder.ts';

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
      for (const at of places(whole.instructions, 4)) {
        const machine = await create(plan);
        machine.runSync({ maxInstructions: at });
        const file = save(machine);
        const again = await restore(file, plan);
        expect(again.instructions).toBe(at);
        expect(Buffer.compare(save(again), file), 'saved again at once').toBe(0);
        expect(await reportOf(again, again.runSync()), `saved after ${at}`).toBe(wanted);
      }
    });
  }

  it('is the one that was saved, which goes on the same', async () => {
    const plan = await planFor('xen-pv');
    const whole = await create(plan);
    const wanted = await reportOf(whole, whole.runSync());
    const machine = await create(plan);
    expect(machine.runSync({ until: 'start_kernel' }).kind).toBe('until');
    const file = save(machine);
    expect(await reportOf(machine, machine.runSync())).toBe(wanted);
    const again = await restore(file, plan);
    expect(again.runSync({ until: 'start_kernel', maxInstructions: 1000 }).kind, 'it has been there').toBe(
      'instruction-limit',
    );
    expect(await reportOf(again, again.runSync())).toBe(wanted);
    expect(() => save(again)).toThrow(BootError);
    expect(() => save(again)).toThrow(/its run is over/);
  });

  it('may be run otherwise: one instruction at a time, in other portions, traced', async () => {
    const plan = await planFor('pvh');
    const machine = await create(plan);
    machine.runSync({ until: 'rest_init' });
    const file = save(machine);
    const outcome = (one: Machine) => [one.runSync(), one.outcome()];
    const wanted = outcome(machine);
    const tracer = new TraceRecorder({ events: true });
    for (const options of [{ plain: true }, { quantum: 777 }, { cpuQuantum: 1234 }, { tracer }]) {
      const again = await restore(file, plan, options);
      expect(outcome(again), Object.keys(options)[0]).toEqual(wanted);
    }
    expect(tracer.events.length).toBeGreaterThan(100);
    expect(tracer.events[0].at).toBeGreaterThanOrEqual(openSnapshot(bytesSource('it', file), host).facts.instructions);
  });

  for (const via of ['linux64', 'xen-pv', 'xen-pvh'] as const) {
    it(`gives the rest of the trace (${via})`, async () => {
      const { plan, kernel } = await planTraced('tiny', { via: via as never, memory: '64M' });
      const traced = { kernel, sha256: (bytes: Uint8Array) => host.sha256(bytes) };
      let file: Uint8Array | undefined;
      const onWaypoint = (name: string, machine: Machine) => {
        if (name === 'start_kernel') file = save(machine);
      };
      const { record: whole } = await tracedRun(plan, { ...traced, onWaypoint });
      const snapshot = openSnapshot(bytesSource('it', file as Uint8Array), host);
      const at = snapshot.facts.instructions;
      const symbols = restoredSymbols(snapshot.symbols);
      const { record: rest } = await tracedRun(snapshot.plan, {
        ...traced,
        kernel: { source: kernel.source, symbols },
        create: (made, options) => restoreMachine(snapshot, options, made),
      });
      expect(rest.restoredAfter).toBe(at);
      expect(whole.restoredAfter).toBeUndefined();
      expect(rest.events).toEqual(whole.events.filter((event) => event.at >= at));
      expect(rest.sleeps).toEqual(whole.sleeps?.filter((sleep) => sleep.at >= at));
      const stop = whole.waypoints.findIndex(({ name }) => name === 'start_kernel');
      const counts = whole.functions.map(({ name, count, counts }) => [name, count - counts[stop]] as const);
      const restCounts = rest.functions.map(({ name, count }) => [name, count] as const);
      expect(new Map(restCounts)).toEqual(new Map(counts.filter(([, count]) => count > 0)));
      expect(rest.console).toBe(whole.console);
      expect(rest.exit).toEqual(whole.exit);
      expect(rest.kernel).toEqual(
        whole.kernel.moved
          ? { ...whole.kernel, moved: undefined, version: undefined }
          : { ...whole.kernel, version: undefined },
      );
    });
  }
});

// 32-bit code at 0x100000, entered by flat32.
const flat = (code: number[]) => planBoot(flatImage('code', Uint8Array.from(code)), { via: 'flat32', memory: '4M' });
/** Polls the line status and sends back what comes in, until a q. */
const ECHO = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0x3c, 0x71, 0x75, 0xed, 0xf4]; // biome-ignore format: code
const FOREVER = [0xeb, 0xfe];
const typed = (text: string) => new TextEncoder().encode(text);

describe('what is under way when a machine is saved', () => {
  it('is kept: input that the guest has not read, and what has been taken so far', async () => {
    const plan = flat(ECHO);
    const machine = await create(plan);
    machine.type(typed('a longer text than fits into the chip, q'));
    machine.runSync({ maxInstructions: 40 });
    const shown = machine.console.text;
    expect(shown.length).toBeGreaterThan(0);
    const again = await restore(save(machine), plan);
    expect(again.console.text).toBe(shown);
    expect(again.runSync({ maxInstructions: 10_000 }).kind).toBe('halted');
    expect(again.console.text).toBe('a longer text than fits into the chip, q');
    expect(again.takenInput.map(({ bytes }) => new TextDecoder().decode(bytes))).toEqual([
      'a longer text than fits into the chip, q',
    ]);
  });

  it('is not given twice: a recording goes on behind what the machine has had', async () => {
    const plan = flat(ECHO);
    const replay = [...'one two q'].map((character, i) => ({ atNs: 100 * (i + 1), bytes: typed(character) }));
    const whole = await create(plan, { replay });
    const wanted = await reportOf(whole, whole.runSync());
    for (const at of [99, 100, 101, 350, 400, 555]) {
      const machine = await create(plan, { replay });
      machine.runSync({ maxInstructions: at });
      const again = await restore(save(machine), plan, { replay });
      expect(await reportOf(again, again.runSync()), `saved after ${at}`).toBe(wanted);
      expect(again.takenInput, `saved after ${at}`).toEqual(whole.takenInput);
    }
  });

  it('is an answer that waits for a prompt which has been printed', async () => {
    const prompt = [...'$ '].flatMap((character) => [0xb0, character.charCodeAt(0), 0xee]); // mov al,c; out dx,al
    const plan = flat([0x66, 0xba, 0xf8, 0x03, ...prompt, ...ECHO]);
    const script = [{ send: typed('ab'), after: '$ ' }, { send: typed('q'), after: 'ab' }]; // biome-ignore format: one line
    const whole = await create(plan, { script });
    const wanted = await reportOf(whole, whole.runSync());
    const machine = await create(plan, { expect: '$ ' });
    expect(machine.runSync().kind).toBe('expected');
    const again = await restore(save(machine), plan, { script });
    expect(await reportOf(again, again.runSync({ maxInstructions: 10_000 }))).toBe(wanted);
    expect(again.console.text).toBe('$ abq');
  });

  it('is kept: a signal behind the last instruction', async () => {
    const plan = flat([0xb0, 0x10, 0xe6, 0xf4, ...FOREVER]); // debug-exit 0x10, and the place to stop right behind it
    const machine = await create(plan);
    const exit = machine.runSync({ until: 0x10_0004n, maxInstructions: 100 });
    const again = exit.kind === 'until' ? await restore(save(machine), plan) : undefined;
    expect((again ? again.runSync({ maxInstructions: 100 }) : exit).kind).toBe('power-off');
  });

  it('is kept: a stale translation, which the guest can see', async () => {
    // Paging with one 4 MiB page at 0, the page table entry at 0x300000 for 0x400000 onwards: mapped to 0x180000, read,
    // then changed to 0x181000 without INVLPG, read again: the old page as long as the TLB holds it.
    const put = (at: number, value: number) => [0xc7, 0x05, ...dword(at), ...dword(value)];
    const code = [
      ...put(0x18_0000, 0x41), ...put(0x18_1000, 0x42), ...put(0x2f_0000, 0x83), ...put(0x2f_0004, 0x1c_0003), ...put(0x1c_0000, 0x18_0003),
      0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0, // cr4 |= PSE
      0xb8, ...dword(0x2f_0000), 0x0f, 0x22, 0xd8, // cr3
      0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, // cr0 |= PG
      0x8a, 0x1d, ...dword(0x40_0000), // mov bl,[0x400000]
      ...put(0x1c_0000, 0x18_1003),
      0x8a, 0x05, ...dword(0x40_0000), 0xe6, 0xe9, // mov al,[0x400000]; out 0xe9,al
      0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, // flush
      0x8a, 0x05, ...dword(0x40_0000), 0xe6, 0xe9, 0xf4,
    ]; // biome-ignore format: code
    const plan = flat(code);
    const whole = await create(plan);
    const wanted = await reportOf(whole, whole.runSync());
    expect(whole.console.text).toBe('AB');
    for (let at = whole.instructions - 9; at < whole.instructions; at++) {
      const machine = await create(plan);
      machine.runSync({ maxInstructions: at });
      const again = await restore(save(machine), plan);
      expect(await reportOf(again, again.runSync()), `saved after ${at}`).toBe(wanted);
    }
  });
});

function dword(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
}
