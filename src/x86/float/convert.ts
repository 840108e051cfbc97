/** Conversions: between the formats, to and from integers, and to an integer that stays a Float.
 *
 * Follows: SDM Vol. 1, 4.9.1 and 8.1.5; Vol. 2, FST, FIST, FISTTP, FRNDINT, CVTSD2SI, CVTSI2SD.
 * Next: x86/float/remainder.ts. */
import { EXCEPTION, type FloatContext, ROUNDING, type Rounding } from './context.ts';
import { bitLength, type Float, type Format, KIND } from './formats.ts';
import { operandNan, quiet } from './nan.ts';

/** Rounds to another format, or widens. The x87's precision control has no part in it; `notes` says whether a denormal
 * operand is an exception here (not in FST). */
export function convert(ctx: FloatContext, to: Format, a: Float, notes = true): Float {
  ctx.roundedUp = false;
  ctx.flush(a);
  switch (a.kind) {
    case KIND.UNSUPPORTED:
      return ctx.invalid();
    case KIND.SNAN:
      ctx.flags |= EXCEPTION.IE;
      return quiet(ctx, a);
    case KIND.QNAN:
      return quiet(ctx, a);
    case KIND.ZERO:
      return ctx.result.zero(a.sign);
    case KIND.INFINITY:
      return ctx.result.infinity(a.sign);
    default:
      if (notes && !ctx.takes(a)) return ctx.result;
      return ctx.roundTo(to, to.precision, a.sign, a.significand, a.exponent - 63, false);
  }
}

/** A signed integer of any size. */
export function fromInteger(ctx: FloatContext, to: Format, value: bigint): Float {
  ctx.roundedUp = false;
  if (value === 0n) return ctx.result.zero(0);
  const negative = value < 0n;
  return ctx.roundTo(to, to.precision, negative ? 1 : 0, negative ? -value : value, 0, false);
}

/** To a signed integer of `bits` bits, as an unsigned pattern. What does not fit is invalid, and gives the indefinite
 * integer, the most negative one. */
export function toInteger(ctx: FloatContext, a: Float, bits: 16 | 32 | 64, rounding: Rounding = ctx.rounding): bigint {
  ctx.roundedUp = false;
  ctx.flush(a);
  if (a.kind === KIND.ZERO) return 0n;
  const indefinite = 1n << BigInt(bits - 1);
  if (a.kind >= KIND.INFINITY || a.exponent > bits) {
    ctx.flags |= EXCEPTION.IE;
    return indefinite;
  }
  const { magnitude, inexact, up } = integral(a, rounding);
  if (magnitude > indefinite - (a.sign ? 0n : 1n)) {
    ctx.flags |= EXCEPTION.IE;
    return indefinite;
  }
  if (inexact) ctx.flags |= EXCEPTION.PE;
  ctx.roundedUp = up;
  return a.sign && magnitude !== 0n ? (indefinite << 1n) - magnitude : magnitude;
}

/** To an integer in the same format (FRNDINT). */
export function roundToIntegral(ctx: FloatContext, format: Format, a: Float): Float {
  ctx.roundedUp = false;
  ctx.flush(a);
  const nan = operandNan(ctx, format, a, a);
  if (nan !== undefined) return nan;
  if (!a.isNumber) return ctx.result.copy(a);
  if (!ctx.takes(a)) return ctx.result;
  if (a.exponent >= 63) return ctx.result.copy(a);
  const { magnitude, inexact, up } = integral(a, ctx.rounding);
  if (inexact) ctx.flags |= EXCEPTION.PE;
  ctx.roundedUp = up;
  if (magnitude === 0n) return ctx.result.zero(a.sign);
  const length = bitLength(magnitude);
  return ctx.result.set(KIND.NORMAL, a.sign, length - 1, magnitude << BigInt(64 - length));
}

/** The absolute value of a number below 2^64 or so as an integer. */
export function integral(a: Float, rounding: Rounding): { magnitude: bigint; inexact: boolean; up: boolean } {
  if (a.exponent >= 63) return { magnitude: a.significand << BigInt(a.exponent - 63), inexact: false, up: false };
  // Less than a quarter is as good as a quarter.
  const drop = BigInt(Math.min(63 - a.exponent, 65));
  const kept = a.significand >> drop;
  const rest = a.significand - (kept << drop);
  if (rest === 0n) return { magnitude: kept, inexact: false, up: false };
  const half = 1n << (drop - 1n);
  const up =
    rounding === ROUNDING.NEAREST
      ? rest > half || (rest === half && (kept & 1n) !== 0n)
      : rounding === (a.sign ? ROUNDING.DOWN : ROUNDING.UP);
  return { magnitude: up ? kept + 1n : kept, inexact: true, up };
}
