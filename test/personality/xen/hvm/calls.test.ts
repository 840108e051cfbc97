/** What a PVH guest finds, and what it may ask: CPUID leaves, the hypercall page, and each call of the table, from 64-bit
 * and from 32-bit code. */
import { describe, expect, it } from 'vitest';
import { cpuBehindXen } from '../../../../src/personality/xen/hvm/cpuid.ts';
import { hvmHypercallPage } from '../../../../src/personality/xen/hvm/hypercall-page.ts';
import { cpuid, DEFAULT_MODEL } from '../../../../src/x86/cpuid.ts';
import { CODE, DATA, HvmGuest, MEMORY, NOP, PORTS, SPECIAL, VMCALL, VMMCALL } from './hvm-guest.ts';

const EPERM = -1;
const ENOENT = -2;
const ESRCH = -3;
const EFAULT = -14;
const EEXIST = -17;
const EINVAL = -22;
const ENOSYS = -38;
const SHARED = 0x13_0000 >> 12;

describe('CPUID', () => {
  const model = cpuBehindXen(DEFAULT_MODEL);
  it('says that there is a hypervisor, and which', () => {
    expect(cpuid(DEFAULT_MODEL, 1, 0).ecx >>> 31).toBe(0);
    expect(cpuid(model, 1, 0).ecx >>> 31).toBe(1);
  });
  // xen/include/public/arch-x86/cpuid.h
  it.each([
    [0, 0, [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e], 'XenVMMXenVMM'],
    [1, 0, [0x0004_0011, 0, 0, 0], 'version 4.17'],
    [2, 0, [1, 0x4000_0000, 0, 0], 'one hypercall page, by MSR 0x40000000'],
    [3, 0, [2, 0, 1_000_000, 0], 'a reliable TSC of 1 GHz'],
    [3, 2, [1_000_000, 0, 0, 0], 'of the host, too'],
    [4, 0, [0x1c, 0, 1, 0], 'vcpu 0 of domain 1; no upcall vector without a local APIC'],
    [5, 0, [0, 0, 0, 0], 'no machine addresses'],
    [6, 0, [0, 0, 0, 0], 'nothing behind'],
  ])('leaf 0x4000000%i, subleaf %i: %j: %s', (leaf, subleaf, [eax, ebx, ecx, edx]) => {
    expect(cpuid(model, 0x4000_0000 + leaf, subleaf)).toEqual({ eax, ebx, ecx, edx });
  });
  it('has nothing there for a guest without a hypervisor', () => {
    expect(cpuid(DEFAULT_MODEL, 0x4000_0000, 0)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });
  it('is what the instruction answers', async () => {
    const guest = await HvmGuest.create(32);
    guest.run([0x0f, 0xa2], 1, { rax: 0x4000_0000n });
    expect(guest.machine.vcpu.state()).toMatchObject({ rax: 0x4000_0005n, rbx: 0x566e_6558n });
  });
});

describe('the way in', () => {
  it.each([['VMMCALL', VMMCALL], ['VMCALL', VMCALL]])('%s calls, in both widths', async (_, instruction) => {
    for (const bits of [32, 64] as const) {
      const guest = await HvmGuest.create(bits);
      expect(guest.callBy(instruction, 17, 0, 0)).toBe((4 << 16) | 17);
      expect(guest.rip).toBe(CODE + 3);
    }
  }); // biome-ignore format: short

  it('raises #UD on a path without a hypervisor', async () => {
    const { Machine } = await import('../../../../src/machine/machine.ts');
    const { planBoot } = await import('../../../../src/boot/index.ts');
    const { elf, pvhNote } = await import('../../../boot/files.ts');
    const code = Uint8Array.from([...VMMCALL, ...NOP]);
    const image = elf({ bits: 32, entry: CODE, segments: [{ paddr: CODE, bytes: code }], notes: [pvhNote(CODE)] });
    const machine = await Machine.create(planBoot(image, { via: 'pvh', memory: MEMORY }));
    expect(machine.step(10)).toMatchObject({ code: 4 });
    expect(machine.scene(0).firstFault).toMatchObject({ vector: 6, rip: BigInt(CODE) });
  });

  it('is for CPL 0 only', async () => {
    const guest = await HvmGuest.create(32);
    const { segments } = guest.machine.vcpu.state();
    const ring3 = (name: 'cs' | 'ss') => ({
      ...segments[name],
      selector: segments[name].selector | 3,
      attributes: segments[name].attributes | 0x60,
    });
    guest.machine.vcpu.setState({ cpl: 3, segments: { ...segments, cs: ring3('cs'), ss: ring3('ss') } });
    expect(guest.call(17, 0, 0)).toBe(EPERM);
  });

  it('keeps all registers but the result’s', async () => {
    const guest = await HvmGuest.create(64);
    const before = { rbx: 1n, rcx: 2n, rdx: 3n, rbp: 4n, rdi: 0n, rsi: 0n, r9: 5n, r11: 6n, rflags: 0xad7n };
    guest.run(VMMCALL, 1, { ...before, rax: 17n });
    expect(guest.machine.vcpu.state()).toMatchObject({ ...before, rax: 0x4_0011n });
  });

  it('answers -ENOSYS to a number that no call has, and says so in the report, once', async () => {
    const guest = await HvmGuest.create();
    for (const number of [11, 50, 63, 64, 0x8000_0011, 11]) expect(guest.call(number), String(number)).toBe(ENOSYS);
    expect(guest.missing.slice(0, 2)).toEqual(['hypercall 11', 'hypercall 50']);
    expect(new Set(guest.missing).size).toBe(guest.missing.length);
  });

  it.each([
    [7, 'platform_op', EPERM], [33, 'physdev_op', ENOSYS], [35, 'sysctl', EPERM], [36, 'domctl', EPERM],
    [40, 'xenpmu_op', ENOSYS], [41, 'dm_op', EPERM], [42, 'hypfs_op', EPERM],
  ])('refuses call %i, %s, as Xen does', async (number, _, errno) => {
    const guest = await HvmGuest.create();
    expect(guest.call(number, 0, DATA)).toBe(errno);
    expect(guest.missing).toEqual([]);
  }); // biome-ignore format: a table

  it.each([[26, 'mmuext_op'], [27, 'xsm_op'], [38, 'tmem_op'], [39, 'argo_op']])('names call %i, %s, as not built', async (number, name) => {
    const guest = await HvmGuest.create();
    expect(guest.call(number, 0, DATA)).toBe(ENOSYS);
    expect(guest.missing).toEqual([name]);
  }); // biome-ignore format: a table
});

describe('the hypercall page', () => {
  const wrmsr = (guest: HvmGuest, value: bigint) =>
    guest.run([0x0f, 0x30], 1, { rcx: 0x4000_0000n, rax: value & 0xffff_ffffn, rdx: value >> 32n });

  it('has a stub of VMMCALL in each slot but the one of iret', () => {
    const page = hvmHypercallPage();
    expect([...page.subarray(17 * 32, 17 * 32 + 10)]).toEqual([0xb8, 17, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3, 0xcc]);
    expect([...page.subarray(23 * 32, 23 * 32 + 3)]).toEqual([0x0f, 0x0b, 0xcc]);
    expect([...page.subarray(127 * 32, 127 * 32 + 5)]).toEqual([0xb8, 127, 0, 0, 0]);
  });
  it('is filled by a write of its address, and can be called', async () => {
    const guest = await HvmGuest.create(64);
    wrmsr(guest, 0x13_0000n);
    expect(guest.rip).toBe(CODE + 2);
    expect([...guest.machine.memory.bytes(0x13_0000, 4096)]).toEqual([...hvmHypercallPage()]);
    // call rax; the stub is mov, vmmcall, ret
    guest.run([0xff, 0xd0], 4, { rax: BigInt(0x13_0000 + 17 * 32), rdi: 0n, rsi: 0n });
    expect(guest.machine.vcpu.state()).toMatchObject({ rax: 0x4_0011n, rip: BigInt(CODE + 2) });
  });
  it.each([
    ['is not at the start of a page', 0x13_0001n],
    ['would lie behind RAM', BigInt(MEMORY)],
    ['would lie in no memory at all', 1n << 50n],
  ])('is refused with #GP where it %s', async (_, value) => {
    const guest = await HvmGuest.create(64);
    wrmsr(guest, value);
    expect(guest.machine.scene(0).firstFault).toMatchObject({ vector: 13, errorCode: 0 });
  });
  it('reads as 0', async () => {
    const guest = await HvmGuest.create(64);
    guest.run([0x0f, 0x32], 1, { rcx: 0x4000_0000n, rax: 5n, rdx: 6n });
    expect(guest.machine.vcpu.state()).toMatchObject({ rax: 0n, rdx: 0n });
  });
});

describe('xen_version', () => {
  it('tells the features of a guest with page tables of its own', async () => {
    const guest = await HvmGuest.create();
    guest.number(DATA, 0, 4);
    expect(guest.call(17, 6, DATA)).toBe(0);
    const bits = [...Array(32).keys()].filter((bit) => (guest.u32(DATA + 4) >>> bit) & 1);
    expect(bits).toEqual([0, 2, 8, 9, 13, 17]);
  });
  it('has no address of Xen’s own, in a word of the caller’s size', async () => {
    for (const bits of [32, 64] as const) {
      const guest = await HvmGuest.create(bits);
      guest.number(DATA, -1, 8);
      expect(guest.call(17, 5, DATA)).toBe(0);
      expect(guest.u64(DATA)).toBe(bits === 64 ? 0n : 0xffff_ffff_0000_0000n);
    }
  });
});

describe.each([64, 32] as const)('memory_op of %i bits', (bits) => {
  it('puts shared_info over a page of RAM, with clock and wall clock in it', async () => {
    const guest = await HvmGuest.create(bits);
    guest.setParam(0, 0n); // by which Xen learns the guest's width
    expect(guest.place(0, 0, SHARED)).toBe(0);
    const at = SHARED * 4096;
    expect([guest.u32(at + 0x38), guest.u8(at + 0x3c)]).toEqual([0x8000_0000, 1]);
    const wallClock = bits === 64 ? 0xc00 : 0x900;
    expect([guest.u32(at + wallClock), guest.u32(at + wallClock + 4)]).toEqual([2, 1_735_689_600]);
  });
  it('moves it on, and leaves zeros', async () => {
    const guest = await HvmGuest.create(bits);
    guest.place(0, 0, SHARED);
    expect(guest.place(0, 0, SHARED + 1)).toBe(0);
    expect(guest.u32(SHARED * 4096 + 0x38)).toBe(0);
    expect(guest.u32((SHARED + 1) * 4096 + 0x38)).toBe(0x8000_0000);
  });
  it('puts grant frames where there is no RAM, and lets the guest use them there', async () => {
    const guest = await HvmGuest.create(bits);
    expect(guest.place(1, 0, 0x8_0000)).toBe(0);
    guest.run([0x8b, 0x03], 1, { rbx: 0x8000_0004n }); // mov eax, [rbx]: the console's frame
    expect(guest.machine.vcpu.state().rax).toBe(BigInt((SPECIAL.console >> 12) >>> 0) & 0xfffffn);
    guest.run([0x89, 0x03, 0x8b, 0x0b], 2, { rbx: 0x8000_0ff8n, rax: 0x1234_5678n });
    expect(guest.machine.vcpu.state().rcx).toBe(0x1234_5678n);
  });
  it.each([
    ['another domain', { domid: 2 }, ESRCH], ['a second shared_info', { index: 1 }, EINVAL],
    ['a frame beyond all addresses', { frame: 0x1000_0000 }, EINVAL],
    ['the frame of a ring', { frame: 0xf_efff }, EINVAL],
    ['a grant frame too many', { space: 1, index: 32 }, EINVAL],
    ['a status frame of grants', { space: 1, index: 0x8000_0000 }, EINVAL], ['a space that is not there', { space: 9 }, ENOSYS],
  ])('refuses %s', async (_, { domid = 0x7ff0, space = 0, index = 0, frame = SHARED }: Record<string, number>, errno) => {
    const guest = await HvmGuest.create(bits);
    guest.number(DATA, domid, 4);
    guest.number(DATA + 4, space, 4);
    guest.words(DATA + 8, index, frame);
    expect(guest.call(12, 7, DATA)).toBe(errno);
  }); // biome-ignore format: a table

  it('tells the memory map: RAM around the hole, and the special pages', async () => {
    const guest = await HvmGuest.create(bits);
    const buffer = DATA + 0x100;
    guest.words(DATA, 8, buffer);
    guest.number(DATA, 8, 4);
    expect(guest.call(12, 9, DATA)).toBe(0);
    expect(guest.u32(DATA)).toBe(3);
    const rows = [0, 1, 2].map((i) => [0, 8, 16].map((o) => Number(guest.u64(buffer + 20 * i + o) & 0xffff_ffffn)));
    expect(rows).toEqual([[0, 0xa_0000, 1], [0x10_0000, MEMORY - 0x10_0000, 1], [0xfeff_8000, 0x8000, 2]]); // biome-ignore format: short
  });

  it('gives frames back, counts them, and takes them again, zeroed', async () => {
    const guest = await HvmGuest.create(bits);
    const list = DATA + 0x100;
    const change = (command: number) => {
      guest.words(list, 0x200, 0x201);
      guest.words(DATA, list, 2);
      guest.number(DATA + (bits === 64 ? 0x10 : 8), 0, 8);
      guest.number(DATA + (bits === 64 ? 0x18 : 0x10), 0x7ff0, 2);
      return guest.call(12, command, DATA);
    };
    const current = () => {
      guest.number(DATA, 0x7ff0, 2);
      return guest.call(12, 3, DATA);
    };
    guest.number(0x20_0000, 77, 4);
    expect(current()).toBe(MEMORY / 4096);
    expect(change(1)).toBe(2);
    expect([current(), guest.u32(0x20_0000)]).toEqual([MEMORY / 4096 - 2, 0]);
    expect(change(6)).toBe(2);
    expect(current()).toBe(MEMORY / 4096);
  });
  it('stops at a frame that is no RAM, and says how many were done', async () => {
    const guest = await HvmGuest.create(bits);
    guest.words(DATA + 0x100, 0x200, 0x7fff_ffff);
    guest.words(DATA, DATA + 0x100, 2);
    guest.number(DATA + (bits === 64 ? 0x10 : 8), 0, 8);
    guest.number(DATA + (bits === 64 ? 0x18 : 0x10), 0x7ff0, 2);
    expect(guest.call(12, 1, DATA)).toBe(1);
  });
  it('takes shared_info out of sight again, and keeps what is in it', async () => {
    const guest = await HvmGuest.create(bits);
    guest.place(0, 0, SHARED);
    guest.number(SHARED * 4096 + 0x100, 0x5a, 1);
    guest.number(DATA, 0x7ff0, 4);
    guest.number(DATA + 4, bits === 64 ? 0 : SHARED, 4);
    guest.number(DATA + 8, SHARED, 8);
    expect(guest.call(12, 15, DATA)).toBe(0);
    expect(guest.u8(SHARED * 4096 + 0x100)).toBe(0);
    guest.place(0, 0, SHARED + 2);
    expect(guest.u8((SHARED + 2) * 4096 + 0x100)).toBe(0x5a);
  });
  it.each([[2, 0xf_efff], [14, 0xf_efff], [10, EPERM], [13, EPERM], [12, ENOSYS]])('command %i gives %i', async (command, result) => {
    const guest = await HvmGuest.create(bits);
    expect(guest.call(12, command, DATA)).toBe(result);
    expect(guest.missing).toEqual([]);
  }); // biome-ignore format: a table
  it('names what is not built', async () => {
    const guest = await HvmGuest.create(bits);
    for (const command of [0, 11, 23, 30]) expect(guest.call(12, command, DATA)).toBe(ENOSYS);
    const names = ['increase_reservation', 'exchange', 'add_to_physmap_batch', '30'].map((name) => `memory_op ${name}`);
    expect(guest.missing).toEqual(names);
  });
  it('answers -EFAULT to a pointer into nothing', async () => {
    const guest = await HvmGuest.create(64);
    expect(guest.call(12, 7, 1n << 46n)).toBe(EFAULT);
  });
});

describe('hvm_op', () => {
  // xen/include/public/hvm/params.h
  it.each([
    [1, 0xf_effcn, 'STORE_PFN'], [2, BigInt(PORTS.store), 'STORE_EVTCHN'], [17, 0xf_efffn, 'CONSOLE_PFN'],
    [18, BigInt(PORTS.console), 'CONSOLE_EVTCHN'], [0, 0n, 'CALLBACK_IRQ'], [12, EPERM, 'IDENT_PT'], [5, EPERM, 'IOREQ_PFN'],
    [38, EPERM, 'MCA_CAP'], [39, EINVAL, 'none'], [0x7fff_ffff, EINVAL, 'none'],
  ])('param %i reads as %s (%s)', async (index, value, _name) => {
    const guest = await HvmGuest.create();
    expect(guest.getParam(index)).toBe(value);
  }); // biome-ignore format: a table
  it('lets the guest set some, some once, and others never', async () => {
    const guest = await HvmGuest.create();
    expect([guest.setParam(1, 5n), guest.setParam(12, 5n), guest.setParam(39, 5n)]).toEqual([EPERM, EPERM, EINVAL]);
    expect([guest.setParam(2, 1n), guest.setParam(2, 9n)]).toEqual([0, EEXIST]);
    expect([guest.setParam(34, 0x1234n), guest.getParam(34)]).toEqual([0, 0x1234n]);
    guest.number(DATA, 3, 4); // of another domain
    expect(guest.call(34, 1, DATA)).toBe(ESRCH);
  });
  it('names a callback by a wire as not built', async () => {
    const guest = await HvmGuest.create();
    expect([guest.setParam(0, 9n), guest.setParam(0, (1n << 56n) | 9n)]).toEqual([0, 0]);
    expect(guest.missing).toEqual(['event callback by a wire', 'event callback by a PCI interrupt']);
  });
  it('has no pagetable_dying in this version, and knows nobody but vcpu 0', async () => {
    const guest = await HvmGuest.create();
    expect(guest.call(34, 9, DATA)).toBe(ENOSYS);
    const upcall = (vcpu: number, vector: number) => {
      guest.number(DATA, vcpu, 4);
      guest.number(DATA + 4, vector, 4);
      return guest.call(34, 23, DATA);
    };
    expect([upcall(1, 0x40), upcall(0, 0xf), upcall(0, 0x10)]).toEqual([ENOENT, EINVAL, 0]);
    expect([guest.call(34, 5, 0), guest.call(34, 99, DATA)]).toEqual([0, ENOSYS]);
    expect(guest.missing).toEqual(['hvm_op 99']);
  });
});

describe('grant_table_op', () => {
  it('tells frames only when the guest has placed them', async () => {
    for (const bits of [64, 32] as const) {
      const guest = await HvmGuest.create(bits);
      const list = DATA + 0x100;
      const setup = () => {
        guest.number(DATA, 0x7ff0, 4);
        guest.number(DATA + 4, 1, 8);
        guest.number(DATA + (bits === 64 ? 0x10 : 0xc), list, (bits / 8) as 4 | 8);
        expect([guest.call(20, 2, DATA, 1), guest.u32(DATA + 8) & 0xffff]).toEqual([0, 0]);
        return guest.u32(list);
      };
      expect(setup()).toBe(0xffff_ffff);
      expect(guest.place(1, 0, 0x8_0000)).toBe(0);
      expect(setup()).toBe(0x8_0000);
    }
  });
});

describe('vcpu_op', () => {
  it('moves vcpu_info into any page of RAM, and into none of Xen’s', async () => {
    const guest = await HvmGuest.create();
    guest.place(0, 0, SHARED);
    const register = (frame: bigint, offset: number) => {
      guest.number(DATA, frame, 8);
      guest.number(DATA + 8, offset, 4);
      return guest.call(24, 10, 0, DATA);
    };
    guest.place(1, 0, 0x8_0000);
    expect([register(0x8_0000n, 0), register(0xf_efffn, 0)]).toEqual([EINVAL, EINVAL]);
    expect([register(0x8_0001n, 0), register(1n << 60n, 0), register(0x140n, 0xff0)]).toEqual([EINVAL, EINVAL, EINVAL]);
    expect(register(0x140n, 0x80)).toBe(0);
    expect([guest.u8(0x14_0080), guest.u64(0x14_0088)]).toEqual([1, 0xffff_ffff_ffff_ffffn]);
    expect(guest.u32(0x14_0080 + 0x38)).toBe(0x8000_0000);
    expect(register(0x141n, 0)).toBe(EINVAL);
  });
});

describe('multicall', () => {
  it.each([64, 32] as const)('does one call after the other, in entries of %i bits', async (bits) => {
    const guest = await HvmGuest.create(bits);
    const size = bits / 8;
    const entry = (i: number, op: number, ...args: number[]) =>
      guest.words(DATA + 0x200 + i * 8 * size, op, 0, ...args);
    entry(0, 17, 0, 0);
    entry(1, 63);
    entry(2, 13, DATA, 1);
    expect(guest.call(13, DATA + 0x200, 3)).toBe(0);
    const result = (i: number) => guest.u32(DATA + 0x200 + i * 8 * size + size) | 0;
    expect([result(0), result(1), result(2)]).toEqual([0x4_0011, ENOSYS, EINVAL]);
  });
});

describe('sched_op', () => {
  it.each([
    [0, { kind: 'power-off', code: 0 }], [1, { code: 0 }], [3, { kind: 'crashed', code: 4 }],
  ])('shutdown with reason %i ends the run: %j', async (reason, end) => {
    const guest = await HvmGuest.create();
    guest.number(DATA, reason, 4);
    guest.write(CODE, [...VMMCALL, 0xeb, 0xfe]);
    guest.machine.vcpu.setState({ rip: BigInt(CODE), rax: 29n, rdi: 2n, rsi: BigInt(DATA) });
    expect(guest.machine.runSync({ maxInstructions: 100 })).toMatchObject(end);
  }); // biome-ignore format: a table
});

describe('console_io and the ring', () => {
  it('print', async () => {
    const guest = await HvmGuest.create();
    guest.write(DATA + 0x100, new TextEncoder().encode('by call\n'));
    expect(guest.call(18, 0, 8, DATA + 0x100)).toBe(0);
    // mov byte [rdi], al; mov dword [rdi + 0x80c], 1, on the page of the ring
    const code = [0x88, 0x07, 0xc7, 0x87, 0x0c, 0x08, 0, 0, 1, 0, 0, 0];
    guest.run(code, 2, { rdi: BigInt(SPECIAL.console + 0x400), rax: BigInt('!'.charCodeAt(0)) });
    expect(guest.evtchn(4, PORTS.console)).toBe(0);
    expect(guest.machine.console.text).toBe('by call\n!');
  });
});
