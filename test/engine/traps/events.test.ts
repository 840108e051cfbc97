/** Counts and events: every instruction counts once, faults and deliveries nothing, and what the guest reads in the
 * middle of a block is exact; interrupts come where they may, at the same count in every form. */
import { expect, it } from 'vitest';
import { AT, Bench, hex, inEveryForm, RAM_SIZE, SELECTOR } from './bench.ts';

const IF = 0x200;

inEveryForm('the instruction count', (form) => {
  it('is what RDTSC reads in the middle of a block', () => {
    const bench = new Bench(form).code(
      hex(
        '90', // nop
        '0f 31', // rdtsc
        '89 c3', // mov ebx, eax
        '90', // nop
        '90', // nop
        '0f 31', // rdtsc
        '29 d8', // sub eax, ebx
        'f4', // hlt
      ),
    );
    bench.cpu.idleNs = 1000;
    const before = bench.cpu.instructions;
    expect(bench.run().count).toBe(7);
    expect(bench.get('rbx')).toBe(BigInt(before + 1 + 1000));
    expect(bench.get('rax')).toBe(4n);
  });

  it('is exact at ports and at device memory, wherever in a block', () => {
    const bench = new Bench(form).code(
      hex(
        '90', // nop
        'e6 80', // out 0x80, al
        '90', // nop
        '90', // nop
        '89 03', // mov [rbx], eax
        '90', // nop
        '8b 43 04', // mov eax, [rbx+4]
        '83 03 01', // add dword ptr [rbx], 1
        '90', // nop
        'e4 80', // in al, 0x80
        'ff 33', // push qword ptr [rbx]
        'f3 a4', // rep movsb
        '83 3b 05', // cmp dword ptr [rbx], 5
        '75 01', // jne 1f
        '90', // nop
        'f4', // 1: hlt
      ),
    );
    bench.map(0x30_0000, RAM_SIZE + 0x1000).set({ rbx: 0x30_0000, rsi: AT.DATA, rdi: 0x30_0010, rcx: 3 });
    const seen: number[] = [];
    bench.host.onPort = () => seen.push(bench.count);
    bench.host.onMmio = () => seen.push(bench.count);
    bench.run();
    expect(seen).toEqual([1, 4, 6, 7, 7, 9, 10, 10, 11, 12, 13, 14]);
    expect(bench.host.log.filter((line) => line.startsWith('write'))).toHaveLength(5);
  });

  it('leaves a faulting instruction out, and costs delivery nothing', () => {
    const bench = new Bench(form).code(
      hex(
        '90', // nop
        '0f 0b', // ud2
        '90', // nop
        'f4', // hlt
      ),
    );
    bench.handler(
      6,
      hex(
        '48 83 04 24 02', // add qword ptr [rsp], 2
        '48 cf', // iretq
      ),
    );
    expect(bench.run()).toMatchObject({ vector: undefined, count: 4 });
  });

  it('counts HLT, INT and IRET as one each', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'cd 81', // int 0x81
          '90', // nop
          'f4', // hlt
        ),
      )
      .handler(0x81, hex('48 cf' /* iretq */));
    bench.run();
    expect(bench.count).toBe(4);
  });

  it('stops exactly where it is told, in straight code, loops and calls', () => {
    const code = hex(
      'b9 28 00 00 00', // mov ecx, 40
      'e8 08 00 00 00', // 1: call 2f
      '83 c0 03', // add eax, 3
      'ff c9', // dec ecx
      '75 f4', // jnz 1b
      'f4', // hlt
      'ff c2', // 2: inc edx
      'ff c6', // inc esi
      'c3', // ret
    );
    const whole = new Bench(form).code(code);
    const total = whole.run().count;
    expect(total).toBe(1 + 40 * 7);
    for (const at of [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 100, 279, 280, 281]) {
      const bench = new Bench(form).code(code);
      expect(bench.steps(at)).toEqual({ kind: 'budget' });
      expect(bench.count).toBe(at);
      const [rip, eax] = [bench.cpu.state.rip, bench.get('rax')];
      const plain = new Bench({ name: 'one at a time', plain: true }).code(code);
      plain.steps(at);
      expect([rip, eax]).toEqual([plain.cpu.state.rip, plain.get('rax')]);
    }
  });
});

inEveryForm('an interrupt', (form) => {
  const at = (bench: Bench, vector = 0x40) => {
    const stop = bench.run();
    expect(stop.vector).toBe(vector);
    return [stop.count, Number(stop.rip) - AT.CODE];
  };
  const pending = (code: number[], rflags = 2) => {
    const bench = new Bench(form).code(code).set({ rflags, rbx: AT.DATA });
    bench.host.pending = 0x40;
    return bench;
  };

  it('comes before the first instruction when it may', () => {
    expect(
      at(
        pending(
          hex(
            '90', // nop
            'f4', // hlt
          ),
          2 | IF,
        ),
      ),
    ).toEqual([0, 0]);
  });
  it('comes right behind the port access that raised it, even in a warm loop where no event moved', () => {
    for (const [access, length] of [
      ['e6 80', 2], // out 0x80, al
      ['ed', 1], // in eax, dx
    ] as const) {
      const bench = new Bench(form)
        .code(
          hex(
            '90', // 1: nop
            access,
            '90', // nop
            'ff c9', // dec ecx
            `75 ${(0x100 - 6 - length).toString(16)}`, // jnz 1b
            'f4', // hlt
          ),
        )
        .set({ rflags: 2 | IF, rcx: 5 });
      let accesses = 0;
      bench.host.nothingMoved = () => true;
      bench.host.onPort = () => {
        if (++accesses === 4) bench.host.pending = 0x40;
      };
      expect(at(bench)).toEqual([3 * 5 + 2, 1 + length]);
    }
  });
  it('waits for the instruction behind STI', () => {
    expect(
      at(
        pending(
          hex(
            '90', // nop
            'fb', // sti
            '90', // nop
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([3, 3]);
  });
  it('waits for only one instruction when STI comes twice', () => {
    expect(
      at(
        pending(
          hex(
            'fb', // sti
            'fb', // sti
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([2, 2]);
  });
  it('never comes between STI and CLI', () => {
    expect(
      pending(
        hex(
          'fb', // sti
          'fa', // cli
          '90', // nop
          'f4', // hlt
        ),
      ).run(),
    ).toMatchObject({ vector: undefined, count: 3 });
  });
  it('comes between STI and what follows HLT', () => {
    expect(
      at(
        pending(
          hex(
            'fb', // sti
            'f4', // hlt
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([2, 2]);
  });
  it('waits for the instruction behind MOV SS and POP SS, not behind LSS', () => {
    const shadow = (code: number[]) => {
      const bench = new Bench(form, 32).code(code).set({ rflags: 2, rax: SELECTOR.data, rbx: AT.DATA });
      bench.ram.setUint32(AT.DATA, AT.STACK, true);
      bench.ram.setUint16(AT.DATA + 4, SELECTOR.data, true);
      bench.ram.setUint32(AT.STACK - 4, SELECTOR.data, true);
      bench.steps(2);
      bench.host.pending = 0x40;
      return at(bench);
    };
    expect(
      shadow(
        hex(
          'fb', // sti
          '90', // nop
          '8e d0', // mov ss, eax
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      ),
    ).toEqual([2, 2]);
    expect(
      shadow(
        hex(
          '90', // nop
          'fb', // sti
          '8e d0', // mov ss, eax
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      ),
    ).toEqual([3, 4]);
    expect(
      shadow(
        hex(
          '50', // push eax
          'fb', // sti
          '17', // pop ss
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      ),
    ).toEqual([3, 3]);
    expect(
      shadow(
        hex(
          '68 02 02 00 00', // push 0x202
          '9d', // popfd
          '0f b2 23', // lss esp, [ebx]
          '90', // nop
          'f4', // hlt
        ),
      ),
    ).toEqual([2, 6]);
  });
  it('comes right behind MOV SS only after the next instruction', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '68 02 02 00 00', // push 0x202
          '9d', // popfq
          '8e d0', // mov ss, eax
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rax: SELECTOR.data });
    bench.steps(2);
    expect(bench.steps(1).kind).toBe('budget');
    bench.host.pending = 0x40;
    expect(at(bench)).toEqual([4, 9]);
  });
  it('is not held off for ever by MOV SS after MOV SS', () => {
    const bench = new Bench(form).code(
      hex(
        '8e d0', // 1: mov ss, eax
        'eb 00', // jmp 2f
        '8e d0', // 2: mov ss, eax
        '8e d0', // mov ss, eax
        '8e d0', // mov ss, eax
        'eb f8', // jmp 2b
      ),
    );
    bench.set({ rax: SELECTOR.data, rflags: 0x202 }).steps(2);
    bench.host.pending = 0x40;
    expect(bench.run().count).toBeLessThanOrEqual(4);
  });
  it('comes at the exact count when POPF or IRET enable it', () => {
    expect(
      at(
        pending(
          hex(
            '68 02 02 00 00', // push 0x202
            '9d', // popfq
            '90', // nop
            '90', // nop
            'f4', // hlt
          ),
        ),
      ),
    ).toEqual([2, 6]);
    const bench = pending(
      hex(
        '8c d0', // mov eax, ss
        '50', // push rax
        '68 00 00 08 00', // push 0x80000
        '68 02 02 00 00', // push 0x202
        '6a 10', // push 0x10
        '68 00 01 10 00', // push 0x100100
        '48 cf', // iretq
      ),
    );
    bench.put(
      AT.CODE + 0x100,
      hex(
        '90', // nop
        'f4', // hlt
      ),
    );
    expect(at(bench)).toEqual([7, 0x100]);
  });
  it('comes right behind the OUT or the device access that asked for it', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'e6 80', // out 0x80, al
          '90', // nop
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rflags: 0x202 });
    bench.host.onPort = () => {
      bench.host.pending = 0x40;
    };
    expect(at(bench)).toEqual([2, 3]);
    const device = new Bench(form).code(
      hex(
        '90', // nop
        '39 03', // cmp [rbx], eax
        '75 01', // jne 1f
        '90', // nop
        '90', // 1: nop
        '90', // nop
        'f4', // hlt
      ),
    );
    device.map(0x30_0000, RAM_SIZE).set({ rbx: 0x30_0000, rflags: 0x202 });
    device.host.onMmio = () => {
      device.host.pending = 0x40;
    };
    expect(at(device)).toEqual([2, 3]);
  });
  it('wakes HLT, once for each', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'f4', // hlt
          'ff c1', // inc ecx
          'f4', // hlt
          'ff c1', // inc ecx
          'f4', // hlt
        ),
      )
      .set({ rflags: 0x202 });
    bench.handler(0x40, hex('48 cf' /* iretq */));
    for (const rcx of [0n, 1n, 2n]) {
      expect(bench.steps(100)).toEqual({ kind: 'halt' });
      expect(bench.get('rcx')).toBe(rcx);
      bench.host.pending = 0x40;
    }
  });
  it('does not wake HLT with interrupts off', () => {
    const bench = new Bench(form).code(
      hex(
        'f4', // hlt
        'ff c1', // inc ecx
        'f4', // hlt
      ),
    );
    bench.host.pending = 0x40;
    expect(bench.steps(100)).toEqual({ kind: 'halt' });
    expect(bench.steps(100)).toEqual({ kind: 'halt' });
    expect([bench.get('rcx'), bench.count]).toEqual([0n, 1]);
  });
  it('comes in the middle of REP, with the counters where they are', () => {
    const bench = new Bench(form)
      .code(
        hex(
          'fc', // cld
          'f3 aa', // rep stosb
          'f4', // hlt
        ),
      )
      .set({ rcx: 100, rdi: AT.DATA, rflags: 0x202 });
    bench.steps(31);
    bench.host.pending = 0x40;
    bench.handler(
      0x40,
      hex(
        '49 89 c8', // mov r8, rcx
        '48 cf', // iretq
      ),
    );
    expect(bench.run()).toMatchObject({ vector: undefined, count: 103, rip: BigInt(AT.CODE + 4) });
    expect([bench.get('r8'), bench.get('rcx'), bench.get('rdi')]).toEqual([70n, 0n, BigInt(AT.DATA + 100)]);
  });
});

inEveryForm('a breakpoint from outside', (form) => {
  it('stops before its instruction, once each time, in loops and under budgets', () => {
    const bench = new Bench(form).code(
      hex(
        'b9 03 00 00 00', // mov ecx, 3
        '90', // 1: nop
        'ff c0', // inc eax
        'ff c9', // dec ecx
        '75 f9', // jnz 1b
        'f4', // hlt
      ),
    );
    const place = BigInt(AT.CODE + 6);
    bench.cpu.setBreakpoints([place]);
    for (const count of [2, 6, 10]) {
      const until = count === 6 ? 3 : 1000; // a budget that ends on the way
      let exit = bench.steps(until);
      if (exit.kind === 'budget') exit = bench.steps(1000);
      expect(exit).toEqual({ kind: 'breakpoint', at: place });
      expect(bench.count).toBe(count);
    }
    expect(bench.steps(100).kind).toBe('halt');
  });
  it('stops before a REP once, not before each iteration', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'f3 aa', // rep stosb
          'f4', // hlt
        ),
      )
      .set({ rcx: 50, rdi: AT.DATA });
    bench.cpu.setBreakpoints([BigInt(AT.CODE + 1)]);
    expect(bench.steps(100).kind).toBe('breakpoint');
    expect(bench.steps(100).kind).toBe('halt');
    expect(bench.count).toBe(52);
  });
  it('at the first instruction of a handler or in the middle of a block is seen', () => {
    const bench = new Bench(form).code(
      hex(
        '90', // nop
        '90', // nop
        '90', // nop
        '0f 0b', // ud2
      ),
    );
    bench.cpu.setBreakpoints([BigInt(AT.CODE + 2), BigInt(AT.HANDLERS + 16 * 6)]);
    expect(bench.steps(100)).toMatchObject({ kind: 'breakpoint', at: BigInt(AT.CODE + 2) });
    expect(bench.steps(100)).toMatchObject({ kind: 'breakpoint', at: BigInt(AT.HANDLERS + 16 * 6) });
    expect(bench.count).toBe(3);
  });
});
