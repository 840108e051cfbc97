/** Guests that were not written for us behind the Xen personality, PV and PVH: stock Debian kernels, which run to their
 * init and go down again, and PV-GRUB, which comes to a prompt that takes input. */
import { expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { Machine, planBoot } from '../../src/index.ts';
import { packInitrd } from '../../src/initrd/newc.ts';
import { describeReal, readReal } from './files.ts';
import { INITS } from './init.ts';

const initrd = packInitrd([
  { path: 'dev', kind: 'folder' },
  { path: 'dev/console', kind: 'character device', major: 5, minor: 1 },
  { path: 'init', kind: 'file', mode: 0o755, data: INITS.restart },
]);

function boot(name: string, via: 'xen-pv' | 'xen-pvh', cmdline: string) {
  const image = parseKernel(name, readReal(name));
  const unpackedKernel = image.format === 'bzimage' ? unpackKernel(image, nodeUnpackers) : undefined;
  return planBoot(image, { via, memory: '256M', cmdline, unpackedKernel, initrd });
}

describeReal('vmlinuz-cloud-amd64', () => {
  it('runs through xen-pvh on hvc0 to its init, and asks Xen for a reboot', async () => {
    const machine = await Machine.create(boot('vmlinuz-cloud-amd64', 'xen-pvh', 'console=hvc0'));
    const exit = machine.runSync({ maxInstructions: 3_000_000_000 });
    const { text } = machine.console;
    for (const line of [
      'Hypervisor detected: Xen HVM',
      'Xen version 4.17.',
      'Booting kernel on Xen PVH',
      'xen:events: Xen HVM callback vector for event delivery is enabled',
      'printk: console [hvc0] enabled',
      'Grant table initialized',
      'Run /init as init process',
      'hello from init',
      'reboot: Restarting system',
    ])
      expect(text).toContain(line);
    expect(exit).toMatchObject({ kind: 'power-off', code: 0, detail: 'the guest asked its hypervisor for reboot' });
    expect(machine.outcome().missing).toEqual(['event_channel_op init_control']);
  }, 120_000);
});

describeReal('vmlinuz-amd64', () => {
  it('finds Xen through xen-pvh with its console on the serial port', async () => {
    const plan = boot('vmlinuz-amd64', 'xen-pvh', 'console=ttyS0');
    const machine = await Machine.create(plan, { expect: 'Grant table initialized' });
    expect(machine.runSync({ maxInstructions: 1_000_000_000 })).toMatchObject({ kind: 'expected', code: 0 });
    expect(machine.console.text).toContain('printk: console [ttyS0] enabled');
    expect(machine.console.text).not.toContain('hvc0');
  }, 60_000);

  it('passes its first requests to xenstore through xen-pv', async () => {
    const plan = boot('vmlinuz-amd64', 'xen-pv', 'console=hvc0 earlyprintk=xen');
    const machine = await Machine.create(plan, { expect: 'Initialising Xen' });
    machine.runSync({ maxInstructions: 1_000_000_000 });
    expect(machine.console.text).toContain('Hypervisor detected: Xen PV');
    expect(machine.console.text).toContain('Xen: [mem 0x0000000000100000-0x000000000fffffff] usable');
  }, 60_000);
});

for (const [file, via] of [
  ['grub-i386-xen_pvh.bin', 'xen-pvh'],
  ['grub-x86_64-xen.bin', 'xen-pv'],
] as const) {
  describeReal(file, () => {
    it('comes to its prompt, takes a line and powers off', async () => {
      const image = parseKernel('grub', readReal(file));
      const keys = (text: string) => ({ after: 'grub> ', send: new TextEncoder().encode(text) });
      const machine = await Machine.create(planBoot(image, { via, memory: '64M' }), {
        script: [keys('echo good evening\n'), keys('halt\n')],
      });
      expect(machine.runSync({ maxInstructions: 200_000_000 })).toMatchObject({ kind: 'power-off', code: 0 });
      expect(machine.console.text).toMatch(/\n\r?good evening/);
      expect(machine.outcome().missing).toEqual([]);
    }, 30_000);
  });
}
