/** multiboot: Multiboot 1, the entry of toy kernels, and of Xen itself.
 *
 * A header in the first 8192 bytes asks for what it wants; the kernel is an ELF file or, with AOUT_KLUDGE, any file
 * whose header carries its addresses. Protected mode, paging off, EAX holds the magic, EBX the information structure.
 * Modules come right behind the kernel, page aligned, as GRUB and QEMU place them.
 * Follows: Multiboot specification 0.6.96, sections 3.1-3.3.   May not: set a video mode; there is no display.
 * Next: boot/flat.ts. */
import { assert, BootError } from '../base/errors.ts';
import { alignUp, hex, KiB } from '../base/numbers.ts';
import { type ElfImage, isElf, type KernelImage, type MultibootAoutImage } from '../image/kernel-image.ts';
import { carriesAddresses, parseMultibootAout } from '../image/multiboot.ts';
import { PT_LOAD } from '../layout/elf.ts';
import {
  MULTIBOOT_BOOTLOADER_MAGIC,
  MULTIBOOT_INFO_BOOT_LOADER_NAME,
  MULTIBOOT_INFO_CMDLINE,
  MULTIBOOT_INFO_MEM_MAP,
  MULTIBOOT_INFO_MEMORY,
  MULTIBOOT_INFO_MODS,
  MULTIBOOT_VIDEO_MODE,
  MultibootInfo,
  MultibootMmapEntry,
  MultibootModule,
} from '../layout/multiboot.ts';
import { FRAME_SIZE, gpa } from '../memory/address.ts';
import {
  HIGH_RAM,
  LOW_MEMORY,
  LOW_RAM_END,
  MULTIBOOT_LOADER_NAME,
  MULTIBOOT_MEMORY_MAP,
  MULTIBOOT_MODULES,
} from '../memory/map.ts';
import { entryAt } from '../memory/memory-map.ts';
import { CR0 } from '../x86/constants.ts';
import { protectedModeState, protectedModeWrites } from './first-state.ts';
import { refuseLoad } from './linux-common.ts';
import { checkEntry, checkInitrd, commandLineWrite, initrdWrite, inOrder, segmentWrites } from './placement.ts';
import { type BootProtocol, type PlanRequest, type PlanWrite, viewOrigin } from './plan.ts';

const LOADER_NAME = 'zeropage';
/** Flag bits 0-15 are demands: a loader that does not know one must refuse. We know 0-2. */
const UNKNOWN_DEMANDS = 0xfff8;

export const multiboot: BootProtocol = {
  name: 'multiboot',
  follows: 'Multiboot specification 0.6.96',
  summary: 'Multiboot 1, ELF or a.out-kludge',

  accepts(image) {
    const header = image.multiboot;
    if (!header) {
      const why = 'no Multiboot 1 header (0x1badb002 and a matching checksum) in its first 8192 bytes';
      return { why, fix: 'add the header, or use the entry path that the kernel was made for' };
    }
    const unknown = header.flags & UNKNOWN_DEMANDS;
    if (unknown)
      return {
        why: `its header demands ${hex(unknown)} (flags ${hex(header.flags)}), which version 1 does not define`,
        fix: 'clear these flag bits',
      };
    if (isElf(image) || image.format === 'multiboot-aout') return true;
    return {
      why: 'it is no ELF file and its Multiboot header has no addresses (flag bit 16)',
      fix: 'link it as ELF, or set AOUT_KLUDGE',
    };
  },

  plan(request) {
    const { image } = request;
    assert(image.multiboot, 'multiboot accepted this image');
    refuseLoad(request.load, image.name);
    const { writes: kernel, entry } = load(image);
    const writes = [...kernel, commandLineWrite(request.cmdline, Number.POSITIVE_INFINITY, image.name)];
    if (request.initrd) {
      checkInitrd(request.initrd);
      const behind = kernel.reduce((end, { at, length }) => Math.max(end, at + length), HIGH_RAM);
      writes.push({ ...initrdWrite(request.initrd, gpa(alignUp(behind, FRAME_SIZE))), purpose: 'module 0' });
    }
    const { at } = LOW_MEMORY.multibootInfo;
    const video = image.multiboot.flags & MULTIBOOT_VIDEO_MODE;
    return {
      via: 'multiboot',
      follows: multiboot.follows,
      image,
      memorySize: request.memorySize,
      memoryMap: request.memoryMap,
      cmdline: request.cmdline,
      writes: inOrder([...writes, information(request, writes), ...protectedModeWrites()]),
      claims: [],
      state: protectedModeState({
        rip: entry,
        rax: BigInt(MULTIBOOT_BOOTLOADER_MAGIC),
        rbx: BigInt(at),
        cr0: CR0.PE | CR0.ET,
      }),
      personality: 'bare',
      handover: { struct: 'multiboot_info', at, register: 'ebx' },
      bootParamsFilledBy: 'nobody',
      haltIsSuccess: false,
      cpuDefault: 'model',
      notes: video ? ['the header asks for a video mode; there is no display, and no framebuffer is handed over'] : [],
    };
  },
};

function load(image: KernelImage): { writes: PlanWrite[]; entry: bigint } {
  if (image.format === 'multiboot-aout') return loadByHeader(image);
  assert(isElf(image) && image.multiboot, 'multiboot accepted this image');
  // Addresses in the header go before those of the ELF file, as in GRUB.
  if (carriesAddresses(image.multiboot))
    return loadByHeader(parseMultibootAout(image.name, image.bytes, image.multiboot));
  const writes = segmentWrites(image);
  const entry = physicalEntry(image);
  checkEntry(image, entry, 'e_entry', writes);
  return { writes, entry };
}

/** The parser has checked that the addresses fit the file and each other. */
function loadByHeader(image: MultibootAoutImage): { writes: PlanWrite[]; entry: bigint } {
  const { loadAddress: at, loadBytes: bytes, bssEnd, entry } = image;
  const length = bssEnd - at;
  const zeroed = length - bytes.length;
  const purpose = `the part that the Multiboot header names${zeroed > 0 ? `, ${hex(zeroed)} bytes of it zero` : ''}`;
  const write = { what: 'kernel', at: gpa(at), bytes, length, purpose, from: viewOrigin(image, bytes) };
  return { writes: [write], entry: BigInt(entry) };
}

/** e_entry may be virtual in a kernel that is linked high: GRUB looks it up in the segments' virtual ranges first. */
function physicalEntry({ entry, segments }: ElfImage): bigint {
  const home = segments.find(
    ({ type, vaddr, memsz }) => type === PT_LOAD && entry >= vaddr && entry < vaddr + BigInt(memsz),
  );
  return home ? entry - home.vaddr + home.paddr : entry;
}

/** The information structure with modules, memory map and loader name, in one page. */
function information({ memoryMap, image }: PlanRequest, writes: PlanWrite[]): PlanWrite {
  const { at } = LOW_MEMORY.multibootInfo;
  const mapEnd = MULTIBOOT_MEMORY_MAP + memoryMap.length * MultibootMmapEntry.size;
  if (mapEnd > MULTIBOOT_LOADER_NAME) {
    throw new BootError({
      what: 'the memory map is too long for the Multiboot page',
      where: `${image.name} via multiboot`,
      why: `${memoryMap.length} entries would end at ${hex(mapEnd)}, past ${hex(MULTIBOOT_LOADER_NAME)}`,
      fix: 'use a memory map with fewer entries',
    });
  }
  const name = new TextEncoder().encode(`${LOADER_NAME}\0`);
  const bytes = new Uint8Array(MULTIBOOT_LOADER_NAME - at + name.length);
  bytes.set(name, MULTIBOOT_LOADER_NAME - at);
  memoryMap.forEach(({ addr, size, type }, i) => {
    const entry = { size: MultibootMmapEntry.size - 4, addr, len: size, type };
    MultibootMmapEntry.write(bytes, MULTIBOOT_MEMORY_MAP - at + i * MultibootMmapEntry.size, entry);
  });
  const initrd = writes.find(({ what }) => what === 'initrd');
  if (initrd) {
    const module = { mod_start: initrd.at, mod_end: initrd.at + initrd.length };
    MultibootModule.write(bytes, MULTIBOOT_MODULES - at, module);
  }
  const high = entryAt(memoryMap, HIGH_RAM);
  MultibootInfo.write(bytes, 0, {
    flags:
      MULTIBOOT_INFO_MEMORY |
      MULTIBOOT_INFO_CMDLINE |
      MULTIBOOT_INFO_MEM_MAP |
      MULTIBOOT_INFO_BOOT_LOADER_NAME |
      (initrd ? MULTIBOOT_INFO_MODS : 0),
    mem_lower: LOW_RAM_END / KiB,
    mem_upper: high ? Math.floor((high.addr + high.size - HIGH_RAM) / KiB) : 0,
    cmdline: writes.find(({ what }) => what === 'command line')?.at ?? 0,
    mods_count: initrd ? 1 : 0,
    mods_addr: initrd ? MULTIBOOT_MODULES : 0,
    mmap_length: memoryMap.length * MultibootMmapEntry.size,
    mmap_addr: MULTIBOOT_MEMORY_MAP,
    boot_loader_name: MULTIBOOT_LOADER_NAME,
  });
  const purpose = 'multiboot_info, module list, memory map and loader name';
  return { what: 'multiboot_info', at, bytes, length: bytes.length, purpose, from: 'made here' };
}
