/** bzImage: a boot sector, 16-bit setup code and the protected-mode code that unpacks the kernel inside it.
 *
 * Every protocol version from 2.00 on is read; fields that are newer than the file's version read as 0, because what
 * stands in their place there is code. The file's CRC is not checked: signing changes it.
 * Follows: Linux Documentation/x86/boot.rst.   Next: image/unpack-kernel.ts, for what is inside. */
import { hex } from '../base/numbers.ts';
import {
  BOOT_FLAG,
  HDRS_MAGIC,
  LOADED_HIGH,
  SetupHeader,
  type SetupHeaderValues,
  XLF_KERNEL_64,
} from '../layout/setup-header.ts';
import { latin1, struct, u32 } from '../layout/struct.ts';
import { compressionOf, sizeTrailer } from '../unpack/unpack.ts';
import { cutOff, damaged } from './damage.ts';
import type { BzImage, Payload } from './kernel-image.ts';
import { findMultiboot } from './multiboot.ts';

const SECTOR = 512;
/** The setup header's room in the zero page ends here. */
const HEADER_ROOM_END = 0x290;
const LONGEST_VERSION_STRING = 512;

const KernelInfo = struct('kernel_info', { from: 'linux/arch/x86/boot/compressed/kernel_info.S', size: 16 }, {
  header: u32(0, '"LToP"'),
  size: u32(4),
  size_total: u32(8),
  setup_type_max: u32(12),
}); // biome-ignore format: a table
const LTOP_MAGIC = 0x506f_544c;

/** Whether "HdrS" stands where a bzImage has it. */
export function looksLikeBzImage(bytes: Uint8Array): boolean {
  return bytes.length >= 0x206 && wordAt(bytes, SetupHeader.offsetOf('header')) === HDRS_MAGIC;
}

/** Takes a file for which `looksLikeBzImage` holds. */
export function parseBzImage(name: string, bytes: Uint8Array): BzImage {
  const warnings: string[] = [];
  if (bytes.length < 0x208) throw cutOff(name, 'the boot protocol version', 0x208, bytes.length);
  const protocol = bytes[0x206] | (bytes[0x207] << 8);
  if (protocol < 0x200 || protocol > 0x2ff) {
    throw damaged(name, 'version (0x206)', `boot protocol ${hex(protocol, 4)} is none of 2.x`);
  }
  const { setupHeader, headerEnd } = readHeader(name, bytes, protocol, warnings);
  const protectedModeOffset = ((setupHeader.setup_sects || 4) + 1) * SECTOR;
  if (protectedModeOffset > bytes.length) throw cutOff(name, 'the setup code', protectedModeOffset, bytes.length);
  if (protectedModeOffset === bytes.length) {
    throw damaged(name, 'setup_sects (0x1f1)', `nothing follows its ${protectedModeOffset} bytes of setup code`);
  }
  const protectedModeBytes = bytes.subarray(protectedModeOffset);

  // Before 2.04 the field was two bytes wide, and what the upper half holds is anybody's guess.
  const paragraphs = protocol >= 0x204 ? setupHeader.syssize : setupHeader.syssize & 0xffff;
  if (protectedModeBytes.length <= (paragraphs - 1) * 16) {
    throw cutOff(name, 'the protected-mode code (syssize, 0x1f4)', protectedModeOffset + paragraphs * 16, bytes.length);
  }

  return {
    format: 'bzimage', name, bytes, warnings, setupHeader, protocol, headerEnd, protectedModeOffset, protectedModeBytes,
    setupBytes: bytes.subarray(0, protectedModeOffset),
    loadedHigh: (setupHeader.loadflags & LOADED_HIGH) !== 0,
    has64BitEntry: (setupHeader.xloadflags & XLF_KERNEL_64) !== 0,
    kernelVersion: versionString(bytes.subarray(0, protectedModeOffset), setupHeader, warnings),
    payload: payload(name, bytes, protectedModeOffset, setupHeader),
    kernelInfo: kernelInfo(protectedModeBytes, setupHeader, warnings),
    multiboot: findMultiboot(bytes),
  }; // biome-ignore format: fields in the type's order
}

function readHeader(name: string, bytes: Uint8Array, protocol: number, warnings: string[]) {
  if (wordAt(bytes, 0x1fe, 2) !== BOOT_FLAG) {
    warnings.push(`boot_flag (0x1fe) is ${hex(wordAt(bytes, 0x1fe, 2), 4)} instead of ${hex(BOOT_FLAG)}`);
  }
  const known = Object.values(SetupHeader.fields).filter(({ meaning }) => (meaning.since ?? 0) <= protocol);
  const expectedEnd = Math.max(...known.map(({ offset, size }) => offset + size));
  let headerEnd = expectedEnd;
  if (bytes[0x200] === 0xeb) headerEnd = 0x202 + bytes[0x201];
  else warnings.push(`jump (0x200) is no short jump, so the header's end ${hex(expectedEnd)} follows from its version`);
  if (headerEnd > HEADER_ROOM_END) {
    const why = `the setup header would end at ${hex(headerEnd)}; its room ends at ${hex(HEADER_ROOM_END)}`;
    throw damaged(name, 'jump (0x200)', why);
  }
  if (headerEnd < 0x208)
    throw damaged(name, 'jump (0x200)', `the setup header would end at ${hex(headerEnd)}, inside its version`);
  if (headerEnd > bytes.length) throw cutOff(name, 'the setup header', headerEnd, bytes.length);
  if (headerEnd < expectedEnd) {
    warnings.push(
      `the header ends at ${hex(headerEnd)}; protocol ${protocolName(protocol)} has fields up to ${hex(expectedEnd)}`,
    );
  }
  const copy = new Uint8Array(SetupHeader.origin + SetupHeader.size);
  copy.set(bytes.subarray(0, Math.min(headerEnd, copy.length)));
  const setupHeader = SetupHeader.read(copy);
  for (const [field, { meaning, offset, size, kind }] of Object.entries(SetupHeader.fields)) {
    if ((meaning.since ?? 0) > protocol || offset + size > headerEnd) {
      (setupHeader as Record<string, number | bigint>)[field] = kind === 'u64' ? 0n : 0;
    }
  }
  return { setupHeader, headerEnd };
}

function versionString(
  setup: Uint8Array,
  { kernel_version }: SetupHeaderValues,
  warnings: string[],
): string | undefined {
  if (kernel_version === 0) return undefined;
  const at = kernel_version + 0x200;
  if (at < setup.length) return latin1(setup.subarray(at, at + LONGEST_VERSION_STRING)).trim();
  warnings.push(`kernel_version (0x20e) points to ${hex(at)}, behind the setup code`);
  return undefined;
}

function payload(name: string, bytes: Uint8Array, codeOffset: number, header: SetupHeaderValues): Payload | undefined {
  const { payload_offset, payload_length } = header;
  if (payload_length === 0) return undefined;
  const offset = codeOffset + payload_offset;
  if (offset + payload_length > bytes.length) {
    throw cutOff(
      name,
      'the payload (payload_offset, 0x248, and payload_length, 0x24c)',
      offset + payload_length,
      bytes.length,
    );
  }
  const packed = bytes.subarray(offset, offset + payload_length);
  const compression = compressionOf(packed);
  if (compression) {
    if (packed.length < 8)
      throw damaged(name, 'payload_length (0x24c)', `${packed.length} bytes hold no ${compression} payload`);
    return { compression, offset, bytes: packed, uncompressedSize: sizeTrailer(packed) };
  }
  const elf = packed.length >= 4 && wordAt(packed, 0) === 0x464c_457f;
  return { compression: elf ? 'none' : 'unknown', offset, bytes: packed, uncompressedSize: packed.length };
}

function kernelInfo(
  code: Uint8Array,
  { kernel_info_offset: offset }: SetupHeaderValues,
  warnings: string[],
): BzImage['kernelInfo'] {
  if (offset === 0) return undefined;
  const info = KernelInfo.fits(code.length, offset) ? KernelInfo.read(code, offset) : undefined;
  if (info?.header === LTOP_MAGIC) {
    return { offset, size: info.size, sizeTotal: info.size_total, setupTypeMax: info.setup_type_max };
  }
  warnings.push(`kernel_info_offset (0x268) is ${hex(offset)}, and no "LToP" is there`);
  return undefined;
}

/** 0x20f is "2.15". */
export function protocolName(protocol: number): string {
  return `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`;
}

function wordAt(bytes: Uint8Array, at: number, size: 2 | 4 = 4): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + bytes[at + i];
  return value;
}
