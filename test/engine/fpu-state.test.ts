import { describe, expect, test } from 'vitest';
import { GuestFault, Unbuilt } from '../../src/engine/core.ts';
import { SEG } from '../../src/engine/state.ts';
import { fpuHelpers, resetFpu } from '../../src/engine/system/fpu-state.ts';
import { CR0, CR4 } from '../../src/x86/constants.ts';
import { flatCode32, flatCode64, flatData } from '../../src/x86/vcpu-state.ts';
import { insn, TestCore, thrown } from './test-core.ts';

const GP = new GuestFault(13, 0);
const UD = new GuestFault(6);
const NM = new GuestFault(7);
const MF = new GuestFault(16);

function cpu(cr0 = 0): TestCore {
  const core = new TestCore();
  core.state.setSegment(SEG.CS, flatCode32(8));
  core.state.setSegment(SEG.DS, flatData(16));
  core.state.set64('CR0', BigInt(CR0.PE | CR0.NE | CR0.MP | cr0));
  core.state.set64('CR4', BigInt(CR4.OSFXSR));
  resetFpu(core.state);
  return core;
}
const run = (core: TestCore, name: string, more: Parameters<typeof insn>[0] = {}) => fpuHelpers[name](core, insn(more));
const hex = (core: TestCore, at: number, length: number) =>
  Buffer.from(core.buffer, core.ram.byteOffset + at, length).toString('hex');
const put = (core: TestCore, at: number, text: string) =>
  Buffer.from(core.buffer, core.ram.byteOffset + at).set(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** An image with every kind of register, TOP 5, IE masked; then what an AMD EPYC made of it with each instruction. */
const IMAGE = 0x2000;
const OUT = 0x3000;
const HEADER = 'ffff0128 bd55ff07 11223344 55667788 a1a2a3a4 a5a6a7a8 801f0000 00000000';
const REGISTERS = [
  '0000000000000080ff3f', // valid
  '00000000000000000000', // zero
  '0200000000000080ff7f', // special
  '0300000000000000ff3f', // unnormal: special
  '0400000000000080ff3f',
  '0500000000000080ff3f',
  '0600000000000080ff3f',
  '0700000000000080ff3f',
];
const st = (order: number[]) => order.map((n) => `${REGISTERS[n]}000000000000`).join('');
function loaded(header = HEADER): TestCore {
  const core = cpu();
  put(core, IMAGE, header + REGISTERS.map((r) => `${r}000077000000`).join(''));
  run(core, 'fxrstor', { at: BigInt(IMAGE) });
  return core;
}
function saved(core: TestCore, bytes = 160): string {
  run(core, 'fxsave', { at: BigInt(OUT), operandSize: 4 });
  return hex(core, OUT, bytes);
}
const joined = (text: string) => text.replaceAll(' ', '');

describe('against a native run (AMD EPYC; MXCSR_MASK apart, which has the bit of a newer CPU there)', () => {
  test('FXRSTOR then FXSAVE', () => {
    expect(saved(loaded())).toBe(
      joined('7f1f0128 bd000000 00000000 00000000 00000000 00000000 801f0000 ffff0000') + st([0, 1, 2, 3, 4, 5, 6, 7]),
    );
  });

  test('FNSTENV, 32 and 16 bits, and the masks that it leaves', () => {
    const core = loaded();
    put(core, OUT, 'cc'.repeat(40));
    run(core, 'fnstenv', { at: BigInt(OUT) });
    expect(hex(core, OUT, 29)).toBe(joined('7f1fffff 0128ffff 0eb0ffff 11223344 5566ff07 a1a2a3a4 a5a6ffff cc'));
    expect(saved(core, 8)).toBe(joined('7f1f0128 bd000000'));
    const other = loaded();
    put(other, OUT, 'cc'.repeat(40));
    run(other, 'fnstenv', { at: BigInt(OUT), operandSize: 2 });
    expect(hex(other, OUT, 15)).toBe(joined('7f1f0128 0eb01122 5566a1a2 a5a6 cc'));
  });

  test('FNSAVE, and the initial state behind it', () => {
    const core = loaded();
    run(core, 'fnsave', { at: BigInt(OUT) });
    const environment = '7f1fffff 0128ffff 0eb0ffff 11223344 5566ff07 a1a2a3a4 a5a6ffff';
    expect(hex(core, OUT, 108)).toBe(joined(environment) + REGISTERS.join(''));
    expect(saved(core)).toBe(
      joined('7f030000 00000000 00000000 00000000 00000000 00000000 801f0000 ffff0000') + st([3, 4, 5, 6, 7, 0, 1, 2]),
    );
  });

  test.each([
    ['fninit', '7f030000 00000000', [3, 4, 5, 6, 7, 0, 1, 2]],
    ['fnclex', '7f1f0028 bd000000', [0, 1, 2, 3, 4, 5, 6, 7]],
    ['emms', '7f1f0100 00000000', [3, 4, 5, 6, 7, 0, 1, 2]],
  ] as const)('%s', (name, header, order) => {
    const core = loaded();
    run(core, name);
    const image = saved(core);
    expect(image.slice(0, 16)).toBe(joined(header));
    expect(image.slice(64)).toBe(st([...order]));
  });

  test('FLDENV moves TOP from 5 to 2, and the physical registers stay', () => {
    const core = loaded(HEADER.replace('ffff', '7f03'));
    run(core, 'fnstenv', { at: BigInt(OUT) });
    core.ram.setUint8(OUT + 5, 0x10);
    run(core, 'fldenv', { at: BigInt(OUT) });
    const image = saved(core);
    expect(image.slice(0, 16)).toBe(joined('7f030110 bd000000'));
    expect(image.slice(64)).toBe(st([5, 6, 7, 0, 1, 2, 3, 4]));
  });

  test('an exception that is not masked sets ES and B', () => {
    const core = loaded(HEADER.replace('ffff0128', '40003f28'));
    run(core, 'fnstsw_ax');
    expect(core.state.gpr(0)).toBe(0xa8bfn);
  });

  test.each([
    [0xffff, 0x1f7f],
    [0, 0x0040],
  ])('FLDCW %#x, FNSTCW gives %#x', (written, read) => {
    const core = cpu();
    core.ram.setUint16(OUT, written, true);
    run(core, 'fldcw', { at: BigInt(OUT) });
    run(core, 'fnstcw', { at: BigInt(OUT + 2) });
    expect(core.ram.getUint16(OUT + 2, true)).toBe(read);
  });
});

describe('FRSTOR', () => {
  test.each([2, 4] as const)('undoes FNSAVE with operand size %d', (operandSize) => {
    const core = loaded();
    const before = saved(core);
    run(core, 'fnsave', { at: 0x4001n, operandSize });
    run(core, 'frstor', { at: 0x4001n, operandSize });
    expect(saved(core)).toBe(before);
  });
});

describe('FXSAVE areas', () => {
  test('hold 8 XMM registers outside 64-bit code, 16 within, none without CR4.OSFXSR', () => {
    const core = cpu();
    for (let i = 0; i < 256; i++) core.state.view.setUint8(0x400 + 160 + i, i | 1);
    core.state.view.setUint32(0x400 + 24, 0x1f81, true);
    const filledUpTo = () => {
      put(core, OUT, 'cc'.repeat(512));
      run(core, 'fxsave', { at: BigInt(OUT) });
      return hex(core, OUT, 512).replace(/(cc)+$/, '').length / 2;
    };
    expect(filledUpTo()).toBe(160 + 128);
    core.state.set64('CR4', 0n);
    expect(filledUpTo()).toBe(160);
    expect(hex(core, OUT + 24, 8)).toBe('cc'.repeat(8));
    core.state.set64('CR4', BigInt(CR4.OSFXSR));
    core.state.setSegment(SEG.CS, flatCode64(8));
    core.state.set64('EFER', 0x500n);
    expect(filledUpTo()).toBe(160 + 256);
  });

  test('are 16-byte aligned', () => {
    const core = cpu();
    for (const name of ['fxsave', 'fxrstor']) {
      expect(thrown(() => run(core, name, { at: 0x2008n }))).toEqual(GP);
    }
  });

  test('with reserved MXCSR bits are refused whole', () => {
    const core = loaded();
    const before = saved(core);
    core.ram.setUint32(IMAGE + 24, 0x1_1f80, true);
    core.ram.setUint16(IMAGE, 0, true);
    expect(thrown(() => run(core, 'fxrstor', { at: BigInt(IMAGE) }))).toEqual(GP);
    expect(saved(core)).toBe(before);
  });

  test('keep 64-bit pointers in the REX.W form while an exception is pending', () => {
    const core = cpu();
    put(core, IMAGE, '40003f28 bd55ff07 1122334455667788 a1a2a3a4a5a6a7a8 801f0000 00000000');
    run(core, 'fxrstor', { at: BigInt(IMAGE), operandSize: 8 });
    run(core, 'fxsave', { at: BigInt(OUT), operandSize: 8 });
    expect(hex(core, OUT + 6, 18)).toBe('ff071122334455667788a1a2a3a4a5a6a7a8');
    run(core, 'fxsave', { at: BigInt(OUT), operandSize: 4 });
    // The restoring instruction had no selectors, so there are none to save (the same on an AMD EPYC).
    expect(hex(core, OUT + 6, 18)).toBe('ff071122334400000000a1a2a3a400000000');
  });
});

describe('alignment checks, as measured on an AMD EPYC', () => {
  test.each([
    ['fxsave', 4, 1, 17],
    ['fxsave', 4, 2, 17],
    ['fxsave', 4, 4, 13],
    ['fxsave', 4, 8, 13],
    ['fxsave', 4, 16, undefined],
    ['fnsave', 4, 2, 17],
    ['fnsave', 4, 4, undefined],
    ['fnsave', 2, 1, 17],
    ['fnsave', 2, 2, undefined],
    ['fnstenv', 4, 2, 17],
    ['frstor', 4, 4, undefined],
    ['fnstcw', 4, 1, 17],
  ] as const)('%s of operand size %d at offset %d: %s', (name, operandSize, offset, vector) => {
    const core = cpu(CR0.AM);
    core.state.cpl = 3;
    core.state.rflags = 2 | (1 << 18);
    expect(thrown(() => run(core, name, { at: 0x5000n + BigInt(offset), operandSize }))?.vector).toBe(vector);
  });
});

describe('who may use it (SDM Vol. 3, 2.5, table 2-2)', () => {
  const every = Object.keys(fpuHelpers);
  const media = ['emms', 'fxsave', 'fxrstor'];
  const raised = (core: TestCore, name: string) => thrown(() => run(core, name, { at: 0x5000n }));

  test.each(every)('%s with TS is #NM, with EM #NM or #UD, otherwise neither', (name) => {
    expect(raised(cpu(CR0.TS), name)).toEqual(NM);
    const emulated = raised(cpu(CR0.EM), name);
    expect(emulated).toEqual(name === 'fwait' ? undefined : media.includes(name) ? UD : NM);
    expect(raised(cpu(), name)).toBeUndefined();
  });

  test('FWAIT asks TS only together with MP', () => {
    const core = cpu();
    core.state.set64('CR0', BigInt(CR0.PE | CR0.TS));
    expect(raised(core, 'fwait')).toBeUndefined();
  });

  test('a pending error meets the next instruction that waits', () => {
    const waits = ['fldcw', 'fwait', 'emms', 'frstor', 'fldenv'];
    for (const name of every.filter((name) => name !== 'fxrstor')) {
      const core = loaded(HEADER.replace('ffff0128', '40003f28'));
      expect([name, raised(core, name)]).toEqual([name, waits.includes(name) ? MF : undefined]);
    }
  });

  test('with CR0.NE clear it would be IRQ 13, which is named as not built', () => {
    const core = loaded(HEADER.replace('ffff0128', '40003f28'));
    core.state.set64('CR0', BigInt(CR0.PE));
    expect(() => run(core, 'fwait')).toThrow(expect.toSatisfy((e: unknown) => e instanceof Unbuilt));
  });
});
