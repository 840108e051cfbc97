import { describe, expect, it } from 'vitest';
import { XenMemoryReservation } from '../../../src/layout/xen/memory-arguments.ts';
import type { Mfn } from '../../../src/memory/machine-frames.ts';
import type { PersonalityWorld } from '../../../src/personality/personality.ts';
import { Domain } from '../../../src/personality/xen/domain.ts';
import { RESERVATIONS } from '../../../src/personality/xen/reservations.ts';
import { audit } from './audit.ts';
import { makeDomain, PAGES, TABLES, va } from './memory-domain.ts';

const ARG = va(60);
const LIST = va(61);
const [INCREASE, DECREASE, POPULATE] = [0, 1, 6];
const NONE = 2n ** 64n - 1n;

function setUp() {
  const d = makeDomain(false);
  const state = { ...d.cpu.state, gpr: () => 0n, get64: () => 0n, set64: () => undefined };
  const cpu = { ...d.cpu, state, now: 0, modeChanged: () => undefined };
  const world = { cpu, console: () => undefined, end: () => undefined, rtcSeconds: 0 } as unknown as PersonalityWorld;
  const domain = new Domain(world, d.frames, d.roots.kernelRoot as Mfn);
  const { memory } = domain;
  const read = (i: number) => d.get(61, i);
  const reserve = (
    command: number,
    extents: readonly bigint[] | number,
    options: { order?: number; domid?: number; start?: number; flags?: number; list?: bigint } = {},
  ) => {
    const count = typeof extents === 'number' ? extents : extents.length;
    if (typeof extents !== 'number') for (const [i, extent] of extents.entries()) d.set(61, i, extent);
    const bytes = new Uint8Array(d.buffer, d.mfn(60) * 4096, XenMemoryReservation.size);
    const { order = 0, domid = 0x7ff0, start = 0, flags = 0, list = LIST } = options;
    XenMemoryReservation.write(bytes, 0, {
      extent_start: list,
      nr_extents: count,
      extent_order: order,
      mem_flags: flags,
      domid,
    });
    return RESERVATIONS[command](domain, BigInt(command | (start << 6)), ARG);
  };
  const m2p = (mfn: number) => d.view.getBigUint64(d.frames.hypervisor.m2p.first * 4096 + mfn * 8, true);
  const unmap = (...pfns: number[]) => {
    for (const pfn of pfns) memory.mmu.updateVaMapping(va(pfn), 0n, 0n);
  };
  const check = () => audit({ domain: memory, frames: d.frames, view: d.view, roots: domain });
  return { ...d, domain, memory, reserve, read, m2p, unmap, check };
}

describe('a guest’s reservation', () => {
  it('shrinks by frames that nothing uses, and grows again', () => {
    const d = setUp();
    d.unmap(80, 81);
    const [a, b] = [d.mfn(80), d.mfn(81)];
    expect(d.reserve(DECREASE, [BigInt(a), BigInt(b)])).toBe(2);
    expect(d.memory.types.guestFrames).toBe(PAGES - 2);
    expect([d.m2p(a), d.m2p(b)]).toEqual([NONE, NONE]);
    expect(d.memory.mmu.updateVaMapping(va(82), (BigInt(a) << 12n) | 0x63n, 0n)).toBe(-16);
    expect(d.reserve(POPULATE, [80n, 81n, 82n])).toBe(2); // no third one is free
    const got = [Number(d.read(0)), Number(d.read(1))];
    expect([...got].sort()).toEqual([a, b].sort());
    expect(got.map(d.m2p)).toEqual([80n, 81n]);
    expect(d.memory.types.guestFrames).toBe(PAGES);
    expect(d.check()).toEqual([]);
  });

  it('keeps a frame that is still mapped, until it no longer is', () => {
    const d = setUp();
    expect(d.reserve(DECREASE, [BigInt(d.mfn(80))])).toBe(1);
    expect(d.reserve(POPULATE, [80n])).toBe(0);
    d.unmap(80);
    expect(d.reserve(POPULATE, [80n])).toBe(1);
    expect(d.check()).toEqual([]);
  });

  it('gets frames zeroed', () => {
    const d = setUp();
    d.set(80, 7, 42n);
    d.unmap(80);
    d.reserve(DECREASE, [BigInt(d.mfn(80))]);
    expect(d.reserve(INCREASE, 1)).toBe(1);
    expect(d.get(80, 7)).toBe(0n);
    expect(Number(d.read(0))).toBe(d.mfn(80));
    expect(d.m2p(d.mfn(80))).toBe(NONE);
  });

  it('ends at the first frame that is not the guest’s to give', () => {
    const d = setUp();
    d.unmap(80, 81);
    const shared = BigInt(d.frames.hypervisor.sharedInfo.first);
    for (const bad of [shared, BigInt(d.frames.end), NONE, BigInt(d.frames.hypervisor.m2p.first)]) {
      expect(d.reserve(DECREASE, [bad, BigInt(d.mfn(81))])).toBe(0);
    }
    expect(d.reserve(DECREASE, [BigInt(d.mfn(80)), BigInt(d.mfn(80)), BigInt(d.mfn(81))])).toBe(1);
    expect(d.reserve(DECREASE, [BigInt(d.mfn(TABLES.l1))])).toBe(1); // in use: it goes when it is not
    expect(d.memory.types.owner[d.mfn(TABLES.l1)]).toBe(1);
    expect(d.check()).toEqual([]);
  });

  it('comes in extents that lie side by side', () => {
    const d = setUp();
    const first = 8;
    const pfns = Array.from({ length: 4 }, (_, i) => d.frames.m2p[first + i]);
    expect(pfns.some((pfn) => pfn <= 2 || pfn === 60 || pfn === 61 || pfn >= TABLES.l4)).toBe(false);
    d.unmap(...pfns);
    expect(d.reserve(DECREASE, [BigInt(first)], { order: 2 })).toBe(1);
    expect(d.reserve(POPULATE, [1000n], { order: 2 })).toBe(1);
    expect(d.read(0)).toBe(BigInt(first));
    expect([0, 1, 2, 3].map((i) => d.m2p(first + i))).toEqual([1000n, 1001n, 1002n, 1003n]);
    expect(d.check()).toEqual([]);
  });

  it('answers how far it got to requests that make no sense', () => {
    const d = setUp();
    const one = [BigInt(d.mfn(80))];
    expect(d.reserve(DECREASE, one, { order: 10 })).toBe(0);
    expect(d.reserve(DECREASE, one, { domid: 0 })).toBe(0);
    expect(d.reserve(DECREASE, one, { domid: 5 })).toBe(0);
    expect(d.reserve(DECREASE, one, { flags: 12 })).toBe(0);
    expect(d.reserve(POPULATE, one, { flags: 1 << 16 })).toBe(0);
    expect(d.reserve(DECREASE, one, { start: 7 })).toBe(7);
    expect(d.reserve(DECREASE, 0x400_0000)).toBe(0);
    expect(d.reserve(DECREASE, 1, { list: 0xffff_8000_0000_0000n })).toBe(0);
    expect(RESERVATIONS[DECREASE](d.domain, 1n, 0x1000n)).toBe(0);
    expect(d.check()).toEqual([]);
  });
});
