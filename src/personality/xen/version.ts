/** xen_version: what this hypervisor says it is. A call without an argument is also how a kernel that has just unmasked
 * its events asks for those that wait.
 *
 * We say 4.17, the release whose behaviour is followed where releases differ.
 * Follows: xen/common/kernel.c (do_xen_version), xen/include/public/{version,features}.h.
 * Next: personality/xen/memory-op.ts. */
import { XenCompileInfo, XenFeatureInfo } from '../../layout/xen/memory-arguments.ts';
import { EINVAL, ENODATA, ENOSYS } from './errno.ts';
import type { GuestDomain } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

/** Major and minor number as XENVER_version returns them. */
export const XEN_VERSION = (4 << 16) | 17;

/** Commands that fill a string of a fixed length. */
const STRINGS: Readonly<Record<number, { length: number; text: string }>> = {
  1: { length: 16, text: '.0-zeropage' },
  3: { length: 1024, text: 'xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ' },
  4: { length: 64, text: 'unavailable' },
  8: { length: 16, text: '' }, // the guest's UUID: none
  9: { length: 1024, text: '' },
};

export const VERSION_CALLS: readonly Hypercall<GuestDomain>[] = [{ number: 17, name: 'xen_version', call: xenVersion }];

function xenVersion(domain: GuestDomain, [cmd, arg]: readonly bigint[]): number {
  const command = int32(cmd);
  const string = STRINGS[command];
  if (string) {
    const bytes = new Uint8Array(string.length);
    for (let i = 0; i < string.text.length; i++) bytes[i] = string.text.charCodeAt(i);
    domain.copyToGuest(arg, bytes);
    return 0;
  }
  switch (command) {
    case 0:
      return XEN_VERSION;
    case 2: {
      const bytes = new Uint8Array(XenCompileInfo.size);
      const compile_date = 'Thu Jan  1 00:00:00 UTC 1970';
      XenCompileInfo.write(bytes, 0, { compiler: 'none', compile_by: 'zeropage', compile_domain: '', compile_date });
      domain.copyToGuest(arg, bytes);
      return 0;
    }
    case 5:
      if (domain.caller32) domain.setGuest32(arg, 0);
      else domain.setGuest64(arg, domain.virtStart);
      return 0;
    case 6: {
      const { submap_idx } = XenFeatureInfo.read(domain.copyFromGuest(arg, XenFeatureInfo.size));
      if (submap_idx !== 0) return -EINVAL;
      domain.setGuest32(arg + BigInt(XenFeatureInfo.offsetOf('submap')), domain.features);
      return 0;
    }
    case 7:
      return arg === 0n ? 4096 : -EINVAL;
    case 10:
      return -ENODATA;
    default:
      return -ENOSYS;
  }
}
