/** The shape of an instruction row: an encoding, its operands, and the operation behind it.
 *
 * Encodings and operands are written as the manual writes them: bytes in hex, `/n` for a ModRM.reg digit, `+r` for a
 * register in the opcode's low bits, `mod3` or `mem` to restrict ModRM.mod. In front a mandatory prefix, 66, F2 or F3,
 * or the manual's NP (none of the three) or NFx (neither F2 nor F3); `vex` stands for a VEX prefix. `w0` or `w1` at the end
 * ask for REX.W.
 *
 * Operands (SDM Vol. 2, Appendix A.2.1): E a register or memory by ModRM.rm, G a register by ModRM.reg, Z a register in
 * the opcode, R a register by ModRM.rm, M memory only, I an immediate, J a relative displacement, O an absolute address,
 * S a segment register, C and D control and debug registers, A a far pointer; AL, CL, DX, rAX and so on themselves. XMM
 * registers: V by ModRM.reg, U by ModRM.rm, W the same or memory; MMX registers: P, N and Q.
 * Sizes: b 8, w 16, d 32, q 64, dq 128, v 16/32/64 by operand size, z as v but at most 32, y 32/64.
 * Next: x86/isa/alu.ts. */
import type { Effects, Outcome, Width } from './algebra.ts';
import type { VectorMeaning } from './vector.ts';

export type Meaning = <V>(o: Effects<V> & Control<V>, ...operands: V[]) => Outcome<V> | undefined;

/** Effects that leave the straight line or touch memory beside the explicit operands. */
export interface Control<V> {
  /** Address of the next instruction, at the operation's width. */
  nextRip(): V;
  /** Continues at an address (near: within CS). */
  jump(target: V): void;
  /** Continues at the next instruction plus the relative displacement if the condition holds. */
  branch(condition: V): void;
  /** Pushes at the operation's width; faults before RSP changes. */
  push(value: V): void;
  pop(): V;
  /** The word that pop would read; RSP stays. */
  stackTop(): V;
  /** #GP(0) unless a near jump may go there (64-bit code: canonical); before anything is committed. */
  checkTarget(target: V): void;
  /** Adds to RSP, at the stack's width. */
  adjustStack(bytes: V): void;
  /** RSP := RBP, RBP := the word there. */
  leave(): void;
  /** Count register decrement at the address size: new value is zero? (loop, jrcxz) */
  decrementCount(): void;
  countIsZero(): V;
  /** String elements: [rSI] in the overridable segment, [ES:rDI]. */
  source(): V;
  destination(): V;
  store(value: V): void;
  advanceSource(): void;
  advanceDestination(): void;
  /** Effective address of the memory operand, without segment, cut to the operation's width (lea). */
  effectiveAddress(): V;
}

/** How an explicit operand is used: read, written, both, or not touched (an address). */
export type AccessLetter = 'r' | 'w' | 'rw' | '-';

export type Operation = {
  name: string;
  /** Where two operations share a mnemonic, what tells them apart. */
  id?: string;
  /** One per explicit operand; all 'r' when absent. */
  access?: readonly AccessLetter[];
  meaning?: Meaning;
  /** The meaning of an instruction on MMX or XMM registers; what it returns goes to the first operand. */
  vector?: VectorMeaning;
  /** It has to do with XMM registers though no operand is one. */
  sse?: true;
  /** Its memory operand of 16 bytes may lie anywhere. */
  unaligned?: true;
  /** Served by a TypeScript helper of this name (engine/system). Ends its block. */
  helper?: string;
  /** Not built: what it belongs to, as the user reads it ("SSE2"). Decodes; running it ends the run with exit 6. */
  unbuilt?: string;
  /** Flags written, of CPAZSO. zf, sf and pf follow from the result unless the outcome gives them. */
  writes?: string;
  /** Flags left undefined by the manual, of CPAZSO (they are also in `writes`); here they are what the host CPU does. */
  undefined?: string;
  /** Flags read, of CPAZSO. */
  reads?: string;
  /** The flags are those of an addition or a subtraction of the first operand: they can be kept lazily. */
  lazy?: 'add' | 'sub';
  /** Flags may stay unchanged (a count of zero). */
  conditionalFlags?: boolean;
  /** Ends its block: control goes elsewhere. */
  ends?: boolean;
  /** A string instruction: how often it runs under REP, and what it uses. */
  string?: { repeats: 'rep' | 'repe'; source: boolean; destination: boolean };
  /** Uses the stack through push, pop and friends. */
  stack?: boolean;
  /** Faults though it has no memory operand (div). */
  faults?: boolean;
  /** Shifts and rotates take their count from the second operand; the third is the filler (shld). */
  countOperand?: number;
};

export type Form = {
  code: string;
  operands: string;
  op: Operation;
  /** LOCK is allowed with a memory destination. */
  lock?: boolean;
  /** Only in 64-bit code, or only outside it. */
  mode?: 64 | 32;
  /** Operand size in 64-bit code: 'd64' defaults to 64 (66 makes it 16), 'f64' is always 64. */
  size64?: 'd64' | 'f64';
  /** CPUID feature that must be shown, else #UD. */
  feature?: string;
  /** Fixed operand size of the operation where no operand tells it. */
  width?: Width;
};

type Options = Omit<Form, 'code' | 'operands' | 'op'>;

/** One row. */
export function row(code: string, operands: string, op: Operation, options: Options = {}): Form {
  return { code, operands, op, ...options };
}

export const hex2 = (byte: number): string => byte.toString(16).padStart(2, '0');

/** Condition codes in the encoding's order (SDM Vol. 2, Appendix B.1). */
export const CONDITIONS = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
] as const;

/** The condition's truth from the flags. */
export function condition<V>(o: Effects<V>, code: number): V {
  const base = [
    () => o.flag('of'),
    () => o.flag('cf'),
    () => o.flag('zf'),
    () => o.bOr(o.flag('cf'), o.flag('zf')),
    () => o.flag('sf'),
    () => o.flag('pf'),
    () => o.bXor(o.flag('sf'), o.flag('of')),
    () => o.bOr(o.bXor(o.flag('sf'), o.flag('of')), o.flag('zf')),
  ][code >> 1]();
  return code & 1 ? o.bNot(base) : base;
}

/** Flags that a condition reads. */
export const CONDITION_READS = ['O', 'C', 'Z', 'CZ', 'S', 'P', 'SO', 'SOZ'] as const;
