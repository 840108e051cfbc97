/** The smaller calls: set-up of the vCPU, versions, memory, grants, console. */
import { describe, expect, it } from 'vitest';
import { CODE, DATA, PFN, PORTS, PvGuest, SYSCALL, TABLES, va } from './pv-guest.ts';

const BAD = 0xffff_ffff_9000_0000n;
const text = (guest: PvGuest, at: bigint, length: number) => {
  const bytes = Array.from({ length }, (_, i) => guest.read8(at + BigInt(i)));
  return String.fromCharCode(...bytes.slice(0, bytes.indexOf(0)));
};

describe('a hypercall', () => {
  it('leaves RIP in RCX, RFLAGS in R11, flat selectors, and its arguments as they were', () => {
    const guest = new PvGuest(SYSCALL);
    guest.cpu.state.rflags = 0xad7;
    for (const [i, register] of (['rdi', 'rsi', 'rdx', 'r10', 'r8', 'rbx'] as const).entries()) guest.setReg(register, i === 0 ? 0 : i); // biome-ignore format: one line
    guest.setReg('rsi', 0);
    guest.setReg('rax', 17);
    guest.run(1);
    expect([guest.reg('rax'), guest.reg('rcx'), guest.reg('r11')]).toEqual([0x4_0011n, CODE + 2n, 0xad7n]);
    expect(['rdi', 'rsi', 'rdx', 'r10', 'r8', 'rbx'].map((r) => guest.reg(r as 'rdi'))).toEqual([
      0n,
      0n,
      2n,
      3n,
      4n,
      5n,
    ]);
    expect([guest.cpu.state.selector(1), guest.cpu.state.selector(2), guest.cpu.state.rflags]).toEqual([0xe033, 0xe02b, 0xad7]); // biome-ignore format: one line
  });

  it.each([11, 43, 48, 63, 64, 4096, 2 ** 32 + 17])('number %i is not there: -ENOSYS, told once', (number) => {
    const guest = new PvGuest();
    expect([guest.call(number), guest.call(number)]).toEqual([-38n, -38n]);
    expect(guest.personality.missing).toEqual([`hypercall ${number}`]);
  });

  it.each([
    [7, -1n], [35, -1n], [36, -1n], [37, -1n], [40, -95n], [16, -38n], [31, -38n], [34, -38n], [39, -38n],
  ])('number %i is not for a plain domU: %i', (number, error) => {
    expect(new PvGuest().call(number)).toBe(error);
  }); // biome-ignore format: a table

  it.each([
    ['unmapped', BAD],
    ['in Xen’s area', 0xffff_8200_0000_e000n],
    ['not canonical', 1n << 47n],
    ['unmapped in the lower half', 0x10_0000n],
  ])('with a pointer that is %s is -EFAULT', (_, pointer) => {
    const guest = new PvGuest();
    expect(guest.call(17, 3, pointer)).toBe(-14n);
    expect(guest.call(32, 1, pointer)).toBe(-14n);
    expect(guest.call(24, 8, 0, pointer)).toBe(-14n);
    expect(guest.call(29, 2, pointer)).toBe(-14n);
  });

  it('cannot be made to write where the guest cannot', () => {
    const guest = new PvGuest();
    const table = va(TABLES.l1);
    const before = guest.read64(table);
    expect(guest.call(17, 3, table)).toBe(-14n);
    expect(guest.read64(table)).toBe(before);
  });
});

describe('set_trap_table', () => {
  it('refuses an address that is not canonical, and null clears all', () => {
    const guest = new PvGuest();
    guest.write64(DATA, 0xe033_0000n | 6n, 1n << 47n, 0, 0);
    expect(guest.call(0, DATA)).toBe(-22n);
    guest.setTraps({ vector: 6 });
    expect(guest.call(0, 0)).toBe(0n);
    guest.write(CODE, [0x0f, 0x0b]);
    guest.run(1);
    expect(guest.ends).toHaveLength(1);
  });
});

describe('callback_op', () => {
  it.each([
    [0, 0n], [1, 0n], [2, 0n], [4, 0n], [5, 0n], [7, 0n], [3, -38n], [6, -38n], [8, -38n],
  ])('registers type %i: %i', (type, result) => {
    expect(new PvGuest().setCallback(type, CODE)).toBe(result);
  }); // biome-ignore format: a table

  it('refuses an address that is not canonical, and takes back only the NMI’s', () => {
    const guest = new PvGuest();
    expect(guest.setCallback(0, 1n << 47n)).toBe(-22n);
    const unregister = (type: number) => {
      guest.write32(DATA, type);
      return guest.call(30, 1, DATA);
    };
    expect([unregister(4), unregister(0), unregister(3), guest.call(30, 2, DATA)]).toEqual([0n, -22n, -38n, -38n]);
  });
});

describe('set_segment_base', () => {
  it('sets FS, the program’s GS and the kernel’s GS', () => {
    const guest = new PvGuest();
    expect([guest.call(25, 0, 0x1000), guest.call(25, 1, 0x2000), guest.call(25, 2, 0x3000)]).toEqual([0n, 0n, 0n]);
    const { state } = guest.cpu;
    expect([state.base(4), state.get64('KERNEL_GS_BASE'), state.base(5)]).toEqual([0x1000n, 0x2000n, 0x3000n]);
    expect([guest.call(25, 0, 1n << 47n), guest.call(25, 4, 0)]).toEqual([-22n, -22n]);
  });

  it.each([
    [0xe02b, 0xe02b],
    [0xe028, 0xe02b], // RPL becomes 3
    [0, 0],
    [0xe00b, 0xe00b], // Xen’s code may be read
    [0x13, 0], // there is nothing
  ])('loads the program’s GS by selector 0x%i', (selector, loaded) => {
    const guest = new PvGuest();
    guest.call(25, 1, 0x2000);
    guest.call(25, 2, 0x3000);
    expect(guest.call(25, 3, selector)).toBe(0n);
    const { state } = guest.cpu;
    expect([state.selector(5), state.base(5), state.get64('KERNEL_GS_BASE')]).toEqual([loaded, 0x3000n, 0n]);
  });
});

describe('vm_assist', () => {
  it.each([0, 1, 2, 3, 4, 5, 32])('knows type %i', (type) => {
    const guest = new PvGuest();
    expect([guest.call(21, 0, type), guest.call(21, 1, type), guest.call(21, 2, type)]).toEqual([0n, 0n, -38n]);
  });

  it.each([6, 31, 33, 64, 0xffff_ffff])('does not know type %i', (type) => {
    expect(new PvGuest().call(21, 0, type)).toBe(-22n);
  });
});

describe('vcpu_op', () => {
  it('knows one vCPU, and says of all others that they are not there', () => {
    const guest = new PvGuest();
    expect([guest.call(24, 3, 0, 0), guest.call(24, 3, 1, 0), guest.call(24, 3, 8191, 0)]).toEqual([1n, -2n, -2n]);
    expect([guest.call(24, 0, 0, 0), guest.call(24, 1, 0, 0), guest.call(24, 13, 0, DATA)]).toEqual([-22n, 0n, -38n]);
    guest.call(24, 2, 0, 0);
    expect(guest.ends).toHaveLength(1);
  });
});

describe('xen_version', () => {
  it('answers its commands', () => {
    const guest = new PvGuest();
    expect(guest.call(17, 0, 0)).toBe(0x4_0011n);
    expect([1, 2, 3, 4, 5, 8, 9].map((command) => guest.call(17, command, va(PFN.page)))).toEqual(
      new Array(7).fill(0n),
    );
    expect([guest.call(17, 7, 0), guest.call(17, 7, DATA), guest.call(17, 10, 0), guest.call(17, 11, 0)]).toEqual([4096n, -22n, -61n, -38n]); // biome-ignore format: one line
    guest.call(17, 3, DATA);
    expect(text(guest, DATA, 64)).toBe('xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ');
    guest.call(17, 5, DATA);
    expect(guest.read64(DATA)).toBe(0xffff_8000_0000_0000n);
  });

  it('has the features that Linux insists on', () => {
    const guest = new PvGuest();
    guest.write32(DATA, 0, 0);
    expect(guest.call(17, 6, DATA)).toBe(0n);
    expect(guest.read32(DATA + 4n)).toBe(0x2_20e0);
    guest.call(21, 0, 3);
    guest.call(17, 6, DATA);
    expect(guest.read32(DATA + 4n)).toBe(0x2_20f0);
    guest.write32(DATA, 1, 0);
    expect(guest.call(17, 6, DATA)).toBe(-22n);
  });
});

describe('memory_op', () => {
  it('tells the memory map, the M2P and sizes', () => {
    const guest = new PvGuest();
    guest.write64(DATA, 8, DATA + 0x100n);
    expect(guest.call(12, 9, DATA)).toBe(0n);
    expect([guest.read32(DATA), ...guest.words(DATA + 0x100n, 2), guest.read32(DATA + 0x110n)]).toEqual([1, 0n, 0x10_0000n, 1]); // biome-ignore format: one line
    expect(guest.call(12, 12, DATA)).toBe(0n);
    expect(guest.words(DATA, 3)).toEqual([0xffff_8000_0000_0000n, 0xffff_8040_0000_0000n, (1n << 35n) - 1n]);
    guest.write32(DATA, 0x7ff0);
    expect([guest.call(12, 3, DATA), guest.call(12, 4, DATA), guest.call(12, 14, DATA)]).toEqual([256n, 256n, 255n]);
    expect([guest.call(12, 10, DATA), guest.call(12, 13, DATA), guest.call(12, 7, DATA)]).toEqual([-1n, -1n, -38n]);
    guest.write32(DATA, 5);
    expect(guest.call(12, 3, DATA)).toBe(-3n);
  });
});

describe('grant_table_op', () => {
  it('sets up version 1, with the console and the store in it', () => {
    const guest = new PvGuest();
    const first = guest.frames.hypervisor.grants.first;
    guest.write32(DATA, 1);
    expect(guest.call(20, 8, DATA, 1)).toBe(0n);
    guest.write64(DATA, 0x7ff0n | (2n << 32n), 0, DATA + 0x100n);
    expect(guest.call(20, 2, DATA, 1)).toBe(0n);
    expect([guest.read32(DATA + 8n) & 0xffff, ...guest.words(DATA + 0x100n, 2)]).toEqual([0, BigInt(first), BigInt(first + 1)]); // biome-ignore format: one line
    const table = new DataView(guest.machine.buffer, guest.machine.byteOffset + first * 4096, 16);
    expect([0, 4, 8, 12].map((at) => table.getUint32(at, true))).toEqual([1, guest.frames.p2m[PFN.console], 1, guest.frames.p2m[PFN.store]]); // biome-ignore format: one line
    guest.write64(DATA, 0x7ff0);
    expect(guest.call(20, 6, DATA, 1)).toBe(0n);
    expect([guest.read32(DATA + 4n), guest.read32(DATA + 8n), guest.read32(DATA + 12n)]).toEqual([2, 32, 0]);
  });

  it('keeps version 1 when asked for another', () => {
    const guest = new PvGuest();
    guest.write32(DATA, 2);
    expect(guest.call(20, 8, DATA, 1)).toBe(-38n);
    guest.write32(DATA, 0x7ff0, 9);
    expect([guest.call(20, 10, DATA, 1), guest.read32(DATA + 4n)]).toEqual([0n, 1]);
    expect([guest.call(20, 0, DATA, 1), guest.call(20, 2, DATA, 2)]).toEqual([-38n, -22n]);
  });

  it('says so in its status when there are not that many frames, or it is not the guest’s table', () => {
    const guest = new PvGuest();
    guest.write64(DATA, 0x7ff0n | (33n << 32n), 0, DATA + 0x100n);
    expect([guest.call(20, 2, DATA, 1), guest.read32(DATA + 8n) & 0xffff]).toEqual([0n, 0xffff]);
    guest.write64(DATA, 5n | (1n << 32n), 0, DATA + 0x100n);
    expect([guest.call(20, 2, DATA, 1), guest.read32(DATA + 8n) & 0xffff]).toEqual([0n, 0xfffe]);
  });
});

describe('the console', () => {
  const [IN, OUT, IN_CONS, IN_PROD, OUT_CONS, OUT_PROD, CONNECTION] = [0, 0x400, 0xc00, 0xc04, 0xc08, 0xc0c, 0xc10].map((at) => va(PFN.console, at)); // biome-ignore format: one line
  const print = (guest: PvGuest, words: string) => {
    const prod = guest.read32(OUT_PROD);
    for (let i = 0; i < words.length; i++) guest.write(OUT + BigInt((prod + i) & 2047), [words.charCodeAt(i)]);
    guest.write32(OUT_PROD, prod + words.length);
  };
  const send = (guest: PvGuest) => {
    guest.write32(DATA, PORTS.console);
    return guest.call(32, 4, DATA);
  };

  it('is connected, and drained when the guest sends; the backend sends back', () => {
    const guest = new PvGuest();
    expect(guest.read8(CONNECTION)).toBe(0);
    print(guest, 'hello');
    expect(guest.text).toBe('');
    expect(send(guest)).toBe(0n);
    expect([guest.text, guest.read32(OUT_CONS), guest.read32(OUT_PROD)]).toEqual(['hello', 5, 5]);
    expect(guest.sharedInfo.get64(0x800)).toBe(1n << BigInt(PORTS.console));
  });

  it('is drained when the guest yields, too, and across its end', () => {
    const guest = new PvGuest();
    guest.write32(OUT_PROD, 0xffff_fffe);
    guest.write32(OUT_CONS, 0xffff_fffe);
    print(guest, 'wrap');
    guest.call(29, 0, 0);
    expect([guest.text, guest.read32(OUT_CONS)]).toEqual(['wrap', 2]);
  });

  it('ignores a ring whose indices make no sense', () => {
    const guest = new PvGuest();
    guest.write32(OUT_PROD, 2049);
    expect(send(guest)).toBe(0n);
    expect([guest.text, guest.read32(OUT_CONS)]).toEqual(['', 0]);
  });

  it('prints what is still there when the guest shuts down or is ended', () => {
    const guest = new PvGuest();
    print(guest, 'last words');
    guest.write32(DATA, 0);
    guest.call(29, 2, DATA);
    const wrong = new PvGuest([0x0f, 0x0b]);
    print(wrong, 'last words');
    wrong.run(1);
    expect([guest.text, wrong.text]).toEqual(['last words', 'last words']);
  });

  it('brings input, as much as fits, and the rest when there is room', () => {
    const guest = new PvGuest();
    guest.personality.receive?.(new Uint8Array(1500).fill(0x61));
    expect([guest.read32(IN_PROD), guest.read8(IN), guest.read8(IN + 1023n)]).toEqual([1024, 0x61, 0x61]);
    expect(guest.sharedInfo.get64(0x800)).toBe(1n << BigInt(PORTS.console));
    guest.write32(IN_CONS, 1024);
    send(guest);
    expect(guest.read32(IN_PROD)).toBe(1500);
  });

  it('console_io prints; reading gives nothing', () => {
    const guest = new PvGuest();
    guest.write(
      DATA,
      [...'early'].map((c) => c.charCodeAt(0)),
    );
    expect([guest.call(18, 0, 5, DATA), guest.text]).toEqual([0n, 'early']);
    expect([guest.call(18, 1, 5, DATA), guest.call(18, 2, 5, DATA), guest.call(18, 0, 5, BAD)]).toEqual([
      0n,
      -38n,
      -14n,
    ]);
  });
});
