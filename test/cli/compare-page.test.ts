import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { scratch, zeropage } from './run.ts';

const folder = scratch();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string) => join(folder, name);
const compare = (...more: string[]) => zeropage(['compare', 'tiny', '--via', 'pvh,xen-pv', '--quiet', ...more]);

const MINE = `# my kernel's own
feature command-line
  functions   setup_command_line, note_plants
  allowed on  pc
  reason      to see that somebody reads this

feature misspelt
  functions   cr4_innit_shadow
  required on all before start_kernel
  reason      a name that no kernel has
`;

describe('compare', () => {
  it('writes the same page twice, with the plans and the findings of a rules file in it', async () => {
    writeFileSync(file('my.rules'), MINE);
    const options = ['--rules', file('my.rules'), '--html'];
    const runs = [await compare(...options, file('a.html')), await compare(...options, file('b.html'))];
    const [a, b] = ['a.html', 'b.html'].map((name) => readFileSync(file(name), 'utf8'));
    expect(a).toBe(b);
    expect(a).toMatch(/^<!DOCTYPE html>/);
    for (const words of ['rule/command-line/xen-pv', 'hvm_start_info', 'start_info', 'xen_start_kernel']) {
      expect(a).toContain(words);
    }
    for (const { code, stdout } of runs) {
      expect(stdout).toContain('dead code: command-line ran on xen-pv, where it does not belong (note_plants)');
      expect(stdout).toContain('the rule misspelt was not asked: no path and no symbol shows cr4_innit_shadow');
      expect(code).toBe(1);
    }
  }, 60_000);

  it('refuses a wrong rules file before it boots anything, and writes no page', async () => {
    writeFileSync(file('bad.rules'), 'feature a\n  functons b\n');
    const { code, stdout, stderr } = await compare('--rules', file('bad.rules'), '--html', file('c.html'));
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toContain('RulesError: "functons" is no key of a rules file');
    expect(stderr).toContain('bad.rules:2:3');
    expect(stderr).toContain('did you mean functions?');
    expect(existsSync(file('c.html'))).toBe(false);
  });
});
