/** A run behind Xen is one run, however the host cuts it. */
import { describe, expect, it } from 'vitest';
import { Machine, type MachineOptions, planBoot, readKernel } from '../../../src/index.ts';

const image = await readKernel('tiny', 'xen-pv');
const boot = (options: MachineOptions = {}) =>
  Machine.create(planBoot(image, { via: 'xen-pv', memory: '64M' }), options);

describe('two runs of a PV guest', () => {
  it('are the same to the bit in every form of the engine', async () => {
    const whole = await boot();
    const exit = whole.runSync();
    const outcome = whole.outcome();
    expect(exit).toMatchObject({ kind: 'power-off', code: 0 });
    for (const options of [{ plain: true }, { cpuQuantum: 3 }, { quantum: 101 }]) {
      const other = await boot(options);
      expect(other.runSync()).toEqual(exit);
      expect(other.outcome()).toEqual(outcome);
    }
    const inSteps = await boot();
    let last = inSteps.step(97);
    while (last.kind === 'instruction-limit') last = inSteps.step(97);
    expect(inSteps.outcome()).toEqual(outcome);
  });
});
