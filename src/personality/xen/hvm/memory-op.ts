/** memory_op of a PVH guest: where Xen's pages are to be, what memory there is, and giving some of it back.
 *
 * A frame that was given back still reads as RAM, zeroed: only a guest that looks where it has nothing would notice. The
 * pages of its rings stay where they are: Xen would let a guest cover or drop them.
 * Follows: xen/common/memory.c, xen/arch/x86/mm.c (arch_memory_op), xen/arch/x86/mm/p2m.c; public/memory.h.
 * Next: personality/xen/hvm/hvm-op.ts. */
import { E820Entry } from '../../../layout/boot-params.ts';
import { SPECIAL_PAGES } from '../../../layout/xen/hvm.ts';
import {
  XenAddToPhysmap,
  XenAddToPhysmap32,
  XenMemoryMap,
  XenMemoryMap32,
  XenMemoryReservation,
  XenMemoryReservation32,
  XenRemoveFromPhysmap,
  XenRemoveFromPhysmap32,
} from '../../../layout/xen/memory-arguments.ts';
import { EINVAL, ENOSYS, EPERM, ESRCH } from '../errno.ts';
import { isSelf } from '../guest-domain.ts';
import { int32 } from '../guest-values.ts';
import type { HypercallArgs } from '../hypercall-row.ts';
import type { HvmDomain } from './domain.ts';

const PAGE = 4096;
/** The bits of the command that say what is to be done; the others are where a long call had got to. */
const COMMAND = 0x3f;
const PROGRESS_SHIFT = 6n;
/** Frames that one call gives back or takes before the guest's other affairs get their turn. */
const FRAMES_AT_ONCE = 4096;
const MOST_EXTENTS = 0x3ff_ffff;
/** CONFIG_DOMU_MAX_ORDER. */
const MAX_ORDER = 9;
/** No physical address is longer than 40 bits here. */
const MOST_FRAMES = 2 ** 28;
const SPACE = { SHARED_INFO: 0, GRANT_TABLE: 1 } as const;
const NAMES: Readonly<Record<number, string>> = {
  0: 'increase_reservation', 11: 'exchange', 23: 'add_to_physmap_batch',
}; // biome-ignore format: short

export function memoryOp(domain: HvmDomain, [cmd, arg]: HypercallArgs): number {
  const command = int32(cmd) & COMMAND;
  switch (command) {
    case 1:
    case 6:
      return reservation(domain, cmd, arg, command === 1);
    case 2: // maximum_ram_page
    case 14: // maximum_gpfn
      return SPECIAL_PAGES.first + SPECIAL_PAGES.count - 1;
    case 3: // current_reservation
    case 4: // maximum_reservation
      if (!isSelf(domain.guest16(arg))) return -ESRCH;
      return domain.space.ramFrames - (command === 3 ? domain.givenBack.size : 0);
    case 7:
      return addToPhysmap(domain, arg);
    case 9:
      return memoryMap(domain, arg);
    case 10: // machine_memory_map
    case 13: // set_memory_map: the toolstack's
      return -EPERM;
    case 12: // machphys_mapping: such a guest has no machine frames
      return -ENOSYS;
    case 15: {
      const form = domain.caller32 ? XenRemoveFromPhysmap32 : XenRemoveFromPhysmap;
      const { domid, gpfn } = form.read(domain.copyFromGuest(arg, form.size));
      if (!isSelf(domid)) return -ESRCH;
      return Number(gpfn) < MOST_FRAMES && domain.removeFrame(Number(gpfn)) ? 0 : -EINVAL;
    }
    default:
      domain.notBuilt(`memory_op ${NAMES[command] ?? command}`);
      return -ENOSYS;
  }
}

function addToPhysmap(domain: HvmDomain, arg: bigint): number {
  const form = domain.caller32 ? XenAddToPhysmap32 : XenAddToPhysmap;
  const { domid, space, idx, gpfn } = form.read(domain.copyFromGuest(arg, form.size));
  if (!isSelf(domid)) return -ESRCH;
  const index = Number(idx);
  const frame = Number(gpfn);
  if (frame >= MOST_FRAMES || domain.space.isFixed(frame)) return -EINVAL;
  switch (space) {
    case SPACE.SHARED_INFO:
      if (index !== 0) return -EINVAL;
      domain.placeSharedInfo(frame);
      return 0;
    case SPACE.GRANT_TABLE: // the highest bit would ask for version 2's status frames
      if (index >= domain.mostGrantFrames) return -EINVAL;
      domain.grantFrames = Math.max(domain.grantFrames, index + 1);
      domain.placeGrantFrame(index, frame);
      return 0;
    default:
      domain.notBuilt(`memory_op add_to_physmap space ${space}`);
      return -ENOSYS;
  }
}

/** What libxl has told Xen: the RAM, and the special pages. */
function memoryMap(domain: HvmDomain, arg: bigint): number {
  const form = domain.caller32 ? XenMemoryMap32 : XenMemoryMap;
  const { nr_entries, buffer } = form.read(domain.copyFromGuest(arg, form.size));
  const entries = domain.memoryMap.slice(0, nr_entries);
  entries.forEach((entry, i) => {
    const bytes = new Uint8Array(E820Entry.size);
    E820Entry.write(bytes, 0, { addr: BigInt(entry.addr), size: BigInt(entry.size), type: entry.type });
    domain.copyToGuest(BigInt(buffer) + BigInt(i * E820Entry.size), bytes);
  });
  domain.setGuest32(arg, entries.length);
  return 0;
}

/** decrease_reservation and populate_physmap: how many extents were done. */
function reservation(domain: HvmDomain, command: bigint, arg: bigint, give: boolean): number {
  const start = Number(BigInt.asUintN(32, command) >> PROGRESS_SHIFT);
  const form = domain.caller32 ? XenMemoryReservation32 : XenMemoryReservation;
  const call = form.read(domain.copyFromGuest(arg, form.size));
  const extents = Number(call.nr_extents);
  if (extents > MOST_EXTENTS || start >= extents || !isSelf(call.domid) || call.extent_order > MAX_ORDER) return start;
  const word = domain.caller32 ? 4 : 8;
  let work = 0;
  let done = start;
  for (; done < extents; done++) {
    if (work > FRAMES_AT_ONCE) {
      domain.again = [(command & BigInt(COMMAND)) | (BigInt(done) << PROGRESS_SHIFT), arg, 0n, 0n, 0n];
      break;
    }
    const at = BigInt(call.extent_start) + BigInt(done * word);
    const first = Number(domain.caller32 ? domain.guest32(at) : domain.guest64(at));
    const count = 2 ** call.extent_order;
    work += count;
    if (first + count > domain.space.ramFrames) break;
    for (let frame = first; frame < first + count; frame++) changeFrame(domain, frame, give);
  }
  return done;
}

function changeFrame(domain: HvmDomain, frame: number, give: boolean): void {
  if (give) {
    domain.removeFrame(frame);
    domain.givenBack.add(frame);
  } else domain.givenBack.delete(frame);
  domain.setMachineBytes(frame * PAGE, new Uint8Array(PAGE));
}
