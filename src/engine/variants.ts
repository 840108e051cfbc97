/** Variants: every handler that the core contains, from the rows.
 *
 * A handler is an operation at a width with operands of certain kinds; encodings that differ in nothing else share one
 * (`add Ev,Gv` between registers is `add rAX,…` too). `enumerate` walks rows, sizes and ModRM kinds in a fixed order,
 * so the core's builder and the block builder number them alike without a stored table.
 * Next: engine/emit/code.ts. */

import type { Width } from '../x86/isa/algebra.ts';
import { INSTRUCTIONS } from '../x86/isa/index.ts';
import type { AccessLetter, Form, Operation } from '../x86/isa/types.ts';

export type OperandKind = 'R' | 'M' | 'I';
export type Operand = {
  kind: OperandKind;
  width: Width;
  access: AccessLetter;
  /** For registers: which record field holds the state address; 'CL' is fixed. */
  field?: 'A' | 'B' | 'CL';
  /** The operand's code, for the block builder. */
  code: string;
};

export type Variant = {
  key: string;
  op: Operation;
  width: Width;
  operands: readonly Operand[];
  /** Strings: 0, 2 (REPNE) or 3 (REP), and the address size; loops: the address size. */
  rep: 0 | 2 | 3;
  addressSize: 32 | 64;
  /** Stack width for operations that use the stack. */
  stack: 32 | 64;
  /** A count operand that is an immediate other than zero: flags change for certain. */
  certain: boolean;
};

const SIZES = [16, 32, 64] as const;

function operandWidth(code: string, size: number): Width {
  if (code === 'AL' || code === 'CL' || code === '1') return 8;
  if (code === 'rAX') return size as Width;
  const suffix = code.slice(-1);
  const table: Record<string, number> = {
    b: 8,
    w: 16,
    d: 32,
    q: 64,
    v: size,
    z: Math.min(size, 32),
    y: Math.max(size, 32),
  };
  return (table[suffix] ?? size) as Width;
}

/** Operation width in bits for an operand size. */
export function operationWidth(form: Form, size: number): Width {
  if (form.width !== undefined) return form.width;
  const first = form.operands.split(',')[0];
  if (first === '' || /^[IJ]/.test(first)) return size as Width;
  return operandWidth(first, size);
}

/** NOP is the exchange of rAX with itself that leaves even the upper half alone. */
export function isNop(form: Form, opcode: number, rex: number): boolean {
  return form.code === '90+r' && (opcode & 7) === 0 && (rex & 1) === 0;
}

export type VariantInput = {
  form: Form;
  size: 16 | 32 | 64;
  isMemory: boolean;
  rep: 0 | 2 | 3;
  addressSize: 32 | 64;
  stack: 32 | 64;
  certain: boolean;
};

export function describe(input: VariantInput): Variant {
  const { form, size, isMemory } = input;
  const { op } = form;
  const width = operationWidth(form, size);
  let registers = 0;
  const codes = form.operands === '' || op.string ? [] : form.operands.split(',');
  const operands = codes
    .filter((code) => !/^J/.test(code))
    .map((code, i): Operand => {
      const letter = code[0];
      const access = op.access?.[i] ?? 'r';
      const memory = letter === 'O' || letter === 'M' || (letter === 'E' && isMemory);
      const operandWidthHere = op.countOperand === i ? 8 : operandWidth(code, size);
      if (memory) return { kind: 'M', width: operandWidth(code, size), access, code };
      if (letter === 'I' || code === '1') return { kind: 'I', width: op.countOperand === i ? 8 : width, access, code };
      const field = code === 'CL' && registers === 2 ? 'CL' : (['A', 'B'] as const)[registers++];
      return { kind: 'R', width: operandWidthHere, access, field, code };
    });
  const repeats = op.string ? input.rep : 0;
  const rep = op.string?.repeats === 'rep' && repeats === 2 ? 3 : repeats;
  const usesAddress = op.string !== undefined || /^(loop|jrcxz)/.test(op.name);
  const addressSize = usesAddress ? input.addressSize : 64;
  const stack = op.stack ? input.stack : 64;
  const certain = op.conditionalFlags === true && input.certain;
  const key =
    `${op.id ?? op.name}/${width} ${operands.map((o) => `${o.kind}${o.width}${o.field === 'CL' ? 'c' : ''}${o.access === '-' ? '-' : ''}`).join(',')}` +
    `${rep ? ` rep${rep}` : ''}${usesAddress ? ` a${addressSize}` : ''}${op.stack ? ` s${stack}` : ''}${certain ? ' certain' : ''}`;
  return { key, op, width, operands, rep: rep as 0 | 2 | 3, addressSize, stack, certain };
}

/** Every variant of every row that runs in generated code, each key once, in a fixed order. */
export function enumerate(): Variant[] {
  const seen = new Map<string, Variant>();
  for (const form of INSTRUCTIONS) {
    const { op } = form;
    if (op.meaning === undefined) continue;
    const codes = form.operands.split(',');
    const sized =
      /[vzy]|rAX/.test(form.operands) || form.operands === '' || form.operands === 'Jb' || form.operands === 'Iw';
    for (const size of sized ? SIZES : ([32] as const)) {
      if (form.size64 === 'f64' && size === 16) continue;
      for (const isMemory of codes.some((c) => c[0] === 'E') ? [false, true] : [codes.some((c) => c[0] === 'M')]) {
        for (const rep of op.string ? ([0, 2, 3] as const) : ([0] as const)) {
          for (const addressSize of op.string || /^(loop|jrcxz)/.test(op.name)
            ? ([32, 64] as const)
            : ([64] as const)) {
            for (const stack of op.stack ? ([32, 64] as const) : ([64] as const)) {
              for (const certain of op.conditionalFlags && /I|1/.test(form.operands) ? [false, true] : [false]) {
                const v = describe({ form, size, isMemory, rep, addressSize, stack, certain });
                if (!seen.has(v.key)) seen.set(v.key, v);
              }
            }
          }
        }
      }
    }
  }
  return [...seen.values()];
}
