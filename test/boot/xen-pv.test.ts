import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import {
  type BootPlan,
  type BootSpec,
  entryPaths,
  needsUnpackedKernel,
  placePlan,
  planBoot,
} from '../../src/boot/index.ts';
import { machineSize } from '../../src/boot/plan.ts';
import { layOutDomain, WIDTH_32P } from '../../src/boot/xen/domain-layout.ts';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { XenconsInterface } from '../../src/layout/xen/rings.ts';
import { StartInfo } from '../../src/layout/xen/start-info.ts';
import { gpa } from '../../src/memory/address.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { mfn, type Pfn, pfn } from '../../src/memory/machine-frames.ts';
import { bzImage, elf, parsed, type TestElf } from './files.ts';
import { PlacedDomain } from './xen-domain.ts';
import { note, PV_BASE, pvKernel, pvNotes } from './xen-notes.ts';

const plan = (kernel: ElfImage, spec: BootSpec = {}) => planBoot(kernel, { via: 'xen-pv', memory: '64M', ...spec });
const refusal = (make: () => unknown): BootError => {
  try {
    make();
  } catch (error) {
    expect(error).toBeInstanceOf(BootError);
    return error as BootError;
  }
  throw new Error('nothing was refused');
};
const segments = ({ xen }: BootPlan) => xen?.segments.map(({ name, pfn: first, pages }) => [name, first, pages]);
const write = ({ writes }: BootPlan, what: string) => writes.find((one) => one.what === what);
const startInfo = (made: BootPlan) => StartInfo.read(write(made, 'start_info')?.bytes as Uint8Array);
const initrd = Uint8Array.from({ length: 5000 }, (_, i) => i & 0xff);

describe('xen-pv', () => {
  it('is entered in long mode and ring 3 on Xen’s selectors, with the start info in RSI and nothing else', () => {
    const made = plan(pvKernel());
    const { xen, frames, state } = made;
    const va = (frame: Pfn) => PV_BASE + BigInt(frame * 4096);
    if (!xen || !frames) throw new Error('a domain');
    expect(state).toMatchObject({
      rip: PV_BASE + 0x100_0010n, rsi: va(xen.startInfoPfn), rsp: va(pfn(xen.bootStackPfn + 1)),
      rflags: 0x202n, cpl: 3, cr0: 0x8005_0033n, cr2: 0n, cr3: BigInt(frames.mfnOf(xen.rootPfn) * 4096), cr4: 0x660n, cr8: 0n, efer: 0xd01n,
      gdtr: { base: 0xffff_8200_0000_0000n, limit: 0xefff },
      dr: [0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n],
    }); // biome-ignore format: a table
    const { es, cs, ss, ds, fs, gs } = state.segments;
    expect([cs.selector, cs.attributes, ss.selector, ss.attributes]).toEqual([0xe033, 0xa0fb, 0xe02b, 0xc0f3]);
    expect([es, ds, fs, gs].map(({ selector, attributes }) => selector | attributes)).toEqual([0, 0, 0, 0]);
    expect(state.tr).toMatchObject({ selector: 0xe040, limit: 0x67 });
    for (const name of ['rax', 'rbx', 'rcx', 'rdx', 'rdi', 'rbp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const) expect(state[name], name).toBe(0n); // biome-ignore format: one line
    expect(made).toMatchObject({
      personality: 'xen-pv', bootParamsFilledBy: 'guest', claims: [],
      memoryMap: [{ addr: 0, size: 64 * MiB, type: 1 }],
      handover: { struct: 'start_info', register: 'rsi', virtual: state.rsi },
    }); // biome-ignore format: a table
  });

  it('lays segments out in the builder’s order, p2m and initrd where the kernel’s notes want them', () => {
    const both = { initrd };
    expect(segments(plan(pvKernel(), both))).toEqual([
      ['pad', 0, 0x1000], ['kernel', 0x1000, 3], ['initrd', 0x1003, 2], ['p2m', 0x1005, 0x20], ['start_info', 0x1025, 1], ['xenstore', 0x1026, 1],
      ['console', 0x1027, 1], ['page tables', 0x1028, 13], ['boot stack', 0x1035, 1], ['padding', 0x1036, 0x3ca],
    ]); // biome-ignore format: a table
    const apart = pvKernel({ notes: [...pvNotes(), note.modStartPfn(1), note.initP2m(0x80_0000_0000n)] });
    expect(segments(plan(apart, both))).toEqual([
      ['pad', 0, 0x1000], ['kernel', 0x1000, 3], ['start_info', 0x1003, 1], ['xenstore', 0x1004, 1], ['console', 0x1005, 1],
      ['page tables', 0x1006, 13], ['boot stack', 0x1013, 1], ['padding', 0x1014, 0x3ec], ['initrd', 0x1400, 2], ['p2m', 0x1402, 0x23],
    ]); // biome-ignore format: a table
    expect(segments(plan(pvKernel()))?.map(([name]) => name)).not.toContain('initrd');
  });

  it('tells the guest all of it in start_info, frames of the machine as such', () => {
    const made = plan(pvKernel(), { initrd, cmdline: 'a=1 ünïcode' });
    const { xen, frames } = made;
    if (!xen || !frames) throw new Error('a domain');
    expect(startInfo(made)).toEqual({
      magic: 'xen-3.0-x86_64', nr_pages: 0x4000n, shared_info: 0x400_0000n, flags: 0x10,
      store_mfn: BigInt(frames.mfnOf(xen.storePfn)), store_evtchn: 1,
      'console.domU.mfn': BigInt(frames.mfnOf(xen.consolePfn)), 'console.domU.evtchn': 2,
      pt_base: PV_BASE + 0x102_8000n, nr_pt_frames: 13n, mfn_list: PV_BASE + 0x100_5000n,
      mod_start: PV_BASE + 0x100_3000n, mod_len: 5000n,
      cmd_line: Buffer.from('a=1 ünïcode').toString('latin1'), first_p2m_pfn: 0n, nr_p2m_frames: 0n,
    }); // biome-ignore format: a table
    const apart = pvKernel({ notes: [...pvNotes(), note.modStartPfn(1), note.initP2m(0x80_0000_0000n)] });
    expect(startInfo(plan(apart, { initrd }))).toMatchObject({
      flags: 0x18, mod_start: 0x1400n, mod_len: 8192n, mfn_list: 0x80_0000_0000n, first_p2m_pfn: 0x1402n, nr_p2m_frames: 0x23n,
    }); // biome-ignore format: a table
    expect(startInfo(plan(apart))).toMatchObject({ flags: 0x10, mod_start: 0n, mod_len: 0n });
  });

  it.each([
    ['identity', 'inside'],
    ['identity', 'apart'],
    ['scrambled', 'inside'],
    ['scrambled', 'apart'],
    [{ scrambled: 99 }, 'beside the kernel'],
  ] as const)('%j: page tables map [VIRT_BASE, end) in one line, tables read-only, and the p2m %s', (order, where) => {
    const base = where === 'inside' ? undefined : where === 'apart' ? 0x80_0000_0000n : PV_BASE - 0x10_0000n;
    const kernel = pvKernel({ notes: [...pvNotes(), ...(base === undefined ? [] : [note.initP2m(base)])] });
    const made = plan(kernel, { mfn: order, initrd });
    const domain = new PlacedDomain(made);
    const { xen, frames } = made;
    if (!xen || !frames) throw new Error('a domain');
    const expected: { va: bigint; pfn: number; flags: number }[] = [];
    const isTable = (frame: number) => frame >= xen.pageTables.pfn && frame < xen.pageTables.pfn + xen.pageTables.pages;
    const pages = Number(xen.virtEnd - xen.virtBase) / 4096;
    const first = Array.from({ length: pages }, (_, i) => ({
      va: PV_BASE + BigInt(i * 4096),
      pfn: i,
      flags: isTable(i) ? 0x21 : 0x23,
    }));
    const p2mPages = xen.p2m.pages - (xen.p2mTables?.pages ?? 0);
    if (base !== undefined)
      expected.push(
        ...Array.from({ length: p2mPages }, (_, i) => ({
          va: base + BigInt(i * 4096),
          pfn: xen.p2m.pfn + i,
          flags: 0x23,
        })),
      );
    expected.push(...first);
    const found = [...domain.mappings()].map(({ va, mfn: frame, flags }) => ({ va, pfn: domain.pfnOf(frame), flags }));
    expect(found.length).toBe(expected.length);
    expect(found).toEqual(expected);
    expect(Number(xen.virtEnd % 0x40_0000n)).toBe(0);
    // The p2m tells of every frame where it lies.
    const list = domain.memory.bytes(gpa(xen.p2m.pfn * 4096), 0x4000 * 8);
    const words = new BigUint64Array(list.slice().buffer);
    expect(words.every((entry, i) => entry === BigInt(frames.p2m[i]))).toBe(true);
    // The p2m's tables are counted behind it; where VIRT_BASE is near, some are shared with the first mapping.
    expect(xen.p2mTables?.pages).toBe({ inside: undefined, apart: 3, 'beside the kernel': 2 }[where]);
  });

  it('places every byte where the p2m says: the same domain, read by guest frames, for every order', () => {
    const kernel = pvKernel();
    const [a, b] = (['identity', { scrambled: 5 }] as const).map((mfnOrder) => {
      const made = plan(kernel, { mfn: mfnOrder, initrd });
      return { made, domain: new PlacedDomain(made) };
    });
    for (const what of ['segment 0', 'segment 1', 'initrd', 'xenstore', 'console', 'boot stack']) {
      const { at, bytes, length } = write(a.made, what) ?? { at: gpa(0), bytes: initrd, length: 1 };
      const [x, y] = [a, b].map(({ domain }) => domain.memory.bytes(at, length));
      expect(Buffer.compare(x, y), what).toBe(0);
      expect(Buffer.compare(x.subarray(0, bytes.length), bytes), what).toBe(0);
      expect(
        x.subarray(bytes.length).every((byte) => byte === 0),
        what,
      ).toBe(true);
    }
    const ring = XenconsInterface.read(a.domain.memory, Number(write(a.made, 'console')?.at));
    expect(ring.connection).toBe(1);
    // Nothing of the hypervisor's is touched.
    const above = new Uint8Array(b.domain.memory.buffer, 64 * MiB);
    expect(above.every((byte) => byte === 0)).toBe(true);
  });

  it('subtracts PADDR_OFFSET from load addresses, and finds the hypercall page by its address', () => {
    const linked: TestElf['segments'] = [{ paddr: PV_BASE + 0x20_0000n, bytes: new Uint8Array(0x3000).fill(0x90) }];
    const kernel = pvKernel({
      segments: linked,
      notes: [
        ...pvNotes({ entry: PV_BASE + 0x20_0000n }),
        note.paddrOffset(PV_BASE),
        note.hypercallPage(PV_BASE + 0x20_1000n),
      ],
    });
    const made = plan(kernel);
    expect(write(made, 'segment 0')?.at).toBe(0x20_0000);
    expect(made.xen?.hypercallPage).toBe(0x201);
    expect(plan(pvKernel()).xen?.hypercallPage).toBeUndefined();
  });

  it('must be placed through its frames', () => {
    const made = plan(pvKernel());
    const flat = new GuestMemory(new ArrayBuffer(machineSize(made)), 0, made.memorySize);
    expect(() => placePlan(made, flat)).toThrow('memory counts frames as the plan does');
    expect(machineSize(made)).toBe((made.frames?.end ?? 0) * 4096);
    expect(made.frames?.pfnOf(mfn(0x4000))).toBeUndefined();
  });

  it('takes the kernel that the host unpacked from a bzImage', () => {
    const image = bzImage({ payload_offset: 0x100, payload_length: 0x200 });
    expect(needsUnpackedKernel(image, { via: 'xen-pv' })).toBe(true);
    const made = planBoot(image, { via: 'xen-pv', unpackedKernel: pvKernel() });
    expect(made.unpackedKernel?.format).toBe('elf64');
    expect(refusal(() => planBoot(image, { via: 'xen-pv' })).why).toContain('was not unpacked');
    expect(refusal(() => planBoot(bzImage({ version: 0x207 }), { via: 'xen-pv' })).why).toContain('older than 2.08');
  });

  it('is what auto takes for a kernel that has no other door', () => {
    expect(planBoot(pvKernel({ notes: pvNotes({ os: 'GRUB' }) }), {}).via).toBe('xen-pv');
    expect(planBoot(pvKernel({ notes: pvNotes({ os: 'linux' }) }), {}).via).toBe('linux64');
  });
});

describe('the layout of 32-bit domains', () => {
  it('extends the directories to 4 GiB, as PAE kernels expect it', () => {
    const parameters = {
      guestOs: 'GRUB', guestVersion: '', entry: 0n, virtBase: 0n, paddrOffset: 0n, kernelStart: 0n, kernelEnd: 0x58_10c4n,
      initrdUnmapped: false, pae: 'yes', required: 0, supported: 0,
    } as const; // biome-ignore format: short
    const layout = layOutDomain(parameters, { nrPages: 0x1_0000, width: WIDTH_32P });
    expect(layout.segments.map(({ name, pfn: first, pages }) => [name, first, pages])).toEqual([
      ['kernel', 0, 0x582], ['p2m', 0x582, 0x40], ['start_info', 0x5c2, 1], ['xenstore', 0x5c3, 1], ['console', 0x5c4, 1],
      ['page tables', 0x5c5, 9], ['boot stack', 0x5ce, 1], ['padding', 0x5cf, 0x231],
    ]); // biome-ignore format: a table
    expect(layout.virtEnd).toBe(0x80_0000n);
    expect(layout.map.levels.map(({ tables }) => tables)).toEqual([4, 4, 1]);
  });
});

describe('xen-pv refuses', () => {
  it.each<[string, () => unknown, string, string]>([
    ['a domain that is too small for the kernel', () => plan(pvKernel(), { memory: '16M' }), 'does not fit into a domain of 16 MiB', 'kernel needs guest frames [0x1000, 0x1003); the domain has [0x0, 0x1000)'],
    ['a domain that ends inside the padding', () => plan(pvKernel(), { memory: '17M' }), 'does not fit into a domain of 17 MiB', 'padding needs guest frames'],
    ['an initrd larger than memory', () => plan(pvKernel(), { initrd: new Uint8Array(65 * MiB) }), 'the initrd does not fit into a domain of 64 MiB', 'initrd needs guest frames [0x1003, 0x5103)'],
    ['an initrd behind the mapping that does not fit', () => plan(pvKernel({ notes: [...pvNotes(), note.modStartPfn(1)] }), { initrd: new Uint8Array(50 * MiB) }), 'the initrd does not fit', 'initrd needs guest frames [0x1400'],
    ['an empty initrd', () => plan(pvKernel(), { initrd: new Uint8Array() }), 'the initrd is empty', '0 bytes'],
    ['a domain without room for Xen', () => plan(pvKernel(), { memory: '3G' }), 'leaves no room for its hypervisor', 'Xen’s own frames need'],
    ['segments that overlap', () => plan(pvKernel({ segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(0x2000) }, { paddr: 0x100_1000, bytes: new Uint8Array(0x2000) }] })), 'segments of vmlinux overlap', '[0x1000000, 0x1002000) and [0x1001000, 0x1003000)'],
    ['a p2m that runs into the kernel', () => plan(pvKernel({ notes: [...pvNotes(), note.initP2m(PV_BASE - 0x1000n)] })), 'the p2m of vmlinux runs into something else', 'with 64 MiB it would take [0xffffffff7ffff000, 0xffffffff8001f000)'],
    ['a p2m that leaves the lower half', () => plan(pvKernel({ notes: [...pvNotes(), note.initP2m(0x7fff_ffff_f000n)] })), 'runs into something else', 'no address is canonical'],
    ['a mapping beyond the last address', () => plan(pvKernel({ segments: [{ paddr: 0, bytes: new Uint8Array(0x1000) }], notes: [note.version(), note.loader(), note.virtBase(0xffff_ffff_ffff_e000n), note.entry(0xffff_ffff_ffff_e000n)] })), 'cannot be mapped in one line', 'addresses that do not exist'],
    ['a hypercall page in its page tables', () => plan(pvKernel({ notes: [...pvNotes(), note.hypercallPage(PV_BASE + 0x100_6000n)] })), 'wants its hypercall page where there is none', 'lies in what the builder makes there'],
    ['a hypercall page outside of the mapping', () => plan(pvKernel({ notes: [...pvNotes(), note.hypercallPage(0x1000n)] })), 'wants its hypercall page where there is none', '0x1000 is no page of the first mapping'],
    ['a hypercall page inside a page', () => plan(pvKernel({ notes: [...pvNotes(), note.hypercallPage(PV_BASE + 0x100_0010n)] })), 'wants its hypercall page', 'is no page'],
    ['a long command line', () => plan(pvKernel(), { cmdline: 'x'.repeat(1024) }), 'the command line is too long', '1024 bytes; start_info holds 1023'],
    ['a command line with a NUL', () => plan(pvKernel(), { cmdline: 'a\0b' }), 'holds a NUL', 'would be lost'],
    ['a load address', () => plan(pvKernel(), { load: 0x100_0000 }), 'cannot be loaded at', 'physical addresses'],
    ['a seed that is none', () => plan(pvKernel(), { mfn: { scrambled: -1 } }), '-1 is no seed', '0 to 4294967295'],
    ['a kernel of 32 bits', () => plan(elf({ bits: 32, notes: pvNotes(), segments: [{ paddr: 0, bytes: new Uint8Array(16) }] })), 'has no entry for xen-pv', 'xen-3.0-x86_32p'],
    ['what is no ELF file', () => planBoot(parsed(new Uint8Array(100)), { via: 'xen-pv' }), 'has no entry for xen-pv', 'no notes'],
  ])('%s', (_, make, what, why) => {
    const error = refusal(make);
    expect(error.what).toContain(what);
    expect(error.why).toContain(why);
    expect(error.fix.length).toBeGreaterThan(8);
  }); // biome-ignore format: a table

  it.each([16, 17, 18])('a domain of %i MiB with advice that is enough', (memory) => {
    for (const notes of [[], [note.initP2m(0x80_0000_0000n), note.modStartPfn(1)]]) {
      const kernel = pvKernel({ notes: [...pvNotes(), ...notes] });
      const disk = { initrd: new Uint8Array(30 * MiB) };
      const { fix } = refusal(() => plan(kernel, { memory: `${memory}M`, ...disk }));
      const advised = Number(/--memory (\d+)M/.exec(fix)?.[1]);
      expect(plan(kernel, { memory: `${advised}M`, ...disk }).via).toBe('xen-pv');
      expect(() => plan(kernel, { memory: `${advised - 1}M`, ...disk })).toThrow(BootError);
    }
  });

  it('says under inspect why a kernel has no such door', () => {
    const path = entryPaths(elf({ segments: [{ paddr: 0x100_0000, bytes: new Uint8Array(16) }] })).find(
      ({ via }) => via === 'xen-pv',
    );
    expect(path).toMatchObject({
      supported: false,
      why: expect.stringContaining('no note named "Xen" and no section __xen_guest'),
    });
  });
});
