/** What MMX and SSE owe beyond arithmetic: who may stand in the way, exceptions, split accesses, approximations. */
import { describe, expect, it } from 'vitest';
import { Cpu } from '../../src/engine/cpu.ts';
import { inARowCount, isInARow } from '../../src/engine/emit/vector-run.ts';
import { SseUnit } from '../../src/engine/sse-unit.ts';
import { STATE } from '../../src/engine/state.ts';
import { enumerateVectors } from '../../src/engine/vector-variants.ts';
import { CR0, CR4 } from '../../src/x86/constants.ts';
import { DEFAULT_MODEL } from '../../src/x86/cpuid.ts';
import { flatCode32, flatData } from '../../src/x86/vcpu-state.ts';
import { TestHost } from './test-core.ts';

const AT = 0x1000;
const HLT = 0xf4;
const [UD, NM, MF, XM] = [6, 7, 16, 19];
const FXSAVE = { FSW: 2, FTW: 4, MXCSR: 24, ST: 32, XMM: 160 };

function cpuWith(code: readonly number[], { cr0 = 0, cr4 = CR4.OSFXSR | CR4.OSXMMEXCPT, reference = false } = {}) {
  const cpu = Cpu.create({ ramSize: 0x1_0000, cpuModel: DEFAULT_MODEL, host: new TestHost(), reference });
  new Uint8Array(cpu.buffer, cpu.ramOffset).set([...code, HLT], AT);
  const data = flatData(0x18);
  cpu.setState({
    rip: BigInt(AT),
    rax: 0x2000n,
    cr0: BigInt(CR0.PE | CR0.ET | CR0.NE | cr0),
    cr4: BigInt(cr4),
    cpl: 0,
    segments: { es: data, cs: flatCode32(0x10), ss: data, ds: data, fs: data, gs: data },
  });
  return cpu;
}

const ADDSD = [0xf2, 0x0f, 0x58, 0xc1];
const PADDB = [0x0f, 0xfc, 0xc1];
const PADDB_XMM = [0x66, 0x0f, 0xfc, 0xc1];
const CVTPI2PS = [0x0f, 0x2a, 0xc1];
const MOVQ2DQ = [0xf3, 0x0f, 0xd6, 0xc1];
const MASKMOVQ = [0x0f, 0xf7, 0xc1];
const MASKMOVDQU = [0x66, 0x0f, 0xf7, 0xc1];
const STMXCSR = [0x0f, 0xae, 0x18];
const LDMXCSR = [0x0f, 0xae, 0x10];
const PENDING = 0x80;

describe.each([false, true])('before an instruction on MMX or XMM registers (over bigint: %s)', (reference) => {
  // biome-ignore format: a table
  it.each([
    ['ADDSD, nothing in the way', ADDSD, 0, CR4.OSFXSR, 0, undefined],
    ['ADDSD, TS', ADDSD, CR0.TS, CR4.OSFXSR, 0, NM],
    ['ADDSD, EM', ADDSD, CR0.EM | CR0.TS, CR4.OSFXSR, 0, UD],
    ['ADDSD, OSFXSR clear', ADDSD, CR0.TS, 0, 0, UD],
    ['ADDSD, a waiting x87 error', ADDSD, 0, CR4.OSFXSR, PENDING, undefined],
    ['PADDB of XMM registers, TS', PADDB_XMM, CR0.TS, CR4.OSFXSR, 0, NM],
    ['PADDB of XMM registers, OSFXSR clear', PADDB_XMM, 0, 0, 0, UD],
    ['PADDB of MMX registers, OSFXSR clear', PADDB, 0, 0, 0, undefined],
    ['PADDB of MMX registers, TS', PADDB, CR0.TS, 0, PENDING, NM],
    ['PADDB of MMX registers, EM', PADDB, CR0.EM, 0, 0, UD],
    ['PADDB of MMX registers, a waiting x87 error', PADDB, 0, 0, PENDING, MF],
    ['CVTPI2PS, a waiting x87 error', CVTPI2PS, 0, CR4.OSFXSR, PENDING, MF],
    ['MOVQ2DQ, OSFXSR clear', MOVQ2DQ, 0, 0, 0, UD],
    ['STMXCSR, TS', STMXCSR, CR0.TS, CR4.OSFXSR, 0, NM],
    ['STMXCSR, OSFXSR clear', STMXCSR, CR0.TS, 0, 0, UD],
    ['LDMXCSR, EM', LDMXCSR, CR0.EM, CR4.OSFXSR, 0, UD],
    ['MASKMOVQ, a waiting x87 error', MASKMOVQ, 0, 0, PENDING, MF],
    ['MASKMOVQ, OSFXSR clear', MASKMOVQ, 0, 0, 0, undefined],
    ['MASKMOVDQU, OSFXSR clear', MASKMOVDQU, 0, 0, 0, UD],
  ])('%s', (_name, code, cr0, cr4, fsw, vector) => {
    const cpu = cpuWith(code, { cr0, cr4, reference });
    cpu.state.view.setUint16(STATE.FXSAVE + FXSAVE.FSW, fsw, true);
    const exit = cpu.run(10);
    expect(cpu.firstFault?.vector).toBe(vector);
    expect(exit.kind).toBe(vector === undefined ? 'halt' : 'triple-fault');
  });

  it.each([
    ['#XM', CR4.OSFXSR | CR4.OSXMMEXCPT, XM],
    ['#UD while CR4.OSXMMEXCPT is clear', CR4.OSFXSR, UD],
  ])('an unmasked exception is %s', (_name, cr4, vector) => {
    const cpu = cpuWith(ADDSD, { cr4, reference });
    const { view } = cpu.state;
    const XMM = STATE.FXSAVE + FXSAVE.XMM;
    view.setUint32(STATE.FXSAVE + FXSAVE.MXCSR, 0x1f80 & ~0x80, true); // invalid operations are not masked
    view.setFloat64(XMM, Number.POSITIVE_INFINITY, true);
    view.setFloat64(XMM + 16, Number.NEGATIVE_INFINITY, true);
    cpu.run(10);
    expect(cpu.firstFault?.vector).toBe(vector);
    expect(view.getUint32(STATE.FXSAVE + FXSAVE.MXCSR, true)).toBe(0x1f01);
    expect(view.getFloat64(XMM, true)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('RCPSS and RSQRTSS', () => {
  const bits = new DataView(new ArrayBuffer(4));
  const floatOf = (x: bigint): number => {
    bits.setUint32(0, Number(x));
    return bits.getFloat32(0);
  };
  const unit = new SseUnit(0x1f80);
  const BOUND = 1.5 * 2 ** -12;

  it('stay within the architecture’s bound of the true value', () => {
    let worst = 0;
    for (let i = 0; i < 20_000; i++) {
      // Exponents at which neither the operand nor the result is denormal, and mantissas all over.
      const exponent = BigInt(2 + ((i * 37) % 250));
      const x = (exponent << 23n) | BigInt((i * 0x9e3779b1) & 0x7f_ffff);
      const value = floatOf(x);
      worst = Math.max(worst, Math.abs(floatOf(unit.reciprocal(x)) * value - 1));
      worst = Math.max(worst, Math.abs(floatOf(unit.reciprocalRoot(x)) * Math.sqrt(value) - 1));
    }
    expect(worst).toBeLessThanOrEqual(BOUND);
  });

  // biome-ignore format: a table
  it.each([ // operand, reciprocal, reciprocal of the root
    ['0', 0x0000_0000n, 0x7f80_0000n, 0x7f80_0000n],
    ['-0', 0x8000_0000n, 0xff80_0000n, 0xff80_0000n],
    ['a denormal', 0x0000_0001n, 0x7f80_0000n, 0x7f80_0000n],
    ['a negative denormal', 0x807f_ffffn, 0xff80_0000n, 0xff80_0000n],
    ['infinity', 0x7f80_0000n, 0n, 0n],
    ['-infinity', 0xff80_0000n, 0x8000_0000n, 0xffc0_0000n],
    ['a large number', 0x7f00_0000n, 0n, 0x1fb5_04f3n],
    ['-1', 0xbf80_0000n, 0xbf80_0000n, 0xffc0_0000n],
    ['an SNaN', 0x7f80_1234n, 0x7fc0_1234n, 0x7fc0_1234n],
    ['a QNaN', 0xffc0_1234n, 0xffc0_1234n, 0xffc0_1234n],
  ])('of %s', (_name, x, reciprocal, root) => {
    expect(unit.reciprocal(x)).toBe(reciprocal);
    expect(unit.reciprocalRoot(x)).toBe(root);
    expect(unit.finish()).toEqual({ raised: 0, unmasked: false });
  });

  it.each([
    ['rcpps', 0x53],
    ['rsqrtps', 0x52],
  ])('%s gives the same in generated code and over bigint', (_name, opcode) => {
    const results = [false, true].map((reference) => {
      const out: string[] = [];
      for (let i = 0; i < 200; i++) {
        const cpu = cpus[reference ? 1 : 0];
        const { view, bytes } = cpu.state;
        new Uint8Array(cpu.buffer, cpu.ramOffset).set([0x0f, opcode, 0xc1], AT);
        cpu.physicalWritten(AT, 3);
        cpu.setState({ rip: BigInt(AT) });
        const XMM = STATE.FXSAVE + FXSAVE.XMM;
        for (let lane = 0; lane < 4; lane++) {
          const special = [0, 0x7f80_0000, 1, 0x7f00_0000, 0x7fc0_0001, 0xbf80_0000][i % 9] ?? 0x3f80_0000;
          view.setUint32(XMM + 16 + 4 * lane, lane === i % 4 ? special : Math.imul(i + lane * 977, 0x9e3779b1), true);
        }
        cpu.run(cpu.instructions + 1);
        out.push(Buffer.from(bytes.subarray(XMM, XMM + 16)).toString('hex'));
      }
      return out;
    });
    expect(results[0]).toEqual(results[1]);
  });
  const cpus = [false, true].map((reference) => cpuWith([], { reference }));
});

describe('the vectors that run in a row', () => {
  it('are all variants that there are', () => {
    expect(enumerateVectors().filter(isInARow).length).toBe(inARowCount);
  });
});
