/** The entry paths, and how one of them becomes a plan.
 *
 * `planBoot` checks the request, picks the path (`auto` takes the best one that the image supports), lets it plan, and
 * refuses a plan whose writes overlap or leave RAM, so whoever holds a BootPlan can place it.
 * May not: unpack a payload; whoever calls brings it along when `needsUnpackedKernel` says so.
 * Next: boot/describe.ts, a plan as JSON. */
import { BootError } from '../base/errors.ts';
import { MiB, parseSize } from '../base/numbers.ts';
import { type ElfImage, isElf, type KernelImage, xenNote } from '../image/kernel-image.ts';
import { XEN_ELFNOTE } from '../layout/xen-notes.ts';
import type { FrameOrder } from '../memory/machine-frames.ts';
import { checkRamSize, standardMemoryMap } from '../memory/memory-map.ts';
import { flat32, flat64 } from './flat.ts';
import { lguest } from './lguest.ts';
import { linux32 } from './linux32.ts';
import { linux64 } from './linux64.ts';
import { multiboot } from './multiboot.ts';
import { type BootPlan, type BootProtocol, checkPlan, type EntryPath, type Refusal } from './plan.ts';
import { pvh, pvhEntry } from './pvh.ts';
import { xenPv } from './xen-pv.ts';
import { xenPvh } from './xen-pvh.ts';

export { type BootPlan, type BootProtocol, type EntryPath, type PlanWrite, placePlan } from './plan.ts';

/** Every entry path that is built, in the order that lists show them. */
export const BOOT_PROTOCOLS: readonly BootProtocol[] = [
  lguest,
  linux32,
  linux64,
  pvh,
  xenPvh,
  xenPv,
  multiboot,
  flat32,
  flat64,
];

/** Paths that are designed but not built in this version; asking for one says so. */
export const UNBUILT_PATHS = ['xen-pv32'] as const;
export type UnbuiltPath = (typeof UNBUILT_PATHS)[number];

export const DEFAULT_MEMORY = 256 * MiB;

export type BootSpec = {
  /** Default: auto. */
  via?: EntryPath | UnbuiltPath | 'auto';
  /** Bytes, or as users type it ("256M"). Default: 256 MiB. */
  memory?: number | string;
  cmdline?: string;
  initrd?: Uint8Array;
  /** Load address, for flat code and relocatable bzImages. */
  load?: number;
  /** linux64: load the payload that the host unpacked, or let the guest unpack itself (the default). */
  unpack?: 'host' | 'guest';
  /** A bzImage's payload; needed when `needsUnpackedKernel` says so. */
  unpackedKernel?: ElfImage;
  /** xen-pv: how guest frames lie in the machine. Default: scrambled. */
  mfn?: FrameOrder;
};

export function planBoot(image: KernelImage, spec: BootSpec = {}): BootPlan {
  const { cmdline = '', initrd, load, unpack = 'guest', unpackedKernel, mfn } = spec;
  const memorySize =
    typeof spec.memory === 'string' ? parseSize(spec.memory, '--memory') : (spec.memory ?? DEFAULT_MEMORY);
  checkRamSize(memorySize);
  const protocol = choosePath(image, spec);
  const verdict = protocol.accepts(image, unpackedKernel);
  if (verdict !== true) throw refusal(image, protocol.name, verdict);
  checkOptions(image, protocol, spec);
  const memoryMap = standardMemoryMap(memorySize);
  const plan = protocol.plan({ image, unpackedKernel, memorySize, memoryMap, cmdline, initrd, load, unpack, mfn });
  checkPlan(plan);
  return plan;
}

/** Whether the caller has to unpack a bzImage's payload before `planBoot` can make this plan. */
export function needsUnpackedKernel(image: KernelImage, { via = 'auto', unpack = 'guest' }: BootSpec): boolean {
  if (image.format !== 'bzimage' || image.payload === undefined) return false;
  if (via === 'pvh' || via === 'xen-pvh' || via === 'xen-pv') return true;
  return unpack === 'host' && (via === 'linux64' || (via === 'auto' && linux64.accepts(image) === true));
}

export type PathSupport = { via: EntryPath; summary: string } & (
  | { supported: true }
  | ({ supported: false } & Refusal)
);

/** For each built entry path: supported, or why not. */
export function entryPaths(image: KernelImage, unpacked?: ElfImage): PathSupport[] {
  return BOOT_PROTOCOLS.map(({ name, summary, accepts }) => {
    const verdict = accepts(image, unpacked);
    return verdict === true
      ? { via: name, summary, supported: true }
      : { via: name, summary, supported: false, ...verdict };
  });
}

/** The path that a spec asks for; `auto` takes the first of `preference` that accepts the image. */
export function choosePath(image: KernelImage, { via = 'auto', unpackedKernel }: BootSpec): BootProtocol {
  if ((UNBUILT_PATHS as readonly string[]).includes(via)) throw unbuilt(via);
  if (via !== 'auto') {
    const named = BOOT_PROTOCOLS.find(({ name }) => name === via);
    if (named) return named;
    throw new BootError({
      what: `there is no entry path ${JSON.stringify(via)}`,
      where: '--via',
      why: `known are ${[...BOOT_PROTOCOLS.map(({ name }) => name), 'auto'].join(', ')}`,
      fix: 'use one of these',
    });
  }
  const candidates = preference(image);
  const best = candidates.find(({ accepts }) => accepts(image, unpackedKernel) === true);
  if (best) return best;
  if (image.format === 'elf32' && xenNote(image, XEN_ELFNOTE.XEN_VERSION))
    throw unbuilt('xen-pv32', `${image.name} has Xen PV notes of 32 bits and no other entry`);
  const reasons = candidates.map((protocol) => {
    const verdict = protocol.accepts(image, unpackedKernel);
    return verdict === true ? '' : `${protocol.name}: ${verdict.why}`;
  });
  throw new BootError({
    what: `${image.name} supports no entry path`,
    where: image.name,
    why: (image.format === 'flat' ? ['it is neither a bzImage nor an ELF file', ...reasons] : reasons).join('; '),
    fix:
      image.format === 'flat'
        ? 'use --via flat32 or flat64 if it is raw code'
        : 'use --via to get one path with its own advice',
  });
}

/** Best first. A 64-bit entry comes before a 32-bit one; an ELF file that is no Linux takes the entry that it declares;
 * flat code is never guessed. */
function preference(image: KernelImage): BootProtocol[] {
  if (!isElf(image)) return image.format === 'bzimage' ? [linux64, linux32, multiboot] : [multiboot];
  const osNote = xenNote(image, XEN_ELFNOTE.GUEST_OS)?.value;
  const linux = osNote === 'linux' || image.notes.some(({ owner }) => owner === 'Linux');
  if (linux) return [linux64, linux32, pvh, multiboot, xenPv];
  // Its e_entry belongs to another protocol, so the Linux entries are no candidates.
  if (image.multiboot || image.notes.some(({ owner }) => owner === 'Xen'))
    return pvhEntry(image) !== undefined ? [pvh, multiboot] : [multiboot, xenPv];
  return [linux64, linux32];
}

/** Options that a path would ignore are refused. */
function checkOptions(
  image: KernelImage,
  { name }: BootProtocol,
  { unpack, unpackedKernel, load, mfn }: BootSpec,
): void {
  const refuse = (where: string, what: string, why: string, fix: string) => new BootError({ what, where, why, fix });
  if (load !== undefined && !(Number.isSafeInteger(load) && load >= 0)) {
    throw refuse('--load', `${load} is no load address`, 'a physical address is a whole number', 'use --load 0x100000');
  }
  if (mfn !== undefined && name !== 'xen-pv') {
    throw refuse('--mfn', `${name} has no machine frames of its own`, 'guest physical memory is the machine’s there', 'leave --mfn out, or use --via xen-pv'); // biome-ignore format: one line
  }
  if (typeof mfn === 'object' && !(Number.isInteger(mfn.scrambled) && mfn.scrambled >= 0 && mfn.scrambled < 2 ** 32)) {
    throw refuse('--mfn', `${mfn.scrambled} is no seed`, 'a whole number from 0 to 4294967295 is expected', 'use --mfn scrambled:1'); // biome-ignore format: one line
  }
  if (unpack === 'host' && (name === 'linux32' || name === 'lguest')) {
    throw refuse(
      '--unpack host',
      `${name} cannot load an unpacked kernel`,
      'the 32-bit entry is in the bzImage, not in its payload',
      name === 'linux32' ? 'use --unpack guest, or --via linux64' : 'use --unpack guest, or give the ELF kernel itself',
    );
  }
  if (unpack === 'host' && name === 'linux64' && image.format === 'bzimage' && !unpackedKernel) {
    throw refuse(
      image.name,
      `${image.name} was not unpacked`,
      'with --unpack host the payload is loaded, and none was given',
      'pass the unpacked payload along (spec.unpackedKernel), or use --unpack guest',
    );
  }
  if (unpack === 'host' && name === 'linux64' && unpackedKernel) {
    const verdict = linux64.accepts(unpackedKernel);
    if (verdict !== true) throw refusal(unpackedKernel, name, verdict);
  }
}

function refusal(image: KernelImage, via: string, { why, fix }: Refusal): BootError {
  return new BootError({
    what: `${image.name} has no entry for ${via}`,
    where: `${image.name}, --via ${via}`,
    why,
    fix,
  });
}

function unbuilt(via: string, because?: string): BootError {
  return new BootError({
    what: `${via} is not built in this version of zeropage`,
    where: because ?? `--via ${via}`,
    why: `this version boots through ${BOOT_PROTOCOLS.map(({ name }) => name).join(', ')}`,
    fix: 'use one of these if the kernel supports it (zeropage inspect shows which)',
  });
}
