/** Moves, exchanges, conditional moves and sets, atomics.
 *
 * Follows: SDM Vol. 2. XCHG with memory locks by itself; with one processor LOCK is a legality check.
 * Next: x86/isa/control.ts. */
import { CONDITION_READS, CONDITIONS, condition, type Form, hex2, type Meaning, type Operation, row } from './types.ts';

const second: Meaning = (_o, _x, y) => ({ result: y });
export const mov: Operation = { name: 'mov', meaning: second, access: ['w', 'r'] };
const movzx: Operation = { name: 'movzx', meaning: second, access: ['w', 'r'] }; // operands arrive zero-extended
const movsx = (from: 8 | 16 | 32, name: string): Operation => ({
  name,
  access: ['w', 'r'],
  meaning: (o, _x, y) => ({ result: o.width > from ? o.signExtend(y, from) : y }),
});
const movsx8 = movsx(8, 'movsx');
const movsx16 = movsx(16, 'movsx');
const movsxd = movsx(32, 'movsxd');
export const lea: Operation = {
  name: 'lea',
  access: ['w', '-'],
  meaning: (o) => ({ result: o.effectiveAddress() }),
};
export const xchg: Operation = {
  name: 'xchg',
  access: ['rw', 'rw'],
  meaning: (_o, x, y) => ({ result: y, second: x }),
};
const xadd: Operation = {
  name: 'xadd',
  access: ['rw', 'rw'],
  writes: 'CPAZSO',
  meaning: (o, x, y) => {
    const r = o.let(o.add(x, y));
    return {
      result: r,
      second: x,
      cf: o.ltu(r, x),
      af: o.low(o.shr(o.xor(o.xor(x, y), r), o.number(4))),
      of: o.sign(o.and(o.xor(x, r), o.xor(y, r))),
    };
  },
};
/** CMPXCHG: compares the accumulator; writes the destination in both cases, with its old value when they differ. */
const cmpxchg: Operation = {
  name: 'cmpxchg',
  access: ['rw', 'r'],
  writes: 'CPAZSO',
  meaning: (o, x, y) => {
    const a = o.let(o.width === 8 ? o.reg8(0) : o.reg(0));
    const r = o.let(o.sub(a, x));
    const same = o.bLet(o.isZero(r));
    return {
      result: o.select(same, y, x),
      resultWhen: same,
      accumulator: { when: o.bNot(same), value: x },
      flagResult: r,
      cf: o.ltu(a, x),
      af: o.low(o.shr(o.xor(o.xor(a, x), r), o.number(4))),
      of: o.sign(o.and(o.xor(a, x), o.xor(a, r))),
    };
  },
};
const nop: Operation = { name: 'nop', access: ['-'], meaning: () => ({}) };
const pause: Operation = { name: 'pause', meaning: () => ({}) };

/** XLAT: AL := [rBX + AL]; decoded as a byte load with that address. */
const xlat: Operation = { name: 'xlatb', helper: 'xlatb' };

const lahf: Operation = {
  name: 'lahf',
  reads: 'CPAZS',
  meaning: (o) => {
    const bit = (b: ReturnType<typeof o.flag>, n: number) => o.shl(o.fromBit(b), o.number(n));
    const low = o.or(o.or(bit(o.flag('cf'), 0), bit(o.flag('pf'), 2)), o.number(2));
    const high = o.or(o.or(bit(o.flag('af'), 4), bit(o.flag('zf'), 6)), bit(o.flag('sf'), 7));
    o.setReg8(4, o.or(low, high));
    return {};
  },
};
const sahf: Operation = {
  name: 'sahf',
  meaning: (o) => {
    const ah = o.let(o.reg8(4));
    const bit = (n: number) => o.low(o.shr(ah, o.number(n)));
    o.setFlags({ cf: bit(0), pf: bit(2), af: bit(4), zf: bit(6), sf: bit(7) });
    return {};
  },
};
const salc: Operation = {
  name: 'salc',
  reads: 'C',
  meaning: (o) => {
    o.setReg8(0, o.select(o.flag('cf'), o.number(0xff), o.number(0)));
    return {};
  },
};

const cmov = CONDITIONS.map(
  (c, i): Operation => ({
    name: `cmov${c}`,
    access: ['rw', 'r'],
    reads: CONDITION_READS[i >> 1],
    meaning: (o, x, y) => ({ result: o.select(condition(o, i), y, x) }),
  }),
);
const set = CONDITIONS.map(
  (c, i): Operation => ({
    name: `set${c}`,
    access: ['w'],
    reads: CONDITION_READS[i >> 1],
    meaning: (o) => ({ result: o.fromBit(condition(o, i)) }),
  }),
);

export const move: Form[] = [
  row('88', 'Eb,Gb', mov),
  row('89', 'Ev,Gv', mov),
  row('8a', 'Gb,Eb', mov),
  row('8b', 'Gv,Ev', mov),
  row('a0', 'AL,Ob', mov),
  row('a1', 'rAX,Ov', mov),
  row('a2', 'Ob,AL', mov),
  row('a3', 'Ov,rAX', mov),
  row('b0+r', 'Zb,Ib', mov),
  row('b8+r', 'Zv,Iv', mov),
  row('c6 /0', 'Eb,Ib', mov),
  row('c7 /0', 'Ev,Iz', mov),
  row('0f b6', 'Gv,Eb', movzx),
  row('0f b7', 'Gv,Ew', movzx),
  row('0f be', 'Gv,Eb', movsx8),
  row('0f bf', 'Gv,Ew', movsx16),
  row('63', 'Gv,Ed', movsxd, { mode: 64 }),
  row('8d mem', 'Gv,M', lea),
  row('86', 'Eb,Gb', xchg, { lock: true }),
  row('87', 'Ev,Gv', xchg, { lock: true }),
  row('f3 90', '', pause),
  row('90+r', 'Zv,rAX', xchg),
  row('0f c0', 'Eb,Gb', xadd, { lock: true }),
  row('0f c1', 'Ev,Gv', xadd, { lock: true }),
  row('0f b0', 'Eb,Gb', cmpxchg, { lock: true }),
  row('0f b1', 'Ev,Gv', cmpxchg, { lock: true }),
  row('np 0f c3 mem', 'My,Gy', { ...mov, name: 'movnti' }, { feature: 'SSE2' }),
  row('0f 1f', 'Ev', nop),
  row('0f 18', 'Ev', nop),
  row('0f 19', 'Ev', nop),
  row('0f 1a', 'Ev', nop),
  row('0f 1b', 'Ev', nop),
  row('0f 1c', 'Ev', nop),
  row('0f 1d', 'Ev', nop),
  row('0f 1e', 'Ev', nop),
  row('0f 18 /0 mem', 'Ev', { ...nop, name: 'prefetchnta' }),
  row('0f 18 /1 mem', 'Ev', { ...nop, name: 'prefetcht0' }),
  row('0f 18 /2 mem', 'Ev', { ...nop, name: 'prefetcht1' }),
  row('0f 18 /3 mem', 'Ev', { ...nop, name: 'prefetcht2' }),
  row('0f 0d', 'Ev', nop),
  row('0f 0d /0 mem', 'Ev', { ...nop, name: 'prefetch' }),
  row('0f 0d /1 mem', 'Ev', { ...nop, name: 'prefetchw' }),
  row('0f 0d /2 mem', 'Ev', { ...nop, name: 'prefetchwt1' }),
  row('f3 0f 1e /7 mod3 fa', '', { ...pause, name: 'endbr64' }),
  row('f3 0f 1e /7 mod3 fb', '', { ...pause, name: 'endbr32' }),
  row('np 0f ae /5 mod3', '', { ...pause, name: 'lfence' }, { feature: 'SSE2' }),
  row('np 0f ae /6 mod3', '', { ...pause, name: 'mfence' }, { feature: 'SSE2' }),
  row('np 0f ae /7 mod3', '', { ...pause, name: 'sfence' }, { feature: 'SSE' }),
  row('d7', '', xlat),
  row('9e', '', sahf, { width: 8, mode: 32 }),
  row('9f', '', lahf, { width: 8, mode: 32 }),
  row('9e', '', sahf, { width: 8, mode: 64, feature: 'LAHF64' }),
  row('9f', '', lahf, { width: 8, mode: 64, feature: 'LAHF64' }),
  row('d6', '', salc, { mode: 32, width: 8 }),
  ...cmov.map((op, i) => row(`0f ${hex2(0x40 + i)}`, 'Gv,Ev', op, { feature: 'CMOV' })),
  ...set.map((op, i) => row(`0f ${hex2(0x90 + i)}`, 'Eb', op)),
];
