/** Segment registers: descriptors fetched from their tables, judged, and loaded.
 *
 * CS is loaded by far transfers only (far.ts, exceptions.ts); they share the descriptor fetch and the rules of SS here.
 * Follows: SDM Vol. 3, 5.6 and 5.7 (privilege checks), Vol. 2 (MOV, POP, LDS). Where makers differ this is an AMD
 * family 0xf: a null selector in FS or GS keeps the base in long mode, PUSH of a segment register writes its whole
 * slot, and REX.W does not widen the pointer in memory that LSS, LFS and LGS read (observed on an EPYC).
 * May not: change a register before every check has passed.   Next: engine/system/descriptors.ts. */
import { CR4, SEGMENT, VECTOR } from '../../x86/constants.ts';
import {
  attributesOf,
  baseOf,
  type Descriptor,
  dplOf,
  isNull,
  limitOf,
  rplOf,
  selectorError,
  splitDescriptor,
} from '../../x86/descriptor.ts';
import { nullSegment, type Segment } from '../../x86/vcpu-state.ts';
import { isCanonical } from '../access.ts';
import { ACCESS, type CpuCore, GuestFault, type HelperInsn } from '../core.ts';
import { SEG, SHADOW } from '../state.ts';
import { currentStackMask, peek, push, RSP, setStackPointer, U32, U64 } from './stack.ts';

/** A descriptor and where it lies, so that its accessed or busy bit can be set. */
export type FoundDescriptor = Descriptor & { selector: number; address: bigint; attributes: number };

/** Linear address of a byte in a descriptor table: 32 bits wide outside long mode. */
export function tableAddress(core: CpuCore, base: bigint, offset: number): bigint {
  const address = base + BigInt(offset);
  return core.state.longMode ? address & U64 : address & U32;
}

/** Fetches a descriptor from the GDT or LDT; undefined when its `bytes` do not all lie within the table's limit. */
export function findDescriptor(core: CpuCore, selector: number, bytes = 8): FoundDescriptor | undefined {
  const { state } = core;
  const offset = selector & 0xfff8;
  const local = (selector & 4) !== 0;
  if (local && state.attributes(SEG.LDTR) === 0) return undefined;
  if (offset + bytes - 1 > (local ? state.limit(SEG.LDTR) : state.gdtrLimit)) return undefined;
  const address = tableAddress(core, local ? state.base(SEG.LDTR) : state.get64('GDTR_BASE'), offset);
  const { low, high } = splitDescriptor(core.readLinear(address, 8, true));
  return { low, high, selector, address, attributes: attributesOf({ low, high }) };
}

export const codeOrData = (a: number): boolean => (a & SEGMENT.S) !== 0;
export const isCode = (a: number): boolean => (a & (SEGMENT.S | SEGMENT.CODE)) === (SEGMENT.S | SEGMENT.CODE);
export const isConforming = (a: number): boolean => isCode(a) && (a & SEGMENT.CONFORMING) !== 0;
export const isWritableData = (a: number): boolean =>
  (a & (SEGMENT.S | SEGMENT.CODE | SEGMENT.WRITABLE)) === (SEGMENT.S | SEGMENT.WRITABLE);
export const isPresent = (a: number): boolean => (a & SEGMENT.P) !== 0;
/** Code for 64-bit mode: L set, D clear. */
export const isCode64 = (a: number): boolean => (a & (SEGMENT.L | SEGMENT.DB)) === SEGMENT.L;

/** Raises what setting the accessed bit would raise; nothing when it is set already. */
export function probeAccessed(core: CpuCore, d: FoundDescriptor): void {
  if ((d.attributes & SEGMENT.ACCESSED) === 0) core.probeLinear(d.address + 5n, 1, ACCESS.WRITE, true);
}
/** Loads a segment register from a descriptor, with `selector` (whose RPL a transfer may have changed). */
export function installSegment(core: CpuCore, segment: number, d: FoundDescriptor, selector = d.selector): void {
  const attributes = d.attributes | SEGMENT.ACCESSED;
  core.state.setSegment(segment, { selector, base: BigInt(baseOf(d)), limit: limitOf(d), attributes });
}
/** Sets the accessed bit in the table. */
export function markAccessed(core: CpuCore, d: FoundDescriptor): void {
  if ((d.attributes & SEGMENT.ACCESSED) !== 0) return;
  core.writeLinear(d.address + 5n, 1, BigInt((d.attributes & 0xff) | SEGMENT.ACCESSED), true);
}

/** Makes a data segment register null. FS and GS keep their base in long mode (AMD before Zen 3). */
export function loadNull(core: CpuCore, segment: number, selector: number): void {
  const { state } = core;
  const keeps = state.longMode && (segment === SEG.FS || segment === SEG.GS);
  state.setSegment(segment, { ...nullSegment(selector), base: keeps ? state.base(segment) : 0n });
}

/** A stack segment that passed its checks: ready for a Frame, and to be committed later. */
export type CheckedStack = { segment: Segment; found: FoundDescriptor | undefined };

/** The checks of a stack selector against the privilege level that will use it. `vector` and `ext`: #TS when it came
 * from a TSS, #GP otherwise. Null selectors are the caller's. */
export function checkStack(core: CpuCore, selector: number, level: number, vector: number, ext = 0): CheckedStack {
  const error = selectorError(selector) | ext;
  const found = findDescriptor(core, selector);
  if (!found || rplOf(selector) !== level) throw new GuestFault(vector, error);
  if (!isWritableData(found.attributes) || dplOf(found.attributes) !== level) throw new GuestFault(vector, error);
  if (!isPresent(found.attributes)) throw new GuestFault(VECTOR.SS, error);
  const attributes = found.attributes | SEGMENT.ACCESSED;
  return { segment: { selector, base: BigInt(baseOf(found)), limit: limitOf(found), attributes }, found };
}
export function probeStack(core: CpuCore, stack: CheckedStack): void {
  if (stack.found) probeAccessed(core, stack.found);
}
/** Prepares the load of ES, SS, DS, FS or GS: every check and probe now, the load when the result is called. */
function prepareLoad(core: CpuCore, segment: number, selector: number): () => void {
  const { state } = core;
  const cpl = state.cpl;
  if (segment === SEG.SS) {
    if (isNull(selector)) {
      if (!state.is64 || cpl === 3 || rplOf(selector) !== cpl) throw new GuestFault(VECTOR.GP, 0);
      return () => loadNull(core, segment, selector);
    }
    const stack = checkStack(core, selector, cpl, VECTOR.GP);
    probeStack(core, stack);
    return () => {
      if (stack.found) markAccessed(core, stack.found);
      state.setSegment(SEG.SS, stack.segment);
    };
  }
  if (isNull(selector)) return () => loadNull(core, segment, selector);
  const found = findDescriptor(core, selector);
  const error = selectorError(selector);
  if (!found) throw new GuestFault(VECTOR.GP, error);
  const { attributes } = found;
  const readable = codeOrData(attributes) && (!isCode(attributes) || (attributes & SEGMENT.READABLE) !== 0);
  if (!readable) throw new GuestFault(VECTOR.GP, error);
  if (!isConforming(attributes) && Math.max(rplOf(selector), cpl) > dplOf(attributes)) {
    throw new GuestFault(VECTOR.GP, error);
  }
  if (!isPresent(attributes)) throw new GuestFault(VECTOR.NP, error);
  probeAccessed(core, found);
  return () => {
    markAccessed(core, found);
    installSegment(core, segment, found);
  };
}

/** Loads ES, SS, DS, FS or GS as MOV and POP do. */
export function loadSegment(core: CpuCore, segment: number, selector: number): void {
  prepareLoad(core, segment, selector)();
  core.modeChanged();
}

/** After a transfer outward: data segments that the outer level could not have loaded become null (SDM Vol. 3, 5.8.6). */
export function dropInnerSegments(core: CpuCore): void {
  const { state } = core;
  for (const segment of [SEG.ES, SEG.FS, SEG.GS, SEG.DS]) {
    const attributes = state.attributes(segment);
    if (attributes === 0 || isConforming(attributes)) continue;
    if (dplOf(attributes) < state.cpl) loadNull(core, segment, 0);
  }
}

/** The far pointer of LDS and its kin, LJMP and LCALL through memory: offset, then selector. One operand of both. */
export function readFarPointer(core: CpuCore, insn: HelperInsn): { offset: bigint; selector: number } {
  const size = insn.operandSize === 2 ? 2 : 4;
  const { state } = core;
  const address = core.linear(insn.segment, insn.offset(), size + 2, false);
  const mask = state.is64 ? U64 : U32;
  const offset = core.readLinear(address, size);
  const selector = Number(core.readLinear((address + BigInt(size)) & mask, 2));
  return { offset, selector };
}

/** The 16-bit operand in a register or in memory. */
export function readWord(core: CpuCore, insn: HelperInsn): number {
  if (!insn.isMemory) return Number(core.state.gpr(insn.rm, 2));
  return Number(core.readSegment(insn.segment, insn.offset(), 2));
}
/** Stores a selector or other word: 16 bits to memory, zero-extended to the operand size to a register. */
export function writeWord(core: CpuCore, insn: HelperInsn, value: number): void {
  if (insn.isMemory) core.writeSegment(insn.segment, insn.offset(), 2, BigInt(value));
  else core.state.setGpr(insn.rm, BigInt(value), insn.operandSize);
}

function mov_to_sreg(core: CpuCore, insn: HelperInsn): void {
  const segment = insn.reg & 7;
  if (segment === SEG.CS || segment > SEG.GS) throw new GuestFault(VECTOR.UD);
  loadSegment(core, segment, readWord(core, insn));
  if (segment === SEG.SS) core.state.shadow = SHADOW.STACK;
}

function mov_from_sreg(core: CpuCore, insn: HelperInsn): void {
  const segment = insn.reg & 7;
  if (segment > SEG.GS) throw new GuestFault(VECTOR.UD);
  writeWord(core, insn, core.state.selector(segment));
}

/** PUSH and POP name their segment register in the opcode: 06 ES, 0E CS, 16 SS, 1E DS, 0F A0 FS, 0F A8 GS (POP one
 * above). */
const segmentOfOpcode = (opcode: number): number =>
  opcode < 0xa0 ? (opcode >> 3) & 3 : opcode < 0xa8 ? SEG.FS : SEG.GS;

function push_sreg(core: CpuCore, insn: HelperInsn): void {
  push(core, BigInt(core.state.selector(segmentOfOpcode(insn.opcode))), insn.operandSize);
}

function pop_sreg(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const segment = segmentOfOpcode(insn.opcode);
  const selector = Number(peek(core, 0, insn.operandSize) & 0xffffn);
  // The old SS says how far the stack pointer moves, the checks of the new one come first.
  const mask = currentStackMask(state);
  const next = (state.gpr(RSP) & mask) + BigInt(insn.operandSize);
  loadSegment(core, segment, selector);
  setStackPointer(state, next, mask);
  if (segment === SEG.SS) state.shadow = SHADOW.STACK;
}

const loadFar =
  (segment: number) =>
  (core: CpuCore, insn: HelperInsn): void => {
    if (!insn.isMemory) throw new GuestFault(VECTOR.UD);
    const { offset, selector } = readFarPointer(core, insn);
    loadSegment(core, segment, selector);
    core.state.setGpr(insn.reg, offset, insn.operandSize);
  };

/** RDFSBASE and its kin: CPUID's say is the decoder's, CR4.FSGSBASE is asked here. */
function needFsGsBase(core: CpuCore): void {
  const enabled = (core.state.get64('CR4') & BigInt(CR4.FSGSBASE)) !== 0n;
  if (!enabled || !core.state.is64) throw new GuestFault(VECTOR.UD);
}
const readBase =
  (segment: number) =>
  (core: CpuCore, insn: HelperInsn): void => {
    needFsGsBase(core);
    core.state.setGpr(insn.rm, core.state.base(segment), insn.operandSize === 8 ? 8 : 4);
  };
const writeBase =
  (segment: number) =>
  (core: CpuCore, insn: HelperInsn): void => {
    needFsGsBase(core);
    const base = core.state.gpr(insn.rm, insn.operandSize === 8 ? 8 : 4);
    if (!isCanonical(base)) throw new GuestFault(VECTOR.GP, 0);
    core.state.setBase(segment, base);
  };

export const segmentHelpers = {
  rdfsbase: readBase(SEG.FS),
  rdgsbase: readBase(SEG.GS),
  wrfsbase: writeBase(SEG.FS),
  wrgsbase: writeBase(SEG.GS),
  mov_to_sreg,
  mov_from_sreg,
  push_sreg,
  pop_sreg,
  les: loadFar(SEG.ES),
  lds: loadFar(SEG.DS),
  lss: loadFar(SEG.SS),
  lfs: loadFar(SEG.FS),
  lgs: loadFar(SEG.GS),
};
