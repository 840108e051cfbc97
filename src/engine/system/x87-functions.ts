/** The x87's functions: remainders, scaling, rounding, and the transcendental ones.
 *
 * The calculations are x86/float's; here is how operands leave the stack and results come to it, and C2, which says that
 * an argument was out of range or a remainder is not complete.
 * Follows: SDM Vol. 2, FPREM, FPREM1, FRNDINT, FSCALE, FXTRACT, FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X,
 * FYL2XP1.   Next: engine/system/x87.ts. */
import type { FloatContext } from '../../x86/float/context.ts';
import { roundToIntegral } from '../../x86/float/convert.ts';
import { EXTENDED80, Float, INTEGER_BIT, KIND } from '../../x86/float/formats.ts';
import {
  atan2,
  cosine,
  exp2MinusOne,
  exponentOf,
  outOfRange,
  partsOf,
  scale,
  sine,
  tan,
  yLog2,
  yLog2OfOnePlus,
} from '../../x86/float/functions.ts';
import { remainder } from '../../x86/float/remainder.ts';
import type { CpuCore, HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { FSW, get16, IMAGE, isEmpty, moveTop, pop, set16 } from './x87-state.ts';
import {
  beginPlain,
  ctx,
  finish,
  putIndefinite,
  readSt,
  stackFault,
  writeSt,
  type X87Helper,
  x,
  y,
} from './x87-unit.ts';

const clearC2 = (state: CpuState): void => set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) & ~FSW.C2);

/** ST(0) := f(ST(0)). */
function ofTop(operation: (ctx: FloatContext, a: Float) => Float): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    if (isEmpty(state, 0)) {
      if (stackFault(state)) putIndefinite(state, 0);
      return;
    }
    const result = operation(ctx, readSt(state, 0, x));
    if (!ctx.stopped) writeSt(state, 0, result);
    finish(state);
  };
}

/** ST(1) := f(ST(1), ST(0)), and a pop. */
function ofTwo(operation: (ctx: FloatContext, second: Float, top: Float) => Float): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    if (isEmpty(state, 0) || isEmpty(state, 1)) {
      if (!stackFault(state)) return;
      putIndefinite(state, 1);
    } else {
      const result = operation(ctx, readSt(state, 1, y), readSt(state, 0, x));
      if (!ctx.stopped) writeSt(state, 1, result);
      finish(state);
      if (ctx.stopped) return;
    }
    pop(state);
  };
}

/** Arguments from 2^63 on stay, and C2 says so. */
function trigonometric(operation: (ctx: FloatContext, a: Float) => Float): X87Helper {
  const whole = ofTop(operation);
  return (core, insn) => {
    if (refuses(core, insn, false)) return;
    whole(core, insn);
    clearC2(core.state);
  };
}
function refuses(core: CpuCore, insn: HelperInsn, needsRoom: boolean): boolean {
  const state = beginPlain(core, insn);
  if (isEmpty(state, 0) || (needsRoom && !isEmpty(state, 7)) || !outOfRange(readSt(state, 0, x))) return false;
  finish(state, 0, false);
  set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) | FSW.C2);
  return true;
}

/** A function of ST(0) with two results: one stays, the other is pushed. */
function twoResults(calculate: (a: Float, first: Float, second: Float) => void): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    if (isEmpty(state, 0) || !isEmpty(state, 7)) {
      if (!stackFault(state, !isEmpty(state, 0))) return;
      putIndefinite(state, 0);
      moveTop(state, -1);
      putIndefinite(state, 0);
      return;
    }
    calculate(readSt(state, 0, x), kept, pushed);
    finish(state);
    if (ctx.stopped) return;
    writeSt(state, 0, kept);
    moveTop(state, -1);
    writeSt(state, 0, pushed);
  };
}
const kept = new Float();
const pushed = new Float();

function withRange(whole: X87Helper): X87Helper {
  return (core, insn) => {
    if (refuses(core, insn, true)) return;
    whole(core, insn);
    clearC2(core.state);
  };
}

const fptan = twoResults((a, first, second) => {
  first.copy(tan(ctx, a));
  if (first.isNan) second.copy(first);
  else second.set(KIND.NORMAL, 0, 0, INTEGER_BIT);
});
const fsincos = twoResults((a, first, second) => {
  const parts = partsOf(a);
  first.copy(sine(ctx, a, parts));
  if (!ctx.stopped) second.copy(cosine(ctx, a, parts));
});
/** Exponent below, significand on top. */
const fxtract = twoResults((a, first, second) => {
  first.copy(exponentOf(ctx, a));
  if (first.isNan) second.copy(first);
  else second.copy(a);
  if (a.isNumber) second.set(KIND.NORMAL, a.sign, 0, a.significand);
});

function fprem(nearest: boolean): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    if (isEmpty(state, 0) || isEmpty(state, 1)) {
      if (stackFault(state)) putIndefinite(state, 0);
      clearC2(state);
      return;
    }
    const { value, complete, quotient } = remainder(ctx, readSt(state, 0, x), readSt(state, 1, y), nearest);
    if (!ctx.stopped) writeSt(state, 0, value);
    finish(state, ctx.flags, ((quotient ?? 0) & 1) !== 0);
    if (quotient === undefined) {
      clearC2(state);
      return;
    }
    const conditions = (quotient & 4 ? FSW.C0 : 0) | (quotient & 2 ? FSW.C3 : 0) | (complete ? 0 : FSW.C2);
    set16(state, IMAGE.FSW, (get16(state, IMAGE.FSW) & ~(FSW.C0 | FSW.C2 | FSW.C3)) | conditions);
  };
}

function fscale(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (stackFault(state)) putIndefinite(state, 0);
    return;
  }
  const result = scale(ctx, readSt(state, 0, x), readSt(state, 1, y));
  if (!ctx.stopped) writeSt(state, 0, result);
  finish(state);
}

export const x87Functions: Record<string, X87Helper> = {
  fprem: fprem(false),
  fprem1: fprem(true),
  frndint: ofTop((context, a) => roundToIntegral(context, EXTENDED80, a)),
  fscale,
  fxtract,
  fsin: trigonometric(sine),
  fcos: trigonometric(cosine),
  fsincos: withRange(fsincos),
  fptan: withRange(fptan),
  fpatan: ofTwo(atan2),
  f2xm1: ofTop(exp2MinusOne),
  fyl2x: ofTwo(yLog2),
  fyl2xp1: ofTwo(yLog2OfOnePlus),
};
