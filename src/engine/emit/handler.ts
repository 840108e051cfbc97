/** Handlers: from a variant to its code. Operands, meaning, write-back, flags; strings with their repetition.
 *
 * The order is what makes instructions restartable: registers are read, memory is translated (with write intent where
 * it will be written) and read, the meaning runs, and only then anything is committed.
 * Next: engine/emit/simd-code.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import type { FlagName, Outcome, Width } from '../../x86/isa/algebra.ts';
import { KIND } from '../flags.ts';
import { SLOW } from '../mmu.ts';
import { REC, RETURN } from '../record.ts';
import { STATE, TLB_BYTES } from '../state.ts';
import type { Operand } from '../variants.ts';
import {
  binary,
  type Code,
  type Expression,
  extend,
  field16,
  get,
  i32,
  i64,
  load,
  record,
  select,
  setState32,
  setState64,
  state32,
  state64,
  unary,
  wrap,
} from './code.ts';
import type { WasmMeaning } from './meaning.ts';

const CL = STATE.GPR + 8;
const WRITES: readonly [string, FlagName][] = [
  ['C', 'cf'],
  ['P', 'pf'],
  ['A', 'af'],
  ['Z', 'zf'],
  ['S', 'sf'],
  ['O', 'of'],
];

/** A value of one width as a value of another: cut or zero-extended. */
function convert(value: Expression, from: Width, to: Width): Expression {
  if (to === 64) return extend(value);
  const narrow = wrap(value);
  return to < from && to < 32 ? binary(OP.i32_and, I32, narrow, i32(to === 8 ? 0xff : 0xffff)) : narrow;
}

type Fetched = { value: Expression | undefined; host: Expression | undefined; operand: Operand };

function registerAddress(operand: Operand): Expression {
  return operand.field === 'CL' ? i32(CL) : field16(operand.field === 'A' ? REC.A : REC.B);
}

function fetch(m: WasmMeaning, operand: Operand): Fetched {
  const { kind, width, access } = operand;
  if (access === '-') return { value: undefined, host: undefined, operand };
  if (kind === 'I') return { value: convert(m.let(m.immediate(width)), width, m.width), host: undefined, operand };
  if (kind === 'R') {
    const value =
      access === 'w' ? undefined : m.let(convert(m.readAt(registerAddress(operand), width), width, m.width));
    return { value, host: undefined, operand };
  }
  const address = m.let(m.linearAddress());
  const host = m.translate(address, width / 8, { r: SLOW.READ, w: SLOW.STORE, rw: SLOW.WRITE }[access], true);
  const value = access === 'w' ? undefined : m.let(convert(m.loadHost(host, width), width, m.width));
  return { value, host, operand };
}

function writeBack(m: WasmMeaning, { host, operand }: Fetched, value: Expression): void {
  const result = convert(value, m.width, operand.width);
  if (host) m.storeHost(host, operand.width, result);
  else m.writeAt(registerAddress(operand), operand.width, result);
}

/** The straight-line part of an instruction. Returns what a fused branch wants to know. */
export function emitInstruction(
  m: WasmMeaning,
  flagsLive: boolean,
): { operands: (Expression | undefined)[]; result: Expression | undefined } {
  const { op } = m.variant;
  const fetched = m.variant.operands.map((operand) => fetch(m, operand));
  const none = m.number(0);
  const values = fetched.map((f) => f.value ?? none);
  const outcome = (op.meaning?.(m, ...values) ?? {}) as Outcome<Expression>;
  const result = outcome.result === undefined ? undefined : m.let(outcome.result);
  const flagResult = outcome.flagResult ?? result;
  const flags = flagsLive && op.writes ? prepareFlags(m, outcome, values[0], flagResult) : undefined;
  if (outcome.accumulator) {
    const { when, value } = outcome.accumulator;
    m.when(when, () => (m.width === 8 ? m.setReg8(0, value) : m.setReg(0, value)));
  }
  // The second operand first: with both in one register, the first one's result stays (xadd).
  if (outcome.second !== undefined) writeBack(m, fetched[1], outcome.second);
  if (result !== undefined && fetched[0] && /w/.test(fetched[0].operand.access)) {
    const write = (): void => writeBack(m, fetched[0], result);
    if (outcome.resultWhen && m.width === 32 && !fetched[0].host) m.when(outcome.resultWhen, write);
    else write();
  }
  flags?.();
  return { operands: values, result };
}

/** A result as the lazy flags keep it. */
function signExtended(m: WasmMeaning, value: Expression): Expression {
  if (m.width === 64) return value;
  if (m.width === 32) return unary(OP.i64_extend_s, I64, value);
  return unary(m.width === 16 ? OP.i64_extend16_s : OP.i64_extend8_s, I64, extend(value));
}

/** Computes what the flags need before anything is committed; the returned function stores them. */
function prepareFlags(
  m: WasmMeaning,
  outcome: Outcome<Expression>,
  x: Expression,
  result: Expression | undefined,
): () => void {
  const { op, certain } = m.variant;
  const { code } = m;
  const writes = op.writes ?? '';
  const conditional = op.conditionalFlags && !certain ? outcome.flagsWhen : undefined;
  const guarded = (store: () => void): void => (conditional ? code.if(conditional, store) : store());
  if (op.lazy && result) {
    const kind = (op.lazy === 'add' ? KIND.ADD : KIND.SUB) + Math.log2(m.width / 8);
    return () => {
      setState64(code, STATE.FLAG_R, signExtended(m, result));
      setState64(code, STATE.FLAG_X, extend(x));
      setState32(code, STATE.FLAG_BITS, i32(kind << 16));
    };
  }
  const follows = outcome.zf === undefined && result !== undefined && /P.*Z.*S/.test(writes.replace('A', ''));
  if (follows) {
    const shifted = (e: Expression, n: number): Expression => (n ? binary(OP.i32_shl, I32, e, i32(n)) : e);
    const isZero = (e: Expression): boolean => e.c.length === 2 && e.c[0] === OP.i32_const && e.c[1] === 0;
    let bits: Expression | undefined;
    const add = (e: Expression | undefined, n: number): void => {
      if (e === undefined || isZero(e)) return;
      const bit = shifted(e, n);
      bits = bits ? binary(OP.i32_or, I32, bits, bit) : bit;
    };
    add(writes.includes('C') ? outcome.cf : m.flag('cf'), 0);
    add(outcome.af, 4);
    add(outcome.of, 11);
    const all = bits ? code.let(bits) : i32(0);
    const when = conditional ? code.let(conditional) : undefined;
    const store = (): void => {
      setState64(code, STATE.FLAG_R, signExtended(m, result));
      setState32(code, STATE.FLAG_BITS, all);
    };
    return () => (when ? code.if(when, store) : store());
  }
  const some: Partial<Record<FlagName, Expression>> = {};
  for (const [letter, name] of WRITES) {
    const value = outcome[name as 'cf' | 'of' | 'af' | 'zf'];
    if (writes.includes(letter) && value !== undefined) some[name] = code.let(value);
  }
  return () => guarded(() => m.setFlags(some));
}

/** A string instruction: one element, or the repetition. Only in functions of their own. */
export function emitString(m: WasmMeaning): void {
  const { code, variant } = m;
  const { op, rep } = variant;
  const element = (): void => {
    const outcome = (op.meaning?.(m) ?? {}) as Outcome<Expression>;
    if (outcome.result && op.writes) {
      const r = m.let(outcome.result);
      // The first operand of the comparison is what the result plus the second gives; meanings let it, so recompute.
      prepareComparison(m, outcome, r)();
    }
  };
  if (rep === 0) {
    element();
    return;
  }
  code.loop(() => {
    code.if(m.countIsZero(), () => code.return(i32(RETURN.NEXT)));
    if (op.name === 'movs' || op.name === 'stos') emitBulk(m);
    element();
    m.decrementCount();
    code.if(m.countIsZero(), () => code.return(i32(RETURN.NEXT)));
    if (op.string?.repeats === 'repe') {
      const stop = rep === 3 ? m.bNot(m.flag('zf')) : m.flag('zf');
      code.if(stop, () => code.return(i32(RETURN.NEXT)));
    }
    payIteration(m);
    code.br(0);
  });
  code.op(OP.unreachable);
}

function prepareComparison(m: WasmMeaning, outcome: Outcome<Expression>, result: Expression): () => void {
  const { code } = m;
  const bits = [
    [outcome.cf, 0],
    [outcome.af, 4],
    [outcome.of, 11],
  ] as const;
  let sum: Expression = i32(0);
  for (const [bit, n] of bits) {
    if (bit) sum = binary(OP.i32_or, I32, sum, binary(OP.i32_shl, I32, bit, i32(n)));
  }
  const all = code.let(sum);
  return () => {
    setState64(code, STATE.FLAG_R, signExtended(m, result));
    setState32(code, STATE.FLAG_BITS, all);
  };
}

/** Each further iteration counts one instruction; with none left, the loop is left at its own address. */
function payIteration(m: WasmMeaning): void {
  const { code } = m;
  const own = binary(
    OP.i64_and,
    I64,
    binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), extend(field16(REC.OFFSET))),
    state64(STATE.RIP_MASK),
  );
  code.if(unary(OP.i32_eqz, I32, state32(STATE.LEFT)), () => {
    setState64(code, STATE.RIP, own);
    code.return(i32(RETURN.BUDGET));
  });
  setState32(code, STATE.LEFT, binary(OP.i32_sub, I32, state32(STATE.LEFT), i32(1)));
}

/** REP MOVS and REP STOS, upwards, within one page on each side whose tags are present: many elements at once. Source
 * and destination that overlap forwards go element by element, because the copy must repeat the pattern. */
function emitBulk(m: WasmMeaning): void {
  const { code, variant } = m;
  const size = m.width / 8;
  const moves = variant.op.name === 'movs';
  const cut = (e: Expression): Expression =>
    variant.addressSize === 32 ? binary(OP.i64_and, I64, e, i64(0xffff_ffffn)) : e;
  const register = (n: number): Expression => cut(load(OP.i64_load, I64, i32(STATE.GPR + n * 8)));
  const room = (address: Expression): Expression =>
    binary(
      OP.i64_shr_u,
      I64,
      binary(OP.i64_sub, I64, i64(4096), binary(OP.i64_and, I64, address, i64(4095))),
      i64(Math.log2(size)),
    );
  const smaller = (a: Expression, b: Expression): Expression => select(I64, binary(OP.i64_lt_u, I32, a, b), a, b);
  const down = binary(OP.i32_and, I32, state32(STATE.SYS_FLAGS), i32(0x400));
  code.block(() => {
    code.brIf(down, 0);
    const rdi = code.let(register(7));
    const rsi = moves ? code.let(register(6)) : rdi;
    const rcx = code.let(register(1));
    const budget = code.let(extend(binary(OP.i32_add, I32, state32(STATE.LEFT), i32(1))));
    const first = code.let(smaller(rcx, budget));
    const second = code.let(smaller(first, code.let(room(rdi))));
    const n = moves ? code.let(smaller(second, code.let(room(rsi)))) : second;
    code.brIf(binary(OP.i64_lt_u, I32, n, i64(2)), 0);
    const hostOf = (address: Expression, offset: number): Expression => {
      const low = wrap(address);
      const entry = code.let(
        binary(
          OP.i32_add,
          I32,
          binary(OP.i32_and, I32, binary(OP.i32_shr_u, I32, low, i32(8)), i32(0x3ff0)),
          state32(STATE.TLB),
        ),
      );
      const page = binary(OP.i64_and, I64, address, i64(-4096));
      code.brIf(binary(OP.i64_ne, I32, load(OP.i64_load, I64, entry, offset), page), 0);
      return code.let(binary(OP.i32_add, I32, low, load(OP.i32_load, I32, entry, offset + 8)));
    };
    const to = hostOf(rdi, TLB_BYTES);
    const bytes = code.let(binary(OP.i32_shl, I32, wrap(n), i32(Math.log2(size))));
    if (moves) {
      const from = hostOf(rsi, 0);
      code.brIf(binary(OP.i32_lt_u, I32, binary(OP.i32_sub, I32, to, from), bytes), 0);
      for (const e of [to, from, bytes]) code.emit(e);
      code.op(0xfc, 0x0a, 0x00, 0x00); // memory.copy
    } else {
      const value = code.let(m.width === 8 ? m.reg8(0) : m.reg(0));
      const fill = (): void => {
        code.emit(to);
        code.emit(binary(OP.i32_and, I32, wrap(value), i32(0xff)));
        code.emit(bytes);
        code.op(0xfc, 0x0b, 0x00); // memory.fill
      };
      if (size === 1) fill();
      else {
        const pattern = { 16: 0x0101n, 32: 0x0101_0101n, 64: 0x0101_0101_0101_0101n, 8: 1n }[m.width];
        const uniform = m.eq(m.mul(m.and(value, m.number(0xff)), m.number(pattern)), value);
        code.if(uniform, fill, () => {
          // Two or four elements to a word, four words to a round, then one by one.
          const pattern = code.let(m.width === 64 ? value : replicate(value, m.width));
          const at = code.local(I32);
          const end = code.let(binary(OP.i32_add, I32, to, bytes));
          const rounds = code.let(binary(OP.i32_and, I32, bytes, i32(-32)));
          const last = code.let(binary(OP.i32_add, I32, to, rounds));
          code.set(at, to);
          code.if(rounds, () =>
            code.loop(() => {
              for (let n = 0; n < 32; n += 8) code.store(OP.i64_store, get(I32, at), pattern, n);
              code.set(at, binary(OP.i32_add, I32, get(I32, at), i32(32)));
              code.brIf(binary(OP.i32_lt_u, I32, get(I32, at), last), 0);
            }),
          );
          code.if(binary(OP.i32_lt_u, I32, get(I32, at), end), () =>
            code.loop(() => {
              const opcode = { 8: OP.i32_store8, 16: OP.i32_store16, 32: OP.i32_store, 64: OP.i64_store }[m.width];
              code.store(opcode, get(I32, at), value);
              code.set(at, binary(OP.i32_add, I32, get(I32, at), i32(size)));
              code.brIf(binary(OP.i32_lt_u, I32, get(I32, at), end), 0);
            }),
          );
        });
      }
    }
    const step = code.let(extend(bytes));
    const advance = (n: number, from: Expression): void =>
      code.store(OP.i64_store, i32(STATE.GPR + n * 8), cut(binary(OP.i64_add, I64, from, step)));
    advance(7, rdi);
    if (moves) advance(6, rsi);
    code.store(OP.i64_store, i32(STATE.GPR + 8), binary(OP.i64_sub, I64, rcx, n));
    setState32(
      code,
      STATE.LEFT,
      binary(OP.i32_sub, I32, state32(STATE.LEFT), binary(OP.i32_sub, I32, wrap(n), i32(1))),
    );
    code.if(m.countIsZero(), () => code.return(i32(RETURN.NEXT)));
    payIteration(m);
    code.br(1); // the loop again
  });
}

/** A 16- or 32-bit value as often as it fits 64 bits. */
function replicate(value: Expression, width: Width): Expression {
  const low = binary(OP.i64_and, I64, extend(value), i64((1n << BigInt(width)) - 1n));
  return binary(OP.i64_mul, I64, low, i64(width === 16 ? 0x0001_0001_0001_0001n : 0x1_0000_0001n));
}

/** Before code that may leave for TypeScript: which record is running. */
export function noteCurrent(code: Code): void {
  setState32(code, STATE.CURRENT, record);
}
