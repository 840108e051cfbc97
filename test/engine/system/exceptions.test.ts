import { describe, expect, test } from 'vitest';
import { SEG } from '../../../src/engine/state.ts';
import {
  classOf,
  combine,
  deliverException,
  deliverInterrupt,
  exceptionHelpers,
  recordDebug,
  softwareInterrupt,
} from '../../../src/engine/system/exceptions.ts';
import { RFLAGS, SYSTEM_TYPE } from '../../../src/x86/constants.ts';
import { insn, S, STACK, TABLES, type World, world32, world64 } from './world.ts';

const handler = (vector: number): bigint => 0x1_0000n + BigInt(16 * vector);
const INT = insn({ rip: 0x4_1000n, nextRip: 0x4_1002n });
/** INT n: its faults are visible as they are, before anything is nested. */
const int = (world: World, vector: number) => world.run((core) => softwareInterrupt(core, INT, vector));

describe('64-bit delivery (SDM Vol. 3, 6.14)', () => {
  test('a fault at level 0 pushes SS:RSP, RFLAGS with RF, CS:RIP and its error code on an aligned stack', () => {
    const w = world64().allGates();
    const { state } = w.core;
    state.setGpr(4, 0x2_0009n);
    state.rflags = RFLAGS.IF | RFLAGS.TF | RFLAGS.NT | RFLAGS.CF | 2;
    expect(deliverException(w.core, 14, 2, 0xdead_b000n)).toBeUndefined();
    expect(state.rip).toBe(handler(14));
    expect(state.gpr(4)).toBe(0x2_0000n - 48n);
    expect(w.stack(6, 8)).toEqual([2n, 0x1_1000n, 0x8n, 0x1_4303n, 0x2_0009n, 0x10n]);
    expect(state.rflags).toBe(RFLAGS.CF | 2);
    expect(state.get64('CR2')).toBe(0xdead_b000n);
    expect(state.selector(SEG.SS)).toBe(S.data);
  });

  test.each([
    [0, STACK.tss0],
    [1, STACK.tss1],
    [2, STACK.tss2],
  ])('from level 3 to level %i: RSP comes from the TSS and SS is null with the new level', (level, sp) => {
    const w = world64(3);
    w.idtGate(32, { selector: w.codeOf(level) & ~3, offset: 0x1_0000n });
    w.core.state.rflags = RFLAGS.IF | 2;
    const { modeChanges } = w.core;
    expect(deliverInterrupt(w.core, 32)).toBeUndefined();
    const { state } = w.core;
    expect(w.core.modeChanges).toBe(modeChanges + 1);
    expect(state.cpl).toBe(level);
    expect(state.segment(SEG.SS)).toEqual({ selector: level, base: 0n, limit: 0, attributes: 0 });
    expect(state.selector(SEG.CS)).toBe(w.codeOf(level));
    expect(state.gpr(4)).toBe(BigInt(sp - 40));
    expect(w.stack(5, 8)).toEqual([0x4_1000n, 0x2bn, 0x202n, BigInt(STACK.user), 0x23n]);
    expect(state.rflags).toBe(2);
  });

  test('a trap gate leaves IF as it was', () => {
    const w = world64();
    w.idtGate(3, { selector: S.code, offset: 0x1_0030n, type: SYSTEM_TYPE.TRAP_GATE });
    w.core.state.rflags = RFLAGS.IF | 2;
    deliverException(w.core, 3);
    expect(w.core.state.rflags).toBe(RFLAGS.IF | 2);
  });

  test('an IST entry switches stacks at the same level and keeps SS', () => {
    const w = world64().idtGate(2, { selector: S.code, offset: 0x1_0000n, ist: 1 });
    deliverInterrupt(w.core, 2);
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.ist1 - 40));
    expect(w.core.state.selector(SEG.SS)).toBe(S.data);
    expect(w.stack(5, 8)[3]).toBe(BigInt(STACK.kernel));
  });

  test('a conforming handler runs at the level of the program', () => {
    const w = world64(3).idtGate(40, { selector: S.conforming, offset: 0x4_2000n });
    deliverInterrupt(w.core, 40);
    expect(w.core.state.cpl).toBe(3);
    expect(w.core.state.selector(SEG.CS)).toBe(S.conforming | 3);
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.user - 40));
  });

  test('compatibility mode enters 64-bit handlers', () => {
    const w = world64().allGates().enterCompat(3);
    deliverInterrupt(w.core, 33);
    expect(w.core.state.is64).toBe(true);
    expect(w.stack(5, 8)).toEqual([0x4_1000n, 0x43n, 2n, BigInt(STACK.user), 0x23n]);
  });

  test('sets the accessed bit of the code segment, when it is clear', () => {
    const w = world64().allGates();
    w.segment(S.code, { base: 0n, limit: 0xffff_ffff, attributes: 0xa09a });
    deliverInterrupt(w.core, 33);
    expect(w.descriptor(S.code).attributes).toBe(0xa09b);
    expect(w.core.state.attributes(SEG.CS)).toBe(0xa09b);
  });

  // INT n at level 3. Error codes: selector or vector * 8, IDT bit 2, EXT 1 (SDM Vol. 3, 6.13). In the manual's order.
  const refusals: [string, (w: World) => unknown, number, number][] = [
    ['the IDT is too short by one byte', (w) => (w.core.state.idtrLimit = 0x51e), 13, 0x51 * 8 + 2],
    ['the entry is no gate', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, type: 12, dpl: 3 }), 13, 0x51 * 8 + 2],
    ['a 16-bit gate is none', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, type: 6, dpl: 3 }), 13, 0x51 * 8 + 2],
    ['the gate has a lower DPL', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, dpl: 2 }), 13, 0x51 * 8 + 2],
    [
      'DPL comes before presence',
      (w) => w.idtGate(0x51, { selector: 8, offset: 0n, dpl: 0, present: false }),
      13,
      0x51 * 8 + 2,
    ],
    [
      'the gate is not present',
      (w) => w.idtGate(0x51, { selector: 8, offset: 0n, dpl: 3, present: false }),
      11,
      0x51 * 8 + 2,
    ],
    ['the selector is null', (w) => w.idtGate(0x51, { selector: 3, offset: 0n, dpl: 3 }), 13, 0],
    ['the selector is outside the GDT', (w) => w.idtGate(0x51, { selector: 0x203, offset: 0n, dpl: 3 }), 13, 0x200],
    ['the selector is in an LDT that is null', (w) => w.idtGate(0x51, { selector: 0xc, offset: 0n, dpl: 3 }), 13, 0xc],
    ['the selector names data', (w) => w.idtGate(0x51, { selector: S.data, offset: 0n, dpl: 3 }), 13, S.data],
    ['the selector names a TSS', (w) => w.idtGate(0x51, { selector: S.tss, offset: 0n, dpl: 3 }), 13, S.tss],
    ['the code is 32-bit', (w) => w.idtGate(0x51, { selector: S.code32, offset: 0n, dpl: 3 }), 13, S.code32],
    ['the code has L and D', (w) => w.idtGate(0x51, { selector: S.both, offset: 0n, dpl: 3 }), 13, S.both],
    [
      'the code is not present',
      (w) => w.idtGate(0x51, { selector: S.absentCode, offset: 0n, dpl: 3 }),
      11,
      S.absentCode,
    ],
    [
      'the TSS ends inside RSP0',
      (w) => w.core.state.setSegment(SEG.TR, { ...w.core.state.segment(SEG.TR), limit: 10 }),
      10,
      S.tss,
    ],
    ['RSP0 is not canonical', (w) => w.core.ram.setBigUint64(TABLES.tss + 4, 1n << 47n, true), 12, 0],
    [
      'the frame leaves canonical space',
      (w) => w.core.ram.setBigUint64(TABLES.tss + 4, 0xffff_8000_0000_0010n, true),
      12,
      0,
    ],
    ['the target is not canonical', (w) => w.idtGate(0x51, { selector: S.code, offset: 1n << 47n, dpl: 3 }), 13, 0],
  ];
  test.each(refusals)('INT n is refused when %s', (_, spoil, vector, errorCode) => {
    const w = world64(3).idtGate(0x51, { selector: S.code, offset: 0x1_0000n, dpl: 3 });
    expect(int(w, 0x51)).toBeUndefined();
    const spoiled = world64(3).idtGate(0x51, { selector: S.code, offset: 0x1_0000n, dpl: 3 });
    spoil(spoiled);
    expect(int(spoiled, 0x51)).toEqual({ vector, errorCode });
  });

  test('a page that the frame needs is probed before anything changes', () => {
    const w = world64(3).idtGate(0x51, { selector: S.code, offset: 0x1_0000n, dpl: 3 });
    w.page(STACK.tss0 - 0x1000, 0x60);
    expect(int(w, 0x51)).toEqual({ vector: 14, errorCode: 2, cr2: BigInt(STACK.tss0 - 8) });
    w.core.ram.setBigUint64(TABLES.tss + 4, BigInt(STACK.tss0 + 16), true); // the last three pushes of five
    expect(int(w, 0x51)).toEqual({ vector: 14, errorCode: 2, cr2: BigInt(STACK.tss0 - 8) });
  });

  test('a handler at level 3 has its frame written as a user would write it', () => {
    const w = world64(3).idtGate(0x51, { selector: S.conforming3, offset: 0x4_2000n, dpl: 3 });
    w.core.state.setGpr(4, 0x3_0000n);
    expect(int(w, 0x51)).toEqual({ vector: 14, errorCode: 7, cr2: 0x2_fff8n });
  });
});

describe('32-bit delivery (SDM Vol. 3, 6.12)', () => {
  test('a fault at the same level pushes EFLAGS, CS, EIP and the error code', () => {
    const w = world32().allGates();
    w.core.state.rflags = RFLAGS.IF | 2;
    deliverException(w.core, 13, 0x18);
    expect(w.stack(4, 4)).toEqual([0x18n, 0x1_1000n, 8n, 0x1_0202n]);
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.kernel - 16));
    expect(w.core.state.rip).toBe(handler(13));
    expect(w.core.state.rflags).toBe(2);
  });

  test.each([
    [0, STACK.tss0],
    [1, STACK.tss1],
    [2, STACK.tss2],
  ])('from level 3 to level %i: SS:ESP comes from the TSS, the old one is in the frame', (level, sp) => {
    const w = world32(3).idtGate(32, { selector: world32().codeOf(level) & ~3, offset: 0x1_0000n });
    w.core.state.setGpr(4, 0x5_0007n);
    deliverInterrupt(w.core, 32);
    const { state } = w.core;
    expect(state.cpl).toBe(level);
    expect(state.segment(SEG.SS)).toEqual(w.descriptor(w.dataOf(level)));
    expect(state.gpr(4)).toBe(BigInt(sp - 20));
    expect(w.stack(5, 4)).toEqual([0x4_1000n, 0x2bn, 2n, 0x5_0007n, 0x23n]);
  });

  test('a 16-bit gate pushes words and takes 16 bits of offset', () => {
    const w = world32(3).idtGate(32, { selector: S.code, offset: 0x5555_1234n, type: SYSTEM_TYPE.INTERRUPT_GATE16 });
    deliverInterrupt(w.core, 32);
    expect(w.core.state.rip).toBe(0x1234n);
    expect(w.stack(5, 2)).toEqual([0x1000n, 0x2bn, 2n, 0n, 0x23n]);
  });

  test('a 16-bit TSS has 16-bit stack pointers', () => {
    const w = world32(3).allGates();
    w.core.state.setSegment(SEG.TR, { ...w.core.state.segment(SEG.TR), attributes: 0x83 });
    w.core.ram.setUint32(TABLES.tss + 2, 0x10_8000, true); // SP0, SS0
    deliverInterrupt(w.core, 32);
    expect(w.core.state.gpr(4)).toBe(0x8000n - 20n);
  });

  test('a 16-bit stack wraps at 64 KiB and keeps the upper half of ESP', () => {
    const w = world32().allGates();
    w.core.state.setSegment(SEG.SS, w.descriptor(S.stack16));
    w.core.state.setGpr(4, 0xabcd_0004n);
    deliverInterrupt(w.core, 32);
    expect(w.core.state.gpr(4)).toBe(0xabcd_fff8n);
    expect(w.core.readLinear(0n, 4)).toBe(2n);
    expect(w.core.readLinear(0xfff8n, 4)).toBe(0x1_1000n);
  });

  const stack0 = (selector: number) => (w: World) => w.core.ram.setUint16(TABLES.tss + 8, selector, true);
  const refusals: [string, (w: World) => unknown, number, number][] = [
    ['the IDT is too short', (w) => (w.core.state.idtrLimit = 0x28e), 13, 0x28a],
    ['the entry is a call gate', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, type: 12, dpl: 3 }), 13, 0x28a],
    ['the gate has a lower DPL', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, dpl: 2 }), 13, 0x28a],
    ['the gate is not present', (w) => w.idtGate(0x51, { selector: 8, offset: 0n, dpl: 3, present: false }), 11, 0x28a],
    ['the code selector is null', (w) => w.idtGate(0x51, { selector: 0, offset: 0n, dpl: 3 }), 13, 0],
    ['the code selector names data', (w) => w.idtGate(0x51, { selector: S.data, offset: 0n, dpl: 3 }), 13, S.data],
    [
      'the code is not present',
      (w) => w.idtGate(0x51, { selector: S.absentCode, offset: 0n, dpl: 3 }),
      11,
      S.absentCode,
    ],
    [
      'the TSS ends inside SS0',
      (w) => w.core.state.setSegment(SEG.TR, { ...w.core.state.segment(SEG.TR), limit: 8 }),
      10,
      S.tss,
    ],
    ['SS0 is null', stack0(0), 10, 0],
    ['SS0 is outside the GDT', stack0(0x200), 10, 0x200],
    ['SS0 has another RPL', stack0(S.data | 1), 10, S.data],
    ['SS0 has another DPL', stack0(S.data1), 10, S.data1],
    ['SS0 is read-only', stack0(S.readOnly), 10, S.readOnly],
    ['SS0 is code', stack0(S.code), 10, S.code],
    ['SS0 is not present', stack0(S.absentData), 12, S.absentData],
    [
      'the frame does not fit SS0',
      (w) => {
        stack0(S.expandDown)(w);
        w.core.ram.setUint32(TABLES.tss + 4, 0x2_0010, true);
      },
      12,
      S.expandDown,
    ],
    ['the target is above the limit', (w) => w.segment(S.code, { base: 0n, limit: 0xffff, attributes: 0x409b }), 13, 0],
  ];
  test.each(refusals)('INT n is refused when %s', (_, spoil, vector, errorCode) => {
    const w = world32(3).idtGate(0x51, { selector: S.code, offset: 0x1_0000n, dpl: 3 });
    spoil(w);
    expect(int(w, 0x51)).toEqual({ vector, errorCode });
  });

  test('a frame that does not fit the stack in use raises #SS(0) at the same level', () => {
    const w = world32().idtGate(0x51, { selector: S.code, offset: 0x1_0000n });
    w.core.state.setSegment(SEG.SS, w.descriptor(S.expandDown));
    w.core.state.setGpr(4, 0x2_0008n);
    expect(int(w, 0x51)).toEqual({ vector: 12, errorCode: 0 });
  });

  test('hardware events set EXT in the error codes of their own faults', () => {
    const w = world32(3).allGates().idtGate(0x51, { selector: S.absentCode, offset: 0n });
    expect(deliverInterrupt(w.core, 0x51)).toBeUndefined();
    expect(w.core.state.rip).toBe(handler(11));
    expect(w.stack(1, 4)).toEqual([BigInt(S.absentCode | 1)]);
  });

  test('task gates and virtual-8086 mode are named as not built', () => {
    const w = world32().idtGate(8, { selector: S.tss, offset: 0n, type: SYSTEM_TYPE.TASK_GATE });
    expect(int(w, 8)).toEqual({ unbuilt: 'hardware task switch' });
    const vm = world32().allGates();
    vm.core.state.rflags = RFLAGS.VM | 2;
    expect(int(vm, 8)).toEqual({ unbuilt: 'virtual-8086 mode' });
  });
});

describe('flags in the frame (SDM Vol. 3, 17.3.1.1)', () => {
  test.each([
    [0, true],
    [1, false],
    [3, false],
    [4, false],
    [6, true],
    [8, false],
    [13, true],
    [14, true],
    [17, true],
    [18, false],
  ])('vector %i sets RF in the pushed image: %s', (vector, resume) => {
    const w = world32().allGates();
    deliverException(w.core, vector);
    expect((Number(w.stack(3, 4)[2]) & RFLAGS.RF) !== 0).toBe(resume);
    expect(w.core.state.rflags & RFLAGS.RF).toBe(0);
  });

  test('an interrupt between iterations pushes RF as it is', () => {
    const w = world32().allGates();
    w.core.state.rflags = RFLAGS.RF | 2;
    deliverInterrupt(w.core, 32);
    expect(w.stack(3, 4)[2]).toBe(0x1_0002n);
  });
});

describe('faults in delivery (SDM Vol. 3, 6.15)', () => {
  test('classes are those of table 6-4', () => {
    const contributory = [0, 10, 11, 12, 13];
    for (let v = 0; v < 32; v++) {
      const expected = v === 8 ? 'double' : v === 14 ? 'page' : contributory.includes(v) ? 'contributory' : 'benign';
      expect([v, classOf(v)]).toEqual([v, expected]);
    }
  });

  test.each([
    ['benign', 'benign', 'serial'],
    ['benign', 'contributory', 'serial'],
    ['benign', 'page', 'serial'],
    ['contributory', 'benign', 'serial'],
    ['contributory', 'contributory', 'double-fault'],
    ['contributory', 'page', 'serial'],
    ['page', 'benign', 'serial'],
    ['page', 'contributory', 'double-fault'],
    ['page', 'page', 'double-fault'],
    ['double', 'benign', 'serial'],
    ['double', 'contributory', 'triple-fault'],
    ['double', 'page', 'triple-fault'],
  ] as const)('%s, then %s: %s', (first, second, verdict) => {
    expect(combine(first, second)).toBe(verdict);
  });

  test('#GP whose gate is absent becomes #DF with error code 0 and the RIP of the first fault', () => {
    const w = world64().allGates().idtGate(13, { selector: S.code, offset: 0n, present: false });
    expect(deliverException(w.core, 13, 0)).toBeUndefined();
    expect(w.core.state.rip).toBe(handler(8));
    expect(w.stack(4, 8)).toEqual([0n, 0x1_1000n, 8n, 2n]);
  });

  test('#UD whose gate is absent becomes #NP of that gate', () => {
    const w = world64().allGates().idtGate(6, { selector: S.code, offset: 0n, present: false });
    deliverException(w.core, 6);
    expect(w.core.state.rip).toBe(handler(11));
    expect(w.stack(1, 8)).toEqual([BigInt(6 * 8 + 3)]);
  });

  test('a page fault on the stack of a page fault becomes #DF, on its IST stack, and CR2 is the last address', () => {
    const w = world64(3).allGates().idtGate(8, { selector: S.code, offset: 0x1_0080n, ist: 1 });
    w.page(STACK.tss0 - 0x1000, 0);
    expect(deliverException(w.core, 14, 4, 0x1234n)).toBeUndefined();
    expect(w.core.state.gpr(4)).toBe(BigInt(STACK.ist1 - 48));
    expect(w.core.state.get64('CR2')).toBe(BigInt(STACK.tss0 - 8));
  });

  test('a page fault on the stack of a #GP is delivered in turn', () => {
    const w = world64(3).allGates().idtGate(14, { selector: S.code, offset: 0x1_00e0n, ist: 1 });
    w.page(STACK.tss0 - 0x1000, 0);
    deliverException(w.core, 13, 0);
    expect(w.core.state.rip).toBe(handler(14));
    expect(w.stack(2, 8)).toEqual([2n, 0x4_1000n]);
  });

  test.each([
    ['64', world64],
    ['32', world32],
  ] as const)('with no IDT any exception is a triple fault and leaves the registers alone (%s-bit)', (_, make) => {
    const w = make(3);
    w.core.state.idtrLimit = 0;
    const before = w.snapshot();
    expect(deliverException(w.core, 6)).toBe('triple-fault');
    expect(deliverInterrupt(w.core, 32)).toBe('triple-fault');
    expect(Buffer.compare(w.snapshot(), before)).toBe(0);
  });

  test('a software interrupt that is delivered as an exception pushes its own RIP for its fault', () => {
    const w = world64(3).allGates();
    deliverException(w.core, 0x51, undefined, undefined, { software: true, rip: 0x4_1002n });
    expect(w.core.state.rip).toBe(handler(13)); // DPL 0
    expect(w.stack(2, 8)).toEqual([BigInt(0x51 * 8 + 2), 0x4_1000n]);
  });
});

describe('the instructions', () => {
  test.each([
    ['int', 0x80, 0x80],
    ['int3', 0, 3],
    ['into', 0, 4],
  ] as const)('%s at level 3 goes through a gate of DPL 3 and returns behind itself', (name, immediate, vector) => {
    const w = world32(3).idtGate(vector, { selector: S.code, offset: 0x1_0000n, dpl: 3 });
    w.core.state.rflags = RFLAGS.OF | RFLAGS.IF | 2;
    expect(exceptionHelpers[name](w.core, insn({ ...INT, immediate: BigInt(immediate) - 256n }))).toBe(true);
    expect(w.stack(3, 4)).toEqual([0x4_1002n, 0x2bn, 0xa02n]);
  });

  test('into without overflow does nothing', () => {
    const w = world32(3);
    expect(exceptionHelpers.into(w.core, INT)).toBe(false);
    expect(w.core.state.rip).toBe(0x4_1000n);
  });

  test('int1 passes a gate of DPL 0, INT 1 does not', () => {
    const w = world64(3).allGates();
    expect(int(w, 1)).toEqual({ vector: 13, errorCode: 10 });
    expect(w.run((core) => exceptionHelpers.int1(core, INT))).toBeUndefined();
    expect(w.core.state.cpl).toBe(0);
    expect(w.stack(1, 8)).toEqual([0x4_1002n]);
  });

  test('a debug exception writes DR6 and clears DR7.GD', () => {
    const w = world64().allGates();
    w.core.state.setDr(7, 0x2400n);
    recordDebug(w.core, 1 << 14);
    expect([w.core.state.dr(6), w.core.state.dr(7)]).toEqual([0xffff_4ff0n, 0x400n]);
    deliverException(w.core, 1, undefined, undefined, { dr6: 2 });
    expect(w.core.state.dr(6)).toBe(0xffff_4ff2n);
    recordDebug(w.core, 1);
    expect(w.core.state.dr(6)).toBe(0xffff_4ff1n); // B0-B3 are updated, BS is sticky
  });
});
