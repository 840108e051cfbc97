/** record: runs every state of MMX and SSE on this machine's CPU and writes test/oracle/vectors/simd.bin.br.
 *
 * `npx tsx test/oracle/simd/record.ts` needs gcc on x86-64 Linux; the result is committed.
 * May not: run in `npm test`.   Next: test/oracle/simd/vectors.ts. */
import { runSimdNatively } from './native.ts';
import { simdCases, simdForms } from './states.ts';
import { writeSimdVectors } from './vectors.ts';

const blocks = simdForms().map((form) => ({ id: form.id, cases: simdCases(form) }));
const outcomes = runSimdNatively(blocks.flatMap(({ cases }) => cases));
let from = 0;
const length = writeSimdVectors(
  blocks.map((block) => {
    from += block.cases.length;
    return { ...block, outcomes: outcomes.slice(from - block.cases.length, from) };
  }),
);
console.log(`${blocks.length} forms, ${outcomes.length} states, ${length} bytes`);
