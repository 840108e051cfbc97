/** kallsyms tables as Linux' scripts/kallsyms.c lays them out, inside a small ELF kernel. */
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { buildElf } from '../image/build.ts';

export type Row = { address: bigint; type: string; name: string };

export type KallsymsSpec = {
  rows: readonly Row[];
  /** Where addresses stand; 6.2 and 6.3 also have seqs_of_names before the tokens. */
  layout?: 'up to 6.3' | '6.2' | 'from 6.4';
  /** How they are written: with KALLSYMS_ABSOLUTE_PERCPU, without it, or without KALLSYMS_BASE_RELATIVE. */
  addresses?: 'percpu' | 'relative' | 'pointers';
  wide?: boolean;
  /** Bytes before the tables, which make the kernel's other data. */
  before?: number;
};

/** Where `buildElf` places its code. */
export const KERNEL = 0xffff_ffff_8100_0000n;
export const KERNEL32 = 0xc100_0000n;

export function kallsymsKernel(spec: KallsymsSpec): ElfImage {
  return parseKernel('vmlinux', kallsymsFile(spec)) as ElfImage;
}

export function kallsymsFile(spec: KallsymsSpec): Uint8Array {
  return buildElf({ wide: spec.wide ?? true, code: kallsymsBytes(spec) });
}

/** The tables, with `before` bytes in front of them and some behind. */
export function kallsymsBytes(spec: KallsymsSpec): Uint8Array {
  const { rows, layout = 'up to 6.3', addresses = 'percpu', wide = true, before = 4096 } = spec;
  const word = wide ? 8 : 4;
  const { tokens, encode } = compress(rows.map(({ type, name }) => type + name));
  const out: number[] = Array.from({ length: before }, (_, i) => (i * 37) & 0xff);
  const align = () => { while (out.length % word !== 0) out.push(0); };
  const u32 = (value: number) => out.push(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24);
  const pointer = (value: bigint) => { for (let i = 0; i < word; i++) out.push(Number((value >> BigInt(8 * i)) & 255n)); };

  const writeAddresses = () => {
    align();
    if (addresses === 'pointers') {
      for (const { address } of rows) pointer(address);
      return;
    }
    const base = rows.map(({ address }) => address).filter((a) => a > 0x10_0000n)[0];
    for (const { address } of rows) {
      const isPerCpu = address <= 0x10_0000n;
      u32(Number(BigInt.asUintN(32, addresses === 'relative' ? address - base : isPerCpu ? address : base - 1n - address)));
    }
    align();
    pointer(base);
  };
  const writeNames = () => {
    align();
    u32(rows.length);
    align();
    const markers: number[] = [];
    const start = out.length;
    rows.forEach(({ type, name }, i) => {
      if (i % 256 === 0) markers.push(out.length - start);
      const codes = encode(type + name);
      if (codes.length > 127) out.push((codes.length & 127) | 128, codes.length >> 7);
      else out.push(codes.length);
      out.push(...codes);
    });
    align();
    markers.forEach(u32);
    align();
  };
  const writeSeqs = () => {
    for (let i = 0; i < rows.length; i++) out.push(i >> 16, (i >> 8) & 255, i & 255);
    align();
  };
  const writeTokens = () => {
    align();
    const starts: number[] = [];
    const start = out.length;
    for (const token of tokens) {
      starts.push(out.length - start);
      out.push(...[...token].map((c) => c.charCodeAt(0)), 0);
    }
    align();
    for (const each of starts) out.push(each & 255, each >> 8);
  };
  if (layout === 'from 6.4') {
    writeNames();
    writeTokens();
    writeAddresses();
    writeSeqs();
  } else {
    writeAddresses();
    writeNames();
    if (layout === '6.2') writeSeqs();
    writeTokens();
  }
  while (out.length % 16 !== 0) out.push(0xcc);
  return Uint8Array.from(out);
} // biome-ignore format: short helpers

/** Codes of characters in use stand for themselves; the others for frequent pieces, longest first. */
function compress(texts: readonly string[]) {
  const used = new Set(texts.flatMap((each) => [...each].map((c) => c.charCodeAt(0))));
  const counts = new Map<string, number>();
  for (const each of texts) {
    for (const length of [2, 3, 6]) {
      for (let i = 0; i + length <= each.length; i++) {
        const piece = each.slice(i, i + length);
        counts.set(piece, (counts.get(piece) ?? 0) + length - 1);
      }
    }
  }
  const pieces = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([piece]) => piece);
  const tokens = Array.from({ length: 256 }, (_, code) => (used.has(code) ? String.fromCharCode(code) : (pieces.shift() ?? '')));
  const codeOf = new Map(tokens.map((token, code) => [token, code]));
  const encode = (text: string): number[] => {
    const codes: number[] = [];
    for (let at = 0; at < text.length; ) {
      const length = [6, 3, 2, 1].find((n) => at + n <= text.length && codeOf.has(text.slice(at, at + n))) ?? 1;
      codes.push(codeOf.get(text.slice(at, at + length)) as number);
      at += length;
    }
    return codes;
  };
  return { tokens, encode };
} // biome-ignore format: short helpers
