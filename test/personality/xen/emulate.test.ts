/** Privileged instructions of a PV kernel: which Xen carries out, and which stay #GP. */
import { describe, expect, it } from 'vitest';
import { MAX_MODEL } from '../../../src/x86/cpuid.ts';
import { CODE, DATA, HANDLER, mov, NOP, PFN, PvGuest, STACK_TOP, TABLES, va } from './pv-guest.ts';

const GP = { vector: 13 };
/** Runs `count` instructions with a #GP handler registered; whether it was reached. */
function run(code: readonly number[], count = 1, prepare: (guest: PvGuest) => void = () => undefined) {
  const guest = new PvGuest(code);
  guest.setTraps(GP, { vector: 6, address: HANDLER + 16n });
  guest.write(HANDLER, NOP);
  guest.write(HANDLER + 16n, NOP);
  prepare(guest);
  guest.run(count);
  return guest;
}
const faulted = (guest: PvGuest) => guest.rip === HANDLER + 1n;
const undefinedOpcode = (guest: PvGuest) => guest.rip === HANDLER + 17n;

const CR_TO_RAX = (n: number) => [0x0f, 0x20, 0xc0 | (n << 3)];
const RAX_TO_CR = (n: number) => [0x0f, 0x22, 0xc0 | (n << 3)];
const RDMSR = [0x0f, 0x32];
const WRMSR = [0x0f, 0x30];
const msr = (number: number, value?: bigint) => [
  ...mov('rcx', number),
  ...(value === undefined
    ? [...NOP, ...NOP, ...RDMSR]
    : [...mov('rax', value & 0xffff_ffffn), ...mov('rdx', value >> 32n), ...WRMSR]),
];

describe('control registers', () => {
  it.each([
    [0, 0x8005_0033n],
    [4, 0x660n],
  ])('CR%i reads as a guest sees it', (number, value) => {
    expect(run(CR_TO_RAX(number)).reg('rax')).toBe(value);
  });

  it('CR3 is the kernel root’s machine address, in any register', () => {
    const guest = run([0x41, 0x0f, 0x20, 0xdb]); // mov r11, cr3
    expect([guest.reg('r11'), guest.rip]).toEqual([BigInt(guest.maddr(TABLES.l4)), CODE + 4n]);
  });

  it.each([
    [0x6f0n, 0x660n],
    [0x66cn, 0x66cn],
    [0n, 0x660n],
    [0x1_0000n, 0x660n], // FSGSBASE, which this CPU has not
  ])('CR4 := 0x%i reads back with the guest’s choice', (written, read) => {
    const guest = run([...mov('rax', written), ...RAX_TO_CR(4), ...mov('rax', 0), ...CR_TO_RAX(4)], 4);
    expect(guest.reg('rax')).toBe(read);
  });

  it('CR4.FSGSBASE is the guest’s choice where the CPU has it', () => {
    const guest = new PvGuest([...mov('rax', 0x1_0660), ...RAX_TO_CR(4), ...CR_TO_RAX(4)], { model: MAX_MODEL }).run(3);
    expect(guest.reg('rax')).toBe(0x1_0660n);
  });

  it('TS may change, by CR0, CLTS and the hypercall, and a floating-point instruction then meets it', () => {
    const code = [...mov('rax', 0x8005_003b), ...RAX_TO_CR(0), ...CR_TO_RAX(0), 0xdb, 0xe3]; // fninit
    const guest = new PvGuest(code);
    guest.setTraps({ vector: 7 });
    guest.write(HANDLER, CR_TO_RAX(0));
    guest.run(3);
    expect(guest.reg('rax')).toBe(0x8005_003bn);
    guest.run(1);
    expect(guest.rip).toBe(HANDLER + 3n);
    expect(guest.reg('rax')).toBe(0x8005_0033n); // cleared before the handler
    guest.call(5, 1);
    expect(guest.cpu.state.get64('CR0')).toBe(0x8005_003bn);
    guest.write(CODE, [0x0f, 0x06]);
    guest.cpu.state.rip = CODE;
    guest.run(1);
    expect(guest.cpu.state.get64('CR0')).toBe(0x8005_0033n);
  });

  it('nothing else in CR0 may', () => {
    expect(faulted(run([...mov('rax', 0x8004_0033), ...RAX_TO_CR(0)], 3 - 1))).toBe(true);
  });

  it('CR3 := a root works as NEW_BASEPTR, and a bad one is #GP', () => {
    const good = run([...RAX_TO_CR(3), ...CR_TO_RAX(3)], 2, (guest) => guest.setReg('rax', guest.maddr(TABLES.userL4)));
    expect(good.reg('rax')).toBe(BigInt(good.maddr(TABLES.userL4)));
    expect(faulted(run(RAX_TO_CR(3), 1, (guest) => guest.setReg('rax', guest.maddr(PFN.data))))).toBe(true);
  });
});

describe('instructions that stay #GP(0)', () => {
  it.each([
    ['HLT', [0xf4]],
    ['CLI', [0xfa]],
    ['STI', [0xfb]],
    ['SWAPGS', [0x0f, 0x01, 0xf8]],
    ['LGDT', [0x0f, 0x01, 0x14, 0x24]],
    ['INVLPG', [0x0f, 0x01, 0x3c, 0x24]],
    ['MOV CR8', [0x44, 0x0f, 0x22, 0xc0]],
    ['LTR', [0x0f, 0x00, 0xd8]],
    ['INVD', [0x0f, 0x08]],
    ['IN at IOPL 0', [0xe4, 0x71]],
    ['OUT at IOPL 0', [0xee]],
    ['OUTSB at IOPL 0', [0x6e]],
  ])('%s', (_, code) => {
    const guest = run(code);
    expect(faulted(guest)).toBe(true);
    expect(guest.words(STACK_TOP - 64n, 4).slice(2)).toEqual([0n, CODE]);
  });
});

describe('what Xen does for the kernel', () => {
  it('WBINVD is skipped', () => {
    expect(run([0x0f, 0x09]).rip).toBe(CODE + 2n);
  });

  it('RDTSC works with CR4.TSD set', () => {
    const guest = run([...mov('rax', 0x664), ...RAX_TO_CR(4), 0x0f, 0x31], 3);
    expect(guest.rip).toBe(CODE + 15n);
    expect(guest.reg('rax')).toBeGreaterThan(0n);
  });

  it('debug registers are the guest’s, but not all bits', () => {
    const guest = run([...mov('rax', DATA), 0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc3], 3); // mov dr0, rax; mov rbx, dr0
    expect(guest.reg('rbx')).toBe(DATA);
    expect(guest.call(8, 7, 0x1)).toBe(0n);
    expect(guest.call(9, 7)).toBe(0x401n);
    expect(guest.call(9, 5)).toBe(0x401n); // DR5 is DR7
    expect(guest.call(9, 6)).toBe(0xffff_0ff0n);
    expect([guest.call(8, 8, 0), guest.call(9, 9), guest.call(8, 7, 0x2000), guest.call(8, 0, 0xffff_8000_0000_0000n), guest.call(8, 6, 1n << 32n)]).toEqual([-19n, -19n, -1n, -1n, -22n]); // biome-ignore format: one line
  });

  it('but not for a program', () => {
    const guest = new PvGuest();
    guest.setTraps(GP);
    guest.write(HANDLER, NOP);
    guest.enterUser(CR_TO_RAX(0)).run(1);
    expect(faulted(guest)).toBe(true);
  });
});

describe('model-specific registers', () => {
  it.each([
    ['APIC_BASE', 0x1b, 0xfee0_0900n],
    ['PAT', 0x277, 0x0000_0501_0007_0406n],
    ['EFER', 0xc000_0080, 0xd01n],
    ['PERF_CAPABILITIES', 0x345, 0n],
    ['HWCR', 0xc001_0015, 0n],
    ['DE_CFG', 0xc001_1029, 2n],
    ['PATCH_LEVEL', 0x8b, 0n],
    ['the hypercall page’s', 0x4000_0000, 0n],
  ])('%s reads as Xen shows it', (_, number, value) => {
    const guest = run(msr(number), 4);
    expect((guest.reg('rdx') << 32n) | guest.reg('rax')).toBe(value);
    expect(faulted(guest)).toBe(false);
  });

  it('the very first one: GS_BASE, before any handler is registered', () => {
    const guest = new PvGuest(msr(0xc000_0101, 0xffff_ffff_8304_4000n)).run(4);
    expect(guest.cpu.state.base(5)).toBe(0xffff_ffff_8304_4000n);
    expect(guest.rip).toBe(CODE + 32n);
    expect(guest.cpu.state.rflags).toBe(0x202);
  });

  it.each([
    ['FS_BASE', 0xc000_0100],
    ['GS_BASE', 0xc000_0101],
    ['KERNEL_GS_BASE', 0xc000_0102],
  ])('%s takes canonical addresses only', (_, number) => {
    const guest = run([...msr(number, DATA), ...RDMSR], 5);
    expect((guest.reg('rdx') << 32n) | guest.reg('rax')).toBe(DATA);
    expect(faulted(run(msr(number, 1n << 47n), 4))).toBe(true);
  });

  it.each([
    ['EFER as it is', 0xc000_0080, 0xd01n, false],
    ['EFER without NXE', 0xc000_0080, 0x501n, true],
    ['HWCR', 0xc001_0015, 1n, false],
    ['STAR', 0xc000_0081, 0n, true],
    ['an unknown one', 0x1234, 0n, true],
  ])('WRMSR of %s', (_, number, value, faults) => {
    expect(faulted(run(msr(number, value), 4))).toBe(faults);
  });

  it('of the unknown, the CPU’s own read 0 until there is a #GP handler', () => {
    const early = new PvGuest([...mov('rax', 5), ...mov('rcx', 0xc000_0081), ...RDMSR]).run(3);
    expect([early.reg('rax'), early.ends]).toEqual([0n, []]);
    expect(faulted(run(msr(0xc000_0081), 4))).toBe(true);
    expect(new PvGuest(msr(0x1234)).run(4).ends).toHaveLength(1);
    expect(new PvGuest(msr(0x4000_0010)).run(4).ends).toHaveLength(1);
  });

  it('0x40000000 writes the hypercall page, to memory that is the guest’s and no table', () => {
    const write = (frame: number, low = 0n) => {
      const at = BigInt(new PvGuest().maddr(frame)) | low;
      return run(msr(0x4000_0000, at), 4);
    };
    const guest = write(PFN.page);
    const page = guest.machine.subarray(guest.maddr(PFN.page), guest.maddr(PFN.page) + 4096);
    const slot = (n: number, length: number) => Buffer.from(page.subarray(32 * n, 32 * n + length)).toString('hex');
    expect(slot(0, 16)).toBe('514153b8000000000f05415b59c3cccc');
    expect(slot(127, 16)).toBe('514153b87f0000000f05415b59c3cccc');
    expect(slot(23, 12)).toBe('51415350b8170000000f05cc');
    expect(faulted(write(PFN.page, 1n))).toBe(true);
    expect(faulted(write(TABLES.l1))).toBe(true);
    expect(faulted(run(msr(0x4000_0000, 0xffff_ffff_ffff_f000n), 4))).toBe(true);
  });

  it('a hypercall page that the note asks for is there, and works', () => {
    const guest = new PvGuest([...mov('rax', va(PFN.page, 17 * 32)), 0xff, 0xd0], { hypercallPage: true }); // call rax
    guest.setReg('rcx', 0x77);
    guest.run(2 + 7);
    expect([guest.rip, guest.reg('rax'), guest.reg('rcx'), guest.reg('rsp')]).toEqual([CODE + 12n, 0x4_0011n, 0x77n, STACK_TOP]); // biome-ignore format: one line
  });
});

describe('a CPU with RDTSCP', () => {
  it('has TSC_AUX, which RDTSCP shows with CR4.TSD set, too', () => {
    const code = [...msr(0xc000_0103, 0x77n), ...mov('rax', 0x664), ...RAX_TO_CR(4), 0x0f, 0x01, 0xf9];
    const guest = new PvGuest(code, { model: MAX_MODEL }).run(7);
    expect([guest.ends, guest.reg('rcx')]).toEqual([[], 0x77n]);
    expect(faulted(run(msr(0xc000_0103, 0x77n), 4))).toBe(true);
  });
});

describe('CPUID', () => {
  const FORCED = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
  const cpuid = (leaf: number, code: readonly number[] = FORCED, subleaf = 0) => {
    const guest = run([...mov('rax', leaf), ...mov('rcx', subleaf), ...code], 3);
    return { guest, eax: guest.reg('rax'), ebx: guest.reg('rbx'), ecx: guest.reg('rcx'), edx: guest.reg('rdx') };
  };

  it('behind the forced-emulation prefix shows Xen’s leaves', () => {
    const { guest, eax, ebx, ecx, edx } = cpuid(0x4000_0000);
    expect(guest.rip).toBe(CODE + 27n);
    expect([eax, ebx, ecx, edx]).toEqual([0x4000_0005n, 0x566e_6558n, 0x6558_4d4dn, 0x4d4d_566en]);
    expect(cpuid(0x4000_0001).eax).toBe(0x4_0011n);
    expect(cpuid(0x4000_0002)).toMatchObject({ eax: 1n, ebx: 0x4000_0000n, ecx: 1n });
    expect(cpuid(0x4000_0003)).toMatchObject({ ecx: 1_000_000n });
    expect(cpuid(0x4000_0005).ebx).toBeLessThanOrEqual(44n);
  });

  it('hides what a guest at CPL 3 cannot have, and says that a hypervisor is there', () => {
    const { ecx, edx } = cpuid(1);
    expect(edx & ((1n << 3n) | (1n << 12n) | (1n << 13n) | (1n << 17n))).toBe(0n);
    expect(edx & (1n << 6n)).not.toBe(0n); // PAE
    expect(ecx >> 31n).toBe(1n);
    expect(cpuid(0x8000_0001).edx & (1n << 13n)).toBe(0n);
  });

  it('by itself shows the CPU', () => {
    const { guest, edx, ecx } = cpuid(1, [0x0f, 0xa2]);
    expect(guest.rip).toBe(CODE + 22n);
    expect(edx & (1n << 13n)).not.toBe(0n);
    expect(ecx >> 31n).toBe(0n);
  });

  it.each([
    ['before another instruction', [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90]],
    ['cut short', [0x0f, 0x0b, 0x78, 0x65, 0x90]],
  ])('the prefix %s is #UD', (_, code) => {
    const guest = run(code);
    expect(undefinedOpcode(guest)).toBe(true);
    expect(guest.words(STACK_TOP - 56n, 3)[2]).toBe(CODE);
  });
});

describe('ports', () => {
  const withIopl = (iopl: number) => (guest: PvGuest) => {
    guest.write32(DATA, iopl);
    expect(guest.call(33, 6, DATA)).toBe(0n);
  };

  it.each([
    ['IN AL, imm8', [0xe4, 0x71], 'rax', 0x1122_3344_5566_77ffn],
    ['IN AX, DX', [0x66, 0xed], 'rax', 0x1122_3344_5566_ffffn],
    ['IN EAX, DX', [0xed], 'rax', 0xffff_ffffn],
  ] as const)('%s gives all ones where virtual IOPL allows it', (_, code, register, value) => {
    const guest = run([...mov('rax', 0x1122_3344_5566_7788n), ...mov('rdx', 0x3f8), ...code], 3, withIopl(1));
    expect(guest.reg(register)).toBe(value);
    expect(guest.rip).toBe(CODE + 20n + BigInt(code.length));
  });

  it('0xcf8 remembers, and what is written elsewhere is lost', () => {
    const write = [...mov('rdx', 0xcf8), ...mov('rax', 0x8000_1234), 0xef, ...mov('rax', 0), 0xed];
    expect(run(write, 5, withIopl(1)).reg('rax')).toBe(0x8000_1234n);
    const other = [...mov('rdx', 0x3f8), ...mov('rax', 1), 0xee, 0xec];
    expect(run(other, 4, withIopl(1)).reg('rax')).toBe(0xffn);
  });

  it('CLI and STI do nothing at virtual IOPL 1', () => {
    const guest = run([0xfa, 0xfb], 2, withIopl(1));
    expect([guest.rip, guest.cpu.state.rflags & 0x200, guest.sharedInfo.get8(1)]).toEqual([CODE + 2n, 0x200, 1]);
  });

  it('REP INSB writes all ones, an element each time, and REP OUTSB reads', () => {
    const code = [...mov('rdi', DATA), ...mov('rcx', 3), 0xf3, 0x6c, ...mov('rsi', DATA), ...mov('rcx', 2), 0xf3, 0x6e];
    const guest = run(code, 5, withIopl(1));
    expect([guest.read64(DATA) & 0xffff_ffffn, guest.reg('rdi'), guest.reg('rcx'), guest.rip]).toEqual([0xff_ffffn, DATA + 3n, 0n, CODE + 22n]); // biome-ignore format: one line
    guest.run(4);
    expect([guest.reg('rsi'), guest.reg('rcx'), guest.rip]).toEqual([DATA + 2n, 0n, CODE + 44n]);
  });

  it('INSB to where nothing can be written is the page fault', () => {
    const guest = run([...mov('rdi', va(TABLES.l1)), 0x6c], 2, (guest) => {
      withIopl(1)(guest);
      guest.setTraps({ vector: 14 });
    });
    expect(guest.words(STACK_TOP - 64n, 4).slice(2)).toEqual([3n, CODE + 10n]);
    expect(guest.cpu.state.get64('CR2')).toBe(va(TABLES.l1));
  });

  it.each([0, 1, 2])('a program at virtual IOPL %i has none', (iopl) => {
    const guest = new PvGuest();
    guest.setTraps(GP);
    guest.write(HANDLER, NOP);
    withIopl(iopl)(guest);
    guest.enterUser([0xe4, 0x71]).run(1);
    expect(faulted(guest)).toBe(true);
  });

  it('a program may use those that the kernel’s bitmap allows', () => {
    const guest = new PvGuest();
    guest.setTraps(GP);
    guest.write(HANDLER, NOP);
    guest.write(DATA + 0x100n, [0xff, 0xff, 0xfe, 0xff]); // port 16 alone
    guest.write64(DATA, DATA + 0x100n, 32);
    expect(guest.call(33, 7, DATA)).toBe(0n);
    guest.enterUser([0xe4, 16, 0xe4, 17]).run(1);
    expect(guest.rip).toBe(va(PFN.code, 0xc02));
    expect(faulted(guest.run(1))).toBe(true);
  });

  it('refuses IOPL 4', () => {
    const guest = new PvGuest();
    guest.write32(DATA, 4);
    expect(guest.call(33, 6, DATA)).toBe(-22n);
  });
});
