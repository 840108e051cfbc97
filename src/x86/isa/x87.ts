/** x87: loads, stores, arithmetic, functions. The control instructions (fninit, fnstcw, ...) are system.ts's.
 *
 * Each row is a TypeScript helper (engine/system/x87*.ts) named by mnemonic and operand: m16 to m80 in memory, st0 where
 * the result goes to the top, sti where it goes to, or comes from, another register.
 * Follows: SDM Vol. 2, Appendix A.5 (escape opcodes), with the undocumented aliases that processors have (DC D0 is FCOM
 * again).   Next: x86/isa/mmx.ts. */
import { type Form, hex2, row } from './types.ts';
import { unbuiltByDigit } from './unbuilt.ts';

/** One mnemonic per ModRM.reg, `-` for a hole; the column behind the opcode is the operand. */
function byDigit(table: string): Form[] {
  const rows: Form[] = [];
  for (const line of table.trim().split('\n')) {
    const [opcode, operand, ...names] = line.trim().split(/ +/);
    for (const [digit, name] of names.entries()) {
      if (name === '-') continue;
      const inMemory = operand.startsWith('m');
      const code = `${opcode} /${digit} ${inMemory ? 'mem' : 'mod3'}`;
      rows.push(row(code, inMemory ? 'M' : '', { name, helper: `${name}_${operand}` }, { feature: 'FPU' }));
    }
  }
  return rows;
}

/** One mnemonic per whole ModRM byte, counting up from the given one. */
function byModrm(table: string): Form[] {
  const rows: Form[] = [];
  for (const line of table.trim().split('\n')) {
    const [opcode, first, ...names] = line.trim().split(/ +/);
    for (const [i, name] of names.entries()) {
      if (name === '-') continue;
      const code = `${opcode} mod3 ${hex2(Number.parseInt(first, 16) + i)}`;
      rows.push(row(code, '', { name, helper: name }, { feature: 'FPU' }));
    }
  }
  return rows;
}

const alone = (code: string, name: string): Form => row(code, 'M', { name, helper: name }, { feature: 'FPU' });

// biome-ignore format: tables
export const x87: Form[] = [
  ...byDigit(`
    d8 m32 fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    d9 m32 fld   -     fst   fstp
    da m32 fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    db m32 fild  -     fist  fistp
    db m80 -     -     -     -      -     fld    -     fstp
    dc m64 fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    dd m64 fld   -     fst   fstp
    de m16 fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    df m16 fild  -     fist  fistp
    df m64 -     -     -     -      -     fild   -     fistp`),
  alone('df /4 mem', 'fbld'),
  alone('df /6 mem', 'fbstp'),
  ...unbuiltByDigit(['', 'SSE3'], 'M', `
    db mem:  -     fisttp
    dd mem:  -     fisttp
    df mem:  -     fisttp`),
  ...byDigit(`
    d8 st0 fadd    fmul    -        -       fsub   fsubr   fdiv  fdivr
    d8 sti -       -       fcom     fcomp
    d9 sti fld     fxch    -        fstpnce
    da sti fcmovb  fcmove  fcmovbe  fcmovu
    db sti fcmovnb fcmovne fcmovnbe fcmovnu -      fucomi  fcomi -
    dc sti fadd    fmul    fcom     fcomp   fsubr  fsub    fdivr fdiv
    dd sti ffree   fxch    fst      fstp    fucom  fucomp  -     -
    de sti faddp   fmulp   fcomp    -       fsubrp fsubp   fdivrp fdivp
    df sti ffreep  fxch    fstp     fstp    -      fucomip fcomip -`),
  ...byModrm(`
    d9 d0 fnop
    d9 e0 fchs  fabs   -      -      ftst    fxam    -       -
    d9 e8 fld1  fldl2t fldl2e fldpi  fldlg2  fldln2  fldz    -
    d9 f0 f2xm1 fyl2x  fptan  fpatan fxtract fprem1  fdecstp fincstp
    d9 f8 fprem fyl2xp1 fsqrt fsincos frndint fscale fsin    fcos
    da e9 fucompp
    db e0 fneni fndisi -      -      fnsetpm
    de d9 fcompp`),
];
