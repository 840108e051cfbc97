/** Scalars in generated code against the unit that is exact, in many more pairs of numbers than are recorded: what the
 * fast path thinks of rounding, of zeros and of numbers at the edge must be so. */
import { describe, expect, it } from 'vitest';
import { Cpu } from '../../src/engine/cpu.ts';
import { SseUnit } from '../../src/engine/sse-unit.ts';
import { STATE } from '../../src/engine/state.ts';
import { MAX_MODEL } from '../../src/x86/cpuid.ts';
import { flatCode32, flatData } from '../../src/x86/vcpu-state.ts';
import { Random } from '../oracle/random.ts';
import { fill } from '../oracle/simd/states.ts';
import { TestHost } from './test-core.ts';

type Size = 32 | 64;
type Operation = {
  name: string;
  code: readonly number[];
  size: Size;
  /** Of the operands in XMM0 and XMM1. */
  expected: (unit: SseUnit, x: bigint, y: bigint) => bigint;
  /** Bits of the result, and where it is: XMM0, or EAX. */
  result: Size;
  general?: boolean;
};

const SIZES = [
  [0xf2, 64],
  [0xf3, 32],
] as const;
const OPERATIONS: Operation[] = SIZES.flatMap(([prefix, size]): Operation[] => [
  ...(
    [
      ['add', 0x58],
      ['mul', 0x59],
      ['sub', 0x5c],
      ['min', 0x5d],
      ['div', 0x5e],
      ['max', 0x5f],
    ] as const
  ).map(
    ([name, opcode]): Operation => ({
      name: `${name}${size}`,
      code: [prefix, 0x0f, opcode, 0xc1],
      size,
      expected: (unit, x, y) => unit.operate(name, size, x, y),
      result: size,
    }),
  ),
  {
    name: `sqrt${size}`,
    code: [prefix, 0x0f, 0x51, 0xc1],
    size,
    expected: (unit, _, y) => unit.root(size, y),
    result: size,
  },
  {
    name: `to integer ${size}`,
    code: [prefix, 0x0f, 0x2d, 0xc1],
    size,
    expected: (unit, _, y) => unit.toInteger(size, y, 32, false),
    result: 32,
    general: true,
  },
  {
    name: `truncation ${size}`,
    code: [prefix, 0x0f, 0x2c, 0xc1],
    size,
    expected: (unit, _, y) => unit.toInteger(size, y, 32, true),
    result: 32,
    general: true,
  },
  {
    name: size === 64 ? 'sd to ss' : 'ss to sd',
    code: [prefix, 0x0f, 0x5a, 0xc1],
    size,
    expected: (unit, _, y) => (size === 64 ? unit.narrow(y) : unit.widen(y)),
    result: size === 64 ? 32 : 64,
  },
]);

const AT = 0x1000;
const STEP = 16;
const XMM = STATE.FXSAVE + 160;
const MXCSR = STATE.FXSAVE + 24;

const cpu = Cpu.create({ ramSize: 0x1_0000, cpuModel: MAX_MODEL, host: new TestHost() });
const data = flatData(0x18);
cpu.setState({
  cr0: 0x33n,
  cr4: 0x600n,
  cpl: 0,
  segments: { es: data, cs: flatCode32(0x10), ss: data, ds: data, fs: data, gs: data },
});
OPERATIONS.forEach(({ code }, i) => {
  new Uint8Array(cpu.buffer, cpu.ramOffset).set([...code, 0x90], AT + STEP * i);
});

/** Two numbers of a kind that makes operations exact, nearly exact, or anything. */
function pair(random: Random, { size, name }: Operation): [bigint, bigint] {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  fill(random, bytes, size === 64 ? 'double' : 'single');
  let x = view.getBigUint64(0, true);
  let y = view.getBigUint64(8, true);
  if (random.chance(20)) {
    const zeros = BigInt(random.below(size === 64 ? 60 : 28));
    x = (x >> zeros) << zeros;
    y = (y >> zeros) << zeros;
  }
  if (random.chance(10)) y = x ^ BigInt(random.below(4));
  if (random.chance(12)) {
    // A product of two small factors and one of them, or a square.
    const [a, b] = [1 + random.below(1 << (size === 64 ? 26 : 12)), 1 + random.below(1 << (size === 64 ? 27 : 13))];
    const values = name.startsWith('sqrt') ? [a, a * a] : [a * b, b];
    const bits = values.map((value) => {
      if (size === 64) view.setFloat64(0, value);
      else view.setFloat32(0, value);
      return size === 64 ? view.getBigUint64(0) : BigInt(view.getUint32(0));
    });
    [x, y] = bits;
  }
  return [BigInt.asUintN(size, x), BigInt.asUintN(size, y)];
}

describe('a scalar in generated code', () => {
  it('is what the exact unit makes of it, with the same MXCSR', () => {
    const { view } = cpu.state;
    const random = new Random('scalars');
    const wrong: string[] = [];
    for (let n = 0; n < 60_000; n++) {
      const i = n % OPERATIONS.length;
      const operation = OPERATIONS[i];
      const [x, y] = pair(random, operation);
      // Mostly nothing raised yet, and all masked.
      const mxcsr = random.pick([0x1f80, 0x1f80, 0x1fa0, 0x9fc0, 0x1f80 | (random.below(4) << 13)]);
      view.setBigUint64(XMM, x, true);
      view.setBigUint64(XMM + 16, y, true);
      view.setInt32(MXCSR, mxcsr, true);
      cpu.state.rip = BigInt(AT + STEP * i);
      cpu.run(cpu.instructions + 1);
      const unit = new SseUnit(mxcsr);
      const expected = operation.expected(unit, x, y);
      const flags = mxcsr | unit.finish().raised;
      const at = operation.general ? STATE.GPR : XMM;
      const actual = operation.result === 64 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
      if (actual !== expected || view.getInt32(MXCSR, true) !== flags) {
        const [e, a] = [expected, actual].map((value) => value.toString(16));
        const [f, g] = [flags, view.getInt32(MXCSR, true)].map((value) => value.toString(16));
        wrong.push(`${operation.name} of ${x.toString(16)}, ${y.toString(16)}: ${e} ${f}, got ${a} ${g}`);
      }
    }
    expect(wrong.slice(0, 5)).toEqual([]);
  });
});
