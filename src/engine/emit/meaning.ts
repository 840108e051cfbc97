/** WasmMeaning: the algebra in which a meaning becomes WebAssembly code.
 *
 * Values of 8 to 32 bits are i32, always zero-extended; 64-bit values are i64. Pure operations build expressions;
 * effects write statements, in order, into the handler's body. Operands were read before, and a memory destination was
 * translated for writing before, so that nothing here can fault after something was committed.
 * May not: read a record field's meaning from anywhere but record.ts.   Next: engine/emit/handler.ts. */
import { I32, I64, OP } from '../../wasm/opcodes.ts';
import { VECTOR } from '../../x86/constants.ts';
import type { Effects, FlagName, Width } from '../../x86/isa/algebra.ts';
import type { Control } from '../../x86/isa/types.ts';
import { AF, CF, OF, PF, SF, ZF } from '../flags.ts';
import { BOUNCE, SLOW } from '../mmu.ts';
import { REC } from '../record.ts';
import { STATE, TLB_BYTES } from '../state.ts';
import type { Variant } from '../variants.ts';
import {
  binary,
  type Code,
  type CoreFunctions,
  call,
  type Expression,
  extend,
  field8,
  field16,
  field32,
  field64,
  get,
  i32,
  i64,
  load,
  nextOffset,
  record,
  select,
  setState32,
  setState64,
  state32,
  state64,
  unary,
  wrap,
} from './code.ts';
import { allFlags, carryFlag, overflowFlag, parityFlag, signFlag, zeroFlag } from './lazy-flags.ts';
import { highProduct } from './wide.ts';

type E = Expression;

/** How a handler leaves, which differs between the big loop and a function of its own. */
export interface Exits {
  /** The instruction faulted; FAULT_* are set. */
  fault(code: Code): void;
  /** Continues at a computed RIP. */
  jump(code: Code, target: E): void;
  /** Ends a block whose record has links: taken or not. */
  branch(code: Code, condition: E | undefined): void;
}

/** What is known of handlers in a loop: its mode, the TLB in use, whether the operand's address has no index, and
 * what to do where a call would be needed. */
export type Inline = {
  mode: 32 | 64;
  tlb: Expression;
  based: boolean;
  /** Leaves for the function of the same instruction, which begins it anew; nothing is committed yet. */
  slow(): void;
};

export const FLAG_BIT: Record<FlagName, number> = { cf: CF, pf: PF, af: AF, zf: ZF, sf: SF, of: OF };
const FLAG_SHIFT: Record<FlagName, number> = { cf: 0, pf: 2, af: 4, zf: 6, sf: 7, of: 11 };
const RSP = 4;
const RBP = 5;

export class WasmMeaning implements Effects<E>, Control<E> {
  readonly width: Width;
  readonly t: typeof I32 | typeof I64;
  readonly code: Code;
  readonly fn: CoreFunctions;
  readonly variant: Variant;
  readonly exits: Exits;
  /** In a loop, TLB probes stand in the code instead of behind a call, and the mode is known. */
  readonly inline: Inline | undefined;
  /** True once `jump` or `branch` has left. */
  left = false;

  /** Whether flags are computed at all. */
  private readonly flagsLive: boolean;

  constructor(code: Code, fn: CoreFunctions, variant: Variant, exits: Exits, flagsLive: boolean, inline?: Inline) {
    this.code = code;
    this.fn = fn;
    this.variant = variant;
    this.width = variant.width;
    this.t = variant.width === 64 ? I64 : I32;
    this.exits = exits;
    this.flagsLive = flagsLive;
    this.inline = inline;
  }

  private get wide(): boolean {
    return this.width === 64;
  }
  private get mask(): number {
    return this.width === 8 ? 0xff : 0xffff;
  }
  private pick(op32: number, op64: number): number {
    return this.wide ? op64 : op32;
  }
  /** Cuts a narrow result back to its width. */
  private cut(x: E): E {
    return this.width < 32 ? binary(OP.i32_and, I32, x, i32(this.mask)) : x;
  }
  /** A narrow value, sign-extended within its i32. */
  private signed(x: E): E {
    if (this.width === 8) return unary(OP.i32_extend8_s, I32, x);
    if (this.width === 16) return unary(OP.i32_extend16_s, I32, x);
    return x;
  }
  private bin(op32: number, op64: number, x: E, y: E): E {
    return binary(this.pick(op32, op64), this.t, x, y);
  }
  private compare(op32: number, op64: number, x: E, y: E): E {
    return binary(this.pick(op32, op64), I32, x, y);
  }

  number(value: number | bigint): E {
    return this.wide ? i64(value) : i32(Number(BigInt.asIntN(32, BigInt.asUintN(this.width, BigInt(value)))));
  }
  add = (x: E, y: E): E => this.cut(this.bin(OP.i32_add, OP.i64_add, x, y));
  sub = (x: E, y: E): E => this.cut(this.bin(OP.i32_sub, OP.i64_sub, x, y));
  mul = (x: E, y: E): E => this.cut(this.bin(OP.i32_mul, OP.i64_mul, x, y));
  mulHigh(x: E, y: E, signed: boolean): E {
    const { code } = this;
    if (this.width < 32) {
      const product = binary(OP.i32_mul, I32, signed ? this.signed(x) : x, signed ? this.signed(y) : y);
      return this.cut(binary(OP.i32_shr_u, I32, product, i32(this.width)));
    }
    if (this.width === 32) {
      const widen = signed ? OP.i64_extend_s : OP.i64_extend_u;
      const product = binary(OP.i64_mul, I64, unary(widen, I64, x), unary(widen, I64, y));
      return wrap(binary(OP.i64_shr_u, I64, product, i64(32)));
    }
    const high = this.inline ? highProduct(code, x, y) : call(I64, this.fn.mulHighU, x, y);
    if (!signed) return high;
    const correction = (a: E, b: E): E => binary(OP.i64_and, I64, binary(OP.i64_shr_s, I64, a, i64(63)), b);
    const minusOne = code.let(binary(OP.i64_sub, I64, high, correction(x, y)));
    return binary(OP.i64_sub, I64, minusOne, correction(y, x));
  }
  divide(hi: E, lo: E, d: E, signed: boolean): { quotient: E; remainder: E; overflow: E } {
    const { code, width } = this;
    if (width === 64) {
      const overflow = code.let(call(I32, this.fn.divide, hi, lo, d, i32(signed ? 1 : 0)));
      return { quotient: state64(STATE.QUOTIENT), remainder: state64(STATE.REMAINDER), overflow };
    }
    // Everything fits 64-bit division; the one that traps (the smallest number by -1) is turned into a negation.
    const both = binary(OP.i64_or, I64, binary(OP.i64_shl, I64, extend(hi), i64(width)), extend(lo));
    const spare = i64(64 - 2 * width);
    const numerator = code.let(
      signed && width < 32 ? binary(OP.i64_shr_s, I64, binary(OP.i64_shl, I64, both, spare), spare) : both,
    );
    const divisor = code.let(signed ? unary(OP.i64_extend_s, I64, this.signed(d)) : extend(d));
    const cutTo = (x: E): E => this.cut(wrap(x));
    if (!signed) {
      const q = code.let(binary(OP.i64_div_u, I64, numerator, divisor));
      const r = code.let(binary(OP.i64_rem_u, I64, numerator, divisor));
      const over = unary(OP.i32_eqz, I32, unary(OP.i64_eqz, I32, binary(OP.i64_shr_u, I64, q, i64(width))));
      return { quotient: cutTo(q), remainder: cutTo(r), overflow: code.let(over) };
    }
    const minus = code.let(binary(OP.i64_eq, I32, divisor, i64(-1)));
    const safe = code.let(select(I64, minus, i64(1), divisor));
    const plain = binary(OP.i64_div_s, I64, numerator, safe);
    const q = code.let(select(I64, minus, binary(OP.i64_sub, I64, i64(0), numerator), plain));
    const r = code.let(binary(OP.i64_rem_s, I64, numerator, safe));
    const keep = i64(64 - width);
    const fits = binary(OP.i64_shr_s, I64, binary(OP.i64_shl, I64, q, keep), keep);
    return { quotient: cutTo(q), remainder: cutTo(r), overflow: code.let(binary(OP.i64_ne, I32, fits, q)) };
  }
  and = (x: E, y: E): E => this.bin(OP.i32_and, OP.i64_and, x, y);
  or = (x: E, y: E): E => this.bin(OP.i32_or, OP.i64_or, x, y);
  xor = (x: E, y: E): E => this.bin(OP.i32_xor, OP.i64_xor, x, y);
  not = (x: E): E => this.xor(x, this.number(-1));
  shl = (x: E, n: E): E => this.cut(this.bin(OP.i32_shl, OP.i64_shl, x, n));
  shr = (x: E, n: E): E => this.bin(OP.i32_shr_u, OP.i64_shr_u, x, n);
  sar = (x: E, n: E): E => this.cut(this.bin(OP.i32_shr_s, OP.i64_shr_s, this.signed(x), n));
  rem = (x: E, n: number): E => binary(OP.i32_rem_u, I32, x, i32(n));
  clz(x: E): E {
    const zeros = unary(this.pick(OP.i32_clz, OP.i64_clz), this.t, x);
    return this.width < 32 ? binary(OP.i32_sub, I32, zeros, i32(32 - this.width)) : zeros;
  }
  ctz(x: E): E {
    const from = this.width < 32 ? binary(OP.i32_or, I32, x, i32(1 << this.width)) : x; // zero counts the width
    return unary(this.pick(OP.i32_ctz, OP.i64_ctz), this.t, from);
  }
  popcnt = (x: E): E => unary(this.pick(OP.i32_popcnt, OP.i64_popcnt), this.t, x);
  byteSwap(x: E): E {
    if (this.width === 8) return x;
    const v = this.code.let(x);
    const byte = (from: number, to: number): E => {
      const b = this.and(this.shr(v, this.number(from * 8)), this.number(0xff));
      return to === 0 ? b : this.shl(b, this.number(to * 8));
    };
    const n = this.width / 8;
    let sum = byte(0, n - 1);
    for (let i = 1; i < n; i++) sum = this.or(sum, byte(i, n - 1 - i));
    return sum;
  }
  signExtend(x: E, from: 8 | 16 | 32): E {
    if (this.wide) {
      return unary({ 8: OP.i64_extend8_s, 16: OP.i64_extend16_s, 32: OP.i64_extend32_s }[from], I64, x);
    }
    if (from === 32) return x;
    return this.cut(unary(from === 8 ? OP.i32_extend8_s : OP.i32_extend16_s, I32, x));
  }

  eq = (x: E, y: E): E => this.compare(OP.i32_eq, OP.i64_eq, x, y);
  ltu = (x: E, y: E): E => this.compare(OP.i32_lt_u, OP.i64_lt_u, x, y);
  lts = (x: E, y: E): E => this.compare(OP.i32_lt_s, OP.i64_lt_s, this.signed(x), this.signed(y));
  isZero = (x: E): E => unary(this.pick(OP.i32_eqz, OP.i64_eqz), I32, x);
  sign(x: E): E {
    if (this.wide) return wrap(binary(OP.i64_shr_u, I64, x, i64(63)));
    return binary(OP.i32_shr_u, I32, x, i32(this.width - 1));
  }
  low = (x: E): E => binary(OP.i32_and, I32, wrap(x), i32(1));

  bit = (value: 0 | 1): E => i32(value);
  bAnd = (a: E, b: E): E => binary(OP.i32_and, I32, a, b);
  bOr = (a: E, b: E): E => binary(OP.i32_or, I32, a, b);
  bXor = (a: E, b: E): E => binary(OP.i32_xor, I32, a, b);
  bNot = (a: E): E => unary(OP.i32_eqz, I32, a);
  bLet = (a: E): E => this.code.let(a);
  flagBit = (compute: () => E): E => (this.flagsLive ? this.code.let(compute()) : i32(0));
  fromBit = (b: E): E => (this.wide ? extend(b) : b);
  select = (condition: E, x: E, y: E): E => select(this.t, condition, x, y);
  bSelect = (condition: E, x: E, y: E): E => select(I32, condition, x, y);
  let = (x: E): E => this.code.let(x);

  flag(name: FlagName): E {
    const { code } = this;
    switch (name) {
      case 'zf':
        return zeroFlag();
      case 'sf':
        return signFlag();
      case 'pf':
        return parityFlag();
      case 'cf':
        return this.inline ? carryFlag(code) : call(I32, this.fn.carry);
      case 'of':
        if (this.inline) return overflowFlag(code);
    }
    return binary(OP.i32_and, I32, binary(OP.i32_shr_u, I32, this.flags(), i32(FLAG_SHIFT[name])), i32(1));
  }
  /** All arithmetic flags at their places. */
  private flags(): E {
    return this.inline ? allFlags(this.code) : call(I32, this.fn.flags);
  }

  // ---- Registers

  private slot(number: number): E {
    return i32(STATE.GPR + number * 8);
  }
  /** Reads a register at a state address. */
  readAt(address: E, width: Width): E {
    if (width === 8) return load(OP.i32_load8_u, I32, address);
    if (width === 16) return load(OP.i32_load16_u, I32, address);
    if (width === 32) return load(OP.i32_load, I32, address);
    return load(OP.i64_load, I64, address);
  }
  /** Writes as instructions do: 32 bits clear the upper half. */
  writeAt(address: E, width: Width, value: E): void {
    const { code } = this;
    if (width === 8) code.store(OP.i32_store8, address, value);
    else if (width === 16) code.store(OP.i32_store16, address, value);
    else code.store(OP.i64_store, address, extend(value));
  }
  reg(number: number): E {
    return this.readAt(this.slot(number), this.width);
  }
  setReg(number: number, value: E): void {
    this.writeAt(this.slot(number), this.width, value);
  }
  private byteSlot(number: number): E {
    return i32(STATE.GPR + (number & 3) * 8 + (number >> 2));
  }
  reg8(number: number): E {
    const value = load(OP.i32_load8_u, I32, this.byteSlot(number));
    return this.wide ? extend(value) : value;
  }
  setReg8(number: number, value: E): void {
    this.code.store(OP.i32_store8, this.byteSlot(number), wrap(value));
  }

  // ---- Effects

  when(condition: E, then: () => void, otherwise?: () => void): void {
    this.code.if(condition, then, otherwise);
  }
  raise(vector: number): void {
    setState32(this.code, STATE.FAULT_VECTOR, i32(vector));
    setState32(this.code, STATE.FAULT_ERROR, i32(-1));
    this.exits.fault(this.code);
  }
  setFlags(flags: Partial<Record<FlagName, E>>): void {
    const names = Object.keys(flags) as FlagName[];
    const mask = names.reduce((sum, name) => sum | FLAG_BIT[name], 0);
    let bits: E = binary(OP.i32_and, I32, this.flags(), i32(~mask));
    for (const name of names) {
      const value = flags[name] as E;
      const shifted = FLAG_SHIFT[name] ? binary(OP.i32_shl, I32, value, i32(FLAG_SHIFT[name])) : value;
      bits = binary(OP.i32_or, I32, bits, shifted);
    }
    setState32(this.code, STATE.FLAG_BITS, bits);
    setState64(this.code, STATE.FLAG_R, i64(1));
  }

  // ---- Memory

  /** The memory operand's linear address: (base + (index << scale) + displacement) & mask. An i32 in the 32-bit loop. */
  linearAddress(): E {
    const narrow = this.inline?.mode === 32;
    const t = narrow ? I32 : I64;
    const whole = narrow ? OP.i32_load : OP.i64_load;
    const add = (a: E, b: E): E => binary(narrow ? OP.i32_add : OP.i64_add, t, a, b);
    let sum = add(
      load(whole, t, field16(REC.BASE)),
      load(narrow ? OP.i32_load : OP.i64_load32_s, t, record, REC.DISPLACEMENT),
    );
    if (!this.inline?.based) {
      const scale = load(narrow ? OP.i32_load8_u : OP.i64_load8_u, t, record, REC.SCALE);
      sum = add(binary(narrow ? OP.i32_shl : OP.i64_shl, t, load(whole, t, field16(REC.INDEX)), scale), sum);
    }
    return this.inline ? sum : binary(OP.i64_and, I64, sum, state64(STATE.ADDRESS_MASK));
  }

  /** Host offset of `bytes` bytes at a linear address (which must be a local). Leaves when the access faults. */
  translate(address: E, bytes: number, kind: number, fromRecord = false): E {
    const { code } = this;
    const write = (kind & SLOW.WRITE) !== 0;
    const host = code.local(I32);
    // A memory operand's record says whether it goes through SS, which decides between #SS and #GP.
    const kindAndSize = fromRecord ? binary(OP.i32_or, I32, i32(kind | bytes), field8(REC.SEGMENT)) : i32(kind | bytes);
    const faulted = (): void => code.if(binary(OP.i32_eq, I32, get(I32, host), i32(-1)), () => this.exits.fault(code));
    if (!this.inline) {
      code.set(host, call(I32, write ? this.fn.translateWrite : this.fn.translateRead, extend(address), kindAndSize));
      faulted();
      return get(I32, host);
    }
    const low = wrap(address);
    const entry = code.let(
      binary(
        OP.i32_add,
        I32,
        binary(OP.i32_and, I32, binary(OP.i32_shr_u, I32, low, i32(8)), i32(0x3ff0)),
        this.inline.tlb,
      ),
    );
    const offset = write ? TLB_BYTES : 0;
    const narrow = address.t === I32;
    const number = narrow ? i32 : i64;
    const last = bytes > 1 ? binary(narrow ? OP.i32_add : OP.i64_add, address.t, address, number(bytes - 1)) : address;
    const page = extend(binary(narrow ? OP.i32_and : OP.i64_and, address.t, last, number(-4096)));
    code.if(binary(OP.i64_ne, I32, load(OP.i64_load, I64, entry, offset), page), this.inline.slow);
    code.set(host, binary(OP.i32_add, I32, low, load(OP.i32_load, I32, entry, offset + 8)));
    return get(I32, host);
  }
  loadHost(host: E, width: Width): E {
    return this.readAt(host, width);
  }
  /** Stores to a translated place; a bounced one is completed. */
  storeHost(host: E, width: Width, value: E): void {
    const { code } = this;
    const opcode = { 8: OP.i32_store8, 16: OP.i32_store16, 32: OP.i32_store, 64: OP.i64_store }[width];
    code.store(opcode, host, width === 64 ? extend(value) : wrap(value));
    if (this.inline) return; // a tag in the TLB is RAM
    code.if(binary(OP.i32_eq, I32, host, i32(BOUNCE)), () => {
      code.op(OP.call);
      code.u32(this.fn.commit);
    });
  }

  effectiveAddress(): E {
    const address = this.linearAddress();
    return this.wide ? extend(address) : this.cut(wrap(address));
  }

  // ---- Control

  nextRip(): E {
    if (this.inline?.mode === 32 && !this.wide) {
      return binary(OP.i32_add, I32, state32(STATE.PAGE_BASE), nextOffset());
    }
    const rip = binary(OP.i64_add, I64, state64(STATE.PAGE_BASE), extend(nextOffset()));
    const masked = this.inline?.mode === 64 ? rip : binary(OP.i64_and, I64, rip, state64(STATE.RIP_MASK));
    return this.wide ? masked : wrap(masked);
  }
  jump(target: E): void {
    this.left = true;
    this.exits.jump(this.code, extend(target));
  }
  branch(condition: E): void {
    this.left = true;
    const always = condition.c.length === 2 && condition.c[0] === OP.i32_const && condition.c[1] === 1;
    this.exits.branch(this.code, always ? undefined : condition);
  }

  /** The stack pointer (or another register used as one) at the stack's width, moved by some bytes. */
  private stackAt(register: number, bytes = 0): E {
    const narrow = this.variant.stack === 32;
    const t = narrow ? I32 : I64;
    const value = load(narrow ? OP.i32_load : OP.i64_load, t, this.slot(register));
    if (bytes === 0) return this.code.let(value);
    return this.code.let(binary(narrow ? OP.i32_add : OP.i64_add, t, value, narrow ? i32(bytes) : i64(bytes)));
  }
  private moveStack(to: E, bytes = 0): void {
    const narrow = to.t === I32;
    const sum = bytes === 0 ? to : binary(narrow ? OP.i32_add : OP.i64_add, to.t, to, narrow ? i32(bytes) : i64(bytes));
    this.code.store(OP.i64_store, this.slot(RSP), extend(sum));
  }
  push(value: E): void {
    const { code } = this;
    const bytes = this.width / 8;
    const v = code.let(value);
    const address = this.stackAt(RSP, -bytes);
    const host = this.translate(address, bytes, SLOW.STORE | SLOW.STACK);
    this.storeHost(host, this.width, v);
    this.moveStack(address);
  }
  private readStack(register: number): { address: E; value: E } {
    const address = this.stackAt(register);
    const host = this.translate(address, this.width / 8, SLOW.READ | SLOW.STACK);
    return { address, value: this.code.let(this.loadHost(host, this.width)) };
  }
  pop(): E {
    const { address, value } = this.readStack(RSP);
    this.moveStack(address, this.width / 8);
    return value;
  }
  stackTop(): E {
    return this.readStack(RSP).value;
  }
  adjustStack(bytes: E): void {
    const rsp = this.stackAt(RSP);
    const narrow = rsp.t === I32;
    const step = narrow ? wrap(bytes) : extend(bytes);
    this.moveStack(binary(narrow ? OP.i32_add : OP.i64_add, rsp.t, rsp, step));
  }
  leave(): void {
    const { address, value } = this.readStack(RBP);
    this.moveStack(address, this.width / 8);
    this.setReg(RBP, value);
  }
  checkTarget(target: E): void {
    if (!this.wide) return; // outside 64-bit code a limit below 4 GiB runs checked, one instruction at a time
    const cut = binary(OP.i64_shr_s, I64, binary(OP.i64_shl, I64, target, i64(16)), i64(16));
    this.when(binary(OP.i64_ne, I32, cut, target), () => {
      setState32(this.code, STATE.FAULT_VECTOR, i32(VECTOR.GP));
      setState32(this.code, STATE.FAULT_ERROR, i32(0));
      setState32(this.code, STATE.CURRENT, record);
      this.exits.fault(this.code);
    });
  }

  private counter(): E {
    const rcx = load(OP.i64_load, I64, this.slot(1));
    return this.variant.addressSize === 32 ? binary(OP.i64_and, I64, rcx, i64(0xffff_ffffn)) : rcx;
  }
  decrementCount(): void {
    const less = binary(OP.i64_sub, I64, this.counter(), i64(1));
    this.code.store(
      OP.i64_store,
      this.slot(1),
      this.variant.addressSize === 32 ? binary(OP.i64_and, I64, less, i64(0xffff_ffffn)) : less,
    );
  }
  countIsZero(): E {
    return unary(OP.i64_eqz, I32, this.counter());
  }

  // ---- Strings

  private stringAddress(register: number): E {
    const value = load(OP.i64_load, I64, this.slot(register));
    return this.code.let(this.variant.addressSize === 32 ? binary(OP.i64_and, I64, value, i64(0xffff_ffffn)) : value);
  }
  private advance(register: number): void {
    const step = this.width / 8;
    const down = binary(OP.i32_and, I32, state32(STATE.SYS_FLAGS), i32(0x400));
    const value = load(OP.i64_load, I64, this.slot(register));
    const next = binary(OP.i64_add, I64, value, select(I64, down, i64(-step), i64(step)));
    this.code.store(
      OP.i64_store,
      this.slot(register),
      this.variant.addressSize === 32 ? binary(OP.i64_and, I64, next, i64(0xffff_ffffn)) : next,
    );
  }
  source(): E {
    const host = this.translate(this.stringAddress(6), this.width / 8, SLOW.READ);
    return this.code.let(this.loadHost(host, this.width));
  }
  destination(): E {
    const host = this.translate(this.stringAddress(7), this.width / 8, SLOW.READ);
    return this.code.let(this.loadHost(host, this.width));
  }
  store(value: E): void {
    const v = this.code.let(value);
    const host = this.translate(this.stringAddress(7), this.width / 8, SLOW.STORE);
    this.storeHost(host, this.width, v);
  }
  advanceSource(): void {
    this.advance(6);
  }
  advanceDestination(): void {
    this.advance(7);
  }

  /** The immediate, at the operation's width. */
  immediate(width: Width): E {
    if (width === 64) return field64(REC.IMMEDIATE);
    const low = field32(REC.IMMEDIATE);
    return width === 32 ? low : binary(OP.i32_and, I32, low, i32(width === 8 ? 0xff : 0xffff));
  }
}
