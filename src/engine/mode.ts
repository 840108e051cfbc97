/** The mode word: what a decoded block depends on beside its bytes.
 *
 * Code size, stack size, and which segments are flat. Blocks are keyed by physical address and this word, so a change
 * of segments picks other blocks and drops none. Privilege and paging are not in it: nothing that is decoded depends
 * on them (they choose the TLB, see state.ts).   Next: engine/record.ts. */
import type { CpuState } from './cpu-state.ts';
import { SEG, SEG_BASE, SEG_BYTES, STATE } from './state.ts';

export const MODE = {
  CODE_SIZE: 3, // 0: 16, 1: 32, 2: 64
  STACK_32: 4, // SS.B, or 64-bit code
  FLAT_ES: 8,
  FLAT_CS: 16, // base 0, limit 4 GiB, readable
  FLAT_SS: 32,
  FLAT_DS: 64,
  CS_LIMITED: 128, // limit below 4 GiB: every fetch is checked
  PLAIN: 256, // one instruction, nothing fused or left out
} as const;

const PRESENT_WRITABLE_UP = 0x96;
const WRITABLE_UP = 0x92;

function flatData(state: CpuState, segment: number): boolean {
  return (
    (state.attributes(segment) & PRESENT_WRITABLE_UP) === WRITABLE_UP &&
    (state.attributes(segment) & 8) === 0 &&
    state.limit(segment) === 0xffff_ffff &&
    isBaseZero(state, segment)
  );
}

/** Outside 64-bit code a base has 32 bits. */
function isBaseZero(state: CpuState, segment: number): boolean {
  return state.view.getInt32(STATE.SEG + segment * SEG_BYTES + SEG_BASE, true) === 0;
}

export function modeWord(state: CpuState): number {
  if (state.is64) return 2 | MODE.STACK_32 | MODE.FLAT_ES | MODE.FLAT_CS | MODE.FLAT_SS | MODE.FLAT_DS;
  const cs = state.attributes(SEG.CS);
  const wide = state.limit(SEG.CS) === 0xffff_ffff;
  return (
    (cs & 0x4000 ? 1 : 0) |
    (state.attributes(SEG.SS) & 0x4000 ? MODE.STACK_32 : 0) |
    (flatData(state, SEG.ES) ? MODE.FLAT_ES : 0) |
    (wide && isBaseZero(state, SEG.CS) && (cs & 0x8a) === 0x8a ? MODE.FLAT_CS : 0) |
    (flatData(state, SEG.SS) ? MODE.FLAT_SS : 0) |
    (flatData(state, SEG.DS) ? MODE.FLAT_DS : 0) |
    (wide ? 0 : MODE.CS_LIMITED)
  );
}

export function codeSize(mode: number): 16 | 32 | 64 {
  const bits = mode & MODE.CODE_SIZE;
  return bits === 2 ? 64 : bits === 1 ? 32 : 16;
}
