import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import { loadSegment, segmentHelpers } from '../../../src/engine/system/segments.ts';
import { CR4 } from '../../../src/x86/constants.ts';
import { nullSegment } from '../../../src/x86/vcpu-state.ts';
import { insn, S, TABLES, USER, type World, world32, world64 } from './world.ts';

const { ES, CS, SS, DS, FS, GS } = SEG;
const load = (w: World, segment: number, selector: number) => w.run((core) => loadSegment(core, segment, selector));

// SDM Vol. 2, MOV, "loading a segment register"; Vol. 3, 5.6 and 5.7. Level, register, selector, vector, error code.
const refusals = [
  ['data beyond the GDT', 0, DS, 0x203, 13, 0x200],
  ['a selector of an LDT that is null', 0, DS, 0x0c, 13, 0x0c],
  ['a TSS', 0, DS, S.tss, 13, S.tss],
  ['code that cannot be read', 3, DS, S.executeOnly3 | 3, 13, S.executeOnly3],
  ['data of a higher privilege than CPL', 3, DS, S.data, 13, S.data],
  ['data of a higher privilege than RPL', 0, ES, S.data | 1, 13, S.data],
  ['readable code of a higher privilege', 3, FS, S.code | 3, 13, S.code],
  ['data that is not present', 0, GS, S.absentData, 11, S.absentData],
  ['privilege comes before presence', 3, GS, S.absentData | 3, 13, S.absentData],
  ['SS beyond the GDT', 0, SS, 0x200, 13, 0x200],
  ['SS with another RPL', 0, SS, S.data | 3, 13, S.data],
  ['SS with another DPL', 0, SS, S.data3, 13, S.data3],
  ['SS with another DPL at level 3', 3, SS, S.data | 3, 13, S.data],
  ['SS that cannot be written', 0, SS, S.readOnly, 13, S.readOnly],
  ['SS that is code', 0, SS, S.code, 13, S.code],
  ['SS that is not present', 0, SS, S.absentData, 12, S.absentData],
  ['a null SS at level 3', 3, SS, 0, 13, 0],
] as const;

describe.each([
  ['64-bit', world64],
  ['32-bit', world32],
] as const)('loads in %s mode', (_, make) => {
  test.each(refusals)('%s is refused', (_what, level, segment, selector, vector, errorCode) => {
    expect(load(make(level), segment, selector)).toEqual({ vector, errorCode });
  });

  test.each([
    ['data', 3, DS, S.data3 | 3],
    ['data of a lower privilege', 0, DS, S.data3],
    ['readable code', 0, ES, S.code],
    ['conforming code of a higher privilege', 3, GS, S.conforming | 3],
    ['a stack', 0, SS, S.data],
    ['a stack at level 1', 1, SS, S.data1 | 1],
  ])('%s is accepted, with its hidden part', (_what, level, segment, selector) => {
    const w = make(level);
    expect(load(w, segment, selector)).toBeUndefined();
    expect(w.core.state.segment(segment)).toEqual({ ...w.descriptor(selector), selector });
  });

  test('the accessed bit is set once, in the table too', () => {
    const w = make(0).segment(S.data, { base: 0x1234_5678n, limit: 0xfff, attributes: 0x4092 });
    expect(load(w, DS, S.data)).toBeUndefined();
    expect(w.descriptor(S.data).attributes).toBe(0x4093);
    expect(w.core.state.segment(DS)).toEqual({
      selector: S.data,
      base: 0x1234_5678n,
      limit: 0xfff,
      attributes: 0x4093,
    });
  });

  test('a selector of the LDT uses the LDT, up to its limit', () => {
    const w = make(0);
    w.core.state.setSegment(SEG.LDTR, { selector: S.ldt, base: BigInt(TABLES.ldt), limit: 0xf, attributes: 0x82 });
    w.core.ram.setBigUint64(TABLES.ldt + 8, 0x00cf_9300_0000_ffffn, true);
    expect(load(w, DS, 0x0c)).toBeUndefined();
    expect(w.core.state.selector(DS)).toBe(0x0c);
    expect(load(w, DS, 0x14)).toEqual({ vector: 13, errorCode: 0x14 });
  });

  test('null data segments are accepted with any RPL', () => {
    const w = make(3);
    for (const segment of [DS, ES, FS, GS]) {
      expect(load(w, segment, 3)).toBeUndefined();
      expect(w.core.state.segment(segment)).toEqual(nullSegment(3));
    }
  });
});

test('a null SS is for 64-bit code below level 3, with its own level as RPL', () => {
  expect(load(world64(), SS, 0)).toBeUndefined();
  expect(load(world64(2), SS, 2)).toBeUndefined();
  expect(load(world64(2), SS, 1)).toEqual({ vector: 13, errorCode: 0 });
  expect(load(world64().enterCompat(0), SS, 0)).toEqual({ vector: 13, errorCode: 0 });
  expect(load(world32(), SS, 0)).toEqual({ vector: 13, errorCode: 0 });
});

test('a null selector in FS or GS keeps the base in long mode, as family 0xf does', () => {
  const w = world64(3);
  w.core.state.setSegment(GS, { ...w.descriptor(S.data3), base: 0xffff_8880_0000_0000n });
  load(w, GS, 0);
  expect(w.core.state.segment(GS)).toEqual({ selector: 0, base: 0xffff_8880_0000_0000n, limit: 0, attributes: 0 });
  load(w, GS, S.data3 | 3);
  expect(w.core.state.base(GS)).toBe(0n);
});

test('an accessed bit that cannot be written raises the page fault before the load', () => {
  const w = world64().segment(S.data, { base: 0n, limit: 0xffff_ffff, attributes: 0xc092 });
  w.page(TABLES.gdt, 0x61);
  expect(load(w, DS, S.data)).toEqual({ vector: 14, errorCode: 3, cr2: BigInt(TABLES.gdt + S.data + 5) });
});

test('descriptor tables are read with supervisor rights at level 3', () => {
  expect(load(world64(3), DS, S.data3 | 3)).toBeUndefined();
  const w = world64(3).page(TABLES.gdt, 0x62);
  expect(load(w, DS, S.data3 | 3)).toEqual({ vector: 14, errorCode: 0, cr2: BigInt(TABLES.gdt + S.data3) });
});

describe('MOV', () => {
  test('to SS holds interrupts off for one instruction, to DS not', () => {
    const w = world32();
    w.core.state.setGpr(0, BigInt(S.data));
    segmentHelpers.mov_to_sreg(w.core, insn({ reg: DS, rm: 0 }));
    expect(w.core.state.shadow).toBe(0);
    segmentHelpers.mov_to_sreg(w.core, insn({ reg: SS, rm: 0 }));
    expect(w.core.state.shadow).toBe(2);
  });

  test.each([CS, 6, 7])('to segment register %i is undefined', (reg) => {
    expect(world32().run((core) => segmentHelpers.mov_to_sreg(core, insn({ reg })))).toEqual({ vector: 6 });
  });

  test.each([6, 7])('from segment register %i is undefined', (reg) => {
    expect(world32().run((core) => segmentHelpers.mov_from_sreg(core, insn({ reg })))).toEqual({ vector: 6 });
  });

  test.each([
    [2, 0xffff_ffff_ffff_0010n],
    [4, 0x10n],
    [8, 0x10n],
  ] as const)('to a register writes %i bytes', (operandSize, expected) => {
    const w = world64();
    w.core.state.setGpr(3, 0xffff_ffff_ffff_ffffn);
    segmentHelpers.mov_from_sreg(w.core, insn({ reg: SS, rm: 3, operandSize }));
    expect(w.core.state.gpr(3)).toBe(expected);
  });

  test('to memory writes two bytes at any operand size', () => {
    const w = world64();
    w.core.writeLinear(0x2_0000n, 8, 0xffff_ffff_ffff_ffffn);
    segmentHelpers.mov_from_sreg(w.core, insn({ reg: SS, at: 0x2_0000n, operandSize: 8 }));
    expect(w.core.readLinear(0x2_0000n, 8)).toBe(0xffff_ffff_ffff_0010n);
  });
});

describe('PUSH and POP', () => {
  test.each([
    [0x06, ES],
    [0x0e, CS],
    [0x16, SS],
    [0x1e, DS],
    [0xa0, FS],
    [0xa8, GS],
  ])('opcode 0x%s pushes its register, zero-extended to the slot', (opcode, segment) => {
    const w = world32();
    w.core.state.setSegment(segment, { ...w.descriptor(S.data), selector: 0xabc0 + segment });
    w.core.writeLinear(0x1_fffcn, 4, 0xffff_ffffn);
    segmentHelpers.push_sreg(w.core, insn({ opcode }));
    expect(w.stack(1, 4)).toEqual([BigInt(0xabc0 + segment)]);
  });

  test.each([
    [0x07, ES],
    [0x17, SS],
    [0x1f, DS],
    [0xa1, FS],
    [0xa9, GS],
  ])('opcode 0x%s pops its register', (opcode, segment) => {
    const w = world32().push(4, 0xffff_0000 + S.data);
    const sp = w.core.state.gpr(4);
    segmentHelpers.pop_sreg(w.core, insn({ opcode }));
    expect(w.core.state.selector(segment)).toBe(S.data);
    expect(w.core.state.gpr(4)).toBe(sp + 4n);
    expect(w.core.state.shadow).toBe(segment === SS ? 2 : 0);
  });

  test('POP SS to a 16-bit stack moves ESP by the old stack', () => {
    const w = world32();
    w.core.state.setGpr(4, 0x2_fffcn);
    w.core.writeLinear(0x2_fffcn, 4, BigInt(S.stack16));
    segmentHelpers.pop_sreg(w.core, insn({ opcode: 0x17 }));
    expect(w.core.state.gpr(4)).toBe(0x3_0000n);
  });

  test('a POP that faults leaves the stack pointer', () => {
    const w = world32().push(4, S.absentData);
    expect(w.run((core) => segmentHelpers.pop_sreg(core, insn({ opcode: 0x1f })))).toEqual({
      vector: 11,
      errorCode: S.absentData,
    });
  });
});

describe('far pointers', () => {
  test.each([
    ['lds', DS, 4, 0x1234_5678n],
    ['les', ES, 2, 0xffff_ffff_ffff_1234n],
    ['lfs', FS, 4, 0x1234_5678n],
    ['lgs', GS, 4, 0x1234_5678n],
    ['lss', SS, 4, 0x1234_5678n],
  ] as const)('%s loads a segment and a register', (name, segment, operandSize, expected) => {
    const w = world32();
    w.core.state.setGpr(3, 0xffff_ffff_ffff_ffffn);
    w.core.writeLinear(0x2_0000n, operandSize, operandSize === 4 ? 0x1234_5678n : 0x1234n);
    w.core.writeLinear(0x2_0000n + BigInt(operandSize), 2, BigInt(S.data));
    segmentHelpers[name](w.core, insn({ reg: 3, at: 0x2_0000n, operandSize }));
    expect(w.core.state.selector(segment)).toBe(S.data);
    expect(w.core.state.gpr(3)).toBe(expected);
    expect(w.core.state.shadow).toBe(0);
  });

  test('REX.W widens the register, not the pointer', () => {
    const w = world64(3);
    const at = BigInt(USER);
    w.core.writeLinear(at, 8, (0x2bn << 32n) | 0x89ab_cdefn);
    w.segment(0x28, { base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
    segmentHelpers.lgs(w.core, insn({ reg: 0, at, operandSize: 8 }));
    expect([w.core.state.selector(GS), w.core.state.gpr(0)]).toEqual([0x2b, 0x89ab_cdefn]);
  });

  test('a register operand is undefined', () => {
    expect(world32().run((core) => segmentHelpers.lds(core, insn({ rm: 1 })))).toEqual({ vector: 6 });
  });

  test('a pointer that is cut by the segment limit changes nothing', () => {
    const w = world32();
    w.core.state.setSegment(DS, { selector: S.data, base: 0n, limit: 0x2_0004, attributes: 0x4093 });
    expect(w.run((core) => segmentHelpers.les(core, insn({ at: 0x2_0000n })))).toEqual({ vector: 13, errorCode: 0 });
  });
});

describe('FSGSBASE', () => {
  test('is undefined until CR4 enables it, then reads and writes canonical bases', () => {
    const w = world64(3);
    const i = insn({ rm: 2, operandSize: 8 });
    expect(w.run((core) => segmentHelpers.wrgsbase(core, i))).toEqual({ vector: 6 });
    w.core.state.set64('CR4', BigInt(CR4.PAE | CR4.FSGSBASE));
    w.core.state.setGpr(2, 0xffff_8000_1234_5678n);
    expect(w.run((core) => segmentHelpers.wrgsbase(core, i))).toBeUndefined();
    expect(w.core.state.base(GS)).toBe(0xffff_8000_1234_5678n);
    segmentHelpers.rdgsbase(w.core, insn({ rm: 1, operandSize: 4 }));
    expect(w.core.state.gpr(1)).toBe(0x1234_5678n);
    w.core.state.setGpr(2, 1n << 47n);
    expect(w.run((core) => segmentHelpers.wrfsbase(core, i))).toEqual({ vector: 13, errorCode: 0 });
    expect(w.run((core) => segmentHelpers.wrfsbase(core, insn({ rm: 2, operandSize: 4 })))).toBeUndefined();
    segmentHelpers.rdfsbase(w.core, insn({ rm: 1, operandSize: 8 }));
    expect(w.core.state.gpr(1)).toBe(0n);
  });
});
