/** The expectations of zeropage/vitest: what they hold, and what a failure shows. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { VmError } from '../src/base/errors.ts';
import { type BootExpectation, expectBoot } from '../src/vitest.ts';
import { scratch } from './cli/run.ts';

const pvh = expectBoot('tiny', { via: 'pvh' });
const panic = expectBoot('tiny', { via: 'pvh', cmdline: 'badptr' });

async function failure(expectation: Promise<void>): Promise<Error> {
  const error = await expectation.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, 'should have failed').toBeInstanceOf(Error);
  return error as Error;
}

describe('expectBoot', { timeout: 60_000 }, () => {
  const holds: [string, (boot: BootExpectation) => Promise<void>][] = [
    ['toReach a function', (boot) => boot.toReach('setup_arch')],
    ['not.toReach', (boot) => boot.not.toReach('spin_forever')],
    ['toHaveRun', (boot) => boot.toHaveRun('setup_arch')],
    ['toHaveRun so often', (boot) => boot.toHaveRun('setup_arch', { times: 1 })],
    ['not.toHaveRun so often', (boot) => boot.not.toHaveRun('setup_arch', { times: 2 })],
    ['not.toHaveRun', (boot) => boot.not.toHaveRun('spin_forever')],
    ['not.toHaveRun what is not there', (boot) => boot.not.toHaveRun('kvm_guest_init', { mayBeAbsent: true })],
    ['toPrint a text', (boot) => boot.toPrint('verdict: success')],
    ['toPrint an expression', (boot) => boot.toPrint(/^Memory: \d+ KiB usable/m)],
    ['not.toPrint', (boot) => boot.not.toPrint('panic')],
    ['toEndWell', (boot) => boot.toEndWell()],
  ];
  it.each(holds)('holds %s, and its contrary fails', async (name, ask) => {
    await ask(pvh);
    if (name.includes('not there')) return; // "ran" fails for another reason there
    const { message } = await failure(ask(pvh.not));
    expect(message).toMatch(/^tiny64\.bzimage via pvh: /);
  });

  it('knows places by address', async () => {
    const { functions } = await pvh.record();
    const address = functions.find(({ name }) => name === 'setup_arch')?.address ?? '0x1';
    await pvh.toReach(BigInt(address));
    expect((await failure(pvh.toReach(0x1000n))).message).toContain(': 0x1000 was not reached\n');
  });

  it('asks each of several paths', async () => {
    await expectBoot('tiny', { via: ['linux64', 'xen-pv'] }).toReach('setup_arch');
    const { message } = await failure(expectBoot('tiny', { via: ['xen-pv', 'pvh'] }).toPrint('on native'));
    expect(message).toMatch(/^tiny64\.bzimage via xen-pv: the console does not show "on native"/);
  });

  it('shows how far the guest came, what it called and printed last, and why it died', async () => {
    const { message } = await failure(panic.toEndWell());
    expect(message).toMatch(/^tiny64\.bzimage via pvh: it ended with panic, exit 4: /);
    expect(message).toMatch(/\n {2}last waypoint: rest_init, after [\d,]+ instructions\n/);
    expect(message).toMatch(/\n {2}newest functions: \w+ \(from \w+\+0x\w+\), /);
    expect(message).toMatch(
      /\n {2}first fault: #PF page fault at touch_bad_pointer\+0x\w+, touching 0xdead0000, after /,
    );
    expect(message).toMatch(/\n {4}> 0xffffffff81\w+ {2}mov esi,\[rax\]/);
    expect(message).toMatch(/\n {2}last console lines:\n( {4}\| .*\n?){3,8}$/);
  });

  it('says when and from where what should not have run did', async () => {
    const { message } = await failure(pvh.not.toHaveRun('setup_arch'));
    expect(message).toMatch(
      /: setup_arch ran once, first after [\d,]+ instructions, called from start_kernel\+0x\w+, and should not\n/,
    );
  });

  it('names the line that came nearest to what was expected', async () => {
    const { message } = await failure(pvh.toPrint('verdict: sucess'));
    expect(message).toContain('\n  nearest line: verdict: success\n');
  });

  it('points at the line of the test', async () => {
    const { stack } = await failure(pvh.toPrint('no such text'));
    expect(stack?.split('\n').find((line) => line.trimStart().startsWith('at '))).toContain('vitest.test.ts');
  });

  it.each([
    ['toHaveRun', (name: string) => pvh.toHaveRun(name)],
    ['not.toHaveRun', (name: string) => pvh.not.toHaveRun(name)],
    ['toReach', (name: string) => pvh.toReach(name)],
    ['not.toReach', (name: string) => pvh.not.toReach(name)],
  ])('%s refuses a misspelt function, and names the nearest', async (_name, ask) => {
    const error = await failure(ask('setup_arhc'));
    expect(error).toBeInstanceOf(VmError);
    expect(error.message).toContain('is it setup_arch?');
  });

  it('runs once for many expectations', async () => {
    const boot = expectBoot('tiny', { via: 'pvh' });
    expect(await boot.record()).toBe(await boot.not.record());
  });

  it('fails what does not come within its limits', async () => {
    const short = expectBoot('tiny', { via: 'pvh', maxInstructions: 1000 });
    expect((await failure(short.toReach('setup_arch'))).message).toContain('instruction-limit, exit 5');
  });
});

describe('toMatchBaseline', { timeout: 120_000 }, () => {
  afterEach(() => vi.unstubAllEnvs());
  const folder = join(scratch(), 'baseline');
  const boot = expectBoot('tiny', { via: ['linux64', 'xen-pv'] });

  it('wants a baseline where CI is set, and makes one elsewhere', async () => {
    vi.stubEnv('CI', 'true');
    expect((await failure(boot.toMatchBaseline(folder))).message).toMatch(/^there is no baseline in \//);
    vi.stubEnv('CI', '');
    await boot.toMatchBaseline(folder);
    expect(existsSync(join(folder, 'index.json'))).toBe(true);
    await boot.toMatchBaseline(folder);
  });

  it('fails when one path has changed, says how, and takes it when it is meant', async () => {
    const other = `${folder}-other`;
    cpSync(folder, other, { recursive: true });
    // A baseline of a kernel whose Xen path called one function less than this one's does.
    const file = join(other, 'xen-pv.json');
    const stored = readFileSync(file, 'utf8').split('\n');
    writeFileSync(file, stored.filter((line) => !line.includes('"name":"cr4_init_shadow"')).join('\n'));
    const { message } = await failure(boot.toMatchBaseline(other));
    expect(message).toContain('cr4_init_shadow');
    expect(message).toContain('xen-pv: ');
    await boot.toMatchBaseline(other, { update: true });
    await boot.toMatchBaseline(other);
  });

  it('has no contrary, and wants more than one path', async () => {
    expect((await failure(boot.not.toMatchBaseline(folder))).message).toMatch(/cannot be asked/);
    expect((await failure(pvh.toMatchBaseline(folder))).message).toMatch(/give several/);
  });
});
