import { describe, expect, test } from 'vitest';
import {
  attributesOf,
  encodeGate,
  encodeGate64,
  encodeSegment,
  encodeSystem64,
  gateOf,
  limitOf,
  segmentOf,
  splitDescriptor,
  systemType,
} from '../../src/x86/descriptor.ts';

// The GDT entries that Linux prints and every boot loader writes, bit by bit in SDM Vol. 3, figure 3-8.
const known = [
  ['flat 32-bit code', 0x00cf_9b00_0000_ffffn, 0n, 0xffff_ffff, 0xc09b],
  ['flat data', 0x00cf_9300_0000_ffffn, 0n, 0xffff_ffff, 0xc093],
  ['64-bit user code', 0x00af_fb00_0000_ffffn, 0n, 0xffff_ffff, 0xa0fb],
  ['bytes, with a base', 0x1240_9234_5678_9abcn, 0x1234_5678n, 0x9abc, 0x4092],
  ['one page with G', 0x0080_9300_0000_0000n, 0n, 0xfff, 0x8093],
  ['1 MiB less one byte without G', 0x000f_9300_0000_ffffn, 0n, 0xf_ffff, 0x0093],
] as const;

describe('segment descriptors', () => {
  test.each(known)('%s: read and written', (_, bits, base, limit, attributes) => {
    const d = splitDescriptor(bits);
    expect(segmentOf(0x10, d)).toEqual({ selector: 0x10, base, limit, attributes });
    expect(attributesOf(d)).toBe(attributes);
    expect(encodeSegment({ base, limit, attributes })).toBe(bits);
    expect(systemType(d)).toBeUndefined();
  });

  test('a long-mode TSS has its upper base in the second eight bytes', () => {
    const [low, high] = encodeSystem64({ base: 0xffff_fe00_0000_3000n, limit: 0x206f, attributes: 0x8b });
    expect([low, high]).toEqual([0x0000_8b00_3000_206fn, 0xffff_fe00n]);
    expect(systemType(splitDescriptor(low))).toBe(11);
    expect(limitOf(splitDescriptor(low))).toBe(0x206f);
  });
});

describe('gates', () => {
  test('a 64-bit interrupt gate has its offset in three parts and an IST', () => {
    const gate = { selector: 0x10, offset: 0xffff_ffff_8180_0b20n, type: 14, dpl: 3, ist: 5 };
    expect(encodeGate64(gate)).toEqual([0x8180_ee05_0010_0b20n, 0xffff_ffffn]);
    expect(gateOf(splitDescriptor(0x8180_ee05_0010_0b20n), 0xffff_ffff)).toMatchObject({ ...gate, present: true });
  });

  test('a 32-bit call gate has a parameter count', () => {
    const gate = { selector: 0x1b, offset: 0x1234_5678n, type: 12, dpl: 1, parameters: 31, present: false };
    expect(gateOf(splitDescriptor(encodeGate(gate)))).toMatchObject(gate);
  });

  test('a 16-bit gate has no upper half of the offset', () => {
    expect(gateOf(splitDescriptor(0x5555_8600_0008_1234n)).offset).toBe(0x1234n);
  });
});
