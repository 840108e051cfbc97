import { describe, expect, test } from 'vitest';
import { GuestFault } from '../../src/engine/core.ts';
import { BREAKPOINT_HITS } from '../../src/engine/mmu.ts';
import { SEG } from '../../src/engine/state.ts';
import { checkIo, ioHelpers } from '../../src/engine/system/io.ts';
import { CR4, RFLAGS } from '../../src/x86/constants.ts';
import { flatCode32, flatData } from '../../src/x86/vcpu-state.ts';
import { insn, TestCore, thrown } from './test-core.ts';

const GP = new GuestFault(13, 0);

function cpu(): TestCore {
  const core = new TestCore();
  core.state.setSegment(SEG.CS, flatCode32(8));
  core.state.setSegment(SEG.DS, flatData(16));
  core.state.setSegment(SEG.ES, flatData(16));
  return core;
}

describe('permission (SDM Vol. 1, 19.5.2)', () => {
  const TSS = 0x2000;
  const MAP = 0x68;
  /** Level 3, IOPL 0, a TSS whose map allows ports 0x60-0x64 and 0x3f8, and ends behind port 0x3ff. */
  function task(limit: number, type = 11): TestCore {
    const core = cpu();
    core.state.cpl = 3;
    core.state.setSegment(SEG.TR, { selector: 0x28, base: BigInt(TSS), limit, attributes: 0x80 | type });
    core.ram.setUint16(TSS + 0x66, MAP, true);
    for (let i = 0; i < 0x200; i++) core.ram.setUint8(TSS + MAP + i, 0xff);
    core.ram.setUint8(TSS + MAP + 0x60 / 8, 0xe0);
    core.ram.setUint8(TSS + MAP + 0x3f8 / 8, 0xfe);
    return core;
  }
  const FULL = MAP + 0x80; // the map's 128 bytes and the one behind it
  const cases: [port: number, size: 1 | 2 | 4, limit: number, allowed: boolean][] = [
    [0x60, 1, FULL, true],
    [0x60, 4, FULL, true],
    [0x61, 4, FULL, true],
    [0x62, 4, FULL, false],
    [0x64, 1, FULL, true],
    [0x64, 2, FULL, false],
    [0x5f, 2, FULL, false],
    [0x3f8, 1, FULL, true],
    [0x3f8, 1, FULL - 1, false], // the second byte of the map would be past the limit
    [0x3f8, 2, FULL, false],
    [0x400, 1, FULL, false],
    [0xffff, 1, FULL, false],
    [0x60, 1, MAP + 0x60 / 8 + 1, true],
    [0x60, 1, MAP + 0x60 / 8, false],
    [0x60, 1, 0x66, false], // not even the map's offset is within
  ];
  test.each(cases)('port %#x, %d bytes, TSS limit %#x: %s', (port, size, limit, allowed) => {
    expect(thrown(() => checkIo(task(limit), port, size))).toEqual(allowed ? undefined : GP);
  });

  test('a 16-bit TSS or none has no map', () => {
    expect(thrown(() => checkIo(task(FULL, 3), 0x60, 1))).toEqual(GP);
    expect(thrown(() => checkIo(task(FULL, 9), 0x60, 1))).toBeUndefined();
    const core = task(FULL);
    core.state.setSegment(SEG.TR, { selector: 0, base: 0n, limit: 0xffff, attributes: 0 });
    expect(thrown(() => checkIo(core, 0x60, 1))).toEqual(GP);
  });

  test('IOPL allows every port and asks no TSS', () => {
    const core = cpu();
    core.state.cpl = 3;
    expect(thrown(() => checkIo(core, 0x1234, 4))).toEqual(GP);
    core.state.rflags = 2 | RFLAGS.IOPL;
    expect(thrown(() => checkIo(core, 0x1234, 4))).toBeUndefined();
    core.state.cpl = 2;
    core.state.rflags = 2 | (1 << 12);
    expect(thrown(() => checkIo(core, 0x1234, 4))).toEqual(GP);
  });

  test('a refused instruction reaches no device', () => {
    const core = cpu();
    core.state.cpl = 3;
    for (const name of ['in', 'out', 'ins_step', 'outs_step'] as const) {
      expect(thrown(() => ioHelpers[name](core, insn({ opcode: 0xec })))).toEqual(GP);
    }
    expect(core.host.log).toEqual([]);
  });
});

describe('IN and OUT', () => {
  test.each([
    [0xe4, 4, 0x1111_2222_3333_44aan, 'in1 71'],
    [0xe5, 2, 0x1111_2222_3333_beaan, 'in2 71'],
    [0xe5, 4, 0xdeadbeaan, 'in4 71'],
    [0xe5, 8, 0xdeadbeaan, 'in4 71'],
    [0xec, 4, 0x1111_2222_3333_44aan, 'in1 3f8'],
    [0xed, 2, 0x1111_2222_3333_beaan, 'in2 3f8'],
    [0xed, 4, 0xdeadbeaan, 'in4 3f8'],
  ] as const)('opcode %#x with operand size %d', (opcode, operandSize, rax, log) => {
    const core = cpu();
    core.state.setGpr(0, 0x1111_2222_3333_4444n);
    core.state.setGpr(2, 0xffff_03f8n);
    const size = Number(log[2]);
    for (const port of [0x71, 0x3f8]) core.host.ports.set(port, 0xdeadbeaa % 2 ** (8 * size));
    ioHelpers.in(core, insn({ opcode, operandSize, immediate: 0x71n }));
    expect(core.host.log).toEqual([log]);
    expect(core.state.gpr(0)).toBe(rax);
  });

  test.each([
    [0xe6, 4, 'out1 80=78'],
    [0xe7, 2, 'out2 80=5678'],
    [0xe7, 4, 'out4 80=f2345678'],
    [0xee, 4, 'out1 cf8=78'],
    [0xef, 2, 'out2 cf8=5678'],
    [0xef, 4, 'out4 cf8=f2345678'],
  ] as const)('opcode %#x with operand size %d writes %s', (opcode, operandSize, log) => {
    const core = cpu();
    core.state.setGpr(0, 0x9999_9999_f234_5678n);
    core.state.setGpr(2, 0xcf8n);
    ioHelpers.out(core, insn({ opcode, operandSize, immediate: -128n }));
    expect(core.host.log).toEqual([log]);
  });
});

describe('one element of INS and OUTS', () => {
  test('INS stores and advances rDI by the direction flag; 32-bit addressing clears its upper half', () => {
    const core = cpu();
    core.state.setGpr(2, 0x1f0n);
    core.state.setGpr(7, 0xffff_0000_0000_3000n);
    core.host.ports.set(0x1f0, 0xabcd);
    ioHelpers.ins_step(core, insn({ opcode: 0x6d, operandSize: 2, addressSize: 4 }));
    expect(core.ram.getUint16(0x3000, true)).toBe(0xabcd);
    expect(core.state.gpr(7)).toBe(0x3002n);
    core.state.rflags = 2 | RFLAGS.DF;
    ioHelpers.ins_step(core, insn({ opcode: 0x6c, addressSize: 2 }));
    expect(core.state.gpr(7)).toBe(0x3001n);
  });

  test('INS does not read the port when the store would fault', () => {
    const core = cpu();
    core.state.setSegment(SEG.ES, { ...flatData(16), limit: 0xfff });
    core.state.setGpr(7, 0x1000n);
    expect(thrown(() => ioHelpers.ins_step(core, insn({ opcode: 0x6c })))).toEqual(GP);
    expect([core.host.log, core.state.gpr(7)]).toEqual([[], 0x1000n]);
  });

  test('OUTS reads through the segment it was given', () => {
    const core = cpu();
    core.state.setSegment(SEG.FS, { ...flatData(16), base: 0x4000n });
    core.ram.setUint32(0x4010, 0x8765_4321, true);
    core.state.setGpr(2, 0xe9n);
    core.state.setGpr(6, 0x10n);
    ioHelpers.outs_step(core, insn({ opcode: 0x6f, segment: SEG.FS }));
    expect(core.host.log).toEqual(['out4 e9=87654321']);
    expect(core.state.gpr(6)).toBe(0x14n);
    core.state.setGpr(6, 0xffffn);
    ioHelpers.outs_step(core, insn({ opcode: 0x6e, addressSize: 2 }));
    expect(core.state.gpr(6)).toBe(0n);
  });
});

test('breakpoints on ports hit while CR4.DE is set', () => {
  const core = cpu();
  core.state.setDr(1, 0x3f8n);
  core.state.setDr(7, BigInt((0b1110 << 20) | 4));
  core.state.setGpr(2, 0x3fbn);
  const hits = () => core.state.view.getInt32(BREAKPOINT_HITS, true);
  ioHelpers.in(core, insn({ opcode: 0xec }));
  expect(hits()).toBe(0);
  core.state.set64('CR4', BigInt(CR4.DE));
  ioHelpers.in(core, insn({ opcode: 0xec }));
  expect(hits()).toBe(2);
});
