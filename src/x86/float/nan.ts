/** NaN operands: which of two an operation returns, made quiet.
 *
 * SSE takes the first operand when it is a NaN, else the second. The x87 takes the one with the larger significand, a
 * QNaN before an SNaN, the positive one of equals. A format's rule is its unit's.
 * Follows: SDM Vol. 1, 4.8.3.5, table 4-7.   Next: x86/float/arithmetic.ts. */
import { EXCEPTION, type FloatContext } from './context.ts';
import { type Float, type Format, KIND, QUIET_BIT } from './formats.ts';

/** The result of an operation with an operand that is a NaN or no number at all; undefined when both are numbers or
 * infinities. Raises IE for what signals. */
export function operandNan(ctx: FloatContext, format: Format, a: Float, b: Float): Float | undefined {
  if (a.kind < KIND.QNAN && b.kind < KIND.QNAN) return undefined;
  if (a.kind === KIND.UNSUPPORTED || b.kind === KIND.UNSUPPORTED) return ctx.invalid();
  if (a.kind === KIND.SNAN || b.kind === KIND.SNAN) ctx.flags |= EXCEPTION.IE;
  return quiet(ctx, format.precision === 64 ? x87Nan(a, b) : sseNan(a, b));
}

/** A NaN as a result. */
export function quiet(ctx: FloatContext, nan: Float): Float {
  return ctx.result.set(KIND.QNAN, nan.sign, 0, nan.significand | QUIET_BIT);
}

export function sseNan(a: Float, b: Float): Float {
  return a.isNan ? a : b;
}

export function x87Nan(a: Float, b: Float): Float {
  if (!a.isNan) return b;
  if (!b.isNan) return a;
  if (a.kind !== b.kind) return a.kind === KIND.QNAN ? a : b;
  if (a.significand !== b.significand) return a.significand > b.significand ? a : b;
  return a.sign <= b.sign ? a : b;
}
