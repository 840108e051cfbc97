/** Vector run: a loop of its own over the vector instructions that 64-bit code is full of.
 *
 * They stand close together: a copy loads and stores, a search compares and collects, arithmetic goes on and on. The big
 * loop has no room for them, and a call for each costs more than most of them do. So the first of a row is a call, and
 * those behind it are done before it returns; the answer says how far it came.
 * What is not plain is left to the variant's own function, as in the big loop.   Next: engine/emit/gates.ts. */
import { I32, OP, VOID } from '../../wasm/opcodes.ts';
import { REC, RECORD_BYTES, RETURN } from '../record.ts';
import { STATE } from '../state.ts';
import { type VectorVariant, vectorShell } from '../vector-variants.ts';
import { binary, type Code, type CoreFunctions, call, field16, get, i32, P, record, state32 } from './code.ts';
import { type Exits, WasmMeaning } from './meaning.ts';
import { emitVector } from './simd.ts';

const list = (text: string): string[] => text.trim().split(/\s*;\s*|\n\s*/);

const both = (names: string, register: string, memory: string): string[] =>
  names.split(' ').flatMap((name) => [`${name} ${register}`, `${name} ${memory}`]);

const IN_A_ROW = new Set([
  ...list(`mova xmm16v,xmm16v; mova xmm16v,memory16v; mova memory16v,xmm16v; movu xmm16v,xmm16v; movu xmm16v,memory16v
    movu memory16v,xmm16v; movsd xmm16v,memory8; movsd memory8,xmm8; movsd xmm8,xmm8; movss xmm16v,memory4
    movss memory4,xmm4; movss xmm4,xmm4; movq xmm16v,memory8; movq memory8,xmm16v; movq xmm16v,xmm8; movd xmm16v,general4
    movd xmm16v,general8; movd general4,xmm16v; movd general8,xmm16v; movd xmm16v,memory4; movhps memory8,xmm16v
    movhps xmm16v,memory8; movlps memory8,xmm16v; movlps xmm8,memory8; movhpd xmm16v,memory8; movhpd memory8,xmm16v
    movlhps xmm16v,xmm8; movhlps xmm8,xmm16v; pmovmskb general4,xmm16v; movmskpd general4,xmm16v
    pshufd xmm16v,xmm16v,immediate1; pshufd xmm16v,memory16v,immediate1; shufps xmm16v,xmm16v,immediate1
    pslldq xmm16v,immediate1; psrldq xmm16v,immediate1; psrlq-immediate xmm16v,immediate1; psllq-immediate xmm16v,immediate1
    psrld-immediate xmm16v,immediate1; pslld-immediate xmm16v,immediate1; psrad-immediate xmm16v,immediate1
    cvtsi2sd xmm8,general4; cvtsi2sd xmm8,general8; cvtsi2sd xmm8,memory4; cvttsd2si general4,xmm8; cvttsd2si general8,xmm8
    cvtsi2ss xmm4,general4; cvttss2si general4,xmm4; cvtss2sd xmm8,xmm4; cvtss2sd xmm8,memory4; cvtsd2ss xmm4,xmm8
    ldmxcsr memory4; stmxcsr memory4; cvtps2pd xmm16v,xmm8; cvtdq2pd xmm16v,xmm8; cvtdq2ps xmm16v,xmm16v; cmpsd xmm8,xmm8,immediate1`),
  ...both(
    'xor or and andn pcmpeqb pcmpeqd pcmpgtd pminub paddd paddq psubb psubd psubq paddb paddw',
    'xmm16v,xmm16v',
    'xmm16v,memory16v',
  ),
  ...both(
    'punpcklqdq punpcklbw punpcklwd punpckldq punpckhqdq unpcklpd unpckhpd unpcklps pmuludq',
    'xmm16v,xmm16v',
    'xmm16v,memory16v',
  ),
  ...both('addpd subpd mulpd divpd addps subps mulps', 'xmm16v,xmm16v', 'xmm16v,memory16v'),
  ...both('addsd subsd mulsd divsd sqrtsd minsd maxsd ucomisd comisd', 'xmm8,xmm8', 'xmm8,memory8'),
  ...both('addss subss mulss divss ucomiss comiss', 'xmm4,xmm4', 'xmm4,memory4'),
]);

export const isInARow = ({ key }: VectorVariant): boolean => IN_A_ROW.has(key);
export const inARowCount = IN_A_ROW.size;

/** `base` is the number of the first variant's handler; the others count up from it. `functions` are their own. */
export function emitVectorRun(
  code: Code,
  fn: CoreFunctions,
  variants: readonly VectorVariant[],
  functions: readonly number[],
  base: number,
): void {
  const first = code.local(I32);
  const status = code.local(I32);
  const tlb = code.local(I32);
  const never = (): never => {
    throw new Error('broken belief: a vector instruction goes nowhere');
  };
  const exits: Exits = { fault: never, jump: never, branch: never };
  const nextRecord = (): void => code.set(P, binary(OP.i32_add, I32, record, i32(RECORD_BYTES)));
  /** How far it came stands above the status. */
  const moved = binary(OP.i32_shl, I32, binary(OP.i32_sub, I32, record, get(I32, first)), i32(RETURN.MOVED_SHIFT));
  const N = variants.length;
  code.set(first, record);
  code.set(tlb, state32(STATE.TLB));
  // Labels, outermost first: next, over, called, and one for each handler.
  code.op(OP.loop, VOID);
  code.op(OP.block, VOID);
  code.op(OP.block, VOID);
  for (let i = 0; i < N; i++) code.op(OP.block, VOID);
  code.emit(binary(OP.i32_sub, I32, field16(REC.HANDLER), i32(base)));
  code.op(OP.br_table);
  code.u32(N);
  for (let i = 0; i < N; i++) code.u32(i);
  code.u32(N + 1); // over
  variants.forEach((variant, i) => {
    code.op(OP.end);
    code.depth = 0;
    const called = N - 1 - i;
    const mark = code.mark();
    const inline = {
      mode: 64 as const,
      tlb: get(I32, tlb),
      based: false,
      slow: () => {
        code.set(status, call(I32, functions[i], record));
        code.br(called + code.depth);
      },
    };
    emitVector(new WasmMeaning(code, fn, vectorShell(variant), exits, true, inline), variant);
    nextRecord();
    code.br(called + 2); // next
    code.release(mark);
  });
  code.op(OP.end); // called
  code.depth = 0;
  code.if(get(I32, status), () => code.return(binary(OP.i32_or, I32, get(I32, status), moved)));
  nextRecord();
  code.br(1); // next
  code.op(OP.end); // over: another kind of record, which the caller goes on with behind the last of ours
  code.set(P, binary(OP.i32_sub, I32, record, i32(RECORD_BYTES)));
  code.return(moved);
  code.op(OP.end);
  code.op(OP.unreachable);
}
