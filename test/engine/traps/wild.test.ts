/** Guests gone wild: tables and code outside RAM, faults without end, nothing to wake a HLT; and what ends or mends a
 * fault in delivery. Everything ends in an exit, at the same count in every form. */
import { expect, it } from 'vitest';
import { SYSTEM_TYPE } from '../../../src/x86/constants.ts';
import { AT, Bench, hex, inEveryForm, OPEN, RAM_SIZE, SELECTOR } from './bench.ts';

const C = AT.CODE;
const D = AT.DATA;
const OUTSIDE = BigInt(RAM_SIZE);

inEveryForm('a wild walk', (form) => {
  it('with CR3 outside RAM reads all ones: a fault with RSVD, then #DF, then the end', () => {
    const bench = new Bench(form).code(
      hex(
        '48 b8 00 00 00 00 80 00 00 00', // mov rax, 0x8000000000
        '0f 22 d8', // mov cr3, rax
        '90', // nop
      ),
    );
    expect(bench.steps(100)).toEqual({ kind: 'triple-fault' });
    expect(bench.count).toBe(2);
    expect(bench.cpu.recentFaults.at(-1)).toMatchObject({ vector: 14, errorCode: 0x19 });
  });
  it.each([
    ['the page-table entry', () => AT.PT + (D >> 12) * 8, 0x50_0000, 0],
    ['the page directory', () => 0x3008, 0x50_0000, 9],
    ['a table at the top of the physical space', () => 0x3008, 0xff_ffff_f000, 9],
  ])('of a table outside RAM reads all ones: %s', (_name, at, frame, error) => {
    const bench = new Bench(form)
      .code(
        hex(
          '8b 03', // mov eax, [rbx]
          'f4', // hlt
        ),
      )
      .set({ rbx: D });
    bench.ram.setBigUint64(at(), BigInt(frame) | BigInt(OPEN), true);
    bench.host.portValue = 0;
    if (error === 0) {
      bench.run();
      expect(bench.get('rax')).toBe(0x11n); // the frame itself is a device's
      return;
    }
    expect(bench.run()).toMatchObject({ vector: 14, errorCode: error });
  });
  it('of a fetch outside RAM runs all ones, which is #UD', () => {
    const bench = new Bench(form).code(hex('ff e3' /* jmp rbx */)).set({ rbx: D }).map(D, RAM_SIZE);
    expect(bench.run()).toMatchObject({ vector: 6, rip: BigInt(D), count: 1 });
    expect(bench.host.log).toEqual([]);
    const flat = new Bench(form, 32).code(hex('ff e3' /* jmp ebx */)).set({ rbx: 0xfee0_0000 });
    expect(flat.run()).toMatchObject({ vector: 6, rip: 0xfee0_0000n, count: 1 });
  });
  it('over the edge of RAM runs on into all ones', () => {
    const bench = new Bench(form, 32)
      .code(hex('ff e3' /* jmp ebx */))
      .set({ rbx: RAM_SIZE - 2 })
      .put(RAM_SIZE - 2, [0x90, 0x0f]);
    expect(bench.run()).toMatchObject({ vector: 6, rip: OUTSIDE - 1n, count: 2 });
  });
  it('of a stack, an IDT, a GDT or a TSS outside RAM ends', () => {
    for (const change of [
      { idtr: { base: OUTSIDE, limit: 0xfff } },
      { gdtr: { base: OUTSIDE, limit: 0x7f } },
      { rsp: 0x8000_0000_0000n },
    ]) {
      const bench = new Bench(form).code(hex('0f 0b' /* ud2 */));
      bench.cpu.setState(change);
      expect(bench.steps(2000).kind).toMatch(/triple-fault|fault-loop|halt/);
    }
  });
  it('at the end of the address space wraps or faults', () => {
    const bench = new Bench(form, 32).code(hex('ff e3' /* jmp ebx */)).set({ rbx: 0xffff_ffff });
    expect(bench.steps(100).kind).toBe('budget'); // inc [eax], then the zeros at 0
    const canonical = new Bench(form).code(hex('ff e3' /* jmp rbx */)).set({ rbx: 0x7fff_ffff_ffffn });
    expect(canonical.run().vector).toBe(14);
    const hole = new Bench(form).code(hex('ff e3' /* jmp rbx */)).set({ rbx: 0x8000_0000_0000n });
    expect(hole.run()).toMatchObject({ vector: 13, errorCode: 0, rip: BigInt(C), count: 0 });
  });
});

inEveryForm('faults without end', (form) => {
  it('end the run after a thousand without one completed instruction', () => {
    const bench = new Bench(form).code(hex('0f 0b' /* ud2 */)).handler(6, hex('0f 0b' /* ud2 */));
    bench.gate(6, { ist: 1 });
    bench.put(AT.HANDLERS + 96, hex('0f 0b' /* ud2 */));
    expect(bench.steps(100_000)).toEqual({ kind: 'fault-loop' });
    expect(bench.count).toBe(0);
  });
  it('with progress in between go on to the limit', () => {
    const bench = new Bench(form).code(hex('0f 0b' /* ud2 */)).handler(
      6,
      hex(
        '90', // nop
        '48 cf', // iretq
      ),
    );
    expect(bench.steps(9000)).toEqual({ kind: 'budget' });
    expect(bench.count).toBe(9000);
  });
  it('of a page that never comes, with a handler that returns, too', () => {
    const bench = new Bench(form).code(hex('8b 03' /* mov eax, [rbx] */)).set({ rbx: D }).map(D, 0, 0).handler(
      14,
      hex(
        '48 83 c4 08', // add rsp, 8
        '48 cf', // iretq
      ),
    );
    expect(bench.steps(9001)).toEqual({ kind: 'budget' });
    expect(bench.count).toBe(9001);
  });
});

inEveryForm('HLT', (form) => {
  it('with nothing pending hands over to the machine, at its count', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          'f4', // hlt
        ),
      )
      .set({ rflags: 0x202 });
    expect(bench.cpu.run(bench.cpu.instructions + 100)).toEqual({ kind: 'halt' });
    expect([bench.count, bench.cpu.halted, bench.cpu.state.rip]).toEqual([2, true, BigInt(C + 2)]);
    expect(bench.cpu.run(bench.cpu.instructions + 100)).toEqual({ kind: 'halt' });
    expect(bench.count).toBe(2);
  });
  it('at level 3 is #GP', () => {
    expect(new Bench(form).code(hex('f4' /* hlt */)).asUser().run()).toMatchObject({
      vector: 13,
      errorCode: 0,
      count: 0,
    });
  });
});

inEveryForm('a fault in delivery', (form) => {
  it('of a contributory one by a contributory one is #DF with 0, and RIP as it was', () => {
    const bench = new Bench(form)
      .code(
        hex(
          '90', // nop
          '44 0f 22 c3', // mov cr8, rbx
        ),
      )
      .set({ rbx: 0x100 })
      .gate(13, { present: false });
    expect(bench.run()).toMatchObject({ vector: 8, errorCode: 0, rip: BigInt(C + 1), count: 1 });
  });
  it('of a page fault by a page fault is #DF; on a stack of its own it is handled', () => {
    const bench = new Bench(form)
      .code(hex('50' /* push rax */))
      .set({ rsp: D + 0x800 })
      .map(D, 0, 0)
      .gate(8, { ist: 1 });
    expect(bench.run()).toMatchObject({ vector: 8, errorCode: 0, rsp: BigInt(D + 0x800) });
    expect(bench.get('rsp')).toBe(BigInt(AT.IST1 - 48));
    expect(bench.cpu.state.get64('CR2')).toBe(BigInt(D + 0x800 - 8));
  });
  it('of a benign one by a contributory one is handled in turn', () => {
    const bench = new Bench(form).code(hex('0f 0b' /* ud2 */)).gate(6, { present: false });
    expect(bench.run()).toMatchObject({ vector: 11, errorCode: 6 * 8 + 3, rip: BigInt(C) });
  });
  it('of #DF is the end', () => {
    const bench = new Bench(form)
      .code(hex('44 0f 22 c3' /* mov cr8, rbx */))
      .set({ rbx: 0x100 })
      .gate(13, { present: false })
      .gate(8, { present: false });
    expect(bench.steps(10)).toEqual({ kind: 'triple-fault' });
    expect(bench.count).toBe(0);
  });
  it('without any stack is the end', () => {
    const bench = new Bench(form)
      .code(hex('50' /* push rax */))
      .set({ rsp: D + 0x800 })
      .map(D, 0, 0);
    expect(bench.steps(10)).toEqual({ kind: 'triple-fault' });
  });
  it('goes to the interrupt stack of its gate, aligned, from any level', () => {
    for (const user of [false, true]) {
      const bench = new Bench(form).code(hex('0f 0b' /* ud2 */)).gate(6, { ist: 1 });
      bench.ram.setUint32(AT.TSS + 0x24, AT.IST1 - 3, true);
      if (user) bench.asUser();
      bench.set({ rsp: AT.STACK - 5 });
      expect(bench.run()).toMatchObject({
        vector: 6,
        rsp: BigInt(AT.STACK - 5),
        cs: user ? SELECTOR.code3 : SELECTOR.code,
      });
      expect(bench.get('rsp')).toBe(BigInt(((AT.IST1 - 3) & ~15) - 40));
      expect(bench.cpu.state.selector(2)).toBe(user ? 0 : SELECTOR.data);
    }
  });
  it('over a task gate or into real mode says what is not built', () => {
    const task = new Bench(form, 32).code(hex('0f 0b' /* ud2 */)).gate(6, { type: SYSTEM_TYPE.TASK_GATE });
    expect(task.steps(10)).toMatchObject({ kind: 'unbuilt', what: expect.stringMatching(/task/) });
    const real = new Bench(form, 32).code(
      hex(
        '0f 20 c0', // mov eax, cr0
        '83 e0 fe', // and eax, -2
        '0f 22 c0', // mov cr0, eax
        '90', // nop
      ),
    );
    expect(real.steps(10)).toMatchObject({ kind: 'unbuilt', what: expect.stringMatching(/real mode/) });
    expect(real.count).toBe(2);
  });
});

inEveryForm('16-bit sizes', (form) => {
  it('in 32-bit code: operands keep the upper half, addresses wrap at 64 KiB', () => {
    const bench = new Bench(form, 32).code(
      hex(
        'b8 22 22 11 11', // mov eax, 0x11112222
        '66 b8 33 33', // mov ax, 0x3333
        'bb f0 ff 01 00', // mov ebx, 0x1fff0
        '67 66 8b 4f 20', // mov cx, [bx+0x20]
        '67 8d 57 20', // lea edx, [bx+0x20]
        '66 50', // push ax
        '66 5e', // pop si
        '67 ac', // addr16 lodsb
        'f4', // hlt
      ),
    );
    bench.ram.setUint16(0x10, 0x4444, true);
    bench.bytes[0x3333] = 0x77;
    bench.run();
    expect(['rax', 'rcx', 'rdx', 'rsi'].map((r) => bench.get(r as 'rax'))).toEqual([
      0x1111_3377n,
      0x4444n,
      0x10n,
      0x3334n,
    ]);
    expect(bench.get('rsp')).toBe(BigInt(AT.STACK));
  });
  it('in a 16-bit code segment with a 16-bit stack', () => {
    const bench = new Bench(form, 32).code(
      hex(
        'b8 34 12', // mov ax, 0x1234
        '50', // push ax
        'e8 07 00', // call 1f
        '66 b9 05 00 01 00', // mov ecx, 0x10005
        'f4', // hlt
        '89 e5', // 1: mov bp, sp
        '8b 5e 02', // mov bx, [bp+2]
        'f3 aa', // rep stosb
        'e2 00', // loop 2f
        'c3', // 2: ret
      ),
      0x100,
    );
    bench.put(
      C + 0x100,
      hex(
        'b8 34 12', // mov ax, 0x1234
        '50', // push ax
        'e8 07 00', // call 1f
        '66 b9 05 00 01 00', // mov ecx, 0x10005
        'f4', // hlt
        '89 e5', // 1: mov bp, sp
        '8b 5e 02', // mov bx, [bp+2]
        'f3 aa', // rep stosb
        'e2 00', // loop 2f
        'c3', // 2: ret
      ),
    );
    bench.segment('cs', { base: BigInt(C), limit: 0xffff, attributes: 0x009b });
    bench.segment('ss', { base: BigInt(D), limit: 0xffff, attributes: 0x0093 });
    bench.set({ rip: 0x100, rsp: 0x5_0000n, rcx: 0xffff_0000n }); // SP 0: the first push wraps
    const stop = bench.run();
    expect(stop.vector).toBeUndefined();
    expect([bench.get('rbx'), bench.get('rbp'), bench.get('rsp') & 0xffffn]).toEqual([0x1234n, 0xfffcn, 0xfffen]);
    expect(bench.get('rcx')).toBe(0x1_0005n);
  });
  it('in 64-bit code: 66 makes 16-bit operands and pushes, 67 makes 32-bit addresses', () => {
    const bench = new Bench(form).code(
      hex(
        '48 c7 c0 ff ff ff ff', // mov rax, -1
        '66 b8 05 00', // mov ax, 5
        '66 50', // push ax
        '66 5b', // pop bx
        '67 8b 88 fb ff 1f 00', // mov ecx, [eax+0x1ffffb]
        'f4', // hlt
      ),
    );
    bench.set({ rax: 0 });
    bench.ram.setUint32(D - 1 + 0, 0, true);
    bench.run();
    expect([bench.get('rax'), bench.get('rbx'), bench.get('rsp')]).toEqual([
      0xffff_ffff_ffff_0005n,
      5n,
      BigInt(AT.STACK),
    ]);
  });
});
