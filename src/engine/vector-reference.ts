/** The reference on MMX and XMM registers: the vector algebra over bigint.
 *
 * A vector is one bigint; lanes are cut out of it and put together again. What the generated code hands over (faults,
 * unusual MXCSR, NaNs, denormals) ends here, so this is also the exact path of floating point.
 * Follows: SDM Vol. 1, 9.5 (MMX and the x87 registers), 11.5 (exceptions); Vol. 2, section 2.7 (exception classes).
 * May not: be fast.   Next: engine/system/mask-moves.ts. */
import { CR0, CR4, RFLAGS, VECTOR } from '../x86/constants.ts';
import type { Form } from '../x86/isa/types.ts';
import type { Conversion, FloatOperation, FloatShape, Lane, LaneOperation, VectorAlgebra } from '../x86/isa/vector.ts';
import type { HelperRecord } from './blocks.ts';
import { ACCESS, type CpuCore, GuestFault, Unbuilt } from './core.ts';
import type { CpuState } from './cpu-state.ts';
import { RIP_BASE } from './decoder.ts';
import { SseUnit } from './sse-unit.ts';
import { STATE } from './state.ts';
import { rotate, topOf } from './system/x87-state.ts';
import { describeVector, type VectorOperand, type VectorVariant } from './vector-variants.ts';

type V = bigint;

/** Offsets in the FXSAVE image. */
const FSW = STATE.FXSAVE + 2;
const FTW = STATE.FXSAVE + 4;
const MXCSR = STATE.FXSAVE + 24;
const ST = STATE.FXSAVE + 32;
const XMM = STATE.FXSAVE + 160;
const FSW_ES = 0x80;
const FSW_TOP = 0x3800;

const mask = (bits: number): bigint => (1n << BigInt(bits)) - 1n;
const cut = (x: bigint, bits: number): bigint => BigInt.asUintN(bits, x);

function split(x: V, lane: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => cut(x >> BigInt(i * lane), lane));
}
function join(lanes: readonly bigint[], lane: number): V {
  return lanes.reduce((sum, value, i) => sum | (cut(value, lane) << BigInt(i * lane)), 0n);
}

const smaller = (x: bigint, y: bigint): bigint => (x < y ? x : y);
const greater = (x: bigint, y: bigint): bigint => (x > y ? x : y);
const saturate = (x: bigint, lane: number, signed: boolean): bigint => {
  const low = signed ? -(1n << BigInt(lane - 1)) : 0n;
  const high = signed ? mask(lane - 1) : mask(lane);
  return smaller(greater(x, low), high);
};

/** On unsigned lanes; `s` makes a number of a lane's bits. */
type LaneFunction = (x: bigint, y: bigint, lane: number, s: (x: bigint) => bigint) => bigint;
const LANES: Record<LaneOperation, LaneFunction> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  addSigned: (x, y, lane, s) => saturate(s(x) + s(y), lane, true),
  addUnsigned: (x, y, lane) => saturate(x + y, lane, false),
  subSigned: (x, y, lane, s) => saturate(s(x) - s(y), lane, true),
  subUnsigned: (x, y, lane) => saturate(x - y, lane, false),
  mulLow: (x, y) => x * y,
  mulHighSigned: (x, y, lane, s) => (s(x) * s(y)) >> BigInt(lane),
  mulHighUnsigned: (x, y, lane) => (x * y) >> BigInt(lane),
  average: (x, y) => (x + y + 1n) >> 1n,
  minSigned: (x, y, _, s) => smaller(s(x), s(y)),
  minUnsigned: (x, y) => smaller(x, y),
  maxSigned: (x, y, _, s) => greater(s(x), s(y)),
  maxUnsigned: (x, y) => greater(x, y),
  equal: (x, y) => (x === y ? -1n : 0n),
  greater: (x, y, _, s) => (s(x) > s(y) ? -1n : 0n),
};

class VectorEvaluation implements VectorAlgebra<V> {
  readonly bits: 64 | 128;
  readonly scalar: 32 | 64;
  readonly unit: SseUnit;
  /** ZF, PF and CF of a comparison. */
  flags: number | undefined;

  /** MXCSR's new value. */
  newControl: number | undefined;
  private readonly mxcsr: number;

  constructor(variant: VectorVariant, mxcsr: number) {
    this.mxcsr = mxcsr;
    this.bits = variant.bits;
    this.scalar = variant.scalar;
    this.unit = new SseUnit(mxcsr);
  }

  control = (): V => BigInt(this.mxcsr);
  setControl(value: V): void {
    if (value > 0xffffn) throw new GuestFault(VECTOR.GP, 0);
    this.newControl = Number(value);
  }

  private each(lane: number, x: V, y: V, f: (a: bigint, b: bigint) => bigint): V {
    const count = this.bits / lane;
    const other = split(y, lane, count);
    return join(
      split(x, lane, count).map((a, i) => f(a, other[i])),
      lane,
    );
  }

  vector = (scalar: V): V => scalar;
  extract = (lane: 32 | 64, x: V, index: number): V => cut(x >> BigInt(lane * index), lane);
  insert(lane: 64, x: V, index: number, scalar: V): V {
    const at = BigInt(lane * index);
    return (x & ~(mask(lane) << at)) | (cut(scalar, lane) << at);
  }
  private wordAt = (index: V): bigint => 16n * (index & BigInt(this.bits / 16 - 1));
  extractWord = (x: V, index: V): V => (x >> this.wordAt(index)) & 0xffffn;
  insertWord(x: V, index: V, scalar: V): V {
    const at = this.wordAt(index);
    return (x & ~(0xffffn << at)) | ((scalar & 0xffffn) << at);
  }
  and = (x: V, y: V): V => x & y;
  or = (x: V, y: V): V => x | y;
  xor = (x: V, y: V): V => x ^ y;
  andNot = (x: V, y: V): V => ~x & y;
  lanes(operation: LaneOperation, lane: Lane, x: V, y: V): V {
    const f = LANES[operation];
    const s = (value: bigint): bigint => BigInt.asIntN(lane, value);
    return this.each(lane, x, y, (a, b) => f(a, b, lane, s));
  }
  count = (immediate: V): V => immediate & 0xffn;
  shift(kind: 'left' | 'right' | 'arithmetic', lane: 16 | 32 | 64, x: V, count: V): V {
    const n = count < BigInt(lane) ? count : BigInt(lane);
    return this.each(lane, x, 0n, (a) =>
      kind === 'left' ? a << n : kind === 'right' ? a >> n : BigInt.asIntN(lane, a) >> n,
    );
  }
  shiftBytes(direction: 'left' | 'right', x: V, count: V): V {
    const n = 8n * smaller(count & 0xffn, 16n);
    return direction === 'left' ? cut(x << n, this.bits) : x >> n;
  }
  interleave(half: 'low' | 'high', lane: Lane, x: V, y: V): V {
    const count = this.bits / lane;
    const from = half === 'low' ? 0 : count / 2;
    const [a, b] = [split(x, lane, count), split(y, lane, count)];
    const result: bigint[] = [];
    for (let i = 0; i < count / 2; i++) result.push(a[from + i], b[from + i]);
    return join(result, lane);
  }
  pack(lane: 16 | 32, signed: boolean, x: V, y: V): V {
    const count = this.bits / lane;
    const all = [...split(x, lane, count), ...split(y, lane, count)];
    return join(
      all.map((value) => saturate(BigInt.asIntN(lane, value), lane / 2, signed)),
      lane / 2,
    );
  }
  multiplyAdd(x: V, y: V): V {
    const s = (value: bigint): bigint => BigInt.asIntN(16, value);
    return this.each(32, x, y, (a, b) => s(a) * s(b) + s(a >> 16n) * s(b >> 16n));
  }
  multiplyEven = (x: V, y: V): V => this.each(64, x, y, (a, b) => cut(a, 32) * cut(b, 32));
  sumOfDifferences(x: V, y: V): V {
    return this.each(64, x, y, (a, b) => {
      const other = split(b, 8, 8);
      return split(a, 8, 8).reduce((sum, value, i) => sum + greater(value - other[i], other[i] - value), 0n);
    });
  }
  permute(lane: 16 | 32 | 64, bits: 1 | 2, sources: readonly V[], first: number, control: V): V {
    return join(
      sources.map((source, i) => {
        const index = BigInt(first) + cut(control >> BigInt(i * bits), bits);
        return cut(source >> (index * BigInt(lane)), lane);
      }),
      lane,
    );
  }
  signs(lane: 8 | 32 | 64, x: V): V {
    return join(
      split(x, lane, this.bits / lane).map((value) => value >> BigInt(lane - 1)),
      1,
    );
  }

  /** Lane by lane where the shape is packed. */
  private floats(shape: FloatShape, x: V, y: V, f: (size: 32 | 64, a: bigint, b: bigint) => bigint): V {
    const size = shape === 'ps' || shape === 'ss' ? 32 : 64;
    if (shape === 'ss' || shape === 'sd') return f(size, x, y);
    return this.each(size, x, y, (a, b) => f(size, a, b));
  }
  float(operation: FloatOperation, shape: FloatShape, x: V, y: V): V {
    return this.floats(shape, x, y, (size, a, b) => this.unit.operate(operation, size, a, b));
  }
  root = (shape: FloatShape, x: V): V => this.floats(shape, x, 0n, (size, a) => this.unit.root(size, a));
  reciprocal = (shape: 'ps' | 'ss', x: V): V => this.floats(shape, x, 0n, (_, a) => this.unit.reciprocal(a));
  reciprocalRoot = (shape: 'ps' | 'ss', x: V): V => this.floats(shape, x, 0n, (_, a) => this.unit.reciprocalRoot(a));
  compare(shape: FloatShape, x: V, y: V, predicate: V): V {
    return this.floats(shape, x, y, (size, a, b) =>
      this.unit.compare(size, a, b, Number(predicate & 7n)) ? mask(size) : 0n,
    );
  }
  order(shape: 'ss' | 'sd', x: V, y: V, signals: boolean): void {
    const relation = this.unit.order(shape === 'ss' ? 32 : 64, x, y, signals);
    const { ZF, PF, CF } = RFLAGS;
    this.flags = { less: CF, equal: ZF, greater: 0, unordered: ZF | PF | CF }[relation];
  }
  convert(conversion: Conversion, x: V, truncate = false): V {
    const { unit, scalar } = this;
    switch (conversion) {
      case 'ss→sd':
        return unit.widen(x);
      case 'sd→ss':
        return unit.narrow(x);
      case 'ps→pd':
        return join(split(x, 32, 2).map(unit.widen), 64);
      case 'pd→ps':
        return join(split(x, 64, 2).map(unit.narrow), 32);
      case 'si→ss':
      case 'si→sd':
        return unit.fromInteger(conversion === 'si→ss' ? 32 : 64, BigInt.asIntN(scalar, x));
      case 'ss→si':
      case 'sd→si':
        return unit.toInteger(conversion === 'ss→si' ? 32 : 64, x, scalar, truncate);
      case 'dq→ps':
        return join(
          split(x, 32, 4).map((value) => unit.fromInteger(32, BigInt.asIntN(32, value))),
          32,
        );
      case 'dq→pd':
        return join(
          split(x, 32, 2).map((value) => unit.fromInteger(64, BigInt.asIntN(32, value))),
          64,
        );
      case 'ps→dq':
        return join(
          split(x, 32, 4).map((value) => unit.toInteger(32, value, 32, truncate)),
          32,
        );
      default:
        return join(
          split(x, 64, 2).map((value) => unit.toInteger(64, value, 32, truncate)),
          32,
        );
    }
  }
}

/** What every such instruction asks before it looks at its operands. */
export function checkVector(core: CpuCore, { sse, mmx }: Pick<VectorVariant, 'sse' | 'mmx'>): void {
  const { view } = core.state;
  const cr0 = view.getInt32(STATE.CR0, true);
  if ((cr0 & CR0.EM) !== 0) throw new GuestFault(VECTOR.UD);
  if (sse && (view.getInt32(STATE.CR4, true) & CR4.OSFXSR) === 0) throw new GuestFault(VECTOR.UD);
  if ((cr0 & CR0.TS) !== 0) throw new GuestFault(VECTOR.NM);
  if (!mmx || (view.getUint16(FSW, true) & FSW_ES) === 0) return;
  if ((cr0 & CR0.NE) === 0) throw new Unbuilt('x87 errors reported by IRQ 13 (CR0.NE clear)', 'engine');
  throw new GuestFault(VECTOR.MF);
}

/** The first MMX instruction behind x87 ones: TOP becomes 0, and every register counts as in use. Registers keep their
 * place in the file. */
export function enterMmx(state: CpuState): void {
  rotate(state, topOf(state), 0);
  state.view.setUint16(FSW, state.view.getUint16(FSW, true) & ~FSW_TOP, true);
  state.view.setUint8(FTW, 0xff);
}

export function readMmx(state: CpuState, number: number): bigint {
  return state.view.getBigUint64(ST + 16 * ((number - topOf(state)) & 7), true);
}
export function readXmm(state: CpuState, number: number): bigint {
  const { view } = state;
  return view.getBigUint64(XMM + 16 * number, true) | (view.getBigUint64(XMM + 16 * number + 8, true) << 64n);
}

const checksAlignment = ({ view, cpl, rflags }: CpuState): boolean =>
  cpl === 3 && (rflags & RFLAGS.AC) !== 0 && (view.getInt32(STATE.CR0, true) & CR0.AM) !== 0;

/** By form, operand size and kind: the exact path is frequent where rounding is not to nearest. */
const variants = new Map<Form, VectorVariant[]>();

function variantOf(form: Form, { operandBits, isMemory }: HelperRecord): VectorVariant {
  let known = variants.get(form);
  if (known === undefined) {
    known = [];
    variants.set(form, known);
  }
  const index = (operandBits === 64 ? 2 : 0) + (isMemory ? 1 : 0);
  known[index] ??= describeVector(form, operandBits, isMemory);
  return known[index];
}

/** Executes one instruction whose row has a vector meaning. */
export function evaluateVector(core: CpuCore, insn: HelperRecord): void {
  const { form } = insn;
  const meaning = form?.op.vector;
  if (form === undefined || meaning === undefined) throw new GuestFault(VECTOR.UD);
  const { state } = core;
  const variant = variantOf(form, insn);
  checkVector(core, variant);
  const address = variant.operands.some((o) => o.place === 'memory') ? memoryAddress(core, insn, variant) : 0n;
  const mxcsr = state.view.getInt32(MXCSR, true);
  const e = new VectorEvaluation(variant, mxcsr);
  const values = variant.operands.filter((o) => o.reads).map((o) => read(core, insn, o, address));
  const result = meaning(e, ...values);
  // Even an instruction that raises #XM has made the x87 registers MMX ones (so it is on an AMD EPYC).
  if (variant.mmx) enterMmx(state);
  finishFloats(core, e.unit, mxcsr);
  if (e.newControl !== undefined) state.view.setInt32(MXCSR, e.newControl, true);
  if (e.flags !== undefined) {
    const { CF, PF, AF, ZF, SF, OF } = RFLAGS;
    state.rflags = (state.rflags & ~(CF | PF | AF | ZF | SF | OF)) | e.flags;
  }
  const [first] = variant.operands;
  if (result !== undefined && first.place === 'memory') writeBytes(core, address, first.bytes, result);
  if (result !== undefined && first.place !== 'memory') write(state, insn, first, result);
}

/** The flags that the operation raised; an unmasked one of them is an exception, and nothing else changes. */
function finishFloats(core: CpuCore, unit: SseUnit, mxcsr: number): void {
  const flags = unit.finish();
  core.state.view.setInt32(MXCSR, mxcsr | flags.raised, true);
  if (!flags.unmasked) return;
  const reported = (core.state.view.getInt32(STATE.CR4, true) & CR4.OSXMMEXCPT) !== 0;
  throw new GuestFault(reported ? VECTOR.XM : VECTOR.UD);
}

const numberOf = (insn: HelperRecord, operand: VectorOperand): number =>
  operand.place === 'mmx' ? insn[operand.number] & 7 : insn[operand.number];

function read(core: CpuCore, insn: HelperRecord, operand: VectorOperand, address: bigint): V {
  const { bytes } = operand;
  const number = numberOf(insn, operand);
  switch (operand.place) {
    case 'immediate':
      return insn.immediate & 0xffn;
    case 'memory':
      return readBytes(core, address, bytes);
    case 'mmx':
      return readMmx(core.state, number);
    case 'xmm':
      return cut(readXmm(core.state, number), bytes * 8);
    default:
      return cut(core.state.gpr(number), bytes * 8);
  }
}

function write(state: CpuState, insn: HelperRecord, operand: VectorOperand, value: V): void {
  const number = numberOf(insn, operand);
  const { view } = state;
  if (operand.place === 'mmx') {
    view.setBigUint64(ST + 16 * number, cut(value, 64), true);
    view.setUint16(ST + 16 * number + 8, 0xffff, true);
  } else if (operand.place === 'general') {
    state.setGpr(number, value, operand.bytes as 4 | 8);
  } else if (operand.bytes === 4) {
    view.setUint32(XMM + 16 * number, Number(cut(value, 32)), true);
  } else {
    view.setBigUint64(XMM + 16 * number, cut(value, 64), true);
    if (operand.bytes === 16) view.setBigUint64(XMM + 16 * number + 8, cut(value >> 64n, 64), true);
  }
}

/** Linear address of the memory operand, checked as a whole, so that a later access cannot fault. */
function memoryAddress(core: CpuCore, insn: HelperRecord, { operands, aligned }: VectorVariant): bigint {
  const operand = operands.find((o) => o.place === 'memory') as VectorOperand;
  const { bytes, writes } = operand;
  const address = core.linear(insn.segment, operandOffset(core.state, insn), bytes, writes);
  const misaligned = (address & BigInt(bytes - 1)) !== 0n;
  if (bytes === 16 && aligned && misaligned) throw new GuestFault(VECTOR.GP, 0);
  if (misaligned && checksAlignment(core.state)) throw new GuestFault(VECTOR.AC, 0);
  core.probeLinear(address, bytes, writes ? ACCESS.WRITE : ACCESS.READ);
  return address;
}

function operandOffset(state: CpuState, insn: HelperRecord): bigint {
  const { base, index, scale, displacement, addressBits } = insn;
  const next = BigInt.asUintN(state.is64 ? 64 : 32, state.rip + BigInt(insn.length));
  const b = base === RIP_BASE ? next : base >= 0 ? state.gpr(base) : 0n;
  const i = index >= 0 ? state.gpr(index) << BigInt(scale) : 0n;
  return cut(b + i + BigInt(displacement), addressBits);
}

function readBytes(core: CpuCore, address: bigint, bytes: number): bigint {
  if (bytes < 16) return core.readLinear(address, bytes as 2 | 4 | 8);
  if ((address & 7n) === 0n) return core.readLinear(address, 8) | (core.readLinear(address + 8n, 8) << 64n);
  let value = 0n;
  for (let i = 0n; i < 16n; i++) value |= core.readLinear(address + i, 1) << (8n * i);
  return value;
}

function writeBytes(core: CpuCore, address: bigint, bytes: number, value: bigint): void {
  if (bytes < 16) {
    core.writeLinear(address, bytes as 2 | 4 | 8, cut(value, bytes * 8));
    return;
  }
  if ((address & 7n) === 0n) {
    core.writeLinear(address, 8, cut(value, 64));
    core.writeLinear(address + 8n, 8, value >> 64n);
    return;
  }
  for (let i = 0n; i < 16n; i++) core.writeLinear(address + i, 1, cut(value >> (8n * i), 8));
}
