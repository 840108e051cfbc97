/** Snapshots: a machine between two instructions, as a file, and a machine that goes on from there.
 *
 * What goes on is the same run: registers, memory, devices, timers, what stands behind the guest, the console so far, the
 * verdict on it, the counts and hashes of the report. The TLBs' content is state too, because a guest can see it (a stale
 * entry stays until it is replaced). Decoded blocks and whatever else follows from other state is made anew, so
 * a run that was saved and restored gives the same trace, console and report as one that was not. What belongs
 * to whoever runs the machine (patterns, scripts, limits, traces) is not in it.
 * Follows: the custom of QEMU's savevm and Firecracker's snapshots: all state, and one machine to restore it in.
 * May not: touch files; pieces go out, bytes come in (machine/snapshot-file.ts).   Next: machine/machine.ts. */

import { maybe, real, record, type Saved, text, whole, wide } from '../base/saved.ts';
import { decodeSaved, encodeSaved } from '../base/saved-codec.ts';
import type { BootPlan } from '../boot/plan.ts';
import * as state from '../engine/state.ts';
import { Machine, type MachineOptions } from './machine.ts';
import {
  damaged,
  readSections,
  type Section,
  SnapshotError,
  type SnapshotHost,
  type SnapshotSource,
  snapshotPieces,
} from './snapshot-file.ts';
import { MEMORY, MemoryFiller, memorySections } from './snapshot-memory.ts';
import { restoredPlan, savedPlan } from './snapshot-plan.ts';

/** What a snapshot says of itself. */
export type SnapshotFacts = {
  /** The version of zeropage that wrote it. */
  zeropage: string;
  via: string;
  kernel: { name: string; path: string | undefined; sha256: string; version: string | undefined };
  memorySize: number;
  cmdline: string;
  instructions: number;
  virtualTimeNs: number;
  rip: bigint;
  /** `start_kernel`, where the symbol is known. */
  place: string | undefined;
};

export type SnapshotNote = {
  /** Where the kernel's file was. */
  kernelPath?: string | undefined;
  /** The kernel's names, for whoever restores it (cli/snapshot-symbols.ts). */
  symbols?: Saved;
};

/** A snapshot that has been read and checked, but for its memory. */
export type Snapshot = {
  source: SnapshotSource;
  host: SnapshotHost;
  facts: SnapshotFacts;
  plan: BootPlan;
  symbols: Saved;
  state: Saved;
};

/** Options that a machine from a snapshot can still be given. */
export type RestoreOptions = Omit<MachineOptions, 'cpu' | 'rtcSeconds'>;

const VERSION = 1;

/** The snapshot of a machine, in pieces; the machine must not run until the last one has been taken. */
export function machineSnapshot(machine: Machine, host: SnapshotHost, note: SnapshotNote = {}): Iterable<Uint8Array> {
  const saved = machine.save(); // refuses before the first piece
  return snapshotPieces(sectionsOf(machine, saved, host, note), host);
}

function* sectionsOf(machine: Machine, saved: Saved, host: SnapshotHost, note: SnapshotNote): Generator<Section> {
  const section = (name: string, value: Saved): Section => ({ name, version: VERSION, bytes: encodeSaved(value) });
  const plan = savedPlan(machine.plan, host.sha256);
  yield section('facts', { layout: layoutOf(host), ...factsOf(machine, host, note) });
  yield section('plan', plan);
  if (note.symbols !== undefined) yield section('symbols', note.symbols);
  yield section('state', saved);
  yield* memorySections(machine.physical(0, machine.physicalSize));
}

function factsOf(machine: Machine, host: SnapshotHost, { kernelPath }: SnapshotNote): SnapshotFacts {
  const { plan } = machine;
  const { image, recorded } = plan;
  const { rip } = machine.vcpu.state();
  const version =
    image.format === 'bzimage' ? image.kernelVersion : (recorded?.image.kernelVersion as string | undefined);
  return {
    zeropage: host.version,
    via: plan.via,
    kernel: { name: image.name, path: kernelPath, sha256: recorded?.image.sha256 ?? host.sha256(image.bytes), version },
    memorySize: plan.memorySize,
    cmdline: plan.cmdline,
    instructions: machine.instructions,
    virtualTimeNs: machine.virtualTimeNs,
    rip,
    place: machine.symbolise(rip),
  };
}

/** Where registers and tables lie differs between versions of the engine; state of one is none for another. */
function layoutOf(host: SnapshotHost): string {
  const named = Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1));
  const numbers = JSON.stringify(named, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  return host.sha256(new TextEncoder().encode(numbers));
}

/** Reads all but memory. Throws a SnapshotError, or an ImageError with the place of what does not fit. */
export function openSnapshot(source: SnapshotSource, host: SnapshotHost): Snapshot {
  const found = sectionsByName(source, host, (name) => name !== MEMORY);
  const facts = readFacts(source, found, host);
  const part = (name: string) => take(source, found, name);
  return {
    source,
    host,
    facts,
    plan: restoredPlan(part('plan'), 'plan'),
    symbols: found.has('symbols') ? part('symbols') : undefined,
    state: part('state'),
  };
}

/** What a snapshot is, without reading more than the beginning of each section. */
export function snapshotFacts(source: SnapshotSource, host: SnapshotHost): SnapshotFacts {
  return readFacts(
    source,
    sectionsByName(source, host, (name) => name === 'facts'),
    undefined,
  );
}

const KNOWN = ['facts', 'plan', 'symbols', 'state', MEMORY];

function sectionsByName(
  source: SnapshotSource,
  host: SnapshotHost,
  wanted: (name: string) => boolean,
): Map<string, Section> {
  const found = new Map<string, Section>();
  for (const section of readSections(source, host, wanted)) {
    if (!KNOWN.includes(section.name) || section.version !== VERSION || found.has(section.name)) {
      const why = `its section "${section.name}", version ${section.version}, is not known here`;
      throw foreign(source, section.name, why);
    }
    found.set(section.name, section);
  }
  return found;
}

function take(source: SnapshotSource, found: ReadonlyMap<string, Section>, name: string): Saved {
  const section = found.get(name);
  if (!section) throw damaged(source, source.name, `it has no section "${name}"`);
  return decodeSaved(section.bytes, name);
}

function readFacts(
  source: SnapshotSource,
  found: ReadonlyMap<string, Section>,
  host: SnapshotHost | undefined,
): SnapshotFacts {
  const { layout, ...facts } = record({
    layout: text,
    zeropage: text,
    via: text,
    kernel: record({ name: text, path: maybe(text), sha256: text, version: maybe(text) }),
    memorySize: whole(),
    cmdline: text,
    instructions: whole(),
    virtualTimeNs: real,
    rip: wide,
    place: maybe(text),
  })(take(source, found, 'facts'), 'facts');
  if (host && layout !== layoutOf(host)) {
    throw foreign(
      source,
      'facts',
      `it was written by zeropage ${facts.zeropage}, whose CPU state is laid out otherwise`,
    );
  }
  return facts;
}

function foreign(source: SnapshotSource, section: string, why: string): SnapshotError {
  return new SnapshotError({
    what: `${source.name} is a snapshot of another version`,
    where: `${source.name}, section "${section}"`,
    why,
    fix: 'use the version that wrote it, or save it again with this one',
  });
}

/** A machine that goes on where the snapshot was taken. `plan`: the snapshot's, or it with its kernel's file. */
export async function restoreMachine(
  snapshot: Snapshot,
  options: RestoreOptions = {},
  plan = snapshot.plan,
): Promise<Machine> {
  const { source, host } = snapshot;
  const made = Machine.madeOf(snapshot.state, 'state');
  const machine = await Machine.create(plan, {
    ...options,
    cpu: made.cpu,
    rtcSeconds: made.rtcSeconds,
    haltOk: options.haltOk || made.haltOk,
    debugExitSuccess: options.debugExitSuccess ?? made.debugExitSuccess,
  });
  machine.restore(snapshot.state, 'state');
  const memory = new MemoryFiller(machine.physical(0, machine.physicalSize));
  for (const section of readSections(source, host, (name) => name === MEMORY)) {
    const wrong = memory.take(section);
    if (wrong !== undefined) throw damaged(source, `${source.name}, section "${MEMORY}"`, wrong);
  }
  if (plan.frames) memory.clearOthers(); // a hypervisor has filled frames of its own; elsewhere nobody has written yet
  return machine;
}
