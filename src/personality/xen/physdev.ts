/** physdev_op: a plain domU has no device; what is left is who may use ports.
 *
 * Follows: xen/arch/x86/physdev.c, xen/include/public/physdev.h.   Next: personality/xen/console.ts. */
import { PhysdevSetIobitmap } from '../../layout/xen/event-arguments.ts';
import type { Domain } from './domain.ts';
import { EINVAL, ENOSYS, EPERM } from './errno.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

const PORTS = 65536;

export const PHYSDEV_CALLS: readonly Hypercall[] = [
  { number: 33, name: 'physdev_op', call: (domain, [cmd, arg]) => physdevOp(domain, int32(cmd), arg) },
];

function physdevOp(domain: Domain, command: number, arg: bigint): number {
  switch (command) {
    case 6: {
      const iopl = domain.guest32(arg);
      if (iopl > 3) return -EINVAL;
      domain.iopl = iopl;
      return 0;
    }
    case 7: {
      const { bitmap, nr_ports } = PhysdevSetIobitmap.read(domain.copyFromGuest(arg, PhysdevSetIobitmap.size));
      if (nr_ports > PORTS) return -EINVAL;
      domain.ioBitmap = { address: bitmap, ports: nr_ports };
      return 0;
    }
    case 8: // the I/O APIC's registers
    case 9:
      return -EPERM;
    default: // interrupts of devices, PCI: kernels ask, and are content to hear that there are none
      return -ENOSYS;
  }
}
