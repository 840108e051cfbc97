import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../src/base/errors.ts';
import {
  bytes, flag, integer, keepFields, listOf, maybe, oneOf, putFields, real, record, type Saved, text, uint32s, whole, wide,
} from '../../src/base/saved.ts'; // biome-ignore format: a list
import { decodeSaved, encodeSaved } from '../../src/base/saved-codec.ts';

const values: fc.Arbitrary<Saved> = fc.letrec<{ value: Saved }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<Saved>(undefined, true, false, 0, -0, 1.5, -1, Number.POSITIVE_INFINITY, 2 ** 53),
    fc.bigInt({ min: -(1n << 127n), max: (1n << 127n) - 1n }),
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 20 }),
    fc.int32Array({ maxLength: 9 }),
    fc.uint32Array({ maxLength: 9 }),
    fc.float64Array({ maxLength: 9, noNaN: true }),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
})).value;

describe('the bytes of saved values', () => {
  it('give the values back, with their types', () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(decodeSaved(encodeSaved(value), 'it')).toEqual(value);
      }),
    );
  });

  it('are refused as an ImageError when they are cut short, and never end in anything else when they are changed', () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, place, change) => {
        const whole = encodeSaved(value);
        expect(() => decodeSaved(whole.slice(0, place % whole.length), 'it')).toThrow(ImageError);
        const changed = whole.slice();
        changed[place % whole.length] ^= change;
        try {
          decodeSaved(changed, 'it'); // other values may come of it
        } catch (error) {
          expect(error).toBeInstanceOf(ImageError);
        }
      }),
    );
  });

  it('may not ask for more than there is, or nest for ever', () => {
    const huge = Uint8Array.of(6, 0xff, 0xff, 0xff, 0xff); // a list of 2^32 - 1
    expect(() => decodeSaved(huge, 'it')).toThrow(/tells of 4294967295 elements in 0 bytes/);
    const deep = Uint8Array.from(Array.from({ length: 500 }, () => [6, 1, 0, 0, 0]).flat());
    expect(() => decodeSaved(deep, 'it')).toThrow(/nested deeper/);
    expect(() => decodeSaved(Uint8Array.of(99), 'it')).toThrow(/no kind of value 99/);
  });
});

describe('a shape', () => {
  const shape = record({
    name: text,
    sizes: listOf(whole(10), 2),
    more: maybe(wide),
    kind: oneOf('a', 'b'),
    on: flag,
    at: real,
  });
  const good = { name: 'x', sizes: [1, 10], more: undefined, kind: 'b', on: true, at: 0.5 } as const;

  it('gives back what fits', () => {
    expect(shape(good, 'it')).toEqual(good);
    expect(shape({ ...good, more: 5n }, 'it').more).toBe(5n);
  });

  const cases: readonly [what: string, saved: Saved, says: RegExp][] = [
    ['no record', [1], /where: it\n {2}why: {3}expected a record, found Array/],
    ['a field that nobody knows', { ...good, other: 1 }, /"other", which nobody knows/],
    ['a field that is missing', { name: 'x' }, /no "sizes"/],
    ['a number out of bounds', { ...good, sizes: [1, 11] }, /it\.sizes\[1\]\n.*from 0 to 10/],
    ['a list of another length', { ...good, sizes: [1] }, /expected 2, found 1/],
    ['a number that is not whole', { ...good, sizes: [1, 0.5] }, /whole number/],
    ['no number', { ...good, at: Number.NaN }, /a number/],
    ['more than 64 bits', { ...good, more: 1n << 64n }, /64 bits/],
    ['a word that is none of them', { ...good, kind: 'c' }, /one of a, b/],
    ['what is no flag', { ...good, on: 1 }, /true or false/],
  ];
  for (const [what, saved, says] of cases) {
    it(`refuses ${what}, with the place`, () => {
      expect(() => shape(saved, 'it')).toThrow(ImageError);
      expect(() => shape(saved, 'it')).toThrow(says);
    });
  }

  it('keeps and puts back the fields of an object, arrays in place', () => {
    const from = { a: 1, b: Uint8Array.of(1, 2), wire: () => 0 };
    const fields = { a: integer, b: bytes(2) };
    const saved = keepFields(from, fields);
    const to = { a: 7, b: new Uint8Array(2), wire: from.wire };
    const array = to.b;
    putFields(to, fields, saved, 'it');
    expect(to).toEqual(from);
    expect(to.b).toBe(array);
    expect(() => putFields({ b: new Uint32Array(3) }, { b: uint32s() }, { b: new Uint32Array(2) }, 'it')).toThrow(
      /3 elements/,
    );
  });
});
