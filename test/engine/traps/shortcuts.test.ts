/** Shortcuts of the core against the helpers that they stand for.
 *
 * Programs drawn from a seed move flags, go through gates, touch ports and take interrupts in a loop, so that the first
 * round misses every tag and the later ones hit. One instruction at a time only the helpers run; in blocks the core
 * does what it can by itself. Registers, memory, counts and the port log must come out the same. */
import { describe, expect, it } from 'vitest';
import { AT, Bench, FORMS, hex, RAM_SIZE } from './bench.ts';

type Draw = (below: number) => number;
function lcg(seed: number): Draw {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const dword = (value: number): number[] => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
/** CF PF AF ZF SF OF, DF, IF, ID, IOPL; then what the shortcuts leave to others: AC, RF, NT, TF. */
const FLAGS = [0x8d5, 0x400, 0x200, 0x20_0000, 0x3000, 0x4_0000, 0x1_0000, 0x4000, 0x100] as const;
const someFlags = (draw: Draw): number => FLAGS[draw(draw(8) === 0 ? FLAGS.length : 6)] & (draw(2) ? -1 : 0x7_ffa5);

function instruction(draw: Draw, is64: boolean): number[] {
  const rows: (() => number[])[] = [
    () => hex('9c'), // pushf
    () => hex('9d'), // popf
    () => [0x68, ...dword(someFlags(draw) | (draw(2) ? 0x200 : 0)), 0x9d], // push imm; popf
    () => hex('fa'), // cli
    () => hex('fb'), // sti
    () => hex('fc'), // cld
    () => hex('fd'), // std
    () => hex('cd 81'), // int 0x81, an interrupt gate
    () => hex('cd 82'), // int 0x82, a trap gate
    () => hex('cd 83'), // int 0x83: its handler changes flags in the frame
    () => [0x0f, 0x20, 0xc0 | ([0, 2, 3, 4][draw(4)] << 3) | draw(3)], // mov eax/ecx/edx, cr0/2/3/4
    () => [...[[], [0x66], is64 ? [0x48] : []][draw(3)], 0x8c, 0xc0 | (draw(6) << 3) | draw(3)], // mov r, sreg
    () => [0xe6, draw(4) === 0 ? 0x99 : 0x80], // out imm8, al; 0x99 requests an interrupt
    () => hex('ee'), // out dx, al
    () => hex('66 ef'), // out dx, ax
    () => hex('ef'), // out dx, eax
    () => hex('e4 80'), // in al, 0x80
    () => hex('66 ed'), // in ax, dx
    () => hex('ed'), // in eax, dx
    () => [0x05, ...dword(draw(2 ** 31) * 2)], // add eax, imm32
    () => hex('39 c8'), // cmp eax, ecx
    () => (is64 ? hex('48 83 ec') : hex('83 ec')).concat(draw(6) ? 8 : draw(8)), // sub rsp, imm8
    () => (is64 ? hex('50') : hex(draw(2) ? '60' : '61')), // pusha, popa
  ];
  return rows[draw(rows.length)]();
}

function program(seed: number, is64: boolean): { code: number[]; patch: number } {
  const draw = lcg(seed);
  const body: number[] = [];
  while (body.length < 60) body.push(...instruction(draw, is64));
  // mov esp, stack; body; dec ebx; jnz; hlt. The stack lies near a page's end now and then.
  const stack = AT.STACK - (draw(3) === 0 ? draw(64) : 0);
  const loop = [0xbc, ...dword(stack), ...body, ...hex(is64 ? 'ff cb' : '4b')];
  const code = [...loop, 0x0f, 0x85, ...dword(-(loop.length + 6)), 0xf4];
  return { code, patch: someFlags(draw) };
}

function outcome(seed: number, mode: 32 | 64, form: (typeof FORMS)[number]) {
  const { code, patch } = program(seed, mode === 64);
  const bench = new Bench(form, mode);
  const iret = mode === 64 ? hex('48 cf') : hex('cf');
  bench.gate(0x82, { type: 0xf });
  for (const vector of [0x81, 0x82, 0x90]) bench.handler(vector, iret);
  bench.handler(0x83, [0x81, 0x74, 0x24, mode === 64 ? 16 : 8, ...dword(patch), ...iret]); // xor [flags], patch
  bench.code(code).set({ rbx: 4, rdx: 0x80 });
  bench.host.nothingMoved = () => bench.host.pending === undefined;
  bench.host.onPort = (port) => {
    bench.host.log.push(`at ${bench.count}`);
    if (port === 0x99) bench.host.pending = 0x90;
  };
  const exit = bench.steps(600);
  let sum = 0;
  const words = new Int32Array(bench.cpu.buffer, bench.cpu.ramOffset, RAM_SIZE >> 2);
  for (let i = 0; i < words.length; i++) sum = (Math.imul(sum, 31) + words[i]) | 0;
  const registers = [...bench.cpu.registerWords()];
  return { exit, count: bench.count, registers, sum, log: bench.host.log };
}

const [blocks, plain, ...quanta] = [FORMS[0], FORMS[1], FORMS[2], FORMS[3]];

describe.each([32, 64] as const)('shortcuts in %i-bit code', (mode) => {
  it.each(Array.from({ length: 12 }, (_, n) => n))('come out as the helpers do, programs of draw %i', (draw) => {
    for (let n = 0; n < 8; n++) {
      const seed = draw * 1000 + n;
      const expected = outcome(seed, mode, plain);
      for (const form of n === 0 ? [blocks, ...quanta] : [blocks]) {
        expect(outcome(seed, mode, form), `seed ${seed}, ${form.name}`).toEqual(expected);
      }
    }
  });
});
