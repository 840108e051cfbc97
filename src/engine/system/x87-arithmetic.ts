/** x87 arithmetic and comparisons, between registers and with memory.
 *
 * Memory operands of 32 and 64 bits and integers are exact in the 80-bit format; a denormal or a signalling one counts as
 * such in its own format. The precision control narrows results of the four operations and of the root only.
 * Follows: SDM Vol. 2, FADD, FSUB, FMUL, FDIV, FCOM, FCOMI, FUCOM, FTST, FXAM, FSQRT, FPREM, FRNDINT, FSCALE, FXTRACT.
 * Next: engine/system/x87-functions.ts. */

import { RFLAGS } from '../../x86/constants.ts';
import { add, divide, multiply, squareRoot, subtract } from '../../x86/float/arithmetic.ts';
import { compare, ORDER, type Order } from '../../x86/float/compare.ts';
import { decode, EXTENDED80, type Float, KIND } from '../../x86/float/formats.ts';
import type { CpuCore, HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { formatOf, readMemory } from './x87-moves.ts';
import { FSW, get16, IMAGE, isEmpty, pop } from './x87-state.ts';
import {
  begin,
  beginPlain,
  ctx,
  finish,
  putIndefinite,
  readSt,
  setConditions,
  setInteger,
  stackFault,
  writeSt,
  type X87Helper,
  x,
  y,
} from './x87-unit.ts';

type Operation = typeof add;
/** Where the second operand is, and how many registers are popped. */
type Source = (core: CpuCore, insn: HelperInsn) => void;

/** Memory operands into y. */
const real =
  (bytes: 4 | 8): Source =>
  (core, insn) => {
    decode(y, formatOf(bytes), readMemory(core, insn, bytes));
  };
const integer =
  (bytes: 2 | 4): Source =>
  (core, insn) => {
    const value = readMemory(core, insn, bytes);
    const half = 1n << BigInt(bytes * 8 - 1);
    setInteger(y, value >= half ? value - 2n * half : value);
  };

/** Books a result; false when an unmasked exception came before it. */
function deliver(state: CpuState, to: number, result: Float): boolean {
  if (!ctx.stopped) writeSt(state, to, result);
  finish(state);
  return !ctx.stopped;
}

/** ST(0) := ST(0) op memory; reversed, memory op ST(0). */
function withMemory(operation: Operation, source: Source, reversed: boolean): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    source(core, insn);
    if (isEmpty(state, 0)) {
      if (stackFault(state)) putIndefinite(state, 0);
      return;
    }
    readSt(state, 0, x);
    deliver(state, 0, reversed ? operation(ctx, EXTENDED80, y, x) : operation(ctx, EXTENDED80, x, y));
  };
}

/** ST(0) := ST(0) op ST(i), or ST(i) := ST(i) op ST(0); reversed, the operands change places. */
function withRegister(operation: Operation, toTop: boolean, reversed: boolean, pops: boolean): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    const i = insn.rm & 7;
    const to = toTop ? 0 : i;
    if (isEmpty(state, 0) || isEmpty(state, i)) {
      if (!stackFault(state)) return;
      putIndefinite(state, to);
    } else {
      readSt(state, to, x);
      readSt(state, toTop ? i : 0, y);
      const result = reversed ? operation(ctx, EXTENDED80, y, x) : operation(ctx, EXTENDED80, x, y);
      if (!deliver(state, to, result)) return;
    }
    if (pops) pop(state);
  };
}

// ---- Comparisons

const CONDITIONS: Record<Order, number> = {
  [ORDER.LESS]: FSW.C0,
  [ORDER.EQUAL]: FSW.C3,
  [ORDER.GREATER]: 0,
  [ORDER.UNORDERED]: FSW.C0 | FSW.C2 | FSW.C3,
};
const { CF, PF, ZF, SF, OF, AF } = RFLAGS;
const FLAGS: Record<Order, number> = {
  [ORDER.LESS]: CF,
  [ORDER.EQUAL]: ZF,
  [ORDER.GREATER]: 0,
  [ORDER.UNORDERED]: CF | PF | ZF,
};

type Report = (state: CpuState, order: Order) => void;
const toStatus: Report = (state, order) => setConditions(state, CONDITIONS[order]);
const toFlags: Report = (state, order) => {
  state.rflags = (state.rflags & ~(CF | PF | ZF | SF | OF | AF)) | FLAGS[order];
};

/** ST(0) with what is in y. What is found is reported whatever is unmasked; false when nothing may be popped. */
function compareTop(state: CpuState, missing: boolean, quiet: boolean, report: Report): boolean {
  if (missing) {
    report(state, ORDER.UNORDERED);
    return stackFault(state);
  }
  const order = compare(ctx, readSt(state, 0, x), y, quiet);
  const keepsC1 = report === toFlags && (get16(state, IMAGE.FSW) & FSW.C1) !== 0;
  finish(state, ctx.flags, keepsC1);
  report(state, order);
  return !ctx.stopped;
}

function compareMemory(source: Source, pops: boolean): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    source(core, insn);
    if (compareTop(state, isEmpty(state, 0), false, toStatus) && pops) pop(state);
  };
}
function compareRegister(quiet: boolean, report: Report, pops: 0 | 1 | 2): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    const i = insn.rm & 7;
    readSt(state, i, y);
    if (!compareTop(state, isEmpty(state, 0) || isEmpty(state, i), quiet, report)) return;
    for (let n: number = pops; n > 0; n--) pop(state);
  };
}
function ftst(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  y.zero(0);
  compareTop(state, isEmpty(state, 0), false, toStatus);
}

const CLASSES: Record<number, number> = {
  [KIND.UNSUPPORTED]: 0,
  [KIND.QNAN]: FSW.C0,
  [KIND.SNAN]: FSW.C0,
  [KIND.NORMAL]: FSW.C2,
  [KIND.INFINITY]: FSW.C2 | FSW.C0,
  [KIND.ZERO]: FSW.C3,
  [KIND.DENORMAL]: FSW.C3 | FSW.C2,
};
function fxam(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  readSt(state, 0, x);
  setConditions(state, isEmpty(state, 0) ? FSW.C3 | FSW.C0 : CLASSES[x.kind]);
  finish(state, 0, x.sign === 1);
}

function fsqrt(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  if (!isEmpty(state, 0)) deliver(state, 0, squareRoot(ctx, EXTENDED80, readSt(state, 0, x)));
  else if (stackFault(state)) putIndefinite(state, 0);
}

function forms(name: string, operation: Operation, reversed: boolean): [string, X87Helper][] {
  return [
    [`f${name}_m32`, withMemory(operation, real(4), reversed)],
    [`f${name}_m64`, withMemory(operation, real(8), reversed)],
    [`fi${name}_m16`, withMemory(operation, integer(2), reversed)],
    [`fi${name}_m32`, withMemory(operation, integer(4), reversed)],
    [`f${name}_st0`, withRegister(operation, true, reversed, false)],
    [`f${name}_sti`, withRegister(operation, false, reversed, false)],
    [`f${name}p_sti`, withRegister(operation, false, reversed, true)],
  ];
}

export const x87Arithmetic: Record<string, X87Helper> = {
  ...Object.fromEntries([
    ...forms('add', add, false),
    ...forms('mul', multiply, false),
    ...forms('sub', subtract, false),
    ...forms('subr', subtract, true),
    ...forms('div', divide, false),
    ...forms('divr', divide, true),
  ]),
  fcom_m32: compareMemory(real(4), false),
  fcomp_m32: compareMemory(real(4), true),
  fcom_m64: compareMemory(real(8), false),
  fcomp_m64: compareMemory(real(8), true),
  ficom_m16: compareMemory(integer(2), false),
  ficomp_m16: compareMemory(integer(2), true),
  ficom_m32: compareMemory(integer(4), false),
  ficomp_m32: compareMemory(integer(4), true),
  fcom_sti: compareRegister(false, toStatus, 0),
  fcomp_sti: compareRegister(false, toStatus, 1),
  fcompp: compareRegister(false, toStatus, 2),
  fucom_sti: compareRegister(true, toStatus, 0),
  fucomp_sti: compareRegister(true, toStatus, 1),
  fucompp: compareRegister(true, toStatus, 2),
  fcomi_sti: compareRegister(false, toFlags, 0),
  fcomip_sti: compareRegister(false, toFlags, 1),
  fucomi_sti: compareRegister(true, toFlags, 0),
  fucomip_sti: compareRegister(true, toFlags, 1),
  ftst,
  fxam,
  fsqrt,
};
