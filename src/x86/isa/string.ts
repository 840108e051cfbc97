/** String instructions: one element each; repetition, counters and page ends are the engine's common code.
 *
 * Follows: SDM Vol. 2, REP/REPE/REPNE and the instructions by name. Under REP, MOVS, STOS, LODS, INS and OUTS run to a
 * count of zero; CMPS and SCAS also stop on ZF. INS and OUTS go through the port helpers.   Next: x86/isa/system.ts. */

import type { Outcome } from './algebra.ts';
import { cmp } from './alu.ts';
import { type Form, type Meaning, type Operation, row } from './types.ts';

const movs: Meaning = (o) => {
  o.store(o.source());
  o.advanceSource();
  o.advanceDestination();
  return {};
};
const stos: Meaning = (o) => {
  o.store(o.width === 8 ? o.reg8(0) : o.reg(0));
  o.advanceDestination();
  return {};
};
const lods: Meaning = (o) => {
  const value = o.let(o.source());
  if (o.width === 8) o.setReg8(0, value);
  else o.setReg(0, value);
  o.advanceSource();
  return {};
};
const cmps: Meaning = (o) => {
  const x = o.let(o.source());
  const y = o.let(o.destination());
  o.advanceSource();
  o.advanceDestination();
  return (cmp.meaning as Meaning)(o, x, y) as Outcome<typeof x>;
};
const scas: Meaning = (o) => {
  const x = o.let(o.width === 8 ? o.reg8(0) : o.reg(0));
  const y = o.let(o.destination());
  o.advanceDestination();
  return (cmp.meaning as Meaning)(o, x, y) as Outcome<typeof x>;
};

const compare = { writes: 'CPAZSO' } as const;
export const STRINGS: readonly Operation[] = [
  { name: 'movs', meaning: movs, string: { repeats: 'rep', source: true, destination: true } },
  { name: 'cmps', meaning: cmps, string: { repeats: 'repe', source: true, destination: true }, ...compare },
  { name: 'stos', meaning: stos, string: { repeats: 'rep', source: false, destination: true } },
  { name: 'lods', meaning: lods, string: { repeats: 'rep', source: true, destination: false } },
  { name: 'scas', meaning: scas, string: { repeats: 'repe', source: false, destination: true }, ...compare },
];
const [movsOp, cmpsOp, stosOp, lodsOp, scasOp] = STRINGS;

export const string: Form[] = [
  row('a4', 'Xb', movsOp),
  row('a5', 'Xv', movsOp),
  row('a6', 'Xb', cmpsOp),
  row('a7', 'Xv', cmpsOp),
  row('aa', 'Xb', stosOp),
  row('ab', 'Xv', stosOp),
  row('ac', 'Xb', lodsOp),
  row('ad', 'Xv', lodsOp),
  row('ae', 'Xb', scasOp),
  row('af', 'Xv', scasOp),
];
