/** Comparison of two Floats.
 *
 * Follows: SDM Vol. 2, FCOM, FUCOM, COMISD, CMPPD: the ordered ones signal for any NaN, the others for an SNaN only.
 * Next: x86/float/convert.ts. */
import { EXCEPTION, type FloatContext } from './context.ts';
import { type Float, KIND } from './formats.ts';

export const ORDER = { LESS: -1, EQUAL: 0, GREATER: 1, UNORDERED: 2 } as const;
export type Order = -1 | 0 | 1 | 2;

/** What a is to b. `quiet`: a QNaN is no error (FUCOM, UCOMISD). */
export function compare(ctx: FloatContext, a: Float, b: Float, quiet: boolean): Order {
  ctx.roundedUp = false;
  ctx.flush(a, b);
  if (a.kind >= KIND.QNAN || b.kind >= KIND.QNAN) {
    if (!quiet || a.kind > KIND.QNAN || b.kind > KIND.QNAN) ctx.flags |= EXCEPTION.IE;
    return ORDER.UNORDERED;
  }
  ctx.takes(a, b);
  const x = signedRank(a);
  const y = signedRank(b);
  if (x !== y) return x < y ? ORDER.LESS : ORDER.GREATER;
  if (!a.isNumber) return ORDER.EQUAL;
  const larger =
    a.exponent !== b.exponent
      ? a.exponent > b.exponent
      : a.significand !== b.significand
        ? a.significand > b.significand
        : undefined;
  if (larger === undefined) return ORDER.EQUAL;
  return larger === (a.sign === 0) ? ORDER.GREATER : ORDER.LESS;
}

/** -2 to 2: infinities, numbers of either sign, and both zeros between them. */
function signedRank({ kind, sign }: Float): number {
  const rank = kind === KIND.ZERO ? 0 : kind === KIND.INFINITY ? 2 : 1;
  return sign ? -rank : rank;
}
