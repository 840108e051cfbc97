/** Baselines on disk: a folder is read whole before anything runs, and written so that its index comes last.
 *
 * Next: cli/compare-run.ts. */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BASELINE_INDEX, BaselineError, baselineFiles, readBaseline } from '../compare/baseline.ts';
import type { RunSet } from '../compare/changes.ts';
import { version } from './exit-codes.ts';
import { writeFileWhole } from './files.ts';
import { UsageError } from './options.ts';

/** Before an hour's run, not after it. */
export function checkBaselineFolder(folder: string): void {
  if (existsSync(folder) && !statSync(folder).isDirectory()) {
    throw new UsageError({
      what: `${folder} is no folder`,
      where: `--save ${folder}`,
      why: 'a baseline is a folder with a file for each path',
      fix: 'name a folder; it is made when it is not there',
    });
  }
}

export function saveBaseline(folder: string, runs: RunSet): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new UsageError({
      what: `${folder} cannot be made`,
      where: `--save ${folder}`,
      why: (error as Error).message,
      fix: 'choose a folder that may be written',
    });
  }
  const files = baselineFiles(runs, version());
  for (const [name, text] of files) writeFileWhole(join(folder, name), text);
}

/** Larger than any record that this program writes. */
const LARGEST = 1 << 29;

export function loadBaseline(folder: string): RunSet {
  const read = (name: string): string | undefined => {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined || !stat.isFile()) return undefined;
    if (stat.size <= LARGEST) return readFileSync(path, 'utf8');
    throw new BaselineError({
      what: `${path} is too large for a record`,
      where: `--against ${folder}`,
      why: `it has ${stat.size} bytes`,
      fix: `check that ${folder} is what --save wrote; it has an ${BASELINE_INDEX}`,
    });
  };
  return readBaseline(read, folder);
}
