import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import { descriptorHelpers } from '../../../src/engine/system/descriptors.ts';
import { CR4, RFLAGS } from '../../../src/x86/constants.ts';
import { encodeGate, encodeSystem64 } from '../../../src/x86/descriptor.ts';
import { nullSegment } from '../../../src/x86/vcpu-state.ts';
import { insn, S, TABLES, USER, type World, world32, world64 } from './world.ts';

const { lgdt, lidt, sgdt, sidt, lldt, ltr, sldt, str, lar, lsl, verr, verw, arpl } = descriptorHelpers;
const AT = 0x1_4000n;
const WORLDS = [
  ['64-bit', world64],
  ['32-bit', world32],
] as const;

describe('LGDT, LIDT, SGDT, SIDT', () => {
  test.each([
    ['64-bit', world64, 8, 0x9abc_def0_1234_5678n & 0x7fff_ffff_ffffn],
    ['32-bit', world32, 4, 0x1234_5678n],
    ['32-bit with a 16-bit operand', world32, 2, 0x34_5678n],
  ] as const)('load limit and base in %s mode', (_, make, operandSize, base) => {
    const w = make();
    w.core.writeLinear(AT, 2, 0xfe7fn);
    w.core.writeLinear(AT + 2n, 8, 0x9abc_def0_1234_5678n & 0x7fff_ffff_ffffn);
    expect(w.run((core) => lgdt(core, insn({ at: AT, operandSize })))).toBeUndefined();
    expect(w.run((core) => lidt(core, insn({ at: AT, operandSize })))).toBeUndefined();
    const { state } = w.core;
    expect([state.get64('GDTR_BASE'), state.gdtrLimit]).toEqual([base, 0xfe7f]);
    expect([state.get64('IDTR_BASE'), state.idtrLimit]).toEqual([base, 0xfe7f]);
  });

  test.each([
    ['64-bit', world64, 8, 0xffff_fe00_0000_1000n, 0xffff_fe00_0000_1000n],
    ['32-bit', world32, 4, 0x8765_4321n, 0xeeee_eeee_8765_4321n],
    ['32-bit with a 16-bit operand', world32, 2, 0x8765_4321n, 0xeeee_eeee_8765_4321n],
  ] as const)('store limit and base in %s mode', (_, make, operandSize, base, memory) => {
    const w = make();
    w.core.state.set64('GDTR_BASE', base);
    w.core.state.set64('IDTR_BASE', base);
    w.core.state.idtrLimit = 0x7ff;
    for (const [helper, limit] of [
      [sgdt, BigInt(TABLES.gdtLimit)],
      [sidt, 0x7ffn],
    ] as const) {
      w.core.writeLinear(AT + 2n, 8, 0xeeee_eeee_eeee_eeeen);
      helper(w.core, insn({ at: AT, operandSize }));
      expect([w.core.readLinear(AT, 2), w.core.readLinear(AT + 2n, 8)]).toEqual([limit, memory]);
    }
  });

  test('loading is for level 0, needs memory, and a canonical base', () => {
    expect(world64(3).run((core) => lgdt(core, insn({ at: BigInt(USER) })))).toEqual({ vector: 13, errorCode: 0 });
    expect(world64(3).run((core) => lidt(core, insn()))).toEqual({ vector: 6 });
    const w = world64();
    w.core.writeLinear(AT + 2n, 8, 1n << 47n);
    expect(w.run((core) => lidt(core, insn({ at: AT })))).toEqual({ vector: 13, errorCode: 0 });
  });

  test('storing is for all, but CR4.UMIP; its whole operand is checked first', () => {
    const w = world64(3);
    expect(w.run((core) => sgdt(core, insn({ at: BigInt(USER) })))).toBeUndefined();
    w.page(USER + 0x1000, 0);
    const cut = insn({ at: BigInt(USER + 0xffc) });
    expect(w.run((core) => sidt(core, cut))).toEqual({ vector: 14, errorCode: 6, cr2: BigInt(USER + 0x1000) });
    w.core.state.set64('CR4', BigInt(CR4.PAE | CR4.UMIP));
    for (const helper of [sgdt, sidt]) {
      expect(w.run((core) => helper(core, insn({ at: BigInt(USER) })))).toEqual({ vector: 13, errorCode: 0 });
    }
    for (const helper of [sldt, str])
      expect(w.run((core) => helper(core, insn()))).toEqual({ vector: 13, errorCode: 0 });
  });
});

const load = (w: World, helper: typeof lldt, selector: number) => {
  w.core.state.setGpr(0, BigInt(selector));
  return w.run((core) => helper(core, insn({ rm: 0 })));
};

describe.each(WORLDS)('LLDT and LTR in %s mode', (name, make) => {
  test('LLDT loads an LDT, and null', () => {
    const w = make();
    expect(load(w, lldt, S.ldt)).toBeUndefined();
    const expected = { selector: S.ldt, base: BigInt(TABLES.ldt), limit: TABLES.ldtLimit, attributes: 0x82 };
    expect(w.core.state.segment(SEG.LDTR)).toEqual(expected);
    expect(load(w, lldt, 2)).toBeUndefined();
    expect(w.core.state.segment(SEG.LDTR)).toEqual(nullSegment(2));
  });

  test('LTR loads an available TSS and makes it busy', () => {
    const w = make();
    expect(load(w, ltr, S.tss)).toBeUndefined();
    expect(w.core.state.segment(SEG.TR)).toMatchObject({ selector: S.tss, base: BigInt(TABLES.tss), attributes: 0x8b });
    expect(w.descriptor(S.tss).attributes).toBe(0x8b);
    expect(load(w, ltr, S.tss)).toEqual({ vector: 13, errorCode: S.tss });
  });

  test.each([
    ['LLDT at level 1', lldt, 1, S.ldt, 13, 0],
    ['LTR at level 3', ltr, 3, S.tss, 13, 0],
    ['LLDT with a selector of the LDT', lldt, 0, 0x0c, 13, 0x0c],
    ['LTR with a selector of the LDT', ltr, 0, 0x0c, 13, 0x0c],
    ['LTR with null', ltr, 0, 1, 13, 0],
    ['LLDT beyond the GDT', lldt, 0, 0x200, 13, 0x200],
    ['LLDT of a TSS', lldt, 0, S.tss, 13, S.tss],
    ['LLDT of data', lldt, 0, S.data, 13, S.data],
    ['LTR of an LDT', ltr, 0, S.ldt, 13, S.ldt],
    ['LTR of code', ltr, 0, S.code, 13, S.code],
  ] as const)('%s is refused', (_, helper, level, selector, vector, errorCode) => {
    expect(load(make(level), helper, selector)).toEqual({ vector, errorCode });
  });

  test('what is not present is refused after its type', () => {
    const w = make();
    w.core.ram.setUint8(TABLES.gdt + S.ldt + 5, 0x02);
    w.core.ram.setUint8(TABLES.gdt + S.tss + 5, 0x09);
    expect(load(w, lldt, S.ldt)).toEqual({ vector: 11, errorCode: S.ldt });
    expect(load(w, ltr, S.tss)).toEqual({ vector: 11, errorCode: S.tss });
  });

  test('a 16-bit TSS is one in legacy mode only', () => {
    const w = make();
    w.core.ram.setUint8(TABLES.gdt + S.tss + 5, 0x81);
    expect(load(w, ltr, S.tss)).toEqual(name === '64-bit' ? { vector: 13, errorCode: S.tss } : undefined);
  });

  test.each([
    ['sldt', sldt, S.ldt],
    ['str', str, S.tss],
  ] as const)('%s stores a selector: two bytes to memory, zero-extended to a register', (_, helper, selector) => {
    const w = make();
    load(w, lldt, S.ldt);
    w.core.writeLinear(AT, 4, 0xffff_ffffn);
    helper(w.core, insn({ at: AT, operandSize: 4 }));
    expect(w.core.readLinear(AT, 4)).toBe(0xffff_0000n | BigInt(selector));
    w.core.state.setGpr(5, 0xffff_ffffn);
    helper(w.core, insn({ rm: 5, operandSize: 2 }));
    expect(w.core.state.gpr(5)).toBe(0xffff_0000n | BigInt(selector));
    helper(w.core, insn({ rm: 5, operandSize: 4 }));
    expect(w.core.state.gpr(5)).toBe(BigInt(selector));
  });
});

describe('sixteen-byte descriptors', () => {
  const high = { base: 0xffff_fe00_0000_b000n, limit: 0x67 };
  test('give LDTR and TR their upper halves', () => {
    const w = world64();
    w.gdt(S.tss, ...encodeSystem64({ ...high, attributes: 0x89 })).gdt(
      S.ldt,
      ...encodeSystem64({ ...high, attributes: 0x82 }),
    );
    load(w, ltr, S.tss);
    load(w, lldt, S.ldt);
    expect([w.core.state.base(SEG.TR), w.core.state.base(SEG.LDTR)]).toEqual([high.base, high.base]);
  });

  test('must lie within the GDT, have a zero upper type and a canonical base', () => {
    const w = world64();
    w.core.state.gdtrLimit = S.tss + 14;
    expect(load(w, ltr, S.tss)).toEqual({ vector: 13, errorCode: S.tss });
    w.core.state.gdtrLimit = TABLES.gdtLimit;
    w.core.ram.setUint32(TABLES.gdt + S.tss + 12, 0x1000, true);
    expect(load(w, ltr, S.tss)).toEqual({ vector: 13, errorCode: S.tss });
    w.core.ram.setUint32(TABLES.gdt + S.tss + 12, 0, true);
    w.core.ram.setUint32(TABLES.gdt + S.tss + 8, 0x8000, true);
    expect(load(w, ltr, S.tss)).toEqual({ vector: 13, errorCode: S.tss });
  });
});

describe('LAR, LSL, VERR, VERW', () => {
  /** ZF and the register; null when ZF is clear, and then the register must be untouched. */
  const ask = (w: World, helper: typeof lar, selector: number, operandSize: 2 | 4 | 8 = 4): bigint | null => {
    w.core.state.setGpr(0, BigInt(selector));
    w.core.state.setGpr(3, 0xffff_ffff_ffff_ffffn);
    w.core.state.rflags = RFLAGS.CF | RFLAGS.OF | 2;
    expect(w.run((core) => helper(core, insn({ rm: 0, reg: 3, operandSize })))).toBeUndefined();
    expect(w.core.state.rflags & ~RFLAGS.ZF).toBe(RFLAGS.CF | RFLAGS.OF | 2);
    const value = w.core.state.gpr(3);
    if ((w.core.state.rflags & RFLAGS.ZF) !== 0) return value;
    expect(value).toBe(0xffff_ffff_ffff_ffffn);
    return null;
  };

  test.each([
    // level, selector, LAR, LSL: the first three as an EPYC answers in 64-bit mode
    [3, S.code32of3 | 3, 0xcf_fb00n, 0xffff_ffffn],
    [3, S.data3 | 3, 0xcf_f300n, 0xffff_ffffn],
    [3, S.code3 | 3, 0xaf_fb00n, 0xffff_ffffn],
    [3, 0, null, null],
    [3, 0x203, null, null],
    [3, S.data | 3, null, null],
    [0, S.data | 3, null, null], // RPL
    [0, S.data, 0xcf_9300n, 0xffff_ffffn],
    [3, S.conforming | 3, 0xaf_9f00n, 0xffff_ffffn],
    [3, S.small, 0x40_fb00n, 0xfffn],
    [0, S.tss, 0x8900n, 0x67n],
    [3, S.tss, null, null],
    [0, S.ldt, 0x8200n, 0x3fn],
    [0, S.absentData, 0xcf_1300n, 0xffff_ffffn],
  ])('at level %i, selector 0x%s, in long mode', (level, selector, rights, limit) => {
    expect(ask(world64(level), lar, selector)).toBe(rights);
    expect(ask(world64(level), lsl, selector)).toBe(limit);
  });

  test.each([
    // type, LAR legacy, LAR long, LSL legacy, LSL long (SDM Vol. 2)
    [0, false, false, false, false],
    [1, true, false, true, false],
    [2, true, true, true, true],
    [3, true, false, true, false],
    [4, true, false, false, false],
    [5, true, false, false, false],
    [6, false, false, false, false],
    [7, false, false, false, false],
    [8, false, false, false, false],
    [9, true, true, true, true],
    [10, false, false, false, false],
    [11, true, true, true, true],
    [12, true, true, false, false],
    [13, false, false, false, false],
    [14, false, false, false, false],
    [15, false, false, false, false],
  ])('system type %i', (type, ...expected) => {
    const answers = [];
    for (const helper of [lar, lsl])
      for (const make of [world32, world64]) {
        const w = make().gdt(S.gate, encodeGate({ selector: 8, offset: 0n, type, dpl: 3 }));
        answers.push(ask(w, helper, S.gate) !== null);
        for (const question of [verr, verw]) expect(ask(w, question, S.gate)).toBeNull();
      }
    expect(answers).toEqual(expected);
  });

  test.each([
    [2, 0xffff_ffff_ffff_f300n, 0xffff_ffff_ffff_ffffn],
    [4, 0xcf_f300n, 0xffff_ffffn],
    [8, 0xcf_f300n, 0xffff_ffffn],
  ] as const)('results have the operand size: %i bytes', (size, rights, limit) => {
    expect(ask(world64(), lar, S.data3, size)).toBe(rights);
    expect(ask(world64(), lsl, S.data3, size)).toBe(limit);
  });

  test.each([
    // level, selector, readable, writable
    [3, S.data3 | 3, true, true],
    [3, S.data | 3, false, false],
    [0, S.data | 1, false, false],
    [0, S.readOnly, true, false],
    [3, S.code3 | 3, true, false],
    [3, S.executeOnly3 | 3, false, false],
    [3, S.conforming | 3, true, false],
    [0, S.absentData, true, true],
    [0, 0, false, false],
    [0, 0x200, false, false],
  ])('VERR and VERW at level %i, selector 0x%s', (level, selector, readable, writable) => {
    expect(ask(world32(level), verr, selector) !== null).toBe(readable);
    expect(ask(world32(level), verw, selector) !== null).toBe(writable);
  });

  test('the selector may come from memory', () => {
    const w = world32();
    w.core.writeLinear(AT, 2, BigInt(S.data));
    w.run((core) => lsl(core, insn({ at: AT, reg: 3 })));
    expect(w.core.state.gpr(3)).toBe(0xffff_ffffn);
  });
});

describe('ARPL', () => {
  test.each([
    [0x18, 3, 0x1b, true],
    [0x19, 2, 0x1a, true],
    [0x1a, 2, 0x1a, false],
    [0x1b, 0, 0x1b, false],
  ])('0x%s adjusted to %i', (selector, rpl, expected, adjusted) => {
    for (const memory of [false, true]) {
      const w = world32(3);
      w.core.state.setGpr(1, 0xffff_0000n | BigInt(selector));
      w.core.state.setGpr(2, BigInt(0x40 | rpl));
      w.core.writeLinear(AT, 4, 0xffff_0000n | BigInt(selector), true);
      w.run((core) => arpl(core, memory ? insn({ at: AT, reg: 2 }) : insn({ rm: 1, reg: 2 })));
      const value = memory ? w.core.readLinear(AT, 4, true) : w.core.state.gpr(1);
      expect(value).toBe(0xffff_0000n | BigInt(expected));
      expect((w.core.state.rflags & RFLAGS.ZF) !== 0).toBe(adjusted);
    }
  });

  test('writes memory only when it has something to raise', () => {
    const w = world64().enterCompat(3).page(USER, 0x65);
    const i = insn({ at: BigInt(USER), reg: 2 });
    expect(w.run((core) => arpl(core, i))).toBeUndefined();
    w.core.state.setGpr(2, 3n);
    expect(w.run((core) => arpl(core, i))).toEqual({ vector: 14, errorCode: 7, cr2: BigInt(USER) });
  });
});
