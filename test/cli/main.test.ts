import { describe, expect, it } from 'vitest';
import { bootHelp } from '../../src/cli/boot-help.ts';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { verdictTable } from '../../src/machine/verdict.ts';
import { zeropage } from './run.ts';

describe('the command line', { concurrent: true }, () => {
  it('explains itself: commands, where to start, exit codes', async () => {
    const { code, stdout, stderr } = await zeropage(['--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const word of ['boot', 'inspect', 'plan', 'guests', ...EXIT_CODES.map(([code]) => code)])
      expect(stdout).toContain(word);
  });

  it('without a command is wrong usage, and help goes to standard error', async () => {
    const { code, stdout, stderr } = await zeropage([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Usage: zeropage');
  });

  it('names a mistyped option and says where to read on', async () => {
    const { code, stderr } = await zeropage(['boot', '--tmeout', '3']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/unknown option '--tmeout'/);
    expect(stderr).toMatch(/Did you mean --timeout\?/);
    expect(stderr).toMatch(/zeropage boot --help/);
  });

  it('explains a file that is not there, and exits with 3', async () => {
    const { code, stdout, stderr } = await zeropage(['boot', 'no-such-kernel']);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(/^ImageError: .*no-such-kernel\n {2}where: .*\n {2}why: {3}.*\n {2}fix: {3}.*tiny/);
  });

  it('teaches the options of boot, and names nothing that is not built', async () => {
    const { code, stdout } = await zeropage(['boot', '--help']);
    expect(code).toBe(0);
    for (const option of ['--via', '--until', '--replay-input', '--debug-exit-success'])
      expect(stdout).toContain(option);
    expect(stdout).not.toMatch(/translator|--xenstore|xen-pv32/);
  });
});

describe('the help of boot', () => {
  it('has every verdict and every exit code, from the tables that decide them', () => {
    for (const { when, code } of verdictTable) expect(bootHelp()).toContain(`${code}  ${when}`);
    for (const [code, meaning] of EXIT_CODES)
      expect(bootHelp()).toMatch(new RegExp(`^  ${code} +${meaning.slice(0, 10)}`, 'm'));
  });
});
