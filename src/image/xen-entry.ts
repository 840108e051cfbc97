/** What an image carries for the entry path of Xen that is not built yet, 32-bit PV.
 *
 * Judged by headers and notes alone, as Xen's domain builder judges them first.
 * Follows: Xen xen/common/libelf/libelf-dominfo.c and tools/libs/guest/xg_dom_core.c.
 * May not: say how to boot; boot/ does when the path is built.   Next: initrd/newc.ts. */
import { EM_386 } from '../layout/elf.ts';
import { XEN_ELFNOTE } from '../layout/xen-notes.ts';
import { type ElfImage, isElf, type KernelImage, xenNote } from './kernel-image.ts';

export type Judgement = { carries: true } | { carries: false; why: string; fix: string };
export type XenPath = 'xen-pv32';

const no = (why: string, fix: string): Judgement => ({ carries: false, why, fix });

/** `unpacked` is the payload of a bzImage. */
export function judgeXenPath(_via: XenPath, image: KernelImage, unpacked?: ElfImage): Judgement {
  const kernel = isElf(image) ? image : unpacked;
  if (!kernel)
    return no(
      'the notes are in an ELF kernel, and there is none to read',
      'give a vmlinux, or a bzImage of protocol 2.08 or newer',
    );
  return pv32(kernel);
}

function pv32(kernel: ElfImage): Judgement {
  const text = (type: number) => String(xenNote(kernel, type)?.value ?? '');
  if (kernel.machine !== EM_386) return no('the kernel is 64-bit', 'use --via xen-pv');
  const build = 'build the kernel with CONFIG_XEN_PV=y';
  if (!text(XEN_ELFNOTE.XEN_VERSION).startsWith('xen-3.0')) {
    const value = text(XEN_ELFNOTE.XEN_VERSION);
    return no(
      value
        ? `XEN_ELFNOTE_XEN_VERSION (5) is "${value}" instead of "xen-3.0"`
        : 'no note named "Xen" of type 5 (XEN_ELFNOTE_XEN_VERSION)',
      build,
    );
  }
  if (!text(XEN_ELFNOTE.LOADER).startsWith('generic') && !text(XEN_ELFNOTE.GUEST_OS).startsWith('linux')) {
    return no('XEN_ELFNOTE_LOADER (8) is not "generic", and XEN_ELFNOTE_GUEST_OS (6) not "linux"', build);
  }
  if (!/yes|bimodal/.test(text(XEN_ELFNOTE.PAE_MODE))) {
    return no(
      'XEN_ELFNOTE_PAE_MODE (9) is neither "yes" nor "bimodal", and Xen has no 32-bit guests without PAE',
      'build the kernel with CONFIG_X86_PAE=y',
    );
  }
  if (text(XEN_ELFNOTE.FEATURES).split('|').includes('!dom0')) {
    return no(
      'XEN_ELFNOTE_FEATURES (10) requires dom0, and the guest is an ordinary domain',
      'use a kernel that also runs as domU',
    );
  }
  return { carries: true };
}
