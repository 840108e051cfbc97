import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { findKallsyms, readKallsyms } from '../../src/symbols/kallsyms.ts';
import type { Kallsyms } from '../../src/symbols/kallsyms-table.ts';
import { buildElf } from '../image/build.ts';
import { type KallsymsSpec, KERNEL, KERNEL32, kallsymsFile, kallsymsKernel, type Row } from './build-kallsyms.ts';

const PARTS = ['start', 'kernel', 'setup', 'arch', 'x86', 'early', 'init', 'page', 'table', 'cpu', 'do', 'get'];
const LONG = `a_name_as_long_as_${'rust_makes_them_'.repeat(12)}0123456789`;

/** Names as a kernel has them, `count` of them, 16 bytes apart. */
function rowsOf(count: number, base: bigint): Row[] {
  return Array.from({ length: count }, (_, i) => ({
    address: base + BigInt(16 * i),
    type: 'tTdDbBrR'[i % 8],
    name: i === 77 ? LONG : `${PARTS[i % 12]}_${PARTS[(i * 7) % 11]}_${i.toString(36)}`,
  }));
}
const perCpu: Row[] = [
  { address: 0n, type: 'A', name: 'fixed_percpu_data' },
  { address: 0x1000n, type: 'A', name: 'cpu_tlbstate' },
];
const wide = (count: number) => rowsOf(count, KERNEL);

const layouts: [string, KallsymsSpec, 'up to 6.3' | 'from 6.4'][] = [
  ['6.1', { rows: [...perCpu, ...wide(700)] }, 'up to 6.3'],
  ['6.1 with a whole number of markers', { rows: wide(512) }, 'up to 6.3'],
  ['6.1 with few symbols', { rows: wide(100) }, 'up to 6.3'],
  ['6.2, with an order of names before the tokens', { rows: [...perCpu, ...wide(700)], layout: '6.2' }, 'up to 6.3'],
  ['6.2 with few symbols', { rows: wide(90), layout: '6.2' }, 'up to 6.3'],
  ['6.1 without SMP', { rows: wide(700), addresses: 'relative' }, 'up to 6.3'],
  ['6.1 with whole addresses', { rows: [...perCpu, ...wide(700)], addresses: 'pointers' }, 'up to 6.3'],
  ['6.4', { rows: [...perCpu, ...wide(700)], layout: 'from 6.4' }, 'from 6.4'],
  ['6.15, whose per-CPU variables have addresses', { rows: wide(700), layout: 'from 6.4', addresses: 'relative' }, 'from 6.4'],
  ['6.4 with whole addresses', { rows: [...perCpu, ...wide(700)], layout: 'from 6.4', addresses: 'pointers' }, 'from 6.4'],
  ['6.1 for 32 bits', { rows: rowsOf(700, KERNEL32), wide: false, addresses: 'relative' }, 'up to 6.3'],
  ['6.4 for 32 bits', { rows: rowsOf(700, KERNEL32), wide: false, addresses: 'relative', layout: 'from 6.4' }, 'from 6.4'],
  ['6.1 for 32 bits with whole addresses', { rows: rowsOf(701, KERNEL32), wide: false, addresses: 'pointers' }, 'up to 6.3'],
]; // biome-ignore format: a table

const everything = (table: Kallsyms): Row[] =>
  Array.from({ length: table.count }, (_, i) => ({
    address: table.addressAt(i),
    type: table.typeAt(i),
    name: table.nameAt(i),
  }));

describe('kallsyms in an image', () => {
  it.each(layouts)('as Linux %s writes it is read whole', (_, spec, layout) => {
    const table = readKallsyms(kallsymsKernel(spec)) as Kallsyms;
    expect(table.layout).toBe(layout);
    expect(everything(table)).toEqual(spec.rows);
    for (const { name, address } of spec.rows.slice(0, 90)) expect(table.address(name), name).toBe(address);
  });

  it('is found wherever it starts', () => {
    for (const before of [0, 8, 16, 1000, 4088]) {
      const spec = { rows: wide(300), before };
      expect(everything(readKallsyms(kallsymsKernel(spec)) as Kallsyms), `${before}`).toEqual(spec.rows);
    }
  });

  it('gives addresses names, up to the next symbol', () => {
    const table = readKallsyms(kallsymsKernel({ rows: [...perCpu, ...wide(300)] })) as Kallsyms;
    const last = KERNEL + 16n * 299n;
    const cases: [bigint, string | undefined, bigint][] = [
      [KERNEL - 1n, undefined, 0n], [KERNEL, 'start_start_0', 0n], [KERNEL + 15n, 'start_start_0', 15n], [KERNEL + 16n, 'kernel_page_1', 0n],
      [last, wide(300)[299].name, 0n], [last + 1n, undefined, 0n], [2n ** 64n - 1n, undefined, 0n],
      // Per-CPU offsets are no addresses: what lies there is low memory.
      [0n, undefined, 0n], [0x1000n, undefined, 0n], [0x10_0000n, undefined, 0n], [2n ** 63n, undefined, 0n],
    ]; // biome-ignore format: a table
    for (const [address, name, offset] of cases) {
      expect(table.lookup(address), address.toString(16)).toEqual(name === undefined ? undefined : { name, offset });
    }
    expect(table.perCpuCount).toBe(2);
    expect(table.address('cpu_tlbstate')).toBe(0x1000n);
  });

  it('prefers functions, then what is global, then names without underscores, then short ones', () => {
    const rows: Row[] = [
      ...wide(300),
      ...['T _text', 'T startup_64', 'D a', 't b', 'T secondary_startup'].map((row) => ({
        address: KERNEL + 0x10_00n * 16n,
        type: row[0],
        name: row.slice(2),
      })),
      { address: KERNEL + 0x1_2000n, type: 'T', name: 'last' },
    ];
    const table = readKallsyms(kallsymsKernel({ rows, before: 0x1_3000 })) as Kallsyms;
    expect(table.lookup(KERNEL + 0x1_0004n)).toEqual({ name: 'startup_64', offset: 4n });
  });

  it('takes the global one of several symbols with one name, or else the first', () => {
    const named = (type: string, i: number, name = 'twin') => ({ address: KERNEL + 0x2000n + BigInt(i), type, name });
    const rows = [
      ...wide(300),
      named('t', 0),
      named('T', 1),
      named('t', 2),
      named('d', 3, 'pair'),
      named('d', 4, 'pair'),
    ];
    const table = readKallsyms(kallsymsKernel({ rows })) as Kallsyms;
    expect(table.address('twin')).toBe(KERNEL + 0x2001n);
    expect(table.address('pair')).toBe(KERNEL + 0x2003n);
    for (const name of ['', 'twins', 'twi', 'x'.repeat(5000), '\u0100']) expect(table.address(name)).toBeUndefined();
  });

  it('survives ten thousand symbols of one name', () => {
    const rows = wide(10_000).map((_, i) => ({ address: KERNEL + BigInt(i), type: 'd', name: '__already_done.0' }));
    const start = performance.now();
    expect(readKallsyms(kallsymsKernel({ rows }))?.address('__already_done.0')).toBe(KERNEL);
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

describe('an image without kallsyms', () => {
  const why = (image: ElfImage) => {
    const result = findKallsyms(image);
    return result.table ? undefined : result.why;
  };
  const without = (name: string, change: (bytes: Uint8Array) => void) => {
    const bytes = kallsymsFile({ rows: wide(700) });
    change(bytes);
    return [name, parseKernel('vmlinux', bytes) as ElfImage] as const;
  };
  const find = (bytes: Uint8Array, ...words: number[]) =>
    Buffer.from(bytes.buffer).indexOf(Buffer.from(Uint32Array.from(words).buffer));

  it.each([
    ['nothing', parseKernel('vmlinux', buildElf()) as ElfImage, /no kallsyms_token_table/],
    ['zeroes', parseKernel('vmlinux', buildElf({ code: new Uint8Array(1 << 20) })) as ElfImage, /no kallsyms_token_table/],
    [...without('another number of symbols', (bytes) => { bytes[find(bytes, 700, 0)] ^= 1; }), /0xffffffff8100[0-9a-f]{4} has no names and markers .* 4\.20/],
    [...without('addresses that fall', (bytes) => { bytes[find(bytes, 0xffff_ffff, 0xffff_ffef) + 4] = 0xfe; bytes[find(bytes, 0xffff_ffff, 0xffff_fffe) + 8] = 0xff; }), /700 names, but no table of as many rising addresses/],
    [...without('addresses elsewhere', (bytes) => { bytes[find(bytes, 0x8100_0000, 0xffff_ffff, 700) + 3] = 0x10; }), /700 names, but no table of as many rising addresses/],
  ] as const)('says so: %s', (_, image, message) => {
    expect(why(image)).toMatch(message);
    expect(readKallsyms(image)).toBeUndefined();
  }); // biome-ignore format: a table

  it('of markers with 64 bits, as before 4.20, is refused by that name', () => {
    // A marker table of 64-bit numbers: every other word is 0.
    const image = without('', (bytes) => {
      const at = find(bytes, 0);
      expect(at).toBeGreaterThan(0);
      const rows = wide(700);
      const marker = markersAt(bytes, rows.length);
      bytes.fill(0, marker + 4, marker + 8);
    })[1];
    expect(why(image)).toContain('4.20');
  });

  /** Of three markers, the first is 0 and the others rise. */
  function markersAt(bytes: Uint8Array, count: number): number {
    const names = find(bytes, count, 0) + 8;
    let at = names;
    for (let i = 0; i < count; i++)
      at += bytes[at] > 127 ? ((bytes[at] & 127) | (bytes[at + 1] << 7)) + 2 : bytes[at] + 1;
    const elfPad = names % 8;
    return Math.ceil((at - elfPad) / 8) * 8 + elfPad;
  }
});

describe('damaged kallsyms', () => {
  /** Whatever is found can be used without an exception. */
  function use(bytes: Uint8Array): boolean {
    try {
      const table = readKallsyms(parseKernel('vmlinux', bytes) as ElfImage);
      for (let i = 0; table && i < table.count; i += 13) table.lookup(table.addressAt(i));
      table?.address('start_kernel');
      return table !== undefined;
    } catch (error) {
      if (error instanceof VmError) return false; // the ELF headers are hit too
      throw error;
    }
  }

  it.each(['up to 6.3', '6.2', 'from 6.4'] as const)('(%s) is never more than a missing table', (layout) => {
    const whole = kallsymsFile({ rows: [...perCpu, ...wide(270)], layout, before: 64 });
    expect(use(whole)).toBe(true);
    let refused = 0;
    for (let at = 200; at < whole.length; at += 7) {
      const bytes = whole.slice();
      bytes[at] ^= 1 << (at % 8);
      if (!use(bytes)) refused++;
    }
    expect(refused).toBeGreaterThan(50); // most bytes are characters of names, and another character is another name
  });

  it('that claims anything at all is refused in bounded time', () => {
    const start = performance.now();
    // All zeroes with one token table behind them: every word could be a marker, or a count.
    for (const fill of [0, 1, 0xff]) {
      const tail = kallsymsFile({ rows: wide(700) });
      const code = new Uint8Array(8 << 20).fill(fill);
      code.set(tail.subarray(-3072), code.length - 3072);
      use(buildElf({ code }));
    }
    // Counts that are plausible everywhere, and a rising run behind them.
    const words = Uint32Array.from({ length: 1 << 21 }, (_, i) => (i % 2 === 0 ? 1 + (i % 700) : 0));
    const code = new Uint8Array(words.buffer);
    code.set(kallsymsFile({ rows: wide(700) }).subarray(-3072), code.length - 3072);
    use(buildElf({ code }));
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});
