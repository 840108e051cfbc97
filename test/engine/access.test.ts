import { describe, expect, test } from 'vitest';
import { checkSegment, isCanonical } from '../../src/engine/access.ts';
import { ACCESS, GuestFault } from '../../src/engine/core.ts';
import { SEG } from '../../src/engine/state.ts';
import { CR0, CR4, EFER, RFLAGS } from '../../src/x86/constants.ts';
import { flatCode32, flatCode64, flatData, nullSegment, type Segment } from '../../src/x86/vcpu-state.ts';
import { TestCore, thrown } from './test-core.ts';

/** CPL 3 in 64-bit code: page 0x5000 user read-only, 0x6000 user writable, 0x7000 supervisor, 0x8000 absent. */
function longMode(): TestCore {
  const core = new TestCore();
  const { state } = core;
  for (const [at, entry] of [
    [0x1000, 0x2007n],
    [0x2000, 0x3007n],
    [0x3000, 0x4007n],
    [0x4028, 0x5005n],
    [0x4030, 0x6007n],
    [0x4038, 0x7003n],
  ] as const)
    core.ram.setBigUint64(at, entry, true);
  state.set64('CR0', BigInt(CR0.PG) | BigInt(CR0.PE | CR0.WP | CR0.AM));
  state.set64('CR4', BigInt(CR4.PAE));
  state.set64('EFER', BigInt(EFER.LMA | EFER.LME));
  state.set64('CR3', 0x1000n);
  state.setSegment(SEG.CS, flatCode64(0x33, 3));
  state.cpl = 3;
  return core;
}

describe('linear accesses', () => {
  test('read and write each size, over page ends too', () => {
    const core = new TestCore();
    for (const at of [0x2000n, 0x2ffdn]) {
      core.writeLinear(at, 8, 0x1122_3344_5566_7788n);
      expect(core.readLinear(at, 8)).toBe(0x1122_3344_5566_7788n);
      expect(core.readLinear(at, 4)).toBe(0x5566_7788n);
      expect(core.readLinear(at + 2n, 2)).toBe(0x5566n);
      core.writeLinear(at + 1n, 1, 0x1ffn);
      core.writeLinear(at + 2n, 2, -1n);
      core.writeLinear(at + 4n, 4, 0x9_8765_4321n);
      expect(core.readLinear(at, 8)).toBe(0x8765_4321_ffff_ff88n);
      expect(core.readLinear(at + 7n, 1)).toBe(0x87n);
    }
  });

  test('throw what the page tables say, and the same accesses as system accesses pass', () => {
    const core = longMode();
    expect(thrown(() => core.readLinear(0x8000n, 4))).toEqual(new GuestFault(14, 4, 0x8000n));
    expect(thrown(() => core.writeLinear(0x5ff8n, 8, 0n))).toEqual(new GuestFault(14, 7, 0x5ff8n));
    expect(thrown(() => core.readLinear(0x7123n, 1))).toEqual(new GuestFault(14, 5, 0x7123n));
    expect(thrown(() => core.readLinear(0x8000_0000_0000n, 1))).toEqual(new GuestFault(13, 0));
    expect(core.readLinear(0x7123n, 1, true)).toBe(0n);
    expect(thrown(() => core.readLinear(0x8000n, 1, true))).toEqual(new GuestFault(14, 0, 0x8000n));
    core.state.rflags = 2 | RFLAGS.AC;
    core.modeChanged();
    expect(thrown(() => core.readLinear(0x6001n, 4))).toEqual(new GuestFault(17, 0));
    expect(core.readLinear(0x6001n, 4, true)).toBe(0n);
  });

  test('a store over two pages writes nothing when the second refuses it', () => {
    const core = longMode();
    core.ram.setUint32(0x6ffc, 0x1234_5678, true);
    expect(thrown(() => core.writeLinear(0x6ffen, 4, 0n))).toEqual(new GuestFault(14, 7, 0x7000n));
    expect(core.ram.getUint32(0x6ffc, true)).toBe(0x1234_5678);
  });

  test('a cached translation outlives the entry until it is flushed, as on hardware', () => {
    const core = longMode();
    core.ram.setUint8(0x6000, 7);
    expect(core.readLinear(0x6000n, 1)).toBe(7n);
    core.ram.setBigUint64(0x4030, 0n, true);
    expect(core.readLinear(0x6000n, 1)).toBe(7n);
    core.flushTlbPage(0x6abcn);
    expect(thrown(() => core.readLinear(0x6000n, 1))).toEqual(new GuestFault(14, 4, 0x6000n));
  });

  test('probes raise for any page of the range and leave the TLB and memory alone', () => {
    const core = longMode();
    core.probeLinear(0x5000n, 0x2000, ACCESS.READ);
    expect(thrown(() => core.probeLinear(0x5000n, 0x2001, ACCESS.READ))).toEqual(new GuestFault(14, 5, 0x7000n));
    expect(thrown(() => core.probeLinear(0x6fffn, 2, ACCESS.WRITE))).toEqual(new GuestFault(14, 7, 0x7000n));
    expect(core.ram.getUint8(0x4030) & 0x60).toBe(0x60); // A and D of what would have been written
    expect(thrown(() => core.probeLinear(0x7fff_ffff_ffffn, 2, ACCESS.READ))?.vector).toBe(14);
    expect(thrown(() => core.probeLinear(0x8000_0000_0000n, 1, ACCESS.FETCH))).toEqual(new GuestFault(13, 0));
  });

  test('addresses outside long mode have 32 bits', () => {
    const core = new TestCore();
    core.writeLinear(0x1_0000_3000n, 4, 5n);
    expect(core.ram.getUint32(0x3000, true)).toBe(5);
    core.ram.setUint16(0, 0xbeef, true);
    expect(core.readLinear(0xffff_fffen, 4, true)).toBe(0xbeef_ffffn);
  });
});

describe('segment checks outside 64-bit code (SDM Vol. 3, 5.3, 5.5)', () => {
  const data = 0x93;
  const readOnly = 0x91;
  const down16 = 0x97;
  const down32 = 0x4097;
  const code = 0x9b;
  const executeOnly = 0x99;
  // attributes, limit, offset, size, write → allowed
  const cases: [number, number, number, number, boolean, boolean][] = [
    [data, 0xfff, 0xfff, 1, true, true],
    [data, 0xfff, 0xffc, 4, false, true],
    [data, 0xfff, 0xffd, 4, false, false],
    [data, 0xfff, 0x1000, 1, false, false],
    [data, 0, 0, 1, true, true],
    [data, 0, 0, 2, true, false],
    [data, 0xffff_ffff, 0xffff_fffc, 4, true, true],
    [data, 0xffff_ffff, 0xffff_fffe, 4, true, false], // measured on an AMD EPYC
    [data, 0xffff_fffe, 0xffff_fffe, 2, true, false],
    [readOnly, 0xfff, 0, 4, false, true],
    [readOnly, 0xfff, 0, 4, true, false],
    [code, 0xfff, 0, 4, false, true],
    [code, 0xfff, 0, 4, true, false],
    [executeOnly, 0xfff, 0, 4, false, false],
    [down32, 0xfff, 0x1000, 4, true, true],
    [down32, 0xfff, 0xfff, 4, true, false],
    [down32, 0xfff, 0xffff_fffc, 4, true, true],
    [down32, 0xfff, 0xffff_fffd, 4, true, false],
    [down16, 0xfff, 0xfffc, 4, true, true],
    [down16, 0xfff, 0xfffd, 4, true, false],
    [down16, 0xfff, 0x1_0000, 1, true, false],
    [down32, 0xffff_ffff, 0xffff_ffff, 1, true, false], // nothing is above the limit
    [0, 0xffff_ffff, 0, 1, false, false], // null
    [0x13, 0xffff_ffff, 0, 1, false, false], // not present
  ];
  test.each(cases)(
    'attributes %#x, limit %#x, offset %#x, %d bytes, write %s: %s',
    (attributes, limit, offset, size, write, allowed) => {
      const fault = thrown(() => checkSegment(attributes, limit, offset, size, write, 13));
      expect(fault).toEqual(allowed ? undefined : new GuestFault(13, 0));
    },
  );

  test('the base is added and the sum wraps; limit faults of SS are #SS, wrong types #GP', () => {
    const core = new TestCore();
    const segment = (more: Partial<Segment>): Segment => ({ ...flatData(0x18), ...more });
    core.state.setSegment(SEG.CS, flatCode32(8));
    core.state.setSegment(SEG.DS, segment({ base: 0xffff_f000n, limit: 0xffff }));
    core.state.setSegment(SEG.SS, segment({ base: 0x2000n, limit: 0xff }));
    expect(core.linear(SEG.DS, 0x1234n, 4, true)).toBe(0x234n);
    expect(core.linear(SEG.SS, 0xfcn, 4, true)).toBe(0x20fcn);
    expect(thrown(() => core.linear(SEG.SS, 0xfdn, 4, true))).toEqual(new GuestFault(12, 0));
    expect(thrown(() => core.linear(SEG.CS, 0n, 4, true))).toEqual(new GuestFault(13, 0));
    core.state.setSegment(SEG.ES, nullSegment());
    expect(thrown(() => core.readSegment(SEG.ES, 0n, 1))).toEqual(new GuestFault(13, 0));
    core.writeSegment(SEG.DS, 0x4000n, 4, 0xabcdn);
    expect(core.ram.getUint32(0x3000, true)).toBe(0xabcd);
  });
});

describe('64-bit code', () => {
  test('only FS and GS have a base, nothing has a limit, addresses must be canonical', () => {
    const core = longMode();
    core.state.setSegment(SEG.DS, { ...nullSegment(), base: 0x5000n });
    core.state.setSegment(SEG.GS, { ...nullSegment(), base: 0xffff_8000_0000_0000n });
    expect(core.linear(SEG.DS, 0x1234n, 8, true)).toBe(0x1234n);
    expect(core.linear(SEG.GS, 0x10n, 8, true)).toBe(0xffff_8000_0000_0010n);
    expect(core.linear(SEG.GS, 0x8000_0000_0000n, 8, true)).toBe(0n);
    expect(thrown(() => core.linear(SEG.DS, 0x8000_0000_0000n, 1, false))).toEqual(new GuestFault(13, 0));
    expect(thrown(() => core.linear(SEG.SS, 0x8000_0000_0000n, 1, false))).toEqual(new GuestFault(12, 0));
    expect(thrown(() => core.linear(SEG.DS, 0x7fff_ffff_ffffn, 2, false))).toEqual(new GuestFault(13, 0));
  });

  test.each([
    [0n, true],
    [0x7fff_ffff_ffffn, true],
    [0x8000_0000_0000n, false],
    [0xffff_7fff_ffff_ffffn, false],
    [0xffff_8000_0000_0000n, true],
    [0xffff_ffff_ffff_ffffn, true],
  ])('%#x canonical: %s', (address, expected) => expect(isCanonical(address)).toBe(expected));
});
