/** Boots of real kernels, each made once and judged by several tests. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  type BootSpec,
  crashReport,
  type ExitReason,
  formatCrash,
  Machine,
  type MachineOptions,
  type Outcome,
  planBoot,
  type RunOptions,
  readKernel,
} from '../../src/index.ts';
import { realPath, realVersion } from './files.ts';

export type RealBoot = { exit: ExitReason; console: string; outcome: Outcome; crash: string };
export type BootWish = BootSpec & { machine?: MachineOptions; run?: RunOptions };

/** A guest of ours that hangs ends here, long after all that boot well (the host may be slow, so no seconds). */
const FAR_TOO_MANY = 12e9;

export async function bootReal(kernel: string, { machine: options, run, ...spec }: BootWish): Promise<RealBoot> {
  const plan = planBoot(await readKernel(realPath(kernel), spec.via), spec);
  const machine = await Machine.create(plan, options);
  const exit = await machine.run({ maxInstructions: FAR_TOO_MANY, ...run });
  const scene = machine.scene(16);
  const crash =
    exit.code === 0 ? '' : formatCrash(exit, scene, await crashReport(scene, (at) => machine.symbolise(at)));
  return { exit, console: machine.console.text, outcome: machine.outcome(), crash };
}

/** The same boot, made when it is first asked for. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const goldenPath = (name: string) => fileURLToPath(new URL(`golden/${name}.txt`, import.meta.url));

/** What a boot has printed, with how it ended; nothing is masked. The first line says which package it was. */
export function asGolden(kernel: string, { console, exit }: RealBoot): string {
  return `# ${realVersion(kernel)}\n${console.replaceAll('\r', '')}# ${exit.kind}, exit ${exit.code}: ${exit.detail}\n`;
}

/** The recording to compare with, or why there is none: another version of the kernel prints something else. With
 * UPDATE_GOLDEN=1 what was printed now is kept. */
export function golden(kernel: string, name: string, printed: string): { text: string } | { skipped: string } {
  const path = goldenPath(name);
  if (process.env.UPDATE_GOLDEN) writeFileSync(path, printed);
  if (!existsSync(path)) return { skipped: `there is no recording ${name}` };
  const text = readFileSync(path, 'utf8');
  const recorded = text.slice(2, text.indexOf('\n'));
  if (recorded === realVersion(kernel)) return { text };
  return {
    skipped: `the recording is of ${recorded}, and here is ${realVersion(kernel)} (UPDATE_GOLDEN=1 makes another)`,
  };
}
