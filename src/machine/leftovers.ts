/** Leftovers: what lay in .bss and .brk before the kernel's first instruction, and still lies there.
 *
 * A loader places these two without contents, and a kernel clears them before it relies on it. Soon after, it writes there
 * itself, so it is not zeros that tell whether it did: it is words that had a value when the kernel began and still have
 * it. Where memory was zero from the start nothing can be left.
 * Follows: Linux arch/x86/kernel/head64.c, clear_bss(); arch/x86/kernel/vmlinux.lds.S.
 * May not: change the machine; it keeps a copy.   Next: machine/capture.ts. */
import { hex, MiB } from '../base/numbers.ts';
import type { ObjectRecord } from '../trace/run-record.ts';
import type { Machine } from './machine.ts';

const SECTIONS = [
  ['.bss', '__bss_start', '__bss_stop'],
  ['.brk', '__brk_base', '__brk_limit'],
] as const;
/** A stock kernel has 14 MiB. */
const LARGEST = 64 * MiB;
const WORD = 8;

/** Reads guest memory at a linked address, whether or not the kernel's page tables are on. */
export type LinkedMemory = (address: bigint, length: number) => Uint8Array | undefined;

type Before = { name: string; start: bigint; bytes: Uint8Array; any: boolean };

export class Leftovers {
  readonly #before: Before[] = [];

  /** To be made at the kernel's first instruction. */
  constructor(machine: Pick<Machine, 'symbols'>, read: LinkedMemory) {
    for (const [name, from, to] of SECTIONS) {
      const start = machine.symbols?.address(from);
      const end = machine.symbols?.address(to);
      if (start === undefined || end === undefined || end <= start || end - start > LARGEST) continue;
      const bytes = read(start, Number(end - start))?.slice();
      if (bytes) this.#before.push({ name, start, bytes, any: bytes.some((byte) => byte !== 0) });
    }
  }

  /** How many bytes of each are left now; a section that cannot be read is left out. */
  objects(read: LinkedMemory): ObjectRecord[] {
    return this.#before.flatMap(({ name, start, bytes, any }) => {
      const now = any ? read(start, bytes.length) : bytes;
      if (!now) return [];
      const garbage = any ? countLeft(bytes, now) : 0;
      return [{ name, address: hex(start), type: 'section', fields: [{ path: 'garbage', value: hex(garbage) }] }];
    });
  }
}

/** Bytes in words that are not zero and have not changed. A single byte may have been written again with the same value. */
function countLeft(before: Uint8Array, now: Uint8Array): number {
  let left = 0;
  for (let at = 0; at < before.length; at += WORD) {
    const end = Math.min(at + WORD, before.length);
    let set = 0;
    let same = true;
    for (let i = at; i < end && same; i++) {
      same = before[i] === now[i];
      if (before[i] !== 0) set++;
    }
    if (same) left += set;
  }
  return left;
}
