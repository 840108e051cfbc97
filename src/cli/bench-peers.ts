/** Who takes part in `bench engine`, and how to get what is missing.
 *
 * The emulators themselves, and how each is started, stand in bench/peers/emulators.mjs, which is in the checkout only:
 * guest images and scripts for measuring have no place in the package.
 * May not: measure.   Next: cli/bench-report.ts. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Image, OURS } from './bench-report.ts';
import { UsageError } from './options.ts';

type Tool = 'qemu' | 'v86';
export type Installed = Record<Tool, boolean>;

/** In the order of the table's columns; ours comes last. */
export const PEERS: readonly { name: string; tool: Tool; about: string }[] = [
  { name: 'qemu', tool: 'qemu', about: 'QEMU, TCG' },
  { name: 'icount', tool: 'qemu', about: 'QEMU, TCG with -icount: counts instructions, as zeropage does' },
  { name: 'v86', tool: 'v86', about: 'v86 in Node, 32-bit images only' },
  { name: 'v86i', tool: 'v86', about: "v86's interpreter, without its JIT" },
];

export const HOW_TO_GET: Record<Tool, string> = {
  qemu: 'apt-get install qemu-system-x86 (another binary: QEMU=/path/to/qemu-system-x86_64)',
  v86: 'sh bench/peers/setup-v86.sh',
};

const NAMES = [...PEERS.map(({ name }) => name), OURS];

/** The folder above src or dist. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Throws a UsageError where there is nothing to measure with: an installed package, or a checkout that is not built. */
export function checkCheckout(root: string): void {
  if (!existsSync(join(root, 'bench/peers/bench.mjs'))) {
    throw new UsageError({
      what: 'the benchmark is not part of the installed package',
      where: 'zeropage bench engine',
      why: `its guest images and scripts live in the checkout, and ${root} has no bench/peers`,
      fix: 'clone the repository, then: npm ci && npx zeropage bench engine',
    });
  }
  if (!existsSync(join(root, 'dist/cli/main.js'))) {
    throw new UsageError({
      what: 'zeropage is not built',
      where: join(root, 'dist/cli/main.js'),
      why: 'what is measured is the built program, and it is not there',
      fix: 'npm run build',
    });
  }
}

/** The newest file of src, when it is newer than what was built: the figures would be those of yesterday. */
export function newerThanBuilt(root: string): string | undefined {
  const built = statSync(join(root, 'dist/cli/main.js')).mtimeMs;
  return readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .find((file) => statSync(join(root, 'src', file)).mtimeMs > built);
}

/** As bench/peers/emulators.mjs starts it. */
export const QEMU = process.env.QEMU || 'qemu-system-x86_64';

/** Undefined when it is not installed. */
export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? (/version ([\w.]+)/.exec(stdout)?.[1] ?? 'of unknown version') : undefined;
}

export function findInstalled(root: string): Installed {
  return {
    qemu: qemuVersion() !== undefined,
    v86: existsSync(join(root, 'bench/peers/node_modules/v86/package.json')),
  };
}

/** Those asked for, or all that are installed; ours always. `missing` says what is not there and how to get it. */
export function chooseEmulators(
  asked: string | undefined,
  installed: Installed,
): { emulators: string[]; missing: string[] } {
  const wanted = asked?.split(',').map((name) => name.trim());
  const unknown = wanted?.find((name) => !NAMES.includes(name));
  if (unknown !== undefined) {
    throw new UsageError({
      what: `there is no emulator ${JSON.stringify(unknown)}`,
      where: `--emulators ${asked}`,
      why: `the names are ${NAMES.join(', ')}`,
      fix: 'give some of these names, separated by commas',
    });
  }
  const peers = PEERS.filter(({ name }) => !wanted || wanted.includes(name));
  const absent = peers.filter(({ tool }) => !installed[tool]);
  if (wanted && absent.length > 0) {
    throw new UsageError({
      what: `${absent.map(({ name }) => name).join(' and ')} cannot be measured here`,
      where: `--emulators ${asked}`,
      why: `not installed: ${[...new Set(absent.map(({ tool }) => tool))].join(', ')}`,
      fix: [...new Set(absent.map(({ tool }) => HOW_TO_GET[tool]))].join('; '),
    });
  }
  const tools = [...new Set(absent.map(({ tool }) => tool))];
  return {
    emulators: [...peers.filter(({ tool }) => installed[tool]).map(({ name }) => name), OURS],
    missing: tools.map((tool) => {
      const names = absent.filter((peer) => peer.tool === tool).map(({ name }) => name);
      return `without ${names.join(' and ')}: ${tool} is not installed; ${HOW_TO_GET[tool]}`;
    }),
  };
}

/** All images of the benchmark. */
export function readImages(root: string): Image[] {
  const { workloads } = JSON.parse(readFileSync(join(root, 'bench/peers/workloads.json'), 'utf8')) as {
    workloads: { name: string; insns: Record<string, number> }[];
  };
  return [32, 64].flatMap((bits) => workloads.filter(({ insns }) => bits in insns).map(({ name }) => ({ name, bits })));
}

/** Of --only; undefined takes all. */
export function chooseImages(only: string | undefined, images: readonly Image[]): Image[] {
  const wanted = only?.split(',').map((name) => name.trim());
  const names = [...new Set(images.map(({ name }) => name))];
  const unknown = wanted?.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new UsageError({
      what: `there is no workload ${JSON.stringify(unknown)}`,
      where: `--only ${only}`,
      why: `the workloads are ${names.join(', ')}`,
      fix: 'give some of these names, separated by commas',
    });
  }
  return images.filter(({ name }) => !wanted || wanted.includes(name));
}
