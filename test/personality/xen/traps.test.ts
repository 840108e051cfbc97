/** Bounce frames, as Xen 4.17 was seen to make them. */
import { describe, expect, it } from 'vitest';
import {
  CODE,
  DATA,
  HANDLER,
  HLT,
  mov,
  NOP,
  PFN,
  PvGuest,
  STACK_TOP,
  SYSCALL,
  USER_CODE,
  USER_CODE32,
  va,
} from './pv-guest.ts';

const UD2 = [0x0f, 0x0b];
const UPCALL_PENDING = 0;
const UPCALL_MASK = 1;

describe('an exception in a PV kernel', () => {
  it('pushes RCX, R11, RIP, CS, RFLAGS, RSP and SS on the current stack', () => {
    const guest = new PvGuest([...mov('rcx', 0x1111), ...mov('r11', 0x2222), ...mov('rax', 0x77), ...UD2]);
    guest.setTraps({ vector: 6 });
    guest.run(3).run(0);
    guest.write(HANDLER, NOP);
    guest.run(1);
    const base = STACK_TOP - 56n;
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.reg('rsp')).toBe(base);
    // Events are masked at the start: bit 32 of the CS word, and IF of the RFLAGS word, say so. RPL 0 means kernel.
    expect(guest.words(base, 7)).toEqual([0x1111n, 0x2222n, CODE + 30n, 0x1_0000_e030n, 0x2n, STACK_TOP, 0xe02bn]);
    expect(guest.reg('rax')).toBe(0x77n);
    expect(guest.reg('rcx')).toBe(HANDLER);
    expect(guest.reg('r11')).toBe(0x202n);
    expect(guest.cpu.state.rflags & 0x200).toBe(0x200);
  });

  it('says in its CS word that events were not masked', () => {
    const guest = new PvGuest(UD2);
    guest.setTraps({ vector: 6 });
    guest.write(HANDLER, NOP);
    guest.sharedInfo.set8(UPCALL_MASK, 0);
    guest.run(1);
    expect(guest.words(STACK_TOP - 56n, 7).slice(3, 5)).toEqual([0xe030n, 0x202n]);
  });

  it('aligns the stack downwards, so that the form with an error code is aligned', () => {
    const guest = new PvGuest(HLT);
    guest.setTraps({ vector: 13 });
    guest.write(HANDLER, NOP);
    guest.setReg('rsp', STACK_TOP - 3n);
    guest.run(1);
    const top = STACK_TOP - 16n;
    expect(guest.reg('rsp')).toBe(top - 64n);
    expect(guest.words(top - 64n, 8)[2]).toBe(0n);
    expect(guest.words(top - 64n, 8)[6]).toBe(STACK_TOP - 3n);
  });

  it.each([
    [{ vector: 6, flags: 0 }, 0],
    [{ vector: 6, flags: 4 }, 1],
  ])('masks events if its entry says so: %j', (entry, mask) => {
    const guest = new PvGuest(UD2);
    guest.setTraps(entry);
    guest.write(HANDLER, NOP);
    guest.sharedInfo.set8(UPCALL_MASK, 0);
    guest.run(1);
    expect(guest.sharedInfo.get8(UPCALL_MASK)).toBe(mask);
  });

  it('clears AC, NT and TF for the handler, and keeps them in the frame', () => {
    const guest = new PvGuest(UD2);
    guest.setTraps({ vector: 6 });
    guest.write(HANDLER, NOP);
    guest.cpu.state.rflags = 0x4_4602; // AC NT DF IF
    guest.run(1);
    expect(guest.cpu.state.rflags).toBe(0x602);
    expect(guest.words(STACK_TOP - 56n, 7)[4]).toBe(0x4_4402n); // IF by the mask
  });

  it('tells a page fault by CR2, in vcpu_info too, with the U bit of the guest’s own mode', () => {
    const hole = 0xffff_ffff_9000_0000n;
    const guest = new PvGuest([...mov('rbx', hole), 0x48, 0x8b, 0x03]);
    guest.setTraps({ vector: 14 });
    guest.write(HANDLER, [0x0f, 0x20, 0xd0]); // mov rax, cr2
    guest.run(2);
    expect(guest.words(STACK_TOP - 64n, 4).slice(2)).toEqual([0n, CODE + 10n]);
    expect(guest.reg('rax')).toBe(hole);
    expect(guest.sharedInfo.get64(0x10)).toBe(hole);
  });

  it('gives error 3 for a kernel’s write to its own page tables', () => {
    const guest = new PvGuest([...mov('rbx', va(240)), 0x48, 0x89, 0x03]);
    guest.setTraps({ vector: 14 });
    guest.write(HANDLER, NOP);
    guest.run(2);
    expect(guest.words(STACK_TOP - 64n, 3)[2]).toBe(3n);
  });

  it.each([
    ['an unknown instruction', UD2, /#UD invalid opcode at rip 0xffffffff80010000 without a handler/],
    ['HLT', HLT, /#GP general protection \(error code 0x0\) at rip 0xffffffff80010000 without a handler/],
  ])('without a handler crashes the domain: %s', (_, code, why) => {
    const guest = new PvGuest(code).run(1);
    expect(guest.ends).toEqual([{ kind: 'killed', why: expect.stringMatching(why) }]);
  });

  it.each([
    ['not mapped', 0xffff_ffff_9000_0000n, /cannot be written/],
    ['read-only', va(241), /cannot be written/],
    ['in Xen’s area', 0xffff_8000_0000_1000n, /where no guest has one/],
    ['not canonical', 0x8000_0000_1000n, /where no guest has one/],
  ])('crashes the domain when its stack is %s', (_, rsp, why) => {
    const guest = new PvGuest(UD2);
    guest.setTraps({ vector: 6 });
    guest.setReg('rsp', rsp);
    guest.run(1);
    expect(guest.ends).toEqual([{ kind: 'killed', why: expect.stringMatching(why) }]);
  });

  it('merges DR6 for a single step', () => {
    const guest = new PvGuest([...NOP, ...NOP]);
    guest.setTraps({ vector: 1 });
    guest.write(HANDLER, NOP);
    guest.cpu.state.rflags = 0x302;
    guest.run(2);
    expect(guest.words(STACK_TOP - 56n, 3)[2]).toBe(CODE + 1n);
    expect(guest.cpu.state.dr(6) & 0x4000n).toBe(0x4000n);
  });
});

describe('an exception in a program', () => {
  it('goes to the kernel’s stack with CS as it was, and swaps the GS bases', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 6 });
    guest.write(HANDLER, NOP);
    guest.call(25, 1, 0x1000); // the program's GS
    guest.call(25, 2, DATA);
    guest.enterUser(UD2);
    expect(guest.cpu.state.base(5)).toBe(0x1000n);
    guest.run(1);
    const base = va(PFN.kernelStack + 1) - 56n;
    expect(guest.reg('rsp')).toBe(base);
    expect(guest.words(base, 7)).toEqual([0x33n, 0x22n, USER_CODE, 0xe033n, 0x202n, STACK_TOP - 0x400n, 0xe02bn]);
    expect(guest.cpu.state.base(5)).toBe(DATA);
    expect(guest.cpu.state.get64('CR3')).toBe(BigInt(guest.maddr(240)));
  });

  it('has the U bit in a page fault’s error code', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 14 });
    guest.write(HANDLER, NOP);
    guest.enterUser([...mov('rbx', 0xffff_ffff_9000_0000n), 0x48, 0x8b, 0x03]).run(2);
    expect(guest.words(va(PFN.kernelStack + 1) - 64n, 3)[2]).toBe(4n);
  });
});

describe('INT n', () => {
  const gp = (guest: PvGuest, top = STACK_TOP) => guest.words(top - 64n, 4).slice(2, 4);

  it.each([
    ['at DPL 0 is #GP with the gate’s number', 0x40, 0],
    ['at a vector without a handler is #GP', 0x41, undefined],
  ])('%s', (_, vector, dpl) => {
    const guest = new PvGuest([0xcd, vector]);
    guest.setTraps({ vector: 13 }, ...(dpl === undefined ? [] : [{ vector, address: HANDLER + 16n, flags: dpl }]));
    guest.write(HANDLER, NOP);
    guest.run(1);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(gp(guest)).toEqual([BigInt((vector << 3) | 2), CODE]);
  });

  it.each([1, 2, 3])('from the kernel reaches DPL %i, behind the instruction and without an error code', (flags) => {
    const guest = new PvGuest([0xcd, 0x40]);
    guest.setTraps({ vector: 0x40, flags });
    guest.write(HANDLER, NOP);
    guest.run(2);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.words(STACK_TOP - 56n, 3)[2]).toBe(CODE + 2n);
  });

  it.each([
    [0x40, 3, USER_CODE + 2n, true],
    [0x40, 1, USER_CODE, false],
    [0x80, 1, USER_CODE + 2n, true], // its own way in, without a look at the DPL
    [3, 0, USER_CODE + 2n, true],
  ])('0x%i of a program with DPL %i', (vector, flags, rip, arrives) => {
    const guest = new PvGuest();
    guest.setTraps({ vector, flags }, { vector: 13, address: HANDLER + 16n });
    guest.write(HANDLER, NOP);
    guest.write(HANDLER + 16n, NOP);
    guest.enterUser([0xcd, vector]).run(arrives ? 2 : 1);
    expect(guest.rip).toBe(arrives ? HANDLER + 1n : HANDLER + 17n);
    const top = va(PFN.kernelStack + 1);
    expect(guest.words(top - (arrives ? 56n : 64n), 4)[arrives ? 2 : 3]).toBe(rip);
  });

  it('0x80 without a handler is #GP 0x402 at the instruction', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 13 });
    guest.write(HANDLER, NOP);
    guest.enterUser([0xcd, 0x80]).run(1);
    expect(gp(guest, va(PFN.kernelStack + 1))).toEqual([0x402n, USER_CODE]);
  });

  it('INT3 and INT1 need no permission', () => {
    for (const [byte, vector] of [
      [0xcc, 3],
      [0xf1, 1],
    ]) {
      // biome-ignore format: a table
      const guest = new PvGuest();
      guest.setTraps({ vector });
      guest.write(HANDLER, NOP);
      guest.enterUser([byte]).run(2);
      expect(guest.rip).toBe(HANDLER + 1n);
      expect(guest.words(va(PFN.kernelStack + 1) - 56n, 3)[2]).toBe(USER_CODE + 1n);
    }
  });
});

describe('SYSCALL in a program', () => {
  it('goes to the syscall callback, with events masked if it was registered so', () => {
    for (const flags of [0, 1]) {
      const guest = new PvGuest();
      guest.setCallback(2, HANDLER, flags);
      guest.write(HANDLER, NOP);
      guest.enterUser([...mov('rax', 39), ...SYSCALL], 0x602n).run(3);
      const rip = USER_CODE + 12n;
      const base = va(PFN.kernelStack + 1) - 56n;
      expect(guest.rip).toBe(HANDLER + 1n);
      expect(guest.words(base, 7)).toEqual([rip, 0x602n, rip, 0xe033n, 0x602n, STACK_TOP - 0x400n, 0xe02bn]);
      expect(guest.reg('rax')).toBe(39n);
      expect(guest.cpu.state.rflags & 0x400).toBe(0); // DF
      expect(guest.sharedInfo.get8(UPCALL_MASK)).toBe(flags);
    }
  });

  it('is #UD at the instruction when nothing is registered', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 6 });
    guest.write(HANDLER, NOP);
    guest.enterUser(SYSCALL).run(1);
    expect(guest.words(va(PFN.kernelStack + 1) - 56n, 3)[2]).toBe(USER_CODE);
  });
});

describe('a 32-bit program', () => {
  const top = va(PFN.kernelStack + 1);

  it('makes its system calls by the callback for it', () => {
    const guest = new PvGuest();
    guest.setCallback(2, HANDLER + 16n);
    guest.setCallback(7, HANDLER, 1);
    guest.write(HANDLER, NOP);
    guest.enterUser(SYSCALL, 0x202n, 32).run(2);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.words(top - 56n, 4)).toEqual([USER_CODE32 + 2n, 0x202n, USER_CODE32 + 2n, 0xe023n]);
    expect([guest.cpu.state.is64, guest.sharedInfo.get8(UPCALL_MASK)]).toEqual([true, 1]);
  });

  it('is #UD without one, and goes back where the kernel’s iret says', () => {
    const guest = new PvGuest();
    guest.setTraps({ vector: 6 });
    guest.setCallback(2, HANDLER + 16n);
    guest.write(HANDLER, NOP);
    guest.enterUser(SYSCALL, 0x202n, 32).run(1);
    expect(guest.words(top - 56n, 4).slice(2)).toEqual([USER_CODE32, 0xe023n]);
  });

  it('uses ports as the kernel allows, by its own segments', () => {
    const guest = new PvGuest();
    guest.write32(DATA, 3);
    guest.call(33, 6, DATA);
    guest.enterUser([0xe4, 0x71, 0xfa], 0x202n, 32).run(2);
    expect([guest.reg('rax') & 0xffn, guest.rip]).toEqual([0xffn, USER_CODE32 + 3n]);
  });
});

describe('an event', () => {
  const VIRQ = 0;
  const bindTimer = (guest: PvGuest) => {
    guest.write32(DATA, VIRQ, 0, 0);
    expect(guest.call(32, 1, DATA)).toBe(0n);
    return guest.read32(DATA + 8n);
  };

  it('interrupts between two instructions, always with events masked', () => {
    const guest = new PvGuest([...NOP, ...NOP, 0xeb, 0xfc]);
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, [0xeb, 0xfe]);
    const port = bindTimer(guest);
    guest.sharedInfo.set8(UPCALL_MASK, 0);
    guest.call(15, guest.cpu.now + 100);
    guest.run(200);
    expect(guest.rip).toBe(HANDLER);
    expect(guest.sharedInfo.get8(UPCALL_MASK)).toBe(1);
    expect(guest.sharedInfo.get8(UPCALL_PENDING)).toBe(1);
    expect(guest.sharedInfo.get64(8)).toBe(1n);
    expect(guest.sharedInfo.get64(0x800)).toBe(1n << BigInt(port));
    expect(guest.words(STACK_TOP - 56n, 4)[3]).toBe(0xe030n);
  });

  it('taken on the way back from a hypercall shows the call’s result', () => {
    const guest = new PvGuest([...mov('rdi', 0), ...mov('rsi', 0), ...mov('rax', 17), ...SYSCALL]);
    guest.setCallback(0, HANDLER);
    guest.write(HANDLER, NOP);
    guest.run(3);
    guest.sharedInfo.set8(UPCALL_MASK, 0);
    guest.sharedInfo.set8(UPCALL_PENDING, 1);
    guest.run(2);
    expect(guest.rip).toBe(HANDLER + 1n);
    expect(guest.reg('rax')).toBe(0x4_0011n);
    expect(guest.words(STACK_TOP - 56n, 3)[2]).toBe(CODE + 32n);
  });

  it('waits while events are masked, and without a callback is the guest’s end', () => {
    const guest = new PvGuest();
    guest.sharedInfo.set8(UPCALL_PENDING, 1);
    expect(guest.call(17, 0, 0)).toBe(0x4_0011n);
    guest.sharedInfo.set8(UPCALL_MASK, 0);
    guest.call(17, 0, 0);
    guest.write(CODE, NOP);
    guest.run(1);
    expect(guest.ends).toEqual([{ kind: 'killed', why: 'it let events come in without a handler for it' }]);
  });
});
