/** One hypercall: its number, its name, and what it does.
 *
 * Every file of calls exports rows; hypercalls.ts puts them into one table.   Next: personality/xen/guest-values.ts. */
import type { Domain } from './domain.ts';
import type { GuestDomain } from './guest-domain.ts';

/** For PV guests, for the others, or (GuestDomain) for all. */
export type Hypercall<D extends GuestDomain = Domain> = {
  number: number;
  /** As in xen/include/public/xen.h, without __HYPERVISOR_. */
  name: string;
  /** Arguments are RDI, RSI, RDX, R10, R8 (or a multicall's five). The result goes into RAX: 0 or a count, or -errno;
   * undefined leaves RAX as the handler has made it. Bad pointers may throw Refused. */
  call: (domain: D, args: HypercallArgs) => number | bigint | undefined;
};

export type HypercallArgs = readonly [bigint, bigint, bigint, bigint, bigint];
