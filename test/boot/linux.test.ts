/** The two Linux entries against the boot protocol, and against QEMU.
 *
 * Where our zero page differs from the one QEMU 7.2 makes for the same kernel, memory and initrd (test/boot/qemu.ts):
 * - screen_info, ist_info, edid_info, alt_mem_k: filled by the kernel's real-mode setup code from the BIOS. We run
 *   neither, all are zero; Linux then takes its dummy console and the e820 map alone.
 * - e820: QEMU's BIOS keeps the EBDA, its ROM and 128 KiB of ACPI tables; ours has no firmware, so two RAM entries.
 * - type_of_loader 0xb0 (QEMU's own number) against 0xff (undefined); loadflags CAN_USE_HEAP and heap_end_ptr are for the
 *   real-mode code; ramdisk_image is higher here, without ACPI tables in the way.
 * - QEMU loads at 0x100000 and lets the kernel move itself; we load at pref_address. */
import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { GiB, hex, MiB } from '../../src/base/numbers.ts';
import { type BootPlan, type BootSpec, planBoot } from '../../src/boot/index.ts';
import { BootParams } from '../../src/layout/boot-params.ts';
import { SetupHeader } from '../../src/layout/setup-header.ts';
import { bzImage, bzImageFile, elf, type HeaderFields, linuxNote, parsed } from './files.ts';
import { DEBIAN_HEADER, QEMU_LINUX32, qemuZeroPage } from './qemu.ts';

const disk = new Uint8Array(5632).fill(0x55);
const write = (plan: BootPlan, what: string) => {
  const found = plan.writes.find((one) => one.what === what);
  if (!found) throw new Error(`the plan has no ${what}`);
  return found;
};
const zeroPage = (plan: BootPlan) => write(plan, 'boot_params').bytes;
const bootParams = (plan: BootPlan) => BootParams.read(zeroPage(plan));

/** A file with the header of a Debian 6.1 kernel; its protected-mode code is as long as the header says. */
function debianKernel() {
  const file = new Uint8Array(0x5000 + 0x7d_8200);
  file.set(DEBIAN_HEADER, 0x1f1);
  file.set([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], 0x52cc);
  return parsed(file, 'vmlinuz');
}

describe('the zero page beside that of QEMU', () => {
  const plan = planBoot(debianKernel(), {
    via: 'linux32',
    memory: '256M',
    initrd: disk,
    cmdline: 'console=ttyS0 panic=-1',
  });
  const ours = bootParams(plan);
  const theirs = BootParams.read(qemuZeroPage());

  it('has the same setup header but for the fields that tell loaders apart', () => {
    const differing = Object.keys(SetupHeader.fields).filter(
      (name) => ours.hdr[name as 'version'] !== theirs.hdr[name as 'version'],
    );
    expect(differing).toEqual(['type_of_loader', 'loadflags', 'ramdisk_image', 'heap_end_ptr']);
    expect([theirs.hdr.type_of_loader, ours.hdr.type_of_loader].map((value) => hex(value))).toEqual(['0xb0', '0xff']);
    expect([theirs.hdr.loadflags, ours.hdr.loadflags]).toEqual([0x81, 0x01]);
    expect(ours.hdr.ramdisk_size).toBe(theirs.hdr.ramdisk_size);
    expect(ours.hdr.cmd_line_ptr).toBe(theirs.hdr.cmd_line_ptr);
  });

  it('differs outside the header only in what the firmware reports', () => {
    const differing = Object.keys(BootParams.fields).filter((name) => {
      const key = name as keyof typeof ours;
      return key !== 'hdr' && JSON.stringify(ours[key], bigints) !== JSON.stringify(theirs[key], bigints);
    });
    expect(differing).toEqual(['screen_info', 'ist_info', 'alt_mem_k', 'e820_entries', 'e820_table']);
  });

  it('starts the kernel with the same selectors and control registers', () => {
    const { state } = plan;
    expect(state.segments.cs.selector).toBe(QEMU_LINUX32.cs);
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const)
      expect(state.segments[name].selector).toBe(QEMU_LINUX32.ds);
    const { cr0, cr4, efer, rbx, rbp, rdi } = QEMU_LINUX32;
    expect(state).toMatchObject({ cr0, cr4, efer, rbx, rbp, rdi });
  });
});

const bigints = (_: string, value: unknown) => (typeof value === 'bigint' ? hex(value) : value);

describe.each(['linux32', 'linux64'] as const)('%s of a bzImage', (via) => {
  const plan = planBoot(bzImage(), { via, memory: '64M', cmdline: 'quiet', initrd: disk });
  const params = bootParams(plan);

  it('makes a zero page of 4096 bytes that holds nothing of the file but its header', () => {
    expect(zeroPage(plan).length).toBe(4096);
    const file = bzImageFile();
    const loaders = ['type_of_loader', 'ramdisk_image', 'ramdisk_size', 'cmd_line_ptr'];
    for (const [name, { offset, size }] of Object.entries(SetupHeader.fields)) {
      if (loaders.includes(name)) continue;
      expect([...zeroPage(plan).subarray(offset, offset + size)], name).toEqual([
        ...file.subarray(offset, offset + size),
      ]);
    }
    const outside = zeroPage(plan).filter((_, at) => (at < 0x1e8 || at >= 0x26c) && (at < 0x2d0 || at >= 0x2d0 + 40));
    expect(outside.every((byte) => byte === 0)).toBe(true);
    expect(params.sentinel).toBe(0);
  });

  it('hands over two RAM entries, since Linux rejects a map of fewer', () => {
    expect(params.e820_entries).toBe(2);
    expect(params.e820_table.slice(0, 3)).toEqual([
      { addr: 0n, size: 0xa_0000n, type: 1 },
      { addr: 0x10_0000n, size: BigInt(63 * MiB), type: 1 },
      { addr: 0n, size: 0n, type: 0 },
    ]);
  });

  it('names itself an undefined loader: with 0 the kernel would ignore its initrd', () => {
    expect(params.hdr.type_of_loader).toBe(0xff);
  });

  it('leaves 2048 bytes to read at the command line', () => {
    const { at, bytes, length } = write(plan, 'command line');
    expect(params.hdr.cmd_line_ptr).toBe(at);
    expect(length).toBe(2048);
    expect(new TextDecoder().decode(bytes)).toBe('quiet\0');
  });

  it('puts the kernel at pref_address and keeps init_size bytes free from there on', () => {
    expect(write(plan, 'kernel').at).toBe(0x100_0000);
    expect(plan.claims).toMatchObject([{ at: 0x100_0000, length: 0x80_0000 }]);
  });

  it('puts the initrd at the end of RAM, page aligned', () => {
    const { at, length, bytes } = write(plan, 'initrd');
    expect([at, length]).toEqual([64 * MiB - 0x2000, 5632]);
    expect(bytes).toBe(disk);
    expect([params.hdr.ramdisk_image, params.hdr.ramdisk_size]).toEqual([at, length]);
    expect([params.ext_ramdisk_image, params.ext_ramdisk_size, params.ext_cmd_line_ptr]).toEqual([0, 0, 0]);
  });

  it('hands the zero page over in RSI, in a state that the boot protocol describes', () => {
    const { state } = plan;
    expect(plan.handover).toEqual({ struct: 'boot_params', at: 0x1_0000, register: via === 'linux32' ? 'esi' : 'rsi' });
    expect(state).toMatchObject({
      rsi: 0x1_0000n,
      rbx: 0n,
      rbp: 0n,
      rdi: 0n,
      rsp: 0n,
      rflags: 2n,
      cpl: 0,
      idtr: { base: 0n, limit: 0 },
    });
    expect(state.segments.cs.selector).toBe(0x10);
    for (const name of ['ds', 'es', 'ss'] as const)
      expect(state.segments[name]).toEqual({ selector: 0x18, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  });
});

describe('linux32', () => {
  it('enters the first protected-mode byte with paging off', () => {
    const { state } = planBoot(bzImage(), { via: 'linux32' });
    expect(state).toMatchObject({ rip: 0x100_0000n, cr0: 0x11n, cr3: 0n, cr4: 0n, efer: 0n });
    expect(state.segments.cs.attributes).toBe(0xc09b);
  });

  it('enters an ELF32 kernel at e_entry, with a header made from nothing', () => {
    const kernel = elf({
      bits: 32,
      entry: 0x10_0010,
      segments: [{ paddr: 0x10_0000, vaddr: 0xc010_0000, bytes: disk, memsz: 0x4000 }],
    });
    const plan = planBoot(kernel, { via: 'linux32', memory: '16M' });
    expect(plan.state.rip).toBe(0x10_0010n);
    expect(write(plan, 'segment 0')).toMatchObject({ at: 0x10_0000, length: 0x4000 });
    expect(bootParams(plan).hdr).toMatchObject({
      boot_flag: 0xaa55,
      header: 0x5372_6448,
      version: 0x20f,
      loadflags: 1,
      type_of_loader: 0xff,
    });
  });
});

describe('linux64', () => {
  it('enters 0x200 behind the first protected-mode byte, in long mode on an identity map', () => {
    const plan = planBoot(bzImage(), { via: 'linux64' });
    expect(plan.state).toMatchObject({ rip: 0x100_0200n, cr0: 0x8000_0011n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n });
    expect(plan.state.segments.cs.attributes).toBe(0xa09b);
    expect(write(plan, 'page tables')).toMatchObject({ at: 0x1000, length: 0x6000 });
  });

  it('with --unpack host loads the payload, and keeps the bzImage header in the zero page', () => {
    const unpackedKernel = elf({ segments: [{ paddr: 0x100_0000, bytes: disk, memsz: 0x1_0000 }], notes: [linuxNote] });
    const plan = planBoot(bzImage(), { via: 'linux64', unpack: 'host', unpackedKernel });
    expect(plan.state.rip).toBe(0x100_0000n);
    expect(write(plan, 'segment 0')).toMatchObject({ at: 0x100_0000, length: 0x1_0000 });
    expect(plan.writes.some(({ what }) => what === 'kernel')).toBe(false);
    expect(bootParams(plan).hdr).toMatchObject({ init_size: 0x80_0000, kernel_alignment: 0x20_0000, version: 0x20f });
    expect(plan.unpackedKernel).toBe(unpackedKernel);
  });

  it('loads a relocatable kernel elsewhere; it still unpacks at pref_address or above', () => {
    const low = planBoot(bzImage(), { load: 0x20_0000, memory: '64M' });
    expect([write(low, 'kernel').at, low.state.rip, low.claims[0].at]).toEqual([0x20_0000, 0x20_0200n, 0x100_0000]);
    const high = planBoot(bzImage(), { load: 0x200_0000, memory: '64M' });
    expect([write(high, 'kernel').at, high.claims[0].at]).toEqual([0x200_0000, 0x200_0000]);
  });
});

describe('the initrd', () => {
  const place = (fields: HeaderFields, initrd: Uint8Array, memory = '64M') =>
    write(planBoot(bzImage(fields), { memory, initrd }), 'initrd').at;

  it.each<[string, HeaderFields, number]>([
    ['below initrd_addr_max', { initrd_addr_max: 0x37f_ffff }, 0x380_0000 - 0x2000],
    ['below an initrd_addr_max inside a page', { initrd_addr_max: 0x37f_f7fe }, 0x37f_e000],
    ['with its last byte at initrd_addr_max', { initrd_addr_max: 0x37f_e5ff }, 0x37f_d000],
    ['a page lower when one byte less is allowed', { initrd_addr_max: 0x37f_e5fe }, 0x37f_c000],
    ['below a window at the end of RAM', { pref_address: 0x300_0000n, init_size: 0x100_0000 }, 0x300_0000 - 0x2000],
    ['anywhere below 0x38000000 for protocol 2.02', { version: 0x202, loadflags: 1 }, 64 * MiB - 0x2000],
  ])('lies %s', (_, fields, at) => {
    expect(place(fields, disk)).toBe(at);
  });

  it('of protocol 2.02 stays below 0x38000000 in a large machine', () => {
    expect(place({ version: 0x202 }, disk, '3G')).toBe(0x3800_0000 - 0x2000);
  });

  it.each<[string, HeaderFields, number, string]>([
    ['larger than RAM', {}, 65 * MiB, '--memory 89M'],
    ['larger than what the kernel leaves', {}, 41 * MiB, '--memory 65M'],
    ['too large below initrd_addr_max', { initrd_addr_max: 0x17f_ffff }, 16 * MiB, 'make the initrd smaller'],
  ])('%s is refused, and the size needed is named', (_, fields, length, fix) => {
    const big = new Uint8Array(length);
    expect(() => place(fields, big)).toThrow(BootError);
    expect(() => place(fields, big)).toThrow(fix);
  });

  it('fits with exactly the memory that the refusal names', () => {
    expect(place({}, new Uint8Array(41 * MiB), '65M')).toBe(24 * MiB);
  });
});

describe('a header that asks for what cannot be', () => {
  it.each<[string, HeaderFields, BootSpec, string]>([
    ['more memory than there is', { init_size: 0x400_0000 }, {}, 'give it --memory 80M or more'],
    ['a window of 4 GiB', { init_size: 0xffff_ffff }, {}, 'RAM ends at 3 GiB here at most'],
    ['a window of nothing', { init_size: 0 }, {}, 'it is 0, so the kernel would unpack over itself'],
    ['to lie behind RAM', { pref_address: 0x1000_0000n }, {}, 'give it --memory 264M or more'],
    ['to lie at 2^63', { pref_address: 1n << 63n }, {}, 'is not between 1 MiB and 4 GiB'],
    ['to lie below 1 MiB', { pref_address: 0x1_0000n }, {}, 'is not between 1 MiB and 4 GiB'],
    ['an alignment of 0', { kernel_alignment: 0 }, {}, '0x0 is not a power of two'],
    ['an alignment of 3', { kernel_alignment: 3 }, {}, '0x3 is not a power of two'],
    ['a command line of 4 bytes', { cmdline_size: 4 }, { cmdline: 'quiet' }, '5 bytes; 4 are the most'],
    ['a command line longer than 2.05 can take', { version: 0x205 }, { cmdline: 'x'.repeat(256) }, '255 are the most'],
    [
      'a command line longer than there is room for',
      { cmdline_size: 0xffff_ffff },
      { cmdline: 'x'.repeat(70_000) },
      '65535 are the most',
    ],
    ['another load address, unaligned', {}, { load: 0x110_0000 - 1 }, 'is no multiple of 0x200000'],
    [
      'another load address, though not relocatable',
      { relocatable_kernel: 0 },
      { load: 0x200_0000 },
      'it only runs at 0x1000000',
    ],
    ['real-mode code (zImage)', { loadflags: 0 }, { via: 'linux32' }, 'no entry path here runs real mode'],
    ['protocol 2.01', { version: 0x201 }, { via: 'linux32' }, 'cmd_line_ptr came with 2.02'],
    ['the 64-bit entry, without it', { xloadflags: 0x7e }, { via: 'linux64' }, 'XLF_KERNEL_64'],
    ['the 64-bit entry of protocol 2.11', { version: 0x20b }, { via: 'linux64' }, 'the 64-bit entry came with 2.12'],
  ])('is refused: %s', (_, fields, spec, message) => {
    const plan = () => planBoot(bzImage(fields), { memory: '64M', ...spec });
    expect(plan).toThrow(BootError);
    expect(plan).toThrow(message);
  });

  it('counts a command line in bytes, as the kernel does', () => {
    const plan = (cmdline: string) => planBoot(bzImage({ cmdline_size: 8 }), { cmdline });
    expect(() => plan('ääää')).not.toThrow();
    expect(() => plan('äääää')).toThrow('10 bytes; 8 are the most');
  });
});

describe('an old protocol', () => {
  it.each([
    [0x202, 0x10_0000],
    [0x204, 0x10_0000],
    [0x205, 0x10_0000],
    [0x209, 0x10_0000],
    [0x20a, 0x100_0000],
    [0x20f, 0x100_0000],
  ])('%d is loaded where it says, or at 1 MiB', (version, at) => {
    const plan = planBoot(bzImage({ version }), { via: 'linux32', memory: '64M', initrd: disk });
    expect(write(plan, 'kernel').at).toBe(at);
    expect(plan.notes.length).toBe(version < 0x20a ? 1 : 0);
    expect(bootParams(plan).hdr.version).toBe(version);
  });

  it('gets nothing copied from behind its header', () => {
    const file = bzImageFile({ version: 0x202, jump: 0x2aeb });
    const page = zeroPage(planBoot(parsed(file), { via: 'linux32', memory: '64M' }));
    expect(page.subarray(0x22c, 0x2d0).every((byte) => byte === 0)).toBe(true);
  });
});

describe('an ELF kernel that cannot be loaded', () => {
  const seg = (paddr: number | bigint, memsz = 0x1000) => ({ paddr, bytes: new Uint8Array(16), memsz });
  it.each<[string, Parameters<typeof elf>[0], string]>([
    [
      'enters outside its segments',
      { segments: [seg(0x100_0000)], entry: 0x200_0000 },
      '0x2000000 is in no loaded segment',
    ],
    [
      'enters at a virtual address',
      { segments: [seg(0x100_0000)], entry: 0xffff_ffff_8100_0000n },
      'is the physical address of its first instruction',
    ],
    [
      'has overlapping segments',
      { segments: [seg(0x100_0000, 0x2000), seg(0x100_1000)] },
      'segment 1 overlaps segment 0',
    ],
    [
      'has one segment inside another',
      { segments: [seg(0x100_0000, 0x9000), seg(0x100_1000), seg(0x100_3000)] },
      'overlaps segment 0',
    ],
    ['lies over the zero page', { segments: [seg(0x1_0000), seg(0x100_0000)] }, 'overlaps'],
    ['lies over the GDT', { segments: [seg(0, 0x1000), seg(0x100_0000)] }, 'overlaps'],
    ['lies over the hole', { segments: [seg(0x9_f000, 0x2000), seg(0x100_0000)] }, 'does not lie in RAM'],
    ['ends behind RAM', { segments: [seg(0x100_0000), seg(0x3ff_f000, 0x1001)] }, 'give it --memory 65M or more'],
    ['lies above 4 GiB', { segments: [seg(0x100_0000), seg(1n << 32n)] }, 'must end below 4 GiB'],
    [
      'lies at the end of the address space',
      { segments: [seg(0x100_0000), seg((1n << 64n) - 8n)] },
      'must end below 4 GiB',
    ],
    ['is position independent', { type: 3, segments: [seg(0x100_0000)] }, 'not 2 (ET_EXEC)'],
  ])('because it %s', (_, spec, message) => {
    const plan = () => planBoot(elf(spec), { via: 'linux64', memory: '64M' });
    expect(plan).toThrow(BootError);
    expect(plan).toThrow(message);
  });

  it('but a segment at 3 GiB does not help by asking for more than there can be', () => {
    const image = elf({ segments: [seg(0x100_0000), seg(3 * GiB)] });
    expect(() => planBoot(image, { via: 'linux64', memory: '3G' })).toThrow('RAM ends at 3 GiB here at most');
  });
});
