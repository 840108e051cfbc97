/** The decoder: bytes become a form, its operands and its length.
 *
 * The rows (x86/isa) are sorted by opcode once per process; what a CPU model shows of an opcode is looked up when it is
 * first met. Decoding one instruction is a walk over prefixes, opcode, ModRM, SIB, displacement and immediates into one
 * reused `Decoded`. It reads bytes only: no page walks, no state, and what it cannot see yet (the next page) is reported
 * as 'truncated'. Of VEX, EVEX and XOP instructions that no row knows, only the length is found; they are undefined.
 * iced-x86 is its oracle in the tests.
 * Follows: SDM Vol. 2, chapter 2 and Appendix A.   May not: allocate per instruction.   Next: engine/blocks.ts. */
import { assert } from '../base/errors.ts';
import { INSTRUCTIONS } from '../x86/isa/index.ts';
import type { Form } from '../x86/isa/types.ts';
import { vexHasModrm, vexImmediateBytes } from '../x86/isa/vex.ts';

export const NONE = -1;
/** Base register number that stands for RIP. */
export const RIP_BASE = 16;

/** Longest instruction; anything longer is #GP(0). */
export const MAX_LENGTH = 15;

export type DecodeResult = 'ok' | 'undefined' | 'too-long' | 'truncated';

type Candidate = {
  form: Form;
  index: number;
  prefix: number; // ANY, NO_PREFIX, NO_REP, or 0x66, 0xf2, 0xf3
  digit: number; // ModRM.reg, or NONE
  mod: 'mem' | 'mod3' | '';
  rm: number; // whole ModRM byte, or NONE
  w: number; // REX.W as it stands in REX: 0 or 8, or NONE
  /** Operands that are read from bytes behind ModRM. */
  tail: readonly string[];
  /** mov to and from control registers: the operand is a register whatever ModRM.mod says. */
  ignoresMod: boolean;
};

const ANY = 0;
/** The manual's NP and NFx: none of 66, F2, F3 may be given; neither F2 nor F3. */
const NO_PREFIX = 1;
const NO_REP = 2;

/** What an opcode can be: the most specific first. */
type Slot = { candidates: readonly Candidate[]; modrm: boolean };
const MAPS = 8; // one byte, 0F, 0F38, 0F3A; the same four again under VEX
const VEX = 0x400;

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
  private readonly shows: (feature: string) => boolean;
  /** By code size (0: 16 and 32, 1: 64), and map × 256 + opcode. */
  private readonly slots: (Slot | undefined)[][] = [[], []];

  /** `shows` says whether a CPUID feature is shown; rows of hidden features do not exist. */
  constructor(shows: (feature: string) => boolean) {
    this.shows = shows;
    for (const slots of this.slots) slots.length = MAPS * 256;
  }

  private slot(side: number, number: number): Slot {
    const known = this.slots[side][number];
    if (known) return known;
    const mode = side === 1 ? 64 : 32;
    const candidates = candidatesOf(number).filter(
      ({ form }) =>
        (form.mode === undefined || form.mode === mode) && (form.feature === undefined || this.shows(form.feature)),
    );
    const slot = { candidates, modrm: candidates.some(needsModrm) };
    this.slots[side][number] = slot;
    return slot;
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
    d.length = MAX_LENGTH; // of an instruction that is too long
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
    let number = byte;
    let vexMap = NONE;
    if (byte === 0x0f) {
      if (pos >= limit) return short;
      byte = bytes[pos++];
      number = 0x100 + byte;
      if (byte === 0x38 || byte === 0x3a) {
        const map = byte === 0x38 ? 0x200 : 0x300;
        if (pos >= limit) return short;
        byte = bytes[pos++];
        number = map + byte;
      }
    } else if (byte === 0xc4 || byte === 0xc5 || byte === 0x62 || byte === 0x8f) {
      if (pos >= limit) return short;
      if (byte === 0x8f ? (bytes[pos] & 31) >= 8 : is64 || bytes[pos] >= 0xc0) {
        // VEX, EVEX or XOP: the prefix bytes hold what REX and the mandatory prefix hold elsewhere.
        const payload = byte === 0xc5 ? 1 : byte === 0x62 ? 3 : 2;
        if (pos + payload >= limit) return short;
        const first = bytes[pos];
        const last = bytes[pos + (payload === 1 ? 0 : 1)];
        const plain = !has66 && d.rep === 0 && !d.lock && rex === 0;
        const vector = byte === 0x62 || (last & 4) !== 0; // 256 bits and more
        vexMap = byte === 0xc5 ? 1 : byte === 0x62 ? first & 7 : first & 31;
        rex = is64 ? ((~first >> 5) & (payload === 1 ? 4 : 7)) | (payload === 1 ? 0 : (last >> 4) & 8) : 0;
        has66 = (last & 3) === 1;
        d.rep = (last & 3) === 2 ? 3 : (last & 3) === 3 ? 2 : 0;
        pos += payload;
        byte = bytes[pos++];
        number = plain && !vector && vexMap <= 3 ? VEX + vexMap * 256 + byte : NONE;
      }
    }
    d.rex = rex;
    d.opcode = byte;
    const { candidates, modrm: hasModrm } = number === NONE ? NO_SLOT : this.slot(is64 ? 1 : 0, number);
    if (candidates.length === 0) {
      if (vexMap !== NONE) return this.unknownVex(bytes, at, pos, limit, short, vexMap, codeSize, has67);
      d.length = pos - at;
      return 'undefined';
    }
    let modrm = 0;
    d.hasModrm = hasModrm;
    if (hasModrm) {
      if (pos >= limit) return short;
      modrm = bytes[pos++];
    }
    const mod = modrm >> 6;
    const candidate = choose(candidates, has66, d.rep, rex, modrm, mod);
    if (candidate === undefined) {
      if (vexMap !== NONE) return this.unknownVex(bytes, at, pos - 1, limit, short, vexMap, codeSize, has67);
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
    if (d.isMemory && !candidate.ignoresMod) {
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
      d.isMemory = false;
    }

    d.immediateLow = 0;
    d.immediateHigh = 0;
    d.immediate2 = 0;
    let first = true;
    for (const kind of candidate.tail) {
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

  /** Walks over the rest of a VEX, EVEX or XOP instruction that is in no row. `pos` is behind the opcode. */
  private unknownVex(
    bytes: Uint8Array,
    at: number,
    pos: number,
    limit: number,
    short: DecodeResult,
    map: number,
    codeSize: 16 | 32 | 64,
    has67: boolean,
  ): DecodeResult {
    const opcode = bytes[pos - 1];
    let end = pos;
    if (vexHasModrm(map, opcode)) {
      if (pos >= limit) return short;
      const modrm = bytes[end++];
      const mod = modrm >> 6;
      const rm = modrm & 7;
      const address16 = codeSize !== 64 && (codeSize === 16) !== has67;
      if (address16) {
        if (mod === 2 || (mod === 0 && rm === 6)) end += 2;
      } else if (mod !== 3) {
        if (rm === 4 && end >= limit) return short;
        const base = rm === 4 ? bytes[end++] & 7 : rm;
        if (mod === 2 || (mod === 0 && base === 5)) end += 4;
      }
      if (mod === 1) end += 1;
    }
    end += vexImmediateBytes(map, opcode);
    if (end > limit) return short;
    this.insn.length = end - at;
    return 'undefined';
  }
}

const NO_SLOT: Slot = { candidates: [], modrm: false };

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
  rex: number,
  modrm: number,
  mod: number,
): Candidate | undefined {
  for (const c of candidates) {
    if (c.prefix === 0x66) {
      if (!has66 || rep !== 0) continue;
    } else if (c.prefix === NO_PREFIX) {
      if (has66 || rep !== 0) continue;
    } else if (c.prefix === NO_REP) {
      if (rep !== 0) continue;
    } else if (c.prefix !== ANY && c.prefix !== 0xf0 + rep) continue;
    if (c.w >= 0 && c.w !== (rex & 8)) continue;
    if (c.rm >= 0 && c.rm !== modrm) continue;
    if (c.digit >= 0 && c.digit !== ((modrm >> 3) & 7)) continue;
    if (c.mod === 'mem' ? mod === 3 : c.mod === 'mod3' && mod !== 3) continue;
    return c;
  }
  return undefined;
}

function specificity(c: Candidate): number {
  return (c.prefix !== ANY ? 8 : 0) + (c.rm >= 0 ? 4 : 0) + (c.digit >= 0 ? 2 : 0) + (c.mod !== '' ? 1 : 0);
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

/** Places in INSTRUCTIONS of each opcode's rows. */
let byOpcode: number[][] | undefined;

/** Every row of an opcode, the most specific first, whatever is shown. */
function candidatesOf(number: number): Candidate[] {
  if (byOpcode === undefined) {
    byOpcode = Array.from({ length: MAPS * 256 }, () => []);
    for (let index = 0; index < INSTRUCTIONS.length; index++) {
      const { code } = INSTRUCTIONS[index];
      const first = opcodeOf(code);
      const last = code.endsWith('+r') ? first + 7 : first;
      for (let n = first; n <= last; n++) byOpcode[n].push(index);
    }
  }
  const candidates = byOpcode[number].map((index) => parseCode(INSTRUCTIONS[index], index));
  return candidates.sort((a, b) => specificity(b) - specificity(a));
}

const MANDATORY: Record<string, number> = { np: NO_PREFIX, nf: NO_REP, '66': 0x66, f2: 0xf2, f3: 0xf3 };
const mandatoryPrefix = (code: string): number => (code[2] === ' ' ? (MANDATORY[code.slice(0, 2)] ?? ANY) : ANY);

/** '66 0f 38 10' → 0x210: map × 256 + opcode. */
function opcodeOf(code: string): number {
  let rest = mandatoryPrefix(code) === ANY ? code : code.slice(3);
  let map = 0;
  if (rest.startsWith('vex ')) {
    map = VEX;
    rest = rest.slice(4);
  }
  if (rest.startsWith('0f ')) {
    rest = rest.slice(3);
    const step = rest.startsWith('38 ') ? 0x200 : rest.startsWith('3a ') ? 0x300 : 0x100;
    if (step !== 0x100) rest = rest.slice(3);
    map += step;
  }
  const opcode = Number.parseInt(rest, 16);
  assert(opcode >= 0 && opcode < 256, `"${code}" names one opcode`);
  return map + opcode;
}

/** '0f ae /5 mod3' → what must match. */
function parseCode(form: Form, index: number): Candidate {
  const { code, operands } = form;
  const digit = code.indexOf('/');
  const mod = code.includes(' mem') ? 'mem' : code.includes(' mod3') ? 'mod3' : '';
  // What follows the restriction is the whole ModRM byte.
  const rm = /mod3 ([0-9a-f]{2})$/.exec(code);
  return {
    form,
    index,
    prefix: mandatoryPrefix(code),
    digit: digit < 0 ? NONE : Number(code[digit + 1]),
    mod,
    rm: rm ? Number.parseInt(rm[1], 16) : NONE,
    w: code.endsWith(' w0') ? 0 : code.endsWith(' w1') ? 8 : NONE,
    tail: operands.split(',').filter((operand) => /^[IJAO][a-z]/.test(operand)),
    ignoresMod: /R[qvyd]/.test(operands) && /[CD]d/.test(operands),
  };
}
