import { describe, expect, it } from 'vitest';
import { BootError, VmError } from '../../src/base/errors.ts';
import { MiB } from '../../src/base/numbers.ts';
import {
  BOOT_PROTOCOLS,
  type BootSpec,
  choosePath,
  entryPaths,
  needsUnpackedKernel,
  planBoot,
  UNBUILT_PATHS,
} from '../../src/boot/index.ts';
import type { KernelImage } from '../../src/image/kernel-image.ts';
import { bzImage, elf, linuxNote, multibootBytes, parsed, pvhNote } from './files.ts';

const code = new Uint8Array(0x100).fill(0x90);
const at1M = [{ paddr: 0x10_0000, bytes: code }];
const entry = 0x10_0000;
const images: Record<string, KernelImage> = {
  'bzImage, 64-bit': bzImage(),
  'bzImage, 32-bit': bzImage({ xloadflags: 0 }),
  'bzImage, protocol 2.11': bzImage({ version: 0x20b }),
  'Linux ELF64 with PVH': elf({ segments: at1M, entry, notes: [linuxNote, pvhNote(entry)] }),
  'Linux ELF32': elf({ bits: 32, segments: at1M, entry, notes: [linuxNote] }),
  'bare ELF64': elf({ segments: at1M, entry }),
  'bare ELF32': elf({ bits: 32, segments: at1M, entry }),
  'toy ELF32 with PVH': elf({ bits: 32, segments: at1M, entry, notes: [pvhNote(entry)] }),
  'toy ELF32 with Multiboot': elf({ bits: 32, segments: [{ paddr: entry, bytes: multibootBytes(0) }], entry }),
  'a.out-kludge': parsed(multibootBytes(1 << 16, { header_addr: entry, load_addr: entry, entry_addr: entry + 0x30 })),
  'flat code': parsed(code),
};

describe('auto', () => {
  it.each([
    ['bzImage, 64-bit', 'linux64'],
    ['bzImage, 32-bit', 'linux32'],
    ['bzImage, protocol 2.11', 'linux32'],
    ['Linux ELF64 with PVH', 'linux64'],
    ['Linux ELF32', 'linux32'],
    ['bare ELF64', 'linux64'],
    ['bare ELF32', 'linux32'],
    ['toy ELF32 with PVH', 'pvh'],
    ['toy ELF32 with Multiboot', 'multiboot'],
    ['a.out-kludge', 'multiboot'],
  ])('takes for a %s: %s', (name, via) => {
    expect(choosePath(images[name], {}).name).toBe(via);
    expect(planBoot(images[name], { memory: '64M' }).via).toBe(via);
  });

  it('never guesses that a file is flat code', () => {
    expect(() => planBoot(images['flat code'])).toThrow('use --via flat32 or flat64 if it is raw code');
    expect(() => planBoot(images['flat code'])).toThrow(
      'it is neither a bzImage nor an ELF file; multiboot: no Multiboot 1',
    );
  });
});

describe('entryPaths', () => {
  const supported = (name: string) => entryPaths(images[name]).filter((path) => path.supported).map(({ via }) => via); // biome-ignore format: one line
  it.each([
    ['bzImage, 64-bit', ['linux32', 'linux64']],
    ['bzImage, 32-bit', ['lguest', 'linux32']],
    ['Linux ELF64 with PVH', ['linux64', 'pvh', 'xen-pvh']],
    ['Linux ELF32', ['lguest', 'linux32']],
    ['toy ELF32 with PVH', ['lguest', 'linux32', 'pvh', 'xen-pvh']],
    ['toy ELF32 with Multiboot', ['lguest', 'linux32', 'multiboot']],
    ['a.out-kludge', ['multiboot', 'flat32', 'flat64']],
    ['flat code', ['flat32', 'flat64']],
  ])('lists for a %s: %j', (name, paths) => {
    expect(supported(name)).toEqual(paths);
  });

  it('says for every other path why not and what would help', () => {
    for (const image of Object.values(images)) {
      for (const path of entryPaths(image)) {
        if (path.supported) continue;
        expect(path.why.length).toBeGreaterThan(20);
        expect(path.fix.length).toBeGreaterThan(10);
        expect(() => planBoot(image, { via: path.via })).toThrow(BootError);
        expect(() => planBoot(image, { via: path.via })).toThrow(path.why);
      }
    }
  });

  it.each([
    ['bzImage, 32-bit', 'linux32'],
    ['Linux ELF32', 'linux32'],
    ['bare ELF64', 'linux64'],
  ])('advises a %s without the PVH note towards %s', (name, via) => {
    const unpacked = images['Linux ELF32'] as never;
    expect(entryPaths(images[name], unpacked).find((path) => path.via === 'pvh')).toMatchObject({
      supported: false,
      fix: expect.stringContaining(`(a Linux kernel has ${via})`),
    });
  });

  it('judges pvh on a bzImage by its unpacked payload', () => {
    const unpacked = images['Linux ELF64 with PVH'] as never;
    expect(entryPaths(images['bzImage, 64-bit'], unpacked).find(({ via }) => via === 'pvh')).toMatchObject({
      supported: true,
    });
  });
});

describe('planBoot', () => {
  it.each(UNBUILT_PATHS)('says that %s is not built in this version', (via) => {
    expect(() => planBoot(images['bzImage, 64-bit'], { via })).toThrow(BootError);
    expect(() => planBoot(images['bzImage, 64-bit'], { via })).toThrow(`${via} is not built in this version`);
  });

  it('names the paths there are when asked for another', () => {
    expect(() => planBoot(images['bzImage, 64-bit'], { via: 'bios' as never })).toThrow(
      'lguest, linux32, linux64, pvh, xen-pvh, xen-pv, multiboot, flat32, flat64, auto',
    );
  });

  it.each([
    ['0', '2 MiB are needed'],
    ['1M', '2 MiB are needed'],
    ['3G', undefined],
    ['4G', 'at most --memory 3G'],
    ['64K', '2 MiB are needed'],
    ['100000001', 'frames of 4 KiB'],
    ['lots', 'is not a size'],
    [-1, '2 MiB are needed'],
    [Number.NaN, 'whole number'],
    [1e300, 'whole number'],
  ])('with --memory %s answers %s', (memory, message) => {
    const plan = () => planBoot(images['bzImage, 64-bit'], { memory });
    if (message === undefined) return expect(plan().memorySize).toBe(3 * 1024 * MiB);
    expect(plan).toThrow(VmError);
    expect(plan).toThrow(message);
  });

  it('has 256 MiB by default', () => {
    expect(planBoot(images['bzImage, 64-bit']).memorySize).toBe(256 * MiB);
  });

  it.each<[string, string, BootSpec, string]>([
    ['flat code with a command line', 'flat code', { via: 'flat64', cmdline: 'x' }, 'takes no command line'],
    ['flat code with an initrd', 'flat code', { via: 'flat64', initrd: code }, 'takes no initrd'],
    ['flat code in the hole', 'flat code', { via: 'flat32', load: 0xb_8000 }, 'does not lie in RAM'],
    ['flat code over its own tables', 'flat code', { via: 'flat64', load: 0x1000 }, 'overlaps'],
    ['flat code at no address', 'flat code', { via: 'flat64', load: -4 }, 'is no load address'],
    ['flat code behind RAM', 'flat code', { via: 'flat64', load: 2 ** 40 }, 'does not lie in RAM'],
    ['an empty initrd', 'bzImage, 64-bit', { initrd: new Uint8Array() }, 'the initrd is empty'],
    ['an empty Multiboot module', 'a.out-kludge', { initrd: new Uint8Array() }, 'the initrd is empty'],
    ['a NUL in the command line', 'bzImage, 64-bit', { cmdline: 'a\0b' }, 'holds a NUL'],
    [
      'linux32 with --unpack host',
      'bzImage, 64-bit',
      { via: 'linux32', unpack: 'host' },
      'cannot load an unpacked kernel',
    ],
    [
      'linux64 with --unpack host but no payload',
      'bzImage, 64-bit',
      { via: 'linux64', unpack: 'host' },
      'was not unpacked',
    ],
    ['an ELF file with --load', 'Linux ELF64 with PVH', { load: 0x20_0000 }, 'cannot be loaded at 0x200000'],
    ['pvh with --load', 'Linux ELF64 with PVH', { via: 'pvh', load: 0x20_0000 }, 'cannot be loaded at 0x200000'],
    ['pvh on a bzImage without its payload', 'bzImage, 64-bit', { via: 'pvh' }, 'has no entry for pvh'],
  ])('refuses %s', (_, name, spec, message) => {
    expect(() => planBoot(images[name], spec)).toThrow(BootError);
    expect(() => planBoot(images[name], spec)).toThrow(message);
  });

  it('asks for the unpacked payload only where it is loaded', () => {
    const image = { ...images['bzImage, 64-bit'], payload: { offset: 0 } } as never as KernelImage;
    const asks = (spec: BootSpec) => needsUnpackedKernel(image, spec);
    expect(asks({})).toBe(false);
    expect(asks({ via: 'pvh' })).toBe(true);
    expect(asks({ via: 'linux64' })).toBe(false);
    expect(asks({ via: 'linux64', unpack: 'host' })).toBe(true);
    expect(asks({ unpack: 'host' })).toBe(true);
    expect(asks({ via: 'linux32', unpack: 'host' })).toBe(false);
    expect(needsUnpackedKernel(images['Linux ELF64 with PVH'], { via: 'pvh' })).toBe(false);
  });
});

it('every entry path says which document it follows', () => {
  for (const { follows, summary } of BOOT_PROTOCOLS) expect(follows.length * summary.length).toBeGreaterThan(100);
});
