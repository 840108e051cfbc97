// What tracing costs: guest instructions a second without a trace, with function coverage, with everything on.
//
//   node bench/trace.mjs [KERNEL...]
//
// Two loops of flat code come first: arithmetic, which no trace should feel, and a recursive function, whose entries make
// up every seventh instruction, which is the worst that can happen to coverage. Then kernels, through pvh to a fixed
// instruction count: those named, or Debian's from .cache/real where .ci/fetch-kernels has put it. The three take turns,
// and each figure is the median of all turns. What a record costs beside, states and names, is in the last line.
import { existsSync } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';
import { planTraced, sha256 } from '../dist/cli/traced.js';
import { Machine, parseKernel, planBoot } from '../dist/index.js';
import { tracedRun } from '../dist/machine/traced-run.js';
import { functionStarts } from '../dist/symbols/functions.js';
import { FunctionMap } from '../dist/trace/function-map.js';
import { TraceRecorder } from '../dist/trace/recorder.js';
import { median } from './statistics.mjs';

const MODES = ['no trace', 'functions', 'everything'];
const TURNS = 5;
const LOOP_INSTRUCTIONS = 40e6;
const KERNEL_INSTRUCTIONS = 200e6;
const START = 0x100000n;

/** Bytes, and offsets of what is a function there; biome-ignore format: one instruction a line */
const LOOPS = [
  [
    'ALU loop',
    [0n],
    `
    48 01 c8                add rax, rcx
    48 31 c2                xor rdx, rax
    48 8d 74 46 01          lea rsi, [rsi + rax*2 + 1]
    48 ff c1                inc rcx
    eb f3                   jmp the second`,
  ],
  [
    'recursive Fibonacci of 20',
    [0n, 12n],
    `
    bf 14 00 00 00          mov edi, 20
    e8 02 00 00 00          call fibonacci
    eb f4                   jmp the first
    83 ff 02                cmp edi, 2          fibonacci:
    72 17                   jb the last but one
    57                      push rdi
    ff cf                   dec edi
    e8 f3 ff ff ff          call fibonacci
    5f                      pop rdi
    50                      push rax
    8d 7f fe                lea edi, [rdi - 2]
    e8 e9 ff ff ff          call fibonacci
    59                      pop rcx
    48 01 c8                add rax, rcx
    c3                      ret
    89 f8                   mov eax, edi
    c3                      ret`,
  ],
];

const bytesOf = (listing) =>
  Uint8Array.from(
    listing.split('\n').flatMap((line) => line.trim().split('  ')[0].split(' ').filter(Boolean)),
    (byte) => Number.parseInt(byte, 16),
  );

/** MIPS of each mode, by turns; `run` gives instructions and milliseconds. */
async function measure(what, count, run) {
  const mips = new Map(MODES.map((mode) => [mode, []]));
  for (let turn = 0; turn < TURNS; turn++) {
    for (const mode of MODES) {
      const { instructions, milliseconds } = await run(mode);
      mips.get(mode).push(instructions / milliseconds / 1000);
    }
  }
  const plain = median(mips.get(MODES[0]));
  for (const mode of MODES) {
    const value = median(mips.get(mode));
    const cost = mode === MODES[0] ? '' : ` (${((plain / value - 1) * 100).toFixed(1)} % more time)`;
    const input = `median of ${TURNS} × ${count / 1e6} M instructions, Node ${process.version}, ${os.cpus()[0]?.model.trim()}`;
    console.log(`trace: ${value.toFixed(0)} MIPS${cost}, ${what}, ${mode} (${input})`);
  }
}

for (const [what, offsets, listing] of LOOPS) {
  const plan = planBoot(parseKernel(what, bytesOf(listing), 'flat64'), { via: 'flat64', memory: '16M' });
  const functions = {
    addresses: BigUint64Array.from(offsets, (offset) => START + offset),
    nameAt: (slot) => `f${slot}`,
  };
  await measure(what, LOOP_INSTRUCTIONS, async (mode) => {
    const tracer =
      mode === 'no trace'
        ? undefined
        : new TraceRecorder({ functions: new FunctionMap(functions), events: mode === 'everything' });
    const machine = await Machine.create(plan, { tracer });
    machine.runSync({ maxInstructions: 1e6 }); // compiled by then
    const started = performance.now();
    const { kind, detail } = machine.runSync({ maxInstructions: LOOP_INSTRUCTIONS });
    if (kind !== 'instruction-limit') throw new Error(`${what}: ${kind}, ${detail}`);
    if (tracer && tracer.entries.length !== offsets.length)
      throw new Error(`${what}: ${tracer.entries.length} functions`);
    return { instructions: LOOP_INSTRUCTIONS, milliseconds: performance.now() - started };
  });
}

const DEBIAN = new URL('../.cache/real/vmlinuz-amd64', import.meta.url).pathname;
const named = process.argv.slice(2);
const kernels = named.length > 0 ? named : [DEBIAN].filter((file) => existsSync(file));
if (kernels.length === 0) console.log('trace: no kernel: name one, or run .ci/fetch-kernels');
for (const file of kernels) {
  const { plan, kernel } = await planTraced(file, { via: 'pvh', cmdline: 'console=ttyS0' });
  const functions = functionStarts(kernel.symbols);
  await measure(basename(file), KERNEL_INSTRUCTIONS, async (mode) => {
    const tracer =
      mode === 'no trace'
        ? undefined
        : new TraceRecorder({ functions: new FunctionMap(functions), events: mode === 'everything' });
    const machine = await Machine.create(plan, { tracer });
    const started = performance.now();
    machine.runSync({ maxInstructions: KERNEL_INSTRUCTIONS });
    return { instructions: machine.instructions, milliseconds: performance.now() - started };
  });
  const records = [];
  for (let turn = 0; turn < TURNS; turn++) {
    let started = 0;
    const onMachine = () => {
      started = performance.now();
    };
    const { record } = await tracedRun(plan, { kernel, sha256, onMachine, maxInstructions: KERNEL_INSTRUCTIONS });
    records.push(record.instructions / (performance.now() - started) / 1000);
  }
  console.log(
    `trace: ${median(records).toFixed(0)} MIPS, ${basename(file)}, everything, with states at waypoints and the finished record`,
  );
}
