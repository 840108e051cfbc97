/** Every recorded state once more, on each CPU that we have: it must do what the host did.
 *
 * A failure prints the instruction, its state and only what differs. What is left out is in undefined.ts and compare.ts.
 * Next: test/oracle/record.ts. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { CpuDriver } from '../engine/cpu-driver.ts';
import { describeCase } from './compare.ts';
import { type Form, formsOf, STATES } from './forms.ts';
import { type Failure, Replay } from './replay.ts';
import { SEQUENCES } from './sequences.ts';
import { Vectors } from './vectors.ts';

/** At most so many states are printed for a mnemonic. */
const SHOWN = 3;

const driverFile = new URL('../engine/interpreter-driver.ts', import.meta.url).href;
const hasDriver = existsSync(fileURLToPath(driverFile));
const driverModule = hasDriver
  ? ((await import(driverFile)) as { interpreterDriver: (options?: { reference?: boolean }) => CpuDriver })
  : undefined;
const skipped = hasDriver ? '' : ' (skipped: there is no test/engine/interpreter-driver.ts)';

function byName(forms: Form[]): [string, Form[]][] {
  const groups = new Map<string, Form[]>();
  for (const form of forms) groups.set(form.row.name, [...(groups.get(form.row.name) ?? []), form]);
  return [...groups];
}

for (const mode of [64, 32] as const) {
  describe(`recorded ${mode}-bit instructions${skipped}`, () => {
    const vectors = new Vectors(`${mode}`);
    const replay = driverModule && new Replay(driverModule.interpreterDriver());

    it('are at least 400 forms of 50 states, and the recording has no form that the table lacks', () => {
      const ids = formsOf(mode).map((form) => form.id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids.length).toBeGreaterThanOrEqual(400);
      expect(STATES).toBeGreaterThanOrEqual(50);
      expect(vectors.ids).toEqual(ids);
    });

    for (const [name, forms] of byName(formsOf(mode))) {
      it.skipIf(!replay)(`${name} does what the host did in ${forms.length * STATES} states`, () => {
        const failures = forms.flatMap((form) => (replay as Replay).form(form, vectors));
        if (failures.length > 0) expect.fail(summary(failures, forms.length * STATES));
      });
    }

    it.skipIf(!replay)('are what the rows say over bigint, too', () => {
      const reference = new Replay(
        (driverModule as NonNullable<typeof driverModule>).interpreterDriver({ reference: true }),
      );
      const forms = formsOf(mode);
      const failures = forms.flatMap((form) => reference.form(form, vectors));
      if (failures.length > 0) expect.fail(summary(failures, forms.length * STATES));
    });

    for (const how of ['run', 'step'] as const) {
      it.skipIf(!replay)(`${how === 'run' ? 'run in blocks' : 'run one at a time'}, end as on the host`, () => {
        const failures = (replay as Replay).sequences(mode, new Vectors(`sequences-${mode}`), how);
        if (failures.length > 0) expect.fail(summary(failures, SEQUENCES[mode]));
      });
    }
  });
}

function summary(failures: Failure[], states: number): string {
  const shown = failures.slice(0, SHOWN).map((f) => describeCase(f.case, f.lines));
  return [`${failures.length} of ${states} states differ from the host`, ...shown].join('\n');
}
