/** A WebAssembly module as bytes: sections, LEB128, function bodies.
 *
 * ModuleBuilder collects imports, functions, one table and exports, and prints them in the order the format wants.
 * Bodies arrive as byte arrays made with `opcodes.ts` and the LEB helpers here.
 * Follows: WebAssembly Core Specification 2.0, section 5.5 (modules).
 * May not: know anything of x86.   Next: x86/isa/algebra.ts, where the meanings begin. */
import { OP, type ValueType } from './opcodes.ts';

/** Appends an unsigned LEB128 (up to 32 bits). */
export function pushU32(out: number[], value: number): void {
  let v = value >>> 0;
  while (v >= 0x80) {
    out.push((v & 0x7f) | 0x80);
    v >>>= 7;
  }
  out.push(v);
}

/** Appends a signed LEB128 of a 32-bit integer. */
export function pushS32(out: number[], value: number): void {
  let v = value | 0;
  for (;;) {
    const byte = v & 0x7f;
    v >>= 7;
    if ((v === 0 && (byte & 0x40) === 0) || (v === -1 && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** Appends a signed LEB128 of a 64-bit integer. */
export function pushS64(out: number[], value: bigint): void {
  const small = Number(value);
  if (small === (small | 0)) {
    pushS32(out, small);
    return;
  }
  let v = BigInt.asIntN(64, value);
  for (;;) {
    const byte = Number(v & 0x7fn);
    v >>= 7n;
    if ((v === 0n && (byte & 0x40) === 0) || (v === -1n && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

type FunctionType = { params: readonly ValueType[]; results: readonly ValueType[] };

export class ModuleBuilder {
  private readonly types: FunctionType[] = [];
  private readonly typeKeys = new Map<string, number>();
  private readonly imports: { module: string; name: string; type: number }[] = [];
  private memory: { module: string; name: string; minPages: number; maxPages: number } | undefined;
  private readonly functions: { type: number; locals: readonly ValueType[]; body: readonly number[] }[] = [];
  private readonly exports: { name: string; index: number }[] = [];
  private tableFunctions: readonly number[] = [];

  /** Index of a function type, made once per shape. */
  type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params}>${results}`;
    let index = this.typeKeys.get(key);
    if (index === undefined) {
      index = this.types.push({ params, results }) - 1;
      this.typeKeys.set(key, index);
    }
    return index;
  }

  /** Imports come first in the function index space: import everything before the first `function`. */
  importFunction(module: string, name: string, params: readonly ValueType[], results: readonly ValueType[]): number {
    return this.imports.push({ module, name, type: this.type(params, results) }) - 1;
  }

  importMemory(module: string, name: string, minPages: number, maxPages: number): void {
    this.memory = { module, name, minPages, maxPages };
  }

  /** Reserves a function index; the body may come later, so that functions can call each other. */
  declare(params: readonly ValueType[], results: readonly ValueType[]): number {
    const at = this.functions.push({ type: this.type(params, results), locals: [], body: [OP.unreachable] }) - 1;
    return this.imports.length + at;
  }

  /** `body` is without the final `end`. */
  define(index: number, locals: readonly ValueType[], body: readonly number[]): void {
    const at = index - this.imports.length;
    this.functions[at] = { type: this.functions[at].type, locals, body };
  }

  exportFunction(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  /** The one table, filled with these functions from 0 on. */
  table(functions: readonly number[]): void {
    this.tableFunctions = functions;
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out: number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
    section(out, 1, this.types, (to, { params, results }) => {
      to.push(0x60);
      pushU32(to, params.length);
      to.push(...params);
      pushU32(to, results.length);
      to.push(...results);
    });
    const imports = [
      ...this.imports.map(({ module, name, type }) => (to: number[]) => {
        pushName(to, module);
        pushName(to, name);
        to.push(0x00);
        pushU32(to, type);
      }),
      ...(this.memory ? [this.memory] : []).map(({ module, name, minPages, maxPages }) => (to: number[]) => {
        pushName(to, module);
        pushName(to, name);
        to.push(0x02, 0x01);
        pushU32(to, minPages);
        pushU32(to, maxPages);
      }),
    ];
    section(out, 2, imports, (to, print) => print(to));
    section(out, 3, this.functions, (to, { type }) => pushU32(to, type));
    const size = this.tableFunctions.length;
    section(out, 4, size > 0 ? [size] : [], (to, n) => {
      to.push(0x70, 0x00);
      pushU32(to, n);
    });
    section(out, 7, this.exports, (to, { name, index }) => {
      pushName(to, name);
      to.push(0x00);
      pushU32(to, index);
    });
    section(out, 9, size > 0 ? [this.tableFunctions] : [], (to, functions) => {
      to.push(0x00, OP.i32_const, 0x00, OP.end);
      pushU32(to, functions.length);
      for (const index of functions) pushU32(to, index);
    });
    section(out, 10, this.functions, (to, { locals, body }) => {
      const code: number[] = [];
      pushLocals(code, locals);
      for (const byte of body) code.push(byte);
      code.push(OP.end);
      pushU32(to, code.length);
      for (const byte of code) to.push(byte);
    });
    return new Uint8Array(out);
  }
}

function section<T>(out: number[], id: number, items: readonly T[], print: (to: number[], item: T) => void): void {
  if (items.length === 0) return;
  const content: number[] = [];
  pushU32(content, items.length);
  for (const item of items) print(content, item);
  out.push(id);
  pushU32(out, content.length);
  for (const byte of content) out.push(byte);
}

function pushName(out: number[], name: string): void {
  const bytes = new TextEncoder().encode(name);
  pushU32(out, bytes.length);
  out.push(...bytes);
}

/** Locals are declared as runs of one type. */
function pushLocals(out: number[], locals: readonly ValueType[]): void {
  const runs: { type: ValueType; count: number }[] = [];
  for (const type of locals) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  pushU32(out, runs.length);
  for (const { type, count } of runs) {
    pushU32(out, count);
    out.push(type);
  }
}
