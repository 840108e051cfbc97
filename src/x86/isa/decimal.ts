/** Decimal adjustment: DAA, DAS, AAA, AAS, AAM, AAD. Invalid in 64-bit code.
 *
 * Follows: SDM Vol. 2, the pseudo-code by name. Undefined flags: OF after DAA and DAS; OF, SF, ZF, PF after AAA and AAS;
 * OF, AF, CF after AAM and AAD.   Next: x86/isa/unbuilt.ts. */
import type { Effects, Outcome } from './algebra.ts';
import { type Form, type Operation, row } from './types.ts';

const AL = 0;
const AH = 4;
const DE = 0;

function adjustPacked<V>(o: Effects<V>, add: boolean): Outcome<V> {
  const step = add ? o.add : o.sub;
  const al = o.let(o.reg8(AL));
  const cf = o.bLet(o.flag('cf'));
  const low = o.bLet(o.bOr(o.ltu(o.number(9), o.and(al, o.number(15))), o.flag('af')));
  const high = o.bLet(o.bOr(o.ltu(o.number(0x99), al), cf));
  const first = o.let(o.select(low, step.call(o, al, o.number(6)) as V, al));
  const r = o.let(o.select(high, step.call(o, first, o.number(0x60)) as V, first));
  // DAS also sets CF when the first subtraction borrows.
  const borrow = add ? high : o.bOr(high, o.bAnd(low, o.ltu(al, o.number(6))));
  o.setReg8(AL, r);
  return { flagResult: r, cf: borrow, af: low, of: o.bit(0) };
}

function adjustUnpacked<V>(o: Effects<V>, add: boolean): Outcome<V> {
  const step = add ? o.add : o.sub;
  const al = o.let(o.reg8(AL));
  const ah = o.let(o.reg8(AH));
  const adjust = o.bLet(o.bOr(o.ltu(o.number(9), o.and(al, o.number(15))), o.flag('af')));
  const r = o.let(o.select(adjust, step.call(o, al, o.number(6)) as V, al));
  // AX := AX ± 0x106, so the low byte's carry goes into AH too.
  const ripple = add ? o.ltu(r, al) : o.ltu(al, o.number(6));
  const carried = step.call(o, step.call(o, ah, o.number(1)) as V, o.fromBit(ripple)) as V;
  o.setReg8(AH, o.select(adjust, carried, ah));
  const cut = o.let(o.and(r, o.number(15)));
  o.setReg8(AL, cut);
  return { flagResult: cut, cf: adjust, af: adjust, of: o.bit(0) };
}

const daa: Operation = {
  name: 'daa',
  writes: 'CPAZSO',
  undefined: 'O',
  reads: 'CA',
  meaning: (o) => adjustPacked(o, true),
};
const das: Operation = {
  name: 'das',
  writes: 'CPAZSO',
  undefined: 'O',
  reads: 'CA',
  meaning: (o) => adjustPacked(o, false),
};
const aaa: Operation = {
  name: 'aaa',
  writes: 'CPAZSO',
  undefined: 'PZSO',
  reads: 'A',
  meaning: (o) => adjustUnpacked(o, true),
};
const aas: Operation = {
  name: 'aas',
  writes: 'CPAZSO',
  undefined: 'PZSO',
  reads: 'A',
  meaning: (o) => adjustUnpacked(o, false),
};
const aam: Operation = {
  name: 'aam',
  writes: 'CPAZSO',
  undefined: 'CAO',
  faults: true,
  meaning: (o, base) => {
    const d = o.let(base);
    o.when(o.isZero(d), () => o.raise(DE));
    const { quotient, remainder } = o.divide(o.number(0), o.reg8(AL), d, false);
    const rest = o.let(remainder);
    o.setReg8(AH, quotient);
    o.setReg8(AL, rest);
    return { flagResult: rest, cf: o.bit(0), af: o.bit(0), of: o.bit(0) };
  },
};
const aad: Operation = {
  name: 'aad',
  writes: 'CPAZSO',
  undefined: 'CAO',
  meaning: (o, base) => {
    const r = o.let(o.add(o.reg8(AL), o.mul(o.reg8(AH), base)));
    o.setReg8(AL, r);
    o.setReg8(AH, o.number(0));
    return { flagResult: r, cf: o.bit(0), af: o.bit(0), of: o.bit(0) };
  },
};

export const decimal: Form[] = [
  row('27', '', daa, { mode: 32, width: 8 }),
  row('2f', '', das, { mode: 32, width: 8 }),
  row('37', '', aaa, { mode: 32, width: 8 }),
  row('3f', '', aas, { mode: 32, width: 8 }),
  row('d4', 'Ib', aam, { mode: 32, width: 8 }),
  row('d5', 'Ib', aad, { mode: 32, width: 8 }),
];
