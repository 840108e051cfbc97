/** The report of a run: everything that happened, as JSON for machines.
 *
 * Two runs of the same inputs give the same report but for `host`, which holds all times and sizes of this computer.
 * 64-bit values are strings, 0x and lower-case digits; bytes are never in it, only their SHA-256. The schema number
 * rises when a field changes its meaning or goes away, not when one is added.
 * May not: touch files; cli/boot.ts writes it.   Next: index.ts, the library. */
import { hex } from '../base/numbers.ts';
import { type PlanRecord, planJson, registersJson, type Sha256, segmentsJson } from '../boot/describe.ts';
import type { BootPlan } from '../boot/plan.ts';
import type { KernelImage } from '../image/kernel-image.ts';
import type { Waypoint } from '../trace/run-record.ts';
import type { DescriptorTable, VcpuState } from '../x86/vcpu-state.ts';
import type { CrashReport } from './crash-report.ts';
import type { ExitReason } from './exit-reason.ts';
import type { AbsentRange } from './pio-bus.ts';

export const REPORT_SCHEMA = 1;

/** What a run leaves behind; Machine.outcome() makes one. */
export type Outcome = {
  instructions: number;
  virtualTimeNs: number;
  state: VcpuState;
  stateHash: string;
  /** 4 KiB frames that hold anything but zeros. */
  framesInUse: number;
  /** 4 KiB frames that the loader, a device or the guest has accessed. */
  framesTouched: number;
  console: string;
  faults: number;
  absent: { ports: AbsentRange[]; memory: AbsentRange[] };
  unknownMsrs: UnknownMsr[];
  /** What the guest asked of its hypervisor and is not built, each once. */
  missing: readonly string[];
};

/** An MSR that the guest asked for and did not get (#GP). */
export type UnknownMsr = { msr: number; accesses: number };

/** Everything that depends on the computer. */
export type HostFigures = {
  /** Milliseconds of each step. */
  milliseconds: Record<string, number>;
  [figure: string]: unknown;
};

/** In place of the file and the plan's bytes, for reports and snapshots. */
export function recordPlan(plan: BootPlan, sha256: Sha256): PlanRecord {
  if (plan.recorded) return plan.recorded;
  const { image, writes } = plan;
  return {
    image: { sha256: sha256(image.bytes), size: image.bytes.length, ...imageDetails(image) },
    plan: planJson(plan, sha256),
    bytesWrittenByLoader: writes.reduce((sum, { length }) => sum + length, 0),
    initrdBytes: writes.find(({ what }) => what === 'initrd')?.bytes.length ?? 0,
  };
}

export type ReportParts = {
  plan: BootPlan;
  /** As the user named it. */
  imagePath: string;
  exit: ExitReason;
  outcome: Outcome;
  crash?: CrashReport;
  /** Of a traced run. */
  waypoints?: readonly Waypoint[];
  host: HostFigures;
  /** The host hashes. */
  sha256: Sha256;
};

export function makeReport({ plan, imagePath, exit, outcome, crash, waypoints = [], host, sha256 }: ReportParts) {
  const { kind: reason, ...rest } = exit;
  const recorded = recordPlan(plan, sha256);
  const { state } = outcome;
  const { cr0, cr2, cr3, cr4, cr8, efer, ...registers } = registersJson(state);
  return {
    schema: REPORT_SCHEMA,
    via: plan.via,
    image: { path: imagePath, ...recorded.image },
    plan: recorded.plan,
    exit: { reason, ...rest },
    instructions: outcome.instructions,
    virtualTimeNs: outcome.virtualTimeNs,
    memory: {
      bytesWrittenByLoader: recorded.bytesWrittenByLoader,
      framesInUse: outcome.framesInUse,
      framesTouched: outcome.framesTouched,
    },
    registers,
    controlRegisters: { cr0, cr2, cr3, cr4, cr8, efer, gdtr: table(state.gdtr), idtr: table(state.idtr) },
    segments: segmentsJson(state),
    cpl: state.cpl,
    stateHash: outcome.stateHash,
    faults: outcome.faults,
    absentAccesses: {
      ports: outcome.absent.ports.map(absentRange),
      memory: outcome.absent.memory.map(absentRange),
    },
    unknownMsrs: outcome.unknownMsrs.map(({ msr, accesses }) => ({ msr: hex(msr), accesses })),
    ...(plan.personality !== 'bare' && { hypervisor: { name: plan.personality, missing: outcome.missing } }),
    ...(crash && { crash }),
    waypoints,
    console: outcome.console,
    host,
  };
}

export type Report = ReturnType<typeof makeReport>;

function imageDetails(image: KernelImage) {
  if (image.format === 'bzimage') {
    const { protocol, kernelVersion, payload } = image;
    return {
      format: image.format,
      protocol: `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`,
      ...(kernelVersion !== undefined && { kernelVersion }),
      ...(payload && { compression: payload.compression, uncompressedSize: payload.uncompressedSize }),
    };
  }
  return image.format === 'elf64' || image.format === 'elf32'
    ? { format: image.format, entry: hex(image.entry) }
    : { format: image.format };
}

const table = ({ base, limit }: DescriptorTable) => ({ base: hex(base), limit: hex(limit) });

function absentRange({ first, last, name, reads, writes }: AbsentRange) {
  return { first: hex(first), last: hex(last), name, reads, writes };
}
