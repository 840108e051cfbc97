import { describe, expect, test } from 'vitest';
import { GuestFault } from '../../src/engine/core.ts';
import { SEG, STATE } from '../../src/engine/state.ts';
import { fpuHelpers, resetFpu } from '../../src/engine/system/fpu-state.ts';
import { x87Helpers } from '../../src/engine/system/x87.ts';
import { CR0, CR4 } from '../../src/x86/constants.ts';
import { flatCode32, flatData } from '../../src/x86/vcpu-state.ts';
import { insn, TestCore, thrown } from './test-core.ts';

function cpu(cr0 = 0): TestCore {
  const core = new TestCore();
  core.state.setSegment(SEG.CS, flatCode32(8));
  core.state.setSegment(SEG.DS, flatData(16));
  core.state.set64('CR0', BigInt(CR0.PE | CR0.NE | CR0.MP | cr0));
  core.state.set64('CR4', BigInt(CR4.OSFXSR));
  resetFpu(core.state);
  return core;
}
const run = (core: TestCore, name: string, more: Parameters<typeof insn>[0] = {}) =>
  (fpuHelpers[name] ?? x87Helpers[name])(core, insn(more));
const status = (core: TestCore) => core.state.view.getUint16(STATE.FXSAVE + 2, true);
const tags = (core: TestCore) => core.state.view.getUint8(STATE.FXSAVE + 4);
/** ST(i) as the manual writes it: sign and exponent, significand. */
function st(core: TestCore, i: number): string {
  const at = STATE.FXSAVE + 32 + 16 * i;
  const high = core.state.view
    .getUint16(at + 8, true)
    .toString(16)
    .padStart(4, '0');
  return `${high} ${core.state.view.getBigUint64(at, true).toString(16).padStart(16, '0')}`;
}

describe('FILD', () => {
  // biome-ignore format: a table
  test.each([
    ['fild_m16', 0n, '0000 0000000000000000'],
    ['fild_m16', 1n, '3fff 8000000000000000'],
    ['fild_m16', 0x8000n, 'c00e 8000000000000000'],
    ['fild_m32', 0xffff_fffdn, 'c000 c000000000000000'],
    ['fild_m64', 0x7fff_ffff_ffff_ffffn, '403d fffffffffffffffe'],
    ['fild_m64', 0x8000_0000_0000_0000n, 'c03e 8000000000000000'],
  ])('%s of %d is exact', (name, value, expected) => {
    const core = cpu();
    core.ram.setBigUint64(0x2000, value, true);
    run(core, name, { at: 0x2000n });
    expect([st(core, 0), status(core), tags(core)]).toEqual([expected, 0x3800, 0x80]);
  });

  test('onto a full stack gives the indefinite QNaN, or, unmasked, an error for the next instruction', () => {
    const core = cpu();
    for (let i = 0; i < 9; i++) run(core, 'fild_m16', { at: 0x2000n });
    expect([st(core, 0), st(core, 1), status(core)]).toEqual([
      'ffff c000000000000000',
      '0000 0000000000000000',
      0x3a41,
    ]);
    run(core, 'fnclex');
    core.state.view.setUint16(STATE.FXSAVE, 0x37e, true);
    run(core, 'fild_m16', { at: 0x2000n });
    expect(status(core)).toBe(0xbac1);
    expect(thrown(() => run(core, 'fild_m16', { at: 0x2000n }))).toEqual(new GuestFault(16));
  });

  test('of memory that is not there changes nothing', () => {
    const core = cpu(CR0.PG | CR0.WP);
    const before = core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512);
    expect(thrown(() => run(core, 'fild_m64', { at: 0x2000n }))?.vector).toBe(14);
    expect(core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512)).toEqual(before);
  });
});

describe('the stack', () => {
  test('turns with FINCSTP and FDECSTP, whatever the tags say; FFREE empties a register', () => {
    const core = cpu();
    core.ram.setInt16(0x2000, 1, true);
    run(core, 'fild_m16', { at: 0x2000n });
    run(core, 'fincstp');
    expect([st(core, 7), st(core, 0), status(core), tags(core)]).toEqual([
      '3fff 8000000000000000',
      '0000 0000000000000000',
      0,
      0x80,
    ]);
    run(core, 'ffree_sti', { rm: 7 });
    expect(tags(core)).toBe(0);
    run(core, 'fdecstp');
    expect([st(core, 0), status(core)]).toEqual(['3fff 8000000000000000', 0x3800]);
  });
});

describe('the pointers of the last instruction', () => {
  const CODE = 0x40_1000n;
  const pointers = (core: TestCore, name: string) => {
    run(core, name, { at: 0x3000n, operandSize: name === 'fxsave64' ? 8 : 4 });
    const word = (at: number) => core.ram.getUint32(0x3000 + at, true).toString(16);
    return name === 'fnstenv' ? [12, 16, 20, 24].map(word) : [4, 8, 12, 16, 20].map(word);
  };
  /** FLD [2000], and FLD1 behind it: what an AMD EPYC's FNSTENV shows then. */
  function loaded(): TestCore {
    const core = cpu();
    run(core, 'fld_m64', { at: 0x2000n, opcode: 0xdd, reg: 0, rm: 5, rip: CODE });
    run(core, 'fld1', { opcode: 0xd9, reg: 5, rm: 0, rip: CODE + 6n });
    return core;
  }

  test('are kept for FNSTENV: place and opcode of any instruction, operand of the last one that had one', () => {
    expect(pointers(loaded(), 'fnstenv')).toEqual(['401006', '1e80008', '2000', 'ffff0010']);
  });

  test('stay over control instructions, and go with FNINIT', () => {
    const core = loaded();
    run(core, 'fnstsw_ax');
    run(core, 'fldcw', { at: 0x2000n });
    expect(pointers(core, 'fnstenv')).toEqual(['401006', '1e80008', '2000', 'ffff0010']);
    run(core, 'fninit');
    expect(pointers(core, 'fnstenv')).toEqual(['0', '0', '0', 'ffff0000']);
  });

  test('are saved by FXSAVE only while an error is pending', () => {
    const core = loaded();
    expect(pointers(core, 'fxsave')).toEqual(['c0', '0', '0', '0', '0']);
    core.state.view.setUint16(STATE.FXSAVE, 0x37b, true);
    core.ram.setFloat64(0x2000, 0, true);
    run(core, 'fdiv_m64', { at: 0x2000n, opcode: 0xdc, reg: 6, rm: 5, rip: CODE + 8n });
    expect(pointers(core, 'fxsave')).toEqual(['43500c0', '401008', '8', '2000', '10']);
    run(core, 'fnclex');
    expect(pointers(core, 'fxsave')).toEqual(['c0', '0', '0', '0', '0']);
  });
});

describe('an unmasked error', () => {
  function divided(cr0 = 0): TestCore {
    const core = cpu(cr0);
    run(core, 'fldz');
    run(core, 'fld1');
    core.state.view.setUint16(STATE.FXSAVE, 0x37b, true);
    run(core, 'fdivrp_sti', { rm: 1 });
    return core;
  }
  test('waits in the status word, with operands and stack as they were', () => {
    const core = divided();
    expect([st(core, 0), st(core, 1), status(core)]).toEqual([
      '3fff 8000000000000000',
      '0000 0000000000000000',
      0xb084,
    ]);
  });

  test.each(['fld1', 'fwait', 'fldcw', 'fadd_m32', 'frstor', 'emms', 'fnop', 'fxch_sti'])('is #MF at %s', (name) => {
    const core = divided();
    const before = core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512);
    expect(thrown(() => run(core, name, { at: 0x2000n }))).toEqual(new GuestFault(16));
    expect(core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512)).toEqual(before);
  });

  test.each(['fnstsw_ax', 'fnstcw', 'fnclex', 'fninit', 'fnsave', 'fnstenv', 'fxsave', 'fneni'])(
    'does not stop %s',
    (name) => {
      const core = divided();
      expect(thrown(() => run(core, name, { at: 0x2000n }))).toBeUndefined();
    },
  );

  test('is named as not built where IRQ 13 would tell of it', () => {
    const core = divided();
    core.state.set64('CR0', BigInt(CR0.PE));
    expect(() => run(core, 'fld1')).toThrow(expect.objectContaining({ what: expect.stringContaining('IRQ 13') }));
  });
});

describe('where alignment is checked, as on an AMD EPYC', () => {
  // biome-ignore format: a table
  test.each([
    ['fld_m80', 8], ['fstp_m80', 8], ['fbld', 8], ['fbstp', 8], ['fld_m64', 8], ['fistp_m64', 8], ['fstp_m32', 4], ['fild_m16', 2], ['fist_m16', 2],
    ['fnstenv', 4], ['fnsave', 4], ['fldenv', 4], ['fnstcw', 2],
  ])('%s wants %d bytes', (name, alignment) => {
    const core = cpu();
    if (!/^f(b|i)?ld/.test(name)) run(core, 'fldz');
    core.state.set64('CR0', BigInt(CR0.PE | CR0.NE | CR0.MP | CR0.AM));
    core.state.rflags = 0x4_0002;
    core.state.cpl = 3;
    core.modeChanged();
    const faults: (number | undefined)[] = [];
    const before = core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512);
    for (let at = 1; at < alignment; at++) {
      faults.push(thrown(() => run(core, name, { at: BigInt(0x2000 + at) }))?.vector);
      expect(core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512)).toEqual(before);
    }
    expect(faults).toEqual(faults.map(() => 17));
    expect(thrown(() => run(core, name, { at: BigInt(0x2000 + alignment) }))).toBeUndefined();
  });
});

describe('a fault of memory', () => {
  // biome-ignore format: a list
  test.each(['fld_m32', 'fld_m64', 'fld_m80', 'fbld', 'fadd_m32', 'ficomp_m16', 'fst_m32', 'fstp_m64', 'fstp_m80', 'fbstp', 'fistp_m64'])('leaves %s undone', (name) => {
    const core = cpu();
    if (!/^f(b|i)?ld/.test(name)) run(core, 'fldpi');
    core.state.set64('CR0', BigInt(CR0.PE | CR0.NE | CR0.PG | CR0.WP));
    const before = core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512);
    expect(thrown(() => run(core, name, { at: 0x2000n }))?.vector).toBe(14);
    expect(core.state.bytes.slice(STATE.FXSAVE, STATE.FXSAVE + 512)).toEqual(before);
  });
});
