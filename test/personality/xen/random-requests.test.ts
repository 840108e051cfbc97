import { describe, expect, it } from 'vitest';
import { MMUEXT } from '../../../src/layout/xen/memory-arguments.ts';
import { audit, xensOwn } from './audit.ts';
import { DONE_AT, makeDomain, PAGES, REQUESTS, SELF, TABLES, VIRT_BASE, va } from './memory-domain.ts';

/** xorshift32: the same numbers on every host. */
function numbers(seed: number) {
  let state = seed * 2654435761 + 1;
  const next = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const pick = <T>(from: readonly T[]): T => from[next(from.length)];
  const any64 = (): bigint => (BigInt(next(2 ** 32)) << 32n) | BigInt(next(2 ** 32));
  return { next, pick, any64 };
}

/** A guest that asks for anything, but likes what is nearly right: it has four frames for tables of each level beside the
 * builder's. The page that it asks from stays mapped, so that its requests go on being read. */
function wildGuest(seed: number) {
  const d = makeDomain();
  const { next, pick, any64 } = numbers(seed);
  const candidates = Array.from({ length: 16 }, (_, i) => 100 + i);
  const tables = [TABLES.l4, TABLES.l3, TABLES.l2, TABLES.l1, ...candidates];
  const { hypervisor, end } = d.frames;
  const areas = Object.values(hypervisor);

  const anyMfn = (): number => {
    const kind = next(20);
    if (kind < 12) return d.mfn(pick(tables));
    if (kind < 16) return d.mfn(3 + next(PAGES - 3));
    if (kind < 17) return pick(areas).first;
    if (kind < 18) return end + next(3);
    return pick([0, 0xfffff, 2 ** 31, 2 ** 32 - 1, end - 1]);
  };
  const flags = (): bigint =>
    pick([
      0x61n,
      0x63n,
      0x67n,
      0x21n,
      0x27n,
      0x65n,
      0n,
      0xe7n,
      0x163n,
      BigInt(next(4096)),
      (1n << 63n) | 0x61n,
      (1n << 62n) | 1n,
    ]);
  const value = (): bigint => {
    if (next(12) === 0) return any64();
    if (next(6) === 0) return 0n;
    return (BigInt(anyMfn()) << 12n) | flags();
  };
  const slot = (pfn: number): number => {
    if (pfn === TABLES.l4) return pick([0, 1, 255, 256, 260, 271, 272, 510]);
    if (pfn === TABLES.l3) return pick([0, 1, 509, 511]);
    if (pfn === TABLES.l2) return pick([1, 2, 511]);
    if (pfn === TABLES.l1) return pick([...candidates, ...tables, 3 + next(PAGES - 3), 300 + next(10)]);
    return pick([0, 1, 2, 255, 256, 271, 272, 510, 511, next(512)]);
  };
  const request = (): [bigint, bigint] => {
    if (next(30) === 0) return [any64(), any64()];
    const pfn = pick(tables);
    const at = next(10) === 0 ? (BigInt(anyMfn()) << 12n) | BigInt(next(512) * 8) : d.at(pfn, slot(pfn));
    return [at + pick([0n, 0n, 0n, 0n, 1n, 2n, 2n, 3n, 4n, 7n]), value()];
  };
  const isKept = (ptr: bigint): boolean => {
    // The entries that the guest's own requests are read through, and the page itself.
    const kept = [
      d.at(TABLES.l4, 511),
      d.at(TABLES.l3, 510),
      d.at(TABLES.l2, 0),
      d.at(TABLES.l1, REQUESTS),
      d.at(TABLES.l1, 2),
    ];
    return kept.includes(ptr & ~7n) || [d.mfn(REQUESTS), d.mfn(2)].includes(Number(ptr >> 12n));
  };
  const op = (): [number, bigint, bigint] => {
    const cmd = next(25) === 0 ? next(40) : pick([0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 7, 9, 13, 15, 16, 17]);
    const arg =
      cmd === MMUEXT.SET_LDT || cmd === MMUEXT.INVLPG_LOCAL
        ? pick([va(20), va(21), VIRT_BASE + 1n, any64()])
        : BigInt(anyMfn());
    return [cmd, next(30) === 0 ? any64() : arg, pick([0n, BigInt(next(9000)), BigInt(anyMfn()), any64()])];
  };
  const bytesOf = (pfn: number): Buffer => Buffer.from(d.buffer.slice(d.mfn(pfn) * 4096, (d.mfn(pfn) + 1) * 4096));
  /** What a kernel does: fills a frame with what suits a level, makes it read-only, and pins it or puts it into a table. */
  const buildTable = (): void => {
    const level = 1 + next(4);
    const ofLevel = (wanted: number) => candidates.filter((_, i) => i % 4 === wanted - 1);
    const pfn = pick(ofLevel(level));
    if (d.domain.mayWriteFrame(d.mfn(pfn))) {
      for (let i = 0; i < 512; i++) d.set(pfn, i, 0n);
      if (level === 4) d.set(pfn, 511, d.get(TABLES.l4, 511));
      for (let i = level === 4 ? next(4) : 0; i < 4; i++) {
        const leaf = d.pte(next(3) ? 3 + next(90) : pick(tables), pick([0x21n, 0x61n, 0x23n, 0x67n]));
        d.set(pfn, next(511), level === 1 ? leaf : d.pte(pick(ofLevel(level - 1)), 0x67n));
      }
    }
    d.remap(pfn, 0x21n);
    const parent = [0, TABLES.l2, TABLES.l3, TABLES.l4, 0][level];
    if (parent !== 0 && next(2)) {
      if (d.mmuUpdate([d.at(parent, pick([1, 2, 3])), d.pte(pfn, 0x67n)]) === 0) results.linked++;
    } else if (next(3) > 0) {
      const before = candidates.map(bytesOf);
      if (d.mmuext([level - 1, d.mfn(pfn)]) === 0) results.pinned++;
      else for (const [i, frame] of candidates.entries()) expect(Buffer.compare(bytesOf(frame), before[i])).toBe(0);
    } else if (d.mmuext([MMUEXT.UNPIN_TABLE, d.mfn(pfn)]) === 0) results.unpinned++;
    const load = pick([MMUEXT.NEW_BASEPTR, MMUEXT.NEW_USER_BASEPTR]);
    if (level === 4 && d.mmuext([load, d.mfn(pfn)]) === 0) results.rooted++;
  };
  const results = { done: 0, refused: 0, linked: 0, pinned: 0, unpinned: 0, rooted: 0 };
  const count = (result: number): void => {
    if (result === 0) results.done++;
    else results.refused++;
  };

  const step = (): void => {
    const what = next(26);
    if (what >= 20) buildTable();
    else if (what < 8) {
      const requests = Array.from({ length: 1 + next(3) }, request).filter(([ptr]) => !isKept(ptr));
      if (requests.length > 0) count(d.mmuUpdate(...requests));
    } else if (what < 13) {
      const ops = Array.from({ length: 1 + next(2) }, op);
      const kept = [d.mfn(REQUESTS), d.mfn(2)];
      count(d.mmuext(...ops.filter(([, mfn]) => !kept.includes(Number(mfn)))));
    } else if (what < 17) {
      const pfn = 3 + next(PAGES - 3);
      const address = next(10) === 0 ? any64() : va(pfn);
      const entry = next(3) === 0 ? d.pte(pfn, flags()) : value();
      count(
        d.domain.mmu.updateVaMapping(
          address,
          BigInt.asUintN(64, entry),
          pick([0n, 1n, 2n, any64()]),
          pick([SELF, SELF, SELF, 0x7ff1, next(65536)]),
        ),
      );
    } else if (what === 17) {
      // A list anywhere, of any length: what it reads there is chance.
      const list = pick([
        any64(),
        va(REQUESTS, next(4096)),
        va(PAGES - 1, 4095),
        0xffff_ffff_ffff_fff0n,
        0x7fff_ffff_fff8n,
      ]);
      const call = {
        list,
        count: pick([1, 5, 0x8000_0001, next(2 ** 32) % 200]),
        done: pick([0n, DONE_AT, any64()]),
        domain: pick([SELF, SELF, next(2 ** 32)]),
      };
      if (next(2)) d.domain.mmu.mmuUpdate(call);
      else d.domain.mmuext.mmuextOp(call);
    } else if (what === 18) {
      d.set(REQUESTS, 0, BigInt(anyMfn()));
      d.set(REQUESTS, 1, BigInt(anyMfn()));
      count(d.domain.descriptors.setGdt(pick([va(REQUESTS), any64()]), pick([0, 1, 512, 513, 1024, 7168, 7169])));
      count(d.domain.descriptors.update(pick([d.at(pick(tables), next(512)), any64()]), any64()));
    } else {
      d.domain.descriptors.ldtFault(0xffff_8200_0002_0000n + BigInt(next(70_000)));
      const released = d.mfn(3 + next(PAGES - 3));
      if (next(4) === 0) d.domain.types.release(released);
      if (next(4) === 0) d.domain.types.allocate(next(3));
      // The guest writes what it can write: here, into frames that are plain memory.
      const pfn = pick(candidates);
      if (d.domain.mayWriteFrame(d.mfn(pfn)) && next(2)) for (let i = 0; i < 4; i++) d.set(pfn, next(512), value());
      else if (d.domain.mayWriteFrame(d.mfn(pfn))) for (let i = 0; i < 512; i++) d.set(pfn, i, 0n);
    }
  };
  return { d, step, results };
}

describe('a guest that asks for anything', () => {
  it('keeps the rules of frame types, and leaves Xen’s frames alone', () => {
    const totals: Record<string, number> = {};
    for (let seed = 1; seed <= 30; seed++) {
      const { d, step, results } = wildGuest(seed);
      const before = xensOwn(d);
      for (let i = 0; i < 400; i++) {
        step();
        if (i % 20 === 19) expect(audit(d), `seed ${seed}, step ${i}`).toEqual([]);
      }
      expect(Buffer.compare(xensOwn(d), before), `seed ${seed}`).toBe(0);
      for (const [what, times] of Object.entries(results)) totals[what] = (totals[what] ?? 0) + times;
    }
    // None of these is rare, or this would test nothing.
    expect(totals.done).toBeGreaterThan(1500);
    expect(totals.refused).toBeGreaterThan(1500);
    for (const what of ['linked', 'pinned', 'unpinned', 'rooted']) expect(totals[what], what).toBeGreaterThan(20);
  });

  it('is noticed by the audit when a table is writable', () => {
    const d = makeDomain();
    d.set(TABLES.l1, 5, d.pte(TABLES.l1, 0x67n));
    expect(audit(d).length).toBeGreaterThan(0);
  });
});
