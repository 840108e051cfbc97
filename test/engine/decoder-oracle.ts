/** Our decoder beside iced-x86, instruction by instruction: the same length, the same mnemonic.
 *
 * Where the two write a name differently, NAMES says how; it is the only place that does. The features of the decoder
 * under test are all shown, so that every row is compared, built or not. */
import { Decoder as Iced, Instruction, Mnemonic, OpKind, Register } from 'iced-x86';
import { type Decoded, type DecodeResult, Decoder, NONE, RIP_BASE } from '../../src/engine/decoder.ts';
import { SIZED_NAMES } from '../../src/x86/isa/multiply.ts';

export type CodeSize = 16 | 32 | 64;
type Name = string | ((d: Decoded) => string);

const bySize =
  (word: string, dword: string, qword = dword) =>
  (d: Decoded): string =>
    d.operandSize === 16 ? word : d.operandSize === 32 ? dword : qword;
/** b, w, d or q behind a string instruction's name. */
const element =
  (name: string) =>
  (d: Decoded): string =>
    `${name}${d.form.operands === 'Xb' ? 'b' : bySize('w', 'd', d.form.operands === 'Xz' ? 'd' : 'q')(d)}`;
const wide =
  (name: string, with64: string) =>
  (d: Decoded): string =>
    d.rex & 8 ? with64 : name;
/** Hints that mean something to newer processors; to this one they are NOPs. */
function hint(d: Decoded): string {
  const digit = d.reg & 7;
  if (d.opcode === 0x1f && digit === 0) return 'nop';
  if (d.isMemory) {
    if (d.opcode === 0x0d) return digit === 3 ? 'prefetchw' : 'prefetch';
    if (d.opcode === 0x18 && digit >= 6) return digit === 6 ? 'prefetchit1' : 'prefetchit0';
    if (d.opcode === 0x1c && digit === 0 && d.rep === 0) return 'cldemote';
  } else if (d.opcode === 0x1e && digit === 1 && d.rep === 3) return d.rex & 8 ? 'rdsspq' : 'rdsspd';
  return 'reservednop';
}

/** iced's name of an operation of ours, by our name. */
const NAMES: Record<string, Name> = {
  ...Object.fromEntries(
    Object.entries(SIZED_NAMES).map(([name, sizes]) => [name, (d: Decoded) => sizes[d.operandSize]]),
  ),
  ...Object.fromEntries(['movs', 'cmps', 'stos', 'lods', 'scas', 'ins', 'outs'].map((name) => [name, element(name)])),
  ...Object.fromEntries(
    ['fxsave', 'fxrstor', 'xsave', 'xrstor', 'xsaveopt', 'xsavec', 'xsaves', 'xrstors'].map((name) => [
      name,
      wide(name, `${name}64`),
    ]),
  ),
  // The manual's two names of one operation: iced keeps SAL for the undocumented /6.
  shl: (d) => ((d.reg & 7) === 6 ? 'sal' : 'shl'),
  pushf: bySize('pushf', 'pushfd', 'pushfq'),
  popf: bySize('popf', 'popfd', 'popfq'),
  pusha: bySize('pusha', 'pushad'),
  popa: bySize('popa', 'popad'),
  iret: bySize('iret', 'iretd', 'iretq'),
  jrcxz: (d) => ({ 16: 'jcxz', 32: 'jecxz', 64: 'jrcxz' })[d.addressSize],
  sysret: wide('sysret', 'sysretq'),
  sysexit: wide('sysexit', 'sysexitq'),
  movd: wide('movd', 'movq'),
  pextrd: wide('pextrd', 'pextrq'),
  pinsrd: wide('pinsrd', 'pinsrq'),
  getsec: wide('getsec', 'getsecq'),
  incsspd: wide('incsspd', 'incsspq'),
  wrssd: wide('wrssd', 'wrssq'),
  wrussd: wide('wrussd', 'wrussq'),
  fwait: 'wait',
  ...Object.fromEntries(['pcmpestrm', 'pcmpestri'].map((name) => [name, wide(name, `${name}64`)])),
  // D9 /3 with a register: FSTP that leaves an empty register's exception out.
  fstp: (d) => (d.opcode === 0xd9 && !d.isMemory ? 'fstpnce' : 'fstp'),
  // 90 is NOP by another name; 0F 18 to 0F 1F are hints, of which only 0F 1F /0 is called NOP.
  xchg: (d) => (d.form.code === '90+r' && (d.opcode & 7) === 0 && (d.rex & 1) === 0 ? 'nop' : 'xchg'),
  nop: hint,
};

const MNEMONIC_OF = new Map(
  Object.entries(Mnemonic)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => [name.toLowerCase(), value as number]),
);

/** iced's number of what our decoder found; undefined when iced has no such name. */
const fixed: (number | undefined)[] = [];
function mnemonicOf(d: Decoded): number | undefined {
  const known = fixed[d.formIndex];
  if (known !== undefined) return known;
  const name = NAMES[d.form.op.name] ?? d.form.op.name;
  if (typeof name === 'function') return MNEMONIC_OF.get(name(d));
  const number = MNEMONIC_OF.get(name);
  fixed[d.formIndex] = number;
  return number;
}

export type Verdict = 'same' | 'vector' | 'different';
export type Difference = { at: number; bytes: string; iced: string; ours: string };

/** What one comparison came to. VEX, EVEX and XOP are 'vector' when we find their length and call them undefined. */
export class Oracle {
  readonly ours = new Decoder(() => true);
  private readonly size: CodeSize;
  private readonly bytes: Uint8Array;
  private readonly iced: Iced;
  private readonly insn = new Instruction();
  private result: DecodeResult = 'ok';
  private mnemonic = 0;
  length = 0;

  constructor(size: CodeSize, bytes: Uint8Array, options = 0) {
    this.size = size;
    this.bytes = bytes;
    this.iced = new Iced(size, bytes, options);
  }

  /** Compares the next instruction; iced's length says where the one after it is. */
  next(at: number): Verdict {
    const { insn, ours } = this;
    this.iced.decodeOut(insn);
    this.length = insn.length;
    this.mnemonic = insn.mnemonic;
    this.result = ours.decode(this.bytes, at, this.bytes.length, this.size);
    if (this.result === 'ok' && isRefused(ours.insn)) this.result = 'undefined';
    if (this.mnemonic === 0) return this.result !== 'ok' ? 'same' : 'different';
    if (this.result === 'ok') {
      return ours.insn.length === this.length && mnemonicOf(ours.insn) === this.mnemonic ? 'same' : 'different';
    }
    return insn.encoding !== 0 && this.result === 'undefined' && ours.insn.length === this.length
      ? 'vector'
      : 'different';
  }

  /** The form that `next` found, or NONE. */
  get formIndex(): number {
    return this.result === 'ok' ? this.ours.insn.formIndex : NONE;
  }

  /** What differs in the memory operand, immediates and displacements of an instruction that both decoded. */
  operandDifference(): string | undefined {
    if (this.result !== 'ok' || this.mnemonic === 0) return undefined;
    const { insn } = this;
    const d = this.ours.insn;
    const compare: [what: string, iced: number | bigint, ours: number | bigint][] = [];
    const immediate = (BigInt(d.immediateHigh) << 32n) | BigInt(d.immediateLow >>> 0);
    for (let i = 0; i < insn.opCount; i++) {
      const kind = insn.opKind(i);
      const bits = IMMEDIATE_BITS[kind];
      const implied = d.form.operands.endsWith(',1');
      if (bits !== undefined && !implied)
        compare.push(['immediate', cut(insn.immediate(i), bits), cut(immediate, bits)]);
      else if (kind === OpKind.Immediate8_2nd) compare.push(['second immediate', insn.immediate8_2nd, d.immediate2]);
      else if (kind === OpKind.FarBranch16 || kind === OpKind.FarBranch32) {
        const far = kind === OpKind.FarBranch16 ? insn.farBranch16 : insn.farBranch32;
        const mask = kind === OpKind.FarBranch16 ? 16 : 32;
        compare.push(
          ['far offset', BigInt(far), cut(immediate, mask)],
          ['far selector', insn.farBranchSelector, d.immediate2],
        );
      } else if (kind >= OpKind.NearBranch16 && kind <= OpKind.NearBranch64) {
        const width = 16 << (kind - OpKind.NearBranch16);
        compare.push(['branch', cut(insn.nearBranchTarget - insn.nextIP, width), cut(immediate, width)]);
      } else if (kind === OpKind.Memory) {
        if (d.form.operands.includes('O')) {
          compare.push(['absolute address', insn.memoryDisplacementU64, cut(immediate, d.addressSize)]);
        } else if (d.isMemory) {
          const relative = d.base === RIP_BASE;
          compare.push(['base', numberOf(insn.memoryBase, d.addressSize), d.base]);
          compare.push(['index', numberOf(insn.memoryIndex, d.addressSize), d.index]);
          if (d.index !== NONE) compare.push(['scale', insn.memoryIndexScale, 1 << d.scale]);
          const from = relative ? insn.nextIP : 0n;
          compare.push([
            'displacement',
            cut(insn.memoryDisplacement - from, d.addressSize),
            cut(BigInt(d.displacement), d.addressSize),
          ]);
          // iced prints the overrides that 64-bit code ignores.
          if (insn.segmentPrefix === 0 || d.override !== NONE)
            compare.push(['segment', insn.memorySegment - Register.ES, d.segment]);
        }
      }
    }
    const wrong = compare.filter(([, iced, ours]) => iced !== ours);
    return wrong.length === 0
      ? undefined
      : wrong.map(([what, iced, ours]) => `${what} ${iced}, ours ${ours}`).join('; ');
  }

  jumpTo(at: number): void {
    this.iced.position = at;
  }

  difference(at: number): Difference {
    const d = this.ours.insn;
    const name = this.result === 'ok' ? (Mnemonic[mnemonicOf(d) ?? -1] ?? d.form.op.name).toLowerCase() : this.result;
    return {
      at,
      bytes: Buffer.from(this.bytes.subarray(at, at + Math.max(this.length, d.length, 1))).toString('hex'),
      iced: `${this.mnemonic === 0 ? 'undefined' : Mnemonic[this.mnemonic].toLowerCase()}/${this.length}`,
      ours: `${name}/${d.length}`,
    };
  }

  free(): void {
    this.iced.free();
    this.insn.free();
  }
}

/** What gives #UD behind the decoder: LOCK in engine/blocks.ts, registers that do not exist in engine/system. */
function isRefused(d: Decoded): boolean {
  if (d.lock && !(d.form.lock && d.isMemory)) return true;
  switch (d.form.op.helper) {
    case 'mov_from_sreg':
      return (d.reg & 7) > 5;
    case 'mov_to_sreg':
      return (d.reg & 7) > 5 || (d.reg & 7) === 1;
    case 'mov_from_cr':
    case 'mov_to_cr':
      return ![0, 2, 3, 4, 8].includes(d.reg);
    case 'mov_from_dr':
    case 'mov_to_dr':
      return d.reg > 7;
    default:
      return false;
  }
}

const cut = (value: bigint, bits: number): bigint => BigInt.asUintN(bits, value);

const IMMEDIATE_BITS: Record<number, number> = {
  [OpKind.Immediate8]: 8,
  [OpKind.Immediate16]: 16,
  [OpKind.Immediate32]: 32,
  [OpKind.Immediate64]: 64,
  [OpKind.Immediate8to16]: 16,
  [OpKind.Immediate8to32]: 32,
  [OpKind.Immediate8to64]: 64,
  [OpKind.Immediate32to64]: 64,
};

/** Our number of an address register of iced's. */
function numberOf(register: number, addressSize: CodeSize): number {
  if (register === Register.None) return NONE;
  if (register === Register.RIP || register === Register.EIP) return RIP_BASE;
  return register - { 16: Register.AX, 32: Register.EAX, 64: Register.RAX }[addressSize];
}
