/** A stock kernel that was saved goes on as one that was not, to its last line. Without an initrd its end is a panic. */
import { expect, it } from 'vitest';
import { bytesSource, nodeSnapshotHost as host } from '../../src/cli/snapshot-host.ts';
import { restoredSymbols, savedSymbols } from '../../src/cli/snapshot-symbols.ts';
import { Machine, planBoot, readKernel } from '../../src/index.ts';
import { machineSnapshot, openSnapshot, restoreMachine } from '../../src/machine/snapshot.ts';
import { describeReal, realPath } from './files.ts';

const FILE = 'vmlinuz-cloud-amd64';

describeReal(FILE, () => {
  for (const via of ['pvh', 'xen-pvh'] as const) {
    it(`at start_kernel and late in its boot (${via})`, async () => {
      const plan = planBoot(await readKernel(realPath(FILE), via), { via, cmdline: 'console=ttyS0 panic=-1' });
      const whole = await Machine.create(plan);
      const files: Uint8Array[] = [];
      const save = () => {
        const note = { symbols: savedSymbols(whole.symbols) };
        files.push(new Uint8Array(Buffer.concat([...machineSnapshot(whole, host, note)])));
      };
      expect(whole.runSync({ until: 'start_kernel' }).kind).toBe('until');
      save();
      whole.runSync({ maxInstructions: 1.2e9 });
      save();
      const end = whole.runSync();
      expect(end.kind).toBe('panic');
      expect(whole.console.text).toContain('Unable to mount root fs');
      const places = ['start_kernel', undefined];
      for (const [i, file] of (via === 'pvh' ? files : files.slice(1)).entries()) {
        expect(file.length).toBeLessThan(30e6);
        const snapshot = openSnapshot(bytesSource('it', file), host);
        if (via === 'pvh' && places[i]) expect(snapshot.facts.place).toBe(places[i]);
        const again = await restoreMachine(snapshot, { symbols: () => restoredSymbols(snapshot.symbols) });
        expect(again.runSync()).toEqual(end);
        expect(again.outcome()).toEqual(whole.outcome());
        expect(again.symbolise(again.vcpu.state().rip)).toBe(whole.symbolise(whole.vcpu.state().rip));
      }
    }, 240_000);
  }
});
