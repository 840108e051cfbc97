import { describe, expect, it } from 'vitest';
import { readLinear, walkPages } from '../../src/machine/page-walk.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';

const ram = () => new GuestMemory(new ArrayBuffer(0x10_0000), 0, 0x10_0000);
const LONG = { cr0: 0x8000_0001n, cr4: 0x20n, efer: 0x500n, cr3: 0x1000n };
const PAE = { cr0: 0x8000_0001n, cr4: 0x20n, efer: 0n, cr3: 0x1020n };
const LEGACY = { cr0: 0x8000_0001n, cr4: 0x10n, efer: 0n, cr3: 0x1000n };
const tables = (steps: { table: string }[]) => steps.map(({ table }) => table).join(' ');

describe('a page walk', () => {
  it('is no walk while paging is off', () => {
    expect(walkPages(ram(), { ...LONG, cr0: 1n }, 0x1_2345_6789n)).toEqual({
      steps: [],
      gpa: 0x2345_6789,
      left: 0x877,
    });
  });

  it('goes down four levels to a 4 KiB page', () => {
    const memory = ram();
    memory.writeU64(0x1ff8, 0x2003n);
    memory.writeU64(0x2ff0, 0x3003n);
    memory.writeU64(0x3000 + 8 * 8, 0x4003n);
    memory.writeU64(0x4008, 0x8000_0000_0005_0067n);
    const walk = walkPages(memory, LONG, 0xffff_ffff_8100_1234n);
    expect(walk.gpa).toBe(0x50234);
    expect(walk.left).toBe(0x1000 - 0x234);
    expect(tables(walk.steps)).toBe('PML4 PDPT PD PT');
    expect(walk.steps.map(({ index }) => index)).toEqual([511, 510, 8, 1]);
    expect(walk.steps[3].says).toBe('4 KiB page, writable, user, no-execute, accessed, dirty');
  });

  it('stops at a large page, in each mode', () => {
    const memory = ram();
    memory.writeU64(0x1000, 0x2001n);
    memory.writeU64(0x2000, 0x8000_0083n);
    expect(walkPages(memory, LONG, 0x1234_5678n)).toMatchObject({ gpa: 0x9234_5678, left: 0x4000_0000 - 0x1234_5678 });
    memory.writeU64(0x1020 + 3 * 8, 0x3001n);
    memory.writeU64(0x3000 + 8, 0x60_0081n);
    expect(walkPages(memory, PAE, 0xc020_0042n)).toMatchObject({ gpa: 0x60_0042 });
    memory.writeU32(0x1000 + 4 * 768, 0x0040_0083);
    expect(walkPages(memory, LEGACY, 0xc012_3456n)).toMatchObject({ gpa: 0x52_3456, left: 0x40_0000 - 0x12_3456 });
  });

  it('says which level has no entry', () => {
    const memory = ram();
    memory.writeU64(0x1000, 0x2003n);
    const walk = walkPages(memory, LONG, 0xdead_beefn);
    expect(walk.gpa).toBeUndefined();
    expect(walk.steps.map(({ says }) => says)).toEqual(['table, writable, supervisor', 'not present']);
  });

  it('ends at tables outside RAM and at addresses that are not canonical', () => {
    expect(walkPages(ram(), { ...LONG, cr3: 0xfff0_0000n }, 0n).steps[0].says).toMatch(/outside RAM/);
    expect(walkPages(ram(), LONG, 0x8000_0000_0000n)).toEqual({ steps: [], gpa: undefined, left: 0 });
  });

  it('reads across pages, as far as they are there', () => {
    const memory = ram();
    memory.writeU32(0x1000, 0x2003);
    memory.writeU32(0x2000, 0x5_0003);
    memory.writeU32(0x2004, 0x3_0003);
    memory.write(0x5_0ffe, Uint8Array.of(1, 2));
    memory.write(0x3_0000, Uint8Array.of(3, 4));
    expect([...readLinear(memory, LEGACY, 0xffen, 4)]).toEqual([1, 2, 3, 4]);
    expect(readLinear(memory, LEGACY, 0x1ff0n, 64).length).toBe(16);
  });
});
