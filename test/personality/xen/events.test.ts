/** Event channels, timers, blocking, and what shared_info says. */
import { describe, expect, it } from 'vitest';
import {
  CODE,
  DATA,
  HANDLER,
  hypercall,
  NOP,
  PFN,
  PORTS,
  PvGuest,
  RTC_SECONDS,
  SPIN,
  STACK_TOP,
  va,
} from './pv-guest.ts';

const OP = { bindInterdomain: 0, bindVirq: 1, bindPirq: 2, close: 3, send: 4, status: 5, allocUnbound: 6, bindIpi: 7, bindVcpu: 8, unmask: 9, reset: 10, initControl: 11, setPriority: 13 } as const; // biome-ignore format: a table
const [PENDING, MASK] = [0x800, 0xa00];
const SELF = 0x7ff0;
const MS = 1_000_000;

function op(guest: PvGuest, command: number, ...words: number[]): bigint {
  guest.write32(DATA, ...words);
  return guest.call(32, command, DATA);
}
const bind = (guest: PvGuest, virq: number) => {
  expect(op(guest, OP.bindVirq, virq, 0, 0)).toBe(0n);
  return guest.read32(DATA + 8n);
};
const ipi = (guest: PvGuest) => {
  expect(op(guest, OP.bindIpi, 0, 0)).toBe(0n);
  return guest.read32(DATA + 4n);
};
const bit = (guest: PvGuest, at: number, port: number) =>
  (guest.sharedInfo.get64(at + 8 * (port >> 6)) >> BigInt(port & 63)) & 1n;

describe('shared_info at the first instruction', () => {
  it('masks upcalls, shows the clock and has nothing pending', () => {
    const { sharedInfo } = new PvGuest();
    for (let vcpu = 0; vcpu < 32; vcpu++) expect(sharedInfo.get8(vcpu * 0x40 + 1)).toBe(1);
    expect(sharedInfo.get64(PENDING)).toBe(0n);
    expect(sharedInfo.get64(MASK)).toBe(0n);
    expect(sharedInfo.get8(0x20)).toBe(2); // time.version
    expect(sharedInfo.get64(0x38) & 0xffff_ffff_ffffn).toBe(0x0001_8000_0000n); // 1 GHz; no flags
    expect(sharedInfo.get8(0x60)).toBe(0); // the second vCPU has no clock
    expect(sharedInfo.get8(0xc00)).toBe(2); // wc_version
    expect(Number(sharedInfo.get64(0xc00) >> 32n) + Number(sharedInfo.get64(0xc08) >> 32n) * 2 ** 32).toBe(RTC_SECONDS);
  });
});

describe('event_channel_op', () => {
  it('gives the lowest free port, after those of the toolstack', () => {
    const guest = new PvGuest();
    expect([bind(guest, 0), ipi(guest), ipi(guest)]).toEqual([3, 4, 5]);
    expect(op(guest, OP.close, 4)).toBe(0n);
    expect(ipi(guest)).toBe(4);
  });

  it.each([
    ['a VIRQ that does not exist', OP.bindVirq, [24, 0], -22n],
    ['a timer of another vCPU', OP.bindVirq, [0, 1], -2n],
    ['an IPI of another vCPU', OP.bindIpi, [1], -2n],
    ['a physical interrupt', OP.bindPirq, [1, 0], -1n],
    ['closing what is not open', OP.close, [77], -22n],
    ['closing port 0', OP.close, [0], -22n],
    ['a port past the last', OP.send, [4096], -22n],
    ['sending on what is not open', OP.send, [77], -22n],
    ['another domain’s status', OP.status, [2, 1], -3n],
    ['a channel for another domain', OP.allocUnbound, [5], -1n],
    ['binding to a domain that is not there', OP.bindInterdomain, [5, 1], -3n],
    ['binding to what is not offered', OP.bindInterdomain, [SELF, 77], -22n],
    ['moving to another vCPU', OP.bindVcpu, [1, 1], -2n],
    ['moving what is not open', OP.bindVcpu, [77, 0], -22n],
    ['FIFO events', OP.initControl, [], -38n],
    ['priorities', OP.setPriority, [1, 0], -38n],
    ['what does not exist', 99, [], -38n],
  ])('refuses %s', (_, command, words, error) => {
    expect(op(new PvGuest(), command, ...words)).toBe(error);
  });

  it('binds a VIRQ once, and names what is not built', () => {
    const guest = new PvGuest();
    bind(guest, 0);
    expect(op(guest, OP.bindVirq, 0, 0)).toBe(-17n);
    op(guest, OP.initControl);
    op(guest, OP.initControl);
    expect(guest.personality.missing).toEqual(['event_channel_op init_control']);
  });

  it('tells the status of each kind', () => {
    const guest = new PvGuest();
    const timer = bind(guest, 0);
    const own = ipi(guest);
    expect(op(guest, OP.allocUnbound, SELF | (7 << 16))).toBe(0n);
    const unbound = guest.read32(DATA + 4n);
    const status = (port: number) => {
      expect(op(guest, OP.status, SELF, port, 0, 9, 9, 9)).toBe(0n);
      return [2, 3, 4].map((i) => guest.read32(DATA + BigInt(4 * i)));
    };
    expect(status(timer)).toEqual([4, 0, 0]);
    expect(status(own)).toEqual([5, 0, 0]);
    expect(status(unbound)).toEqual([1, 0, 7]);
    expect(status(PORTS.console)).toEqual([2, 0, 0]);
    expect(status(77)).toEqual([0, 0, 0]);
    expect([op(guest, OP.bindVcpu, unbound, 0), op(guest, OP.bindVcpu, own, 0), op(guest, OP.bindVcpu, timer, 0)]).toEqual([0n, -22n, -22n]); // biome-ignore format: one line
  });

  it('connects two ports of the guest’s own', () => {
    const guest = new PvGuest();
    expect(op(guest, OP.allocUnbound, SELF | (SELF << 16))).toBe(0n);
    const one = guest.read32(DATA + 4n);
    expect(op(guest, OP.bindInterdomain, SELF, one, 0)).toBe(0n);
    const other = guest.read32(DATA + 8n);
    expect(op(guest, OP.send, other)).toBe(0n);
    expect(bit(guest, PENDING, one)).toBe(1n);
    expect(op(guest, OP.close, other)).toBe(0n);
    expect(op(guest, OP.bindInterdomain, SELF, one, 0)).toBe(0n); // it is offered again
  });

  it('reset closes everything', () => {
    const guest = new PvGuest();
    const port = ipi(guest);
    expect(op(guest, OP.reset, SELF)).toBe(0n);
    expect([op(guest, OP.send, port), op(guest, OP.send, PORTS.console)]).toEqual([-22n, -22n]);
  });

  it('takes what is sent to xenstore, though no request lies in its ring', () => {
    const guest = new PvGuest();
    expect(op(guest, OP.send, PORTS.store)).toBe(0n);
    expect(guest.personality.missing).toEqual([]);
  });
});

describe('a pending event', () => {
  it('sets its bit, the selector and the flag; masked, its bit alone, until it is unmasked', () => {
    const guest = new PvGuest();
    const port = ipi(guest);
    guest.sharedInfo.set64(MASK, 1n << BigInt(port));
    expect(op(guest, OP.send, port)).toBe(0n);
    expect([bit(guest, PENDING, port), guest.sharedInfo.get64(8), guest.sharedInfo.get8(0)]).toEqual([1n, 0n, 0]);
    expect(op(guest, OP.unmask, port)).toBe(0n);
    expect([bit(guest, MASK, port), guest.sharedInfo.get64(8), guest.sharedInfo.get8(0)]).toEqual([0n, 1n, 1]);
  });

  it('is not announced again while it is pending', () => {
    const guest = new PvGuest();
    const port = ipi(guest);
    op(guest, OP.send, port);
    guest.sharedInfo.set8(0, 0);
    guest.sharedInfo.set64(8, 0n);
    op(guest, OP.send, port);
    expect(guest.sharedInfo.get8(0)).toBe(0);
  });

  it('closes with its channel', () => {
    const guest = new PvGuest();
    const port = ipi(guest);
    op(guest, OP.send, port);
    op(guest, OP.close, port);
    expect(bit(guest, PENDING, port)).toBe(0n);
  });

  it('after an unmask enters the callback before the next instruction', () => {
    const guest = new PvGuest();
    guest.setCallback(0, HANDLER);
    const port = ipi(guest);
    guest.sharedInfo.set64(MASK, 1n << BigInt(port));
    op(guest, OP.send, port);
    guest.sharedInfo.set8(1, 0);
    guest.write(HANDLER, SPIN);
    guest.write32(DATA, port);
    guest.write(CODE, [...hypercall(32, OP.unmask, DATA), ...NOP]);
    guest.run(4);
    expect(guest.rip).not.toBe(HANDLER); // it stands before its first instruction, after the interrupt is taken
    guest.run(1);
    expect(guest.rip).toBe(HANDLER);
    expect(guest.words(STACK_TOP - 56n, 3)[2]).toBe(CODE + 32n);
  });
});

describe('register_vcpu_info', () => {
  it('moves vcpu_info once, with all events announced', () => {
    const guest = new PvGuest();
    const at = va(PFN.page, 0x40);
    const register = (mfn: number, offset: number) => {
      guest.write64(DATA, mfn, offset);
      return guest.call(24, 10, 0, DATA);
    };
    expect(register(guest.frames.end, 0)).toBe(-22n);
    expect(register(guest.frames.p2m[241], 0)).toBe(-22n); // a page table
    expect(register(guest.frames.p2m[PFN.page], 0xff0)).toBe(-22n);
    expect(register(guest.frames.p2m[PFN.page], 0x40)).toBe(0n);
    expect(guest.words(at, 2)).toEqual([0x0101n, 0xffff_ffff_ffff_ffffn]);
    expect(guest.read64(at + 0x38n) & 0xffff_ffff_ffffn).toBe(0x0001_8000_0000n);
    expect(register(guest.frames.p2m[PFN.page], 0x80)).toBe(-22n);
    // The old place is dead: mask and flag count in the new one.
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    guest.write(at + 1n, [0]);
    guest.call(17, 0, 0);
    expect(guest.run(1).rip).toBe(HANDLER + 1n);
  });
});

describe('time', () => {
  const pendingAt = (guest: PvGuest, port: number, limit: number) => {
    for (let i = 0; i < limit; i++) if (bit(guest, PENDING, port) === 1n) return guest.cpu.now; else guest.run(1); // biome-ignore format: one line
    return undefined;
  };
  const still = (guest: PvGuest) => {
    guest.write(CODE, SPIN);
    expect(guest.call(24, 7, 0, 0)).toBe(0n); // no ticks at 100 Hz
    return bind(guest, 0);
  };

  it.each([
    ['set_timer_op', (guest: PvGuest, at: number) => guest.call(15, at)],
    ['set_singleshot_timer', (guest: PvGuest, at: number) => {
      guest.write64(DATA, at, 0);
      return guest.call(24, 8, 0, DATA);
    }],
  ])('%s raises the timer’s VIRQ at its time', (_, set) => {
    const guest = new PvGuest();
    const port = still(guest);
    const at = guest.cpu.now + 100;
    expect(set(guest, at)).toBe(0n);
    expect(pendingAt(guest, port, 300)).toBe(at + 1); // looked at behind the instruction that it came before
  }); // biome-ignore format: a table

  it('a time that has passed fires at once, unless the future was asked for', () => {
    const guest = new PvGuest();
    const port = still(guest);
    guest.write64(DATA, 1, 1);
    expect(guest.call(24, 8, 0, DATA)).toBe(-62n);
    expect(bit(guest, PENDING, port)).toBe(0n);
    guest.write64(DATA, 1, 0);
    expect(guest.call(24, 8, 0, DATA)).toBe(0n);
    expect(bit(guest, PENDING, port)).toBe(1n);
  });

  it('0 and stop_singleshot_timer take it back; a time too far means a tenth of a second', () => {
    const guest = new PvGuest();
    const port = still(guest);
    guest.call(15, guest.cpu.now + 50);
    guest.call(15, 0);
    guest.call(15, guest.cpu.now + 50);
    guest.call(24, 9, 0, 0);
    expect(pendingAt(guest, port, 200)).toBeUndefined();
    expect(guest.personality.nextEvent()).toBeUndefined();
    for (const at of [1n << 62n, -5n]) {
      const { now } = guest.cpu;
      guest.call(15, at);
      expect((guest.personality.nextEvent() as number) - now).toBeLessThanOrEqual(100 * MS + 10);
      expect((guest.personality.nextEvent() as number) - now).toBeGreaterThan(99 * MS);
    }
  });

  it('a time that no run could reach is no timer', () => {
    const guest = new PvGuest();
    still(guest);
    guest.write64(DATA, (1n << 63n) - 1n, 0);
    expect([guest.call(24, 8, 0, DATA), guest.personality.nextEvent()]).toEqual([0n, undefined]);
  });

  it('ticks at 100 Hz from the start, as soon as somebody listens', () => {
    const guest = new PvGuest(SPIN);
    expect(guest.personality.nextEvent()).toBeUndefined();
    bind(guest, 0);
    expect(guest.personality.nextEvent()).toBe(10 * MS);
    guest.write64(DATA, 999_999);
    expect(guest.call(24, 6, 0, DATA)).toBe(-22n);
    guest.write64(DATA, MS);
    expect(guest.call(24, 6, 0, DATA)).toBe(0n);
    expect((guest.personality.nextEvent() as number) - guest.cpu.now).toBeLessThanOrEqual(MS);
  });
});

describe('sched_op', () => {
  it('block unmasks upcalls, sleeps until the timer and comes back through the callback', () => {
    const guest = new PvGuest(hypercall(29, 1, 0));
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    bind(guest, 0);
    const at = guest.cpu.now + 5 * MS;
    guest.call(15, at);
    guest.cpu.state.rip = CODE;
    guest.run(5);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.cpu.now - at).toBeLessThan(10);
    expect(guest.words(STACK_TOP - 56n, 4).slice(2)).toEqual([CODE + 32n, 0xe030n]);
  });

  it('block with an event that waits returns at once', () => {
    const guest = new PvGuest(hypercall(29, 1, 0));
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    op(guest, OP.send, ipi(guest));
    const before = guest.cpu.now;
    guest.run(5);
    expect([guest.rip, guest.cpu.now - before]).toEqual([HANDLER + 1n, 5]);
  });

  it('a blocked guest without a timer sleeps for good', () => {
    const guest = new PvGuest([...hypercall(29, 1, 0), ...NOP]).run(10);
    expect([guest.cpu.halted, guest.personality.nextEvent(), guest.ends]).toEqual([true, undefined, []]);
  });

  it('the periodic timer stands still while the guest is blocked', () => {
    const guest = new PvGuest();
    bind(guest, 0);
    guest.write(CODE, hypercall(29, 1, 0));
    guest.run(4);
    expect([guest.cpu.halted, guest.personality.nextEvent()]).toEqual([true, undefined]);
  });

  const pollFor = (guest: PvGuest, ports: number[], timeout = 0) => {
    guest.write32(DATA + 0x100n, ...ports);
    guest.write64(DATA, DATA + 0x100n, ports.length, timeout);
    return guest.call(29, 3, DATA);
  };

  it('poll waits for its time, with events masked', () => {
    const guest = new PvGuest(NOP);
    const at = guest.cpu.now + 3 * MS;
    expect(pollFor(guest, [PORTS.console], at)).toBe(0n);
    guest.run(1);
    expect(guest.rip).toBe(CODE + 1n);
    expect(guest.cpu.now - at).toBeLessThan(3);
  });

  it('poll ends when its port becomes pending, masked or not', () => {
    const guest = new PvGuest(NOP);
    const port = bind(guest, 0);
    guest.sharedInfo.set64(MASK, -1n & 0xffff_ffff_ffff_ffffn);
    guest.call(15, guest.cpu.now + MS);
    pollFor(guest, [port]);
    expect(guest.cpu.halted).toBe(true);
    expect(guest.run(1).rip).toBe(CODE + 1n);
    expect(pollFor(guest, [port])).toBe(0n); // it still is
    expect(guest.cpu.halted).toBe(false);
  });

  it.each([
    ['a port past the last', [4096], -22n],
    ['more than 128 ports', Array.from({ length: 129 }, () => 1), -22n],
  ])('poll refuses %s', (_, ports, error) => {
    expect(pollFor(new PvGuest(), ports)).toBe(error);
  });

  it.each([
    [0, { kind: 'shutdown', how: 'poweroff' }],
    [1, { kind: 'shutdown', how: 'reboot' }],
    [2, { kind: 'shutdown', how: 'suspend' }],
    [3, { kind: 'shutdown', how: 'crash' }],
    [4, { kind: 'shutdown', how: 'crash', words: 'watchdog' }],
    [0x55, { kind: 'shutdown', how: 'crash', words: 'reason 85' }],
  ])('shutdown %i', (reason, end) => {
    const guest = new PvGuest();
    guest.write32(DATA, reason);
    guest.call(29, 2, DATA);
    expect(guest.ends).toEqual([end]);
  });

  it('other commands', () => {
    const guest = new PvGuest();
    expect([0, 4, 7, 6, 99].map((command) => guest.call(29, command, DATA))).toEqual([0n, -3n, -1n, -38n, -38n]);
    expect(guest.call(6, 0, 0)).toBe(0n);
    guest.call(6, 2, 1);
    expect(guest.ends).toEqual([{ kind: 'shutdown', how: 'reboot' }]);
  });
});

describe('runstate', () => {
  it('is written when it is registered, and after each time the guest slept', () => {
    const guest = new PvGuest(NOP);
    bind(guest, 0);
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    guest.write64(DATA, va(PFN.page));
    expect(guest.call(24, 5, 0, DATA)).toBe(0n);
    expect(guest.words(va(PFN.page), 2)).toEqual([0n, 0n]);
    const at = guest.cpu.now + MS;
    guest.call(15, at);
    guest.call(29, 1, 0);
    const slept = guest.cpu.now;
    guest.run(1);
    const [state, since, running, runnable, blocked, offline] = guest.words(va(PFN.page), 6);
    expect([state, since, running, runnable, offline]).toEqual([0n, BigInt(at), BigInt(slept - 1), 0n, 0n]);
    expect(blocked).toBe(BigInt(at - slept + 1));
    expect(guest.call(24, 4, 0, DATA)).toBe(0n);
    expect(guest.read64(DATA + 0x10n)).toBeGreaterThan(running);
  });

  it('refuses a place in Xen’s area', () => {
    const guest = new PvGuest();
    guest.write64(DATA, 0xffff_8000_0000_0000n);
    expect(guest.call(24, 5, 0, DATA)).toBe(-14n);
  });
});
