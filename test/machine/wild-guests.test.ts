/** Wild guests: whatever bytes run, the machine ends with an exit reason, in bounded time, and throws nothing.
 *
 * Random code, code over random tables, stacks at nowhere, writes over everything the guest runs on. What comes out is
 * always one of ExitReason's kinds, and the same one when the guest runs again one instruction at a time. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planBoot } from '../../src/boot/index.ts';
import { flatImage } from '../../src/image/parse.ts';
import { Machine, type MachineOptions } from '../../src/machine/machine.ts';
import type { VcpuState } from '../../src/x86/vcpu-state.ts';

const KINDS = [
  'power-off', 'verdict-failure', 'panic', 'triple-fault', 'reset', 'fault-loop', 'halted', 'instruction-limit', 'unbuilt',
]; // biome-ignore format: short
type Via = 'flat32' | 'flat64';
type Setup = {
  via: Via;
  code: Uint8Array | number[];
  memory?: [at: number, bytes: Uint8Array][];
  state?: Partial<VcpuState>;
};

async function machineOf({ via, code, memory = [], state }: Setup, options: MachineOptions = {}): Promise<Machine> {
  const image = flatImage('code', Uint8Array.from(code));
  const machine = await Machine.create(planBoot(image, { via, memory: '2M' }), options);
  for (const [at, bytes] of memory) machine.memory.bytes(at, bytes.length).set(bytes);
  if (state) machine.vcpu.setState(state);
  return machine;
}

/** Runs it twice, the second time one instruction at a time, and compares. */
async function ends(setup: Setup, limit = 3000): Promise<string> {
  const machine = await machineOf(setup);
  const started = performance.now();
  const exit = machine.runSync({ maxInstructions: limit });
  expect(performance.now() - started).toBeLessThan(5000);
  expect(KINDS).toContain(exit.kind);
  expect(machine.instructions).toBeLessThanOrEqual(limit);
  const plain = await machineOf(setup, { plain: true });
  expect(plain.runSync({ maxInstructions: limit })).toEqual(exit);
  expect(plain.outcome()).toEqual(machine.outcome());
  return exit.kind;
}

/** A machine is 42 MiB of address space, most of it untouched: few at a time. */
const RUNS = { numRuns: 25, endOnFailure: true };
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const via = fc.constantFrom<Via>('flat32', 'flat64');

/** Bytes that are more often instructions: opcodes of every family with random operands behind them. */
const instruction = fc
  .tuple(
    fc.constantFrom(
      [0x01], [0x03], [0x89], [0x8b], [0x83], [0x81], [0xc7], [0xf7], [0xff], [0xd3], [0x50], [0x58], [0xe8], [0xe9], [0x75],
      [0xeb], [0xc3], [0xcf], [0xcd, 0x80], [0xcc], [0x9c], [0x9d], [0xfb], [0xfa], [0xf3, 0xa4], [0xf3, 0xab], [0xf2, 0xae],
      [0x8e], [0x8c], [0x0f, 0x01], [0x0f, 0x00], [0x0f, 0x20], [0x0f, 0x22], [0x0f, 0x23], [0x0f, 0x30], [0x0f, 0x32],
      [0x0f, 0xa2], [0x0f, 0xc7], [0x0f, 0xb0], [0x0f, 0xab], [0x0f, 0xae], [0xd9], [0xdd], [0x0f, 0x05], [0x0f, 0x07],
      [0xca], [0xcb], [0x9a], [0xea], [0xc8], [0xc9], [0xe4], [0xe6], [0xec], [0xee], [0x6c], [0x6e], [0x62], [0x63], [0x66],
      [0x67], [0xf0], [0x48], [0x41], [0x64],
    ),
    bytes(0, 6),
  )
  .map(([opcode, rest]) => [...opcode, ...rest]); // biome-ignore format: opcodes
const code = fc.array(instruction, { minLength: 1, maxLength: 60 }).map((parts) => parts.flat());

describe('random guests', () => {
  it('of any bytes end', () =>
    fc.assert(fc.asyncProperty(via, bytes(1, 200), async (v, b) => { await ends({ via: v, code: b }); }), RUNS)); // biome-ignore format: short
  it('of likely instructions end', () =>
    fc.assert(fc.asyncProperty(via, code, async (v, c) => { await ends({ via: v, code: c }); }), { ...RUNS, numRuns: 60 })); // biome-ignore format: short

  const register = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const near = fc.nat(0x30_0000).map(BigInt);
  const value = fc.oneof(
    register,
    near,
    fc.constantFrom(0n, 0xffff_ffffn, 0x8000_0000_0000n, 0xffff_8000_0000_0000n, 8n),
  );
  it('with random registers and flags end', () =>
    fc.assert(
      fc.asyncProperty(via, code, fc.array(value, { minLength: 15, maxLength: 15 }), fc.nat(0x3f_ffff), async (v, c, r, rflags) => {
        const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14] = r.map((x) => (v === 'flat32' ? BigInt.asUintN(32, x) : x));
        const state = { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14 };
        // Virtual-8086 mode cannot be entered this way on hardware either: its bit stays clear.
        await ends({ via: v, code: c, state: { ...state, rflags: BigInt((rflags & ~0x2_0000) | 2) } });
      }),
      { ...RUNS, numRuns: 40 },
    )); // biome-ignore format: long lists

  it('over random descriptor tables and gates end', () =>
    fc.assert(
      fc.asyncProperty(via, code, bytes(256, 256), bytes(4096, 4096), async (v, c, gdt, idt) => {
        await ends({
          via: v,
          code: c,
          memory: [[0x9_0000, gdt], [0x9_1000, idt]],
          state: { idtr: { base: 0x9_1000n, limit: 0xfff }, gdtr: { base: 0x9_0000n, limit: 255 } },
        });
      }),
      RUNS,
    )); // biome-ignore format: one object

  const entry = fc
    .tuple(fc.nat(0xfff), fc.oneof(fc.nat(0x1ff), fc.nat(0xf_ffff)), fc.constantFrom(0n, 0n, 0n, 1n << 63n, 1n << 51n))
    .map(([flags, frame, high]) => BigInt(flags | 1) | (BigInt(frame) << 12n) | high);
  it('over random page tables end', () =>
    fc.assert(
      fc.asyncProperty(fc.array(entry, { minLength: 512, maxLength: 512 }), code, fc.nat(0x1ff), async (entries, c, cr3) => {
        const table = new Uint8Array(new BigUint64Array(entries).buffer);
        // One page of random entries serves as every level: it is its own directory and table in many ways.
        await ends({
          via: 'flat64',
          code: c,
          memory: [0, 1, 2, 3, 4].map((n) => [0x8_0000 + n * 0x1000, table] as [number, Uint8Array]),
          state: { cr3: BigInt(cr3 < 0x100 ? 0x8_0000 : cr3 * 0x1000) },
        });
      }),
      RUNS,
    )); // biome-ignore format: one object
});

/** Handlers for every vector that step over a byte of what faulted and go on, under a timer; the code lies in a loop and
 * the registers point near it, so that it keeps changing itself. */
function survivor(via: Via, code: readonly number[]): Setup {
  const [base, idt, handlers] = [0x10_0000, 0x9_0000, 0x9_2000];
  const wide = via === 'flat64';
  const gates = new DataView(new ArrayBuffer(0x1000));
  const stubs = new Uint8Array(0x1000);
  for (let v = 0; v < 64; v++) {
    const at = v * (wide ? 16 : 8);
    gates.setUint32(at, (0x10 << 16) | ((handlers + v * 32) & 0xffff), true);
    gates.setUint32(at + 4, ((handlers + v * 32) & 0xffff_0000) | 0x8e00, true);
    const hasCode = v === 8 || (v >= 10 && v <= 14) || v === 17;
    const drop = hasCode ? (wide ? [0x48, 0x83, 0xc4, 8] : [0x83, 0xc4, 4]) : []; // add esp, 4 or 8
    const step = v >= 32 ? [0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58] : [...(wide ? [0x48] : []), 0xff, 0x04, 0x24]; // EOI, or inc [esp]
    stubs.set([...drop, ...step, ...(wide ? [0x48] : []), 0xcf], v * 32);
  }
  const setUp = [0x11, 0x20, 0x20, 0x21, 4, 0x21, 1, 0x21, 0xfe, 0x21, 0x34, 0x43, 1, 0x40, 0, 0x40];
  const start = setUp.flatMap((byte, i) => (i % 2 === 0 ? [0xb0, byte] : [0xe6, byte])); // mov al, byte; out port, al
  const body = [0xfb, ...code]; // sti
  const all = [...start, ...body, 0xe9];
  const back = start.length - (all.length + 4);
  const near = BigInt(base + start.length);
  return {
    via,
    code: [...all, back & 255, (back >> 8) & 255, 0xff, 0xff],
    memory: [[idt, new Uint8Array(gates.buffer)], [handlers, stubs]],
    state: {
      idtr: { base: BigInt(idt), limit: wide ? 0x3ff : 0x1ff },
      rbx: near + 8n, rsi: near, rdi: near + 40n, rbp: near + 100n, rdx: near + 3n, rcx: 7n,
    },
  };
} // biome-ignore format: short

describe('random guests that survive their faults', () => {
  it('run the same in every form, under a timer, while they change themselves', () =>
    fc.assert(
      fc.asyncProperty(via, code, async (v, c) => {
        const setup = survivor(v, c);
        await ends(setup, 4000);
        const [whole, cut] = [await machineOf(setup), await machineOf(setup, { cpuQuantum: 13 })];
        expect(cut.runSync({ maxInstructions: 4000 })).toEqual(whole.runSync({ maxInstructions: 4000 }));
        expect(cut.outcome()).toEqual(whole.outcome());
      }),
      { ...RUNS, numRuns: 15 },
    ));
});

describe('a guest that', () => {
  const dword = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
  const wild: [string, Via, number[], Partial<VcpuState>, string | RegExp][] = [
    ['jumps to nowhere', 'flat32', [0xe9, 0, 0, 0, 0x70], {}, 'triple-fault'],
    ['jumps to nowhere in 64-bit code', 'flat64', [0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0, 0, 0xff, 0xe0], {}, 'triple-fault'],
    ['calls itself for ever', 'flat32', [0xe8, ...dword(-5)], {}, /triple-fault|instruction-limit/],
    ['has its stack at 0 and pushes', 'flat32', [0x50, 0xeb, 0xfd], { rsp: 0n }, /instruction-limit|triple-fault/],
    ['has its stack at 0 and pushes in 64-bit code', 'flat64', [0x50, 0xeb, 0xfd], { rsp: 0n }, 'triple-fault'],
    ['has its page tables outside RAM', 'flat64', [0x90, 0xeb, 0xfd], { cr3: 0xfee0_0000n }, 'triple-fault'],
    ['has its page tables at the top of the physical space', 'flat64', [0x90, 0xeb, 0xfd], { cr3: 0xff_ffff_f000n }, 'triple-fault'],
    ['moves its page tables outside RAM itself', 'flat64', [0xb8, 0, 0, 0, 0x60, 0x0f, 0x22, 0xd8, 0x90], {}, 'triple-fault'],
    ['clears all of its memory from 0', 'flat32', [0x31, 0xff, 0x31, 0xc0, 0xb9, ...dword(0x20_0000), 0xf3, 0xaa], {}, /./],
    ['clears its page tables', 'flat64', [0xbf, ...dword(0x1000), 0x31, 0xc0, 0xb9, ...dword(0x4000), 0xf3, 0xaa, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], {}, 'triple-fault'],
    ['copies itself over itself for ever', 'flat32', [0xbe, ...dword(0x10_0000), 0xbf, ...dword(0x10_0001), 0xb9, ...dword(64), 0xf3, 0xa4, 0xeb, 0xec], {}, /./],
    ['raises the same fault for ever', 'flat32', [0x0f, 0x0b], { idtr: { base: 0x10_0010n, limit: 0xffff } }, /./],
    ['loads a stack segment for ever', 'flat32', [0x8e, 0xd0, 0xeb, 0xfc], { rax: 0x18n }, 'instruction-limit'],
    ['disables paging in 64-bit code', 'flat64', [0x31, 0xc0, 0x0f, 0x22, 0xc0], {}, 'triple-fault'],
    ['enters real mode', 'flat32', [0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0], {}, 'unbuilt'],
    ['sets every bit of every control register', 'flat32', [0x31, 0xc0, 0x48, 0x0f, 0x22, 0xe0], {}, 'triple-fault'],
    ['waits for nothing with interrupts on', 'flat32', [0xfb, 0xf4, 0xeb, 0xfd], {}, 'halted'],
    ['repeats a string for ever', 'flat64', [0x48, 0x31, 0xff, 0x48, 0xf7, 0xd1, 0xf3, 0xac], {}, /triple-fault|instruction-limit/],
    ['writes to every port', 'flat32', [0x31, 0xd2, 0x42, 0xee, 0xef, 0xec, 0xeb, 0xfa], {}, /./],
    ['steps itself without a handler', 'flat32', [0x68, 2, 1, 0, 0, 0x9d, 0x90], {}, 'triple-fault'],
    ['puts its task state outside RAM', 'flat64', [0xcd, 0x40], { tr: { selector: 0x20, base: 0xffff_ffff_ffff_f000n, limit: 0x67, attributes: 0x8b }, idtr: { base: 0n, limit: 0xfff } }, 'triple-fault'],
    ['has a TSS full of ones and user code', 'flat64', [0x0f, 0x0b], { cpl: 3, tr: { selector: 0x20, base: 0xfff_f000n, limit: 0xffff_ffff, attributes: 0x8b } }, 'triple-fault'],
  ]; // biome-ignore format: a table
  it.each(wild)('%s ends', async (_name, via, code, state, expected) => {
    const kind = await ends({ via, code, state }, 30_000);
    expect(kind).toMatch(expected);
  });
});
