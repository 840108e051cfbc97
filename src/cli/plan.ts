/** `plan`: what a loader would put where, without running anything.
 *
 * Prints the memory map, every write with its purpose, the structure that the guest is handed field by field, and the
 * first registers; `--diff A,B` sets two entry paths of one kernel side by side, `--json` is for machines.
 * May not: start a machine.   Next: cli/plan-text.ts. */
import { createHash } from 'node:crypto';
import { type Command, Option } from 'commander';
import { parseSize } from '../base/numbers.ts';
import { type PlanJson, planJson } from '../boot/describe.ts';
import {
  BOOT_PROTOCOLS,
  type BootPlan,
  type BootSpec,
  needsUnpackedKernel,
  planBoot,
  UNBUILT_PATHS,
} from '../boot/index.ts';
import type { ElfImage, KernelImage } from '../image/kernel-image.ts';
import { readInitrd, wantsInitramfs } from './initrd-file.ts';
import { parseFile, resolveKernel, unpackKernel } from './kernel-file.ts';
import { parseFrameOrder, UsageError } from './options.ts';
import { FdOutput } from './output.ts';
import { planDiffText } from './plan-diff.ts';
import { planText } from './plan-text.ts';
import { COLOURED, PLAIN, type Style } from './text-table.ts';

export type PlanOptions = {
  via?: string;
  memory?: string;
  initrd?: string;
  cmdline?: string;
  append?: string;
  load?: string;
  mfn?: string;
  unpack?: 'host' | 'guest';
  diff?: string;
  json?: boolean;
};

/** What `--json` prints: one of these, or with --diff two. */
export type PlanDocument = { schema: 1; image: { path: string; format: string; sha256: string }; plan: PlanJson };

const CHOICES: readonly string[] = [...BOOT_PROTOCOLS.map(({ name }) => name), 'auto'];
const KNOWN: readonly string[] = [...CHOICES, ...UNBUILT_PATHS];

export function addPlan(program: Command): void {
  program
    .command('plan')
    .description('what a loader would put where: memory map, writes, first registers')
    .argument('[kernel]', 'a kernel file, or the name of a built-in guest', 'tiny')
    .addOption(new Option('--via <path>', `entry path: ${CHOICES.join(', ')} (default: auto)`))
    .option('--memory <size>', 'RAM of the machine, as 64M or 2G', '256M')
    .option('--initrd <path>', 'initial RAM disk or first module; a folder is packed')
    .option('--cmdline <string>', 'kernel command line')
    .option('--append <string>', 'the same, as QEMU calls it')
    .addOption(
      new Option('--unpack <who>', 'who unpacks a bzImage on linux64 (default: guest)').choices(['host', 'guest']),
    )
    .option('--load <address>', 'where flat code or a relocatable bzImage is loaded')
    .option('--mfn <order>', 'xen-pv: how guest frames lie in the machine: identity, scrambled, scrambled:SEED')
    .option('--diff <a,b>', 'two entry paths of this kernel side by side, as linux64,pvh')
    .option('--json', 'for machines')
    .action(async (kernel: string, options: PlanOptions) => {
      const terminal = process.stdout.isTTY === true;
      const width = Math.max((terminal && process.stdout.columns) || 120, 80);
      const style = terminal && !process.env.NO_COLOR ? COLOURED : PLAIN;
      new FdOutput(1).write(await planOutput(kernel, options, width, style));
    });
}

/** All that the command prints. */
export async function planOutput(
  kernel: string,
  options: PlanOptions,
  width = 120,
  style: Style = PLAIN,
): Promise<string> {
  const paths = chosenPaths(options);
  const spec = await specOf(options);
  const files = new Files();
  const plans: { plan: BootPlan; path: string }[] = [];
  for (const via of paths) {
    const { image, path } = await files.open(kernel, via);
    // In a comparison --unpack and --mfn are for the path that knows them.
    const unpack = paths.length > 1 && via !== 'linux64' ? undefined : spec.unpack;
    const mfn = paths.length > 1 && via !== 'xen-pv' ? undefined : spec.mfn;
    if (options.initrd !== undefined) {
      spec.initrd ??= (await readInitrd(options.initrd, wantsInitramfs(image, via as BootSpec['via']))).bytes;
    }
    const one: BootSpec = { ...spec, via: via as BootSpec['via'], unpack, mfn };
    if (image.format === 'bzimage' && needsUnpackedKernel(image, one)) one.unpackedKernel = await files.unpack(image);
    plans.push({ plan: planBoot(image, one), path });
  }
  if (options.json) {
    const documents = plans.map(({ plan, path }): PlanDocument => ({
      schema: 1,
      image: { path, format: plan.image.format, sha256: sha256(plan.image.bytes) },
      plan: planJson(plan, sha256),
    })); // biome-ignore format: short
    return `${JSON.stringify(documents.length === 1 ? documents[0] : documents, null, 2)}\n`;
  }
  const [{ plan }, other] = plans;
  return other ? planDiffText(plan, other.plan, style) : planText(plan, width, style);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function chosenPaths({ via, diff }: PlanOptions): string[] {
  const paths = diff === undefined ? [via ?? 'auto'] : diff.split(',').map((path) => path.trim());
  const option = diff === undefined ? '--via' : '--diff';
  if (diff !== undefined && via !== undefined) {
    throw usage('--via, --diff', 'entry paths were given twice', '--diff names both paths itself', 'leave --via out');
  }
  if (diff !== undefined && paths.length !== 2) {
    throw usage(
      option,
      `--diff takes two entry paths, not ${JSON.stringify(diff)}`,
      'two names with a comma between them are expected',
      'write it as in --diff linux64,pvh',
    );
  }
  for (const path of paths) {
    if (KNOWN.includes(path)) continue;
    throw usage(
      option,
      `there is no entry path ${JSON.stringify(path)}`,
      `known are ${CHOICES.join(', ')}`,
      'use one of these',
    );
  }
  return paths;
}

async function specOf({ cmdline, append, unpack, load, memory, mfn }: PlanOptions): Promise<BootSpec> {
  if (cmdline !== undefined && append !== undefined) {
    throw usage(
      '--cmdline, --append',
      'two command lines were given',
      'they are two names of one option',
      'use one of them',
    );
  }
  return {
    memory,
    cmdline: cmdline ?? append,
    unpack,
    load: load === undefined ? undefined : parseSize(load, '--load'),
    mfn: mfn === undefined ? undefined : parseFrameOrder(mfn),
  };
}

function usage(where: string, what: string, why: string, fix: string): UsageError {
  return new UsageError({ what, where, why, fix });
}

/** Kernels opened for one command: a comparison reads and unpacks a file once. */
class Files {
  readonly #images = new Map<string, KernelImage>();
  readonly #unpacked = new Map<KernelImage, ElfImage>();

  async open(kernel: string, via: string): Promise<{ image: KernelImage; path: string }> {
    const { name, path, bytes } = await resolveKernel(kernel, via);
    const key = `${path}:${via.startsWith('flat')}`; // flat paths take any file for code
    const image = this.#images.get(key) ?? parseFile(name, bytes, via);
    this.#images.set(key, image);
    return { image, path };
  }

  async unpack(image: KernelImage & { format: 'bzimage' }): Promise<ElfImage> {
    const kernel = this.#unpacked.get(image) ?? (await unpackKernel(image));
    this.#unpacked.set(image, kernel);
    return kernel;
  }
}
