/** Elementary functions to some 240 bits: what the x87's transcendental instructions are rounded from.
 *
 * A Real is a positive significand * 2^scale, right to its last few bits; results of series are irrational (Lindemann,
 * but for the arguments that functions.ts treats apart), so rounding them to 64 bits is safe with so many spare ones.
 * Small arguments go through f(x)/x, which keeps the relative error small. Plain series over integers: an instruction
 * takes some ten microseconds, and real programs call their library's polynomials instead.
 * Next: x86/float/functions.ts. */
import { integerRoot } from './arithmetic.ts';
import { bitLength } from './formats.ts';

export type Real = { significand: bigint; scale: number };

/** Fractional bits of fixed-point work. */
const P = 320;
const BITS = BigInt(P);
const ONE = 1n << BITS;
/** The pi that x87 units reduce arguments by has 66 bits (SDM Vol. 1, 8.3.8; measured on a Zen 4, too): this is its half.
 * Far from zero the sine of a number is that of another one, on every processor alike. */
const HALF_PI_66 = 0x3_243f_6a88_85a3_08d3n << (BITS - 65n);

const times = (x: bigint, y: bigint): bigint => (x * y) >> BITS;

/** atan(1/n) or atanh(1/n) with `bits` fractional bits. */
function inverseSeries(n: bigint, bits: bigint, alternate: boolean): bigint {
  let power = (1n << bits) / n;
  let total = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power /= alternate ? -(n * n) : n * n;
    total += power / k;
  }
  return total;
}

type Constants = { halfPi: bigint; ln2: bigint };
let constants: Constants | undefined;
/** pi/2 and ln 2 with P fractional bits. */
function known(): Constants {
  if (constants === undefined) {
    const bits = BITS + 16n;
    const quarterPi = 4n * inverseSeries(5n, bits, true) - inverseSeries(239n, bits, true);
    const ln2 = 2n * inverseSeries(3n, bits, false);
    constants = { halfPi: quarterPi >> 15n, ln2: ln2 >> 16n };
  }
  return constants;
}

/** x as fixed point, cut off. */
function fixed({ significand, scale }: Real): bigint {
  const shift = scale + P;
  return shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(-shift);
}
const real = (fixedPoint: bigint): Real => ({ significand: fixedPoint, scale: -P });

/** Cut to 256 bits or so. */
function trim({ significand, scale }: Real): Real {
  const excess = bitLength(significand) - 256;
  return excess <= 0 ? { significand, scale } : { significand: significand >> BigInt(excess), scale: scale + excess };
}
export const product = (x: Real, y: Real): Real =>
  trim({ significand: x.significand * y.significand, scale: x.scale + y.scale });
export function quotient(x: Real, y: Real): Real {
  const shift = Math.max(0, 260 + bitLength(y.significand) - bitLength(x.significand));
  return { significand: (x.significand << BigInt(shift)) / y.significand, scale: x.scale - y.scale - shift };
}

// ---- Sine and cosine

/** x = quadrant * pi/2 + rest, |rest| <= pi/4. Of x below 2^63 and not below 2^-41. */
function reduce(x: Real): { quadrant: number; rest: bigint } {
  const whole = fixed(x);
  const k = (2n * whole + HALF_PI_66) / (2n * HALF_PI_66);
  return { quadrant: Number(k & 3n), rest: whole - k * HALF_PI_66 };
}

function seriesSine(x: bigint, first: bigint, start: bigint): bigint {
  const square = times(x, x);
  let term = first;
  let total = first;
  for (let k = start; term !== 0n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    total += term;
  }
  return total;
}

export type SineCosine = { sine: Real; sineNegative: boolean; cosine: Real; cosineNegative: boolean };

/** Of a positive x below 2^63. */
export function sineCosine(x: Real): SineCosine {
  if (x.scale + bitLength(x.significand) < -40) {
    // sin x is a little below x, cos x a little below 1: by less than any rounding sees but its direction.
    const sine = { significand: (x.significand << 90n) - 1n, scale: x.scale - 90 };
    return { sine, sineNegative: false, cosine: real(ONE - 1n), cosineNegative: false };
  }
  const { quadrant, rest } = reduce(x);
  const sine = seriesSine(rest, rest, 2n);
  const cosine = seriesSine(rest, ONE, 1n);
  const [s, c] = [
    [sine, cosine],
    [cosine, -sine],
    [-sine, -cosine],
    [-cosine, sine],
  ][quadrant];
  return {
    sine: real(s < 0n ? -s : s),
    sineNegative: s < 0n,
    cosine: real(c < 0n ? -c : c),
    cosineNegative: c < 0n,
  };
}

/** |tan x|; the sign is the product of both. */
export function tangent(x: Real, { sine, cosine }: SineCosine): Real {
  if (x.scale + bitLength(x.significand) < -40)
    return { significand: (x.significand << 90n) + 1n, scale: x.scale - 90 };
  return quotient(sine, cosine);
}

// ---- Arc tangent

/** atan(y/x) of positive numbers: in the first quadrant. */
export function arcTangent(y: Real, x: Real): Real {
  const ratio = quotient(y, x);
  const size = ratio.scale + bitLength(ratio.significand);
  if (size > 0) {
    const other = quotient(x, y);
    const rest = other.scale + bitLength(other.significand) < -P ? 1n : fixed(arcOfSmall(other)) + 1n;
    return real(known().halfPi - rest);
  }
  return arcOfSmall(ratio);
}
/** pi, or pi/2, less a small angle (0 for none). */
export function fromHalfTurn(angle: Real | undefined, halfPis: 1 | 2): Real {
  const whole = known().halfPi * BigInt(halfPis);
  return real(angle === undefined ? whole : whole - fixed(angle));
}

/** atan q for q up to 1, by its series, behind halvings of the angle that keep the relative error. */
function arcOfSmall(q: Real): Real {
  const size = q.scale + bitLength(q.significand);
  if (size < -20) {
    const x = fixed(q);
    const square = times(x, x) + 1n; // never nothing: the result is below q
    let term = ONE;
    let total = ONE;
    for (let k = 3n; term !== 0n && term !== -1n; k += 2n) {
      term = -times(term, square);
      total += term / k || -1n;
      if (k > 100n) break;
    }
    return product(q, real(total));
  }
  let x = fixed(q);
  const halvings = 4;
  for (let i = 0; i < halvings; i++) x = (x << BITS) / (ONE + integerRoot((ONE + times(x, x)) << BITS));
  const square = times(x, x);
  let power = x;
  let total = x;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = times(power, square);
    total += (k & 2n) !== 0n ? -(power / k) : power / k;
  }
  return real(total << BigInt(halvings));
}

// ---- Powers of two and logarithms

/** |2^x - 1| for x = ±number, 0 < |x| <= 1. */
export function powerOfTwoMinusOne(x: Real, negative: boolean): Real {
  const y = product(x, real(known().ln2));
  const step = negative ? -fixed(y) : fixed(y);
  // (e^y - 1)/y = 1 + y/2 + y^2/6 + ...
  let term = ONE;
  let total = ONE;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = times(term, step) / k;
    total += term;
  }
  return product(y, real(total));
}

/** |ln(1 + f)| for f = ±number in (-1/4, 1/2): 2 atanh(f / (2 + f)). */
function logOfNearOne(f: Real, negative: boolean): Real {
  const two = { significand: 2n << 600n, scale: -600 };
  const denominator = sumOf(two, f, negative);
  const s = quotient(f, denominator);
  const x = fixed(s);
  const square = times(x, x);
  let power = ONE;
  let total = ONE;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = times(power, square);
    total += power / k;
  }
  return product({ significand: s.significand, scale: s.scale + 1 }, real(total));
}

/** x ± y, x the larger. What of y lies far below x is cut off. */
function sumOf(x: Real, y: Real, minus: boolean): Real {
  const shift = y.scale - x.scale;
  const aligned = shift >= 0 ? y.significand << BigInt(shift) : y.significand >> BigInt(-shift);
  return trim({ significand: minus ? x.significand - aligned : x.significand + aligned, scale: x.scale });
}

/** log2(1 + f) for a nonzero f above -1; magnitude and sign. */
export function log2OfOnePlus(f: Real, negative: boolean): { value: Real; negative: boolean } {
  const size = f.scale + bitLength(f.significand);
  if (size <= (negative ? -2 : -1)) {
    return { value: quotient(logOfNearOne(f, negative), real(known().ln2)), negative };
  }
  // 1 + f is exact here: f is not small.
  const scale = Math.min(f.scale, 0);
  const one = 1n << BigInt(-scale);
  const aligned = f.significand << BigInt(f.scale - scale);
  return log2({ significand: negative ? one - aligned : one + aligned, scale });
}

/** log2 x for a positive x; exact where x is a power of two (a significand of 0 is log2 1). */
export function log2(x: Real): { value: Real; negative: boolean } {
  const length = bitLength(x.significand);
  // x = m * 2^exponent with m in [3/4, 3/2).
  let exponent = x.scale + length - 1;
  if (length > 1 && ((x.significand >> BigInt(length - 2)) & 1n) !== 0n) exponent++;
  const one = x.scale - exponent <= 0 ? 1n << BigInt(exponent - x.scale) : 0n;
  const difference = x.significand - one;
  const negative = exponent < 0;
  const whole = BigInt(Math.abs(exponent));
  if (difference === 0n) return { value: { significand: whole, scale: 0 }, negative };
  const f = { significand: difference < 0n ? -difference : difference, scale: x.scale - exponent };
  const fraction = quotient(logOfNearOne(f, difference < 0n), real(known().ln2));
  if (exponent === 0) return { value: fraction, negative: difference < 0n };
  const part = fixed(fraction);
  const total = BigInt(exponent) * ONE + (difference < 0n ? -part : part);
  return { value: real(total < 0n ? -total : total), negative: total < 0n };
}
