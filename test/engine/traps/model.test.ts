/** Paging follows the CPUID model: what it does not show is reserved, in entries and in addresses. */
import { describe, expect, it } from 'vitest';
import { Cpu } from '../../../src/engine/cpu.ts';
import { type CpuModel, DEFAULT_MODEL, MAX_MODEL } from '../../../src/x86/cpuid.ts';
import { flatCode64, flatData } from '../../../src/x86/vcpu-state.ts';
import { BenchHost, hex } from './bench.ts';

/** Reads linear address 1 GiB, through an entry of the page-directory-pointer table; returns the fault, if there is one. */
function readThrough(model: CpuModel, entry: bigint): number | undefined {
  const cpu = Cpu.create({ ramSize: 0x10_0000, cpuModel: model, host: new BenchHost() });
  const ram = new DataView(cpu.buffer, cpu.ramOffset, 0x10_0000);
  ram.setBigUint64(0x1000, 0x2067n, true);
  ram.setBigUint64(0x2000, 0x3067n, true);
  ram.setBigUint64(0x2008, entry, true);
  ram.setBigUint64(0x3000, 0xe7n, true);
  new Uint8Array(cpu.buffer, cpu.ramOffset).set(hex('8b 03' /* mov eax, [rbx] */, 'f4' /* hlt */), 0x8000);
  const data = flatData(0x18);
  cpu.setState({
    rip: 0x8000n,
    rbx: 0x4000_0000n,
    segments: { cs: flatCode64(0x10), ss: data, ds: data, es: data, fs: data, gs: data },
    cr0: 0x8000_0033n,
    cr3: 0x1000n,
    cr4: 0x20n,
    efer: 0xd01n,
    cpl: 0,
  });
  cpu.run(10);
  return cpu.firstFault?.errorCode;
}

describe('the CPUID model', () => {
  const widePage = BigInt(1) << 39n; // the highest address bit of 40
  it.each([
    ['1 GiB pages work where they are shown', MAX_MODEL, 0xe7n, undefined],
    ['and are reserved where they are not', DEFAULT_MODEL, 0xe7n, 9],
    ['an address within the width is one', MAX_MODEL, 0xe7n | widePage, undefined],
    ['one bit more is reserved', { ...MAX_MODEL, physicalBits: 39 }, 0xe7n | widePage, 9],
  ])('%s', (_name, model, entry, error) => {
    expect(readThrough(model, entry)).toBe(error);
  });
});
