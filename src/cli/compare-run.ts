/** One kernel through several paths, each traced: what `compare` judges.
 *
 * Without a wish, every path that the kernel supports is taken (flat code and Multiboot are no ways into a Linux), each
 * with the image that a built-in guest has for it. The command line, initrd and memory are the same for all.
 * May not: judge.   Next: cli/compare-kernel.ts. */
import { handoverFields } from '../boot/describe.ts';
import { BOOT_PROTOCOLS, type BootSpec } from '../boot/index.ts';
import { functionNames } from '../compare/baseline.ts';
import type { RunSet } from '../compare/changes.ts';
import type { HandedOver } from '../compare/html.ts';
import { tracedRun } from '../machine/traced-run.ts';
import { functionStarts } from '../symbols/functions.ts';
import type { SymbolSource } from '../symbols/symbol-list.ts';
import type { RunRecord } from '../trace/run-record.ts';
import { VIA_KNOWN } from './boot-help.ts';
import { findGuest } from './guests.ts';
import { openKernel, unpackKernel } from './kernel-file.ts';
import { UsageError } from './options.ts';
import { planTraced, sha256 } from './traced.ts';

export type CompareRunOptions = {
  /** Paths by name; undefined: all that the kernel supports. */
  via?: readonly string[];
  memory?: number | string;
  cmdline?: string;
  initrd?: Uint8Array;
  /** A file with symbols. */
  symbols?: string;
  /** Symbols or addresses beside the usual places. */
  waypoints?: readonly (string | bigint)[];
  /** Where each run ends well, instead of at its end. */
  until?: string | bigint;
  timeoutSeconds?: number;
  maxInstructions?: number;
  signal?: AbortSignal;
  onProgress?: (via: string, instructions: number) => void;
};

/** Flat code and toy kernels have no paths that meet. */
const NOT_COMPARED: readonly string[] = ['flat32', 'flat64', 'multiboot'];

/** Where a path's first C function shows what the assembly before it forgot. */
const FIRST_C_FUNCTIONS = ['prepare_pvh', 'xen_prepare_pvh'];

/** `handedOver`: what each loader gave its guest. */
export async function runPaths(
  kernel: string,
  options: CompareRunOptions,
): Promise<RunSet & { handedOver: HandedOver[] }> {
  const records: RunRecord[] = [];
  const handedOver: HandedOver[] = [];
  const names = new Map<string, ReadonlySet<string>>();
  const globals = new Map<string, ReadonlySet<string>>();
  for (const via of await choosePaths(kernel, options.via)) {
    if (options.signal?.aborted) break;
    const { memory, cmdline, initrd } = options;
    const spec: BootSpec = { via: via as BootSpec['via'], memory, cmdline, initrd };
    options.onProgress?.(via, 0);
    const traced = await planTraced(kernel, spec, options.symbols);
    const { symbols } = traced.kernel;
    const { handover } = traced.plan;
    if (handover) handedOver.push({ via, struct: handover.struct, fields: handoverFields(traced.plan) });
    if (symbols) {
      const starts = functionStarts(symbols);
      names.set(via, functionNames(Array.from({ length: starts.count }, (_, index) => starts.nameAt(index))));
      globals.set(via, functionNames(globalFunctions(symbols)));
    }
    let instructions = () => 0;
    const { record } = await tracedRun(traced.plan, {
      kernel: traced.kernel,
      sha256,
      waypoints: [
        ...(options.waypoints ?? []),
        ...FIRST_C_FUNCTIONS.filter(
          (name) => symbols?.address(name) !== undefined && !options.waypoints?.includes(name),
        ),
      ],
      until: options.until,
      timeoutSeconds: options.timeoutSeconds,
      maxInstructions: options.maxInstructions,
      signal: options.signal,
      onMachine: (machine) => {
        instructions = () => machine.instructions;
      },
      onSlice: () => options.onProgress?.(via, instructions()),
    });
    records.push(record);
  }
  return { records, known: (via) => names.get(via), globals: (via) => globals.get(via), handedOver };
}

function* globalFunctions(symbols: SymbolSource): Generator<string> {
  for (let index = symbols.perCpuCount; index < symbols.count; index++) {
    if (symbols.isFunctionAt(index) && symbols.bindingAt(index) === 'global') yield symbols.nameAt(index);
  }
}

async function choosePaths(kernel: string, asked: readonly string[] | undefined): Promise<string[]> {
  if (asked) return checked(asked);
  const guest = findGuest(kernel);
  const paths: string[] = [];
  for (const { name, accepts } of BOOT_PROTOCOLS) {
    if (NOT_COMPARED.includes(name) || (guest && !(name in guest.images))) continue;
    const image = await openKernel(kernel, name);
    const unpacked = image.format === 'bzimage' && image.payload ? await unpackKernel(image) : undefined;
    if (accepts(image, unpacked) === true) paths.push(name);
  }
  if (paths.length > 1) return paths;
  throw new UsageError({
    what: `${kernel} has no two paths to compare`,
    where: '[kernel]',
    why: paths.length === 1 ? `it supports ${paths[0]} only` : 'it supports none of them',
    fix: 'zeropage inspect says why; --via names paths, and one path can be held --against a stored run',
  });
}

function checked(asked: readonly string[]): string[] {
  if (asked.length === 0) {
    throw new UsageError({
      what: '--via names no path',
      where: '--via',
      why: 'there is nothing between the commas',
      fix: 'name paths with commas between them, or leave it out',
    });
  }
  const built: readonly string[] = BOOT_PROTOCOLS.map(({ name }) => name);
  // A path that is known and not built is told so by whoever plans.
  const unknown = asked.find((name) => !VIA_KNOWN.includes(name) || name === 'auto');
  if (unknown !== undefined) {
    throw new UsageError({
      what: `there is no entry path ${JSON.stringify(unknown)} to compare`,
      where: '--via',
      why: `this version has ${built.join(', ')}`,
      fix: 'name paths with commas between them: --via linux64,pvh,xen-pv',
    });
  }
  return [...new Set(asked)];
}
