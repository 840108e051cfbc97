import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { GiB, KiB } from '../../src/base/numbers.ts';
import { MultibootInfo } from '../../src/layout/multiboot.ts';
import { type AtGpa, type Gpa, gpa, gva } from '../../src/memory/address.ts';
import { GuestMemory, MemoryRangeError } from '../../src/memory/guest-memory.ts';

const STATE = 0x1000;
const SIZE = 64 * KiB;
/** One wasm memory; TypeScript's library without the DOM does not know WebAssembly. */
const wasmMemory = (pages: number): { buffer: ArrayBuffer } =>
  new (
    globalThis as never as Record<string, { Memory: new (limits: object) => { buffer: ArrayBuffer } }>
  ).WebAssembly.Memory({ initial: pages, maximum: pages });
const make = () => new GuestMemory(new ArrayBuffer(STATE + SIZE + 0x1000), STATE, SIZE);

describe('GuestMemory', () => {
  it('is a window into the given buffer: what is written is in the buffer, and nothing beside it', () => {
    const memory = make();
    memory.write(0, Uint8Array.of(1, 2));
    memory.write(SIZE - 2, Uint8Array.of(3, 4));
    const all = new Uint8Array(memory.buffer);
    expect([...all.subarray(STATE, STATE + 2), ...all.subarray(STATE + SIZE - 2, STATE + SIZE)]).toEqual([1, 2, 3, 4]);
    expect(all.reduce((sum, byte) => sum + byte)).toBe(10);
  });

  it('gives views, not copies', () => {
    const memory = make();
    const view = memory.bytes(0x100, 4);
    memory.writeU32(0x100, 0x0403_0201);
    expect([...view]).toEqual([1, 2, 3, 4]);
    expect(view.buffer).toBe(memory.buffer);
  });

  it('works over a WebAssembly.Memory', () => {
    const { buffer } = wasmMemory(2);
    const memory = new GuestMemory(buffer, 64 * KiB, 64 * KiB);
    memory.writeU64(8, 0x1122_3344_5566_7788n);
    expect(new DataView(buffer).getBigUint64(64 * KiB + 8, true)).toBe(0x1122_3344_5566_7788n);
  });

  it('reads and writes little-endian numbers of every width, aligned or not', () => {
    const memory = make();
    memory.writeU64(3, 0x8877_6655_4433_2211n);
    expect(memory.readU8(3)).toBe(0x11);
    expect(memory.readU16(4)).toBe(0x3322);
    expect(memory.readU32(7)).toBe(0x8877_6655);
    expect(memory.readU64(3)).toBe(0x8877_6655_4433_2211n);
    memory.writeU8(3, 0xff);
    memory.writeU16(4, 0xeeee);
    memory.writeU32(6, 0xdddd_dddd);
    expect(memory.readU64(3)).toBe(0x88dd_dddd_ddee_eeffn);
  });

  const outside: [string, number, number][] = [
    ['behind the end', SIZE, 1],
    ['across the end', SIZE - 1, 2],
    ['below zero', -1, 1],
    ['across zero', -1, 2],
    ['a negative length', 4, -1],
    ['a length of 2^53', 0, 2 ** 53],
    ['an address of NaN', Number.NaN, 1],
    ['a fraction', 0.5, 1],
    ['4 GiB above', 2 ** 32, 1],
  ];
  it.each(outside)('refuses %s with a MemoryRangeError, in every operation', (_, at, length) => {
    const memory = make();
    expect(memory.contains(at, length)).toBe(false);
    expect(() => memory.bytes(at, length)).toThrow(MemoryRangeError);
    expect(() => memory.writing.bytes(at, length)).toThrow(MemoryRangeError);
    expect(() => memory.zero(at, length)).toThrow(MemoryRangeError);
    expect(() => memory.touch(at, length)).toThrow(MemoryRangeError);
    expect(memory.touchedFrames).toBe(0);
  });

  it('refuses a number or a write that begins inside and ends outside, and changes nothing', () => {
    const memory = make();
    expect(() => memory.writeU64(SIZE - 7, -1n & 0xffn)).toThrow(MemoryRangeError);
    expect(() => memory.writeU32(SIZE - 3, 1)).toThrow(MemoryRangeError);
    expect(() => memory.writeU16(SIZE - 1, 1)).toThrow(MemoryRangeError);
    expect(() => memory.write(SIZE - 1, Uint8Array.of(1, 1))).toThrow(MemoryRangeError);
    expect(() => memory.readU64(SIZE - 7)).toThrow(MemoryRangeError);
    expect(memory.bytes(0, SIZE).every((byte) => byte === 0)).toBe(true);
  });

  it('never lets an access through that is not inside RAM', () => {
    const memory = make();
    fc.assert(
      fc.property(fc.double(), fc.integer({ min: -10, max: SIZE + 10 }), (wild, near) => {
        for (const at of [wild, near]) {
          for (const length of [near, wild]) {
            const inside =
              Number.isInteger(at) && Number.isInteger(length) && at >= 0 && length >= 0 && at + length <= SIZE;
            expect(memory.contains(at, length)).toBe(inside);
            if (inside) expect(memory.bytes(at, length).length).toBe(Math.abs(length));
            else expect(() => memory.bytes(at, length)).toThrow(VmError);
          }
        }
      }),
    );
  });

  it.each([
    ['no RAM', 0],
    ['more than 3 GiB', 3 * GiB + 1],
    ['more than the buffer', SIZE + 0x1001],
    ['NaN', Number.NaN],
  ])('is not made with %s', (_, size) => {
    expect(() => new GuestMemory(new ArrayBuffer(STATE + SIZE), STATE, size)).toThrow(MemoryRangeError);
  });

  it('tells the observer of every write, after it happened, and of nothing else', () => {
    const memory = make();
    const seen: [number, number, number][] = [];
    memory.setWriteObserver((at, length) => seen.push([at, length, memory.readU8(at)]));
    memory.write(0x10, Uint8Array.of(7, 8, 9));
    memory.writeU8(0x20, 1);
    memory.writeU16(0x22, 2);
    memory.writeU32(0x24, 3);
    memory.writeU64(0x28, 4n);
    memory.zero(0x10, 3);
    memory.write(0x30, new Uint8Array(0));
    memory.bytes(0x10, 3);
    memory.readU64(0x28);
    memory.touch(0x2000, 1);
    expect(seen).toEqual([
      [0x10, 3, 7],
      [0x20, 1, 1],
      [0x22, 2, 2],
      [0x24, 4, 3],
      [0x28, 8, 4],
      [0x10, 3, 0],
    ]);
    memory.setWriteObserver(undefined);
    memory.writeU8(0, 1);
    expect(seen.length).toBe(6);
  });

  it('takes structs through `writing`, and the observer and the frame count see them', () => {
    const memory = make();
    const seen: [number, number][] = [];
    memory.setWriteObserver((at, length) => seen.push([at, length]));
    MultibootInfo.write(memory.writing, 0x6000, { flags: 1, mem_lower: 640 });
    expect(seen).toEqual([[0x6000, MultibootInfo.size]]);
    expect(memory.isTouched(0x6000)).toBe(true);
    expect(MultibootInfo.read(memory, 0x6000)).toMatchObject({ flags: 1, mem_lower: 640 });
    expect(seen.length).toBe(1);
  });

  it('counts each written frame once', () => {
    const memory = make();
    memory.writeU8(0x1fff, 1);
    memory.writeU8(0x1000, 1);
    expect(memory.touchedFrames).toBe(1);
    memory.writeU16(0x2fff, 1);
    expect(memory.touchedFrames).toBe(3);
    memory.zero(0x5000, 0x2001);
    expect(memory.touchedFrames).toBe(6);
    memory.touch(SIZE - 1, 1);
    memory.touch(0x9000, 0);
    expect(memory.touchedFrames).toBe(7);
    expect([0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xf].map((frame) => memory.isTouched(frame * 0x1000))).toEqual(
      [false, true, true, true, false, true, true, true, false, true],
    );
  });
});

describe('addresses', () => {
  it('keep their kinds apart at compile time', () => {
    type Pfn = number & { readonly kind: 'pfn' };
    expectTypeOf<Gpa>().toExtend<AtGpa>();
    expectTypeOf<number>().toExtend<AtGpa>();
    expectTypeOf<Pfn>().not.toExtend<AtGpa>();
    expectTypeOf<number>().not.toExtend<Gpa>();
    expect(gpa(0x1000)).toBe(0x1000);
  });

  it('hold a virtual address as 64 unsigned bits', () => {
    expect(gva(-1n)).toBe(0xffff_ffff_ffff_ffffn);
  });
});
