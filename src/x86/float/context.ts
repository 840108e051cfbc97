/** FloatContext: how to round, which exceptions are masked, and what the operation raised; and rounding itself.
 *
 * Exceptions are bits in the order of MXCSR and of the x87's words. A context is the caller's: it sets the modes once,
 * clears `flags` before each operation, and looks at `stopped` behind it. An unmasked invalid operation, division by
 * zero or denormal operand stops before there is a result; an unmasked overflow or underflow leaves one that the x87
 * would put into a register, its exponent brought into range by 24576. SSE writes no result in either case.
 * Tininess is found after rounding, as both units do (SDM Vol. 1, 4.9.1.5).
 * Follows: SDM Vol. 1, 4.8.4, 4.9, 8.1.5.2 (precision control), 8.5.4, 8.5.5, 10.2.3.3 (flush to zero).
 * Next: x86/float/nan.ts. */
import { bitLength, Float, type Format, KIND, MASK64 } from './formats.ts';

export const EXCEPTION = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 0x10, PE: 0x20 } as const;
const PRE = EXCEPTION.IE | EXCEPTION.DE | EXCEPTION.ZE;
/** The encoding of both control words. */
export const ROUNDING = { NEAREST: 0, DOWN: 1, UP: 2, ZERO: 3 } as const;
export type Rounding = 0 | 1 | 2 | 3;

const BIAS_ADJUSTMENT = 24576;

export class FloatContext {
  rounding: Rounding = ROUNDING.NEAREST;
  /** Masked exceptions. */
  masks = 0x3f;
  /** Bits of significand that the x87 keeps of results: its precision control. Only EXTENDED80 looks at it. */
  precision: 24 | 53 | 64 = 64;
  /** MXCSR.DAZ: denormal operands are zeros, and no exception. */
  denormalsAreZero = false;
  /** MXCSR.FZ: tiny results are zeros while underflow is masked. */
  flushToZero = false;

  /** Raised since the caller cleared it. */
  flags = 0;
  /** The last rounding went away from zero (C1). */
  roundedUp = false;
  private inexact = false;
  /** What operations return, over and over. */
  readonly result = new Float();

  /** An unmasked exception came before there was a result. */
  get stopped(): boolean {
    return (this.flags & ~this.masks & PRE) !== 0;
  }

  /** An invalid operation's masked result. */
  invalid(): Float {
    this.flags |= EXCEPTION.IE;
    return this.result.indefinite();
  }

  /** Makes zeros of denormal operands where DAZ asks for it; the first step of every operation of SSE. */
  flush(a: Float, b: Float = a): void {
    if (!this.denormalsAreZero) return;
    if (a.kind === KIND.DENORMAL) a.zero(a.sign);
    if (b.kind === KIND.DENORMAL) b.zero(b.sign);
  }

  /** Notes denormal operands. False when the operation stops here. */
  takes(a: Float, b: Float = a): boolean {
    if (a.kind !== KIND.DENORMAL && b.kind !== KIND.DENORMAL) return true;
    this.flags |= EXCEPTION.DE;
    return (this.masks & EXCEPTION.DE) !== 0;
  }

  /** Rounds sign, significand * 2^scale to the format. What lies below the significand is a one in its lowest bit, of
   * which there must be two beyond those that are kept. */
  round(format: Format, sign: 0 | 1, significand: bigint, scale: number): Float {
    const x87 = format.precision === 64;
    return this.roundTo(format, x87 ? this.precision : format.precision, sign, significand, scale, x87);
  }

  /** The same to a given precision; `wraps`: an unmasked overflow or underflow gives the adjusted result. */
  roundTo(format: Format, precision: number, sign: 0 | 1, significand: bigint, scale: number, wraps: boolean): Float {
    const length = bitLength(significand);
    const exponent = scale + length - 1;
    this.roundedUp = false;
    this.inexact = false;
    if (exponent < format.minExponent) {
      return this.roundSmall(format, precision, sign, significand, exponent, length, wraps);
    }
    let kept = this.keep(sign, significand, length - precision);
    let to = exponent;
    if (kept >> BigInt(precision) !== 0n) {
      kept >>= 1n;
      to++;
    }
    if (this.inexact) this.flags |= EXCEPTION.PE;
    if (to > format.maxExponent) return this.overflow(format, precision, sign, kept, to, wraps);
    return this.result.set(KIND.NORMAL, sign, to, kept << BigInt(64 - precision));
  }

  /** `significand` without its `drop` low bits, rounded. */
  private keep(sign: 0 | 1, significand: bigint, drop: number): bigint {
    if (drop <= 0) return significand << BigInt(-drop);
    const count = BigInt(drop);
    const kept = significand >> count;
    const rest = significand - (kept << count);
    if (rest === 0n) return kept;
    this.inexact = true;
    let up: boolean;
    if (this.rounding === ROUNDING.NEAREST) {
      const half = 1n << (count - 1n);
      up = rest > half || (rest === half && (kept & 1n) !== 0n);
    } else up = this.rounding === (sign ? ROUNDING.DOWN : ROUNDING.UP);
    this.roundedUp = up;
    return up ? kept + 1n : kept;
  }

  private roundSmall(
    format: Format,
    precision: number,
    sign: 0 | 1,
    significand: bigint,
    exponent: number,
    length: number,
    wraps: boolean,
  ): Float {
    // With an exponent of any size: does rounding make it a normal number?
    let kept = this.keep(sign, significand, length - precision);
    let to = exponent;
    if (kept >> BigInt(precision) !== 0n) {
      kept >>= 1n;
      to++;
    }
    const tiny = to < format.minExponent;
    if (tiny && (this.masks & EXCEPTION.UE) === 0) {
      this.flags |= this.inexact ? EXCEPTION.UE | EXCEPTION.PE : EXCEPTION.UE;
      if (!wraps) return this.result.set(KIND.NORMAL, sign, to, kept << BigInt(64 - precision));
      if (to + BIAS_ADJUSTMENT < format.minExponent) {
        this.flags |= EXCEPTION.PE; // FSCALE only
        this.roundedUp = false;
        return this.result.zero(sign);
      }
      return this.result.set(KIND.NORMAL, sign, to + BIAS_ADJUSTMENT, kept << BigInt(64 - precision));
    }
    if (tiny && this.flushToZero) {
      this.flags |= EXCEPTION.UE | EXCEPTION.PE;
      this.roundedUp = false;
      return this.result.zero(sign);
    }
    this.inexact = false;
    this.roundedUp = false;
    kept = this.keep(sign, significand, length - precision + (format.minExponent - exponent));
    if (this.inexact) this.flags |= tiny ? EXCEPTION.UE | EXCEPTION.PE : EXCEPTION.PE;
    if (kept === 0n) return this.result.zero(sign);
    const shift = 64 - bitLength(kept);
    const value = kept << BigInt(shift);
    const at = format.minExponent - precision + 1 + 63 - shift;
    return this.result.set(at < format.minExponent ? KIND.DENORMAL : KIND.NORMAL, sign, at, value);
  }

  private overflow(
    format: Format,
    precision: number,
    sign: 0 | 1,
    kept: bigint,
    exponent: number,
    wraps: boolean,
  ): Float {
    this.flags |= EXCEPTION.OE;
    const { result } = this;
    const left = BigInt(64 - precision);
    if ((this.masks & EXCEPTION.OE) === 0) {
      if (wraps && exponent - BIAS_ADJUSTMENT > format.maxExponent) {
        // FSCALE only.
        this.flags |= EXCEPTION.PE;
        this.roundedUp = true;
        return result.infinity(sign);
      }
      return result.set(KIND.NORMAL, sign, wraps ? exponent - BIAS_ADJUSTMENT : exponent, kept << left);
    }
    this.flags |= EXCEPTION.PE;
    const toInfinity = this.rounding === ROUNDING.NEAREST || this.rounding === (sign ? ROUNDING.DOWN : ROUNDING.UP);
    this.roundedUp = toInfinity;
    if (toInfinity) return result.infinity(sign);
    return result.set(KIND.NORMAL, sign, format.maxExponent, (MASK64 >> left) << left);
  }
}
