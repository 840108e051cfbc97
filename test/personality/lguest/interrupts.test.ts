/** Virtual interrupts: what a guest of lguest sees of its clock, with interrupts on, off, blocked, asleep, and about to
 * return from another one. */
import { describe, expect, it } from 'vitest';
import {
  CODE, call, DATA, gate, HANDLER, init, le32, loadEax, mov, NOP, NOTES, noteFrame, powerOff, R, run, STACK, store, storeEax, UD2,
} from './guest.ts'; // biome-ignore format: names

const IRQ_ENABLED = DATA;
const IRQ_PENDING = DATA + 0x14;
const good = { kind: 'power-off', code: 0 };
const nops = (count: number): number[] => new Array(count).fill(NOP);
const spin = [0xeb, 0xfe];
/** EAX to NOTES and a word further each time: inc dword [NOTES]. */
const count = [0xff, 0x05, ...le32(NOTES)];
/** pop into irq_enabled as lguest_iret does, without looking for what waits. */
const iret = [0x50, 0x8b, 0x44, 0x24, 12, 0x25, ...le32(0x200), 0xa3, ...le32(IRQ_ENABLED), 0x58, 0xcf];

describe('with interrupts on', () => {
  it('the clock comes in time, through the gate of vector 32', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 100), ...nops(200), ...UD2];
    const { exit, notes, machine } = await run({ code, at: { [HANDLER]: noteFrame(3) }, data: { irq_enabled: 0x200 } });
    expect(exit).toMatchObject(good);
    expect(notes(3)).toEqual([CODE + init().length + gate(32, HANDLER).length + call(9, 100).length + 99, 0x61, 0x202]);
    expect(machine.instructions).toBeLessThan(160);
  });
  it('an interrupt gate disables them, and lguest_data says so', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 100), ...spin];
    const handler = [
      ...loadEax(IRQ_ENABLED),
      ...storeEax(NOTES),
      ...loadEax(IRQ_PENDING),
      ...storeEax(NOTES + 4),
      ...powerOff(),
    ];
    const { notes } = await run({ code, at: { [HANDLER]: handler }, data: { irq_enabled: 0x200 } });
    expect(notes(2)).toEqual([0, 0]);
  });
  it('it comes once for each call', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 50), ...nops(400), ...powerOff()];
    const { notes } = await run({ code, at: { [HANDLER]: [...count, ...iret] }, data: { irq_enabled: 0x200 } });
    expect(notes(1)).toEqual([1]);
  });
  it('the wall clock goes on at each', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 5000), ...spin];
    const first = (await run({ code: [...init(), ...powerOff()] })).data.time;
    const { data } = await run({ code, at: { [HANDLER]: powerOff() }, data: { irq_enabled: 0x200 } });
    expect(data.time.tv_sec).toBe(first.tv_sec);
    expect(data.time.tv_nsec).toBeGreaterThanOrEqual(5000);
    expect(data.time.tv_nsec).toBeLessThan(5200);
  });
  it('without a handler it waits, and the run goes on', async () => {
    const code = [...init(), ...call(9, 50), ...nops(200), ...gate(32, HANDLER), ...call(19), ...UD2];
    const { exit } = await run({ code, at: { [HANDLER]: powerOff() }, data: { irq_enabled: 0x200 } });
    expect(exit).toMatchObject(good);
  });
});

describe('with interrupts off', () => {
  const late = (...then: number[]) => [...init(), ...gate(32, HANDLER), ...call(9, 50), ...nops(200), ...then];
  it('irq_pending tells that something waits', async () => {
    const { exit, data } = await run({ code: late(...powerOff()), at: { [HANDLER]: UD2 } });
    expect(exit).toMatchObject(good);
    expect(data.irq_pending).toBe(0x200);
  });
  it('it comes as soon as the guest enables them and calls', async () => {
    const { notes, data } = await run({
      code: late(...store(IRQ_ENABLED, 0x200), ...call(19), ...UD2),
      at: { [HANDLER]: noteFrame(3) },
    });
    const [eip, , flags] = notes(3);
    expect(eip).toBe(CODE + late().length + 10 + call(19).length);
    expect(flags).toBe(0x202);
    expect(data.irq_pending).toBe(0);
  });
  it('SEND_INTERRUPTS without enabling them changes nothing', async () => {
    const { exit } = await run({ code: late(...call(19), ...powerOff()), at: { [HANDLER]: UD2 } });
    expect(exit).toMatchObject(good);
  });
  it('any other visit to the host does as well', async () => {
    const { exit } = await run({
      code: late(...store(IRQ_ENABLED, 0x200), ...call(0), ...UD2),
      at: { [HANDLER]: powerOff() },
    });
    expect(exit).toMatchObject(good);
  });
  it("a guest that enables them and forgets to look is helped by the host's own tick", async () => {
    const code = late(...store(IRQ_ENABLED, 0x200), ...spin);
    const { exit, machine } = await run({ code, at: { [HANDLER]: powerOff() }, maxInstructions: 3_000_000 });
    expect(exit).toMatchObject(good);
    expect(machine.virtualTimeNs).toBeGreaterThan(1_000_000);
    expect(machine.virtualTimeNs).toBeLessThan(1_001_000);
  });
});

describe('blocked', () => {
  it('the clock waits without a word, and comes when it is unblocked', async () => {
    const quiet = [...init(), ...gate(32, HANDLER), ...call(9, 50), ...nops(200)];
    const data = { irq_enabled: 0x200, blocked_interrupts: 1 };
    const still = await run({ code: [...quiet, ...call(19), ...powerOff()], at: { [HANDLER]: UD2 }, data });
    expect(still.exit).toMatchObject(good);
    expect(still.data.irq_pending).toBe(0);
    const free = await run({
      code: [...quiet, ...store(DATA + 4, 0), ...call(19), ...UD2],
      at: { [HANDLER]: powerOff() },
      data,
    });
    expect(free.exit).toMatchObject(good);
  });
});

describe('asleep', () => {
  it('the guest is woken with interrupts enabled, whatever it had', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 10_000), ...call(10), ...powerOff()];
    const { notes, machine } = await run({ code, at: { [HANDLER]: [...noteFrame(3)] } });
    expect(notes(3)).toEqual([CODE + code.length - powerOff().length, 0x61, 0x202]);
    expect(machine.instructions).toBeLessThan(60);
  });
  it('it goes on behind the HALT when the handler returns', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 10_000), ...call(10), ...count, ...powerOff()];
    const { exit, notes, data } = await run({ code, at: { [HANDLER]: [...count, ...iret] } });
    expect(exit).toMatchObject(good);
    expect(notes(1)).toEqual([2]);
    expect(data.irq_enabled).toBe(0x200);
  });
  it('what waits already keeps it from sleeping', async () => {
    const code = [...init(), ...gate(32, HANDLER), ...call(9, 50), ...nops(200), ...call(10), ...UD2];
    const { exit, machine } = await run({ code, at: { [HANDLER]: powerOff() } });
    expect(exit).toMatchObject(good);
    expect(machine.virtualTimeNs).toBeLessThan(300);
  });
});

describe('at the one IRET that is not to be interrupted', () => {
  const NOIRQ = HANDLER + 0x200;
  /** Waits with interrupts off, then enables them and calls, so that the host looks with EIP at the IRET. */
  const returning = (flags: number) => ({
    code: [
      ...init(), ...gate(32, HANDLER), ...call(9, 50), ...nops(200), ...store(IRQ_ENABLED, 0x200),
      0x68, ...le32(flags), 0x68, ...le32(0x61), 0x68, ...le32(CODE + 0x1000), // the frame to be popped
      ...mov(R.eax, 19), 0xe9, ...le32(NOIRQ - 2 - (CODE + 700)),
    ], // biome-ignore format: one line for each step
  });
  const jumpFixed = (flags: number): number[] => {
    const { code } = returning(flags);
    return [...code.slice(0, -4), ...le32(NOIRQ - 2 - (CODE + code.length))];
  };
  it('the handler is given the frame that was about to be popped, and its flags', async () => {
    const at = { [NOIRQ - 2]: [0xcd, 0x1f, 0xcf], [HANDLER]: [0x9c, 0x8f, 0x05, ...le32(NOTES + 64), ...noteFrame(3)] }; // pushf; pop [NOTES + 64]
    const { exit, notes, machine } = await run({ code: jumpFixed(0x7ed5), at, data: { noirq_iret: NOIRQ } });
    expect(exit).toMatchObject(good);
    expect(notes(3)).toEqual([CODE + 0x1000, 0x61, 0x7ed5]);
    expect(machine.vcpu.state().rsp).toBe(BigInt(STACK - 12));
    expect(notes(17)[16]).toBe(0xed7); // CF PF AF ZF SF DF OF as they were, IF and bit 1; no IOPL, NT or TF
  });
  it('elsewhere a frame of its own is pushed', async () => {
    const at = { [NOIRQ - 2]: [0xcd, 0x1f, 0xcf], [HANDLER]: noteFrame(6) };
    const { notes } = await run({ code: jumpFixed(0x202), at, data: { noirq_iret: 0x1234 } });
    expect(notes(6)).toEqual([NOIRQ, 0x61, expect.any(Number), CODE + 0x1000, 0x61, 0x202]);
  });
});
