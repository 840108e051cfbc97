/** SSE3 to SSE4, SSSE3, AES, carry-less multiplication, SHA, GFNI: vectors that came after SSE2. Nothing here is built.
 *
 * Follows: SDM Vol. 2, Appendix A, tables; SSE4a: AMD64 Manual Vol. 4. Columns are the mandatory prefixes:
 * none, 66, F3, F2.   Next: x86/isa/extensions.ts. */
import type { Form } from './types.ts';
import { type Column, unbuilt, unbuiltByDigit } from './unbuilt.ts';

const columns = (none: string, p66: string, f3: string, f2: string): Column[] => [
  ['np', none],
  ['66', p66],
  ['f3', f3],
  ['f2', f2],
];
const SSE3 = columns('SSE3', 'SSE3', 'SSE3', 'SSE3');
const SSSE3 = columns('SSSE3', 'SSSE3', 'SSSE3', 'SSSE3');
const SSE41: Column[] = [['66', 'SSE41']];
const SSE42: Column[] = [['66', 'SSE42']];
const AES: Column[] = [['66', 'AES']];
const SHA: Column[] = [['np', 'SHA']];
const GFNI: Column[] = [['66', 'GFNI']];
const SSE4A = columns('SSE4A', 'SSE4A', 'SSE4A', 'SSE4A');

// biome-ignore format: tables
export const vectorExtensions: Form[] = [
  ...unbuilt(SSSE3, 'P,Q', `
    0f 38 00: pshufb =
    0f 38 01: phaddw =
    0f 38 02: phaddd =
    0f 38 03: phaddsw =
    0f 38 04: pmaddubsw =
    0f 38 05: phsubw =
    0f 38 06: phsubd =
    0f 38 07: phsubsw =
    0f 38 08: psignb =
    0f 38 09: psignw =
    0f 38 0a: psignd =
    0f 38 0b: pmulhrsw =
    0f 38 1c: pabsb =
    0f 38 1d: pabsw =
    0f 38 1e: pabsd =`),
  ...unbuilt(SSSE3, 'P,Q,Ib', '0f 3a 0f: palignr ='),
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
