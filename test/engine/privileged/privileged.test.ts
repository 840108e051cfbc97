/** Privileged behaviour against QEMU: guests of ours that try paging, descriptors, gates, rings, exceptions and
 * breakpoints one after the other and print what happened to each.
 *
 * Our console must be what QEMU 7.2 printed (golden/), but for the lines of deviations.ts. Where QEMU is installed the
 * images run there again and must still print the same; UPDATE_GOLDEN=1 keeps what they print. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { planBoot } from '../../../src/boot/index.ts';
import { parseKernel } from '../../../src/image/parse.ts';
import { Machine, type MachineOptions } from '../../../src/machine/machine.ts';
import { DEVIATIONS } from './deviations.ts';

const GUESTS = ['paging2', 'pae', 'long'];
const file = (name: string) => new URL(name, import.meta.url);
const QEMU = 'qemu-system-x86_64';
const version = spawnSync(QEMU, ['--version'], { encoding: 'utf8' }).stdout ?? '';
const recorder = / 7\.2\./.test(version); // other versions deviate elsewhere
if (!recorder) console.log(`skipped: ${QEMU} 7.2 is not installed, its recordings stand`);

const golden = (guest: string) => readFileSync(file(`golden/${guest}.txt`), 'latin1');

async function run(guest: string, options: MachineOptions = {}) {
  const image = parseKernel(`${guest}.elf`, new Uint8Array(readFileSync(file(`images/${guest}.elf`))));
  const machine = await Machine.create(planBoot(image, { via: 'multiboot', memory: '16M' }), {
    cpu: 'max',
    ...options,
  });
  const exit = machine.runSync({ maxInstructions: 1e8 });
  return { exit, console: machine.console.text, machine };
}

/** What a guest should print here: QEMU's lines, with those replaced where QEMU is wrong. */
function expected(guest: string): string {
  const lines = golden(guest).split('\n');
  for (const { guests, test, ours } of DEVIATIONS) {
    if (!guests.includes(guest)) continue;
    const at = lines.findIndex((line) => line.startsWith(`${test}: `));
    expect(at, `${guest} tries "${test}"`).toBeGreaterThanOrEqual(0);
    expect(lines[at], 'a deviation is one').not.toBe(`${test}: ${ours}`);
    lines[at] = `${test}: ${ours}`;
  }
  return lines.join('\n');
}

describe.each(GUESTS)('the guest %s', (guest) => {
  it('prints here what QEMU recorded, deviations apart', async () => {
    const { exit, console } = await run(guest);
    expect(console.split('\n')).toEqual(expected(guest).split('\n'));
    expect(exit).toMatchObject({ kind: 'power-off', code: 0 });
  });

  it('prints the same in short grants, at the same count', async () => {
    const whole = await run(guest);
    const cut = await run(guest, { cpuQuantum: 100 });
    expect(cut.console).toBe(whole.console);
    expect(cut.machine.outcome()).toEqual(whole.machine.outcome());
  });

  it.skipIf(!recorder)('prints in QEMU what was recorded', () => {
    const machine = [
      '-M',
      'pc',
      '-cpu',
      'qemu64',
      '-m',
      '16',
      '-display',
      'none',
      '-monitor',
      'none',
      '-serial',
      'none',
    ];
    const exit = ['-no-reboot', '-debugcon', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04'];
    const kernel = ['-kernel', fileURLToPath(file(`images/${guest}.elf`))];
    const qemu = spawnSync(QEMU, [...machine, ...exit, ...kernel], { encoding: 'latin1', timeout: 20_000 });
    if (process.env.UPDATE_GOLDEN) writeFileSync(file(`golden/${guest}.txt`), qemu.stdout);
    expect(qemu.stdout).toBe(golden(guest));
  });
});
