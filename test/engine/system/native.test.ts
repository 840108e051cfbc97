/** What an AMD EPYC (family 0x19) answered at level 3 in 64-bit mode, through a small C program: ten LDT entries made with
 * Linux's modify_ldt (which sets the accessed bit), asked with VERR, VERW, LAR and LSL, loaded into ES and SS, and taken
 * as the target of far jumps and returns. Only a refused entry was jumped to, so its outcome is an exception. */
import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import { descriptorHelpers } from '../../../src/engine/system/descriptors.ts';
import { farHelpers } from '../../../src/engine/system/far.ts';
import { loadSegment } from '../../../src/engine/system/segments.ts';
import { RFLAGS } from '../../../src/x86/constants.ts';
import { encodeSegment } from '../../../src/x86/descriptor.ts';
import { insn, TABLES, type World, world64 } from './world.ts';

type Fault = readonly [vector: number, errorCode: number];
const OK = undefined;

/** Entry, selector; attributes and limit; VERR, VERW; LAR, LSL; load of ES, of SS; far jump or return to offset 0x401000. */
const recorded: readonly [string, number, number, number, boolean, boolean, bigint, bigint, Fault?, Fault?, Fault?][] =
  [
    ['data', 0x07, 0xc0f3, 0xffff_ffff, true, true, 0xcf_f300n, 0xffff_ffffn, OK, OK],
    ['read-only data', 0x0f, 0xc0f1, 0xffff_ffff, true, false, 0xcf_f100n, 0xffff_ffffn, OK, [13, 0x0c], [13, 0x0c]],
    ['expand-down data', 0x17, 0xc0f7, 0xffff_ffff, true, true, 0xcf_f700n, 0xffff_ffffn, OK, OK],
    ['code', 0x1f, 0xc0fb, 0xffff_ffff, true, false, 0xcf_fb00n, 0xffff_ffffn, OK, [13, 0x1c]],
    ['execute-only code', 0x27, 0xc0f9, 0xffff_ffff, false, false, 0xcf_f900n, 0xffff_ffffn, [13, 0x24], [13, 0x24]],
    [
      'absent data',
      0x37,
      0xc073,
      0xffff_ffff,
      true,
      true,
      0xcf_7300n,
      0xffff_ffffn,
      [11, 0x34],
      [12, 0x34],
      [13, 0x34],
    ],
    [
      'absent conforming code',
      0x3f,
      0xc07f,
      0xffff_ffff,
      true,
      false,
      0xcf_7f00n,
      0xffff_ffffn,
      [11, 0x3c],
      [13, 0x3c],
    ],
    ['small code', 0x47, 0x40fb, 0xfff, true, false, 0x40_fb00n, 0xfffn, OK, [13, 0x44], [13, 0]],
    [
      'absent code',
      0x4f,
      0xc07b,
      0xffff_ffff,
      true,
      false,
      0xcf_7b00n,
      0xffff_ffffn,
      [11, 0x4c],
      [13, 0x4c],
      [11, 0x4c],
    ],
  ];

function world(): World {
  const w = world64(3);
  w.core.state.setSegment(SEG.LDTR, { selector: 0x70, base: BigInt(TABLES.ldt), limit: 0x4f, attributes: 0x82 });
  for (const [, selector, attributes, limit] of recorded) {
    const quad = encodeSegment({ base: 0n, limit, attributes });
    w.core.ram.setBigUint64(TABLES.ldt + (selector & ~7), quad, true);
  }
  return w;
}
const fault = (f: Fault | undefined) => f && { vector: f[0], errorCode: f[1] };

describe('as recorded on hardware', () => {
  test.each(recorded)('%s', (_, selector, _a, _l, readable, writable, rights, limit, es, ss, far) => {
    const w = world();
    const { state } = w.core;
    const ask = (name: 'verr' | 'verw' | 'lar' | 'lsl') => {
      state.setGpr(0, BigInt(selector));
      descriptorHelpers[name](w.core, insn({ rm: 0, reg: 3, operandSize: 8 }));
      return (state.rflags & RFLAGS.ZF) !== 0;
    };
    expect([ask('verr'), ask('verw')]).toEqual([readable, writable]);
    expect([ask('lar'), state.gpr(3)]).toEqual([true, rights]);
    expect([ask('lsl'), state.gpr(3)]).toEqual([true, limit]);
    expect(w.run((core) => loadSegment(core, SEG.ES, selector))).toEqual(fault(es));
    expect(w.run((core) => loadSegment(core, SEG.SS, selector))).toEqual(fault(ss));
    if (!far) return;
    const back = world().push(8, selector, 0x40_1000);
    expect(back.run((core) => farHelpers.lret(core, insn({ operandSize: 8 })))).toEqual(fault(far));
    const jump = insn({ immediate: 0x40_1000n, immediate2: selector });
    expect(back.run((core) => farHelpers.ljmp_imm(core, jump))).toEqual(fault(far));
  });

  test('an empty entry answers nothing, and one past the limit faults', () => {
    const w = world();
    for (const name of ['verr', 'verw', 'lar', 'lsl'] as const) {
      w.core.state.setGpr(0, 0x2fn);
      descriptorHelpers[name](w.core, insn({ rm: 0, reg: 3 }));
      expect(w.core.state.rflags & RFLAGS.ZF).toBe(0);
    }
    expect(w.run((core) => loadSegment(core, SEG.ES, 0x2f))).toEqual({ vector: 13, errorCode: 0x2c });
    expect(w.run((core) => loadSegment(core, SEG.ES, 0x57))).toEqual({ vector: 13, errorCode: 0x54 });
    const back = world().push(8, 0x57, 0x40_1000);
    expect(back.run((core) => farHelpers.lret(core, insn({ operandSize: 8 })))).toEqual({
      vector: 13,
      errorCode: 0x54,
    });
  });
});
