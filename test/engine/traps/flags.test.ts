/** Flags that are kept lazily, left out because something overwrites them, or never made because a branch took the
 * comparison itself: whoever looks in between must see them exact. */
import { expect, it } from 'vitest';
import { ARITHMETIC, AT, Bench, flags, hex, inEveryForm } from './bench.ts';

const FAULTS: [string, number[], number][] = [
  ['a load', hex('8b 03' /* mov eax, [rbx] */), 14],
  ['a store', hex('89 03' /* mov [rbx], eax */), 14],
  ['a read-modify-write whose own flags are dead', hex('01 03' /* add [rbx], eax */), 14],
  ['a push', hex('50' /* push rax */), 14],
  ['a division', hex('f7 f1' /* div ecx */), 0],
  ['an undefined instruction', hex('0f 0b' /* ud2 */), 6],
  ['int3', hex('cc' /* int3 */), 3],
  ['a privileged helper', hex('0f 22 e8' /* mov cr5, rax */), 6],
];
const MAKERS: [string, number[], string][] = [
  ['add', hex(
'b8 ff ff ff 7f', // mov eax, 0x7fffffff
'ba 01 00 00 00', // mov edx, 1
'01 d0', // add eax, edx
), 'PASO'],
  ['sub', hex(
'b8 00 00 00 00', // mov eax, 0
'ba 01 00 00 00', // mov edx, 1
'29 d0', // sub eax, edx
), 'CPAS'],
  ['and', hex(
'b8 ff 00 00 00', // mov eax, 0xff
'ba 00 03 00 00', // mov edx, 0x300
'21 d0', // and eax, edx
), 'PZ'],
  ['add of bytes', hex(
'b8 80 00 00 00', // mov eax, 0x80
'ba 80 00 00 00', // mov edx, 0x80
'00 d0', // add al, dl
), 'CPZO'],
  ['sub of words', hex(
'b8 00 80 00 00', // mov eax, 0x8000
'ba 01 00 00 00', // mov edx, 1
'66 29 d0', // sub ax, dx
), 'PAO'],
  ['inc', hex(
'f9', // stc
'b8 ff ff ff ff', // mov eax, -1
'ff c0', // inc eax
), 'CPAZ'],
  ['neg', hex(
'90', // nop
'b8 10 00 00 00', // mov eax, 16
'f7 d8', // neg eax
), 'CPS'],
  ['shl', hex(
'90', // nop
'b8 00 00 00 40', // mov eax, 0x40000000
'c1 e0 02', // shl eax, 2
), 'CPZ'],
  ['cmp', hex(
'b8 03 00 00 00', // mov eax, 3
'ba 05 00 00 00', // mov edx, 5
'48 39 d0', // cmp rax, rdx
), 'CAS'],
]; // biome-ignore format: a table

inEveryForm('flags on a fault frame', (form) => {
  for (const [fault, code, vector] of FAULTS) {
    it.each(MAKERS)(`are those before ${fault}: %s`, (_name, maker, letters) => {
      // What follows would overwrite them all.
      const bench = new Bench(form).code([
        ...maker,
        ...code,
        ...hex(
          '31 ff', // xor edi, edi
          '39 fe', // cmp esi, edi
          'f4', // hlt
        ),
      ]);
      bench.set({ rbx: 0x5000_0000, rsp: fault === 'a push' ? 0x5000_0000 : AT.STACK });
      bench.gate(14, { ist: 1 });
      const stop = bench.run();
      expect(stop.vector).toBe(vector);
      expect(stop.rflags & ARITHMETIC & ~(maker.includes(0xc1) ? flags('AO') : 0)).toBe(flags(letters));
    });
  }
});

inEveryForm('flags behind a fused branch', (form) => {
  const pairs: [string, number[], string][] = [
    ['cmp', hex(
'39 c8', // cmp eax, ecx
'74 01', // je 1f
'90', // nop
'eb 00', // 1: jmp 2f
), 'CPAS'],
    ['test', hex(
'85 c9', // test ecx, ecx
'75 01', // jne 1f
'90', // nop
'eb 00', // 1: jmp 2f
), ''],
    ['dec', hex(
'ff c9', // dec ecx
'75 01', // jne 1f
'90', // nop
'eb 00', // 1: jmp 2f
), 'PZ'],
    ['cmp with memory', hex(
'80 3c 25 00 00 08 00 01', // cmp byte ptr [0x80000], 1
'74 01', // je 1f
'90', // nop
'eb 00', // 1: jmp 2f
), 'CPAS'],
    ['add', hex(
'83 c1 ff', // add ecx, -1
'75 01', // jne 1f
'90', // nop
'eb 00', // 1: jmp 2f
), 'CPAZ'],
  ]; // biome-ignore format: a table
  it.each(pairs)('are kept: %s', (_name, code, letters) => {
    const bench = new Bench(form)
      .code([
        ...code,
        ...hex(
          '9c', // pushfq
          '5a', // pop rdx
          'f4', // hlt
        ),
      ])
      .set({ rcx: 1, rax: 0 });
    bench.run();
    expect(Number(bench.get('rdx')) & ARITHMETIC).toBe(flags(letters));
  });

  it('are there when an interrupt comes right behind the comparison', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '39 c8', // cmp eax, ecx
          '72 01', // jb 1f
          '90', // nop
          '31 d2', // 1: xor edx, edx
          'f4', // hlt
        ),
      )
      .set({ rcx: 1 });
    bench.set({ rflags: 0x202 });
    bench.steps(1);
    bench.host.pending = 0x40;
    expect(bench.run()).toMatchObject({ vector: 0x40, count: 1, rip: BigInt(AT.CODE + 2) });
    expect(Number(bench.cpu.readLinear(bench.get('rsp') + 16n, 8)) & ARITHMETIC).toBe(flags('CPAS'));
  });

  it('are made by a store into the next instruction that used to overwrite them', () => {
    // add [next], al turns `xor ecx, ecx` into `adc ecx, ecx`: the carry of that very addition is read.
    const code = hex(
      'b0 e2', // mov al, 0xe2
      '48 8d 1d 02 00 00 00', // lea rbx, [rip+2f]
      '00 03', // add byte ptr [rbx], al
      '31 c9', // 2: xor ecx, ecx
      'f4', // hlt
    );
    const bench = new Bench(form).code(code).set({ rflags: 2 });
    const at = AT.CODE + code.length - 3;
    expect(bench.bytes[at]).toBe(0x31);
    bench.run();
    expect(bench.bytes[at]).toBe(0x13);
    expect(bench.get('rcx')).toBe(1n);
  });

  it.each([
    [
      'lahf',
      hex(
        '01 c8', // add eax, ecx
        '9f', // lahf
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'adc',
      hex(
        '29 c8', // sub eax, ecx
        '11 d2', // adc edx, edx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'cmov',
      hex(
        '29 c8', // sub eax, ecx
        '0f 42 d1', // cmovb edx, ecx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'a shift by a count that may be zero',
      hex(
        '29 c8', // sub eax, ecx
        'd3 e2', // shl edx, cl
        '9c', // pushfq
        '5b', // pop rbx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'a shift by zero',
      hex(
        '29 c8', // sub eax, ecx
        '87 f1', // xchg ecx, esi
        'd3 e2', // shl edx, cl
        '9c', // pushfq
        '5b', // pop rbx
        '31 f6', // xor esi, esi
      ),
    ],
    [
      'rol',
      hex(
        '29 c8', // sub eax, ecx
        'd1 c2', // rol edx, 1
        '9c', // pushfq
        '5b', // pop rbx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'bt',
      hex(
        '29 c8', // sub eax, ecx
        '0f ba e2 00', // bt edx, 0
        '9c', // pushfq
        '5b', // pop rbx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'mul',
      hex(
        '29 c8', // sub eax, ecx
        'f7 e1', // mul ecx
        '9c', // pushfq
        '5b', // pop rbx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'rep scas of nothing',
      hex(
        '29 c8', // sub eax, ecx
        '87 f1', // xchg ecx, esi
        'f3 ae', // repe scasb
        '9c', // pushfq
        '5b', // pop rbx
        '31 c9', // xor ecx, ecx
      ),
    ],
    [
      'bsf',
      hex(
        '29 c8', // sub eax, ecx
        '0f bc d7', // bsf edx, edi
        '9c', // pushfq
        '5b', // pop rbx
      ),
    ],
  ])('are read by %s as one at a time', (_name, code) => {
    const results = [form, { name: 'one at a time', plain: true }].map((f) => {
      const bench = new Bench(f).code([...code, ...hex('f4')]).set({ rax: 2, rcx: 3, rdx: 0x8000_0001 });
      bench.run();
      return [bench.cpu.state.rflags, bench.get('rax'), bench.get('rdx'), bench.get('rbx'), bench.count];
    });
    expect(results[0]).toEqual(results[1]);
  });
});
