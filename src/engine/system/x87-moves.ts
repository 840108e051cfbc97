/** x87 loads, stores and what moves registers: every format of memory, packed decimals among them.
 *
 * A store that does not happen (an unmasked invalid operation, overflow or underflow) does not pop either; memory that
 * cannot be written faults before anything else is known. FLD and FSTP of 80 bits move bits and raise nothing.
 * Follows: SDM Vol. 2, FLD, FST, FILD, FIST, FBLD, FBSTP, FXCH, FCMOVcc, FFREE; Vol. 1, 8.5.
 * Next: engine/system/x87-arithmetic.ts. */

import { RFLAGS, VECTOR } from '../../x86/constants.ts';
import { EXCEPTION } from '../../x86/float/context.ts';
import { convert, integral, toInteger } from '../../x86/float/convert.ts';
import {
  BINARY32,
  BINARY64,
  decode,
  EXTENDED80,
  encode,
  type Float,
  type Format,
  high80,
  KIND,
  significand80,
} from '../../x86/float/formats.ts';
import { ACCESS, type CpuCore, type HelperInsn } from '../core.ts';
import type { CpuState } from '../cpu-state.ts';
import { STATE } from '../state.ts';
import { fault } from './system-core.ts';
import {
  checksAlignment,
  FSW,
  get16,
  IMAGE,
  isEmpty,
  moveTop,
  needX87,
  notePointers,
  pop,
  ST,
  set16,
  setEmpty,
  setPresent,
} from './x87-state.ts';
import {
  begin,
  beginPlain,
  ctx,
  finish,
  INDEFINITE,
  INDEFINITE_HIGH,
  push,
  putIndefinite,
  readSt,
  setInteger,
  stackFault,
  type X87Helper,
  x,
} from './x87-unit.ts';

/** A number in memory: read before the instruction leaves a trace. */
export function readMemory(core: CpuCore, insn: HelperInsn, bytes: 2 | 4 | 8): bigint {
  const offset = insn.offset();
  const value = core.readSegment(insn.segment, offset, bytes);
  notePointers(core, insn, offset);
  return value;
}
export const formatOf = (bytes: 4 | 8): Format => (bytes === 4 ? BINARY32 : BINARY64);

// ---- Loads

function fld(bytes: 4 | 8): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    const from = formatOf(bytes);
    decode(x, from, readMemory(core, insn, bytes));
    if (x.kind === KIND.DENORMAL) ctx.flags |= EXCEPTION.DE; // unmasked, it is loaded all the same
    const value = convert(ctx, EXTENDED80, x, false);
    // A full stack comes before what is wrong with the value.
    if (!isEmpty(state, 7) || (ctx.flags & ~ctx.masks & EXCEPTION.IE) === 0) {
      push(state, high80(value), significand80(value));
    } else finish(state);
  };
}

const TEN_BYTES = 10;
const wrap = (core: CpuCore, address: bigint): bigint => (core.state.is64 ? address : address & 0xffff_ffffn);

/** 80 bits from memory: sign and exponent, or sign and two digits; and the 64 bits below. */
function readTenBytes(core: CpuCore, insn: HelperInsn): [high: number, low: bigint] {
  const offset = insn.offset();
  const address = core.linear(insn.segment, offset, TEN_BYTES, false);
  const low = core.readLinear(address, 8);
  const high = Number(core.readLinear(wrap(core, address + 8n), 2));
  notePointers(core, insn, offset);
  return [high, low];
}
function fld_m80(core: CpuCore, insn: HelperInsn): void {
  const state = begin(core);
  const [high, low] = readTenBytes(core, insn);
  push(state, high, low);
}
function fild(bytes: 2 | 4 | 8): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    const value = readMemory(core, insn, bytes);
    const half = 1n << BigInt(bytes * 8 - 1);
    setInteger(x, value >= half ? value - 2n * half : value);
    push(state, high80(x), significand80(x));
  };
}
/** Eighteen decimal digits and a sign. Digits above 9 are undefined; they count as what they are here. */
function fbld(core: CpuCore, insn: HelperInsn): void {
  const state = begin(core);
  const [high, low] = readTenBytes(core, insn);
  let value = BigInt(((high >> 4) & 15) * 10 + (high & 15));
  for (let shift = 60n; shift >= 0n; shift -= 4n) value = value * 10n + ((low >> shift) & 15n);
  setInteger(x, value).sign = (high >> 15) as 0 | 1;
  push(state, high80(x), significand80(x));
}
function fld_sti(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  const i = insn.rm & 7;
  if (isEmpty(state, i)) {
    if (stackFault(state)) pushIndefinite(state);
    return;
  }
  const at = STATE.FXSAVE + ST + 16 * i;
  push(state, state.view.getUint16(at + 8, true), state.view.getBigUint64(at, true));
}
function pushIndefinite(state: CpuState): void {
  moveTop(state, -1);
  putIndefinite(state, 0);
}

/** Nearest value, and by how much the directed modes differ from it in the last place: down and zero, up. */
function constant(high: number, significand: bigint, down: bigint, up: bigint): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    const change = ctx.rounding === 0 ? 0n : ctx.rounding === 2 ? up : down;
    push(state, high, significand + change);
  };
}

// ---- Stores

const none: X87Helper = () => {};
const popAfter = (core: CpuCore): void => pop(core.state);

/** Where a store goes. Behind this it cannot fault any more; ten bytes count as aligned at eight. */
function storeAddress(core: CpuCore, insn: HelperInsn, bytes: number): bigint {
  const offset = insn.offset();
  const address = core.linear(insn.segment, offset, bytes, true);
  core.probeLinear(address, bytes, ACCESS.WRITE);
  const alignment = BigInt(Math.min(bytes, 8) - 1);
  if ((address & alignment) !== 0n && checksAlignment(core.state)) fault(VECTOR.AC, 0);
  notePointers(core, insn, offset);
  return address;
}

/** ST(0) rounded to a format of memory. */
function fst(bytes: 4 | 8, after = none): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    const address = storeAddress(core, insn, bytes);
    const to = formatOf(bytes);
    if (isEmpty(state, 0)) {
      if (!stackFault(state)) return;
      core.writeLinear(address, bytes, encode(x.indefinite(), to));
    } else {
      const value = convert(ctx, to, readSt(state, 0, x), false);
      const refused = ctx.flags & ~ctx.masks & (EXCEPTION.IE | EXCEPTION.OE | EXCEPTION.UE);
      if (refused !== 0) {
        finish(state, ctx.flags & ~EXCEPTION.PE, false);
        return;
      }
      core.writeLinear(address, bytes, encode(value, to));
      finish(state);
    }
    after(core, insn);
  };
}

function fist(bytes: 2 | 4 | 8, after = none): X87Helper {
  return (core, insn) => {
    const state = begin(core);
    const address = storeAddress(core, insn, bytes);
    const bits = (bytes * 8) as 16 | 32 | 64;
    if (isEmpty(state, 0)) {
      if (!stackFault(state)) return;
      core.writeLinear(address, bytes, 1n << BigInt(bits - 1));
    } else {
      const value = toInteger(ctx, readSt(state, 0, x), bits);
      if (!ctx.stopped) core.writeLinear(address, bytes, value);
      finish(state);
      if (ctx.stopped) return;
    }
    after(core, insn);
  };
}

/** Writes ten bytes and pops; `value` is asked behind the checks of memory. */
function storeTen(
  core: CpuCore,
  insn: HelperInsn,
  value: () => [high: number, low: bigint],
  empty: [number, bigint],
): void {
  const state = begin(core);
  const address = storeAddress(core, insn, TEN_BYTES);
  const isGone = isEmpty(state, 0);
  if (isGone && !stackFault(state)) return;
  const [high, low] = isGone ? empty : value();
  if (!isGone) {
    finish(state);
    if (ctx.stopped) return;
  }
  core.writeLinear(address, 8, low);
  core.writeLinear(wrap(core, address + 8n), 2, BigInt(high));
  pop(state);
}
function fstp_m80(core: CpuCore, insn: HelperInsn): void {
  const at = STATE.FXSAVE + ST;
  const { view } = core.state;
  storeTen(core, insn, () => [view.getUint16(at + 8, true), view.getBigUint64(at, true)], [
    INDEFINITE_HIGH,
    INDEFINITE,
  ]);
}
const DECIMAL_INDEFINITE: [number, bigint] = [0xffff, INDEFINITE];
const DECIMALS = 10n ** 18n;
function fbstp(core: CpuCore, insn: HelperInsn): void {
  storeTen(core, insn, () => decimal(readSt(core.state, 0, x)), DECIMAL_INDEFINITE);
}
function decimal(a: Float): [number, bigint] {
  const sign = a.sign << 15;
  if (a.kind === KIND.ZERO) return [sign, 0n];
  const { magnitude, inexact, up } =
    a.isNumber && a.exponent < 64 ? integral(a, ctx.rounding) : { magnitude: DECIMALS, inexact: false, up: false };
  if (magnitude >= DECIMALS) {
    ctx.flags |= EXCEPTION.IE;
    return DECIMAL_INDEFINITE;
  }
  if (inexact) ctx.flags |= EXCEPTION.PE;
  ctx.roundedUp = up;
  const packed = BigInt(`0x${magnitude}`);
  return [sign | Number(packed >> 64n), packed & 0xffff_ffff_ffff_ffffn];
}

/** ST(0) as it is to another register. */
function fst_sti(after = none): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    const i = insn.rm & 7;
    if (isEmpty(state, 0)) {
      if (!stackFault(state)) return;
      putIndefinite(state, i);
    } else {
      copySt(state, 0, i);
      setPresent(state, i);
      finish(state);
    }
    after(core, insn);
  };
}

/** D9 D8, an alias that knows no stack fault: an empty register is not stored. */
function fstpnce_sti(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  const i = insn.rm & 7;
  if (!isEmpty(state, 0)) {
    copySt(state, 0, i);
    setPresent(state, i);
  }
  finish(state);
  pop(state);
}

function copySt({ words }: CpuState, from: number, to: number): void {
  const source = (STATE.FXSAVE + ST + 16 * from) >> 2;
  words.copyWithin((STATE.FXSAVE + ST + 16 * to) >> 2, source, source + 3);
}

// ---- Between registers

function fxch(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  const i = insn.rm & 7;
  const empty = [isEmpty(state, 0), isEmpty(state, i)];
  if (empty[0] || empty[1]) {
    if (!stackFault(state)) return;
    if (empty[0]) putIndefinite(state, 0);
    if (empty[1]) putIndefinite(state, i);
  } else finish(state);
  const { words } = state;
  const a = (STATE.FXSAVE + ST) >> 2;
  const b = a + 4 * i;
  for (let k = 0; k < 3; k++) {
    const word = words[a + k];
    words[a + k] = words[b + k];
    words[b + k] = word;
  }
}

/** Moves when any of the flags is set, or (`negated`) none. C1 stays but for a stack fault. */
function fcmov(flags: number, negated: boolean): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    const i = insn.rm & 7;
    if (isEmpty(state, 0) || isEmpty(state, i)) {
      if (stackFault(state)) putIndefinite(state, 0);
      return;
    }
    if (((state.rflags & flags) !== 0) !== negated) copySt(state, i, 0);
  };
}

/** A change of ST(0)'s sign, whatever it is. */
function changeSign(change: (high: number) => number): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    if (isEmpty(state, 0)) {
      if (stackFault(state)) putIndefinite(state, 0);
      return;
    }
    const at = STATE.FXSAVE + ST + 8;
    state.view.setUint16(at, change(state.view.getUint16(at, true)), true);
    finish(state);
  };
}

function turn(step: -1 | 1): X87Helper {
  return (core, insn) => {
    const state = beginPlain(core, insn);
    set16(state, IMAGE.FSW, get16(state, IMAGE.FSW) & ~FSW.C1);
    moveTop(state, step);
  };
}
function ffree(core: CpuCore, insn: HelperInsn): void {
  const state = beginPlain(core, insn);
  setEmpty(state, insn.rm & 7);
  finish(state);
}

const { CF, ZF, PF } = RFLAGS;

export const x87Moves: Record<string, X87Helper> = {
  fld_m32: fld(4),
  fld_m64: fld(8),
  fld_m80,
  fld_sti,
  fild_m16: fild(2),
  fild_m32: fild(4),
  fild_m64: fild(8),
  fbld,
  fld1: constant(0x3fff, 0x8000_0000_0000_0000n, 0n, 0n),
  fldl2t: constant(0x4000, 0xd49a_784b_cd1b_8afen, 0n, 1n),
  fldl2e: constant(0x3fff, 0xb8aa_3b29_5c17_f0bcn, -1n, 0n),
  fldpi: constant(0x4000, 0xc90f_daa2_2168_c235n, -1n, 0n),
  fldlg2: constant(0x3ffd, 0x9a20_9a84_fbcf_f799n, -1n, 0n),
  fldln2: constant(0x3ffe, 0xb172_17f7_d1cf_79acn, -1n, 0n),
  fldz: constant(0, 0n, 0n, 0n),
  fst_m32: fst(4),
  fstp_m32: fst(4, popAfter),
  fst_m64: fst(8),
  fstp_m64: fst(8, popAfter),
  fstp_m80,
  fst_sti: fst_sti(),
  fstp_sti: fst_sti(popAfter),
  fstpnce_sti,
  fist_m16: fist(2),
  fistp_m16: fist(2, popAfter),
  fist_m32: fist(4),
  fistp_m32: fist(4, popAfter),
  fistp_m64: fist(8, popAfter),
  fbstp,
  fxch_sti: fxch,
  fcmovb_sti: fcmov(CF, false),
  fcmove_sti: fcmov(ZF, false),
  fcmovbe_sti: fcmov(CF | ZF, false),
  fcmovu_sti: fcmov(PF, false),
  fcmovnb_sti: fcmov(CF, true),
  fcmovne_sti: fcmov(ZF, true),
  fcmovnbe_sti: fcmov(CF | ZF, true),
  fcmovnu_sti: fcmov(PF, true),
  fchs: changeSign((high) => high ^ 0x8000),
  fabs: changeSign((high) => high & 0x7fff),
  ffree_sti: ffree,
  ffreep_sti: (core, insn) => {
    ffree(core, insn);
    pop(core.state);
  },
  fincstp: turn(1),
  fdecstp: turn(-1),
  fnop: (core, insn) => void beginPlain(core, insn),
  // Of the 8087 and 80287; later ones ignore them.
  fneni: needX87,
  fndisi: needX87,
  fnsetpm: needX87,
};
