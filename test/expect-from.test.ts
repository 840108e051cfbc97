import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Machine, planBoot, readKernel } from '../src/index.ts';
import { expectBoot } from '../src/vitest.ts';
import { scratch } from './cli/run.ts';

const from = join(scratch(), 'tiny.snap');
beforeAll(async () => {
  const machine = await Machine.create(planBoot(await readKernel('tiny', 'pvh'), { via: 'pvh', memory: '64M' }));
  machine.runSync({ until: 'start_kernel' });
  writeFileSync(from, Machine.snapshot(machine));
});

describe('expectBoot from a snapshot', () => {
  it('sees what runs from there on', async () => {
    const boot = expectBoot('tiny', { from });
    await boot.toReach('rest_init');
    await boot.toHaveRun('setup_arch', { times: 1 });
    await boot.not.toHaveRun('pvh_start_xen', { mayBeAbsent: true });
    await boot.toPrint('verdict: success');
    await boot.toEndWell();
    expect((await boot.record()).restoredAfter).toBeGreaterThan(1000);
  });

  it('fails when the kernel is another by now, and when it is asked for another machine', async () => {
    await expect(expectBoot('tiny32', { from }).toEndWell()).rejects.toThrow(
      /tiny32 is not the kernel of this snapshot/,
    );
    await expect(expectBoot('tiny', { from, memory: '1G' }).toEndWell()).rejects.toThrow(/a snapshot goes on with/);
    await expect(expectBoot('tiny', { from }).toMatchBaseline('nowhere')).rejects.toThrow(/whole boots/);
    await expect(expectBoot('tiny', { from: `${from}.not` }).toEndWell()).rejects.toThrow(/there is no such file/);
  });
});
