/** The few shapes of vector code: opcodes behind 0xfd, constants, lanes, loads and stores.   Next: engine/emit/simd.ts. */
import { pushU32 } from '../../wasm/module.ts';
import { F32, F64, I32, I64, OP, SIMD, V128, type ValueType } from '../../wasm/opcodes.ts';
import type { Code, Expression } from './code.ts';

type E = Expression;

function prefixed(opcode: number, ...rest: number[]): number[] {
  const c = [0xfd];
  pushU32(c, opcode);
  c.push(...rest);
  return c;
}

export function simd(opcode: number, t: ValueType, ...operands: E[]): E {
  return { t, c: [...operands.flatMap((e) => [...e.c]), ...prefixed(opcode)] };
}
export function constant(bytes: readonly number[]): E {
  return { t: V128, c: prefixed(SIMD.const, ...bytes) };
}
/** Bytes 0-15 are x's, 16-31 y's. */
export function shuffle(x: E, y: E, bytes: readonly number[]): E {
  return { t: V128, c: [...x.c, ...y.c, ...prefixed(SIMD.shuffle, ...bytes)] };
}
export function splat(lane: 8 | 32 | 64, scalar: E): E {
  return simd({ 8: SIMD.i8x16_splat, 32: SIMD.i32x4_splat, 64: SIMD.i64x2_splat }[lane], V128, scalar);
}
export function extractLane(lane: 32 | 64, x: E, index: number): E {
  return {
    t: lane === 32 ? I32 : I64,
    c: [...x.c, ...prefixed(lane === 32 ? SIMD.i32x4_extract : SIMD.i64x2_extract, index)],
  };
}
export function replaceLane(lane: 16 | 32 | 64, x: E, index: number, scalar: E): E {
  const opcode = { 16: SIMD.i16x8_replace, 32: SIMD.i32x4_replace, 64: SIMD.i64x2_replace }[lane];
  return { t: V128, c: [...x.c, ...scalar.c, ...prefixed(opcode, index)] };
}
/** 16 bytes, or fewer with zeros above them. */
export function loadVector(address: E, bytes: 4 | 8 | 16 = 16): E {
  const opcode = { 4: SIMD.load32_zero, 8: SIMD.load64_zero, 16: SIMD.load }[bytes];
  return { t: V128, c: [...address.c, ...prefixed(opcode, 0, 0)] };
}
export function storeVector(code: Code, address: E, value: E): void {
  code.op(...address.c, ...value.c, ...prefixed(SIMD.store, 0, 0));
}
/** The lowest lane. */
export function storeLane(code: Code, address: E, bytes: 4 | 8, value: E): void {
  code.op(...address.c, ...value.c, ...prefixed(bytes === 4 ? SIMD.store32_lane : SIMD.store64_lane, 0, 0, 0));
}

const scratch = new DataView(new ArrayBuffer(8));
export function f32(value: number): E {
  scratch.setFloat32(0, value, true);
  return { t: F32, c: [OP.f32_const, 0, 1, 2, 3].map((b, i) => (i === 0 ? b : scratch.getUint8(i - 1))) };
}
export function f64(value: number): E {
  scratch.setFloat64(0, value, true);
  return { t: F64, c: [OP.f64_const, ...Array.from({ length: 8 }, (_, i) => scratch.getUint8(i))] };
}
