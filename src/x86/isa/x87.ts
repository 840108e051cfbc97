/** x87: loads, stores, arithmetic. Integer loads and what moves the stack are built, the rest is not; the control
 * instructions (fninit, fnstcw, ...) are system.ts's.
 *
 * Follows: SDM Vol. 2, Appendix A.5 (escape opcodes), with the undocumented aliases that processors have (DC D0 is FCOM
 * again).   Next: x86/isa/mmx.ts. */
import { type Form, row } from './types.ts';
import { unbuiltByDigit, unbuiltByModrm } from './unbuilt.ts';

const FPU = ['', 'FPU'] as const;

// biome-ignore format: tables
export const x87: Form[] = [
  row('df /0 mem', 'Mw', { name: 'fild', helper: 'fild_m16' }, { feature: 'FPU' }),
  row('db /0 mem', 'Md', { name: 'fild', helper: 'fild_m32' }, { feature: 'FPU' }),
  row('df /5 mem', 'Mq', { name: 'fild', helper: 'fild_m64' }, { feature: 'FPU' }),
  row('dd /0 mod3', '', { name: 'ffree', helper: 'ffree' }, { feature: 'FPU' }),
  row('df /0 mod3', '', { name: 'ffreep', helper: 'ffreep' }, { feature: 'FPU' }),
  row('d9 mod3 d0', '', { name: 'fnop', helper: 'fnop' }, { feature: 'FPU' }),
  row('d9 mod3 f6', '', { name: 'fdecstp', helper: 'fdecstp' }, { feature: 'FPU' }),
  row('d9 mod3 f7', '', { name: 'fincstp', helper: 'fincstp' }, { feature: 'FPU' }),
  ...unbuiltByDigit(FPU, 'M', `
    d8 mem:  fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    d9 mem:  fld   -     fst   fstp   -     -      -     -
    da mem:  fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    db mem:  -     -     fist  fistp  -     fld    -     fstp
    dc mem:  fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    dd mem:  fld   -     fst   fstp   -     -      -     -
    de mem:  fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    df mem:  -     -     fist  fistp  fbld  -      fbstp fistp`),
  ...unbuiltByDigit(['', 'SSE3'], 'M', `
    db mem:  -     fisttp
    dd mem:  -     fisttp
    df mem:  -     fisttp`),
  ...unbuiltByDigit(FPU, '', `
    d8 mod3: fadd    fmul    fcom     fcomp   fsub   fsubr   fdiv  fdivr
    d9 mod3: fld     fxch    -        fstp    -      -       -     -
    da mod3: fcmovb  fcmove  fcmovbe  fcmovu  -      -       -     -
    db mod3: fcmovnb fcmovne fcmovnbe fcmovnu -      fucomi  fcomi -
    dc mod3: fadd    fmul    fcom     fcomp   fsubr  fsub    fdivr fdiv
    dd mod3: -       fxch    fst      fstp    fucom  fucomp  -     -
    de mod3: faddp   fmulp   fcomp    -       fsubrp fsubp   fdivrp fdivp
    df mod3: -       fxch    fstp     fstp    -      fucomip fcomip -`),
  ...unbuiltByModrm(FPU, `
    d9 e0: fchs  fabs   -      -      ftst    fxam    -       -
    d9 e8: fld1  fldl2t fldl2e fldpi  fldlg2  fldln2  fldz    -
    d9 f0: f2xm1 fyl2x  fptan  fpatan fxtract fprem1  -       -
    d9 f8: fprem fyl2xp1 fsqrt fsincos frndint fscale fsin    fcos
    da e9: fucompp
    db e0: fneni fndisi -      -      fnsetpm
    de d9: fcompp`),
];
