/** Multiplication and division, and the widening moves that go with them.
 *
 * Follows: SDM Vol. 2. After MUL and one-operand IMUL the manual leaves SF, ZF, AF and PF undefined, after DIV and IDIV
 * all flags: here they keep their values, and the oracle masks them.
 * Next: x86/isa/shift.ts. */
import type { Effects, Outcome } from './algebra.ts';
import { type Form, type Operation, row } from './types.ts';

const RAX = 0;
const RDX = 2;
const DE = 0;

/** MUL and IMUL with one operand: rDX:rAX (AH:AL for bytes) := rAX × operand. */
function wide<V>(o: Effects<V>, x: V, signed: boolean): Outcome<V> {
  const a = o.let(o.width === 8 ? o.reg8(RAX) : o.reg(RAX));
  const low = o.let(o.mul(a, x));
  const high = o.let(o.mulHigh(a, x, signed));
  if (o.width === 8) {
    o.setReg8(RAX, low);
    o.setReg8(4, high);
  } else {
    o.setReg(RAX, low);
    o.setReg(RDX, high);
  }
  const spill = signed ? o.bNot(o.eq(high, o.sar(low, o.number(o.width - 1)))) : o.bNot(o.isZero(high));
  const c = o.bLet(spill);
  o.setFlags({ cf: c, of: c });
  return {};
}

/** DIV and IDIV: #DE when the divisor is zero or the quotient does not fit. */
function divide<V>(o: Effects<V>, d: V, signed: boolean): Outcome<V> {
  o.when(o.isZero(d), () => o.raise(DE));
  const byte = o.width === 8;
  const { quotient, remainder, overflow } = o.divide(
    byte ? o.reg8(4) : o.reg(RDX),
    byte ? o.reg8(RAX) : o.reg(RAX),
    d,
    signed,
  );
  o.when(overflow, () => o.raise(DE));
  if (byte) {
    o.setReg8(RAX, quotient);
    o.setReg8(4, remainder);
  } else {
    o.setReg(RAX, quotient);
    o.setReg(RDX, remainder);
  }
  return {};
}

const UNDEFINED = { writes: 'CO', undefined: 'PAZS' } as const;
const mul: Operation = { name: 'mul', ...UNDEFINED, meaning: (o, x) => wide(o, x, false) };
const imul1: Operation = { name: 'imul', id: 'imul-wide', ...UNDEFINED, meaning: (o, x) => wide(o, x, true) };
const div: Operation = { name: 'div', faults: true, undefined: 'CPAZSO', meaning: (o, x) => divide(o, x, false) };
const idiv: Operation = { name: 'idiv', faults: true, undefined: 'CPAZSO', meaning: (o, x) => divide(o, x, true) };

function product<V>(o: Effects<V>, x: V, y: V): Outcome<V> {
  const low = o.let(o.mul(x, y));
  const c = o.flagBit(() => o.bNot(o.eq(o.mulHigh(x, y, true), o.sar(low, o.number(o.width - 1)))));
  return { result: low, cf: c, of: c, af: o.bit(0) };
}
const ALL = { writes: 'CPAZSO', undefined: 'PAZS' } as const;
const imul2: Operation = { name: 'imul', ...ALL, access: ['rw', 'r'], meaning: (o, x, y) => product(o, x, y) };
const imul3: Operation = { name: 'imul', ...ALL, access: ['w', 'r', 'r'], meaning: (o, _x, y, z) => product(o, y, z) };

/** CBW/CWDE/CDQE: rAX := its own lower half, sign-extended. */
const widenNames = { 16: 'cbw', 32: 'cwde', 64: 'cdqe' } as const;
const spreadNames = { 16: 'cwd', 32: 'cdq', 64: 'cqo' } as const;
export const convert: Operation = {
  name: 'cwde',
  meaning: (o) => {
    o.setReg(RAX, o.signExtend(o.reg(RAX), (o.width / 2) as 8 | 16 | 32));
    return {};
  },
};
/** CWD/CDQ/CQO: rDX := the sign of rAX. */
export const spread: Operation = {
  name: 'cdq',
  meaning: (o) => {
    o.setReg(RDX, o.sar(o.reg(RAX), o.number(o.width - 1)));
    return {};
  },
};
/** Mnemonics by operand size of the two rows above. */
export const SIZED_NAMES: Record<string, Record<number, string>> = { cwde: widenNames, cdq: spreadNames };

export const multiply: Form[] = [
  row('f6 /4', 'Eb', mul),
  row('f7 /4', 'Ev', mul),
  row('f6 /5', 'Eb', imul1),
  row('f7 /5', 'Ev', imul1),
  row('f6 /6', 'Eb', div),
  row('f7 /6', 'Ev', div),
  row('f6 /7', 'Eb', idiv),
  row('f7 /7', 'Ev', idiv),
  row('0f af', 'Gv,Ev', imul2),
  row('69', 'Gv,Ev,Iz', imul3),
  row('6b', 'Gv,Ev,Ib', imul3),
  row('98', '', convert),
  row('99', '', spread),
];
