/** Shifts and rotates. The count is cut to 5 bits (6 for 64-bit operands); a count of zero leaves the flags alone.
 *
 * Follows: SDM Vol. 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD. OF is defined for counts of one only; for others
 * it is computed the same way. AF is undefined and cleared.   Next: x86/isa/bits.ts. */
import type { Effects, Outcome } from './algebra.ts';
import { type Form, type Operation, row } from './types.ts';

/** The count, cut to the bits that the processor looks at. */
const cut = <V>(o: Effects<V>, n: V): V => o.let(o.and(n, o.number(o.width === 64 ? 63 : 31)));
const minusOne = <V>(o: Effects<V>, n: V): V => o.let(o.and(o.sub(n, o.number(1)), o.number(o.width === 64 ? 63 : 31)));

function shl<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const r = o.let(o.shl(x, n));
  const cf = o.bLet(o.sign(o.shl(x, minusOne(o, n))));
  return { result: r, cf, af: o.bit(0), of: o.bXor(o.sign(r), cf), flagsWhen: o.bNot(o.isZero(n)) };
}
function shr<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const cf = o.low(o.shr(x, minusOne(o, n)));
  return { result: o.shr(x, n), cf, af: o.bit(0), of: o.sign(x), flagsWhen: o.bNot(o.isZero(n)) };
}
function sar<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const cf = o.low(o.sar(x, minusOne(o, n)));
  return { result: o.sar(x, n), cf, af: o.bit(0), of: o.bit(0), flagsWhen: o.bNot(o.isZero(n)) };
}

/** Rotation by n modulo the width; flags only CF and OF. */
function rol<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const m = o.let(o.and(n, o.number(o.width - 1)));
  const back = o.and(o.sub(o.number(o.width), m), o.number(o.width - 1));
  const r = o.let(o.or(o.shl(x, m), o.shr(x, back)));
  const cf = o.bLet(o.low(r));
  return { result: r, cf, of: o.bXor(o.sign(r), cf), flagsWhen: o.bNot(o.isZero(n)) };
}
function ror<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const m = o.let(o.and(n, o.number(o.width - 1)));
  const back = o.and(o.sub(o.number(o.width), m), o.number(o.width - 1));
  const r = o.let(o.or(o.shr(x, m), o.shl(x, back)));
  const cf = o.bLet(o.sign(r));
  return { result: r, cf, of: o.bXor(cf, o.sign(o.shl(r, o.number(1)))), flagsWhen: o.bNot(o.isZero(n)) };
}

/** Rotation through CF: the operand and CF are one ring of width + 1 bits. */
const ring = <V>(o: Effects<V>, n: V): V =>
  o.width === 8 ? o.let(o.rem(n, 9)) : o.width === 16 ? o.let(o.rem(n, 17)) : n;
function rcl<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const m = ring(o, n);
  const none = o.bLet(o.isZero(m));
  const c = o.bLet(o.flag('cf'));
  const last = o.let(o.and(o.sub(o.number(o.width), m), o.number(o.width === 64 ? 63 : 31))); // bit that ends in CF
  const in1 = o.shl(o.fromBit(c), minusOne(o, m));
  const turned = o.or(o.or(o.shl(x, m), in1), o.shr(o.shr(x, last), o.number(1)));
  const r = o.let(o.select(none, x, turned));
  const cf = o.bLet(o.bSelect(none, c, o.low(o.shr(x, last))));
  return { result: r, cf, of: o.bXor(o.sign(r), cf), flagsWhen: o.bNot(o.isZero(n)) };
}
function rcr<V>(o: Effects<V>, x: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const m = ring(o, n);
  const none = o.bLet(o.isZero(m));
  const c = o.bLet(o.flag('cf'));
  const back = o.let(o.and(o.sub(o.number(o.width), m), o.number(o.width === 64 ? 63 : 31)));
  const in1 = o.shl(o.fromBit(c), back);
  const turned = o.or(o.or(o.shr(x, m), in1), o.shl(o.shl(x, back), o.number(1)));
  const r = o.let(o.select(none, x, turned));
  const cf = o.bLet(o.bSelect(none, c, o.low(o.shr(x, minusOne(o, m)))));
  return {
    result: r,
    cf,
    of: o.bXor(o.sign(r), o.sign(o.shl(r, o.number(1)))),
    flagsWhen: o.bNot(o.isZero(n)),
  };
}

/** SHLD, SHRD: bits of the second operand move in. Counts above the width (16-bit operands) are undefined: here the
 * ring x:y:x is shifted, which is what the processors at hand do. */
function shld<V>(o: Effects<V>, x: V, y: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const w = o.number(o.width);
  const mask = o.number(o.width === 64 ? 63 : 31);
  const back = o.let(o.and(o.sub(w, n), mask));
  const plain = o.or(o.shl(x, n), o.shr(o.shr(y, o.and(o.sub(o.number(o.width - 1), n), mask)), o.number(1)));
  let r = plain;
  let cf = o.low(o.shr(x, back));
  if (o.width === 16) {
    const over = o.bLet(o.ltu(w, n));
    const all = o.bLet(o.ltu(o.number(15), n)); // nothing of x is left, even when the count is the width itself
    const m = o.let(o.and(o.sub(n, w), mask));
    r = o.select(all, o.or(o.shl(y, m), o.shr(x, o.and(o.sub(w, m), mask))), plain);
    cf = o.bSelect(over, o.low(o.shr(y, o.and(o.sub(w, m), mask))), cf);
  }
  const result = o.let(o.select(o.isZero(n), x, r));
  return { result, cf, af: o.bit(0), of: o.sign(o.xor(result, x)), flagsWhen: o.bNot(o.isZero(n)) };
}
function shrd<V>(o: Effects<V>, x: V, y: V, count: V): Outcome<V> {
  const n = cut(o, count);
  const w = o.number(o.width);
  const mask = o.number(o.width === 64 ? 63 : 31);
  const plain = o.or(o.shr(x, n), o.shl(o.shl(y, o.and(o.sub(o.number(o.width - 1), n), mask)), o.number(1)));
  let r = plain;
  let cf = o.low(o.shr(x, minusOne(o, n)));
  if (o.width === 16) {
    const over = o.bLet(o.ltu(w, n));
    const all = o.bLet(o.ltu(o.number(15), n)); // nothing of x is left, even when the count is the width itself
    const m = o.let(o.and(o.sub(n, w), mask));
    r = o.select(all, o.or(o.shr(y, m), o.shl(x, o.and(o.sub(w, m), mask))), plain);
    cf = o.bSelect(over, o.low(o.shr(y, minusOne(o, m))), cf);
  }
  const result = o.let(o.select(o.isZero(n), x, r));
  return { result, cf, af: o.bit(0), of: o.sign(o.xor(result, x)), flagsWhen: o.bNot(o.isZero(n)) };
}

const SHIFT = { access: ['rw', 'r'], conditionalFlags: true, countOperand: 1, undefined: 'AO' } as const;
const shifts: Operation[] = [
  { name: 'rol', meaning: rol, writes: 'CO', ...SHIFT },
  { name: 'ror', meaning: ror, writes: 'CO', ...SHIFT },
  { name: 'rcl', meaning: rcl, writes: 'CO', reads: 'C', ...SHIFT },
  { name: 'rcr', meaning: rcr, writes: 'CO', reads: 'C', ...SHIFT },
  { name: 'shl', meaning: shl, writes: 'CPAZSO', ...SHIFT },
  { name: 'shr', meaning: shr, writes: 'CPAZSO', ...SHIFT },
  { name: 'shl', meaning: shl, writes: 'CPAZSO', ...SHIFT }, // /6: an undocumented twin that all processors have
  { name: 'sar', meaning: sar, writes: 'CPAZSO', ...SHIFT },
];
const DOUBLE = {
  access: ['rw', 'r', 'r'],
  conditionalFlags: true,
  countOperand: 2,
  writes: 'CPAZSO',
  undefined: 'AO',
} as const;
const shldOp: Operation = { name: 'shld', meaning: shld, ...DOUBLE };
const shrdOp: Operation = { name: 'shrd', meaning: shrd, ...DOUBLE };

export const shift: Form[] = [
  ...shifts.flatMap((op, i) => [
    row(`c0 /${i}`, 'Eb,Ib', op),
    row(`c1 /${i}`, 'Ev,Ib', op),
    row(`d0 /${i}`, 'Eb,1', op),
    row(`d1 /${i}`, 'Ev,1', op),
    row(`d2 /${i}`, 'Eb,CL', op),
    row(`d3 /${i}`, 'Ev,CL', op),
  ]),
  row('0f a4', 'Ev,Gv,Ib', shldOp),
  row('0f a5', 'Ev,Gv,CL', shldOp),
  row('0f ac', 'Ev,Gv,Ib', shrdOp),
  row('0f ad', 'Ev,Gv,CL', shrdOp),
];
