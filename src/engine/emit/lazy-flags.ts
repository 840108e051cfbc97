/** Lazy flags, made real: CF and OF out of the kind, the first operand and the result that the last addition or
 * subtraction left behind; ZF, SF and PF out of the result alone. The state they are kept in is described in state.ts.
 *
 * Everything here is straight code without calls, because handlers inside the loop must not call.
 * May not: change the state.   Next: engine/emit/wide.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import { STATE } from '../state.ts';
import {
  binary,
  type Code,
  type Expression,
  extend,
  get,
  i32,
  i64,
  select,
  state32,
  state64,
  unary,
  wrap,
} from './code.ts';

const bits = state32(STATE.FLAG_BITS);
const R = state64(STATE.FLAG_R);
const X = state64(STATE.FLAG_X);

const and = (a: Expression, b: Expression): Expression => binary(OP.i32_and, I32, a, b);
const or = (a: Expression, b: Expression): Expression => binary(OP.i32_or, I32, a, b);
const xor64 = (a: Expression, b: Expression): Expression => binary(OP.i64_xor, I64, a, b);
const minus64 = (a: Expression, b: Expression): Expression => binary(OP.i64_sub, I64, a, b);
const at = (e: Expression, n: number): Expression => (n === 0 ? e : binary(OP.i32_shl, I32, e, i32(n)));
const storedBit = (n: number): Expression => and(n === 0 ? bits : binary(OP.i32_shr_u, I32, bits, i32(n)), i32(1));

/** KIND of flags.ts: 0 when the flags are stored. */
const kindOf = (): Expression => binary(OP.i32_shr_s, I32, bits, i32(16));

export const zeroFlag = (): Expression => binary(OP.i32_xor, I32, storedBit(6), unary(OP.i64_eqz, I32, R));
export const signFlag = (): Expression =>
  binary(OP.i32_xor, I32, storedBit(7), binary(OP.i32_shr_u, I32, state32(STATE.FLAG_R + 4), i32(31)));
export const parityFlag = (): Expression => binary(OP.i32_xor, I32, storedBit(2), evenParity());

function evenParity(): Expression {
  return unary(OP.i32_eqz, I32, and(unary(OP.i32_popcnt, I32, and(wrap(R), i32(0xff))), i32(1)));
}

type Lazy = { subtraction: Expression; x: Expression; r: Expression; y: Expression };

/** Operands and result of the addition or subtraction, moved to the top of 64 bits. */
function lazyOperands(code: Code, kind: Expression): Lazy {
  const subtraction = code.let(binary(OP.i32_ge_s, I32, kind, i32(5)));
  const size = binary(OP.i32_sub, I32, kind, select(I32, subtraction, i32(5), i32(1)));
  const shift = code.let(extend(binary(OP.i32_sub, I32, i32(64), binary(OP.i32_shl, I32, i32(8), size))));
  const top = (e: Expression): Expression => code.let(binary(OP.i64_shl, I64, e, shift));
  const x = top(X);
  const r = top(R);
  const y = code.let(select(I64, subtraction, minus64(x, r), minus64(r, x)));
  return { subtraction, x, r, y };
}

const carryOf = ({ subtraction, x, r, y }: Lazy): Expression =>
  binary(OP.i64_lt_u, I32, select(I64, subtraction, x, r), select(I64, subtraction, y, x));

/** Signs: a sum overflows when both operands differ from it, a difference when the operands differ and the first differs
 * from it. */
function overflowOf({ subtraction, x, r, y }: Lazy): Expression {
  const other = select(I64, subtraction, xor64(x, y), xor64(y, r));
  return wrap(binary(OP.i64_shr_u, I64, binary(OP.i64_and, I64, xor64(x, r), other), i64(63)));
}

function computed(code: Code, stored: Expression, of: (lazy: Lazy) => Expression): Expression {
  const flag = code.local(I32);
  const kind = code.let(kindOf());
  code.if(
    kind,
    () => code.set(flag, of(lazyOperands(code, kind))),
    () => code.set(flag, stored),
  );
  return get(I32, flag);
}

export const carryFlag = (code: Code): Expression => computed(code, storedBit(0), carryOf);
export const overflowFlag = (code: Code): Expression => computed(code, storedBit(11), overflowOf);

/** CF PF AF ZF SF OF at their places. */
export function allFlags(code: Code): Expression {
  const fromResult = [
    at(unary(OP.i64_eqz, I32, R), 6),
    at(wrap(binary(OP.i64_shr_u, I64, R, i64(63))), 7),
    at(evenParity(), 2),
  ].reduce(or);
  const base = code.let(binary(OP.i32_xor, I32, and(bits, i32(0x8d5)), fromResult));
  return computed(code, base, (lazy) => {
    // AF is the carry out of bit 3: where the operands and the result, as they were, do not add up.
    const y = select(I64, lazy.subtraction, minus64(X, R), minus64(R, X));
    const adjust = and(wrap(xor64(xor64(X, y), R)), i32(0x10));
    return [base, carryOf(lazy), adjust, at(overflowOf(lazy), 11)].reduce(or);
  });
}
