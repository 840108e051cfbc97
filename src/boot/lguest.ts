/** lguest: the launcher of a hypervisor that was a Linux module, and the smallest loader that any kernel ever had.
 *
 * Its main() makes the zero page from nothing. What it leaves out is what makes it worth reading beside linux32:
 *
 * - The file's setup header is not copied. Version 2.07 is claimed whatever the kernel's own is, so the kernel believes
 *   `hardware_subarch` (1), and that sends it to lguest_entry instead of startup on bare hardware. init_size stays 0;
 *   kernel_alignment is 16 MiB.
 * - KEEP_SEGMENTS is the only bit of loadflags: the guest begins in ring 1, where segments of ring 0 cannot be loaded.
 * - One e820 entry, {0, memory}: no hole below 1 MiB, for there is no PC around this guest. Linux on bare hardware
 *   refuses a map of one entry; its lguest code never asks.
 * - The initrd lies at the very top, its size rounded up to pages, in the header too; type_of_loader is 0xff only with
 *   an initrd, since only then a kernel looks at it.
 * - The zero page is physical 0, the command line the page behind it. These two addresses are lguest's own and not in
 *   memory/map.ts, whose first pages belong to a PC's BIOS and to descriptor tables that nobody needs here.
 *
 * A bzImage is loaded from (setup_sects + 1) * 512 on (0 is not read as 4) to 1 MiB and entered at its code32_start, an
 * ELF32 where its p_paddr say, entered at e_entry. Registers: zero but for selectors of ring 1 and IF, so ESI is the
 * zero page without anybody loading it. GDTR is the host's (personality/lguest), which the guest cannot change.
 * Follows: Linux tools/lguest/lguest.c main(); drivers/lguest/x86/core.c lguest_arch_setup_regs.
 * May not: emulate anything; the personality does.   Next: boot/linux64.ts, where
 * the loader has to provide page tables. */
import { assert, BootError } from '../base/errors.ts';
import { alignUp, hex, MiB } from '../base/numbers.ts';
import { protocolName } from '../image/bzimage.ts';
import type { BzImage, KernelImage } from '../image/kernel-image.ts';
import { BootParams, E820_RAM } from '../layout/boot-params.ts';
import { EM_386 } from '../layout/elf.ts';
import { KEEP_SEGMENTS } from '../layout/setup-header.ts';
import { FRAME_SIZE, gpa } from '../memory/address.ts';
import { LGUEST_HOST } from '../memory/map.ts';
import { CR0, CR4, DR6_FIXED, DR7_FIXED, RFLAGS } from '../x86/constants.ts';
import { flatCode32, flatData, GPR_NAMES, type GprName, nullSegment, type VcpuState } from '../x86/vcpu-state.ts';
import { refuseLoad } from './linux-common.ts';
import { checkEntry, checkInitrd, commandLineWrite, initrdWrite, inOrder, segmentWrites } from './placement.ts';
import { type BootProtocol, type PlanWrite, type Refusal, span, viewOrigin } from './plan.ts';

/** Guest physical: where main() puts things. */
const ZERO_PAGE = gpa(0);
const COMMAND_LINE = gpa(0x1000);
const BZIMAGE = gpa(0x10_0000);
/** COMMAND_LINE_SIZE on x86: the kernel copies that many bytes, however short the line is. */
const COMMAND_LINE_SIZE = 2048;
/** __KERNEL_CS and __KERNEL_DS of 32-bit Linux, in ring 1. */
const GUEST_RING = 1;
const KERNEL_CS = 0x60 | GUEST_RING;
const KERNEL_DS = 0x68 | GUEST_RING;
const X86_SUBARCH_LGUEST = 1;

export const lguest: BootProtocol = {
  name: 'lguest',
  follows: 'Linux tools/lguest/lguest.c (until 4.13)',
  summary: 'lguest launcher, 32-bit in ring 1',

  accepts(image, unpacked) {
    if (image.format === 'bzimage') return acceptsBzImage(image, unpacked?.format === 'elf64');
    if (image.format === 'elf32' && image.machine === EM_386 && image.type === ET_EXEC) return true;
    if (image.format === 'elf64') return SIXTY_FOUR;
    const why = 'lguest starts a bzImage or an ELF32 executable for the 386, and it is neither';
    return { why, fix: 'use a 32-bit kernel built with CONFIG_LGUEST_GUEST=y' };
  },

  plan(request) {
    const { image, memorySize } = request;
    refuseLoad(request.load, image.name);
    const { writes: kernel, start } = loadKernel(image, memorySize);
    const initrd = request.initrd && placeInitrd(request.initrd, kernel, memorySize, image.name);
    const longest = image.format === 'bzimage' ? image.setupHeader.cmdline_size : COMMAND_LINE_SIZE - 1;
    const line = commandLineWrite(request.cmdline, longest, image.name, COMMAND_LINE_SIZE);
    const writes = [
      ...kernel,
      { ...line, at: COMMAND_LINE },
      ...(initrd ? [initrd] : []),
      zeroPage(memorySize, initrd),
    ];
    return {
      via: 'lguest',
      follows: lguest.follows,
      image,
      memorySize,
      memoryMap: [{ addr: 0, size: memorySize, type: E820_RAM }],
      cmdline: request.cmdline,
      writes: inOrder(writes),
      claims: [],
      state: firstRegisters(start),
      personality: 'lguest',
      handover: { struct: 'boot_params', at: ZERO_PAGE, register: 'esi' },
      bootParamsFilledBy: 'loader',
      entrySymbolHint: 'startup_32',
      haltIsSuccess: false,
      cpuDefault: 'model',
      notes: [
        'the setup header in the zero page is made by the loader, not copied from the file: init_size and pref_address are 0',
      ],
    };
  },
};

const ET_EXEC = 2;
const SIXTY_FOUR: Refusal = {
  why: 'the kernel is 64-bit, and lguest guests are 32-bit',
  fix: 'use a 32-bit kernel built with CONFIG_LGUEST_GUEST=y',
};

/** What no launcher looks at, and what would end in a crash without a word. */
function acceptsBzImage(
  { has64BitEntry, protocol, kernelVersion, loadedHigh }: BzImage,
  is64: boolean,
): true | Refusal {
  const fix = 'use Linux 2.6.24 to 4.13';
  if (has64BitEntry || is64) return SIXTY_FOUR;
  if (protocol < 0x207) {
    const why = `boot protocol ${protocolName(protocol)} has no hardware_subarch (2.07), by which lguest is chosen`;
    return { why, fix };
  }
  const version = /^(\d+)\.(\d+)/.exec(kernelVersion ?? '');
  if (version && (Number(version[1]) > 4 || (Number(version[1]) === 4 && Number(version[2]) >= 14)))
    return { why: `Linux ${version[0]} is newer than 4.13, the last with lguest`, fix };
  if (!loadedHigh) {
    const why = 'it is a zImage (LOADED_HIGH clear), linked below 1 MiB, where the launcher loads no kernel';
    return { why, fix: 'build the same kernel as a bzImage' };
  }
  return true;
}

function loadKernel(image: KernelImage, memorySize: number): { writes: PlanWrite[]; start: bigint } {
  if (image.format === 'elf32') {
    const writes = segmentWrites(image);
    checkEntry(image, image.entry, 'e_entry', writes);
    return { writes, start: image.entry };
  }
  assert(image.format === 'bzimage', 'lguest accepted this image');
  const bytes = image.bytes.subarray((image.setupHeader.setup_sects + 1) * 512);
  const start = image.setupHeader.code32_start;
  if (start < BZIMAGE || start >= BZIMAGE + bytes.length) {
    throw new BootError({
      what: `${image.name} would be entered outside its own code`,
      where: `${image.name}, code32_start (0x214)`,
      why: `${hex(start)} is not in ${span(BZIMAGE, bytes.length)}, where lguest's launcher loads a bzImage`,
      fix: 'take an undamaged kernel',
    });
  }
  if (BZIMAGE + bytes.length > memorySize) {
    throw new BootError({
      what: `${image.name} does not fit`,
      where: `${image.name} via lguest`,
      why: `it needs ${span(BZIMAGE, bytes.length)}; memory ends at ${hex(memorySize)}`,
      fix: `give it --memory ${alignUp(BZIMAGE + bytes.length, MiB) / MiB}M or more`,
    });
  }
  const purpose = 'protected-mode code: startup_32 at code32_start, decompressor, payload';
  const from = viewOrigin(image, bytes);
  return {
    writes: [{ what: 'kernel', at: BZIMAGE, bytes, length: bytes.length, purpose, from }],
    start: BigInt(start),
  };
}

/** load_initrd(): the top of memory, whole pages. */
function placeInitrd(bytes: Uint8Array, kernel: readonly PlanWrite[], memorySize: number, name: string): PlanWrite {
  checkInitrd(bytes);
  const length = alignUp(bytes.length, FRAME_SIZE);
  const end = kernel.reduce((last, write) => Math.max(last, write.at + write.length), COMMAND_LINE + FRAME_SIZE);
  if (memorySize - length < end) {
    const megabytes = alignUp(end + length, MiB) / MiB;
    throw new BootError({
      what: `the initrd of ${hex(bytes.length)} bytes does not fit`,
      where: `${name} via lguest`,
      why: `it lies at the top of memory, ${hex(length)} bytes below ${hex(memorySize)}, and the kernel ends at ${hex(end)}`,
      fix: megabytes <= 3072 ? `give it --memory ${megabytes}M or more` : 'make the initrd smaller',
    });
  }
  const write = initrdWrite(bytes, gpa(memorySize - length));
  return { ...write, length, purpose: 'initial RAM disk, at the top of memory, whole pages' };
}

/** Every field that main() sets, in its order, and no other. */
function zeroPage(memorySize: number, initrd: PlanWrite | undefined): PlanWrite {
  const bytes = new Uint8Array(BootParams.size);
  if (initrd) {
    const hdr = { ramdisk_image: initrd.at, ramdisk_size: initrd.length, type_of_loader: 0xff };
    BootParams.write(bytes, 0, { hdr });
  }
  BootParams.write(bytes, 0, {
    e820_entries: 1,
    e820_table: [{ addr: 0, size: memorySize, type: E820_RAM }],
    hdr: { cmd_line_ptr: COMMAND_LINE },
  });
  BootParams.write(bytes, 0, { hdr: { kernel_alignment: 16 * MiB } });
  BootParams.write(bytes, 0, { hdr: { version: 0x207 } });
  BootParams.write(bytes, 0, { hdr: { hardware_subarch: X86_SUBARCH_LGUEST } });
  BootParams.write(bytes, 0, { hdr: { loadflags: KEEP_SEGMENTS } }); // main() says |=, to a byte that is 0
  return {
    what: 'boot_params',
    at: ZERO_PAGE,
    bytes,
    length: bytes.length,
    purpose: 'zero page; ESI, which is 0, holds its address',
    from: 'made here',
  };
}

/** lguest_arch_setup_regs(), and beside it what the host's CPU has on while a guest runs. */
function firstRegisters(start: bigint): VcpuState {
  const registers = Object.fromEntries(GPR_NAMES.map((name) => [name, 0n])) as Record<GprName, bigint>;
  const data = flatData(KERNEL_DS, GUEST_RING);
  return {
    ...registers,
    rip: start,
    rflags: BigInt(RFLAGS.ONE | RFLAGS.IF), // in hardware it stays on: irq_enabled is the guest's flag
    segments: {
      es: data,
      cs: flatCode32(KERNEL_CS, GUEST_RING),
      ss: data,
      ds: data,
      fs: nullSegment(),
      gs: nullSegment(),
    },
    ldtr: nullSegment(),
    tr: nullSegment(),
    gdtr: { base: BigInt(LGUEST_HOST.at), limit: LGUEST_HOST.gdtBytes - 1 },
    idtr: { base: 0n, limit: 0 },
    cr0: BigInt(CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM),
    cr2: 0n,
    cr3: 0n,
    cr4: BigInt(CR4.PSE),
    cr8: 0n,
    efer: 0n,
    dr: [0n, 0n, 0n, 0n, BigInt(DR6_FIXED), BigInt(DR7_FIXED)],
    msrs: {},
    cpl: GUEST_RING,
  };
}
