/** The x87 and SSE state as a whole: initialised, saved, restored. No arithmetic.
 *
 * The state is a 512-byte FXSAVE image (x87-state.ts has the x87's part; XMMi lies at 160 + 16 i). FNSAVE and FNSTENV
 * spell the same things in their older layouts, with two tag bits per register that follow from the values. The pointers
 * of the last instruction are kept always, and saved by FXSAVE while its error is pending, as on the AMD processors of
 * this family; FXRSTOR restores them always.
 * Follows: SDM Vol. 1, 8.1, 10.5; Vol. 2, FXSAVE, FXRSTOR, FSAVE, FSTENV; Vol. 3, 2.5 (EM, TS, MP, NE).
 * Where hardware leaves room: without CR4.OSFXSR, FXSAVE and FXRSTOR pass MXCSR and XMM by; EMMS works on models that do
 * not show MMX, because Linux uses it on every AMD of this family.
 * May not: calculate.   Next: engine/system/x87-unit.ts. */
import { CR0, CR4, VECTOR } from '../../x86/constants.ts';
import { ACCESS, type CpuCore, type HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { STATE } from '../state.ts';
import { fault, RAX } from './system-core.ts';
import {
  checksAlignment,
  controlWord,
  FCW_RESET,
  FSW,
  get16,
  get32,
  IMAGE,
  needQuietX87,
  needX87,
  rotate,
  ST,
  set16,
  set32,
  summarise,
  takePendingError,
  topOf,
} from './x87-state.ts';

const XMM = 160;
/** Of the short form: selectors in place of the pointers' upper halves. */
const SHORT = { FCS: 12, FDS: 20 } as const;
const IMAGE_BYTES = 512;
const MXCSR_RESET = 0x1f80;
/** Bits of MXCSR that may be set. */
export const MXCSR_MASK = 0xffff;

/** The state at reset as every loader here promises it. */
export function resetFpu(state: CpuState): void {
  state.bytes.fill(0, STATE.FXSAVE, STATE.FXSAVE + IMAGE_BYTES);
  set16(state, IMAGE.FCW, FCW_RESET);
  set32(state, IMAGE.MXCSR, MXCSR_RESET);
  set32(state, IMAGE.MXCSR_MASK, MXCSR_MASK);
}

/** FNINIT: every register keeps its value but counts as empty, and TOP returns to 0. */
function initialise(state: CpuState): void {
  rotate(state, topOf(state), 0);
  state.bytes.fill(0, STATE.FXSAVE, STATE.FXSAVE + IMAGE.MXCSR);
  set32(state, IMAGE.FCS, 0);
  set16(state, IMAGE.FCW, FCW_RESET);
}

// ---- Who may touch it

const cr0 = (core: CpuCore) => core.state.view.getUint32(STATE.CR0, true);
const cr4 = (core: CpuCore) => core.state.view.getUint32(STATE.CR4, true);

/** FXSAVE, FXRSTOR, EMMS: emulation does not cover them. */
function needMedia(core: CpuCore): void {
  if ((cr0(core) & CR0.EM) !== 0) fault(VECTOR.UD);
  if ((cr0(core) & CR0.TS) !== 0) fault(VECTOR.NM);
}

// ---- FXSAVE and FXRSTOR

const usesSse = (core: CpuCore) => (cr4(core) & CR4.OSFXSR) !== 0;
const savedBytes = (core: CpuCore) => (usesSse(core) ? XMM + 16 * (core.state.is64 ? 16 : 8) : XMM);

function fxArea(core: CpuCore, insn: HelperInsn, write: boolean): bigint {
  needMedia(core);
  const address = core.linear(insn.segment, insn.offset(), IMAGE_BYTES, write);
  // Where alignment is checked, an address that is not even a multiple of 4 is #AC (measured on an AMD EPYC).
  if ((address & 3n) !== 0n && checksAlignment(core.state)) fault(VECTOR.AC, 0);
  if ((address & 15n) !== 0n) fault(VECTOR.GP, 0);
  core.probeLinear(address, IMAGE_BYTES, write ? ACCESS.WRITE : ACCESS.READ);
  return address;
}

function fxsave(core: CpuCore, insn: HelperInsn): void {
  const address = fxArea(core, insn, true);
  const { state } = core;
  const wide = insn.operandSize === 8;
  const image = state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + IMAGE_BYTES);
  // AMD saves the last instruction's opcode and pointers only while its exception is pending.
  if ((get16(state, IMAGE.FSW) & FSW.ES) === 0) image.fill(0, IMAGE.FOP, IMAGE.MXCSR);
  // The short form has 32-bit pointers and their selectors; two bytes behind each are reserved.
  const view = new DataView(image.buffer);
  if (!wide) {
    const pending = (get16(state, IMAGE.FSW) & FSW.ES) !== 0;
    view.setUint32(SHORT.FCS, pending ? get16(state, IMAGE.FCS) : 0, true);
    view.setUint32(SHORT.FDS, pending ? get16(state, IMAGE.FDS) : 0, true);
  }
  const end = savedBytes(core);
  for (let at = 0; at < end; at += 8) {
    if (at === IMAGE.MXCSR && !usesSse(core)) continue;
    core.writeLinear(address + BigInt(at), 8, view.getBigUint64(at, true));
  }
}

function fxrstor(core: CpuCore, insn: HelperInsn): void {
  const address = fxArea(core, insn, false);
  const { state } = core;
  const image = new Uint8Array(IMAGE_BYTES);
  const view = new DataView(image.buffer);
  const end = savedBytes(core);
  for (let at = 0; at < end; at += 8) view.setBigUint64(at, core.readLinear(address + BigInt(at), 8), true);
  const sse = usesSse(core);
  if (sse && (view.getUint32(IMAGE.MXCSR, true) & ~MXCSR_MASK) !== 0) fault(VECTOR.GP, 0);

  const wide = insn.operandSize === 8;
  set16(state, IMAGE.FCS, wide ? 0 : view.getUint16(SHORT.FCS, true));
  set16(state, IMAGE.FDS, wide ? 0 : view.getUint16(SHORT.FDS, true));
  if (!wide) image.fill(0, SHORT.FCS, IMAGE.FDP).fill(0, SHORT.FDS, IMAGE.MXCSR);
  image[IMAGE.FTW + 1] = 0;
  for (let i = 0; i < 8; i++) image.fill(0, ST + 16 * i + 10, ST + 16 * i + 16);
  view.setUint16(IMAGE.FCW, controlWord(view.getUint16(IMAGE.FCW, true)), true);
  view.setUint32(IMAGE.MXCSR_MASK, MXCSR_MASK, true);
  if (!sse) view.setUint32(IMAGE.MXCSR, get32(state, IMAGE.MXCSR), true);
  state.bytes.set(image.subarray(0, end), STATE.FXSAVE);
  summarise(state);
}

// ---- The older layouts: environment (7 words) and the registers behind it

/** Bytes of one word of the environment. */
const wordOf = (insn: HelperInsn): 2 | 4 => (insn.operandSize === 2 ? 2 : 4);

/** The tag word with two bits per physical register: 0 valid, 1 zero, 2 special, 3 empty. */
function fullTags(state: CpuState): number {
  const present = state.view.getUint8(STATE.FXSAVE + IMAGE.FTW);
  let tags = 0;
  for (let register = 0; register < 8; register++) {
    const at = STATE.FXSAVE + ST + 16 * ((register - topOf(state)) & 7);
    const exponent = state.view.getUint16(at + 8, true) & 0x7fff;
    const low = state.view.getUint32(at, true);
    const high = state.view.getUint32(at + 4, true);
    let tag = 2;
    if ((present & (1 << register)) === 0) tag = 3;
    else if (exponent === 0 && low === 0 && high === 0) tag = 1;
    else if (exponent !== 0 && exponent !== 0x7fff && high >= 0x8000_0000) tag = 0;
    tags |= tag << (2 * register);
  }
  return tags;
}

function shortTags(tags: number): number {
  let present = 0;
  for (let register = 0; register < 8; register++) {
    if (((tags >> (2 * register)) & 3) !== 3) present |= 1 << register;
  }
  return present;
}

/** The seven words. The 32-bit layout fills unused upper halves with ones, and keeps the opcode beside FCS. */
function environment(state: CpuState, word: 2 | 4): number[] {
  const words = [get16(state, IMAGE.FCW), get16(state, IMAGE.FSW), fullTags(state)];
  const selectors = [get16(state, IMAGE.FCS), get16(state, IMAGE.FDS)];
  if (word === 2) {
    return [...words, get16(state, IMAGE.FIP), selectors[0], get16(state, IMAGE.FDP), selectors[1]];
  }
  const opcode = get16(state, IMAGE.FOP) & 0x7ff;
  const upper = 0xffff_0000;
  return [
    ...words.map((value) => upper + value),
    get32(state, IMAGE.FIP),
    selectors[0] + opcode * 0x1_0000,
    get32(state, IMAGE.FDP),
    upper + selectors[1],
  ];
}

function setEnvironment(state: CpuState, words: number[], word: 2 | 4): void {
  set16(state, IMAGE.FCW, controlWord(words[0] & 0xffff));
  set16(state, IMAGE.FSW, words[1] & 0xffff);
  set16(state, IMAGE.FTW, shortTags(words[2]));
  state.view.setBigUint64(STATE.FXSAVE + IMAGE.FIP, BigInt(words[3]), true);
  set16(state, IMAGE.FCS, words[4] & 0xffff);
  set16(state, IMAGE.FOP, word === 4 ? (words[4] >>> 16) & 0x7ff : 0);
  state.view.setBigUint64(STATE.FXSAVE + IMAGE.FDP, BigInt(words[5]), true);
  set16(state, IMAGE.FDS, words[6] & 0xffff);
  summarise(state);
}

const BYTES_OF_REGISTERS = 80;

function storeEnvironment(core: CpuCore, insn: HelperInsn, registers: boolean): void {
  needX87(core);
  const { state } = core;
  const word = wordOf(insn);
  const length = 7 * word + (registers ? BYTES_OF_REGISTERS : 0);
  const address = core.linear(insn.segment, insn.offset(), length, true);
  core.probeLinear(address, length, ACCESS.WRITE);
  const put = (at: number, size: 2 | 4, value: bigint) =>
    core.writeLinear(wrap(core, address + BigInt(at)), size, value);
  for (const [i, value] of environment(state, word).entries()) put(i * word, word, BigInt(value));
  if (!registers) return;
  for (let i = 0; i < 8; i++) {
    // By 2 bytes: an environment aligned to its words is enough where alignment is checked.
    const from = STATE.FXSAVE + ST + 16 * i;
    for (let k = 0; k < 10; k += 2) put(7 * word + 10 * i + k, 2, BigInt(state.view.getUint16(from + k, true)));
  }
}

function loadEnvironment(core: CpuCore, insn: HelperInsn, registers: boolean): void {
  needQuietX87(core);
  const { state } = core;
  const word = wordOf(insn);
  const length = 7 * word + (registers ? BYTES_OF_REGISTERS : 0);
  const address = core.linear(insn.segment, insn.offset(), length, false);
  core.probeLinear(address, length, ACCESS.READ);
  const get = (at: number, size: 2 | 4) => core.readLinear(wrap(core, address + BigInt(at)), size);
  const words = Array.from({ length: 7 }, (_, i) => Number(get(i * word, word)));
  if (registers) {
    for (let i = 0; i < 8; i++) {
      const to = STATE.FXSAVE + ST + 16 * i;
      for (let k = 0; k < 10; k += 2) state.view.setUint16(to + k, Number(get(7 * word + 10 * i + k, 2)), true);
    }
  } else rotate(state, topOf(state), (words[1] >> FSW.TOP_SHIFT) & 7);
  setEnvironment(state, words, word);
}

const wrap = (core: CpuCore, address: bigint) => BigInt.asUintN(core.state.is64 ? 64 : 32, address);

// ---- The instructions

function fninit(core: CpuCore): void {
  needX87(core);
  initialise(core.state);
}

function fnclex(core: CpuCore): void {
  needX87(core);
  set16(core.state, IMAGE.FSW, get16(core.state, IMAGE.FSW) & 0x7f00);
}

function fnstcw(core: CpuCore, insn: HelperInsn): void {
  needX87(core);
  core.writeSegment(insn.segment, insn.offset(), 2, BigInt(get16(core.state, IMAGE.FCW)));
}

function fldcw(core: CpuCore, insn: HelperInsn): void {
  needQuietX87(core);
  set16(core.state, IMAGE.FCW, controlWord(Number(core.readSegment(insn.segment, insn.offset(), 2))));
  summarise(core.state);
}

function fnstsw_mem(core: CpuCore, insn: HelperInsn): void {
  needX87(core);
  core.writeSegment(insn.segment, insn.offset(), 2, BigInt(get16(core.state, IMAGE.FSW)));
}

function fnstsw_ax(core: CpuCore): void {
  needX87(core);
  core.state.setGpr(RAX, BigInt(get16(core.state, IMAGE.FSW)), 2);
}

/** FWAIT asks MP where the others ask EM. */
function fwait(core: CpuCore): void {
  const both = CR0.MP | CR0.TS;
  if ((cr0(core) & both) === both) fault(VECTOR.NM);
  takePendingError(core);
}

/** All registers count as empty, and TOP returns to 0. */
function emms(core: CpuCore): void {
  needMedia(core);
  takePendingError(core);
  const { state } = core;
  rotate(state, topOf(state), 0);
  set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) & ~FSW.TOP);
  set16(state, IMAGE.FTW, 0);
}

function fnsave(core: CpuCore, insn: HelperInsn): void {
  storeEnvironment(core, insn, true);
  initialise(core.state);
}

/** Storing the environment masks all exceptions, for the handler that is about to look at it. */
function fnstenv(core: CpuCore, insn: HelperInsn): void {
  storeEnvironment(core, insn, false);
  set16(core.state, IMAGE.FCW, get16(core.state, IMAGE.FCW) | FSW.EXCEPTIONS);
  summarise(core.state);
}

export const fpuHelpers: Record<string, (core: CpuCore, insn: HelperInsn) => void> = {
  fninit,
  fnclex,
  fnstcw,
  fldcw,
  fnstsw_mem,
  fnstsw_ax,
  fwait,
  emms,
  fxsave,
  fxrstor,
  fnsave,
  frstor: (core, insn) => loadEnvironment(core, insn, true),
  fnstenv,
  fldenv: (core, insn) => loadEnvironment(core, insn, false),
};
