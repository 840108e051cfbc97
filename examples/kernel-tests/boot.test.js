// Tests for a kernel's boots. Copy this folder, put your kernel's file where KERNEL says, and `npm install && npm test`.
//
// Without a kernel of yours it is the built-in guest that is tested, so this file runs as it is. Every expectation boots
// the kernel in this process: no QEMU, no KVM, no root; and each run is the same every time, so nothing here is flaky.
import { describe, expect, it } from 'vitest';
import { expectBoot } from 'zeropage/vitest';

const KERNEL = process.env.KERNEL ?? 'tiny';

// Vitest's own 5 seconds are for unit tests; a large kernel takes longer to unpack alone.
describe('the kernel', { timeout: 120_000 }, () => {
  it('sets its architecture up on every path', async () => {
    const boot = expectBoot(KERNEL, { via: ['linux64', 'pvh', 'xen-pv'] });
    await boot.toReach('setup_arch');
  });

  it('keeps the CR4 shadow on Xen as well', async () => {
    // One run serves all expectations of one object.
    const boot = expectBoot(KERNEL, { via: 'xen-pv' });
    await boot.toHaveRun('cr4_init_shadow', { times: 1 });
    await boot.not.toHaveRun('native_init_IRQ'); // bare metal's; a misspelt name would fail, too
  });

  it('ends well and says so', async () => {
    const boot = expectBoot(KERNEL, { via: 'pvh', memory: '128M', cmdline: 'quiet' });
    await boot.toPrint(/^verdict: success/m);
    await boot.toEndWell();
  });

  it('counts what it did, for expectations of your own', async () => {
    const record = await expectBoot(KERNEL, { via: 'linux64' }).record();
    const meeting = record.waypoints.find(({ name }) => name === 'start_kernel');
    expect(meeting.at).toBeLessThan(1_000_000);
    expect(meeting.state.control.cr4).not.toBe('0x0');
  });

  // The first run stores how each path came up, in the folder baseline: commit it. From then on a change that reached one
  // path and not the others fails here. If it is meant: ZEROPAGE_UPDATE=1 npm test.
  it('has not changed on one path only', async () => {
    await expectBoot(KERNEL).toMatchBaseline('baseline');
  });
});
