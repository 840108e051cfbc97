import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { planBoot } from '../../src/boot/index.ts';
import { type XenParameters, xenParameters } from '../../src/boot/xen/parameters.ts';
import { elf, elfFile, parsed } from './files.ts';
import { type Note, narrow, note, PV_BASE, pvKernel, pvNotes, text, wide } from './xen-notes.ts';

const accepted = (notes: Note[]): XenParameters => {
  const found = xenParameters(pvKernel({ notes }));
  if ('why' in found) throw new Error(found.why);
  return found;
};

describe('a PV kernel’s notes', () => {
  it('are read whatever width a number has, and what is absent has its default', () => {
    expect(accepted(pvNotes())).toEqual({
      guestOs: 'toy', guestVersion: '', entry: PV_BASE + 0x100_0010n, virtBase: PV_BASE, paddrOffset: 0n,
      kernelStart: PV_BASE + 0x100_0000n, kernelEnd: PV_BASE + 0x100_2900n, hypercallPage: undefined, p2mBase: undefined,
      initrdUnmapped: false, pae: 'no', required: 0, supported: 0,
    }); // biome-ignore format: a table
    const low = [note.version(), note.loader(), narrow(3)(0), narrow(1)(0x100_0000)];
    expect(accepted(low)).toMatchObject({ virtBase: 0n, entry: 0x100_0000n });
    expect(accepted([note.version(), note.loader()])).toMatchObject({ virtBase: 0n, entry: 0x100_0000n });
  });

  it('count by their last mention, and types that nobody knows are passed over', () => {
    const again = note.entry(PV_BASE + 0x100_0020n);
    expect(
      accepted([...pvNotes(), again, wide(99)(1n), { owner: 'GNU', type: 1, desc: new Uint8Array(3) }]).entry,
    ).toBe(PV_BASE + 0x100_0020n);
  });

  it.each<[string, Note[], Partial<XenParameters>]>([
    ['a guest called linux needs no loader', pvNotes({ os: 'linux' }).filter(({ type }) => type !== 8), { guestOs: 'linux' }],
    ['features are bits; ! makes them required and supported', [...pvNotes(), note.features('!writable_page_tables|pae_pgdir_above_4gb|unheard_of')], { required: 1, supported: 0x11 }],
    ['features without a NUL at their end', [...pvNotes(), { ...note.features(), desc: new TextEncoder().encode('dom0') }], { required: 0, supported: 0x800 }],
    ['SUPPORTED_FEATURES adds to them', [...pvNotes(), note.features('dom0'), note.supported(0x8001)], { supported: 0x8801 }],
    ['INIT_P2M below VIRT_BASE is served', [...pvNotes(), note.initP2m(0x80_0000_0000n)], { p2mBase: 0x80_0000_0000n }],
    ['INIT_P2M inside a page is passed over', [...pvNotes(), note.initP2m(0x80_0000_0008n)], { p2mBase: undefined }],
    ['INIT_P2M above VIRT_BASE is passed over', [...pvNotes(), note.initP2m(PV_BASE + 0x2000_0000n)], { p2mBase: undefined }],
    ['MOD_START_PFN is a flag', [...pvNotes(), note.modStartPfn(7)], { initrdUnmapped: true }],
    ['MOD_START_PFN may be off', [...pvNotes(), note.modStartPfn(0)], { initrdUnmapped: false }],
    ['PAE_MODE', [...pvNotes(), note.pae('yes,bimodal')], { pae: 'bimodal' }],
  ])('%s', (_, notes, expected) => {
    expect(accepted(notes)).toMatchObject(expected);
  }); // biome-ignore format: a table

  it.each<[string, Note[], RegExp]>([
    ['no version', pvNotes().filter(({ type }) => type !== 5), /XEN_ELFNOTE_XEN_VERSION \(5\) is absent/],
    ['another version', [...pvNotes(), note.version('xen-4.0')], /is "xen-4\.0"; a PV kernel says "xen-3\.0"/],
    ['no loader', pvNotes().filter(({ type }) => type !== 8), /XEN_ELFNOTE_LOADER \(8\) is absent, not "generic", and XEN_ELFNOTE_GUEST_OS \(6\) is "toy"/],
    ['a feature that is required and unknown', [...pvNotes(), note.features('dom0|!flying')], /requires "flying", which libelf does not know/],
    ['dom0', [...pvNotes(), note.features('!dom0')], /requires dom0/],
    ['a number of odd width', [...pvNotes(), { owner: 'Xen', type: 1, desc: new Uint8Array(3) }], /XEN_ELFNOTE_ENTRY \(1\) at file offset 0x\w+ is a number of 3 bytes/],
    ['a number of no width', [...pvNotes(), { owner: 'Xen', type: 16, desc: new Uint8Array() }], /is a number of 0 bytes/],
    ['PADDR_OFFSET alone', [note.version(), note.loader(), note.paddrOffset(0n)], /there is no XEN_ELFNOTE_VIRT_BASE/],
    ['an entry below the kernel', [...pvNotes(), note.entry(PV_BASE)], /entry 0xffffffff80000000 lies outside of its segments at \[0xffffffff81000000, 0xffffffff81002900\)/],
    ['an entry behind the kernel', [...pvNotes(), note.entry(PV_BASE + 0x100_2901n)], /lies outside of its segments/],
    ['an entry that is physical', pvNotes({ entry: 0x100_0010n }), /entry 0x1000010 lies outside/],
    ['VIRT_BASE above the kernel', [...pvNotes(), note.paddrOffset(0x200_0000n), note.entry(PV_BASE - 0x100_0000n)], /VIRT_BASE \(3\) 0xffffffff80000000 lies above/],
    ['a kernel around the end of the address space', [...pvNotes(), note.virtBase(0xffff_ffff_feff_e000n), note.entry(0xffff_ffff_ffff_e000n)], /around the end of the address space/],
    ['a kernel inside a page', [...pvNotes(), note.virtBase(PV_BASE + 0x800n), note.entry(PV_BASE + 0x100_0900n)], /begin at 0xffffffff81000800, inside a page/],
    ['INIT_P2M in the kernel', [...pvNotes(), note.initP2m(PV_BASE + 0x100_1000n)], /INIT_P2M \(15\) 0xffffffff81001000 lies within/],
    ['INIT_P2M in Xen', [...pvNotes(), note.initP2m(0xffff_8000_0000_0000n)], /its p2m would be mapped from 0xffff800000000000 on, where Xen itself is/],
    ['a kernel in Xen', [...pvNotes(), note.virtBase(0xffff_8200_0000_0000n), note.entry(0xffff_8200_0100_0000n)], /its segments would be mapped from 0xffff820000000000 on, where Xen/],
    ['a kernel at no canonical address', [...pvNotes(), note.virtBase(0x8000_0000_0000n), note.entry(0x8000_0100_0000n)], /where no address is canonical/],
  ])('are refused for %s', (_, notes, why) => {
    const kernel = pvKernel({ notes });
    expect(xenParameters(kernel)).toMatchObject({ why: expect.stringMatching(why), fix: expect.any(String) });
    expect(() => planBoot(kernel, { via: 'xen-pv' })).toThrow(VmError);
    expect(() => planBoot(kernel, { via: 'xen-pv' })).toThrow(why);
  }); // biome-ignore format: a table

  it('are looked for in sections when no segment has one of Xen’s, and nowhere else', () => {
    const segments = [{ paddr: 0x100_0000, bytes: new Uint8Array(0x1000) }];
    const gnu = { owner: 'GNU', type: 3, desc: new Uint8Array(20) };
    const kernel = elf({ segments, notes: [gnu] });
    expect(xenParameters(kernel)).toMatchObject({
      why: expect.stringContaining('no note named "Xen" and no section __xen_guest; 1 other note was read'),
    });
    // The note segment of another file, as a section of this one.
    const other = elfFile({ segments, notes: pvNotes() });
    const { offset, filesz: size } = elf({ segments, notes: pvNotes() }).segments[1];
    const bytes = Uint8Array.from([...kernel.bytes, ...other.subarray(offset, offset + size)]);
    const section = {
      index: 1,
      name: '.notes',
      type: 7,
      flags: 0n,
      addr: 0n,
      offset: kernel.bytes.length,
      size,
      link: 0,
      entsize: 0,
    };
    expect(xenParameters({ ...kernel, bytes, sections: [section] })).toMatchObject({
      virtBase: PV_BASE,
      guestOs: 'toy',
    });
    const withNote = elf({ segments, notes: [note.version('xen-9')] });
    expect(xenParameters({ ...withNote, bytes, sections: [section] })).toMatchObject({
      why: expect.stringContaining('LOADER (8) is absent'),
    });
  });

  it('may be the text of __xen_guest in old kernels, where p_paddr is virtual', () => {
    const guest =
      'GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,HYPERCALL_PAGE=0x101,LOADER=generic,PAE=yes,FEATURES=writable_page_tables,VIRT_ENTRY=0xC0100000';
    const kernel = elf({ segments: [{ paddr: 0xc010_0000, bytes: new Uint8Array(0x2000) }] });
    const bytes = Uint8Array.from([...kernel.bytes, ...new TextEncoder().encode(guest), 0]);
    const section = {
      index: 1,
      name: '__xen_guest',
      type: 1,
      flags: 0n,
      addr: 0n,
      offset: kernel.bytes.length,
      size: guest.length + 1,
      link: 0,
      entsize: 0,
    };
    const legacy = (changed: Partial<typeof section> = {}) =>
      xenParameters({ ...kernel, bytes, sections: [{ ...section, ...changed }] });
    expect(legacy()).toMatchObject({
      virtBase: 0xc000_0000n, paddrOffset: 0xc000_0000n, kernelStart: 0xc010_0000n, entry: 0xc010_0000n,
      hypercallPage: 0xc010_1000n, pae: 'yes', supported: 1, guestVersion: '2.6',
    }); // biome-ignore format: a table
    expect(legacy({ size: 1e9 })).toMatchObject({ why: expect.stringContaining('no section __xen_guest') });
  });

  it('that lie in any way give a plan or one clear error', () => {
    const number = fc.oneof(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.constantFrom(0n, 1n, 0xfffn, PV_BASE, PV_BASE + 0x100_0000n, 0x80_0000_0000n, (1n << 64n) - 1n, 1n << 47n, 0xffff_8000_0000_0000n),
      fc.bigInt({ min: 0n, max: 0x3ffn }).map((page) => PV_BASE + (page << 12n)),
    );
    const anyNote = fc.oneof(
      fc.tuple(fc.constantFrom(1, 2, 3, 4, 12, 14, 15, 16, 17, 18), number).map(([type, value]) => wide(type)(value)),
      fc.tuple(fc.constantFrom(5, 6, 7, 8, 9, 10), fc.constantFrom('', 'xen-3.0', 'generic', 'linux', '!dom0', '!x', 'yes', '|||')).map(([type, value]) => text(type)(value)),
      fc.record({ owner: fc.constantFrom('Xen', 'GNU'), type: fc.nat(20), desc: fc.uint8Array({ maxLength: 12 }) }),
    );
    const segment = fc.record({
      paddr: fc.oneof(number, fc.bigInt({ min: 0n, max: 0x4000n }).map((page) => page << 12n)),
      bytes: fc.constant(new Uint8Array(0x1000)),
      memsz: fc.oneof(fc.constant(0x1000), fc.integer({ min: 0x1000, max: 2 ** 40 })),
    });
    let [plans, refusals] = [0, 0];
    fc.assert(
      fc.property(fc.array(anyNote, { maxLength: 6 }), fc.array(segment, { minLength: 1, maxLength: 3 }), fc.boolean(), fc.constantFrom(2, 8, 64), (extra, others, sane, memory) => {
        const segments = sane ? [{ paddr: 0x100_0000, bytes: new Uint8Array(0x1000) }] : others;
        try {
          const kernel = parsed(elfFile({ segments, notes: [...pvNotes(), ...extra] }));
          planBoot(kernel, { via: 'xen-pv', memory: `${memory}M`, initrd: new Uint8Array(100) });
          plans++;
        } catch (error) {
          expect(error).toBeInstanceOf(VmError);
          refusals++;
        }
      }),
      { numRuns: 1500 },
    );
    expect(Math.min(plans, refusals)).toBeGreaterThan(50);
  }); // biome-ignore format: generators
});
