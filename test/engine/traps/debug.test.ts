/** Single-step, int3, and the breakpoints of DR0-3: which instruction they trap behind or stop before, and what DR6 and
 * the pushed RF say. */
import { expect, it } from 'vitest';
import { AT, Bench, type Form, hex, inEveryForm, SELECTOR } from './bench.ts';

const C = AT.CODE;
const D = AT.DATA;
const TF = 0x100;
const RF = 0x1_0000;
const BS = 0x4000;

/** Lets the guest run and notes where each #DB came from: the offset of RIP, DR6 without its ones, and RF. */
function traps(bench: Bench, limit = 40): [rip: number, dr6: number, rf: boolean][] {
  const seen: [number, number, boolean][] = [];
  bench.handler(
    1,
    hex(
      'e6 99', // out 0x99, al
      '48 cf', // iretq
    ),
  );
  bench.host.onPort = (port) => {
    if (port !== 0x99) return;
    const rsp = bench.get('rsp');
    const word = (n: number) => bench.cpu.readLinear(rsp + BigInt(8 * n), 8, true);
    const dr6 = Number(bench.cpu.state.dr(6)) & 0xe00f;
    seen.push([Number(word(0)) - C, dr6, (Number(word(2)) & RF) !== 0]);
    bench.cpu.state.setDr(6, 0xffff_0ff0n);
    if (dr6 & 0xf && (Number(word(2)) & TF) === 0) bench.cpu.writeLinear(rsp + 16n, 8, word(2) | BigInt(RF), true);
  };
  const until = bench.cpu.instructions + limit * 10;
  while (bench.cpu.instructions < until && seen.length < limit) {
    const exit = bench.cpu.run(until);
    const last = seen.at(-1);
    const overHlt = last !== undefined && bench.bytes[C + last[0] - 1] === 0xf4; // which a trap ends
    if (overHlt || (exit.kind !== 'event' && exit.kind !== 'budget')) break;
  }
  return seen;
}
const rips = (bench: Bench) => traps(bench).map(([rip]) => rip);

inEveryForm('single-step', (form: Form) => {
  const stepped = (code: number[], registers = {}) =>
    new Bench(form).code(code).set({ rflags: 2 | TF, rbx: D, ...registers });

  it('traps behind every instruction, with BS and without RF', () => {
    expect(
      traps(
        stepped(
          hex(
            '90', // nop
            'ff c0', // inc eax
            'eb 01', // jmp 1f
            '90', // nop
            '90', // 1: nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([
      [1, BS, false],
      [3, BS, false],
      [6, BS, false],
      [7, BS, false],
      [8, BS, false],
    ]);
  });
  it('begins behind the instruction after POPF, and ends behind the one that clears TF', () => {
    expect(
      rips(
        new Bench(form).code(
          hex(
            '68 02 01 00 00', // push 0x102
            '9d', // popfq
            '90', // nop
            '90', // nop
            '6a 02', // push 2
            '9d', // popfq
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([7, 8, 10, 11]);
  });
  it('begins behind the first instruction that IRET returns to', () => {
    const bench = new Bench(form).code(
      hex(
        '6a 18', // push 0x18
        '68 00 00 08 00', // push 0x80000
        '68 02 01 00 00', // push 0x102
        '6a 10', // push 0x10
        '68 40 00 10 00', // push 0x100040
        '48 cf', // iretq
      ),
    );
    bench.put(
      C + 0x40,
      hex(
        '90', // nop
        '90', // nop
        'f4', // hlt
      ),
    );
    expect(rips(bench)).toEqual([0x41, 0x42, 0x43]);
  });
  it('traps behind each iteration of REP', () => {
    const seen = traps(
      stepped(
        hex(
          'f3 aa', // rep stosb
          '90', // nop
          'f4', // hlt
        ),
        { rcx: 3, rdi: D },
      ),
    );
    expect(seen.map(([rip]) => rip)).toEqual([0, 0, 2, 3, 4]);
    expect(seen.map(([, , rf]) => rf)).toEqual([true, true, false, false, false]);
  });
  it('does not step into INT, and goes on behind it', () => {
    const bench = stepped(
      hex(
        'cd 81', // int 0x81
        '90', // nop
        'f4', // hlt
      ),
    ).handler(
      0x81,
      hex(
        '90', // nop
        '90', // nop
        '48 cf', // iretq
      ),
    );
    expect(rips(bench)).toEqual([3, 4]); // behind the instruction that IRET went to, and behind HLT
  });
  it('does not step into the handler of a fault', () => {
    const bench = stepped(
      hex(
        '90', // nop
        '0f 0b', // ud2
        '90', // nop
        'f4', // hlt
      ),
    ).handler(
      6,
      hex(
        '48 83 04 24 02', // add qword ptr [rsp], 2
        '48 cf', // iretq
      ),
    );
    expect(rips(bench)).toEqual([1, 4, 5]);
  });
  it('waits for the instruction behind MOV SS', () => {
    const bench = stepped(
      hex(
        '90', // nop
        '8e d0', // mov ss, eax
        '90', // nop
        '90', // nop
        'f4', // hlt
      ),
      { rax: SELECTOR.data },
    );
    expect(rips(bench)).toEqual([1, 4, 5, 6]);
  });
  it('does not wait behind STI', () => {
    expect(
      rips(
        stepped(
          hex(
            'fb', // sti
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([1, 2, 3]);
  });
  it('wakes HLT', () => {
    const bench = stepped(
      hex(
        'f4', // hlt
        '90', // nop
        'f4', // hlt
      ),
    );
    expect(rips(bench)).toEqual([1]);
  });
  it('of SYSCALL is judged by the flags behind it', () => {
    const into = (mask: bigint) => {
      const bench = stepped(hex('0f 05' /* syscall */));
      bench.cpu.setState({ msrs: { STAR: 0x10n << 32n, LSTAR: BigInt(C + 0x40), SFMASK: mask } });
      bench.put(
        C + 0x40,
        hex(
          '90', // nop
          'f4', // hlt
        ),
      );
      return rips(bench);
    };
    expect(into(0x100n)).toEqual([]);
    expect(into(0n)).toEqual([0x40, 0x41, 0x42]);
  });
  it('of SYSRET traps at once when the program was stepped', () => {
    const bench = new Bench(form).code(hex('48 0f 07' /* sysretq */)).set({ rcx: C + 0x40, r11: 0x102 });
    bench.cpu.setState({ msrs: { STAR: 0x1bn << 48n } });
    bench.put(
      C + 0x40,
      hex(
        '90', // nop
        '90', // nop
        'eb fe', // jmp .
      ),
    );
    expect(traps(bench, 3).map(([rip]) => rip)).toEqual([0x40, 0x41, 0x42]);
  });
  it('sees the exact flags of an instruction whose flags the next one overwrites', () => {
    const bench = stepped(
      hex(
        '39 c8', // cmp eax, ecx
        '31 d2', // xor edx, edx
        'f4', // hlt
      ),
      { rcx: 1 },
    );
    bench.handler(
      1,
      hex(
        '4c 8b 44 24 10', // mov r8, [rsp+16]
        'f4', // hlt
      ),
    );
    bench.steps(10);
    expect(Number(bench.get('r8')) & 0x8d5).toBe(0x95);
  });
});

inEveryForm('int3', (form) => {
  it('is a trap at its end, of one byte, for level 3 too', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'cc', // int3
          '90', // nop
        ),
      )
      .asUser();
    expect(bench.run()).toMatchObject({ vector: 3, rip: BigInt(C + 2), count: 2, errorCode: undefined });
    const two = new Bench(form).code(hex('cd 03' /* .byte 0xcd, 3 */));
    expect(two.run()).toMatchObject({ vector: 3, rip: BigInt(C + 2), count: 1 });
  });
  it('by INT n needs the privilege of its gate', () => {
    const bench = new Bench(form).code(hex('cd 20' /* int 0x20 */)).asUser();
    expect(bench.run()).toMatchObject({ vector: 13, errorCode: 0x20 * 8 + 2, rip: BigInt(C), count: 0 });
  });
});

inEveryForm('a data breakpoint', (form) => {
  const at = 2; // the accessing instruction stands behind two nops
  const access = (code: number[], type: 'write' | 'access', address: number, length: number, registers = {}) => {
    const bench = new Bench(form)
      .code([0x90, 0x90, ...code, 0x90, 0xf4])
      .set({ rbx: D, rsi: D, rdi: D + 8, rcx: 2, ...registers });
    bench.breakpoint(1, address, type, length);
    return traps(bench).map(([rip, dr6]) => [rip - code.length - at, dr6]);
  };
  const HIT = [[0, 2]];
  it.each([
    ['a store of a byte', hex('88 03' /* mov [rbx], al */), 'write', D, 1, HIT],
    ['a load does not count as a write', hex('8a 03' /* mov al, [rbx] */), 'write', D, 1, []],
    ['but as an access', hex('8a 03' /* mov al, [rbx] */), 'access', D, 1, HIT],
    ['a store beside it', hex('88 43 01' /* mov [rbx+1], al */), 'write', D, 1, []],
    ['a store that covers it', hex('48 89 03' /* mov [rbx], rax */), 'write', D + 7, 1, HIT],
    ['two bytes', hex('88 43 01' /* mov [rbx+1], al */), 'write', D, 2, HIT],
    ['four bytes', hex('88 43 03' /* mov [rbx+3], al */), 'write', D, 4, HIT],
    ['eight bytes', hex('88 43 07' /* mov [rbx+7], al */), 'write', D, 8, HIT],
    ['eight bytes and one more', hex('88 43 08' /* mov [rbx+8], al */), 'write', D, 8, []],
    [
      'a store across pages, its second half',
      hex('89 83 fe 0f 00 00' /* mov [rbx+0xffe], eax */),
      'write',
      D + 0x1000,
      2,
      HIT,
    ],
    [
      'a store across pages, its first half',
      hex('89 83 fe 0f 00 00' /* mov [rbx+0xffe], eax */),
      'write',
      D + 0xffe,
      1,
      HIT,
    ],
    ['read-modify-write', hex('ff 03' /* inc dword ptr [rbx] */), 'write', D, 4, HIT],
    ['cmp', hex('83 3b 01' /* cmp dword ptr [rbx], 1 */), 'access', D, 4, HIT],
    ['a push', hex('50' /* push rax */), 'write', AT.STACK - 8, 8, HIT],
    ['a pop', hex('58' /* pop rax */), 'access', AT.STACK, 8, HIT],
    ['a call', hex('e8 00 00 00 00' /* call 1f */), 'write', AT.STACK - 8, 8, HIT],
    ['movs reads', hex('a4' /* movsb */), 'access', D, 1, HIT],
    ['movs writes', hex('a4' /* movsb */), 'write', D + 8, 1, HIT],
    ['a helper', hex('0f 01 03' /* sgdt [rbx] */), 'write', D + 4, 1, HIT],
    ['lea reads nothing', hex('48 8d 03' /* lea rax, [rbx] */), 'access', D, 8, []],
  ] as const)('traps behind the instruction: %s', (_name, code, type, address, length, expected) => {
    expect(access([...code], type, address, length)).toEqual(expected);
  });
  it('traps behind the iteration of REP that touched it', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'f3 aa', // rep stosb
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rcx: 8, rdi: D })
      .breakpoint(0, D + 4, 'write', 1);
    expect(traps(bench)).toEqual([[0, 1, true]]);
    expect(bench.get('rcx')).toBe(0n);
  });
  it('waits behind MOV SS for the next instruction', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8e 13', // mov ss, [rbx]
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rbx: D })
      .breakpoint(0, D, 'access', 2);
    bench.ram.setUint16(D, SELECTOR.data, true);
    expect(traps(bench)).toEqual([[3, 1, false]]);
  });
  it('and a single step come as one trap', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '88 03', // mov [rbx], al
          'f4', // hlt
        ),
      )
      .set({ rbx: D, rflags: 2 | TF })
      .breakpoint(2, D, 'write', 1);
    expect(traps(bench)[0]).toEqual([2, BS | 4, false]);
  });
  it('of an instruction that faults does not count', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'f4', // hlt
        ),
      )
      .set({ rbx: D + 0xffe })
      .breakpoint(0, D + 0xffe, 'access', 2);
    bench.map(D + 0x1000, 0, 0);
    expect(bench.run().vector).toBe(14);
  });
  it('can be set by the guest in the middle of its code, and taken away', () => {
    const bench = new Bench(form).code(
      hex(
        '88 03', // mov [rbx], al
        '0f 23 c3', // mov dr0, rbx
        'b8 02 00 01 00', // mov eax, 0x10002
        '0f 23 f8', // mov dr7, rax
        '88 03', // mov [rbx], al
        '31 c0', // xor eax, eax
        '0f 23 f8', // mov dr7, rax
        '88 03', // mov [rbx], al
        'f4', // hlt
      ),
    );
    bench.set({ rbx: D });
    expect(rips(bench)).toEqual([15]);
  });
});

inEveryForm('an instruction breakpoint', (form) => {
  it('stops before its instruction, which has not run, and RF lets it pass', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'ff c0', // inc eax
          '90', // nop
          'f4', // hlt
        ),
      )
      .breakpoint(0, C + 1, 'execute');
    expect(traps(bench)).toEqual([[1, 1, false]]);
    expect(bench.get('rax') & 0xffn).toBe(1n);
  });
  it('fires again each time around', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'b9 03 00 00 00', // mov ecx, 3
          'ff c9', // 1: dec ecx
          '75 fc', // jnz 1b
          'f4', // hlt
        ),
      )
      .breakpoint(3, C + 5, 'execute');
    expect(traps(bench)).toEqual([
      [5, 8, false],
      [5, 8, false],
      [5, 8, false],
    ]);
  });
  it('fires on the first byte only, and not on a prefix skipped', () => {
    expect(
      rips(
        new Bench(form)
          .code(
            hex(
              'b8 01 00 00 00', // mov eax, 1
              '90', // nop
              'f4', // hlt
            ),
          )
          .breakpoint(0, C + 1, 'execute'),
      ),
    ).toEqual([]);
  });
  it('on REP fires once', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'f3 aa', // rep stosb
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rcx: 5, rdi: D })
      .breakpoint(0, C + 1, 'execute');
    expect(rips(bench)).toEqual([1]);
  });
  it('comes before a fault of the same instruction, whose frame carries RF', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          '8b 03', // mov eax, [rbx]
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rbx: D })
      .breakpoint(0, C + 1, 'execute')
      .map(D, D, 0);
    bench.handler(
      14,
      hex(
        '48 83 0c 25 00 50 00 00 67', // or qword ptr [0x5000], 0x67
        '48 83 c4 08', // add rsp, 8
        '48 cf', // iretq
      ),
    );
    expect(rips(bench)).toEqual([1]);
  });
  it('is not seen behind MOV SS', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '8e d0', // mov ss, eax
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rax: SELECTOR.data })
      .breakpoint(0, C + 2, 'execute');
    expect(rips(bench)).toEqual([]);
  });
  it('touching a debug register under GD stops before, and clears GD', () => {
    const bench = new Bench(form).code(
      hex(
        '90', // nop
        '0f 21 c0', // mov rax, dr0
        'f4', // hlt
      ),
    );
    const dr = bench.cpu.vcpuState().dr;
    bench.cpu.setState({ dr: [dr[0], dr[1], dr[2], dr[3], dr[4], 0x2400n] });
    expect(bench.run()).toMatchObject({ vector: 1, rip: BigInt(C + 1), count: 1 });
    expect(bench.cpu.state.dr(7)).toBe(0x400n);
    expect(bench.cpu.state.dr(6) & 0xe00fn).toBe(0x2000n);
  });
});
