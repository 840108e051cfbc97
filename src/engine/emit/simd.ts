/** Vector instructions as WebAssembly: the integer half of the vector algebra, and the code around each meaning.
 *
 * A vector is a v128 (on MMX registers its upper half is zero), a scalar an i32 or i64. Each variant is a function of its
 * own, and the frequent ones stand in a loop, too (vector-run.ts). What is in the way of the ordinary case (CR0, CR4, a
 * waiting x87 error, an address that is not aligned, floating point that is not plain) makes it ask for the reference,
 * before anything has changed. Where it asks behind its read of a device, the device is read again.
 * Follows: WebAssembly Core Specification 2.0, section 5.4 (vector instructions).
 * May not: commit anything before it knows that it need not ask.   Next: engine/emit/simd-float.ts. */
import { I32, I64, OP, SIMD, V128 } from '../../wasm/opcodes.ts';
import { CR0, CR4 } from '../../x86/constants.ts';
import type {
  Conversion,
  FloatOperation,
  FloatShape,
  Lane,
  LaneOperation,
  VectorAlgebra,
} from '../../x86/isa/vector.ts';
import { BOUNCE, READ_BOUNCE, SLOW } from '../mmu.ts';
import { REC, RETURN } from '../record.ts';
import { STATE } from '../state.ts';
import type { VectorOperand, VectorVariant } from '../vector-variants.ts';
import {
  binary,
  type Code,
  type Expression,
  extend,
  field8,
  field16,
  get,
  i32,
  i64,
  load,
  select,
  setState32,
  setState64,
  state32,
  wrap,
} from './code.ts';
import { noteCurrent } from './handler.ts';
import type { WasmMeaning } from './meaning.ts';
import {
  constant,
  extractLane,
  loadVector,
  replaceLane,
  shuffle,
  simd,
  splat,
  storeLane,
  storeVector,
} from './simd-code.ts';
import * as floats from './simd-float.ts';

type E = Expression;

const FSW = STATE.FXSAVE + 2;
const FTW = STATE.FXSAVE + 4;
const MXCSR = STATE.FXSAVE + 24;
/** FSW's TOP and ES. */
const NOT_MMX = 0x3880;
/** Two vectors' room that nothing else uses between two instructions. */
const SCRATCH = READ_BOUNCE;

const LANES: Record<LaneOperation, Partial<Record<Lane, number>>> = {
  add: { 8: SIMD.i8x16_add, 16: SIMD.i16x8_add, 32: SIMD.i32x4_add, 64: SIMD.i64x2_add },
  sub: { 8: SIMD.i8x16_sub, 16: SIMD.i16x8_sub, 32: SIMD.i32x4_sub, 64: SIMD.i64x2_sub },
  addSigned: { 8: SIMD.i8x16_add_sat_s, 16: SIMD.i16x8_add_sat_s },
  addUnsigned: { 8: SIMD.i8x16_add_sat_u, 16: SIMD.i16x8_add_sat_u },
  subSigned: { 8: SIMD.i8x16_sub_sat_s, 16: SIMD.i16x8_sub_sat_s },
  subUnsigned: { 8: SIMD.i8x16_sub_sat_u, 16: SIMD.i16x8_sub_sat_u },
  mulLow: { 16: SIMD.i16x8_mul },
  mulHighSigned: {},
  mulHighUnsigned: {},
  average: { 8: SIMD.i8x16_avgr_u, 16: SIMD.i16x8_avgr_u },
  minSigned: { 16: SIMD.i16x8_min_s },
  minUnsigned: { 8: SIMD.i8x16_min_u },
  maxSigned: { 16: SIMD.i16x8_max_s },
  maxUnsigned: { 8: SIMD.i8x16_max_u },
  equal: { 8: SIMD.i8x16_eq, 16: SIMD.i16x8_eq, 32: SIMD.i32x4_eq },
  greater: { 8: SIMD.i8x16_gt_s, 16: SIMD.i16x8_gt_s, 32: SIMD.i32x4_gt_s },
};
const SHIFTS = {
  left: { 16: SIMD.i16x8_shl, 32: SIMD.i32x4_shl, 64: SIMD.i64x2_shl },
  right: { 16: SIMD.i16x8_shr_u, 32: SIMD.i32x4_shr_u, 64: SIMD.i64x2_shr_u },
  arithmetic: { 16: SIMD.i16x8_shr_s, 32: SIMD.i32x4_shr_s, 64: 0 },
};
const IOTA = Array.from({ length: 16 }, (_, i) => i);

export class VectorCode implements VectorAlgebra<E> {
  readonly bits: 64 | 128;
  readonly scalar: 32 | 64;
  readonly code: Code;
  /** Leaves for the reference, by way of the function where this code stands in the loop. */
  private readonly ask: () => void;

  constructor(code: Code, variant: VectorVariant, ask: () => void) {
    this.code = code;
    this.ask = ask;
    this.bits = variant.bits;
    this.scalar = variant.scalar;
  }

  askIf(condition: E): void {
    this.code.if(condition, this.ask);
  }
  let = (x: E): E => this.code.let(x);

  vector(scalar: E): E {
    if (scalar.t === V128) return scalar;
    return replaceLane(scalar.t === I64 ? 64 : 32, constant(Array(16).fill(0)), 0, scalar);
  }
  extract = (lane: 32 | 64, x: E, index: number): E => (x.t === V128 ? extractLane(lane, x, index) : x);
  insert = (_: 64, x: E, index: number, scalar: E): E => replaceLane(64, x, index, scalar);

  /** A vector's address in scratch memory: its lanes can then be numbered at run time. */
  private spill(x: E, slot: number): void {
    storeVector(this.code, i32(SCRATCH + 16 * slot), x);
  }
  private wordAddress(index: E): E {
    const lanes = binary(OP.i32_and, I32, index, i32(this.bits / 16 - 1));
    return binary(OP.i32_add, I32, binary(OP.i32_shl, I32, lanes, i32(1)), i32(SCRATCH));
  }
  extractWord(x: E, index: E): E {
    this.spill(x, 0);
    return this.let(load(OP.i32_load16_u, I32, this.wordAddress(index)));
  }
  insertWord(x: E, index: E, scalar: E): E {
    this.spill(x, 0);
    this.code.store(OP.i32_store16, this.wordAddress(index), scalar);
    return this.let(loadVector(i32(SCRATCH)));
  }

  and = (x: E, y: E): E => simd(SIMD.and, V128, x, y);
  or = (x: E, y: E): E => simd(SIMD.or, V128, x, y);
  xor = (x: E, y: E): E => simd(SIMD.xor, V128, x, y);
  andNot = (x: E, y: E): E => simd(SIMD.andnot, V128, y, x);
  lanes(operation: LaneOperation, lane: Lane, x: E, y: E): E {
    const opcode = LANES[operation][lane];
    if (opcode !== undefined) return simd(opcode, V128, x, y);
    const signed = operation === 'mulHighSigned';
    if ((!signed && operation !== 'mulHighUnsigned') || lane !== 16) {
      throw new Error(`broken belief: ${operation} has no lanes of ${lane} bits`);
    }
    const low = simd(signed ? SIMD.i32x4_extmul_low_s : SIMD.i32x4_extmul_low_u, V128, x, y);
    const high = simd(signed ? SIMD.i32x4_extmul_high_s : SIMD.i32x4_extmul_high_u, V128, x, y);
    return shuffle(
      low,
      high,
      IOTA.map((i) => (i >> 1) * 4 + 2 + (i & 1)),
    );
  }
  count = (immediate: E): E => extend(immediate);
  shift(kind: 'left' | 'right' | 'arithmetic', lane: 16 | 32 | 64, x: E, count: E): E {
    const n = this.let(count);
    const past = binary(OP.i64_ge_u, I32, n, i64(lane));
    const opcode = SHIFTS[kind][lane];
    if (kind === 'arithmetic') return simd(opcode, V128, x, select(I32, past, i32(lane - 1), wrap(n)));
    const shifted = simd(opcode, V128, x, wrap(n));
    return select(V128, past, constant(Array(16).fill(0)), shifted);
  }
  /** Indices past the vector give zero. */
  shiftBytes(direction: 'left' | 'right', x: E, count: E): E {
    const n = this.let(count);
    const bounded = select(I32, binary(OP.i32_gt_u, I32, n, i32(16)), i32(16), n);
    const by = splat(8, bounded);
    const indices = simd(direction === 'right' ? SIMD.i8x16_add : SIMD.i8x16_sub, V128, constant(IOTA), by);
    return simd(SIMD.swizzle, V128, x, indices);
  }
  interleave(half: 'low' | 'high', lane: Lane, x: E, y: E): E {
    const bytes = lane / 8;
    const from = half === 'low' ? 0 : this.bits / 16;
    // Byte i of the result is byte i mod `bytes` of lane i / (2 × bytes), of x and y in turn.
    return shuffle(
      x,
      y,
      IOTA.map((i) => {
        const fromY = Math.floor(i / bytes) % 2 === 1;
        return (fromY ? 16 : 0) + ((from + Math.floor(i / (2 * bytes)) * bytes + (i % bytes)) & 15);
      }),
    );
  }
  pack(lane: 16 | 32, signed: boolean, x: E, y: E): E {
    const opcode = lane === 32 ? SIMD.i16x8_narrow_s : signed ? SIMD.i8x16_narrow_s : SIMD.i8x16_narrow_u;
    if (this.bits === 128) return simd(opcode, V128, x, y);
    const both = this.let(replaceLane(64, x, 1, extractLane(64, y, 0)));
    return simd(opcode, V128, both, both);
  }
  multiplyAdd = (x: E, y: E): E => simd(SIMD.i32x4_dot_s, V128, x, y);
  multiplyEven(x: E, y: E): E {
    const even = (e: E): E => simd(SIMD.and, V128, e, constant(IOTA.map((i) => (i & 4 ? 0 : 0xff))));
    return simd(SIMD.i64x2_mul, V128, even(x), even(y));
  }
  sumOfDifferences(x: E, y: E): E {
    const difference = simd(
      SIMD.or,
      V128,
      simd(SIMD.i8x16_sub_sat_u, V128, x, y),
      simd(SIMD.i8x16_sub_sat_u, V128, y, x),
    );
    const words = simd(SIMD.i16x8_extadd_u, V128, difference);
    const sums = this.let(simd(SIMD.i32x4_extadd_u, V128, words));
    const low = simd(SIMD.and, V128, sums, constant(IOTA.map((i) => (i & 4 ? 0 : 0xff))));
    return simd(SIMD.i64x2_add, V128, low, simd(SIMD.i64x2_shr_u, V128, sums, i32(32)));
  }
  permute(lane: 16 | 32 | 64, bits: 1 | 2, sources: readonly E[], first: number, control: E): E {
    const distinct = [...new Set(sources)];
    distinct.forEach((source, i) => {
      this.spill(source, i);
    });
    const bytes = lane / 8;
    let result = constant(Array(16).fill(0));
    sources.forEach((source, i) => {
      const chosen = binary(
        OP.i32_and,
        I32,
        i ? binary(OP.i32_shr_u, I32, control, i32(i * bits)) : control,
        i32((1 << bits) - 1),
      );
      const at = binary(OP.i32_shl, I32, chosen, i32(Math.log2(bytes)));
      const base = SCRATCH + 16 * distinct.indexOf(source) + first * bytes;
      const [opcode, t] = { 16: [OP.i32_load16_u, I32], 32: [OP.i32_load, I32], 64: [OP.i64_load, I64] }[lane];
      result = replaceLane(lane, result, i, load(opcode, t as typeof I32, at, base));
    });
    return result;
  }
  signs(lane: 8 | 32 | 64, x: E): E {
    return simd({ 8: SIMD.i8x16_bitmask, 32: SIMD.i32x4_bitmask, 64: SIMD.i64x2_bitmask }[lane], I32, x);
  }

  // ---- Floating point (simd-float.ts)

  float = (operation: FloatOperation, shape: FloatShape, x: E, y: E): E => floats.float(this, operation, shape, x, y);
  root = (shape: FloatShape, x: E): E => floats.root(this, shape, x);
  reciprocal = (shape: 'ps' | 'ss', x: E): E => floats.reciprocal(this, shape, x, false);
  reciprocalRoot = (shape: 'ps' | 'ss', x: E): E => floats.reciprocal(this, shape, x, true);
  compare = (shape: FloatShape, x: E, y: E, predicate: E): E => floats.compare(this, shape, x, y, predicate);
  convert = (conversion: Conversion, x: E, truncate = false): E => floats.convert(this, conversion, x, truncate);
  control = (): E => state32(MXCSR);
  setControl(value: E): void {
    this.askIf(binary(OP.i32_and, I32, value, i32(~0xffff)));
    setState32(this.code, MXCSR, value);
  }
  order(shape: 'ss' | 'sd', x: E, y: E, signals: boolean): void {
    const bits = this.let(floats.order(this, shape, x, y, signals));
    // All six flags at once, with a result that has none of its own.
    setState32(this.code, STATE.FLAG_BITS, bits);
    setState64(this.code, STATE.FLAG_R, i64(1));
  }
}

/** A variant's whole work, after which the next record follows: in a function of its own, or in the loop. */
export function emitVector(m: WasmMeaning, variant: VectorVariant): { operands: E[]; result: undefined } {
  const { code, inline } = m;
  const o = new VectorCode(code, variant, inline ? inline.slow : () => code.return(i32(RETURN.ASK)));
  askWhatIsInTheWay(o, variant);
  // A move uses its operand once.
  const keep = variant.op.name.startsWith('mov') ? (e: E): E => e : o.let;
  const fetched = variant.operands.map((operand) => fetch(m, o, variant, operand, keep));
  const values = fetched.flatMap(({ value }) => (value ? [value] : []));
  const result = variant.op.vector?.(o, ...values);
  if (result !== undefined) store(m, fetched[0], result);
  if (variant.mmx) code.store(OP.i32_store8, i32(0), i32(0xff), FTW);
  return { operands: values, result: undefined };
}

function askWhatIsInTheWay(o: VectorCode, { sse, mmx }: VectorVariant): void {
  let wrong = binary(OP.i32_and, I32, state32(STATE.CR0), i32(CR0.EM | CR0.TS));
  const also = (e: E): void => {
    wrong = binary(OP.i32_or, I32, wrong, e);
  };
  if (sse) {
    const fxsr = binary(OP.i32_and, I32, state32(STATE.CR4), i32(CR4.OSFXSR));
    also(binary(OP.i32_xor, I32, fxsr, i32(CR4.OSFXSR)));
  }
  if (mmx) also(binary(OP.i32_and, I32, load(OP.i32_load16_u, I32, i32(0), FSW), i32(NOT_MMX)));
  o.askIf(wrong);
}

type Fetched = { operand: VectorOperand; value: E | undefined; at: E | undefined };

function fetch(
  m: WasmMeaning,
  o: VectorCode,
  variant: VectorVariant,
  operand: VectorOperand,
  keep: (e: E) => E,
): Fetched {
  const { bytes, reads, place } = operand;
  if (place === 'immediate') return { operand, value: o.let(m.immediate(8)), at: undefined };
  if (place !== 'memory') {
    const at = field16(operand.field === 'A' ? REC.A : REC.B);
    return { operand, value: reads ? keep(valueAt(at, operand)) : undefined, at };
  }
  if (!m.inline) noteCurrent(m.code);
  const address = m.let(m.linearAddress());
  let at: E;
  if (bytes < 16) at = m.translate(address, bytes, operand.writes ? SLOW.STORE : SLOW.READ, true);
  else {
    if (variant.aligned) o.askIf(binary(OP.i32_and, I32, wrap(address), i32(15)));
    at = translateWhole(m, address, operand.writes);
  }
  return { operand, value: reads ? keep(valueAt(at, operand)) : undefined, at };
}

/** 16 bytes: the core's functions have the size that a record's kind cannot name. */
function translateWhole(m: WasmMeaning, address: E, writes: boolean): E {
  const { code, fn } = m;
  if (m.inline) return m.translate(address, 16, writes ? SLOW.STORE : SLOW.READ);
  const host = code.local(I32);
  const kind = binary(OP.i32_or, I32, i32(writes ? SLOW.STORE : SLOW.READ), field8(REC.SEGMENT));
  const c = [...address.c, ...kind.c];
  code.op(...c, OP.call);
  code.u32(writes ? fn.translateWrite16 : fn.translateRead16);
  code.op(OP.local_set);
  code.u32(host);
  code.if(binary(OP.i32_eq, I32, get(I32, host), i32(-1)), () => code.return(i32(RETURN.FAULT)));
  return get(I32, host);
}

function valueAt(at: E, { bytes, isVector }: VectorOperand): E {
  if (bytes === 16) return loadVector(at);
  if (isVector) return loadVector(at, bytes as 4 | 8);
  if (bytes === 8) return load(OP.i64_load, I64, at);
  return load(bytes === 4 ? OP.i32_load : bytes === 2 ? OP.i32_load16_u : OP.i32_load8_u, I32, at);
}

function store(m: WasmMeaning, { operand, at }: Fetched, value: E): void {
  const { code } = m;
  const { place, bytes } = operand;
  if (at === undefined) throw new Error('broken belief: what is written has a place');
  if (place === 'general') {
    m.writeAt(at, bytes === 8 ? 64 : 32, value);
    return;
  }
  const stored = (to: E): void => {
    if (value.t === V128) {
      if (bytes === 16) storeVector(code, to, value);
      else storeLane(code, to, bytes as 4 | 8, value);
    } else if (bytes === 8) code.store(OP.i64_store, to, extend(value));
    else code.store(OP.i32_store, to, wrap(value));
  };
  stored(at);
  if (place === 'mmx') code.store(OP.i32_store16, at, i32(0xffff), 8);
  if (place !== 'memory' || m.inline) return;
  code.if(binary(OP.i32_eq, I32, at, i32(BOUNCE)), () => {
    code.op(OP.call);
    code.u32(m.fn.commit);
  });
}
