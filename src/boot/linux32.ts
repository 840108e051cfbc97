/** linux32: the 32-bit entry of the Linux boot protocol.
 *
 * Protected mode, paging off, ESI holds the zero page. A bzImage is entered at its first protected-mode byte
 * (startup_32), an ELF32 vmlinux at e_entry. With a 64-bit kernel this entry switches to long mode by itself.
 * Follows: Linux Documentation/x86/boot.rst, "32-bit Boot Protocol".   May not: run 16-bit setup code.
 * Next: boot/lguest.ts, which copies no header and enters the same door. */
import { assert } from '../base/errors.ts';
import { EM_386 } from '../layout/elf.ts';
import { LOW_MEMORY } from '../memory/map.ts';
import { CR0 } from '../x86/constants.ts';
import { protectedModeState, protectedModeWrites } from './first-state.ts';
import { acceptsBzImage, loadLinux } from './linux-common.ts';
import { inOrder } from './placement.ts';
import type { BootProtocol } from './plan.ts';

export const linux32: BootProtocol = {
  name: 'linux32',
  follows: 'Linux Documentation/x86/boot.rst, 32-bit boot protocol',
  summary: 'Linux boot protocol, 32-bit entry',

  accepts(image) {
    if (image.format === 'bzimage') return acceptsBzImage(image);
    if (image.format === 'elf32' && image.machine === EM_386) return true;
    if (image.format === 'elf64') {
      const fix = 'use --via linux64 or pvh, or the bzImage that holds this kernel';
      return { why: 'a 64-bit ELF kernel has no 32-bit Linux entry; only its bzImage has', fix };
    }
    return { why: 'it is neither a bzImage nor a 32-bit x86 ELF file', fix: 'use --via flat32 for raw code' };
  },

  plan(request) {
    const { image } = request;
    assert(image.format === 'bzimage' || image.format === 'elf32', 'linux32 accepted this image');
    const { writes, claims, start, notes } = loadLinux(request, image);
    const zeroPage = LOW_MEMORY.zeroPage.at;
    return {
      via: 'linux32',
      follows: linux32.follows,
      image,
      memorySize: request.memorySize,
      memoryMap: request.memoryMap,
      cmdline: request.cmdline,
      writes: inOrder([...writes, ...protectedModeWrites()]),
      claims,
      state: protectedModeState({ rip: BigInt(start), rsi: BigInt(zeroPage), cr0: CR0.PE | CR0.ET }),
      personality: 'bare',
      handover: { struct: 'boot_params', at: zeroPage, register: 'esi' },
      bootParamsFilledBy: 'loader',
      entrySymbolHint: 'startup_32',
      haltIsSuccess: false,
      cpuDefault: 'model',
      notes,
    };
  },
};
