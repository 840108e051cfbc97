/** The reference: a meaning evaluated over bigint, one instruction at a time.
 *
 * The slowest and plainest way to run a row. Tests hold generated code against it; and the engine uses it for what is
 * too rare to have code of its own: stacks and strings in segments that are not flat, 16-bit addresses, 16-bit jumps.
 * Effects are collected first and committed together, so a fault leaves nothing behind.
 * May not: be fast.   Next: engine/vector-variants.ts. */
import { RFLAGS, VECTOR } from '../x86/constants.ts';
import type { Effects, FlagName, Outcome, Width } from '../x86/isa/algebra.ts';
import { BIT_STRING } from '../x86/isa/bits.ts';
import type { Control } from '../x86/isa/types.ts';
import type { HelperRecord } from './blocks.ts';
import { ACCESS, type CpuCore, GuestFault } from './core.ts';
import { RIP_BASE } from './decoder.ts';
import { SEG } from './state.ts';
import { describe, isNop, type Variant } from './variants.ts';
import { evaluateVector } from './vector-reference.ts';

type V = bigint;
const RCX = 1;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;
const FLAG: Record<FlagName, number> = {
  cf: RFLAGS.CF,
  pf: RFLAGS.PF,
  af: RFLAGS.AF,
  zf: RFLAGS.ZF,
  sf: RFLAGS.SF,
  of: RFLAGS.OF,
};
type Bytes = 1 | 2 | 4 | 8;

class Evaluation implements Effects<V>, Control<V> {
  readonly width: Width;
  readonly core: CpuCore;
  readonly insn: HelperRecord;
  readonly rip: bigint;
  readonly next: bigint;
  /** What will be committed, in order. */
  readonly commits: (() => void)[] = [];
  private readonly registers: bigint[];
  flags: number;
  target: bigint | undefined;
  private readonly is64: boolean;

  constructor(core: CpuCore, insn: HelperRecord, rip: bigint, width: Width) {
    this.core = core;
    this.insn = insn;
    this.rip = rip;
    this.width = width;
    this.is64 = core.state.is64;
    this.next = this.cutRip(rip + BigInt(insn.length));
    this.registers = Array.from({ length: 16 }, (_, n) => core.state.gpr(n));
    this.flags = core.state.rflags;
  }

  private cutRip(value: bigint): bigint {
    return BigInt.asUintN(this.is64 ? 64 : 32, value);
  }
  private cut(x: V): V {
    return BigInt.asUintN(this.width, x);
  }
  private signed(x: V): V {
    return BigInt.asIntN(this.width, x);
  }
  number = (value: number | bigint): V => this.cut(BigInt(value));
  add = (x: V, y: V): V => this.cut(x + y);
  sub = (x: V, y: V): V => this.cut(x - y);
  mul = (x: V, y: V): V => this.cut(x * y);
  mulHigh(x: V, y: V, signed: boolean): V {
    const product = signed ? this.signed(x) * this.signed(y) : x * y;
    return this.cut(product >> BigInt(this.width));
  }
  divide(hi: V, lo: V, d: V, signed: boolean): { quotient: V; remainder: V; overflow: V } {
    const both = (hi << BigInt(this.width)) | lo;
    const numerator = signed ? BigInt.asIntN(2 * this.width, both) : both;
    const divisor = signed ? this.signed(d) : d;
    if (divisor === 0n) return { quotient: 0n, remainder: 0n, overflow: 1n };
    const quotient = numerator / divisor;
    const fits = signed ? this.signed(quotient) === quotient : this.cut(quotient) === quotient;
    return { quotient: this.cut(quotient), remainder: this.cut(numerator % divisor), overflow: fits ? 0n : 1n };
  }
  and = (x: V, y: V): V => x & y;
  or = (x: V, y: V): V => x | y;
  xor = (x: V, y: V): V => x ^ y;
  not = (x: V): V => this.cut(~x);
  shl = (x: V, n: V): V => this.cut(x << n);
  shr = (x: V, n: V): V => x >> n;
  sar = (x: V, n: V): V => this.cut(this.signed(x) >> n);
  rem = (x: V, n: number): V => x % BigInt(n);
  clz(x: V): V {
    return BigInt(this.width - (x === 0n ? 0 : x.toString(2).length));
  }
  ctz(x: V): V {
    let n = 0;
    while (n < this.width && ((x >> BigInt(n)) & 1n) === 0n) n++;
    return BigInt(n);
  }
  popcnt(x: V): V {
    return BigInt(x.toString(2).replaceAll('0', '').length);
  }
  byteSwap(x: V): V {
    let r = 0n;
    for (let i = 0; i < this.width; i += 8) r = (r << 8n) | ((x >> BigInt(i)) & 0xffn);
    return r;
  }
  signExtend = (x: V, from: 8 | 16 | 32): V => this.cut(BigInt.asIntN(from, x));
  eq = (x: V, y: V): V => (x === y ? 1n : 0n);
  ltu = (x: V, y: V): V => (x < y ? 1n : 0n);
  lts = (x: V, y: V): V => (this.signed(x) < this.signed(y) ? 1n : 0n);
  isZero = (x: V): V => (x === 0n ? 1n : 0n);
  sign = (x: V): V => (x >> BigInt(this.width - 1)) & 1n;
  low = (x: V): V => x & 1n;
  bit = (value: 0 | 1): V => BigInt(value);
  bAnd = (a: V, b: V): V => a & b;
  bOr = (a: V, b: V): V => a | b;
  bXor = (a: V, b: V): V => a ^ b;
  bNot = (a: V): V => a ^ 1n;
  bLet = (a: V): V => a;
  flagBit = (compute: () => V): V => compute();
  fromBit = (b: V): V => b;
  select = (condition: V, x: V, y: V): V => (condition ? x : y);
  bSelect = (condition: V, x: V, y: V): V => (condition ? x : y);
  let = (x: V): V => x;
  flag = (name: FlagName): V => (this.flags & FLAG[name] ? 1n : 0n);

  register(number: number, width: Width): V {
    return BigInt.asUintN(width, this.registers[number]);
  }
  setRegister(number: number, width: Width, value: V): void {
    const old = this.registers[number];
    const kept = width < 32 ? old & ~((1n << BigInt(width)) - 1n) : 0n;
    this.registers[number] = kept | BigInt.asUintN(width, value);
  }
  /** Byte registers by their encoding; `rex` makes 4-7 the low bytes of rSP to rDI. */
  byteRegister(number: number, rex: boolean): V {
    if (rex || number < 4) return this.register(number, 8);
    return (this.registers[number - 4] >> 8n) & 0xffn;
  }
  setByteRegister(number: number, rex: boolean, value: V): void {
    if (rex || number < 4) this.setRegister(number, 8, value);
    else this.registers[number - 4] = (this.registers[number - 4] & ~0xff00n) | ((value & 0xffn) << 8n);
  }
  reg = (number: number): V => this.register(number, this.width);
  setReg = (number: number, value: V): void => this.setRegister(number, this.width, value);
  reg8 = (number: number): V => this.byteRegister(number, false);
  setReg8 = (number: number, value: V): void => this.setByteRegister(number, false, value);
  when(condition: V, then: () => void, otherwise?: () => void): void {
    if (condition) then();
    else otherwise?.();
  }
  raise(vector: number): void {
    throw new GuestFault(vector);
  }
  setFlags(flags: Partial<Record<FlagName, V>>): void {
    for (const [name, value] of Object.entries(flags) as [FlagName, V][]) {
      this.flags = value ? this.flags | FLAG[name] : this.flags & ~FLAG[name];
    }
  }

  readMemory(segment: number, offset: V, bytes: number): V {
    return this.core.readSegment(segment, offset, bytes as Bytes);
  }
  /** Checks now, stores later. */
  writeMemory(segment: number, offset: V, bytes: number, value: V): void {
    const address = this.core.linear(segment, offset, bytes, true);
    this.core.probeLinear(address, bytes, ACCESS.WRITE);
    this.commits.push(() => this.core.writeLinear(address, bytes as Bytes, value));
  }
  offset(): V {
    const { base, index, scale, displacement, addressBits } = this.insn;
    if (this.insn.form?.operands.includes('O')) return BigInt.asUintN(addressBits, this.insn.immediate);
    const b = base === RIP_BASE ? this.next : base >= 0 ? this.registers[base] : 0n;
    const i = index >= 0 ? this.registers[index] << BigInt(scale) : 0n;
    return BigInt.asUintN(addressBits, b + i + BigInt(displacement));
  }
  effectiveAddress = (): V => this.cut(this.offset());

  nextRip = (): V => this.cut(this.next);
  jump(target: V): void {
    this.target = target;
  }
  branch(condition: V): void {
    const to = this.next + (condition ? this.insn.immediate : 0n);
    // A 16-bit operand size cuts even the address of a branch that is taken (SDM Vol. 2, Jcc and JMP).
    const bits = this.is64 ? 64 : condition ? this.insn.operandBits : 32;
    this.target = BigInt.asUintN(bits, to);
    if (condition) this.checkTarget(this.target);
  }
  private get stackBits(): Width {
    return this.is64 ? 64 : this.core.state.attributes(SEG.SS) & 0x4000 ? 32 : 16;
  }
  push(value: V): void {
    const bytes = this.width / 8;
    const to = BigInt.asUintN(this.stackBits, this.registers[RSP] - BigInt(bytes));
    this.writeMemory(SEG.SS, to, bytes, value);
    this.setRegister(RSP, this.stackBits, to);
  }
  pop(): V {
    const bytes = this.width / 8;
    const from = this.register(RSP, this.stackBits);
    const value = this.readMemory(SEG.SS, from, bytes);
    this.setRegister(RSP, this.stackBits, from + BigInt(bytes));
    return value;
  }
  stackTop(): V {
    return this.readMemory(SEG.SS, this.register(RSP, this.stackBits), this.width / 8);
  }
  checkTarget(target: V): void {
    const beyond = this.is64
      ? BigInt.asUintN(64, BigInt.asIntN(48, target)) !== target
      : target > BigInt(this.core.state.limit(SEG.CS));
    if (beyond) throw new GuestFault(VECTOR.GP, 0);
  }
  adjustStack(bytes: V): void {
    this.setRegister(RSP, this.stackBits, this.register(RSP, this.stackBits) + bytes);
  }
  leave(): void {
    const from = this.register(RBP, this.stackBits);
    const value = this.readMemory(SEG.SS, from, this.width / 8);
    this.setRegister(RSP, this.stackBits, from + BigInt(this.width / 8));
    this.setReg(RBP, value);
  }
  private get addressWidth(): Width {
    return this.insn.addressBits;
  }
  decrementCount(): void {
    this.setRegister(RCX, this.addressWidth, this.register(RCX, this.addressWidth) - 1n);
  }
  countIsZero = (): V => (this.register(RCX, this.addressWidth) === 0n ? 1n : 0n);
  source(): V {
    return this.readMemory(this.insn.segment, this.register(RSI, this.addressWidth), this.width / 8);
  }
  destination(): V {
    return this.readMemory(SEG.ES, this.register(RDI, this.addressWidth), this.width / 8);
  }
  store(value: V): void {
    this.writeMemory(SEG.ES, this.register(RDI, this.addressWidth), this.width / 8, value);
  }
  private advance(register: number): void {
    const step = BigInt(this.flags & RFLAGS.DF ? -this.width / 8 : this.width / 8);
    this.setRegister(register, this.addressWidth, this.register(register, this.addressWidth) + step);
  }
  advanceSource = (): void => this.advance(RSI);
  advanceDestination = (): void => this.advance(RDI);

  commit(): void {
    for (const commit of this.commits) commit();
    const { state } = this.core;
    for (let n = 0; n < 16; n++) state.setGpr(n, this.registers[n]);
    state.rflags = this.flags;
  }
}

const evenParity = (x: bigint): bigint => {
  let ones = 0n;
  for (let b = x & 0xffn; b !== 0n; b >>= 1n) ones ^= b & 1n;
  return ones ^ 1n;
};

/** Executes one instruction, or one iteration of a repeated one. Returns true when it set state.rip itself (branches, and
 * a repetition that is not over). */
export function evaluate(core: CpuCore, insn: HelperRecord): boolean {
  const { form } = insn;
  const meaning = form?.op.meaning;
  if (form?.op.vector !== undefined) {
    evaluateVector(core, insn);
    return false;
  }
  if (form === undefined || meaning === undefined) throw new GuestFault(VECTOR.UD);
  if (isNop(form, insn.opcode, insn.rex)) return false;
  const { op } = form;
  const variant = describe({
    form,
    size: insn.operandBits,
    isMemory: insn.isMemory,
    rep: insn.rep,
    addressSize: insn.addressBits === 64 ? 64 : 32,
    stack: 64,
    certain: false,
  });
  const rip = core.state.rip;
  const e = new Evaluation(core, insn, rip, variant.width);
  if (variant.rep !== 0 && e.countIsZero()) return false;

  const places = variant.operands.map((operand) => {
    const { kind, width, code, access } = operand;
    if (access === '-') return { read: 0n, write: undefined };
    if (kind === 'I') return { read: BigInt.asUintN(width, code === '1' ? 1n : insn.immediate), write: undefined };
    if (kind === 'M') {
      const moved = op.name === 'pop' && insn.base === RSP ? BigInt(width / 8) : 0n;
      const at = BigInt.asUintN(insn.addressBits, e.offset() + moved + bitStringStep(e, variant));
      const bytes = width / 8;
      if (/w/.test(access)) core.probeLinear(core.linear(insn.segment, at, bytes, true), bytes, ACCESS.WRITE);
      const read = /r/.test(access) ? e.readMemory(insn.segment, at, bytes) : 0n;
      return { read, write: (v: bigint) => e.writeMemory(insn.segment, at, bytes, BigInt.asUintN(width, v)) };
    }
    const number =
      code === 'AL' || code === 'rAX'
        ? 0
        : code === 'CL'
          ? 1
          : code[0] === 'G'
            ? insn.reg
            : code[0] === 'Z'
              ? (insn.opcode & 7) | ((insn.rex & 1) << 3)
              : insn.rm;
    const rex = insn.rex !== 0 || code === 'AL' || code === 'CL';
    return width === 8
      ? { read: e.byteRegister(number, rex), write: (v: bigint) => e.setByteRegister(number, rex, v) }
      : { read: e.register(number, width), write: (v: bigint) => e.setRegister(number, width, v) };
  });
  const outcome = (meaning(e, ...places.map((p) => BigInt.asUintN(variant.width, p.read))) ?? {}) as Outcome<bigint>;
  if (outcome.accumulator?.when) {
    if (variant.width === 8) e.setReg8(0, outcome.accumulator.value);
    else e.setReg(0, outcome.accumulator.value);
  }
  if (outcome.second !== undefined) places[1].write?.(outcome.second);
  const writesFirst = op.access?.[0] !== undefined && /w/.test(op.access[0]);
  // Not writing at all keeps the upper half of a 32-bit register; memory is written in any case.
  const isKept = outcome.resultWhen === 0n && variant.operands[0].kind === 'R';
  if (outcome.result !== undefined && writesFirst && !isKept) places[0].write?.(outcome.result);
  applyFlags(e, op.writes ?? '', outcome);

  let again = false;
  if (variant.rep !== 0) {
    e.decrementCount();
    const zf = e.flag('zf') === 1n;
    const stops = op.string?.repeats === 'repe' && (variant.rep === 3 ? !zf : zf);
    again = !e.countIsZero() && !stops;
  }
  e.commit();
  if (again) {
    core.state.rip = rip;
    return true;
  }
  if (e.target !== undefined) {
    core.state.rip = e.target;
    return true;
  }
  return false;
}

/** How many bytes a register's bit offset moves a bit string's address (SDM Vol. 2, BT). */
function bitStringStep(e: Evaluation, { op, operands, width }: Variant): bigint {
  if (!BIT_STRING.includes(op) || operands[1].kind !== 'R') return 0n;
  return (BigInt.asIntN(width, e.register(e.insn.reg, width)) >> 3n) & BigInt(-width / 8);
}

function applyFlags(e: Evaluation, writes: string, outcome: Outcome<bigint>): void {
  if (outcome.flagsWhen === 0n) return;
  const flags: Partial<Record<FlagName, bigint>> = {};
  if (writes.includes('C') && outcome.cf !== undefined) flags.cf = outcome.cf;
  if (writes.includes('O') && outcome.of !== undefined) flags.of = outcome.of;
  if (writes.includes('A') && outcome.af !== undefined) flags.af = outcome.af;
  const r = outcome.flagResult ?? outcome.result;
  if (r !== undefined && outcome.zf === undefined && /Z/.test(writes)) {
    flags.zf = e.isZero(r);
    if (writes.includes('S')) flags.sf = e.sign(r);
    if (writes.includes('P')) flags.pf = evenParity(r);
  }
  if (writes.includes('Z') && outcome.zf !== undefined) flags.zf = outcome.zf;
  e.setFlags(flags);
}
