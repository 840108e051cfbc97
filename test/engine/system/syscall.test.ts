import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import { syscallHelpers } from '../../../src/engine/system/syscall.ts';
import { EFER, RFLAGS } from '../../../src/x86/constants.ts';
import { flatCode32, flatCode64, flatData } from '../../../src/x86/vcpu-state.ts';
import { insn, S, type World, world32, world64 } from './world.ts';

const { syscall, sysret, sysenter, sysexit } = syscallHelpers;
const INSN = insn({ rip: 0x4_1000n, nextRip: 0x4_1002n });

/** STAR as Linux sets it: SYSCALL to 0x10, SYSRET from 0x23. */
function withMsrs(w: World): World {
  const { state } = w.core;
  state.set64('STAR', 0x0023_0010_c000_1234n);
  state.set64('LSTAR', 0xffff_ffff_8180_0000n);
  state.set64('CSTAR', 0xffff_ffff_8190_0000n);
  state.set64('SFMASK', BigInt(RFLAGS.IF | RFLAGS.TF | RFLAGS.DF));
  state.set64('SYSENTER_CS', 0x60n);
  state.set64('SYSENTER_ESP', 0x2_0000n);
  state.set64('SYSENTER_EIP', 0x1_0000n);
  state.set64('EFER', state.get64('EFER') | BigInt(EFER.SCE));
  return w;
}

describe('SYSCALL', () => {
  test.each([
    ['64-bit', () => withMsrs(world64(3)), 0xffff_ffff_8180_0000n],
    ['compatibility', () => withMsrs(world64().enterCompat(3)), 0xffff_ffff_8190_0000n],
  ])('from %s mode', (_, make, target) => {
    const w = make();
    w.core.state.rflags = RFLAGS.IF | RFLAGS.CF | RFLAGS.DF | RFLAGS.RF | 2;
    expect(w.run((core) => syscall(core, INSN))).toBeUndefined();
    expect(w.core.state.rip).toBe(target);
    expect(w.core.state.gpr(1)).toBe(0x4_1002n);
    expect(w.core.state.gpr(11)).toBe(BigInt(RFLAGS.IF | RFLAGS.CF | RFLAGS.DF | 2));
    expect(w.core.state.rflags).toBe(RFLAGS.CF | 2);
    expect(w.core.state.segment(SEG.CS)).toEqual(flatCode64(0x10));
    expect(w.core.state.segment(SEG.SS)).toEqual(flatData(0x18));
    expect(w.core.state.cpl).toBe(0);
    expect(w.core.state.gpr(4)).toBe(0x5_0000n); // the kernel finds its stack itself
  });

  test('in legacy mode the target is STAR, and R11 is not touched', () => {
    const w = withMsrs(world32(3));
    w.core.state.rflags = RFLAGS.IF | 2;
    w.core.state.setGpr(11, 5n);
    syscall(w.core, INSN);
    expect([w.core.state.rip, w.core.state.gpr(1), w.core.state.gpr(11)]).toEqual([0xc000_1234n, 0x4_1002n, 5n]);
    expect(w.core.state.rflags).toBe(2);
    expect(w.core.state.segment(SEG.CS)).toEqual(flatCode32(0x10));
  });

  test('is undefined without EFER.SCE, and so is SYSRET', () => {
    const w = withMsrs(world64());
    w.core.state.set64('EFER', BigInt(EFER.LMA | EFER.LME));
    expect(w.run((core) => syscall(core, INSN))).toEqual({ vector: 6 });
    expect(w.run((core) => sysret(core, INSN))).toEqual({ vector: 6 });
  });
});

describe('SYSRET', () => {
  test.each([
    ['to 64-bit mode', 8, 0x1_2345_6789n, flatCode64(0x33, 3)],
    ['to compatibility mode', 4, 0x2345_6789n, flatCode32(0x23, 3)],
  ] as const)('%s', (_, operandSize, rip, code) => {
    const w = withMsrs(world64());
    const { state } = w.core;
    state.setGpr(1, 0x1_2345_6789n);
    state.setGpr(11, 0xffff_ffffn);
    state.setSegment(SEG.SS, { ...flatData(0x18), limit: 0x1234 });
    sysret(w.core, insn({ operandSize }));
    expect(state.rip).toBe(rip);
    expect(state.segment(SEG.CS)).toEqual(code);
    expect(state.rflags).toBe(0x3c_7fd7); // without RF and VM
    expect(state.cpl).toBe(3);
    expect(state.segment(SEG.SS)).toEqual({ ...flatData(0x2b), limit: 0x1234 }); // AMD: the hidden part stays
  });

  test('leaves an RCX that is not canonical to the target, at level 3', () => {
    const w = withMsrs(world64());
    w.core.state.setGpr(1, 1n << 47n);
    expect(w.run((core) => sysret(core, insn({ operandSize: 8 })))).toBeUndefined();
    expect([w.core.state.rip, w.core.state.cpl]).toEqual([1n << 47n, 3]);
  });

  test('in legacy mode sets IF', () => {
    const w = withMsrs(world32());
    w.core.state.setGpr(1, 0x4_1000n);
    sysret(w.core, insn());
    expect([w.core.state.rip, w.core.state.rflags, w.core.state.cpl]).toEqual([0x4_1000n, RFLAGS.IF | 2, 3]);
  });

  test('is for level 0 only', () => {
    expect(withMsrs(world64(3)).run((core) => sysret(core, INSN))).toEqual({ vector: 13, errorCode: 0 });
  });
});

describe('SYSENTER and SYSEXIT', () => {
  test('enter the kernel and leave it in 32-bit protected mode', () => {
    const w = withMsrs(world32(3));
    const { state } = w.core;
    state.rflags = RFLAGS.IF | RFLAGS.CF | 2;
    sysenter(w.core);
    expect(state.segment(SEG.CS)).toEqual(flatCode32(0x60));
    expect(state.segment(SEG.SS)).toEqual(flatData(0x68));
    expect([state.rip, state.gpr(4), state.cpl, state.rflags]).toEqual([0x1_0000n, 0x2_0000n, 0, RFLAGS.CF | 2]);
    state.setGpr(1, 0x5_0000n);
    state.setGpr(2, 0x4_1000n);
    sysexit(w.core);
    expect(state.segment(SEG.CS)).toEqual(flatCode32(0x73, 3));
    expect(state.segment(SEG.SS)).toEqual(flatData(0x7b, 3));
    expect([state.rip, state.gpr(4), state.cpl]).toEqual([0x4_1000n, 0x5_0000n, 3]);
  });

  test.each([
    ['SYSENTER with a null SYSENTER_CS', sysenter, () => world32(3), { vector: 13, errorCode: 0 }],
    ['SYSEXIT with a null SYSENTER_CS', sysexit, () => world32(), { vector: 13, errorCode: 0 }],
    ['SYSEXIT above level 0', sysexit, () => withMsrs(world32(1)), { vector: 13, errorCode: 0 }],
    ['SYSENTER in long mode', sysenter, () => withMsrs(world64(3)), { vector: 6 }],
    ['SYSEXIT in long mode', sysexit, () => withMsrs(world64()), { vector: 6 }],
    ['SYSEXIT in long mode above level 0', sysexit, () => withMsrs(world64(3)), { vector: 13, errorCode: 0 }],
  ])('%s faults', (_, helper, make, outcome) => {
    expect(make().run(helper)).toEqual(outcome);
  });

  test('SYSENTER does not look at the descriptor tables', () => {
    const w = withMsrs(world32(3));
    w.core.state.set64('SYSENTER_CS', BigInt(S.absentCode));
    expect(w.run(sysenter)).toBeUndefined();
  });
});
