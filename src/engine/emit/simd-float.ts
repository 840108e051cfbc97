/** Floating-point vectors as WebAssembly: the fast half of the vector algebra.
 *
 * WebAssembly rounds to nearest, keeps no flags, and leaves a NaN's payload open. So its result counts only where MXCSR
 * would come out as it is and no NaN is about: operands are zeros, infinities or normal numbers, results are normal or
 * zeros that nothing was lost for, and either nothing was rounded, or rounding is to nearest and its exception masked. Its
 * flag is up soon and stays up; until then scalars find out whether they raise it. All else asks for the reference.
 * A result that is exactly the smallest normal number asks, too: before rounding it may have been less.
 * Follows: SDM Vol. 1, 11.5.2; WebAssembly Core Specification 2.0, 4.3.3.   Next: engine/emit/vector-run.ts. */
import { F32, F64, I32, I64, OP, SATURATING, SIMD, V128, type ValueType } from '../../wasm/opcodes.ts';
import type { Conversion, FloatOperation, FloatShape } from '../../x86/isa/vector.ts';
import { CF, PF, ZF } from '../flags.ts';
import { STATE } from '../state.ts';
import { binary, type Expression, i32, i64, select, setState32, state32, unary } from './code.ts';
import type { VectorCode } from './simd.ts';
import { constant, f32, f64, simd } from './simd-code.ts';

type E = Expression;
type Size = 32 | 64;

const and = (a: E, b: E): E => binary(OP.i32_and, I32, a, b);
const or = (a: E, b: E): E => binary(OP.i32_or, I32, a, b);
const not = (a: E): E => unary(OP.i32_eqz, I32, a);

const PE = 0x20;
const PM = 0x1000;
const RC = 0x6000;
const MXCSR = STATE.FXSAVE + 24;
const mxcsrIs = (mask: number, value: number): E =>
  binary(OP.i32_eq, I32, binary(OP.i32_and, I32, state32(MXCSR), i32(mask)), i32(value));
/** Whether a result may be rounded to nearest, and nothing would come of it. */
const mayRound = (): E => mxcsrIs(PE | PM | RC, PE | PM);
/** A result was rounded, to nearest or (where the instruction says how) in any mode: up goes the flag. The last thing
 * before the result is stored. */
function noteRounding(o: VectorCode, nearest: boolean): void {
  o.askIf(not(nearest ? mxcsrIs(PM | RC, PM) : mxcsrIs(PM, PM)));
  setState32(o.code, MXCSR, or(state32(MXCSR), i32(PE)));
}

const ARITHMETIC = {
  add: { 32: OP.f32_add, 64: OP.f64_add, ps: SIMD.f32x4_add, pd: SIMD.f64x2_add },
  sub: { 32: OP.f32_sub, 64: OP.f64_sub, ps: SIMD.f32x4_sub, pd: SIMD.f64x2_sub },
  mul: { 32: OP.f32_mul, 64: OP.f64_mul, ps: SIMD.f32x4_mul, pd: SIMD.f64x2_mul },
  div: { 32: OP.f32_div, 64: OP.f64_div, ps: SIMD.f32x4_div, pd: SIMD.f64x2_div },
};
const SMALLEST = { 32: 2 ** -126, 64: 2 ** -1022 };

const sizeOf = (shape: FloatShape): Size => (shape === 'ps' || shape === 'ss' ? 32 : 64);
const isScalar = (shape: FloatShape): shape is 'ss' | 'sd' => shape === 'ss' || shape === 'sd';

// ---- Scalars: bits in an i32 or i64

const floatOf = (size: Size, bits: E): E =>
  size === 32 ? unary(OP.f32_reinterpret, F32, bits) : unary(OP.f64_reinterpret, F64, bits);
const bitsOf = (size: Size, value: E): E =>
  size === 32 ? unary(OP.i32_reinterpret, I32, value) : unary(OP.i64_reinterpret, I64, value);
const number = (size: Size, value: bigint): E => (size === 32 ? i32(Number(BigInt.asIntN(32, value))) : i64(value));
const on = (size: Size, op32: number, op64: number, a: E, b: E): E =>
  binary(size === 32 ? op32 : op64, size === 32 ? I32 : I64, a, b);
const test = (size: Size, op32: number, op64: number, a: E, b: E): E => binary(size === 32 ? op32 : op64, I32, a, b);
const holds = (size: Size, op32: number, op64: number, a: E, b: E): E => binary(size === 32 ? op32 : op64, I32, a, b);

/** Twice the magnitude's bits: the sign is gone. */
const twice = (size: Size, bits: E): E => on(size, OP.i32_shl, OP.i64_shl, bits, number(size, 1n));
/** Twice the bits of the smallest normal number, and of infinity. */
const LEAST = { 32: 0x0100_0000n, 64: 0x0020_0000_0000_0000n };
const INFINITE = { 32: 0xff00_0000n, 64: 0xffe0_0000_0000_0000n };

/** Neither denormal nor, with `numbers`, a NaN. The zero wraps around to the top. */
function isPlain(size: Size, bits: E, numbers: boolean): E {
  const less = on(size, OP.i32_sub, OP.i64_sub, twice(size, bits), number(size, 1n));
  const plain = test(size, OP.i32_ge_u, OP.i64_ge_u, less, number(size, LEAST[size] - 1n));
  if (!numbers) return plain;
  const isNumber = test(size, OP.i32_le_u, OP.i64_le_u, twice(size, bits), number(size, INFINITE[size]));
  return and(plain, isNumber);
}
/** Between the smallest normal number and infinity, both left out. */
function isNormal(size: Size, bits: E): E {
  const above = on(size, OP.i32_sub, OP.i64_sub, twice(size, bits), number(size, LEAST[size] + 1n));
  return test(size, OP.i32_lt_u, OP.i64_lt_u, above, number(size, INFINITE[size] - LEAST[size] - 1n));
}
/** Between infinity and the first quiet NaN, both left out. */
function isSignalling(size: Size, bits: E): E {
  const above = on(size, OP.i32_sub, OP.i64_sub, twice(size, bits), number(size, INFINITE[size] + 1n));
  const quiet = size === 32 ? 1n << 23n : 1n << 52n;
  return test(size, OP.i32_lt_u, OP.i64_lt_u, above, number(size, quiet - 1n));
}
const isZero = (size: Size, bits: E): E => unary(size === 32 ? OP.i32_eqz : OP.i64_eqz, I32, twice(size, bits));

// ---- Vectors of floats

const vectorOf = (size: Size, op32: number, op64: number, ...operands: E[]): E =>
  simd(size === 32 ? op32 : op64, V128, ...operands);
function everywhere(size: Size, value: number): E {
  const view = new DataView(new ArrayBuffer(16));
  for (let at = 0; at < 16; at += size / 8) {
    if (size === 32) view.setFloat32(at, value, true);
    else view.setFloat64(at, value, true);
  }
  return constant(Array.from({ length: 16 }, (_, i) => view.getUint8(i)));
}
const abs = (size: Size, x: E): E => vectorOf(size, SIMD.f32x4_abs, SIMD.f64x2_abs, x);
const equal = (size: Size, x: E, y: E): E => vectorOf(size, SIMD.f32x4_eq, SIMD.f64x2_eq, x, y);
const less = (size: Size, x: E, y: E): E => vectorOf(size, SIMD.f32x4_lt, SIMD.f64x2_lt, x, y);
const both = (x: E, y: E): E => simd(SIMD.and, V128, x, y);
const either = (x: E, y: E): E => simd(SIMD.or, V128, x, y);
const all = (size: Size, mask: E): E => simd(size === 32 ? SIMD.i32x4_all_true : SIMD.i64x2_all_true, I32, mask);
const zeros = (size: Size, x: E): E => equal(size, x, everywhere(size, 0));
/** Lanes that are zero, normal or infinite. */
const plainLanes = (size: Size, x: E): E =>
  either(vectorOf(size, SIMD.f32x4_ge, SIMD.f64x2_ge, abs(size, x), everywhere(size, SMALLEST[size])), zeros(size, x));
const normalLanes = (size: Size, x: E): E =>
  both(
    vectorOf(size, SIMD.f32x4_gt, SIMD.f64x2_gt, abs(size, x), everywhere(size, SMALLEST[size])),
    less(size, abs(size, x), everywhere(size, Number.POSITIVE_INFINITY)),
  );

// ---- The operations

export function float(o: VectorCode, operation: FloatOperation, shape: FloatShape, x: E, y: E): E {
  const size = sizeOf(shape);
  if (operation === 'min' || operation === 'max') return extreme(o, operation, shape, x, y);
  const opcodes = ARITHMETIC[operation];
  if (isScalar(shape)) {
    const value = o.let(binary(opcodes[size], size === 32 ? F32 : F64, floatOf(size, x), floatOf(size, y)));
    const bits = o.let(bitsOf(size, value));
    o.askIf(not(and(isPlain(size, x, false), isPlain(size, y, false))));
    o.code.if(not(isNormal(size, bits)), () => {
      const lossless = {
        add: undefined, // a sum of zero is exact
        sub: undefined,
        mul: () => or(isZero(size, x), isZero(size, y)),
        div: () => isZero(size, x),
      }[operation];
      const zero = isZero(size, bits);
      o.askIf(not(lossless ? and(zero, lossless()) : zero));
    });
    o.code.if(not(mayRound()), () => {
      o.askIf(binary(OP.i32_and, I32, state32(MXCSR), i32(RC))); // which has a say in a zero's sign, too
      o.code.if(not(isZero(size, bits)), () => judge(o, operation, size, x, y, value));
    });
    return bits;
  }
  o.askIf(not(mayRound()));
  const result = o.let(simd(opcodes[shape], V128, x, y));
  const lost = zeros(size, result);
  const zero = {
    add: lost,
    sub: lost,
    mul: both(lost, either(zeros(size, x), zeros(size, y))),
    div: both(lost, zeros(size, x)),
  }[operation];
  const plain = both(plainLanes(size, x), plainLanes(size, y));
  o.askIf(not(all(size, both(plain, either(normalLanes(size, result), zero)))));
  return result;
}

/** Finds out whether a result, not a zero, was rounded to nearest, and notes it; asks where it cannot tell.
 * What a sum lost is a number itself (Knuth's two-sum). Of a product the significands' zeros at the end tell: what is
 * left of both has as many bits as they have together, or one less. A quotient is exact if multiplying back is. */
function judge(o: VectorCode, operation: 'add' | 'sub' | 'mul' | 'div', size: Size, x: E, y: E, value: E): void {
  const t: ValueType = size === 32 ? F32 : F64;
  const combine = (op32: number, op64: number, a: E, b: E): E => binary(size === 32 ? op32 : op64, t, a, b);
  const [a, b] = [floatOf(size, x), floatOf(size, y)];
  const same = (left: E, right: E): E => holds(size, OP.f32_eq, OP.f64_eq, left, right);
  let exact: E;
  if (operation === 'mul') exact = fits(o, size, x, y);
  else if (operation === 'div') {
    const back = combine(OP.f32_mul, OP.f64_mul, value, b);
    exact = and(fits(o, size, bitsOf(size, value), y), same(back, a));
  } else {
    const add = (left: E, right: E): E => combine(OP.f32_add, OP.f64_add, left, right);
    const sub = (left: E, right: E): E => combine(OP.f32_sub, OP.f64_sub, left, right);
    // Of the sum of a and b: what of b it holds, and what is left of either. A difference has -b for b.
    const held = o.let(sub(value, a));
    const restOfA = sub(a, sub(value, held));
    const restOfB = operation === 'add' ? sub(b, held) : sub(sub(zeroOf(size), b), held);
    exact = same(add(restOfA, restOfB), zeroOf(size));
  }
  o.code.if(not(exact), () => noteRounding(o, true));
}
const zeroOf = (size: Size): E => (size === 32 ? f32(0) : f64(0));

/** Whether the product of two significands has no more bits than one; asks where it is one bit from that. */
function fits(o: VectorCode, size: Size, x: E, y: E): E {
  const precision = size === 32 ? 24 : 53;
  const zeros = (bits: E): E => {
    const whole = on(size, OP.i32_or, OP.i64_or, bits, number(size, 1n << BigInt(precision - 1)));
    const count = unary(size === 32 ? OP.i32_ctz : OP.i64_ctz, size === 32 ? I32 : I64, whole);
    return size === 32 ? count : unary(OP.i32_wrap, I32, count);
  };
  const sum = o.let(binary(OP.i32_add, I32, zeros(x), zeros(y)));
  o.askIf(binary(OP.i32_eq, I32, sum, i32(precision - 1)));
  return binary(OP.i32_ge_s, I32, sum, i32(precision));
}

/** The first operand if it is really less (greater), else the second. */
function extreme(o: VectorCode, operation: 'min' | 'max', shape: FloatShape, x: E, y: E): E {
  const size = sizeOf(shape);
  if (isScalar(shape)) {
    o.askIf(not(and(isPlain(size, x, true), isPlain(size, y, true))));
    const [op32, op64] = operation === 'min' ? [OP.f32_lt, OP.f64_lt] : [OP.f32_gt, OP.f64_gt];
    const first = holds(size, op32, op64, floatOf(size, x), floatOf(size, y));
    return select(x.t, first, x, y);
  }
  o.askIf(not(all(size, both(plainLanes(size, x), plainLanes(size, y)))));
  // The pseudo-minimum of a and b is b if b < a, else a.
  return operation === 'min'
    ? vectorOf(size, SIMD.f32x4_pmin, SIMD.f64x2_pmin, y, x)
    : vectorOf(size, SIMD.f32x4_pmax, SIMD.f64x2_pmax, y, x);
}

export function root(o: VectorCode, shape: FloatShape, x: E): E {
  const size = sizeOf(shape);
  if (isScalar(shape)) {
    // Positive and normal, or a zero of either sign.
    const least = number(size, LEAST[size] >> 1n);
    const above = on(size, OP.i32_sub, OP.i64_sub, x, least);
    const span = number(size, (INFINITE[size] - LEAST[size]) >> 1n);
    o.askIf(not(or(test(size, OP.i32_lt_u, OP.i64_lt_u, above, span), isZero(size, x))));
    const t: ValueType = size === 32 ? F32 : F64;
    const value = o.let(unary(size === 32 ? OP.f32_sqrt : OP.f64_sqrt, t, floatOf(size, x)));
    const bits = o.let(bitsOf(size, value));
    o.code.if(not(mayRound()), () => {
      o.askIf(binary(OP.i32_and, I32, state32(MXCSR), i32(RC)));
      const square = binary(size === 32 ? OP.f32_mul : OP.f64_mul, t, value, value);
      const same = holds(size, OP.f32_eq, OP.f64_eq, square, floatOf(size, x));
      o.code.if(not(and(fits(o, size, bits, bits), same)), () => noteRounding(o, true));
    });
    return bits;
  }
  o.askIf(not(mayRound()));
  const inRange = both(
    vectorOf(size, SIMD.f32x4_ge, SIMD.f64x2_ge, x, everywhere(size, SMALLEST[size])),
    less(size, x, everywhere(size, Number.POSITIVE_INFINITY)),
  );
  o.askIf(not(all(size, either(inRange, zeros(size, x)))));
  return vectorOf(size, SIMD.f32x4_sqrt, SIMD.f64x2_sqrt, x);
}

/** The quotient itself, or that of the root; MXCSR has no part in it. */
export function reciprocal(o: VectorCode, shape: 'ps' | 'ss', x: E, ofRoot: boolean): E {
  if (shape === 'ss') {
    o.askIf(not(ofRoot ? and(isNormal(32, x), binary(OP.i32_ge_s, I32, x, i32(0))) : isNormal(32, x)));
    const value = ofRoot ? unary(OP.f32_sqrt, F32, floatOf(32, x)) : floatOf(32, x);
    const bits = o.let(bitsOf(32, binary(OP.f32_div, F32, f32(1), value)));
    o.askIf(not(isNormal(32, bits)));
    return bits;
  }
  const positive = ofRoot ? less(32, everywhere(32, 0), x) : undefined;
  const fits = positive ? both(normalLanes(32, x), positive) : normalLanes(32, x);
  o.askIf(not(all(32, fits)));
  const value = ofRoot ? simd(SIMD.f32x4_sqrt, V128, x) : x;
  const result = o.let(simd(SIMD.f32x4_div, V128, everywhere(32, 1), value));
  o.askIf(not(all(32, normalLanes(32, result))));
  return result;
}

export function compare(o: VectorCode, shape: FloatShape, x: E, y: E, predicate: E): E {
  const size = sizeOf(shape);
  const kind = o.let(and(predicate, i32(3)));
  const is = (n: number): E => binary(OP.i32_eq, I32, kind, i32(n));
  const negated = and(binary(OP.i32_shr_u, I32, predicate, i32(2)), i32(1));
  if (isScalar(shape)) {
    o.askIf(not(and(isPlain(size, x, true), isPlain(size, y, true))));
    const [a, b] = [floatOf(size, x), floatOf(size, y)];
    const lt = holds(size, OP.f32_lt, OP.f64_lt, a, b);
    const eq = holds(size, OP.f32_eq, OP.f64_eq, a, b);
    const le = holds(size, OP.f32_le, OP.f64_le, a, b);
    const truth = select(I32, is(0), eq, select(I32, is(1), lt, select(I32, is(2), le, i32(0))));
    const bit = binary(OP.i32_sub, I32, i32(0), binary(OP.i32_xor, I32, truth, negated));
    return size === 32 ? bit : unary(OP.i64_extend_s, I64, bit);
  }
  o.askIf(not(all(size, both(plainLanes(size, x), plainLanes(size, y)))));
  const le = vectorOf(size, SIMD.f32x4_le, SIMD.f64x2_le, x, y);
  const none = constant(Array(16).fill(0));
  const truth = select(
    V128,
    is(0),
    equal(size, x, y),
    select(V128, is(1), less(size, x, y), select(V128, is(2), le, none)),
  );
  const flip = simd(SIMD.i32x4_splat, V128, binary(OP.i32_sub, I32, i32(0), negated));
  return simd(SIMD.xor, V128, truth, flip);
}

/** CF, PF and ZF as RFLAGS has them. */
export function order(o: VectorCode, shape: 'ss' | 'sd', x: E, y: E, signals: boolean): E {
  const size = sizeOf(shape);
  const [a, b] = [floatOf(size, x), floatOf(size, y)];
  const zf = binary(OP.i32_shl, I32, holds(size, OP.f32_eq, OP.f64_eq, a, b), i32(6));
  const ordered = or(holds(size, OP.f32_lt, OP.f64_lt, a, b), zf);
  if (signals) {
    o.askIf(not(and(isPlain(size, x, true), isPlain(size, y, true))));
    return ordered;
  }
  // Quiet NaNs are unordered, and no exception.
  const plain = (bits: E): E => and(isPlain(size, bits, false), not(isSignalling(size, bits)));
  o.askIf(not(and(plain(x), plain(y))));
  const isNumber = (value: E): E => holds(size, OP.f32_eq, OP.f64_eq, value, value);
  return select(I32, and(isNumber(a), isNumber(b)), ordered, i32(CF | PF | ZF));
}

export function convert(o: VectorCode, conversion: Conversion, x: E, truncate: boolean): E {
  switch (conversion) {
    case 'si→ss':
    case 'si→sd':
      return fromInteger(o, conversion === 'si→ss' ? 32 : 64, x);
    case 'ss→si':
    case 'sd→si':
      return toInteger(o, conversion === 'ss→si' ? 32 : 64, x, truncate);
    case 'ss→sd':
      o.askIf(not(isPlain(32, x, true)));
      return bitsOf(64, unary(OP.f64_promote, F64, floatOf(32, x)));
    case 'sd→ss': {
      const value = o.let(unary(OP.f32_demote, F32, floatOf(64, x)));
      const bits = o.let(bitsOf(32, value));
      const exact = binary(OP.f64_eq, I32, unary(OP.f64_promote, F64, value), floatOf(64, x));
      o.askIf(not(or(isZero(64, x), isNormal(32, bits))));
      o.code.if(not(exact), () => noteRounding(o, true));
      return bits;
    }
    case 'ps→pd':
      o.askIf(not(all(32, plainLanes(32, x))));
      return simd(SIMD.f64x2_promote_low, V128, x);
    case 'pd→ps': {
      const result = o.let(simd(SIMD.f32x4_demote_zero, V128, x));
      const back = o.let(simd(SIMD.f64x2_promote_low, V128, result));
      const above = simd(SIMD.f64x2_gt, V128, abs(64, back), everywhere(64, SMALLEST[32]));
      const normal = both(above, less(64, abs(64, back), everywhere(64, Number.POSITIVE_INFINITY)));
      o.askIf(not(all(64, either(normal, zeros(64, x)))));
      o.code.if(not(all(64, equal(64, back, x))), () => noteRounding(o, true));
      return result;
    }
    case 'dq→pd':
      return simd(SIMD.f64x2_convert_low_s, V128, x);
    case 'dq→ps':
      o.askIf(not(mayRound()));
      return simd(SIMD.f32x4_convert_s, V128, x);
    default:
      return toIntegers(o, conversion === 'ps→dq' ? 32 : 64, x, truncate);
  }
}

/** Exact up to the significand's width. */
function fromInteger(o: VectorCode, size: Size, x: E): E {
  const wide = x.t === I64;
  const type: ValueType = size === 32 ? F32 : F64;
  const opcode = { 32: [OP.f32_convert_i32_s, OP.f32_convert_i64_s], 64: [OP.f64_convert_i32_s, OP.f64_convert_i64_s] };
  const precision = size === 32 ? 24n : 53n;
  if (wide || size === 32) {
    const limit = 1n << precision;
    const shifted = wide
      ? binary(OP.i64_le_u, I32, binary(OP.i64_add, I64, x, i64(limit)), i64(2n * limit))
      : binary(OP.i32_le_u, I32, binary(OP.i32_add, I32, x, i32(Number(limit))), i32(Number(2n * limit)));
    o.askIf(not(or(shifted, mayRound())));
  }
  return bitsOf(size, unary(opcode[size][wide ? 1 : 0], type, x));
}

function toInteger(o: VectorCode, size: Size, x: E, truncate: boolean): E {
  const wide = o.scalar === 64;
  const type: ValueType = size === 32 ? F32 : F64;
  const constantOf = (value: number): E => (size === 32 ? f32(value) : f64(value));
  const given = floatOf(size, x);
  const value = o.let(truncate ? given : unary(size === 32 ? OP.f32_nearest : OP.f64_nearest, type, given));
  const limit = wide ? 2 ** 63 : 2 ** 31;
  const inRange = and(
    holds(size, OP.f32_ge, OP.f64_ge, value, constantOf(-limit)),
    holds(size, OP.f32_lt, OP.f64_lt, value, constantOf(limit)),
  );
  const opcode = wide ? [SATURATING.i64_f32, SATURATING.i64_f64] : [SATURATING.i32_f32, SATURATING.i32_f64];
  const c = [...value.c, 0xfc, opcode[size === 32 ? 0 : 1]];
  const result = o.let({ t: wide ? I64 : I32, c });
  const convertBack = wide
    ? [OP.f32_convert_i64_s, OP.f64_convert_i64_s]
    : [OP.f32_convert_i32_s, OP.f64_convert_i32_s];
  const back = unary(convertBack[size === 32 ? 0 : 1], type, result);
  const exact = holds(size, OP.f32_eq, OP.f64_eq, back, given);
  o.askIf(not(inRange));
  o.code.if(not(exact), () => {
    o.askIf(not(isPlain(size, x, false))); // under DAZ a denormal is a zero, and exact
    noteRounding(o, !truncate);
  });
  return result;
}

/** To 32-bit lanes. */
function toIntegers(o: VectorCode, size: Size, x: E, truncate: boolean): E {
  const value = o.let(truncate ? x : vectorOf(size, SIMD.f32x4_nearest, SIMD.f64x2_nearest, x));
  const inRange = less(size, abs(size, value), everywhere(size, 2 ** 31));
  const result = o.let(vectorOf(size, SIMD.i32x4_trunc_f32x4_s, SIMD.i32x4_trunc_f64x2_s_zero, value));
  const back = vectorOf(size, SIMD.f32x4_convert_s, SIMD.f64x2_convert_low_s, result);
  o.askIf(not(all(size, inRange)));
  o.code.if(not(all(size, equal(size, back, x))), () => {
    o.askIf(not(all(size, plainLanes(size, x))));
    noteRounding(o, !truncate);
  });
  return result;
}
