/** A struct in memory, field by field, in words.
 *
 * Pointers get the name of what they point to, which turns a table of functions such as pv_ops into a list of names;
 * numbers of an enum get theirs; an array of char is a string. What is zero all over is said once for a run of array
 * elements, and padding only when it is not zero.
 * Next: symbols/variables.ts, which type a variable has. */
import { hex } from '../base/numbers.ts';
import type { Btf } from './btf.ts';
import { type Field, type FlattenOptions, flatten, flattenType, readField } from './flatten.ts';

export type DecodedField = Field & {
  /** The number, where the field is one and its bytes were there. */
  value?: bigint;
  /** For people: `0xffffffff81234560 <native_read_cr0>`, `XEN_PV_DOMAIN (1)`, `"console=ttyS0"`. */
  text: string;
};

export type DecodeOptions = Omit<FlattenOptions, 'elide'> & {
  /** `start_kernel+0x12` for an address, as Machine.symbolise gives it. */
  symbolise?: (address: bigint) => string | undefined;
  /** List every element and every padding, also those that are zero. */
  everything?: boolean;
};

/** What `bytes` say when they are one `type`: a name, as `flatten` takes it, or a number of the Btf. */
export function decode(btf: Btf, bytes: Uint8Array, type: string | number, options: DecodeOptions = {}): DecodedField[] {
  const { everything = false, symbolise } = options;
  const isZero = (offset: number, size: number) => offset + size <= bytes.length && isAllZero(bytes.subarray(offset, offset + size));
  const how = { ...options, elide: everything ? undefined : isZero };
  const fields = typeof type === 'string' ? flatten(btf, type, how) : flattenType(btf, type, how);
  const decoded: DecodedField[] = [];
  for (const field of fields) {
    const value = readField(bytes, field);
    const isQuiet = field.kind === 'padding' && (value === 0n || isZero(field.offset, field.size) || field.offset >= bytes.length);
    if (isQuiet && !everything) continue;
    decoded.push({ ...field, value, text: textOf(btf, bytes, field, value, symbolise) });
  }
  return decoded;
} // biome-ignore format: short

/** Lines for people: offset, path, value, type. */
export function formatDecoded(fields: readonly DecodedField[]): string[] {
  const where = fields.map(({ offset, bit, bits, size }) => `+${hex(offset)}${bits === 8 * size ? '' : `:${bit}`}`);
  const columns = [where, fields.map(({ path }) => path || '(value)'), fields.map(({ text }) => text)];
  const widths = columns.map((column) => Math.min(56, Math.max(0, ...column.map((cell) => cell.length))));
  return fields.map(({ type, bits, size, kind }, row) => {
    const declared = bits === 8 * size || kind === 'padding' ? type : `${type} : ${bits}`;
    return [...columns.map((column, i) => column[row].padEnd(widths[i])), declared].join('  ').trimEnd();
  });
}

function textOf(btf: Btf, bytes: Uint8Array, field: Field, value: bigint | undefined, symbolise: DecodeOptions['symbolise']): string {
  if (field.offset + field.size > bytes.length) return '(not captured)';
  if (value === undefined) {
    const part = bytes.subarray(field.offset, field.offset + field.size);
    return field.kind === 'text' ? textOfString(part) : textOfBytes(part);
  }
  switch (field.kind) {
    case 'signed':
      return value > -10n && value < 10n ? String(value) : `${value} (${hex(BigInt.asUintN(field.bits, value))})`;
    case 'bool':
      return value === 0n ? 'false' : value === 1n ? 'true' : `${hex(value)} (neither true nor false)`;
    case 'enum':
      return textOfEnum(btf, field, value);
    case 'pointer': {
      if (value === 0n) return 'NULL';
      const name = symbolise?.(value);
      return name === undefined ? hex(value) : `${hex(value)} <${name}>`;
    }
    default:
      return value < 10n ? String(value) : hex(value);
  }
} // biome-ignore format: a case each

function textOfEnum(btf: Btf, { typeId, bits }: Field, value: bigint): string {
  const type = btf.type(btf.resolve(typeId));
  if (type.kind !== 'enum' && type.kind !== 'enum64') return String(value);
  const number = type.signed ? BigInt.asIntN(bits, value) : value;
  const known = type.values.find((each) => each.value === number);
  return known ? `${known.name} (${number})` : `${number} (no name)`;
}

/** Up to the NUL; letters as they are, other bytes escaped. */
function textOfString(bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  const shown = bytes.subarray(0, Math.min(nul < 0 ? bytes.length : nul, 256));
  const letters = Array.from(shown, (byte) => {
    if (byte === 0x22 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  });
  const cut = (nul < 0 ? bytes.length : nul) > 256 ? '...' : '';
  const behind = nul >= 0 && !isAllZero(bytes.subarray(nul)) ? ' and more behind the NUL' : '';
  return `"${letters.join('')}"${cut}${behind}`;
}

function textOfBytes(bytes: Uint8Array): string {
  if (isAllZero(bytes)) return bytes.length === 1 ? '0' : 'zero';
  const shown = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return bytes.length > 16 ? `${shown} ... (${bytes.length} bytes)` : shown;
}

function isAllZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
