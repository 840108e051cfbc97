/** VEX, EVEX and XOP: the general-register instructions, and how long all others are.
 *
 * AVX and XOP are not built and not shown, so vector instructions give #UD; the decoder still walks over them to their end.
 * The BMI instructions stand here because they need neither AVX nor its state: BMI1 is shown (for TZCNT) and its
 * rows end a run by name. In a row's code `vex` stands for the prefix bytes, and the mandatory prefix is VEX.pp.
 * Follows: SDM Vol. 2, sections 2.3 and 2.7, and Appendix A; AMD64 Manual Vol. 6 (XOP).   Next: x86/isa/index.ts. */
import type { Form } from './types.ts';
import { type Column, unbuilt, unbuiltByDigit } from './unbuilt.ts';

const BMI1: Column = ['np', 'BMI1'];
const BMI2: Column[] = [['np', 'BMI2'], ['66', 'BMI2'], ['f3', 'BMI2'], ['f2', 'BMI2']]; // biome-ignore format: short

// biome-ignore format: tables
export const vex: Form[] = [
  ...unbuilt([BMI1], 'Gy,Ey', `
    vex 0f 38 f2: andn
    vex 0f 38 f7: bextr`),
  ...unbuiltByDigit(BMI1, 'Ey', 'vex 0f 38 f3: - blsr blsmsk blsi'),
  ...unbuilt(BMI2, 'Gy,Ey', `
    vex 0f 38 f5: bzhi -    pext pdep
    vex 0f 38 f6: -    -    -    mulx
    vex 0f 38 f7: -    shlx sarx shrx`),
  ...unbuilt(BMI2, 'Gy,Ey,Ib', 'vex 0f 3a f0: - - - rorx'),
];

/** Opcodes of the 0F map that carry an immediate byte. */
const WITH_IMMEDIATE = [0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6];
/** Immediate bytes by opcode map: 1 to 3 are 0F, 0F38 and 0F3A, 8 to 10 are XOP's. */
export function vexImmediateBytes(map: number, opcode: number): 0 | 1 | 4 {
  if (map === 3 || map === 8 || (map === 1 && WITH_IMMEDIATE.includes(opcode))) return 1;
  return map === 10 ? 4 : 0;
}
/** VZEROUPPER and VZEROALL are the only ones without a ModRM byte. */
export const vexHasModrm = (map: number, opcode: number): boolean => !(map === 1 && opcode === 0x77);
