import { describe, expect, it } from 'vitest';
import { XEN_GDT_DESCRIPTORS } from '../../../src/layout/xen/addresses.ts';
import { MMUEXT } from '../../../src/layout/xen/memory-arguments.ts';
import { EBUSY, EFAULT, EINVAL } from '../../../src/personality/xen/errno.ts';
import { FRAME } from '../../../src/personality/xen/frame-types.ts';
import { audit } from './audit.ts';
import { makeDomain, TABLES, type TestDomain, va } from './memory-domain.ts';

const GDT = 50; // PFN
const LIST = va(60);
const LDT_AREA = 0xffff_8200_0002_0000n;

const CODE0 = 0x00af_9b00_0000_ffffn; // DPL 0
const CODE3 = 0x00af_fb00_0000_ffffn;
const gate = (selector: number, dpl: number, type = 0xc, reserved = 0n): bigint =>
  0x1234n | (BigInt(selector) << 16n) | (reserved << 32n) | (BigInt(0x80 | (dpl << 5) | type) << 40n);

/** A domain whose PFN 50 is read-only, with a frame list at PFN 60. */
function withGdt(...descriptors: bigint[]): TestDomain {
  const d = makeDomain();
  for (const [i, descriptor] of descriptors.entries()) d.set(GDT, i, descriptor);
  d.remap(GDT, 0x21n);
  d.set(60, 0, BigInt(d.mfn(GDT)));
  d.set(60, 1, BigInt(d.mfn(GDT)));
  return d;
}
/** The page that the CPU finds at a page of the descriptor table: its MFN and flags. */
function gdtPage(d: TestDomain, page: number): { mfn: number; flags: number } {
  const entry = d.view.getBigUint64((d.frames.hypervisor.gdtTables.first + 2) * 4096 + page * 8, true);
  return { mfn: Number(entry >> 12n) & 0xfffff, flags: Number(entry & 0xfffn) };
}

describe('the descriptor table', () => {
  it('begins with empty pages, and has Xen’s selectors', () => {
    const d = makeDomain();
    const { emptyGdt, gdt, tss } = d.frames.hypervisor;
    for (let page = 0; page < 14; page++) expect(gdtPage(d, page).mfn).toBe(emptyGdt.first);
    expect(gdtPage(d, 14).mfn).toBe(gdt.first);
    expect(gdtPage(d, 15).flags & 1).toBe(0);
    expect(gdtPage(d, 16).mfn).toBe(tss.first);
    const at = (selector: number) => d.view.getBigUint64(gdt.first * 4096 + (selector & 0xff8), true);
    for (const [selector, bits] of XEN_GDT_DESCRIPTORS) expect(at(selector & 0xfff)).toBe(bits);
    expect(at(0x18)).toBe(0n);
    expect(at(0x38)).toBe(0n);
    // The TSS: 0x68 bytes, busy, at 0xffff820000010000.
    expect(at(0x40)).toBe(0x0000_8b01_0000_0067n);
    expect(at(0x48)).toBe(0xffff_8200n);
  });

  it('takes the guest’s frames, which are no longer writable', () => {
    const d = withGdt(0n, CODE0, 0x00cf_9300_0000_ffffn);
    expect(d.domain.descriptors.setGdt(LIST, 16)).toBe(0);
    expect(gdtPage(d, 0).mfn).toBe(d.mfn(GDT));
    expect(d.get(GDT, 1)).toBe(CODE3); // DPL raised to 3
    expect(d.get(GDT, 2)).toBe(0x00cf_f300_0000_ffffn);
    expect(d.remap(GDT, 0x23n)).toBe(-EBUSY);
    expect(d.mmuUpdate([d.at(GDT, 1), 0n])).toBe(-EINVAL);
    expect(d.mmuext([MMUEXT.CLEAR_PAGE, d.mfn(GDT)])).toBe(-EINVAL);
    expect(audit(d)).toEqual([]);
  });

  it('gives them back when it gets others', () => {
    const d = withGdt();
    expect(d.domain.descriptors.setGdt(LIST, 1024)).toBe(0);
    expect(d.domain.types.count[d.mfn(GDT)]).toBe(2);
    expect(d.domain.descriptors.setGdt(0n, 0)).toBe(0);
    expect(d.domain.types.count[d.mfn(GDT)]).toBe(0);
    expect(gdtPage(d, 0).mfn).toBe(d.frames.hypervisor.emptyGdt.first);
    expect(d.remap(GDT, 0x23n)).toBe(0);
    expect(audit(d)).toEqual([]);
  });

  it.each<[string, (d: TestDomain) => [bigint, number], number]>([
    ['too many entries', () => [LIST, 7169], -EINVAL],
    ['as many as there can be, in frames that are none', () => [LIST, 7168], -EINVAL],
    ['a list that cannot be read', () => [0x1000n, 1], -EFAULT],
    ['a list of Xen’s', () => [0xffff_8200_0000_0000n, 1], -EFAULT],
    ['a frame that is mapped writable', (d) => { d.set(60, 0, BigInt(d.mfn(9))); return [LIST, 1]; }, -EINVAL],
    ['a page table', (d) => { d.set(60, 0, BigInt(d.mfn(TABLES.l1))); return [LIST, 1]; }, -EINVAL],
    ['a frame of Xen’s', (d) => { d.set(60, 0, BigInt(d.frames.hypervisor.gdt.first)); return [LIST, 1]; }, -EINVAL],
    ['a frame number of 64 bits', (d) => { d.set(60, 0, BigInt(d.mfn(GDT)) | 1n << 40n); return [LIST, 1]; }, -EINVAL],
    ['a second frame that is wrong', (d) => { d.set(60, 1, 1n << 63n); return [LIST, 513]; }, -EINVAL],
  ])('refuses %s, and changes nothing', (_, request, expected) => {
    const d = withGdt();
    expect(d.domain.descriptors.setGdt(...request(d))).toBe(expected);
    expect(gdtPage(d, 0).mfn).toBe(d.frames.hypervisor.emptyGdt.first);
    expect(audit(d)).toEqual([]);
  }); // biome-ignore format: a table

  it.each<[string, bigint, bigint | undefined]>([
    ['nothing', 0n, 0n],
    ['code of DPL 0', CODE0, CODE3],
    ['data of DPL 1', 0x00cf_b300_0000_ffffn, 0x00cf_f300_0000_ffffn],
    ['what is not present', 0x0000_0b00_0000_0067n, 0x0000_0b00_0000_0067n],
    ['the second half of a gate', 0x0000_8000_ffff_8200n, 0x0000_8000_ffff_8200n],
    ['a TSS', 0x0000_8900_0000_0067n, undefined],
    ['an LDT', 0x0000_8200_0000_0067n, undefined],
    ['an interrupt gate', gate(0xe030, 3, 0xe), undefined],
    ['a call gate, of which DPL goes into RPL', gate(0xe033, 3), gate(0xe033, 0)],
    ['a call gate of DPL 0', gate(0x10, 0), gate(0x13, 0)],
    ['a call gate into the LDT', gate(0xf004, 3), gate(0xf007, 0)],
    ['a call gate to Xen’s code', gate(0xe008, 3), undefined],
    ['a call gate with reserved bits', gate(0x10, 3, 0xc, 1n), undefined],
  ])('holds %s as is safe', (_, descriptor, kept) => {
    const d = withGdt(0n, descriptor);
    expect(d.domain.descriptors.setGdt(LIST, 16)).toBe(kept === undefined ? -EINVAL : 0);
    expect(d.get(GDT, 1)).toBe(kept ?? descriptor);
    const e = withGdt();
    e.domain.descriptors.setGdt(LIST, 16);
    expect(e.domain.descriptors.update(e.at(GDT, 1), descriptor)).toBe(kept === undefined ? -EINVAL : 0);
    expect(e.get(GDT, 1)).toBe(kept ?? 0n);
  });
});

describe('update_descriptor', () => {
  it.each<[string, (d: TestDomain) => bigint, number]>([
    ['a frame of descriptors', (d) => d.at(GDT, 4), 0],
    ['a writable frame', (d) => d.at(9, 4), 0],
    ['a frame in no use', (d) => d.at(GDT, 4), 0],
    ['a page table', (d) => d.at(TABLES.l1, 4), -EINVAL],
    ['an address that is not aligned', (d) => d.at(9, 4) + 4n, -EINVAL],
    ['a frame of Xen’s', (d) => BigInt(d.frames.hypervisor.gdt.first) << 12n, -EINVAL],
    ['no frame', () => 1n << 63n, -EINVAL],
  ])('to %s', (_, at, expected) => {
    const d = withGdt();
    const where = at(d);
    const before =
      expected !== 0 && where < BigInt(d.frames.end) << 12n ? d.view.getBigUint64(Number(where & ~7n), true) : 0n;
    expect(d.domain.descriptors.update(where, CODE0)).toBe(expected);
    if (expected === 0) expect(d.view.getBigUint64(Number(where), true)).toBe(CODE3);
    else if (before !== 0n) expect(d.view.getBigUint64(Number(where & ~7n), true)).toBe(before);
  });
});

describe('the LDT', () => {
  it('is there when the CPU first looks, and its frame is not writable then', () => {
    const d = withGdt(CODE0);
    expect(d.mmuext([MMUEXT.SET_LDT, va(GDT), 100])).toBe(0);
    expect(d.log.ldtr).toMatchObject({ selector: 0xe050, base: LDT_AREA, limit: 799 });
    expect(d.domain.types.type[d.mfn(GDT)]).toBe(FRAME.NONE);
    expect(d.domain.descriptors.ldtFault(LDT_AREA + 8n)).toBe('mapped');
    expect(gdtPage(d, 32).mfn).toBe(d.mfn(GDT));
    expect(d.get(GDT, 0)).toBe(CODE3);
    expect(d.remap(GDT, 0x23n)).toBe(-EBUSY);
    expect(audit(d)).toEqual([]);
  });

  it('goes when its page is unmapped, another is set, or another root is loaded', () => {
    const d = withGdt(CODE0);
    const map = () => {
      d.mmuext([MMUEXT.SET_LDT, va(GDT), 100]);
      return d.domain.descriptors.ldtFault(LDT_AREA);
    };
    expect(map()).toBe('mapped');
    expect(d.domain.mmu.updateVaMapping(va(GDT), 0n, 0n)).toBe(0);
    expect(d.domain.types.count[d.mfn(GDT)]).toBe(0);
    expect(d.domain.descriptors.ldtFault(LDT_AREA)).toBe(va(GDT)); // the guest is told of a fault there
    d.remap(GDT, 0x21n);
    expect(map()).toBe('mapped');
    expect(d.mmuext([MMUEXT.SET_LDT, 0, 0])).toBe(0);
    expect(d.log.ldtr?.selector).toBe(0);
    expect(d.domain.types.count[d.mfn(GDT)]).toBe(0);
    expect(d.domain.descriptors.ldtFault(LDT_AREA)).toBe(undefined);
    expect(audit(d)).toEqual([]);
  });

  it.each<[string, bigint, number, number]>([
    ['an address within a page', va(GDT, 8), 1, -EINVAL],
    ['too many entries', va(GDT), 8193, -EINVAL],
    ['as many as there can be', va(GDT), 8192, 0],
    ['an address of Xen’s', 0xffff_8000_0000_0000n, 1, -EINVAL],
    ['an address that is not canonical', 0x8000_0000_0000_0000n, 1, -EINVAL],
    ['no entries, wherever', 0x8000_0000_0000_0008n, 0, 0],
  ])('at %s', (_, base, entries, expected) => {
    expect(withGdt().mmuext([MMUEXT.SET_LDT, base, entries])).toBe(expected);
  });

  it('is not found behind its end, or where no page of it can be', () => {
    const d = withGdt();
    d.mmuext([MMUEXT.SET_LDT, va(TABLES.l1), 512]);
    expect(d.domain.descriptors.ldtFault(LDT_AREA - 1n)).toBe(undefined);
    expect(d.domain.descriptors.ldtFault(LDT_AREA + 4096n)).toBe(undefined);
    expect(d.domain.descriptors.ldtFault(LDT_AREA + 9n)).toBe(va(TABLES.l1, 9)); // a page table
  });
});
