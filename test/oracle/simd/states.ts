/** The states in which every instruction on MMX and XMM registers is recorded: made from the rows, by the name of each.
 *
 * A form is a row with a register or with memory; its encoding comes from the row's own code, so that a row with a
 * wrong opcode disagrees with the host. Numbers sit on edges (denormals, NaNs of both kinds, neighbours of limits,
 * halves for rounding), MXCSR takes every rounding mode, masks, and DAZ and FTZ.
 * May not: be changed without recording again.   Next: test/oracle/simd/native.ts. */
import { INSTRUCTIONS } from '../../../src/x86/isa/index.ts';
import type { Form } from '../../../src/x86/isa/types.ts';
import { Random } from '../random.ts';

export const CODE = 0x1000_0000;
export const DATA = 0x2000_0000;
export const WINDOW = 64;

export type SimdState = {
  gpr: bigint[];
  rflags: bigint;
  mxcsr: number;
  fcw: number;
  fsw: number;
  /** One bit for each physical register, as FXSAVE has it. */
  ftw: number;
  st: Uint8Array;
  xmm: Uint8Array;
  data: Uint8Array;
};
export type SimdForm = { id: string; form: Form; memory: boolean; wide: boolean };
export type SimdCase = { form: SimdForm; index: number; code: Uint8Array; start: SimdState };

/** Approximations have bits of the processor's own choice. */
const APPROXIMATE = /^(rcp|rsqrt)/;

export function simdForms(): SimdForm[] {
  const forms: SimdForm[] = [];
  for (const form of INSTRUCTIONS) {
    const { op } = form;
    if (op.vector === undefined && !/^maskmov/.test(op.name)) continue;
    if (APPROXIMATE.test(op.name)) continue;
    const shapes = / mem/.test(form.code) ? [true] : / mod3/.test(form.code) ? [false] : [false, true];
    for (const memory of shapes) {
      for (const wide of /[EG]y/.test(form.operands) ? [false, true] : [false]) {
        const id = `${op.name} [${form.code}] ${form.operands} ${memory ? 'm' : 'r'}${wide ? ' w' : ''}`;
        forms.push({ id, form, memory, wide });
      }
    }
  }
  return forms;
}

const isFloat = ({ op }: Form): boolean => /(ps|pd|ss|sd|2si|2pi|2dq)$|^cvt/.test(op.name) && !/^(mov|and|or|xor|unpck|shuf)/.test(op.name); // biome-ignore format: short

/** So many states each: arithmetic has the most corners. */
export const statesOf = ({ form }: SimdForm): number => (isFloat(form) ? 160 : 24);

function encode(random: Random, { form, memory, wide }: SimdForm): { code: Uint8Array; base: number; disp: number } {
  const words = form.code.split(' ');
  const bytes: number[] = [];
  if (/^(66|f2|f3)$/.test(words[0])) bytes.push(Number.parseInt(words[0], 16));
  const opcode = words.slice(1).filter((w) => /^[0-9a-f]{2}$/.test(w));
  const digit = words.find((w) => w[0] === '/');
  const reg = digit ? Number(digit[1]) : random.below(16);
  const rm = random.below(16);
  const base = random.pick([3, 6, 7, 9, 14]);
  const disp = random.below(64) - 32;
  const number = memory ? base : rm;
  const rex = 0x40 | (wide ? 8 : 0) | (reg >= 8 ? 4 : 0) | (number >= 8 ? 1 : 0);
  if (rex !== 0x40) bytes.push(rex);
  bytes.push(...opcode.map((w) => Number.parseInt(w, 16)));
  bytes.push((memory ? 0x40 : 0xc0) | ((reg & 7) << 3) | (number & 7));
  if (memory) bytes.push(disp & 0xff);
  if (form.operands.endsWith('Ib')) bytes.push(immediate(random, form));
  return { code: Uint8Array.from(bytes), base, disp };
}

export function immediate(random: Random, form: Form): number {
  if (/^ps[lr]/.test(form.op.name) && random.chance(70)) return random.below(70);
  return random.below(256);
}

const F32_EDGES = [0, 0x8000_0000, 1, 0x7f_ffff, 0x80_0000, 0x80_0001, 0x3f80_0000, 0x3f7f_ffff, 0x3f80_0001, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff, 0x7fa0_1234, 0xffc0_0000, 0x4b00_0000, 0x4eff_ffff, 0x4f00_0000, 0xcf00_0000, 0xcf00_0001, 0x3f00_0000, 0x3fc0_0000, 0x40a0_0000, 0x4080_0000, 0x3300_0000, 0x0100_0000, 0x0c00_0000, 0x5f00_0000, 0xdf00_0000, 0x5eff_ffff]; // biome-ignore format: a list
const F64_EDGES = [0n, 1n << 63n, 1n, 0xf_ffff_ffff_ffffn, 0x10_0000_0000_0000n, 0x10_0000_0000_0001n, 0x3ff0_0000_0000_0000n, 0x3fef_ffff_ffff_ffffn, 0x3ff0_0000_0000_0001n, 0x7fef_ffff_ffff_ffffn, 0x7ff0_0000_0000_0000n, 0x7ff0_0000_0000_0001n, 0x7ff8_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn, 0xfff4_0000_1234_5678n, 0xfff8_0000_0000_0000n, 0x4330_0000_0000_0000n, 0x41df_ffff_ffc0_0000n, 0x41df_ffff_ffe0_0000n, 0x41e0_0000_0000_0000n, 0xc1e0_0000_0000_0000n, 0xc1e0_0000_0010_0000n, 0xc1e0_0000_0020_0000n, 0x43e0_0000_0000_0000n, 0xc3e0_0000_0000_0000n, 0x43df_ffff_ffff_ffffn, 0x3fe0_0000_0000_0000n, 0x3ff8_0000_0000_0000n, 0x4014_0000_0000_0000n, 0x4010_0000_0000_0000n, 0x3ca0_0000_0000_0000n, 0x0020_0000_0000_0000n, 0x36a0_0000_0000_0000n, 0x3810_0000_0000_0000n, 0x380f_ffff_e000_0000n, 0x380f_ffff_f000_0000n, 0x47ef_ffff_e000_0000n, 0x47ef_ffff_f000_0000n, 0x47ef_ffff_efff_ffffn, 0x3690_0000_0000_0000n]; // biome-ignore format: a list

/** A float of the size whose exponent lies so that operations mean something. */
function floatBits(random: Random, size: 32 | 64): bigint {
  const sign = BigInt(random.below(2)) << BigInt(size - 1);
  const wide = size === 64;
  const mantissaBits = wide ? 52 : 23;
  const bias = wide ? 1023 : 127;
  switch (random.below(8)) {
    case 0:
    case 1:
      return wide ? random.pick(F64_EDGES) ^ sign : BigInt(random.pick(F32_EDGES)) ^ sign;
    case 2: // a denormal
      return sign | BigInt.asUintN(mantissaBits - random.below(mantissaBits), random.wide());
    case 3: {
      // An integer or a half
      const n = random.below(0x10000) / 2;
      return wide ? bits64(n) | sign : bits32(n) | sign;
    }
    case 4: // few bits, so that results are exact
      return sign | (BigInt(bias + random.below(12) - 6) << BigInt(mantissaBits)) | (BigInt(random.below(16)) << BigInt(mantissaBits - 4)); // biome-ignore format: long
    case 5: // of any size
      return sign | BigInt.asUintN(size - 1, random.wide());
    default:
      return (
        sign |
        (BigInt(bias + random.below(66) - 33) << BigInt(mantissaBits)) |
        BigInt.asUintN(mantissaBits, random.wide())
      );
  }
}
const scratch = new DataView(new ArrayBuffer(8));
const bits64 = (x: number): bigint => {
  scratch.setFloat64(0, x);
  return scratch.getBigUint64(0);
};
const bits32 = (x: number): bigint => {
  scratch.setFloat32(0, x);
  return BigInt(scratch.getUint32(0));
};

/** Packed single, packed double, doubleword integers, or anything. */
export function fill(random: Random, bytes: Uint8Array, kind: 'single' | 'double' | 'integer' | 'any'): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    if (kind === 'double') view.setBigUint64(at, floatBits(random, 64), true);
    else if (kind === 'single' || kind === 'integer') {
      for (const i of [0, 4]) {
        const value = kind === 'single' ? floatBits(random, 32) : random.value();
        view.setUint32(at + i, Number(value & 0xffff_ffffn), true);
      }
    } else view.setBigUint64(at, random.chance(40) ? edgeWords(random) : random.value(), true);
  }
}
/** Words on their signed and unsigned edges. */
function edgeWords(random: Random): bigint {
  let value = 0n;
  for (let i = 0; i < 8; i++)
    value = (value << 8n) | BigInt(random.pick([0, 1, 0x7f, 0x80, 0x81, 0xff, random.below(256)]));
  return value;
}

const MASKED = 0x1f80;
export function mxcsrOf(random: Random): number {
  const sticky = random.pick([0, 0x20, 0x3f, random.below(64)]);
  switch (random.below(4)) {
    case 0:
      return MASKED | sticky;
    case 1:
      return MASKED | sticky | (random.below(4) << 13) | (random.below(2) << 6) | (random.below(2) << 15);
    case 2:
      return MASKED | 0x20;
    default:
      return (
        (random.below(64) << 7) | sticky | (random.below(4) << 13) | (random.below(2) << 6) | (random.below(2) << 15)
      );
  }
}

export function simdCases(form: SimdForm): SimdCase[] {
  const random = new Random(form.id);
  return Array.from({ length: statesOf(form) }, (_, index) => {
    const { code, base, disp } = encode(random, form);
    return { form, index, code, start: stateOf(random, form, base, disp) };
  });
}

/** Of the memory operand. */
function memoryBytes(form: Form, wide: boolean): number {
  const suffix = /[WQEM](dq|[wdqy])/.exec(form.operands)?.[1] ?? 'q';
  return suffix === 'y' ? (wide ? 8 : 4) : ({ w: 2, d: 4, q: 8, dq: 16 }[suffix] as number);
}

function stateOf(random: Random, { form, memory, wide }: SimdForm, base: number, disp: number): SimdState {
  const { name } = form.op;
  const float = isFloat(form);
  const integers = /^cvt(si|dq|pi)2/.test(name);
  const double = /(pd|sd)$|sd2|pd2/.test(name);
  const kind = !float ? 'any' : integers ? 'integer' : double ? 'double' : 'single';
  const gpr = Array.from({ length: 16 }, () => random.value());
  gpr[4] = BigInt(DATA + 0x800);
  const xmm = new Uint8Array(256);
  const data = new Uint8Array(WINDOW);
  fill(random, xmm, kind);
  fill(random, data, kind);
  if (float && !integers && random.chance(25)) {
    // Operands that are nearly equal, or each other's negative.
    for (let at = 16; at < 256; at++)
      xmm[at] = xmm[at & 15] ^ (at % 8 === 0 ? random.below(4) : 0) ^ ((at & 7) === 7 ? random.pick([0, 0x80]) : 0);
    for (let at = 0; at < WINDOW; at++) data[at] = xmm[at & 15] ^ (at % 8 === 0 ? random.below(4) : 0);
  }
  if (/^ps[lr]/.test(name)) {
    for (let at = 0; at < 256; at += 16) if (random.chance(60)) xmm.fill(0, at + 1, at + 8);
    if (random.chance(60)) data.fill(0, 1, 8).fill(0, 17, 24);
  }
  const st = new Uint8Array(128);
  for (let i = 0; i < 8; i++) {
    const bytes = new Uint8Array(8);
    fill(random, bytes, kind === 'double' ? 'any' : kind);
    st.set(bytes, 16 * i);
    const exponent = random.pick([0xffff, 0x3fff, 0x4000 + random.below(64), random.below(0x10000)]);
    st[16 * i + 8] = exponent;
    st[16 * i + 9] = exponent >> 8;
  }
  const mmx = /[PNQ][a-z]/.test(form.operands);
  const top = mmx && random.chance(40) ? random.below(8) : 0;
  const pending = mmx && random.chance(6);
  if (memory) {
    const size = /[WM]dq/.test(form.operands) ? 16 : 8;
    const aligned = size === 16 && !random.chance(12);
    gpr[base] = BigInt(DATA + (aligned ? 16 * random.below(4) : random.below(WINDOW - size + 1)) - disp);
    // Into the hole behind the page, as a whole or in part.
    const bytes = memoryBytes(form, wide);
    if (random.chance(4)) gpr[base] = BigInt(DATA + 0x1000 - random.below(bytes) - disp);
  }
  // A wrong MXCSR, but not the bit that only AMD has.
  if (name === 'ldmxcsr')
    for (let at = 0; at < WINDOW; at++) data[at] = random.chance(4) ? data[at] & 0xfd : at & 2 ? 0 : data[at];
  if (/^maskmov/.test(name)) gpr[7] = BigInt(DATA + random.below(WINDOW - 16));
  return {
    gpr,
    rflags: 0x202n | (BigInt(random.below(0x1000)) & 0x8d5n) | (memory && random.chance(8) ? 0x4_0000n : 0n),
    mxcsr: mxcsrOf(random),
    fcw: pending ? 0x37e : 0x37f,
    fsw: (top << 11) | (pending ? 0x8081 : 0),
    ftw: random.below(256),
    st,
    xmm,
    data,
  };
}
