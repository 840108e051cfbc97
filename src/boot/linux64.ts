/** linux64: the 64-bit entry of the Linux boot protocol.
 *
 * Long mode on an identity map of the low 4 GiB, RSI holds the zero page. A bzImage with XLF_KERNEL_64 is entered
 * 0x200 behind its first protected-mode byte (startup_64), an ELF64 vmlinux at e_entry, which Linux links as a physical
 * address. With --unpack host the payload's ELF is loaded instead of the bzImage's code: no decompressor runs and
 * nothing is randomised, but the zero page still carries the bzImage's setup header.
 * Follows: Linux Documentation/x86/boot.rst, "64-bit Boot Protocol".   May not: place anything above 4 GiB.
 * Next: boot/pvh.ts. */
import { assert } from '../base/errors.ts';
import { protocolName } from '../image/bzimage.ts';
import { EM_X86_64, ET_EXEC } from '../layout/elf.ts';
import { LOW_MEMORY } from '../memory/map.ts';
import { LONG_MODE, longModeState, longModeWrites } from './first-state.ts';
import { acceptsBzImage, loadLinux } from './linux-common.ts';
import { inOrder } from './placement.ts';
import type { BootProtocol } from './plan.ts';

/** The 64-bit entry lies this far behind the 32-bit one. */
const STARTUP_64 = 0x200;

export const linux64: BootProtocol = {
  name: 'linux64',
  follows: 'Linux Documentation/x86/boot.rst, 64-bit boot protocol',
  summary: 'Linux boot protocol, 64-bit entry',

  accepts(image) {
    if (image.format === 'bzimage') {
      const general = acceptsBzImage(image);
      if (general !== true || image.has64BitEntry) return general;
      const { protocol, setupHeader } = image;
      const why =
        protocol < 0x20c
          ? `its boot protocol is ${protocolName(protocol)}; the 64-bit entry came with 2.12`
          : `bit 0 (XLF_KERNEL_64) of xloadflags is clear (0x${setupHeader.xloadflags.toString(16)}): this is a 32-bit kernel`;
      return { why, fix: 'use --via linux32' };
    }
    if (image.format === 'elf64') {
      if (image.machine !== EM_X86_64)
        return { why: `its e_machine is ${image.machine}, not 62 (x86-64)`, fix: 'use an x86-64 kernel' };
      if (image.type === ET_EXEC) return true;
      return {
        why: `its e_type is ${image.type}, not 2 (ET_EXEC): a kernel has fixed addresses`,
        fix: 'link it with -no-pie',
      };
    }
    if (image.format === 'elf32')
      return {
        why: 'a 32-bit ELF file has no 64-bit entry',
        fix: 'use a 32-bit entry path that it supports (zeropage inspect shows which)',
      };
    return { why: 'it is neither a bzImage nor an x86-64 ELF file', fix: 'use --via flat64 for raw code' };
  },

  plan(request) {
    const { image, unpack, unpackedKernel } = request;
    assert(image.format === 'bzimage' || image.format === 'elf64', 'linux64 accepted this image');
    const unpacked = image.format === 'bzimage' && unpack === 'host' ? unpackedKernel : undefined;
    const kernel = unpacked ?? image;
    const { writes, claims, start, notes } = loadLinux(request, kernel);
    const zeroPage = LOW_MEMORY.zeroPage.at;
    const entry = kernel.format === 'bzimage' ? start + STARTUP_64 : start;
    return {
      via: 'linux64',
      follows: linux64.follows,
      image,
      unpackedKernel: unpacked,
      memorySize: request.memorySize,
      memoryMap: request.memoryMap,
      cmdline: request.cmdline,
      writes: inOrder([...writes, ...longModeWrites()]),
      claims,
      state: longModeState({ rip: BigInt(entry), rsi: BigInt(zeroPage), ...LONG_MODE }),
      personality: 'bare',
      handover: { struct: 'boot_params', at: zeroPage, register: 'rsi' },
      bootParamsFilledBy: 'loader',
      entrySymbolHint: 'startup_64',
      haltIsSuccess: false,
      cpuDefault: 'model',
      notes,
    };
  },
};
