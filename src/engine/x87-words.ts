/** X87Words: sums, products, quotients and roots of 80-bit numbers in 32-bit words and doubles (a root also over integers).
 *
 * A number is three words: the significand's halves and, in 16 bits, sign and exponent. Operands are normal numbers and
 * zeros; results are rounded to nearest in full precision. A method returns false where the result is no such number
 * (too large, too small, or a case left to x86/float), and what it left in the fields means nothing then.
 * Next: engine/quick-helpers.ts. */
import { FSW } from './system/x87-state.ts';

export class X87Words {
  se = 0;
  high = 0;
  low = 0;
  /** C1 and PE of the last calculation. */
  flags = 0;

  /** Shifts up to the integer bit. */
  normalise(sign: number, exponent: number, high: number, low: number): void {
    if (high === 0 && low === 0) {
      this.se = sign;
      this.high = 0;
      this.low = 0;
      return;
    }
    let shift = Math.clz32(high);
    if (shift === 32) {
      shift += Math.clz32(low);
      this.high = low << (shift - 32);
      this.low = 0;
    } else {
      this.high = shift === 0 ? high : (high << shift) | (low >>> (32 - shift));
      this.low = low << shift;
    }
    this.se = sign | (exponent - shift);
  }
  /** Shifts 64 bits to the right into the fields; returns the next 32 bits, the lowest of them standing for the rest. */
  shiftRight(by: number, high: number, low: number): number {
    if (by === 0) {
      this.high = high;
      this.low = low;
      return 0;
    }
    if (by < 32) {
      this.high = high >>> by;
      this.low = (low >>> by) | (high << (32 - by));
      return low << (32 - by);
    }
    this.high = 0;
    if (by < 64) {
      const s = by - 32;
      this.low = high >>> s;
      if (s === 0) return low;
      const lost = low << (32 - s);
      return (low >>> s) | (high << (32 - s)) | (lost === 0 ? 0 : 1);
    }
    this.low = 0;
    const s = by - 64;
    if (s === 0) return high | (low === 0 ? 0 : 1);
    return (high >>> s) | (high << (32 - s) === 0 && low === 0 ? 0 : 1);
  }

  /** a + b, or a - b when `flip` is 0x8000. */
  add(ase: number, ah: number, al: number, bse: number, bh: number, bl: number, flip: number): boolean {
    let a = ase;
    let b = bse ^ flip;
    let [xh, xl, yh, yl] = [ah, al, bh, bl];
    this.flags = 0;
    if (xh === 0 || yh === 0) {
      // A zero: the other operand, or zero with the sign that both have.
      if (xh === 0 && yh === 0) this.se = a & b & 0x8000;
      else this.se = xh === 0 ? b : a;
      this.high = xh === 0 ? yh : xh;
      this.low = xh === 0 ? yl : xl;
      return true;
    }
    const differ = ((a ^ b) & 0x8000) !== 0;
    let distance = (a & 0x7fff) - (b & 0x7fff);
    const swaps = distance !== 0 ? distance < 0 : xh !== yh ? xh >>> 0 < yh >>> 0 : xl >>> 0 < yl >>> 0;
    if (swaps) {
      [a, b] = [b, a];
      [xh, xl, yh, yl] = [yh, yl, xh, xl];
      distance = -distance;
    }
    if (distance > 66) return false;
    let guard = this.shiftRight(distance, yh, yl);
    let exponent = a & 0x7fff;
    let high: number;
    let low: number;
    if (!differ) {
      const lower = (xl >>> 0) + (this.low >>> 0);
      const upper = (xh >>> 0) + (this.high >>> 0) + (lower > 0xffff_ffff ? 1 : 0);
      high = upper | 0;
      low = lower | 0;
      if (upper > 0xffff_ffff) {
        guard = (guard >>> 1) | (guard & 1) | (low << 31);
        low = (low >>> 1) | (high << 31);
        high = (high >>> 1) | (0x8000_0000 | 0);
        exponent++;
      }
    } else {
      const lower = (xl >>> 0) - (this.low >>> 0) - (guard === 0 ? 0 : 1);
      high = (xh - this.high - (lower < 0 ? 1 : 0)) | 0;
      low = lower | 0;
      guard = -guard | 0;
      if (high === 0 && low === 0 && guard === 0) {
        this.se = 0;
        this.high = 0;
        this.low = 0;
        return true;
      }
      while (high >= 0) {
        const shift = high === 0 ? 31 : Math.clz32(high);
        high = (high << shift) | (low >>> (32 - shift));
        low = (low << shift) | (guard >>> (32 - shift));
        guard <<= shift;
        exponent -= shift;
        if (exponent < 1) return false;
      }
    }
    return this.round(a & 0x8000, exponent, high, low, guard);
  }

  /** To nearest, ties to even: `guard` is what lies below. False when the exponent is no normal number's. */
  round(sign: number, exponent: number, high: number, low: number, guard: number): boolean {
    let upper = high;
    let lower = low;
    let to = exponent;
    this.flags = 0;
    if (guard !== 0) {
      const up = guard < 0 && (guard !== 0x8000_0000 >> 0 || (lower & 1) !== 0);
      this.flags = up ? FSW.PE | FSW.C1 : FSW.PE;
      if (up) {
        lower = (lower + 1) | 0;
        if (lower === 0) {
          upper = (upper + 1) | 0;
          if (upper === 0) {
            upper = 0x8000_0000 | 0;
            to++;
          }
        }
      }
    }
    if (to < 1 || to > 0x7ffe) return false;
    this.se = sign | to;
    this.high = upper;
    this.low = lower;
    return true;
  }

  multiply(ase: number, ah: number, al: number, bse: number, bh: number, bl: number): boolean {
    const sign = (ase ^ bse) & 0x8000;
    if (ah === 0 || bh === 0) {
      this.se = sign;
      this.high = 0;
      this.low = 0;
      this.flags = 0;
      return true;
    }
    // Four products of 32 bits, added up word by word.
    const w0 = Math.imul(al, bl);
    const middle = upperProduct(al, bl);
    const lower = (Math.imul(ah, bl) >>> 0) + (Math.imul(al, bh) >>> 0) + middle;
    const upper =
      upperProduct(ah, bl) + upperProduct(al, bh) + (Math.imul(ah, bh) >>> 0) + Math.floor(lower / 0x1_0000_0000);
    let high = (upperProduct(ah, bh) + Math.floor(upper / 0x1_0000_0000)) | 0;
    let low = upper | 0;
    let guard = lower | 0;
    let exponent = (ase & 0x7fff) + (bse & 0x7fff) - 16383 + 1;
    const sticky = w0 === 0 ? 0 : 1;
    if (high >= 0) {
      high = (high << 1) | (low >>> 31);
      low = (low << 1) | (guard >>> 31);
      guard = (guard << 1) | (w0 >>> 31);
      exponent--;
      return this.round(sign, exponent, high, low, guard | (w0 << 1 === 0 ? 0 : 1));
    }
    return this.round(sign, exponent, high, low, guard | sticky);
  }

  /** A quotient bit, then four digits of 16 bits: each from doubles, which are wrong by one at most, and put right. */
  divide(ase: number, ah: number, al: number, bse: number, bh: number, bl: number): boolean {
    const sign = (ase ^ bse) & 0x8000;
    if (bh === 0) return false;
    if (ah === 0) {
      this.se = sign;
      this.high = 0;
      this.low = 0;
      this.flags = 0;
      return true;
    }
    const dh = bh >>> 0;
    const dl = bl >>> 0;
    const divisor = dh * WORD + dl;
    let exponent = (ase & 0x7fff) - (bse & 0x7fff) + 16383;
    let rh = ah >>> 0;
    let rl = al >>> 0;
    if (rh < dh || (rh === dh && rl < dl)) {
      rh = 2 * rh + (rl >= HALF ? 1 : 0);
      rl = (2 * rl) % WORD;
      exponent--;
    }
    rh -= dh;
    rl -= dl;
    if (rl < 0) {
      rl += WORD;
      rh--;
    }
    const fraction: [number, number] = [0, 0];
    for (let n = 0; n < 4; n++) {
      let digit = Math.floor(((rh * WORD + rl) / divisor) * 0x1_0000);
      const low = rl * 0x1_0000 - digit * dl;
      const carry = Math.floor(low / WORD);
      rl = low - carry * WORD;
      rh = rh * 0x1_0000 - digit * dh + carry;
      if (rh < 0) {
        digit--;
        rl += dl;
        rh += dh;
        if (rl >= WORD) {
          rl -= WORD;
          rh++;
        }
      } else if (rh > dh || (rh === dh && rl >= dl)) {
        digit++;
        rl -= dl;
        rh -= dh;
        if (rl < 0) {
          rl += WORD;
          rh--;
        }
      }
      fraction[n >> 1] = (fraction[n >> 1] << 16) | digit;
    }
    const [high, low] = fraction;
    const guard = (low << 31) | (rh !== 0 || rl !== 0 ? 1 : 0);
    return this.round(sign, exponent, 0x8000_0000 | (high >>> 1), (high << 31) | (low >>> 1), guard);
  }

  /** The root of a positive number or zero in the fields: a double's root, and one correction of it over integers.
   * Half-way cases do not exist. */
  squareRoot(): boolean {
    this.flags = 0;
    if (this.high === 0) return true;
    const exponent = this.se - 16383;
    const odd = exponent & 1;
    const high = this.high >>> 0;
    const low = this.low >>> 0;
    const square = ((BigInt(high) << 32n) | BigInt(low)) << (odd ? 64n : 63n);
    const first = BigInt(Math.floor(Math.sqrt(((high * WORD + low) / 2 ** 63) * (odd ? 2 : 1)) * 2 ** 52)) << 11n;
    let root = first + (square - first * first) / (2n * first);
    let rest = square - root * root;
    while (rest < 0n) {
      root -= 1n;
      rest += 2n * root + 1n;
    }
    while (rest > 2n * root) {
      rest -= 2n * root + 1n;
      root += 1n;
    }
    const guard = rest === 0n ? 0 : rest > root ? 0x8000_0001 | 0 : 1;
    const upper = Number(root >> 32n) | 0;
    const lower = Number(root & 0xffff_ffffn) | 0;
    return this.round(0, (exponent - odd) / 2 + 16383, upper, lower, guard);
  }
}

const WORD = 0x1_0000_0000;
const HALF = 0x8000_0000;

/** The upper half of a product of unsigned words. */
function upperProduct(a: number, b: number): number {
  const [ah, al, bh, bl] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const low = al * bl;
  const first = ah * bl + (low >>> 16);
  const second = al * bh + (first & 0xffff);
  return ah * bh + Math.floor(first / 0x1_0000) + Math.floor(second / 0x1_0000);
}
