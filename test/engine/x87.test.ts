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
