/** The bytes of saved values: one tag each, then what the tag says. Little-endian, no references, no code.
 *
 * Numbers are doubles, because virtual times are; typed arrays keep their type. Decoding is for bytes from a file: every
 * length is held against what is left before anything is made of it, and depth is bounded.
 * May not: judge what a value means (base/saved.ts has the shapes).   Next: layout/struct.ts. */
import { misfit, type Saved } from './saved.ts';

const TAG = {
  NOTHING: 0, FALSE: 1, TRUE: 2, NUMBER: 3, BIGINT: 4, TEXT: 5, LIST: 6, RECORD: 7, U8: 8, I32: 9, U32: 10, F64: 11,
} as const; // biome-ignore format: a table

const DEEPEST = 32;
const U64 = 64n;

export function encodeSaved(saved: Saved): Uint8Array {
  const writer = new Writer();
  write(writer, saved);
  return writer.taken();
}

/** `where` names the bytes in messages. */
export function decodeSaved(bytes: Uint8Array, where: string): Saved {
  const reader = new Reader(bytes, where);
  const saved = read(reader, 0);
  if (reader.left > 0) throw misfit(where, `${reader.left} bytes are left behind its values`);
  return saved;
}

class Writer {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  #room(length: number): number {
    const at = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
  tag(tag: number): void {
    const at = this.#room(1);
    this.#bytes[at] = tag;
  }
  length(length: number): void {
    const at = this.#room(4);
    this.#view.setUint32(at, length, true);
  }
  number(value: number): void {
    const at = this.#room(8);
    this.#view.setFloat64(at, value, true);
  }
  bigint(value: bigint): void {
    const at = this.#room(16);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
    this.#view.setBigInt64(at + 8, BigInt.asIntN(64, value >> U64), true);
  }
  bytes(bytes: Uint8Array): void {
    this.length(bytes.length);
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }
  taken(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}

function write(writer: Writer, saved: Saved): void {
  switch (typeof saved) {
    case 'undefined':
      writer.tag(TAG.NOTHING);
      break;
    case 'boolean':
      writer.tag(saved ? TAG.TRUE : TAG.FALSE);
      break;
    case 'number':
      writer.tag(TAG.NUMBER);
      writer.number(saved);
      break;
    case 'bigint':
      writer.tag(TAG.BIGINT);
      writer.bigint(saved);
      break;
    case 'string':
      writer.tag(TAG.TEXT);
      writer.bytes(new TextEncoder().encode(saved));
      break;
    default:
      writeObject(writer, saved);
      break;
  }
}

function writeObject(writer: Writer, saved: object): void {
  if (Array.isArray(saved)) {
    writer.tag(TAG.LIST);
    writer.length(saved.length);
    for (const one of saved) write(writer, one as Saved);
  } else if (ArrayBuffer.isView(saved)) {
    writer.tag(tagOf(saved));
    writer.bytes(new Uint8Array(saved.buffer, saved.byteOffset, saved.byteLength));
  } else {
    const entries = Object.entries(saved as Record<string, Saved>);
    writer.tag(TAG.RECORD);
    writer.length(entries.length);
    for (const [name, value] of entries) {
      writer.bytes(new TextEncoder().encode(name));
      write(writer, value);
    }
  }
}

function tagOf(view: ArrayBufferView): number {
  if (view instanceof Uint8Array) return TAG.U8;
  if (view instanceof Int32Array) return TAG.I32;
  if (view instanceof Uint32Array) return TAG.U32;
  if (view instanceof Float64Array) return TAG.F64;
  throw new Error(`broken belief: ${view.constructor.name} can be saved`);
}

class Reader {
  readonly where: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array, where: string) {
    this.where = where;
    // A plain one: what a host gives may have a `slice` that does not copy.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  get left(): number {
    return this.#bytes.length - this.#at;
  }
  #take(length: number): number {
    if (length > this.left) throw misfit(this.where, `it ends ${length - this.left} bytes too early`);
    const at = this.#at;
    this.#at += length;
    return at;
  }
  tag(): number {
    return this.#bytes[this.#take(1)];
  }
  /** Of things of which each takes a byte at least: so a length can ask for no more than there is. */
  length(): number {
    const length = this.#view.getUint32(this.#take(4), true);
    if (length > this.left) throw misfit(this.where, `it tells of ${length} elements in ${this.left} bytes`);
    return length;
  }
  number(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }
  bigint(): bigint {
    const at = this.#take(16);
    return (this.#view.getBigInt64(at + 8, true) << U64) | this.#view.getBigUint64(at, true);
  }
  /** A copy, so that typed arrays over it are aligned. */
  bytes(): Uint8Array<ArrayBuffer> {
    const length = this.length();
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length) as Uint8Array<ArrayBuffer>;
  }
  words(size: number): ArrayBuffer {
    const { buffer } = this.bytes();
    if (buffer.byteLength % size !== 0)
      throw misfit(this.where, `an array has ${buffer.byteLength} bytes of ${size} each`);
    return buffer;
  }
  text(): string {
    return new TextDecoder().decode(this.bytes());
  }
}

function read(reader: Reader, depth: number): Saved {
  if (depth > DEEPEST) throw misfit(reader.where, `its values are nested deeper than ${DEEPEST}`);
  const tag = reader.tag();
  switch (tag) {
    case TAG.NOTHING:
      return undefined;
    case TAG.FALSE:
      return false;
    case TAG.TRUE:
      return true;
    case TAG.NUMBER:
      return reader.number();
    case TAG.BIGINT:
      return reader.bigint();
    case TAG.TEXT:
      return reader.text();
    case TAG.LIST: {
      const list: Saved[] = [];
      for (let left = reader.length(); left > 0; left--) list.push(read(reader, depth + 1));
      return list;
    }
    case TAG.RECORD: {
      const entries: [string, Saved][] = [];
      for (let left = reader.length(); left > 0; left--) entries.push([reader.text(), read(reader, depth + 1)]);
      return Object.fromEntries(entries);
    }
    case TAG.U8:
      return reader.bytes();
    case TAG.I32:
      return new Int32Array(reader.words(4));
    case TAG.U32:
      return new Uint32Array(reader.words(4));
    case TAG.F64:
      return new Float64Array(reader.words(8));
    default:
      throw misfit(reader.where, `there is no kind of value ${tag}`);
  }
}
