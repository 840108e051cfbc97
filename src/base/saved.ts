/** Saved: the state of a thing as plain data, and shapes to take such data apart again.
 *
 * Whatever has state that a snapshot must keep says it in these values (`save`) and takes them back (`restore`). Data
 * that comes back comes from a file, so it is never believed: each part passes a shape, which names what it is, and
 * what does not fit is an ImageError with the place in it. Wires, listeners and caches are not state: they are made anew.
 * May not: know who saves.   Next: base/saved-codec.ts. */
import { ImageError } from './errors.ts';

export type Saved =
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Int32Array
  | Uint32Array
  | Float64Array
  | readonly Saved[]
  | { readonly [name: string]: Saved };

/** Something with state. `where` is the place in the snapshot, for messages: "board.uart16550". */
export interface Snapshotable {
  save(): Saved;
  restore(saved: Saved, where: string): void;
}

/** Gives a saved value back with its type, or throws an ImageError. */
export type Shape<T> = (saved: Saved, where: string) => T;

export function misfit(where: string, why: string): ImageError {
  return new ImageError({
    what: 'the snapshot does not fit this machine',
    where,
    why,
    fix: 'save it again with this version of zeropage',
  });
}

const kindOf = (saved: Saved): string => {
  if (typeof saved !== 'object')
    return saved === undefined ? 'nothing' : `${typeof saved} ${String(saved).slice(0, 40)}`;
  return saved.constructor?.name ?? 'Object';
};

const expected = (where: string, what: string, saved: Saved): ImageError =>
  misfit(where, `expected ${what}, found ${kindOf(saved)}`);

/** Whatever it is, for somebody else to look at. */
export const anything: Shape<Saved> = (saved) => saved;

export const flag: Shape<boolean> = (saved, where) => {
  if (typeof saved !== 'boolean') throw expected(where, 'true or false', saved);
  return saved;
};

/** A whole number from `least` to `most`. */
export const whole =
  (most = Number.MAX_SAFE_INTEGER, least = 0): Shape<number> =>
  (saved, where) => {
    if (typeof saved === 'number' && Number.isSafeInteger(saved) && saved >= least && saved <= most) return saved;
    throw expected(where, `a whole number from ${least} to ${most}`, saved);
  };

export const byte = whole(0xff);
export const word32 = whole(0xffff_ffff);
/** Any whole number, also one below zero. */
export const integer = whole(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER);
/** Any number but NaN; a virtual time may have a fraction or be infinite. */
export const real: Shape<number> = (saved, where) => {
  if (typeof saved !== 'number' || Number.isNaN(saved)) throw expected(where, 'a number', saved);
  return saved;
};

/** 64 bits without a sign. */
export const wide: Shape<bigint> = (saved, where) => {
  if (typeof saved !== 'bigint' || saved < 0n || saved >> 64n !== 0n) throw expected(where, '64 bits', saved);
  return saved;
};

export const text: Shape<string> = (saved, where) => {
  if (typeof saved !== 'string') throw expected(where, 'text', saved);
  return saved;
};

export const oneOf =
  <T extends string | number>(...values: readonly T[]): Shape<T> =>
  (saved, where) => {
    if (values.includes(saved as T)) return saved as T;
    throw expected(where, `one of ${values.join(', ')}`, saved);
  };

export const maybe =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (saved, where) =>
    saved === undefined ? undefined : shape(saved, where);

/** `length`: exactly so many. */
export const listOf =
  <T>(shape: Shape<T>, length?: number): Shape<T[]> =>
  (saved, where) => {
    if (!Array.isArray(saved)) throw expected(where, 'a list', saved);
    if (length !== undefined && saved.length !== length)
      throw misfit(where, `expected ${length}, found ${saved.length}`);
    return saved.map((one: Saved, i) => shape(one, `${where}[${i}]`));
  };

type Words = Uint8Array | Int32Array | Uint32Array | Float64Array;

const array =
  <T extends Words>(kind: { new (length: number): T; readonly name: string }, length?: number): Shape<T> =>
  (saved, where) => {
    if (!(saved instanceof kind)) throw expected(where, kind.name, saved);
    if (length !== undefined && saved.length !== length)
      throw misfit(where, `expected ${length} elements, found ${saved.length}`);
    return saved;
  };

export const bytes = (length?: number): Shape<Uint8Array> => array(Uint8Array, length);
export const int32s = (length?: number): Shape<Int32Array> => array(Int32Array, length);
export const uint32s = (length?: number): Shape<Uint32Array> => array(Uint32Array, length);
export const float64s = (length?: number): Shape<Float64Array> => array(Float64Array, length);

/** Fields by name, and what each is. */
export type FieldShapes = { readonly [name: string]: Shape<unknown> };
export type ValuesOf<F extends FieldShapes> = { [K in keyof F]: ReturnType<F[K]> };

/** An object with these fields and no others. */
export const record =
  <F extends FieldShapes>(fields: F): Shape<ValuesOf<F>> =>
  (saved, where) => {
    if (typeof saved !== 'object' || Array.isArray(saved) || ArrayBuffer.isView(saved))
      throw expected(where, 'a record', saved);
    const found = saved as Record<string, Saved>;
    const names = Object.keys(fields);
    const other = Object.keys(found).find((name) => !Object.hasOwn(fields, name));
    if (other !== undefined) throw misfit(where, `there is ${JSON.stringify(other)}, which nobody knows`);
    const absent = names.find((name) => !Object.hasOwn(found, name));
    if (absent !== undefined) throw misfit(where, `there is no ${JSON.stringify(absent)}`);
    return Object.fromEntries(
      names.map((name) => [name, fields[name](found[name], `${where}.${name}`)]),
    ) as ValuesOf<F>;
  };

/** The named fields of an object. */
export function keepFields(object: object, fields: FieldShapes): Saved {
  const from = object as Record<string, Saved>;
  return Object.fromEntries(Object.keys(fields).map((name) => [name, from[name]]));
}

/** Puts them back: arrays of fixed size are filled, everything else is replaced. */
export function putFields(object: object, fields: FieldShapes, saved: Saved, where: string): void {
  const to = object as Record<string, unknown>;
  const values = record(fields)(saved, where);
  for (const [name, value] of Object.entries(values)) {
    const old = to[name];
    if (!ArrayBuffer.isView(old)) to[name] = value;
    else fill(old as Words, value as Words, `${where}.${name}`);
  }
}

/** Copies saved elements over those of an array that is as long. */
export function fill(to: Words, from: Words, where: string): void {
  if (to.length !== from.length) throw misfit(where, `expected ${to.length} elements, found ${from.length}`);
  to.set(from);
}
