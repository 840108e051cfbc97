/** SSE to SSE4, AES, carry-less multiplication, SHA, GFNI: floating-point vectors and what came with XMM registers.
 * Nothing here is built.
 *
 * Follows: SDM Vol. 2, Appendix A, tables; SSE4a: AMD64 Manual Vol. 4. Columns are the mandatory prefixes:
 * none, 66, F3, F2. What exists on MMX registers too is in mmx.ts.   Next: x86/isa/extensions.ts. */
import type { Form } from './types.ts';
import { type Column, unbuilt, unbuiltByDigit } from './unbuilt.ts';

const columns = (none: string, p66: string, f3: string, f2: string): Column[] => [
  ['np', none],
  ['66', p66],
  ['f3', f3],
  ['f2', f2],
];
const SSE = columns('SSE', 'SSE2', 'SSE', 'SSE2');
const SSE2 = columns('SSE2', 'SSE2', 'SSE2', 'SSE2');
const SSE3 = columns('SSE3', 'SSE3', 'SSE3', 'SSE3');
const SSE41: Column[] = [['66', 'SSE41']];
const SSE42: Column[] = [['66', 'SSE42']];
const AES: Column[] = [['66', 'AES']];
const SHA: Column[] = [['np', 'SHA']];
const GFNI: Column[] = [['66', 'GFNI']];
const SSE4A = columns('SSE4A', 'SSE4A', 'SSE4A', 'SSE4A');

// biome-ignore format: tables
export const sse: Form[] = [
  ...unbuilt(SSE, 'V,W', `
    0f 10:      movups    movupd    movss     movsd
    0f 12 mem:  movlps    movlpd
    0f 12 mod3: movhlps
    0f 14:      unpcklps  unpcklpd
    0f 15:      unpckhps  unpckhpd
    0f 16 mem:  movhps    movhpd
    0f 16 mod3: movlhps
    0f 28:      movaps    movapd
    0f 2a:      cvtpi2ps  cvtpi2pd  cvtsi2ss  cvtsi2sd
    0f 2c:      cvttps2pi cvttpd2pi cvttss2si cvttsd2si
    0f 2d:      cvtps2pi  cvtpd2pi  cvtss2si  cvtsd2si
    0f 2e:      ucomiss   ucomisd
    0f 2f:      comiss    comisd
    0f 50 mod3: movmskps  movmskpd
    0f 51:      sqrtps    sqrtpd    sqrtss    sqrtsd
    0f 52:      rsqrtps   -         rsqrtss
    0f 53:      rcpps     -         rcpss
    0f 54:      andps     andpd
    0f 55:      andnps    andnpd
    0f 56:      orps      orpd
    0f 57:      xorps     xorpd
    0f 58:      addps     addpd     addss     addsd
    0f 59:      mulps     mulpd     mulss     mulsd
    0f 5c:      subps     subpd     subss     subsd
    0f 5d:      minps     minpd     minss     minsd
    0f 5e:      divps     divpd     divss     divsd
    0f 5f:      maxps     maxpd     maxss     maxsd`),
  ...unbuilt(SSE, 'W,V', `
    0f 11:      movups    movupd    movss     movsd
    0f 13 mem:  movlps    movlpd
    0f 17 mem:  movhps    movhpd
    0f 29:      movaps    movapd
    0f 2b mem:  movntps   movntpd`),
  ...unbuilt(SSE, 'V,W,Ib', `
    0f c2:      cmpps     cmppd     cmpss     cmpsd
    0f c6:      shufps    shufpd`),
  ...unbuilt(SSE2, 'V,W', `
    0f 5a:      cvtps2pd  cvtpd2ps  cvtss2sd  cvtsd2ss
    0f 5b:      cvtdq2ps  cvtps2dq  cvttps2dq
    0f e6:      -         cvttpd2dq cvtdq2pd  cvtpd2dq`),
  ...unbuilt(SSE3, 'V,W', `
    0f 12:      -         -         movsldup  movddup
    0f 16:      -         -         movshdup
    0f 7c:      -         haddpd    -         haddps
    0f 7d:      -         hsubpd    -         hsubps
    0f d0:      -         addsubpd  -         addsubps
    0f f0 mem:  -         -         -         lddqu`),
  ...unbuilt(SSE41, 'V,W', `
    0f 38 10: pblendvb
    0f 38 14: blendvps
    0f 38 15: blendvpd
    0f 38 17: ptest
    0f 38 20: pmovsxbw
    0f 38 21: pmovsxbd
    0f 38 22: pmovsxbq
    0f 38 23: pmovsxwd
    0f 38 24: pmovsxwq
    0f 38 25: pmovsxdq
    0f 38 28: pmuldq
    0f 38 29: pcmpeqq
    0f 38 2a mem: movntdqa
    0f 38 2b: packusdw
    0f 38 30: pmovzxbw
    0f 38 31: pmovzxbd
    0f 38 32: pmovzxbq
    0f 38 33: pmovzxwd
    0f 38 34: pmovzxwq
    0f 38 35: pmovzxdq
    0f 38 38: pminsb
    0f 38 39: pminsd
    0f 38 3a: pminuw
    0f 38 3b: pminud
    0f 38 3c: pmaxsb
    0f 38 3d: pmaxsd
    0f 38 3e: pmaxuw
    0f 38 3f: pmaxud
    0f 38 40: pmulld
    0f 38 41: phminposuw`),
  ...unbuilt(SSE41, 'V,W,Ib', `
    0f 3a 08: roundps
    0f 3a 09: roundpd
    0f 3a 0a: roundss
    0f 3a 0b: roundsd
    0f 3a 0c: blendps
    0f 3a 0d: blendpd
    0f 3a 0e: pblendw
    0f 3a 14: pextrb
    0f 3a 15: pextrw
    0f 3a 16: pextrd
    0f 3a 17: extractps
    0f 3a 20: pinsrb
    0f 3a 21: insertps
    0f 3a 22: pinsrd
    0f 3a 40: dpps
    0f 3a 41: dppd
    0f 3a 42: mpsadbw`),
  ...unbuilt(SSE42, 'V,W', '0f 38 37: pcmpgtq'),
  ...unbuilt(SSE42, 'V,W,Ib', `
    0f 3a 60: pcmpestrm
    0f 3a 61: pcmpestri
    0f 3a 62: pcmpistrm
    0f 3a 63: pcmpistri`),
  ...unbuilt([['f2', 'SSE42']], 'Gd,Eb', '0f 38 f0: crc32'),
  ...unbuilt([['f2', 'SSE42']], 'Gd,Ev', '0f 38 f1: crc32'),
  ...unbuilt([['66', 'PCLMULQDQ']], 'V,W,Ib', '0f 3a 44: pclmulqdq'),
  ...unbuilt(AES, 'V,W', `
    0f 38 db: aesimc
    0f 38 dc: aesenc
    0f 38 dd: aesenclast
    0f 38 de: aesdec
    0f 38 df: aesdeclast`),
  ...unbuilt(AES, 'V,W,Ib', '0f 3a df: aeskeygenassist'),
  ...unbuilt(SHA, 'V,W', `
    0f 38 c8: sha1nexte
    0f 38 c9: sha1msg1
    0f 38 ca: sha1msg2
    0f 38 cb: sha256rnds2
    0f 38 cc: sha256msg1
    0f 38 cd: sha256msg2`),
  ...unbuilt(SHA, 'V,W,Ib', '0f 3a cc: sha1rnds4'),
  ...unbuilt(GFNI, 'V,W', '0f 38 cf: gf2p8mulb'),
  ...unbuilt(GFNI, 'V,W,Ib', `
    0f 3a ce: gf2p8affineqb
    0f 3a cf: gf2p8affineinvqb`),
  ...unbuilt(SSE4A, 'V,W', '0f 79 mod3: - extrq - insertq'),
  ...unbuilt(SSE4A, 'V,W,Ib,Ib', '0f 78 mod3: - - - insertq'),
  ...unbuiltByDigit(['66', 'SSE4A'], 'W,Ib,Ib', '0f 78 mod3: extrq'),
  ...unbuilt(SSE4A, 'M,V', '0f 2b mem: - - movntss movntsd'),
];
