/** xen-pvh: PVH as Xen itself does it.
 *
 * The kernel is entered as on pvh, from the same note and with the same structures in the same places; what differs is
 * what is there besides: Xen's leaves in CPUID, its calls, and pages of its own near 4 GiB, which the memory map keeps
 * the guest from using.
 * Follows: Xen docs/misc/pvh.pandoc, tools/libs/guest/xg_dom_x86.c, tools/libs/light/libxl_x86.c (memory map).
 * May not: fill Xen's pages; that is the personality's.   Next: boot/xen/parameters.ts. */

import { E820_RESERVED } from '../layout/boot-params.ts';
import { SPECIAL_PAGES } from '../layout/xen/hvm.ts';
import { FRAME_SIZE } from '../memory/address.ts';
import type { MemoryMap } from '../memory/memory-map.ts';
import type { BootProtocol } from './plan.ts';
import { pvh, pvhPlan } from './pvh.ts';

export const xenPvh: BootProtocol = {
  name: 'xen-pvh',
  follows: 'Xen docs/misc/pvh.pandoc, start_info version 1; Xen 4.17',
  summary: 'PVH on Xen: hypercalls, event channels, console ring, xenstore',
  accepts: pvh.accepts,
  plan: (request) =>
    pvhPlan(
      { ...request, memoryMap: withSpecialPages(request.memoryMap) },
      { via: 'xen-pvh', follows: xenPvh.follows, personality: 'xen-hvm', notes: [] },
    ),
};

function withSpecialPages(map: MemoryMap): MemoryMap {
  const { first, count } = SPECIAL_PAGES;
  return [...map, { addr: first * FRAME_SIZE, size: count * FRAME_SIZE, type: E820_RESERVED }];
}
