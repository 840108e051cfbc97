/** How a PVH guest is interrupted: the callback vector, as long as the upcall flag is up and RFLAGS.IF is set, before any
 * device; the timer at its nanosecond; calls that block. */
import { describe, expect, it } from 'vitest';
import { CLI, CODE, DATA, HANDLER, HLT, HvmGuest, NOP, PORTS, SPECIAL, SPIN, STI, VMMCALL } from './hvm-guest.ts';

const SHARED = 0x13_0000 >> 12;
const AT = SHARED * 4096;
const PENDING = AT;
const SEL = AT + 8;
/** mov byte [shared], 0; iretq */
const CLEARS = [0xc6, 0x04, 0x25, ...[0x00, 0x00, 0x13, 0x00], 0x00, 0x48, 0xcf];
const IRETQ = [0x48, 0xcf];
const OPTIONS = [
  ['generated code', {}],
  ['one instruction at a time', { plain: true }],
  ['quanta of 3', { quantum: 3 }],
] as const;

/** A port of the guest's own, which a send raises. */
function ipi(guest: HvmGuest): number {
  guest.number(DATA, 0, 4);
  if (guest.call(32, 7, DATA) !== 0) throw new Error('no ipi');
  return guest.u32(DATA + 4);
}
function singleshot(guest: HvmGuest, at: number): void {
  guest.number(DATA, 0, 4);
  guest.number(DATA + 4, 0, 4);
  if (guest.call(32, 1, DATA) !== 0) throw new Error('no VIRQ_TIMER');
  guest.number(DATA, at, 8);
  guest.number(DATA + 8, 0, 8);
  if (guest.call(24, 8, 0, DATA) !== 0) throw new Error('no timer');
}

describe('the callback vector', () => {
  it('comes with the hypercall that raised the event, when interrupts are on', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    const port = ipi(guest);
    guest.number(DATA, port, 4);
    guest.run([...STI, ...NOP, ...VMMCALL, ...NOP], 3, { rax: 32n, rdi: 4n, rsi: BigInt(DATA) });
    expect([guest.u8(PENDING), guest.u64(SEL), guest.u64(AT + 0x800)]).toEqual([1, 1n, 1n << BigInt(port)]);
    guest.machine.step(1); // the handler's own first instruction goes with it
    expect(guest.rip).toBe(CODE + 5);
  });

  it('waits for RFLAGS.IF, and for the instruction behind STI', async () => {
    const guest = (await HvmGuest.create()).withCallback([...NOP, ...NOP, ...IRETQ], SHARED);
    guest.evtchn(4, ipi(guest));
    guest.run([...NOP, ...NOP, ...STI, ...NOP, ...NOP], 3);
    expect(guest.rip).toBe(CODE + 3);
    guest.machine.step(1); // that one; the way into a handler costs nothing
    expect(guest.rip).toBe(HANDLER);
  });

  it('comes again behind the next call when the handler has left the flag up', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    guest.evtchn(4, ipi(guest));
    guest.run([...STI, ...NOP, ...NOP, ...VMMCALL, ...SPIN], 3, { rax: 17n, rdi: 0n, rsi: 0n });
    expect([guest.rip, guest.u8(PENDING)]).toEqual([CODE + 2, 1]);
    guest.machine.step(3);
    expect(guest.rip).toBe(CODE + 6);
    expect(guest.machine.vcpu.state().rax).toBe(0x4_0011n);
  });

  it('does not come for what the guest itself writes into the flag', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    // mov byte [shared], 1
    guest.run([...STI, 0xc6, 0x04, 0x25, 0, 0, 0x13, 0, 1, ...NOP, ...NOP, ...NOP], 5);
    expect(guest.rip).toBe(CODE + 12);
  });

  it('does not come while the guest has no callback', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    guest.setParam(0, 0n);
    guest.evtchn(4, ipi(guest));
    guest.run([...STI, ...NOP, ...NOP, ...NOP], 4);
    expect(guest.rip).toBe(CODE + 4);
  });

  it('does not come for a masked port, and comes when it is unmasked', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    const port = ipi(guest);
    guest.number(AT + 0xa00, 1 << port, 8);
    guest.evtchn(4, port);
    expect([guest.u64(AT + 0x800), guest.u8(PENDING)]).toEqual([1n << BigInt(port), 0]);
    expect(guest.evtchn(9, port)).toBe(0);
    expect(guest.u8(PENDING)).toBe(1);
  });

  it('goes through a vector of the vCPU’s own, once for each rise, when it has set one', async () => {
    const guest = (await HvmGuest.create()).withCallback(IRETQ, SHARED);
    guest.setParam(0, 0n);
    guest.number(DATA, 0, 4);
    guest.number(DATA + 4, 0x20, 4);
    expect(guest.call(34, 23, DATA)).toBe(0);
    guest.evtchn(4, ipi(guest));
    guest.run([...STI, ...NOP, ...NOP, ...VMMCALL, ...NOP], 2, { rax: 17n, rdi: 0n, rsi: 0n });
    expect(guest.rip).toBe(HANDLER);
    guest.machine.step(3); // iretq, nop, vmmcall: and no second one
    expect(guest.rip).toBe(CODE + 6);
  });

  it('has the bits of a 32-bit guest where such a guest looks for them', async () => {
    const guest = await HvmGuest.create(32);
    guest.setParam(0, 0n);
    guest.place(0, 0, SHARED);
    const port = ipi(guest);
    guest.evtchn(4, port);
    expect([guest.u8(PENDING), guest.u32(AT + 4), guest.u32(AT + 0x800)]).toEqual([1, 1, 1 << port]);
    guest.number(AT + 0x880, 1 << 31, 4);
    guest.number(DATA, 1024, 4);
    expect(guest.call(32, 4, DATA)).toBe(-22);
  });
});

describe.each(OPTIONS)('the timer, with %s', (_, options) => {
  it('fires at the instruction that its time falls on', async () => {
    const guest = (await HvmGuest.create(64, options)).withCallback([...CLEARS, ...SPIN], SHARED);
    const start = guest.machine.instructions;
    singleshot(guest, start + 1000);
    guest.run([...STI, ...SPIN], 1000 - (guest.machine.instructions - start));
    expect([guest.machine.instructions - start, guest.rip]).toEqual([1000, CODE + 1]);
    guest.machine.step(1);
    expect(guest.rip).toBe(HANDLER + 8);
    guest.machine.step(1);
    expect([guest.rip, guest.u8(PENDING)]).toEqual([CODE + 1, 0]);
  });

  it('wakes a halted guest, and no time is lost', async () => {
    const guest = (await HvmGuest.create(64, options)).withCallback(CLEARS, SHARED);
    singleshot(guest, 5_000_000);
    guest.run([...STI, ...HLT, ...SPIN], 3);
    expect(guest.rip).toBe(HANDLER + 8);
    expect(guest.machine.virtualTimeNs).toBe(5_000_001);
  });
});

describe('calls that block', () => {
  it('return when an event comes, with interrupts off, too', async () => {
    const guest = (await HvmGuest.create()).withCallback(CLEARS, SHARED);
    singleshot(guest, 3_000_000);
    guest.run([...CLI, ...VMMCALL, ...NOP], 3, { rax: 29n, rdi: 1n, rsi: 0n });
    expect(guest.machine.virtualTimeNs).toBe(3_000_001);
    expect([guest.rip, guest.u8(PENDING)]).toEqual([CODE + 5, 1]);
  });

  it.each([32, 64] as const)('poll ends at its time, in %i bits', async (bits) => {
    const guest = await HvmGuest.create(bits);
    const port = ipi(guest);
    guest.words(DATA + 0x100, DATA + 0x200);
    guest.number(DATA + 0x100 + bits / 8, 1, 4);
    guest.number(DATA + 0x100 + (bits === 64 ? 0x10 : 8), 2_000_000, 8);
    guest.number(DATA + 0x200, port, 4);
    const registers: Record<string, bigint> =
      bits === 64 ? { rdi: 3n, rsi: BigInt(DATA + 0x100) } : { rbx: 3n, rcx: BigInt(DATA + 0x100) };
    guest.run([...VMMCALL, ...NOP], 2, { rax: 29n, ...registers });
    expect(guest.machine.virtualTimeNs).toBe(2_000_001);
    expect(guest.machine.vcpu.state().rax).toBe(0n);
  });

  it('never return when nothing can come: the guest is at its end', async () => {
    const guest = await HvmGuest.create();
    guest.write(CODE, VMMCALL);
    guest.machine.vcpu.setState({ rip: BigInt(CODE), rax: 29n, rdi: 1n });
    expect(guest.machine.runSync({ maxInstructions: 1000 })).toMatchObject({ code: 5 });
  });
});

describe('devices', () => {
  /** The timer chip, counter 0, after `count` of its ticks, on vector 0x20. */
  const pit = (guest: HvmGuest, count: number) => {
    const out = (port: number, value: number) => guest.run([0xee], 1, { rdx: BigInt(port), rax: BigInt(value) });
    for (const [port, value] of [[0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xfe], [0x43, 0x30], [0x40, count], [0x40, 0]])
      out(port, value);
  }; // biome-ignore format: a list
  it('interrupt behind the callback, when both wait', async () => {
    const guest = (await HvmGuest.create()).withCallback([...CLEARS, ...SPIN], SHARED);
    pit(guest, 1);
    guest.evtchn(4, ipi(guest));
    guest.run(SPIN, 5000);
    guest.run([...STI, ...NOP, ...SPIN], 3);
    expect([guest.rip, guest.u8(PENDING)]).toEqual([HANDLER + 8, 0]); // the callback's, which cleared the flag
    guest.number(AT, 0, 1);
    guest.machine.step(2); // iretq, and then the timer's, by the same code
    expect(guest.rip).toBe(HANDLER + 8);
  });
});

describe('input', () => {
  const text = (guest: HvmGuest) => guest.machine.console.text;
  it('goes to the serial port until the guest has printed in the ring, and then to the ring', async () => {
    const guest = await HvmGuest.create();
    const inProd = () => {
      guest.run([0x8b, 0x07], 1, { rdi: BigInt(SPECIAL.console + 0xc04) });
      return guest.machine.vcpu.state().rax;
    };
    guest.machine.type(new TextEncoder().encode('a'));
    expect(inProd()).toBe(0n);
    expect(guest.machine.board.uart.read(0, 1)).toBe('a'.charCodeAt(0));
    guest.run([0xc7, 0x07, 1, 0, 0, 0], 1, { rdi: BigInt(SPECIAL.console + 0xc0c) });
    guest.evtchn(4, PORTS.console);
    expect(text(guest)).toBe('\0');
    guest.machine.type(new TextEncoder().encode('bc'));
    expect([inProd(), inProd()]).toEqual([2n, 2n]);
  });
});
