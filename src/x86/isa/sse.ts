/** SSE and SSE2 on floating-point numbers: moves, shuffles, arithmetic, comparisons, conversions.
 *
 * Most opcodes are four instructions, by mandatory prefix: none `ps`, 66 `pd`, F3 `ss`, F2 `sd`. Scalars read and write
 * the low lane alone and keep what is above it, but loads from memory, which clear it. RCP and RSQRT are approximations
 * whose bits every processor chooses for itself; see engine/sse-unit.ts for ours.
 * Follows: SDM Vol. 1, chapters 10 and 11; Vol. 2, Appendix A, tables.
 * Next: x86/isa/vector-extensions.ts. */
import { ALIGNED, ANYWHERE, and, andNot, copy, or, xor } from './mmx.ts';
import { type Form, type Operation, row } from './types.ts';
import type { Conversion, FloatShape, VectorMeaning } from './vector.ts';

const RW = ['rw', 'r', 'r'] as const;
const W = ['w', 'r', 'r'] as const;

/** Prefix, feature and operands of each shape. */
const SHAPES = [
  { shape: 'ps', prefix: 'np', feature: 'SSE', size: 'dq' },
  { shape: 'pd', prefix: '66', feature: 'SSE2', size: 'dq' },
  { shape: 'ss', prefix: 'f3', feature: 'SSE', size: 'd' },
  { shape: 'sd', prefix: 'f2', feature: 'SSE2', size: 'q' },
] as const;
type Shape = (typeof SHAPES)[number];

/** One row for each shape; the first operand is read too, unless `access` says otherwise. */
const shaped = (
  opcode: string,
  name: string,
  meaning: (shape: FloatShape) => VectorMeaning,
  { shapes = SHAPES as readonly Shape[], access = RW as Operation['access'], more = '' } = {},
): Form[] =>
  shapes.map(({ shape, prefix, feature, size }) =>
    row(
      `${prefix} 0f ${opcode}`,
      `V${size},W${size}${more}`,
      { name: `${name}${shape}`, vector: meaning(shape), access },
      { feature },
    ),
  );
const PACKED = SHAPES.slice(0, 2);
const SINGLE = [SHAPES[0], SHAPES[2]];
/** Whole registers, whatever they hold. */
const whole = (opcode: string, name: string, vector: VectorMeaning): Form[] =>
  shaped(opcode, name, () => vector, { shapes: PACKED }).map((form) => ({ ...form, op: { ...form.op, id: name } }));

const widened: VectorMeaning = (o, x) => o.vector(x);
const low: VectorMeaning = (o, x) => o.extract(64, x, 0);
const high: VectorMeaning = (o, x) => o.extract(64, x, 1);
const intoHigh: VectorMeaning = (o, x, y) => o.insert(64, x, 1, y);

const move = (name: string, vector: VectorMeaning, more: Partial<Operation> = {}): Operation => ({
  name,
  vector,
  access: ['w', 'r'],
  ...more,
});
const moveBoth = (codes: readonly [string, string], name: string, more: Partial<Operation> = {}): Form[] =>
  PACKED.flatMap(({ shape, prefix, feature }) => {
    const op = move(`${name}${shape}`, copy, more);
    return [
      row(`${prefix} 0f ${codes[0]}`, 'Vdq,Wdq', op, { feature }),
      row(`${prefix} 0f ${codes[1]}`, 'Wdq,Vdq', op, { feature }),
    ];
  });

const moves: Form[] = [
  ...moveBoth(['10', '11'], 'movu', ANYWHERE),
  ...moveBoth(['28', '29'], 'mova', ALIGNED),
  ...SHAPES.slice(2).flatMap(({ shape, prefix, feature, size }) => [
    row(`${prefix} 0f 10 mem`, `Vdq,M${size}`, move(`mov${shape}`, widened), { feature }),
    row(`${prefix} 0f 10 mod3`, `V${size},U${size}`, move(`mov${shape}`, copy), { feature }),
    row(`${prefix} 0f 11 mem`, `M${size},V${size}`, move(`mov${shape}`, copy), { feature }),
    row(`${prefix} 0f 11 mod3`, `U${size},V${size}`, move(`mov${shape}`, copy), { feature }),
  ]),
  ...PACKED.flatMap(({ shape, prefix, feature }) => [
    row(`${prefix} 0f 12 mem`, 'Vq,Mq', move(`movl${shape}`, copy), { feature }),
    row(`${prefix} 0f 13 mem`, 'Mq,Vdq', move(`movl${shape}`, low), { feature }),
    row(`${prefix} 0f 16 mem`, 'Vdq,Mq', { name: `movh${shape}`, vector: intoHigh, access: RW }, { feature }),
    row(`${prefix} 0f 17 mem`, 'Mq,Vdq', move(`movh${shape}`, high), { feature }),
    row(`${prefix} 0f 2b mem`, 'Mdq,Vdq', move(`movnt${shape}`, copy, ALIGNED), { feature }),
    row(
      `${prefix} 0f 50 mod3`,
      'Gd,Udq',
      { name: `movmsk${shape}`, vector: (o, x) => o.signs(shape === 'ps' ? 32 : 64, x), access: W },
      { feature },
    ),
  ]),
  row('np 0f 12 mod3', 'Vq,Udq', move('movhlps', high), { feature: 'SSE' }),
  row('np 0f 16 mod3', 'Vdq,Uq', { name: 'movlhps', vector: intoHigh, access: RW }, { feature: 'SSE' }),
];

const laneOf = (shape: FloatShape): 32 | 64 => (shape === 'ps' || shape === 'ss' ? 32 : 64);

const shuffles: Form[] = [
  ...shaped('14', 'unpckl', (shape) => (o, x, y) => o.interleave('low', laneOf(shape), x, y), { shapes: PACKED }),
  ...shaped('15', 'unpckh', (shape) => (o, x, y) => o.interleave('high', laneOf(shape), x, y), { shapes: PACKED }),
  row(
    'np 0f c6',
    'Vdq,Wdq,Ib',
    { name: 'shufps', vector: (o, x, y, control) => o.permute(32, 2, [x, x, y, y], 0, control), access: RW },
    { feature: 'SSE' },
  ),
  row(
    '66 0f c6',
    'Vdq,Wdq,Ib',
    { name: 'shufpd', vector: (o, x, y, control) => o.permute(64, 1, [x, y], 0, control), access: RW },
    { feature: 'SSE2' },
  ),
  ...whole('54', 'and', and),
  ...whole('55', 'andn', andNot),
  ...whole('56', 'or', or),
  ...whole('57', 'xor', xor),
];

const ORDERED = [
  { shape: 'ss', prefix: 'np', feature: 'SSE', size: 'd' },
  { shape: 'sd', prefix: '66', feature: 'SSE2', size: 'q' },
] as const;

const arithmetic: Form[] = [
  ...(
    [
      ['58', 'add'],
      ['59', 'mul'],
      ['5c', 'sub'],
      ['5d', 'min'],
      ['5e', 'div'],
      ['5f', 'max'],
    ] as const
  ).flatMap(([opcode, name]) => shaped(opcode, name, (shape) => (o, x, y) => o.float(name, shape, x, y))),
  ...shaped('51', 'sqrt', (shape) => (o, x) => o.root(shape, x), { access: W }).map(unary),
  ...shaped('52', 'rsqrt', (shape) => (o, x) => o.reciprocalRoot(shape as 'ps', x), { shapes: SINGLE }).map(unary),
  ...shaped('53', 'rcp', (shape) => (o, x) => o.reciprocal(shape as 'ps', x), { shapes: SINGLE }).map(unary),
  ...shaped('c2', 'cmp', (shape) => (o, x, y, predicate) => o.compare(shape, x, y, predicate), { more: ',Ib' }),
  ...ORDERED.flatMap(({ shape, prefix, feature, size }) =>
    [false, true].map((signals, i) =>
      row(
        `${prefix} 0f ${i ? '2f' : '2e'}`,
        `V${size},W${size}`,
        {
          name: `${signals ? 'comi' : 'ucomi'}${shape}`,
          vector: (o, x, y) => {
            o.order(shape, x, y, signals);
            return undefined;
          },
          access: ['r', 'r'],
          writes: 'CPAZSO',
        },
        { feature },
      ),
    ),
  ),
];

/** The first operand is only written: the meaning is given it, and does not want it. */
function unary(form: Form): Form {
  return { ...form, op: { ...form.op, access: W } };
}

/** Opcode with its prefix, name, operands, conversion; `t` names truncate. */
// biome-ignore format: a table
const CONVERSIONS: readonly [string, string, string, Conversion, 'SSE' | 'SSE2'][] = [
  ['f3 0f 2a', 'cvtsi2ss', 'Vd,Ey', 'si→ss', 'SSE'],
  ['f2 0f 2a', 'cvtsi2sd', 'Vq,Ey', 'si→sd', 'SSE2'],
  ['f3 0f 2c', 'cvttss2si', 'Gy,Wd', 'ss→si', 'SSE'],
  ['f2 0f 2c', 'cvttsd2si', 'Gy,Wq', 'sd→si', 'SSE2'],
  ['f3 0f 2d', 'cvtss2si', 'Gy,Wd', 'ss→si', 'SSE'],
  ['f2 0f 2d', 'cvtsd2si', 'Gy,Wq', 'sd→si', 'SSE2'],
  ['66 0f 5a', 'cvtpd2ps', 'Vdq,Wdq', 'pd→ps', 'SSE2'],
  ['f3 0f 5a', 'cvtss2sd', 'Vq,Wd', 'ss→sd', 'SSE2'],
  ['f2 0f 5a', 'cvtsd2ss', 'Vd,Wq', 'sd→ss', 'SSE2'],
  ['np 0f 5b', 'cvtdq2ps', 'Vdq,Wdq', 'dq→ps', 'SSE2'],
  ['66 0f 5b', 'cvtps2dq', 'Vdq,Wdq', 'ps→dq', 'SSE2'],
  ['f3 0f 5b', 'cvttps2dq', 'Vdq,Wdq', 'ps→dq', 'SSE2'],
  ['66 0f e6', 'cvttpd2dq', 'Vdq,Wdq', 'pd→dq', 'SSE2'],
  ['f2 0f e6', 'cvtpd2dq', 'Vdq,Wdq', 'pd→dq', 'SSE2'],
];

const conversion = (name: string, vector: VectorMeaning): Operation => ({ name, vector, access: ['w', 'r'] });

const conversions: Form[] = [
  ...CONVERSIONS.map(([code, name, operands, kind, feature]) =>
    row(
      code,
      operands,
      conversion(name, (o, x) => o.convert(kind, x, name.startsWith('cvtt'))),
      { feature },
    ),
  ),
  // Half a register becomes a whole one.
  row(
    'np 0f 5a',
    'Vdq,Wq',
    conversion('cvtps2pd', (o, x) => o.convert('ps→pd', o.vector(x))),
    { feature: 'SSE2' },
  ),
  row(
    'f3 0f e6',
    'Vdq,Wq',
    conversion('cvtdq2pd', (o, x) => o.convert('dq→pd', o.vector(x))),
    { feature: 'SSE2' },
  ),
  // Between MMX and XMM registers.
  row(
    '66 0f 2a',
    'Vdq,Qq',
    conversion('cvtpi2pd', (o, x) => o.convert('dq→pd', x)),
    { feature: 'SSE2' },
  ),
  row(
    'np 0f 2a',
    'Vq,Qq',
    conversion('cvtpi2ps', (o, x) => o.extract(64, o.convert('dq→ps', x), 0)),
    {
      feature: 'SSE',
    },
  ),
  ...[true, false].flatMap((truncate) => {
    const [code, name] = truncate ? ['2c', 'cvtt'] : ['2d', 'cvt'];
    return [
      row(
        `np 0f ${code}`,
        'Pq,Wq',
        conversion(`${name}ps2pi`, (o, x) => o.convert('ps→dq', o.vector(x), truncate)),
        { feature: 'SSE' },
      ),
      row(
        `66 0f ${code}`,
        'Pq,Wdq',
        conversion(`${name}pd2pi`, (o, x) => o.convert('pd→dq', x, truncate)),
        { feature: 'SSE2' },
      ),
    ];
  }),
];

const control: Form[] = [
  row(
    'np 0f ae /2 mem',
    'Md',
    {
      name: 'ldmxcsr',
      vector: (o, x) => {
        o.setControl(x);
        return undefined;
      },
      sse: true,
    },
    { feature: 'SSE' },
  ),
  row(
    'np 0f ae /3 mem',
    'Md',
    { name: 'stmxcsr', vector: (o) => o.control(), access: ['w'], sse: true },
    { feature: 'SSE' },
  ),
];

export const sse: Form[] = [...moves, ...shuffles, ...arithmetic, ...conversions, ...control];
