/** Makes a .BTF section the same bytes in every build: variables in the order of their names, no name of a folder.
 *
 *   node --import tsx tools/sort-btf.ts SECTION
 *
 * gcc 12 lists variables in the order of a hash table that is keyed by addresses in the compiler's own memory: another one
 * in each run. Nothing in the section refers to a variable, so their records may change places. Types, and functions
 * behind the variables, already have a fixed order. And the last of its names is the source file's whole path, which no
 * record uses.
 * Follows: Linux Documentation/bpf/btf.rst.   Next: tiny/kernel/types.c. */
import { readFileSync, writeFileSync } from 'node:fs';
import { Btf } from '../../src/symbols/btf.ts';

const [file] = process.argv.slice(2);
const bytes = new Uint8Array(readFileSync(file));
const btf = new Btf(bytes, file);
const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const end = header.getUint32(4, true) + header.getUint32(8, true) + header.getUint32(12, true);

const kinds = Array.from({ length: btf.count }, (_, id) => btf.type(id).kind);
const first = kinds.indexOf('var');
const variables = kinds.filter((kind) => kind === 'var').length;
const functions = btf.count - first - variables;
const isAsExpected = kinds.every((kind, id) => id < first || kind === (id < first + variables ? 'var' : 'func'));
if (first < 0 || !isAsExpected)
  throw new Error(`${file}: variables, then functions are expected at the end of the types`);

/** A btf_type and its linkage; a function is a btf_type alone. */
const VARIABLE = 16;
const start = end - 12 * functions - VARIABLE * variables;
const records = Array.from({ length: variables }, (_, i) => {
  const at = start + VARIABLE * i;
  return { name: btf.type(first + i).name, record: bytes.slice(at, at + VARIABLE) };
});
records.sort((a, b) => (a.name < b.name ? -1 : 1));
for (const [i, { record }] of records.entries()) bytes.set(record, start + VARIABLE * i);

const names = header.getUint32(4, true) + header.getUint32(16, true);
const last = bytes.findLastIndex((byte) => byte !== 0);
const path = bytes.lastIndexOf(0, last) + 1;
const isInNames = names < path && names + header.getUint32(20, true) === bytes.length;
const isPath = isInNames && /\/.*\.c$/.test(new TextDecoder().decode(bytes.subarray(path, last + 1)));
if (!isPath) throw new Error(`${file}: the source file's path is expected as its last name`);
header.setUint32(20, path - names, true);
writeFileSync(file, bytes.subarray(0, path));
