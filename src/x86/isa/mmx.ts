/** Integer vectors: MMX and, with 66 in front, the same operations on XMM registers (SSE2). Nothing here is built, but
 * EMMS (system.ts).
 *
 * Follows: SDM Vol. 2, Appendix A, tables. Columns are the prefixes: none, 66, F3, F2.
 * Next: x86/isa/sse.ts. */
import type { Form } from './types.ts';
import { type Column, unbuilt, unbuiltByDigit } from './unbuilt.ts';

const PACKED: Column[] = [['np', 'MMX'], ['66', 'SSE2'], ['f3', 'SSE2'], ['f2', 'SSE2']]; // biome-ignore format: short
/** Came with SSE, and with AMD's extensions of MMX. */
const PACKED_SSE: Column[] = [['np', 'SSE'], ['66', 'SSE2'], ['f3', 'SSE2'], ['f2', 'SSE2']]; // biome-ignore format: short
/** Came to MMX registers with SSE2 only. */
const PACKED_SSE2: Column[] = [['np', 'SSE2'], ['66', 'SSE2'], ['f3', 'SSE2'], ['f2', 'SSE2']]; // biome-ignore format: short
const PACKED_SSSE3: Column[] = [
  ['np', 'SSSE3'],
  ['66', 'SSSE3'],
];

// biome-ignore format: tables
export const mmx: Form[] = [
  ...unbuilt(PACKED, 'P,Q', `
    0f 60: punpcklbw =
    0f 61: punpcklwd =
    0f 62: punpckldq =
    0f 63: packsswb =
    0f 64: pcmpgtb =
    0f 65: pcmpgtw =
    0f 66: pcmpgtd =
    0f 67: packuswb =
    0f 68: punpckhbw =
    0f 69: punpckhwd =
    0f 6a: punpckhdq =
    0f 6b: packssdw =
    0f 74: pcmpeqb =
    0f 75: pcmpeqw =
    0f 76: pcmpeqd =
    0f d1: psrlw =
    0f d2: psrld =
    0f d3: psrlq =
    0f d5: pmullw =
    0f d8: psubusb =
    0f d9: psubusw =
    0f db: pand =
    0f dc: paddusb =
    0f dd: paddusw =
    0f df: pandn =
    0f e1: psraw =
    0f e2: psrad =
    0f e5: pmulhw =
    0f e8: psubsb =
    0f e9: psubsw =
    0f eb: por =
    0f ec: paddsb =
    0f ed: paddsw =
    0f ef: pxor =
    0f f1: psllw =
    0f f2: pslld =
    0f f3: psllq =
    0f f5: pmaddwd =
    0f f8: psubb =
    0f f9: psubw =
    0f fa: psubd =
    0f fc: paddb =
    0f fd: paddw =
    0f fe: paddd =`),
  ...unbuilt(PACKED_SSE, 'P,Q', `
    0f da: pminub =
    0f de: pmaxub =
    0f e0: pavgb =
    0f e3: pavgw =
    0f e4: pmulhuw =
    0f ea: pminsw =
    0f ee: pmaxsw =
    0f f6: psadbw =`),
  ...unbuilt(PACKED_SSE2, 'P,Q', `
    0f d4: paddq =
    0f f4: pmuludq =
    0f fb: psubq =`),
  ...unbuilt(PACKED_SSSE3, 'P,Q', `
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
  ...unbuilt(PACKED_SSSE3, 'P,Q,Ib', '0f 3a 0f: palignr ='),
  // Moves: movd with REX.W is called movq.
  ...unbuilt(PACKED, 'P,Ey', '0f 6e: movd movd'),
  ...unbuilt(PACKED, 'P,Q', `
    0f 6c: - punpcklqdq
    0f 6d: - punpckhqdq
    0f 6f: movq movdqa movdqu`),
  ...unbuilt(PACKED, 'Q,P', `
    0f 7e: - - movq
    0f 7f: movq movdqa movdqu
    0f d6: - movq`),
  ...unbuilt(PACKED, 'Ey,P', '0f 7e: movd movd'),
  ...unbuilt(PACKED, 'P,Q', '0f d6 mod3: - - movq2dq movdq2q'),
  ...unbuilt(PACKED_SSE, 'P,Q,Ib', '0f 70: pshufw pshufd pshufhw pshuflw'),
  ...unbuilt(PACKED_SSE, 'P,Ew,Ib', '0f c4: pinsrw pinsrw'),
  ...unbuilt(PACKED_SSE, 'Gd,Q,Ib', '0f c5 mod3: pextrw pextrw'),
  ...unbuilt(PACKED_SSE, 'Gd,Q', '0f d7 mod3: pmovmskb pmovmskb'),
  ...unbuilt(PACKED_SSE, 'M,P', '0f e7 mem: movntq movntdq'),
  ...unbuilt(PACKED_SSE, 'P,Q', '0f f7 mod3: maskmovq maskmovdqu'),
  // Shifts by an immediate.
  ...PACKED.slice(0, 2).flatMap((column) => unbuiltByDigit(column, 'Q,Ib', `
    0f 71 mod3: - - psrlw - psraw - psllw -
    0f 72 mod3: - - psrld - psrad - pslld -
    0f 73 mod3: - - psrlq - -     - psllq -`)),
  ...unbuiltByDigit(['66', 'SSE2'], 'Q,Ib', '0f 73 mod3: - - - psrldq - - - pslldq'),
];
