/** A struct as a list of places: `hdr.type_of_loader` at +0x210, 8 bits.
 *
 * Two images of memory can be compared by it field by field, and shown (symbols/decode.ts). Every byte of the struct is
 * in some row: what no member covers is a row of padding, and what is left when the list grows too long or too deep is a
 * row of plain bytes, so a difference cannot hide. Members of a union lie on each other: all are listed, the ones after the
 * first marked `overlaps`.
 * May not: make more rows or go deeper than it was allowed, whatever the types say.   Next: symbols/decode.ts. */
import { BootError } from '../base/errors.ts';
import type { Btf, BtfMember } from './btf.ts';

export type FieldKind =
  | 'unsigned' | 'signed' | 'bool' | 'enum' | 'pointer' | 'float'
  /** An array of char. */
  | 'text'
  /** An array of bytes, or what was not taken apart. */
  | 'bytes'
  /** No member is here. */
  | 'padding'
  /** Elements of an array that the caller did not want one by one. */
  | 'elided'; // biome-ignore format: a list

export type Field = {
  /** As C reaches it from the struct: `hdr.type_of_loader`, `e820_table[3].addr`. */
  path: string;
  /** In bytes from the struct's start; of a bit field the byte with its lowest bit. */
  offset: number;
  /** In bytes; of a bit field those that it touches. */
  size: number;
  /** The lowest bit in the byte at `offset`; 0 but for bit fields. */
  bit: number;
  /** Width; 8 * size but for bit fields. */
  bits: number;
  kind: FieldKind;
  /** As C declares it; empty for padding. */
  type: string;
  /** Of the type, in the Btf it came from; 0 for padding. */
  typeId: number;
  /** Another member of a union, listed earlier, has these bytes too. */
  overlaps: boolean;
};

export type FlattenOptions = {
  /** Rows; what does not fit any more is listed as bytes. */
  maxFields?: number;
  /** Structs within structs. */
  maxDepth?: number;
  /** Asked for each element of an array of structs: true lets it join an 'elided' row. */
  elide?: (offset: number, size: number) => boolean;
};

/** The fields of a type by its name; `[n]` behind the name makes an array of it: `gate_desc[256]`. */
export function flatten(btf: Btf, typeName: string, options: FlattenOptions = {}): Field[] {
  const { id, count } = typeNamed(btf, typeName);
  return new Flattener(btf, options).run(id, count);
}

/** The same for a type by its number: what `btf.variable` gives. */
export function flattenType(btf: Btf, id: number, options: FlattenOptions = {}): Field[] {
  return new Flattener(btf, options).run(id);
}

/** In bytes. */
export function sizeOfNamed(btf: Btf, typeName: string): number {
  const { id, count = 1 } = typeNamed(btf, typeName);
  return btf.sizeOf(id) * count;
}

function typeNamed(btf: Btf, typeName: string): { id: number; count?: number } {
  const [, name, count] = /^(.*?)\s*(?:\[(\d{1,7})\])?$/s.exec(typeName.trim()) as RegExpExecArray;
  const id = btf.find(name);
  if (id !== undefined) return { id, count: count === undefined ? undefined : Number(count) };
  throw new BootError({
    what: `the kernel has no type named ${JSON.stringify(name)}`,
    where: '.BTF of the kernel',
    why: 'none of its structs, unions, typedefs, enums and numbers has that name',
    fix: 'write it as the kernel does, with or without "struct" in front: struct boot_params',
  });
}

/** A number from memory, or undefined when `bytes` ends before it or the field is no number. */
export function readField(bytes: Uint8Array, { offset, size, bit, bits, kind }: Field): bigint | undefined {
  if (offset + size > bytes.length || bits > 128 || kind === 'text' || kind === 'bytes' || kind === 'elided') return undefined;
  let raw = 0n;
  for (let i = size - 1; i >= 0; i--) raw = (raw << 8n) | BigInt(bytes[offset + i]);
  const value = (raw >> BigInt(bit)) & ((1n << BigInt(bits)) - 1n);
  return kind === 'signed' ? BigInt.asIntN(bits, value) : value;
} // biome-ignore format: short

const MOST_FIELDS = 20_000;
const DEEPEST = 24;
/** Questions to `elide`: a damaged array may claim billions of elements. */
const MOST_ASKED = 1_000_000;

type Place = { path: string; offset: number; overlaps: boolean };

class Flattener {
  private readonly btf: Btf;
  private readonly maxFields: number;
  private readonly maxDepth: number;
  private readonly elide?: FlattenOptions['elide'];
  private readonly fields: Field[] = [];
  private asked = 0;

  constructor(btf: Btf, { maxFields = MOST_FIELDS, maxDepth = DEEPEST, elide }: FlattenOptions) {
    this.btf = btf;
    this.maxFields = maxFields;
    this.maxDepth = maxDepth;
    this.elide = elide;
  }

  run(id: number, count?: number): Field[] {
    const place = { path: '', offset: 0, overlaps: false };
    if (count === undefined) this.add(id, place, 0);
    else this.array(id, count, place, 0);
    return this.fields;
  }

  private add(id: number, place: Place, depth: number) {
    const type = this.btf.type(this.btf.resolve(id));
    const size = this.sizeOf(id);
    // Types without a size cover nothing: flexible arrays, empty structs.
    if (size === 0) return;
    if (this.isFull() || depth > this.maxDepth) return this.row(place, size, 'bytes', id);
    switch (type.kind) {
      case 'struct':
        return this.struct(type.members, size, place, depth);
      case 'union':
        return this.union(type.members, size, place, depth);
      case 'array':
        return this.array(type.type, type.length, place, depth, id);
      case 'int':
        if (type.size > 16) return this.row(place, size, 'bytes', id);
        return this.row(place, size, type.encoding === 'bool' ? 'bool' : type.encoding === 'none' ? 'unsigned' : 'signed', id);
      case 'ptr':
        return this.row(place, size, 'pointer', id);
      case 'enum': case 'enum64':
        return this.row(place, size, size > 16 ? 'bytes' : 'enum', id);
      case 'float':
        return this.row(place, size, 'float', id);
      default:
        return this.row(place, size, 'bytes', id);
    }
  } // biome-ignore format: a case each

  private struct(members: BtfMember[], size: number, place: Place, depth: number) {
    /** Bits that members have covered so far; they come in order. */
    let covered = 0;
    for (const member of members) {
      if (this.isFull()) return this.rest(Math.ceil(covered / 8), size, place);
      this.padding(covered, Math.min(member.bitOffset, 8 * size), place);
      this.member(member, place, depth);
      covered = Math.max(covered, member.bitOffset + (member.bits ?? 8 * this.sizeOf(member.type)));
    }
    this.padding(covered, 8 * size, place);
  }

  private union(members: BtfMember[], size: number, place: Place, depth: number) {
    let covered = 0;
    let isFirst = true;
    for (const member of members) {
      const bits = member.bits ?? 8 * this.sizeOf(member.type);
      if (bits === 0) continue;
      if (this.isFull()) return this.rest(0, size, place);
      this.member(member, { ...place, overlaps: place.overlaps || !isFirst }, depth);
      isFirst = false;
      covered = Math.max(covered, member.bitOffset + bits);
    }
    // What only a later member covers has been listed with it.
    this.padding(covered, 8 * size, place);
  }

  private member({ name, type, bitOffset, bits }: BtfMember, place: Place, depth: number) {
    // C reaches the members of an anonymous struct as if they were the outer one's.
    const path = name === '' ? place.path : place.path === '' ? name : `${place.path}.${name}`;
    const at = { ...place, path, offset: place.offset + Math.floor(bitOffset / 8) };
    if (bits === undefined) return this.add(type, at, depth + 1);
    const of = this.btf.type(this.btf.resolve(type));
    const kind = of.kind === 'enum' || of.kind === 'enum64' ? 'enum' : of.kind !== 'int' || of.encoding === 'none' ? 'unsigned' : of.encoding === 'bool' ? 'bool' : 'signed';
    const bit = bitOffset % 8;
    this.fields.push({ ...at, size: Math.ceil((bit + bits) / 8), bit, bits, kind, type: this.btf.declaration(type), typeId: type });
  } // biome-ignore format: short

  private array(of: number, length: number, place: Place, depth: number, id?: number) {
    const element = this.btf.type(this.btf.resolve(of));
    const size = this.sizeOf(of);
    if (size === 0 || length === 0) return;
    if (!Number.isSafeInteger(size * length)) return;
    if (element.kind === 'int' && size === 1 && element.encoding !== 'bool') {
      const isText = element.encoding === 'char' || element.name === 'char';
      return this.row(place, length, isText ? 'text' : 'bytes', id ?? of, id === undefined ? `${this.btf.declaration(of)}[${length}]` : undefined);
    }
    const isComposite = element.kind === 'struct' || element.kind === 'union' || element.kind === 'array';
    const at = (index: number) => place.offset + index * size;
    for (let index = 0; index < length; ) {
      if (this.isFull()) {
        const rest = { ...place, path: `${place.path}[${index}..${length - 1}]`, offset: at(index) };
        return this.row(rest, (length - index) * size, 'bytes', of);
      }
      let end = index;
      while (isComposite && end < length && this.asked++ < MOST_ASKED && this.elide?.(at(end), size)) end++;
      if (end > index) {
        const path = `${place.path}[${index}${end - index > 1 ? `..${end - 1}` : ''}]`;
        this.row({ ...place, path, offset: at(index) }, (end - index) * size, 'elided', of);
        index = end;
        continue;
      }
      this.add(of, { ...place, path: `${place.path}[${index}]`, offset: at(index) }, depth + 1);
      index++;
    }
  } // biome-ignore format: short

  private padding(fromBit: number, toBit: number, place: Place): void {
    if (toBit <= fromBit) return;
    const bit = fromBit % 8;
    const bits = toBit - fromBit;
    // Bits up to the byte's end, then bytes.
    if (bit !== 0 && bits > 8 - bit) {
      this.padding(fromBit, fromBit + 8 - bit, place);
      this.padding(fromBit + 8 - bit, toBit, place);
      return;
    }
    const path = place.path === '' ? '(padding)' : `${place.path}.(padding)`;
    const offset = place.offset + Math.floor(fromBit / 8);
    const isWhole = bit === 0 && bits % 8 === 0;
    this.fields.push({ ...place, path, offset, size: Math.ceil((bit + bits) / 8), bit, bits: isWhole ? bits : Math.min(bits, 8), kind: 'padding', type: '', typeId: 0 });
  } // biome-ignore format: short

  private isFull(): boolean {
    return this.fields.length >= this.maxFields;
  }

  private rest(from: number, size: number, place: Place) {
    if (from >= size) return;
    const path = place.path === '' ? '(rest)' : `${place.path}.(rest)`;
    this.row({ ...place, path, offset: place.offset + from }, size - from, 'bytes', 0, '');
  }

  private row(place: Place, size: number, kind: FieldKind, typeId: number, type = this.btf.declaration(typeId)) {
    this.fields.push({ ...place, size, bit: 0, bits: 8 * size, kind, type, typeId });
  }

  private sizeOf(id: number): number {
    return this.btf.sizeOf(id);
  }
}
