/** record: runs every x87 state on this machine's CPU and writes test/oracle/vectors/x87.bin.br.
 *
 * `npx tsx test/oracle/x87/record.ts` needs gcc on x86-64 Linux; the result is committed.
 * May not: run in `npm test`.   Next: test/oracle/x87/x87.test.ts. */
import { runSimdNatively } from '../simd/native.ts';
import { writeSimdVectors, X87_FILE } from '../simd/vectors.ts';
import { x87Cases, x87Forms } from './states.ts';

const blocks = x87Forms().map((form) => ({ id: form.id, cases: x87Cases(form) }));
const outcomes = runSimdNatively(blocks.flatMap(({ cases }) => cases));
let from = 0;
const length = writeSimdVectors(
  blocks.map((block) => {
    from += block.cases.length;
    return { ...block, outcomes: outcomes.slice(from - block.cases.length, from) };
  }),
  X87_FILE,
);
console.log(`${blocks.length} forms, ${outcomes.length} states, ${length} bytes`);
