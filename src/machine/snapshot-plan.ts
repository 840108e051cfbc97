/** A plan in a snapshot: what a machine is made from when its kernel's file is not at hand.
 *
 * The writes have been made and live on in memory; of them and of the file a snapshot has what a report says
 * (PlanRecord), and the plan that comes back writes nothing. Where the file turns up again (cli/snapshot.ts looks), it
 * takes the place of the image that is made here.
 * May not: plan.   Next: machine/snapshot.ts. */
import {
  anything,
  flag,
  listOf,
  maybe,
  misfit,
  oneOf,
  record,
  type Saved,
  type Shape,
  text,
  whole,
  wide,
} from '../base/saved.ts';
import type { Sha256 } from '../boot/describe.ts';
import { protectedModeState } from '../boot/first-state.ts';
import type { BootPlan, XenDomain } from '../boot/plan.ts';
import type { FlatImage } from '../image/kernel-image.ts';
import { type FrameOrder, machineFrames } from '../memory/machine-frames.ts';
import { checkMemoryMap, checkRamSize, type E820Entry } from '../memory/memory-map.ts';
import { recordPlan } from './report.ts';

export function savedPlan(plan: BootPlan, sha256: Sha256): Saved {
  const { via, follows, image, memorySize, memoryMap, cmdline, personality, handover, bootParamsFilledBy } = plan;
  const { entrySymbolHint, haltIsSuccess, frames, xen, cpuDefault, notes } = plan;
  return {
    via,
    follows,
    image: image.name,
    memorySize,
    memoryMap: memoryMap.map((entry) => ({ ...entry })),
    cmdline,
    personality,
    handover: handover && { ...handover, virtual: handover.virtual },
    bootParamsFilledBy,
    entrySymbolHint,
    haltIsSuccess,
    frames: frames && { pages: frames.nrPages, seed: seedOf(frames.order) },
    xen: xen && savedXen(xen),
    cpuDefault,
    notes,
    recorded: JSON.stringify(recordPlan(plan, sha256)),
  };
}

/** -1 is the guest's own order, -2 the usual one. */
const seedOf = (order: FrameOrder): number =>
  typeof order === 'object' ? order.scrambled : order === 'identity' ? -1 : -2;
const orderOf = (seed: number): FrameOrder =>
  seed === -1 ? 'identity' : seed === -2 ? 'scrambled' : { scrambled: seed };

function savedXen({
  rootPfn,
  consolePfn,
  storePfn,
  startInfoPfn,
  bootStackPfn,
  ports,
  hypercallPage,
  ...rest
}: XenDomain): Saved {
  const { virtBase, virtEnd, sharedInfoMfn, extendedCr3, features, pageTables, p2m } = rest;
  return {
    rootPfn,
    consolePfn,
    storePfn,
    startInfoPfn,
    bootStackPfn,
    ports: { ...ports },
    hypercallPage,
    virtBase,
    virtEnd,
    sharedInfoMfn,
    extendedCr3,
    features: { ...features },
    pageTables: { ...pageTables },
    p2m: { ...p2m },
  };
}

const count = whole(0xffff_ffff);
const type: Shape<E820Entry['type']> = (saved, where) => whole(0xffff)(saved, where) as E820Entry['type'];

export function restoredPlan(saved: Saved, where: string): BootPlan {
  const plan = record({
    via: text,
    follows: text,
    image: text,
    memorySize: whole(),
    memoryMap: listOf(record({ addr: whole(), size: whole(), type })),
    cmdline: text,
    personality: oneOf('bare', 'xen-pv', 'xen-hvm', 'lguest'),
    handover: maybe(
      record({
        struct: oneOf('boot_params', 'hvm_start_info', 'multiboot_info', 'start_info'),
        at: whole(),
        register: text,
        virtual: maybe(wide),
      }),
    ),
    bootParamsFilledBy: oneOf('loader', 'guest', 'nobody'),
    entrySymbolHint: maybe(text),
    haltIsSuccess: flag,
    frames: maybe(record({ pages: whole(1 << 20, 1), seed: whole(0xffff_ffff, -2) })),
    xen: anything,
    cpuDefault: oneOf('max', 'model'),
    notes: listOf(text),
    recorded: text,
  })(saved, where);
  checkRamSize(plan.memorySize);
  checkMemoryMap(plan.memoryMap);
  const { frames, handover, image: name, entrySymbolHint, recorded, xen, ...rest } = plan;
  const image: FlatImage = { format: 'flat', name, bytes: new Uint8Array(0), warnings: [] };
  return {
    ...rest,
    image,
    writes: [],
    claims: [],
    state: protectedModeState({ rip: 0n, cr0: 1 }),
    recorded: parsed(recorded, `${where}.recorded`),
    ...(entrySymbolHint !== undefined && { entrySymbolHint }),
    ...(handover && { handover }),
    ...(frames && { frames: machineFrames(frames.pages, orderOf(frames.seed)) }),
    ...(frames && { xen: restoredXen(xen, `${where}.xen`, frames.pages) }),
  } as BootPlan;
}

function restoredXen(saved: Saved, where: string, pages: number): XenDomain {
  const pfn = whole(pages - 1);
  const port = whole(4095);
  const domain = record({
    rootPfn: pfn,
    consolePfn: pfn,
    storePfn: pfn,
    startInfoPfn: pfn,
    bootStackPfn: pfn,
    ports: record({ store: port, console: port }),
    hypercallPage: maybe(pfn),
    virtBase: wide,
    virtEnd: wide,
    sharedInfoMfn: count,
    extendedCr3: flag,
    features: record({ required: count, supported: count }),
    pageTables: record({ pfn, pages: count }),
    p2m: record({ pfn: count, pages: count, va: wide }),
  })(saved, where);
  return { ...domain, segments: [] } as unknown as XenDomain;
}

function parsed(json: string, where: string): NonNullable<BootPlan['recorded']> {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw misfit(where, (error as Error).message);
  }
}
