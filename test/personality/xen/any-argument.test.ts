/** Item: a hypercall with any argument whatsoever leaves memory outside the guest untouched and the VMM alive. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE, DATA, PAGES, PFN, PvGuest, STACK_TOP, TABLES, va } from './pv-guest.ts';

/** Numbers that mean something somewhere, and some that mean nothing. */
const EDGES = [
  0n, 1n, 2n, 3n, 7n, 15n, 16n, 64n, 127n, 0x7ff0n, 0x7ff1n, 4096n, 7168n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn,
  0x1_0000_0000n, 1n << 47n, (1n << 47n) - 8n, 1n << 52n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 8n,
  0xffff_8000_0000_0000n, 0xffff_8200_0000_e000n, 0xffff_87ff_ffff_ffffn, 0xffff_8800_0000_0000n,
]; // biome-ignore format: a table
const PLACES = [CODE, DATA, DATA + 0xff9n, STACK_TOP, va(PFN.page), va(PFN.console), va(PAGES - 1, 0xff8), va(PAGES)];
const TABLE_PLACES = Object.values(TABLES).map((frame) => va(frame));

const probe = new PvGuest();
const FRAMES = [
  ...Object.values(TABLES),
  ...Object.values(PFN),
].map((frame) => BigInt(probe.maddr(frame)) >> 12n); // biome-ignore format: a list
const HYPERVISOR = Object.values(probe.frames.hypervisor).map(({ first }) => BigInt(first));
const ENTRIES = [...FRAMES, ...HYPERVISOR].flatMap((mfn) => [0x67n, 0x65n, 0x63n, 0x21n].map((flags) => (mfn << 12n) | flags)); // biome-ignore format: one line
const ADDRESSES = FRAMES.flatMap((mfn) => [mfn << 12n, (mfn << 12n) | 8n, (mfn << 12n) | 2n, (mfn << 12n) | 1n]);

const word = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...EDGES) },
  { weight: 4, arbitrary: fc.constantFrom(...PLACES, ...TABLE_PLACES) },
  { weight: 2, arbitrary: fc.constantFrom(...FRAMES, ...HYPERVISOR, BigInt(probe.frames.end)) },
  { weight: 3, arbitrary: fc.constantFrom(...ENTRIES, ...ADDRESSES) },
  { weight: 3, arbitrary: fc.bigInt(0n, 40n) },
  { weight: 1, arbitrary: fc.bigInt(0n, (1n << 64n) - 1n) },
);
const argument = fc.oneof({ weight: 3, arbitrary: fc.constant(DATA) }, { weight: 4, arbitrary: word });
const oneCall = fc.record({
  // iret and the calls that end the guest by design come seldom: the others are to see the same guest for long.
  number: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(0, 1, 2, 8, 10, 12, 13, 14, 15, 17, 18, 20, 24, 25, 26, 32, 33) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 70 }) },
    { weight: 1, arbitrary: fc.constantFrom(1n << 32n, (1n << 64n) - 1n) },
  ),
  args: fc.tuple(argument, argument, argument, argument, argument),
  data: fc.array(word, { minLength: 8, maxLength: 24 }),
});

/** What no guest may change: hypervisor frames that are not lent to it, and what lies behind the machine. */
function untouchable(guest: PvGuest): Uint8Array[] {
  const { gdt, emptyGdt, tss, m2p, m2pTables } = guest.frames.hypervisor;
  const end = guest.frames.end * 4096;
  const behind = new Uint8Array(guest.cpu.buffer, guest.cpu.ramOffset + end, guest.cpu.ramSize - end);
  const fixed = [emptyGdt, tss, m2pTables].map(({ first, count }) =>
    guest.machine.subarray(first * 4096, (first + count) * 4096),
  );
  // Of Xen's GDT page all but the LDT's descriptor; of the M2P what tells of the hypervisor's unlent frames.
  const page = guest.machine.subarray(gdt.first * 4096, (gdt.first + 1) * 4096);
  const lines = guest.machine.subarray(m2p.first * 4096 + 8 * gdt.first, m2p.first * 4096 + 8 * (tss.first + 4));
  return [behind, ...fixed, page.subarray(0, 0x50), page.subarray(0x60), lines].map((bytes) => bytes.slice());
}

/** Every writable mapping in a root's tree leads to plain memory of the guest's. */
function writableMappings(guest: PvGuest, root: bigint): bigint[] {
  const view = new DataView(guest.cpu.buffer, guest.cpu.ramOffset, guest.cpu.ramSize);
  const tables = new Set<bigint>();
  const writable: bigint[] = [];
  const walk = (mfn: bigint, level: number) => {
    if (tables.has(mfn * 8n + BigInt(level))) return;
    tables.add(mfn * 8n + BigInt(level));
    for (let i = 0; i < 512; i++) {
      if (level === 4 && i >= 256 && i <= 271) continue;
      const entry = view.getBigUint64(Number(mfn) * 4096 + 8 * i, true);
      if ((entry & 1n) === 0n) continue;
      const next = (entry >> 12n) & 0xff_ffff_ffffn;
      if (next >= BigInt(guest.frames.end)) throw new Error(`an entry leads to frame ${next}`);
      if (level > 1) walk(next, level - 1);
      else if ((entry & 2n) !== 0n) writable.push(next);
    }
  };
  walk(root, 4);
  const found = new Set([...tables].map((key) => key / 8n));
  return writable.filter((mfn) => found.has(mfn) || (mfn >= BigInt(PAGES) && !isLent(guest, Number(mfn))));
}

function isLent(guest: PvGuest, mfn: number): boolean {
  const { sharedInfo, grants } = guest.frames.hypervisor;
  return [sharedInfo, grants].some(({ first, count }) => mfn >= first && mfn < first + count);
}

describe('a hypercall with any argument', () => {
  it('leaves what is not the guest’s as it was, and the VMM alive', () => {
    const seen = new Set<number | bigint>();
    let successes = 0;
    fc.assert(
      fc.property(fc.array(oneCall, { minLength: 30, maxLength: 60 }), (calls) => {
        const guest = new PvGuest();
        guest.setTraps({ vector: 14 }, { vector: 13 }, { vector: 6 });
        const before = untouchable(guest);
        for (const { number, args, data } of calls) {
          guest.write64(DATA, ...data);
          guest.cpu.state.setGpr(4, STACK_TOP);
          try {
            guest.call(Number(number), ...args);
          } catch (e) {
            if (!/fault-loop/.test(String(e))) throw e; // it took its own code away
            break;
          }
          seen.add(number);
          if (guest.ends.length > 0) break;
          if (BigInt.asIntN(64, guest.reg('rax')) >= 0n) successes++;
        }
        untouchable(guest).forEach((bytes, i) => {
          expect(Buffer.compare(bytes, before[i]), `region ${i} is as it was`).toBe(0);
        });
        const root = guest.cpu.state.get64('CR3') >> 12n;
        expect(writableMappings(guest, root)).toEqual([]);
      }),
      { numRuns: 60, seed: 20 },
    );
    expect(seen.size).toBeGreaterThan(30);
    expect(successes).toBeGreaterThan(100);
  }, 60_000);

  it.each([
    ['mmu_update with 2^32-1 requests', 1, [DATA, 0xffff_ffff, 0, 0x7ff0]],
    ['mmuext_op with 2^31-1 operations', 26, [DATA, 0x7fff_ffff, 0, 0x7ff0]],
    ['multicall of 2^32-1 calls', 13, [DATA, 0xffff_ffff]],
    ['console_io of 4 GiB', 18, [0, 0xffff_ffff, va(0)]],
    ['poll of 2^32-1 ports', 29, [3, DATA]],
    ['memory_op decrease of 2^64-1 extents', 12, [1, DATA]],
    ['set_gdt with 2^32-1 entries', 2, [DATA, 0xffff_ffff]],
    ['grant set-up of 2^32-1 frames', 20, [2, DATA, 1]],
  ])('%s is soon over', (_, number, args) => {
    const guest = new PvGuest();
    guest.write64(DATA, va(0), (1n << 64n) - 1n, 0, 0);
    const start = performance.now();
    guest.call(number, ...args);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(guest.ends).toEqual([]);
  });

  it('a long call goes on with its own instruction, until it is done', () => {
    const guest = new PvGuest();
    guest.write(va(0), new TextEncoder().encode('x'.repeat(4096)));
    guest.write(va(1), new TextEncoder().encode('y'.repeat(4096)));
    guest.setReg('rdi', 0);
    guest.setReg('rsi', 6000);
    guest.setReg('rdx', va(0));
    guest.setReg('rax', 18);
    guest.write(CODE, [0x0f, 0x05]);
    guest.run(1);
    expect([guest.rip, guest.text.length, guest.reg('rax'), guest.reg('rsi')]).toEqual([CODE, 4096, 18n, 1904n]);
    guest.run(1);
    expect([guest.rip, guest.text, guest.reg('rax')]).toEqual([CODE + 2n, 'x'.repeat(4096) + 'y'.repeat(1904), 0n]);
  });

  it('a batch too long for one turn goes on where it was', () => {
    const guest = new PvGuest();
    const entry = (op: number, ...args: (number | bigint)[]) => [op, 0, ...args, 0, 0, 0, 0, 0, 0].slice(0, 8);
    const many = Array.from({ length: 300 }, () => entry(17, 0, 0));
    const entries = [...many, entry(99), entry(13, DATA, 1), entry(17, 7, 0)];
    for (const [i, one] of entries.entries()) guest.write64(DATA + BigInt(64 * i), ...one);
    const result = (i: number) => BigInt.asIntN(64, guest.read64(DATA + BigInt(64 * i + 8)));
    guest.call(13, DATA, entries.length);
    expect([guest.reg('rax'), guest.reg('rdi'), guest.reg('rsi')]).toEqual([13n, DATA + 256n * 64n, 47n]);
    expect([result(255), result(256)]).toEqual([0x4_0011n, 0n]);
    guest.run(1);
    expect(guest.reg('rax')).toBe(0n);
    expect([299, 300, 301, 302].map(result)).toEqual([0x4_0011n, -38n, -22n, 4096n]);
  });

  it('a long call within a batch goes on, too', () => {
    const guest = new PvGuest();
    guest.write(va(0), new TextEncoder().encode('z'.repeat(8192)));
    guest.write64(DATA, 18, -1n, 0, 5000, va(0), 0, 0, 0, 17, -1n, 7, 0, 0, 0, 0, 0);
    guest.call(13, DATA, 2);
    expect([guest.text.length, guest.reg('rax'), guest.reg('rsi'), guest.read64(DATA + 24n)]).toEqual([
      4096,
      13n,
      2n,
      904n,
    ]);
    guest.run(1);
    expect([guest.text.length, guest.reg('rax'), guest.read64(DATA + 8n), guest.read64(DATA + 72n)]).toEqual([5000, 0n, 0n, 4096n]); // biome-ignore format: one line
  });
});
