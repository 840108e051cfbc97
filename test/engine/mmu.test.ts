import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ACCESS, type Access } from '../../src/engine/core.ts';
import { highHalf, lowHalf } from '../../src/engine/halves.ts';
import { BOUNCE, BREAKPOINT_HITS, READ_BOUNCE, SLOW } from '../../src/engine/mmu.ts';
import { FAULT, NON_CANONICAL, PDPTES } from '../../src/engine/page-walk.ts';
import { RAM, STATE, TLB_BYTES, TLB_SUPERVISOR, TLB_USER } from '../../src/engine/state.ts';
import { CR0, CR4, EFER, RFLAGS } from '../../src/x86/constants.ts';
import { referenceWalk } from './reference-walk.ts';
import { TestCore } from './test-core.ts';

const PAGING = BigInt(CR0.PG | CR0.PE) & 0xffff_ffffn;
const { READ, WRITE, FETCH } = ACCESS;

/** Turns on one of the three kinds of paging with the root table at 0x1000. */
function paged(
  kind: '2-level' | 'pae' | '4-level',
  more: { cr0?: number; cr4?: number; nxe?: boolean } = {},
): TestCore {
  const core = new TestCore();
  const { state } = core;
  state.set64('CR0', PAGING | BigInt(more.cr0 ?? 0));
  state.set64('CR4', BigInt((kind === '2-level' ? CR4.PSE : CR4.PAE) | (more.cr4 ?? 0)));
  state.set64('EFER', BigInt((kind === '4-level' ? EFER.LME | EFER.LMA : 0) | (more.nxe ? EFER.NXE : 0)));
  state.set64('CR3', 0x1000n);
  return core;
}
const put8 = (core: TestCore, at: number, value: bigint) => core.ram.setBigUint64(at, value, true);
const fault = (core: TestCore) => ({
  vector: core.state.view.getInt32(STATE.FAULT_VECTOR, true),
  error: core.state.view.getInt32(STATE.FAULT_ERROR, true),
  cr2: core.state.view.getBigUint64(STATE.FAULT_CR2, true),
});

/** 4-level tables at 0x1000-0x4fff that map the lowest 4 KiB pages; returns where the page table lies. */
function fourLevel(more: Parameters<typeof paged>[1] = {}, upper = 7n): TestCore {
  const core = paged('4-level', more);
  put8(core, 0x1000, 0x2000n | upper);
  put8(core, 0x2000, 0x3000n | upper);
  put8(core, 0x3000, 0x4000n | upper);
  return core;
}
const PT = 0x4000;

describe('4-level walks', () => {
  const NX = 1n << 63n;
  // SDM Vol. 3, 4.6 (rights) and 4.7 (error code): leaf bits, upper bits, WP, access, user → error code or allowed
  const P = 1n;
  const RW = 2n;
  const US = 4n;
  const cases: [leaf: bigint, upper: bigint, wp: boolean, access: Access, user: boolean, error: number | 'ok'][] = [
    [P | RW | US, 7n, true, READ, true, 'ok'],
    [P | RW | US, 7n, true, WRITE, true, 'ok'],
    [P | RW | US, 7n, true, FETCH, true, 'ok'],
    [0n, 7n, true, READ, true, 0x4],
    [0n, 7n, true, WRITE, true, 0x6],
    [0n, 7n, true, FETCH, true, 0x14],
    [0n, 7n, true, READ, false, 0x0],
    [0n, 7n, true, WRITE, false, 0x2],
    [P | RW, 7n, true, READ, true, 0x5],
    [P | RW, 7n, true, READ, false, 'ok'],
    [P | US, 7n, true, WRITE, true, 0x7],
    [P | US, 7n, true, WRITE, false, 0x3],
    [P | US, 7n, false, WRITE, false, 'ok'],
    [P | US, 7n, false, WRITE, true, 0x7],
    [P | RW | US, 3n, true, READ, true, 0x5],
    [P | RW | US, 5n, true, WRITE, true, 0x7],
    [P | RW | US, 5n, true, WRITE, false, 0x3],
    [P | RW | US, 5n, false, WRITE, false, 'ok'],
    [P | RW | US | NX, 7n, true, FETCH, true, 0x15],
    [P | RW | US | NX, 7n, true, READ, true, 'ok'],
    [P | RW | US, 7n | NX, true, FETCH, false, 0x11],
    [P | RW | US | (1n << 40n), 7n, true, READ, false, 0x9],
    [P | RW | US | (1n << 51n), 7n, true, WRITE, true, 0xf],
    [P | RW | US | (1n << 52n), 7n, true, READ, true, 'ok'],
    [P | RW | US | (1n << 51n), 7n, true, FETCH, true, 0x1d],
  ];
  test.each(cases)(
    'leaf %#x, upper %#x, WP %s, access %d, user %s gives %s',
    (leaf, upper, wp, access, user, error) => {
      const core = fourLevel({ cr0: wp ? CR0.WP : 0, nxe: true }, upper);
      put8(core, PT + 5 * 8, 0x9000n | leaf);
      const result = core.mmu.translate(0x5123, 0, access, user);
      if (error === 'ok') expect(result).toBe(0x9123);
      else {
        expect(result).toBe(FAULT);
        expect(fault(core)).toEqual({ vector: 14, error, cr2: 0x5123n });
      }
    },
  );

  test('NX is a reserved bit while EFER.NXE is clear, and fetch faults then lack the I bit', () => {
    const core = fourLevel();
    put8(core, PT, 0x9007n | NX);
    expect(core.mmu.translate(0, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
    put8(core, PT, 0n);
    expect(core.mmu.translate(0, 0, FETCH, true)).toBe(FAULT);
    expect(fault(core).error).toBe(4);
  });

  test('SMEP keeps the supervisor from fetching user pages', () => {
    const core = fourLevel({ cr4: CR4.SMEP });
    put8(core, PT, 0x9007n);
    expect(core.mmu.translate(0, 0, READ, false)).toBe(0x9000);
    expect(core.mmu.translate(0, 0, FETCH, true)).toBe(0x9000);
    expect(core.mmu.translate(0, 0, FETCH, false)).toBe(FAULT);
    expect(fault(core).error).toBe(0x11);
  });

  test('A is set at every level, D at the leaf and only by writes', () => {
    const core = fourLevel();
    put8(core, PT, 0x9007n);
    core.mmu.translate(0, 0, READ, false);
    expect([0x1000, 0x2000, 0x3000, PT].map((at) => core.ram.getUint8(at))).toEqual([0x27, 0x27, 0x27, 0x27]);
    expect(core.written).toEqual([0x1000, 0x2000, 0x3000, PT].map((at) => [at, 4]));
    core.mmu.translate(0, 0, WRITE, false);
    expect(core.ram.getUint8(PT)).toBe(0x67);
    expect(core.written).toHaveLength(5);
    core.mmu.translate(0, 0, WRITE, false);
    expect(core.written).toHaveLength(5); // nothing left to set
  });

  test('a forbidden access leaves A and D of the leaf alone', () => {
    const core = fourLevel({ cr0: CR0.WP });
    put8(core, PT, 0x9005n);
    expect(core.mmu.translate(0, 0, WRITE, true)).toBe(FAULT);
    expect(core.ram.getUint8(PT)).toBe(5);
  });

  test('2 MiB and 1 GiB pages map their whole range and refuse stray address bits', () => {
    const core = fourLevel();
    put8(core, 0x3008, 0x4000_0083n); // second 2 MiB
    put8(core, 0x2008, 0x8000_0083n); // second GiB
    expect(core.mmu.translate(0x0021_2345, 0, READ, false)).toBe(0x4001_2345);
    expect(core.mmu.translate(0x4123_4567, 0, READ, false)).toBe(0x8123_4567);
    put8(core, 0x3008, 0x4000_2083n);
    expect(core.mmu.translate(0x0020_0000, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
    put8(core, 0x2008, 0x8020_0083n);
    expect(core.mmu.translate(0x4000_0000, 0, READ, false)).toBe(FAULT);
    put8(core, 0x3008, 0x4000_1083n); // bit 12 is PAT, not an address bit
    expect(core.mmu.translate(0x0020_0000, 0, READ, false)).toBe(0x4000_0000);
  });

  test('a 1 GiB page is a reserved-bit fault where CPUID does not show it', () => {
    const core = new TestCore(0x1_0000, { physicalBits: 40, pages1GiB: false, pse36: false });
    core.state.set64('CR0', PAGING);
    core.state.set64('CR4', BigInt(CR4.PAE));
    core.state.set64('EFER', BigInt(EFER.LMA));
    core.state.set64('CR3', 0x1000n);
    put8(core, 0x1000, 0x2003n);
    put8(core, 0x2000, 0x83n);
    expect(core.mmu.translate(0, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
  });

  test('PS in a PML4 entry is a reserved bit', () => {
    const core = fourLevel();
    put8(core, 0x1000, 0x2087n);
    expect(core.mmu.translate(0, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
  });

  test('non-canonical addresses are told apart from page faults', () => {
    const core = fourLevel();
    expect(core.mmu.translate(0, 0x0000_8000, READ, false)).toBe(NON_CANONICAL);
    expect(core.mmu.translate(0, 0xffff_7fff, READ, false)).toBe(NON_CANONICAL);
    expect(core.mmu.translate(0, 0xffff_8000, READ, false)).toBe(FAULT);
    expect(fault(core).cr2).toBe(0xffff_8000_0000_0000n);
  });

  test('entries outside RAM read as ones: a reserved bit is set, and the walk ends', () => {
    const core = paged('4-level', { nxe: true });
    core.state.set64('CR3', 0xff_ffff_f000n);
    expect(core.mmu.translate(0, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
  });
});

describe('2-level walks', () => {
  test('4 KiB and 4 MiB pages, PSE-36 included', () => {
    const core = paged('2-level');
    core.ram.setUint32(0x1000, 0x2007, true);
    core.ram.setUint32(0x2000 + 3 * 4, 0xfff0_0007, true);
    core.ram.setUint32(0x1004, 0x0080_0087, true);
    core.ram.setUint32(0x1008, 0x0080_0087 | (0x12 << 13), true);
    expect(core.mmu.translate(0x3456, 0, WRITE, true)).toBe(0xfff0_0456);
    expect(core.mmu.translate(0x0040_1234, 0, WRITE, true)).toBe(0x0080_1234);
    expect(core.mmu.translate(0x0080_1234, 0, READ, true)).toBe(0x12_0080_1234);
    core.ram.setUint32(0x1008, 0x0080_0087 | (1 << 21), true);
    expect(core.mmu.translate(0x0080_1234, 0, READ, true)).toBe(FAULT);
    expect(fault(core).error).toBe(0xd);
  });

  test('without CR4.PSE the PS bit means nothing', () => {
    const core = paged('2-level');
    core.state.set64('CR4', 0n);
    core.ram.setUint32(0x1000, 0x2087, true);
    core.ram.setUint32(0x2000, 0x5007, true);
    expect(core.mmu.translate(0x10, 0, READ, true)).toBe(0x5010);
  });

  test('an address above 2 GiB is as good as any other', () => {
    const core = paged('2-level');
    core.ram.setUint32(0x1000 + 0x3ff * 4, 0x2007, true);
    core.ram.setUint32(0x2000 + 0x3ff * 4, 0x5007, true);
    expect(core.mmu.translate(-4, 0, READ, true)).toBe(0x5ffc);
    expect(core.mmu.translate(0xffbf_f000, 0, READ, true)).toBe(FAULT);
    expect(fault(core)).toEqual({ vector: 14, error: 4, cr2: 0xffbf_f000n });
  });
});

describe('PAE walks', () => {
  test('use the PDPTEs as loaded, not as they are in memory now', () => {
    const core = paged('pae');
    put8(core, 0x1000, 0x2001n);
    put8(core, 0x2000, 0x3007n);
    put8(core, 0x3000, 0x9007n);
    put8(core, 0x2008, 0x0060_0087n);
    expect(core.mmu.translate(0x123, 0, READ, true)).toBe(FAULT); // nothing loaded yet
    expect(core.mmu.loadPdptes(0x1000)).toBe(true);
    expect(core.mmu.translate(0x123, 0, READ, true)).toBe(0x9123);
    expect(core.mmu.translate(0x0020_0123, 0, WRITE, true)).toBe(0x0060_0123);
    put8(core, 0x1000, 0n);
    expect(core.mmu.translate(0x123, 0, READ, true)).toBe(0x9123);
  });

  test('refuse to load PDPTEs with reserved bits, and keep the old ones', () => {
    const core = paged('pae');
    put8(core, 0x1000, 0x2001n);
    expect(core.mmu.loadPdptes(0x1000)).toBe(true);
    for (const bad of [0x2003n, 0x2101n, 0x2005n, 0x2021n, 0x2001n | (1n << 63n), 0x2001n | (1n << 40n)]) {
      put8(core, 0x1020, bad);
      expect(core.mmu.loadPdptes(0x1020)).toBe(false);
    }
    expect(core.state.view.getBigUint64(PDPTES, true)).toBe(0x2001n);
    put8(core, 0x1020, 0x21e6n); // not present: nothing is reserved
    expect(core.mmu.loadPdptes(0x1020)).toBe(true);
  });

  test('bits 62-52 are reserved here, unlike in 4-level paging', () => {
    const core = paged('pae');
    put8(core, 0x1000, 0x2001n);
    put8(core, 0x2000, 0x3007n);
    put8(core, 0x3000, 0x9007n | (1n << 52n));
    core.mmu.loadPdptes(0x1000);
    expect(core.mmu.translate(0x123, 0, READ, false)).toBe(FAULT);
    expect(fault(core).error).toBe(9);
  });
});

describe('any tables', () => {
  // Entries mostly point into the 64 KiB of RAM and mostly have P; now and then anything at all.
  const entry = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 0xff })) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  );
  const bits = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  const setup = fc.record({
    entries: fc.array(fc.tuple(entry, bits), { minLength: 24, maxLength: 24 }),
    addresses: fc.array(bits, { minLength: 8, maxLength: 8 }),
    cr0: fc.boolean(),
    kind: fc.constantFrom('2-level', 'pae', '4-level' as const),
    pse: fc.boolean(),
    smep: fc.boolean(),
    nxe: fc.boolean(),
    access: fc.constantFrom(READ, WRITE, FETCH),
    user: fc.boolean(),
  });

  test('give the same answer as a walker written over bigint, A and D included', () => {
    const core = new TestCore(0x1_0000);
    let successes = 0;
    fc.assert(
      fc.property(setup, (s) => {
        const ram = new Uint8Array(core.buffer, RAM, core.ramSize);
        ram.fill(0);
        const pool = s.entries.map(([shape, wild]) =>
          shape ? (BigInt(shape[0]) << 12n) | BigInt(shape[1]) | 1n | ((wild & 1n) << 63n) : wild,
        );
        for (let at = 0, i = 0; at < core.ramSize; at += 8, i += 7) {
          if (s.kind === '2-level') {
            core.ram.setUint32(at, Number(pool[i % 24] & 0xffff_ffffn), true);
            core.ram.setUint32(at + 4, Number(pool[(i + 5) % 24] & 0xffff_ffffn), true);
          } else put8(core, at, pool[i % 24]);
        }
        const { state } = core;
        state.set64('CR0', PAGING | (s.cr0 ? BigInt(CR0.WP) : 0n));
        const cr4 = (s.kind === '2-level' ? 0 : CR4.PAE) | (s.pse ? CR4.PSE : 0) | (s.smep ? CR4.SMEP : 0);
        state.set64('CR4', BigInt(cr4));
        state.set64('EFER', BigInt((s.kind === '4-level' ? EFER.LMA : 0) | (s.nxe ? EFER.NXE : 0)));
        state.set64('CR3', 0x3000n);
        for (let i = 0; i < 4; i++) state.view.setBigUint64(PDPTES + i * 8, pool[i] & 0xf_f001n, true);
        for (const raw of s.addresses) {
          const address = s.kind === '4-level' ? BigInt.asUintN(64, BigInt.asIntN(48, raw)) : BigInt.asUintN(32, raw);
          const copy = ram.slice();
          const expected = referenceWalk({
            ram: copy, kind: s.kind, pse: s.pse, wp: s.cr0, nxe: s.nxe, smep: s.smep, root: 0x3000n,
            pdptes: pool.slice(0, 4).map((e) => e & 0xf_f001n), address, access: s.access, user: s.user,
          }); // biome-ignore format: one line per idea
          const low = lowHalf(address);
          const result = core.mmu.translate(low, highHalf(address), s.access, s.user);
          if ('gpa' in expected) {
            successes++;
            expect(BigInt(result)).toBe(expected.gpa);
          } else {
            expect(result).toBe(FAULT);
            expect(fault(core)).toEqual({ vector: 14, error: expected.error, cr2: address });
          }
          expect(Buffer.compare(ram, copy)).toBe(0);
        }
      }),
      { numRuns: 150, seed: 7 },
    );
    expect(successes).toBeGreaterThan(100);
  });

  test('never make slow() throw, loop or leave memory', () => {
    const core = new TestCore(0x1_0000);
    const size = fc.constantFrom(1, 2, 4, 8, 0);
    fc.assert(
      fc.property(setup, bits, size, fc.integer({ min: 0, max: 15 }), (s, cr3, size, kind) => {
        const { state } = core;
        for (let at = 0, i = 0; at < core.ramSize; at += 8, i++) put8(core, at, s.entries[i % 24][1]);
        state.set64('CR0', s.cr0 ? PAGING : PAGING | BigInt(CR0.WP));
        state.set64('CR4', BigInt((s.pse ? CR4.PSE : 0) | (s.kind === '2-level' ? 0 : CR4.PAE)));
        state.set64('EFER', BigInt(s.kind === '4-level' ? EFER.LMA : 0));
        state.set64('CR3', cr3);
        state.cpl = s.user ? 3 : 0;
        for (const address of s.addresses) {
          const at = core.mmu.slow(lowHalf(address), highHalf(address), size | (kind << 4));
          if (at === FAULT) continue;
          if (at === BOUNCE) core.mmu.commit();
          else expect(at === READ_BOUNCE || (at >= RAM && at + (size || 16) <= RAM + core.ramSize)).toBe(true);
        }
        core.mmu.flushTlb();
      }),
      { numRuns: 150, seed: 8 },
    );
  });
});

describe('the TLB', () => {
  const entryAt = (core: TestCore, table: number, address: number) => {
    const at = table + ((address >>> 12) & 1023) * 16;
    return [core.state.view.getBigInt64(at, true), core.state.view.getBigInt64(at + 8, true)];
  };
  const tagged = (core: TestCore, table: number, address: number) =>
    entryAt(core, table, address)[0] === BigInt(address & ~0xfff);
  const READ_TABLE = TLB_SUPERVISOR;
  const WRITE_TABLE = TLB_SUPERVISOR + TLB_BYTES;

  test('a read of a clean page makes a read tag, a write makes both', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9007n);
    expect(core.mmu.slow(0x6010, 0, 8)).toBe(RAM + 0x9010);
    expect(tagged(core, READ_TABLE, 0x6000)).toBe(true);
    expect(tagged(core, WRITE_TABLE, 0x6000)).toBe(false);
    expect(core.mmu.slow(0x6010, 0, 8 | SLOW.STORE)).toBe(RAM + 0x9010);
    expect(tagged(core, WRITE_TABLE, 0x6000)).toBe(true);
    expect(entryAt(core, READ_TABLE, 0x6000)[1]).toBe(BigInt(RAM + 0x9000 - 0x6000));
    expect(tagged(core, TLB_USER, 0x6000)).toBe(false);
  });

  test('a read of a dirty writable page makes both tags; of a dirty read-only one only a read tag', () => {
    const core = fourLevel({ cr0: CR0.WP });
    put8(core, PT + 8 * 6, 0x9047n);
    put8(core, PT + 8 * 7, 0x9045n);
    core.mmu.slow(0x6000, 0, 1);
    core.mmu.slow(0x7000, 0, 1);
    expect(tagged(core, WRITE_TABLE, 0x6000)).toBe(true);
    expect(tagged(core, READ_TABLE, 0x7000)).toBe(true);
    expect(tagged(core, WRITE_TABLE, 0x7000)).toBe(false);
  });

  test('addends of high addresses are kept modulo 2^32', () => {
    const core = fourLevel();
    put8(core, 0x1000 + 511 * 8, 0x2007n);
    put8(core, 0x2000 + 511 * 8, 0x3007n);
    put8(core, 0x3000 + 511 * 8, 0x4007n);
    put8(core, PT + 511 * 8, 0x9007n);
    expect(core.mmu.slow(-8, -1, 8)).toBe(RAM + 0x9ff8);
    expect(entryAt(core, READ_TABLE, 0xffff_f000)).toEqual([-4096n, BigInt((RAM + 0x9000 + 0x1000) % 2 ** 32)]);
  });

  test('CPL 3 and supervisor accesses use different tables, implicit ones the supervisor table', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9067n);
    put8(core, PT + 8 * 7, 0x9063n);
    core.state.cpl = 3;
    core.mmu.slow(0x6000, 0, 1);
    expect(tagged(core, TLB_USER, 0x6000)).toBe(true);
    expect(tagged(core, TLB_SUPERVISOR, 0x6000)).toBe(false);
    expect(core.mmu.slow(0x7000, 0, 1)).toBe(FAULT);
    expect(core.mmu.slow(0x7000, 0, 1 | SLOW.SYSTEM)).toBe(RAM + 0x9000);
    expect(tagged(core, TLB_SUPERVISOR, 0x7000)).toBe(true);
    expect(tagged(core, TLB_USER, 0x7000)).toBe(false);
  });

  test('a frame with code gets no write tag, every store to it is told, and its aliases lose theirs', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9067n);
    put8(core, PT + 8 * 7, 0x9067n);
    core.mmu.slow(0x6000, 0, 4 | SLOW.STORE);
    core.mmu.slow(0x7000, 0, 4 | SLOW.STORE);
    core.state.cpl = 3;
    core.mmu.slow(0x7000, 0, 4 | SLOW.STORE);
    core.codeFrames.add(0x9000);
    core.mmu.dropWriteTags(0x9000);
    for (const table of [WRITE_TABLE, TLB_USER + TLB_BYTES]) {
      expect([tagged(core, table, 0x6000), tagged(core, table, 0x7000)]).toEqual([false, false]);
    }
    expect(tagged(core, READ_TABLE, 0x6000)).toBe(true);
    core.written.length = 0;
    core.mmu.slow(0x6104, 0, 4 | SLOW.STORE);
    expect(core.written).toEqual([[0x9104, 4]]);
    expect(tagged(core, TLB_USER + TLB_BYTES, 0x6000)).toBe(false);
  });

  test('a repeated store to a frame with code walks once, until a flush; without code it gets its tag again', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9067n);
    core.codeFrames.add(0x9000);
    core.mmu.slow(0x6010, 0, 4 | SLOW.STORE);
    put8(core, PT + 8 * 6, 0n);
    core.written.length = 0;
    expect(core.mmu.slow(0x6ffc, 0, 4 | SLOW.STORE)).toBe(RAM + 0x9ffc);
    expect(core.written).toEqual([[0x9ffc, 4]]);
    expect(core.mmu.slow(0x6ffd, 0, 4 | SLOW.STORE)).toBe(FAULT); // over the page end: walked
    core.state.cpl = 3;
    expect(core.mmu.slow(0x6010, 0, 4 | SLOW.STORE)).toBe(FAULT); // the other privilege has its own
    core.state.cpl = 0;
    core.mmu.flushPage(0x6000, 0);
    expect(core.mmu.slow(0x6010, 0, 4 | SLOW.STORE)).toBe(FAULT);
    put8(core, PT + 8 * 6, 0x9067n);
    core.mmu.slow(0x6010, 0, 4 | SLOW.STORE);
    core.codeFrames.clear();
    core.mmu.slow(0x6010, 0, 4 | SLOW.STORE);
    expect(tagged(core, WRITE_TABLE, 0x6000)).toBe(true);
  });

  test('a flush drops everything, INVLPG one page, or all of a large one', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9067n);
    put8(core, PT + 8 * 7, 0x9067n);
    put8(core, 0x3000 + 3 * 8, 0xe7n);
    core.mmu.slow(0x6000, 0, 4 | SLOW.STORE);
    core.mmu.slow(0x7000, 0, 4);
    core.mmu.fetchTranslate(0x7000, 0, false);
    core.mmu.flushPage(0x7fff, 0);
    expect([tagged(core, READ_TABLE, 0x6000), tagged(core, READ_TABLE, 0x7000)]).toEqual([true, false]);
    core.mmu.slow(0x60_1000, 0, 4);
    core.mmu.slow(0x60_2000, 0, 4);
    core.mmu.flushPage(0x60_5000, 0);
    expect([tagged(core, READ_TABLE, 0x60_1000), tagged(core, READ_TABLE, 0x60_2000)]).toEqual([false, false]);
    core.mmu.slow(0x6000, 0, 4 | SLOW.STORE);
    core.mmu.flushTlb();
    expect([tagged(core, READ_TABLE, 0x6000), tagged(core, WRITE_TABLE, 0x6000)]).toEqual([false, false]);
  });

  test('a flush after more fills than it remembers still drops everything', () => {
    const core = fourLevel();
    put8(core, 0x3000, 0xe7n); // 2 MiB page at 0; RAM ends at 1 MiB
    for (let page = 0; page < 256; page++) core.mmu.slow(page * 4096, 0, 4 | SLOW.STORE);
    core.state.cpl = 3;
    for (let page = 0; page < 256; page++) core.mmu.slow(page * 4096, 0, 4 | SLOW.STORE);
    core.mmu.flushTlb();
    for (let at = TLB_SUPERVISOR; at < TLB_USER + 2 * TLB_BYTES; at += 16) {
      expect(core.state.view.getBigInt64(at, true)).toBe(1n);
    }
  });

  test('pages outside RAM get no tags', () => {
    const core = new TestCore();
    core.mmu.slow(0xfee0_0000 | 0, 0, 4);
    expect(tagged(core, READ_TABLE, 0xfee0_0000)).toBe(false);
    expect(core.mmu.fetchTranslate(0xfee0_0123 | 0, 0, false)).toBe(0xfee0_0000);
  });
});

describe('accesses that are no single range', () => {
  test('a read over two pages is gathered, a write is committed', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9007n);
    put8(core, PT + 8 * 7, 0xb007n);
    put8(core, 0x9ff8, 0x1122_3344_5566_7788n);
    put8(core, 0xb000, 0x99aa_bbcc_ddee_ff00n);
    expect(core.mmu.slow(0x6ffc, 0, 8)).toBe(READ_BOUNCE);
    expect(core.state.view.getBigUint64(READ_BOUNCE, true)).toBe(0xddee_ff00_1122_3344n);
    expect(core.mmu.slow(0x6ffd, 0, 4 | SLOW.WRITE)).toBe(BOUNCE);
    expect(core.state.view.getUint32(BOUNCE, true)).toBe(0x0011_2233);
    core.state.view.setUint32(BOUNCE, 0xa1a2_a3a4, true);
    expect(core.ram.getUint8(0xb000)).toBe(0x00);
    core.mmu.commit();
    expect(core.ram.getBigUint64(0x9ff8, true)).toBe(0xa2a3_a444_5566_7788n);
    expect(core.ram.getUint8(0xb000)).toBe(0xa1);
  });

  test('nothing is written when the second page is missing, and CR2 names its first byte', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9007n);
    expect(core.mmu.slow(0x6ffe, 0, 4 | SLOW.STORE)).toBe(FAULT);
    expect(fault(core)).toEqual({ vector: 14, error: 2, cr2: 0x7000n });
    expect(() => core.mmu.commit()).toThrow('broken belief');
  });

  test('both frames of a split store tell the code map', () => {
    const core = fourLevel();
    put8(core, PT + 8 * 6, 0x9067n);
    put8(core, PT + 8 * 7, 0xb067n);
    core.codeFrames.add(0x9000).add(0xb000);
    core.mmu.slow(0x6ffe, 0, 4 | SLOW.STORE);
    // Before the store is handed out: an instruction that changes its own block has to run again, alone.
    expect(core.written.slice(-2)).toEqual([
      [0x9ffe, 2],
      [0xb000, 2],
    ]);
    core.mmu.commit();
  });

  test('devices see aligned pieces of 1, 2 and 4 bytes; a plain store does not read them', () => {
    const core = new TestCore();
    core.host.mmio.set(0xd000_0004, 0x1234_5678);
    expect(core.mmu.slow(0xd000_0000 | 0, 0, 8)).toBe(READ_BOUNCE);
    expect(core.state.view.getBigUint64(READ_BOUNCE, true)).toBe(0x1234_5678_ffff_ffffn);
    expect(core.mmu.slow(0xd000_0001 | 0, 0, 8 | SLOW.STORE)).toBe(BOUNCE);
    core.state.view.setBigUint64(BOUNCE, 0x0807_0605_0403_0201n, true);
    core.mmu.commit();
    expect(core.host.log).toEqual([
      'read4 d0000000', 'read4 d0000004',
      'write1 d0000001=1', 'write2 d0000002=302', 'write4 d0000004=7060504', 'write1 d0000008=8',
    ]); // biome-ignore format: reads, then writes
    core.host.log.length = 0;
    core.mmu.slow(0xd000_0004 | 0, 0, 4 | SLOW.WRITE);
    expect(core.state.view.getUint32(BOUNCE, true)).toBe(0x1234_5678);
    expect(core.host.log).toEqual(['read4 d0000004']);
  });

  test('16-byte accesses are size 0, and the last byte of RAM is not the last of an access', () => {
    const core = new TestCore();
    expect(core.mmu.slow(0x1_0010, 0, 0)).toBe(RAM + 0x1_0010);
    expect(core.mmu.slow(0x1_0ff8, 0, 0)).toBe(READ_BOUNCE);
    expect(core.mmu.slow(0xf_fffc, 0, 8)).toBe(READ_BOUNCE);
    expect(core.host.log).toEqual(['read4 100000']);
  });

  test('at 4 GiB, flat 32-bit code meets its limit, a base may wrap; 64-bit code wraps at 2^64', () => {
    const core = new TestCore();
    core.ram.setUint16(0, 0xbeef, true);
    expect(core.mmu.slow(-2, 0, 4)).toBe(FAULT);
    expect(fault(core)).toMatchObject({ vector: 13, error: 0 });
    expect(core.mmu.slow(-2, 0, 4 | SLOW.STACK)).toBe(FAULT);
    expect(fault(core)).toMatchObject({ vector: 12, error: 0 });
    expect(core.mmu.slow(-2, 0, 4 | SLOW.SYSTEM)).toBe(READ_BOUNCE);
    core.state.setBase(5, 0x8000_0000n);
    expect(core.mmu.slow(-2, 0, 4)).toBe(READ_BOUNCE);
    expect(core.state.view.getUint32(READ_BOUNCE, true)).toBe(0xbeef_ffff);
    const long = fourLevel();
    put8(long, PT, 0x9007n);
    put8(long, 0x1000 + 511 * 8, 0x2007n);
    put8(long, 0x2000 + 511 * 8, 0x3007n);
    put8(long, 0x3000 + 511 * 8, 0x4007n);
    put8(long, PT + 511 * 8, 0x9007n);
    long.state.setSegment(1, { selector: 8, base: 0n, limit: 0xffff_ffff, attributes: 0xa09b });
    expect(long.mmu.slow(-2, -1, 4)).toBe(READ_BOUNCE);
  });

  test('a non-canonical address is #GP(0), or #SS(0) by way of the stack segment', () => {
    const core = fourLevel();
    expect(core.mmu.slow(0, 0x8000, 4)).toBe(FAULT);
    expect(fault(core)).toMatchObject({ vector: 13, error: 0 });
    expect(core.mmu.slow(0, 0x8000, 4 | SLOW.STACK)).toBe(FAULT);
    expect(fault(core)).toMatchObject({ vector: 12, error: 0 });
    expect(core.mmu.slow(-2, 0x7fff, 4)).toBe(FAULT); // its last bytes: before the #PF of its first, as on an AMD EPYC
    expect(fault(core)).toMatchObject({ vector: 13, error: 0 });
  });
});

describe('alignment checks (SDM Vol. 3, 6.15)', () => {
  test('raise #AC(0) at CPL 3 with AM and AC, and keep such pages out of the TLB', () => {
    const core = new TestCore();
    core.state.set64('CR0', BigInt(CR0.PE | CR0.AM));
    core.state.rflags = 2 | RFLAGS.AC;
    expect(core.mmu.slow(0x2001, 0, 4)).toBe(RAM + 0x2001); // CPL 0
    core.state.cpl = 3;
    core.modeChanged();
    for (const [address, size] of [
      [0x2001, 2],
      [0x2002, 4],
      [0x2004, 8],
      [0x2ffe, 4],
      [0x2008, 0], // 16 bytes
      [0x2004, 10],
    ]) {
      expect(core.mmu.slow(address, 0, size)).toBe(FAULT);
      expect(fault(core)).toMatchObject({ vector: 17, error: 0 });
    }
    expect(core.mmu.slow(0x2004, 0, 4)).toBe(RAM + 0x2004);
    expect(core.mmu.slow(0x2008, 0, 10)).toBe(RAM + 0x2008);
    expect(core.mmu.slow(0x2001, 0, 4 | SLOW.SYSTEM)).toBe(RAM + 0x2001);
    expect(core.state.view.getBigInt64(TLB_USER + 2 * 16, true)).toBe(1n);
  });
});

test('#AC comes before #PF and behind the canonical check, as measured on an AMD EPYC', () => {
  const core = fourLevel({ cr0: CR0.AM });
  core.state.rflags = 2 | RFLAGS.AC;
  core.state.cpl = 3;
  expect(core.mmu.slow(0x5001, 0, 4)).toBe(FAULT);
  expect(fault(core)).toMatchObject({ vector: 17, error: 0 });
  expect(core.mmu.slow(0x5004, 0, 4)).toBe(FAULT);
  expect(fault(core).vector).toBe(14);
  expect(core.mmu.slow(1, 0x8000, 4)).toBe(FAULT);
  expect(fault(core).vector).toBe(13);
});

describe('data breakpoints (SDM Vol. 3, 17.2.5)', () => {
  // [DR0, DR7 control nibble, access address, size, write] → hit
  const cases: [number, number, number, number, boolean, boolean][] = [
    [0x2004, 0b1101, 0x2004, 4, true, true],
    [0x2004, 0b1101, 0x2004, 4, false, false],
    [0x2004, 0b1111, 0x2004, 4, false, true],
    [0x2004, 0b1111, 0x2007, 1, false, true],
    [0x2004, 0b1111, 0x2008, 1, false, false],
    [0x2004, 0b0011, 0x2005, 1, false, false],
    [0x2004, 0b0011, 0x2001, 4, false, true],
    [0x2008, 0b1011, 0x200f, 1, false, true],
    [0x2006, 0b1111, 0x2004, 1, false, true], // the low bits of the address are ignored
    [0x2004, 0b0000, 0x2004, 1, false, false], // execution
    [0x3000, 0b1111, 0x2fff, 2, true, true],
  ];
  test.each(cases)(
    'DR0 %#x, control %d, access at %#x of %d bytes, write %s: %s',
    (dr0, control, at, size, write, hit) => {
      const core = new TestCore();
      core.state.setDr(0, BigInt(dr0));
      core.state.setDr(7, BigInt((control << 16) | 1));
      expect(core.mmu.slow(at, 0, size | (write ? SLOW.STORE : 0))).not.toBe(FAULT);
      expect(core.state.view.getInt32(BREAKPOINT_HITS, true)).toBe(hit ? 1 : 0);
      if (control & 1) expect(core.state.view.getBigInt64(TLB_SUPERVISOR + (dr0 >> 12) * 16, true)).toBe(1n);
    },
  );
});
