/** `paths`: one guest through every entry path there is, side by side. It is what `npm start` runs.
 *
 * Each row is a run of its own: how the guest was entered, who filled its boot_params, how many instructions it took to
 * the place where all paths have met, and how it ended.
 * May not: judge differences; that will be `compare`.   Next: the guest itself, guests/tiny. */
import Table from 'cli-table3';
import type { Command } from 'commander';
import { hex } from '../base/numbers.ts';
import { BOOT_PROTOCOLS, type BootPlan, type BootSpec, needsUnpackedKernel, planBoot } from '../boot/index.ts';
import { Machine } from '../machine/machine.ts';
import { findGuest, GUESTS } from './guests.ts';
import { openKernel, unpackKernel } from './kernel-file.ts';
import { parseCount, parseSeconds } from './options.ts';
import { FdOutput } from './output.ts';
import { Progress } from './progress.ts';
import { kernelSymbols } from './symbols.ts';

/** Where the entry paths of Linux have met; a guest without symbols has no such place. */
const MEETING_PLACE = 'start_kernel';

type Options = { cmdline?: string; memory?: string; timeout: string; maxInstructions: string; json?: boolean };

export type PathRun = {
  via: string;
  image: string;
  entry: string;
  mode: '32-bit' | '64-bit';
  /** The register that the path's contract fills, and what with. */
  handedOver: string;
  bootParamsFilledBy: string;
  /** Undefined when the guest has no such symbol or never came there. */
  instructionsToMeetingPlace: number | undefined;
  instructions: number;
  exit: { reason: string; code: number; detail: string };
};

export function addPaths(program: Command): void {
  program
    .command('paths')
    .description('boot a guest through every entry path it has, and print what differs')
    .argument('[kernel]', 'a kernel file, or the name of a built-in guest', 'tiny')
    .option('--cmdline <string>', 'kernel command line')
    .option('--memory <size>', 'RAM of the machine', '256M')
    .option('--timeout <seconds>', 'for each path, time of the host', '60')
    .option(
      '--max-instructions <n>',
      'for each path; a distribution kernel that unpacks itself needs about 6e9',
      '10e9',
    )
    .option('--json', 'for machines')
    .action(async (kernel: string, options: Options) => {
      const runs = await runPaths(kernel, options);
      const output = new FdOutput(1);
      if (options.json) output.write(`${JSON.stringify({ schema: 1, kernel, paths: runs }, null, 2)}\n`);
      else output.write(pathsTable(kernel, runs, process.stdout.isTTY === true && process.env.NO_COLOR === undefined));
      process.exitCode = Math.max(0, ...runs.map(({ exit }) => exit.code));
    });
}

export async function runPaths(kernel: string, options: Options): Promise<PathRun[]> {
  const progress = new Progress(new FdOutput(2), process.stderr.isTTY === true);
  const limits = {
    timeoutSeconds: parseSeconds(options.timeout, '--timeout'),
    maxInstructions: parseCount(options.maxInstructions, '--max-instructions', 1),
  };
  const runs: PathRun[] = [];
  for (const { name: via, accepts } of BOOT_PROTOCOLS) {
    const name = kernelFor(kernel, via);
    if (name === undefined) continue;
    const image = await openKernel(name, via);
    const unpacked = image.format === 'bzimage' && image.payload ? await unpackKernel(image) : undefined;
    if (accepts(image, unpacked) !== true) continue;
    const spec: BootSpec = { via, cmdline: options.cmdline, memory: options.memory };
    const plan = planBoot(image, needsUnpackedKernel(image, spec) ? { ...spec, unpackedKernel: unpacked } : spec);
    const symbols = kernelSymbols(unpacked ? { ...plan, unpackedKernel: unpacked } : plan);
    const machine = await Machine.create(plan, { symbols });
    const onSlice = () =>
      progress.update((s) => `${via}: ${machine.instructions.toLocaleString('en')} instructions, ${s.toFixed(0)} s`);
    const met =
      symbols?.address(MEETING_PLACE) === undefined
        ? undefined
        : await machine.run({ ...limits, until: MEETING_PLACE, onSlice });
    const toMeetingPlace = met?.kind === 'until' ? machine.instructions : undefined;
    const exit = met && met.kind !== 'until' ? met : await machine.run({ ...limits, onSlice });
    runs.push({
      via,
      image: image.name,
      entry: hex(plan.state.rip),
      mode: plan.state.segments.cs.attributes & 0x2000 ? '64-bit' : '32-bit',
      handedOver: handedOver(plan),
      bootParamsFilledBy: plan.bootParamsFilledBy,
      instructionsToMeetingPlace: toMeetingPlace,
      instructions: machine.instructions,
      exit: { reason: exit.kind, code: exit.code, detail: exit.detail },
    });
  }
  progress.clear();
  return runs;
}

/** A built-in guest's own image for the path. No kernel is flat code, so there another built-in guest stands in. */
function kernelFor(kernel: string, via: string): string | undefined {
  const guest = findGuest(kernel);
  if (!guest || via in guest.images) return kernel;
  return via.startsWith('flat') ? GUESTS.find(({ images }) => via in images)?.name : undefined;
}

function handedOver({ state, handover }: BootPlan): string {
  return handover ? `${handover.register} → ${handover.struct} ${hex(handover.at)}` : `rsp ${hex(state.rsp)}`;
}

export function pathsTable(kernel: string, runs: readonly PathRun[], colour: boolean): string {
  const table = new Table({
    head: ['path', 'entered', 'first registers', 'boot_params by', `to ${MEETING_PLACE}`, 'instructions', 'ended'],
    style: { head: colour ? ['cyan'] : [], border: [], compact: true },
    colAligns: ['left', 'left', 'left', 'left', 'right', 'right', 'left'],
  });
  const count = (value: number | undefined) => value?.toLocaleString('en') ?? '-';
  const paint = (text: string, code: number) => (colour ? `\x1b[${code === 0 ? 32 : 31}m${text}\x1b[0m` : text);
  for (const { via, mode, entry, handedOver, bootParamsFilledBy, exit, ...run } of runs) {
    const counts = [count(run.instructionsToMeetingPlace), count(run.instructions)];
    const ended = paint(`${exit.reason} (${exit.code})`, exit.code);
    table.push([via, `${mode}, at ${entry}`, handedOver, bootParamsFilledBy, ...counts, ended]);
  }
  const pathsByImage = new Map<string, string[]>();
  for (const { image, via } of runs) pathsByImage.set(image, [...(pathsByImage.get(image) ?? []), via]);
  const images = [...pathsByImage].map(([image, paths]) => `${image} (${paths.join(', ')})`);
  const failures = runs.filter(({ exit }) => exit.code !== 0).map(({ via, exit }) => `${via}: ${exit.detail}`);
  return `${[`${kernel}: ${images.join('; ')}`, table.toString(), ...failures].join('\n')}\n`;
}
