/** The TLB: what is remembered, what is not, and what makes it forget. Stale translations are part of the machine: they
 * are the same in every form. */
import { expect, it } from 'vitest';
import { AT, Bench, hex, inEveryForm, OPEN } from './bench.ts';

const D = AT.DATA;
const A = 0x20;
const DIRTY = 0x40;
const CLEAN = OPEN & ~(A | DIRTY);

/** Loads from 800 pages, more than a flush remembers, and what comes behind it; none of them is D's neighbour in the TLB. */
const manyPages = (then: number[]): number[] => [
  ...hex(
    'b9 20 03 00 00', // mov ecx, 800
    '41 b8 00 00 09 00', // mov r8d, 0x90000
    '45 8b 08', // 1: mov r9d, [r8]
    '49 81 c0 00 10 00 00', // add r8, 0x1000
    'ff c9', // dec ecx
    '75 f2', // jnz 1b: 14 bytes back
  ),
  ...then,
];

inEveryForm('A and D', (form) => {
  it.each([
    ['a load sets A', hex('8b 03' /* mov eax, [rbx] */), A],
    ['a store sets both', hex('89 03' /* mov [rbx], eax */), A | DIRTY],
    ['read-modify-write sets both', hex('01 03' /* add [rbx], eax */), A | DIRTY],
    ['cmp sets A', hex('39 03' /* cmp [rbx], eax */), A],
    ['a cmpxchg that fails sets both', hex('0f b1 0b' /* cmpxchg [rbx], ecx */), A | DIRTY],
    [
      'a load, then a store',
      hex(
        '8b 03', // mov eax, [rbx]
        '89 03', // mov [rbx], eax
      ),
      A | DIRTY,
    ],
    ['bt with a register sets A', hex('0f a3 03' /* bt [rbx], eax */), A],
    ['lea sets none', hex('48 8d 03' /* lea rax, [rbx] */), 0],
    ['invlpg sets none', hex('0f 01 3b' /* invlpg [rbx] */), 0],
    ['a nop with an address sets none', hex('0f 1f 03' /* nop dword ptr [rbx] */), 0],
    ['prefetch sets none', hex('0f 18 0b' /* prefetcht0 [rbx] */), 0],
    [
      'rep stos of nothing sets none',
      hex(
        '48 89 df', // mov rdi, rbx
        '31 c9', // xor ecx, ecx
        'f3 aa', // rep stosb
      ),
      0,
    ],
    [
      'rep movs: source and destination',
      hex(
        '48 89 de', // mov rsi, rbx
        'bf 00 01 08 00', // mov edi, 0x80100
        'b9 02 00 00 00', // mov ecx, 2
        'f3 a4', // rep movsb
      ),
      A,
    ],
    [
      'a jump over it sets none',
      hex(
        'eb 02', // jmp 1f
        '89 03', // mov [rbx], eax
        '90', // 1: nop
      ),
      0,
    ],
  ])('%s', (_name, code, expected) => {
    const bench = new Bench(form)
      .code([...code, 0xf4])
      .set({ rbx: D, rax: 1 })
      .map(D, D, CLEAN);
    bench.run();
    expect(bench.entry(D) & (A | DIRTY)).toBe(expected);
  });

  it('code gets A when it is fetched, and only the page that is', () => {
    const bench = new Bench(form).code(hex('e9 fb 0f 00 00' /* jmp .+0x1000 */));
    bench
      .put(AT.CODE + 0x1000, [0xf4])
      .map(AT.CODE, AT.CODE, CLEAN)
      .map(AT.CODE + 0x1000, AT.CODE + 0x1000, CLEAN);
    bench.map(AT.CODE + 0x2000, AT.CODE + 0x2000, CLEAN);
    bench.steps(1);
    expect([0, 0x1000, 0x2000].map((at) => bench.entry(AT.CODE + at) & (A | DIRTY))).toEqual([A, 0, 0]);
    bench.run();
    expect([0, 0x1000, 0x2000].map((at) => bench.entry(AT.CODE + at) & (A | DIRTY))).toEqual([A, A, 0]);
  });

  it('decoding does not run ahead: the next page stays untouched until it is needed', () => {
    const bench = new Bench(form).code(
      [
        ...hex(
          '90', // nop
          '90', // nop
          '90', // nop
        ),
        0xf4,
      ],
      AT.CODE + 0xffc,
    );
    bench.map(AT.CODE + 0x1000, 0, 0);
    expect(bench.run()).toMatchObject({ vector: undefined, count: 3 });
  });

  it('a store that faults sets no D, and its other page keeps A only', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '48 89 03', // mov [rbx], rax
          'f4', // hlt
        ),
      )
      .set({ rbx: D + 0xffc });
    bench.map(D, D, CLEAN).map(D + 0x1000, D + 0x1000, CLEAN & ~2);
    expect(bench.run().vector).toBe(14);
    expect(bench.entry(D + 0x1000) & (A | DIRTY)).toBe(0);
  });

  it('D is set again after it was cleared and flushed, and not before', () => {
    const bench = new Bench(form).code(
      hex(
        '89 03', // mov [rbx], eax
        '48 83 27 9f', // and qword ptr [rdi], ~0x60
        '89 03', // mov [rbx], eax
        '4c 8b 07', // mov r8, [rdi]
        '0f 01 3b', // invlpg [rbx]
        '8b 0b', // mov ecx, [rbx]
        '4c 8b 0f', // mov r9, [rdi]
        '89 03', // mov [rbx], eax
        '4c 8b 17', // mov r10, [rdi]
        'f4', // hlt
      ),
    );
    bench.set({ rbx: D, rdi: AT.PT + (D >> 12) * 8 });
    bench.run();
    expect(['r8', 'r9', 'r10'].map((r) => Number(bench.get(r as 'r8')) & (A | DIRTY))).toEqual([0, A, A | DIRTY]);
  });
});

inEveryForm('a translation', (form) => {
  // Two frames with different contents; the entry moves from one to the other behind the TLB's back.
  const world = (code: number[]) => {
    const bench = new Bench(form).code(code).set({ rbx: D, rdi: AT.PT + (D >> 12) * 8, rsi: (D + 0x1000) | OPEN });
    bench.ram.setUint32(D, 0x11, true);
    bench.ram.setUint32(D + 0x1000, 0x22, true);
    return bench;
  };
  it.each([
    ['stays without a flush', hex('90' /* nop */), 0x11n],
    ['goes by INVLPG', hex('0f 01 bb 23 01 00 00' /* invlpg [rbx+0x123] */), 0x22n],
    ['stays by INVLPG of another page', hex('0f 01 bb 00 10 00 00' /* invlpg [rbx+0x1000] */), 0x11n],
    [
      'goes by MOV CR3',
      hex(
        '0f 20 da', // mov rdx, cr3
        '0f 22 da', // mov cr3, rdx
      ),
      0x22n,
    ],
    [
      'goes when CR4.PGE changes',
      hex(
        '0f 20 e2', // mov rdx, cr4
        '48 81 f2 80 00 00 00', // xor rdx, 0x80
        '0f 22 e2', // mov cr4, rdx
      ),
      0x22n,
    ],
    [
      'goes when CR0.WP changes',
      hex(
        '0f 20 c2', // mov rdx, cr0
        '48 81 f2 00 00 01 00', // xor rdx, 0x10000
        '0f 22 c2', // mov cr0, rdx
      ),
      0x22n,
    ],
    [
      'goes when EFER.NXE changes',
      hex(
        'b9 80 00 00 c0', // mov ecx, 0xc0000080
        '0f 32', // rdmsr
        '35 00 08 00 00', // xor eax, 0x800
        '0f 30', // wrmsr
      ),
      0x22n,
    ],
    [
      'stays by a write of the same CR0',
      hex(
        '0f 20 c2', // mov rdx, cr0
        '0f 22 c2', // mov cr0, rdx
      ),
      0x11n,
    ],
    ['stays by CLTS', hex('0f 06' /* clts */), 0x11n],
    [
      'goes by MOV DR7',
      hex(
        '0f 21 fa', // mov rdx, dr7
        '0f 23 fa', // mov dr7, rdx
      ),
      0x22n,
    ],
  ])('%s', (_name, flush, expected) => {
    const bench = world([
      ...hex(
        '8b 03', // mov eax, [rbx]
        '48 89 37', // mov [rdi], rsi
      ),
      ...flush,
      ...hex(
        '8b 03', // mov eax, [rbx]
        'f4', // hlt
      ),
    ]);
    bench.run();
    expect(bench.get('rax')).toBe(expected);
  });

  const PGE = hex(
    '0f 20 e2', // mov rdx, cr4
    '48 81 ca 80 00 00 00', // or rdx, 0x80
    '0f 22 e2', // mov cr4, rdx
  );
  const LOAD_CR3 = hex(
    '0f 20 da', // mov rdx, cr3
    '0f 22 da', // mov cr3, rdx
  );
  it.each([
    ['stays by MOV CR3', PGE, LOAD_CR3, 0x11n],
    ['goes by MOV CR3 while CR4.PGE is clear', [], LOAD_CR3, 0x22n],
    ['goes by INVLPG', PGE, hex('0f 01 3b' /* invlpg [rbx] */), 0x22n],
    [
      'goes when CR4.PGE changes',
      PGE,
      hex(
        '0f 20 e2', // mov rdx, cr4
        '48 81 f2 80 00 00 00', // xor rdx, 0x80
        '0f 22 e2', // mov cr4, rdx
      ),
      0x22n,
    ],
    ['stays by many pages and MOV CR3', PGE, manyPages(LOAD_CR3), 0x11n],
    [
      'goes by many pages and a change of CR0.WP',
      PGE,
      manyPages(
        hex(
          '0f 20 c2', // mov rdx, cr0
          '48 81 f2 00 00 01 00', // xor rdx, 0x10000
          '0f 22 c2', // mov cr0, rdx
        ),
      ),
      0x22n,
    ],
  ])('of a global page %s', (_name, before, flush, expected) => {
    const bench = world([
      ...before,
      ...hex(
        '8b 03', // mov eax, [rbx]
        '48 89 37', // mov [rdi], rsi
      ),
      ...flush,
      ...hex(
        '8b 03', // mov eax, [rbx]
        'f4', // hlt
      ),
    ]);
    bench.map(D, D, OPEN | 0x100);
    bench.run();
    expect(bench.get('rax')).toBe(expected);
  });

  it('of a page that is not global goes by MOV CR3 beside global ones', () => {
    const bench = world([
      ...PGE,
      ...hex('8b 03' /* mov eax, [rbx] */, '48 89 37' /* mov [rdi], rsi */),
      ...LOAD_CR3,
      ...hex('8b 03', 'f4'),
    ]);
    bench.map(D + 0x2000, D + 0x2000, OPEN | 0x100);
    bench.run();
    expect(bench.get('rax')).toBe(0x22n);
  });

  it('of a store stays as long as that of a load', () => {
    const bench = world(
      hex(
        '89 03', // mov [rbx], eax
        '48 89 37', // mov [rdi], rsi
        'c7 43 08 07 00 00 00', // mov dword ptr [rbx+8], 7
        '0f 01 3b', // invlpg [rbx]
        'c7 43 10 09 00 00 00', // mov dword ptr [rbx+16], 9
        'f4', // hlt
      ),
    );
    bench.run();
    expect([8, 0x1008, 16, 0x1010].map((at) => bench.ram.getUint32(D + at, true))).toEqual([7, 0, 0, 9]);
  });

  it('to code stays, too, and goes by INVLPG', () => {
    const bench = new Bench(form).code(
      hex(
        'ff d3', // call rbx
        '48 89 37', // mov [rdi], rsi
        'ff d3', // call rbx
        '0f 01 3b', // invlpg [rbx]
        'ff d3', // call rbx
        'f4', // hlt
      ),
    );
    const at = D + 0x3000; // another slot of the fetch TLB than the caller's
    bench.set({ rbx: at, rdi: AT.PT + (at >> 12) * 8, rsi: (D + 0x1000) | OPEN });
    bench
      .put(
        at,
        hex(
          '83 c0 01', // add eax, 1
          'c3', // ret
        ),
      )
      .put(
        D + 0x1000,
        hex(
          '05 00 01 00 00', // add eax, 0x100
          'c3', // ret
        ),
      );
    bench.run();
    expect(bench.get('rax')).toBe(0x102n);
  });

  it('is made by nothing that was refused: a page that comes needs no flush', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'f4', // hlt
        ),
      )
      .set({ rbx: D })
      .map(D, D, 0);
    bench.handler(
      14,
      hex(
        '48 83 0c 25 00 50 00 00 67', // or qword ptr [0x5000], 0x67
        '48 83 c4 08', // add rsp, 8
        '48 cf', // iretq
      ),
    );
    bench.ram.setUint32(D, 0x33, true);
    bench.run();
    expect(bench.get('rax')).toBe(0x33n);
  });

  it('of the kernel is none of the user', () => {
    const bench = new Bench(form).code(
      hex(
        '8b 03', // mov eax, [rbx]
        '89 03', // mov [rbx], eax
        '6a 23', // push 0x23
        '68 00 00 06 00', // push 0x60000
        '6a 02', // push 2
        '6a 2b', // push 0x2b
        '68 00 01 10 00', // push 0x100100
        '48 cf', // iretq
      ),
    );
    bench
      .put(
        AT.CODE + 0x100,
        hex(
          '90', // nop
          '8b 03', // mov eax, [rbx]
          'f4', // hlt
        ),
      )
      .map(D, D, OPEN & ~4)
      .set({ rbx: D });
    expect(bench.run()).toMatchObject({ vector: 14, errorCode: 5, cr2: BigInt(D), rip: BigInt(AT.CODE + 0x101) });
    const store = new Bench(form).code(
      hex(
        '89 03', // mov [rbx], eax
        '6a 23', // push 0x23
        '68 00 00 06 00', // push 0x60000
        '6a 02', // push 2
        '6a 2b', // push 0x2b
        '68 00 01 10 00', // push 0x100100
        '48 cf', // iretq
      ),
    );
    store
      .put(
        AT.CODE + 0x100,
        hex(
          '8b 03', // mov eax, [rbx]
          '89 03', // mov [rbx], eax
          'f4', // hlt
        ),
      )
      .map(D, D, OPEN & ~2)
      .set({ rbx: D });
    store.cpu.setState({ cr0: 0x8000_0033n });
    expect(store.run()).toMatchObject({ vector: 14, errorCode: 7, cr2: BigInt(D), rip: BigInt(AT.CODE + 0x102) });
  });

  it('with write rights by CR0.WP clear ends with WP', () => {
    const bench = new Bench(form).code(
      hex(
        '89 03', // mov [rbx], eax
        '0f 20 c2', // mov rdx, cr0
        '48 81 ca 00 00 01 00', // or rdx, 0x10000
        '0f 22 c2', // mov cr0, rdx
        '89 03', // mov [rbx], eax
        'f4', // hlt
      ),
    );
    bench
      .map(D, D, OPEN & ~2)
      .set({ rbx: D })
      .cpu.setState({ cr0: 0x8000_0033n });
    expect(bench.run()).toMatchObject({ vector: 14, errorCode: 3, count: 4 });
  });

  it('of a page with NX counts once NXE is on, and reserved while it is off', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'ff e3', // jmp rbx
        ),
      )
      .set({ rbx: D })
      .map(D, D, OPEN, true)
      .put(D, [0xf4]);
    expect(bench.run()).toMatchObject({ vector: 14, errorCode: 0x11, count: 2, rip: BigInt(D) });
    const off = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'f4', // hlt
        ),
      )
      .set({ rbx: D })
      .map(D, D, OPEN, true);
    off.cpu.setState({ efer: 0x501n });
    expect(off.run()).toMatchObject({ vector: 14, errorCode: 9, count: 0 });
  });

  it('survives a thousand others in other slots, and gives way to its neighbour in the same slot', () => {
    // 4 MiB apart share a slot of 1024 pages: not reachable with this RAM by frames, so by a second mapping of them.
    const bench = world(
      hex(
        '8b 03', // mov eax, [rbx]
        '48 89 37', // mov [rdi], rsi
        '8b 8b 00 00 40 00', // mov ecx, [rbx+0x400000]
        '8b 03', // mov eax, [rbx]
        'f4', // hlt
      ),
    );
    bench.ram.setBigUint64(0x3010, BigInt(AT.PT) | 0x67n, true); // 4 MiB up: the first table again
    bench.ram.setBigUint64(0x3018, BigInt(AT.PT + 0x1000) | 0x67n, true);
    bench.run();
    expect(bench.get('rax')).toBe(0x22n);
  });
});
