/** pvh: the shortest way into a kernel.
 *
 * The kernel names its entry in an ELF note (Xen, type 18). We put a start-info page into low memory, its address into
 * EBX, and enter in 32-bit protected mode with paging off. The kernel fills boot_params for itself, from the memory map
 * and module list behind the start info. A bzImage carries no note: its payload is unpacked on the host first.
 * Code at this entry uses absolute physical addresses, so the segments are never moved.
 * Follows: Xen docs/misc/pvh.pandoc and start_info.h, version 1; values as libxc and Firecracker choose them.
 * May not: show anything of Xen; that is xen-pvh.   Next: boot/xen-pvh.ts. */
import { assert, BootError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import { type ElfImage, isElf, type KernelImage, xenNote } from '../image/kernel-image.ts';
import { EM_386, EM_X86_64 } from '../layout/elf.ts';
import { HVM_START_MAGIC, HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../layout/hvm-start-info.ts';
import { XEN_ELFNOTE } from '../layout/xen-notes.ts';
import { gpa } from '../memory/address.ts';
import { LOW_MEMORY, START_INFO_MEMORY_MAP, START_INFO_MODULES } from '../memory/map.ts';
import { CR0 } from '../x86/constants.ts';
import { protectedModeState, protectedModeWrites } from './first-state.ts';
import { refuseLoad } from './linux-common.ts';
import { checkEntry, commandLineWrite, initrdHigh, inOrder, segmentWrites } from './placement.ts';
import type { BootPlan, BootProtocol, PlanRequest, PlanWrite, Refusal } from './plan.ts';

export const pvh: BootProtocol = {
  name: 'pvh',
  follows: 'Xen docs/misc/pvh.pandoc, start_info version 1',
  summary: 'PVH direct boot, as QEMU and Firecracker do it',

  accepts(image, unpacked) {
    const kernel = elfOf(image, unpacked);
    if ('why' in kernel) return kernel;
    if (kernel.machine !== EM_386 && kernel.machine !== EM_X86_64) {
      return { why: `its e_machine is ${kernel.machine}, not 3 (386) or 62 (x86-64)`, fix: 'use an x86 kernel' };
    }
    if (pvhEntry(kernel) !== undefined) return true;
    const others = kernel.notes.length;
    return {
      why: `no note named "Xen" of type 18 (XEN_ELFNOTE_PHYS32_ENTRY); ${others} other note${others === 1 ? ' was' : 's were'} read`,
      fix: `build the guest with CONFIG_PVH=y, or take another of its entry paths (a Linux kernel has ${otherPath(image)})`,
    };
  },

  plan: (request) => pvhPlan(request, { via: 'pvh', follows: pvh.follows, personality: 'bare', notes: [] }),
};

/** What a loader of this kind says of itself. */
type PvhLoader = Pick<BootPlan, 'via' | 'follows' | 'personality' | 'notes'>;

/** The plan of a kernel that `pvh.accepts`, for whoever hands over hvm_start_info. */
export function pvhPlan(request: PlanRequest, loader: PvhLoader): BootPlan {
  const { image } = request;
  const kernel = elfOf(image, request.unpackedKernel);
  assert(!('why' in kernel), 'pvh accepted this image');
  refuseLoad(request.load, image.name);
  const entry = pvhEntry(kernel);
  assert(entry !== undefined, 'pvh accepted this image, so it has the note');
  const segments = segmentWrites(kernel);
  checkEntry(kernel, entry, 'XEN_ELFNOTE_PHYS32_ENTRY', segments);
  // PVH sets no limit, but a kernel copies no more than its header says; the rest would be lost without a word.
  const longest = image.format === 'bzimage' && image.protocol >= 0x206 ? image.setupHeader.cmdline_size : Number.POSITIVE_INFINITY; // biome-ignore format: one line
  const writes = [...segments, commandLineWrite(request.cmdline, longest, image.name)];
  if (request.initrd) writes.push(initrdHigh(request.initrd, request.memoryMap, segments, 2 ** 32, image.name));
  const { at } = LOW_MEMORY.startInfo;
  return {
    ...loader,
    image,
    unpackedKernel: kernel === image ? undefined : kernel,
    memorySize: request.memorySize,
    memoryMap: request.memoryMap,
    cmdline: request.cmdline,
    writes: inOrder([...writes, startInfo(request, writes, loader.via), ...protectedModeWrites()]),
    claims: [],
    state: protectedModeState({ rip: entry, rbx: BigInt(at), cr0: CR0.PE | CR0.ET }),
    handover: { struct: 'hvm_start_info', at, register: 'ebx' },
    bootParamsFilledBy: 'guest',
    entrySymbolHint: 'pvh_start_xen',
    haltIsSuccess: false,
    cpuDefault: 'model',
  };
}

/** The physical address of the PVH entry: the note's low 32 bits, as every loader takes them. */
export function pvhEntry(kernel: ElfImage): bigint | undefined {
  const value = xenNote(kernel, XEN_ELFNOTE.PHYS32_ENTRY)?.value;
  return typeof value === 'bigint' ? BigInt.asUintN(32, value) : undefined;
}

/** The Linux entry that a kernel without the note is likely to have. */
function otherPath(image: KernelImage): string {
  const is64Bit = image.format === 'bzimage' ? image.has64BitEntry : image.format === 'elf64';
  return is64Bit ? 'linux64' : 'linux32';
}

function elfOf(image: KernelImage, unpacked: ElfImage | undefined): ElfImage | Refusal {
  if (isElf(image)) return image;
  if (image.format !== 'bzimage') {
    return { why: 'it is no ELF file, so it has no notes', fix: 'use --via flat32 for raw code' };
  }
  if (unpacked) return unpacked;
  if (image.payload)
    return {
      why: 'its payload was not unpacked, and only that has notes',
      fix: 'pass the unpacked payload along (spec.unpackedKernel)',
    };
  return {
    why: 'its boot protocol is older than 2.08 and does not say where its payload is',
    fix: 'use the vmlinux that it was made from',
  };
}

/** Start info, module list and memory map, in one page. */
function startInfo({ memoryMap, image }: PlanRequest, writes: PlanWrite[], via: string): PlanWrite {
  const { at, size } = LOW_MEMORY.startInfo;
  const end = START_INFO_MEMORY_MAP + memoryMap.length * HvmMemmapTableEntry.size;
  if (end > at + size) {
    throw new BootError({
      what: 'the memory map is too long for the start-info page',
      where: `${image.name} via ${via}`,
      why: `${memoryMap.length} entries would end at ${hex(end)}, past ${hex(at + size)}`,
      fix: 'use a memory map with fewer entries',
    });
  }
  const bytes = new Uint8Array(end - at);
  const place = (what: string) => writes.find((write) => write.what === what);
  const initrd = place('initrd');
  if (initrd) HvmModlistEntry.write(bytes, START_INFO_MODULES - at, { paddr: initrd.at, size: initrd.length });
  memoryMap.forEach(({ addr, size: length, type }, i) => {
    HvmMemmapTableEntry.write(bytes, START_INFO_MEMORY_MAP - at + i * HvmMemmapTableEntry.size, {
      addr,
      size: length,
      type,
    });
  });
  HvmStartInfo.write(bytes, 0, {
    magic: HVM_START_MAGIC,
    version: 1,
    nr_modules: initrd ? 1 : 0,
    modlist_paddr: initrd ? START_INFO_MODULES : 0,
    cmdline_paddr: place('command line')?.at ?? 0,
    memmap_paddr: START_INFO_MEMORY_MAP,
    memmap_entries: memoryMap.length,
  });
  const purpose = 'hvm_start_info, module list and memory map';
  return { what: 'hvm_start_info', at: gpa(at), bytes, length: bytes.length, purpose, from: 'made here' };
}
