/** `bench boot` measures; these tests look at what it boots, counts and says, never at how long something took. The
 * processes that it starts run from source here, as it does itself. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { BootError, ImageError, VmError } from '../../src/base/errors.ts';
import { addBenchBoot } from '../../src/cli/bench-boot.ts';
import {
  type BootResult,
  bootJson,
  bootText,
  type MeasuredBoots,
  timesQemu,
  timesQemusCpu,
} from '../../src/cli/bench-boot-report.ts';
import { bootRows, QEMU_BZIMAGE, QEMU_PVH } from '../../src/cli/bench-boot-rows.ts';
import { qemuVersion } from '../../src/cli/bench-peers.ts';
import { UsageError } from '../../src/cli/options.ts';
import { PARTS } from '../../src/cli/profile-parts.ts';
import { buildInitrd } from '../../src/initrd/build.ts';
import { scratch, shell, zeropage } from './run.ts';

const hasQemu = qemuVersion() !== undefined;

/** The tables' lines are not Latin-1, which the harness reads. */
const utf8 = (text: string) => Buffer.from(text, 'latin1').toString();

type Document = {
  schema: number;
  boots: {
    name: string;
    beside?: string;
    runs: Record<string, number>[];
    medians: Record<string, number>;
    failed?: string;
    timesQemu?: number;
    profileSeconds?: Record<string, number>;
  }[];
};
const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Document;

describe('bench boot', { timeout: 120_000 }, () => {
  it('boots the built-in guest in turn and shows where the time goes, without QEMU where there is none', async () => {
    const json = join(scratch(), 'boot.json');
    const args = `bench boot --via linux64 --unpack host --rounds 2 --json ${json}`;
    const { code, stdout, stderr } = await shell(`QEMU=/nowhere/qemu $ZEROPAGE ${args}`);
    expect(code).toBe(0);
    const { schema, boots } = read(json);
    expect(schema).toBe(1);
    expect(boots.map(({ name }) => name)).toEqual(['linux64, host unpacks']);
    const [{ runs, medians, profileSeconds }] = boots;
    expect(runs).toHaveLength(2);
    for (const { firstByte, end, instructions } of runs) {
      expect(end).toBeGreaterThanOrEqual(firstByte);
      expect(instructions).toBe(medians.instructions); // the same in every round
    }
    expect(medians.instructions).toBeGreaterThan(100_000);
    if (existsSync('/proc/self/status')) expect(medians.peakMemory).toBeGreaterThan(3e7);
    expect(Object.keys(profileSeconds ?? {})).toEqual(PARTS.map(([part]) => part));
    for (const part of ['start', 'devices']) expect(profileSeconds?.[part], part).toBeGreaterThan(0);
    expect(utf8(stdout)).toMatch(/│ where the time goes +│ +linux64, host unpacks │/);
    expect(utf8(stdout)).not.toMatch(/× QEMU|the line|Run \/init/);
    expect(stderr.match(/apt-get install qemu-system-x86/g)).toHaveLength(1);
  });

  it('waits for a line, names the boot that never says it, and holds the others beside QEMU where it is', async () => {
    const json = join(scratch(), 'boot.json');
    const args = ['--via', 'linux64,pvh', '--unpack', 'guest', '--line', '/ via pvh_start/', '--rounds', '1'];
    const { code, stdout, stderr } = await zeropage(['bench', 'boot', ...args, '--no-profile', '--json', json]);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('npm run build') });
    const { boots } = read(json);
    const [linux64, pvh] = boots;
    expect(linux64.failed).toMatch(/exit 1/);
    expect(utf8(stdout)).toContain(`\nlinux64: n/a, ${linux64.failed}\n`);
    expect(pvh.medians.line).toBeGreaterThan(0);
    expect(pvh.medians.end).toBeGreaterThanOrEqual(pvh.medians.line);
    expect(utf8(stdout)).not.toContain('where the time goes');
    if (!hasQemu) return;
    expect(boots.map(({ name, beside }) => [name, beside])).toEqual([
      ['linux64', QEMU_BZIMAGE],
      ['pvh', QEMU_PVH],
      [QEMU_BZIMAGE, undefined],
      [QEMU_PVH, undefined],
    ]);
    const [, , bzImage, elf] = boots;
    expect(bzImage.failed).toContain('without the line');
    expect(elf.medians.line).toBeGreaterThan(0);
    expect(elf.medians.end).toBeUndefined(); // killed at the line
    expect(pvh.timesQemu).toBeCloseTo(pvh.medians.line / elf.medians.line, 9);
    expect(utf8(stdout)).toContain("× QEMU is our time over QEMU's, to the line");
  });

  it.skipIf(!existsSync('/proc/self/task'))('takes its boots and its files along on Ctrl-C (Linux only)', async () => {
    const folder = scratch();
    const { stdout } = await shell(`
      TMPDIR=${folder} $ZEROPAGE bench boot --rounds 1000 --no-qemu > ${folder}/out & pid=$!
      until [ -n "$boot" ] || ! kill -0 $pid; do
        for child in $(cat /proc/$pid/task/*/children); do
          tr '\\0' ' ' < /proc/$child/cmdline | grep -q 'main.ts boot' && boot=$child
        done
        sleep 0.05
      done 2> /dev/null
      ls ${folder} | grep -c zeropage-bench-
      kill -INT $pid; wait $pid; echo "code $?"
      kill -0 $boot 2> /dev/null && echo "$boot lives on"
      ls ${folder} | grep -c zeropage-bench-; wc -c < ${folder}/out`);
    expect(stdout).toBe('1\ncode 130\n0\n0\n');
  });

  const command = () => {
    const program = new Command().exitOverride();
    const said: string[] = [];
    addBenchBoot(program);
    program.commands[0].exitOverride().configureOutput({ writeOut: (text) => said.push(text), writeErr: () => {} });
    return { said, run: (args: readonly string[]) => program.parseAsync(['boot', ...args], { from: 'user' }) };
  };

  it('teaches itself', async () => {
    const { said, run } = command();
    await expect(run(['--help'])).rejects.toMatchObject({ exitCode: 0 });
    for (const word of ['--via', '--unpack', '--line', '--rounds', '--no-qemu', '--no-profile', '--json', '× QEMU'])
      expect(said.join('')).toContain(word);
  });

  it.each([
    [['--via', 'floppy'], UsageError, /there is no entry path "floppy"[\s\S]*linux64/],
    [['--rounds', '0'], UsageError, /--rounds is out of range/],
    [['--line', '/(/'], UsageError, /--line is not a regular expression/],
    [['--timeout', 'soon'], UsageError, /--timeout is not a time/],
    [['--memory', 'much'], VmError, /--memory/],
    [['--memory', '1M'], BootError, /1 MiB of memory/],
    [['--json', '/nowhere/x'], UsageError, /\/nowhere\/x cannot be written/],
    [['--unpack', 'nobody'], CommanderError, /nobody/],
    [['/nowhere/vmlinuz'], ImageError, /cannot open \/nowhere\/vmlinuz/],
    [['package.json'], VmError, /package.json supports no entry path/],
    [['--initrd', '/nowhere/initrd'], ImageError, /\/nowhere\/initrd/],
    [['--initrd', 'package.json'], ImageError, /package.json is not an initrd/],
    [['tiny32', '--via', 'linux64'], VmError, /linux64/],
  ] as const)('%j is refused before anything is measured', async (args, kind, words) => {
    const failure = await command().run(['--no-qemu', '--rounds', '1', ...args]).catch((error: unknown) => error); // biome-ignore format: one line
    expect(failure).toBeInstanceOf(kind);
    expect((failure as Error).message).toMatch(words);
  });
});

describe('the rows of bench boot', () => {
  const options = { memory: '256M', qemu: true };

  it('are the usual paths that a kernel supports, with QEMU behind them', async () => {
    const rows = await bootRows('tiny', options, scratch());
    expect(rows.map(({ name, via, beside }) => [name, via, beside])).toEqual([
      ['linux64', 'linux64', QEMU_BZIMAGE],
      ['linux64, host unpacks', 'linux64', QEMU_BZIMAGE],
      ['linux32', 'linux32', QEMU_BZIMAGE],
      ['pvh', 'pvh', QEMU_PVH],
      ['xen-pvh', 'xen-pvh', QEMU_PVH],
      [QEMU_BZIMAGE, undefined, undefined],
      [QEMU_PVH, undefined, undefined],
    ]);
    expect(rows[1].command.join(' ')).toContain('--via linux64 --memory 256M --log-level error --unpack host');
  });

  it('give QEMU the ELF file inside a bzImage, and everything else that ours get', async () => {
    const folder = scratch();
    const initrd = join(folder, 'init.cpio');
    writeFileSync(initrd, buildInitrd([]).bytes);
    const args = { ...options, cmdline: 'a "b" c', initrd, line: 'x' };
    const [pvh, qemu] = await bootRows('guests/images/tiny64.elf', { ...args, via: 'pvh' }, folder);
    expect(pvh.command.slice(-4)).toEqual(['--cmdline', 'a "b" c', '--expect', 'x']);
    expect(qemu.command.join(' ')).toContain('-m 262144k -nodefaults');
    expect(qemu.command.slice(-6)).toEqual(['-kernel', 'guests/images/tiny64.elf', '-initrd', initrd, '-append', 'a "b" c']); // biome-ignore format: one line
    const [, inside] = await bootRows('guests/images/tiny64.bzimage', { ...options, via: 'pvh' }, folder);
    expect(inside.command.at(-1)).toBe(join(folder, 'vmlinux'));
    expect(readFileSync(join(folder, 'vmlinux')).subarray(0, 4).toString('latin1')).toBe('\x7fELF');
  });

  it('have nothing of QEMU for a path that it does not know, or when it is not wanted', async () => {
    for (const args of [
      { ...options, via: 'xen-pv' },
      { ...options, via: 'pvh', qemu: false },
    ])
      expect((await bootRows('tiny', args, scratch())).map(({ beside }) => beside)).toEqual([undefined]);
  });

  it('pack a folder once for all', async () => {
    const folder = scratch();
    const rows = await bootRows('tiny', { ...options, initrd: 'guests/images', via: 'pvh,linux32' }, folder);
    for (const { command } of rows) expect(command).toContain(join(folder, 'initrd.cpio'));
  });
});

describe('the report of bench boot', () => {
  const result = (name: string, runs: BootResult['runs'], beside?: string): BootResult => ({ name, via: beside && name, beside, runs }); // biome-ignore format: one line
  const measured = (results: BootResult[], more: Partial<MeasuredBoots> = {}): MeasuredBoots => ({
    machine: 'a machine',
    qemu: '7.2',
    date: '2024-02-29T12:00:00.000Z',
    kernel: 'vmlinuz',
    builtIn: false,
    memory: 256 * 2 ** 20,
    cmdline: 'console=ttyS0',
    line: undefined,
    rounds: 3,
    othersCpus: 0.01,
    results,
    ...more,
  });
  const ends = (...times: number[]) => times.map((end) => ({ end, cpuSeconds: end / 500, peakMemory: 5e8 }));
  const ours = result('pvh', ends(4000, 9000, 5000), QEMU_PVH);
  const theirs = result(QEMU_PVH, ends(2000, 3000, 2500));

  it('takes the median of the ratios within the rounds', () => {
    expect(timesQemu(ours, measured([ours, theirs]))).toBe(2); // 2, 3, 2: not 5000 / 2500 by chance
    expect(timesQemusCpu(ours, measured([ours, theirs]))).toBe(2);
    const odd = result('pvh', ends(1000, 9000, 5000), QEMU_PVH);
    expect(timesQemu(odd, measured([odd, theirs]))).toBe(2); // 0.5, 3, 2
    expect(timesQemu(theirs, measured([ours, theirs]))).toBeUndefined();
    expect(timesQemu(ours, measured([ours]))).toBeUndefined();
  });

  it('compares the times to the line where there is one', () => {
    const at = (line: number) => [{ line, end: line + 1e6 }];
    const [a, b] = [result('pvh', at(300), QEMU_PVH), result(QEMU_PVH, at(200))];
    expect(timesQemu(a, measured([a, b], { line: 'x' }))).toBe(1.5);
  });

  it('says which targets are met, and only of kernels', () => {
    const text = bootText(measured([ours, theirs]), false);
    expect(text).toContain('- pvh: 2.00× the time of QEMU, PVH; the target is at most 2.5×: met\n');
    expect(text).toContain("- peak memory: at most 232 MB more than the guest's RAM; the target is 300 MB more: met\n");
    const slow = result('linux64, host unpacks', ends(4000), QEMU_PVH);
    expect(bootText(measured([slow, theirs]), false)).toContain('the target is at most 1×: missed\n');
    expect(bootText(measured([ours, theirs], { builtIn: true }), false)).not.toContain('target');
  });

  it('counts the memory of ours alone, and says when a verdict was given on a busy machine', () => {
    const large = { ...theirs, runs: theirs.runs.map((run) => ({ ...run, peakMemory: 9e8 })) };
    const text = bootText(measured([ours, large], { othersCpus: 1 }), false);
    expect(text).toContain('at most 232 MB more');
    expect(text).toContain('at most 2.5×: met (on a busy machine)\n');
  });

  it('leaves the columns of QEMU out where nothing could be compared', () => {
    const failed = { ...result('pvh', [], QEMU_PVH), failed: 'panic' };
    expect(bootText(measured([failed, theirs]), false)).not.toContain('× QEMU');
  });

  it('does not hide a failed row, a busy machine or rounds that differ', () => {
    const failed = { ...result('linux32', [], QEMU_BZIMAGE), failed: 'panic, exit 4: words' };
    const odd = result('linux64', [{ end: 1, instructions: 5 }, { end: 1, instructions: 6 }]); // biome-ignore format: one line
    const text = bootText(measured([ours, theirs, failed, odd], { othersCpus: 1 }), false);
    expect(text).toContain('linux32: n/a, panic, exit 4: words\n');
    expect(text).toContain('The machine was not left alone');
    expect(text).toContain('linux64: the rounds differ in their instructions (5, 6)');
    expect(bootText(measured([ours, theirs]), false)).not.toContain('left alone');
  });

  it('gives a part of a profile in seconds and in percent', () => {
    const profile = PARTS.map(([part]) => ({ part, seconds: part === 'decode' ? 1 : part === 'interpret' ? 3 : 0 }));
    const text = bootText(measured([{ ...ours, profile }]), false);
    expect(text).toMatch(
      /│ decoding +│ 1\.00 s {2}25 % │\n│ interpreting \(WebAssembly\) │ 3\.00 s {2}75 % │\n│ all +│ 4\.00 s 100 % │/,
    );
    expect(bootJson(measured([{ ...ours, profile }]))).toMatchObject({ boots: [{ profileSeconds: { decode: 1 } }] });
  });
});
