/** .BTF as compilers and pahole write it, from a list of types. */
import { text, u32Bytes } from '../image/build.ts';

type Named = { name?: string };
export type TypeSpec = Named &
  (
    | { int: number; bits?: number; bitOffset?: number; encoding?: 0 | 1 | 2 | 4 }
    | { ptr: number } | { typedef: number } | { volatile: number } | { const: number } | { restrict: number } | { type_tag: number }
    | { array: number; length: number; index?: number }
    | { struct: number; members: MemberSpec[]; packed?: boolean } | { union: number; members: MemberSpec[]; packed?: boolean }
    | { enum: number; values: Record<string, number>; signed?: boolean } | { enum64: number; values: Record<string, bigint>; signed?: boolean }
    | { fwd: 'struct' | 'union' }
    | { func: number; linkage?: number } | { func_proto: number; parameters?: [string, number][] }
    | { var: number; linkage?: number } | { datasec: number; entries: [number, number, number][] }
    | { float: number } | { decl_tag: number; component: number }
  ); // biome-ignore format: a table
/** name, type, offset in bits, width of a bit field. */
export type MemberSpec = [string, number, number, number?];

const KINDS = ['', 'int', 'ptr', 'array', 'struct', 'union', 'enum', 'fwd', 'typedef', 'volatile', 'const', 'restrict', 'func', 'func_proto',
  'var', 'datasec', 'float', 'decl_tag', 'type_tag', 'enum64']; // biome-ignore format: a list

/** Types get the numbers 1, 2, ... in their order. */
export function buildBtf(types: readonly TypeSpec[], more: { headerBytes?: number; version?: number; magic?: number } = {}): Uint8Array {
  let names = '\0';
  const string = (name: string | undefined) => {
    if (!name) return 0;
    const at = names.length;
    names += `${name}\0`;
    return at;
  };
  const words: number[] = [];
  for (const spec of types) {
    const kind = KINDS.findIndex((name) => name in spec);
    // biome-ignore lint/suspicious/noExplicitAny: each kind has its own properties
    const t = spec as any;
    const value = t[KINDS[kind]];
    const list: number[] = [];
    let vlen = 0;
    let flag = 0;
    let sizeOrType = typeof value === 'number' ? value : 0;
    switch (KINDS[kind]) {
      case 'int':
        list.push(((t.encoding ?? 0) << 24) | ((t.bitOffset ?? 0) << 16) | (t.bits ?? 8 * value));
        break;
      case 'array':
        sizeOrType = 0;
        list.push(value, t.index ?? value, t.length);
        break;
      case 'struct': case 'union':
        vlen = t.members.length;
        flag = t.packed ? 1 : 0;
        for (const [name, type, offset, bits = 0] of t.members) list.push(string(name), type, t.packed ? (bits << 24) | offset : offset);
        break;
      case 'enum':
        vlen = Object.keys(t.values).length;
        flag = t.signed ? 1 : 0;
        for (const [name, number] of Object.entries<number>(t.values)) list.push(string(name), number);
        break;
      case 'enum64':
        vlen = Object.keys(t.values).length;
        flag = t.signed ? 1 : 0;
        for (const [name, number] of Object.entries<bigint>(t.values)) list.push(string(name), Number(BigInt.asUintN(32, number)), Number(BigInt.asUintN(32, number >> 32n)));
        break;
      case 'fwd':
        flag = value === 'union' ? 1 : 0;
        break;
      case 'func':
        vlen = t.linkage ?? 0;
        break;
      case 'func_proto':
        vlen = t.parameters?.length ?? 0;
        for (const [name, type] of t.parameters ?? []) list.push(string(name), type);
        break;
      case 'var':
        list.push(t.linkage ?? 0);
        break;
      case 'datasec':
        vlen = t.entries.length;
        list.push(...t.entries.flat());
        break;
      case 'decl_tag':
        list.push(t.component);
    }
    words.push(string(t.name), ((flag << 31) | (kind << 24) | vlen) >>> 0, sizeOrType, ...list);
  }
  const { headerBytes = 24, version = 1, magic = 0xeb9f } = more;
  const body = u32Bytes(...words.map((word) => word >>> 0));
  const strings = text(names);
  const out = new Uint8Array(headerBytes + body.length + strings.length);
  out.set(u32Bytes(magic | (version << 16), headerBytes, 0, body.length, body.length, strings.length));
  out.set(body, headerBytes);
  out.set(strings, headerBytes + body.length);
  return out;
} // biome-ignore format: a case each

/** Types as small C programs have them; the numbers are what `TYPES` says. */
export const TYPES = {
  int: 1, u8: 2, char: 3, u64: 4, bool: 5, charPtr: 6, name: 7, list: 8, listPtr: 9, color: 10, proto: 11, handler: 12, ops: 13,
  point: 14, points: 15, anonymous: 16, thing: 17, alias: 18, constAlias: 19, u64enum: 20, choice: 21, bytes16: 22, flexible: 23,
  variable: 24, section: 25,
} as const; // biome-ignore format: a table
export const SAMPLE: readonly TypeSpec[] = [
  { name: 'int', int: 4, encoding: 1 },
  { name: 'unsigned char', int: 1 },
  { name: 'char', int: 1, encoding: 1 },
  { name: 'long unsigned int', int: 8 },
  { name: '_Bool', int: 1, encoding: 4 },
  { ptr: TYPES.char },
  { array: TYPES.char, length: 16, index: TYPES.int },
  { name: 'list_head', struct: 16, members: [['next', TYPES.listPtr, 0], ['prev', TYPES.listPtr, 64]] },
  { ptr: TYPES.list },
  { name: 'color', enum: 4, values: { RED: 0, GREEN: 5, NONE: 0xffff_ffff }, signed: true },
  { func_proto: TYPES.int, parameters: [['name', TYPES.charPtr], ['color', TYPES.color]] },
  { ptr: TYPES.proto },
  { name: 'ops', struct: 24, members: [['open', TYPES.handler, 0], ['close', TYPES.handler, 64], ['private', TYPES.charPtr, 128]] },
  { name: 'point', struct: 8, members: [['x', TYPES.int, 0], ['y', TYPES.u8, 32]] },
  { array: TYPES.point, length: 4, index: TYPES.int },
  { union: 8, members: [['whole', TYPES.u64, 0], ['half', TYPES.int, 0], ['parts', TYPES.point, 0]] },
  {
    name: 'thing', struct: 112, packed: true,
    members: [
      ['name', TYPES.name, 0], ['low', TYPES.int, 128, 3], ['sign', TYPES.int, 131, 1], ['wide', TYPES.u64, 140, 9], ['on', TYPES.bool, 160],
      ['', TYPES.anonymous, 192], ['links', TYPES.list, 256], ['points', TYPES.points, 384], ['color', TYPES.color, 640], ['kind', TYPES.choice, 704],
      ['raw', TYPES.bytes16, 768], ['more', TYPES.flexible, 896],
    ],
  },
  { name: 'thing_t', typedef: TYPES.thing },
  { const: TYPES.alias },
  { name: 'u64 flags', enum64: 8, values: { HIGH: 1n << 63n, LOW: 1n } },
  { name: 'choice', typedef: TYPES.u64enum },
  { array: TYPES.u8, length: 16, index: TYPES.int },
  { array: TYPES.u64, length: 0, index: TYPES.int },
  { name: 'cpu_thing', var: TYPES.thing, linkage: 1 },
  { name: '.data..percpu', datasec: 0x200, entries: [[24, 0x40, 112]] },
]; // biome-ignore format: a table
