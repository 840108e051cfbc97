import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestMemory, MemoryRangeError } from '../../src/memory/guest-memory.ts';
import type { GuestRam } from '../../src/memory/guest-ram.ts';
import { type FrameOrder, machineFrames, mfn, pfn } from '../../src/memory/machine-frames.ts';
import { PseudoPhysicalMemory } from '../../src/memory/pseudo-physical-memory.ts';

const STATE = 0x2000;
const FRAMES = 9;
const SIZE = FRAMES * 0x1000;
const make = (order: FrameOrder = { scrambled: 4 }) => {
  const frames = machineFrames(FRAMES, order);
  return new PseudoPhysicalMemory(new ArrayBuffer(STATE + frames.end * 0x1000 + 0x1000), STATE, frames);
};
const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + 1) & 0xff);

describe('PseudoPhysicalMemory', () => {
  it('puts each guest frame where the p2m says, and touches nothing else', () => {
    const memory = make();
    memory.write(0, pattern(SIZE));
    const all = new Uint8Array(memory.buffer);
    for (let i = 0; i < FRAMES; i++) {
      const at = STATE + memory.frames.mfnOf(pfn(i)) * 0x1000;
      expect(memory.frameOffset(i)).toBe(at);
      expect(Buffer.compare(all.subarray(at, at + 0x1000), pattern(SIZE).subarray(i * 0x1000, (i + 1) * 0x1000))).toBe(
        0,
      );
    }
    expect(all.subarray(0, STATE).every((byte) => byte === 0)).toBe(true);
    expect(all.subarray(STATE + SIZE).every((byte) => byte === 0)).toBe(true);
  });

  it('gives a view within a frame and over frames side by side, and a copy otherwise', () => {
    const scrambled = make();
    expect(scrambled.bytes(0x1234, 16).buffer).toBe(scrambled.buffer);
    expect(scrambled.bytes(0x1ff8, 16).buffer).not.toBe(scrambled.buffer);
    const identity = make('identity');
    expect(identity.bytes(0, SIZE).buffer).toBe(identity.buffer);
    expect(identity.bytes(SIZE, 0)).toHaveLength(0);
  });

  it('refuses to write a struct through a copy, where it would be lost', () => {
    const memory = make();
    memory.writing.bytes(0x1000, 0x1000).fill(0xaa);
    expect(memory.readU32(0x1ffc)).toBe(0xaaaa_aaaa);
    expect(() => memory.writing.bytes(0x1ff8, 16)).toThrow(MemoryRangeError);
    expect(make('identity').writing.bytes(0x1ff8, 16)).toHaveLength(16);
  });

  it('tells its observer where in the machine something changed', () => {
    const memory = make();
    const seen: number[][] = [];
    memory.setWriteObserver((at, length) => seen.push([at, length]));
    memory.write(0x1ffe, Uint8Array.of(1, 2, 3));
    const [one, two] = [1, 2].map((i) => memory.frames.mfnOf(pfn(i)) * 0x1000);
    expect(seen).toEqual([
      [one + 0xffe, 2],
      [two, 1],
    ]);
  });

  it('counts frames of the guest, its own and those of the CPU’s account, and none of the hypervisor’s', () => {
    const memory = make();
    memory.writeU8(0x3000, 1);
    expect(memory.isTouched(0x3fff)).toBe(true);
    expect(memory.isTouched(0x4000)).toBe(false);
    expect(memory.touchedFrames).toBe(1);
    memory.machine.writeU8(FRAMES * 0x1000, 1); // shared_info
    expect(memory.touchedFrames).toBe(1);
    const cpu = new Uint32Array(Math.ceil(memory.frames.end / 32));
    const touch = (frame: number) => { cpu[frame >> 5] |= 1 << (frame & 31); }; // biome-ignore format: short
    touch(memory.frames.mfnOf(pfn(3)));
    touch(memory.frames.mfnOf(pfn(4)));
    touch(memory.frames.hypervisor.m2p.first);
    expect(memory.countTouched(cpu)).toBe(2);
    expect(memory.frames.pfnOf(mfn(FRAMES))).toBeUndefined();
  });

  // The same calls on both kinds of memory, at any place, must give the same answers or the same refusal.
  it('answers as flat memory does, whatever the access', () => {
    const access = fc.record({
      what: fc.constantFrom('bytes', 'write', 'zero', 'readU8', 'readU16', 'readU32', 'readU64', 'writeU8', 'writeU16', 'writeU32', 'writeU64'),
      at: fc.oneof(fc.integer({ min: -4, max: SIZE + 4 }), fc.integer({ min: 1, max: FRAMES }).map((i) => i * 0x1000 - 3)),
      length: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: SIZE + 1 })),
      value: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    }); // biome-ignore format: a table
    const perform = (memory: GuestRam, { what, at, length, value }: { what: string; at: number; length: number; value: bigint }) => {
      try {
        switch (what) {
          case 'bytes': return [...memory.bytes(at, length)];
          case 'write': return memory.write(at, pattern(length));
          case 'zero': return memory.zero(at, length);
          case 'readU8': return memory.readU8(at);
          case 'readU16': return memory.readU16(at);
          case 'readU32': return memory.readU32(at);
          case 'readU64': return memory.readU64(at);
          case 'writeU8': return memory.writeU8(at, Number(value & 0xffn));
          case 'writeU16': return memory.writeU16(at, Number(value & 0xffffn));
          case 'writeU32': return memory.writeU32(at, Number(value & 0xffff_ffffn));
          default: return memory.writeU64(at, value);
        }
      } catch (error) {
        return (error as Error).name;
      }
    }; // biome-ignore format: a table
    fc.assert(
      fc.property(fc.array(access, { maxLength: 20 }), (accesses) => {
        const flat = new GuestMemory(new ArrayBuffer(SIZE), 0, SIZE);
        const spread = make();
        flat.write(0, pattern(SIZE));
        spread.write(0, pattern(SIZE));
        for (const one of accesses) expect(perform(spread, one)).toEqual(perform(flat, one));
        expect(Buffer.compare(spread.bytes(0, SIZE), flat.bytes(0, SIZE))).toBe(0);
        expect(spread.touchedFrames).toBe(flat.touchedFrames);
      }),
      { numRuns: 200 },
    );
  });
});
