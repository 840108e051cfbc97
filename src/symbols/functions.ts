/** The functions of a kernel, one row for each place where one starts.
 *
 * This is what a trace gives slots to. Names that share an address are one function here, under the name that
 * symbols/symbol-list.ts prefers. Assembly counts as far as its author marked it: STT_FUNC in an ELF table; in kallsyms
 * every label in code, since it does not tell labels from functions.
 * May not: hold names; a name is spelt out when it is asked for.   Next: symbols/kaslr.ts. */
import { bestName, type SymbolList } from './symbol-list.ts';

export type FunctionStarts = {
  readonly count: number;
  /** Ascending, each once. */
  readonly addresses: BigUint64Array;
  nameAt(index: number): string;
};

export function functionStarts(list: SymbolList): FunctionStarts {
  const addresses = new BigUint64Array(list.count);
  const rows = new Uint32Array(list.count);
  let count = 0;
  for (let first = 0; first < list.count; ) {
    if (!list.isFunctionAt(first)) {
      first++;
      continue;
    }
    const address = list.addressAt(first);
    let end = first + 1;
    while (end < list.count && list.addressAt(end) === address) end++;
    addresses[count] = address;
    // Data may share the address (a table's first entry, a section's end); a function is always preferred to it.
    rows[count++] = bestName(list, first, end, (index) => list.isFunctionAt(index));
    first = end;
  }
  return { count, addresses: addresses.slice(0, count), nameAt: (index) => list.nameAt(rows[index]) };
}
