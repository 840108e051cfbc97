/** xen_version: what this hypervisor says it is. A call without an argument is also how a kernel that has just unmasked
 * its events asks for those that wait.
 *
 * We say 4.17, the release whose behaviour is followed where releases differ.
 * Follows: xen/common/kernel.c (do_xen_version), xen/include/public/{version,features}.h.
 * Next: personality/xen/memory-op.ts. */
import { M2P_VIRT_START } from '../../layout/xen/addresses.ts';
import { XenCompileInfo, XenFeatureInfo } from '../../layout/xen/memory-arguments.ts';
import { ASSIST, type Domain } from './domain.ts';
import { EINVAL, ENODATA, ENOSYS } from './errno.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

/** Major and minor number as XENVER_version returns them. */
export const XEN_VERSION = (4 << 16) | 17;

/** XENFEAT_* of a plain 64-bit PV guest: mmu_pt_update_preserve_ad 5, highmem_assist 6, gnttab_map_avail_bits 7,
 * memory_op_vnode_supported 13, direct_mapped 17. Bit 4, pae_pgdir_above_4gb, follows its assist. */
const FEATURES = [5, 6, 7, 13, 17].reduce((mask, bit) => mask | (1 << bit), 0);
const PAE_PGDIR_ABOVE_4GB = 1 << 4;

/** Commands that fill a string of a fixed length. */
const STRINGS: Readonly<Record<number, { length: number; text: string }>> = {
  1: { length: 16, text: '.0-zeropage' },
  3: { length: 1024, text: 'xen-3.0-x86_64 ' },
  4: { length: 64, text: 'unavailable' },
  8: { length: 16, text: '' }, // the guest's UUID: none
  9: { length: 1024, text: '' },
};

export const VERSION_CALLS: readonly Hypercall[] = [{ number: 17, name: 'xen_version', call: xenVersion }];

function xenVersion(domain: Domain, [cmd, arg]: readonly bigint[]): number {
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
      domain.setGuest64(arg, M2P_VIRT_START);
      return 0;
    case 6: {
      const { submap_idx } = XenFeatureInfo.read(domain.copyFromGuest(arg, XenFeatureInfo.size));
      if (submap_idx !== 0) return -EINVAL;
      const submap = FEATURES | (domain.hasAssist(ASSIST.PAE_EXTENDED_CR3) ? PAE_PGDIR_ABOVE_4GB : 0);
      domain.setGuest32(arg + BigInt(XenFeatureInfo.offsetOf('submap')), submap);
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
