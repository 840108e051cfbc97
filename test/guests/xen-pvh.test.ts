/** The tiny guest through `--via xen-pvh`: its console, recorded, and that its events come at the same counts in every form
 * of the engine. UPDATE_GOLDEN=1 rewrites test/golden/xen-pvh.txt. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Machine, type MachineOptions, planBoot, readKernel } from '../../src/index.ts';
import { COMMAND_LINE, comparable, golden, initrd } from './golden.ts';

const goldenHere = new URL('../golden/xen-pvh.txt', import.meta.url);

async function boot(cmdline: string, options: MachineOptions = {}) {
  const image = await readKernel('tiny', 'xen-pvh');
  const plan = planBoot(image, { via: 'xen-pvh', memory: '128M', initrd: initrd(), cmdline });
  const machine = await Machine.create(plan, options);
  const exit = machine.runSync({ maxInstructions: 5_000_000 });
  return { exit, console: machine.console.text, machine };
}

describe('the tiny guest through xen-pvh', () => {
  it('prints what is recorded, and powers off by hypercall', async () => {
    const { exit, console, machine } = await boot(COMMAND_LINE);
    const seen = `${console.trimEnd()}\nexit: ${exit.kind} (${exit.code})\n`;
    if (process.env.UPDATE_GOLDEN) writeFileSync(goldenHere, seen);
    expect(seen).toBe(readFileSync(goldenHere, 'latin1'));
    expect(exit.detail).toBe('the guest asked its hypervisor for poweroff');
    expect(machine.outcome().missing).toEqual([]);
  });

  it('prints what it prints through pvh in QEMU, but for what Xen is', async () => {
    const { console } = await boot(COMMAND_LINE);
    const first = 'zeropage tiny kernel (x86_64) via pvh_start on ';
    const [banner, ...rest] = comparable(console);
    expect(banner).toBe(`${first}Xen PVH`);
    expect([`${first}native`, ...rest]).toEqual(comparable(golden('pvh')));
    expect(console).toContain('check: the console page is granted to its backend: ok\n');
  });

  it.each([
    ['one instruction at a time', { plain: true }],
    ['quanta of 1000', { quantum: 1000 }],
    ['quanta of 777 in generated code', { cpuQuantum: 777 }],
  ])('is the same run with %s', async (_, options) => {
    const [usual, other] = [await boot(COMMAND_LINE), await boot(COMMAND_LINE, options)];
    expect(other.machine.outcome().stateHash).toBe(usual.machine.outcome().stateHash);
    expect(other.machine.instructions).toBe(usual.machine.instructions);
    expect(other.console).toBe(usual.console);
  });

  it.each([
    ['exit=3', 'verdict-failure', 1],
    ['panic', 'panic', 4],
    ['plant=domain-type', 'power-off', 0], // it takes itself for a PVH guest without Xen
  ])('%s ends with %s, code %i', async (cmdline, kind, code) => {
    expect((await boot(cmdline)).exit).toMatchObject({ kind, code });
  });
});
