/** Addition, subtraction, logic: the family that fills the first opcode rows.
 *
 * Follows: SDM Vol. 2, Appendix A (encodings); Vol. 1, section 3.4.3.1 (flags). AF after logic operations is undefined
 * in the manual; it is cleared here, as the processors at hand do.   Next: x86/isa/multiply.ts. */
import type { Meaning, Operation } from './types.ts';
import { type Form, hex2, row } from './types.ts';

const borrow: Meaning = (o, x, y) => {
  const r = o.let(o.sub(x, y));
  return {
    result: r,
    cf: o.ltu(x, y),
    af: o.low(o.shr(o.xor(o.xor(x, y), r), o.number(4))),
    of: o.sign(o.and(o.xor(x, y), o.xor(x, r))),
  };
};

const carry: Meaning = (o, x, y) => {
  const r = o.let(o.add(x, y));
  return {
    result: r,
    cf: o.ltu(r, x),
    af: o.low(o.shr(o.xor(o.xor(x, y), r), o.number(4))),
    of: o.sign(o.and(o.xor(x, r), o.xor(y, r))),
  };
};

const carryWithCarry: Meaning = (o, x, y) => {
  const c = o.bLet(o.flag('cf'));
  const s = o.let(o.add(x, y));
  const r = o.let(o.add(s, o.fromBit(c)));
  return {
    result: r,
    cf: o.bOr(o.ltu(s, x), o.ltu(r, s)),
    af: o.low(o.shr(o.xor(o.xor(x, y), r), o.number(4))),
    of: o.sign(o.and(o.xor(x, r), o.xor(y, r))),
  };
};

const borrowWithBorrow: Meaning = (o, x, y) => {
  const c = o.bLet(o.flag('cf'));
  const s = o.let(o.sub(x, y));
  const r = o.let(o.sub(s, o.fromBit(c)));
  return {
    result: r,
    cf: o.bOr(o.ltu(x, y), o.ltu(s, o.fromBit(c))),
    af: o.low(o.shr(o.xor(o.xor(x, y), r), o.number(4))),
    of: o.sign(o.and(o.xor(x, y), o.xor(x, r))),
  };
};

const logic =
  (combine: 'and' | 'or' | 'xor'): Meaning =>
  (o, x, y) => ({ result: o[combine](x, y), cf: o.bit(0), af: o.bit(0), of: o.bit(0) });

const ALL = 'CPAZSO';
const RW = ['rw', 'r'] as const;
const LOGIC = { writes: ALL, undefined: 'A', access: RW } as const;

export const add: Operation = { name: 'add', meaning: carry, writes: ALL, lazy: 'add', access: RW };
export const or: Operation = { name: 'or', meaning: logic('or'), ...LOGIC };
export const adc: Operation = { name: 'adc', meaning: carryWithCarry, writes: ALL, reads: 'C', access: RW };
export const sbb: Operation = { name: 'sbb', meaning: borrowWithBorrow, writes: ALL, reads: 'C', access: RW };
export const and: Operation = { name: 'and', meaning: logic('and'), ...LOGIC };
export const sub: Operation = { name: 'sub', meaning: borrow, writes: ALL, lazy: 'sub', access: RW };
export const xor: Operation = { name: 'xor', meaning: logic('xor'), ...LOGIC };
export const cmp: Operation = { name: 'cmp', meaning: borrow, writes: ALL, lazy: 'sub', access: ['r', 'r'] };
export const test: Operation = { name: 'test', meaning: logic('and'), ...LOGIC, access: ['r', 'r'] };

/** INC and DEC keep CF. */
const step =
  (by: 'add' | 'sub'): Meaning =>
  (o, x) => {
    const r = o.let(o[by](x, o.number(1)));
    const flip = by === 'add' ? o.and(o.not(x), r) : o.and(x, o.not(r));
    return {
      result: r,
      af: o.low(o.shr(o.xor(o.xor(x, o.number(1)), r), o.number(4))),
      of: o.sign(flip),
    };
  };
export const inc: Operation = { name: 'inc', meaning: step('add'), writes: 'PAZSO', access: ['rw'] };
export const dec: Operation = { name: 'dec', meaning: step('sub'), writes: 'PAZSO', access: ['rw'] };

const not: Operation = { name: 'not', meaning: (o, x) => ({ result: o.not(x) }), access: ['rw'] };
const neg: Operation = {
  name: 'neg',
  access: ['rw'],
  writes: ALL,
  meaning: (o, x) => {
    const r = o.let(o.sub(o.number(0), x));
    return {
      result: r,
      cf: o.bNot(o.isZero(x)),
      af: o.low(o.shr(o.xor(x, r), o.number(4))),
      of: o.sign(o.and(x, r)),
    };
  },
};

// opcode = 8 × the operation's place + the form's
const OPERATIONS = [add, or, adc, sbb, and, sub, xor, cmp];
const FORMS = ['Eb,Gb', 'Ev,Gv', 'Gb,Eb', 'Gv,Ev', 'AL,Ib', 'rAX,Iz'];

export const alu: Form[] = [
  ...OPERATIONS.flatMap((op, i) =>
    FORMS.map((operands, j) => row(hex2(i * 8 + j), operands, op, { lock: op !== cmp && j < 2 })),
  ),
  ...OPERATIONS.flatMap((op, i) => [
    row(`80 /${i}`, 'Eb,Ib', op, { lock: op !== cmp }),
    row(`81 /${i}`, 'Ev,Iz', op, { lock: op !== cmp }),
    row(`82 /${i}`, 'Eb,Ib', op, { lock: op !== cmp, mode: 32 }),
    row(`83 /${i}`, 'Ev,Ib', op, { lock: op !== cmp }),
  ]),
  row('84', 'Eb,Gb', test),
  row('85', 'Ev,Gv', test),
  row('a8', 'AL,Ib', test),
  row('a9', 'rAX,Iz', test),
  row('f6 /0', 'Eb,Ib', test),
  row('f6 /1', 'Eb,Ib', test),
  row('f7 /0', 'Ev,Iz', test),
  row('f7 /1', 'Ev,Iz', test),
  row('f6 /2', 'Eb', not, { lock: true }),
  row('f7 /2', 'Ev', not, { lock: true }),
  row('f6 /3', 'Eb', neg, { lock: true }),
  row('f7 /3', 'Ev', neg, { lock: true }),
  row('40+r', 'Zv', inc, { mode: 32 }),
  row('48+r', 'Zv', dec, { mode: 32 }),
  row('fe /0', 'Eb', inc, { lock: true }),
  row('fe /1', 'Eb', dec, { lock: true }),
  row('ff /0', 'Ev', inc, { lock: true }),
  row('ff /1', 'Ev', dec, { lock: true }),
];
