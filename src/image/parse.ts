/** Telling kernel files apart.
 *
 * ELF and "HdrS" speak for themselves, a gzip file is unpacked first, a Multiboot header makes the rest a kernel; anything
 * else is flat code, which nobody boots by accident: it needs --via flat32 or flat64.
 * Next: image/damage.ts. */
import { ImageError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import { BOOT_FLAG } from '../layout/setup-header.ts';
import { compressionOf, type HostUnpackers } from '../unpack/unpack.ts';
import { looksLikeBzImage, parseBzImage } from './bzimage.ts';
import { cutOff } from './damage.ts';
import { looksLikeElf, parseElf } from './elf.ts';
import type { ElfImage, FlatImage, KernelImage } from './kernel-image.ts';
import { carriesAddresses, findMultiboot, parseMultibootAout } from './multiboot.ts';
import { gunzipFile, UNPACK_LIMIT } from './unpack-kernel.ts';

export type ParseOptions = {
  /** Needed for gzip'd files. */
  host?: HostUnpackers;
  /** What a gzip'd file may unpack to, in bytes. */
  limit?: number;
};

/** `name` is for messages. Throws an ImageError for a damaged file. */
export function parseKernel(
  name: string,
  bytes: Uint8Array,
  { host, limit = UNPACK_LIMIT }: ParseOptions = {},
): KernelImage {
  if (bytes.length === 0) {
    throw new ImageError({
      what: `${name} is empty`,
      where: name,
      why: 'a kernel has at least one byte of code',
      fix: 'give a kernel file',
    });
  }
  if (looksLikeElf(bytes)) return parseElf(name, bytes);
  if (looksLikeBzImage(bytes)) return parseBzImage(name, bytes);
  const compression = compressionOf(bytes);
  if (compression === 'gzip' && host) return parseGzipped(name, gunzipFile(name, bytes, host, limit));
  const multiboot = findMultiboot(bytes);
  if (multiboot && carriesAddresses(multiboot)) return parseMultibootAout(name, bytes, multiboot);
  // Two bytes that an LZMA file begins with are also code.
  if (compression && compression !== 'lzma') throw compressed(name, compression);
  if (bytes[0] === 0x4d && bytes[1] === 0x5a && bytes.length < 0x208)
    throw cutOff(name, 'the setup header', 0x208, bytes.length);
  if (bytes.length >= 0x200 && (bytes[0x1fe] | (bytes[0x1ff] << 8)) === BOOT_FLAG) throw bootSector(name);
  if (isEfiProgram(bytes)) throw efiProgram(name);
  return { ...flatImage(name, bytes), multiboot };
}

/** Any bytes as code, without asking what they look like. */
export function flatImage(name: string, bytes: Uint8Array): FlatImage {
  return { format: 'flat', name, bytes, warnings: [] };
}

function parseGzipped(name: string, bytes: Uint8Array): ElfImage {
  if (looksLikeElf(bytes))
    return { ...parseElf(`${name}, unpacked`, bytes), unpackedFrom: { name, compression: 'gzip' } };
  throw new ImageError({
    what: `${name} is a gzip file without a kernel`,
    where: `${name}, first bytes of what it unpacks to`,
    why: `an ELF file begins with 7f 45 4c 46, this with ${Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, '0')).join(' ')}`,
    fix: 'gunzip it and give the kernel itself',
  });
}

function compressed(name: string, compression: string): ImageError {
  return new ImageError({
    what: `${name} is a compressed file, not a kernel`,
    where: `${name}, first bytes`,
    why: `they are those of ${compression}; compressed kernel files are taken when they are gzip files, as Xen does`,
    fix: 'unpack it and give the kernel itself; for raw code use --via flat32 or flat64',
  });
}

/** "MZ", and a PE header where the DOS header says. */
function isEfiProgram(bytes: Uint8Array): boolean {
  if (bytes.length < 0x40 || bytes[0] !== 0x4d || bytes[1] !== 0x5a) return false;
  const at = bytes[0x3c] | (bytes[0x3d] << 8) | (bytes[0x3e] << 16);
  return bytes[at] === 0x50 && bytes[at + 1] === 0x45 && bytes[at + 2] === 0 && bytes[at + 3] === 0;
}

function efiProgram(name: string): ImageError {
  return new ImageError({
    what: `${name} is an EFI program, not a bzImage`,
    where: `${name}, header (0x202)`,
    why: 'it has a PE header, but no "HdrS" at 0x202: a unified kernel image, another architecture\'s kernel, or a boot loader',
    fix: 'give the bzImage; a unified kernel image holds it in its section .linux (objcopy -O binary -j .linux)',
  });
}

function bootSector(name: string): ImageError {
  return new ImageError({
    what: `${name} is a boot sector without a setup header`,
    where: `${name}, header (0x202)`,
    why: `${hex(BOOT_FLAG)} stands at 0x1fe, but no "HdrS" at 0x202: a kernel from before boot protocol 2.00, or a disk image`,
    fix: 'give a kernel of protocol 2.00 or newer (Linux 1.3.73); for raw code use --via flat32 or flat64',
  });
}
