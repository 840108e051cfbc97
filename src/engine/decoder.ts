/** The decoder: bytes become a form, its operands and its length.
 *
 * Tables are made once from the rows (x86/isa); decoding one instruction is a walk over prefixes, opcode, ModRM, SIB,
 * displacement and immediates into one reused `Decoded`. It reads bytes only: no page walks, no state, and what it
 * cannot see yet (the next page) is reported as 'truncated'. iced-x86 is its oracle in the tests.
 * Follows: SDM Vol. 2, chapter 2 and Appendix A.   May not: allocate per instruction.   Next: engine/operands.ts. */
import { assert } from '../base/errors.ts';
import { INSTRUCTIONS } from '../x86/isa/index.ts';
import type { Form } from '../x86/isa/types.ts';

export const NONE = -1;
/** Base register number that stands for RIP. */
export const RIP_BASE = 16;

/** Longest instruction; anything longer is #GP(0). */
export const MAX_LENGTH = 15;

export type DecodeResult = 'ok' | 'undefined' | 'too-long' | 'truncated';

type Candidate = {
  form: Form;
  index: number;
  prefix: number; // 0 none required, or 0x66, 0xf2, 0xf3
  digit: number; // ModRM.reg, or NONE
  mod: 'mem' | 'mod3' | '';
  rm: number; // whole ModRM byte, or NONE
};

/** How a code reads its immediate bytes. */
type Tail = { kinds: readonly string[] };

export class Decoded {
  form: Form = INSTRUCTIONS[0];
  formIndex = 0;
  length = 0;
  /** 0, 2 (F2) or 3 (F3): the last one given. */
  rep: 0 | 2 | 3 = 0;
  lock = false;
  /** Segment override, or NONE. */
  override = NONE;
  /** Effective sizes in bits. */
  operandSize: 16 | 32 | 64 = 32;
  addressSize: 16 | 32 | 64 = 32;
  rex = 0;
  opcode = 0;
  hasModrm = false;
  mod = 0;
  reg = 0;
  rm = 0;
  isMemory = false;
  base = NONE;
  index = NONE;
  scale = 0;
  displacement = 0;
  /** Segment of the memory operand, override or default. */
  segment = 3;
  immediateLow = 0;
  immediateHigh = 0;
  immediate2 = 0;
}

export class Decoder {
  readonly insn = new Decoded();
  private readonly tables: Candidate[][][]; // by code size (0: 16/32, 1: 64) and map × 256 + opcode
  private readonly modrm: Uint8Array[];
  private readonly tails: Tail[];

  /** `shows` says whether a CPUID feature is shown; rows of hidden features do not exist. */
  constructor(shows: (feature: string) => boolean) {
    this.tails = INSTRUCTIONS.map((form) => ({
      kinds: form.operands.split(',').filter((code) => /^[IJAO][a-z]/.test(code)),
    }));
    this.tables = [32, 64].map((mode) => {
      const table: Candidate[][] = Array.from({ length: 1024 }, () => []);
      INSTRUCTIONS.forEach((form, index) => {
        if (form.mode !== undefined && form.mode !== mode) return;
        if (form.feature !== undefined && !shows(form.feature)) return;
        for (const [slot, candidate] of parseCode(form, index)) table[slot].push(candidate);
      });
      for (const list of table) list.sort((a, b) => specificity(b) - specificity(a));
      return table;
    });
    this.modrm = this.tables.map((table) => Uint8Array.from(table, (list) => (list.some(needsModrm) ? 1 : 0)));
  }

  /** Decodes the instruction at bytes[at], seeing no further than bytes[end - 1]. `codeSize` is CS's: 16, 32 or 64. */
  decode(bytes: Uint8Array, at: number, end: number, codeSize: 16 | 32 | 64): DecodeResult {
    const d = this.insn;
    const limit = Math.min(end, at + MAX_LENGTH);
    const short: DecodeResult = end >= at + MAX_LENGTH ? 'too-long' : 'truncated';
    const is64 = codeSize === 64;
    let pos = at;
    let has66 = false;
    let has67 = false;
    let rex = 0;
    let byte = 0;
    d.rep = 0;
    d.lock = false;
    d.override = NONE;
    prefixes: for (;;) {
      if (pos >= limit) return short;
      byte = bytes[pos++];
      switch (byte) {
        case 0x66:
          has66 = true;
          break;
        case 0x67:
          has67 = true;
          break;
        case 0xf0:
          d.lock = true;
          break;
        case 0xf2:
          d.rep = 2;
          break;
        case 0xf3:
          d.rep = 3;
          break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          if (!is64) d.override = (byte >> 3) & 3;
          break;
        case 0x64:
        case 0x65:
          d.override = byte - 0x60;
          break;
        default:
          if (is64 && (byte & 0xf0) === 0x40) {
            rex = byte;
            continue prefixes; // a REX counts only right before the opcode: any other prefix clears it below
          }
          break prefixes;
      }
      rex = 0;
    }
    d.rex = rex;
    let slot = byte;
    if (byte === 0x0f) {
      if (pos >= limit) return short;
      byte = bytes[pos++];
      slot = 0x100 + byte;
      if (byte === 0x38 || byte === 0x3a) {
        const map = byte === 0x38 ? 0x200 : 0x300;
        if (pos >= limit) return short;
        byte = bytes[pos++];
        slot = map + byte;
      }
    }
    d.opcode = byte;
    const side = is64 ? 1 : 0;
    const candidates = this.tables[side][slot];
    if (candidates.length === 0) {
      d.length = pos - at;
      return 'undefined';
    }
    let modrm = 0;
    d.hasModrm = this.modrm[side][slot] !== 0;
    if (d.hasModrm) {
      if (pos >= limit) return short;
      modrm = bytes[pos++];
    }
    const mod = modrm >> 6;
    const candidate = choose(candidates, has66, d.rep, modrm, mod);
    if (candidate === undefined) {
      d.length = pos - at;
      return 'undefined';
    }
    const form = candidate.form;
    d.form = form;
    d.formIndex = candidate.index;

    if (is64) {
      d.addressSize = has67 ? 32 : 64;
      if (form.size64 === 'f64') d.operandSize = 64;
      else if (rex & 8) d.operandSize = 64;
      else if (has66 && candidate.prefix !== 0x66) d.operandSize = 16;
      else d.operandSize = form.size64 === 'd64' ? 64 : 32;
    } else {
      const other = codeSize === 16 ? 32 : 16;
      d.addressSize = has67 ? other : codeSize;
      d.operandSize = has66 && candidate.prefix !== 0x66 ? other : codeSize;
    }

    d.mod = mod;
    d.reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    d.rm = (modrm & 7) | ((rex & 1) << 3);
    d.isMemory = d.hasModrm && mod !== 3;
    d.base = NONE;
    d.index = NONE;
    d.scale = 0;
    d.displacement = 0;
    d.segment = d.override >= 0 ? d.override : 3;
    if (d.isMemory && !(candidate.form.op.helper !== undefined && ignoresMod(candidate.form))) {
      let dispSize = mod === 1 ? 1 : mod === 2 ? 4 : 0;
      let stackBase = false;
      if (d.addressSize === 16) {
        const rm = modrm & 7;
        if (mod === 2) dispSize = 2;
        if (mod === 0 && rm === 6) dispSize = 2;
        else {
          d.base = [3, 3, 5, 5, 6, 7, 5, 3][rm];
          d.index = rm < 4 ? 6 + (rm & 1) : NONE;
          stackBase = d.base === 5;
        }
      } else if ((modrm & 7) === 4) {
        if (pos >= limit) return short;
        const sib = bytes[pos++];
        const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
        d.index = index === 4 ? NONE : index;
        d.scale = d.index === NONE ? 0 : sib >> 6;
        if ((sib & 7) === 5 && mod === 0) dispSize = 4;
        else {
          d.base = (sib & 7) | ((rex & 1) << 3);
          stackBase = d.base === 4 || d.base === 5;
        }
      } else if (mod === 0 && (modrm & 7) === 5) {
        dispSize = 4;
        d.base = is64 ? RIP_BASE : NONE;
      } else {
        d.base = d.rm;
        stackBase = d.base === 5;
      }
      if (stackBase && d.override < 0) d.segment = 2;
      if (pos + dispSize > limit) return short;
      if (dispSize === 1) d.displacement = (bytes[pos] << 24) >> 24;
      else if (dispSize === 2) d.displacement = ((bytes[pos] | (bytes[pos + 1] << 8)) << 16) >> 16;
      else if (dispSize === 4) d.displacement = read32(bytes, pos);
      pos += dispSize;
    } else if (d.isMemory) {
      d.isMemory = false; // mov to and from control registers ignore ModRM.mod
    }

    d.immediateLow = 0;
    d.immediateHigh = 0;
    d.immediate2 = 0;
    let first = true;
    for (const kind of this.tails[candidate.index].kinds) {
      const size = tailSize(kind, d, is64);
      if (pos + size > limit) return short;
      if (!first) {
        d.immediate2 = bytes[pos]; // enter: the level
      } else if (kind === 'Ap') {
        d.immediateLow = size === 4 ? bytes[pos] | (bytes[pos + 1] << 8) : read32(bytes, pos);
        d.immediate2 = bytes[pos + size - 2] | (bytes[pos + size - 1] << 8);
      } else if (size === 1) {
        d.immediateLow = (bytes[pos] << 24) >> 24;
        d.immediateHigh = d.immediateLow >> 31;
      } else if (size === 2) {
        d.immediateLow = bytes[pos] | (bytes[pos + 1] << 8);
        if (kind !== 'Iw' && kind[0] !== 'O') d.immediateLow = (d.immediateLow << 16) >> 16;
        d.immediateHigh = d.immediateLow >> 31;
      } else if (size === 4) {
        d.immediateLow = read32(bytes, pos);
        d.immediateHigh = kind[0] === 'O' ? 0 : d.immediateLow >> 31;
      } else {
        d.immediateLow = read32(bytes, pos);
        d.immediateHigh = read32(bytes, pos + 4);
      }
      pos += size;
      first = false;
    }
    d.length = pos - at;
    return 'ok';
  }
}

function read32(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function tailSize(kind: string, d: Decoded, is64: boolean): number {
  switch (kind) {
    case 'Ib':
    case 'Jb':
      return 1;
    case 'Iw':
      return 2;
    case 'Iz':
      return d.operandSize === 16 ? 2 : 4;
    case 'Jz':
      return is64 ? 4 : d.operandSize === 16 ? 2 : 4;
    case 'Iv':
      return d.operandSize / 8;
    case 'Ap':
      return d.operandSize === 16 ? 4 : 6;
    case 'Ob':
    case 'Ov':
      return d.addressSize / 8;
    default:
      throw new Error(`broken belief: every immediate kind is known (got ${kind})`);
  }
}

function choose(
  candidates: readonly Candidate[],
  has66: boolean,
  rep: 0 | 2 | 3,
  modrm: number,
  mod: number,
): Candidate | undefined {
  for (const c of candidates) {
    if (c.prefix !== 0) {
      if (c.prefix === 0x66 ? !has66 || rep !== 0 : c.prefix !== 0xf0 + rep) continue;
    }
    if (c.rm >= 0 && c.rm !== modrm) continue;
    if (c.digit >= 0 && c.digit !== ((modrm >> 3) & 7)) continue;
    if (c.mod === 'mem' ? mod === 3 : c.mod === 'mod3' && mod !== 3) continue;
    return c;
  }
  return undefined;
}

function specificity(c: Candidate): number {
  return (c.prefix !== 0 ? 8 : 0) + (c.rm >= 0 ? 4 : 0) + (c.digit >= 0 ? 2 : 0) + (c.mod !== '' ? 1 : 0);
}

function needsModrm(c: Candidate): boolean {
  return c.digit >= 0 || c.mod !== '' || c.rm >= 0 || /(^|,)[EGMRSCDPQVW][a-z]?/.test(stripFixed(c.form.operands));
}

/** Fixed registers (CL, DX) begin with letters that are operand codes too. */
function stripFixed(operands: string): string {
  return operands
    .split(',')
    .filter((code) => code !== 'CL' && code !== 'DX')
    .join(',');
}

function ignoresMod(form: Form): boolean {
  return /R[qvyd]/.test(form.operands) && /[CD]d/.test(form.operands);
}

/** '0f ae /5 mod3' → where in the table, and what must match. */
function parseCode(form: Form, index: number): [number, Candidate][] {
  const c: Candidate = { form, index, prefix: 0, digit: NONE, mod: '', rm: NONE };
  const words = form.code.split(' ');
  const opcodes: number[] = [];
  let plus = false;
  for (const word of words) {
    if (word.startsWith('/')) c.digit = Number(word.slice(1));
    else if (word === 'mem' || word === 'mod3') c.mod = word;
    else if (word.endsWith('+r')) {
      opcodes.push(Number.parseInt(word, 16));
      plus = true;
    } else if (c.mod !== '' || c.digit >= 0) c.rm = Number.parseInt(word, 16);
    else opcodes.push(Number.parseInt(word, 16));
  }
  if (opcodes.length > 1 && (opcodes[0] === 0x66 || opcodes[0] === 0xf2 || opcodes[0] === 0xf3)) {
    c.prefix = opcodes.shift() as number;
  }
  let map = 0;
  if (opcodes.length > 1 && opcodes[0] === 0x0f) {
    opcodes.shift();
    const next: number = opcodes[0];
    map = opcodes.length > 1 && next === 0x38 ? 0x200 : opcodes.length > 1 && next === 0x3a ? 0x300 : 0x100;
    if (map !== 0x100) opcodes.shift();
  }
  assert(opcodes.length === 1, `"${form.code}" names one opcode`);
  const count = plus ? 8 : 1;
  return Array.from({ length: count }, (_, i) => [map + opcodes[0] + i, c]);
}
