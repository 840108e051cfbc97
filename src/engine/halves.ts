/** A 64-bit address as two signed 32-bit halves, which is how generated code and the Mmu pass it.
 *
 * Through memory, not by shifting: `BigInt.asIntN(32, x >> 32n)`, where x came from two branches that both end in
 * BigInt.asUintN, kills the process in Node 20 (V8 11.3, "RepresentationChangerError: Phi of kRepTagged
 * (UnsignedBigInt64) cannot be changed to kRepWord64"), and inlining can bring those branches together from afar.
 * Next: engine/access.ts. */
const whole = new BigUint64Array(1);
const halves = new Int32Array(whole.buffer);

export function lowHalf(value: bigint): number {
  whole[0] = value;
  return halves[0];
}

export function highHalf(value: bigint): number {
  whole[0] = value;
  return halves[1];
}
