/** Telling kernel files apart.
 *
 * ELF and "HdrS" speak for themselves, a gzip file is unpacked first, a Multiboot header makes the rest a kernel; anything
 * else is flat code, which nobody boots by accident: it needs --via flat32 or flat64.
 * Next: image/bzimage.ts. */
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
  if (compressionOf(bytes) === 'gzip' && host) return parseGzipped(name, gunzipFile(name, bytes, host, limit));
  const multiboot = findMultiboot(bytes);
  if (multiboot && carriesAddresses(multiboot)) return parseMultibootAout(name, bytes, multiboot);
  if (bytes[0] === 0x4d && bytes[1] === 0x5a && bytes.length < 0x208)
    throw cutOff(name, 'the setup header', 0x208, bytes.length);
  if (bytes.length >= 0x200 && (bytes[0x1fe] | (bytes[0x1ff] << 8)) === BOOT_FLAG) throw bootSector(name);
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

function bootSector(name: string): ImageError {
  return new ImageError({
    what: `${name} is a boot sector without a setup header`,
    where: `${name}, header (0x202)`,
    why: `${hex(BOOT_FLAG)} stands at 0x1fe, but no "HdrS" at 0x202: a kernel from before boot protocol 2.00, or a disk image`,
    fix: 'give a kernel of protocol 2.00 or newer (Linux 1.3.73); for raw code use --via flat32 or flat64',
  });
}
