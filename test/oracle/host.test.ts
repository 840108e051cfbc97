/** The recording against the CPU that runs these tests: the same processor may differ only in what is masked.
 *
 * Also proves the recording itself: it can be made again, and its codec loses nothing.   Next: test/oracle/undefined.ts. */
import { Decoder, Mnemonic } from 'iced-x86';
import { afterAll, describe, expect, it } from 'vitest';
import { describeCase, differences, programDifferences } from './compare.ts';
import { formsOf } from './forms.ts';
import { hostCpu, noOracleHere, removeHarness, runNatively } from './native.ts';
import { sequencesOf } from './sequences.ts';
import { blockOf, type Case } from './states.ts';
import { NOT_TRIED, UNDEFINED } from './undefined.ts';
import { Vectors } from './vectors.ts';

function mnemonic(c: Case): string {
  const size = c.start.mode === 64 ? 64 : c.start.segments.cs.attributes & 0x4000 ? 32 : 16;
  const decoder = new Decoder(size, c.bytes, 0);
  const instruction = decoder.decode();
  const name = Mnemonic[instruction.mnemonic].toLowerCase();
  instruction.free();
  decoder.free();
  return name;
}

const reason = noOracleHere();
afterAll(removeHarness);
const skipped = reason ? ` (skipped: ${reason})` : '';
/** Every so manieth form is run again. */
const STRIDE = 3;
/** Whose processor the recording was made on. */
const RECORDED_ON = 'AuthenticAMD';
const host = reason ? undefined : hostCpu();
/** Another vendor's processor may differ in corners that nobody has listed yet: one state in so many. */
const others = (states: number): number => (host?.vendor === RECORDED_ON ? 0 : Math.floor(states / 200));

function expectFew(failures: string[], states: number): void {
  const most = others(states);
  if (failures.length > most) expect.fail(`${failures.length} states differ\n${failures.slice(0, 5).join('\n')}`);
}

describe(`the recorded outcomes on this host${skipped}`, () => {
  for (const mode of [64, 32] as const) {
    it.skipIf(reason !== undefined)(`are what its CPU does in ${mode}-bit code, apart from what is undefined`, () => {
      const vectors = new Vectors(`${mode}`);
      const blocks = formsOf(mode)
        .filter((form, i) => i % STRIDE === 0 && (!form.row.feature || host?.features.has(form.row.feature)))
        .map(blockOf);
      const actual = runNatively(
        blocks.flatMap((b) => b.cases),
        'instructions',
      );
      let at = 0;
      const failures: string[] = [];
      for (const block of blocks) {
        const expected = vectors.outcomes(block);
        block.cases.forEach((c, i) => {
          const lines = differences(c, expected[i], actual[at++]);
          if (lines.length > 0) failures.push(describeCase(c, lines));
        });
      }
      expectFew(failures, actual.length);
    });

    it.skipIf(reason !== undefined)(`are what its CPU does with ${mode}-bit sequences`, () => {
      const cases = sequencesOf(mode);
      const expected = new Vectors(`sequences-${mode}`).outcomes({ id: 'sequences', cases });
      const actual = runNatively(cases, 'programs');
      const failures = cases.flatMap((c, i) => {
        const lines = programDifferences(c, expected[i], actual[i]);
        return lines.length > 0 ? [describeCase(c, lines)] : [];
      });
      expectFew(failures, actual.length);
    });
  }
});

describe('the recorded states', () => {
  it('raise every exception that user code can raise, and mostly complete', () => {
    const seen = new Map<number | undefined, number>();
    for (const mode of [64, 32] as const) {
      const vectors = new Vectors(`${mode}`);
      for (const form of formsOf(mode)) {
        for (const { fault } of vectors.outcomes(blockOf(form)))
          seen.set(fault?.vector, (seen.get(fault?.vector) ?? 0) + 1);
      }
    }
    const vectorsSeen = [...seen.keys()].filter((v) => v !== undefined).sort((a, b) => a - b);
    expect(vectorsSeen).toEqual([0, 3, 4, 5, 6, 11, 12, 13, 14, 17]);
    expect(seen.get(undefined)).toBeGreaterThan(75_000);
  });

  it('are, to another disassembler, the instructions that their rows name', () => {
    // What iced calls otherwise: by operand size, or a family that one row stands for.
    const also: Record<string, string> = { cbw: 'cwde cdqe', cwd: 'cdq cqo', shl: 'sal', flag: 'cmc clc stc cld std', cmpxchg8b: 'cmpxchg16b', jcxz: 'jecxz jrcxz', undefined: '', privileged: '' }; // biome-ignore format: a list
    const wrong: string[] = [];
    for (const form of [...formsOf(64), ...formsOf(32)]) {
      const [name] = form.row.name.split(' ');
      const names = [name, ...(also[name]?.split(' ') ?? [])];
      const seen = blockOf(form).cases.map(mnemonic);
      if (!seen.some((m) => names.some((n) => m.startsWith(n)))) wrong.push(`${form.id}: ${[...new Set(seen)]}`);
    }
    expect(wrong).toEqual([]);
  });

  it('end a sequence in a fault of its own or in its last HLT, where the generator says so', () => {
    for (const mode of [64, 32] as const) {
      const cases = sequencesOf(mode);
      const outcomes = new Vectors(`sequences-${mode}`).outcomes({ id: 'sequences', cases });
      const seen = new Map<number, number>();
      outcomes.forEach(({ fault, rip }, i) => {
        expect(cases[i].undefinedAt.has(Number(rip)), describeCase(cases[i], [`ended at ${rip.toString(16)}`])).toBe(
          true,
        );
        seen.set(fault?.vector ?? -1, (seen.get(fault?.vector ?? -1) ?? 0) + 1);
      });
      expect([...seen.keys()].sort((a, b) => a - b)).toEqual([0, 6, 13, 14]);
      expect(seen.get(13)).toBeGreaterThan(cases.length / 2);
    }
  });

  it('mask undefined flags only for instructions that are recorded', () => {
    const names = new Set([...formsOf(64), ...formsOf(32)].map((form) => form.row.name));
    for (const line of UNDEFINED) for (const name of line.names.split(' ')) expect(names).toContain(name);
    expect(NOT_TRIED.length).toBeGreaterThan(0);
  });
});
