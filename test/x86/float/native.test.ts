/** Soft float against what an AMD EPYC (Zen 4) made of SSE's scalar instructions: random operands with many special ones,
 * all rounding modes, DAZ and FZ. Each line of the file: operation and format, MXCSR, operands, result, exceptions. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { add, divide, multiply, squareRoot, subtract } from '../../../src/x86/float/arithmetic.ts';
import { compare, ORDER } from '../../../src/x86/float/compare.ts';
import { FloatContext, ROUNDING, type Rounding } from '../../../src/x86/float/context.ts';
import { convert, fromInteger, toInteger } from '../../../src/x86/float/convert.ts';
import { BINARY32, BINARY64, decode, encode, Float, type Format } from '../../../src/x86/float/formats.ts';

type Apply = (ctx: FloatContext, format: Format, x: bigint, y: bigint) => bigint;
const a = new Float();
const b = new Float();
const twoOperands =
  (operation: typeof add): Apply =>
  (ctx, format, x, y) =>
    encode(operation(ctx, format, decode(a, format, x), decode(b, format, y)), format);
/** ZF, PF and CF as COMISD sets them. */
const flagsOf = { [ORDER.LESS]: 1n, [ORDER.EQUAL]: 0x40n, [ORDER.GREATER]: 0n, [ORDER.UNORDERED]: 0x45n };

const OPERATIONS: Record<string, Apply> = {
  add: twoOperands(add),
  subtract: twoOperands(subtract),
  multiply: twoOperands(multiply),
  divide: twoOperands(divide),
  root: (ctx, format, _x, y) => encode(squareRoot(ctx, format, decode(b, format, y)), format),
  convert: (ctx, format, _x, y) => {
    const to = format === BINARY32 ? BINARY64 : BINARY32;
    return encode(convert(ctx, to, decode(b, format, y)), to);
  },
  toInteger: (ctx, format, _x, y) => toInteger(ctx, decode(b, format, y), 64),
  truncate: (ctx, format, _x, y) => toInteger(ctx, decode(b, format, y), 32, ROUNDING.ZERO),
  fromInteger: (ctx, format, _x, y) => encode(fromInteger(ctx, format, BigInt.asIntN(64, y)), format),
  quiet: (ctx, format, x, y) => flagsOf[compare(ctx, decode(a, format, x), decode(b, format, y), true)],
  compare: (ctx, format, x, y) => flagsOf[compare(ctx, decode(a, format, x), decode(b, format, y), false)],
};

const lines = readFileSync(new URL('native-sse.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n');

describe('soft float gives results and exceptions of a native run', () => {
  test.each(Object.keys(OPERATIONS))('%s', (name) => {
    const wrong: string[] = [];
    const own = lines.filter((line) => line.startsWith(name) && /^(32|64) /.test(line.slice(name.length)));
    for (const line of own) {
      const [head, ...rest] = line.split(' ');
      const [mxcsr, x, y, result, flags] = rest.map((word) => BigInt(`0x${word}`));
      const ctx = new FloatContext();
      ctx.rounding = Number((mxcsr >> 13n) & 3n) as Rounding;
      ctx.denormalsAreZero = (mxcsr & 0x40n) !== 0n;
      ctx.flushToZero = (mxcsr & 0x8000n) !== 0n;
      const ours = OPERATIONS[name](ctx, head.endsWith('32') ? BINARY32 : BINARY64, x, y);
      if (ours !== result || ctx.flags !== Number(flags)) wrong.push(`${line}: ${ours.toString(16)} ${ctx.flags}`);
    }
    expect(own.length).toBeGreaterThan(79);
    expect(wrong).toEqual([]);
  });
});
