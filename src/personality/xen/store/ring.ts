/** StoreRing: xenstore's end of the page that it shares with a guest.
 *
 * Requests and replies are streams: a message may be longer than the ring, so it is taken and given in pieces. While
 * there are bytes that the guest has no room for, no further request is taken. A guest whose indices make no sense, or
 * whose message says that it is longer than any may be, is not served any more, and the page says why.
 * Follows: xen/include/public/io/xs_wire.h; tools/xenstored/xenstored_domain.c (readchn, writechn).
 * Next: personality/xen/store/seed.ts. */
import { anything, bytes, flag, listOf, misfit, record, type Saved, whole } from '../../../base/saved.ts';
import { RING_CONNECTED, XenstoreDomainInterface, XS_ERROR, XS_TYPE, XsdSockmsg } from '../../../layout/xen/rings.ts';
import type { GuestDomain } from '../guest-domain.ts';
import { MOST_PAYLOAD, type StoreConnection } from './requests.ts';

const { req: REQ, rsp: RSP } = XenstoreDomainInterface.fields;
const offset = XenstoreDomainInterface.offsetOf;
const HEADER = XsdSockmsg.size;

export class StoreRing {
  readonly #domain: GuestDomain;
  /** Machine address of the page. */
  readonly #page: number;
  readonly #port: number;
  readonly connection: StoreConnection;
  /** Of the request that is being read. */
  readonly #message = new Uint8Array(HEADER + MOST_PAYLOAD);
  #read = 0;
  /** What waits for room. */
  #out: Uint8Array[] = [];
  #sent = 0;
  #broken = false;

  constructor(domain: GuestDomain, page: number, port: number, connection: StoreConnection) {
    this.#domain = domain;
    this.#page = page;
    this.#port = port;
    this.connection = connection;
    domain.events.set(port, { kind: 'interdomain', remoteDomain: 0, remotePort: 0, notify: () => this.serve() });
    domain.setMachine32(page + offset('connection'), RING_CONNECTED);
  }

  save(): Saved {
    return {
      connection: this.connection.save(),
      message: this.#message,
      read: this.#read,
      out: this.#out,
      sent: this.#sent,
      broken: this.#broken,
    };
  }

  restore(saved: Saved, where: string): void {
    const { length } = this.#message;
    const state = record({
      connection: anything,
      message: bytes(length),
      read: whole(length - 1),
      out: listOf(bytes()),
      sent: whole(),
      broken: flag,
    })(saved, where);
    if (state.sent > 0 && state.sent >= (state.out[0]?.length ?? 0)) throw misfit(where, 'more was sent than there is');
    this.connection.restore(state.connection, `${where}.connection`);
    this.#message.set(state.message);
    this.#read = state.read;
    this.#out = state.out;
    this.#sent = state.sent;
    this.#broken = state.broken;
  }

  /** Takes requests and gives replies, as far as there are some and there is room. */
  serve(): void {
    if (this.#broken) return;
    let moved = this.#give();
    while (this.#out.length === 0 && !this.#broken) {
      const took = this.#take();
      moved = this.#give() || moved || took;
      if (!took) break;
    }
    if (moved) this.#domain.events.raise(this.#port);
  }

  /** A piece of the request stream; answers the message that it completes. */
  #take(): boolean {
    const { cons, count } = this.#indices('req_cons', 'req_prod');
    if (count === 0) return false;
    const wanted = (this.#read < HEADER ? HEADER : HEADER + this.#length) - this.#read;
    const size = Math.min(wanted, count);
    const ring = this.#domain.machineBytes(this.#page + REQ.offset, REQ.size);
    for (let i = 0; i < size; i++) this.#message[this.#read + i] = ring[(cons + i) & (REQ.size - 1)];
    this.#read += size;
    this.#domain.setMachine32(this.#page + offset('req_cons'), cons + size);
    if (this.#read >= HEADER) this.#maybeAnswer();
    return true;
  }

  get #length(): number {
    return XsdSockmsg.read(this.#message).len;
  }

  #maybeAnswer(): void {
    const { type, req_id, tx_id, len } = XsdSockmsg.read(this.#message);
    if (len > MOST_PAYLOAD) {
      this.#break(XS_ERROR.PROTO);
      return;
    }
    if (this.#read < HEADER + len) return;
    this.#read = 0;
    const payload = this.#message.slice(HEADER, HEADER + len);
    const { events } = this.connection;
    const reply = this.connection.answer({ type, txId: tx_id, payload });
    this.#queue(reply.type, req_id, tx_id, reply.payload);
    for (const event of events.splice(0)) this.#queue(XS_TYPE.WATCH_EVENT, 0, 0, event);
  }

  #queue(type: number, req_id: number, tx_id: number, payload: Uint8Array): void {
    const bytes = new Uint8Array(HEADER + payload.length);
    XsdSockmsg.write(bytes, 0, { type, req_id, tx_id, len: payload.length });
    bytes.set(payload, HEADER);
    this.#out.push(bytes);
  }

  #give(): boolean {
    let moved = false;
    while (this.#out.length > 0) {
      const { prod, count } = this.#indices('rsp_cons', 'rsp_prod', RSP.size);
      if (this.#broken) return moved;
      const [first] = this.#out;
      const size = Math.min(RSP.size - count, first.length - this.#sent);
      if (size === 0) break;
      for (let i = 0; i < size; i++)
        this.#domain.setMachine8(this.#page + RSP.offset + ((prod + i) & (RSP.size - 1)), first[this.#sent + i]);
      this.#domain.setMachine32(this.#page + offset('rsp_prod'), prod + size);
      moved = true;
      this.#sent += size;
      if (this.#sent < first.length) continue;
      this.#out.shift();
      this.#sent = 0;
    }
    return moved;
  }

  /** The ring's two indices; no bytes when they cannot be right. */
  #indices(consumer: 'req_cons' | 'rsp_cons', producer: 'req_prod' | 'rsp_prod', size = REQ.size) {
    const cons = this.#domain.machine32(this.#page + offset(consumer));
    const prod = this.#domain.machine32(this.#page + offset(producer));
    const count = (prod - cons) >>> 0;
    if (count <= size) return { cons, prod, count };
    this.#break(XS_ERROR.RINGIDX);
    return { cons, prod, count: 0 };
  }

  #break(error: number): void {
    this.#broken = true;
    this.#out = [];
    this.#domain.setMachine32(this.#page + offset('error'), error);
    const why = error === XS_ERROR.PROTO ? 'a message that is too long' : 'ring indices that cannot be right';
    this.#domain.notBuilt(`xenstore: service after ${why}`);
  }
}
