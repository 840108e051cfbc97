/** `--initrd`: a file that is one, or a folder that becomes one; `--init`: a single program.
 *
 * A file goes to the guest unchanged, compressed or not: kernels unpack their initrd themselves. It is only looked at, so
 * that a kernel, a text file or a tar archive in its place is a sentence now and not a panic later. That is done for
 * Linux alone: what Multiboot and other kernels take as a module is their own affair.
 * Next: cli/initrd-folder.ts. */
import { statSync } from 'node:fs';
import { constants, gunzipSync } from 'node:zlib';
import { ImageError } from '../base/errors.ts';
import type { BootSpec } from '../boot/index.ts';
import { isElf, type KernelImage, xenNote } from '../image/kernel-image.ts';
import { buildInitrd } from '../initrd/build.ts';
import { checkUnpacked, recogniseInitrd } from '../initrd/recognise.ts';
import { PT_INTERP } from '../layout/elf.ts';
import { XEN_ELFNOTE } from '../layout/xen-notes.ts';
import { packFolder } from './initrd-folder.ts';
import { parseFile, readFileBytes } from './kernel-file.ts';

export type InitrdFile = {
  bytes: Uint8Array;
  /** What was done to make it. */
  notes: string[];
  /** What will go wrong with it. */
  warnings: string[];
};

/** `forLinux` is whether a kernel gets it that wants an initramfs. */
export async function readInitrd(path: string, forLinux: boolean, option = '--initrd'): Promise<InitrdFile> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    const { bytes, notes } = packFolder(path, option);
    return {
      bytes,
      notes: [`packed ${path}`, ...notes],
      warnings: forLinux ? recogniseInitrd(path, bytes).warnings : [],
    };
  }
  const bytes = await readFileBytes(path, option);
  if (!forLinux) return { bytes, notes: [], warnings: [] };
  const { parts, warnings } = recogniseInitrd(path, bytes);
  for (const part of parts) if (part.kind === 'compressed' && part.compression === 'gzip') peekInside(path, bytes.subarray(part.at)); // biome-ignore format: one line
  return { bytes, notes: [], warnings };
}

/** A gzip'd tar archive is the usual mistake. What is damaged is left to the kernel, which says so. */
function peekInside(path: string, gzip: Uint8Array): void {
  let start: Uint8Array;
  try {
    start = gunzipSync(gzip.subarray(0, 65_536), { finishFlush: constants.Z_SYNC_FLUSH });
  } catch {
    return;
  }
  checkUnpacked(path, 'gzip', start);
}

/** A program without a file system around it: it becomes /init. */
export async function initrdOfProgram(path: string): Promise<InitrdFile> {
  const bytes = await readFileBytes(path, '--init');
  const refuse = (why: string, fix: string) =>
    new ImageError({ what: `${path} cannot be /init on its own`, where: `--init ${path}`, why, fix });
  if (bytes[0] === 0x23 && bytes[1] === 0x21) {
    throw refuse('it is a script, and there would be no interpreter for it', 'put it as init into a folder with its interpreter and give that to --initrd'); // biome-ignore format: one line
  }
  const program = parseFile(path, bytes);
  if (!isElf(program)) throw refuse('it is no ELF file', 'give a static program, as gcc -static makes one');
  if (program.segments.some(({ type }) => type === PT_INTERP)) {
    throw refuse('it is dynamically linked: it needs a loader and libraries', 'link it with -static, or put it with its libraries into a folder and give that to --initrd'); // biome-ignore format: one line
  }
  const { bytes: initrd, notes } = buildInitrd([{ kind: 'file', path: 'init', mode: 0o755, data: bytes }]);
  return { bytes: initrd, notes: [`packed ${path} as /init`, ...notes], warnings: [] };
}

/** Linux: every bzImage, and an ELF file whose notes say so. */
export function wantsInitramfs(image: KernelImage, via: BootSpec['via']): boolean {
  if (via === 'multiboot') return false;
  if (image.format === 'bzimage') return true;
  if (!isElf(image)) return false;
  const system = xenNote(image, XEN_ELFNOTE.GUEST_OS);
  return system !== undefined && new TextDecoder().decode(system.desc).startsWith('linux');
}
