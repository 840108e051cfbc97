/** Lazy arithmetic flags, as TypeScript sees them: from the stored operands to RFLAGS bits and back.
 *
 * state.ts tells the representation. The kinds are additions and subtractions of the four widths: the result and the
 * first operand are kept, the second follows from them. Everything else computes its flags at once (kind 0).
 * Follows: SDM Vol. 1, section 3.4.3.1.   Next: x86/float/formats.ts. */
import { STATE } from './state.ts';

export const CF = 0x001;
export const PF = 0x004;
export const AF = 0x010;
export const ZF = 0x040;
export const SF = 0x080;
export const OF = 0x800;

/** Kinds, shifted by 16 in FLAG_BITS. Widths in the order 8, 16, 32, 64. */
export const KIND = { BITS: 0, ADD: 1, SUB: 5 } as const;

/** CF PF AF ZF SF OF as RFLAGS has them. */
export function materialise(view: DataView): number {
  const bits = view.getInt32(STATE.FLAG_BITS, true);
  const resultLow = view.getInt32(STATE.FLAG_R, true);
  const resultHigh = view.getInt32(STATE.FLAG_R + 4, true);
  let flags = bits & (CF | PF | AF | ZF | SF | OF);
  if ((resultLow | resultHigh) === 0) flags ^= ZF;
  if (resultHigh < 0) flags ^= SF;
  if (evenParity(resultLow)) flags ^= PF;
  const kind = bits >> 16;
  if (kind === KIND.BITS) return flags;
  const subtraction = kind >= KIND.SUB;
  const width = 8 << (kind - (subtraction ? KIND.SUB : KIND.ADD));
  const xLow = view.getInt32(STATE.FLAG_X, true);
  const yLow = (subtraction ? xLow - resultLow : resultLow - xLow) | 0;
  if (((xLow ^ yLow ^ resultLow) & 0x10) !== 0) flags |= AF;
  // The operands with their top bit at bit 31: for 64 bits the upper halves, whose borrow comes from below.
  let x = xLow;
  let y = yLow;
  let r = resultLow;
  let below = 0; // what the lower halves say of equal upper ones
  if (width === 64) {
    const low = subtraction ? resultLow : xLow;
    const borrow = (subtraction ? xLow : resultLow) >>> 0 < low >>> 0 ? 1 : 0;
    x = view.getInt32(STATE.FLAG_X + 4, true);
    r = resultHigh;
    y = (subtraction ? x - r - borrow : r - x - borrow) | 0;
    below = subtraction ? (xLow >>> 0 < yLow >>> 0 ? 1 : 0) : resultLow >>> 0 < xLow >>> 0 ? 1 : 0;
  } else if (width < 32) {
    x <<= 32 - width;
    y <<= 32 - width;
    r <<= 32 - width;
  }
  const small = subtraction ? x : r;
  const large = subtraction ? y : x;
  if (small === large ? below === 1 : small >>> 0 < large >>> 0) flags |= CF;
  if ((subtraction ? (x ^ y) & (x ^ r) : (x ^ r) & (y ^ r)) < 0) flags |= OF;
  return flags;
}

/** Stores explicit flags: a result that says nothing (1: not zero, positive, odd parity), and the bits themselves. */
export function setArithmetic(view: DataView, flags: number): void {
  view.setInt32(STATE.FLAG_BITS, flags & (CF | PF | AF | ZF | SF | OF), true);
  view.setInt32(STATE.FLAG_R, 1, true);
  view.setInt32(STATE.FLAG_R + 4, 0, true);
}

function evenParity(byte: number): boolean {
  let b = byte & 0xff;
  b ^= b >> 4;
  return ((0x9669 >> (b & 15)) & 1) === 1;
}
