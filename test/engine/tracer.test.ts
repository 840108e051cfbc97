/** What a trace says of a run: the same in every form, and nothing that the guest could feel. */
import { afterEach, expect, it } from 'vitest';
import { FunctionMap, type PhysicalRange } from '../../src/trace/function-map.ts';
import { TraceRecorder } from '../../src/trace/recorder.ts';
import { AT, Bench, hex, inEveryForm } from './traps/bench.ts';

type TracedFunction = { name: string; address: bigint; code?: Uint8Array };
const used: Bench[] = [];
afterEach(() => {
  for (const bench of used.splice(0)) bench.cpu.tracer = undefined;
});

function trace(bench: Bench, functions: TracedFunction[], events = false, physical: PhysicalRange[] = []) {
  const list = {
    addresses: BigUint64Array.from(functions, ({ address }) => address),
    nameAt: (slot: number) => functions[slot].name,
    codeAt: (slot: number) => functions[slot].code,
  };
  const recorder = new TraceRecorder({ functions: new FunctionMap(list, physical), events });
  bench.cpu.tracer = recorder;
  used.push(bench);
  const start = bench.cpu.instructions;
  return {
    recorder,
    entries: () => recorder.entries.map(({ slot, at, caller }) => [functions[slot].name, at - start, caller]),
    counts: () => Object.fromEntries([...recorder.readCounts()].map((count, slot) => [functions[slot].name, count])),
    events: () => recorder.events.map(({ kind, at, number, values }) => [kind, at - start, number, ...values]),
  };
}

const at = (name: string, offset: number): TracedFunction => ({ name, address: BigInt(AT.CODE + offset) });

inEveryForm('a trace of functions', (form) => {
  it('tells the first entry of each, its caller and its order, and counts all of them', () => {
    const bench = new Bench(form).code(
      hex(
        'b9 03 00 00 00', // 0 start: mov ecx, 3
        'e8 08 00 00 00', // 5 1: call f (0x12)
        'ff c9', // 0xa dec ecx
        '75 f7', // 0xc jnz 1b
        'eb 06', // 0xe jmp g (0x16)
        '90 90', // 0x10
        'ff c0', // 0x12 f: inc eax
        'c3', // 0x14 ret
        '90', // 0x15
        'ff c0', // 0x16 g: inc eax
        'ff c0', // 0x18 fallen: inc eax, reached from above
        'f4', // hlt
      ),
    );
    const f = [at('start', 0), at('f', 0x12), at('g', 0x16), at('fallen', 0x18), at('never', 0x1b)];
    const { entries, counts } = trace(bench, f);
    expect(bench.run().count).toBe(1 + 3 * 5 + 3);
    expect(entries()).toEqual([
      ['start', 0, undefined],
      ['f', 2, BigInt(AT.CODE + 0xa)],
      ['g', 17, undefined],
      ['fallen', 18, undefined],
    ]);
    expect(counts()).toEqual({ start: 1, f: 3, g: 1, fallen: 1, never: 0 });
  });

  it('knows a function by its physical address too, when its code lies there, also after other code did', () => {
    const code = hex('ff c0', 'c3'); // inc eax; ret
    const functions = [{ name: 'f', address: 0xffff_ffff_8100_0040n, code: Uint8Array.from(code) }];
    const physical = [{ vaddr: 0xffff_ffff_8100_0000n, paddr: BigInt(AT.CODE), size: 4096n }];
    const bench = new Bench(form).code(
      hex(
        'e8 3b 00 00 00', // call 0x40, where a ret is
        'c7 04 25 40 00 10 00 ff c0 c3 90', // mov dword ptr [0x100040], inc eax; ret
        'e8 2b 00 00 00', // call 0x40
        'f4', // hlt
      ),
    );
    bench.put(AT.CODE + 0x40, hex('c3'));
    const { entries, counts } = trace(bench, functions, false, physical);
    bench.run();
    expect(bench.get('rax')).toBe(1n);
    expect(entries()).toEqual([['f', 4, BigInt(AT.CODE + 0x15)]]);
    expect(counts()).toEqual({ f: 1 });
  });

  it('finds code under a second address that was decoded without a name before', () => {
    const bench = new Bench(form);
    bench.map(0x30_0000, AT.CODE); // an alias
    bench.put(AT.CODE + 0x80, hex('ff c0', 'c3')); // inc eax; ret
    bench.code(
      hex(
        'e8 7b 00 00 00', // call 0x80
        'b9 80 00 30 00', // mov ecx, 0x300080
        'ff d1', // call rcx
        'f4', // hlt
      ),
    );
    const { entries, counts } = trace(bench, [{ name: 'f', address: 0x30_0080n }]);
    bench.run();
    expect(entries()).toEqual([['f', 5, BigInt(AT.CODE + 0xc)]]);
    expect(counts()).toEqual({ f: 1 });
  });
});

inEveryForm('a trace of events', (form) => {
  it('lists what was written, asked and taken, with its count', () => {
    const bench = new Bench(form)
      .handler(0x80, hex('48 cf'))
      .handler(6, hex('48 83 04 24 02', '48 cf'))
      .code(
        hex(
          '90', // nop
          'b0 5a', // mov al, 0x5a
          'e6 80', // out 0x80, al
          'ba f8 03 00 00', // mov edx, 0x3f8
          'ed', // in eax, dx
          '0f 20 e0', // mov rax, cr4
          '0f 22 e0', // mov cr4, rax
          '0f 06', // clts
          'cd 80', // int 0x80
          '0f 0b', // ud2, which the handler steps over
          'b9 81 00 00 c0', // mov ecx, 0xc0000081
          '31 d2', // xor edx, edx
          'b8 34 12 00 00', // mov eax, 0x1234
          '0f 30', // wrmsr
          '0f 32', // rdmsr
          '31 c0', // xor eax, eax
          '0f a2', // cpuid
          '0f 01 1c 25 00 00 20 00', // lidt [0x200000]
          'f4', // hlt
        ),
      );
    bench.ram.setUint16(AT.DATA, 0xfff, true);
    bench.ram.setUint32(AT.DATA + 2, AT.IDT, true);
    const { events } = trace(bench, [], true);
    const { count } = bench.run();
    const cpuid = bench.cpu.vcpuState();
    expect(count).toBe(20);
    expect(events()).toEqual([
      ['port-out', 2, 0x80, 0x5an],
      ['port-in', 4, 0x3f8, 0x5a5a_5a5an],
      ['cr-write', 6, 4, cpuid.cr4],
      ['cr-write', 7, 0, cpuid.cr0],
      ['int', 8, 0x80],
      ['exception', 10, 6],
      ['msr-write', 15, 0xc000_0081, 0x1234n],
      ['msr-read', 16, 0xc000_0081, 0x1234n],
      ['cpuid', 18, 0, 0xc000_0081n, cpuid.rax, cpuid.rbx, cpuid.rcx, cpuid.rdx],
      ['table-load', 19, 1, BigInt(AT.IDT), 0xfffn],
    ]);
  });
});
