/** Code: a WebAssembly function body in the making, and the few shapes all emitters share.
 *
 * An expression is its type and its bytes; a statement goes straight into the body. Locals are handed out by type and
 * given back when a handler is done, so that three hundred handlers in one function need a dozen locals.
 * Next: engine/emit/lazy-flags.ts. */

import { pushS32, pushS64, pushU32 } from '../../wasm/module.ts';
import { F32, F64, I32, I64, OP, V128, type ValueType, VOID } from '../../wasm/opcodes.ts';
import { REC } from '../record.ts';

export type Expression = { t: ValueType; c: readonly number[] };

/** Functions of the core that handlers call, by index. */
export type CoreFunctions = {
  /** (ea i64, sizeAndKind i32) → host offset or -1. Probes the TLB, then asks TypeScript. */
  translateRead: number;
  translateWrite: number;
  /** Imports: the miss alone (address i64 halves inside), and completing a bounced write. */
  miss: number;
  /** The same for 16 bytes; the kind is without a size. */
  translateRead16: number;
  translateWrite16: number;
  commit: number;
  flags: number;
  carry: number;
  mulHighU: number;
  divide: number;
  lookup: number;
  segment: number;
  /** Imports: an instruction that is TypeScript's, and the delivery of a fault. */
  helper: number;
  fault: number;
  /** Imports: the first entry of a traced function. */
  entered: number;
  /** Imports: a port access; whether an interrupt waits. */
  port: number;
  pending: number;
};

export class Code {
  readonly bytes: number[] = [];
  /** Open blocks, loops and ifs since the handler began. */
  depth = 0;
  private readonly free: Record<number, number[]> = { [I32]: [], [I64]: [], [F32]: [], [F64]: [], [V128]: [] };
  private readonly taken: { type: ValueType; index: number }[] = [];
  readonly locals: ValueType[] = [];
  private readonly parameters: number;

  constructor(parameters: number) {
    this.parameters = parameters;
  }

  op(...bytes: number[]): void {
    for (const b of bytes) this.bytes.push(b);
  }
  emit(e: Expression): void {
    for (const b of e.c) this.bytes.push(b);
  }
  u32(value: number): void {
    pushU32(this.bytes, value);
  }

  /** A fresh local. */
  local(type: ValueType): number {
    let index = this.free[type].pop();
    if (index === undefined) index = this.parameters + this.locals.push(type) - 1;
    this.taken.push({ type, index });
    return index;
  }
  /** Locals taken so far; `release` gives back those taken since. */
  mark(): number {
    return this.taken.length;
  }
  release(mark: number): void {
    for (const { type, index } of this.taken.splice(mark)) this.free[type].push(index);
  }

  set(local: number, value: Expression): void {
    this.emit(value);
    this.op(OP.local_set);
    this.u32(local);
  }
  /** Names a value: evaluates it here, once. */
  let(value: Expression): Expression {
    const local = this.local(value.t);
    this.set(local, value);
    return get(value.t, local);
  }

  if(condition: Expression, then: () => void, otherwise?: () => void): void {
    this.emit(condition);
    this.op(OP.if, VOID);
    this.depth++;
    then();
    if (otherwise) {
      this.op(OP.else);
      otherwise();
    }
    this.op(OP.end);
    this.depth--;
  }
  block(body: () => void): void {
    this.op(OP.block, VOID);
    this.depth++;
    body();
    this.op(OP.end);
    this.depth--;
  }
  loop(body: () => void): void {
    this.op(OP.loop, VOID);
    this.depth++;
    body();
    this.op(OP.end);
    this.depth--;
  }
  br(depth: number): void {
    this.op(OP.br);
    this.u32(depth);
  }
  brIf(condition: Expression, depth: number): void {
    this.emit(condition);
    this.op(OP.br_if);
    this.u32(depth);
  }
  store(opcode: number, address: Expression, value: Expression, offset = 0): void {
    this.emit(address);
    this.emit(value);
    this.op(opcode, 0);
    this.u32(offset);
  }
  drop(e: Expression): void {
    this.emit(e);
    this.op(OP.drop);
  }
  return(e: Expression): void {
    this.emit(e);
    this.op(OP.return);
  }
}

export function get(t: ValueType, local: number): Expression {
  const c: number[] = [OP.local_get];
  pushU32(c, local);
  return { t, c };
}
export function i32(value: number): Expression {
  const c: number[] = [OP.i32_const];
  pushS32(c, value);
  return { t: I32, c };
}
export function i64(value: bigint | number): Expression {
  const c: number[] = [OP.i64_const];
  pushS64(c, BigInt.asIntN(64, BigInt(value)));
  return { t: I64, c };
}
export function binary(opcode: number, t: ValueType, a: Expression, b: Expression): Expression {
  return { t, c: [...a.c, ...b.c, opcode] };
}
export function unary(opcode: number, t: ValueType, a: Expression): Expression {
  return { t, c: [...a.c, opcode] };
}
export function load(opcode: number, t: ValueType, address: Expression, offset = 0): Expression {
  const c = [...address.c, opcode, 0];
  pushU32(c, offset);
  return { t, c };
}
export function call(t: ValueType, index: number, ...parameters: Expression[]): Expression {
  const c = parameters.flatMap((p) => [...p.c]);
  c.push(OP.call);
  pushU32(c, index);
  return { t, c };
}
export function select(t: ValueType, condition: Expression, x: Expression, y: Expression): Expression {
  return { t, c: [...x.c, ...y.c, ...condition.c, OP.select] };
}

export const wrap = (e: Expression): Expression => (e.t === I32 ? e : unary(OP.i32_wrap, I32, e));
export const extend = (e: Expression): Expression => (e.t === I64 ? e : unary(OP.i64_extend_u, I64, e));

/** Values at fixed addresses in the state. */
const ZERO = i32(0);
export const state32 = (offset: number): Expression => load(OP.i32_load, I32, ZERO, offset);
export const state64 = (offset: number): Expression => load(OP.i64_load, I64, ZERO, offset);
export function setState32(code: Code, offset: number, value: Expression): void {
  code.store(OP.i32_store, ZERO, value, offset);
}
export function setState64(code: Code, offset: number, value: Expression): void {
  code.store(OP.i64_store, ZERO, value, offset);
}

/** Fields of the record that a handler runs. */
export const P = 0; // the record's address is the first local everywhere
export const record = get(I32, P);
export const field16 = (offset: number): Expression => load(OP.i32_load16_u, I32, record, offset);
export const field8 = (offset: number): Expression => load(OP.i32_load8_u, I32, record, offset);
export const field32 = (offset: number): Expression => load(OP.i32_load, I32, record, offset);
export const field64 = (offset: number): Expression => load(OP.i64_load, I64, record, offset);
/** RIP of the next instruction, before the code size's mask. */
export const nextOffset = (): Expression => binary(OP.i32_add, I32, field16(REC.OFFSET), field8(REC.LENGTH));
