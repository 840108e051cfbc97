/** sched_op: the guest gives the processor away, for a while or for good.
 *
 * Follows: xen/common/sched/core.c (do_sched_op, do_poll), xen/include/public/sched.h.
 * Next: personality/xen/vcpu.ts. */
import { SchedPoll, SchedPoll32, SHUTDOWN_REASONS } from '../../layout/xen/event-arguments.ts';
import type { GuestEnd } from '../personality.ts';
import { EINVAL, ENOSYS, EPERM, ESRCH } from './errno.ts';
import type { GuestDomain } from './guest-domain.ts';
import { clamped, int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

const MAX_POLLED = 128;
/** How a run ends by reason. A watchdog that barks is a crash; a soft reset starts the guest again. */
const ENDS: readonly (GuestEnd & { kind: 'shutdown' })['how'][] = [
  'poweroff',
  'reboot',
  'suspend',
  'crash',
  'crash',
  'reboot',
];

export const SCHED_CALLS: readonly Hypercall<GuestDomain>[] = [
  { number: 29, name: 'sched_op', call: (domain, [cmd, arg]) => schedOp(domain, int32(cmd), arg) },
  // The interface of Xen 2: the reason itself is the argument.
  {
    number: 6,
    name: 'sched_op_compat',
    call(domain, [cmd, arg]) {
      if (int32(cmd) === 2) return shutdown(domain, int32(arg) & 0xff);
      return int32(cmd) < 2 ? schedOp(domain, int32(cmd), arg) : -ENOSYS;
    },
  },
];

function schedOp(domain: GuestDomain, command: number, arg: bigint): number {
  switch (command) {
    case 0: // yield: there is nobody to yield to but the backends of its rings
      domain.letBackendsRun();
      return 0;
    case 1:
      domain.events.upcallMask = 0;
      if (!domain.events.upcallDue) domain.clock.block();
      return 0;
    case 2:
      return shutdown(domain, domain.guest32(arg) & 0xff);
    case 3:
      return poll(domain, arg);
    case 4: // remote_shutdown
      return -ESRCH;
    case 5: // shutdown_code: what a crash is to be called
      domain.guest32(arg);
      return 0;
    case 7: // pin_override
      return -EPERM;
    default:
      domain.notBuilt(`sched_op ${command === 6 ? 'watchdog' : command}`);
      return -ENOSYS;
  }
}

export function shutdown(domain: GuestDomain, reason: number): number {
  if (domain.ended) return 0;
  domain.ended = true;
  domain.console.drain();
  const how = ENDS[reason] ?? 'crash';
  const words = SHUTDOWN_REASONS[reason] ?? `reason ${reason}`;
  domain.world.end(words === how ? { kind: 'shutdown', how } : { kind: 'shutdown', how, words });
  return 0;
}

function poll(domain: GuestDomain, arg: bigint): number {
  const { events, clock } = domain;
  const call = domain.caller32
    ? SchedPoll32.read(domain.copyFromGuest(arg, SchedPoll32.size))
    : SchedPoll.read(domain.copyFromGuest(arg, SchedPoll.size));
  const { nr_ports, timeout } = call;
  const list = BigInt(call.ports);
  if (nr_ports > MAX_POLLED) return -EINVAL;
  domain.letBackendsRun();
  if (events.upcallDue) return 0;
  const ports = new Set<number>();
  for (let i = 0; i < nr_ports; i++) {
    const port = domain.guest32(list + BigInt(4 * i));
    if (port >= events.ports) return -EINVAL;
    if (events.isPending(port)) return 0;
    ports.add(port);
  }
  clock.poll(ports, timeout === 0n ? undefined : clamped(timeout));
  return 0;
}
