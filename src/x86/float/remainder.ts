/** The partial remainder (FPREM, FPREM1).
 *
 * Exact, whatever the exponents. Where they are 64 or more apart, one execution reduces the difference to the next lower
 * multiple of 32 below it, as the AMD processor at hand does, and is not complete; software repeats it.
 * Follows: SDM Vol. 2, FPREM, FPREM1.   Next: x86/float/elementary.ts. */
import type { FloatContext } from './context.ts';
import { EXTENDED80, type Float, KIND } from './formats.ts';
import { operandNan } from './nan.ts';

export type Remainder = {
  value: Float;
  /** False: C2 is set, the quotient's bits are not known yet. */
  complete: boolean;
  /** The three low bits of the quotient's absolute value; undefined when there was nothing to divide. */
  quotient: number | undefined;
};

/** `nearest`: the quotient is rounded to nearest, ties to even (FPREM1), else truncated. */
export function remainder(ctx: FloatContext, a: Float, b: Float, nearest: boolean): Remainder {
  ctx.roundedUp = false;
  const none = (value: Float): Remainder => ({ value, complete: true, quotient: undefined });
  const done = (value: Float): Remainder => ({ value, complete: true, quotient: 0 });
  const nan = operandNan(ctx, EXTENDED80, a, b);
  if (nan !== undefined) return none(nan);
  const { result } = ctx;
  if (a.kind === KIND.INFINITY || b.kind === KIND.ZERO) return none(ctx.invalid());
  if (!ctx.takes(a, b)) return none(result);
  if (a.kind === KIND.ZERO) return done(result.zero(a.sign));
  const distance = a.exponent - b.exponent;
  if (b.kind === KIND.INFINITY || distance < -1) return done(exactly(ctx, a.sign, a.significand, a.exponent - 63));
  if (distance >= 64) {
    const reduced = 32 + (distance & 31);
    const rest = (a.significand << BigInt(reduced)) % b.significand;
    const value = rest === 0n ? result.zero(a.sign) : exactly(ctx, a.sign, rest, b.exponent - 63 + distance - reduced);
    return { value, complete: false, quotient: 0 };
  }
  // At a distance of -1 the quotient is 0, or rounds to 1.
  const x = distance < 0 ? a.significand : a.significand << BigInt(distance);
  const y = distance < 0 ? b.significand << 1n : b.significand;
  const scale = (distance < 0 ? a.exponent : b.exponent) - 63;
  let quotient = x / y;
  let rest = x - quotient * y;
  let { sign } = a;
  if (nearest && (2n * rest > y || (2n * rest === y && (quotient & 1n) !== 0n))) {
    quotient += 1n;
    rest = y - rest;
    sign = (sign ^ 1) as 0 | 1;
  }
  const low = Number(quotient & 7n);
  if (rest === 0n) return { value: result.zero(a.sign), complete: true, quotient: low };
  return { value: exactly(ctx, sign, rest, scale), complete: true, quotient: low };
}

/** Fits without rounding, but may be tiny. The precision control does not apply. */
function exactly(ctx: FloatContext, sign: 0 | 1, significand: bigint, scale: number): Float {
  return ctx.roundTo(EXTENDED80, 64, sign, significand, scale, true);
}
