/** Builds the tiny guest again with a change in its source, and runs it through its 64-bit paths.
 *
 * One build of the unchanged source is kept with its objects; a variant copies it, edits a file or two, and lets make do
 * the rest (a second or less). Only the ELF file is built, which every path enters without an unpacker. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runPaths } from '../../src/cli/compare-run.ts';
import type { RunSet } from '../../src/compare/changes.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const PATHS = ['linux64', 'pvh', 'xen-pv'] as const;

/** Why variants cannot be built here; undefined when they can. */
export function whyNot(): string | undefined {
  for (const [tool, args] of [
    ['gcc', ['--version']],
    ['make', ['--version']],
    ['ld', ['--version']],
  ] as const) {
    if (spawnSync(tool, args).status !== 0) return `there is no ${tool}`;
  }
  return undefined;
}

/** A file below guests, what stands in it, and what shall stand there. */
export type Edit = readonly [file: string, from: string | RegExp, to: string];

export class Variants {
  readonly #scratch = mkdtempSync(join(tmpdir(), 'zeropage-variants-'));
  readonly #base = join(this.#scratch, 'base');
  #count = 0;

  constructor() {
    for (const name of ['src', 'node_modules', 'package.json', 'tsconfig.json']) {
      symlinkSync(join(root, name), join(this.#scratch, name));
    }
    cpSync(join(root, 'guests'), this.#base, {
      recursive: true,
      filter: (path) => !/\/(?:out|images)(?:\/|$)/.test(path),
    });
    build(this.#base);
  }

  /** The kernel of the changed source. */
  kernel(edits: readonly Edit[]): string {
    const folder = join(this.#scratch, `variant-${this.#count++}`);
    cpSync(this.#base, folder, { recursive: true, preserveTimestamps: true });
    for (const [file, from, to] of edits) {
      const path = join(folder, file);
      const text = readFileSync(path, 'utf8');
      const changed = text.replace(from, to);
      if (changed === text) throw new Error(`${file} has no ${from}: the guest has changed, and this edit must follow`);
      writeFileSync(path, changed);
    }
    build(folder);
    return join(folder, KERNEL);
  }

  async run(edits: readonly Edit[], vias: readonly string[] = PATHS): Promise<RunSet> {
    const kernel = edits.length === 0 ? join(this.#base, KERNEL) : this.kernel(edits);
    return runPaths(kernel, { via: vias, maxInstructions: 20_000_000 });
  }

  remove(): void {
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

const KERNEL = 'out/images/tiny64.elf';

function build(folder: string): void {
  execFileSync('make', ['-s', '-j2', '-C', folder, KERNEL], { stdio: ['ignore', 'ignore', 'inherit'] });
}
