/** Products and quotients of 128 bits, which WebAssembly has no instruction for.
 *
 * Next: engine/emit/meaning.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import { STATE } from '../state.ts';
import { binary, type Code, type Expression, get, i32, i64, select, setState64, unary, wrap } from './code.ts';

/** Upper 64 bits of an unsigned 64-by-64-bit product, from four 32-bit products. */
export function highProduct(code: Code, x: Expression, y: Expression): Expression {
  const lowHalf = (e: Expression): Expression => binary(OP.i64_and, I64, e, i64(0xffff_ffffn));
  const highHalf = (e: Expression): Expression => binary(OP.i64_shr_u, I64, e, i64(32));
  const mul = (a: Expression, b: Expression): Expression => binary(OP.i64_mul, I64, a, b);
  const add = (a: Expression, b: Expression): Expression => binary(OP.i64_add, I64, a, b);
  const [xl, xh, yl, yh] = [lowHalf(x), highHalf(x), lowHalf(y), highHalf(y)].map((e) => code.let(e));
  const middle = code.let(add(mul(xh, yl), highHalf(mul(xl, yl))));
  const cross = code.let(add(mul(xl, yh), lowHalf(middle)));
  return add(add(mul(xh, yh), highHalf(middle)), highHalf(cross));
}

/** hi:lo / d; quotient and remainder go to the state; returns 1 when the quotient does not fit. By shifting and
 * subtracting, unless the high half is zero. */
export function emitDivide(code: Code): void {
  const [hi, lo, d] = [0, 1, 2].map((n) => get(I64, n));
  const signed = get(I32, 3);
  const zero = i64(0);
  const negativeNumerator = code.local(I32);
  const negativeDivisor = code.local(I32);
  const negate = (e: Expression): Expression => binary(OP.i64_sub, I64, zero, e);
  code.set(negativeNumerator, binary(OP.i32_and, I32, signed, binary(OP.i64_lt_s, I32, hi, zero)));
  code.set(negativeDivisor, binary(OP.i32_and, I32, signed, binary(OP.i64_lt_s, I32, d, zero)));
  code.if(get(I32, negativeNumerator), () => {
    const borrow = unary(OP.i64_extend_u, I64, unary(OP.i32_eqz, I32, unary(OP.i64_eqz, I32, lo)));
    code.set(0, binary(OP.i64_sub, I64, negate(hi), borrow));
    code.set(1, negate(lo));
  });
  code.if(get(I32, negativeDivisor), () => code.set(2, negate(d)));
  code.if(binary(OP.i64_ge_u, I32, hi, d), () => code.return(i32(1)));
  const q = code.local(I64);
  const r = code.local(I64);
  code.if(
    unary(OP.i64_eqz, I32, hi),
    () => {
      code.set(q, binary(OP.i64_div_u, I64, lo, d));
      code.set(r, binary(OP.i64_rem_u, I64, lo, d));
    },
    () => {
      const count = code.local(I32);
      const carry = code.local(I64);
      code.set(q, lo);
      code.set(r, hi);
      code.set(count, i32(64));
      code.loop(() => {
        code.set(carry, binary(OP.i64_shr_u, I64, get(I64, r), i64(63)));
        code.set(
          r,
          binary(
            OP.i64_or,
            I64,
            binary(OP.i64_shl, I64, get(I64, r), i64(1)),
            binary(OP.i64_shr_u, I64, get(I64, q), i64(63)),
          ),
        );
        code.set(q, binary(OP.i64_shl, I64, get(I64, q), i64(1)));
        const fits = binary(OP.i32_or, I32, wrap(get(I64, carry)), binary(OP.i64_ge_u, I32, get(I64, r), d));
        code.if(fits, () => {
          code.set(r, binary(OP.i64_sub, I64, get(I64, r), d));
          code.set(q, binary(OP.i64_or, I64, get(I64, q), i64(1)));
        });
        code.set(count, binary(OP.i32_sub, I32, get(I32, count), i32(1)));
        code.brIf(get(I32, count), 0);
      });
    },
  );
  const signsDiffer = binary(OP.i32_xor, I32, get(I32, negativeNumerator), get(I32, negativeDivisor));
  code.if(signed, () => {
    const limit = select(I64, signsDiffer, i64(-(2n ** 63n)), i64(2n ** 63n - 1n));
    code.if(binary(OP.i64_gt_u, I32, get(I64, q), limit), () => code.return(i32(1)));
    code.if(signsDiffer, () => code.set(q, negate(get(I64, q))));
    code.if(get(I32, negativeNumerator), () => code.set(r, negate(get(I64, r))));
  });
  setState64(code, STATE.QUOTIENT, get(I64, q));
  setState64(code, STATE.REMAINDER, get(I64, r));
  code.emit(i32(0));
}
