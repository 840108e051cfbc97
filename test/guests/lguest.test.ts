/** The tiny guest through `--via lguest`: its console here, how each word on its command line ends, and what does not
 * depend on the path beside what the same image prints in QEMU. UPDATE_GOLDEN=1 rewrites test/golden/lguest.txt. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { BootSpec } from '../../src/boot/index.ts';
import { type ElfImage, isElf } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { Machine, planBoot } from '../../src/index.ts';
import { readSymtab } from '../../src/symbols/symtab.ts';
import { COMMAND_LINE, comparable, golden, IMAGES, initrd } from './golden.ts';

const goldenHere = new URL('../golden/lguest.txt', import.meta.url);

const image = (file: string) => parseKernel(file, new Uint8Array(readFileSync(new URL(file, IMAGES))));

async function boot(cmdline: string, spec: BootSpec = {}, file = 'tiny32.bzimage') {
  const plan = planBoot(image(file), { via: 'lguest', memory: '128M', initrd: initrd(), cmdline, ...spec });
  const machine = await Machine.create(plan);
  const exit = machine.runSync({ maxInstructions: 5_000_000 });
  return { exit, console: machine.console.text, outcome: machine.outcome() };
}

describe('the tiny guest through lguest', () => {
  it('prints what is recorded, and powers off by hypercall', async () => {
    const { exit, console, outcome } = await boot(COMMAND_LINE);
    const seen = `${console.trimEnd()}\nexit: ${exit.kind} (${exit.code})\n`;
    if (process.env.UPDATE_GOLDEN) writeFileSync(goldenHere, seen);
    expect(seen).toBe(readFileSync(goldenHere, 'latin1'));
    expect(exit).toMatchObject({ kind: 'power-off', code: 0, detail: expect.stringContaining('"Power down"') });
    expect(outcome.missing).toEqual([]);
  });

  it('prints line for line what the same image prints in QEMU, but for the path and its machine', async () => {
    const machines = / via |^mm: |^LGUEST: |RAM map:$|^CPU: /;
    const guest = (console: string) => comparable(console).filter((line) => !machines.test(line));
    const { console } = await boot(COMMAND_LINE);
    expect(guest(console)).toEqual(guest(golden('linux32-i386')));
  });

  it('says that the loader filled boot_params, without having copied the header', async () => {
    const { console } = await boot('');
    expect(console).toMatch(/^boot_params: filled by the loader$/m);
    expect(console).toMatch(/^loader: type 0xff, boot protocol 2\.07, hardware_subarch 1 \(lguest\)$/m);
  });

  it('comes up from its ELF file, too', async () => {
    const { exit, console } = await boot('', {}, 'tiny32.elf');
    expect(exit.code).toBe(0);
    expect(console).toMatch(/ via lguest_entry on lguest$/m);
  });

  it.each(['32M', '48M', '512M', '1G'])('sees its memory as one range, of %s', async (memory) => {
    const { exit, console } = await boot('', { memory });
    expect(exit.code).toBe(0);
    expect(console.match(/^LGUEST: .*$/gm)).toHaveLength(1);
  });

  it('is one run, to the bit, however the host cuts it', async () => {
    const whole = await boot('');
    const plan = planBoot(image('tiny32.bzimage'), { via: 'lguest', memory: '128M', initrd: initrd() });
    for (const options of [{ plain: true }, { cpuQuantum: 3 }, { quantum: 101 }]) {
      const other = await Machine.create(plan, options);
      expect(other.runSync()).toEqual(whole.exit);
      expect(other.outcome()).toEqual(whole.outcome);
    }
    const inSteps = await Machine.create(plan);
    while (inSteps.step(97).kind === 'instruction-limit');
    expect(inSteps.outcome()).toEqual(whole.outcome);
  });

  it.each([
    ['exit=3', 'verdict-failure', 1, /^verdict: failure 3$/m],
    ['panic', 'panic', 4, /^Kernel panic - not syncing: asked for on the command line$/m],
    ['badptr', 'panic', 4, /^BUG: unable to handle page fault for address: dead0000\n#PF: supervisor read access in kernel mode\n#PF: error_code\(0x0000\) - not-present page$/m],
    ['triple', 'killed', 4, /^initrd: init 700 bytes$/m],
    ['spin', 'instruction-limit', 5, /^initrd: init 700 bytes$/m],
  ])('ends "%s" as %s (%i)', async (word, kind, code, line) => { // biome-ignore format: a table
    const { exit, console } = await boot(word);
    expect(exit).toMatchObject({ kind, code });
    expect(console).toMatch(line);
  }); // biome-ignore format: a table

  it('is killed for a fault without a handler, with the trap and the place', async () => {
    const { exit } = await boot('triple');
    const elf = image('tiny32.elf');
    const culprit = isElf(elf)
      ? readSymtab(elf as ElfImage).find(({ name }) => name === 'fault_without_handler')
      : undefined;
    const [, trap, at] = /^lguest killed the guest: unhandled trap (\d+) at (0x[0-9a-f]+)$/.exec(exit.detail) ?? [];
    expect(trap).toBe('6');
    expect(BigInt(at)).toBeGreaterThanOrEqual(culprit?.address ?? 0n);
    expect(BigInt(at)).toBeLessThan((culprit?.address ?? 0n) + (culprit?.size ?? 0n));
  });
});
