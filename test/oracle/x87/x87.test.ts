/** Every recorded x87 state once more on the engine, bit for bit; of the transcendental functions the last bit and C1 may
 * differ. And on this machine's own CPU, where it can be asked: the recording can be made again.
 * Next: test/oracle/record.ts. */
import { describe, expect, it } from 'vitest';
import { hostCpu, noOracleHere } from '../native.ts';
import { runSimdNatively } from '../simd/native.ts';
import { SimdReplay } from '../simd/replay.ts';
import type { SimdForm } from '../simd/states.ts';
import { imageOf, SimdVectors, X87_FILE } from '../simd/vectors.ts';
import { TRANSCENDENTAL, x87Cases, x87Forms } from './states.ts';

const SHOWN = 3;
const forms = x87Forms();
const vectors = new SimdVectors(X87_FILE);
const isTranscendental = ({ form }: SimdForm): boolean => TRANSCENDENTAL.test(form.op.name);

const C1 = 0x200;
/** What an ulp does not explain. */
function beyondUlp(line: string): boolean {
  const [, what, expected, actual] = /^(\w+): expected (\w+), got (\w+)$/.exec(line) ?? [];
  if (what === 'fsw') return ((Number(expected) ^ Number(actual)) & ~C1) !== 0;
  if (!/^st\d$/.test(what ?? '')) return true;
  const difference = inOrder(expected) - inOrder(actual);
  return difference < -1n || difference > 1n;
}
/** 80 bits as an integer whose neighbours are the number's: the integer bit follows from the exponent. */
function inOrder(hex: string): bigint {
  const bits = BigInt(`0x${hex}`);
  const magnitude = ((bits >> 64n) & 0x7fffn) * (1n << 63n) + (bits & ((1n << 63n) - 1n));
  return bits >> 79n ? -magnitude : magnitude;
}

function failuresOf(some: readonly SimdForm[], tolerated: (line: string) => boolean): string[] {
  const replay = new SimdReplay();
  const failures: string[] = [];
  for (const form of some) {
    const cases = x87Cases(form);
    vectors.outcomes(form.id, cases).forEach((expected, i) => {
      const lines = replay.check(cases[i], expected).filter((line) => !tolerated(line));
      const { fcw, fsw, ftw } = cases[i].start;
      const words = [fcw, fsw, ftw].map((word) => word.toString(16)).join(' ');
      const code = Buffer.from(cases[i].code).toString('hex');
      if (lines.length > 0) failures.push([`${form.id} #${i}: ${code}, FCW FSW FTW ${words}`, ...lines].join('\n  '));
    });
  }
  return failures;
}
const none = (failures: string[]): void => {
  if (failures.length > 0) expect.fail(`${failures.length} differ\n${failures.slice(0, SHOWN).join('\n')}`);
};

describe('recorded states of the x87', () => {
  it('are of every row', () => {
    expect(vectors.ids).toEqual(forms.map((form) => form.id));
    expect(forms.length).toBe(140);
  });

  it('end as on the host, bit for bit', () => {
    none(failuresOf(forms.filter((form) => !isTranscendental(form)), () => false)); // biome-ignore format: short
  });

  it('end as on the host to an ulp: transcendental functions', () => {
    const own = forms.filter(isTranscendental);
    expect(own).toHaveLength(8);
    none(failuresOf(own, (line) => !beyondUlp(line)));
    expect(failuresOf(own, () => false).length).toBeLessThan(60); // most are the same to the bit
  });

  const reason = noOracleHere();
  const isSame = reason === undefined && hostCpu().vendor === 'AuthenticAMD';
  it.skipIf(!isSame)(`are what this host does${reason ? ` (skipped: ${reason})` : ''}`, () => {
    const some = forms.filter((form, i) => i % 3 === 0 && !isTranscendental(form));
    const expected = some.flatMap((form) => vectors.outcomes(form.id, x87Cases(form)));
    const cases = some.flatMap((form) => x87Cases(form));
    const differing: string[] = [];
    runSimdNatively(cases).forEach((actual, i) => {
      if (!Buffer.from(imageOf(actual)).equals(imageOf(expected[i])))
        differing.push(`${cases[i].form.id} #${cases[i].index}`);
    });
    expect(differing).toEqual([]);
  });
});
