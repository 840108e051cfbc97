/** Tables of what decodes and is not built: x87, MMX, SSE and the extensions behind CPUID bits.
 *
 * A hidden feature's rows do not exist (#UD); a shown one's end the run with exit 6, naming instruction and feature.
 * A line of such a table is an opcode, a colon and one mnemonic per column; a column is a mandatory prefix and the
 * feature it belongs to, `-` is a hole. Operand codes beyond types.ts: V and P an XMM or MMX register by ModRM.reg,
 * W and Q the same, or memory, by ModRM.rm.
 * Follows: SDM Vol. 2, Appendix A.   May not: hold a row that runs.   Next: x86/isa/x87.ts. */
import { type Form, type Operation, row } from './types.ts';

/** Mandatory prefix as in a row's code ('' when it does not matter) and CPUID feature. */
export type Column = readonly [prefix: '' | 'np' | 'nf' | '66' | 'f3' | 'f2', feature: string];

/** What the user reads behind the mnemonic, where it is not the feature's name. */
const LABELS: Record<string, string> = { FPU: 'x87 arithmetic', SSE41: 'SSE4.1', SSE42: 'SSE4.2' };

const lines = (table: string): [code: string, names: string[]][] =>
  table
    .trim()
    .split('\n')
    .map((line) => {
      const [code, names] = line.split(':');
      return [code.trim(), names.trim().split(/ +/)];
    });

function unbuiltRow(code: string, operands: string, name: string, feature: string, mode?: 32 | 64): Form {
  const op: Operation = { name, unbuilt: LABELS[feature] ?? feature };
  return row(code, operands, op, mode === undefined ? { feature } : { feature, mode });
}

/** One mnemonic per column. */
export function unbuilt(columns: readonly Column[], operands: string, table: string, mode?: 32 | 64): Form[] {
  return lines(table).flatMap(([code, names]) =>
    names.flatMap((name, i) =>
      name === '-' ? [] : [unbuiltRow(`${columns[i][0]} ${code}`.trim(), operands, name, columns[i][1], mode)],
    ),
  );
}

/** One mnemonic per ModRM.reg, 0 to 7. */
export function unbuiltByDigit([prefix, feature]: Column, operands: string, table: string): Form[] {
  return lines(table).flatMap(([code, names]) => {
    const [opcode, mod] = /(.*) (mem|mod3)$/.exec(code)?.slice(1) ?? [code, ''];
    return names.flatMap((name, digit) =>
      name === '-' ? [] : [unbuiltRow(`${prefix} ${opcode} /${digit} ${mod}`.trim(), operands, name, feature)],
    );
  });
}

/** One mnemonic per whole ModRM byte with mod 3, counting up from the given one. */
export function unbuiltByModrm([prefix, feature]: Column, table: string, mode?: 32 | 64): Form[] {
  return lines(table).flatMap(([code, names]) => {
    const at = code.lastIndexOf(' ');
    const first = Number.parseInt(code.slice(at + 1), 16);
    return names.flatMap((name, i) =>
      name === '-'
        ? []
        : [
            unbuiltRow(
              `${prefix} ${code.slice(0, at)} mod3 ${(first + i).toString(16)}`.trim(),
              '',
              name,
              feature,
              mode,
            ),
          ],
    );
  });
}
