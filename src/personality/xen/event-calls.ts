/** event_channel_op: the guest opens, closes, sends on and asks about its event channels.
 *
 * FIFO event channels are not built; a guest that asks for them is told -ENOSYS and stays with the 2-level ABI, as the
 * interface allows.
 * Follows: xen/common/event_channel.c, do_event_channel_op.   Next: personality/xen/time.ts. */
import {
  DOMID_SELF,
  EVTCHN_STATUS,
  EvtchnAllocUnbound,
  EvtchnBindInterdomain,
  EvtchnBindIpi,
  EvtchnBindVcpu,
  EvtchnBindVirq,
  EvtchnReset,
  EvtchnSend,
  EvtchnStatus,
} from '../../layout/xen/event-arguments.ts';
import { EINVAL, ENOENT, ENOSYS, EPERM, ESRCH } from './errno.ts';
import { VIRQ_TIMER, VIRQS } from './events.ts';
import { type GuestDomain, isSelf } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

/** Virtual interrupts that every vCPU has its own of; the others belong to the domain. */
const PER_VCPU_VIRQS = new Set([VIRQ_TIMER, 1, 7, 13]);

type Operation = (domain: GuestDomain, arg: bigint) => number;

/** Calls whose struct is one port. */
const onPort =
  (act: (domain: GuestDomain, port: number) => number): Operation =>
  (domain, arg) => {
    const { port } = EvtchnSend.read(domain.copyFromGuest(arg, EvtchnSend.size));
    return port < domain.events.ports ? act(domain, port) : -EINVAL;
  };

const OPERATIONS: Readonly<Record<number, { name: string; act: Operation }>> = {
  0: { name: 'bind_interdomain', act: bindInterdomain },
  1: { name: 'bind_virq', act: bindVirq },
  2: { name: 'bind_pirq', act: () => -EPERM }, // a plain domU has no physical interrupts
  3: { name: 'close', act: onPort((domain, port) => domain.events.close(port)) },
  4: { name: 'send', act: onPort((domain, port) => domain.events.send(port)) },
  5: { name: 'status', act: status },
  6: { name: 'alloc_unbound', act: allocUnbound },
  7: { name: 'bind_ipi', act: bindIpi },
  8: { name: 'bind_vcpu', act: bindVcpu },
  9: { name: 'unmask', act: onPort(unmask) },
  10: { name: 'reset', act: reset },
};

export const EVENT_CALLS: readonly Hypercall<GuestDomain>[] = [
  {
    number: 32,
    name: 'event_channel_op',
    call(domain, [cmd, arg]) {
      const operation = OPERATIONS[int32(cmd)];
      if (operation) return operation.act(domain, arg);
      const fifo: Record<number, string> = { 11: 'init_control', 12: 'expand_array', 13: 'set_priority' };
      domain.notBuilt(`event_channel_op ${fifo[int32(cmd)] ?? int32(cmd)}`);
      return -ENOSYS;
    },
  },
];

function bindVirq(domain: GuestDomain, arg: bigint): number {
  const { virq, vcpu } = EvtchnBindVirq.read(domain.copyFromGuest(arg, EvtchnBindVirq.size));
  if (virq >= VIRQS) return -EINVAL;
  if (vcpu !== 0) return PER_VCPU_VIRQS.has(virq) ? -ENOENT : -EINVAL;
  const port = domain.events.open({ kind: 'virq', virq });
  if (port < 0) return port;
  domain.setGuest32(arg + BigInt(EvtchnBindVirq.offsetOf('port')), port);
  return 0;
}

function bindIpi(domain: GuestDomain, arg: bigint): number {
  const { vcpu } = EvtchnBindIpi.read(domain.copyFromGuest(arg, EvtchnBindIpi.size));
  if (vcpu !== 0) return -ENOENT;
  const port = domain.events.open({ kind: 'ipi' });
  if (port < 0) return port;
  domain.setGuest32(arg + BigInt(EvtchnBindIpi.offsetOf('port')), port);
  return 0;
}

function allocUnbound(domain: GuestDomain, arg: bigint): number {
  const { dom, remote_dom } = EvtchnAllocUnbound.read(domain.copyFromGuest(arg, EvtchnAllocUnbound.size));
  if (!isSelf(dom)) return -EPERM;
  const port = domain.events.open({ kind: 'unbound', remoteDomain: isSelf(remote_dom) ? DOMID_SELF : remote_dom });
  if (port < 0) return port;
  domain.setGuest32(arg + BigInt(EvtchnAllocUnbound.offsetOf('port')), port);
  return 0;
}

/** There is no other domain to bind to; a guest may connect two of its own ports. */
function bindInterdomain(domain: GuestDomain, arg: bigint): number {
  const { remote_dom, remote_port } = EvtchnBindInterdomain.read(domain.copyFromGuest(arg, EvtchnBindInterdomain.size));
  if (!isSelf(remote_dom)) return -ESRCH;
  const { events } = domain;
  const remote = events.channel(remote_port);
  if (remote?.kind !== 'unbound' || remote.remoteDomain !== DOMID_SELF) return -EINVAL;
  const ends = { kind: 'interdomain', remoteDomain: DOMID_SELF } as const;
  const local = events.open({ ...ends, remotePort: remote_port, notify: () => events.raise(remote_port) });
  if (local < 0) return local;
  events.set(remote_port, { ...ends, remotePort: local, notify: () => events.raise(local) });
  events.raise(local); // what was sent before both ends were there is not lost
  domain.setGuest32(arg + BigInt(EvtchnBindInterdomain.offsetOf('local_port')), local);
  return 0;
}

function status(domain: GuestDomain, arg: bigint): number {
  const { dom, port } = EvtchnStatus.read(domain.copyFromGuest(arg, EvtchnStatus.size));
  if (!isSelf(dom)) return -ESRCH;
  if (port >= domain.events.ports) return -EINVAL;
  const channel = domain.events.channel(port);
  const kind = channel === undefined || channel.kind === 'reserved' ? 'closed' : channel.kind;
  const u = new Uint8Array(8);
  const union = new DataView(u.buffer);
  if (channel?.kind === 'virq') union.setUint32(0, channel.virq, true);
  if (channel?.kind === 'unbound' || channel?.kind === 'interdomain') union.setUint16(0, channel.remoteDomain, true);
  if (channel?.kind === 'interdomain') union.setUint32(4, channel.remotePort, true);
  const bytes = new Uint8Array(EvtchnStatus.size);
  EvtchnStatus.write(bytes, 0, { dom, port, status: EVTCHN_STATUS[kind], vcpu: 0, u });
  domain.copyToGuest(arg, bytes);
  return 0;
}

function bindVcpu(domain: GuestDomain, arg: bigint): number {
  const { port, vcpu } = EvtchnBindVcpu.read(domain.copyFromGuest(arg, EvtchnBindVcpu.size));
  if (vcpu !== 0) return -ENOENT;
  const channel = domain.events.channel(port);
  switch (channel?.kind) {
    case 'unbound':
    case 'interdomain':
      return 0;
    case 'virq':
      return PER_VCPU_VIRQS.has(channel.virq) ? -EINVAL : 0;
    default:
      return -EINVAL;
  }
}

function unmask(domain: GuestDomain, port: number): number {
  domain.events.unmask(port);
  return 0;
}

function reset(domain: GuestDomain, arg: bigint): number {
  const { dom } = EvtchnReset.read(domain.copyFromGuest(arg, EvtchnReset.size));
  if (!isSelf(dom)) return -ESRCH;
  domain.events.reset();
  return 0;
}
