/** Algebra: the vocabulary in which instructions say what they mean.
 *
 * A meaning is written once over `Algebra<V>`. With bigints for V it is the reference that tests evaluate; with
 * WebAssembly code for V it becomes the interpreter. `width` is the operation's; arithmetic is modulo 2^width, and a
 * value is never wider. Bits (flags, comparisons) are V too, but only the b… operations and `select`'s condition take
 * them. An expression used twice is named with `let`, or its code appears twice.
 * Faults and memory come from the common code around a meaning (operands) or from the effects below.
 * What MMX and XMM registers hold has an algebra of its own.
 * May not: know WebAssembly.   Next: x86/isa/vector.ts. */

export type Width = 8 | 16 | 32 | 64;
export type FlagName = 'cf' | 'pf' | 'af' | 'zf' | 'sf' | 'of';

export interface Algebra<V> {
  readonly width: Width;
  number(value: number | bigint): V;
  add(x: V, y: V): V;
  sub(x: V, y: V): V;
  mul(x: V, y: V): V;
  /** Upper half of the double-width product. */
  mulHigh(x: V, y: V, signed: boolean): V;
  /** hi:lo divided by d (d not zero): quotient, remainder, and whether the quotient does not fit. */
  divide(hi: V, lo: V, d: V, signed: boolean): { quotient: V; remainder: V; overflow: V };
  and(x: V, y: V): V;
  or(x: V, y: V): V;
  xor(x: V, y: V): V;
  not(x: V): V;
  /** Shifts by n < 32 (n < 64 for width 64); the result is cut to the width. */
  shl(x: V, n: V): V;
  shr(x: V, n: V): V;
  sar(x: V, n: V): V;
  /** Unsigned remainder by a constant (widths up to 32). */
  rem(x: V, n: number): V;
  clz(x: V): V;
  ctz(x: V): V;
  popcnt(x: V): V;
  /** Reverses the bytes. */
  byteSwap(x: V): V;
  /** Sign-extends the low `from` bits. */
  signExtend(x: V, from: 8 | 16 | 32): V;

  eq(x: V, y: V): V;
  ltu(x: V, y: V): V;
  lts(x: V, y: V): V;
  isZero(x: V): V;
  /** The top bit. */
  sign(x: V): V;
  /** Bit 0. */
  low(x: V): V;

  bit(value: 0 | 1): V;
  bAnd(a: V, b: V): V;
  bOr(a: V, b: V): V;
  bXor(a: V, b: V): V;
  bNot(a: V): V;
  bLet(a: V): V;
  /** A bit that only flags need and that is dear: worked out where they are wanted, otherwise any value. */
  flagBit(compute: () => V): V;
  fromBit(b: V): V;
  select(condition: V, x: V, y: V): V;
  bSelect(condition: V, x: V, y: V): V;
  let(x: V): V;

  /** Current value of an arithmetic flag, as a bit. */
  flag(name: FlagName): V;
}

/** Effects: what an instruction does beyond computing its explicit operands. In program order. */
export interface Effects<V> extends Algebra<V> {
  /** A general register at this operation's width. */
  reg(number: number): V;
  setReg(number: number, value: V): void;
  /** Low byte and AH by their numbers as byte registers: 0-3 low, 4 AH. */
  reg8(number: number): V;
  setReg8(number: number, value: V): void;
  when(condition: V, then: () => void, otherwise?: () => void): void;
  /** Raises an exception without error code; nothing may have been committed. */
  raise(vector: number): void;
  /** Sets arithmetic flags one by one; the others keep their value. */
  setFlags(flags: Partial<Record<FlagName, V>>): void;
}

/** What a meaning returns. Flags that are absent keep their value; zf, sf and pf follow from `result` where the
 * operation says so (Operation.flags). */
export type Outcome<V> = {
  /** New value of the first operand. */
  result?: V;
  /** Where it does not hold, a register destination is not written at all: a 32-bit one then keeps its upper half, which
   * any write would clear. `result` is still the value that stays (bsf, bsr of zero; cmpxchg of different values). */
  resultWhen?: V;
  /** New value of the second operand (xchg, xadd). */
  second?: V;
  cf?: V;
  of?: V;
  af?: V;
  zf?: V;
  /** What zf, sf and pf follow from, where that is not `result` (cmpxchg). */
  flagResult?: V;
  /** A conditional write of the accumulator, committed with the results (cmpxchg). */
  accumulator?: { when: V; value: V };
  /** When given, flags change only if it holds (shifts by zero). */
  flagsWhen?: V;
};
