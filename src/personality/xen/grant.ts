/** grant_table_op: the page in which a guest lets other domains use its frames.
 *
 * Version 1: 8 bytes for each grant. The two that the toolstack makes for the console and the store are there. No domain
 * maps them, so beside setting the table up nothing is built.
 * Follows: xen/common/grant_table.c, xen/include/public/grant_table.h.   Next: personality/xen/physdev.ts. */
import {
  GnttabGetVersion,
  GnttabQuerySize,
  GnttabSetupTable,
  GnttabSetupTable32,
  GrantEntryV1,
  GTF_PERMIT_ACCESS,
} from '../../layout/xen/event-arguments.ts';

import { EINVAL, ENOSYS } from './errno.ts';
import { type GuestDomain, isSelf } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

/** GNTST_*: errors as an unsigned 16-bit field has them. */
const GENERAL_ERROR = 0xffff;
const BAD_DOMAIN = 0xfffe;
/** Entries that the toolstack fills. */
const RESERVED = { console: 0, xenstore: 1 } as const;

export const GRANT_CALLS: readonly Hypercall<GuestDomain>[] = [
  { number: 20, name: 'grant_table_op', call: (domain, [cmd, arg, count]) => grantOp(domain, int32(cmd), arg, int32(count)) },
]; // biome-ignore format: one row

/** `console` and `xenstore` are frames as the guest's own entries have them; `at` is the table's machine address. */
export function seedGrants(domain: GuestDomain, at: number, frames: { console: number; xenstore: number }): void {
  const table = domain.machineBytes(at, 4096);
  for (const name of ['console', 'xenstore'] as const) {
    GrantEntryV1.write(table, RESERVED[name] * GrantEntryV1.size, { flags: GTF_PERMIT_ACCESS, domid: 0, frame: frames[name] });
  } // biome-ignore format: one line each
}

function grantOp(domain: GuestDomain, command: number, arg: bigint, count: number): number {
  switch (command) {
    case 2:
      return count === 1 ? setupTable(domain, arg) : -EINVAL;
    case 6:
      return count === 1 ? querySize(domain, arg) : -EINVAL;
    case 8: {
      const version = domain.guest32(arg);
      if (version === 1) return 0;
      domain.setGuest32(arg, 1); // which stays
      return version === 2 ? -ENOSYS : -EINVAL;
    }
    case 10: {
      const { dom } = GnttabGetVersion.read(domain.copyFromGuest(arg, GnttabGetVersion.size));
      if (!isSelf(dom)) return -EINVAL;
      domain.setGuest32(arg + BigInt(GnttabGetVersion.offsetOf('version')), 1);
      return 0;
    }
    default:
      domain.notBuilt(`grant_table_op ${command}`);
      return -ENOSYS;
  }
}

function setupTable(domain: GuestDomain, arg: bigint): number {
  const form = domain.caller32 ? GnttabSetupTable32 : GnttabSetupTable;
  const call = form.read(domain.copyFromGuest(arg, form.size));
  let status = 0;
  if (!isSelf(call.dom)) status = BAD_DOMAIN;
  else if (call.nr_frames > domain.mostGrantFrames) status = GENERAL_ERROR;
  else {
    domain.grantFrames = Math.max(domain.grantFrames, call.nr_frames);
    const list = BigInt(call.frame_list);
    for (let i = 0; i < call.nr_frames; i++) {
      if (domain.caller32) domain.setGuest32(list + BigInt(4 * i), domain.grantFrame(i));
      else domain.setGuest64(list + BigInt(8 * i), BigInt(domain.grantFrame(i)));
    }
  }
  const bytes = domain.copyFromGuest(arg, form.size);
  form.write(bytes, 0, { status });
  domain.copyToGuest(arg, bytes);
  return 0;
}

function querySize(domain: GuestDomain, arg: bigint): number {
  const { dom } = GnttabQuerySize.read(domain.copyFromGuest(arg, GnttabQuerySize.size));
  const bytes = new Uint8Array(GnttabQuerySize.size);
  const max_nr_frames = domain.mostGrantFrames;
  const sizes = isSelf(dom) ? { nr_frames: domain.grantFrames, max_nr_frames, status: 0 } : { status: BAD_DOMAIN };
  GnttabQuerySize.write(bytes, 0, { dom, ...sizes });
  domain.copyToGuest(arg, bytes);
  return 0;
}
