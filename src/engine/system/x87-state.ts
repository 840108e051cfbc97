/** The x87 state field by field: control and status words, tags, the stack of registers, and who may touch it.
 *
 * It lies in a 512-byte FXSAVE image at STATE.FXSAVE in the 64-bit layout: ST(i) at 32 + 16 i counted from TOP, the tag
 * byte with one bit per physical register (1: not empty). A push or a pop therefore moves the registers in the image.
 * Follows: SDM Vol. 1, 8.1; Vol. 3, 2.5 (EM, TS, MP, NE).
 * Known gap: x87 errors with CR0.NE clear (IRQ 13) end the run by name.
 * May not: know an instruction.   Next: engine/system/fpu-state.ts. */
import { CR0, RFLAGS, VECTOR } from '../../x86/constants.ts';
import { type CpuCore, type HelperInsn, Unbuilt } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { SEG, STATE } from '../state.ts';
import { fault } from './system-core.ts';

/** Offsets in the image. */
export const IMAGE = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  /** 64 bits each, whatever the mode; the selectors lie apart, where FXSAVE has nothing of its own. */
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  FCS: 464,
  FDS: 466,
} as const;
/** ST(0) in the image; each register takes 16 bytes, of which it uses 10. */
export const ST = 32;

export const FSW = {
  IE: 1,
  DE: 2,
  ZE: 4,
  OE: 8,
  UE: 0x10,
  PE: 0x20,
  SF: 0x40,
  ES: 0x80,
  C0: 0x100,
  C1: 0x200,
  C2: 0x400,
  C3: 0x4000,
  B: 0x8000,
  EXCEPTIONS: 0x3f,
  TOP: 7 << 11,
  TOP_SHIFT: 11,
} as const;
export const FCW_RESET = 0x37f;

export const get16 = (state: CpuState, field: number) => state.view.getUint16(STATE.FXSAVE + field, true);
export const set16 = (state: CpuState, field: number, value: number) =>
  state.view.setUint16(STATE.FXSAVE + field, value, true);
export const get32 = (state: CpuState, field: number) => state.view.getUint32(STATE.FXSAVE + field, true);
export const set32 = (state: CpuState, field: number, value: number) =>
  state.view.setUint32(STATE.FXSAVE + field, value, true);
export const topOf = (state: CpuState) => (get16(state, IMAGE.FSW) >> FSW.TOP_SHIFT) & 7;

/** Bit 6 is always set; bits 7 and 13-15 never. */
export const controlWord = (value: number) => (value & 0x1f3f) | 0x40;

/** ES and B say whether an exception is pending that the control word does not mask. */
export function summarise(state: CpuState): void {
  const status = get16(state, IMAGE.FSW);
  const unmasked = (status & ~get16(state, IMAGE.FCW) & FSW.EXCEPTIONS) !== 0;
  set16(state, IMAGE.FSW, (status & ~(FSW.ES | FSW.B)) | (unmasked ? FSW.ES | FSW.B : 0));
}

// ---- The stack

/** A new TOP moves what ST(i) means; the physical registers stay. */
export function rotate(state: CpuState, from: number, to: number): void {
  const area = STATE.FXSAVE + ST;
  const old = state.bytes.slice(area, area + 128);
  for (let i = 0; i < 8; i++) {
    const source = 16 * ((i + to - from) & 7);
    state.bytes.set(old.subarray(source, source + 16), area + 16 * i);
  }
}

/** Moves TOP and nothing else: `step` is -1 for what a push does and 1 for a pop. */
export function moveTop(state: CpuState, step: -1 | 1): void {
  const status = get16(state, IMAGE.FSW);
  set16(state, IMAGE.FSW, (status & ~FSW.TOP) | ((status + (step << FSW.TOP_SHIFT)) & FSW.TOP));
  const { words } = state;
  const first = (STATE.FXSAVE + ST) >> 2;
  const from = step < 0 ? first + 28 : first;
  const [a, b, c] = [words[from], words[from + 1], words[from + 2]];
  if (step < 0) words.copyWithin(first + 4, first, first + 28);
  else words.copyWithin(first, first + 4, first + 32);
  const to = step < 0 ? first : first + 28;
  words[to] = a;
  words[to + 1] = b;
  words[to + 2] = c;
}

const tagOf = (state: CpuState, i: number) => 1 << ((topOf(state) + i) & 7);
export const isEmpty = (state: CpuState, i: number) => (get16(state, IMAGE.FTW) & tagOf(state, i)) === 0;
export const setEmpty = (state: CpuState, i: number) =>
  set16(state, IMAGE.FTW, get16(state, IMAGE.FTW) & ~tagOf(state, i));
export const setPresent = (state: CpuState, i: number) =>
  set16(state, IMAGE.FTW, get16(state, IMAGE.FTW) | tagOf(state, i));

export function pop(state: CpuState): void {
  setEmpty(state, 0);
  moveTop(state, 1);
}

// ---- Who may touch it

const cr0 = (core: CpuCore) => core.state.view.getUint32(STATE.CR0, true);

/** x87 instructions: #NM while the FPU is emulated or belongs to another task. */
export function needX87(core: CpuCore): void {
  if ((cr0(core) & (CR0.EM | CR0.TS)) !== 0) fault(VECTOR.NM);
}
/** Those that wait also take the pending error of an earlier one. */
export function needQuietX87(core: CpuCore): void {
  needX87(core);
  takePendingError(core);
}
export function takePendingError(core: CpuCore): void {
  if ((get16(core.state, IMAGE.FSW) & FSW.ES) === 0) return;
  if ((cr0(core) & CR0.NE) === 0) {
    throw new Unbuilt('x87 errors reported by IRQ 13 (CR0.NE clear)', 'src/engine/system/x87-state.ts');
  }
  fault(VECTOR.MF);
}

/** Whether accesses at this level must be aligned. */
export const checksAlignment = (state: CpuState): boolean =>
  state.cpl === 3 && (state.rflags & RFLAGS.AC) !== 0 && (state.view.getUint32(STATE.CR0, true) & CR0.AM) !== 0;

/** The pointers that a handler of this instruction's error will want: opcode, its place, and its operand's. */
export function notePointers(core: CpuCore, insn: HelperInsn, offset: bigint): void {
  const { state } = core;
  set16(state, IMAGE.FOP, ((insn.opcode & 7) << 8) | (insn.mod << 6) | ((insn.reg & 7) << 3) | (insn.rm & 7));
  state.view.setBigUint64(STATE.FXSAVE + IMAGE.FIP, insn.rip, true);
  set16(state, IMAGE.FCS, state.selector(SEG.CS));
  if (!insn.isMemory) return;
  state.view.setBigUint64(STATE.FXSAVE + IMAGE.FDP, offset, true);
  set16(state, IMAGE.FDS, state.selector(insn.segment));
}
