// How many guest instructions a second the engine runs, on three loops of a few instructions each: what the guest does
// there is nothing but arithmetic, or memory, or calls. Real guests are slower: see `zeropage bench engine`.
//
//   node bench/interpret.mjs

import os from 'node:os';
import { Machine, parseKernel, planBoot } from '../dist/index.js';
import { median } from './statistics.mjs';

/** biome-ignore format: one instruction a line */
const LOOPS = {
  'ALU loop': `
    48 01 c8                add rax, rcx
    48 31 c2                xor rdx, rax
    48 8d 74 46 01          lea rsi, [rsi + rax*2 + 1]
    81 e2 ff 07 00 00       and edx, 0x7ff
    48 c1 e7 03             shl rdi, 3
    48 29 d3                sub rbx, rdx
    48 ff c1                inc rcx
    48 39 d9                cmp rcx, rbx
    75 e0                   jne the first
    eb de                   jmp the first`,
  '1 MiB read, added to and written': `
    bb 00 00 20 00          mov ebx, 0x200000
    31 c9                   xor ecx, ecx
    48 8b 04 cb             mov rax, [rbx + rcx*8]
    48 01 c8                add rax, rcx
    48 89 04 cb             mov [rbx + rcx*8], rax
    ff c1                   inc ecx
    81 f9 00 00 02 00       cmp ecx, 0x20000
    75 eb                   jne the load
    eb e7                   jmp the xor`,
  'recursive Fibonacci of 20': `
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
};

/** Instructions for each of the timed slices, after one that is not timed. */
const SLICE = 50e6;
const SLICES = 5;

const bytesOf = (listing) =>
  Uint8Array.from(
    listing.split('\n').flatMap((line) => line.trim().split('  ')[0].split(' ').filter(Boolean)),
    (byte) => Number.parseInt(byte, 16),
  );

for (const [what, listing] of Object.entries(LOOPS)) {
  const plan = planBoot(parseKernel(what, bytesOf(listing), 'flat64'), { via: 'flat64', memory: '16M' });
  const machine = await Machine.create(plan);
  machine.runSync({ maxInstructions: SLICE });
  const mips = [];
  for (let i = 0; i < SLICES; i++) {
    const before = machine.instructions;
    const from = performance.now();
    const { kind, detail } = machine.runSync({ maxInstructions: SLICE });
    if (kind !== 'instruction-limit') throw new Error(`${what}: ${kind}, ${detail}`);
    mips.push((machine.instructions - before) / (performance.now() - from) / 1000);
  }
  const input = `median of ${SLICES} × ${SLICE / 1e6} M instructions, Node ${process.version}, ${os.cpus()[0]?.model.trim()}`;
  console.log(`interpret: ${median(mips).toFixed(0)} MIPS, ${what} (${input})`);
}
