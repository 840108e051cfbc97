/** record: runs every form on this machine's CPU and writes test/oracle/vectors.
 *
 * `npx tsx test/oracle/record.ts` needs gcc on x86-64 Linux and takes a minute; the result is committed. With
 * `--undefined` it prints what the comparison leaves out, and what is never tried.   May not: run in `npm test`.
 * Next: test/oracle/host.test.ts. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formsOf, STATES } from './forms.ts';
import { noOracleHere, runNatively } from './native.ts';
import { casesOf } from './states.ts';
import { NOT_TRIED, UNDEFINED } from './undefined.ts';
import { encodeVectors, vectorFile } from './vectors.ts';

function printUndefined(): void {
  console.log('Undefined flags, left out of the comparison:');
  for (const { names, flags, when } of UNDEFINED) {
    console.log(`  ${names}: ${[...flags].map((f) => `${f}F`).join(' ')}${when ? ` when ${when}` : ''}`);
  }
  console.log('Never tried:');
  for (const line of NOT_TRIED) console.log(`  ${line}`);
}

function record(mode: 64 | 32): void {
  const blocks = formsOf(mode).map((form) => ({ form, cases: casesOf(form) }));
  const outcomes = runNatively(blocks.flatMap(({ cases }) => cases));
  const file = encodeVectors(
    blocks.map((block, i) => ({ ...block, outcomes: outcomes.slice(i * STATES, (i + 1) * STATES) })),
  );
  mkdirSync(dirname(vectorFile(mode)), { recursive: true });
  writeFileSync(vectorFile(mode), file);
  console.log(`${mode}-bit: ${blocks.length} forms, ${outcomes.length} states, ${file.length} bytes`);
}

const reason = noOracleHere();
if (process.argv.includes('--undefined')) printUndefined();
else if (reason) {
  console.error(`cannot record: ${reason}`);
  process.exitCode = 1;
} else {
  record(64);
  record(32);
}
