/** x87: loads, stores, arithmetic. Nothing here is built; the control instructions (fninit, fnstcw, ...) are system.ts's.
 *
 * Follows: SDM Vol. 2, Appendix A.5 (escape opcodes), with the undocumented aliases that processors have (DC D0 is FCOM
 * again).   Next: x86/isa/mmx.ts. */
import type { Form } from './types.ts';
import { unbuiltByDigit, unbuiltByModrm } from './unbuilt.ts';

const FPU = ['', 'FPU'] as const;

// biome-ignore format: tables
export const x87: Form[] = [
  ...unbuiltByDigit(FPU, 'M', `
    d8 mem:  fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    d9 mem:  fld   -     fst   fstp   -     -      -     -
    da mem:  fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    db mem:  fild  -     fist  fistp  -     fld    -     fstp
    dc mem:  fadd  fmul  fcom  fcomp  fsub  fsubr  fdiv  fdivr
    dd mem:  fld   -     fst   fstp   -     -      -     -
    de mem:  fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
    df mem:  fild  -     fist  fistp  fbld  fild   fbstp fistp`),
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
    dd mod3: ffree   fxch    fst      fstp    fucom  fucomp  -     -
    de mod3: faddp   fmulp   fcomp    -       fsubrp fsubp   fdivrp fdivp
    df mod3: ffreep  fxch    fstp     fstp    -      fucomip fcomip -`),
  ...unbuiltByModrm(FPU, `
    d9 d0: fnop
    d9 e0: fchs  fabs   -      -      ftst    fxam    -       -
    d9 e8: fld1  fldl2t fldl2e fldpi  fldlg2  fldln2  fldz    -
    d9 f0: f2xm1 fyl2x  fptan  fpatan fxtract fprem1  fdecstp fincstp
    d9 f8: fprem fyl2xp1 fsqrt fsincos frndint fscale fsin    fcos
    da e9: fucompp
    db e0: fneni fndisi -      -      fnsetpm
    de d9: fcompp`),
];
