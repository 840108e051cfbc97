/** Which handlers stand inside the big loop, and which pairs are fused.
 *
 * The loop has room for two to three hundred handlers before the compiler of the host slows down; everything else is a
 * function of its own behind an indirect call. The choice changes speed only: a test runs every case both ways.
 * Next: engine/emit/core.ts. */
import { CONDITIONS } from '../../x86/isa/types.ts';
import type { Variant } from '../variants.ts';

const list = (text: string): string[] => text.trim().split(/\s*;\s*|\n\s*/);

/** Handlers that keep their flags (or have none). */
const HOT = new Set([
  ...[32, 64].flatMap((w) =>
    list(`mov/${w} R${w},R${w}; mov/${w} R${w},M${w}; mov/${w} M${w},R${w}; mov/${w} R${w},I${w}; mov/${w} M${w},I${w}
      lea/${w} R${w},M${w}-; movzx/${w} R${w},M8; movzx/${w} R${w},R8; movzx/${w} R${w},M16; movzx/${w} R${w},R16
      movsx/${w} R${w},M8; movsx/${w} R${w},M16
      test/${w} R${w},R${w}; test/${w} R${w},I${w}; test/${w} M${w},I${w}
      inc/${w} R${w}; dec/${w} R${w}; inc/${w} M${w}; neg/${w} R${w}; not/${w} R${w}
      imul/${w} R${w},R${w}; imul/${w} R${w},R${w},I${w}; imul/${w} R${w},M${w}
      shl/${w} R${w},I8 certain; shr/${w} R${w},I8 certain; sar/${w} R${w},I8 certain; rol/${w} R${w},I8 certain
      ror/${w} R${w},I8 certain; shl/${w} R${w},R8; shr/${w} R${w},R8
      push/${w} R${w} s${w}; pop/${w} R${w} s${w}; push/${w} M${w} s${w}; push/${w} I${w} s${w}; leave/${w}  s${w}
      call/${w}  s${w}; ret/${w}  s${w}; jmp/${w} ; jmp-indirect/${w} R${w}; jmp-indirect/${w} M${w}
      call-indirect/${w} R${w} s${w}; call-indirect/${w} M${w} s${w}; ret-immediate/${w} I${w} s${w}`),
  ),
  ...['add', 'sub', 'and', 'or', 'xor', 'cmp'].flatMap((op) =>
    [32, 64].flatMap((w) =>
      list(`${op}/${w} R${w},R${w}; ${op}/${w} R${w},I${w}; ${op}/${w} R${w},M${w}; ${op}/${w} M${w},R${w}
        ${op}/${w} M${w},I${w}`),
    ),
  ),
  ...list(`mov/8 R8,M8; mov/8 M8,R8; mov/8 M8,I8; mov/8 R8,R8; mov/16 M16,R16
    movsxd/64 R64,R32; movsxd/64 R64,M32
    cmp/8 R8,I8; cmp/8 M8,I8; cmp/8 R8,R8; cmp/8 R8,M8; cmp/8 M8,R8; test/8 R8,R8; test/8 R8,I8; test/8 M8,I8
    cmp/16 M16,I16; nop/32 M32-; adc/32 R32,R32; cmove/64 R64,R64; cmovne/64 R64,R64; sete/8 R8; setne/8 R8`),
  ...CONDITIONS.flatMap((c) => [`j${c}/32 `, `j${c}/64 `]),
]);

/** Of these, the ones that have a twin without flags in the loop. */
const QUIET = /^(add|sub|and|or|xor|inc|dec|neg|shl|shr|sar|rol|ror|imul)\/(32|64) R\d+(,[RI]\d+)?(,I\d+)?( certain)?$/;
const QUIET_MEMORY = /^(add|sub|and|or|xor)\/(32|64) R\d+,M\d+$/;

export function isHot(variant: Variant): boolean {
  return HOT.has(variant.key);
}
export function hasQuietTwin(variant: Variant): boolean {
  return QUIET.test(variant.key) || QUIET_MEMORY.test(variant.key);
}

/** Compare-and-branch pairs: first the flag setter's key, then the conditions it is fused with. */
const RELATIONS = ['b', 'ae', 'e', 'ne', 'be', 'a', 'l', 'ge', 'le', 'g'];
export const FUSED: readonly { key: string; conditions: readonly string[] }[] = [
  ...[32, 64].flatMap((w) => [
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
