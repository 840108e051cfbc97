/** Sum, product, quotient and square root, rounded once.
 *
 * Each calculates exactly over integers, or far enough to round correctly with a last bit that stands for the rest.
 * Operands are checked in the order that the manual gives exceptions: signalling NaNs, quiet NaNs, what is invalid for
 * the operation, division by zero, denormals. The result is the context's and lives until the next operation.
 * Follows: SDM Vol. 1, 4.9.2 (precedence); Vol. 2, FADD, FMUL, FDIV, FSQRT (tables of special cases).
 * Next: x86/float/compare.ts. */
import { EXCEPTION, type FloatContext, ROUNDING } from './context.ts';
import { type Float, type Format, KIND } from './formats.ts';
import { operandNan } from './nan.ts';

type Sign = 0 | 1;

export function add(ctx: FloatContext, format: Format, a: Float, b: Float): Float {
  return sum(ctx, format, a, b, b.sign);
}
/** a - b. A NaN's sign stays. */
export function subtract(ctx: FloatContext, format: Format, a: Float, b: Float): Float {
  return sum(ctx, format, a, b, (b.sign ^ 1) as Sign);
}

/** Beyond this distance the smaller operand is only a bit below the larger's last one. */
const FAR = 66;

function sum(ctx: FloatContext, format: Format, a: Float, b: Float, bSign: Sign): Float {
  ctx.roundedUp = false;
  ctx.flush(a, b);
  const nan = operandNan(ctx, format, a, b);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  if (a.kind === KIND.INFINITY || b.kind === KIND.INFINITY) {
    if (a.kind === b.kind && a.sign !== bSign) return ctx.invalid();
    ctx.takes(a, b);
    return result.infinity(a.kind === KIND.INFINITY ? a.sign : bSign);
  }
  if (!ctx.takes(a, b)) return result;
  if (a.kind === KIND.ZERO || b.kind === KIND.ZERO) {
    if (a.kind !== KIND.ZERO) return ctx.round(format, a.sign, a.significand, a.exponent - 63);
    if (b.kind !== KIND.ZERO) return ctx.round(format, bSign, b.significand, b.exponent - 63);
    return result.zero(a.sign === bSign ? a.sign : zeroSign(ctx));
  }
  const aLarger = a.exponent > b.exponent || (a.exponent === b.exponent && a.significand >= b.significand);
  const large = aLarger ? a : b;
  const small = aLarger ? b : a;
  const sign = aLarger ? a.sign : bSign;
  const distance = large.exponent - small.exponent;
  const far = distance > FAR;
  const scale = far ? large.exponent - 63 - FAR : small.exponent - 63;
  const x = large.significand << BigInt(far ? FAR : distance);
  const y = far ? 1n : small.significand;
  const total = a.sign === bSign ? x + y : x - y;
  if (total === 0n) return result.zero(zeroSign(ctx));
  return ctx.round(format, sign, total, scale);
}

/** x - x. */
const zeroSign = (ctx: FloatContext): Sign => (ctx.rounding === ROUNDING.DOWN ? 1 : 0);

export function multiply(ctx: FloatContext, format: Format, a: Float, b: Float): Float {
  ctx.roundedUp = false;
  ctx.flush(a, b);
  const nan = operandNan(ctx, format, a, b);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  const sign = (a.sign ^ b.sign) as Sign;
  if (a.kind === KIND.INFINITY || b.kind === KIND.INFINITY) {
    if (a.kind === KIND.ZERO || b.kind === KIND.ZERO) return ctx.invalid();
    ctx.takes(a, b);
    return result.infinity(sign);
  }
  if (!ctx.takes(a, b)) return result;
  if (a.kind === KIND.ZERO || b.kind === KIND.ZERO) return result.zero(sign);
  return ctx.round(format, sign, a.significand * b.significand, a.exponent + b.exponent - 126);
}

/** a / b. */
export function divide(ctx: FloatContext, format: Format, a: Float, b: Float): Float {
  ctx.roundedUp = false;
  ctx.flush(a, b);
  const nan = operandNan(ctx, format, a, b);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  const sign = (a.sign ^ b.sign) as Sign;
  if (a.kind === b.kind && (a.kind === KIND.INFINITY || a.kind === KIND.ZERO)) return ctx.invalid();
  if (b.kind === KIND.ZERO && a.kind !== KIND.INFINITY) {
    ctx.flags |= EXCEPTION.ZE;
    return result.infinity(sign);
  }
  if (!ctx.takes(a, b)) return result;
  if (a.kind === KIND.INFINITY) return result.infinity(sign);
  if (b.kind === KIND.INFINITY || a.kind === KIND.ZERO) return result.zero(sign);
  const dividend = a.significand << 66n;
  const quotient = dividend / b.significand;
  const rest = quotient * b.significand === dividend ? 0n : 1n;
  return ctx.round(format, sign, quotient | rest, a.exponent - b.exponent - 66);
}

export function squareRoot(ctx: FloatContext, format: Format, a: Float): Float {
  ctx.roundedUp = false;
  ctx.flush(a);
  const nan = operandNan(ctx, format, a, a);
  if (nan !== undefined) return nan;
  const { result } = ctx;
  if (a.kind === KIND.ZERO) return result.zero(a.sign);
  if (a.sign === 1) return ctx.invalid();
  if (!ctx.takes(a)) return result;
  if (a.kind === KIND.INFINITY) return result.infinity(0);
  // An even scale, and a root of 67 bits or so.
  const shift = (a.exponent & 1) === 1 ? 70 : 71;
  const radicand = a.significand << BigInt(shift);
  const root = integerRoot(radicand);
  const rest = root * root === radicand ? 0n : 1n;
  return ctx.round(format, 0, root | rest, (a.exponent - 63 - shift) / 2);
}

/** The greatest integer whose square is not above x, by Newton's method from a double's root. */
export function integerRoot(x: bigint): bigint {
  let root = BigInt(Math.floor(Math.sqrt(Number(x))));
  for (;;) {
    const next = (root + x / root) >> 1n;
    const step = next - root;
    root = next;
    if (step <= 1n && step >= -1n) break;
  }
  while (root * root > x) root -= 1n;
  while ((root + 1n) * (root + 1n) <= x) root += 1n;
  return root;
}
