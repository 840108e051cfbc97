/** SseUnit: what SSE and SSE2 do with one pair of numbers under MXCSR.
 *
 * Calculates through the soft float of x86/float and adds what is SSE's own: minima and maxima, predicates, flags that
 * belong to all lanes of an instruction, and the order of exceptions: when one that is known before calculating (invalid,
 * division by zero, denormal) is unmasked in any lane, those that follow from results (overflow, underflow, precision)
 * are not raised at all.
 * RCPPS and RSQRTPS have results of each processor's choice within 1.5 × 2^-12. Ours are the correctly rounded quotient,
 * and for the root two roundings in a row; a denormal operand is a zero, a denormal result too.
 * Follows: SDM Vol. 1, 10.2.3, 11.5; Vol. 2, MINPD, CMPPD, RCPPS, RSQRTPS.
 * May not: know registers or memory.   Next: engine/cpu.ts. */
import { add, divide, multiply, squareRoot, subtract } from '../x86/float/arithmetic.ts';
import { compare, ORDER } from '../x86/float/compare.ts';
import { EXCEPTION, FloatContext, ROUNDING, type Rounding } from '../x86/float/context.ts';
import { convert, fromInteger, toInteger } from '../x86/float/convert.ts';
import { BINARY32, BINARY64, decode, encode, Float, type Format } from '../x86/float/formats.ts';
import type { FloatOperation } from '../x86/isa/vector.ts';

export type Relation = 'less' | 'equal' | 'greater' | 'unordered';
type Size = 32 | 64;

/** MXCSR's other bits: flags are bits 0-5, masks 7-12. */
const DAZ = 0x40;
const MASKS_SHIFT = 7;
const ROUNDING_SHIFT = 13;
const FLUSH = 0x8000;
const BEFORE = EXCEPTION.IE | EXCEPTION.DE | EXCEPTION.ZE;

const formatOf = (size: Size): Format => (size === 32 ? BINARY32 : BINARY64);
const RELATIONS = new Map<number, Relation>([
  [ORDER.LESS, 'less'],
  [ORDER.EQUAL, 'equal'],
  [ORDER.GREATER, 'greater'],
  [ORDER.UNORDERED, 'unordered'],
]);
const ARITHMETIC = { add, sub: subtract, mul: multiply, div: divide };

const CANONICAL_NAN = 0xffc0_0000n;
const scratch = new DataView(new ArrayBuffer(4));

export class SseUnit {
  readonly #context = new FloatContext();
  readonly #a = new Float();
  readonly #b = new Float();
  readonly #masks: number;

  constructor(mxcsr: number) {
    const context = this.#context;
    this.#masks = (mxcsr >> MASKS_SHIFT) & 0x3f;
    context.rounding = ((mxcsr >> ROUNDING_SHIFT) & 3) as Rounding;
    context.denormalsAreZero = (mxcsr & DAZ) !== 0;
    // Flushing is for masked underflows; where it is not masked the exception comes first.
    context.flushToZero = (mxcsr & FLUSH) !== 0;
    context.masks = this.#masks;
  }

  /** Flags of all lanes, and whether one of them is not masked. */
  finish(): { raised: number; unmasked: boolean } {
    const { flags } = this.#context;
    const stops = (flags & ~this.#masks & BEFORE) !== 0;
    const raised = stops ? flags & BEFORE : flags;
    return { raised, unmasked: (raised & ~this.#masks) !== 0 };
  }

  operate(operation: FloatOperation, size: Size, x: bigint, y: bigint): bigint {
    if (operation === 'min' || operation === 'max') return this.#extreme(operation, size, x, y);
    const format = formatOf(size);
    const a = decode(this.#a, format, x);
    const b = decode(this.#b, format, y);
    return encode(ARITHMETIC[operation](this.#context, format, a, b), format);
  }

  root(size: Size, x: bigint): bigint {
    const format = formatOf(size);
    return encode(squareRoot(this.#context, format, decode(this.#a, format, x)), format);
  }

  /** The second operand unless the first is really less (greater): of NaNs, and of two zeros. DAZ makes zeros of
   * results, too. */
  #extreme(operation: 'min' | 'max', size: Size, x: bigint, y: bigint): bigint {
    const relation = this.order(size, x, y, true);
    const first = relation === (operation === 'min' ? 'less' : 'greater');
    return encode(first ? this.#a : this.#b, formatOf(size));
  }

  order(size: Size, x: bigint, y: bigint, signals: boolean): Relation {
    const format = formatOf(size);
    const a = decode(this.#a, format, x);
    const b = decode(this.#b, format, y);
    return RELATIONS.get(compare(this.#context, a, b, !signals)) as Relation;
  }

  /** Predicates 0 to 7: equal, less, less or equal, unordered, and what each is not. */
  compare(size: Size, x: bigint, y: bigint, predicate: number): boolean {
    const kind = predicate & 3;
    const relation = this.order(size, x, y, kind === 1 || kind === 2);
    const holds = [
      relation === 'equal',
      relation === 'less',
      relation === 'less' || relation === 'equal',
      relation === 'unordered',
    ][kind];
    return (predicate & 4) === 0 ? holds : !holds;
  }

  widen = (x: bigint): bigint => this.#convert(BINARY32, BINARY64, x);
  narrow = (x: bigint): bigint => this.#convert(BINARY64, BINARY32, x);
  #convert(from: Format, to: Format, x: bigint): bigint {
    return encode(convert(this.#context, to, decode(this.#a, from, x)), to);
  }

  fromInteger(size: Size, value: bigint): bigint {
    return encode(fromInteger(this.#context, formatOf(size), value), formatOf(size));
  }
  toInteger(size: Size, x: bigint, to: Size, truncate: boolean): bigint {
    const context = this.#context;
    const a = decode(this.#a, formatOf(size), x);
    return toInteger(context, a, to, truncate ? ROUNDING.ZERO : context.rounding);
  }

  reciprocal(x: bigint): bigint {
    return approximate(x, (value) => 1 / value);
  }
  reciprocalRoot(x: bigint): bigint {
    return approximate(x, (value) => 1 / Math.fround(Math.sqrt(value)));
  }
}

/** On bits of single precision. Rounding a double's quotient or root again gives what rounding once would. */
function approximate(x: bigint, f: (value: number) => number): bigint {
  const bits = Number(x);
  const exponent = bits & 0x7f80_0000;
  if (exponent === 0x7f80_0000 && (bits & 0x7f_ffff) !== 0) return x | 0x40_0000n;
  scratch.setUint32(0, exponent === 0 ? bits & 0x8000_0000 : bits);
  const result = f(scratch.getFloat32(0));
  if (Number.isNaN(result)) return CANONICAL_NAN;
  scratch.setFloat32(0, result);
  const rounded = scratch.getUint32(0);
  return BigInt((rounded & 0x7f80_0000) === 0 ? (rounded & 0x8000_0000) >>> 0 : rounded);
}
