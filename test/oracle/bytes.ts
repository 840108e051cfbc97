/** bytesOf: a value as x86 stores it.   Next: test/oracle/states.ts. */
/** The low `length` bytes, lowest first. */
export function bytesOf(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return bytes;
}
