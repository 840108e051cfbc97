/** Every recorded state of MMX and SSE once more: on the generated code, and on the rows over bigint.
 *
 * And on this machine's own CPU, where it can be asked: the recording can be made again.
 * Next: test/oracle/simd/record.ts. */
import { describe, expect, it } from 'vitest';
import { hostCpu, noOracleHere } from '../native.ts';
import { runSimdNatively } from './native.ts';
import { SimdReplay } from './replay.ts';
import { type SimdCase, type SimdForm, simdCases, simdForms } from './states.ts';
import { imageOf, SimdVectors } from './vectors.ts';

const SHOWN = 3;
const made = new Map<SimdForm, SimdCase[]>();
/** Made once: every test needs them. */
function casesOf(form: SimdForm): SimdCase[] {
  const cases = made.get(form) ?? simdCases(form);
  made.set(form, cases);
  return cases;
}

const forms = simdForms();
const vectors = new SimdVectors();

const GROUPS: readonly [string, RegExp][] = [
  ['arithmetic', /^(add|sub|mul|div|sqrt|min|max)(p|s)[sd] /],
  ['comparisons', /^(cmp|comi|ucomi)(p|s)[sd] /],
  ['conversions', /^cvt/],
  ['moves and shuffles', /^(mov|mask|shuf|unpck|and|or|xor|ldmxcsr|stmxcsr)/],
  ['integers', /^p/],
];
const groupOf = ({ id }: SimdForm): string | undefined => GROUPS.find(([, pattern]) => pattern.test(id))?.[0];

function failuresOf(replay: SimdReplay, group: string): string[] {
  const failures: string[] = [];
  for (const form of forms.filter((f) => groupOf(f) === group)) {
    const cases = casesOf(form);
    vectors.outcomes(form.id, cases).forEach((expected, i) => {
      const lines = replay.check(cases[i], expected);
      const code = Buffer.from(cases[i].code).toString('hex');
      const mxcsr = cases[i].start.mxcsr.toString(16);
      if (lines.length > 0) failures.push([`${form.id} #${i}: ${code}, MXCSR ${mxcsr}`, ...lines].join('\n  '));
    });
  }
  return failures;
}

describe('recorded states of MMX and SSE', () => {
  it('are of every row, and each belongs to a group', () => {
    expect(vectors.ids).toEqual(forms.map((form) => form.id));
    expect(forms.filter((form) => groupOf(form) === undefined)).toEqual([]);
    expect(forms.length).toBeGreaterThan(480);
  });

  for (const [group] of GROUPS) {
    for (const reference of [false, true]) {
      it(`end as on the host: ${group}, ${reference ? 'over bigint' : 'in generated code'}`, () => {
        const failures = failuresOf(new SimdReplay({ reference }), group);
        if (failures.length > 0) expect.fail(`${failures.length} differ\n${failures.slice(0, SHOWN).join('\n')}`);
      });
    }
  }

  const reason = noOracleHere();
  const isSame = reason === undefined && hostCpu().vendor === 'AuthenticAMD';
  it.skipIf(!isSame)(`are what this host does${reason ? ` (skipped: ${reason})` : ''}`, () => {
    const some = forms.filter((_, i) => i % 4 === 0);
    const cases = some.flatMap(casesOf);
    const expected = some.flatMap((form) => vectors.outcomes(form.id, casesOf(form)));
    const differing: string[] = [];
    runSimdNatively(cases).forEach((actual, i) => {
      if (!Buffer.from(imageOf(actual)).equals(imageOf(expected[i])))
        differing.push(`${cases[i].form.id} #${cases[i].index}`);
    });
    expect(differing).toEqual([]);
  });
});
