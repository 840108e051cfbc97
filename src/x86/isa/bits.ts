/** Bit tests, bit scans, byte swaps, counts.
 *
 * Follows: SDM Vol. 2. BT with a register offset and a memory operand addresses bits beyond the operand: the engine
 * moves the address before the meaning runs, which then sees an offset within the operand. BSF and BSR of zero leave
 * the destination unchanged, all 64 bits of it (Linux relies on it; APM Vol. 3 documents it).   Next: x86/isa/move.ts. */
import type { Meaning } from './types.ts';
import { type Form, hex2, type Operation, row } from './types.ts';

const bitTest =
  (change: 'none' | 'set' | 'reset' | 'flip'): Meaning =>
  (o, x, offset) => {
    const n = o.let(o.and(offset, o.number(o.width - 1)));
    const cf = o.bLet(o.low(o.shr(x, n)));
    if (change === 'none') return { cf };
    const mask = o.shl(o.number(1), n);
    const result = change === 'set' ? o.or(x, mask) : change === 'reset' ? o.and(x, o.not(mask)) : o.xor(x, mask);
    return { result, cf };
  };

const TEST = { writes: 'C', undefined: 'PASO' } as const;
export const bt: Operation = { name: 'bt', meaning: bitTest('none'), access: ['r', 'r'], ...TEST };
export const bts: Operation = { name: 'bts', meaning: bitTest('set'), access: ['rw', 'r'], ...TEST };
export const btr: Operation = { name: 'btr', meaning: bitTest('reset'), access: ['rw', 'r'], ...TEST };
export const btc: Operation = { name: 'btc', meaning: bitTest('flip'), access: ['rw', 'r'], ...TEST };
/** Operations whose memory operand is a bit string when the offset is a register. */
export const BIT_STRING: readonly Operation[] = [bt, bts, btr, btc];

const SCAN = { writes: 'Z', undefined: 'CPASO', access: ['rw', 'r'] } as const;
const bsf: Operation = {
  name: 'bsf',
  ...SCAN,
  meaning: (o, old, x) => {
    const none = o.bLet(o.isZero(x));
    return { result: o.select(none, old, o.ctz(x)), resultWhen: o.bNot(none), zf: none };
  },
};
const bsr: Operation = {
  name: 'bsr',
  ...SCAN,
  meaning: (o, old, x) => {
    const none = o.bLet(o.isZero(x));
    const result = o.select(none, old, o.sub(o.number(o.width - 1), o.clz(x)));
    return { result, resultWhen: o.bNot(none), zf: none };
  },
};
const COUNT = { writes: 'CZ', undefined: 'PASO', access: ['w', 'r'] } as const;
const tzcnt: Operation = {
  name: 'tzcnt',
  ...COUNT,
  meaning: (o, _old, x) => {
    const r = o.let(o.ctz(x));
    return { result: r, cf: o.isZero(x), zf: o.isZero(r) };
  },
};
const lzcnt: Operation = {
  name: 'lzcnt',
  ...COUNT,
  meaning: (o, _old, x) => {
    const r = o.let(o.clz(x));
    return { result: r, cf: o.isZero(x), zf: o.isZero(r) };
  },
};
const popcnt: Operation = {
  name: 'popcnt',
  access: ['w', 'r'],
  meaning: (o, _old, x) => {
    o.setFlags({ cf: o.bit(0), pf: o.bit(0), af: o.bit(0), zf: o.isZero(x), sf: o.bit(0), of: o.bit(0) });
    return { result: o.popcnt(x) };
  },
};
// BSWAP of a 16-bit register is undefined; the processors at hand clear it.
const bswap: Operation = {
  name: 'bswap',
  access: ['rw'],
  meaning: (o, x) => ({ result: o.width === 16 ? o.number(0) : o.byteSwap(x) }),
};
const movbe: Operation = { name: 'movbe', access: ['w', 'r'], meaning: (o, _x, y) => ({ result: o.byteSwap(y) }) };

export const bits: Form[] = [
  row('0f a3', 'Ev,Gv', bt),
  row('0f ab', 'Ev,Gv', bts, { lock: true }),
  row('0f b3', 'Ev,Gv', btr, { lock: true }),
  row('0f bb', 'Ev,Gv', btc, { lock: true }),
  row('0f ba /4', 'Ev,Ib', bt),
  row('0f ba /5', 'Ev,Ib', bts, { lock: true }),
  row('0f ba /6', 'Ev,Ib', btr, { lock: true }),
  row('0f ba /7', 'Ev,Ib', btc, { lock: true }),
  row('f3 0f bc', 'Gv,Ev', tzcnt, { feature: 'BMI1' }),
  row('f3 0f bd', 'Gv,Ev', lzcnt, { feature: 'ABM' }),
  row('0f bc', 'Gv,Ev', bsf),
  row('0f bd', 'Gv,Ev', bsr),
  row('f3 0f b8', 'Gv,Ev', popcnt, { feature: 'POPCNT' }),
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((n) => row(`0f ${hex2(0xc8 + n)}`, 'Zv', bswap)),
  row('nf 0f 38 f0 mem', 'Gv,Mv', movbe, { feature: 'MOVBE' }),
  row('nf 0f 38 f1 mem', 'Mv,Gv', movbe, { feature: 'MOVBE' }),
];
