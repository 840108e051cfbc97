/** Integer vectors: MMX and, with 66 in front, the same operations on XMM registers (SSE2), with the moves of both.
 *
 * A line of a table is an opcode, a mnemonic and a meaning; `both` makes two rows of it, one without a prefix on MMX
 * registers, one behind 66 on XMM registers. EMMS is system.ts's, what came later vector-extensions.ts's.
 * Follows: SDM Vol. 2, Appendix A, tables.   Next: x86/isa/sse.ts. */
import { type Form, type Operation, row } from './types.ts';
import type { Lane, LaneOperation, VectorMeaning } from './vector.ts';

const RW = ['rw', 'r', 'r'] as const;
const W = ['w', 'r', 'r', 'r'] as const;

/** Meanings that floating-point rows have, too: one id, one handler. */
export const copy: VectorMeaning = (_, x) => x;
export const and: VectorMeaning = (o, x, y) => o.and(x, y);
export const andNot: VectorMeaning = (o, x, y) => o.andNot(x, y);
export const or: VectorMeaning = (o, x, y) => o.or(x, y);
export const xor: VectorMeaning = (o, x, y) => o.xor(x, y);
export const ALIGNED = { id: 'mova' } as const;
export const ANYWHERE = { id: 'movu', unaligned: true } as const;

const lanes =
  (operation: LaneOperation, lane: Lane): VectorMeaning =>
  (o, x, y) =>
    o.lanes(operation, lane, x, y);
const interleave =
  (half: 'low' | 'high', lane: Lane): VectorMeaning =>
  (o, x, y) =>
    o.interleave(half, lane, x, y);
const pack =
  (lane: 16 | 32, signed: boolean): VectorMeaning =>
  (o, x, y) =>
    o.pack(lane, signed, x, y);
type ShiftKind = 'left' | 'right' | 'arithmetic';
const shiftBy =
  (kind: ShiftKind, lane: 16 | 32 | 64): VectorMeaning =>
  (o, x, y) =>
    o.shift(kind, lane, x, o.extract(64, y, 0));
const shiftByImmediate =
  (kind: ShiftKind, lane: 16 | 32 | 64): VectorMeaning =>
  (o, x, count) =>
    o.shift(kind, lane, x, o.count(count));

/** Opcode behind 0F, name, meaning. */
type Line = readonly [opcode: string, name: string, meaning: VectorMeaning, id?: string];

/** The feature that brought them to MMX registers; on XMM registers all came with SSE2. */
const both = (feature: string, table: readonly Line[], memory = 'Qq'): Form[] =>
  table.flatMap(([opcode, name, vector, id]) => {
    const op: Operation = { name, id, vector, access: RW };
    return [
      row(`np 0f ${opcode}`, `Pq,${memory}`, op, { feature }),
      row(`66 0f ${opcode}`, 'Vdq,Wdq', op, { feature: 'SSE2' }),
    ];
  });

// biome-ignore format: a table
const MMX: readonly Line[] = [
  ['63', 'packsswb', pack(16, true)],
  ['64', 'pcmpgtb', lanes('greater', 8)],
  ['65', 'pcmpgtw', lanes('greater', 16)],
  ['66', 'pcmpgtd', lanes('greater', 32)],
  ['67', 'packuswb', pack(16, false)],
  ['68', 'punpckhbw', interleave('high', 8)],
  ['69', 'punpckhwd', interleave('high', 16)],
  ['6a', 'punpckhdq', interleave('high', 32)],
  ['6b', 'packssdw', pack(32, true)],
  ['74', 'pcmpeqb', lanes('equal', 8)],
  ['75', 'pcmpeqw', lanes('equal', 16)],
  ['76', 'pcmpeqd', lanes('equal', 32)],
  ['d1', 'psrlw', shiftBy('right', 16)],
  ['d2', 'psrld', shiftBy('right', 32)],
  ['d3', 'psrlq', shiftBy('right', 64)],
  ['d5', 'pmullw', lanes('mulLow', 16)],
  ['d8', 'psubusb', lanes('subUnsigned', 8)],
  ['d9', 'psubusw', lanes('subUnsigned', 16)],
  ['db', 'pand', and, 'and'],
  ['dc', 'paddusb', lanes('addUnsigned', 8)],
  ['dd', 'paddusw', lanes('addUnsigned', 16)],
  ['df', 'pandn', andNot, 'andn'],
  ['e1', 'psraw', shiftBy('arithmetic', 16)],
  ['e2', 'psrad', shiftBy('arithmetic', 32)],
  ['e5', 'pmulhw', lanes('mulHighSigned', 16)],
  ['e8', 'psubsb', lanes('subSigned', 8)],
  ['e9', 'psubsw', lanes('subSigned', 16)],
  ['eb', 'por', or, 'or'],
  ['ec', 'paddsb', lanes('addSigned', 8)],
  ['ed', 'paddsw', lanes('addSigned', 16)],
  ['ef', 'pxor', xor, 'xor'],
  ['f1', 'psllw', shiftBy('left', 16)],
  ['f2', 'pslld', shiftBy('left', 32)],
  ['f3', 'psllq', shiftBy('left', 64)],
  ['f5', 'pmaddwd', (o, x, y) => o.multiplyAdd(x, y)],
  ['f8', 'psubb', lanes('sub', 8)],
  ['f9', 'psubw', lanes('sub', 16)],
  ['fa', 'psubd', lanes('sub', 32)],
  ['fc', 'paddb', lanes('add', 8)],
  ['fd', 'paddw', lanes('add', 16)],
  ['fe', 'paddd', lanes('add', 32)],
];
/** These read only the low half of an MMX operand in memory. */
// biome-ignore format: a table
const MMX_HALF: readonly Line[] = [
  ['60', 'punpcklbw', interleave('low', 8)],
  ['61', 'punpcklwd', interleave('low', 16)],
  ['62', 'punpckldq', interleave('low', 32)],
];
/** Came to MMX registers with SSE. */
// biome-ignore format: a table
const SSE: readonly Line[] = [
  ['da', 'pminub', lanes('minUnsigned', 8)],
  ['de', 'pmaxub', lanes('maxUnsigned', 8)],
  ['e0', 'pavgb', lanes('average', 8)],
  ['e3', 'pavgw', lanes('average', 16)],
  ['e4', 'pmulhuw', lanes('mulHighUnsigned', 16)],
  ['ea', 'pminsw', lanes('minSigned', 16)],
  ['ee', 'pmaxsw', lanes('maxSigned', 16)],
  ['f6', 'psadbw', (o, x, y) => o.sumOfDifferences(x, y)],
];
/** Came to MMX registers with SSE2 only. */
// biome-ignore format: a table
const SSE2: readonly Line[] = [
  ['d4', 'paddq', lanes('add', 64)],
  ['f4', 'pmuludq', (o, x, y) => o.multiplyEven(x, y)],
  ['fb', 'psubq', lanes('sub', 64)],
];

/** Opcode and digit, name, direction, lane. */
// biome-ignore format: a table
const SHIFTS: readonly [string, string, ShiftKind, 16 | 32 | 64][] = [
  ['71 /2', 'psrlw', 'right', 16], ['71 /4', 'psraw', 'arithmetic', 16], ['71 /6', 'psllw', 'left', 16],
  ['72 /2', 'psrld', 'right', 32], ['72 /4', 'psrad', 'arithmetic', 32], ['72 /6', 'pslld', 'left', 32],
  ['73 /2', 'psrlq', 'right', 64], ['73 /6', 'psllq', 'left', 64],
];

const lowPart: VectorMeaning = (o, x) => o.extract(64, x, 0);
const widened: VectorMeaning = (o, x) => o.vector(x);

/** `id` tells moves of one name and equal operands apart. */
const move = (name: string, vector: VectorMeaning, more: Partial<Operation> = {}): Operation => ({
  name,
  vector,
  access: ['w', 'r'],
  ...more,
});
const lowScalar: VectorMeaning = (o, x) => o.extract(o.scalar, x, 0);
const intoGeneral = move('movd', lowScalar);
const fromGeneral = move('movd', widened);
const aligned = move('movdqa', copy, ALIGNED);
const anywhere = move('movdqu', copy, ANYWHERE);

const shuffleWords =
  (half: 0 | 1): VectorMeaning =>
  (o, x, control) =>
    o.insert(64, x, half, o.extract(64, o.permute(16, 2, [x, x, x, x], 4 * half, control), 0));
const shuffleAll =
  (lane: 16 | 32): VectorMeaning =>
  (o, x, control) =>
    o.permute(lane, 2, [x, x, x, x], 0, control);
const insertWord: VectorMeaning = (o, x, word, index) => o.insertWord(x, index, word);
const extractWord: VectorMeaning = (o, x, index) => o.extractWord(x, index);
const byteSigns: VectorMeaning = (o, x) => o.signs(8, x);

const pinsrw: Operation = { name: 'pinsrw', vector: insertWord, access: RW };
const pextrw: Operation = { name: 'pextrw', vector: extractWord, access: W };
const pmovmskb: Operation = { name: 'pmovmskb', vector: byteSigns, access: W };

export const mmx: Form[] = [
  ...both('MMX', MMX),
  ...both('MMX', MMX_HALF, 'Qd'),
  ...both('SSE', SSE),
  ...both('SSE2', SSE2),
  row('66 0f 6c', 'Vdq,Wdq', { name: 'punpcklqdq', vector: interleave('low', 64), access: RW }, { feature: 'SSE2' }),
  row('66 0f 6d', 'Vdq,Wdq', { name: 'punpckhqdq', vector: interleave('high', 64), access: RW }, { feature: 'SSE2' }),
  ...SHIFTS.flatMap(([code, name, kind, lane]) => {
    const op: Operation = { name, id: `${name}-immediate`, vector: shiftByImmediate(kind, lane), access: RW };
    return [
      row(`np 0f ${code} mod3`, 'Nq,Ib', op, { feature: 'MMX' }),
      row(`66 0f ${code} mod3`, 'Udq,Ib', op, { feature: 'SSE2' }),
    ];
  }),
  ...(['right', 'left'] as const).map((direction, i) =>
    row(
      `66 0f 73 /${3 + 4 * i} mod3`,
      'Udq,Ib',
      { name: i ? 'pslldq' : 'psrldq', vector: (o, x, n) => o.shiftBytes(direction, x, n), access: RW },
      { feature: 'SSE2' },
    ),
  ),
  // Moves. With REX.W movd is called movq.
  row('np 0f 6e', 'Pq,Ey', fromGeneral, { feature: 'MMX' }),
  row('66 0f 6e', 'Vdq,Ey', fromGeneral, { feature: 'SSE2' }),
  row('np 0f 7e', 'Ey,Pq', intoGeneral, { feature: 'MMX' }),
  row('66 0f 7e', 'Ey,Vdq', intoGeneral, { feature: 'SSE2' }),
  row('np 0f 6f', 'Pq,Qq', move('movq', copy), { feature: 'MMX' }),
  row('np 0f 7f', 'Qq,Pq', move('movq', copy), { feature: 'MMX' }),
  row('66 0f 6f', 'Vdq,Wdq', aligned, { feature: 'SSE2' }),
  row('66 0f 7f', 'Wdq,Vdq', aligned, { feature: 'SSE2' }),
  row('f3 0f 6f', 'Vdq,Wdq', anywhere, { feature: 'SSE2' }),
  row('f3 0f 7f', 'Wdq,Vdq', anywhere, { feature: 'SSE2' }),
  row('f3 0f 7e', 'Vdq,Wq', move('movq', widened), { feature: 'SSE2' }),
  row('66 0f d6 mem', 'Mq,Vdq', move('movq', lowPart), { feature: 'SSE2' }),
  row('66 0f d6 mod3', 'Udq,Vq', move('movq', widened), { feature: 'SSE2' }),
  row(
    'f3 0f d6 mod3',
    'Vdq,Nq',
    move('movq2dq', (o, x) => o.vector(o.extract(64, x, 0))),
    { feature: 'SSE2' },
  ),
  row('f2 0f d6 mod3', 'Pq,Uq', move('movdq2q', widened), { feature: 'SSE2' }),
  row('np 0f e7 mem', 'Mq,Pq', move('movntq', lowPart), { feature: 'SSE' }),
  row('66 0f e7 mem', 'Mdq,Vdq', move('movntdq', copy, ALIGNED), { feature: 'SSE2' }),
  row('np 0f 70', 'Pq,Qq,Ib', { name: 'pshufw', vector: shuffleAll(16), access: W }, { feature: 'SSE' }),
  row('66 0f 70', 'Vdq,Wdq,Ib', { name: 'pshufd', vector: shuffleAll(32), access: W }, { feature: 'SSE2' }),
  row('f3 0f 70', 'Vdq,Wdq,Ib', { name: 'pshufhw', vector: shuffleWords(1), access: W }, { feature: 'SSE2' }),
  row('f2 0f 70', 'Vdq,Wdq,Ib', { name: 'pshuflw', vector: shuffleWords(0), access: W }, { feature: 'SSE2' }),
  row('np 0f c4', 'Pq,Ew,Ib', pinsrw, { feature: 'SSE' }),
  row('66 0f c4', 'Vdq,Ew,Ib', pinsrw, { feature: 'SSE2' }),
  row('np 0f c5 mod3', 'Gd,Nq,Ib', pextrw, { feature: 'SSE' }),
  row('66 0f c5 mod3', 'Gd,Udq,Ib', pextrw, { feature: 'SSE2' }),
  row('np 0f d7 mod3', 'Gd,Nq', pmovmskb, { feature: 'SSE' }),
  row('66 0f d7 mod3', 'Gd,Udq', pmovmskb, { feature: 'SSE2' }),
  row('np 0f f7 mod3', 'Pq,Nq', { name: 'maskmovq', helper: 'maskmovq' }, { feature: 'SSE' }),
  row('66 0f f7 mod3', 'Vdq,Udq', { name: 'maskmovdqu', helper: 'maskmovdqu' }, { feature: 'SSE2' }),
];
