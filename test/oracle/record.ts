/** record: runs every form and sequence on this machine's CPU and writes test/oracle/vectors.
 *
 * `npx tsx test/oracle/record.ts` needs gcc on x86-64 Linux and takes a minute; the result is committed. With
 * `--undefined` it prints what the comparison leaves out, and what is never tried.   May not: run in `npm test`.
 * Next: test/oracle/host.test.ts. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formsOf } from './forms.ts';
import { noOracleHere, removeHarness, runNatively } from './native.ts';
import { sequencesOf } from './sequences.ts';
import { blockOf } from './states.ts';
import { LOOSELY, NOT_TRIED, UNDEFINED } from './undefined.ts';
import { type Block, encodeVectors, type FileName, vectorFile } from './vectors.ts';

function printUndefined(): void {
  console.log('Undefined flags, left out of the comparison:');
  for (const { names, flags, when } of UNDEFINED) {
    console.log(`  ${names}: ${[...flags].map((f) => `${f}F`).join(' ')}${when ? ` when ${when}` : ''}`);
  }
  console.log('Compared loosely:');
  for (const line of LOOSELY) console.log(`  ${line}`);
  console.log('Never tried:');
  for (const line of NOT_TRIED) console.log(`  ${line}`);
}

function record(name: FileName, blocks: Block[], what: 'instructions' | 'programs'): void {
  const outcomes = runNatively(
    blocks.flatMap(({ cases }) => cases),
    what,
  );
  let from = 0;
  const file = encodeVectors(
    blocks.map((block) => {
      from += block.cases.length;
      return { ...block, outcomes: outcomes.slice(from - block.cases.length, from) };
    }),
  );
  mkdirSync(dirname(vectorFile(name)), { recursive: true });
  writeFileSync(vectorFile(name), file);
  console.log(`${name}: ${blocks.length} blocks, ${outcomes.length} states, ${file.length} bytes`);
}

const isPrinting = process.argv.includes('--undefined');
const reason = isPrinting ? undefined : noOracleHere();
if (isPrinting) printUndefined();
else if (reason) {
  console.error(`cannot record: ${reason}`);
  process.exitCode = 1;
} else {
  for (const mode of [64, 32] as const) {
    record(`${mode}`, formsOf(mode).map(blockOf), 'instructions');
    record(`sequences-${mode}`, [{ id: 'sequences', cases: sequencesOf(mode) }], 'programs');
  }
}
removeHarness();
