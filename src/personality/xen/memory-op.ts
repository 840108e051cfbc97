/** memory_op: what memory there is. Giving frames back and getting others is in reservations.ts.
 *
 * Follows: xen/common/memory.c (do_memory_op), xen/arch/x86/mm.c (arch_memory_op); xen/include/public/memory.h.
 * Next: personality/xen/sched.ts. */
import { E820_RAM, E820Entry } from '../../layout/boot-params.ts';
import { M2P_VIRT_END, M2P_VIRT_START } from '../../layout/xen/addresses.ts';
import { XenMachphysMapping, XenMemoryMap } from '../../layout/xen/memory-arguments.ts';
import type { Domain } from './domain.ts';
import { ENOSYS, EPERM, ESRCH } from './errno.ts';
import { isSelf } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';
import { RESERVATIONS } from './reservations.ts';

/** The bits of the command that say what is to be done; the others are where a long call had got to. */
const COMMAND = 0x3f;
const NAMES: Readonly<Record<number, string>> = {
  5: 'machphys_mfn_list', 7: 'add_to_physmap', 11: 'exchange', 15: 'remove_from_physmap',
}; // biome-ignore format: short

export const MEMORY_CALLS: readonly Hypercall[] = [{ number: 12, name: 'memory_op', call: memoryOp }];

function memoryOp(domain: Domain, [cmd, arg]: readonly bigint[]): number | bigint {
  const command = int32(cmd) & COMMAND;
  const reservation = RESERVATIONS[command];
  if (reservation) return reservation(domain, cmd, arg);
  switch (command) {
    case 2: // maximum_ram_page
      return domain.frames.end - 1;
    case 3: // current_reservation
    case 4: // maximum_reservation
      if (!isSelf(domain.guest16(arg))) return -ESRCH;
      return command === 3 ? domain.memory.types.guestFrames : domain.frames.nrPages;
    case 9:
      return memoryMap(domain, arg);
    case 10: // machine_memory_map
    case 13: // set_memory_map: the toolstack's
      return -EPERM;
    case 12: {
      const bytes = new Uint8Array(XenMachphysMapping.size);
      const max_mfn = (M2P_VIRT_END - M2P_VIRT_START) / 8n - 1n;
      XenMachphysMapping.write(bytes, 0, { v_start: M2P_VIRT_START, v_end: M2P_VIRT_END, max_mfn });
      domain.copyToGuest(arg, bytes);
      return 0;
    }
    case 14: // maximum_gpfn
      return domain.frames.nrPages - 1;
    default:
      domain.notBuilt(`memory_op ${NAMES[command] ?? command}`);
      return -ENOSYS;
  }
}

/** One entry: RAM from 0 on. */
function memoryMap(domain: Domain, arg: bigint): number {
  const { nr_entries, buffer } = XenMemoryMap.read(domain.copyFromGuest(arg, XenMemoryMap.size));
  if (nr_entries > 0) {
    const entry = new Uint8Array(E820Entry.size);
    E820Entry.write(entry, 0, { addr: 0n, size: BigInt(domain.frames.nrPages) * 4096n, type: E820_RAM });
    domain.copyToGuest(buffer, entry);
  }
  domain.setGuest32(arg, Math.min(nr_entries, 1));
  return 0;
}
