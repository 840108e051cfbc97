/** drcov, as DynamoRIO writes it and Lighthouse, Cartographer and lightkeeper read it: which code of a module ran.
 *
 * A block here is a whole function that was entered: from its first instruction to its end, or to where the next function
 * starts. What ran inside it is not traced, so the percentages of single functions mean nothing; which functions are
 * painted does. Blocks are offsets in a module. The kernel is one, from its first code's megabyte on, as a disassembler
 * that opens the vmlinux counts; code further than a GiB above it (fixed pages), or far below, is another. The one with
 * most functions has the kernel's name.
 * Follows: DynamoRIO's drcov library, log version 2, module table version 2.   Next: trace/formats/lcov.ts. */
import type { RunRecord } from '../run-record.ts';
import { functionCounts, plainName, type TraceExtras } from './timeline.ts';

/** A block's size has 16 bits. */
const LONGEST_BLOCK = 0xffff;
/** How far a function may reach whose size nobody knows. */
const LONGEST_GUESS = 0x1000;
/** The kernel's image is given a GiB of addresses at most. */
const REACH = 0x4000_0000n;
const GRAIN = 0x10_0000n;

type Block = { module: number; offset: number; size: number };

export function* drcovPieces(record: RunRecord, extras: TraceExtras = {}): Generator<string | Uint8Array> {
  const rows = functionCounts(record, extras);
  const modules: { base: bigint; end: bigint; functions: number }[] = [];
  const blocks: Block[] = [];
  for (const [i, { address, size, count }] of rows.entries()) {
    const gap = i + 1 < rows.length ? Number(rows[i + 1].address - address) : LONGEST_GUESS;
    const length = Math.max(1, size || Math.min(gap, LONGEST_GUESS));
    const last = modules.at(-1);
    const module =
      last && address + BigInt(length) - last.base < REACH
        ? last
        : { base: address - (address % GRAIN), end: 0n, functions: 0 };
    if (module !== last) modules.push(module);
    module.end = address + BigInt(length);
    module.functions++;
    if (count === 0) continue;
    for (let done = 0; done < length; done += LONGEST_BLOCK) {
      const offset = Number(address - module.base) + done;
      blocks.push({ module: modules.length - 1, offset, size: Math.min(LONGEST_BLOCK, length - done) });
    }
  }
  const name = plainName(record.kernel.name);
  const most = Math.max(...modules.map(({ functions }) => functions));
  const main = modules.findIndex(({ functions }) => functions === most);
  yield 'DRCOV VERSION: 2\nDRCOV FLAVOR: drcov\n';
  yield `Module Table: version 2, count ${modules.length}\nColumns: id, base, end, entry, path\n`;
  for (const [id, { base, end }] of modules.entries()) {
    const path = id === main ? name : `${name}.${id}`;
    yield `${String(id).padStart(3)}, ${address(base)}, ${address(end)}, ${address(0n)}, ${path}\n`;
  }
  yield `BB Table: ${blocks.length} bbs\n`;
  yield packed(blocks);
}

/** struct { u32 start; u16 size; u16 module; }, little-endian. */
function packed(blocks: readonly Block[]): Uint8Array {
  const bytes = new Uint8Array(blocks.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [i, { module, offset, size }] of blocks.entries()) {
    view.setUint32(i * 8, offset, true);
    view.setUint16(i * 8 + 4, size, true);
    view.setUint16(i * 8 + 6, module, true);
  }
  return bytes;
}

const address = (value: bigint) => `0x${value.toString(16).padStart(16, '0')}`;
