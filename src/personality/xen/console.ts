/** GuestConsole's two ways out of a PV guest: its ring, and the hypervisor's own console_io.
 *
 * The ring's page has indices that run freely; the guest writes, moves `prod` and sends on the console's event channel,
 * and what stands behind it takes the bytes, moves `cons` and sends back. A page whose indices make no sense is left
 * alone, as xenconsoled does. A release build of Xen refuses console_io to a domU; ours prints, which is friendlier.
 * Follows: xen/include/public/io/console.h, tools/console/daemon/io.c, xen/drivers/char/console.c.
 * Next: personality/xen/memory-calls.ts. */
import { bytes, type Saved } from '../../base/saved.ts';
import { RING_CONNECTED, XenconsInterface } from '../../layout/xen/rings.ts';
import { E2BIG, ENOSYS } from './errno.ts';
import type { GuestDomain } from './guest-domain.ts';
import { int32 } from './guest-values.ts';
import type { Hypercall } from './hypercall-row.ts';

const OUT = XenconsInterface.fields.out;
const IN = XenconsInterface.fields.in;
/** Bytes that one console_io takes before the guest's other affairs get their turn. */
const WRITE_CHUNK = 4096;
/** Input that waits for room in the ring. */
const MOST_INPUT = 65536;

export class ConsoleRing {
  readonly #domain: GuestDomain;
  /** Machine address of the page. */
  readonly #page: number;
  readonly #port: number;
  #input: number[] = [];

  constructor(domain: GuestDomain, page: number, port: number) {
    this.#domain = domain;
    this.#page = page;
    this.#port = port;
    domain.events.set(port, { kind: 'interdomain', remoteDomain: 0, remotePort: 0, notify: () => this.notified() });
    domain.setMachine8(page + XenconsInterface.offsetOf('connection'), RING_CONNECTED);
  }

  /** Whether the guest has ever printed here. */
  get isUsed(): boolean {
    return this.#domain.machine32(this.#page + XenconsInterface.offsetOf('out_prod')) !== 0;
  }

  save(): Saved {
    return Uint8Array.from(this.#input);
  }

  restore(saved: Saved, where: string): void {
    this.#input = [...bytes()(saved, where)];
  }

  notified(): void {
    this.drain();
    this.#fill();
  }

  /** Prints what the guest has written. */
  drain(): void {
    const domain = this.#domain;
    const cons = domain.machine32(this.#page + XenconsInterface.offsetOf('out_cons'));
    const prod = domain.machine32(this.#page + XenconsInterface.offsetOf('out_prod'));
    const size = (prod - cons) >>> 0;
    if (size === 0 || size > OUT.size) return;
    const ring = domain.machineBytes(this.#page + OUT.offset, OUT.size);
    for (let i = 0; i < size; i++) domain.world.console(ring[(cons + i) & (OUT.size - 1)]);
    domain.setMachine32(this.#page + XenconsInterface.offsetOf('out_cons'), prod);
    domain.events.raise(this.#port);
  }

  /** What somebody types. */
  receive(bytes: Uint8Array): void {
    for (const byte of bytes) if (this.#input.length < MOST_INPUT) this.#input.push(byte);
    this.#fill();
  }

  #fill(): void {
    const domain = this.#domain;
    const cons = domain.machine32(this.#page + XenconsInterface.offsetOf('in_cons'));
    const prod = domain.machine32(this.#page + XenconsInterface.offsetOf('in_prod'));
    const used = (prod - cons) >>> 0;
    const count = Math.min(IN.size - used, this.#input.length);
    if (count <= 0) return;
    for (let i = 0; i < count; i++) {
      domain.setMachine8(this.#page + IN.offset + ((prod + i) & (IN.size - 1)), this.#input[i]);
    }
    this.#input = this.#input.slice(count);
    domain.setMachine32(this.#page + XenconsInterface.offsetOf('in_prod'), prod + count);
    domain.events.raise(this.#port);
  }
}

export const CONSOLE_CALLS: readonly Hypercall<GuestDomain>[] = [
  {
    number: 18,
    name: 'console_io',
    call(domain, [cmd, count, buffer]) {
      switch (int32(cmd)) {
        case 0:
          return write(domain, int32(count), buffer);
        case 1: // read: nobody types at the hypervisor's own console
          return int32(count) > 0x7fff_ffff ? -E2BIG : 0;
        default:
          return -ENOSYS;
      }
    },
  },
];

function write(domain: GuestDomain, count: number, buffer: bigint): number {
  const size = Math.min(count, WRITE_CHUNK);
  for (const byte of domain.copyFromGuest(buffer, size)) domain.world.console(byte);
  if (size < count) domain.again = [0n, BigInt(count - size), BigInt.asUintN(64, buffer + BigInt(size)), 0n, 0n];
  return 0;
}
