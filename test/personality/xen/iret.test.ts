/** The iret hypercall, as Xen 4.17 was seen to do it. */
import { describe, expect, it } from 'vitest';
import { CODE, DATA, HANDLER, mov, NOP, PFN, PvGuest, STACK_TOP, TABLES, va } from './pv-guest.ts';

const UPCALL_PENDING = 0;
const UPCALL_MASK = 1;
const FRAME = STACK_TOP - 0x300n;
const TARGET = CODE + 0x400n;
const BAD = 0xffff_ffff_9000_0000n;

/** Lets the guest ask for iret with a frame: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss. */
function iret(guest: PvGuest, frame: Partial<Record<'flags' | 'rip' | 'cs' | 'rflags' | 'rsp' | 'ss', bigint>>) {
  const { flags = 0n, rip = TARGET, cs = 0xe030n, rflags = 0x202n, rsp = STACK_TOP, ss = 0xe02bn } = frame;
  guest.write64(FRAME, 0xaa, 0x1111, 0xcc, flags, rip, cs, rflags, rsp, ss);
  guest.setReg('rsp', FRAME);
  guest.call(23);
  return guest;
}

describe('iret to the kernel', () => {
  it('restores RAX, RCX, R11, RIP, RSP and RFLAGS, and forces RPL 3', () => {
    const guest = iret(new PvGuest(), { rflags: 0x8d7n | 0x200n, rsp: STACK_TOP - 8n });
    expect([guest.reg('rax'), guest.reg('rcx'), guest.reg('r11')]).toEqual([0xaan, 0xccn, 0x1111n]);
    expect([guest.rip, guest.reg('rsp'), guest.cpu.state.rflags]).toEqual([TARGET, STACK_TOP - 8n, 0xad7]);
    expect([guest.cpu.state.selector(1), guest.cpu.state.selector(2), guest.cpu.state.cpl]).toEqual([
      0xe033, 0xe02b, 3,
    ]);
  });

  it('with flag 0x100 leaves RCX and R11 as SYSRET does', () => {
    const guest = iret(new PvGuest(), { flags: 0x100n });
    expect([guest.reg('rax'), guest.reg('rcx'), guest.reg('r11')]).toEqual([0xaan, TARGET, 0x202n]);
  });

  it.each([
    [0x202n, 0],
    [0x002n, 1],
  ])('RFLAGS %i makes the upcall mask %i, and IF stays set in hardware', (rflags, mask) => {
    const guest = iret(new PvGuest(), { rflags });
    expect(guest.sharedInfo.get8(UPCALL_MASK)).toBe(mask);
    expect(guest.cpu.state.rflags).toBe(0x202);
  });

  it('strips IOPL and VM', () => {
    expect(iret(new PvGuest(), { rflags: 0x2_3202n }).cpu.state.rflags).toBe(0x202);
  });

  it('takes an event that waits at once', () => {
    const guest = new PvGuest();
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    guest.sharedInfo.set8(UPCALL_PENDING, 1);
    iret(guest, {}).run(1);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.words(STACK_TOP - 56n, 4)).toEqual([0xccn, 0x1111n, TARGET, 0xe030n]);
  });

  it('IRETQ by itself works with RPL 3, and not with a bounce frame’s RPL 0', () => {
    const guest = new PvGuest([0x48, 0xcf]);
    guest.setTraps({ vector: 13 });
    guest.write(HANDLER, NOP);
    guest.write64(STACK_TOP - 40n, TARGET, 0xe033, 0x202, STACK_TOP, 0xe02b);
    guest.setReg('rsp', STACK_TOP - 40n);
    expect(guest.run(1).rip).toBe(TARGET);
    guest.write64(STACK_TOP - 40n, TARGET, 0xe030, 0x202, STACK_TOP, 0xe02b);
    guest.setReg('rsp', STACK_TOP - 40n);
    guest.cpu.state.rip = CODE;
    guest.run(1);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.words(guest.reg('rsp'), 3)[2]).toBe(0xe030n);
  });
});

describe('iret to a program', () => {
  it('loads the other root and swaps the GS bases', () => {
    const guest = new PvGuest();
    guest.call(25, 2, 0x2000);
    guest.call(25, 1, 0x1000);
    guest.enterUser(NOP);
    expect(guest.cpu.state.get64('CR3')).toBe(BigInt(guest.maddr(TABLES.userL4)));
    expect(guest.cpu.state.base(5)).toBe(0x1000n);
    expect(guest.cpu.state.get64('KERNEL_GS_BASE')).toBe(0x2000n);
  });

  it('cannot go anywhere without a root for it', () => {
    const guest = iret(new PvGuest(), { cs: 0xe033n });
    expect(guest.ends).toEqual([{ kind: 'killed', why: 'its iret goes to user mode, and it has given no page tables for that' }]); // biome-ignore format: one line
  });

  it('may go to 32-bit code', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 6 });
    guest.write(HANDLER, NOP);
    guest.enterUser(NOP); // sets the root
    guest.write(va(PFN.code, 0xc00), [0x0f, 0x05]);
    guest.run(1); // a SYSCALL without callback: back in the kernel
    iret(guest, { cs: 0xe023n, rip: 0x1000n });
    expect([guest.cpu.state.selector(1), guest.cpu.state.is64]).toEqual([0xe023, false]);
  });
});

describe('an iret that cannot be', () => {
  it('with a stack that cannot be read ends the domain', () => {
    const guest = new PvGuest();
    guest.setReg('rsp', BAD);
    guest.call(23);
    expect(guest.ends).toEqual([
      { kind: 'killed', why: expect.stringMatching(/iret with a stack at 0xffffffff90000000/) },
    ]);
  });

  it.each<[string, { cs?: bigint; ss?: bigint; rip?: bigint }, bigint]>([
    ['CS is null', { cs: 0n }, 0n],
    ['CS is data', { cs: 0xe028n }, 0xe028n],
    ['SS is code', { ss: 0xe033n }, 0xe030n],
    ['CS is past the table', { cs: 0xfff0n }, 0xfff0n],
    ['CS is Xen’s own', { cs: 0xe008n }, 0xe008n],
    ['RIP is not canonical', { rip: 1n << 47n }, 0n],
  ])('is #GP with a frame that shows where it wanted to be: %s', (_, frame, error) => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 13 });
    guest.write(HANDLER, NOP);
    iret(guest, frame).run(1);
    expect(guest.rip).toBe(HANDLER + 1n);
    const { cs = 0xe030n, rip = TARGET } = frame;
    expect(guest.words(STACK_TOP - 64n, 5)).toEqual([0xccn, 0x1111n, error, rip, cs]);
  });

  it('ends a batch of calls', () => {
    const guest = new PvGuest([...mov('rax', 1)]);
    guest.write64(FRAME, 0xaa, 0xbb, 0xcc, 0, TARGET, 0xe030, 0x202, STACK_TOP, 0xe02b);
    guest.setReg('rsp', FRAME);
    guest.write64(DATA, 17, -1n, 0, 0, 0, 0, 0, 0, 23, -1n, 0, 0, 0, 0, 0, 0, 17, -1n, 0, 0, 0, 0, 0, 0);
    guest.call(13, DATA, 3);
    expect([guest.rip, guest.reg('rax')]).toEqual([TARGET, 0xaan]);
    expect([8n, 72n, 136n].map((at) => guest.read64(DATA + at))).toEqual([0x4_0011n, (1n << 64n) - 1n, (1n << 64n) - 1n]); // biome-ignore format: one line
  });
});
