/** The vector algebra: what instructions on MMX and XMM registers say of themselves.
 *
 * A second vocabulary beside `Algebra`, in the words of lanes: a vector is 64 bits (MMX) or 128 (XMM), and everything
 * smaller (the low lane of a register, a general register, memory of 8 bytes or less) is a scalar of its own bits. With
 * bigints for V a meaning is the reference, with WebAssembly code it is the interpreter.
 * Floating point works under MXCSR: rounding, denormals and the exceptions are common code, never in a row.
 * May not: know WebAssembly.   Next: x86/isa/types.ts. */

export type Lane = 8 | 16 | 32 | 64;

/** Each lane with its counterpart. Saturating additions and subtractions say of which kind their numbers are. */
export type LaneOperation =
  | 'add'
  | 'sub'
  | 'addSigned'
  | 'addUnsigned'
  | 'subSigned'
  | 'subUnsigned'
  | 'mulLow'
  | 'mulHighSigned'
  | 'mulHighUnsigned'
  | 'average'
  | 'minSigned'
  | 'minUnsigned'
  | 'maxSigned'
  | 'maxUnsigned'
  | 'equal'
  | 'greater';

/** The manual's suffixes: packed or scalar, single or double. */
export type FloatShape = 'ps' | 'pd' | 'ss' | 'sd';
export type FloatOperation = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max';
/** From → to. Packed integers are signed 32-bit lanes; `si` is a general register's width. */
export type Conversion =
  | 'ps→pd'
  | 'pd→ps'
  | 'ss→sd'
  | 'sd→ss'
  | 'dq→ps'
  | 'dq→pd'
  | 'ps→dq'
  | 'pd→dq'
  | 'si→ss'
  | 'si→sd'
  | 'ss→si'
  | 'sd→si';

export interface VectorAlgebra<V> {
  /** Of this operation's vectors. */
  readonly bits: 64 | 128;
  /** A general register operand's width. */
  readonly scalar: 32 | 64;

  /** A scalar with zeros above it, and a vector's lowest lane as a scalar. */
  vector(scalar: V): V;
  extract(lane: 32 | 64, x: V, index: number): V;
  insert(lane: 64, x: V, index: number, scalar: V): V;
  /** 16-bit lanes by an immediate, of which only as many bits count as there are lanes. */
  extractWord(x: V, index: V): V;
  insertWord(x: V, index: V, scalar: V): V;

  and(x: V, y: V): V;
  or(x: V, y: V): V;
  xor(x: V, y: V): V;
  /** not x, and y. */
  andNot(x: V, y: V): V;
  lanes(operation: LaneOperation, lane: Lane, x: V, y: V): V;
  /** By a scalar of 64 bits; past the lane everything is shifted out. */
  shift(kind: 'left' | 'right' | 'arithmetic', lane: 16 | 32 | 64, x: V, count: V): V;
  /** The whole vector by bytes; the count is an immediate. */
  shiftBytes(direction: 'left' | 'right', x: V, count: V): V;
  /** An immediate as a scalar of 64 bits. */
  count(immediate: V): V;
  /** Lanes of x and y in turn, from the low or the high half of each. */
  interleave(half: 'low' | 'high', lane: Lane, x: V, y: V): V;
  /** Signed lanes to half their width, saturated; x below y. */
  pack(lane: 16 | 32, signed: boolean, x: V, y: V): V;
  /** Signed 16-bit products, added in pairs. */
  multiplyAdd(x: V, y: V): V;
  /** Unsigned products of the even 32-bit lanes. */
  multiplyEven(x: V, y: V): V;
  /** Absolute differences of unsigned bytes, eight to a sum. */
  sumOfDifferences(x: V, y: V): V;
  /** Lane i of the result is a lane of sources[i]: number `first` plus `bits` bits of the control, from bit i × bits on. */
  permute(lane: 16 | 32 | 64, bits: 1 | 2, sources: readonly V[], first: number, control: V): V;
  /** The lanes' top bits as a number. */
  signs(lane: 8 | 32 | 64, x: V): V;

  float(operation: FloatOperation, shape: FloatShape, x: V, y: V): V;
  root(shape: FloatShape, x: V): V;
  /** Approximations that no exception and no rounding mode concerns. */
  reciprocal(shape: 'ps' | 'ss', x: V): V;
  reciprocalRoot(shape: 'ps' | 'ss', x: V): V;
  /** Ones where the predicate (an immediate, 0 to 7) holds. */
  compare(shape: FloatShape, x: V, y: V, predicate: V): V;
  /** Sets ZF, PF and CF; `signals` says whether a quiet NaN is invalid too. */
  order(shape: 'ss' | 'sd', x: V, y: V, signals: boolean): void;
  convert(conversion: Conversion, x: V, truncate?: boolean): V;

  /** MXCSR; #GP(0) for bits that are reserved. */
  control(): V;
  setControl(value: V): void;
}

export type VectorMeaning = <V>(o: VectorAlgebra<V>, ...operands: V[]) => V | undefined;
