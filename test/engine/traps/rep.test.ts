/** REP: each iteration counts one, a fault leaves the counters at its element, and copies that overlap repeat their
 * pattern as x86 does. Bulk steps must not be seen. */
import { expect, it } from 'vitest';
import { AT, Bench, hex, inEveryForm, RAM_SIZE } from './bench.ts';

const D = AT.DATA;

inEveryForm('REP', (form) => {
  const counts: [string, number[], number, number][] = [
    ['movsb', hex('f3 a4' /* rep movsb */), 37, 37],
    ['movsq', hex('f3 48 a5' /* rep movsq */), 37, 37],
    ['stosd', hex('f3 ab' /* rep stosd */), 600, 600],
    ['stosw', hex('66 f3 ab' /* rep stosw */), 5000, 5000],
    ['lodsb', hex('f3 ac' /* rep lodsb */), 5, 5],
    ['of nothing', hex('f3 a4' /* rep movsb */), 0, 1],
    ['once', hex('f3 48 ab' /* rep stosq */), 1, 1],
    ['repe cmpsb to the difference', hex('f3 a6' /* repe cmpsb */), 50, 10],
    ['repne scasb to the byte', hex('f2 ae' /* repne scasb */), 50, 10],
    ['outsb', hex('f3 6e' /* rep outsb */), 4, 4],
    ['insb', hex('f3 6c' /* rep insb */), 4, 4],
  ]; // biome-ignore format: a table
  it.each(counts)('counts one for each iteration: %s', (_name, code, rcx, count) => {
    const bench = new Bench(form)
      .code([0x90, ...code, 0xf4])
      .set({ rcx, rsi: D, rdi: D + 0x4000, rax: 0x77, rdx: 0x80 });
    bench.bytes[D + 9] = 1;
    bench.bytes[D + 0x4009] = 0x77;
    expect(bench.run().count).toBe(count + 1);
    expect(bench.get('rcx')).toBe(BigInt(rcx - (rcx === 0 ? 0 : count)));
  });

  it.each([1, 2, 3, 5, 31, 32, 33, 511, 512, 513, 600])('stops after exactly %i instructions', (budget) => {
    const bench = new Bench(form)
      .code(
        hex(
          'f3 48 a5', // rep movsq
          'f4', // hlt
        ),
      )
      .set({ rcx: 1000, rsi: D, rdi: D + 0x4008 });
    for (let i = 0; i < 8000; i++) bench.bytes[D + i] = i * 31;
    expect(bench.steps(budget)).toEqual({ kind: 'budget' });
    expect(bench.count).toBe(budget);
    expect(bench.cpu.state.rip).toBe(BigInt(AT.CODE));
    expect([bench.get('rcx'), bench.get('rsi'), bench.get('rdi')]).toEqual(
      [1000 - budget, D + 8 * budget, D + 0x4008 + 8 * budget].map(BigInt),
    );
    expect(
      Buffer.compare(
        bench.bytes.subarray(D + 0x4008, D + 0x4008 + 8 * budget),
        bench.bytes.subarray(D, D + 8 * budget),
      ),
    ).toBe(0);
    expect(bench.bytes.subarray(D + 0x4008 + 8 * budget, D + 0x7000).every((b) => b === 0)).toBe(true);
    expect(bench.run().count).toBe(1000);
  });

  const widths: [string, number[], number][] = [
    ['movsb', hex('f3 a4' /* rep movsb */), 1],
    ['movsw', hex('66 f3 a5' /* rep movsw */), 2],
    ['movsd', hex('f3 a5' /* rep movsd */), 4],
    ['movsq', hex('f3 48 a5' /* rep movsq */), 8],
  ]; // biome-ignore format: a table
  for (const [name, code, width] of widths) {
    it.each([1, 2, 3, 4, 5, 7, 8, 9, 16, -1, -2, -4, -8, 4095, 4097])(
      `copies ranges that overlap by a distance as x86 does: ${name} by %i`,
      (distance) => {
        for (const down of [false, true]) {
          const bench = new Bench(form).code([...code, 0xf4]);
          const from = D + 0x1000 + 0xf80;
          const [rsi, rdi] = [from, from + distance];
          bench.set({ rcx: 100, rsi, rdi, rflags: down ? 0x402 : 2 });
          for (let i = 0; i < 0x4000; i++) bench.bytes[D + i] = (i * 13 + (i >> 8)) & 0xff;
          const expected = bench.bytes.slice(D, D + 0x4000);
          for (let i = 0; i < 100; i++) {
            const step = (down ? -i : i) * width;
            const element = expected.slice(rsi - D + step, rsi - D + step + width);
            expected.set(element, rdi - D + step);
          }
          bench.run();
          expect(Buffer.compare(bench.bytes.subarray(D, D + 0x4000), expected)).toBe(0);
          expect(bench.get('rsi')).toBe(BigInt(rsi + (down ? -100 : 100) * width));
          expect(bench.get('rcx')).toBe(0n);
        }
      },
    );
  }

  it.each([
    ['stosd up', hex('f3 ab' /* rep stosd */), 2, D + 0xff0, 4, D + 0x1000, 0],
    ['stosd up over a split element', hex('f3 ab' /* rep stosd */), 2, D + 0xff2, 3, D + 0x1000, 0],
    ['stosb down', hex('f3 aa' /* rep stosb */), 0x402, D + 0x1003, 4, D + 0xfff, D],
    ['movsq up', hex('f3 48 a5' /* rep movsq */), 2, D + 0xfe0, 4, D + 0x1000, 0],
  ])('leaves the counters at the failing element: %s', (_name, code, rflags, rdi, done, cr2, bad) => {
    const bench = new Bench(form)
      .code([0x90, ...code, 0xf4])
      .set({ rcx: 100, rsi: D + 0x2000, rdi, rflags, rax: 0x0101_0102 });
    bench.map(bad === 0 ? D + 0x1000 : bad, 0, 0);
    const stop = bench.run();
    expect(stop).toMatchObject({
      vector: 14,
      errorCode: 2,
      cr2: BigInt(cr2),
      count: done + 1,
      rip: BigInt(AT.CODE + 1),
    });
    expect(bench.get('rcx')).toBe(BigInt(100 - done));
  });

  it('goes on where it was when the page has come', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'f3 a4', // rep movsb
          'f4', // hlt
        ),
      )
      .set({ rcx: 0x1800, rsi: D, rdi: D + 0x4800 });
    for (let i = 0; i < 0x1800; i++) bench.bytes[D + i] = i * 7 + 1;
    bench.map(D + 0x5000, D + 0x5000, 0);
    bench.handler(
      14,
      hex(
        '48 83 0c 25 28 50 00 00 67', // or qword ptr [0x5028], 0x67
        '48 83 c4 08', // add rsp, 8
        '48 cf', // iretq
      ),
    );
    expect(bench.run().count).toBe(0x1800 + 3);
    expect(Buffer.compare(bench.bytes.subarray(D + 0x4800, D + 0x6000), bench.bytes.subarray(D, D + 0x1800))).toBe(0);
  });

  it('crosses pages that lie apart in RAM', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'f3 aa', // rep stosb
          'f4', // hlt
        ),
      )
      .set({ rcx: 0x2800, rdi: D + 0x400, rax: 0x77 });
    bench.map(D + 0x1000, D + 0x9000).map(D + 0x2000, D + 0x5000);
    expect(bench.run().count).toBe(0x2800);
    const full = (at: number) => bench.bytes.subarray(at, at + 0x1000).reduce((n, b) => n + (b === 0x77 ? 1 : 0), 0);
    expect([0, 0x9000, 0x5000, 0x1000, 0x2000].map((at) => full(D + at))).toEqual([0xc00, 0x1000, 0xc00, 0, 0]);
  });

  it('reads and writes devices element by element', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '66 f3 a5', // rep movsw
          'f4', // hlt
        ),
      )
      .set({ rcx: 3, rsi: 0x30_0000, rdi: 0x30_0100 });
    bench.map(0x30_0000, RAM_SIZE + 0x2000);
    expect(bench.run().count).toBe(3);
    const at = (n: number) => (RAM_SIZE + 0x2000 + n).toString(16);
    expect(bench.host.log).toEqual([0, 2, 4].flatMap((n) => [`read2 ${at(n)}`, `write2 ${at(0x100 + n)}=11`]));
  });

  it('with 32-bit addresses wraps at 4 GiB and clears the upper halves it writes', () => {
    const bench = new Bench(form)
      .code([0x67, ...hex('f3 aa' /* rep stosb */), 0xf4])
      .set({ rcx: (1n << 40n) + 3n, rdi: (5n << 32n) + BigInt(D) });
    expect(bench.run().count).toBe(3);
    expect([bench.get('rcx'), bench.get('rdi')]).toEqual([0n, BigInt(D + 3)]);
  });

  it('uses DF for either direction in bulk and at once', () => {
    const bench = new Bench(form).code(
      hex(
        'fd', // std
        'f3 48 ab', // rep stosq
        'fc', // cld
        'b9 03 00 00 00', // mov ecx, 3
        'f3 48 ab', // rep stosq
        'f4', // hlt
      ),
    );
    bench.set({ rcx: 300, rdi: D + 0x1800, rax: 0x0102_0304_0506_0708n });
    bench.run();
    expect(bench.get('rdi')).toBe(BigInt(D + 0x1800 - 2400 + 24));
    expect(bench.ram.getBigUint64(D + 0x1800, true)).toBe(0x0102_0304_0506_0708n);
    expect(bench.ram.getBigUint64(D + 0x1808, true)).toBe(0n);
    expect(bench.ram.getBigUint64(D + 0x1800 - 2392, true)).toBe(0x0102_0304_0506_0708n);
    expect(bench.ram.getBigUint64(D + 0x1800 - 2408, true)).toBe(0n);
  });
});
