/** From a bzImage to the ELF image inside its payload, unpacked by the host.
 *
 * PVH and Xen enter that ELF, and its notes and symbols are what `inspect` and crash reports show. Behind the ELF the
 * payload may carry relocations, which only a kernel that moves itself needs.
 * Follows: Linux Documentation/x86/boot.rst, "payload_offset".   Next: image/elf.ts. */
import { ImageError } from '../base/errors.ts';
import { hex, MiB } from '../base/numbers.ts';
import { DamagedStream } from '../unpack/stream.ts';
import { type HostUnpackers, sizeTrailer, unpack } from '../unpack/unpack.ts';
import { damaged } from './damage.ts';
import { looksLikeElf, parseElf } from './elf.ts';
import type { BzImage, ElfImage } from './kernel-image.ts';

/** What a payload may unpack to, unless the caller says otherwise: eight times the largest stock kernel. */
export const UNPACK_LIMIT = 512 * MiB;

export function unpackKernel(image: BzImage, host: HostUnpackers, limit = UNPACK_LIMIT): ElfImage {
  const { payload, name } = image;
  if (!payload) {
    throw new ImageError({
      what: `${name} has no payload that could be unpacked`,
      where: `${name}, payload_length (0x24c)`,
      why: image.protocol < 0x208 ? 'boot protocols before 2.08 do not say where the kernel is' : 'the length is 0',
      fix: 'boot it through linux32, where the guest unpacks itself',
    });
  }
  const where = `payload at ${hex(payload.offset)}`;
  if (payload.compression === 'unknown') {
    const start = Array.from(payload.bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    throw damaged(name, where, `its first bytes, ${start}, are of none of the seven compressions`);
  }
  const bytes =
    payload.compression === 'none'
      ? payload.bytes
      : unpackNamed(name, where, () => unpack(payload.bytes, payload.compression as never, limit, host));
  if (!looksLikeElf(bytes)) throw damaged(name, where, 'what it unpacks to is not an ELF file');
  const kernel = parseElf(`vmlinux in ${name}`, bytes);
  return { ...kernel, unpackedFrom: { name, compression: payload.compression } };
}

/** A gzip'd kernel file. Its last four bytes are its size, as in a payload. */
export function gunzipFile(name: string, bytes: Uint8Array, host: HostUnpackers, limit = UNPACK_LIMIT): Uint8Array {
  return unpackNamed(name, `gzip file of ${bytes.length} bytes`, () => {
    sizeTrailer(bytes);
    return unpack(bytes, 'gzip', limit, host);
  });
}

function unpackNamed(name: string, where: string, work: () => Uint8Array): Uint8Array {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DamagedStream)) throw error;
    throw damaged(name, where, error.message);
  }
}
