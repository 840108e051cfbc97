/** MASKMOVQ and MASKMOVDQU: bytes of a register to [rDI], where the other's bytes have their top bit set.
 *
 * Every byte that is to be written is checked before the first is; a mask of zeros touches nothing.
 * Follows: SDM Vol. 2, MASKMOVQ, MASKMOVDQU.   Next: engine/sse-unit.ts. */
import { ACCESS, type CpuCore, type HelperInsn } from '../core.ts';
import { checkVector, enterMmx, readMmx, readXmm } from '../vector-reference.ts';

const RDI = 7;

function maskMove(core: CpuCore, insn: HelperInsn, bytes: 8 | 16): void {
  const { state } = core;
  const mmx = bytes === 8;
  checkVector(core, { sse: !mmx, mmx });
  const value = (number: number): bigint => (mmx ? readMmx(state, number & 7) : readXmm(state, number));
  const [source, mask] = [value(insn.reg), value(insn.rm)];
  const offset = state.gpr(RDI, insn.addressSize);
  const places: { at: bigint; byte: bigint }[] = [];
  for (let i = 0; i < bytes; i++) {
    const n = BigInt(8 * i);
    if (((mask >> n) & 0x80n) === 0n) continue;
    const place = BigInt.asUintN(8 * insn.addressSize, offset + BigInt(i));
    places.push({ at: core.linear(insn.segment, place, 1, true), byte: (source >> n) & 0xffn });
  }
  for (const { at } of places) core.probeLinear(at, 1, ACCESS.WRITE);
  for (const { at, byte } of places) core.writeLinear(at, 1, byte);
  if (mmx) enterMmx(state);
}

export const maskMoveHelpers: Record<string, (core: CpuCore, insn: HelperInsn) => void> = {
  maskmovq: (core, insn) => maskMove(core, insn, 8),
  maskmovdqu: (core, insn) => maskMove(core, insn, 16),
};
