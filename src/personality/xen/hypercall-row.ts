/** One hypercall: its number, its name, and what it does.
 *
 * Every file of calls exports rows; hypercalls.ts puts them into one table.   Next: personality/xen/guest-values.ts. */
import type { Domain } from './domain.ts';
import { ENOSYS, Refused } from './errno.ts';
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

/** Calls of one multicall before the guest's other affairs get their turn. */
export const CALLS_AT_ONCE = 256;

/** What Xen refuses a plain domU: such a call needs a privileged domain, or a part of Xen that is not configured. */
export const refused = (number: number, name: string, errno: number): Hypercall<GuestDomain> => ({
  number,
  name,
  call: () => -errno,
});

/** What Xen has and we have not: the guest hears what it would from a Xen built without, and the report names it. */
export const notBuilt = (number: number, name: string): Hypercall<GuestDomain> => ({
  number,
  name,
  call(domain) {
    domain.notBuilt(name);
    return -ENOSYS;
  },
});

/** What the row answers; a call without a row is named in the report. */
export function perform<D extends GuestDomain>(
  row: Hypercall<D> | undefined,
  number: number | bigint,
  domain: D,
  args: HypercallArgs,
): number | bigint | undefined {
  if (!row) {
    domain.notBuilt(`hypercall ${number}`);
    return -ENOSYS;
  }
  try {
    return row.call(domain, args);
  } catch (e) {
    if (e instanceof Refused) return -e.errno;
    throw e;
  }
}
