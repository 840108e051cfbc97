import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import { addBoot } from '../../src/cli/boot.ts';
import { openKernel } from '../../src/cli/kernel-file.ts';
import { UsageError } from '../../src/cli/options.ts';
import { checkSnapshotOptions, openState, snapshotJson } from '../../src/cli/snapshot.ts';
import { bytesSource, nodeSnapshotHost, withSnapshotFile } from '../../src/cli/snapshot-host.ts';
import { openSnapshot, snapshotFacts } from '../../src/machine/snapshot.ts';
import { scratch, zeropage } from './run.ts';

const folder = scratch();
const at = (name: string) => join(folder, name);
const read = (name: string) => readFileSync(at(name));
const report = (name: string) => {
  const { host, ...rest } = JSON.parse(read(name).toString());
  return { host, rest };
};

/** The options of `boot`, as commander has understood them. */
function parsed(...args: string[]): Command {
  const program = new Command();
  addBoot(program);
  const boot = program.commands[0];
  boot.action(() => {});
  program.parse(['boot', ...args], { from: 'user' });
  return boot;
}

/** One at each place of the run: `whole` goes on behind it. */
let whole: Awaited<ReturnType<typeof zeropage>>;
beforeAll(async () => {
  const saving = ['--save-state', at('setup.snap'), '--save-at', 'setup_arch', '--report', at('whole.json')];
  whole = await zeropage(['boot', 'tiny', '--via', 'pvh', '--memory', '64M', '--cmdline', 'panic', ...saving]);
}, 60_000);

describe('boot --save-state', () => {
  it('keeps the machine in passing, and the run goes on', () => {
    expect(whole.code).toBe(4);
    expect(whole.stdout).toContain('Kernel panic');
    expect(whole.stderr).toMatch(
      /the machine at setup_arch, after [\d,]+ instructions, is in .*setup\.snap \(boot --from/,
    );
    expect(existsSync(at('setup.snap'))).toBe(true);
  });

  it('keeps it where the run stops: at a place, by a limit, at a text', async () => {
    const cases = [
      [['--until', 'start_kernel'], 0, /at start_kernel, after/],
      [['--max-instructions', '5000'], 5, /, after 5,000 instructions/],
      [['--expect', 'mm: '], 0, /is in/],
    ] as const;
    for (const [options, code, says] of cases) {
      const { code: ended, stderr } = await zeropage(['boot', 'tiny', '--save-state', at('stop.snap'), ...options]);
      expect(stderr).toMatch(says);
      expect(ended).toBe(code);
      openSnapshot(bytesSource('it', read('stop.snap')), nodeSnapshotHost);
    }
  });

  it('has not done what was asked when there was nothing to keep', async () => {
    const over = await zeropage(['boot', 'tiny', '--save-state', at('never.snap')]);
    expect(over.code).toBe(1);
    expect(over.stderr).toMatch(/nothing was saved to .*never\.snap: the guest has ended/);
    const missed = await zeropage(['boot', 'tiny', '--save-state', at('never.snap'), '--save-at', '0x1234']);
    expect(missed.code).toBe(1);
    expect(missed.stderr).toMatch(/it did not come to 0x1234/);
    expect(existsSync(at('never.snap'))).toBe(false);
  });

  it('is told when --save-at has no file, and when the place is unknown', async () => {
    expect(() => checkSnapshotOptions(parsed('--save-at', 'start_kernel'))).toThrow(
      /--save-at does not say where to[\s\S]*add --save-state FILE/,
    );
    const unknown = await zeropage(['boot', 'tiny', '--save-state', at('never.snap'), '--save-at', 'start_colonel']);
    expect(unknown.code).toBe(3);
    expect(unknown.stderr).toContain('there is no symbol "start_colonel"');
  });

  it('leaves the old file or the new one, whole, when it is killed while it writes', async () => {
    const place = at('killed');
    mkdirSync(place);
    const target = join(place, 'state.snap');
    const old = read('setup.snap');
    let old_ = 0;
    let during = 0;
    for (let round = 0; round < 4; round++) {
      writeFileSync(target, old);
      during += await killedWhileWriting(place, target, round);
      const now = readFileSync(target);
      if (now.equals(old)) old_++;
      else openSnapshot(bytesSource('it', now), nodeSnapshotHost);
    }
    expect(old_).toBeGreaterThan(0);
    expect(during, 'kills while a draft was there').toBeGreaterThan(0);
  }, 60_000);
});

/** Saves a machine with much in its memory over `target`, and kills the process once the draft has been begun. */
async function killedWhileWriting(place: string, target: string, round: number): Promise<number> {
  const script = fileURLToPath(new URL('save-large.ts', import.meta.url));
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', script, target], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const before = new Set(readdirSync(place));
  let seen = 0;
  for (;;) {
    if (child.exitCode !== null) break;
    const drafts = readdirSync(place).filter((name) => !before.has(name));
    if (drafts.length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 7 * round));
      seen = readdirSync(place).some((name) => drafts.includes(name)) ? 1 : 0;
      child.kill('SIGKILL');
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await ended;
  return seen;
}

describe('boot --from', () => {
  it('goes on to the same end: console, exit code and report, but for what the computer did', async () => {
    const rest = await zeropage(['boot', '--from', at('setup.snap'), '--report', at('rest.json')]);
    expect(rest.code).toBe(4);
    expect(whole.stdout.endsWith(rest.stdout)).toBe(true);
    expect(rest.stdout.length).toBeGreaterThan(100);
    expect(rest.stdout.length).toBeLessThan(whole.stdout.length);
    const { host, rest: told } = report('rest.json');
    // No block survives; how the last ones were found is told by the run that goes on.
    expect({ ...told, crash: { ...told.crash, lastBlocks: 0 } }).toEqual({
      ...report('whole.json').rest,
      crash: { ...report('whole.json').rest.crash, lastBlocks: 0 },
    });
    expect(host.from).toBe(at('setup.snap'));
    expect(rest.stderr).toMatch(/tiny64\.bzimage via pvh, from .*setup\.snap \(after [\d,]+\)/);
  });

  it('needs no kernel file, and knows its names', async () => {
    const place = scratch();
    const kernel = join(place, 'vmlinuz');
    writeFileSync(kernel, readFileSync(fileURLToPath(new URL('../../guests/images/tiny64.bzimage', import.meta.url))));
    const file = join(place, 'it.snap');
    await zeropage(['boot', kernel, '--via', 'pvh', '--save-state', file, '--until', 'start_kernel']);
    writeFileSync(kernel, 'gone');
    const rest = await zeropage(['boot', '--from', file, '--until', 'rest_init', '--trace', join(place, 't.json')]);
    expect(rest.stderr).toMatch(/reached rest_init/);
    expect(rest.stderr).toMatch(/the trace begins at the snapshot, after [\d,]+ instructions/);
    expect(rest.code).toBe(0);
    expect(JSON.parse(readFileSync(join(place, 't.json'), 'utf8')).functions.length).toBeGreaterThan(50);
    const wrong = await zeropage(['boot', 'tiny32', '--from', file]);
    expect(wrong.code).toBe(3);
    expect(wrong.stderr).toMatch(/tiny32 is not the kernel of this snapshot/);
  });

  it('can be saved again further on', async () => {
    const again = await zeropage([
      'boot',
      '--from',
      at('setup.snap'),
      '--save-state',
      at('further.snap'),
      '--until',
      'rest_init',
    ]);
    expect(again.code).toBe(0);
    const rest = await zeropage(['boot', '--from', at('further.snap'), '--quiet']);
    expect(rest.code).toBe(4);
    expect(whole.stdout.endsWith(rest.stdout)).toBe(true);
  });

  const settled = [
    ['--via', 'linux64'], ['--memory', '1G'], ['--cmdline', 'x'], ['--append', 'x'], ['--initrd', 'x'], ['--init', 'x'], ['--cpu', 'max'],
    ['--rtc', '2024-02-29T12:00:00'], ['--mfn', 'identity'], ['--unpack', 'host'], ['--load', '0x200000'],
  ] as const; // biome-ignore format: a list
  for (const [option, value] of settled) {
    it(`refuses ${option}, which was settled when the machine was made, and says why`, () => {
      const check = () => checkSnapshotOptions(parsed('--from', at('setup.snap'), option, value));
      expect(check).toThrow(UsageError);
      expect(check).toThrow(`${option} comes too late`);
      expect(check).toThrow(/why: {3}.*; a snapshot goes on with what it was made with/);
    });
  }

  it('refuses files that are none, with what to do', async () => {
    writeFileSync(at('damaged.snap'), read('setup.snap').fill(7, 300, 310));
    const cases = [
      ['nowhere.snap', /there is no such file[\s\S]*save one first/],
      ['damaged.snap', /the snapshot .*damaged\.snap is damaged[\s\S]*SHA-256/],
      ['', /it is not a regular file/],
    ] as const;
    for (const [name, says] of cases) {
      const opened = withSnapshotFile(at(name), (source) => openState(source, undefined));
      await expect(opened).rejects.toThrow(ImageError);
      await expect(opened).rejects.toThrow(says);
    }
    const { code, stderr } = await zeropage(['boot', '--from', at('damaged.snap')]);
    expect(stderr).toMatch(/^SnapshotError: the snapshot/);
    expect(code).toBe(3);
    await expect(openKernel(at('setup.snap'))).rejects.toThrow(/is no kernel[\s\S]*boot --from/);
  });
});

describe('inspect', () => {
  it('says what a snapshot is of', async () => {
    const { code, stdout } = await zeropage(['inspect', at('setup.snap')]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/a machine to go on from/);
    expect(stdout).toMatch(/stands at +setup_arch \(0x/);
    expect(stdout).toMatch(/command line +"panic"/);
    const facts = snapshotFacts(bytesSource('it', read('setup.snap')), nodeSnapshotHost);
    const { snapshot } = JSON.parse(snapshotJson(facts, 'it', 1));
    expect(snapshot).toMatchObject({ via: 'pvh', place: 'setup_arch', memorySize: 64 * 1024 * 1024 });
  });
});
