import { describe, expect, test } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { cpuid, DEFAULT_MODEL, FEATURES, MAX_MODEL, parseCpuModel } from '../../src/x86/cpuid.ts';
import { MSR, MSRS } from '../../src/x86/msr.ts';

describe('CPUID', () => {
  // Bits from the AMD64 Manual Vol. 3, appendix E, added by hand.
  test.each([
    [0, { eax: 1, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 }],
    [1, { eax: 0x0006_0fb1, ebx: 0, ecx: 0, edx: 0x0780_a979 }],
    [2, { eax: 0, ebx: 0, ecx: 0, edx: 0 }],
    [7, { eax: 0, ebx: 0, ecx: 0, edx: 0 }],
    [0x4000_0000, { eax: 0, ebx: 0, ecx: 0, edx: 0 }],
    [0x8000_0000, { eax: 0x8000_0008, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 }],
    [0x8000_0001, { eax: 0x0006_0fb1, ebx: 0, ecx: 0, edx: 0x2190_a979 }],
    [0x8000_0002, { eax: 0, ebx: 0, ecx: 0, edx: 0 }],
    [0x8000_0008, { eax: 0x3028, ebx: 0, ecx: 0, edx: 0 }],
  ])('default model, leaf %#x', (leaf, expected) => {
    expect(cpuid(DEFAULT_MODEL, leaf, 0)).toEqual(expected);
  });

  test('the default model has what a Linux kernel refuses to start without', () => {
    const required = 'FPU MSR PAE CX8 CMOV MMX FXSR SSE SSE2 LM SYSCALL'.split(' ');
    for (const name of required) expect(DEFAULT_MODEL.features).toContain(name);
  });

  test('max shows all that is built and nothing else, with leaf 7', () => {
    expect(cpuid(MAX_MODEL, 0, 0).eax).toBe(7);
    for (const { name, leaf, register, bit, built } of FEATURES) {
      expect([name, (cpuid(MAX_MODEL, leaf, 0)[register] >>> bit) & 1]).toEqual([name, built ? 1 : 0]);
    }
    expect(cpuid(MAX_MODEL, 7, 1).ebx).toBe(0);
    expect(cpuid(MAX_MODEL, 1, 0).ebx).toBe(0x800);
  });

  test('no two features share a bit or a name', () => {
    expect(new Set(FEATURES.map((f) => f.name)).size).toBe(FEATURES.length);
    expect(new Set(FEATURES.map((f) => `${f.leaf} ${f.register} ${f.bit}`)).size).toBe(FEATURES.length);
    for (const model of [DEFAULT_MODEL, MAX_MODEL]) {
      for (const name of model.features) expect(FEATURES.find((f) => f.name === name)?.built).toBe(true);
    }
  });
});

describe('--cpu', () => {
  test.each([
    ['max', MAX_MODEL.features],
    ['default', DEFAULT_MODEL.features],
    ['+popcnt', new Set([...DEFAULT_MODEL.features, 'POPCNT'])],
    ['max,-SMEP, -PAT', new Set([...MAX_MODEL.features].filter((name) => name !== 'SMEP' && name !== 'PAT'))],
    ['-NX,+NX', DEFAULT_MODEL.features],
    ['-APIC', DEFAULT_MODEL.features],
  ])('%s', (text, features) => {
    expect(parseCpuModel(text).features).toEqual(features);
  });

  test.each([
    ['+AVX', /AVX is not built/],
    ['max,+RDRAND', /RDRAND is not built/],
    ['+FLUX', /does not know "\+FLUX"/],
    ['POPCNT', /does not know "POPCNT"/],
    ['+NX,max', /does not know "max"/],
    ['', /does not know ""/],
  ])('refuses %j', (text, message) => {
    expect(() => parseCpuModel(text)).toThrow(VmError);
    expect(() => parseCpuModel(text)).toThrow(message);
  });
});

describe('the MSR table', () => {
  test('has each number and name once, and only features that exist', () => {
    expect(new Set(MSRS.map((row) => row.number)).size).toBe(MSRS.length);
    expect(Object.keys(MSR)).toHaveLength(MSRS.length);
    expect(MSR.EFER).toBe(0xc000_0080);
    for (const row of MSRS) if ('feature' in row) expect(FEATURES.map((f) => f.name)).toContain(row.feature);
  });
});
