/** Descriptor-table registers, LDTR and TR, and the instructions that ask about descriptors.
 *
 * Follows: SDM Vol. 2, LGDT, LLDT, LTR, SGDT, SLDT, STR, LAR, LSL, VERR, ARPL; Vol. 3, 2.4, 5.10.
 * Where makers differ this is AMD: SGDT and SIDT store 32 bits of base at any operand size, LAR returns the limit's
 * four upper bits with the access rights (observed on an EPYC).
 * May not: touch a segment register other than LDTR and TR.   Next: engine/system/exceptions.ts. */
import { CR4, RFLAGS, SEGMENT, SYSTEM_TYPE, VECTOR } from '../../x86/constants.ts';
import {
  dplOf,
  isNull,
  limitOf,
  rplOf,
  segmentOf,
  selectorError,
  systemType,
  TSS_BUSY_BIT,
} from '../../x86/descriptor.ts';
import { nullSegment } from '../../x86/vcpu-state.ts';
import { isCanonical } from '../access.ts';
import { ACCESS, type CpuCore, GuestFault, type HelperInsn } from '../core.ts';
import { SEG } from '../state.ts';
import {
  codeOrData,
  type FoundDescriptor,
  findDescriptor,
  isCode,
  isConforming,
  isPresent,
  isWritableData,
  readWord,
  writeWord,
} from './segments.ts';
import { U32, U64 } from './stack.ts';

const gp = (error: number): GuestFault => new GuestFault(VECTOR.GP, error);

function needMemory(insn: HelperInsn): void {
  if (!insn.isMemory) throw new GuestFault(VECTOR.UD);
}
function needLevel0(core: CpuCore): void {
  if (core.state.cpl !== 0) throw gp(0);
}
/** CR4.UMIP hides the tables from user programs. */
function needReadable(core: CpuCore): void {
  if (core.state.cpl > 0 && (core.state.get64('CR4') & BigInt(CR4.UMIP)) !== 0n) throw gp(0);
}

/** The table-register operand in memory: a 16-bit limit, then a base of 4 or 8 bytes. */
function tableOperand(core: CpuCore, insn: HelperInsn, write: boolean): { at: bigint; baseAt: bigint; wide: 4 | 8 } {
  const wide = core.state.is64 ? 8 : 4;
  const at = core.linear(insn.segment, insn.offset(), 2 + wide, write);
  return { at, baseAt: (at + 2n) & (core.state.is64 ? U64 : U32), wide };
}

function loadTable(name: 'GDTR_BASE' | 'IDTR_BASE') {
  return (core: CpuCore, insn: HelperInsn): void => {
    needMemory(insn);
    needLevel0(core);
    const { at, baseAt, wide } = tableOperand(core, insn, false);
    const limit = Number(core.readLinear(at, 2));
    let base = core.readLinear(baseAt, wide);
    if (wide === 8 && !isCanonical(base)) throw gp(0);
    if (wide === 4 && insn.operandSize === 2) base &= 0xff_ffffn;
    core.state.set64(name, base);
    if (name === 'GDTR_BASE') core.state.gdtrLimit = limit;
    else core.state.idtrLimit = limit;
  };
}

function storeTable(name: 'GDTR_BASE' | 'IDTR_BASE') {
  return (core: CpuCore, insn: HelperInsn): void => {
    needMemory(insn);
    needReadable(core);
    const { at, baseAt, wide } = tableOperand(core, insn, true);
    core.probeLinear(at, 2, ACCESS.WRITE);
    core.probeLinear(baseAt, wide, ACCESS.WRITE);
    const limit = name === 'GDTR_BASE' ? core.state.gdtrLimit : core.state.idtrLimit;
    // The base first: an operand whose base is aligned has an aligned limit too, so #AC comes before any write.
    core.writeLinear(baseAt, wide, core.state.get64(name));
    core.writeLinear(at, 2, BigInt(limit & 0xffff));
  };
}

/** Bytes of a system descriptor: sixteen in long mode. */
const systemBytes = (core: CpuCore): number => (core.state.longMode ? 16 : 8);

/** Finds the descriptor that LLDT and LTR name: in the GDT, of the right type, present; its base with the upper half. */
function systemSegment(
  core: CpuCore,
  selector: number,
  fits: (type: number) => boolean,
): { found: FoundDescriptor; base: bigint } {
  const error = selectorError(selector);
  if ((selector & 4) !== 0) throw gp(error);
  const found = findDescriptor(core, selector, systemBytes(core));
  if (!found) throw gp(error);
  const type = systemType(found);
  if (type === undefined || !fits(type)) throw gp(error);
  let base = segmentOf(selector, found).base;
  if (core.state.longMode) {
    const upper = core.readLinear((found.address + 8n) & U64, 8, true);
    if (((upper >> 40n) & 0x1fn) !== 0n) throw gp(error);
    base |= (upper & U32) << 32n;
  }
  if (!isPresent(found.attributes)) throw new GuestFault(VECTOR.NP, error);
  if (core.state.longMode && !isCanonical(base)) throw gp(error);
  return { found, base };
}

function lldt(core: CpuCore, insn: HelperInsn): void {
  needLevel0(core);
  const selector = readWord(core, insn);
  if (isNull(selector)) {
    core.state.setSegment(SEG.LDTR, nullSegment(selector));
    return;
  }
  const { found, base } = systemSegment(core, selector, (type) => type === SYSTEM_TYPE.LDT);
  core.state.setSegment(SEG.LDTR, { ...segmentOf(selector, found), base });
}

function ltr(core: CpuCore, insn: HelperInsn): void {
  needLevel0(core);
  const selector = readWord(core, insn);
  if (isNull(selector)) throw gp(0);
  const { longMode } = core.state;
  const available = (type: number): boolean => type === SYSTEM_TYPE.TSS || (type === SYSTEM_TYPE.TSS16 && !longMode);
  const { found, base } = systemSegment(core, selector, available);
  const attributes = found.attributes | TSS_BUSY_BIT;
  core.writeLinear(found.address + 5n, 1, BigInt(attributes & 0xff), true);
  core.state.setSegment(SEG.TR, { ...segmentOf(selector, found), base, attributes });
}

function sldt(core: CpuCore, insn: HelperInsn): void {
  needReadable(core);
  writeWord(core, insn, core.state.selector(SEG.LDTR));
}

function str(core: CpuCore, insn: HelperInsn): void {
  needReadable(core);
  writeWord(core, insn, core.state.selector(SEG.TR));
}

// ---- Questions about descriptors: the answer is ZF

function setZero(core: CpuCore, zero: boolean): void {
  core.state.rflags = (core.state.rflags & ~RFLAGS.ZF) | (zero ? RFLAGS.ZF : 0);
}

/** System types that LAR and LSL answer for (SDM Vol. 2, tables of LAR and LSL). */
const LAR_TYPES = { legacy: new Set([1, 2, 3, 4, 5, 9, 11, 12]), long: new Set([2, 9, 11, 12]) };
const LSL_TYPES = { legacy: new Set([1, 2, 3, 9, 11]), long: new Set([2, 9, 11]) };

/** The descriptor, if this program may know of it. */
function visible(
  core: CpuCore,
  selector: number,
  systemTypes: { legacy: Set<number>; long: Set<number> } | undefined,
): FoundDescriptor | undefined {
  if (isNull(selector)) return undefined;
  const found = findDescriptor(core, selector);
  if (!found) return undefined;
  const type = systemType(found);
  const { state } = core;
  if (type !== undefined && !systemTypes?.[state.longMode ? 'long' : 'legacy'].has(type)) return undefined;
  if (isConforming(found.attributes)) return found;
  return Math.max(state.cpl, rplOf(selector)) <= dplOf(found.attributes) ? found : undefined;
}

function lar(core: CpuCore, insn: HelperInsn): void {
  const found = visible(core, readWord(core, insn), LAR_TYPES);
  setZero(core, found !== undefined);
  if (found) core.state.setGpr(insn.reg, BigInt(found.high & 0x00ff_ff00), insn.operandSize);
}

function lsl(core: CpuCore, insn: HelperInsn): void {
  const found = visible(core, readWord(core, insn), LSL_TYPES);
  setZero(core, found !== undefined);
  if (found) core.state.setGpr(insn.reg, BigInt(limitOf(found)), insn.operandSize);
}

function verr(core: CpuCore, insn: HelperInsn): void {
  const a = visible(core, readWord(core, insn), undefined)?.attributes;
  setZero(core, a !== undefined && codeOrData(a) && (!isCode(a) || (a & SEGMENT.READABLE) !== 0));
}

function verw(core: CpuCore, insn: HelperInsn): void {
  const a = visible(core, readWord(core, insn), undefined)?.attributes;
  setZero(core, a !== undefined && isWritableData(a));
}

/** ARPL: raises the destination's RPL to the source's. Memory is written only then: with nothing to raise, a read-only
 * page does not fault (observed on an EPYC). */
function arpl(core: CpuCore, insn: HelperInsn): void {
  const { state } = core;
  const wanted = rplOf(Number(state.gpr(insn.reg, 2)));
  const selector = readWord(core, insn);
  const raise = rplOf(selector) < wanted;
  if (raise) {
    const value = BigInt((selector & ~3) | wanted);
    if (insn.isMemory) core.writeSegment(insn.segment, insn.offset(), 2, value);
    else state.setGpr(insn.rm, value, 2);
  }
  setZero(core, raise);
}

export const descriptorHelpers = {
  lgdt: loadTable('GDTR_BASE'),
  lidt: loadTable('IDTR_BASE'),
  sgdt: storeTable('GDTR_BASE'),
  sidt: storeTable('IDTR_BASE'),
  lldt,
  ltr,
  sldt,
  str,
  lar,
  lsl,
  verr,
  verw,
  arpl,
};
