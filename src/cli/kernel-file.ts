/** Opening kernels: a file, or the name of a built-in guest.
 *
 * Names come first; a file that is called like one is given with its folder (./tiny). Whatever is wrong with a file is an
 * ImageError that says what, where, why and how to go on.
 * Next: cli/initrd-file.ts. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { ImageError } from '../base/errors.ts';
import { GiB } from '../base/numbers.ts';
import { looksLikeBzImage } from '../image/bzimage.ts';
import { looksLikeElf } from '../image/elf.ts';
import type { BzImage, ElfImage, KernelImage } from '../image/kernel-image.ts';
import { flatImage, parseKernel } from '../image/parse.ts';
import { unpackKernel as unpack } from '../image/unpack-kernel.ts';
import { looksLikeSnapshot } from '../machine/snapshot-file.ts';
import { findGuest, GUESTS, guestImagePath } from './guests.ts';
import { nodeUnpackers } from './host.ts';

/** No kernel and no initrd comes near it; Xen draws the same line. */
export const LARGEST_FILE = GiB;

export type KernelFile = {
  /** As messages name it. */
  name: string;
  path: string;
  bytes: Uint8Array;
  /** The guest's name, when it is a built-in one. */
  guest?: string;
};

export async function resolveKernel(kernel: string, via?: string): Promise<KernelFile> {
  const guest = findGuest(kernel);
  const path = guest ? guestImagePath(guest, via) : kernel;
  const bytes = await readFileBytes(path, '[kernel]');
  return { name: guest ? basename(path) : kernel, path, bytes, guest: guest?.name };
}

export async function openKernel(kernel: string, via?: string): Promise<KernelImage> {
  const { name, bytes } = await resolveKernel(kernel, via);
  return parseFile(name, bytes, via);
}

/** On the flat paths anything without another format's magic is code, even when it ends like a boot sector. */
export function parseFile(name: string, bytes: Uint8Array, via?: string): KernelImage {
  if (looksLikeSnapshot(bytes)) {
    throw new ImageError({
      what: `${name} is no kernel`,
      where: name,
      why: 'it is a machine that --save-state has kept',
      fix: `go on from it with boot --from ${name}; inspect says what it is`,
    });
  }
  const flat = via === 'flat32' || via === 'flat64';
  if (flat && !looksLikeElf(bytes) && !looksLikeBzImage(bytes)) return flatImage(name, bytes);
  return parseKernel(name, bytes, { host: nodeUnpackers });
}

/** The ELF kernel inside a bzImage. */
export async function unpackKernel(image: BzImage): Promise<ElfImage> {
  return unpack(image, nodeUnpackers);
}

/** A whole regular file; `option` is where the user named it. */
export async function readFileBytes(path: string, option: string): Promise<Uint8Array> {
  let file: FileHandle;
  try {
    // Without O_NONBLOCK, opening a FIFO that nobody writes to would never return.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw cannotOpen(path, option, error as NodeJS.ErrnoException);
  }
  try {
    const stat = await file.stat();
    const refuse = (why: string, fix: string) =>
      new ImageError({ what: `cannot read ${path}`, where: option, why, fix });
    if (stat.isDirectory()) throw refuse('it is a directory', 'name the file in it');
    if (!stat.isFile()) throw refuse('it is not a regular file', 'copy what it gives into a file first');
    if (stat.size === 0) throw refuse('it is empty', 'check how it was made; a download may have failed');
    if (stat.size > LARGEST_FILE)
      throw refuse(
        `it has ${stat.size} bytes, and ${LARGEST_FILE} (1 GiB) is the limit`,
        'check that it is the right file',
      );
    const buffer = await file.readFile();
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
  } finally {
    await file.close();
  }
}

function cannotOpen(path: string, option: string, error: NodeJS.ErrnoException): ImageError {
  const what = `cannot open ${path}`;
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
    const names = GUESTS.map(({ name }) => name).join(', ');
    const fix =
      option === '[kernel]' ? `give a kernel file, or the name of a built-in guest: ${names}` : 'check the path';
    return new ImageError({ what, where: option, why: 'there is no such file', fix });
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new ImageError({
      what,
      where: option,
      why: 'this user may not read it',
      fix: 'change its permissions, or copy it (stock kernels in /boot are often readable by root only)',
    });
  }
  return new ImageError({ what, where: option, why: error.message, fix: 'check the path' });
}
