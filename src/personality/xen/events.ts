/** EventChannels: how Xen interrupts a guest, and how a guest reaches what is behind its rings.
 *
 * A channel is a port. Raising one sets its bit in shared_info; if the guest has not masked it, a second-level bit in
 * vcpu_info and the upcall flag follow (the 2-level ABI: 64 words of 64 ports, or 32 of 32 for a 32-bit guest). Whether
 * the guest is interrupted is then a matter of its upcall mask, which the personality looks at whenever it goes back to
 * the guest; a PVH guest has RFLAGS.IF for that.
 * Follows: xen/common/event_channel.c, event_2l.c; xen/include/public/event_channel.h.
 * May not: enter a handler (traps.ts does).   Next: personality/xen/event-calls.ts. */
import { float64s, listOf, misfit, oneOf, record, type Saved, whole } from '../../base/saved.ts';
import { DOMID_SELF } from '../../layout/xen/event-arguments.ts';
import { SharedInfo, SharedInfo32, VcpuInfo, VcpuInfo32 } from '../../layout/xen/shared-info.ts';
import { EEXIST, EINVAL, ENOSPC } from './errno.ts';
import type { GuestDomain } from './guest-domain.ts';

/** Ports of the 2-level ABI for a 64-bit guest. */
export const PORTS = 4096;
/** VIRQs that the interface has numbers for (NR_VIRQS). */
export const VIRQS = 24;
export const VIRQ_TIMER = 0;

export type Channel =
  | { kind: 'reserved' }
  | { kind: 'unbound'; remoteDomain: number }
  | { kind: 'interdomain'; remoteDomain: number; remotePort: number; notify: () => void }
  | { kind: 'virq'; virq: number }
  | { kind: 'ipi' };

/** Where the bits are, by the guest's word size. */
const WIDTHS = {
  64: {
    pending: SharedInfo.offsetOf('evtchn_pending'), mask: SharedInfo.offsetOf('evtchn_mask'),
    pendingSel: VcpuInfo.offsetOf('evtchn_pending_sel'), wordShift: 6, ports: PORTS,
  },
  32: {
    pending: SharedInfo32.offsetOf('evtchn_pending'), mask: SharedInfo32.offsetOf('evtchn_mask'),
    pendingSel: VcpuInfo32.offsetOf('evtchn_pending_sel'), wordShift: 5, ports: 1024,
  },
} as const; // biome-ignore format: a table
const UPCALL_PENDING = VcpuInfo.offsetOf('evtchn_upcall_pending');
const UPCALL_MASK = VcpuInfo.offsetOf('evtchn_upcall_mask');

export class EventChannels {
  /** Machine address of shared_info. */
  sharedInfo: number;
  /** The guest's word size, as shared_info is laid out. */
  width: 32 | 64 = 64;
  /** Whether the upcall mask holds; otherwise RFLAGS.IF alone does. */
  readonly #masked: boolean;
  /** Machine address of the vcpu_info in use: in shared_info until the guest registers another place. */
  vcpuInfo: number;
  readonly #domain: GuestDomain;
  readonly #channels = new Map<number, Channel>();
  readonly #virqs = new Map<number, number>();
  /** Called with each port whose pending bit was set: what a vCPU in SCHEDOP_poll waits for. */
  onPending: (port: number) => void = () => undefined;
  /** Called when the upcall flag goes up. */
  onUpcall: () => void = () => undefined;

  constructor(domain: GuestDomain, sharedInfo: number, masked = true) {
    this.#domain = domain;
    this.#masked = masked;
    this.sharedInfo = sharedInfo;
    this.vcpuInfo = sharedInfo + SharedInfo.offsetOf('vcpu_info');
    this.#channels.set(0, { kind: 'reserved' });
  }

  get ports(): number {
    return WIDTHS[this.width].ports;
  }
  /** Whom a notification reaches is told by the other end: the guest itself, or what stood behind the port from the
   * beginning. */
  save(): Saved {
    const channels = [...this.#channels].map(([port, channel]) => ({
      port,
      kind: channel.kind,
      remoteDomain: 'remoteDomain' in channel ? channel.remoteDomain : 0,
      remotePort: 'remotePort' in channel ? channel.remotePort : 0,
      virq: 'virq' in channel ? channel.virq : 0,
    }));
    const { sharedInfo, width, vcpuInfo } = this;
    return { sharedInfo, width, vcpuInfo, channels, virqs: Float64Array.from([...this.#virqs].flat()) };
  }

  restore(saved: Saved, where: string): void {
    const channel = record({
      port: whole(PORTS - 1),
      kind: oneOf('reserved', 'unbound', 'interdomain', 'virq', 'ipi'),
      remoteDomain: whole(0xffff),
      remotePort: whole(0xffff_ffff),
      virq: whole(VIRQS - 1),
    });
    const at = { sharedInfo: whole(), vcpuInfo: whole() };
    const shape = { ...at, width: oneOf<32 | 64>(32, 64), channels: listOf(channel), virqs: float64s() };
    const { sharedInfo, vcpuInfo, width, channels, virqs } = record(shape)(saved, where);
    const domain = this.#domain;
    if (!domain.isMachineRange(sharedInfo, SharedInfo.size) || !domain.isMachineRange(vcpuInfo, VcpuInfo.size))
      throw misfit(where, 'its pages are nowhere');
    const first = new Map(this.#channels);
    this.#channels.clear();
    for (const { port, kind, remoteDomain, remotePort, virq } of channels) {
      if (kind === 'reserved' || kind === 'ipi') this.#channels.set(port, { kind });
      else if (kind === 'virq') this.#channels.set(port, { kind, virq });
      else if (kind === 'unbound') this.#channels.set(port, { kind, remoteDomain });
      else {
        const behind = first.get(port);
        const notify =
          remoteDomain === DOMID_SELF
            ? () => this.raise(remotePort)
            : behind?.kind === 'interdomain'
              ? behind.notify
              : undefined;
        if (!notify) throw misfit(where, `nobody stands behind port ${port}`);
        this.#channels.set(port, { kind, remoteDomain, remotePort, notify });
      }
    }
    this.sharedInfo = sharedInfo;
    this.vcpuInfo = vcpuInfo;
    this.width = width;
    this.#virqs.clear();
    for (let i = 0; i + 1 < virqs.length; i += 2) this.#virqs.set(virqs[i], virqs[i + 1]);
  }

  channel(port: number): Channel | undefined {
    return this.#channels.get(port);
  }
  virqPort(virq: number): number | undefined {
    return this.#virqs.get(virq);
  }

  /** The lowest free port gets the channel; -ENOSPC when there is none. */
  open(channel: Channel): number {
    if (channel.kind === 'virq' && this.#virqs.has(channel.virq)) return -EEXIST;
    for (let port = 1; port < this.ports; port++) {
      if (this.#channels.has(port)) continue;
      this.set(port, channel);
      return port;
    }
    return -ENOSPC;
  }

  set(port: number, channel: Channel): void {
    this.#channels.set(port, channel);
    if (channel.kind === 'virq') this.#virqs.set(channel.virq, port);
  }

  close(port: number): number {
    const channel = this.#channels.get(port);
    if (!channel || channel.kind === 'reserved') return -EINVAL;
    if (channel.kind === 'virq') this.#virqs.delete(channel.virq);
    this.#channels.delete(port);
    if (channel.kind === 'interdomain' && channel.remoteDomain === DOMID_SELF)
      this.#channels.set(channel.remotePort, { kind: 'unbound', remoteDomain: DOMID_SELF });
    this.#clearBit(this.#pendingBits, port);
    return 0;
  }

  /** Closes all that the guest has, the ones to its console and store included. */
  reset(): void {
    for (let port = 1; port < PORTS; port++) this.close(port);
  }

  /** The guest's half of a notification. */
  send(port: number): number {
    const channel = this.#channels.get(port);
    switch (channel?.kind) {
      case 'interdomain':
        channel.notify();
        return 0;
      case 'ipi':
        this.raise(port);
        return 0;
      case 'unbound':
        return 0; // nobody listens: dropped
      default:
        return -EINVAL;
    }
  }

  raiseVirq(virq: number): void {
    const port = this.#virqs.get(virq);
    if (port !== undefined) this.raise(port);
  }

  raise(port: number): void {
    if (this.#setBit(this.#pendingBits, port)) return;
    if (!this.#bit(this.#maskBits, port)) this.#propagate(port);
    this.onPending(port);
  }

  unmask(port: number): void {
    const was = this.#clearBit(this.#maskBits, port);
    if (was && this.#bit(this.#pendingBits, port)) this.#propagate(port);
  }

  isPending(port: number): boolean {
    return this.#bit(this.#pendingBits, port);
  }

  #propagate(port: number): void {
    const { pendingSel, wordShift } = WIDTHS[this.width];
    if (!this.#setBit(this.vcpuInfo + pendingSel, port >> wordShift)) this.markPending();
  }

  /** Every word may have something in it. */
  markAll(): void {
    const at = this.vcpuInfo + WIDTHS[this.width].pendingSel;
    for (let i = 0; i < this.width / 8; i++) this.#domain.setMachine8(at + i, 0xff);
    this.markPending();
  }

  markPending(): void {
    const was = this.isUpcallPending;
    this.#domain.setMachine8(this.vcpuInfo + UPCALL_PENDING, 1);
    if (!was) this.onUpcall();
  }

  get upcallMask(): number {
    return this.#domain.machine8(this.vcpuInfo + UPCALL_MASK);
  }
  set upcallMask(value: number) {
    this.#domain.setMachine8(this.vcpuInfo + UPCALL_MASK, value);
  }
  /** Whether the guest is to be interrupted on its way back. */
  get upcallDue(): boolean {
    return this.isUpcallPending && (!this.#masked || this.upcallMask === 0);
  }
  get isUpcallPending(): boolean {
    return this.#domain.machine8(this.vcpuInfo + UPCALL_PENDING) !== 0;
  }

  get #pendingBits(): number {
    return this.sharedInfo + WIDTHS[this.width].pending;
  }
  get #maskBits(): number {
    return this.sharedInfo + WIDTHS[this.width].mask;
  }

  #bit(at: number, bit: number): boolean {
    return ((this.#domain.machine8(at + (bit >> 3)) >> (bit & 7)) & 1) !== 0;
  }
  /** Sets a bit, and says whether it was set. */
  #setBit(at: number, bit: number): boolean {
    const byte = at + (bit >> 3);
    const old = this.#domain.machine8(byte);
    if ((old >> (bit & 7)) & 1) return true;
    this.#domain.setMachine8(byte, old | (1 << (bit & 7)));
    return false;
  }
  #clearBit(at: number, bit: number): boolean {
    const byte = at + (bit >> 3);
    const old = this.#domain.machine8(byte);
    if (((old >> (bit & 7)) & 1) === 0) return false;
    this.#domain.setMachine8(byte, old & ~(1 << (bit & 7)));
    return true;
  }
}
