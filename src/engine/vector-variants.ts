/** Vector variants: the handlers of rows on MMX and XMM registers.
 *
 * A vector operand of 16 bytes (8 on MMX registers) is a vector; everything smaller is a scalar of its size. The same
 * operation with a register and with memory is two variants; order and numbers follow from the rows alone.
 * Next: engine/vector-reference.ts. */
import { assert } from '../base/errors.ts';
import type { Width } from '../x86/isa/algebra.ts';
import { INSTRUCTIONS } from '../x86/isa/index.ts';
import type { Form, Operation } from '../x86/isa/types.ts';
import type { Operand, Variant } from './variants.ts';

export type VectorPlace = 'xmm' | 'mmx' | 'general' | 'memory' | 'immediate';
export type VectorOperand = {
  place: VectorPlace;
  bytes: 1 | 2 | 4 | 8 | 16;
  reads: boolean;
  writes: boolean;
  /** It is a vector, not a scalar. */
  isVector: boolean;
  /** For registers: which record field holds the state address, and which ModRM field the number. */
  field: 'A' | 'B';
  number: 'reg' | 'rm';
};

export type VectorVariant = {
  key: string;
  op: Operation;
  operands: readonly VectorOperand[];
  bits: 64 | 128;
  scalar: 32 | 64;
  /** Which registers are touched, which decides who may be in the way (#NM, #UD, #MF). */
  sse: boolean;
  mmx: boolean;
  /** A memory operand of 16 bytes must be aligned. */
  aligned: boolean;
};

const PLACES: Record<string, VectorPlace> = {
  V: 'xmm',
  U: 'xmm',
  W: 'xmm',
  P: 'mmx',
  N: 'mmx',
  Q: 'mmx',
  G: 'general',
  E: 'general',
  M: 'memory',
  I: 'immediate',
};
const BYTES: Record<string, VectorOperand['bytes']> = { b: 1, w: 2, d: 4, q: 8, dq: 16 };

export function describeVector(form: Form, size: 16 | 32 | 64, isMemory: boolean): VectorVariant {
  const { op } = form;
  const scalar = size === 64 ? 64 : 32;
  let registers = 0;
  const operands = form.operands.split(',').map((code, i): VectorOperand => {
    const letter = code[0];
    const suffix = code.slice(1);
    const place = isMemory && /[WQE]/.test(letter) ? 'memory' : PLACES[letter];
    const declared = suffix === 'y' ? ((scalar / 8) as 4 | 8) : BYTES[suffix];
    assert(place !== undefined && declared !== undefined, `"${code}" is a vector row's operand`);
    const access = op.access?.[i] ?? 'r';
    const isMmx = /[PNQ]/.test(letter);
    const isRegister = place !== 'memory' && place !== 'immediate';
    return {
      place,
      bytes: place === 'mmx' ? 8 : declared,
      reads: access.includes('r'),
      writes: access.includes('w'),
      isVector: isMmx || declared === 16,
      field: isRegister && registers++ === 1 ? 'B' : 'A',
      number: /[VPG]/.test(letter) ? 'reg' : 'rm',
    };
  });
  const sse = op.sse === true || operands.some((o) => o.place === 'xmm');
  const mmx = operands.some((o) => o.place === 'mmx');
  const text = operands.map((o) => `${o.place}${o.bytes}${o.isVector ? 'v' : ''}`).join(',');
  return {
    key: `${op.id ?? op.name} ${text}`,
    op,
    operands,
    bits: sse ? 128 : 64,
    scalar,
    sse,
    mmx,
    aligned: op.unaligned !== true,
  };
}

/** Every vector variant of every row, each key once, in a fixed order. */
export function enumerateVectors(): VectorVariant[] {
  const seen = new Map<string, VectorVariant>();
  for (const form of INSTRUCTIONS) {
    if (form.op.vector === undefined) continue;
    const codes = form.operands.split(',');
    for (const size of codes.some((code) => code.endsWith('y')) ? ([32, 64] as const) : ([32] as const)) {
      for (const isMemory of codes.some((code) => /[WQE]/.test(code[0])) ? [false, true] : [false]) {
        const variant = describeVector(form, size, isMemory);
        const known = seen.get(variant.key);
        assert(known === undefined || known.op.vector === form.op.vector, `one meaning has the name of ${variant.key}`);
        if (known === undefined) seen.set(variant.key, variant);
      }
    }
  }
  return [...seen.values()];
}

/** What code that knows plain variants only sees of one: its memory operand, so that addresses are made alike. */
export function vectorShell({ key, op, operands }: VectorVariant): Variant {
  const memory = operands.filter((o) => o.place === 'memory');
  return {
    key,
    op,
    width: 64,
    operands: memory.map(
      ({ bytes, writes }): Operand => ({
        kind: 'M',
        width: (bytes * 8) as Width, // 128 is the address step's affair only
        access: writes ? 'w' : 'r',
        code: 'M',
      }),
    ),
    rep: 0,
    addressSize: 64,
    stack: 64,
    certain: false,
  };
}
