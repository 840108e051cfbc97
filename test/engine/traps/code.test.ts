/** Code that changes: whoever writes it, through whatever alias, the next fetch sees it; and data beside code does not
 * make the engine decode again and again. */
import { expect, it } from 'vitest';
import { AT, Bench, FORMS, hex, inEveryForm, OPEN } from './bench.ts';

const C = AT.CODE;
const D = AT.DATA;

inEveryForm('a store into code', (form) => {
  it('is seen by the very next instruction', () => {
    const bench = new Bench(form).code(
      hex(
        '48 8d 1d 04 00 00 00', // lea rbx, [rip+1f]
        'c6 43 01 07', // mov byte ptr [rbx+1], 7
        'b0 01', // 1: mov al, 1
        'f4', // hlt
      ),
    );
    bench.run();
    expect(bench.get('rax')).toBe(7n);
  });
  it('is seen by the next instruction of a block that ran before', () => {
    const code = hex(
      '48 8d 1d 08 00 00 00', // lea rbx, [rip+1f]
      'b9 2c 01 00 00', // mov ecx, 300
      '88 4b 01', // 2: mov [rbx+1], cl
      '05 00 00 00 00', // 1: .byte 5,0,0,0,0
      'ff c9', // dec ecx
      '75 f4', // jnz 2b
      'f4', // hlt
    );
    const bench = new Bench(form).code(code);
    bench.run();
    let sum = 0;
    for (let i = 300; i > 0; i--) sum += i & 0xff;
    expect(bench.get('rax')).toBe(BigInt(sum));
  });
  it('of its own bytes lets the old instruction finish, and the new one run next time', () => {
    const bench = new Bench(form).code(
      hex(
        '48 8d 1d 05 00 00 00', // lea rbx, [rip+1f]
        'b9 02 00 00 00', // mov ecx, 2
        'c7 03 90 90 90 90', // 1: mov dword ptr [rbx], 0x90909090
        'ff c2', // inc edx
        'ff c9', // dec ecx
        '75 f4', // jnz 1b
        'f4', // hlt
      ),
    );
    expect(bench.run().count).toBe(2 + 4 + 6 + 3); // the second time it is six nops
    expect(bench.get('rdx')).toBe(2n);
  });
  it('through another linear address is seen', () => {
    const bench = new Bench(form).code(
      hex(
        'e8 09 00 00 00', // call 1f
        'c6 03 07', // mov byte ptr [rbx], 7
        'e8 01 00 00 00', // call 1f
        'f4', // hlt
        'b0 01', // 1: mov al, 1
        '01 c2', // add edx, eax
        'c3', // ret
      ),
    );
    bench.map(D, C).set({ rbx: D + asmOffset(bench) });
    bench.run();
    expect(bench.get('rdx')).toBe(8n);
  });
  it('through another linear address of the running block is seen at once', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'c6 03 07', // mov byte ptr [rbx], 7
          'b0 01', // mov al, 1
          'f4', // hlt
        ),
      )
      .map(D, C)
      .set({ rbx: D + 4 });
    bench.run();
    expect(bench.get('rax')).toBe(7n);
  });
  it('through an alias whose write tag was there before the code was', () => {
    const bench = new Bench(form).code(
      hex(
        'c6 43 01 01', // mov byte ptr [rbx+1], 1
        'ff d7', // call rdi
        'c6 43 01 07', // mov byte ptr [rbx+1], 7
        'ff d7', // call rdi
        'f4', // hlt
      ),
    );
    bench
      .put(
        D + 0x1000,
        hex(
          'b0 00', // mov al, 0
          '01 c2', // add edx, eax
          'c3', // ret
        ),
      )
      .map(D, D + 0x1000)
      .set({ rbx: D, rdi: D + 0x1000 });
    bench.run();
    expect(bench.get('rdx')).toBe(8n);
  });
  it('by the kernel is seen by the user, and the other way round', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'ff d7', // call rdi
          'cd 81', // int 0x81
          'ff d7', // call rdi
          'c6 47 01 09', // mov byte ptr [rdi+1], 9
          'cd 82', // int 0x82
        ),
      )
      .asUser();
    bench
      .handler(
        0x81,
        hex(
          'c6 47 01 07', // mov byte ptr [rdi+1], 7
          '48 cf', // iretq
        ),
      )
      .handler(
        0x82,
        hex(
          'ff d7', // call rdi
          'f4', // hlt
        ),
      );
    bench
      .put(
        D,
        hex(
          'b0 01', // mov al, 1
          '01 c2', // add edx, eax
          'c3', // ret
        ),
      )
      .set({ rdi: D, rsp: AT.STACK });
    const exit = bench.steps(100);
    expect(exit.kind).toBe('halt');
    expect(bench.get('rdx')).toBe(17n);
  });
  it.each([
    [
      'rep stosb',
      hex(
        'b8 90 00 00 00', // mov eax, 0x90
        'f3 aa', // rep stosb
      ),
    ],
    [
      'rep stosq',
      hex(
        '48 b8 90 90 90 90 90 90 90 90', // mov rax, 0x9090909090909090
        'b9 02 00 00 00', // mov ecx, 2
        'f3 48 ab', // rep stosq
      ),
    ],
    ['rep movsb', hex('f3 a4' /* rep movsb */)],
    [
      'push',
      hex(
        '48 8d 67 08', // lea rsp, [rdi+8]
        '48 b8 90 90 90 90 90 90 90 90', // mov rax, 0x9090909090909090
        '50', // push rax
        'bc 00 00 08 00', // mov esp, 0x80000
      ),
    ],
    [
      'xchg',
      hex(
        '48 b8 90 90 90 90 90 90 90 90', // mov rax, 0x9090909090909090
        '48 87 07', // xchg [rdi], rax
      ),
    ],
    [
      'cmpxchg8b',
      hex(
        'bb 90 90 90 90', // mov ebx, 0x90909090
        '89 d9', // mov ecx, ebx
        '8b 07', // mov eax, [rdi]
        '8b 57 04', // mov edx, [rdi+4]
        '0f c7 0f', // cmpxchg8b [rdi]
      ),
    ],
    [
      'ins',
      hex(
        'ba 80 00 00 00', // mov edx, 0x80
        'b9 02 00 00 00', // mov ecx, 2
        'f3 6d', // rep insd
      ),
    ],
    [
      'a store across the edge of two pages',
      hex(
        '48 b8 90 90 90 90 90 90 90 90', // mov rax, 0x9090909090909090
        '48 89 47 fc', // mov [rdi-4], rax
        '48 89 47 04', // mov [rdi+4], rax
      ),
    ],
    [
      'an exception frame',
      hex(
        '48 8d 67 18', // lea rsp, [rdi+24]
        '0f 0b', // ud2
      ),
    ],
  ])('by %s is seen', (_name, code) => {
    const bench = new Bench(form).code([
      ...hex(
        'ff d7', // call rdi
        '4d 89 c8', // mov r8, r9
      ),
      ...code,
      ...hex(
        '48 c7 c7 00 10 20 00', // mov rdi, 0x201000
        'ff d7', // call rdi
        'f4', // hlt
      ),
    ]);
    bench.put(D + 0x1000, [
      ...hex(
        '41 ff c1', // inc r9d
        '41 ff c1', // inc r9d
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
      ),
      0xc3,
    ]);
    bench.bytes.fill(0x90, D, D + 0x100);
    bench.host.portValue = 0x9090_9090;
    bench.set({ rdi: D + 0x1000, rsi: D, rcx: 16 });
    bench.handler(
      6,
      hex(
        '48 b8 90 90 90 90 90 90 90 90', // mov rax, 0x9090909090909090
        '48 89 04 24', // mov [rsp], rax
        '48 89 44 24 08', // mov [rsp+8], rax
        'bc 00 00 08 00', // mov esp, 0x80000
        'bf 00 10 20 00', // mov edi, 0x201000
        'ff d7', // call rdi
        'f4', // hlt
      ),
    );
    const exit = bench.steps(200);
    expect(exit.kind).toBe('halt');
    expect([bench.get('r8'), bench.get('r9')]).toEqual([2n, 2n]);
  });
  it('in the middle of a repeated copy over itself ends where it stands', () => {
    // rep movsb writes nops over itself: the iteration that does is the last one of that instruction.
    const results = FORMS.map((f) => {
      const bench = new Bench(f)
        .code(
          hex(
            '90', // nop
            'f3 a4', // rep movsb
            'f4', // hlt
          ),
        )
        .set({ rcx: 64, rsi: D, rdi: C - 8 });
      bench.bytes.fill(0x90, D, D + 64);
      bench.bytes[D + 63] = 0xf4;
      bench.put(C + 60, [0xf4]);
      const stop = bench.run();
      return [stop.count, stop.rip, bench.get('rcx'), bench.get('rdi')];
    });
    for (const result of results) expect(result).toEqual(results[0]);
    expect(results[0][2]).toBe(54n);
  });
  it('by a device or a loader is seen', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'ff d7', // call rdi
          'e6 80', // out 0x80, al
          'ff d7', // call rdi
          'f4', // hlt
        ),
      )
      .set({ rdi: D });
    bench.put(
      D,
      hex(
        'b0 01', // mov al, 1
        '01 c2', // add edx, eax
        'c3', // ret
      ),
    );
    bench.host.onPort = () => bench.put(D + 1, [7]);
    bench.run();
    expect(bench.get('rdx')).toBe(8n);
  });
  it('by a device in the middle of the running block is seen', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'b2 01', // mov dl, 1
          'f4', // hlt
        ),
      )
      .map(0x30_0000, 0x50_0000)
      .set({ rbx: 0x30_0000 });
    bench.host.onMmio = () => bench.put(C + 3, [7]);
    bench.run();
    expect(bench.get('rdx')).toBe(7n);
  });
  it('by the A and D bits of a page walk is seen', () => {
    // The low byte of D's page-table entry is the immediate of a mov al, imm8 that begins in the entry before it.
    const entry = 0x5000;
    const bench = new Bench(form).map(D, D, OPEN & ~0x60);
    bench.put(entry - 1, [0xb0]).put(entry + 8, [
      0x00,
      ...hex(
        '01 c2', // add edx, eax
        'c3', // ret
      ),
    ]); // between them: add [rax], al and the like
    bench
      .code(
        hex(
          'b8 00 00 07 00', // mov eax, 0x70000
          'ff d7', // call rdi
          '49 89 c0', // mov r8, rax
          '48 89 0b', // mov [rbx], rcx
          'ff d7', // call rdi
          'f4', // hlt
        ),
      )
      .set({ rdi: entry - 1, rbx: D });
    bench.run();
    expect([bench.get('r8') & 0xffn, bench.get('rax') & 0xffn]).toEqual([0x07n, 0x67n]);
  });
  it('into a page that is mapped twice in a row runs each copy at its own address', () => {
    // One frame at C and at C + 0x1000: a jump from the first to the second must not be linked as one inside a page.
    const bench = new Bench(form).map(C + 0x1000, C);
    bench.code(
      hex(
        'ff c2', // inc edx
        '48 8d 05 00 00 00 00', // lea rax, [rip]
        '83 fa 06', // cmp edx, 6
        '74 05', // je 1f
        'e9 ed 0f 00 00', // jmp .+0x1000-14
        'f4', // 1: hlt
      ),
    );
    bench
      .map(C + 0x2000, C)
      .map(C + 0x3000, C)
      .map(C + 0x4000, C)
      .map(C + 0x5000, C);
    bench.run();
    expect(bench.get('rax')).toBe(BigInt(C + 0x5000 + 9));
  });
  it('jumps to a neighbour that was mapped elsewhere meanwhile', () => {
    const bench = new Bench(form).code(
      hex(
        'e8 0c 00 00 00', // call 1f
        '48 89 37', // mov [rdi], rsi
        '0f 01 3b', // invlpg [rbx]
        'e8 01 00 00 00', // call 1f
        'f4', // hlt
        'e9 fb 0f 00 00', // 1: jmp .+0x1000
      ),
    );
    bench.map(C + 0x1000, C);
    const at = bench.bytes.indexOf(0xe9, C + 5) - C;
    bench.set({ rbx: C + 0x1000, rdi: AT.PT + ((C + 0x1000) >> 12) * 8, rsi: (D + 0x1000) | OPEN });
    const target = (at + 0x1000) & 0xfff;
    // The same frame: the jump's own place in the second page jumps on into a third one, which returns.
    bench.map(C + 0x2000, D);
    bench
      .put(
        D + target,
        hex(
          'ff c2', // inc edx
          'c3', // ret
        ),
      )
      .put(
        D + 0x1000 + target,
        hex(
          '83 c2 10', // add edx, 0x10
          'c3', // ret
        ),
      );
    bench.run();
    expect(bench.get('rdx')).toBe(0x11n);
  });
});

inEveryForm('data beside code', (form) => {
  it('in the same page costs no decoding', () => {
    const code = hex(
      'b9 e0 93 04 00', // mov ecx, 300000
      'ff 05 00 01 00 00', // 1: inc dword ptr [rip+0x100]
      'ff c9', // dec ecx
      '75 f6', // jnz 1b
      'f4', // hlt
    );
    const bench = new Bench(form).code(code);
    const count = form.plain || form.quantum ? 3000 : 300_000;
    bench.put(C + 1, [count & 0xff, (count >> 8) & 0xff, count >> 16, 0]);
    const decoded = bench.cpu.decoding.blocks;
    bench.run(2_000_000);
    expect(bench.cpu.decoding.blocks - decoded).toBeLessThan(20);
  });
  it('in the same 64 bytes costs none either', () => {
    const bench = new Bench(form).code(
      hex(
        'b9 b8 0b 00 00', // mov ecx, 3000
        'ff 05 05 00 00 00', // 1: inc dword ptr [rip+5]
        'ff c9', // dec ecx
        '75 f6', // jnz 1b
        'f4', // hlt
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
        '90', // nop
      ),
    );
    const decoded = bench.cpu.decoding.blocks;
    bench.run();
    expect(bench.cpu.decoding.blocks - decoded).toBeLessThan(20);
  });
});

inEveryForm('an instruction on the edge of two pages', (form) => {
  const at = C + 0xffd;
  const whole = hex(
    'b8 78 56 34 12', // mov eax, 0x12345678
    'f4', // hlt
  );
  it('runs when both are there, also when they lie apart', () => {
    const bench = new Bench(form).code(whole, at);
    expect(bench.run().count).toBe(1);
    expect(bench.get('rax')).toBe(0x1234_5678n);
    const apart = new Bench(form)
      .code(whole.slice(0, 3), at)
      .map(C + 0x1000, D)
      .put(D, whole.slice(3));
    apart.run();
    expect(apart.get('rax')).toBe(0x1234_5678n);
  });
  it.each([
    ['is not there', 0, false, 0x10],
    ['has NX', OPEN, true, 0x11],
  ])('faults at its first byte when the second page %s', (_name, flags, nx, error) => {
    const bench = new Bench(form).code(whole, at).map(C + 0x1000, C + 0x1000, flags, nx);
    expect(bench.run()).toMatchObject({
      vector: 14,
      errorCode: error,
      cr2: BigInt(C + 0x1000),
      rip: BigInt(at),
      count: 0,
    });
  });
  it('sees the second page mapped elsewhere, or written', () => {
    const bench = new Bench(form).code(
      hex(
        'ff d5', // call rbp
        '48 89 37', // mov [rdi], rsi
        '0f 01 3b', // invlpg [rbx]
        'ff d5', // call rbp
        'c6 03 09', // mov byte ptr [rbx], 9
        'ff d5', // call rbp
        'f4', // hlt
      ),
      C + 0x3000,
    );
    bench
      .put(at, [0x05, 0x01, 0x01])
      .put(C + 0x1000, [0x02, 0x02, 0xc3])
      .put(D, [0x05, 0x05, 0xc3]); // add eax, imm32; ret
    bench.set({ rbp: at, rbx: C + 0x1000, rdi: AT.PT + ((C + 0x1000) >> 12) * 8, rsi: D | OPEN });
    bench.run();
    expect(bench.get('rax')).toBe(0x0202_0101n + 0x0505_0101n + 0x0509_0101n);
  });
  it('of TypeScript runs for ever without filling memory', () => {
    const bench = new Bench(form).code(
      hex(
        '0f a2', // cpuid
        'eb fc', // jmp .-2
      ),
      C + 0xfff,
    );
    bench.steps(form.plain || form.quantum ? 2000 : 20_000);
    expect(bench.cpu.decoding.helpers).toBeLessThan(2000);
  });
  it('jumps, calls and returns', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'e8 fe 00 00 00', // call .+0x103
          'f4', // hlt
        ),
        C + 0xffd,
      )
      .put(
        C + 0x1100,
        hex(
          'ff c2', // inc edx
          'c3', // ret
        ),
      );
    bench.run();
    expect(bench.get('rdx')).toBe(1n);
    const jump = new Bench(form)
      .code(
        hex(
          '0f 84 00 01 00 00', // je .+0x106
          'f4', // hlt
        ),
        C + 0xffe,
      )
      .put(C + 0x1104, [0xf4])
      .set({ rflags: 0x42 });
    expect(jump.run().rip).toBe(BigInt(C + 0x1105));
  });
  it('in 32-bit code with a small CS limit, too', () => {
    const bench = new Bench(form, 32)
      .code(
        hex(
          'b8 78 56 34 12', // mov eax, 0x12345678
          'f4', // hlt
        ),
        0xffd,
      )
      .segment('cs', { base: BigInt(C), limit: 0x1fff });
    bench
      .put(
        C + 0xffd,
        hex(
          'b8 78 56 34 12', // mov eax, 0x12345678
          'f4', // hlt
        ),
      )
      .set({ rip: 0xffd });
    bench.run();
    expect(bench.get('rax')).toBe(0x1234_5678n);
  });
});

function asmOffset(bench: Bench): number {
  return bench.bytes.indexOf(0xb0, C) - C + 1; // mov al, imm8
}
