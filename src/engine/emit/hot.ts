/** Which handlers stand inside the big loop, and which pairs are fused.
 *
 * The loop has room for two to three hundred handlers before the compiler of the host slows down; everything else is a
 * function of its own behind an indirect call. The choice changes speed only: a test runs every case both ways.
 * What the room is: from some size on, V8 gives a function its quicker and weaker register allocator, which keeps nothing in
 * a register from one instruction to the next, and the guest runs at half its speed. Seen with Node 20: a loop of 46,166
 * bytes of WebAssembly is below that line, one of 49,450 above it.
 * Next: engine/emit/core.ts. */
import { CONDITIONS } from '../../x86/isa/types.ts';
import type { Variant } from '../variants.ts';

/** A loop's size in WebAssembly stays below this; a test looks. */
export const LOOP_BYTES = 46_000;

const list = (text: string): string[] => text.trim().split(/\s*;\s*|\n\s*/);

/** The loop runs in two builds, one for 64-bit code and one for the rest: addresses, stack and RIP have the code's
 * width there, and each build has room for what its code uses. */
export type LoopMode = 32 | 64;

/** Operand widths that deserve a place, by mode. */
const WIDTHS = { 32: [32], 64: [32, 64] } as const;

/** Handlers that keep their flags (or have none). */
function hotKeys(mode: LoopMode): string[] {
  return [
    ...WIDTHS[mode].flatMap((w) => [
      ...list(`mov/${w} R${w},R${w}; mov/${w} R${w},M${w}; mov/${w} M${w},R${w}; mov/${w} R${w},I${w}; mov/${w} M${w},I${w}
        lea/${w} R${w},M${w}-; movzx/${w} R${w},M8; movzx/${w} R${w},R8; movzx/${w} R${w},M16; movzx/${w} R${w},R16
        movsx/${w} R${w},M8; movsx/${w} R${w},M16
        test/${w} R${w},R${w}; test/${w} R${w},I${w}; test/${w} M${w},I${w}
        inc/${w} R${w}; dec/${w} R${w}; inc/${w} M${w}; neg/${w} R${w}; not/${w} R${w}
        imul/${w} R${w},R${w}; imul/${w} R${w},R${w},I${w}; imul/${w} R${w},M${w}
        shl/${w} R${w},I8 certain; shr/${w} R${w},I8 certain; sar/${w} R${w},I8 certain; rol/${w} R${w},I8 certain
        ror/${w} R${w},I8 certain; shl/${w} R${w},R8; shr/${w} R${w},R8`),
      ...['add', 'sub', 'and', 'or', 'xor', 'cmp'].flatMap((op) =>
        list(`${op}/${w} R${w},R${w}; ${op}/${w} R${w},I${w}; ${op}/${w} R${w},M${w}; ${op}/${w} M${w},R${w}
          ${op}/${w} M${w},I${w}`),
      ),
    ]),
    ...list(`push/${mode} R${mode} s${mode}; pop/${mode} R${mode} s${mode}; push/${mode} M${mode} s${mode}
      push/${mode} I${mode} s${mode}; leave/${mode}  s${mode}; call/${mode}  s${mode}; ret/${mode}  s${mode}
      jmp-indirect/${mode} R${mode}; jmp-indirect/${mode} M${mode}; call-indirect/${mode} R${mode} s${mode}
      call-indirect/${mode} M${mode} s${mode}; ret-immediate/${mode} I${mode} s${mode}
      mov/8 R8,M8; mov/8 M8,R8; mov/8 M8,I8; mov/8 R8,R8; mov/16 M16,R16
      cmp/8 R8,I8; cmp/8 M8,I8; cmp/8 R8,R8; cmp/8 R8,M8; cmp/8 M8,R8; test/8 R8,R8; test/8 R8,I8; test/8 M8,I8
      add/8 R8,I8; and/8 R8,I8; cmp/16 M16,I16; nop/32 M32-; nop/32 R32-; adc/32 R32,R32; sete/8 R8; setne/8 R8
      rol/32 R32,R8; rol/32 M32,R8`),
    `jmp/${mode} `,
    ...CONDITIONS.map((c) => `j${c}/${mode} `),
    ...(mode === 64
      ? list(`movsxd/64 R64,R32; movsxd/64 R64,M32; cmove/64 R64,R64; cmovne/64 R64,R64; cmovae/64 R64,R64
          cmovb/64 R64,R64; cmova/64 R64,R64; cmovbe/64 R64,R64; cmovae/32 R32,R32; cmovb/32 R32,R32; cmova/32 R32,R32
          cmovbe/32 R32,R32; setb/8 R8; setae/8 R8; adc/64 R64,R64; adc/64 R64,I64; sbb/64 R64,R64; sbb/32 R32,R32
          shr/16 R16,I8 certain`)
      : []),
  ];
}
const HOT = { 32: new Set(hotKeys(32)), 64: new Set(hotKeys(64)) };

/** Of these, the ones that have a twin without flags in the loop. */
const QUIET =
  /^(add|sub|and|or|xor|inc|dec|neg|shl|shr|sar|rol|ror|imul)\/(8|32|64) R\d+(,[RI]\d+)?(,I\d+)?( certain)?$/;
const QUIET_MEMORY = /^(add|sub|and|or|xor)\/(32|64) R\d+,M\d+$/;
/** And the ones that have a twin for addresses without an index. */
const BASED = /^((mov|lea)\/(8|32|64) .*M|movzx\/32 R32,M|movsxd\/64 R64,M|(cmp|add)\/(32|64) .*M|cmp\/8 M8,I8|push\/)/;

export function isHot(variant: Variant, mode: LoopMode): boolean {
  return HOT[mode].has(variant.key);
}
export function hasQuietTwin(variant: Variant): boolean {
  return QUIET.test(variant.key) || QUIET_MEMORY.test(variant.key);
}
export function hasBasedTwin(variant: Variant): boolean {
  return BASED.test(variant.key) && variant.operands.some((o) => o.kind === 'M');
}

/** Compare-and-branch pairs: first the flag setter's key, then the conditions it is fused with. */
const RELATIONS = ['b', 'ae', 'e', 'ne', 'be', 'a', 'l', 'ge', 'le', 'g'];
export function fusedPairs(mode: LoopMode): { key: string; conditions: readonly string[] }[] {
  return [
    ...WIDTHS[mode].flatMap((w) => [
      { key: `cmp/${w} R${w},R${w}`, conditions: RELATIONS },
      { key: `cmp/${w} R${w},I${w}`, conditions: RELATIONS },
      { key: `test/${w} R${w},R${w}`, conditions: ['e', 'ne', 's', 'ns', 'le', 'g'] },
      { key: `dec/${w} R${w}`, conditions: ['e', 'ne'] },
      { key: `sub/${w} R${w},I${w}`, conditions: ['e', 'ne'] },
      { key: `add/${w} R${w},I${w}`, conditions: ['e', 'ne'] },
      { key: `and/${w} R${w},I${w}`, conditions: ['e', 'ne'] },
      { key: `cmp/${w} R${w},M${w}`, conditions: ['e', 'ne', 'b', 'ae'] },
      { key: `cmp/${w} M${w},I${w}`, conditions: ['e', 'ne'] },
    ]),
    { key: 'cmp/8 R8,I8', conditions: ['e', 'ne', 'be', 'a'] },
    { key: 'cmp/8 M8,I8', conditions: ['e', 'ne'] },
    { key: 'test/8 R8,R8', conditions: ['e', 'ne', 's', 'ns'] },
    { key: 'test/8 R8,I8', conditions: ['e', 'ne'] },
    { key: 'test/8 M8,I8', conditions: ['e', 'ne'] },
  ];
}
