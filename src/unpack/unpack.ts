/** Unpacking: the seven ways in which a kernel's payload may be compressed.
 *
 * A payload is recognised by its first bytes. Its last four bytes are the unpacked size: gzip's own ISIZE, and appended by
 * the kernel's build for all others, so they are no part of the stream. That size is compared with the caller's limit before
 * anything is allocated, a stream that gives more or less is refused, and no decoder ever writes past it.
 * Follows: Linux Documentation/x86/boot.rst (magics) and scripts/Makefile.lib (trailer).
 * May not: import from Node; gzip is the host's, through HostUnpackers.   Next: unpack/stream.ts. */
import { unbzip2 } from './bzip2.ts';
import { unlz4 } from './lz4.ts';
import { unlzmaAlone } from './lzma.ts';
import { unlzop } from './lzo.ts';
import { DamagedStream } from './stream.ts';
import { unxz } from './xz.ts';
import { unzstd } from './zstd.ts';

/** What the host does better than we could. Its errors must be Errors; their message is shown. */
export interface HostUnpackers {
  /** Unpacks one gzip file; throws when it would give more than `maxOutput` bytes. */
  gunzip(bytes: Uint8Array, maxOutput: number): Uint8Array;
}

export type CompressionName = 'gzip' | 'bzip2' | 'lzma' | 'xz' | 'lzo' | 'lz4' | 'zstd';

/** In the order in which Xen's builder asks. LZMA has no magic, 5d 00 is its usual first property bytes. */
const MAGICS: readonly (readonly [CompressionName, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['gzip', [0x1f, 0x9e]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['lzma', [0x5d, 0x00]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f, 0x00]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
];

const DECODERS: Record<Exclude<CompressionName, 'gzip'>, (input: Uint8Array, out: Uint8Array) => number> = {
  bzip2: unbzip2,
  lzma: unlzmaAlone,
  xz: unxz,
  lzo: unlzop,
  lz4: unlz4,
  zstd: unzstd,
};

export function compressionOf(bytes: Uint8Array): CompressionName | undefined {
  return MAGICS.find(([, magic]) => magic.every((byte, i) => bytes[i] === byte))?.[0];
}

/** The little-endian word in the last four bytes. */
export function sizeTrailer(payload: Uint8Array): number {
  const at = payload.length - 4;
  if (at < 0) throw new DamagedStream(`${payload.length} bytes have no room for the 4-byte size trailer`);
  return (payload[at] | (payload[at + 1] << 8) | (payload[at + 2] << 16) | (payload[at + 3] << 24)) >>> 0;
}

/** Unpacks a payload with its size trailer. Throws a DamagedStream; never allocates more than `limit` for the output. */
export function unpack(
  payload: Uint8Array,
  compression: CompressionName,
  limit: number,
  host: HostUnpackers,
): Uint8Array {
  const size = sizeTrailer(payload);
  if (size > limit) {
    throw new DamagedStream(`its size trailer promises ${size} bytes, and the limit is ${limit} bytes`);
  }
  if (size === 0) throw new DamagedStream('its size trailer promises 0 bytes');
  let out: Uint8Array;
  let written: number;
  if (compression === 'gzip') {
    out = gunzip(payload, size, host);
    written = out.length;
  } else {
    out = allocate(size);
    written = DECODERS[compression](payload.subarray(0, -4), out);
  }
  if (written !== size) {
    throw new DamagedStream(`it unpacks to ${written} bytes, and its size trailer promises ${size}`);
  }
  return out;
}

function gunzip(payload: Uint8Array, size: number, host: HostUnpackers): Uint8Array {
  try {
    return host.gunzip(payload, size);
  } catch (error) {
    throw new DamagedStream((error as Error).message);
  }
}

/** The host may have less memory than the limit allows. */
function allocate(size: number): Uint8Array {
  try {
    return new Uint8Array(size);
  } catch {
    throw new DamagedStream(`the host has no memory for the ${size} bytes that its size trailer promises`);
  }
}
