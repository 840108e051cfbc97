/** What the committed images promise to loaders, read with zeropage's own parsers. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { lz4Legacy } from '../../guests/tools/lz4.ts';
import type { BzImage, ElfImage } from '../../src/image/kernel-image.ts';
import { xenNote } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { readSymtab } from '../../src/symbols/symtab.ts';
import { unlz4 } from '../../src/unpack/lz4.ts';
import { IMAGES } from './golden.ts';

const MiB = 1024 * 1024;
const file = (name: string) => new Uint8Array(readFileSync(new URL(name, IMAGES)));
const noGzip = { gunzip: () => expect.unreachable('the payload is LZ4') };
const bzImage = (name: string) => parseKernel(name, file(name)) as BzImage;
const elf = (name: string) => parseKernel(name, file(name)) as ElfImage;

const BZIMAGES = [
  { name: 'tiny64.bzimage', kernel: 'tiny64.elf', has64BitEntry: true, relocatable: 1, alignment: 2 * MiB },
  { name: 'tiny32.bzimage', kernel: 'tiny32.elf', has64BitEntry: false, relocatable: 0, alignment: 16 * MiB },
] as const;

describe.each(BZIMAGES)('$name', ({ name, kernel, has64BitEntry, relocatable, alignment }) => {
  const image = bzImage(name);

  it('is a bzImage of protocol 2.15 without anything for a parser to wonder about', () => {
    expect(image).toMatchObject({ format: 'bzimage', protocol: 0x20f, loadedHigh: true, has64BitEntry, warnings: [] });
    expect(image.kernelVersion).toMatch(/^1\.0\.0-tiny/);
    expect(image.kernelInfo).toMatchObject({ size: 16, sizeTotal: 16 });
  });

  it('asks for its place as its code expects it', () => {
    const { setupHeader: hdr } = image;
    expect(hdr).toMatchObject({ relocatable_kernel: relocatable, kernel_alignment: alignment, cmdline_size: 2047 });
    expect(hdr.pref_address).toBe(BigInt(16 * MiB));
    expect(hdr.syssize * 16).toBe(image.protectedModeBytes.length);
  });

  it('carries the committed ELF file, symbol table included, as LZ4', () => {
    expect(image.payload?.compression).toBe('lz4');
    expect(unpackKernel(image, noGzip).bytes).toEqual(file(kernel));
  });

  it('promises enough memory for the unpacked file, the kernel with its .bss and the unpacker behind them', () => {
    const { segments } = elf(kernel);
    const loads = segments.filter((segment) => segment.type === 1);
    const span = Math.max(...loads.map(({ paddr, memsz }) => Number(paddr) + Number(memsz))) - 16 * MiB;
    const need = Math.max(span, file(kernel).length) + image.protectedModeBytes.length;
    expect(image.setupHeader.init_size).toBeGreaterThanOrEqual(need);
    expect(image.setupHeader.init_size).toBeLessThan(need + 64 * 1024);
  });
});

const ELVES = [
  { name: 'tiny64.elf', entry: 'startup_64', base: 0xffff_ffff_8000_0000n },
  { name: 'tiny32.elf', entry: 'startup_32', base: 0xc000_0000n },
] as const;

describe.each(ELVES)('$name', ({ name, entry, base }) => {
  const image = elf(name);
  const symbols = readSymtab(image);
  const physical = (symbol: string) => (symbols.find((known) => known.name === symbol)?.address ?? -1n) - base;

  it('is entered at the physical address of its first instruction, 16 MiB', () => {
    expect(BigInt(image.entry)).toBe(BigInt(16 * MiB));
    expect(physical(entry)).toBe(BigInt(16 * MiB));
  });

  it('tells PVH loaders where pvh_start is', () => {
    const desc = xenNote(image, 18)?.desc;
    expect(desc && Buffer.from(desc).readUInt32LE(0)).toBe(Number(physical('pvh_start')));
  });

  it('names the functions that the paths pass, each with a size', () => {
    const common = ['pvh_start', 'prepare_pvh', 'start_kernel', 'setup_arch', 'rest_init', 'do_trap'];
    const long = ['x86_64_start_kernel', 'x86_64_start_reservations'];
    const xen = ['startup_xen', 'xen_start_kernel', 'xen_hypervisor_callback', 'xen_entry_SYSCALL_64', 'xen_iret'];
    const arch = entry === 'startup_64' ? [...long, ...xen] : ['i386_start_kernel'];
    const faults = ['spin_forever', 'touch_bad_pointer', 'panic'];
    for (const wanted of [entry, ...common, ...arch, ...faults]) {
      const symbol = symbols.find((known) => known.name === wanted);
      expect(symbol, wanted).toMatchObject({ kind: 'function' });
      expect(symbol?.size, wanted).toBeGreaterThan(0n);
    }
  });
});

it('promises a PV domain builder in tiny64.elf what Linux promises it, startup_xen as its entry, and nothing in tiny32.elf', () => {
  const image = elf('tiny64.elf');
  const start = readSymtab(image).find(({ name }) => name === 'startup_xen')?.address;
  const note = (type: number) => Buffer.from(xenNote(image, type)?.desc ?? []);
  expect(note(1).readBigUInt64LE()).toBe(start);
  expect(note(3).readBigUInt64LE()).toBe(0xffff_ffff_8000_0000n);
  expect(note(15).readBigUInt64LE()).toBe(0x80_0000_0000n);
  expect(note(5).toString()).toBe('xen-3.0\0');
  expect(note(10).toString()).toBe('!writable_page_tables|pae_pgdir_above_4gb');
  for (const type of [4, 6, 7, 8, 9, 12, 13, 16, 17]) expect(xenNote(image, type), `note ${type}`).toBeDefined();
  expect(xenNote(image, 2), 'HYPERCALL_PAGE').toBeUndefined();
  for (const type of [1, 3, 5, 8]) expect(xenNote(elf('tiny32.elf'), type)).toBeUndefined();
});

it('offers Multiboot an entry of its own in tiny32.elf, so that e_entry stays the 32-bit boot protocol', () => {
  const image = elf('tiny32.elf');
  const start = readSymtab(image).find(({ name }) => name === 'multiboot_start')?.address ?? 0n;
  expect(image.multiboot?.entry_addr).toBe(Number(start - 0xc000_0000n));
  expect(image.multiboot?.load_addr).toBe(16 * MiB);
});

describe('the payload compressor', () => {
  const noise = (length: number) => {
    let seed = 1;
    return Uint8Array.from({ length }, () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed >>> 24;
    });
  };
  const inputs = {
    nothing: new Uint8Array(0),
    'one byte': Uint8Array.of(7),
    'thirteen equal bytes': new Uint8Array(13).fill(9),
    zeros: new Uint8Array(100_000),
    'a short period': Uint8Array.from({ length: 5000 }, (_, i) => i % 3),
    noise: noise(70_000),
    'noise twice, farther apart than a match may reach': Uint8Array.from([...noise(70_000), ...noise(70_000)]),
    'long literals, then a long match': Uint8Array.from([...noise(300), ...new Uint8Array(300)]),
    'more than a block': new Uint8Array(8 * MiB + 100).fill(1),
  };
  it.each(Object.entries(inputs))('gives back %s', (_, input) => {
    const out = new Uint8Array(input.length);
    const length = unlz4(lz4Legacy(input), out);
    expect(length).toBe(input.length);
    expect(Buffer.compare(out, input)).toBe(0);
  });
});

it('reaches its machine through pv_ops only: no file of the shared kernel has a privileged instruction', () => {
  const folder = new URL('../tiny/kernel/', IMAGES);
  const used = new Set<string>();
  for (const name of readdirSync(folder)) {
    for (const [, text] of readFileSync(new URL(name, folder), 'utf8').matchAll(/\basm\s*(?:volatile\s*)?\(([^:)]*)/g))
      used.add(text.trim());
    expect(readFileSync(new URL(name, folder), 'utf8'), name).not.toMatch(/\b(in|out)[bwl]\(/);
  }
  const harmless = ['""', '"int3"', '"rep movsb"', '"rep stosb"', '"ud2"', 'SCAS_WORD', 'STOS_WORD'];
  expect([...used].sort()).toEqual(harmless.sort());
});
