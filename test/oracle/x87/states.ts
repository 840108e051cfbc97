/** The states in which every x87 instruction is recorded: made from the rows, by the name of each.
 *
 * Any stack (full, with holes, empty), every control word, pending errors; registers on edges: denormals and
 * pseudo-denormals, unnormals, NaNs of both kinds and no kind, exponents that meet. The control instructions and the
 * environment are here, too; FSAVE and its like are held to bytes in test/engine/fpu-state.test.ts.
 * May not: be changed without recording again.   Next: test/oracle/x87/record.ts. */
import { INSTRUCTIONS } from '../../../src/x86/isa/index.ts';
import type { Form } from '../../../src/x86/isa/types.ts';
import { x87 } from '../../../src/x86/isa/x87.ts';
import { Random } from '../random.ts';
import { DATA, type SimdCase, type SimdForm, type SimdState, WINDOW } from '../simd/states.ts';

const CONTROL = /^(f(nclex|ninit|ldcw|nstcw|nstsw_mem|nstsw_ax|wait|ldenv|nstenv))$/;
/** Right to an ulp by the manual; the host's last bit may be another. */
export const TRANSCENDENTAL = /^(fsin|fcos|fsincos|fptan|fpatan|f2xm1|fyl2x|fyl2xp1)$/;

export function x87Forms(): SimdForm[] {
  const rows = [...x87, ...INSTRUCTIONS.filter(({ op }) => op.helper !== undefined && CONTROL.test(op.helper))];
  return rows
    .filter(({ op }) => op.helper !== undefined)
    .map((form) => {
      const memory = form.code.includes(' mem');
      return { id: `${form.op.name} [${form.code}] ${form.op.helper}`, form, memory, wide: false };
    });
}

export const STATES = 80;

export function x87Cases(form: SimdForm): SimdCase[] {
  const random = new Random(`x87 ${form.id}`);
  return Array.from({ length: STATES }, (_, index) => {
    const { code, at } = encode(random, form);
    return { form, index, code, start: stateOf(random, form.form, at) };
  });
}

const BASE = 3;

function encode(random: Random, { form, memory }: SimdForm): { code: Uint8Array; at: number } {
  const [opcode, ...rest] = form.code.split(' ');
  const bytes = [Number.parseInt(opcode, 16)];
  const digit = rest.find((word) => word[0] === '/');
  const at = DATA + random.below(32);
  if (memory) bytes.push(0x40 | (Number(digit?.[1]) << 3) | BASE, 0);
  else if (digit !== undefined) bytes.push(0xc0 | (Number(digit[1]) << 3) | random.below(8));
  else if (rest.length > 0) bytes.push(Number.parseInt(rest[rest.length - 1], 16));
  const short = /env/.test(form.op.name) && random.chance(50);
  return { code: Uint8Array.from(short ? [0x66, ...bytes] : bytes), at };
}

function stateOf(random: Random, form: Form, at: number): SimdState {
  const helper = form.op.helper ?? '';
  const masks = random.pick([0x3f, 0x3f, random.below(64), 0x3f ^ (1 << random.below(6))]);
  const fcw = 0x40 | masks | random.pick([0x300, 0x300, 0x200, 0, 0x100]) | (random.below(4) << 10);
  const top = random.below(8);
  // Nothing pends, but for once in a while.
  const sticky = random.chance(4) ? random.below(128) : random.pick([0, random.below(128) & (masks | 0x40)]);
  const pending = (sticky & ~masks & 0x3f) !== 0 ? 0x8080 : 0;
  const fsw = pending | sticky | (top << 11) | (random.below(8) << 8) | (random.below(2) << 14);
  let ftw = random.pick([0xff, 0xff, 0xff ^ (1 << random.below(8)), random.below(256)]);
  if (/^f(i|b)?ld|fptan|fsincos|fxtract/.test(helper) && random.chance(75))
    ftw = (ftw & ~(1 << ((top + 7) & 7))) | (1 << top);
  const st = new Uint8Array(128);
  for (let i = 0; i < 8; i++) extended(random, st, 16 * i);
  if (random.chance(25)) {
    const other = 16 * (1 + random.below(7));
    st.copyWithin(0, other, other + 10);
    if (random.chance(50)) st[9] ^= 0x80;
  }
  if (TRANSCENDENTAL.test(helper) && random.chance(60)) {
    // Where the functions have values.
    const most = /f2xm1/.test(helper) ? -1 : /p1/.test(helper) ? -3 : 40;
    for (const i of [0, 16]) {
      const exponent = 16383 + most - random.below(60);
      st[i + 7] |= 0x80;
      st[i + 8] = exponent;
      st[i + 9] = (st[i + 9] & 0x80) | (exponent >> 8);
    }
    if (helper === 'fyl2x') st[9] &= 0x7f;
  }
  const data = new Uint8Array(WINDOW);
  for (let i = 0; i < WINDOW; i++) data[i] = random.below(256);
  operand(random, helper, data, at - DATA);
  const gpr = Array.from({ length: 16 }, () => random.value());
  gpr[4] = BigInt(DATA + 0x800);
  gpr[BASE] = BigInt(at);
  const xmm = new Uint8Array(256);
  return { gpr, rflags: 0x202n | (BigInt(random.below(0x1000)) & 0x8d5n), mxcsr: 0x1f80, fcw, fsw, ftw, st, xmm, data };
}

const ONES = (1n << 63n) - 1n;

/** A register of 80 bits. */
function extended(random: Random, bytes: Uint8Array, at: number): void {
  const view = new DataView(bytes.buffer);
  const kind = random.below(20);
  const exponent =
    kind < 2
      ? 0
      : kind < 4
        ? 0x7fff
        : kind < 5
          ? 1 + random.below(70)
          : kind < 6
            ? 0x7ffe - random.below(70)
            : kind < 14
              ? 16379 + random.below(80)
              : kind < 18
                ? 16313 + random.below(80)
                : kind < 19
                  ? 16383 + random.pick([1, -1]) * (100 + random.below(1100))
                  : random.below(0x8000);
  const fraction = random.pick([0n, 1n, ONES, 1n << BigInt(random.below(63)), random.wide() & ONES, (random.wide() << 32n) & ONES, (ONES << BigInt(random.below(63))) & ONES, random.wide() & ONES]); // biome-ignore format: a list
  const integerBit = exponent === 0 ? random.chance(12) : !random.chance(6);
  const zero = exponent === 0 && random.chance(30);
  view.setBigUint64(at, zero ? 0n : fraction | (integerBit ? 1n << 63n : 0n), true);
  view.setUint16(at + 8, exponent | (random.below(2) << 15), true);
}

/** What the instruction takes from memory. */
function operand(random: Random, helper: string, data: Uint8Array, at: number): void {
  const view = new DataView(data.buffer);
  const sign = random.below(2);
  if (helper.endsWith('_m80')) {
    extended(random, data, at);
  } else if (helper === 'fbld') {
    const digits = random.below(20);
    for (let i = 0; i < 9; i++) data[at + i] = 2 * i < digits ? random.below(10) | (random.below(10) << 4) : 0;
    data[at + 9] = random.pick([0, 0x80, 0xff]);
  } else if (/^fi.*_m(\d\d)$/.test(helper)) {
    const bits = Number(helper.slice(-2));
    const limit = 1n << BigInt(bits - 1);
    const any = BigInt.asIntN(bits, random.wide()) >> BigInt(random.below(bits));
    view.setBigInt64(at, random.pick([0n, 1n, -1n, -limit, limit - 1n, any, any, any]), true);
  } else if (helper.endsWith('_m32')) {
    const exponent = random.pick([0, 255, 127 + random.below(64) - 32, 127 + random.below(4), random.below(256)]);
    const fraction = random.pick([0, 1, 0x7f_ffff, 0x40_0000, random.below(0x80_0000), random.below(0x80_0000)]);
    view.setUint32(at, ((sign << 31) | (exponent << 23) | fraction) >>> 0, true);
  } else if (helper.endsWith('_m64')) {
    const exponent = random.pick([0, 2047, 1023 + random.below(64) - 32, 1023 + random.below(4), random.below(2048)]);
    const fraction = random.pick([0n, 1n, (1n << 52n) - 1n, 1n << 51n, random.wide() & ((1n << 52n) - 1n)]);
    view.setBigUint64(at, (BigInt(sign) << 63n) | (BigInt(exponent) << 52n) | fraction, true);
  }
}
