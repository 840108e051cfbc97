/** Guests that were not written for us behind the Xen personality: stock Debian kernels, which come as far as their first
 * wait for xenstore (here: to the line that says they have found Xen), and PV-GRUB, which builds a whole address space of
 * its own before it asks xenstore for disks. Nobody answers there yet. */
import { expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { Machine, planBoot } from '../../src/index.ts';
import { describeReal, readReal } from './files.ts';

for (const name of ['vmlinuz-amd64', 'vmlinuz-cloud-amd64']) {
  describeReal(name, () => {
    it('finds itself on Xen', async () => {
      const image = parseKernel(name, readReal(name));
      const unpackedKernel = image.format === 'bzimage' ? unpackKernel(image, nodeUnpackers) : undefined;
      const cmdline = 'console=hvc0 earlyprintk=xen';
      const plan = planBoot(image, { via: 'xen-pv', memory: '256M', cmdline, unpackedKernel });
      const machine = await Machine.create(plan, { expect: 'Hypervisor detected: Xen PV' });
      expect(machine.runSync({ maxInstructions: 200_000_000 })).toMatchObject({ kind: 'expected', code: 0 });
      expect(machine.console.text).toContain('Xen: [mem 0x0000000000100000-0x000000000fffffff] usable');
    }, 60_000);
  });
}

describeReal('grub-x86_64-xen.bin', () => {
  it('moves to page tables of its own, and asks xenstore', async () => {
    const image = parseKernel('grub', readReal('grub-x86_64-xen.bin'));
    const plan = planBoot(image, { via: 'xen-pv', memory: '64M' });
    const machine = await Machine.create(plan);
    expect(machine.runSync({ maxInstructions: 3_000_000 }).kind).toBe('instruction-limit');
    expect(machine.outcome().missing).toEqual(['xenstore']);
    expect(machine.vcpu.state().cr3).not.toBe(plan.state.cr3);
  });
});
