/** The memory rules seen from inside: a guest on the real engine reads, writes and loads segments. */
import { describe, expect, it } from 'vitest';
import { MMUEXT } from '../../../src/layout/xen/memory-arguments.ts';
import { CODE, DATA, HANDLER, NOP, PFN, PvGuest, STACK_TOP, TABLES, va } from './pv-guest.ts';

const M2P = 0xffff_8000_0000_0000n;
const CR2_IN_VCPU_INFO = 0x10;
const SELF = 0x7ff0;
const KERNEL = 1n << 52n;

const LOAD_RAX = [0x48, 0x8b, 0x07]; // mov rax, [rdi]
const STORE_RAX = [0x48, 0x89, 0x07]; // mov [rdi], rax
const MOV_FS_AX = [0x8e, 0xe0];

/** Runs one instruction at a fresh place; the page fault's error code, or undefined when there was none. */
function attempt(
  guest: PvGuest,
  code: readonly number[],
  rdi: bigint,
  rax = guest.reg('rax'),
): { error: number; address: bigint } | undefined {
  guest.setTraps({ vector: 14 }, { vector: 13 });
  guest.write(HANDLER, NOP);
  guest.write(CODE + 0x400n, [...code, ...NOP]);
  guest.cpu.state.rip = CODE + 0x400n;
  guest.setReg('rsp', STACK_TOP);
  guest.setReg('rdi', rdi);
  guest.setReg('rax', rax);
  guest.run(1);
  if (guest.rip !== HANDLER + 1n) return undefined;
  return { error: Number(guest.read64(guest.reg('rsp') + 16n)), address: guest.sharedInfo.get64(CR2_IN_VCPU_INFO) };
}
const mfn = (guest: PvGuest, pfn: number): bigint => BigInt(guest.maddr(pfn) / 4096);
const pte = (guest: PvGuest, pfn: number, flags: number): bigint => (mfn(guest, pfn) << 12n) | BigInt(flags);
const entryOf = (pfn: number): bigint => va(TABLES.l1, pfn * 8);
const remap = (guest: PvGuest, pfn: number, entry: bigint): bigint => guest.call(14, va(pfn), entry, 0);
function mmuext(guest: PvGuest, cmd: number, arg1: bigint, arg2 = 0n): bigint {
  guest.write64(DATA, cmd, arg1, arg2);
  return guest.call(26, DATA, 1, 0, SELF);
}

describe('what a guest finds in its address space', () => {
  it('is the M2P, which it can read and not write, with a hole behind', () => {
    const guest = new PvGuest();
    for (const pfn of [0, 5, 100, 255]) {
      expect(attempt(guest, LOAD_RAX, M2P + mfn(guest, pfn) * 8n)).toBe(undefined);
      expect(guest.reg('rax')).toBe(BigInt(pfn));
    }
    expect(attempt(guest, STORE_RAX, M2P + mfn(guest, 255) * 8n)).toEqual({
      error: 3,
      address: M2P + mfn(guest, 255) * 8n,
    });
    expect(attempt(guest, LOAD_RAX, M2P + BigInt(guest.frames.hypervisor.m2p.count * 4096))?.error).toBe(0);
  });

  it('has nothing of the CPU’s descriptor table for it to read', () => {
    const guest = new PvGuest();
    expect(attempt(guest, LOAD_RAX, 0xffff_8200_0000_e030n)).toEqual({ error: 1, address: 0xffff_8200_0000_e030n });
  });

  it('is its own tables, rewritten', () => {
    const guest = new PvGuest();
    expect(attempt(guest, LOAD_RAX, entryOf(5))).toBe(undefined);
    expect(guest.reg('rax')).toBe(pte(guest, 5, 0x27) | KERNEL);
  });
});

describe('a changed entry', () => {
  it('is obeyed by the very next access', () => {
    const guest = new PvGuest();
    guest.write64(va(80), 0x1111);
    guest.write64(va(81), 0x2222);
    expect(attempt(guest, LOAD_RAX, va(80))).toBe(undefined);
    expect(remap(guest, 80, pte(guest, 81, 0x63))).toBe(0n);
    expect(attempt(guest, LOAD_RAX, va(80))).toBe(undefined);
    expect(guest.reg('rax')).toBe(0x2222n);
    expect(remap(guest, 80, 0n)).toBe(0n);
    expect(attempt(guest, LOAD_RAX, va(80))).toEqual({ error: 0, address: va(80) });
  });

  it('takes the right to write at once, before the frame can become a table', () => {
    const guest = new PvGuest();
    expect(attempt(guest, STORE_RAX, va(80))).toBe(undefined); // the CPU remembers that it may
    guest.write(va(80), new Uint8Array(4096));
    guest.write64(DATA, BigInt(guest.maddr(TABLES.l1) + 80 * 8), pte(guest, 80, 0x61));
    expect(guest.call(1, DATA, 1, 0, SELF)).toBe(0n);
    expect(mmuext(guest, MMUEXT.PIN_L1_TABLE, mfn(guest, 80))).toBe(0n);
    expect(attempt(guest, STORE_RAX, va(80))).toEqual({ error: 3, address: va(80) });
  });

  it('that takes a whole table out of use is obeyed, too', () => {
    const guest = new PvGuest();
    guest.write(va(80), new Uint8Array(4096));
    guest.write64(va(80), pte(guest, 81, 0x63));
    guest.write64(va(81), 0x77);
    expect(remap(guest, 80, pte(guest, 80, 0x61))).toBe(0n);
    const slot = BigInt(guest.maddr(TABLES.l2) + 8);
    guest.write64(DATA, slot, pte(guest, 80, 0x67));
    expect(guest.call(1, DATA, 1, 0, SELF)).toBe(0n);
    expect(attempt(guest, LOAD_RAX, va(512))).toBe(undefined);
    expect(guest.reg('rax')).toBe(0x77n);
    guest.write64(DATA, slot, 0);
    expect(guest.call(1, DATA, 1, 0, SELF)).toBe(0n);
    expect(attempt(guest, LOAD_RAX, va(512))?.error).toBe(0);
    expect(remap(guest, 80, pte(guest, 80, 0x63))).toBe(0n);
  });
});

describe('a ring that a backend writes to', () => {
  it.each([PFN.console, PFN.store])('is no frame for a page table (PFN %i)', (pfn) => {
    const guest = new PvGuest();
    guest.write(va(pfn), new Uint8Array(4096));
    expect(remap(guest, pfn, pte(guest, pfn, 0x61))).toBe(0n);
    expect(mmuext(guest, MMUEXT.PIN_L1_TABLE, mfn(guest, pfn))).toBe(-22n);
  });
});

describe('a kernel’s plain store into its L1 table', () => {
  it('faults, and with the assist is made', () => {
    const guest = new PvGuest();
    expect(attempt(guest, STORE_RAX, entryOf(80), pte(guest, 81, 0x63))).toEqual({ error: 3, address: entryOf(80) });
    expect(guest.call(21, 0, 2)).toBe(0n);
    expect(attempt(guest, STORE_RAX, entryOf(80), pte(guest, 81, 0x63))).toBe(undefined);
    expect(guest.rip).toBe(CODE + 0x403n);
    expect(guest.read64(entryOf(80))).toBe(pte(guest, 81, 0x67) | KERNEL);
    expect(attempt(guest, STORE_RAX, entryOf(80), pte(guest, TABLES.l1, 0x63))).toEqual({
      error: 3,
      address: entryOf(80),
    });
  });
});

describe('segments', () => {
  // A data segment of base 0x12345678.
  const DATA_SEGMENT = 0x12cf_f334_5678_ffffn;

  it('load from the GDT that the guest has set', () => {
    const guest = new PvGuest();
    guest.write64(va(80, 8), DATA_SEGMENT);
    expect(attempt(guest, MOV_FS_AX, 0n, 0x0bn)?.error).toBe(0x08); // #GP with the selector: nothing is there
    expect(remap(guest, 80, pte(guest, 80, 0x61))).toBe(0n);
    guest.write64(DATA, mfn(guest, 80));
    expect(guest.call(2, DATA, 512)).toBe(0n);
    expect(attempt(guest, MOV_FS_AX, 0n, 0x0bn)).toBe(undefined);
    expect(guest.cpu.state.base(4)).toBe(0x1234_5678n);
  });

  it('load from the LDT, whose pages Xen finds when they are first looked for', () => {
    const guest = new PvGuest();
    guest.write64(va(80, 8), DATA_SEGMENT);
    expect(remap(guest, 80, pte(guest, 80, 0x61))).toBe(0n);
    expect(attempt(guest, MOV_FS_AX, 0n, 0x0fn)?.error).toBe(0x0c);
    expect(mmuext(guest, MMUEXT.SET_LDT, va(80), 16n)).toBe(0n);
    expect(attempt(guest, MOV_FS_AX, 0n, 0x0fn)).toBe(undefined);
    expect(guest.cpu.state.base(4)).toBe(0x1234_5678n);
    expect(attempt(guest, LOAD_RAX, 0xffff_8200_0002_0008n)?.error).toBe(1); // not for the guest to read
    // Its page is unmapped: the CPU's next look is a fault at the guest's own address.
    expect(remap(guest, 80, 0n)).toBe(0n);
    expect(attempt(guest, MOV_FS_AX, 0n, 0x0fn)?.address).toBe(va(80, 8));
  });
});
