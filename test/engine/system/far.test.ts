import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import { farHelpers } from '../../../src/engine/system/far.ts';
import { RFLAGS, SYSTEM_TYPE } from '../../../src/x86/constants.ts';
import { encodeGate } from '../../../src/x86/descriptor.ts';
import { nullSegment } from '../../../src/x86/vcpu-state.ts';
import { insn, S, STACK, TABLES, type World, world32, world64 } from './world.ts';

const { ljmp_imm, ljmp_mem, lcall_imm, lcall_mem, lret, iret } = farHelpers;
const far = (selector: number, offset: bigint, more = {}) =>
  insn({ rip: 0x1_1000n, nextRip: 0x1_1007n, immediate: offset, immediate2: selector, ...more });
const jump = (w: World, selector: number, offset = 0x1_2000n, more = {}) =>
  w.run((core) => ljmp_imm(core, far(selector, offset, more)));
const call = (w: World, selector: number, offset = 0x1_2000n, more = {}) =>
  w.run((core) => lcall_imm(core, far(selector, offset, more)));
const cs = (w: World) => w.core.state.selector(SEG.CS);
const WORLDS = [
  ['64-bit', world64],
  ['32-bit', world32],
] as const;

describe.each(WORLDS)('far jumps and calls to code, from %s mode (SDM Vol. 2, JMP, CALL)', (_, make) => {
  const refusals = [
    ['a null selector', 0, 3, 13, 0],
    ['a selector beyond the GDT', 0, 0x200, 13, 0x200],
    ['data', 0, S.data, 13, S.data],
    ['an LDT', 0, S.ldt, 13, S.ldt],
    ['code of another level', 0, S.code3, 13, S.code3],
    ['code of a higher privilege', 3, S.code | 3, 13, S.code],
    ['code with a greater RPL', 0, S.code | 1, 13, S.code],
    ['conforming code of a lower privilege', 0, S.conforming3, 13, S.conforming3],
    ['code that is not present', 0, S.absentCode, 11, S.absentCode],
    ['privilege before presence', 3, S.absentCode | 3, 13, S.absentCode],
  ] as const;
  test.each(refusals)('%s is refused', (_what, level, selector, vector, errorCode) => {
    expect(jump(make(level), selector)).toEqual({ vector, errorCode });
    expect(call(make(level), selector)).toEqual({ vector, errorCode });
  });

  test('a jump loads CS with the level it runs at, and RIP', () => {
    const w = make(3);
    expect(jump(w, S.code3 | 1)).toBeUndefined();
    expect([cs(w), w.core.state.rip, w.core.state.cpl]).toEqual([S.code3 | 3, 0x1_2000n, 3]);
  });

  test('conforming code of a higher privilege keeps the level', () => {
    const w = make(3);
    expect(jump(w, S.conforming)).toBeUndefined();
    expect([cs(w), w.core.state.cpl]).toEqual([S.conforming | 3, 3]);
  });

  test('a target above the limit of 32-bit code is refused, after the room for the return address', () => {
    const w = make(3);
    expect(jump(w, S.small, 0x1000n)).toEqual({ vector: 13, errorCode: 0 });
    expect(jump(w, S.small, 0xfffn)).toBeUndefined();
    expect(w.core.state.is64).toBe(false);
  });

  test('an operand size of 16 cuts the target to 16 bits', () => {
    const w = make(3);
    expect(jump(w, S.code32of3, 0x5555_1234n, { operandSize: 2 })).toBeUndefined();
    expect(w.core.state.rip).toBe(0x1234n);
  });

  test.each([2, 4, 8] as const)('a call pushes CS and the return address, %i bytes each', (operandSize) => {
    const w = make(0);
    expect(call(w, S.code, 0x1_2000n, { operandSize })).toBeUndefined();
    const mask = (1n << BigInt(operandSize * 8)) - 1n;
    expect(w.stack(2, operandSize)).toEqual([0x1_1007n & mask, BigInt(S.code)]);
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.kernel - 2 * operandSize));
  });

  test('the accessed bit of code is set', () => {
    const w = make(0);
    w.segment(S.code1, { ...w.descriptor(S.code), attributes: w.descriptor(S.code).attributes & ~1 });
    expect(jump(w, S.code1)).toBeUndefined();
    expect(w.descriptor(S.code1).attributes & 1).toBe(1);
  });

  test('pointers in memory: offset, then selector', () => {
    const w = make(0);
    w.core.writeLinear(0x1_4000n, 4, 0x1_2345n);
    w.core.writeLinear(0x1_4004n, 2, BigInt(S.code));
    expect(w.run((core) => ljmp_mem(core, insn({ at: 0x1_4000n })))).toBeUndefined();
    expect(w.core.state.rip).toBe(0x1_2345n);
    w.core.writeLinear(0x1_4002n, 2, BigInt(S.code));
    w.run((core) => lcall_mem(core, insn({ at: 0x1_4000n, operandSize: 2, nextRip: 0x1_2349n })));
    expect([w.core.state.rip, w.stack(2, 2)]).toEqual([0x2345n, [0x2349n, BigInt(S.code)]]);
    expect(w.run((core) => ljmp_mem(core, insn()))).toEqual({ vector: 6 });
    expect(w.run((core) => lcall_mem(core, insn()))).toEqual({ vector: 6 });
  });
});

describe('long mode', () => {
  test('code with L and D both is refused by jumps, calls and returns', () => {
    expect(jump(world64(), S.both)).toEqual({ vector: 13, errorCode: S.both });
    expect(call(world64(), S.both)).toEqual({ vector: 13, errorCode: S.both });
    const w = world64().push(4, S.both, 0x1_2000);
    expect(w.run((core) => lret(core, insn()))).toEqual({ vector: 13, errorCode: S.both });
  });

  test('REX.W does not widen the pointer, but the pushes', () => {
    const w = world64();
    w.core.writeLinear(0x1_4000n, 8, (BigInt(S.code) << 32n) | 0x1_2000n);
    w.run((core) => lcall_mem(core, insn({ at: 0x1_4000n, operandSize: 8, nextRip: 0x1_1003n })));
    expect([w.core.state.rip, w.stack(2, 8)]).toEqual([0x1_2000n, [0x1_1003n, BigInt(S.code)]]);
  });

  test('a jump between 64-bit and compatibility mode changes what code is', () => {
    const w = world64();
    expect(jump(w, S.code32)).toBeUndefined();
    expect([w.core.state.is64, w.core.state.longMode]).toEqual([false, true]);
    expect(jump(w, S.code)).toBeUndefined();
    expect(w.core.state.is64).toBe(true);
  });

  test('TSS and task gates cannot be jumped to', () => {
    const w = world64();
    w.gdt(S.gate, encodeGate({ selector: S.tss, offset: 0n, type: SYSTEM_TYPE.TASK_GATE, dpl: 3 }));
    expect(jump(w, S.tss)).toEqual({ vector: 13, errorCode: S.tss });
    expect(jump(w, S.gate)).toEqual({ vector: 13, errorCode: S.gate });
  });

  test('16-bit call gates are none', () => {
    const w = world64();
    w.gdt(S.gate, encodeGate({ selector: S.code, offset: 0n, type: SYSTEM_TYPE.CALL_GATE16, dpl: 3 }));
    expect(call(w, S.gate)).toEqual({ vector: 13, errorCode: S.gate });
  });
});

const gated = (w: World, more: Parameters<World['callGate']>[1] | object = {}) =>
  w.callGate(S.gate, { selector: S.code, offset: 0x1_3000n, ...more });

describe.each(WORLDS)('call gates in %s mode (SDM Vol. 3, 5.8.3-5.8.5)', (name, make) => {
  const size = name === '64-bit' ? 8 : 4;
  const refusals: [string, number, object, number, number][] = [
    ['a gate of a higher privilege', 3, { dpl: 2 }, 13, S.gate],
    ['a gate that is not present', 3, { present: false }, 11, S.gate],
    ['privilege before presence', 3, { dpl: 0, present: false }, 13, S.gate],
    ['a null code selector', 3, { selector: 1 }, 13, 0],
    ['code beyond the GDT', 3, { selector: 0x200 }, 13, 0x200],
    ['a gate to data', 3, { selector: S.data }, 13, S.data],
    ['a gate to code of a lower privilege', 0, { selector: S.code3 }, 13, S.code3],
    ['a gate to code that is not present', 3, { selector: S.absentCode }, 11, S.absentCode],
  ];
  test.each(refusals)('%s is refused', (_what, level, more, vector, errorCode) => {
    expect(call(gated(make(level), more), S.gate)).toEqual({ vector, errorCode });
  });

  test('the RPL of the selector counts as well as CPL', () => {
    expect(call(gated(make(0), { dpl: 2 }), S.gate | 3)).toEqual({ vector: 13, errorCode: S.gate });
  });

  test('a jump cannot change the level, but go through a gate to conforming code', () => {
    expect(jump(gated(make(3)), S.gate)).toEqual({ vector: 13, errorCode: S.code });
    const w = gated(make(3), { selector: S.conforming });
    expect(jump(w, S.gate, 0xdeadn)).toBeUndefined();
    expect([cs(w), w.core.state.rip]).toEqual([S.conforming | 3, 0x1_3000n]);
  });

  test('a call at the same level pushes what the gate is wide', () => {
    const w = gated(make(0));
    expect(call(w, S.gate, 0n, { operandSize: 2 })).toBeUndefined();
    expect(w.stack(2, size as 4 | 8)).toEqual([0x1_1007n, BigInt(S.code)]);
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.kernel - 2 * size));
  });

  test('a call inward saves SS:RSP on the stack that the TSS names', () => {
    const w = gated(make(3));
    expect(call(w, S.gate)).toBeUndefined();
    const { state } = w.core;
    expect([cs(w), state.cpl, state.rip]).toEqual([S.code, 0, 0x1_3000n]);
    expect(w.stack(4, size as 4 | 8)).toEqual([0x1_1007n, 0x2bn, BigInt(STACK.user), 0x23n]);
    expect(state.segment(SEG.SS)).toEqual(name === '64-bit' ? nullSegment(0) : w.descriptor(S.data));
    expect(state.gpr(4)).toBe(BigInt(STACK.tss0 - 4 * size));
  });

  test('and a far return leads back, with the data segments of the inner level dropped', () => {
    const w = gated(make(3));
    call(w, S.gate);
    w.core.state.setSegment(SEG.ES, w.descriptor(S.data));
    w.core.state.setSegment(SEG.FS, { ...w.descriptor(S.conforming) });
    expect(w.run((core) => lret(core, insn({ operandSize: size as 4 | 8 })))).toBeUndefined();
    const { state } = w.core;
    expect([cs(w), state.cpl, state.rip, state.gpr(4)]).toEqual([0x2b, 3, 0x1_1007n, BigInt(STACK.user)]);
    expect(state.segment(SEG.SS)).toEqual({ ...w.descriptor(S.data3), selector: 0x23 });
    expect(state.segment(SEG.ES)).toEqual(nullSegment());
    expect(state.selector(SEG.FS)).toBe(S.conforming);
    expect(state.selector(SEG.DS)).toBe(0x23);
  });

  test('a TSS that is too short raises #TS without EXT', () => {
    const w = gated(make(3));
    w.core.state.setSegment(SEG.TR, { ...w.core.state.segment(SEG.TR), limit: 5 });
    expect(call(w, S.gate)).toEqual({ vector: 10, errorCode: S.tss });
  });
});

describe('64-bit call gates', () => {
  test('need sixteen bytes within the GDT, and zeros where the upper type is', () => {
    const w = gated(world64(3));
    w.core.state.gdtrLimit = S.gate + 14;
    expect(call(w, S.gate)).toEqual({ vector: 13, errorCode: S.gate });
    w.core.state.gdtrLimit = TABLES.gdtLimit;
    w.core.ram.setUint32(TABLES.gdt + S.gate + 12, 0x100, true);
    expect(call(w, S.gate)).toEqual({ vector: 13, errorCode: S.gate });
  });

  test('lead to 64-bit code only, at a canonical address, on a canonical stack', () => {
    expect(call(gated(world64(3), { selector: S.code32 }), S.gate)).toEqual({ vector: 13, errorCode: S.code32 });
    expect(call(gated(world64(3), { offset: 1n << 47n }), S.gate)).toEqual({ vector: 13, errorCode: 0 });
    const w = gated(world64(3));
    w.core.ram.setBigUint64(TABLES.tss + 4, (1n << 47n) + 16n, true); // two of the four pushes
    expect(call(w, S.gate)).toEqual({ vector: 12, errorCode: 0 });
  });
});

describe('32-bit call gates', () => {
  test('copy parameters in their order, and RETF n releases them on both stacks', () => {
    const w = gated(world32(3), { parameters: 3 });
    w.push(4, 0x33, 0x22, 0x11);
    expect(call(w, S.gate)).toBeUndefined();
    expect(w.stack(7, 4)).toEqual([0x1_1007n, 0x2bn, 0x11n, 0x22n, 0x33n, BigInt(STACK.user - 12), 0x23n]);
    expect(w.run((core) => lret(core, insn({ immediate: 12n })))).toBeUndefined();
    expect([cs(w), w.core.state.gpr(4)]).toEqual([0x2b, BigInt(STACK.user)]);
  });

  test('of 16 bits copy words', () => {
    const w = world32(3).push(2, 0x22, 0x11);
    w.callGate(S.gate, { selector: S.code, offset: 0x3000n, type: SYSTEM_TYPE.CALL_GATE16, parameters: 2 });
    expect(call(w, S.gate)).toBeUndefined();
    expect(w.stack(6, 2)).toEqual([0x1007n, 0x2bn, 0x11n, 0x22n, BigInt(STACK.user - 4) & 0xffffn, 0x23n]);
  });

  const stack0 = (selector: number) => (w: World) => w.core.ram.setUint16(TABLES.tss + 8, selector, true);
  test.each([
    ['null', stack0(0), 10, 0],
    ['of another RPL', stack0(S.data | 2), 10, S.data],
    ['of another DPL', stack0(S.data3), 10, S.data3],
    ['read-only', stack0(S.readOnly), 10, S.readOnly],
    ['not present', stack0(S.absentData), 12, S.absentData],
  ])('SS0 that is %s', (_what, spoil, vector, errorCode) => {
    const w = gated(world32(3));
    spoil(w);
    expect(call(w, S.gate)).toEqual({ vector, errorCode });
  });

  test('room for the parameters is asked of the new stack', () => {
    const w = gated(world32(3), { parameters: 4 });
    stack0(S.expandDown)(w);
    w.core.ram.setUint32(TABLES.tss + 4, 0x2_0000 + 28, true);
    expect(call(w, S.gate)).toEqual({ vector: 12, errorCode: S.expandDown });
    w.core.ram.setUint32(TABLES.tss + 4, 0x2_0000 + 32, true);
    expect(call(w, S.gate)).toBeUndefined();
  });
});

describe('task switches end the run by name', () => {
  test.each([
    ['a TSS', (w: World) => w, S.tss],
    ['a task gate', (w: World) => w.callGate(S.gate, { selector: S.tss, offset: 0n, type: 5 }), S.gate],
  ])('through %s', (_, prepare, selector) => {
    expect(jump(prepare(world32()), selector)).toEqual({ unbuilt: 'hardware task switch' });
    expect(call(prepare(world32()), selector)).toEqual({ unbuilt: 'hardware task switch' });
  });

  test('but privilege, busy and presence are judged first', () => {
    expect(jump(world32(3), S.tss)).toEqual({ vector: 13, errorCode: S.tss });
    expect(jump(world32().gdt(S.tss, 0x0000_8b00_b000_0067n), S.tss)).toEqual({ vector: 13, errorCode: S.tss });
    expect(jump(world32().gdt(S.tss, 0x0000_0900_b000_0067n), S.tss)).toEqual({ vector: 11, errorCode: S.tss });
  });
});

const returnRefusals: [string, number, number, number, number][] = [
  ['a null selector', 0, 3, 13, 0],
  ['a selector beyond the GDT', 0, 0x200, 13, 0x200],
  ['data', 0, S.data, 13, S.data],
  ['an inner level', 3, S.code, 13, S.code],
  ['code whose DPL is not its RPL', 0, S.code3 | 1, 13, S.code3],
  ['conforming code with DPL above RPL', 0, S.conforming3 | 1, 13, S.conforming3],
  ['code that is not present', 0, S.absentCode, 11, S.absentCode],
];

describe.each(WORLDS)('RETF and IRET in %s mode', (name, make) => {
  const size = name === '64-bit' ? 8 : 4;
  const i = insn({ operandSize: size });
  const ret = (w: World) => w.run((core) => lret(core, i));
  const returnFrom = (w: World) => w.run((core) => iret(core, i));
  const frame = (w: World, selector: number, offset = 0x1_2000n, ss: number = S.data, sp = 0x2_4000) =>
    w.push(size, ss, sp, 2, selector, offset);

  test.each(returnRefusals)('%s is refused', (_what, level, selector, vector, errorCode) => {
    expect(ret(make(level).push(size, selector, 0x1_2000))).toEqual({ vector, errorCode });
    expect(returnFrom(frame(make(level), selector))).toEqual({ vector, errorCode });
  });

  test('RETF at the same level pops two and what the immediate says', () => {
    const w = make(0).push(size, S.code, 0x1_2000);
    expect(w.run((core) => lret(core, insn({ operandSize: size, immediate: 0x10n })))).toBeUndefined();
    expect([w.core.state.rip, w.core.state.gpr(4)]).toEqual([0x1_2000n, BigInt(STACK.kernel + 16)]);
  });

  const outer: [string, number, number, number][] = [
    ['a null SS', 0, 13, 0],
    ['an SS beyond the GDT', 0x203, 13, 0x200],
    ['an SS with another RPL', S.data3 | 2, 13, S.data3],
    ['an SS with another DPL', S.data | 3, 13, S.data],
    ['an SS that is code', S.code3 | 3, 13, S.code3],
    ['an SS that is not present', S.absentData3 | 3, 12, S.absentData3],
  ];
  test.each(outer)('%s is refused on the way out', (_what, ss, vector, errorCode) => {
    expect(ret(make(0).push(size, ss, 0x5_0000, S.code3 | 3, 0x4_2000))).toEqual({ vector, errorCode });
    expect(returnFrom(make(0).push(size, ss, 0x5_0000, 2, S.code3 | 3, 0x4_2000))).toEqual({ vector, errorCode });
  });

  test('a target out of bounds is refused after SS', () => {
    const bad = name === '64-bit' ? 1n << 47n : 0x1000n;
    const code = name === '64-bit' ? S.code3 : S.small;
    expect(ret(make(0).push(size, 0x23, 0x5_0000, code | 3, bad))).toEqual({ vector: 13, errorCode: 0 });
    expect(returnFrom(frame(make(0), code | 3, bad, 0x23))).toEqual({ vector: 13, errorCode: 0 });
    expect(returnFrom(frame(make(0), code | 3, bad, S.absentData3 | 3))).toEqual({
      vector: 12,
      errorCode: S.absentData3,
    });
  });

  test('IRET to an outer level loads flags by the level that returns, SS:RSP, and drops inner segments', () => {
    const w = make(0).push(size, 0x23, 0x5_0008, 0x3202, 0x2b, 0x4_2000);
    w.core.state.setSegment(SEG.GS, w.descriptor(S.data3));
    expect(returnFrom(w)).toBeUndefined();
    const { state } = w.core;
    expect([cs(w), state.cpl, state.rip, state.gpr(4), state.rflags]).toEqual([0x2b, 3, 0x4_2000n, 0x5_0008n, 0x3202]);
    expect(state.segment(SEG.DS)).toEqual(nullSegment());
    expect(state.selector(SEG.GS)).toBe(S.data3);
  });

  test('IRET at level 3 keeps IOPL, and IF above it', () => {
    const w = make(3);
    w.core.state.rflags = RFLAGS.IF | 2;
    frame(w, 0x2b, 0x4_2000n, 0x23, 0x5_0000).core.writeLinear(
      w.core.state.gpr(4) + BigInt(2 * size),
      size,
      0x3cd7n,
      true,
    );
    expect(returnFrom(w)).toBeUndefined();
    expect(w.core.state.rflags).toBe(0xed7);
  });

  test('IRET sets RF for the next instruction', () => {
    const w = frame(make(0), S.code);
    w.core.writeLinear(w.core.state.gpr(4) + BigInt(2 * size), size, 0x1_0002n);
    expect(returnFrom(w)).toBeUndefined();
    expect(w.core.state.rflags).toBe(RFLAGS.RF | 2);
  });
});

describe('IRET', () => {
  test('in 64-bit mode pops SS:RSP at the same level too', () => {
    const w = world64().push(8, S.data, 0x2_4008, 2, S.code, 0x1_2000);
    expect(w.run((core) => iret(core, insn({ operandSize: 8 })))).toBeUndefined();
    expect(w.core.state.gpr(4)).toBe(0x2_4008n);
    const null0 = world64().push(8, 0, 0x2_4008, 2, S.code, 0x1_2000);
    expect(null0.run((core) => iret(core, insn({ operandSize: 8 })))).toBeUndefined();
    expect(null0.core.state.segment(SEG.SS)).toEqual(nullSegment());
  });

  test('in 64-bit mode pops doublewords and words as asked', () => {
    for (const size of [2, 4] as const) {
      const w = world64().push(size, S.data, 0x4008, 2, S.code, 0x2000);
      expect(w.run((core) => iret(core, insn({ operandSize: size })))).toBeUndefined();
      expect([w.core.state.rip, w.core.state.gpr(4)]).toEqual([0x2000n, 0x4008n]);
    }
  });

  test('a null SS does for 64-bit code below level 3 only', () => {
    const to = (code: number, ss: number) => {
      const w = world64().push(8, ss, 0x2_4008, 2, code, 0x1_2000);
      return w.run((core) => iret(core, insn({ operandSize: 8 })));
    };
    expect(to(S.code1 | 1, 1)).toBeUndefined();
    expect(to(S.code3 | 3, 3)).toEqual({ vector: 13, errorCode: 0 });
    expect(to(S.code32, 0)).toEqual({ vector: 13, errorCode: 0 });
  });

  test('to compatibility mode cuts RSP to 32 bits', () => {
    const w = world64().push(8, 0x23, 0xff_0005_0000n, 2, S.code32of3 | 3, 0x4_2000);
    expect(w.run((core) => iret(core, insn({ operandSize: 8 })))).toBeUndefined();
    expect([w.core.state.gpr(4), w.core.state.is64]).toEqual([0x5_0000n, false]);
  });

  test('to a 16-bit stack leaves the upper half of ESP as the inner level had it', () => {
    for (const [make, size] of [
      [world32, 4],
      [world64, 8],
    ] as const) {
      const w = make().push(size, S.stack16of3 | 3, 0x5_1234, 2, S.code32of3 | 3, 0x4_2000);
      expect(w.run((core) => iret(core, insn({ operandSize: size })))).toBeUndefined();
      expect(w.core.state.gpr(4)).toBe(0x1_1234n); // the kernel's stack is below 0x20000
    }
  });

  test('to 64-bit code takes all of RSP, whatever SS is', () => {
    const w = world64().push(8, S.stack16of3 | 3, 0x5_1234, 2, 0x2b, 0x4_2000);
    w.run((core) => iret(core, insn({ operandSize: 8 })));
    expect(w.core.state.gpr(4)).toBe(0x5_1234n);
  });

  test('from compatibility mode at the same level pops three', () => {
    const w = world64().enterCompat(0).push(4, 2, S.code, 0x1_2000);
    expect(w.run((core) => iret(core, insn()))).toBeUndefined();
    expect([w.core.state.gpr(4), w.core.state.is64]).toEqual([BigInt(STACK.kernel), true]);
  });

  test('with NT: #GP(0) in long mode, a task return by name otherwise', () => {
    const long = world64();
    long.core.state.rflags = RFLAGS.NT | 2;
    expect(long.run((core) => iret(core, insn({ operandSize: 8 })))).toEqual({ vector: 13, errorCode: 0 });
    const legacy = world32();
    legacy.core.state.rflags = RFLAGS.NT | 2;
    expect(legacy.run((core) => iret(core, insn()))).toEqual({ unbuilt: 'hardware task switch (IRET with NT set)' });
  });

  test('to virtual-8086 mode is named; at level 3 and in long mode VM is ignored', () => {
    const to = (w: World, size: 4 | 8, code: number, ss: number) =>
      w.push(size, ss, 0x5_0000, RFLAGS.VM | 2, code, 0x4_2000).run((core) => iret(core, insn({ operandSize: size })));
    expect(to(world32(), 4, S.code, S.data)).toEqual({ unbuilt: 'virtual-8086 mode' });
    for (const [w, size] of [
      [world32(3), 4],
      [world64(3), 8],
      [world64(), 8],
    ] as const) {
      const level = w.core.state.cpl;
      expect(to(w, size, w.codeOf(level), w.dataOf(level))).toBeUndefined();
      expect(w.core.state.rflags & RFLAGS.VM).toBe(0);
    }
  });

  test('a stack that ends within the frame raises #SS(0), an absent page #PF', () => {
    const w = world32();
    w.core.state.setSegment(SEG.SS, { ...w.descriptor(S.data), limit: STACK.kernel + 7 });
    expect(w.run((core) => iret(core, insn()))).toEqual({ vector: 12, errorCode: 0 });
    const page = world64().page(STACK.kernel, 0);
    expect(page.run((core) => iret(core, insn({ operandSize: 8 })))).toMatchObject({ vector: 14, errorCode: 0 });
    const noncanonical = world64();
    noncanonical.core.state.setGpr(4, 1n << 47n);
    expect(noncanonical.run((core) => iret(core, insn({ operandSize: 8 })))).toEqual({ vector: 12, errorCode: 0 });
  });
});
