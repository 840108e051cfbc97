/** Types printed as `bpftool btf dump file vmlinux format raw` does it, so that its answer can be compared with ours. */
import type { Btf, BtfType } from '../../src/symbols/btf.ts';

export function rawDump(btf: Btf): string {
  const lines: string[] = [];
  for (let id = 1; id < btf.count; id++) lines.push(...describe(btf, id));
  return `${lines.join('\n')}\n`;
}

const INT_ENCODINGS = { none: '(none)', signed: 'SIGNED', char: 'CHAR', bool: 'BOOL' };
const FUNCTION_LINKAGES = ['static', 'global', 'extern'];
const VARIABLE_LINKAGES = ['static', 'global', 'extern'];

function describe(btf: Btf, id: number): string[] {
  const type = btf.type(id);
  const name = (text: string) => `'${text || '(anon)'}'`;
  const head = `[${id}] ${type.kind.toUpperCase()} ${name(type.name)}`;
  const [tail, more] = details(btf, type, name);
  return [head + tail, ...more.map((line) => `\t${line}`)];
}

function details(btf: Btf, type: BtfType, name: (text: string) => string): [string, string[]] {
  switch (type.kind) {
    case 'void':
      return ['', []];
    case 'int':
      return [` size=${type.size} bits_offset=${type.bitOffset} nr_bits=${type.bits} encoding=${INT_ENCODINGS[type.encoding]}`, []];
    case 'array':
      return [` type_id=${type.type} index_type_id=${type.indexType} nr_elems=${type.length}`, []];
    case 'struct': case 'union':
      return [` size=${type.size} vlen=${type.members.length}`, type.members.map((each) =>
        `${name(each.name)} type_id=${each.type} bits_offset=${each.bitOffset}${each.bits === undefined ? '' : ` bitfield_size=${each.bits}`}`)];
    case 'enum': case 'enum64':
      return [` encoding=${type.signed ? 'SIGNED' : 'UNSIGNED'} size=${type.size} vlen=${type.values.length}`, type.values.map((each) =>
        `${name(each.name)} val=${each.value}${type.kind === 'enum' ? '' : type.signed ? 'LL' : 'ULL'}`)];
    case 'fwd':
      return [` fwd_kind=${type.of}`, []];
    case 'func':
      return [` type_id=${type.type} linkage=${FUNCTION_LINKAGES[type.linkage]}`, []];
    case 'func_proto':
      return [` ret_type_id=${type.type} vlen=${type.parameters.length}`, type.parameters.map((each) => `${name(each.name)} type_id=${each.type}`)];
    case 'var':
      return [` type_id=${type.type}, linkage=${VARIABLE_LINKAGES[type.linkage]}`, []];
    case 'datasec':
      return [` size=${type.size} vlen=${type.entries.length}`, type.entries.map((each) =>
        `type_id=${each.type} offset=${each.offset} size=${each.size} (VAR ${name(btf.type(each.type).name)})`)];
    case 'float':
      return [` size=${type.size}`, []];
    case 'decl_tag':
      return [` type_id=${type.type} component_idx=${type.component}`, []];
    default:
      return [` type_id=${type.type}`, []];
  }
} // biome-ignore format: a case each
