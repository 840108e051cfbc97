/** Floating-point numbers taken apart: the three formats of the x87 and SSE, in one form to calculate with.
 *
 * A Float is a class of value, a sign, an exponent and a significand of 64 bits. Of finite numbers other than zero the
 * significand's top bit is set, whatever the format and however small: the value is significand * 2^(exponent - 63).
 * Of NaNs it is the payload as the 80-bit format has it. Floats are mutable and reused, because a guest's loop makes
 * millions of them. No BigInt.asUintN here: masks do the same and do not bring Node 20's optimiser down (halves.ts in
 * the engine tells of it).
 * Follows: SDM Vol. 1, 4.2.2, 4.8.3, 8.2.2 (unsupported double extended encodings).
 * Next: x86/float/context.ts. */

export type Format = {
  name: string;
  /** Bits of the significand, the integer bit included. */
  precision: 24 | 53 | 64;
  /** Unbiased exponents of the smallest and the greatest normal number; the latter is the bias, too. */
  minExponent: number;
  maxExponent: number;
  /** Bits of the whole encoding. */
  bits: 32 | 64 | 80;
};

const format = (name: string, precision: 24 | 53 | 64, maxExponent: number, bits: 32 | 64 | 80): Format => ({
  name,
  precision,
  minExponent: 1 - maxExponent,
  maxExponent,
  bits,
});

export const BINARY32: Format = format('binary32', 24, 127, 32);
export const BINARY64: Format = format('binary64', 53, 1023, 64);
/** The x87's own, with an explicit integer bit. */
export const EXTENDED80: Format = format('extended80', 64, 16383, 80);

/** What a Float is. A DENORMAL is one in the format that it was read from, pseudo-denormals included; UNSUPPORTED are the
 * encodings of 80 bits that no processor since the 387 takes: unnormals, pseudo-infinities, pseudo-NaNs. */
export const KIND = { ZERO: 0, NORMAL: 1, DENORMAL: 2, INFINITY: 3, QNAN: 4, SNAN: 5, UNSUPPORTED: 6 } as const;
export type Kind = 0 | 1 | 2 | 3 | 4 | 5 | 6;

export const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;
export const MASK64 = (1n << 64n) - 1n;
const MASK32 = (1n << 32n) - 1n;

export class Float {
  kind: Kind = KIND.ZERO;
  /** 1 for negative. */
  sign: 0 | 1 = 0;
  exponent = 0;
  significand = 0n;

  set(kind: Kind, sign: 0 | 1, exponent: number, significand: bigint): this {
    this.kind = kind;
    this.sign = sign;
    this.exponent = exponent;
    this.significand = significand;
    return this;
  }
  copy({ kind, sign, exponent, significand }: Float): this {
    return this.set(kind, sign, exponent, significand);
  }
  zero(sign: 0 | 1): this {
    return this.set(KIND.ZERO, sign, 0, 0n);
  }
  infinity(sign: 0 | 1): this {
    return this.set(KIND.INFINITY, sign, 0, INTEGER_BIT);
  }
  /** The indefinite QNaN, which a masked invalid operation results in. */
  indefinite(): this {
    return this.set(KIND.QNAN, 1, 0, INTEGER_BIT | QUIET_BIT);
  }
  get isNan(): boolean {
    return this.kind === KIND.QNAN || this.kind === KIND.SNAN;
  }
  /** Neither zero, infinite nor NaN. */
  get isNumber(): boolean {
    return this.kind === KIND.NORMAL || this.kind === KIND.DENORMAL;
  }
}

const exponentBuffer = new DataView(new ArrayBuffer(8));

/** Number of bits of a positive integer. */
export function bitLength(value: bigint): number {
  const approximate = Number(value);
  if (approximate === Number.POSITIVE_INFINITY) return value.toString(16).length * 4 - leadingZeros(value);
  exponentBuffer.setFloat64(0, approximate);
  const length = (exponentBuffer.getUint16(0) >> 4) - 1022;
  // Rounding to 53 bits may have carried into the next power of two.
  return approximate >= 2 ** 53 && value >> BigInt(length - 1) === 0n ? length - 1 : length;
}
function leadingZeros(value: bigint): number {
  return Math.clz32(Number.parseInt(value.toString(16)[0], 16)) - 28;
}

// ---- From bits

/** A register's halves: sign and biased exponent in 16 bits, and the significand. */
export function decode80(into: Float, high: number, significand: bigint): Float {
  const sign = (high >>> 15) as 0 | 1;
  const biased = high & 0x7fff;
  if (biased === 0) {
    if (significand === 0n) return into.zero(sign);
    const shift = 64 - bitLength(significand);
    return into.set(KIND.DENORMAL, sign, -16382 - shift, significand << BigInt(shift));
  }
  if ((significand & INTEGER_BIT) === 0n) return into.set(KIND.UNSUPPORTED, sign, biased - 16383, significand);
  if (biased !== 0x7fff) return into.set(KIND.NORMAL, sign, biased - 16383, significand);
  if (significand === INTEGER_BIT) return into.infinity(sign);
  return into.set((significand & QUIET_BIT) === 0n ? KIND.SNAN : KIND.QNAN, sign, 0, significand);
}

/** An encoding as it lies in memory, as an unsigned integer. */
export function decode(into: Float, from: Format, bits: bigint): Float {
  if (from.bits === 80) return decode80(into, Number(bits >> 64n), bits & MASK64);
  const high = Number(from.bits === 64 ? bits >> 32n : bits);
  const sign = (high >>> 31) as 0 | 1;
  const biased = from.bits === 64 ? (high >>> 20) & 0x7ff : (high >>> 23) & 0xff;
  // The fraction to the left, below the integer bit.
  const fraction = from.bits === 64 ? (bits << 11n) & (INTEGER_BIT - 1n) : (bits << 40n) & (INTEGER_BIT - 1n);
  if (biased === 0) {
    if (fraction === 0n) return into.zero(sign);
    const shift = 64 - bitLength(fraction);
    return into.set(KIND.DENORMAL, sign, from.minExponent - shift, fraction << BigInt(shift));
  }
  const significand = INTEGER_BIT | fraction;
  if (biased <= 2 * from.maxExponent) {
    return into.set(KIND.NORMAL, sign, biased - from.maxExponent, significand);
  }
  if (fraction === 0n) return into.infinity(sign);
  return into.set((fraction & QUIET_BIT) === 0n ? KIND.SNAN : KIND.QNAN, sign, 0, significand);
}

// ---- To bits. The value must be one of the format's: rounding is behind it.

/** Sign and biased exponent of a register; its significand is `significand80`. */
export function high80({ kind, sign, exponent }: Float): number {
  const biased = kind === KIND.ZERO ? 0 : kind >= KIND.INFINITY ? 0x7fff : exponent < -16382 ? 0 : exponent + 16383;
  return (sign << 15) | biased;
}
export function significand80({ kind, exponent, significand }: Float): bigint {
  if (kind === KIND.ZERO) return 0n;
  if (kind >= KIND.INFINITY || exponent >= -16382) return significand;
  return significand >> BigInt(-16382 - exponent);
}

export function encode(value: Float, to: Format): bigint {
  if (to.bits === 80) return (BigInt(high80(value)) << 64n) | significand80(value);
  const fractionBits = to.precision - 1;
  const drop = BigInt(64 - to.precision);
  const { kind, sign, exponent, significand } = value;
  let magnitude = 0n;
  if (kind >= KIND.INFINITY) {
    magnitude = (BigInt(2 * to.maxExponent + 1) << BigInt(fractionBits)) | ((significand & ~INTEGER_BIT) >> drop);
  } else if (kind !== KIND.ZERO) {
    magnitude =
      exponent < to.minExponent
        ? significand >> (drop + BigInt(to.minExponent - exponent))
        : (BigInt(exponent + to.maxExponent) << BigInt(fractionBits)) | ((significand & ~INTEGER_BIT) >> drop);
  }
  return to.bits === 64 ? (BigInt(sign) << 63n) | magnitude : ((BigInt(sign) << 31n) | magnitude) & MASK32;
}
