/** The library: a kernel file, a plan, a machine.
 *
 * Nothing is printed and nothing exits here. What is wrong with a file or a wish is thrown as a VmError; whatever a guest
 * does comes back as an ExitReason. `readKernel` is the only function that opens a file, everything else works on bytes
 * and values. examples/boot.ts reads as documentation.
 * Next: vitest.ts, the same for tests. */
import { type BootPlan, type BootSpec, needsUnpackedKernel, planBoot as planImage } from './boot/index.ts';
import { compareKernel } from './cli/compare-kernel.ts';
import { nodeUnpackers } from './cli/host.ts';
import { readInitrd as readInitrdFile } from './cli/initrd-file.ts';
import { openKernel, parseFile } from './cli/kernel-file.ts';
import { openState } from './cli/snapshot.ts';
import { bytesSource, nodeSnapshotHost } from './cli/snapshot-host.ts';
import { savedSymbols } from './cli/snapshot-symbols.ts';
import { kernelSymbols } from './cli/symbols.ts';
import type { KernelImage } from './image/kernel-image.ts';
import { unpackKernel } from './image/unpack-kernel.ts';
import { Machine as BareMachine, type MachineOptions } from './machine/machine.ts';
import { machineSnapshot, type RestoreOptions } from './machine/snapshot.ts';

/** Opens a kernel: a file, or a built-in guest by its name. `via` picks the guest's image for that path, and lets flat
 * code be read as such. */
export function readKernel(kernel: string, via?: string): Promise<KernelImage> {
  return openKernel(kernel, via);
}

/** The same for bytes that are in memory already; `name` is for messages. */
export function parseKernel(name: string, bytes: Uint8Array, via?: string): KernelImage {
  return parseFile(name, bytes, via);
}

/** What a loader would do. Unpacks a bzImage's payload when the path needs that. */
export function planBoot(image: KernelImage, spec: BootSpec = {}): BootPlan {
  const missing = image.format === 'bzimage' && !spec.unpackedKernel && needsUnpackedKernel(image, spec);
  return planImage(image, missing ? { ...spec, unpackedKernel: unpackKernel(image, nodeUnpackers) } : spec);
}

export type Machine = BareMachine;
export const Machine = {
  /** Builds the machine and places the plan. Symbols come from the kernel itself unless they are given. */
  create(plan: BootPlan, options: MachineOptions = {}): Promise<Machine> {
    return BareMachine.create(plan, { symbols: () => kernelSymbols(plan), ...options });
  },
  /** The machine as it is now, as a file's bytes; the machine can go on. A BootError when its run is over. */
  snapshot(machine: Machine): Uint8Array {
    const pieces = [...machineSnapshot(machine, nodeSnapshotHost, { symbols: savedSymbols(machine.symbols) })];
    const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  },
  /** A machine that goes on from there, as the one that was saved would have. An ImageError when the bytes are no snapshot,
   * or a damaged one. */
  async restore(bytes: Uint8Array, options: RestoreOptions = {}): Promise<Machine> {
    const state = await openState(bytesSource('the snapshot', bytes), undefined);
    return state.restore(state.plan, { ...(state.symbols && { symbols: state.symbols }), ...options });
  },
};

/** Boots a kernel (a file, or a built-in guest by its name) through several entry paths and says where they differ. */
export const compare = compareKernel;

/** An initrd from a file or a folder, which is packed reproducibly. `buildInitrd` and `packInitrd` make one from entries. */
export async function readInitrd(path: string): Promise<Uint8Array> {
  return (await readInitrdFile(path, false, 'readInitrd')).bytes;
}

export { AssertionError, BootError, ImageError, VmError } from './base/errors.ts';
export { planJson } from './boot/describe.ts';
export { entryPaths, type PathSupport } from './boot/index.ts';
export type { EntryPath, PlanWrite } from './boot/plan.ts';
export type { CompareOptions, Verdict } from './cli/compare-kernel.ts';
export type { Comparison } from './compare/compare.ts';
export type { Evidence, Finding, FindingKind } from './compare/findings.ts';
export {
  type BzImage,
  type ElfImage,
  type ElfNote,
  type FlatImage,
  isElf,
  type KernelImage,
  type MultibootAoutImage,
  type Payload,
  xenNote,
} from './image/kernel-image.ts';
export { type BuiltInitrd, buildInitrd } from './initrd/build.ts';
export { type InitrdEntry, packInitrd } from './initrd/newc.ts';
export { type InitrdFacts, recogniseInitrd } from './initrd/recognise.ts';
export * from './layout/boot-params.ts';
export * from './layout/elf.ts';
export * from './layout/hvm-start-info.ts';
export * from './layout/multiboot.ts';
export * from './layout/setup-header.ts';
export { type Struct, struct, type ValuesOf } from './layout/struct.ts';
export { XEN_ELFNOTE } from './layout/xen-notes.ts';
export { type CrashReport, crashReport, formatCrash } from './machine/crash-report.ts';
export type { ExitKind, ExitReason, FaultRecord } from './machine/exit-reason.ts';
export type { RecordedInput, ScriptStep } from './machine/input.ts';
export type { AsyncRunOptions, MachineOptions, RunOptions, SymbolTable } from './machine/machine.ts';
export { makeReport, type Outcome, type Report } from './machine/report.ts';
export type { RestoreOptions } from './machine/snapshot.ts';
export { SnapshotError } from './machine/snapshot-file.ts';
export type { GuestMemory } from './memory/guest-memory.ts';
export { Btf, type BtfType, readBtf } from './symbols/btf.ts';
export { type DecodedField, type DecodeOptions, decode, formatDecoded } from './symbols/decode.ts';
export { type Field, type FlattenOptions, flatten, flattenType, readField } from './symbols/flatten.ts';
export { type FunctionStarts, functionStarts } from './symbols/functions.ts';
export { findKallsyms, readKallsyms } from './symbols/kallsyms.ts';
export { kaslrOffset, withOffset } from './symbols/kaslr.ts';
export { perCpuAddress } from './symbols/per-cpu.ts';
export type { SymbolList, SymbolSource } from './symbols/symbol-list.ts';
export { type KernelSymbol, readSymtab, Symtab } from './symbols/symtab.ts';
export { type KernelVariable, kernelVariable } from './symbols/variables.ts';
export type { Segment, VcpuState } from './x86/vcpu-state.ts';
export type { BootPlan, BootSpec };
