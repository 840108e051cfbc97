import { describe, expect, test } from 'vitest';
import { PDPTES } from '../../src/engine/page-walk.ts';
import { walkTrace } from '../../src/engine/walk-trace.ts';
import { CR0, CR4, EFER } from '../../src/x86/constants.ts';
import { TestCore } from './test-core.ts';

function paged(cr4: number, efer = 0): TestCore {
  const core = new TestCore(0x100_0000);
  core.state.set64('CR0', BigInt(CR0.PG) | 1n);
  core.state.set64('CR4', BigInt(cr4));
  core.state.set64('EFER', BigInt(efer));
  core.state.set64('CR3', 0x1018n);
  return core;
}
const trace = (core: TestCore, address: bigint) => walkTrace(core.state, core.ramSize, address);

describe('walkTrace', () => {
  test('shows each level of a 4-level walk and changes nothing', () => {
    const core = paged(CR4.PAE, EFER.LMA);
    core.ram.setBigUint64(0x1000 + 511 * 8, 0x2067n, true);
    core.ram.setBigUint64(0x2000 + 510 * 8, 0x3003n, true);
    core.ram.setBigUint64(0x3000 + 8 * 8, 0x8000_0000_0080_01e3n, true);
    const before = core.ram.getBigUint64(0x2000 + 510 * 8, true);
    expect(trace(core, 0xffff_ffff_8101_2345n)).toEqual({
      paging: '4-level paging, CR3 0x1018',
      rows: [
        { level: 'PML4E', at: 0x1ff8, value: 0x2067n, flags: 'P RW US A D' },
        { level: 'PDPTE', at: 0x2ff0, value: 0x3003n, flags: 'P RW' },
        { level: 'PDE', at: 0x3040, value: 0x8000_0000_0080_01e3n, flags: 'P RW A D PS G NX' },
      ],
      gpa: 0x81_2345,
      end: 'physical 0x812345',
    });
    expect(core.ram.getBigUint64(0x2000 + 510 * 8, true)).toBe(before);
    expect(trace(core, 0x1000n)).toMatchObject({ gpa: undefined, end: 'PML4E is not present' });
    expect(trace(core, 0x8000_0000_0000n)).toMatchObject({ rows: [], end: 'the address is not canonical' });
  });

  test('2-level, PAE and no paging', () => {
    const two = paged(CR4.PSE);
    two.ram.setUint32(0x1000, 0x2003, true);
    two.ram.setUint32(0x2004, 0x9003, true);
    two.ram.setUint32(0x1004, 0xfec0_0083, true);
    expect(trace(two, 0x1234n)).toMatchObject({ gpa: 0x9234, end: 'physical 0x9234' });
    expect(trace(two, 0x40_1234n)).toMatchObject({ gpa: 0xfec0_1234, end: 'physical 0xfec01234, outside RAM' });

    const pae = paged(CR4.PAE);
    pae.state.view.setBigUint64(PDPTES + 8, 0x4001n, true);
    pae.ram.setBigUint64(0x4000, 0x0060_0083n, true);
    const walk = trace(pae, 0x4001_2345n);
    expect(walk.rows.map((row) => [row.level, row.at])).toEqual([
      ['PDPTE', undefined],
      ['PDE', 0x4000],
    ]);
    expect(walk.gpa).toBe(0x61_2345);

    const off = new TestCore();
    expect(trace(off, 0x1234n)).toEqual({ paging: 'paging is off', rows: [], gpa: 0x1234, end: 'physical 0x1234' });
  });

  test('tables outside RAM read as ones and the walk still ends', () => {
    const core = paged(CR4.PAE, EFER.LMA);
    core.state.set64('CR3', 0xff_ffff_f000n);
    const walk = trace(core, 0n);
    expect(walk.rows).toHaveLength(2);
    expect(walk.end).toContain('outside RAM');
  });
});
