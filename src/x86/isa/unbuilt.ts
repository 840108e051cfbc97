/** Tables of what decodes and is not built: the extensions behind CPUID bits.
 *
 * A hidden feature's rows do not exist (#UD); a shown one's end the run with exit 6, naming instruction and feature.
 * A line of such a table is an opcode, a colon and one mnemonic per column; a column is a mandatory prefix and the
 * feature it belongs to, `-` is a hole. Operand codes beyond types.ts: V and P an XMM or MMX register by ModRM.reg,
 * W and Q the same, or memory, by ModRM.rm.
 * Follows: SDM Vol. 2, Appendix A.   May not: hold a row that runs.   Next: x86/isa/x87.ts. */
import { type Form, hex2, type Operation, row } from './types.ts';

/** Mandatory prefix as in a row's code ('' when it does not matter) and CPUID feature. */
export type Column = readonly [prefix: '' | 'np' | 'nf' | '66' | 'f3' | 'f2', feature: string];

/** What the user reads behind the mnemonic, where it is not the feature's name. */
const LABELS: Record<string, string> = { SSE41: 'SSE4.1', SSE42: 'SSE4.2' };

type Line = { code: string; names: string[] };

function lines(table: string): Line[] {
  return table
    .trim()
    .split('\n')
    .map((line) => {
      const colon = line.indexOf(':');
      const names = line
        .slice(colon + 1)
        .split(' ')
        .filter((name) => name !== '');
      return { code: line.slice(0, colon).trim(), names };
    });
}

function unbuiltRow(code: string, operands: string, name: string, feature: string, mode?: 32 | 64): Form {
  const op: Operation = { name, unbuilt: LABELS[feature] ?? feature };
  return row(code, operands, op, mode === undefined ? { feature } : { feature, mode });
}

const behind = (prefix: string, code: string): string => (prefix === '' ? code : `${prefix} ${code}`);

/** One mnemonic per column; `=` repeats the one before. */
export function unbuilt(columns: readonly Column[], operands: string, table: string, mode?: 32 | 64): Form[] {
  const rows: Form[] = [];
  for (const { code, names } of lines(table)) {
    for (let i = 0; i < names.length; i++) {
      if (names[i] === '-') continue;
      if (names[i] === '=') names[i] = names[i - 1];
      const [prefix, feature] = columns[i];
      rows.push(unbuiltRow(behind(prefix, code), operands, names[i], feature, mode));
    }
  }
  return rows;
}

/** One mnemonic per ModRM.reg, 0 to 7. */
export function unbuiltByDigit([prefix, feature]: Column, operands: string, table: string): Form[] {
  const rows: Form[] = [];
  for (const { code, names } of lines(table)) {
    const mod = code.endsWith(' mem') ? ' mem' : code.endsWith(' mod3') ? ' mod3' : '';
    const opcode = behind(prefix, code.slice(0, code.length - mod.length));
    for (let digit = 0; digit < names.length; digit++) {
      if (names[digit] === '-') continue;
      rows.push(unbuiltRow(`${opcode} /${digit}${mod}`, operands, names[digit], feature));
    }
  }
  return rows;
}

/** One mnemonic per whole ModRM byte with mod 3, counting up from the given one. */
export function unbuiltByModrm([prefix, feature]: Column, table: string, mode?: 32 | 64): Form[] {
  const rows: Form[] = [];
  for (const { code, names } of lines(table)) {
    const opcode = behind(prefix, code.slice(0, -3));
    const first = Number.parseInt(code.slice(-2), 16);
    for (let i = 0; i < names.length; i++) {
      if (names[i] === '-') continue;
      rows.push(unbuiltRow(`${opcode} mod3 ${hex2(first + i)}`, '', names[i], feature, mode));
    }
  }
  return rows;
}
