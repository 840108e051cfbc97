// Counts how many guest instructions one iteration of every workload takes, and writes the numbers into workloads.json.
// QEMU counts: with -icount shift=0 the guest's time-stamp counter advances by one for each instruction. An element of a
// rep string instruction counts as one there.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EMULATORS } from './emulators.mjs';
import { run } from './process.mjs';

const file = new URL('workloads.json', import.meta.url);
const table = JSON.parse(readFileSync(file, 'utf8'));

async function ticks(image, n) {
  const command = EMULATORS.icount.command({ image, cmdline: `n=${n}` });
  const { ok, reason, lines } = await run(command, { marks: { done: 'DONE' }, last: 'done' });
  const line = lines.find((text) => text.startsWith('TICKS'));
  if (!ok || !line) throw new Error(`${image}: ${reason}`);
  return Number(BigInt(`0x${line.slice(6)}`));
}

for (const { name, insns } of table.workloads) {
  for (const bits of Object.keys(insns)) {
    const image = fileURLToPath(new URL(`guests/bin/${name}-${bits}.elf`, import.meta.url));
    const [few, more] = [await ticks(image, 16), await ticks(image, 48)];
    insns[bits] = Math.round((more - few) / 32);
    console.log(name, bits, insns[bits]);
  }
}
writeFileSync(file, `${JSON.stringify(table, null, 2)}\n`);
