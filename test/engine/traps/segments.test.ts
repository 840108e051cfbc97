/** Segment bases are added by common code, in every form of every instruction; limits and types where they are not flat. */
import { expect, it } from 'vitest';
import { AT, Bench, hex, inEveryForm } from './bench.ts';

const BASE = AT.DATA;

inEveryForm('the base of a segment', (form) => {
  const loads: [string, number[], bigint][] = [
    ['mov', hex('64 48 8b 03' /* mov rax, fs:[rbx] */), 0x1122_3344_5566_7788n],
    ['mov of a byte', hex('64 8a 03' /* mov al, fs:[rbx] */), 0x88n],
    ['an absolute address', hex('64 48 a1 40 00 00 00 00 00 00 00' /* movabs rax, fs:[0x40] */), 0x1122_3344_5566_7788n],
    ['a 32-bit address', hex('64 67 48 8b 03' /* mov rax, fs:[ebx] */), 0x1122_3344_5566_7788n],
    ['movzx', hex('64 0f b7 03' /* movzx eax, word ptr fs:[rbx] */), 0x7788n],
    ['add', hex('64 48 03 03' /* add rax, fs:[rbx] */), 0x1122_3344_5566_7788n],
    ['lods', hex(
'48 89 de', // mov rsi, rbx
'64 48 ad', // lods rax, fs:[rsi]
), 0x1122_3344_5566_7788n],
    ['rep movs', hex(
'48 89 de', // mov rsi, rbx
'bf 00 01 08 00', // mov edi, 0x80100
'b9 02 00 00 00', // mov ecx, 2
'64 f3 a5', // rep movs dword ptr [rdi], dword ptr fs:[rsi]
'48 8b 04 25 00 01 08 00', // mov rax, [0x80100]
), 0x1122_3344_5566_7788n],
    ['push', hex(
'64 ff 33', // push qword ptr fs:[rbx]
'58', // pop rax
), 0x1122_3344_5566_7788n],
    ['bt', hex(
'b9 40 00 00 00', // mov ecx, 64
'64 48 0f a3 4b f8', // bt qword ptr fs:[rbx-8], rcx
'0f 92 c0', // setc al
), 0n],
    ['bts', hex(
'b9 43 00 00 00', // mov ecx, 67
'64 48 0f ab 4b f8', // bts qword ptr fs:[rbx-8], rcx
'0f 92 c0', // setc al
), 1n],
    ['xlat', hex('64 d7' /* xlat byte ptr fs:[rbx] */), 0x88n],
    ['lea adds none', hex('64 48 8d 03' /* lea rax, fs:[rbx] */), 0x40n],
    ['a helper', hex(
'64 0f 01 23', // smsw fs:[rbx]
'64 8a 03', // mov al, fs:[rbx]
), 0x31n],
  ]; // biome-ignore format: a table
  it.each(loads)('FS in 64-bit code: %s', (_name, code, rax) => {
    const bench = new Bench(form).code([...code, 0xf4]).set({ rbx: 0x40 });
    bench.segment('fs', { base: BigInt(BASE) });
    bench.ram.setBigUint64(BASE + 0x40, 0x1122_3344_5566_7788n, true);
    bench.run();
    expect(bench.get('rax')).toBe(rax);
  });

  it('GS stores, SWAPGS changes it at once, and DS has none in 64-bit code', () => {
    const bench = new Bench(form).code(
      hex(
        '65 89 03', // mov gs:[rbx], eax
        '0f 01 f8', // swapgs
        '65 89 03', // mov gs:[rbx], eax
        '89 83 00 00 10 00', // mov ds:[rbx+0x100000], eax
        'f4', // hlt
      ),
    );
    bench.segment('gs', { base: BigInt(BASE) });
    bench.segment('ds', { base: 0x5000n });
    bench.cpu.setState({ msrs: { KERNEL_GS_BASE: BigInt(BASE + 0x1000) } });
    bench.set({ rax: 0x77, rbx: 0x80 }).run();
    expect([0x80, 0x1080].map((at) => bench.ram.getUint32(BASE + at, true))).toEqual([0x77, 0x77]);
    expect(bench.ram.getUint32(0x10_0080, true)).toBe(0x77);
  });

  it('a base that makes the address not canonical gives #GP, through SS by RBP #SS', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '64 8b 03', // mov eax, fs:[rbx]
          'f4', // hlt
        ),
      )
      .set({ rbx: 0x7fff_ffff_ffffn });
    bench.segment('fs', { base: 0x10n });
    expect(bench.run()).toMatchObject({ vector: 13, errorCode: 0, count: 0 });
    const stack = new Bench(form)
      .code(
        hex(
          '8b 45 00', // mov eax, [rbp]
          'f4', // hlt
        ),
      )
      .set({ rbp: 1n << 47n });
    expect(stack.run()).toMatchObject({ vector: 12, errorCode: 0, count: 0 });
  });

  const stores: [string, 'ds' | 'es' | 'ss' | 'fs', number[], number][] = [
    ['DS', 'ds', hex('89 03' /* mov [ebx], eax */), 0x40],
    ['DS, add', 'ds', hex('01 03' /* add [ebx], eax */), 0x40],
    ['DS, an absolute address', 'ds', hex('a3 40 00 00 00' /* mov ds:[0x40], eax */), 0x40],
    ['DS, 16-bit address', 'ds', hex('67 89 00' /* mov [bx+si], eax */), 0x40],
    ['SS by EBP', 'ss', hex(
'89 dd', // mov ebp, ebx
'89 45 00', // mov [ebp], eax
), 0x40],
    ['SS, push', 'ss', hex(
'bc 44 00 00 00', // mov esp, 0x44
'50', // push eax
), 0x40],
    ['SS, call', 'ss', hex(
'bc 44 00 00 00', // mov esp, 0x44
'e8 00 00 00 00', // call 1f
'58', // 1: pop eax
'36 a3 40 00 00 00', // mov ss:[0x40], eax
'31 c0', // xor eax, eax
'6a 77', // push 0x77
'58', // pop eax
'36 a3 40 00 00 00', // mov ss:[0x40], eax
), 0x40],
    ['SS, enter and leave', 'ss', hex(
'bc 48 00 00 00', // mov esp, 0x48
'bd 77 00 00 00', // mov ebp, 0x77
'c8 08 00 00', // enter 8, 0
'c9', // leave
'36 89 2d 40 00 00 00', // mov ss:[0x40], ebp
), 0x40],
    ['ES, stos', 'es', hex(
'89 df', // mov edi, ebx
'ab', // stosd
), 0x40],
    ['ES, rep stos', 'es', hex(
'89 df', // mov edi, ebx
'b9 03 00 00 00', // mov ecx, 3
'f3 ab', // rep stosd
), 0x40],
    ['FS', 'fs', hex('64 89 03' /* mov fs:[ebx], eax */), 0x40],
  ]; // biome-ignore format: a table
  it.each(stores)('in 32-bit code: %s', (_name, segment, code, at) => {
    const bench = new Bench(form, 32).code([...code, 0xf4]).set({ rax: 0x77, rbx: 0x40 });
    bench.segment(segment, { base: BigInt(BASE) });
    expect(bench.run().vector).toBeUndefined();
    expect(bench.ram.getUint32(BASE + at, true)).toBe(0x77);
  });

  it('code runs in a segment with a base, and jumps stay in it', () => {
    const bench = new Bench(form, 32).code(
      hex(
        'b8 05 00 00 00', // mov eax, 5
        '48', // 1: dec eax
        '75 fd', // jnz 1b
        'e8 01 00 00 00', // call 2f
        'f4', // hlt
        '41', // 2: inc ecx
        'c3', // ret
      ),
    );
    bench.segment('cs', { base: BigInt(AT.CODE) }).set({ rip: 0 });
    expect(bench.run()).toMatchObject({ count: 14, rip: 0xen });
    expect(bench.get('rcx')).toBe(1n);
  });
});

inEveryForm('the limit of a segment', (form) => {
  const cases: [string, 'ds' | 'ss' | 'es', Partial<{ limit: number; attributes: number }>, number[], number, number | undefined][] = [
    ['the last byte is inside', 'ds', { limit: 0xfff, attributes: 0x4093 }, hex('89 03' /* mov [ebx], eax */), 0xffc, undefined],
    ['one more is not', 'ds', { limit: 0xfff, attributes: 0x4093 }, hex('89 03' /* mov [ebx], eax */), 0xffd, 13],
    ['through SS it is #SS', 'ss', { limit: 0xfff, attributes: 0x4093 }, hex('36 89 03' /* mov ss:[ebx], eax */), 0xffd, 12],
    ['read-only', 'ds', { attributes: 0xc091 }, hex('89 03' /* mov [ebx], eax */), 0, 13],
    ['read-only can be read', 'ds', { attributes: 0xc091 }, hex('8b 03' /* mov eax, [ebx] */), 0, undefined],
    ['code can be read if it may', 'ds', { attributes: 0xc09b }, hex('8b 03' /* mov eax, [ebx] */), 0, undefined],
    ['and not if it may not', 'ds', { attributes: 0xc099 }, hex('8b 03' /* mov eax, [ebx] */), 0, 13],
    ['expand-down: below', 'ds', { limit: 0xfff, attributes: 0x4097 }, hex('89 03' /* mov [ebx], eax */), 0xffc, 13],
    ['expand-down: above', 'ds', { limit: 0xfff, attributes: 0x4097 }, hex('89 03' /* mov [ebx], eax */), 0x1000, undefined],
    ['expand-down of 16 bits ends at 64 KiB', 'ds', { limit: 0xfff, attributes: 0x0097 }, hex('89 03' /* mov [ebx], eax */), 0xfffd, 13],
    ['null', 'ds', { attributes: 0 }, hex('8b 03' /* mov eax, [ebx] */), 0, 13],
    ['string destination', 'es', { limit: 0xfff, attributes: 0x4093 }, hex(
'89 df', // mov edi, ebx
'ab', // stosd
), 0xffd, 13],
    ['lea does not ask', 'ds', { limit: 0xfff, attributes: 0x4093 }, hex('8d 03' /* lea eax, [ebx] */), 0x5000, undefined],
  ]; // biome-ignore format: a table
  it.each(cases)('%s', (_name, segment, how, code, ebx, vector) => {
    const bench = new Bench(form, 32).code([...code, 0xf4]).set({ rbx: ebx });
    bench.segment(segment, { base: BigInt(BASE), ...how });
    if (segment === 'ss') {
      // The handler needs a stack: with a bad SS this is #DF, so a good ESP inside the limit.
      bench.set({ rsp: 0x800 });
      bench.handler(12, hex('f4'));
      const exit = bench.steps(20);
      expect(exit.kind).toBe('halt');
      expect(bench.cpu.recentFaults.at(-1)).toMatchObject({ vector, errorCode: 0 });
      return;
    }
    expect(bench.run().vector).toBe(vector);
  });

  it('of code is asked at every fetch, to the byte', () => {
    const code = hex(
      '90', // nop
      '90', // nop
      'b8 78 56 34 12', // mov eax, 0x12345678
      'f4', // hlt
    );
    const whole = new Bench(form, 32).code(code).segment('cs', { base: BigInt(AT.CODE), limit: 7, attributes: 0x409b });
    expect(whole.set({ rip: 0 }).run()).toMatchObject({ vector: undefined, count: 3 });
    const cut = new Bench(form, 32).code(code).segment('cs', { base: BigInt(AT.CODE), limit: 5, attributes: 0x409b });
    expect(cut.set({ rip: 0 }).run()).toMatchObject({ vector: 13, errorCode: 0, rip: 2n, count: 2 });
  });
});
