/** What `boot` keeps of a traced run: the names it needs, the console's times, the files of --trace.
 *
 * A trace is made when --trace or --waypoint asks for one. The run is the same with it, to the instruction; files are
 * written when it has ended, also when it was interrupted.
 * May not: choose formats (boot-settings.ts has, from the files' names).   Next: cli/guests-command.ts. */
import { VmError } from '../base/errors.ts';
import type { BootPlan } from '../boot/index.ts';
import { type ElfImage, isElf } from '../image/kernel-image.ts';
import type { Machine } from '../machine/machine.ts';
import type { TracedKernel } from '../machine/traced-run.ts';
import { functionStarts } from '../symbols/functions.ts';
import { readSymtab } from '../symbols/symtab.ts';
import type { ConsoleLine, KernelFunction } from '../trace/formats/timeline.ts';
import type { RunRecord } from '../trace/run-record.ts';
import type { TraceRequest } from './boot-settings.ts';
import { writeFileWhole } from './files.ts';
import { unpackKernel } from './kernel-file.ts';
import { tracedKernel } from './traced.ts';

/** The kernel's names, and its ELF file also where the guest unpacks it. */
export async function kernelToTrace(plan: BootPlan, symbolsFile: string | undefined): Promise<TracedKernel> {
  return tracedKernel(plan, plan.unpackedKernel ?? (await elfOf(plan)), symbolsFile);
}

/** A guest that unpacks itself may know better than we what its payload is. */
async function elfOf({ image }: BootPlan): Promise<ElfImage | undefined> {
  if (isElf(image)) return image;
  if (image.format !== 'bzimage' || !image.payload) return undefined;
  try {
    return await unpackKernel(image);
  } catch (error) {
    if (error instanceof VmError) return undefined;
    throw error;
  }
}

/** Fills with the lines of a machine's console, each with its time. */
export function listenToLines(machine: Machine): ConsoleLine[] {
  const lines: ConsoleLine[] = [];
  machine.console.onLine((text) => lines.push({ at: machine.instructions, text }));
  return lines;
}

export function writeTraces(
  traces: readonly TraceRequest[],
  record: RunRecord,
  kernel: TracedKernel,
  consoleLines: readonly ConsoleLine[],
): void {
  const functions = kernelFunctions(kernel);
  for (const { file, format } of traces) writeFileWhole(file, format.pieces(record, { functions, consoleLines }));
}

function kernelFunctions({ symbols, source, elf }: TracedKernel): KernelFunction[] | undefined {
  if (!symbols) return undefined;
  const { addresses, nameAt } = functionStarts(symbols);
  const sizes = new Map<bigint, number>();
  for (const { kind, address, size } of source === 'symtab' && elf ? readSymtab(elf) : []) {
    if (kind === 'function') sizes.set(address, Math.max(Number(size), sizes.get(address) ?? 0));
  }
  return [...addresses].map((address, i) => ({ name: nameAt(i), address, size: sizes.get(address) }));
}

/** Lines for people: where the run came by, and what was written. */
export function traceLines(
  record: RunRecord,
  traces: readonly TraceRequest[],
  asked: readonly (string | bigint)[],
): string[] {
  const { waypoints, functions, events, eventsDropped } = record;
  const count = (value: number) => value.toLocaleString('en');
  const lines: string[] = [];
  if (record.restoredAfter !== undefined && traces.length > 0)
    lines.push(`the trace begins at the snapshot, after ${count(record.restoredAfter)} instructions`);
  if (asked.length > 0) {
    lines.push(`waypoints: ${waypoints.map(({ name, at }) => `${name} ${count(at)}`).join(', ')}`);
    const reached = new Set(waypoints.map(({ name }) => name));
    const missed = asked.map((place) => (typeof place === 'bigint' ? `0x${place.toString(16)}` : place));
    const never = missed.filter((name) => !reached.has(name));
    if (never.length > 0) lines.push(`not reached: ${never.join(', ')}`);
  }
  if (traces.length > 0) {
    const what = `${count(waypoints.length)} waypoints, ${count(functions.length)} functions, ${count(events.length)} events`;
    lines.push(`trace of ${what} in ${traces.map(({ file }) => file).join(', ')}`);
  }
  if (eventsDropped > 0) lines.push(`${count(eventsDropped)} later events were too many to keep`);
  return lines;
}
