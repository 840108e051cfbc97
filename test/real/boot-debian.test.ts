/** Debian's stock kernels, from their first instruction to a first process and off again, on every path that they have.
 *
 * Each boot is made once; the recordings in test/real/golden hold the whole console, timestamps included, and nothing in
 * them is masked. UPDATE_GOLDEN=1 makes them anew. Where the guest unpacks an xz payload itself a boot takes half a
 * minute: those run with ZEROPAGE_ALL_BOOTS=1, as CI sets it. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { packInitrd, planBoot, readKernel } from '../../src/index.ts';
import { asGolden, bootReal, golden, once, type RealBoot } from './boots.ts';
import { describeReal, haveReal, realPath } from './files.ts';
import { INIT, initrdWith, SAYS } from './init-program.ts';

const CLOUD = 'vmlinuz-cloud-amd64';
const STOCK = 'vmlinuz-amd64';
const cmdline = 'console=ttyS0';
const initrd = initrdWith(INIT.powerOff);
const PATHS = ['linux64', 'linux32', 'pvh', 'xen-pvh'] as const;
const slow = (kernel: string, via: string) => kernel === STOCK && via.startsWith('linux') && !process.env.ZEROPAGE_ALL_BOOTS; // biome-ignore format: one line

const boots = new Map<string, () => Promise<RealBoot>>(
  [CLOUD, STOCK].flatMap((kernel) =>
    PATHS.map((via) => [`${kernel} ${via}`, once(() => bootReal(kernel, { via, cmdline, initrd }))] as const),
  ),
);
const boot = (kernel: string, via: string) => (boots.get(`${kernel} ${via}`) as () => Promise<RealBoot>)();
const lines = (console: string) => console.replaceAll('\r', '').trimEnd().split('\n');

for (const kernel of [CLOUD, STOCK]) {
  describeReal(kernel, () => {
    describe.each(PATHS)('through %s', { timeout: 600_000 }, (via) => {
      const suspended = slow(kernel, via);
      if (suspended) console.log(`skipped: ${kernel} through ${via} takes half a minute; ZEROPAGE_ALL_BOOTS=1 runs it`);

      it.skipIf(suspended)('runs /init with console=ttyS0 and the usual memory, and powers off', async () => {
        const { exit, console, crash } = await boot(kernel, via);
        expect(exit, crash).toMatchObject({ kind: 'power-off', code: 0 });
        const [init, off] = lines(console).slice(-2);
        expect(init).toBe(SAYS);
        expect(off).toMatch(/^\[ +\d+\.\d{6}\] reboot: System halted$/);
      });

      it.skipIf(suspended)('prints what it printed when it was recorded, timestamps included', async ({ skip }) => {
        const printed = asGolden(kernel, await boot(kernel, via));
        const recording = golden(kernel, `${kernel.replace('vmlinuz-', '')}.${via}`, printed);
        if ('skipped' in recording) return skip(recording.skipped);
        expect(printed).toBe(recording.text);
      });
    });
  });
}

describeReal(CLOUD, () => {
  it('does the same in a second boot, to the last register and byte of memory', { timeout: 300_000 }, async () => {
    const [one, two] = [await boot(CLOUD, 'pvh'), await bootReal(CLOUD, { via: 'pvh', cmdline, initrd })];
    expect(two.outcome).toEqual(one.outcome);
    expect(two.exit).toEqual(one.exit);
  });

  it('boots in 128 MiB, with the longest command line, from microcode and a compressed archive', {
    timeout: 300_000,
  }, async () => {
    const microcode = packInitrd([{ kind: 'file', path: 'kernel/x86/microcode/AuthenticAMD.bin', data: '' }]);
    const parts = Buffer.concat([microcode, gzipSync(initrd)]);
    const longest = `${cmdline} ${'x'.repeat(2047 - cmdline.length - 1)}`;
    const { exit, console, crash } = await bootReal(CLOUD, { via: 'linux64', memory: '128M', cmdline: longest, initrd: parts }); // biome-ignore format: one line
    expect(exit, crash).toMatchObject({ kind: 'power-off', code: 0 });
    expect(console).toContain(`Command line: ${longest.slice(0, 900)}`); // printk's own limit is about a thousand
    expect(lines(console)).toContain(SAYS);
  });

  it('boots in 2 GiB, and a restart is a good end too', { timeout: 300_000 }, async () => {
    const restarting = initrdWith(INIT.restart);
    const { exit, console, crash } = await bootReal(CLOUD, { via: 'pvh', memory: '2G', cmdline, initrd: restarting });
    expect(exit, crash).toMatchObject({ kind: 'power-off', code: 0 });
    expect(exit.detail).toMatch(/said "reboot: Restarting system" and reset the machine/);
    expect(console).toMatch(/Memory: \d+K\/2\d{6}K available/);
  });

  it('panics without an initrd: exit 4, the first fault by name, and the words of the panic', {
    timeout: 300_000,
  }, async () => {
    const { exit, crash } = await bootReal(CLOUD, { via: 'linux32', cmdline: `${cmdline} panic=-1` });
    expect(exit).toMatchObject({ kind: 'panic', code: 4 });
    expect(exit.detail).toMatch(/VFS: Unable to mount root fs/);
    expect(crash).toMatch(/^first fault: #PF page fault, error code 0x0 \(read, in kernel mode, page not present\)$/m);
    expect(crash).toMatch(/^ {4}\| \[ +\d+\.\d+\] Kernel panic - not syncing: VFS: Unable to mount root fs/m);
  });

  it('panics when its first process ends', { timeout: 300_000 }, async () => {
    const { exit, crash } = await bootReal(CLOUD, { via: 'pvh', cmdline, initrd: initrdWith(INIT.exit) });
    expect(exit).toMatchObject({ kind: 'panic', code: 4 });
    expect(exit.detail).toMatch(/Attempted to kill init! exitcode=0x00000700/);
    expect(crash).toMatch(/^ended at 0x[0-9a-f]+ \w+/m);
  });

  it('says where a hang spins, in user space', { timeout: 300_000 }, async () => {
    const { exit, crash } = await bootReal(CLOUD, { via: 'pvh', cmdline, initrd: initrdWith(INIT.spin), run: { maxInstructions: 1.4e9 } }); // biome-ignore format: one line
    expect(exit).toMatchObject({ kind: 'instruction-limit', code: 5 });
    expect(crash).toMatch(
      /where its last 100,000,000 instructions went:\n {4}(100|99)\.\d % user space, page 0x400000\n/,
    );
    expect(crash).toMatch(/^ended at 0x4000[0-9a-f]{2}$/m);
  });

  it('says where a hang spins, in the kernel', { timeout: 300_000 }, async () => {
    const { exit, crash } = await bootReal(CLOUD, { via: 'pvh', cmdline, run: { maxInstructions: 1e8 } });
    expect(exit).toMatchObject({ kind: 'instruction-limit', code: 5 });
    expect(crash).toMatch(/where its last [\d,]+ instructions went:\n( {4}[ \d.]+ % \w+(\.\w+)*\n){3,8}ended at 0x/);
  });
});

describe.runIf(haveReal(CLOUD) && haveReal(STOCK))('too little', () => {
  it.each([
    [CLOUD, 'linux64', '48M'],
    [CLOUD, 'pvh', '24M'],
    [STOCK, 'linux32', '48M'],
    [STOCK, 'linux64', '48M'],
  ] as const)(
    'memory for %s through %s (%s) is refused with the size needed, which is enough',
    async (kernel, via, memory) => {
      const image = await readKernel(realPath(kernel));
      const plan = (size: string) => planBoot(image, { via, memory: size, cmdline, initrd });
      let needed = '';
      expect(() => plan(memory)).toThrow(/--memory \d+M or more/);
      try {
        plan(memory);
      } catch (error) {
        needed = /--memory (\d+M) or more/.exec((error as Error).message)?.[1] ?? '';
      }
      expect(() => plan(needed)).not.toThrow();
    },
  );

  it.each(PATHS)('room for a command line is told with its limit, through %s', async (via) => {
    const image = await readKernel(realPath(CLOUD));
    const plan = (length: number) => planBoot(image, { via, cmdline: 'x'.repeat(length) });
    expect(() => plan(2048)).toThrow(/it has 2048 bytes; 2047 are the most that fit/);
    expect(() => plan(2047)).not.toThrow();
  });
});
