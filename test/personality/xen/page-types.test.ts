import { describe, expect, it } from 'vitest';
import { MMUEXT } from '../../../src/layout/xen/memory-arguments.ts';
import { EACCES, EBUSY, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../../../src/personality/xen/errno.ts';
import { FRAME } from '../../../src/personality/xen/frame-types.ts';
import { DONE_AT, makeDomain, P, PAGES, REQUESTS, RW, SELF, TABLES, US, VIRT_BASE, va } from './memory-domain.ts';

const KERNEL = 1n << 52n;
const NX = 1n << 63n;
const A = 0x20n;
const D = 0x40n;
const G = 0x100n;

describe('a domain as the builder leaves it', () => {
  const domain = makeDomain();

  it('has its entries rewritten for a kernel at CPL 3', () => {
    expect(domain.get(TABLES.l1, 5)).toBe(domain.pte(5, KERNEL | 0x027n));
    expect(domain.get(TABLES.l1, TABLES.l1)).toBe(domain.pte(TABLES.l1, KERNEL | 0x025n));
    expect(domain.get(TABLES.l2, 0)).toBe(domain.pte(TABLES.l1, 0x067n));
  });

  it('has a type and a count for each frame', () => {
    const { types } = domain.domain;
    const of = (pfn: number) => [types.type[domain.mfn(pfn)], types.count[domain.mfn(pfn)]];
    expect(of(TABLES.l4)).toEqual([FRAME.L4, 2]); // pinned, and the CPU's root
    expect(of(TABLES.l3)).toEqual([FRAME.L3, 1]);
    expect(of(TABLES.l1)).toEqual([FRAME.L1, 1]);
    expect(of(5)).toEqual([FRAME.WRITABLE, 1]);
  });

  it('has Xen’s root slots filled', () => {
    for (let slot = 256; slot < 272; slot++) {
      expect((domain.get(TABLES.l4, slot) & P) !== 0n).toBe(slot === 256 || slot === 260);
    }
  });
});

describe('update_va_mapping', () => {
  // Flags in the request, and what the guest then reads: xen/arch/x86/pv/mm.h, seen on a real Xen.
  it.each([
    [0x63n, KERNEL | 0x067n],
    [0x67n, 0x167n],
    [0x163n, KERNEL | 0x167n],
    [0x61n | NX, KERNEL | NX | 0x065n],
    [0xe67n | (0x1ffn << 53n), 0xf67n | (0x1ffn << 53n)],
  ])('writes flags %s as a kernel at CPL 3 needs them', (flags, kept) => {
    const d = makeDomain();
    expect(d.remap(5, flags)).toBe(0);
    expect(d.get(TABLES.l1, 5)).toBe(d.pte(5, kept));
  });

  const frame = (mfn: number | bigint, flags = 0x63n) => (BigInt(mfn) << 12n) | flags;
  it.each<[string, (d: ReturnType<typeof makeDomain>) => [va: bigint, entry: bigint], number]>([
    ['a frame beyond the machine', (d) => [va(5), frame(d.frames.end)], -EPERM],
    ['a frame beyond 4 GiB', () => [va(5), frame(1n << 35n)], -EPERM],
    ['the frame that is none', () => [va(5), frame((1n << 40n) - 1n)], -EINVAL],
    ['a frame of Xen’s', (d) => [va(5), frame(d.frames.hypervisor.m2p.first)], -EBUSY],
    ['a frame of Xen’s, read-only', (d) => [va(5), frame(d.frames.hypervisor.gdt.first, 0x61n)], -EBUSY],
    ['Xen’s zero page', (d) => [va(5), frame(d.frames.hypervisor.emptyGdt.first)], -EBUSY],
    ['shared_info, writable', (d) => [va(5), frame(d.frames.hypervisor.sharedInfo.first)], 0],
    ['a grant frame', (d) => [va(5), frame(d.frames.hypervisor.grants.first + 31)], 0],
    ['a page table, writable', (d) => [va(5), d.pte(TABLES.l1, 0x63n)], -EBUSY],
    ['a page table, read-only', (d) => [va(5), d.pte(TABLES.l4, 0x61n)], 0],
    ['flag PWT', (d) => [va(5), d.pte(5, 0x63n | 0x8n)], -EINVAL],
    ['flag PCD', (d) => [va(5), d.pte(5, 0x63n | 0x10n)], -EINVAL],
    ['flag PAT', (d) => [va(5), d.pte(5, 0x63n | 0x80n)], -EINVAL],
    ['bit 62', (d) => [va(5), d.pte(5, 0x63n | (1n << 62n))], -EINVAL],
    ['no entry at all', () => [va(5), 0n], 0],
    ['an entry that is not present, whatever its bits', () => [va(5), ~1n], 0],
    ['an address without a table', () => [0x1000n, 0n], -EINVAL],
    ['an address of Xen’s', () => [0xffff_8000_0000_0000n, 0n], -EINVAL],
    ['an address that is not canonical', () => [0x8000_0000_0000_0000n, 0n], -EINVAL],
  ])('answers to %s', (_, request, expected) => {
    const d = makeDomain();
    const [address, entry] = request(d);
    const before = d.get(TABLES.l1, 5);
    expect(d.domain.mmu.updateVaMapping(address, BigInt.asUintN(64, entry), 0n)).toBe(expected);
    if (expected !== 0) expect(d.get(TABLES.l1, 5)).toBe(before);
  });

  it('drops what the CPU remembers of an entry that was present, and only then', () => {
    const d = makeDomain();
    const flushes = d.log.flushes;
    d.domain.mmu.updateVaMapping(va(5), 0n, 0n);
    expect(d.log.flushes).toBe(flushes + 1);
    d.remap(5, 0x63n);
    expect(d.log.flushes).toBe(flushes + 1);
    d.domain.mmu.updateVaMapping(va(5), 0n, 1n);
    expect(d.log.flushes).toBe(flushes + 2);
  });

  it('reads the bitmap of CPUs that a flush names, after the update', () => {
    const d = makeDomain();
    expect(d.domain.mmu.updateVaMapping(va(5), 0n, 2n | va(7))).toBe(0);
    expect(d.log.pages).toEqual([va(5)]);
    expect(d.domain.mmu.updateVaMapping(va(6), 0n, 1n | 0x1000n)).toBe(-EFAULT);
    expect(d.get(TABLES.l1, 6)).toBe(0n);
  });

  it.each([
    [SELF, 0],
    [0x7ff1, -EBUSY], // DOMID_IO: the frame is RAM
    [0x7ff2, -EPERM],
    [0, -EPERM],
    [1, -ESRCH], // its own number: DOMID_SELF is what Xen wants
    [77, -ESRCH],
  ])('for another domain (%i) returns %i', (domid, expected) => {
    const d = makeDomain();
    expect(d.domain.mmu.updateVaMapping(va(5), d.pte(6, 0x63n), 0n, domid)).toBe(expected);
  });
});

describe('mmu_update', () => {
  it('writes entries of each level, and tells how many were done', () => {
    const d = makeDomain();
    expect(d.mmuUpdate([d.at(TABLES.l1, 5), d.pte(6, 0x63n)], [d.at(TABLES.l4, 0), 0n], [d.at(TABLES.l3, 1), 0n])).toBe(
      0,
    );
    expect(d.done()).toBe(3);
    expect(d.get(TABLES.l1, 5)).toBe(d.pte(6, KERNEL | 0x067n));
    expect(d.domain.types.count[d.mfn(5)]).toBe(0);
    expect(d.domain.types.count[d.mfn(6)]).toBe(2);
  });

  it('stops at the first request that is refused', () => {
    const d = makeDomain();
    const good = d.pte(6, 0x63n);
    expect(
      d.mmuUpdate([d.at(TABLES.l1, 5), good], [d.at(TABLES.l1, 6), d.pte(TABLES.l1, 0x63n)], [d.at(TABLES.l1, 7), 0n]),
    ).toBe(-EBUSY);
    expect(d.done()).toBe(1);
    expect(d.get(TABLES.l1, 7)).toBe(d.pte(7, KERNEL | 0x027n));
  });

  it.each([4n, 5n, 6n, 7n])('does not know command %i', (command) => {
    const d = makeDomain();
    expect(d.mmuUpdate([d.at(TABLES.l1, 5) | command, 0n])).toBe(-ENOSYS);
    expect(d.done()).toBe(0);
  });

  it('keeps accessed and dirty bits when asked to', () => {
    const d = makeDomain();
    d.remap(5, 0x63n);
    d.mmuUpdate([d.at(TABLES.l1, 5) | 2n, d.pte(5, P | RW)]);
    expect(d.get(TABLES.l1, 5)).toBe(d.pte(5, KERNEL | US | RW | P | A | D));
    d.mmuUpdate([d.at(TABLES.l1, 5), d.pte(5, P | RW)]);
    expect(d.get(TABLES.l1, 5)).toBe(d.pte(5, KERNEL | US | RW | P));
    expect(d.mmuUpdate([d.at(TABLES.l1, 5) | 3n, d.pte(5, P | RW | US)])).toBe(0);
    expect(d.get(TABLES.l1, 5)).toBe(d.pte(5, US | RW | P | G));
  });

  it('simply stores into a frame that is no table', () => {
    const d = makeDomain();
    expect(d.mmuUpdate([d.at(9, 3), 0xdead_beef_0000_0001n])).toBe(0);
    expect(d.get(9, 3)).toBe(0xdead_beef_0000_0001n);
  });

  it.each<[string, (d: ReturnType<typeof makeDomain>) => [bigint, bigint], number]>([
    ['a frame of Xen’s as the table', (d) => [BigInt(d.frames.hypervisor.m2p.first) << 12n, 0n], -EINVAL],
    ['a table beyond the machine', () => [1n << 50n, 0n], -EINVAL],
    ['a root slot of Xen’s', (d) => [d.at(TABLES.l4, 256), 0n], -EINVAL],
    ['the last root slot of Xen’s', (d) => [d.at(TABLES.l4, 271), 0n], -EINVAL],
    ['the first root slot behind', (d) => [d.at(TABLES.l4, 272), 0n], 0],
    ['a large page at level 2', (d) => [d.at(TABLES.l2, 5), d.pte(5, 0xe7n)], -EINVAL],
    ['a large page at level 3', (d) => [d.at(TABLES.l3, 5), d.pte(5, 0xe7n)], -EINVAL],
    ['G at level 2', (d) => [d.at(TABLES.l2, 5), d.pte(TABLES.l1, 0x167n)], -EINVAL],
    ['the same table once more', (d) => [d.at(TABLES.l2, 5), d.pte(TABLES.l1, 0x67n)], 0],
    ['a table of the wrong level', (d) => [d.at(TABLES.l3, 5), d.pte(TABLES.l1, 0x67n)], -EINVAL],
    ['a table that is itself', (d) => [d.at(TABLES.l2, 5), d.pte(TABLES.l2, 0x67n)], -EINVAL],
    ['a frame that is mapped writable as a table', (d) => [d.at(TABLES.l2, 5), d.pte(9, 0x67n)], -EINVAL],
    [
      'a frame of Xen’s below level 2',
      (d) => [d.at(TABLES.l2, 5), (BigInt(d.frames.hypervisor.m2p.first) << 12n) | 0x67n],
      -EINVAL,
    ],
    ['no such frame below level 2', (d) => [d.at(TABLES.l2, 5), (1n << 45n) | 0x67n], -EINVAL],
    ['M2P of a frame of Xen’s', (d) => [(BigInt(d.frames.hypervisor.gdt.first) << 12n) | 1n, 0n], -EINVAL],
    ['M2P of no frame', (d) => [(BigInt(d.frames.end) << 12n) | 1n, 0n], -EINVAL],
  ])('answers to %s', (_, request, expected) => {
    const d = makeDomain();
    expect(d.mmuUpdate(request(d))).toBe(expected);
  });

  it('changes the M2P, which the guest reads through slot 256', () => {
    const d = makeDomain();
    const window = (mfn: number) => d.view.getBigUint64(d.frames.hypervisor.m2p.first * 4096 + mfn * 8, true);
    expect(window(d.mfn(5))).toBe(5n);
    expect(window(d.frames.hypervisor.sharedInfo.first)).toBe(2n ** 64n - 1n);
    expect(d.mmuUpdate([(BigInt(d.mfn(5)) << 12n) | 1n, 0x1234n])).toBe(0);
    expect(window(d.mfn(5))).toBe(0x1234n);
  });

  it.each<[string, number, bigint, number, number]>([
    ['an unmapped list', SELF, 0x1000n, 1, -EFAULT],
    ['a list of Xen’s', SELF, 0xffff_8000_0000_0000n, 1, -EFAULT],
    ['no requests in a list at 0', SELF, 0n, 0, 0],
    ['tables of another domain', (9 << 16) | SELF, va(REQUESTS), 0, -ESRCH],
    ['its own tables by number', (2 << 16) | SELF, va(REQUESTS), 0, 0],
    ['frames of an unknown domain', 9, va(REQUESTS), 0, -ESRCH],
  ])('answers to %s', (_, domain, list, count, expected) => {
    const d = makeDomain();
    expect(d.domain.mmu.mmuUpdate({ list, count, done: DONE_AT, domain })).toBe(expected);
  });

  it('does a list that crosses a page, at any alignment', () => {
    const d = makeDomain();
    const start = va(REQUESTS, 4096 - 21);
    const bytes = new DataView(new ArrayBuffer(32));
    const words = [d.at(9, 0), 0x1122_3344_5566_7788n, d.at(9, 1), 0x99aa_bbcc_ddee_ff00n];
    for (const [i, word] of words.entries()) bytes.setBigUint64(8 * i, word, true);
    for (let i = 0; i < 32; i++) {
      const at = start + BigInt(i) - VIRT_BASE;
      d.view.setUint8(d.mfn(Number(at >> 12n)) * 4096 + Number(at & 0xfffn), bytes.getUint8(i));
    }
    expect(d.domain.mmu.mmuUpdate({ list: start, count: 2, done: 0n, domain: SELF })).toBe(0);
    expect([d.get(9, 0), d.get(9, 1)]).toEqual([0x1122_3344_5566_7788n, 0x99aa_bbcc_ddee_ff00n]);
  });
});

/** A second tree beside the builder's: PFNs 100-103, nothing of it writable any more. */
function secondTree() {
  const d = makeDomain();
  const [l4, l3, l2, l1] = [100, 101, 102, 103];
  d.set(l4, 511, d.pte(l3, 0x67n));
  d.set(l4, 3, d.pte(l3, 0x67n));
  d.set(l3, 510, d.pte(l2, 0x67n));
  d.set(l2, 0, d.pte(l1, 0x67n));
  for (let pfn = 0; pfn < PAGES; pfn++) {
    const isTable = (pfn >= l4 && pfn <= l1) || (pfn >= TABLES.l4 && pfn <= TABLES.l1);
    d.set(l1, pfn, d.pte(pfn, isTable ? 0x21n : 0x23n));
  }
  const readOnly = (...pfns: number[]) => pfns.map((pfn) => d.remap(pfn, 0x21n));
  return { ...d, l4, l3, l2, l1, readOnly };
}

describe('pinning', () => {
  it('validates a tree, and lets go of it', () => {
    const d = secondTree();
    expect(d.readOnly(d.l4, d.l3, d.l2, d.l1)).toEqual([0, 0, 0, 0]);
    expect(d.mmuext([MMUEXT.PIN_L4_TABLE, d.mfn(d.l4)])).toBe(0);
    expect(d.get(d.l4, 256)).toBe(d.get(TABLES.l4, 256));
    expect(d.domain.types.count[d.mfn(5)]).toBe(2);
    expect(d.domain.types.count[d.mfn(d.l3)]).toBe(2);
    expect(d.remap(d.l1, 0x23n)).toBe(-EBUSY);
    expect(d.mmuext([MMUEXT.UNPIN_TABLE, d.mfn(d.l4)])).toBe(0);
    expect(d.domain.types.count[d.mfn(5)]).toBe(1);
    expect(d.remap(d.l1, 0x23n)).toBe(0);
  });

  it('changes nothing, not even a bit of an entry, when one entry is refused', () => {
    const d = secondTree();
    d.readOnly(d.l4, d.l3, d.l2, d.l1);
    d.set(d.l1, 300, (BigInt(d.frames.end) << 12n) | 0x23n);
    const before = new Uint8Array(d.buffer.slice(0));
    const count = d.domain.types.count.slice();
    const refs = d.domain.types.refs.slice();
    const op: [number, number] = [MMUEXT.PIN_L4_TABLE, d.mfn(d.l4)];
    d.list([BigInt(op[0]), BigInt(op[1]), 0n]);
    before.set(new Uint8Array(d.buffer, d.mfn(REQUESTS) * 4096, 4096), d.mfn(REQUESTS) * 4096);
    const result = d.domain.mmuext.mmuextOp({ list: va(REQUESTS), count: 1, done: 0n, domain: SELF });
    expect(result).toBe(-EPERM);
    expect(Buffer.compare(new Uint8Array(d.buffer), before)).toBe(0);
    expect(d.domain.types.count).toEqual(count);
    expect(d.domain.types.refs).toEqual(refs);
  });

  it.each<[string, (d: ReturnType<typeof secondTree>) => [number, bigint | number][], number, number]>([
    ['a table that is mapped writable', (d) => [[MMUEXT.PIN_L4_TABLE, d.mfn(d.l4)]], -EINVAL, 0],
    ['a table that maps itself writable', (d) => [[MMUEXT.PIN_L1_TABLE, d.mfn(9)]], -EBUSY, 0],
    ['a table of another level', (d) => [[MMUEXT.PIN_L2_TABLE, d.mfn(TABLES.l1)]], -EINVAL, 0],
    ['no frame', (d) => [[MMUEXT.PIN_L1_TABLE, d.frames.end]], -EINVAL, 0],
    ['a frame number of 64 bits', () => [[MMUEXT.PIN_L1_TABLE, 1n << 63n]], -EINVAL, 0],
    ['a frame of Xen’s', (d) => [[MMUEXT.PIN_L1_TABLE, d.frames.hypervisor.m2p.first]], -EINVAL, 0],
    ['shared_info', (d) => [[MMUEXT.PIN_L1_TABLE, d.frames.hypervisor.sharedInfo.first]], -EINVAL, 0],
    ['what is pinned', (d) => [[MMUEXT.PIN_L4_TABLE, d.mfn(TABLES.l4)]], -EINVAL, 0],
    ['a table that is used, once', (d) => [[MMUEXT.PIN_L3_TABLE, d.mfn(TABLES.l3)]], 0, 1],
    ['a table that is used, twice', (d) => Array(2).fill([MMUEXT.PIN_L3_TABLE, d.mfn(TABLES.l3)]), -EINVAL, 1],
    ['unpinning what is not pinned', (d) => [[MMUEXT.UNPIN_TABLE, d.mfn(TABLES.l3)]], -EINVAL, 0],
    ['unpinning no frame', () => [[MMUEXT.UNPIN_TABLE, 1n << 40n]], -EINVAL, 0],
    ['unpinning a root that the CPU uses', (d) => [[MMUEXT.UNPIN_TABLE, d.mfn(TABLES.l4)]], 0, 1],
    ['a root that is mapped writable as the new one', (d) => [[MMUEXT.NEW_BASEPTR, d.mfn(d.l4)]], -EINVAL, 0],
    ['a table of level 3 as the new root', (d) => [[MMUEXT.NEW_BASEPTR, d.mfn(TABLES.l3)]], -EINVAL, 0],
    ['the root once more', (d) => [[MMUEXT.NEW_BASEPTR, d.mfn(TABLES.l4)]], 0, 1],
    ['no user root', () => [[MMUEXT.NEW_USER_BASEPTR, 0]], 0, 1],
    ['the kernel’s root as the user’s', (d) => [[MMUEXT.NEW_USER_BASEPTR, d.mfn(TABLES.l4)]], 0, 1],
    ['a user root that is none', (d) => [[MMUEXT.NEW_USER_BASEPTR, d.mfn(TABLES.l3)]], -EINVAL, 0],
    ['flushing a cache', () => [[MMUEXT.FLUSH_CACHE, 0]], -EACCES, 0],
    ['flushing all caches', () => [[MMUEXT.FLUSH_CACHE_GLOBAL, 0]], -EACCES, 0],
    ['a superpage', () => [[MMUEXT.MARK_SUPER, 0]], -EOPNOTSUPP, 0],
    ['no superpage', () => [[MMUEXT.UNMARK_SUPER, 0]], -EOPNOTSUPP, 0],
    ['command 14', () => [[14, 0]], -ENOSYS, 0],
    ['command 21', () => [[21, 0]], -ENOSYS, 0],
    ['clearing a page table', (d) => [[MMUEXT.CLEAR_PAGE, d.mfn(TABLES.l1)]], -EINVAL, 0],
    ['clearing a frame of Xen’s', (d) => [[MMUEXT.CLEAR_PAGE, d.frames.hypervisor.gdt.first]], -EINVAL, 0],
    ['copying onto a page table', (d) => [[MMUEXT.COPY_PAGE, d.mfn(TABLES.l1)]], -EINVAL, 0],
  ])('answers to %s', (_, ops, expected, done) => {
    const d = secondTree();
    d.set(9, 0, d.pte(9, 0x23n));
    d.domain.mmu.updateVaMapping(va(9), 0n, 0n);
    expect(d.mmuext(...ops(d))).toBe(expected);
    expect(d.done()).toBe(done);
  });

  it('takes GRUB’s way: pin a new root, load it, unpin the old one, all in one call', () => {
    const d = secondTree();
    d.readOnly(d.l4, d.l3, d.l2, d.l1);
    const [next, old] = [d.mfn(d.l4), d.mfn(TABLES.l4)];
    expect(d.mmuext([MMUEXT.PIN_L4_TABLE, next], [MMUEXT.NEW_BASEPTR, next], [MMUEXT.UNPIN_TABLE, old])).toBe(0);
    expect(d.done()).toBe(3);
    expect(d.log.cr3).toBe(next);
    for (const pfn of [TABLES.l4, TABLES.l3, TABLES.l2, TABLES.l1]) {
      expect(d.domain.types.count[d.mfn(pfn)]).toBe(0);
      expect(d.remap(pfn, 0x23n)).toBe(0);
    }
  });

  it('keeps a root that only the CPU uses, until it loads another', () => {
    const d = secondTree();
    d.readOnly(d.l4, d.l3, d.l2, d.l1);
    expect(d.mmuext([MMUEXT.NEW_BASEPTR, d.mfn(d.l4)])).toBe(0);
    expect(d.mmuext([MMUEXT.NEW_BASEPTR, d.mfn(TABLES.l4)])).toBe(0);
    expect(d.domain.types.count[d.mfn(d.l4)]).toBe(0);
    expect(d.mmuext([MMUEXT.NEW_USER_BASEPTR, d.mfn(d.l4)], [MMUEXT.NEW_USER_BASEPTR, 0])).toBe(0);
    expect(d.domain.types.count[d.mfn(d.l4)]).toBe(0);
  });

  it('is not for a frame that a backend writes to', () => {
    const d = makeDomain();
    d.domain.mapForBackend(d.mfn(30));
    expect(d.remap(30, 0x21n)).toBe(0);
    expect(d.mmuext([MMUEXT.PIN_L1_TABLE, d.mfn(30)])).toBe(-EINVAL);
    expect(d.domain.types.release(d.mfn(30))).toBe(true); // given back, but not free
    expect(d.domain.mmu.updateVaMapping(va(30), 0n, 0n)).toBe(0);
    expect(d.domain.types.isGuests(d.mfn(30))).toBe(true);
  });

  it('clears and copies frames that are plain memory', () => {
    const d = makeDomain();
    d.set(20, 7, 42n);
    expect(d.mmuext([MMUEXT.COPY_PAGE, d.mfn(21), d.mfn(20)], [MMUEXT.CLEAR_PAGE, d.mfn(20)])).toBe(0);
    expect([d.get(20, 7), d.get(21, 7)]).toEqual([0n, 42n]);
  });
});
