/** Snapshots on the command line: `boot --save-state FILE` and `boot --from FILE`.
 *
 * A state is saved when a run stops where it could go on: at --until, when --expect is met, at a limit, by Ctrl-C; or in
 * passing, at --save-at, and the run goes on. What was decided when the machine was made (its kernel, memory, CPU, clock)
 * is in the file and cannot be given again; everything about the running (limits, input, traces, reports) can.
 * The kernel's file is not needed. When it is still where it was, unchanged, traces have its types and sections, too.
 * Next: cli/boot.ts. */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { BootError } from '../base/errors.ts';
import { formatSize, hex } from '../base/numbers.ts';
import type { BootPlan } from '../boot/index.ts';
import type { ExitReason } from '../machine/exit-reason.ts';
import type { Machine, SymbolTable } from '../machine/machine.ts';
import {
  machineSnapshot,
  openSnapshot,
  type RestoreOptions,
  restoreMachine,
  type Snapshot,
  type SnapshotFacts,
} from '../machine/snapshot.ts';
import type { SnapshotSource } from '../machine/snapshot-file.ts';
import type { TracedKernel } from '../machine/traced-run.ts';
import type { SymbolSource } from '../symbols/symbol-list.ts';
import { kernelToTrace } from './boot-trace.ts';
import { writeFileWhole } from './files.ts';
import { findGuest } from './guests.ts';
import { openKernel } from './kernel-file.ts';
import { type Place, UsageError } from './options.ts';
import { nodeSnapshotHost } from './snapshot-host.ts';
import { restoredSymbols, savedSymbols } from './snapshot-symbols.ts';
import { kernelSymbols } from './symbols.ts';
import { tracedKernel } from './traced.ts';

/** As commander hands them over. */
export type SnapshotOptions = { saveState?: string; saveAt?: string; from?: string };

export function addSnapshotOptions(command: Command): Command {
  return command
    .optionsGroup('Snapshots:')
    .option('--save-state <file>', 'keep the machine as it is when the run stops (--until, --expect, a limit, Ctrl-C)')
    .addOption(new Option('--save-at <place>', 'keep it at a symbol or 0xADDRESS instead, and go on'))
    .option('--from <file>', 'go on from a machine that --save-state has kept; no kernel is needed');
}

/** What a snapshot has decided, by commander's names. */
const FIXED: readonly [key: string, option: string, why: string][] = [
  ['via', '--via', 'the kernel has been entered'],
  ['memory', '--memory', 'the machine has its memory'],
  ['initrd', '--initrd', 'the loader has placed it'],
  ['init', '--init', 'the loader has placed the initrd'],
  ['cmdline', '--cmdline', 'the kernel has been given its command line'],
  ['append', '--append', 'the kernel has been given its command line'],
  ['unpack', '--unpack', 'the kernel has been loaded'],
  ['load', '--load', 'the kernel has been loaded'],
  ['mfn', '--mfn', 'the frames lie where they lie'],
  ['cpu', '--cpu', 'the kernel may have asked CPUID already'],
  ['rtc', '--rtc', 'the clock has been running'],
  ['xenstore', '--xenstore', 'the store has been filled'],
  ['platform', '--platform', 'the machine has its devices'],
];

/** Refuses what cannot be given together. */
export function checkSnapshotOptions(command: Command): void {
  const { from, saveAt, saveState } = command.opts<SnapshotOptions>();
  if (saveAt !== undefined && saveState === undefined) {
    throw new UsageError({
      what: '--save-at does not say where to',
      where: `--save-at ${saveAt}`,
      why: 'the file is named by --save-state',
      fix: 'add --save-state FILE',
    });
  }
  if (from === undefined) return;
  for (const [key, option, why] of FIXED) {
    if (command.getOptionValueSource(key) !== 'cli') continue;
    throw new UsageError({
      what: `${option} comes too late`,
      where: `${option}, --from ${from}`,
      why: `${why}; a snapshot goes on with what it was made with`,
      fix: `leave ${option} out, or boot the kernel again with it and save that`,
    });
  }
}

/** A snapshot about to be run. The file is open until `restore` has been called. */
export type OpenedState = {
  snapshot: Snapshot;
  /** With the kernel's file in it, where that was found. */
  plan: BootPlan;
  symbols: (() => SymbolTable | undefined) | undefined;
  restore: (plan: BootPlan, options: RestoreOptions) => Promise<Machine>;
};

/** `kernel`: the file that the user names beside the snapshot. */
export async function openState(source: SnapshotSource, kernel: string | undefined): Promise<OpenedState> {
  const snapshot = openSnapshot(source, nodeSnapshotHost);
  const plan = await withKernel(snapshot, kernel);
  const { symbols } = snapshot;
  const own = plan.image.bytes.length > 0 ? () => kernelSymbols(plan) : undefined;
  return {
    snapshot,
    plan,
    symbols: symbols === undefined ? own : () => restoredSymbols(symbols),
    restore: (made, options) => restoreMachine(snapshot, options, made),
  };
}

async function withKernel({ plan, facts }: Snapshot, kernel: string | undefined): Promise<BootPlan> {
  const { path, sha256 } = facts.kernel;
  const file = kernel ?? path;
  if (file === undefined || (kernel === undefined && !existsSync(file) && !findGuest(file))) return plan;
  try {
    const image = await openKernel(file, plan.via);
    if (nodeSnapshotHost.sha256(image.bytes) === sha256) return { ...plan, image };
  } catch (error) {
    if (kernel !== undefined) throw error; // what only might have helped need not be there
  }
  if (kernel === undefined) return plan;
  throw new BootError({
    what: `${kernel} is not the kernel of this snapshot`,
    where: '[kernel], --from',
    why: `its SHA-256 is another than ${sha256}, which was booted`,
    fix: 'leave it out: a snapshot needs no kernel',
  });
}

/** What a trace of a restored machine needs of its kernel. With the kernel's file there are types and sections, but only for
 * a kernel that runs where it is linked; names are those of the snapshot either way. `quick`: names alone will do. */
export async function stateToTrace(
  { snapshot, plan }: OpenedState,
  symbolsFile: string | undefined,
  quick = false,
): Promise<TracedKernel> {
  if (symbolsFile !== undefined) return tracedKernel(plan, undefined, symbolsFile);
  const symbols = snapshot.symbols === undefined ? undefined : restoredSymbols(snapshot.symbols);
  const hasFile = plan.image.bytes.length > 0;
  const linked = hasFile && !(quick && symbols) ? await kernelToTrace(plan, undefined) : undefined;
  if (!symbols) return linked ?? { source: 'none' };
  return linked?.symbols && isSameTable(linked.symbols, symbols) ? { ...linked, symbols } : { source: 'file', symbols };
}

/** Of one kernel, at one place. */
function isSameTable(one: SymbolSource, other: SymbolSource): boolean {
  const { count } = one;
  return count === other.count && count > 0 && one.addressAt(count - 1) === other.addressAt(count - 1);
}

/** Writes the file, whole or not at all. */
export function saveState(file: string, machine: Machine, kernelPath: string): void {
  const note = { kernelPath, symbols: savedSymbols(machine.symbols) };
  writeFileWhole(file, machineSnapshot(machine, nodeSnapshotHost, note), { durable: true });
}

/** For the closing lines. */
export function savedLine(file: string, at: { instructions: number; place: string | undefined }): string {
  const place = at.place === undefined ? '' : ` at ${at.place}`;
  return `the machine${place}, after ${at.instructions.toLocaleString('en')} instructions, is in ${file} (boot --from ${file})`;
}

/** A run that was to be saved and was not has not done what it was asked for. */
export function notSaved(exit: ExitReason, file: string, place: Place | undefined): ExitReason {
  const asked = place && ('symbol' in place ? place.symbol : `0x${place.address.toString(16)}`);
  const why = asked === undefined ? 'the guest has ended' : `it did not come to ${asked}`;
  const detail = `${exit.detail}; nothing was saved to ${file}: ${why}`;
  return { ...exit, code: exit.code === 0 ? 1 : exit.code, detail };
}

/** As --memory would have it: what else is asked for is held against it. */
export const memoryOf = ({ snapshot }: OpenedState): string => String(snapshot.facts.memorySize);

/** `inspect` of a snapshot. */
export function snapshotText({ kernel, ...facts }: SnapshotFacts, name: string, size: number): string {
  const at = facts.place === undefined ? hex(facts.rip) : `${facts.place} (${hex(facts.rip)})`;
  const rows: readonly (readonly [string, string])[] = [
    ['kernel', `${kernel.path ?? kernel.name}${kernel.version === undefined ? '' : `, ${kernel.version}`}`],
    ['SHA-256', kernel.sha256],
    ['entered', `via ${facts.via}`],
    ['memory', formatSize(facts.memorySize)],
    ['command line', facts.cmdline === '' ? 'none' : JSON.stringify(facts.cmdline)],
    ['stands at', at],
    [
      'after',
      `${facts.instructions.toLocaleString('en')} instructions, ${(facts.virtualTimeNs / 1e9).toFixed(3)} s of virtual time`,
    ],
    ['written by', `zeropage ${facts.zeropage}`],
  ];
  const lines = rows.map(([what, says]) => `  ${what.padEnd(12)}  ${says}\n`);
  return `${name}: a machine to go on from (boot --from ${name}), ${size.toLocaleString('en')} bytes\n${lines.join('')}`;
}

export function snapshotJson({ kernel, rip, ...facts }: SnapshotFacts, path: string, size: number): string {
  return JSON.stringify({ schema: 1, snapshot: { path, size, ...facts, rip: hex(rip), kernel } }, null, 2);
}
