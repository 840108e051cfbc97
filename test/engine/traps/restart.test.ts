/** Restartability: an instruction that faults has changed nothing, whichever of its accesses failed.
 *
 * The second page of an access, or its second operand, is missing or read-only; registers, flags, memory and the count
 * must be as before, and once the page is there the instruction runs as if nothing had been. */
import { expect, it } from 'vitest';
import { AT, Bench, hex, inEveryForm } from './bench.ts';

const EDGE = AT.DATA + 0x1000;
const READ_ONLY = 0x65;
const ABSENT = 0;
const P = 1;
const W = 2;

type Case = {
  name: string;
  code: number[];
  /** rbx for operands, or rsp, near the edge of the good page. */
  at?: number;
  stack?: number;
  registers?: Record<string, number>;
  /** The bad page: the second one, or a range that is asked for. */
  bad?: number;
  how: number;
  error: number;
  cr2: number;
};
const operand = (name: string, code: number[], how: number, error: number, at = EDGE - 3): Case => ({
  name, code, at, how, error, cr2: EDGE,
}); // biome-ignore format: short

const cases: Case[] = [
  operand('a store across pages', hex('48 89 03' /* mov [rbx], rax */), ABSENT, W),
  operand('a load across pages', hex('48 8b 03' /* mov rax, [rbx] */), ABSENT, 0),
  operand('add to memory', hex('01 03' /* add [rbx], eax */), READ_ONLY, P | W),
  operand('adc to memory', hex('66 81 53 02 34 12' /* adc word ptr [rbx+2], 0x1234 */), READ_ONLY, P | W),
  operand('inc of memory', hex('48 ff 03' /* inc qword ptr [rbx] */), ABSENT, W),
  operand('xchg', hex('48 87 13' /* xchg [rbx], rdx */), READ_ONLY, P | W),
  operand('xadd', hex('0f c1 13' /* xadd [rbx], edx */), READ_ONLY, P | W),
  operand('a shift of memory', hex('c1 23 04' /* shl dword ptr [rbx], 4 */), READ_ONLY, P | W),
  operand('shld', hex('0f a4 03 05' /* shld [rbx], eax, 5 */), READ_ONLY, P | W),
  operand('bts at a distance', hex('0f ab b3 00 f0 ff ff' /* bts dword ptr [rbx-0x1000], esi */), READ_ONLY, P | W),
  operand('setcc', hex('0f 92 43 03' /* setc [rbx+3] */), READ_ONLY, P | W),
  operand('cmpxchg that would fail', hex('0f b1 13' /* cmpxchg [rbx], edx */), READ_ONLY, P | W),
  operand('cmpxchg of a byte that would fail', hex('0f b0 53 03' /* cmpxchg [rbx+3], dl */), READ_ONLY, P | W),
  operand('cmpxchg8b that would fail', hex('0f c7 0b' /* cmpxchg8b [rbx] */), READ_ONLY, P | W),
  operand('a pop to memory', hex('8f 03' /* pop qword ptr [rbx] */), READ_ONLY, P | W),
  operand('sidt', hex('0f 01 0b' /* sidt [rbx] */), ABSENT, W),
  operand('fxsave', hex('0f ae 43 f3' /* fxsave [rbx-13] */), READ_ONLY, P | W),
  operand('movs with a bad destination', hex('48 a5' /* movsq */), ABSENT, W),
  operand('cmps with a bad second operand', hex('48 a7' /* cmpsq */), ABSENT, 0),
  operand('stos', hex('ab' /* stosd */), READ_ONLY, P | W),
  operand('scas', hex('af' /* scasd */), ABSENT, 0),
  operand('ins', hex('6d' /* insd */), READ_ONLY, P | W),
  { name: 'push over a page edge', code: hex('50' /* push rax */), stack: EDGE + 4, bad: EDGE - 0x1000, how: READ_ONLY, error: P | W, cr2: EDGE - 4 },
  { name: 'push of memory', code: hex('ff 33' /* push [rbx] */), at: AT.DATA, stack: EDGE + 0x1000, bad: EDGE, how: READ_ONLY, error: P | W, cr2: EDGE + 0xff8 },
  { name: 'call', code: hex('e8 fb 00 00 00' /* call .+0x100 */), stack: EDGE + 0x1000, bad: EDGE, how: ABSENT, error: W, cr2: EDGE + 0xff8 },
  { name: 'call through memory', code: hex('ff 13' /* call [rbx] */), at: AT.DATA + 0x100, stack: EDGE + 4, bad: EDGE - 0x1000, how: READ_ONLY, error: P | W, cr2: EDGE - 4 },
  { name: 'ret', code: hex('c3' /* ret */), stack: EDGE - 4, bad: EDGE, how: ABSENT, error: 0, cr2: EDGE },
  { name: 'leave', code: hex('c9' /* leave */), registers: { rbp: EDGE - 4 }, bad: EDGE, how: ABSENT, error: 0, cr2: EDGE },
  { name: 'enter whose locals leave the page', code: hex('c8 00 11 00' /* enter 0x1100, 0 */), stack: EDGE + 0x1080, registers: { rbp: AT.DATA + 0x3000 }, bad: EDGE - 0x1000, how: ABSENT, error: W, cr2: EDGE - 0x88 },
  { name: 'enter with levels', code: hex('c8 10 00 03' /* enter 0x10, 3 */), stack: EDGE + 0x10, registers: { rbp: AT.DATA + 0x3000 }, bad: EDGE - 0x1000, how: ABSENT, error: W, cr2: EDGE - 8 },
  { name: 'pushf', code: hex('9c' /* pushfq */), stack: EDGE + 4, bad: EDGE - 0x1000, how: READ_ONLY, error: P | W, cr2: EDGE - 4 },
  { name: 'popf', code: hex('9d' /* popfq */), stack: EDGE - 4, bad: EDGE, how: ABSENT, error: 0, cr2: EDGE },
  { name: 'iret whose frame ends on a missing page', code: hex('48 cf' /* iretq */), stack: EDGE - 0x18, bad: EDGE, how: ABSENT, error: 0, cr2: EDGE },
]; // biome-ignore format: a table

inEveryForm('a fault in mid-instruction', (form) => {
  it.each(cases)('changes nothing: $name', ({ code, at = AT.DATA, stack, registers, bad = EDGE, how, error, cr2 }) => {
    const bench = new Bench(form).code([...hex('f8 90' /* clc; nop */), ...code, 0xf4]);
    for (let i = 0; i < 0x3000; i++) bench.bytes[AT.DATA + i] = (i * 7 + 3) & 0xff;
    bench.ram.setBigUint64(EDGE - 0x18, BigInt(AT.CODE), true);
    bench.ram.setBigUint64(EDGE - 0x10, 0x10n, true);
    if (code[0] === 0xff) bench.ram.setBigUint64(at, BigInt(AT.CODE), true); // where a call goes
    bench.map(bad, bad, how);
    bench.set({
      rax: 0x1111_2222_3333_4444n, rcx: 5, rdx: 0x1_2345_6789n, rbx: at, rsi: AT.DATA + 0x20, rdi: at,
      rsp: stack ?? AT.STACK, ...registers,
    }); // biome-ignore format: short
    if (code[0] === 0x0f && code[1] === 0xab) bench.set({ rsi: 0x8000 }); // 4 KiB in bits
    bench.set({ rflags: 0x8d7 });
    const before = bench.cpu.vcpuState();
    const ram = bench.bytes.slice(AT.DATA, AT.DATA + 0x3000);
    bench.gate(14, { ist: 1 });

    const stop = bench.run();
    expect(stop).toMatchObject({ vector: 14, errorCode: error, count: 2, rip: BigInt(AT.CODE + 2) });
    expect(stop.cr2).toBe(BigInt(cr2));
    expect(stop.rsp).toBe(before.rsp);
    expect(stop.rflags & 0x8d5).toBe(0x8d4); // carry cleared by the first instruction
    const { rsp: _rsp, ...after } = bench.cpu.vcpuState();
    for (const name of ['rax', 'rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi'] as const)
      expect([name, after[name]]).toEqual([name, before[name]]);
    expect(Buffer.compare(bench.bytes.subarray(AT.DATA, AT.DATA + 0x3000), ram)).toBe(0);
    expect(bench.host.log.filter((line) => line.startsWith('in'))).toEqual([]);
  });

  it('lets the instruction run once the page is there', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '48 0f c1 13', // xadd [rbx], rdx
          'f4', // hlt
        ),
      )
      .set({ rbx: EDGE - 3, rdx: 5 });
    bench.ram.setBigUint64(EDGE - 3, 37n, true);
    bench.map(EDGE, EDGE, 0);
    // invlpg is not needed: what is not present is never remembered
    bench.handler(
      14,
      hex(
        '48 83 0c 25 08 50 00 00 67', // or qword ptr [0x5008], 0x67
        '48 83 c4 08', // add rsp, 8
        '48 cf', // iretq
      ),
    );
    expect(bench.run()).toMatchObject({ vector: undefined, count: 4 });
    expect([bench.get('rdx'), bench.ram.getBigUint64(EDGE - 3, true)]).toEqual([37n, 42n]);
  });

  it.each([
    ['pusha', hex('60' /* pusha */), 7],
    ['a far call', hex('9a 00 02 10 00 10 00' /* call 0x10:0x100200 */), 7],
    ['a push of a segment', hex('1e' /* push ds */), 3],
    ['enter with levels', hex('c8 04 00 02' /* enter 4, 2 */), 11],
  ])('changes nothing past the limit of a 32-bit stack: %s', (_name, code, esp) => {
    const bench = new Bench(form, 32).code([...code, 0xf4]).set({ rsp: esp, rbp: 0x40, rax: 1 });
    bench.segment('ss', { base: BigInt(AT.DATA), limit: 0xff, attributes: 0x4093 });
    bench.bytes.fill(0xcc, AT.DATA, AT.DATA + 0x100);
    // A handler on that stack would fault too: #SS becomes #DF, which a task would need; so it is seen from outside.
    const exit = bench.steps(10);
    expect(exit.kind).toBe('triple-fault');
    expect(bench.cpu.recentFaults.at(-1)).toMatchObject({ vector: 12, errorCode: 0, rip: BigInt(AT.CODE) });
    expect(bench.get('rsp')).toBe(BigInt(esp));
    expect(bench.bytes.subarray(AT.DATA, AT.DATA + 0x100).every((byte) => byte === 0xcc)).toBe(true);
    expect(bench.count).toBe(0);
  });
});
