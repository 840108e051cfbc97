/** xenstore's ring: messages in any pieces, replies longer than the ring, and rings that make no sense. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { XenstoreDomainInterface as Page, XS_ERROR, XS_TYPE, XsdSockmsg } from '../../../../src/layout/xen/rings.ts';
import { PFN, PORTS, PvGuest, va } from '../pv-guest.ts';

const PAGE = va(PFN.store);
const at = (name: keyof typeof Page.fields) => PAGE + BigInt(Page.offsetOf(name));

/** A guest that talks over its ring as a kernel does: it writes what there is room for, and takes what has come. */
class Talker {
  readonly guest = new PvGuest();
  received: number[] = [];

  send(): bigint {
    this.guest.write64(va(32), PORTS.store);
    return this.guest.call(32, 4, va(32));
  }
  put(bytes: readonly number[] | Uint8Array, piece = 1024): void {
    for (let done = 0; done < bytes.length; ) {
      const [cons, prod] = [this.guest.read32(at('req_cons')), this.guest.read32(at('req_prod'))];
      const size = Math.min(piece, bytes.length - done, 1024 - ((prod - cons) >>> 0));
      for (let i = 0; i < size; i++) this.guest.write(PAGE + BigInt((prod + i) & 1023), [bytes[done + i]]);
      this.guest.write32(at('req_prod'), prod + size);
      done += size;
      this.send();
      if (size === 0 && this.take() === 0) return; // nobody answers any more
    }
  }
  take(): number {
    const [cons, prod] = [this.guest.read32(at('rsp_cons')), this.guest.read32(at('rsp_prod'))];
    for (let i = cons; i !== prod; i = (i + 1) >>> 0) this.received.push(this.guest.read8(at('rsp') + BigInt(i & 1023)));
    this.guest.write32(at('rsp_cons'), prod);
    this.send();
    return (prod - cons) >>> 0;
  }
  /** All messages that have come: type, request number, payload. */
  messages(): [number, number, string][] {
    while (this.take() > 0);
    const out: [number, number, string][] = [];
    let bytes = Uint8Array.from(this.received);
    while (bytes.length > 0) {
      const { type, req_id, len } = XsdSockmsg.read(bytes);
      out.push([type, req_id, [...bytes.subarray(16, 16 + len)].map((b) => String.fromCharCode(b)).join('')]);
      bytes = bytes.slice(16 + len);
    }
    return out;
  }
} // biome-ignore format: lines

function message(type: number, payload: string, req_id = 7, len = payload.length): number[] {
  const bytes = new Uint8Array(16 + payload.length);
  XsdSockmsg.write(bytes, 0, { type, req_id, tx_id: 0, len });
  bytes.set(
    Uint8Array.from(payload, (c) => c.charCodeAt(0)),
    16,
  );
  return [...bytes];
}

describe('the ring', () => {
  it('is connected, and answers with the request’s number; the guest hears of it on its port', () => {
    const talker = new Talker();
    expect(talker.guest.read32(at('connection'))).toBe(0);
    talker.put(message(XS_TYPE.READ, 'domid\0', 42));
    expect(talker.guest.sharedInfo.get64(0x800) & (1n << BigInt(PORTS.store))).not.toBe(0n);
    expect(talker.messages()).toEqual([[XS_TYPE.READ, 42, '1']]);
  });

  it('sends a watch’s event behind the answer to it', () => {
    const talker = new Talker();
    talker.put(message(XS_TYPE.WATCH, 'device\0token\0', 9));
    expect(talker.messages()).toEqual([[XS_TYPE.WATCH, 9, 'OK\0'], [XS_TYPE.WATCH_EVENT, 0, 'device\0token\0']]); // biome-ignore format: short
  });

  it.each([1, 7, 16, 17, 1000])('takes messages in pieces of %i bytes, longer than itself, too', (piece) => {
    const talker = new Talker();
    const value = 'abcdefgh'.repeat(250);
    talker.put([...message(XS_TYPE.WRITE, `data/x\0${value}`), ...message(XS_TYPE.READ, 'data/x\0', 8)], piece);
    expect(talker.messages()).toEqual([[XS_TYPE.WRITE, 7, 'OK\0'], [XS_TYPE.READ, 8, value]]); // biome-ignore format: short
  });

  it('takes no further request while the guest has no room for the answer', () => {
    const talker = new Talker();
    talker.put([...message(XS_TYPE.WRITE, `data/x\0${'x'.repeat(2000)}`)]);
    talker.messages();
    talker.received = [];
    talker.put([...message(XS_TYPE.READ, 'data/x\0'), ...message(XS_TYPE.READ, 'domid\0', 8)]);
    expect(talker.guest.read32(at('req_prod')) - talker.guest.read32(at('req_cons'))).toBe(22);
    expect(talker.messages().map(([, id]) => id)).toEqual([7, 8]);
  });

  it.each([
    ['a message that is too long', () => message(XS_TYPE.READ, '', 1, 4097), XS_ERROR.PROTO],
    ['the longest length of all', () => message(XS_TYPE.READ, '', 1, 0xffff_ffff), XS_ERROR.PROTO],
  ])('stops serving after %s, and says why', (_, bytes, error) => {
    const talker = new Talker();
    talker.put(bytes());
    expect(talker.guest.read32(at('error'))).toBe(error);
    talker.put(message(XS_TYPE.READ, 'domid\0'));
    expect(talker.messages()).toEqual([]);
    expect(talker.guest.personality.missing).toEqual(['xenstore: service after a message that is too long']);
  });

  it.each(['req_prod', 'rsp_prod'] as const)('stops serving when %s makes no sense', (name) => {
    const talker = new Talker();
    talker.guest.write32(at(name), 1025);
    talker.send();
    talker.put(message(XS_TYPE.READ, 'domid\0'));
    expect(talker.guest.read32(at('error'))).toBe(XS_ERROR.RINGIDX);
  });

  it('survives any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(0xffff_ffff), (bytes, index) => {
        const talker = new Talker();
        talker.guest.write32(at('req_cons'), index);
        talker.guest.write32(at('req_prod'), index);
        talker.put(bytes, 50);
        talker.messages();
        expect(talker.guest.ends).toEqual([]);
      }),
      { numRuns: 20 },
    );
  }, 20_000);
});
