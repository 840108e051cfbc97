/** The tiny guest through `--via xen-pv`: its console here, how each word on its command line ends, and the same boot
 * with the machine's frames in other orders. What the real Xen made of the same image is test/golden/tiny.xen-pv.xen.txt,
 * recorded by test/real/xen.test.ts. UPDATE_GOLDEN=1 rewrites test/golden/xen-pv.txt. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { BootSpec } from '../../src/boot/index.ts';
import { crashReport, formatCrash, Machine, planBoot, readKernel } from '../../src/index.ts';
import { COMMAND_LINE, comparable, initrd, xenGolden } from './golden.ts';

const goldenHere = new URL('../golden/xen-pv.txt', import.meta.url);

async function boot(cmdline: string, spec: BootSpec = {}) {
  const image = await readKernel('tiny', 'xen-pv');
  const machine = await Machine.create(
    planBoot(image, { via: 'xen-pv', memory: '128M', initrd: initrd(), cmdline, ...spec }),
  );
  const exit = machine.runSync({ maxInstructions: 5_000_000 });
  return { exit, console: machine.console.text };
}

describe('the tiny guest through xen-pv', () => {
  it('prints what is recorded, and powers off by hypercall', async () => {
    const { exit, console } = await boot(COMMAND_LINE);
    const seen = `${console.trimEnd()}\nexit: ${exit.kind} (${exit.code})\n`;
    if (process.env.UPDATE_GOLDEN) writeFileSync(goldenHere, seen);
    expect(seen).toBe(readFileSync(goldenHere, 'latin1'));
    expect(exit).toMatchObject({ kind: 'power-off', code: 0 });
  });

  it('is disassembled where it crashed, though its frames lie anywhere in the machine', async () => {
    const image = await readKernel('tiny', 'xen-pv');
    const machine = await Machine.create(planBoot(image, { via: 'xen-pv', memory: '128M', cmdline: 'triple' }));
    const exit = machine.runSync({ maxInstructions: 5_000_000 });
    const scene = machine.scene(16);
    const report = await crashReport(scene, (address) => machine.symbolise(address));
    expect(formatCrash(exit, scene, report)).toMatch(/code at the first fault:\n {2}> 0x[0-9a-f]+ {2}ud2\n/);
  });

  it('prints what it prints on the real Xen', async () => {
    const { console } = await boot(COMMAND_LINE);
    expect(comparable(console)).toEqual(comparable(readFileSync(xenGolden, 'latin1')));
    expect(console).toContain('check: the console page is granted to its backend: ok\n');
  });

  it.each(['identity', { scrambled: 7 }, { scrambled: 99 }] as const)(
    'prints the same, word for word, with its frames in the order %j',
    async (mfn) => {
      const { exit, console } = await boot(COMMAND_LINE, { mfn });
      expect(exit.code).toBe(0);
      expect(`${console.trimEnd()}\nexit: ${exit.kind} (${exit.code})\n`).toBe(readFileSync(goldenHere, 'latin1'));
    },
  );

  it('finds the initrd where the builder put it without mapping it, whatever its size', async () => {
    const big = new Uint8Array(3 << 20);
    big.set(initrd());
    const { console } = await boot('', { initrd: big });
    expect(console).toMatch(/^initrd: init 700 bytes$/m);
    expect(console).toMatch(/^verdict: success$/m);
  });

  it.each([
    ['exit=3', 'verdict-failure', 1, /^verdict: failure 3$/m],
    ['panic', 'panic', 4, /^Kernel panic - not syncing: asked for on the command line$/m],
    [
      'badptr',
      'panic',
      4,
      /^BUG: unable to handle page fault for address: 00000000dead0000\n#PF: supervisor read access in kernel mode\n#PF: error_code\(0x0000\) - not-present page$/m,
    ],
    ['triple', 'killed', 4, /^initrd: init 700 bytes$/m],
    ['spin', 'instruction-limit', 5, /^initrd: init 700 bytes$/m],
  ])('ends "%s" as %s (%i)', async (word, kind, code, line) => {
    // biome-ignore format: a table
    const { exit, console } = await boot(word);
    expect(exit).toMatchObject({ kind, code });
    expect(console).toMatch(line);
  });
});
