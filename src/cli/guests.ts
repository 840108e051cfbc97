/** The guests that come with zeropage, by name.
 *
 * A name is a set of images, and each entry path takes its own: the same source, built for what the path enters. The files
 * are in guests/images of a checkout and of the package alike, two folders above this one.
 * Next: cli/kernel-file.ts, which opens them. */
import { fileURLToPath } from 'node:url';

export type Guest = {
  name: string;
  /** One line for lists. */
  summary: string;
  /** Image file by entry path. */
  images: Readonly<Record<string, string>>;
  /** The path whose image stands for the guest when no path is named. */
  usual: string;
};

export const DEFAULT_GUEST = 'tiny';

const TINY64 = 'tiny64.bzimage';
const TINY32 = 'tiny32.bzimage';
const TINY32_ELF = 'tiny32.elf'; // Multiboot knows no bzImage

export const GUESTS: readonly Guest[] = [
  {
    name: 'tiny',
    summary: 'a small kernel named after the parts of Linux that it mirrors',
    images: {
      lguest: TINY32,
      linux32: TINY64,
      linux64: TINY64,
      pvh: TINY64,
      'xen-pvh': TINY64,
      'xen-pv': TINY64,
      multiboot: TINY32_ELF,
    },
    usual: 'linux64',
  },
  {
    name: 'tiny32',
    summary: 'the same kernel, built for 32 bits',
    images: { linux32: TINY32, pvh: TINY32, multiboot: TINY32_ELF, lguest: TINY32 },
    usual: 'linux32',
  },
];

export function findGuest(name: string): Guest | undefined {
  return GUESTS.find((guest) => guest.name === name);
}

/** The image that a path takes; the usual one for `auto` and for paths without their own, which then say why not. */
export function guestImagePath(guest: Guest, via = 'auto'): string {
  return imagePath(guest.images[via] ?? guest.images[guest.usual]);
}

export function imagePath(file: string): string {
  return fileURLToPath(new URL(`../../guests/images/${file}`, import.meta.url));
}
