/** The tiny guest on the real Xen: Debian's hypervisor, booted by QEMU, starts it as a PV dom0.
 *
 * An independent word on what our Xen personality must do for the same image. A dom0 differs from the domU that
 * `--via xen-pv` makes: it has no console ring (its text goes by console_io) and no XENMEM_memory_map, its initrd lies
 * elsewhere, and the magic ends in "p"; none of that shows in the console but for `comparable`'s lines. What Xen itself
 * says begins with "(XEN)". UPDATE_GOLDEN=1 rewrites the recording. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { Machine, planBoot, readKernel } from '../../src/index.ts';
import { COMMAND_LINE, comparable, IMAGES, initrd, xenGolden } from '../guests/golden.ts';
import { describeReal, readReal } from './files.ts';

const QEMU = 'qemu-system-x86_64';
const haveQemu = spawnSync(QEMU, ['--version']).status === 0;
if (!haveQemu) console.log(`skipped: ${QEMU} is not installed, the tiny guest is not booted on Xen`);

const folder = mkdtempSync(join(tmpdir(), 'zeropage-xen-'));
afterAll(() => rmSync(folder, { recursive: true }));

const XEN_OPTIONS = 'dom0_mem=128M,max:128M console=com1 com1=115200,8n1 cpufreq=none watchdog=0 no-real-mode edd=off';

/** `early`: what the guest said before its first line. */
type Run = { guest: string; early: string; xen: string[] };

/** The same image and words here. */
async function bootHere(cmdline: string): Promise<string> {
  const image = await readKernel('tiny', 'xen-pv');
  const machine = await Machine.create(planBoot(image, { via: 'xen-pv', memory: '128M', initrd: initrd(), cmdline }));
  machine.runSync({ maxInstructions: 5_000_000 });
  return machine.console.text;
}

/** Boots until the domain has ended: Xen says how in its last words. */
function boot(commandLine: string): Promise<Run> {
  writeFileSync(join(folder, 'xen'), gunzipSync(readReal('xen-amd64.gz')));
  writeFileSync(join(folder, 'initrd'), initrd());
  const kernel = fileURLToPath(new URL('tiny64.elf', IMAGES));
  const machine = ['-M', 'pc', '-cpu', 'qemu64', '-m', '384', '-display', 'none', '-monitor', 'none', '-no-reboot'];
  const modules = ['-initrd', `${kernel} ${commandLine},${join(folder, 'initrd')}`];
  const options = [...machine, '-serial', 'stdio', '-kernel', join(folder, 'xen'), '-append', XEN_OPTIONS, ...modules];
  return new Promise((resolve) => {
    const qemu = spawn(QEMU, options, { timeout: 50_000 });
    let console = '';
    qemu.stdout.setEncoding('latin1').on('data', (text: string) => {
      console += text.replaceAll('\r', '');
      if (/^\(XEN\) Hardware Dom0 (halted|crashed|shutdown).*$/m.test(console)) qemu.kill();
    });
    qemu.on('close', () => {
      const lines = console.split('\n');
      const ofXen = (line: string) => line.startsWith('(XEN)');
      const first = lines.findIndex((line) => line.startsWith('zeropage tiny kernel'));
      const text = (from: string[]) => from.filter((line) => !ofXen(line)).join('\n');
      const [guest, early] = first < 0 ? ['', text(lines)] : [text(lines.slice(first)), text(lines.slice(0, first))];
      resolve({ guest, early, xen: lines.filter(ofXen) });
    });
  });
}

describe.skipIf(!haveQemu)('on the real Xen', { timeout: 60_000 }, () => {
  describeReal('xen-amd64.gz', () => {
    it('prints what was recorded, as dom0, and powers off', async () => {
      const run = await boot(COMMAND_LINE);
      if (process.env.UPDATE_GOLDEN) writeFileSync(xenGolden, `${run.guest.trimEnd()}\n`);
      expect(comparable(run.guest)).toEqual(comparable(readFileSync(xenGolden, 'latin1')));
      expect(run.guest).toMatch(/^loader: type 0x90, boot protocol 0\.00, hardware_subarch 2 \(Xen\)$/m);
      expect(comparable(run.guest).at(-1)).toBe('verdict: success');
      expect(comparable(run.guest)).toEqual(comparable(await bootHere(COMMAND_LINE)));
      expect(run.xen.at(-1)).toContain('Dom0 halted');
    });

    it('tells a bad pointer from inside, and Xen that it crashed', async () => {
      const run = await boot('badptr');
      expect(run.guest).toMatch(/^BUG: unable to handle page fault for address: 00000000dead0000$/m);
      expect(run.guest).toContain('#PF: supervisor read access in kernel mode\n#PF: error_code(0x0000) - not-present');
      expect(run.guest).toMatch(/^CR0: 0000000080050033 CR2: 00000000dead0000 .* CR4: 0000000000000660$/m);
      expect(run.guest.trimEnd()).toMatch(/---\[ end Kernel panic - not syncing: Fatal exception \]---$/);
      expect(run.xen.at(-1)).toContain('Dom0 crashed');
      // Every register of the fault is here what it is there, but for R9, in which the console's code left something.
      const oops = (console: string) =>
        console
          .slice(console.indexOf('BUG:'))
          .replace(/ R09: \w+/, '')
          .trimEnd();
      expect(oops(await bootHere('badptr'))).toBe(oops(run.guest));
    });

    it('is crashed by Xen when it faults without a handler', async () => {
      const run = await boot('triple');
      expect(comparable(run.guest).at(-1)).toMatch(/^initrd: init /);
      expect(run.xen.join('\n')).toMatch(/Unhandled: vec 6, #UD/);
      expect(run.xen.at(-1)).toContain('Dom0 crashed');
    });

    // Bugs to plant, from guests/README.md: the guest goes wrong there as it does here.
    it.each([
      ['cr4-shadow', /^check: .* FAILED$/m, 'Dom0 halted'],
      ['kasan', /^BUG: .*\nKASAN: no shadow memory for an access to \w+$/m, 'Dom0 crashed'],
      ['native-iret', /^Oops: general protection fault: error code e030$/m, 'Dom0 crashed'],
      ['phys-bits', /^Kernel panic .*: xen: pin a table: error -22$/m, 'Dom0 crashed'],
    ])('goes wrong with plant=%s as it does here', async (plant, line, end) => {
      const run = await boot(`plant=${plant}`);
      expect(`${run.guest}\n${run.early}`).toMatch(line);
      expect((await bootHere(`plant=${plant}`)).match(line)?.[0]).toBe(`${run.guest}\n${run.early}`.match(line)?.[0]);
      expect(run.xen.at(-1)).toContain(end);
    });
  });
});
