/** The instruction forms that are recorded: one row each, in the manual's notation.
 *
 * A row becomes several forms: one for each width, and one each with a register and with memory where its operand allows
 * both. What a state of a form looks like (registers, address, prefixes, place in the code) is chosen at random by
 * states.ts; `setup` names what it must arrange beyond that, so that a division does not fault all the time and a string
 * finds its end. Follows: SDM Vol. 2, Appendix A.   May not: be reordered in meaning; a form's name seeds its states.
 * Next: test/oracle/undefined.ts. */
import type { SetupName } from './setups.ts';

export type Row = {
  name: string;
  /** Opcode bytes in hex; `/n` is the register field of ModRM, `+r` a register in the last byte. */
  code: string;
  /** Operand codes of SDM Appendix A, or nothing. A: far pointer in the code, O: its offset; Z: a register in the opcode. */
  args?: string;
  /** F2 or F3 in front of everything but REX. */
  prefix?: number;
  /** Only in 64-bit or only in 32-bit code. */
  mode?: 64 | 32;
  /** Widths when no operand tells: v is 16, 32, 64; y is 32, 64; z is 16, 32; d is v with 64
   * instead of 32 in 64-bit mode; n (near branches) is z, and only 64 in 64-bit mode. */
  widths?: 'v' | 'y' | 'z' | 'd' | 'n';
  setup?: SetupName;
  /** The CPUID feature (as Linux names it) without which it is undefined or something else. */
  feature?: string;
  /** It makes several accesses or checks, and which fault comes first (or what was written before it) is the
   * processor's affair: when it faults, only that it does and that no register changed is compared; or not even that,
   * where registers are loaded one by one. */
  several?: true | 'registers';
};

export type Form = { id: string; row: Row; mode: 64 | 32; width: number; shape: 'r' | 'm' | '' };

const hex = (n: number): string => n.toString(16).padStart(2, '0');

const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'];
const alu = ALU.flatMap((name, i): Row[] => [
  { name, code: hex(8 * i), args: 'Eb,Gb' },
  { name, code: hex(8 * i + 1), args: 'Ev,Gv' },
  { name, code: hex(8 * i + 2), args: 'Gb,Eb' },
  { name, code: hex(8 * i + 3), args: 'Gv,Ev' },
  { name, code: hex(8 * i + 4), args: 'AL,Ib' },
  { name, code: hex(8 * i + 5), args: 'rAX,Iz' },
  { name, code: `80 /${i}`, args: 'Eb,Ib' },
  { name, code: `81 /${i}`, args: 'Ev,Iz' },
  { name, code: `82 /${i}`, args: 'Eb,Ib', mode: 32 },
  { name, code: `83 /${i}`, args: 'Ev,Ib' },
]);

const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'];
const shifts = SHIFTS.flatMap((name, i): Row[] => [
  { name, code: `c0 /${i}`, args: 'Eb,Ib', setup: 'shiftImmediate' },
  { name, code: `c1 /${i}`, args: 'Ev,Ib', setup: 'shiftImmediate' },
  { name, code: `d0 /${i}`, args: 'Eb,1', setup: 'shiftOne' },
  { name, code: `d1 /${i}`, args: 'Ev,1', setup: 'shiftOne' },
  { name, code: `d2 /${i}`, args: 'Eb,CL', setup: 'shiftCl' },
  { name, code: `d3 /${i}`, args: 'Ev,CL', setup: 'shiftCl' },
]);

const group3 = [
  ['test', 0, 'I'],
  ['test', 1, 'I'],
  ['not', 2],
  ['neg', 3],
  ['mul', 4],
  ['imul', 5],
  ['div', 6],
  ['idiv', 7],
].flatMap(([name, i, immediate]): Row[] => {
  const setup = name === 'div' ? 'divide' : name === 'idiv' ? 'divideSigned' : undefined;
  return [
    { name: String(name), code: `f6 /${i}`, args: immediate ? 'Eb,Ib' : 'Eb', setup },
    { name: String(name), code: `f7 /${i}`, args: immediate ? 'Ev,Iz' : 'Ev', setup },
  ];
});

const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'];
const conditions = CONDITIONS.flatMap((c, i): Row[] => [
  { name: `j${c}`, code: hex(0x70 + i), args: 'Jb' },
  { name: `j${c}`, code: `0f ${hex(0x80 + i)}`, args: 'Jz' },
  { name: `set${c}`, code: `0f ${hex(0x90 + i)}`, args: 'Eb' },
  { name: `cmov${c}`, code: `0f ${hex(0x40 + i)}`, args: 'Gv,Ev' },
]);

const BITS = ['bt', 'bts', 'btr', 'btc'];
const bits = BITS.flatMap((name, i): Row[] => [
  { name, code: `0f ${hex(0xa3 + 8 * i)}`, args: 'Ev,Gv', setup: 'bitOffset' },
  { name, code: `0f ba /${4 + i}`, args: 'Ev,Ib' },
]);

const STRINGS: [string, number, SetupName][] = [
  ['movs', 0xa4, 'string'],
  ['cmps', 0xa6, 'compareStrings'],
  ['stos', 0xaa, 'string'],
  ['lods', 0xac, 'string'],
  ['scas', 0xae, 'scanString'],
];
const strings = STRINGS.flatMap(([name, code, setup]): Row[] =>
  [undefined, 0xf3, 0xf2].flatMap((prefix): Row[] => [
    { name, code: hex(code), prefix, setup, args: 'b', ...(name === 'cmps' ? { several: true } : {}) },
    { name, code: hex(code + 1), prefix, setup, widths: 'v', ...(name === 'cmps' ? { several: true } : {}) },
  ]),
);

const PUSH_POP: Row[] = [
  { name: 'push', code: '50+r', args: 'Zv', widths: 'd', setup: 'push' },
  { name: 'pop', code: '58+r', args: 'Zv', widths: 'd', setup: 'pop' },
  { name: 'push', code: 'ff /6', args: 'Ev', widths: 'd', setup: 'push' },
  { name: 'pop', code: '8f /0', args: 'Ev', widths: 'd', setup: 'pop', several: true },
  { name: 'push', code: '68', args: 'Iz', widths: 'd', setup: 'push' },
  { name: 'push', code: '6a', args: 'Ib', widths: 'd', setup: 'push' },
  { name: 'pushf', code: '9c', widths: 'd', setup: 'push' },
  { name: 'popf', code: '9d', widths: 'd', setup: 'popFlags' },
  { name: 'pusha', code: '60', widths: 'z', mode: 32, setup: 'pushAll', several: true },
  { name: 'popa', code: '61', widths: 'z', mode: 32, setup: 'popAll', several: 'registers' },
  { name: 'enter', code: 'c8', args: 'Iw,Ib', widths: 'd', setup: 'enter', several: true },
  { name: 'leave', code: 'c9', widths: 'd', setup: 'leave' },
];

const SEGMENTS: Row[] = [
  ...['06', '0e', '16', '1e'].map(
    (code): Row => ({ name: 'push sreg', code, widths: 'z', mode: 32, setup: 'pushSegment' }),
  ),
  ...['0f a0', '0f a8'].map((code): Row => ({ name: 'push sreg', code, widths: 'd', setup: 'pushSegment' })),
  ...['07', '17', '1f'].map((code): Row => ({ name: 'pop sreg', code, widths: 'z', mode: 32, setup: 'popSegment' })),
  ...['0f a1', '0f a9'].map((code): Row => ({ name: 'pop sreg', code, widths: 'd', setup: 'popSegment' })),
  { name: 'mov', code: '8c', args: 'Ev,Sw' },
  { name: 'mov', code: '8e', args: 'Sw,Ew', setup: 'selector' },
  { name: 'les', code: 'c4', args: 'Gz,Mp', mode: 32, setup: 'farPointer', several: true },
  { name: 'lds', code: 'c5', args: 'Gz,Mp', mode: 32, setup: 'farPointer', several: true },
  { name: 'lss', code: '0f b2', args: 'Gz,Mp', setup: 'farPointer', several: true },
  { name: 'lfs', code: '0f b4', args: 'Gz,Mp', setup: 'farPointer', several: true },
  { name: 'lgs', code: '0f b5', args: 'Gz,Mp', setup: 'farPointer', several: true },
  { name: 'verr', code: '0f 00 /4', args: 'Ew', setup: 'selector' },
  { name: 'verw', code: '0f 00 /5', args: 'Ew', setup: 'selector' },
  { name: 'lar', code: '0f 02', args: 'Gv,Ew', setup: 'selector' },
  { name: 'lsl', code: '0f 03', args: 'Gv,Ew', setup: 'selector' },
  { name: 'arpl', code: '63', args: 'Ew,Gw', mode: 32 },
  { name: 'rdfsbase', code: '0f ae /0', args: 'Ry', prefix: 0xf3, mode: 64, feature: 'fsgsbase' },
  { name: 'rdgsbase', code: '0f ae /1', args: 'Ry', prefix: 0xf3, mode: 64, feature: 'fsgsbase' },
  { name: 'wrfsbase', code: '0f ae /2', args: 'Ry', prefix: 0xf3, mode: 64, feature: 'fsgsbase', setup: 'canonical' },
  { name: 'wrgsbase', code: '0f ae /3', args: 'Ry', prefix: 0xf3, mode: 64, feature: 'fsgsbase', setup: 'canonical' },
];

const CONTROL: Row[] = [
  { name: 'jmp', code: 'eb', args: 'Jb' },
  { name: 'jmp', code: 'e9', args: 'Jz' },
  { name: 'call', code: 'e8', args: 'Jz', setup: 'call' },
  { name: 'jmp', code: 'ff /4', args: 'Ev', widths: 'n', setup: 'target' },
  { name: 'call', code: 'ff /2', args: 'Ev', widths: 'n', setup: 'targetAndStack', several: true },
  { name: 'ret', code: 'c3', widths: 'n', setup: 'ret' },
  { name: 'ret', code: 'c2', args: 'Iw', widths: 'n', setup: 'ret' },
  { name: 'loopne', code: 'e0', args: 'Jb', setup: 'loop' },
  { name: 'loope', code: 'e1', args: 'Jb', setup: 'loop' },
  { name: 'loop', code: 'e2', args: 'Jb', setup: 'loop' },
  { name: 'jcxz', code: 'e3', args: 'Jb', setup: 'loop' },
  { name: 'jmp far', code: 'ea', args: 'Ap', widths: 'z', mode: 32, setup: 'farDirect', several: true },
  { name: 'call far', code: '9a', args: 'Ap', widths: 'z', mode: 32, setup: 'farDirect', several: true },
  { name: 'jmp far', code: 'ff /5', args: 'Mp', widths: 'z', setup: 'farIndirect', several: true },
  { name: 'call far', code: 'ff /3', args: 'Mp', widths: 'z', setup: 'farIndirect', several: true },
  { name: 'ret far', code: 'cb', widths: 'v', setup: 'retFar', several: true },
  { name: 'ret far', code: 'ca', args: 'Iw', widths: 'v', setup: 'retFar', several: true },
  { name: 'iret', code: 'cf', widths: 'v', setup: 'iret', several: true },
  { name: 'int3', code: 'cc' },
  { name: 'int', code: 'cd', args: 'Ib', setup: 'softwareInterrupt' },
  { name: 'into', code: 'ce', mode: 32 },
  { name: 'bound', code: '62', args: 'Gz,Ma', mode: 32, setup: 'bound' },
];

const DATA: Row[] = [
  { name: 'mov', code: '88', args: 'Eb,Gb' },
  { name: 'mov', code: '89', args: 'Ev,Gv' },
  { name: 'mov', code: '8a', args: 'Gb,Eb' },
  { name: 'mov', code: '8b', args: 'Gv,Ev' },
  { name: 'mov', code: 'c6 /0', args: 'Eb,Ib' },
  { name: 'mov', code: 'c7 /0', args: 'Ev,Iz' },
  { name: 'mov', code: 'b0+r', args: 'Zb,Ib' },
  { name: 'mov', code: 'b8+r', args: 'Zv,Iv' },
  { name: 'mov', code: 'a0', args: 'AL,Ob' },
  { name: 'mov', code: 'a1', args: 'rAX,Ov' },
  { name: 'mov', code: 'a2', args: 'Ob,AL' },
  { name: 'mov', code: 'a3', args: 'Ov,rAX' },
  { name: 'movzx', code: '0f b6', args: 'Gv,Eb' },
  { name: 'movzx', code: '0f b7', args: 'Gv,Ew' },
  { name: 'movsx', code: '0f be', args: 'Gv,Eb' },
  { name: 'movsx', code: '0f bf', args: 'Gv,Ew' },
  { name: 'movsxd', code: '63', args: 'Gy,Ed', mode: 64 },
  { name: 'movnti', code: '0f c3', args: 'My,Gy', feature: 'sse2' },
  { name: 'movbe', code: '0f 38 f0', args: 'Gv,Mv', feature: 'movbe' },
  { name: 'movbe', code: '0f 38 f1', args: 'Mv,Gv', feature: 'movbe' },
  { name: 'lea', code: '8d', args: 'Gv,M' },
  { name: 'xchg', code: '86', args: 'Eb,Gb' },
  { name: 'xchg', code: '87', args: 'Ev,Gv' },
  { name: 'xchg', code: '90+r', args: 'Zv,rAX' },
  { name: 'xadd', code: '0f c0', args: 'Eb,Gb' },
  { name: 'xadd', code: '0f c1', args: 'Ev,Gv' },
  { name: 'cmpxchg', code: '0f b0', args: 'Eb,Gb', setup: 'compareExchange' },
  { name: 'cmpxchg', code: '0f b1', args: 'Ev,Gv', setup: 'compareExchange' },
  { name: 'cmpxchg8b', code: '0f c7 /1', args: 'My', setup: 'compareExchangePair', feature: 'cx8' },
  { name: 'bswap', code: '0f c8+r', args: 'Zy' },
  { name: 'xlat', code: 'd7', setup: 'xlat' },
  { name: 'cbw', code: '98', widths: 'v' },
  { name: 'cwd', code: '99', widths: 'v' },
  { name: 'lahf', code: '9f' },
  { name: 'sahf', code: '9e' },
  ...['f5', 'f8', 'f9', 'fc', 'fd'].map((code): Row => ({ name: 'flag', code })),
];

const ARITHMETIC: Row[] = [
  { name: 'test', code: '84', args: 'Eb,Gb' },
  { name: 'test', code: '85', args: 'Ev,Gv' },
  { name: 'test', code: 'a8', args: 'AL,Ib' },
  { name: 'test', code: 'a9', args: 'rAX,Iz' },
  { name: 'inc', code: 'fe /0', args: 'Eb' },
  { name: 'inc', code: 'ff /0', args: 'Ev' },
  { name: 'dec', code: 'fe /1', args: 'Eb' },
  { name: 'dec', code: 'ff /1', args: 'Ev' },
  { name: 'inc', code: '40+r', args: 'Zv', mode: 32 },
  { name: 'dec', code: '48+r', args: 'Zv', mode: 32 },
  { name: 'imul', code: '0f af', args: 'Gv,Ev' },
  { name: 'imul', code: '69', args: 'Gv,Ev,Iz' },
  { name: 'imul', code: '6b', args: 'Gv,Ev,Ib' },
  { name: 'shld', code: '0f a4', args: 'Ev,Gv,Ib', setup: 'shiftImmediate' },
  { name: 'shld', code: '0f a5', args: 'Ev,Gv,CL', setup: 'shiftCl' },
  { name: 'shrd', code: '0f ac', args: 'Ev,Gv,Ib', setup: 'shiftImmediate' },
  { name: 'shrd', code: '0f ad', args: 'Ev,Gv,CL', setup: 'shiftCl' },
  { name: 'bsf', code: '0f bc', args: 'Gv,Ev', setup: 'sparse' },
  { name: 'bsr', code: '0f bd', args: 'Gv,Ev', setup: 'sparse' },
  { name: 'tzcnt', code: '0f bc', args: 'Gv,Ev', prefix: 0xf3, setup: 'sparse', feature: 'bmi1' },
  { name: 'lzcnt', code: '0f bd', args: 'Gv,Ev', prefix: 0xf3, setup: 'sparse', feature: 'abm' },
  { name: 'popcnt', code: '0f b8', args: 'Gv,Ev', prefix: 0xf3, feature: 'popcnt' },
  { name: 'daa', code: '27', mode: 32 },
  { name: 'das', code: '2f', mode: 32 },
  { name: 'aaa', code: '37', mode: 32 },
  { name: 'aas', code: '3f', mode: 32 },
  { name: 'aam', code: 'd4', args: 'Ib', mode: 32, setup: 'sparseImmediate' },
  { name: 'aad', code: 'd5', args: 'Ib', mode: 32, setup: 'sparseImmediate' },
  { name: 'salc', code: 'd6', mode: 32 },
];

const HARMLESS: Row[] = [
  { name: 'nop', code: '90' },
  { name: 'pause', code: '90', prefix: 0xf3 },
  { name: 'nop', code: '0f 1f /0', args: 'Ev' },
  ...[0, 1, 2, 3].map((n): Row => ({ name: 'prefetch', code: `0f 18 /${n}`, args: 'M' })),
  { name: 'prefetchw', code: '0f 0d /1', args: 'M', feature: '3dnowprefetch' },
  { name: 'lfence', code: '0f ae e8', feature: 'sse2' },
  { name: 'mfence', code: '0f ae f0', feature: 'sse2' },
  { name: 'sfence', code: '0f ae f8', feature: 'sse2' },
  { name: 'endbr64', code: '0f 1e fa', prefix: 0xf3 },
  { name: 'endbr32', code: '0f 1e fb', prefix: 0xf3 },
];

const PRIVILEGED: Row[] = [
  ...['f4', 'fa', 'fb', 'ec', 'ee', '0f 06', '0f 08', '0f 09', '0f 30', '0f 32', '0f 35', '0f 01 f8'].map(
    (code): Row => ({ name: 'privileged', code }),
  ),
  ...['e4', 'e5', 'e6', 'e7'].map((code): Row => ({ name: 'privileged', code, args: 'Ib' })),
  ...['ed', 'ef'].map((code): Row => ({ name: 'privileged', code, widths: 'z' })),
  ...['6c', '6d', '6e', '6f'].map((code): Row => ({ name: 'privileged', code })),
  ...['0f 20 c0', '0f 22 c0', '0f 20 d8', '0f 22 e0', '0f 21 c0', '0f 23 f8', '0f 07'].map(
    (code): Row => ({ name: 'privileged', code }),
  ),
  ...['0f 01 /2', '0f 01 /3', '0f 01 /7'].map((code): Row => ({ name: 'privileged', code, args: 'M' })),
  ...['0f 00 /2', '0f 00 /3', '0f 01 /6'].map((code): Row => ({ name: 'privileged', code, args: 'Ew' })),
];

const REMOVED_IN_64 = ['06', '07', '0e', '16', '17', '1e', '1f', '27', '2f', '37', '3f', '60', '61', 'ce', 'd6'];
const UNDEFINED_CODES: Row[] = [
  ...REMOVED_IN_64.map((code): Row => ({ name: 'undefined', code, mode: 64 })),
  ...['d4', 'd5', '82 /0', '82 /7'].map((code): Row => ({ name: 'undefined', code, args: 'Ib', mode: 64 })),
  ...['9a', 'ea'].map((code): Row => ({ name: 'undefined', code, args: 'Ap', mode: 64 })),
  ...['0f 0b', '0f 04', '0f 0a', '0f 0c', '0f 24', '0f 26', '0f 36', '0f 39'].map(
    (code): Row => ({ name: 'undefined', code }),
  ),
  { name: 'undefined', code: '0f b9', args: 'Gw,Ew' },
  ...['fe /2', 'fe /7', 'ff /7', 'c6 /1', 'c7 /3', '8f /1', '0f ba /0', '0f ba /3', '0f c7 /0', '0f 00 /6'].map(
    (code): Row => ({ name: 'undefined', code, args: 'Ew' }),
  ),
  // A register where only memory may stand.
  ...['8d', '0f c3', '0f b2', '0f b4', '0f b5'].map((code): Row => ({ name: 'undefined', code, args: 'Gw,Rw' })),
  ...['ff /3', 'ff /5', '0f c7 /1'].map((code): Row => ({ name: 'undefined', code, args: 'Rw' })),
];

export const ROWS: readonly Row[] = [
  ...alu,
  ...shifts,
  ...group3,
  ...ARITHMETIC,
  ...bits,
  ...DATA,
  ...conditions,
  ...strings,
  ...PUSH_POP,
  ...SEGMENTS,
  ...CONTROL,
  ...HARMLESS,
  ...PRIVILEGED,
  ...UNDEFINED_CODES,
];

/** The states of each form. */
export const STATES = 50;

/** In bits; 8 for the byte forms, 0 where the operand size does not matter (no prefix is put then). */
function widthsOf(row: Row, mode: 64 | 32): number[] {
  const args = row.args ?? '';
  const kind = row.widths ?? (/J/.test(args) ? 'n' : /[EGMRZIO]([vyz])/.exec(args)?.[1]);
  switch (kind) {
    case 'v':
      return mode === 64 ? [16, 32, 64] : [16, 32];
    case 'y':
      return mode === 64 ? [32, 64] : [32];
    case 'z':
      return [16, 32];
    case 'd':
      return mode === 64 ? [16, 64] : [16, 32];
    case 'n':
      return mode === 64 ? [64] : [16, 32];
  }
  return [/[EGZ]b|AL/.test(args) || args === 'b' ? 8 : 0];
}

/** Every form of one mode, in the table's order. */
export function formsOf(mode: 64 | 32): Form[] {
  const forms: Form[] = [];
  for (const row of ROWS) {
    if (row.mode && row.mode !== mode) continue;
    const args = row.args ?? '';
    const shapes: Form['shape'][] = /E/.test(args)
      ? ['r', 'm']
      : /M/.test(args)
        ? ['m']
        : /R/.test(args)
          ? ['r']
          : [''];
    for (const width of widthsOf(row, mode))
      for (const shape of shapes) {
        const prefix = row.prefix ? `${hex(row.prefix)} ` : '';
        const words = [mode, row.name, `[${prefix}${row.code}]`, args || '-', width, shape].filter((w) => w !== '');
        forms.push({ id: words.join(' '), row, mode, width, shape });
      }
  }
  return forms;
}
