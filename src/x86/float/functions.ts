/** The x87's functions of the 80-bit format: their special cases, and one rounding of elementary.ts's values.
 *
 * Correctly rounded in every rounding mode, which is more than the manual asks (it allows an ulp); a processor's own
 * last bit may differ. The precision control has no part in these. Where the manual leaves a result undefined (F2XM1
 * beyond 1, FYL2XP1 beyond its range) the mathematical one is given where there is one.
 * Follows: SDM Vol. 1, 8.3.10; Vol. 2, the tables of special cases of each instruction.
 * Next: x86/isa/algebra.ts. */
import { EXCEPTION, type FloatContext, ROUNDING } from './context.ts';
import { integral } from './convert.ts';
import {
  arcTangent,
  fromHalfTurn,
  log2,
  log2OfOnePlus,
  powerOfTwoMinusOne,
  type Real,
  type SineCosine,
  sineCosine,
  tangent,
} from './elementary.ts';
import { EXTENDED80, type Float, INTEGER_BIT, KIND } from './formats.ts';
import { operandNan } from './nan.ts';

type Sign = 0 | 1;

const realOf = ({ significand, exponent }: Float): Real => ({ significand, scale: exponent - 63 });
const exact = (ctx: FloatContext, sign: Sign, significand: bigint, scale: number): Float =>
  ctx.roundTo(EXTENDED80, 64, sign, significand, scale, true);
/** Of an irrational value, cut off: a last bit stands for what is missing. */
const inexact = (ctx: FloatContext, negative: boolean, { significand, scale }: Real): Float =>
  exact(ctx, negative ? 1 : 0, (significand << 1n) | 1n, scale - 1);
const one = (ctx: FloatContext, sign: Sign = 0): Float => ctx.result.set(KIND.NORMAL, sign, 0, INTEGER_BIT);

/** Arguments of trigonometric instructions: undefined when there is something to calculate. */
function trigonometricSpecial(ctx: FloatContext, a: Float): Float | 'stopped' | undefined {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, a, a);
  if (nan !== undefined) return nan;
  if (a.kind === KIND.INFINITY) return ctx.invalid();
  return ctx.takes(a) ? undefined : 'stopped';
}

/** Arguments of 2^63 and more are left as they are: C2. */
export const outOfRange = (a: Float): boolean => a.isNumber && a.exponent >= 63;

export function sine(ctx: FloatContext, a: Float, parts?: SineCosine): Float {
  const special = trigonometricSpecial(ctx, a);
  if (special !== undefined) return special === 'stopped' ? ctx.result : special;
  if (a.kind === KIND.ZERO) return ctx.result.zero(a.sign);
  const { sine, sineNegative } = parts ?? sineCosine(realOf(a));
  return inexact(ctx, sineNegative !== (a.sign === 1), sine);
}
export function cosine(ctx: FloatContext, a: Float, parts?: SineCosine): Float {
  const special = trigonometricSpecial(ctx, a);
  if (special !== undefined) return special === 'stopped' ? ctx.result : special;
  if (a.kind === KIND.ZERO) return one(ctx);
  const { cosine, cosineNegative } = parts ?? sineCosine(realOf(a));
  return inexact(ctx, cosineNegative, cosine);
}
/** What sine and cosine of the same number share. */
export const partsOf = (a: Float): SineCosine | undefined => (a.isNumber ? sineCosine(realOf(a)) : undefined);

export function tan(ctx: FloatContext, a: Float): Float {
  const special = trigonometricSpecial(ctx, a);
  if (special !== undefined) return special === 'stopped' ? ctx.result : special;
  if (a.kind === KIND.ZERO) return ctx.result.zero(a.sign);
  const parts = sineCosine(realOf(a));
  const negative = (a.sign === 1) !== (parts.sineNegative !== parts.cosineNegative);
  return inexact(ctx, negative, tangent(realOf(a), parts));
}

/** The angle of the point (x, y). */
export function atan2(ctx: FloatContext, y: Float, x: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, x, y);
  if (nan !== undefined) return nan;
  if (!ctx.takes(x, y)) return ctx.result;
  const negative = y.sign === 1;
  const left = x.sign === 1;
  if (y.kind === KIND.INFINITY) {
    if (x.kind !== KIND.INFINITY) return inexact(ctx, negative, fromHalfTurn(undefined, 1));
    const eighth = fromHalfTurn(undefined, 1);
    return inexact(ctx, negative, { significand: eighth.significand * (left ? 3n : 1n), scale: eighth.scale - 1 });
  }
  if (y.kind === KIND.ZERO || x.kind === KIND.INFINITY) {
    return left ? inexact(ctx, negative, fromHalfTurn(undefined, 2)) : ctx.result.zero(y.sign);
  }
  if (x.kind === KIND.ZERO) return inexact(ctx, negative, fromHalfTurn(undefined, 1));
  const angle = arcTangent(realOf(y), realOf(x));
  return inexact(ctx, negative, left ? fromHalfTurn(angle, 2) : angle);
}

/** 2^a - 1. */
export function exp2MinusOne(ctx: FloatContext, a: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, a, a);
  if (nan !== undefined) return nan;
  if (a.kind === KIND.INFINITY) return a.sign ? one(ctx, 1) : ctx.result.infinity(0);
  if (!ctx.takes(a)) return ctx.result;
  if (a.kind === KIND.ZERO) return ctx.result.zero(a.sign);
  if (a.exponent >= 0) {
    ctx.flags |= EXCEPTION.PE; // of 1 and -1 as well, on the processors at hand
    if (a.exponent > 0 || a.significand !== INTEGER_BIT) return ctx.result.copy(a);
    return a.sign ? exact(ctx, 1, 1n, -1) : one(ctx);
  }
  return inexact(ctx, a.sign === 1, powerOfTwoMinusOne(realOf(a), a.sign === 1));
}

/** y * log2 x. */
export function yLog2(ctx: FloatContext, y: Float, x: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, x, y);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  if (x.kind === KIND.ZERO) {
    if (y.kind === KIND.ZERO) return ctx.invalid();
    if (y.kind !== KIND.INFINITY) ctx.flags |= EXCEPTION.ZE;
    return result.infinity((y.sign ^ 1) as Sign);
  }
  if (x.sign === 1) return ctx.invalid();
  if (x.kind === KIND.INFINITY) {
    if (y.kind === KIND.ZERO) return ctx.invalid();
    return ctx.takes(x, y) ? result.infinity(y.sign) : result;
  }
  const isOne = x.exponent === 0 && x.significand === INTEGER_BIT;
  if (y.kind === KIND.INFINITY) {
    if (isOne) return ctx.invalid();
    return ctx.takes(x, y) ? result.infinity((y.sign ^ (x.exponent < 0 ? 1 : 0)) as Sign) : result;
  }
  if (!ctx.takes(x, y)) return result;
  if (isOne) return result.zero(y.sign);
  if (y.kind === KIND.ZERO) return result.zero((y.sign ^ (x.exponent < 0 ? 1 : 0)) as Sign);
  const { value, negative } = log2(realOf(x));
  return scaled(ctx, y, value, negative, x.significand === INTEGER_BIT);
}

/** y * log2(1 + x). */
export function yLog2OfOnePlus(ctx: FloatContext, y: Float, x: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, x, y);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  if (x.sign === 1 && x.kind === KIND.INFINITY) return ctx.invalid();
  const sign = (x.sign ^ y.sign) as Sign;
  if (x.kind === KIND.INFINITY) {
    if (y.kind === KIND.ZERO) return ctx.invalid();
    return ctx.takes(x, y) ? result.infinity(sign) : result;
  }
  if (y.kind === KIND.INFINITY) {
    if (x.kind === KIND.ZERO) return ctx.invalid();
    return ctx.takes(x, y) ? result.infinity(sign) : result;
  }
  if (!ctx.takes(x, y)) return result;
  if (x.kind === KIND.ZERO || y.kind === KIND.ZERO) return result.zero(sign);
  if (x.sign === 1 && x.exponent >= 0) {
    ctx.flags |= EXCEPTION.PE;
    return result.copy(x);
  }
  const { value, negative } = log2OfOnePlus(realOf(x), x.sign === 1);
  return scaled(ctx, y, value, negative, false);
}

function scaled(ctx: FloatContext, y: Float, value: Real, negative: boolean, isExact: boolean): Float {
  const significand = y.significand * value.significand;
  const scale = y.exponent - 63 + value.scale;
  const sign = (y.sign ^ (negative ? 1 : 0)) as Sign;
  ctx.flags |= EXCEPTION.PE; // of log2 of a power of two as well, on the processors at hand
  if (isExact) {
    const result = exact(ctx, sign, significand, scale);
    if (result.kind === KIND.DENORMAL) ctx.flags |= EXCEPTION.UE;
    return result;
  }
  return inexact(ctx, sign === 1, { significand, scale });
}

/** a * 2^(b towards zero). */
export function scale(ctx: FloatContext, a: Float, b: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, a, b);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  if (b.kind === KIND.INFINITY) {
    if (a.kind === (b.sign ? KIND.INFINITY : KIND.ZERO)) return ctx.invalid();
    if (!ctx.takes(a, b)) return result;
    return b.sign ? result.zero(a.sign) : result.infinity(a.sign);
  }
  if (!ctx.takes(a, b)) return result;
  if (!a.isNumber) return result.copy(a);
  let by = 0;
  if (b.isNumber) {
    by = b.exponent > 20 ? 1 << 20 : Number(integral(b, ROUNDING.ZERO).magnitude);
    if (b.sign) by = -by;
  }
  return exact(ctx, a.sign, a.significand, a.exponent - 63 + by);
}

/** The exponent of a as a number; its significand is a with the exponent 0. Zero divides. */
export function exponentOf(ctx: FloatContext, a: Float): Float {
  ctx.roundedUp = false;
  const nan = operandNan(ctx, EXTENDED80, a, a);
  if (nan !== undefined) return nan;
  if (a.kind === KIND.INFINITY) return ctx.result.infinity(0);
  if (a.kind === KIND.ZERO) {
    ctx.flags |= EXCEPTION.ZE;
    return ctx.result.infinity(1);
  }
  if (!ctx.takes(a)) return ctx.result;
  const { exponent } = a;
  if (exponent === 0) return ctx.result.zero(0);
  return exact(ctx, exponent < 0 ? 1 : 0, BigInt(Math.abs(exponent)), 0);
}
