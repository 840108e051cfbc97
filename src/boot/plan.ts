/** BootPlan: how a run begins, as data. No CPU and no guest memory is needed to make, print, compare or check one.
 *
 * A plan holds what a loader writes where, the first registers, and the name of the personality that will serve the
 * guest. Its bytes are views of the file, of the unpacked payload or of a few pages made here; `placePlan` makes the
 * only copy, into guest memory. Nothing later asks which entry path this was: the plan carries the answers.
 * May not: touch a running Vcpu, or read a file.   Next: boot/first-state.ts, the registers every path starts from. */
import { assert, BootError } from '../base/errors.ts';
import { alignUp, hex, MiB } from '../base/numbers.ts';
import type { ElfImage, KernelImage } from '../image/kernel-image.ts';
import { FRAME_SIZE, type Gpa } from '../memory/address.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import type { GuestRam } from '../memory/guest-ram.ts';
import type { FrameOrder, MachineFrames, Mfn, Pfn } from '../memory/machine-frames.ts';
import { isRam, type MemoryMap, ramEnd } from '../memory/memory-map.ts';
import { PseudoPhysicalMemory } from '../memory/pseudo-physical-memory.ts';
import type { VcpuState } from '../x86/vcpu-state.ts';
import type { PlanRecord } from './describe.ts';
import type { DomainSegment } from './xen/domain-layout.ts';

/** Entry paths that are built. */
export type EntryPath =
  | 'lguest'
  | 'linux32'
  | 'linux64'
  | 'pvh'
  | 'xen-pvh'
  | 'xen-pv'
  | 'multiboot'
  | 'flat32'
  | 'flat64';
export type PersonalityName = 'bare' | 'xen-pv' | 'xen-hvm' | 'lguest';

export type PlanWrite = {
  /** Short and unique within the plan: "kernel", "boot_params", "segment 2". */
  what: string;
  at: Gpa;
  /** A view, never a copy of the file. */
  bytes: Uint8Array;
  /** In guest memory: bytes.length or more; the rest is zeroed (a segment's .bss). */
  length: number;
  purpose: string;
  /** Where the bytes come from: "vmlinuz, offset 0x5000", "initrd", "made here". */
  from: string;
};

/** Memory that the guest takes before it knows its memory map: the loader puts nothing else there. */
export type Claim = { what: string; at: Gpa; length: number; purpose: string };

/** The structure whose address the guest is given. */
export type Handover = {
  struct: 'boot_params' | 'hvm_start_info' | 'multiboot_info' | 'start_info';
  at: Gpa;
  register: string;
  /** What the register holds when it is no physical address. */
  virtual?: bigint;
};

/** What the domain builder has done and the personality goes on from. Frames are the guest's unless they say MFN. */
export type XenDomain = {
  /** In the builder's order, gaps included. */
  segments: readonly DomainSegment[];
  /** The first mapping is [virtBase, virtEnd), frame 0 first. */
  virtBase: bigint;
  virtEnd: bigint;
  /** The root table, to be pinned before the first instruction. */
  rootPfn: Pfn;
  pageTables: { pfn: Pfn; pages: number };
  /** `pages` counts the page tables behind it, too, when it has a mapping of its own. */
  p2m: { pfn: Pfn; pages: number; va: bigint };
  p2mTables?: { pfn: Pfn; pages: number };
  startInfoPfn: Pfn;
  storePfn: Pfn;
  consolePfn: Pfn;
  bootStackPfn: Pfn;
  /** The guest's ends of its first two event channels. */
  ports: { store: number; console: number };
  sharedInfoMfn: Mfn;
  /** To be filled with stubs before the first instruction, when the kernel has asked for it. */
  hypercallPage?: Pfn;
  /** Bits of XEN_FEATURES. */
  features: { required: number; supported: number };
  /** PAE_MODE was "yes" or "bimodal". */
  extendedCr3: boolean;
};

export type BootPlan = {
  via: EntryPath;
  /** The document that the path follows. */
  follows: string;
  /** The kernel's file. */
  image: KernelImage;
  /** What the host unpacked from it, when this is what is loaded. */
  unpackedKernel?: ElfImage;
  /** RAM in bytes. */
  memorySize: number;
  memoryMap: MemoryMap;
  cmdline: string;
  /** Ordered by address, without overlaps, all in RAM. */
  writes: readonly PlanWrite[];
  claims: readonly Claim[];
  state: VcpuState;
  personality: PersonalityName;
  handover?: Handover;
  /** Who fills boot_params; 'nobody' when the guest is not Linux by contract. */
  bootParamsFilledBy: 'loader' | 'guest' | 'nobody';
  /** The name that Linux gives to the first instruction. */
  entrySymbolHint?: string;
  /** `cli; hlt` is the regular end (flat code): exit 0 without a verdict. */
  haltIsSuccess: boolean;
  /** How the guest's frames lie in the machine, when they are not the machine's own: `writes` count the guest's. */
  frames?: MachineFrames;
  xen?: XenDomain;
  /** CPUID shows all that is built (flat code) instead of the conservative model. */
  cpuDefault: 'max' | 'model';
  /** Of a plan that comes from a snapshot, and writes nothing: what the one that was saved said of its file and writes. */
  recorded?: PlanRecord;
  /** What a careful user should know about this plan, one sentence each. */
  notes: readonly string[];
};

/** What every entry path plans from; `planBoot` has checked sizes and filled in defaults. */
export type PlanRequest = {
  image: KernelImage;
  unpackedKernel?: ElfImage;
  memorySize: number;
  memoryMap: MemoryMap;
  cmdline: string;
  initrd?: Uint8Array;
  load?: number;
  unpack: 'host' | 'guest';
  /** How guest frames lie in the machine, for paths with frames of their own. */
  mfn?: FrameOrder;
};

/** Why an image cannot take a path, and what would help. */
export type Refusal = { why: string; fix: string };

export type BootProtocol = {
  name: EntryPath;
  /** The document that is followed. */
  follows: string;
  /** One line for lists of paths. */
  summary: string;
  /** Judges the image alone; memory and options are the plan's business. `unpacked` is the payload of a bzImage. */
  accepts(image: KernelImage, unpacked?: ElfImage): true | Refusal;
  plan(request: PlanRequest): BootPlan;
};

/** Refuses a plan whose writes overlap or leave RAM. Everything a file can cause here is a BootError. */
export function checkPlan({
  via,
  image,
  writes,
  memoryMap,
}: Pick<BootPlan, 'via' | 'image' | 'writes' | 'memoryMap'>): void {
  const refuse = (what: string, why: string, fix: string) =>
    new BootError({ what, where: `${image.name} via ${via}`, why, fix });
  let before: PlanWrite | undefined;
  for (const write of writes) {
    const { what, at, bytes, length } = write;
    assert(length >= bytes.length && length > 0, `write ${what} has its bytes and a length`);
    assert(before === undefined || at >= before.at, `write ${what} comes in order`);
    if (!isRam(memoryMap, at, length)) {
      throw refuse(
        `${what} does not lie in RAM`,
        `it needs ${span(at, length)}; RAM is ${ramRanges(memoryMap)}`,
        // Behind RAM's end, what is asked for has to hold the later writes too, or the next one is refused in turn.
        roomFor(memoryMap, at + length > ramEnd(memoryMap) ? endOf(writes) : at + length),
      );
    }
    if (before && at < before.at + before.length) {
      throw refuse(
        `${what} overlaps ${before.what}`,
        `${what} needs ${span(at, length)}, ${before.what} ${span(before.at, before.length)}`,
        'link or load the kernel at 1 MiB or above, with segments that do not overlap',
      );
    }
    before = write;
  }
}

/** Bytes of machine memory that the plan needs: the guest's own, and the hypervisor's where there is one. */
export function machineSize({ frames, memorySize }: BootPlan): number {
  return frames ? frames.end * FRAME_SIZE : memorySize;
}

/** The guest's memory as the plan counts it, over `machineSize` bytes of a buffer. */
export function planMemory({ frames, memorySize }: BootPlan, buffer: ArrayBuffer, byteOffset: number): GuestRam {
  return frames
    ? new PseudoPhysicalMemory(buffer, byteOffset, frames)
    : new GuestMemory(buffer, byteOffset, memorySize);
}

/** Copies a plan into guest memory: everything is checked before the first byte is written, each byte is written once. */
export function placePlan(plan: BootPlan, memory: GuestRam): void {
  checkPlan(plan);
  assert(memory.size >= plan.memorySize, `memory of ${memory.size} bytes holds a plan for ${plan.memorySize}`);
  assert(memory.frames === plan.frames, 'memory counts frames as the plan does (planMemory makes it so)');
  for (const { at, bytes, length } of plan.writes) {
    memory.write(at, bytes);
    if (length > bytes.length) memory.zero(at + bytes.length, length - bytes.length);
  }
}

/** `[0x1000000, 0x4f98000)` */
export function span(at: number, length: number): string {
  return `[${hex(at)}, ${hex(at + length)})`;
}

export function ramRanges(map: MemoryMap): string {
  return map.filter(({ type }) => type === 1).map(({ addr, size }) => span(addr, size)).join(' and '); // biome-ignore format: one line
}

/** Where the last write ends. */
function endOf(writes: readonly PlanWrite[]): number {
  return writes.reduce((end, { at, length }) => Math.max(end, at + length), 0);
}

/** The advice for something that ends at `end`: more memory if that is what is missing. */
export function roomFor(map: MemoryMap, end: number): string {
  if (end > ramEnd(map)) {
    const enough = alignUp(end, MiB) / MiB;
    return enough <= 3072 ? `give it --memory ${enough}M or more` : 'link it lower; RAM ends at 3 GiB here at most';
  }
  return 'link or load it outside 0xa0000-0xfffff, where a PC has no RAM';
}

/** "vmlinuz, offset 0x5000" for a view of an image's bytes. */
export function viewOrigin(image: KernelImage, view: Uint8Array): string {
  const unpacked = image.format === 'elf64' || image.format === 'elf32' ? image.unpackedFrom : undefined;
  const name = unpacked ? `payload of ${unpacked.name}` : image.name;
  return `${name}, offset ${hex(view.byteOffset - image.bytes.byteOffset)}`;
}
