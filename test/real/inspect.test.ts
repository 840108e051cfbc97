import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { type Inspection, inspectKernel } from '../../src/cli/inspect.ts';
import { inspectionText } from '../../src/cli/inspect-text.ts';
import { PLAIN } from '../../src/cli/text-table.ts';
import { isElf } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { compressionOf, unpack } from '../../src/unpack/unpack.ts';
import { survives } from '../image/build.ts';
import { describeReal, haveReal, readReal, realVersion } from './files.ts';

// Facts of linux-image 6.1.192-2 (ABI 56), read from the files with other tools. A newer kernel keeps those that hold for all.
const kernels = [
  {
    file: 'vmlinuz-amd64', package: 'linux-image-6.1.0-56-amd64 6.1.192-2', compression: 'xz', payloadLength: 0x7bf070, unpacked: 65_906_612,
    syssize: '0x7d820', initSize: '0x3f98000', handover: '0x7c8db0', kernelInfo: '0x7d579c', entry: '0xffffffff830791c0',
    sha256: '4b37ad587701fad5c25512b00c98ee8067ca35f61c5c49d852af3637a44b1227', // of what `xz -dc` makes of the payload
    segments: [['0x200000', '0xffffffff81000000', '0x1000000', '0x18ea9f0'], ['0x1c00000', '0xffffffff82a00000', '0x2a00000', '0x644000'], ['0x2400000', '0x0', '0x3044000', '0x35000'], ['0x2479000', '0xffffffff83079000', '0x3079000', '0x1987000']],
  },
  {
    file: 'vmlinuz-cloud-amd64', package: 'linux-image-6.1.0-56-cloud-amd64 6.1.192-2', compression: 'lz4', payloadLength: 0xd696cc, unpacked: 53_243_444,
    syssize: '0xd8220', initSize: '0x3378000', handover: '0xd72f10', kernelInfo: '0xd7f91c', entry: '0xffffffff8304e1c0',
    sha256: 'b2b9d602a316b2dbd4870911aa07d40bf0b3f59c4d0147c7bc7e18c049a01fab', // of what `lz4 -dc` makes of it
    segments: [['0x200000', '0xffffffff81000000', '0x1000000', '0x1826634'], ['0x1c00000', '0xffffffff82a00000', '0x2a00000', '0x61a000'], ['0x2400000', '0x0', '0x301a000', '0x34000'], ['0x244e000', '0xffffffff8304e000', '0x304e000', '0xdb2000']],
  },
] as const; // biome-ignore format: a table

for (const expected of kernels) {
  describeReal(expected.file, () => {
    let inspection: Inspection;
    let bytes: Uint8Array;
    let milliseconds: number;
    const asMeasured = realVersion(expected.file) === expected.package;
    beforeAll(() => {
      bytes = readReal(expected.file);
      const start = performance.now();
      const result = inspectKernel(parseKernel(expected.file, bytes));
      milliseconds = performance.now() - start;
      if (result.damage) throw result.damage;
      inspection = result.inspection;
    });

    it('is a bzImage of protocol 2.15 that boots through linux32, linux64 and pvh, and carries what Xen needs', () => {
      expect(inspection.warnings).toEqual([]);
      expect(inspection.bootProtocol).toMatchObject({
        version: '2.15',
        magic: { match: true },
        xenMinimum: { met: true },
      });
      const paths = Object.fromEntries(inspection.entryPaths.map((path) => [path.via, path]));
      for (const via of ['linux32', 'linux64', 'pvh']) expect(paths[via].supported, via).toBe(true);
      for (const via of ['xen-pv', 'xen-pvh']) expect(paths[via], via).toMatchObject({ carried: true });
      expect(paths.lguest.why).toContain('64-bit');
      expect(inspection.payload?.compression).toBe(expected.compression);
      expect(inspection.elf).toMatchObject({
        class: 64,
        machine: 'x86-64',
        type: 'EXEC',
        entry: '0x1000000',
        warnings: [],
      });
      const text = inspectionText(inspection, 100, PLAIN);
      for (const name of ['XEN_ELFNOTE_ENTRY', 'XEN_ELFNOTE_PHYS32_ENTRY', 'NT_GNU_BUILD_ID'])
        expect(text).toContain(name);
    });

    it('unpacks in seconds', () => {
      console.log(`${expected.file}: parsed, unpacked and judged in ${milliseconds.toFixed(0)} ms`);
      expect(milliseconds).toBeLessThan(10_000);
    });

    it.skipIf(!asMeasured)(
      `has the values that other tools read${asMeasured ? '' : ` (skipped: this is ${realVersion(expected.file)})`}`,
      () => {
        const header = Object.fromEntries((inspection.setupHeader ?? []).map(({ name, value }) => [name, value]));
        expect(header).toMatchObject({
        setup_sects: '0x27', syssize: expected.syssize, version: '0x20f', kernel_version: '0x42c0', loadflags: '0x1', heap_end_ptr: '0x5be0',
        initrd_addr_max: '0x7fffffff', kernel_alignment: '0x200000', min_alignment: '0x15', xloadflags: '0x7f', cmdline_size: '0x7ff',
        payload_offset: '0x2cc', pref_address: '0x1000000', init_size: expected.initSize, handover_offset: expected.handover,
        kernel_info_offset: expected.kernelInfo,
      }); // biome-ignore format: a table
        expect(inspection.layout?.[0]).toMatchObject({ length: 0x5000, note: expect.stringContaining('0x26c') });
        expect(inspection.layout?.[2].note).toContain('0x80000009');
        expect(inspection.payload).toMatchObject({
          offset: '0x52cc',
          length: expected.payloadLength,
          uncompressedSize: expected.unpacked,
          unpackedSize: expected.unpacked,
        });
        expect(inspection.image.versionString).toMatch(/^6\.1\.0-56-(cloud-)?amd64 \(debian-kernel/);
        const notes = Object.fromEntries((inspection.elf?.notes ?? []).map(({ name, value }) => [name, value]));
        expect(notes).toMatchObject({
        XEN_ELFNOTE_GUEST_OS: '"linux"', XEN_ELFNOTE_GUEST_VERSION: '"2.6"', XEN_ELFNOTE_XEN_VERSION: '"xen-3.0"',
        XEN_ELFNOTE_VIRT_BASE: '0xffffffff80000000', XEN_ELFNOTE_INIT_P2M: '0x8000000000', XEN_ELFNOTE_ENTRY: expected.entry,
        XEN_ELFNOTE_FEATURES: '"!writable_page_tables|pae_pgdir_above_4gb"',
        XEN_ELFNOTE_SUPPORTED_FEATURES: '0x8801 (writable_page_tables, dom0, linux_rsdp_unrestricted)',
        XEN_ELFNOTE_PAE_MODE: '"yes"', XEN_ELFNOTE_LOADER: '"generic"', XEN_ELFNOTE_L1_MFN_VALID: '"mask 0x1 value 0x1"',
        XEN_ELFNOTE_SUSPEND_CANCEL: '0x1', XEN_ELFNOTE_MOD_START_PFN: '0x1', XEN_ELFNOTE_HV_START_LOW: '0xffff800000000000',
        XEN_ELFNOTE_PADDR_OFFSET: '0x0', XEN_ELFNOTE_PHYS32_ENTRY: '0x1000850', LINUX_ELFNOTE_LTO_INFO: '0x0',
      }); // biome-ignore format: a table
        expect(notes.XEN_ELFNOTE_HYPERCALL_PAGE).toBeUndefined();
        const loads = inspection.elf?.segments.filter(({ type }) => type === 'LOAD') ?? [];
        const image = parseKernel(expected.file, bytes);
        if (image.format !== 'bzimage') throw new Error('no bzImage');
        const unpacked = unpackKernel(image, nodeUnpackers).bytes;
        expect(createHash('sha256').update(unpacked).digest('hex')).toBe(expected.sha256);
        expect(loads.map(({ offset, vaddr, paddr, memsz }) => [offset, vaddr, paddr, memsz])).toEqual(
          expected.segments,
        );
      },
    );

    it('cut short or flipped in its header is an error or a kernel', () => {
      // Flips of the header leave payload_offset and payload_length mostly intact; unpacking 65 MB each time would take an hour.
      for (let at = 0x1f1; at < 0x26c; at++) {
        const flipped = bytes.slice(0, 0x6000);
        flipped[at] ^= 0xff;
        survives(flipped);
        survives(bytes.subarray(0, at));
      }
    });
  });
}

describeReal('vmlinuz-cloud-amd64', () => {
  it('unpacks to a kernel whose notes, cut or flipped, never do harm', () => {
    const image = parseKernel('vmlinuz', readReal('vmlinuz-cloud-amd64'));
    if (image.format !== 'bzimage') throw new Error('no bzImage');
    const kernel = unpackKernel(image, nodeUnpackers);
    const head = kernel.bytes.slice(0, 0x200);
    for (let at = 0; at < 0x200; at++) {
      kernel.bytes[at] ^= 0xff;
      try {
        parseKernel('vmlinux', kernel.bytes);
      } catch (error) {
        expect((error as Error).name).toBe('ImageError');
      }
      kernel.bytes.set(head);
    }
  });
});

// GRUB 2.06-13+deb12u2: class, loads as [physical, in memory, in file], notes.
const grubs = [
  {
    file: 'grub-x86_64-xen.bin', format: 'elf64', warnings: 0,
    loads: [['0x0', '0x41e1f0', '0xeaef'], ['0x41e1f0', '0x1f5bd8', '0x1f5bd8']],
    notes: { GUEST_OS: '"GRUB"', LOADER: '"generic"', XEN_VERSION: '"xen-3.0"', ENTRY: '0x0', VIRT_BASE: '0x0' }, carries: 'xen-pv',
  },
  {
    file: 'grub-i386-xen.bin', format: 'elf32', warnings: 1,
    loads: [['0x0', '0x416858', '0xbe33'], ['0x416858', '0x16a86c', '0x16a86c']],
    notes: { GUEST_OS: '"GRUB"', LOADER: '"generic"', XEN_VERSION: '"xen-3.0"', ENTRY: '0x0', VIRT_BASE: '0x0', PAE_MODE: '"yes"' }, carries: 'xen-pv32',
  },
  {
    file: 'grub-i386-xen_pvh.bin', format: 'elf32', warnings: 0,
    loads: [['0x100000', '0x25858', '0xbccb'], ['0x125858', '0x171ca8', '0x171ca8']],
    notes: { PHYS32_ENTRY: '0x100000' }, carries: 'xen-pvh',
  },
] as const; // biome-ignore format: a table

for (const { file, format, warnings, loads, notes, carries } of grubs) {
  describeReal(file, () => {
    const bytes = haveReal(file) ? readReal(file) : new Uint8Array();
    it('is read with its notes by name, and Xen could take it', () => {
      const { inspection } = inspectKernel(parseKernel(file, bytes));
      expect(inspection.image.format).toBe(format);
      expect(inspection.warnings).toHaveLength(warnings);
      const found = Object.fromEntries(
        (inspection.elf?.notes ?? []).map(({ name, value }) => [name?.replace('XEN_ELFNOTE_', ''), value]),
      );
      expect(found).toEqual(notes);
      const xen = inspection.entryPaths.filter(({ carried, via }) => carried && via.startsWith('xen'));
      const built = carries !== 'xen-pv32';
      expect(xen).toMatchObject([{ via: carries, built, supported: built }]);
      const segments = inspection.elf?.segments.filter(({ type }) => type === 'LOAD') ?? [];
      if (realVersion(file).endsWith('2.06-13+deb12u2')) {
        expect(segments.map(({ paddr, memsz, filesz }) => [paddr, memsz, filesz])).toEqual(loads);
      }
    });

    it('with any byte of its headers or notes flipped is an error or an image', () => {
      const image = parseKernel(file, bytes);
      if (!isElf(image)) throw new Error('no ELF');
      const note = image.segments.find(({ type }) => type === 4);
      const ranges = [[0, 0x200], [note?.offset ?? 0, (note?.offset ?? 0) + (note?.filesz ?? 0)]]; // biome-ignore format: short
      for (const [start, end] of ranges) {
        for (let at = start; at < end; at++) {
          bytes[at] ^= 0xff;
          try {
            parseKernel(file, bytes);
          } catch (error) {
            expect((error as Error).name).toBe('ImageError');
          }
          bytes[at] ^= 0xff;
        }
      }
    });
  });
}

describe('the payload of a real kernel', () => {
  const file = 'vmlinuz-amd64';
  it.skipIf(!haveReal(file))('of the size limit exactly is unpacked, one byte less is refused', () => {
    const image = parseKernel(file, readReal(file));
    if (image.format !== 'bzimage' || !image.payload) throw new Error('no payload');
    const { bytes, uncompressedSize } = image.payload;
    expect(compressionOf(bytes)).toBe('xz');
    expect(() => unpack(bytes, 'xz', uncompressedSize - 1, nodeUnpackers)).toThrow('the limit is');
  });
});
