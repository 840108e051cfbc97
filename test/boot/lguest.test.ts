/** lguest's launcher, field by field, as the reading of its main() has it: offsets are those of the zero page. */
import { describe, expect, it } from 'vitest';
import { BootError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import { type BootPlan, entryPaths, placePlan, planBoot } from '../../src/boot/index.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { bzImage, bzImageFile, elf, parsed } from './files.ts';

const kernel = bzImage({ xloadflags: 0, code32_start: 0x10_0010 });
const initrd = new Uint8Array(5000).fill(0x55);

function placed(plan: BootPlan): DataView {
  const memory = new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
  placePlan(plan, memory);
  return new DataView(memory.buffer);
}
const write = (plan: BootPlan, what: string) => plan.writes.find((row) => row.what === what);

/** What main() sets without an initrd: offset, width, value. */
const ALWAYS = [
  ['e820_entries', 0x1e8, 1, 1],
  ['e820_table[0].addr', 0x2d0, 4, 0],
  ['e820_table[0].addr, high', 0x2d4, 4, 0],
  ['e820_table[0].size', 0x2d8, 4, 64 * MiB],
  ['e820_table[0].size, high', 0x2dc, 4, 0],
  ['e820_table[0].type', 0x2e0, 4, 1],
  ['cmd_line_ptr', 0x228, 4, 0x1000],
  ['kernel_alignment', 0x230, 4, 0x100_0000],
  ['version', 0x206, 2, 0x207],
  ['hardware_subarch', 0x23c, 4, 1],
  ['loadflags', 0x211, 1, 0x40],
] as const;
const WITH_INITRD = [
  ['ramdisk_image', 0x218, 4, 64 * MiB - 0x2000],
  ['ramdisk_size', 0x21c, 4, 0x2000],
  ['type_of_loader', 0x210, 1, 0xff],
] as const;

describe.each([
  ['without an initrd', undefined, ALWAYS],
  ['with an initrd', initrd, [...ALWAYS, ...WITH_INITRD]],
] as const)('the zero page %s', (_, ramdisk, fields) => {
  const view = placed(planBoot(kernel, { via: 'lguest', memory: '64M', initrd: ramdisk }));

  it.each(fields)('has %s (0x%x, %i bytes) = 0x%x', (_name, at, size, value) => {
    const found = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
    expect(found).toBe(value);
  });

  it('has no other byte set: the header of the file is not copied, and init_size is 0', () => {
    const set = new Set<number>();
    for (const [, at, size] of fields) for (let i = 0; i < size; i++) set.add(at + i);
    for (let at = 0; at < 4096; at++) if (!set.has(at)) expect(view.getUint8(at), `0x${at.toString(16)}`).toBe(0);
  });
});

describe('what is placed', () => {
  it('begins with the zero page at physical 0 and the command line behind it', () => {
    const plan = planBoot(kernel, { via: 'lguest', memory: '64M', cmdline: 'root=/dev/vda quiet' });
    expect(plan.writes.slice(0, 2).map(({ what, at }) => [what, at])).toEqual([
      ['boot_params', 0],
      ['command line', 0x1000],
    ]);
    expect(Buffer.from(write(plan, 'command line')?.bytes ?? []).toString()).toBe('root=/dev/vda quiet\0');
  });

  it('is a bzImage from behind its setup sectors to its end, at 1 MiB, entered at code32_start', () => {
    const plan = planBoot(kernel, { via: 'lguest', memory: '64M' });
    expect(write(plan, 'kernel')).toMatchObject({ at: 0x10_0000, length: 0x2000 });
    expect(write(plan, 'kernel')?.bytes).toEqual(kernel.bytes.subarray(0x400));
    expect(plan.state.rip).toBe(0x10_0010n);
  });

  it('reads setup_sects 0 as 0, which the boot protocol reads as 4', () => {
    const old = parsed(bzImageFile({ setup_sects: 0, xloadflags: 0 }));
    const plan = planBoot(old, { via: 'lguest', memory: '64M' });
    expect(write(plan, 'kernel')?.bytes).toEqual(old.bytes.subarray(512));
  });

  it('is an ELF32 where its p_paddr say, entered at e_entry', () => {
    const bytes = new Uint8Array(0x100).fill(0x90);
    const image = elf({ bits: 32, entry: 0x100_0004, segments: [{ paddr: 0x100_0000, bytes, memsz: 0x3000 }] });
    const plan = planBoot(image, { via: 'lguest', memory: '64M' });
    expect(write(plan, 'segment 0')).toMatchObject({ at: 0x100_0000, length: 0x3000 });
    expect(plan.state.rip).toBe(0x100_0004n);
  });

  it.each([
    [1, 0x1000],
    [0x1000, 0x1000],
    [0x1001, 0x2000],
  ])('puts an initrd of %i bytes at the very top, 0x%x bytes with its zeros', (length, pages) => {
    const plan = planBoot(kernel, { via: 'lguest', memory: '64M', initrd: new Uint8Array(length).fill(1) });
    expect(write(plan, 'initrd')).toMatchObject({ at: 64 * MiB - pages, length: pages });
  });

  it('is described by one memory map entry, from 0 to the end', () => {
    const plan = planBoot(kernel, { via: 'lguest', memory: '64M' });
    expect(plan.memoryMap).toEqual([{ addr: 0, size: 64 * MiB, type: 1 }]);
  });
});

describe('the first registers', () => {
  const { state, personality, handover } = planBoot(kernel, { via: 'lguest', memory: '64M' });

  it('are zero but for selectors of ring 1, IF and EIP; ESI, 0, is the zero page', () => {
    const { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp } = state;
    expect([rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp]).toEqual([0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]);
    expect(state.rflags).toBe(0x202n);
    expect(state.cpl).toBe(1);
    const selectors = Object.fromEntries(
      Object.entries(state.segments).map(([name, { selector }]) => [name, selector]),
    );
    expect(selectors).toEqual({ cs: 0x61, ds: 0x69, es: 0x69, ss: 0x69, fs: 0, gs: 0 });
    for (const name of ['cs', 'ds', 'es', 'ss'] as const)
      expect(state.segments[name]).toMatchObject({ base: 0n, limit: 0xffff_ffff });
    expect(handover).toEqual({ struct: 'boot_params', at: 0, register: 'esi' });
  });

  it('have paging off and the GDT with the host, whom the plan names', () => {
    expect(state.cr0 >> 31n).toBe(0n);
    expect(state.gdtr).toEqual({ base: 0xffc0_0000n, limit: 255 });
    expect(personality).toBe('lguest');
  });
});

describe('what no launcher could start is refused', () => {
  const bz = (fields: Parameters<typeof bzImage>[0]) => bzImage(fields);
  const code = [{ paddr: 0x10_0000, bytes: new Uint8Array(16) }];
  it.each([
    ['a 64-bit bzImage', bz({}), /64-bit/],
    ['a 64-bit ELF', elf({ segments: code, entry: 0x10_0000 }), /64-bit/],
    ['a shared object', elf({ bits: 32, type: 3, segments: code, entry: 0x10_0000 }), /neither/],
    ['an ELF32 for x86-64 (x32)', elf({ bits: 32, machine: 62, segments: code, entry: 0x10_0000 }), /neither/],
    ['a bzImage from before hardware_subarch', bz({ version: 0x206, xloadflags: 0 }), /2\.06 has no hardware_subarch/],
    ['a zImage', bz({ xloadflags: 0, loadflags: 0 }), /zImage/],
    ['raw code', parsed(new Uint8Array(64).fill(0x90)), /neither/],
  ])('%s', (_, image, why) => {
    expect(entryPaths(image).find(({ via }) => via === 'lguest')).toMatchObject({
      supported: false,
      why: expect.stringMatching(why),
    });
    expect(() => planBoot(image, { via: 'lguest' })).toThrow(BootError);
  });

  it.each([
    ['4.13.16-generic', true],
    ['2.6.32', true],
    ['4.14.0', false],
    ['6.1.0-56-686', false],
  ])('Linux %s: accepted %s', (version, accepted) => {
    const file = bzImageFile({ xloadflags: 0, setup_sects: 2, kernel_version: 0x200 });
    file.set(new TextEncoder().encode(`${version}\0`), 0x400);
    expect(entryPaths(parsed(file)).find(({ via }) => via === 'lguest')?.supported).toBe(accepted);
  });

  it.each([
    [
      'an initrd that reaches into the kernel',
      { initrd: new Uint8Array(MiB) },
      /initrd of 0x100000 bytes does not fit/,
    ],
    ['an empty initrd', { initrd: new Uint8Array(0) }, /initrd is empty/],
    ['a command line that is too long', { cmdline: 'x'.repeat(2048) }, /command line is too long/],
    ['--load', { load: 0x20_0000 }, /--load|load/],
    ['--unpack host', { unpack: 'host' as const }, /lguest cannot load an unpacked kernel/],
  ])('%s', (_, spec, message) => {
    expect(() => planBoot(kernel, { via: 'lguest', memory: '2M', ...spec })).toThrow(message);
  });

  it.each([0, 0xf_ffff, 0x10_2000, 0xffff_ffff])('a code32_start of 0x%x, which is not in the kernel', (start) => {
    const image = bzImage({ xloadflags: 0, code32_start: start });
    expect(() => planBoot(image, { via: 'lguest' })).toThrow('entered outside its own code');
  });

  it('a kernel that is longer than memory', () => {
    const image = parsed(bzImageFile({ xloadflags: 0 }, 3 * MiB));
    expect(() => planBoot(image, { via: 'lguest', memory: '2M' })).toThrow('give it --memory 4M or more');
  });

  it('an ELF that is entered outside what it loads', () => {
    const image = elf({ bits: 32, segments: code, entry: 0x20_0000 });
    expect(() => planBoot(image, { via: 'lguest' })).toThrow('entered outside its own code');
  });
});
