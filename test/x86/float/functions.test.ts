/** The x87's functions, rounded correctly in every mode: held to an arbitrary-precision library's values (mpmath, 700 bits;
 * for the trigonometric ones with the 66-bit pi of x87 units). A line: function, rounding, ST(0), ST(1), result. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { squareRoot } from '../../../src/x86/float/arithmetic.ts';
import { EXCEPTION, FloatContext, ROUNDING, type Rounding } from '../../../src/x86/float/context.ts';
import { decode, EXTENDED80, encode, Float } from '../../../src/x86/float/formats.ts';
import * as functions from '../../../src/x86/float/functions.ts';
import { remainder } from '../../../src/x86/float/remainder.ts';

const OPERATIONS: Record<string, (ctx: FloatContext, top: Float, second: Float) => Float> = {
  fsin: (ctx, top) => functions.sine(ctx, top),
  fcos: (ctx, top) => functions.cosine(ctx, top),
  fptan: functions.tan,
  f2xm1: functions.exp2MinusOne,
  fpatan: (ctx, top, second) => functions.atan2(ctx, second, top),
  fyl2x: (ctx, top, second) => functions.yLog2(ctx, second, top),
  fyl2xp1: (ctx, top, second) => functions.yLog2OfOnePlus(ctx, second, top),
};
const lines = readFileSync(new URL('functions.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n');
const of80 = (hex: string): Float => decode(new Float(), EXTENDED80, BigInt(`0x${hex}`));
const hex80 = (value: Float): string => encode(value, EXTENDED80).toString(16).padStart(20, '0');

describe('functions are correctly rounded', () => {
  test.each(Object.keys(OPERATIONS))('%s', (name) => {
    const own = lines.map((line) => line.split(' ')).filter(([which]) => which === name);
    expect(own).toHaveLength(12);
    for (const [, mode, top, second, expected] of own) {
      const ctx = new FloatContext();
      ctx.rounding = Number(mode) as Rounding;
      expect(hex80(OPERATIONS[name](ctx, of80(top), of80(second))), `${name} ${mode} ${top} ${second}`).toBe(expected);
      expect(ctx.flags).toBe(EXCEPTION.PE);
    }
  });

  test('of numbers too small for the series, in the direction that rounding asks for', () => {
    const tiny = '3f808000000000000000';
    const results = [ROUNDING.DOWN, ROUNDING.UP].map((rounding) => {
      const ctx = new FloatContext();
      ctx.rounding = rounding;
      return ['fsin', 'fptan', 'fcos'].map((name) => hex80(OPERATIONS[name](ctx, of80(tiny), of80(tiny))));
    });
    expect(results).toEqual([
      ['3f7fffffffffffffffff', tiny, '3ffeffffffffffffffff'],
      [tiny, '3f808000000000000001', '3fff8000000000000000'],
    ]);
  });
});

describe('the 80-bit format', () => {
  test('takes a wide range of remainders step by step, and is exact', () => {
    // 2^1000 mod 3 is 1.
    const ctx = new FloatContext();
    let value = of80('43e78000000000000000');
    for (let steps = 1; ; steps++) {
      const step = remainder(ctx, value, of80('4000c000000000000000'), false);
      value = new Float().copy(step.value);
      if (!step.complete) continue;
      expect([hex80(value), steps]).toEqual(['3fff8000000000000000', 16]);
      break;
    }
    expect(ctx.flags).toBe(0);
  });

  test('adjusts the exponent of an unmasked overflow or underflow by 24576', () => {
    const ctx = new FloatContext();
    ctx.masks = 0x3f & ~EXCEPTION.OE & ~EXCEPTION.UE;
    const big = hex80(functions.scale(ctx, of80('3fff8000000000000000'), of80('400d9c40000000000000'))); // 2^20000
    expect([big, ctx.flags]).toEqual(['2e1f8000000000000000', EXCEPTION.OE]);
    ctx.flags = 0;
    const small = hex80(functions.scale(ctx, of80('3fff8000000000000000'), of80('c00d9c40000000000000')));
    expect([small, ctx.flags]).toEqual(['51df8000000000000000', EXCEPTION.UE]);
  });

  test('narrows roots to 24 and 53 bits by the precision control', () => {
    const results = ([24, 53, 64] as const).map((precision) => {
      const ctx = new FloatContext();
      ctx.precision = precision;
      return hex80(squareRoot(ctx, EXTENDED80, of80('40008000000000000000')));
    });
    expect(results).toEqual(['3fffb504f30000000000', '3fffb504f333f9de6800', '3fffb504f333f9de6484']);
  });
});
