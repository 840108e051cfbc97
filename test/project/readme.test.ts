import { execFile } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { addBench } from '../../src/cli/bench.ts';
import { addBoot } from '../../src/cli/boot.ts';
import { addCompare } from '../../src/cli/compare.ts';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { addInspect } from '../../src/cli/inspect.ts';
import { addPaths, pathsTable, runPaths } from '../../src/cli/paths.ts';
import { addPlan } from '../../src/cli/plan.ts';
import { Machine, planBoot, readKernel } from '../../src/index.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** What stands in a block of the README below this command. */
function shownBelow(command: string): string {
  const start = readme.indexOf(`\`\`\`console\n$ ${command}\n`);
  expect(start, `a block for ${command}`).toBeGreaterThan(0);
  const [, , ...lines] = readme.slice(start, readme.indexOf('\n```\n', start) + 1).split('\n');
  return lines.join('\n');
}

describe('README.md', () => {
  it('shows what npm start prints', async () => {
    const table = pathsTable('tiny', await runPaths('tiny', { timeout: '60', maxInstructions: '2e9' }), false);
    expect(shownBelow('npm start')).toBe(table);
  });

  it('shows what boot prints, and how many instructions it takes', async () => {
    const machine = await Machine.create(planBoot(await readKernel('tiny')));
    await machine.run({ maxInstructions: 1e7 });
    expect(shownBelow('npx zeropage boot').split('zeropage: ')[0]).toBe(machine.console.text);
    expect(readme).toContain(`via linux64, ${machine.instructions.toLocaleString('en')} instructions in `);
  });

  it('lists the exit codes as --help does', () => {
    const rows = EXIT_CODES.map(([code, meaning]) => `| ${code} | ${meaning.replace(/--\w+/g, '`$&`')} |`);
    expect(readme).toContain(rows.join('\n'));
  });

  it('names no option that there is not', () => {
    const program = new Command();
    for (const add of [addBench, addBoot, addCompare, addInspect, addPaths, addPlan]) add(program);
    const all = program.commands.flatMap((command) => [command, ...command.commands]); // bench has commands of its own
    const known = new Set(all.flatMap(({ options }) => options.map(({ long }) => long)));
    const named = new Set(readme.match(/(?<=[\s`(])--[a-z][a-z-]+/g));
    expect([...named].filter((option) => !known.has(option))).toEqual(['--help']);
  });

  it('names no script that package.json has not', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const named = [...readme.matchAll(/\bnpm run ([a-z:]+)/g)].map(([, name]) => name);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });

  it.each(['README.md', 'src/README.md', 'guests/README.md', 'CHANGELOG.md'])(
    '%s links to files that exist',
    (file) => {
      const links = [...readFileSync(join(root, file), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)];
      for (const [, to] of links) expect(existsSync(join(root, file, '..', to)), `${file} links to ${to}`).toBe(true);
    },
  );

  describe('the library example', () => {
    let stdout = '';
    beforeAll(async () => {
      const [, code] = readme.match(/```js\n([\s\S]*?)```/) ?? [];
      const file = join(root, 'test', 'project', `.readme-${process.pid}.mjs`);
      writeFileSync(file, code.replace("from 'zeropage'", "from '../../src/index.ts'"));
      try {
        stdout = (await run(process.execPath, ['--import', 'tsx', file], { cwd: root })).stdout;
      } finally {
        rmSync(file);
      }
    });
    it('runs and prints what its comments say', () => {
      const [, said] = readme.match(/\/\/ (until \d+)/) ?? [];
      expect(stdout.split('\n')[0]).toBe(said);
      expect(stdout).toMatch(/verdict: success/);
    });
  });
});
