/** Lazy flags against the manual's definitions over bigint, for every width and both kinds, at and around the edges. */
import { describe, expect, it } from 'vitest';
import { AF, CF, KIND, materialise, OF, PF, SF, setArithmetic, ZF } from '../../src/engine/flags.ts';
import { STATE } from '../../src/engine/state.ts';

const EDGES = [
  0n, 1n, 2n, 0xfn, 0x10n, 0x7fn, 0x80n, 0xffn, 0x100n, 0x7fffn, 0x8000n, 0xffffn, 0x1_0000n, 0x7fff_ffffn,
  0x8000_0000n, 0xffff_ffffn, 0x1_0000_0000n, 0x1_8000_0000n, 0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n,
  0x8000_0000_8000_0000n, 0xffff_ffff_0000_0000n, 0xffff_ffff_ffff_fffen, 0xffff_ffff_ffff_ffffn,
  0x0123_4567_89ab_cdefn, 0xfedc_ba98_7654_3210n, 0xdead_beef_0000_0001n, 0x0000_0001_dead_beefn,
]; // biome-ignore format: a table

const evenParity = (x: bigint): boolean => (x & 0xffn).toString(2).replaceAll('0', '').length % 2 === 0;

describe('lazy flags', () => {
  const view = new DataView(new ArrayBuffer(4096));
  for (const operation of ['add', 'sub'] as const) {
    for (const width of [8, 16, 32, 64]) {
      it(`are what the manual says after a ${width}-bit ${operation}`, () => {
        const cut = (v: bigint): bigint => BigInt.asUintN(width, v);
        const top = (v: bigint): boolean => ((v >> BigInt(width - 1)) & 1n) === 1n;
        for (const a of EDGES) {
          for (const b of EDGES) {
            const [x, y] = [cut(a), cut(b)];
            const r = cut(operation === 'sub' ? x - y : x + y);
            const kind = (operation === 'sub' ? KIND.SUB : KIND.ADD) + Math.log2(width / 8);
            view.setBigInt64(STATE.FLAG_R, BigInt.asIntN(width, r), true);
            view.setBigUint64(STATE.FLAG_X, x, true);
            view.setInt32(STATE.FLAG_BITS, kind << 16, true);
            const overflow = operation === 'sub' ? (x ^ y) & (x ^ r) : (x ^ r) & (y ^ r);
            const expected =
              ((operation === 'sub' ? x < y : r < x) ? CF : 0) |
              (evenParity(r) ? PF : 0) |
              (((x ^ y ^ r) & 0x10n) !== 0n ? AF : 0) |
              (r === 0n ? ZF : 0) |
              (top(r) ? SF : 0) |
              (top(overflow) ? OF : 0);
            expect(materialise(view), `${operation} ${x} ${y}`).toBe(expected);
          }
        }
      });
    }
  }

  it('come back as they were stored, in every combination', () => {
    for (let bits = 0; bits < 64; bits++) {
      const flags = [CF, PF, AF, ZF, SF, OF].reduce((sum, flag, i) => sum | ((bits >> i) & 1 ? flag : 0), 0);
      setArithmetic(view, flags);
      expect(materialise(view)).toBe(flags);
    }
  });
});
