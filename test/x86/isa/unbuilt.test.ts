/** What is not built: named when CPUID shows it, undefined when CPUID hides it. */
import { describe, expect, it } from 'vitest';
import { Cpu } from '../../../src/engine/cpu.ts';
import { HELPERS } from '../../../src/engine/helper-insn.ts';
import { type CpuModel, DEFAULT_MODEL, FEATURES, MAX_MODEL, parseCpuModel } from '../../../src/x86/cpuid.ts';
import { INSTRUCTIONS } from '../../../src/x86/isa/index.ts';
import { unbuilt, unbuiltByDigit, unbuiltByModrm } from '../../../src/x86/isa/unbuilt.ts';
import { flatCode32, flatData } from '../../../src/x86/vcpu-state.ts';
import { TestHost } from '../../engine/test-core.ts';

describe('rows', () => {
  it('have a meaning, a helper or the name of what is not built, and one of them only', () => {
    const wrong = INSTRUCTIONS.filter(
      ({ op }) => [op.meaning, op.vector, op.helper, op.unbuilt].filter((x) => x !== undefined).length !== 1,
    );
    expect(wrong.map(({ code, op }) => `${code} ${op.name}`)).toEqual([]);
  });

  it('name helpers that there are', () => {
    const inTheLoop = ['hlt', 'ins', 'outs']; // engine/cpu.ts does these itself
    const known = new Set([...Object.keys(HELPERS), ...inTheLoop]);
    const helpers = INSTRUCTIONS.map(({ op }) => op.helper).filter((helper) => helper !== undefined);
    expect(helpers.filter((helper) => !known.has(helper))).toEqual([]);
  });

  // No model can show these: x86/cpuid.ts does not know them.
  const NEVER_SHOWN =
    'CET CLWB CLZERO ENQCMD GFNI INVLPGB MCOMMIT MONITORX MOVDIR64B MOVDIRI PCONFIG PKU PTWRITE RDPRU RTM SERIALIZE SEV_ES SGX SMX SNP TSXLDTRK WAITPKG WBNOINVD';

  it('name features that x86/cpuid.ts knows, or that no model shows', () => {
    const known = new Set(FEATURES.map(({ name }) => name));
    const others = new Set(INSTRUCTIONS.map(({ feature }) => feature).filter((f) => f !== undefined && !known.has(f)));
    expect([...others].sort().join(' ')).toBe(NEVER_SHOWN);
  });

  it.each([
    [DEFAULT_MODEL, ''],
    [MAX_MODEL, 'BMI1'],
  ])('leave unbuilt of what a model shows only what CPUID must show (%#)', ({ features }, expected) => {
    const shown = INSTRUCTIONS.filter(
      ({ op, feature }) => op.unbuilt && (feature === undefined || features.has(feature)),
    );
    expect([...new Set(shown.map(({ op, feature }) => feature ?? op.name))].sort().join(' ')).toBe(expected);
  });
});

describe('a table of what is not built', () => {
  it('has a column for each prefix', () => {
    const rows = unbuilt([['np', 'A'], ['66', 'B'], ['', 'C']], 'V,W', '\n 0f 10 mem: x - z\n 0f 11: u ='); // biome-ignore format: short
    expect(rows.map(({ code, op, feature }) => `${code} = ${op.name} (${feature})`)).toEqual([
      'np 0f 10 mem = x (A)',
      '0f 10 mem = z (C)',
      'np 0f 11 = u (A)',
      '66 0f 11 = u (B)',
    ]);
  });

  it('has a column for each ModRM.reg, or ModRM byte', () => {
    const codes = (rows: { code: string }[]) => rows.map(({ code }) => code);
    expect(codes(unbuiltByDigit(['66', 'A'], 'M', 'd9 mem: - x y'))).toEqual(['66 d9 /1 mem', '66 d9 /2 mem']);
    expect(codes(unbuiltByDigit(['', 'A'], 'E', '0f 71: x'))).toEqual(['0f 71 /0']);
    expect(codes(unbuiltByModrm(['np', 'A'], '0f 01 ef: x - y'))).toEqual(['np 0f 01 mod3 ef', 'np 0f 01 mod3 f1']);
  });
});

const AT = 0x1000;
const HLT = 0xf4;

function run(model: CpuModel, code: readonly number[], cr0 = 0x33n, cr4 = 0x600n) {
  const cpu = Cpu.create({ ramSize: 0x1_0000, cpuModel: model, host: new TestHost() });
  new Uint8Array(cpu.buffer, cpu.ramOffset).set([...code, HLT], AT);
  const data = flatData(0x18);
  cpu.setState({
    rip: BigInt(AT),
    rax: 0x2000n,
    cr0,
    cr4,
    cpl: 0,
    segments: { es: data, cs: flatCode32(0x10), ss: data, ds: data, fs: data, gs: data },
  });
  return { exit: cpu.run(100), fault: cpu.firstFault?.vector, rip: cpu.state.rip };
}

describe('an instruction that is not built', () => {
  // biome-ignore format: a table
  it.each([
    ['max', [0xc4, 0xe2, 0x70, 0xf2, 0xc2], 'andn (BMI1)'],
  ])('ends the run by name when %s shows it: %s', (name, code, what) => {
    const { exit, fault, rip } = run(parseCpuModel(name as string), [0x90, ...(code as number[])]);
    expect(exit).toEqual({ kind: 'unbuilt', what, table: 'x86/isa' });
    expect(fault).toBeUndefined();
    expect(rip).toBe(BigInt(AT + 1)); // nothing of it happened
  });

  // biome-ignore format: a table
  it.each([
    ['max,-MMX', [0x0f, 0x6f, 0x00], 'movq, MMX'],
    ['max', [0xdb, 0x08], 'fisttp, SSE3'],
    ['max', [0x66, 0x0f, 0x38, 0x00, 0xc1], 'pshufb, SSSE3'],
    ['max', [0x0f, 0xae, 0x20], 'xsave, XSAVE'],
    ['max', [0x0f, 0x01, 0xd0], 'xgetbv, XSAVE'],
    ['max', [0x0f, 0x78, 0xc8], 'vmread, VMX'],
    ['max', [0xc5, 0xf8, 0x58, 0xc1], 'vaddps, AVX'],
    ['max', [0xc4, 0xe2, 0x73, 0xf5, 0xc2], 'pdep, BMI2'],
    ['default', [0xc4, 0xe2, 0x70, 0xf2, 0xc2], 'andn, BMI1'],
    ['max,-SSE2', [0xf2, 0x0f, 0x58, 0xc1], 'addsd, SSE2'],
    ['default', [0xf0, 0x0f, 0x57, 0x00], 'xorps with LOCK'],
  ])('gives #UD when %s hides it: %s %s', (name, code) => {
    const { exit, fault, rip } = run(parseCpuModel(name as string), code as number[]);
    expect(fault).toBe(6);
    expect(exit.kind).toBe('triple-fault'); // there is no IDT
    expect(rip).toBe(BigInt(AT));
  });
});

describe('a floating-point instruction asks first', () => {
  const [TS, EM] = [8n, 4n];
  const [UD, NM] = [6, 7];
  const FLD1 = [0xd9, 0xe8];
  const ADDSD = [0xf2, 0x0f, 0x58, 0xc1];
  // biome-ignore format: a table
  it.each([
    ['x87, CR0.TS', FLD1, 0x33n | TS, 0x600n, NM],
    ['x87, CR0.EM', FLD1, 0x33n | EM, 0x600n, NM],
    ['SSE2, CR0.TS', ADDSD, 0x33n | TS, 0x600n, NM],
    ['SSE2, CR0.EM', ADDSD, 0x33n | EM | TS, 0x600n, UD],
    ['SSE2, CR4.OSFXSR clear', ADDSD, 0x33n | TS, 0n, UD],
    ['x87, nothing in the way', FLD1, 0x33n, 0n, undefined],
  ])('%s', (_name, code, cr0, cr4, vector) => {
    const { exit, fault } = run(DEFAULT_MODEL, code, cr0, cr4);
    expect(fault).toBe(vector);
    expect(exit.kind).toBe(vector === undefined ? 'halt' : 'triple-fault');
  });
});
