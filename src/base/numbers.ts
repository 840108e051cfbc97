/** Numbers as this project prints, parses and aligns them.
 *
 * Hex is 0x, lower case, without separators; sizes take K, M and G; nothing here knows what a number is for.
 * Next: base/errors.ts. */
import { VmError } from './errors.ts';

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** `0x` and lower-case digits, padded to `digits` when given. */
export function hex(value: number | bigint, digits = 0): string {
  if (value < 0) return `-${hex(-value as number, digits)}`;
  return `0x${value.toString(16).padStart(digits, '0')}`;
}

/** Rounds up to a multiple of `to` (any positive number, a power of two in practice). */
export function alignUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

export function alignDown(value: number, to: number): number {
  return Math.floor(value / to) * to;
}

/** A number as users type it: decimal or 0x. Throws a VmError that names the option. */
export function parseNumber(text: string, option: string): number {
  const value = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new VmError({
    what: `${option} is not a number: ${JSON.stringify(text)}`,
    where: option,
    why: 'a decimal number or 0x and hexadecimal digits is expected',
    fix: `write it as in ${option} 1048576 or ${option} 0x100000`,
  });
}

/** A size as users type it: a number with K, M or G behind it, in bytes. */
export function parseSize(text: string, option: string): number {
  const match = /^(0x[0-9a-f]+|[0-9]+)([kmg]?)(i?b)?$/i.exec(text.trim());
  const unit = { '': 1, k: KiB, m: MiB, g: GiB }[match?.[2]?.toLowerCase() ?? ''] ?? 1;
  const value = match ? Number(match[1]) * unit : Number.NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new VmError({
    what: `${option} is not a size: ${JSON.stringify(text)}`,
    where: option,
    why: 'a number of bytes, or a number with K, M or G behind it, is expected',
    fix: `write it as in ${option} 256M`,
  });
}

/** 268435456 → "256 MiB"; sizes that are no multiple stay in bytes. */
export function formatSize(bytes: number): string {
  for (const [unit, name] of [
    [GiB, 'GiB'],
    [MiB, 'MiB'],
    [KiB, 'KiB'],
  ] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit} ${name}`;
  }
  return `${bytes} bytes`;
}
