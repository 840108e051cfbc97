/** The names of kallsyms, spelt out one by one when somebody asks.
 *
 * A name is a string of codes, each of which stands for a piece of text (token); the first character of the text is nm's
 * letter for the symbol's kind. 150,000 names stay in the image as they are. Looking for an address expands the one name
 * that is found; the first look for a name makes a hash table of numbers, without making strings.
 * Per-CPU variables of kernels up to 6.14 have offsets into the per-CPU area for addresses (symbols/per-cpu.ts): they are
 * found by name, and never name an address, or every low physical address would be called after one of them.
 * May not: be built for tables that kallsyms.ts has not checked.   Next: symbols/functions.ts. */
import { type Binding, bestName, lastNotAbove, type SymbolSource } from './symbol-list.ts';

export type KallsymsTables = {
  /** The tables lie in here; all offsets below count from its start. */
  bytes: Uint8Array;
  tokenTable: number;
  tokenStarts: Uint16Array;
  /** Of the length that stands before each name. */
  nameOffsets: Uint32Array;
  /** As signed 64-bit numbers, which a double holds exactly for any canonical address. */
  addresses: Float64Array;
  /** Symbols before this one are per-CPU offsets. */
  perCpuCount: number;
  /** The kernel versions that lay their tables out like this. */
  layout: 'up to 6.3' | 'from 6.4';
};

/** KSYM_NAME_LEN; a damaged token table must not give longer ones. */
const LONGEST_NAME = 512;
const TEXT = new TextDecoder('latin1');

export class Kallsyms implements SymbolSource {
  readonly count: number;
  readonly layout: KallsymsTables['layout'];
  readonly perCpuCount: number;
  private readonly tables: KallsymsTables;
  /** nm's letters. */
  private readonly types: Uint8Array;
  private readonly scratch = new Uint8Array(LONGEST_NAME + 1);
  private chains?: { heads: Int32Array; next: Int32Array };

  constructor(tables: KallsymsTables) {
    this.tables = tables;
    this.layout = tables.layout;
    this.count = tables.addresses.length;
    this.perCpuCount = tables.perCpuCount;
    this.types = new Uint8Array(this.count);
    const { bytes, tokenTable, tokenStarts, nameOffsets } = tables;
    for (let i = 0; i < this.count; i++) {
      const at = nameOffsets[i];
      this.types[i] = bytes[tokenTable + tokenStarts[bytes[at + (bytes[at] > 0x7f ? 2 : 1)]]];
    }
  }

  addressAt(index: number): bigint {
    return BigInt.asUintN(64, BigInt(this.tables.addresses[index]));
  }

  nameAt(index: number): string {
    return TEXT.decode(this.scratch.subarray(1, this.expand(index)));
  }

  /** nm's letter: t and T for code, d and D for data, w and W for weak. */
  typeAt(index: number): string {
    return String.fromCharCode(this.types[index]);
  }

  isFunctionAt(index: number): boolean {
    const lower = this.types[index] | 0x20;
    return lower === 0x74 || lower === 0x77;
  }

  bindingAt(index: number): Binding {
    const type = this.types[index];
    const lower = type | 0x20;
    if (lower === 0x77 || lower === 0x76) return 'weak'; // W, and V for data
    return type === lower ? 'local' : 'global';
  }

  /** Of several symbols with one name a global one, or else the first. */
  address(name: string): bigint | undefined {
    const index = this.indexOf(name);
    return index < 0 ? undefined : this.addressAt(index);
  }

  /** The symbol before an address. There are no sizes: each reaches to the next, the last one nowhere. */
  lookup(address: bigint): { name: string; offset: bigint } | undefined {
    const { addresses } = this.tables;
    const wanted = Number(BigInt.asIntN(64, address));
    const index = lastNotAbove(this.perCpuCount, this.count, (i) => addresses[i] > wanted);
    if (index < 0) return undefined;
    const start = addresses[index];
    let first = index;
    while (first > this.perCpuCount && addresses[first - 1] === start) first--;
    const offset = address - this.addressAt(index);
    if (index === this.count - 1 && offset !== 0n) return undefined;
    return { name: this.nameAt(bestName(this, first, index + 1)), offset };
  }

  private indexOf(name: string): number {
    if (name.length > LONGEST_NAME) return -1;
    this.chains ??= this.hashNames();
    const { heads, next } = this.chains;
    let hash = SEED;
    for (let i = 0; i < name.length; i++) hash = step(hash, name.charCodeAt(i));
    let best = -1;
    for (let index = heads[hash & (heads.length - 1)]; index >= 0; index = next[index]) {
      if (best >= 0 && this.bindingAt(best) === 'global') break;
      if ((best < 0 || this.bindingAt(index) === 'global') && this.isNamed(index, name)) best = index;
    }
    return best;
  }

  private isNamed(index: number, name: string): boolean {
    if (this.expand(index) - 1 !== name.length) return false;
    for (let i = 0; i < name.length; i++) if (this.scratch[i + 1] !== name.charCodeAt(i)) return false;
    return true;
  }

  private hashNames() {
    let size = 1024;
    while (size < this.count) size *= 2;
    const heads = new Int32Array(size).fill(-1);
    const next = new Int32Array(this.count);
    // Backwards, so that each chain has the table's order.
    for (let index = this.count - 1; index >= 0; index--) {
      const end = this.expand(index);
      let hash = SEED;
      for (let i = 1; i < end; i++) hash = step(hash, this.scratch[i]);
      const slot = hash & (size - 1);
      next[index] = heads[slot];
      heads[slot] = index;
    }
    return { heads, next };
  }

  /** Writes kind and name into `scratch` and says where they end. */
  private expand(index: number): number {
    const { bytes, tokenTable, tokenStarts, nameOffsets } = this.tables;
    const { scratch } = this;
    let at = nameOffsets[index];
    let codes = bytes[at++];
    if (codes > 0x7f) codes = (codes & 0x7f) | (bytes[at++] << 7);
    let end = 0;
    for (const last = at + codes; at < last; at++) {
      for (let from = tokenTable + tokenStarts[bytes[at]]; bytes[from] !== 0 && end < scratch.length; from++) {
        scratch[end++] = bytes[from];
      }
    }
    return end;
  }
}

/** FNV-1a. */
const SEED = 0x811c9dc5 | 0;
const step = (hash: number, byte: number) => Math.imul(hash ^ byte, 0x01000193);
