import { describe, expect, expectTypeOf, it } from 'vitest';
import { AssertionError } from '../../src/base/errors.ts';
import {
  type FrameOrder,
  HYPERVISOR_AREAS,
  type Mfn,
  machineFrames,
  mfn,
  type Pfn,
  pfn,
} from '../../src/memory/machine-frames.ts';

const orders: FrameOrder[] = ['identity', 'scrambled', { scrambled: 0 }, { scrambled: 0xffff_ffff }];

describe('machineFrames', () => {
  it.each(orders)('%j is a permutation of the guest’s frames, and m2p its inverse', (order) => {
    const frames = machineFrames(5000, order);
    expect([...frames.p2m].sort((a, b) => a - b)).toEqual([...frames.p2m.keys()]);
    for (let i = 0; i < 5000; i++) expect(frames.pfnOf(frames.mfnOf(pfn(i)))).toBe(i);
  });

  it('is the same for the same seed, another one for another seed, and scrambled unless asked otherwise', () => {
    const of = (order?: FrameOrder) => machineFrames(1000, order).p2m.join();
    expect(of({ scrambled: 7 })).toBe(of({ scrambled: 7 }));
    expect(new Set([of({ scrambled: 7 }), of({ scrambled: 8 }), of('identity')]).size).toBe(3);
    expect(of()).toBe(of('scrambled'));
    expect(of()).not.toBe(of('identity'));
    expect(of('identity')).toBe([...Array(1000).keys()].join());
    // So that nobody's stored run changes its meaning.
    expect([...machineFrames(8, 'scrambled').p2m]).toEqual([0, 5, 1, 3, 6, 7, 4, 2]);
  });

  it.each([1, 7, 600, 0x4000])(
    'leaves frame 0 of %i at its place, since as a page-table root it would mean none',
    (n) => {
      for (let seed = 0; seed < 20; seed++) expect(machineFrames(n, { scrambled: seed }).p2m[0]).toBe(0);
    },
  );

  it('leaves hardly any frame at its place or beside its neighbour, and keeps 2 MiB of them together', () => {
    const { p2m } = machineFrames(0x4000);
    expect(p2m.filter((frame, i) => frame === i).length).toBeLessThan(64);
    expect(p2m.filter((frame, i) => frame === p2m[i - 1] + 1).length).toBeLessThan(64);
    const blocks = p2m.map((frame) => frame >>> 9);
    expect(blocks.every((block, i) => block === blocks[i & ~511])).toBe(true);
    expect(blocks.filter((block, i) => block === i >>> 9).length).toBeLessThan(8 * 512);
  });

  it.each([1, 31, 0x4000, 0x2_0000, 0xb_f000])(
    'puts Xen’s frames directly above %i guest frames, side by side',
    (n) => {
      const { hypervisor, end, ...frames } = machineFrames(n, 'identity');
      let next = n;
      for (const name of HYPERVISOR_AREAS) {
        expect(hypervisor[name].first, name).toBe(next);
        expect(hypervisor[name].why.length).toBeGreaterThan(20);
        next += hypervisor[name].count;
      }
      expect(end).toBe(next);
      expect(frames.nrPages).toBe(n);
      // The M2P covers every machine frame, and its tables every page of it.
      expect(hypervisor.m2p.count * 512).toBeGreaterThanOrEqual(end);
      expect((hypervisor.m2p.count - 1) * 512).toBeLessThan(end);
      expect(hypervisor.m2pTables.count).toBe(2 + Math.ceil(hypervisor.m2p.count / 512));
      expect([hypervisor.sharedInfo.count, hypervisor.grants.count]).toEqual([1, 32]);
    },
  );

  it('answers for any number which frame it is', () => {
    const frames = machineFrames(100);
    for (const strange of [-1, 100, frames.end, Number.NaN, 1.5, 2 ** 40])
      expect(frames.pfnOf(mfn(strange))).toBeUndefined();
    expect(frames.areaOf(mfn(99))).toBeUndefined();
    expect(frames.areaOf(mfn(100))).toBe('sharedInfo');
    expect(frames.areaOf(mfn(frames.end - 1))).toBe('m2pTables');
    expect(frames.areaOf(mfn(frames.end))).toBeUndefined();
    expect(() => frames.mfnOf(pfn(100))).toThrow(AssertionError);
    expect(() => machineFrames(0)).toThrow(AssertionError);
    expect(() => machineFrames(10, { scrambled: -1 })).toThrow(AssertionError);
  });

  it('keeps both kinds of frame numbers apart at compile time', () => {
    expectTypeOf<Pfn>().not.toExtend<Mfn>();
    expectTypeOf<Mfn>().not.toExtend<Pfn>();
  });
});
