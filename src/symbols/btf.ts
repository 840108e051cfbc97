/** BTF: the types that a kernel carries for itself, read as they are asked for.
 *
 * A stock kernel describes every struct it was built from in a few megabytes (.BTF), so that its own BPF programs can be
 * checked against them. A header, then records of 12 bytes and more, numbered from 1 by their order, then names. One pass
 * finds where each record starts; everything else is decoded when somebody asks for a type.
 * Follows: Linux Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
 * May not: trust a number in it: what does not fit is an ImageError, and chains of types end.
 * Next: symbols/flatten.ts, a struct as a list of places. */
import { assert, ImageError } from '../base/errors.ts';
import { hex } from '../base/numbers.ts';
import type { ElfImage } from '../image/kernel-image.ts';
import { PT_LOAD } from '../layout/elf.ts';

export type BtfMember = {
  name: string;
  type: number;
  bitOffset: number /** Undefined when it is no bit field. */;
  bits?: number;
};
export type BtfEnumerator = { name: string; value: bigint };
export type BtfParameter = { name: string; type: number };
export type BtfSectionEntry = { type: number; offset: number; size: number };

/** `type` is the id of another type; 0 is void. Kinds have the specification's names. */
export type BtfType = { name: string } & (
  | { kind: 'void' }
  | { kind: 'int'; size: number; bits: number; bitOffset: number; encoding: 'none' | 'signed' | 'char' | 'bool' }
  | { kind: 'ptr' | 'typedef' | 'volatile' | 'const' | 'restrict' | 'type_tag'; type: number }
  | { kind: 'array'; type: number; indexType: number; length: number }
  | { kind: 'struct' | 'union'; size: number; members: BtfMember[] }
  | { kind: 'enum' | 'enum64'; size: number; signed: boolean; values: BtfEnumerator[] }
  | { kind: 'fwd'; of: 'struct' | 'union' }
  | { kind: 'func'; type: number; linkage: number }
  | { kind: 'func_proto'; type: number; parameters: BtfParameter[] }
  | { kind: 'var'; type: number; linkage: number }
  | { kind: 'datasec'; size: number; entries: BtfSectionEntry[] }
  | { kind: 'float'; size: number }
  | { kind: 'decl_tag'; type: number; component: number }
); // biome-ignore format: a table

/** By number: the kind, and how many 32-bit words follow its record: so many, and so many for each of `vlen`. */
const KINDS = [
  undefined, ['int', 1, 0], ['ptr', 0, 0], ['array', 3, 0], ['struct', 0, 3], ['union', 0, 3], ['enum', 0, 2], ['fwd', 0, 0],
  ['typedef', 0, 0], ['volatile', 0, 0], ['const', 0, 0], ['restrict', 0, 0], ['func', 0, 0], ['func_proto', 0, 2], ['var', 1, 0],
  ['datasec', 0, 3], ['float', 0, 0], ['decl_tag', 1, 0], ['type_tag', 0, 0], ['enum64', 0, 3],
] as const; // biome-ignore format: a table

const MAGIC = 0xeb9f;
const HEADER_BYTES = 24;
const RECORD_BYTES = 12;
/** Typedefs and qualifiers before a type; arrays within arrays. C code has a handful. */
const LONGEST_CHAIN = 64;
const TEXT = new TextDecoder('latin1');

/** The kernel's own types; undefined when it was built without them (CONFIG_DEBUG_INFO_BTF). */
export function readBtf(image: ElfImage): Btf | undefined {
  const pointerSize = image.format === 'elf64' ? 8 : 4;
  const section = image.sections.find(({ name, size }) => name === '.BTF' && size > 0);
  if (section) {
    const end = Math.min(section.offset + section.size, image.bytes.length);
    return new Btf(image.bytes.subarray(Math.min(section.offset, end), end), `${image.name}, .BTF`, pointerSize);
  }
  // Without a section table: magic, version, no flags, the header's size, types right behind it.
  const start = [0x9f, 0xeb, 1, 0, HEADER_BYTES, 0, 0, 0, 0, 0, 0, 0];
  for (const { type, bytes } of image.segments) {
    if (type !== PT_LOAD) continue;
    for (let at = bytes.indexOf(0x9f); at >= 0; at = bytes.indexOf(0x9f, at + 1)) {
      if (start.every((byte, i) => bytes[at + i] === byte))
        return new Btf(bytes.subarray(at), `${image.name}, BTF`, pointerSize);
    }
  }
  return undefined;
}

export class Btf {
  /** Types are numbered below this; number 0 is void. */
  readonly count: number;
  /** In bytes; the format itself does not say. */
  readonly pointerSize: 4 | 8;
  private readonly where: string;
  private readonly types: DataView;
  private readonly strings: Uint8Array;
  /** Of each record, in `types`. */
  private readonly starts: Uint32Array;
  private readonly found = new Map<string, number | undefined>();

  /** Takes the contents of .BTF; `where` is for messages. */
  constructor(bytes: Uint8Array, where: string, pointerSize: 4 | 8 = 8) {
    this.where = where;
    this.pointerSize = pointerSize;
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < HEADER_BYTES) throw this.damaged(`it has ${bytes.length} bytes, its header alone ${HEADER_BYTES}`);
    if (header.getUint16(0, true) !== MAGIC) throw this.damaged(`it starts with ${hex(header.getUint16(0, true))}, not ${hex(MAGIC)}`);
    if (bytes[2] !== 1) throw this.damaged(`its version is ${bytes[2]}; 1 is known`);
    const headerBytes = header.getUint32(4, true);
    const section = (name: string, at: number) => {
      const start = headerBytes + header.getUint32(at, true);
      const length = header.getUint32(at + 4, true);
      if (headerBytes < HEADER_BYTES || start + length > bytes.length) {
        throw this.damaged(`its ${name} are at ${hex(start)}, ${hex(length)} bytes, and it has ${hex(bytes.length)}`);
      }
      return bytes.subarray(start, start + length);
    };
    const types = section('types', 8);
    this.strings = section('names', 16);
    this.types = new DataView(types.buffer, types.byteOffset, types.length);
    this.starts = this.findRecords();
    this.count = this.starts.length;
  } // biome-ignore format: one line for each check

  private findRecords(): Uint32Array {
    const { types } = this;
    const starts = new Uint32Array(Math.floor(types.byteLength / RECORD_BYTES) + 1);
    let count = 1;
    let at = 0;
    for (; at + RECORD_BYTES <= types.byteLength; count++) {
      starts[count] = at;
      const info = types.getUint32(at + 4, true);
      const kind = KINDS[(info >>> 24) & 31];
      if (!kind) throw this.damaged(`type ${count} is of kind ${(info >>> 24) & 31}; up to ${KINDS.length - 1} are known`);
      at += RECORD_BYTES + 4 * (kind[1] + kind[2] * (info & 0xffff));
    }
    if (at !== types.byteLength) throw this.damaged(`type ${count - 1} does not end where the types do`);
    return starts.slice(0, count);
  } // biome-ignore format: one line for each check

  /** One type, decoded. */
  type(id: number): BtfType {
    if (id === 0) return { kind: 'void', name: 'void' };
    const { types } = this;
    const at = this.startOf(id);
    const info = types.getUint32(at + 4, true);
    const sizeOrType = types.getUint32(at + 8, true);
    const name = this.string(types.getUint32(at, true));
    const flag = info >>> 31 === 1;
    const vlen = info & 0xffff;
    const word = (index: number) => types.getUint32(at + RECORD_BYTES + 4 * index, true);
    const list = <T>(words: number, make: (first: number) => T): T[] => Array.from({ length: vlen }, (_, i) => make(words * i));
    const kind = this.kindOf(id);
    switch (kind) {
      case 'int': {
        const encoding = (['none', 'signed', 'char', undefined, 'bool'] as const)[(word(0) >>> 24) & 15] ?? 'none';
        return { kind, name, size: sizeOrType, bits: word(0) & 0xff, bitOffset: (word(0) >>> 16) & 0xff, encoding };
      }
      case 'array':
        return { kind, name, type: word(0), indexType: word(1), length: word(2) };
      case 'struct':
      case 'union':
        return { kind, name, size: sizeOrType, members: list(3, (first) => this.member(word(first), word(first + 1), word(first + 2), flag)) };
      case 'enum': {
        const values = list(2, (first) => ({ name: this.string(word(first)), value: flag ? BigInt(word(first + 1) | 0) : BigInt(word(first + 1)) }));
        return { kind, name, size: sizeOrType, signed: flag, values };
      }
      case 'enum64': {
        const value = (first: number) => BigInt(word(first + 1)) | (BigInt(word(first + 2)) << 32n);
        const values = list(3, (first) => ({ name: this.string(word(first)), value: flag ? BigInt.asIntN(64, value(first)) : value(first) }));
        return { kind, name, size: sizeOrType, signed: flag, values };
      }
      case 'fwd':
        return { kind, name, of: flag ? 'union' : 'struct' };
      case 'func':
        return { kind, name, type: sizeOrType, linkage: vlen };
      case 'func_proto':
        return { kind, name, type: sizeOrType, parameters: list(2, (first) => ({ name: this.string(word(first)), type: word(first + 1) })) };
      case 'var':
        return { kind, name, type: sizeOrType, linkage: word(0) };
      case 'datasec':
        return { kind, name, size: sizeOrType, entries: list(3, (first) => ({ type: word(first), offset: word(first + 1), size: word(first + 2) })) };
      case 'float':
        return { kind, name, size: sizeOrType };
      case 'decl_tag':
        return { kind, name, type: sizeOrType, component: word(0) | 0 };
      default:
        return { kind, name, type: sizeOrType };
    }
  } // biome-ignore format: a case each

  private member(name: number, type: number, offset: number, packed: boolean): BtfMember {
    const member = { name: this.string(name), type, bitOffset: packed ? offset & 0xff_ffff : offset };
    if (packed) return offset >>> 24 === 0 ? member : { ...member, bits: offset >>> 24 };
    // Older encoders: the member's integer type has the width, and may start within its storage.
    const of = this.kindOf(type) === 'int' ? this.type(type) : undefined;
    if (of?.kind !== 'int' || (of.bits === 8 * of.size && of.bitOffset === 0)) return member;
    return { ...member, bitOffset: offset + of.bitOffset, bits: of.bits };
  }

  private kindOf(id: number) {
    if (id === 0) return 'void';
    const kind = KINDS[(this.types.getUint32(this.startOf(id) + 4, true) >>> 24) & 31];
    assert(kind, 'the constructor has refused unknown kinds');
    return kind[0];
  }

  /** `struct page`, `union x`, `enum y`, or a name alone: a struct, union, typedef, enum or number, in that order. */
  find(name: string): number | undefined {
    if (this.found.has(name)) return this.found.get(name);
    const [, keyword, rest] = /^(?:(struct|union|enum) )?(.*)$/s.exec(name.trim()) as RegExpExecArray;
    const kinds = keyword ? (keyword === 'enum' ? ['enum', 'enum64'] : [keyword]) : ['struct', 'union', 'typedef', 'enum', 'enum64', 'int', 'float'];
    const id = this.search(rest, kinds);
    this.found.set(name, id);
    return id;
  } // biome-ignore format: a table

  /** A variable that the kernel describes: stock kernels only those of .data..percpu, with `offset` as kallsyms has it;
   * compilers also others, which are in no section yet. */
  variable(name: string): { type: number; size: number; section?: string; offset?: number } | undefined {
    const id = this.search(name, ['var']);
    if (id === undefined) return undefined;
    const { type } = this.type(id) as BtfType & { kind: 'var' };
    for (let section = 1; section < this.count; section++) {
      if (this.kindOf(section) !== 'datasec') continue;
      const { name: of, entries } = this.type(section) as BtfType & { kind: 'datasec' };
      const entry = entries.find((each) => each.type === id);
      if (entry) return { type, size: entry.size, section: of, offset: entry.offset };
    }
    return { type, size: this.sizeOf(type) };
  }

  /** The first type of that name whose kind comes earliest in the list. */
  private search(name: string, kinds: readonly string[]): number | undefined {
    const wanted = Uint8Array.from(name, (letter) => Math.min(letter.charCodeAt(0), 0xff));
    if (wanted.length === 0) return undefined;
    const { strings, types, starts } = this;
    let best: number | undefined;
    let rank = kinds.length;
    for (let id = 1; id < starts.length && rank > 0; id++) {
      const at = types.getUint32(starts[id], true);
      if (strings[at] !== wanted[0] || strings[at + wanted.length] !== 0) continue;
      const found = kinds.indexOf(this.kindOf(id));
      if (found < 0 || found >= rank || !wanted.every((byte, i) => strings[at + i] === byte)) continue;
      best = id;
      rank = found;
    }
    return best;
  }

  /** The type behind typedefs and qualifiers. */
  resolve(id: number): number {
    let at = id;
    for (let steps = 0; steps < LONGEST_CHAIN; steps++) {
      const type = this.type(at);
      if (!isAlias(type)) return at;
      at = type.type;
    }
    throw this.damaged(`type ${id} is a chain of more than ${LONGEST_CHAIN} typedefs and qualifiers`);
  }

  /** In bytes; 0 for what has no size (void, functions, structs that are only declared). */
  sizeOf(id: number): number {
    let at = id;
    let times = 1;
    for (let steps = 0; steps < LONGEST_CHAIN; steps++) {
      const type = this.type(this.resolve(at));
      if (type.kind === 'array') {
        times *= type.length;
        at = type.type;
        continue;
      }
      const size = type.kind === 'ptr' ? this.pointerSize : 'size' in type ? type.size : 0;
      if (!Number.isSafeInteger(size * times)) throw this.damaged(`type ${id} has more bytes than can be counted`);
      return size * times;
    }
    throw this.damaged(`type ${id} has more than ${LONGEST_CHAIN} dimensions`);
  }

  /** As C declares it, without a name: `struct list_head *`, `char[16]`, `void (*)(struct pt_regs *)`. */
  declaration(id: number): string {
    return this.declare(id, '', LONGEST_CHAIN);
  }

  private declare(id: number, inner: string, depth: number): string {
    const type = this.type(id);
    if (depth === 0) return `...${inner}`;
    const spaced = inner === '' || inner[0] === '[' ? inner : ` ${inner}`;
    switch (type.kind) {
      case 'ptr': {
        // A function that does not return is a volatile one to compilers; C writes neither.
        const behind = this.behindQualifiers(type.type);
        const target = this.type(behind).kind;
        if (target === 'func_proto') return this.declare(behind, `(*${inner})`, depth - 1);
        return this.declare(type.type, target === 'array' ? `(*${inner})` : `*${inner}`, depth - 1);
      }
      case 'array':
        return this.declare(type.type, `${inner}[${type.length}]`, depth - 1);
      case 'func_proto': {
        // Parameters may be functions with parameters: each level has half of what is left.
        const parameters = type.parameters.slice(0, 32).map((each) => (each.type === 0 ? '...' : this.declare(each.type, '', depth >> 1)));
        return this.declare(type.type, `${inner}(${parameters.join(', ') || 'void'})`, depth >> 1);
      }
      case 'const': case 'volatile': case 'restrict':
        return this.type(type.type).kind === 'ptr' ? this.declare(type.type, ` ${type.kind}${spaced}`, depth - 1) : `${type.kind} ${this.declare(type.type, inner, depth - 1)}`;
      case 'type_tag':
        return this.declare(type.type, inner, depth - 1);
      case 'struct': case 'union':
        return `${type.kind} ${type.name || '{...}'}${spaced}`;
      case 'enum': case 'enum64':
        return `enum ${type.name || '{...}'}${spaced}`;
      case 'fwd':
        return `${type.of} ${type.name}${spaced}`;
      default:
        return `${type.name}${spaced}`;
    }
  } // biome-ignore format: a case each

  private behindQualifiers(id: number): number {
    let at = id;
    for (let steps = 0; steps < LONGEST_CHAIN; steps++) {
      const type = this.type(at);
      if (type.kind !== 'const' && type.kind !== 'volatile' && type.kind !== 'restrict') break;
      at = type.type;
    }
    return at;
  }

  private startOf(id: number): number {
    if (!Number.isInteger(id) || id < 1 || id >= this.count) throw this.damaged(`there is no type ${id}; the last is ${this.count - 1}`);
    return this.starts[id];
  } // biome-ignore format: short

  private string(at: number): string {
    const { strings } = this;
    if (at >= strings.length) throw this.damaged(`a name is at ${hex(at)}, and the names have ${hex(strings.length)} bytes`);
    const end = strings.indexOf(0, at);
    return TEXT.decode(strings.subarray(at, end < 0 ? strings.length : end));
  } // biome-ignore format: short

  private damaged(why: string): ImageError {
    return new ImageError({
      what: 'the types that the kernel carries (BTF) cannot be read',
      where: this.where,
      why,
      fix: 'take the kernel from its source again, or compare bytes instead of fields',
    });
  }
}

type Alias = BtfType & { kind: 'typedef' | 'volatile' | 'const' | 'restrict' | 'type_tag' };
function isAlias(type: BtfType): type is Alias {
  return type.kind === 'typedef' || type.kind === 'volatile' || type.kind === 'const' || type.kind === 'restrict' || type.kind === 'type_tag';
} // biome-ignore format: short
