/** Arguments of hypercalls are 64-bit registers; here they become what C would take them for.
 *
 * Next: personality/xen/errno.ts. */

/** An unsigned int argument: the low half counts. */
export const int32 = (value: bigint): number => Number(BigInt.asUintN(32, value));
export const signed64 = (value: bigint): bigint => BigInt.asIntN(64, value);

/** A 64-bit time or count as a number: what is too large to be exact becomes the largest that is. */
export function clamped(value: bigint): number {
  const signed = signed64(value);
  if (signed > BigInt(Number.MAX_SAFE_INTEGER)) return Number.MAX_SAFE_INTEGER;
  if (signed < -BigInt(Number.MAX_SAFE_INTEGER)) return -Number.MAX_SAFE_INTEGER;
  return Number(signed);
}
