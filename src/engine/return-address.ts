/** The return address on top of the stack, if what lies there looks like one.
 *
 * For traces: whoever enters a function by CALL has left the address behind the CALL there. It is believed when a CALL
 * instruction ends right before it; a jump leaves something else. Nothing is touched on the way: no accessed bit, no
 * cached translation.
 * May not: fault.   Next: engine/event-tracer.ts. */
import type { CpuState } from './cpu-state.ts';
import { peekLinear } from './peek.ts';

const RSP = 4;

export function returnAddress(state: CpuState, ramSize: number): bigint | undefined {
  const size = state.is64 ? 8 : 4;
  const top = state.gpr(RSP, size);
  const bytes = peekLinear(state, ramSize, top, size);
  if (bytes === undefined) return undefined;
  let address = 0n;
  for (let i = size - 1; i >= 0; i--) address = (address << 8n) | BigInt(bytes[i]);
  const code = peekLinear(state, ramSize, address - 7n, 7);
  return code !== undefined && endsInCall(code) ? address : undefined;
}

/** E8 rel32, or FF /2 in one of its lengths (SDM Vol. 2, CALL). */
function endsInCall(code: Uint8Array): boolean {
  if (code[2] === 0xe8) return true;
  for (let at = 0; at <= 5; at++) {
    if (code[at] !== 0xff || ((code[at + 1] >> 3) & 7) !== 2) continue;
    if (at + modrmLength(code[at + 1], code[at + 2]) + 1 === 7) return true;
  }
  return false;
}

/** Bytes of ModRM, SIB and displacement. */
function modrmLength(modrm: number, sib: number): number {
  const mode = modrm >> 6;
  const rm = modrm & 7;
  if (mode === 3) return 1;
  const withSib = rm === 4 ? 2 : 1;
  if (mode === 0) return withSib + (rm === 5 || (rm === 4 && (sib & 7) === 5) ? 4 : 0);
  return withSib + (mode === 1 ? 1 : 4);
}
