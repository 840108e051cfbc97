import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import {
  stackFlagHelpers,
  writableFlags,
  writeFlags,
  writeReturnFlags,
} from '../../../src/engine/system/stack-flags.ts';
import { RFLAGS } from '../../../src/x86/constants.ts';
import { insn, S, world32, world64 } from './world.ts';

const { pushf, popf, cli, sti } = stackFlagHelpers;
const ALL = 0x003f_7fd7; // every defined flag, and bit 1

describe('POPF (SDM Vol. 2): what of "all ones" arrives, from flags that were all clear', () => {
  test.each([
    // level, IOPL, size, RFLAGS afterwards
    [0, 0, 4, 0x0024_7fd7],
    [0, 0, 2, 0x0000_7fd7],
    [1, 0, 4, 0x0024_4dd7],
    [3, 0, 4, 0x0024_4dd7], // as an EPYC answers: 0x204ad7 for 0x3b7ad7
    [3, 3, 4, 0x0024_7fd7],
    [3, 2, 4, 0x0024_6dd7],
    [2, 2, 4, 0x0024_6fd7],
    [3, 3, 2, 0x0000_7fd7],
    [3, 0, 8, 0x0024_4dd7],
  ] as const)('level %i, IOPL %i, %i bytes', (level, iopl, size, expected) => {
    const w = world32(level);
    w.core.state.rflags = (iopl << 12) | 2;
    writeFlags(w.core, ALL, size);
    expect(w.core.state.rflags.toString(16)).toBe(expected.toString(16));
  });

  test('bits that may not be written keep their value', () => {
    const w = world32(3);
    w.core.state.rflags = RFLAGS.IF | RFLAGS.VIF | RFLAGS.VIP | RFLAGS.RF | (1 << 12) | 2;
    writeFlags(w.core, 2, 4);
    expect(w.core.state.rflags).toBe(RFLAGS.IF | RFLAGS.VIF | RFLAGS.VIP | (1 << 12) | 2);
  });

  test('IRET writes RF too, and VIF and VIP at level 0', () => {
    const w = world32();
    writeReturnFlags(w.core, ALL, 4);
    expect(w.core.state.rflags).toBe(0x3d_7fd7);
    const user = world32(3);
    writeReturnFlags(user.core, ALL, 4);
    expect(user.core.state.rflags).toBe(0x25_4dd7);
    const word = world32();
    writeReturnFlags(word.core, ALL, 2);
    expect(word.core.state.rflags).toBe(0x7fd7);
  });

  test('nothing outside the mask is ever writable', () => {
    for (const cpl of [0, 1, 2, 3])
      for (const iopl of [0, 1, 2, 3])
        for (const size of [2, 4, 8] as const) expect(writableFlags(cpl, iopl, size) & ~0x24_7fd5).toBe(0);
  });

  test('a change of AC is told to the MMU', () => {
    const w = world32(3);
    const before = w.core.modeChanges;
    writeFlags(w.core, RFLAGS.CF, 4);
    expect(w.core.modeChanges).toBe(before);
    writeFlags(w.core, RFLAGS.AC, 4);
    expect(w.core.modeChanges).toBe(before + 1);
  });
});

describe('PUSHF and POPF on the stack', () => {
  test.each([
    [2, world32, 0x0cd7n],
    [4, world32, 0x24_0cd7n],
    [8, world64, 0x24_0cd7n],
  ] as const)('%i bytes, there and back', (operandSize, make, image) => {
    const w = make();
    w.core.state.rflags = 0x25_0cd7; // RF set
    const sp = w.core.state.gpr(4);
    expect(w.run((core) => pushf(core, insn({ operandSize })))).toBeUndefined();
    expect(w.stack(1, operandSize)).toEqual([image]);
    expect(w.core.state.gpr(4)).toBe(sp - BigInt(operandSize));
    w.core.state.rflags = 2;
    popf(w.core, insn({ operandSize }));
    expect(BigInt(w.core.state.rflags)).toBe(image);
    expect(w.core.state.gpr(4)).toBe(sp);
  });

  test('a 16-bit stack moves SP alone', () => {
    const w = world32();
    w.core.state.setSegment(SEG.SS, w.descriptor(S.stack16));
    w.core.state.setGpr(4, 0x1234_0000n);
    pushf(w.core, insn());
    expect(w.core.state.gpr(4)).toBe(0x1234_fffcn);
    expect(w.core.readLinear(0xfffcn, 4)).toBe(2n);
    popf(w.core, insn());
    expect(w.core.state.gpr(4)).toBe(0x1234_0000n);
  });

  test('a page fault leaves the stack pointer and the flags', () => {
    const w = world64(3);
    w.core.state.setGpr(4, 0x3_0000n);
    expect(w.run((core) => pushf(core, insn({ operandSize: 8 })))).toEqual({
      vector: 14,
      errorCode: 7,
      cr2: 0x2_fff8n,
    });
    expect(w.run((core) => popf(core, insn({ operandSize: 8 })))).toMatchObject({ vector: 14, errorCode: 5 });
  });
});

describe('CLI and STI', () => {
  test.each([
    [0, 0, undefined],
    [1, 0, { vector: 13, errorCode: 0 }],
    [3, 2, { vector: 13, errorCode: 0 }],
    [3, 3, undefined],
  ])('at level %i with IOPL %i', (level, iopl, outcome) => {
    const w = world32(level);
    w.core.state.rflags = (iopl << 12) | 2;
    expect(w.run(sti)).toEqual(outcome);
    expect(w.run(cli)).toEqual(outcome);
    expect(w.core.state.rflags & RFLAGS.IF).toBe(0);
  });

  test('STI shadows one instruction only when interrupts were off', () => {
    const w = world32();
    sti(w.core);
    expect([w.core.state.shadow, w.core.state.rflags]).toEqual([1, RFLAGS.IF | 2]);
    w.core.state.shadow = 0;
    sti(w.core);
    expect(w.core.state.shadow).toBe(0);
  });
});
