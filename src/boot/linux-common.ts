/** What the two Linux entries share: a kernel at its address, a clean zero page, command line and initrd.
 *
 * The zero page is made as the boot protocol asks: 4096 zero bytes, then the setup header from the file up to where
 * its jump says that it ends, then the loader's own fields. Nothing else of the file goes in: byte 0x1ef (sentinel)
 * must stay zero, or the kernel throws half of the page away. kernel_alignment and init_size are read back from this
 * page by the decompressor, so a bzImage cannot do without the copy.
 * Follows: Linux Documentation/x86/boot.rst and zero-page.rst.   May not: choose registers.   Next: boot/linux32.ts. */
import { assert, BootError } from '../base/errors.ts';
import { alignUp, hex } from '../base/numbers.ts';
import { protocolName } from '../image/bzimage.ts';
import type { BzImage, ElfImage } from '../image/kernel-image.ts';
import { BootParams } from '../layout/boot-params.ts';
import { BOOT_FLAG, HDRS_MAGIC, LOADED_HIGH } from '../layout/setup-header.ts';
import { type Gpa, gpa } from '../memory/address.ts';
import { HIGH_RAM, LOW_MEMORY } from '../memory/map.ts';
import { isRam, type MemoryMap, ramEnd } from '../memory/memory-map.ts';
import { checkEntry, commandLineWrite, initrdHigh, type Range, segmentWrites } from './placement.ts';
import {
  type Claim,
  type PlanRequest,
  type PlanWrite,
  type Refusal,
  ramRanges,
  roomFor,
  span,
  viewOrigin,
} from './plan.ts';

/** Oldest protocol that takes its command line from cmd_line_ptr. */
export const OLDEST_PROTOCOL = 0x202;
/** type_of_loader for loaders without a number of their own. With 0 a kernel ignores its initrd. */
const UNDEFINED_LOADER = 0xff;
/** COMMAND_LINE_SIZE on x86: the kernel copies that many bytes, however short the line is. */
const COMMAND_LINE_SIZE = 2048;
/** End of the room for a setup header in the zero page. */
const HEADER_ROOM_END = 0x290;
const LAST_BELOW_4_GIB = 0xffff_ffff;

export type LinuxLoad = {
  writes: PlanWrite[];
  claims: Claim[];
  /** Where the kernel was loaded: startup_32 of a bzImage, e_entry of an ELF file. */
  start: Gpa;
  notes: string[];
};

/** Zero page, command line, kernel and initrd. `kernel` is the ELF to load instead of the bzImage's own code. */
export function loadLinux(request: PlanRequest, kernel: BzImage | ElfImage): LinuxLoad {
  const loaded = kernel.format === 'bzimage' ? loadBzImage(request, kernel) : loadElf(request, kernel);
  const { image } = request;
  const header = image.format === 'bzimage' ? image : undefined;
  const longest = header ? (header.protocol >= 0x206 ? header.setupHeader.cmdline_size : 255) : COMMAND_LINE_SIZE - 1;
  const writes = [...loaded.writes, commandLineWrite(request.cmdline, longest, image.name, COMMAND_LINE_SIZE)];
  if (request.initrd) {
    const last = header
      ? header.protocol >= 0x203
        ? header.setupHeader.initrd_addr_max
        : 0x37ff_ffff
      : LAST_BELOW_4_GIB;
    const taken: Range[] = [...loaded.writes, ...loaded.claims];
    writes.push(initrdHigh(request.initrd, request.memoryMap, taken, last + 1, image.name));
  }
  writes.push(zeroPage(request, header, writes));
  return { ...loaded, writes };
}

/** A bzImage that a 32-bit or 64-bit entry can start. */
export function acceptsBzImage({ protocol, loadedHigh }: BzImage): true | Refusal {
  if (protocol < OLDEST_PROTOCOL) {
    const why = `its boot protocol is ${protocolName(protocol)}; cmd_line_ptr came with 2.02, and older kernels look for their command line where only real-mode loaders put it`;
    return { why, fix: 'use a kernel from 2.3.x or later (protocol 2.02)' };
  }
  if (loadedHigh) return true;
  const why =
    'it is a zImage (LOADED_HIGH clear): its real-mode code moves it from 0x10000 to 0x1000, and no entry path here runs real mode';
  return { why, fix: 'build the same kernel as a bzImage' };
}

function loadBzImage({ load, memoryMap }: PlanRequest, image: BzImage): LinuxLoad {
  const { protocol, setupHeader, protectedModeBytes: bytes } = image;
  const notes: string[] = [];
  const refuse = (where: string, why: string, fix: string) =>
    new BootError({ what: `${image.name} cannot be placed`, where: `${image.name}, ${where}`, why, fix });
  const relocatable = protocol >= 0x205 && setupHeader.relocatable_kernel !== 0;
  const preferred = protocol >= 0x20a ? setupHeader.pref_address : BigInt(HIGH_RAM);
  const { kernel_alignment: alignment } = setupHeader;
  if (relocatable && !(alignment > 0 && (alignment & (alignment - 1)) === 0)) {
    throw refuse('kernel_alignment (0x230)', `${hex(alignment)} is not a power of two`, 'take an undamaged kernel');
  }
  if (preferred < BigInt(HIGH_RAM) || preferred >= 1n << 32n) {
    throw refuse(
      'pref_address (0x258)',
      `${hex(preferred)} is not between 1 MiB and 4 GiB`,
      'take an undamaged kernel',
    );
  }
  const start = load ?? Number(preferred);
  if (load !== undefined && load !== Number(preferred)) {
    if (!relocatable)
      throw refuse('relocatable_kernel (0x234)', `it only runs at ${hex(preferred)}`, 'leave --load out');
    if (load % alignment !== 0 || load < HIGH_RAM) {
      throw refuse(
        '--load',
        `${hex(load)} is no multiple of ${hex(alignment)} from 1 MiB on`,
        `use --load ${hex(preferred)}`,
      );
    }
  }
  const kernel: PlanWrite = {
    what: 'kernel', at: gpa(start), bytes, length: bytes.length,
    purpose: 'protected-mode code: startup_32 at +0, startup_64 at +0x200, decompressor, payload',
    from: viewOrigin(image, bytes),
  }; // biome-ignore format: two lines of short facts

  // A relocatable kernel unpacks at its load address, aligned, but never below pref_address (LOAD_PHYSICAL_ADDR).
  const runtime = relocatable ? Math.max(alignUp(start, alignment), Number(preferred)) : Number(preferred);
  const claims: Claim[] = [];
  if (protocol >= 0x20a) {
    const length = setupHeader.init_size;
    if (length === 0)
      throw refuse('init_size (0x260)', 'it is 0, so the kernel would unpack over itself', 'take an undamaged kernel');
    requireRam(memoryMap, runtime, length, image);
    const purpose = 'the kernel unpacks itself here before it reads its memory map';
    claims.push({ what: 'init_size window', at: gpa(runtime), length, purpose });
  } else {
    notes.push(
      `protocol ${protocolName(protocol)} does not say how much memory the kernel needs (init_size came with 2.10); four times its file size is kept free`,
    );
    const length = Math.min(bytes.length * 4, Math.max(bytes.length, ramEnd(memoryMap) - runtime));
    claims.push({
      what: 'unpacking room',
      at: gpa(runtime),
      length,
      purpose: 'a guess at what the kernel needs to unpack',
    });
  }
  return { writes: [kernel], claims, start: gpa(start), notes };
}

function requireRam(map: MemoryMap, at: number, length: number, image: BzImage): void {
  if (isRam(map, at, length)) return;
  throw new BootError({
    what: `${image.name} needs more memory than there is`,
    where: `${image.name}, init_size (0x260)`,
    why: `the kernel needs ${span(at, length)} to unpack itself (init_size ${hex(length)}); RAM is ${ramRanges(map)}`,
    fix: roomFor(map, at + length),
  });
}

function loadElf({ load }: PlanRequest, kernel: ElfImage): LinuxLoad {
  refuseLoad(load, kernel.name);
  const writes = segmentWrites(kernel);
  checkEntry(kernel, kernel.entry, 'e_entry', writes);
  return { writes, claims: [], start: gpa(Number(kernel.entry)), notes: [] };
}

/** --load is for images that may lie anywhere. */
export function refuseLoad(load: number | undefined, name: string): void {
  if (load === undefined) return;
  throw new BootError({
    what: `${name} cannot be loaded at ${hex(load)}`,
    where: '--load',
    why: 'its segments carry their own physical addresses, and code in them depends on those',
    fix: 'leave --load out',
  });
}

function zeroPage({ memoryMap }: PlanRequest, header: BzImage | undefined, writes: PlanWrite[]): PlanWrite {
  const { at } = LOW_MEMORY.zeroPage;
  const bytes = new Uint8Array(BootParams.size);
  if (header) {
    const end = Math.min(header.headerEnd, HEADER_ROOM_END, header.bytes.length);
    bytes.set(header.bytes.subarray(0x1f1, end), 0x1f1);
  } else {
    // An ELF file has no setup header; these are the fields by which a kernel believes the rest.
    BootParams.write(bytes, 0, {
      hdr: {
        boot_flag: BOOT_FLAG,
        header: HDRS_MAGIC,
        version: 0x20f,
        loadflags: LOADED_HIGH,
        cmdline_size: COMMAND_LINE_SIZE - 1,
      },
    });
  }
  const place = (what: string) => writes.find((write) => write.what === what);
  const initrd = place('initrd');
  BootParams.write(bytes, 0, {
    e820_entries: memoryMap.length,
    e820_table: memoryMap.map(({ addr, size, type }) => ({ addr, size, type })),
    hdr: {
      type_of_loader: UNDEFINED_LOADER,
      cmd_line_ptr: place('command line')?.at ?? 0,
      ramdisk_image: initrd?.at ?? 0,
      ramdisk_size: initrd?.length ?? 0,
      hardware_subarch: 0,
      hardware_subarch_data: 0n,
      setup_data: 0n,
    },
  });
  assert(bytes[0x1ef] === 0, 'the sentinel of the zero page is 0');
  const purpose = header
    ? `zero page, with the kernel's setup header`
    : 'zero page, made from nothing: an ELF file has no setup header';
  return { what: 'boot_params', at: gpa(at), bytes, length: bytes.length, purpose, from: 'made here' };
}
