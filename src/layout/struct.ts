/** One table per C struct that crosses the guest boundary.
 *
 * `struct` turns a table of fields into everything the rest of the project needs: reading, writing, the printed form
 * and the `_Static_assert` lines that the guest's C is compiled with. An overlap, an undeclared gap or a field past the
 * end stops the program when the file loads, and the complaint names the header. All numbers are little-endian.
 * May not: know about guest memory; whatever has `bytes(at, length)` will do, and so will a Uint8Array.
 * Next: layout/setup-header.ts, the first struct that a kernel file shows us. */
import { AssertionError, assert } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';

/** Where a struct is read from or written to. The returned bytes are a view, so writing to them writes there. */
export interface ByteTarget {
  bytes(at: number, length: number): Uint8Array;
}
export type ByteSource = Uint8Array | ByteTarget;

/** What a field's value means to people. */
export type Meaning = {
  text?: string;
  /** Names of single bits, lowest first; undefined for a bit without a name. */
  bits?: readonly (string | undefined)[];
  /** Names of whole values. */
  values?: Readonly<Record<number, string>>;
  /** First boot protocol version that has the field, as 0x0208. */
  since?: number;
};

type Kind = 'u8' | 'u16' | 'u32' | 'u64' | 'bytes' | 'cstring' | 'array' | 'nested';

/** One row of a table. `T` is what reading gives, `W` what writing takes. */
export type Field<T = unknown, W = T> = {
  readonly kind: Kind;
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
  readonly meaning: Meaning;
  get(view: DataView, at: number): T;
  set(view: DataView, at: number, value: W): void;
  print(value: T, name: string, offset: number): PrintedField[];
};

export type PrintedField = { offset: number; name: string; value: string; meaning: string };

// biome-ignore lint/suspicious/noExplicitAny: a table holds fields of every type
export type Fields = Record<string, Field<any, any>>;
export type Values<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T, infer _W> ? T : never };
export type Writable<F extends Fields> = { [K in keyof F]?: F[K] extends Field<infer _T, infer W> ? W : never };
/** The values that a struct's `read` gives: `type E820 = ValuesOf<typeof E820Entry>`. */
export type ValuesOf<S> = S extends Struct<infer F> ? Values<F> : never;

export type Options = {
  /** The header that defines the struct. */
  from: string;
  /** In bytes, from `origin` on. */
  size: number;
  /** Ranges without a name, as [offset, length]. */
  reserved?: readonly (readonly [number, number])[];
  /** The offset that the table's first byte carries. setup_header is written with the offsets of the file (0x1f1...),
   * as its documentation has them; reading and writing then take the address of the file's or zero page's start. */
  origin?: number;
  /** The C name is a typedef, not a struct tag. */
  typedef?: boolean;
};

export type Struct<F extends Fields> = {
  readonly cName: string;
  readonly from: string;
  /** In bytes. */
  readonly size: number;
  readonly origin: number;
  readonly fields: F;
  offsetOf(name: keyof F): number;
  /** Reads all fields; `at` is the address of offset 0. The caller has checked that they are there (`fits`). */
  read(source: ByteSource, at?: number): Values<F>;
  /** Writes the fields that are given and leaves the others as they are. */
  write(target: ByteSource, at: number, values: Writable<F>): void;
  /** Whether the whole struct lies within `length` bytes when offset 0 is at `at`. */
  fits(length: number, at?: number): boolean;
  /** Rows for people; `at` is added to the offsets. */
  print(values: Values<F>, at?: number): PrintedField[];
  /** C lines that hold only if the compiler's layout is this one. */
  staticAsserts(cType?: string): string;
};

export function struct<F extends Fields>(cName: string, options: Options, fields: F): Struct<F> {
  const { from, size, reserved = [], origin = 0, typedef = false } = options;
  check(cName, options, fields);
  const rows = Object.entries(fields);
  const type = typedef ? cName : `struct ${cName}`;

  return {
    cName, from, size, origin, fields,
    offsetOf: (name) => fields[name].offset,
    fits: (length, at = 0) => at + origin >= 0 && at + origin + size <= length,
    read(source, at = 0) {
      const view = viewOf(source, at + origin, size, cName);
      return Object.fromEntries(rows.map(([name, field]) => [name, field.get(view, field.offset - origin)])) as Values<F>;
    },
    write(target, at, values) {
      const view = viewOf(target, at + origin, size, cName);
      for (const [name, value] of Object.entries(values)) {
        if (value === undefined) continue;
        const field = fields[name];
        assert(field, `struct ${cName} (${from}) has a field ${name}`);
        try {
          field.set(view, field.offset - origin, value);
        } catch (error) {
          throw new AssertionError(`${(error as Error).message} (${cName}.${name}, ${from})`);
        }
      }
    },
    print: (values, at = 0) => rows.flatMap(([name, field]) => field.print(values[name] as never, name, at + field.offset)),
    staticAsserts(cType = type) {
      const lines = rows.map(([name, { offset }]) =>
        `_Static_assert(__builtin_offsetof(${cType}, ${name}) == ${hex(offset - origin)}, "${cName}.${name}: ${from}");`);
      return [...lines, `_Static_assert(sizeof(${cType}) == ${hex(size)}, "${cName}: ${from}");`, ''].join('\n');
    },
  }; // biome-ignore format: one line per operation

  function check(name: string, { from: header, size: total }: Options, table: Fields) {
    const pieces = [
      ...Object.entries(table).map(([field, f]) => ({ what: field, start: f.offset, end: f.offset + f.size })),
      ...reserved.map(([start, length]) => ({ what: 'a reserved range', start, end: start + length })),
    ].sort((a, b) => a.start - b.start);
    const complain = (belief: string): never => {
      throw new AssertionError(`struct ${name} (${header}): ${belief}`);
    };
    let end = origin;
    let before = 'its start';
    for (const piece of pieces) {
      if (piece.start < end)
        complain(`${piece.what} at ${hex(piece.start)} overlaps ${before}, which ends at ${hex(end)}`);
      if (piece.start > end)
        complain(`nothing is declared between ${before} (${hex(end)}) and ${piece.what} (${hex(piece.start)})`);
      end = piece.end;
      before = piece.what;
    }
    if (end > origin + total) complain(`${before} ends at ${hex(end)}, past the size ${hex(total)}`);
    if (end < origin + total)
      complain(`nothing is declared between ${before} (${hex(end)}) and the end (${hex(origin + total)})`);
  }
}

function viewOf(source: ByteSource, at: number, length: number, cName: string): DataView {
  let bytes: Uint8Array;
  if (source instanceof Uint8Array) {
    assert(at >= 0 && at + length <= source.length, `struct ${cName} at ${hex(at)} lies within ${source.length} bytes`);
    bytes = source.subarray(at, at + length);
  } else bytes = source.bytes(at, length);
  return new DataView(bytes.buffer, bytes.byteOffset, length);
}

type About = string | Meaning;
const about = (meaning: About = {}): Meaning => (typeof meaning === 'string' ? { text: meaning } : meaning);

function unsigned(kind: 'u8' | 'u16' | 'u32', size: 1 | 2 | 4) {
  const top = 2 ** (8 * size);
  return (offset: number, meaning?: About): Field<number> => ({
    kind, offset, size, meaning: about(meaning),
    get: (view, at) => size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true),
    set(view, at, value) {
      assert(Number.isInteger(value) && value >= 0 && value < top, `${value} is a ${kind}`);
      if (size === 1) view.setUint8(at, value);
      else if (size === 2) view.setUint16(at, value, true);
      else view.setUint32(at, value, true);
    },
    print(value, name, where) {
      return [{ offset: where, name, value: hex(value), meaning: explain(value, this.meaning) }];
    },
  }); // biome-ignore format: one line per operation
}

/** Unsigned little-endian integers: `u32(offset, meaning)`. */
export const u8 = unsigned('u8', 1);
export const u16 = unsigned('u16', 2);
export const u32 = unsigned('u32', 4);

/** 64 bits are a bigint when read; writing also takes a number. */
export const u64 = (offset: number, meaning?: About): Field<bigint, bigint | number> => ({
  kind: 'u64', offset, size: 8, meaning: about(meaning),
  get: (view, at) => view.getBigUint64(at, true),
  set(view, at, value) {
    assert(typeof value === 'bigint' || Number.isSafeInteger(value), `${value} is a u64`);
    assert(value >= 0 && BigInt(value) < 1n << 64n, `${value} is a u64`);
    view.setBigUint64(at, BigInt(value), true);
  },
  print(value, name, where) {
    return [{ offset: where, name, value: hex(value), meaning: explain(Number(value), this.meaning) }];
  },
}); // biome-ignore format: one line per operation

const slice = (view: DataView, at: number, size: number) => new Uint8Array(view.buffer, view.byteOffset + at, size);

/** Bytes without structure; reading gives a copy. */
export const bytes = (offset: number, size: number, meaning?: About): Field<Uint8Array> => ({
  kind: 'bytes', offset, size, meaning: about(meaning),
  get: (view, at) => slice(view, at, size).slice(),
  set(view, at, value) {
    assert(value.length <= size, `${value.length} bytes fit into ${size}`);
    const place = slice(view, at, size);
    place.fill(0);
    place.set(value);
  },
  print: (value, name, where) => [{ offset: where, name, value: shortHex(value), meaning: about(meaning).text ?? '' }],
}); // biome-ignore format: one line per operation

/** A NUL-padded string of one byte per character. */
export const cstring = (offset: number, size: number, meaning?: About): Field<string> => ({
  kind: 'cstring', offset, size, meaning: about(meaning),
  get: (view, at) => latin1(slice(view, at, size)),
  set(view, at, value) {
    const narrow = [...value].every((char) => char > '\0' && char <= '\xff');
    assert(narrow && value.length <= size, `${JSON.stringify(value)} is a string of up to ${size} bytes`);
    const place = slice(view, at, size);
    place.fill(0);
    for (let i = 0; i < value.length; i++) place[i] = value.charCodeAt(i);
  },
  print: (value, name, where) => [{ offset: where, name, value: JSON.stringify(value), meaning: about(meaning).text ?? '' }],
}); // biome-ignore format: one line per operation

/** A struct inside a struct. A nested table with an origin keeps its own offsets. */
export const nested = <F extends Fields>(offset: number, inner: Struct<F>, meaning?: About): Field<Values<F>, Writable<F>> => ({
  kind: 'nested', offset, size: inner.size, meaning: about(meaning),
  get: (view, at) => inner.read(slice(view, at, inner.size), -inner.origin),
  set: (view, at, value) => inner.write(slice(view, at, inner.size), -inner.origin, value),
  print: (value, name, where) =>
    inner.print(value, where - inner.origin).map((row) => ({ ...row, name: `${name}.${row.name}` })),
}); // biome-ignore format: one line per operation

/** `count` elements, each as `element(0)` or a struct describes it; writing may give fewer, the others stay. */
export function array<T, W>(
  offset: number,
  element: (offset: number) => Field<T, W>,
  count: number,
  meaning?: About,
): Field<T[], readonly W[]> {
  const one = element(0);
  return {
    kind: 'array', offset, size: one.size * count, meaning: about(meaning),
    get: (view, at) => Array.from({ length: count }, (_, i) => one.get(view, at + i * one.size)),
    set(view, at, values) {
      assert(values.length <= count, `${values.length} elements fit into ${count}`);
      values.forEach((value, i) => { one.set(view, at + i * one.size, value); });
    },
    print(values, name, where) {
      const used = values.findLastIndex((value) => !isZero(value)) + 1;
      const rows = values.slice(0, used).flatMap((value, i) => one.print(value, `${name}[${i}]`, where + i * one.size));
      if (used === values.length) return rows;
      const zero = `${values.length - used} ${used ? 'more ' : ''}elements, all zero`;
      return [...rows, { offset: where + used * one.size, name: `${name}[${used}...]`, value: '0', meaning: zero }];
    },
  }; // biome-ignore format: one line per operation
}

/** Bytes up to the first NUL, one character each. */
export function latin1(text: Uint8Array): string {
  const end = text.indexOf(0);
  let out = '';
  for (const byte of end < 0 ? text : text.subarray(0, end)) out += String.fromCharCode(byte);
  return out;
}

function explain(value: number, { text, bits, values }: Meaning): string {
  const parts = text ? [text] : [];
  if (values?.[value]) parts.unshift(values[value]);
  if (bits && value) {
    const names: string[] = [];
    for (let i = 0; i < 32; i++) if ((value >>> i) & 1) names.push(bits[i] ?? `bit ${i}`);
    parts.unshift(names.join(' | '));
  }
  return parts.join('; ');
}

function shortHex(data: Uint8Array): string {
  if (data.every((byte) => byte === 0)) return `${data.length} bytes, all zero`;
  const digits = Array.from(data.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return data.length > 16 ? `${digits} ... (${data.length} bytes)` : digits;
}

function isZero(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isZero);
  return value === 0 || value === 0n || value === '';
}
