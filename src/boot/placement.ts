/** Pieces that several entry paths place: ELF segments, command lines, initial RAM disks.
 *
 * Each function returns plan writes whose bytes are views of what it was given.
 * Follows: System V ABI, chapter 5 (program loading), with p_paddr as every kernel loader uses it.
 * May not: know which entry path asks.   Next: boot/linux-common.ts. */

import { assert, BootError } from '../base/errors.ts';
import { alignDown, alignUp, formatSize, hex } from '../base/numbers.ts';
import type { ElfImage } from '../image/kernel-image.ts';
import { initrdSays } from '../initrd/recognise.ts';
import { E820_RAM } from '../layout/boot-params.ts';
import { PT_LOAD } from '../layout/elf.ts';
import { FRAME_SIZE, type Gpa, gpa } from '../memory/address.ts';
import { HIGH_RAM, LOW_MEMORY } from '../memory/map.ts';
import type { MemoryMap } from '../memory/memory-map.ts';
import { type PlanWrite, roomFor, span, viewOrigin } from './plan.ts';

export type Range = { at: number; length: number };

/** Each PT_LOAD at its physical address, less `offset`, zeroed to its memory size. */
export function segmentWrites(kernel: ElfImage, offset = 0n): PlanWrite[] {
  const writes: PlanWrite[] = [];
  for (const { index, type, paddr: linked, filesz, memsz, bytes, flags } of kernel.segments) {
    if (type !== PT_LOAD || memsz === 0) continue;
    const paddr = BigInt.asUintN(64, linked - offset);
    const what = `segment ${index}`;
    assert(filesz <= memsz, `${kernel.name}, ${what}: the parser checked its sizes`);
    if (paddr + BigInt(memsz) > 1n << 32n) {
      throw segmentError(kernel, what, `its physical range begins at ${hex(paddr)} and must end below 4 GiB`);
    }
    const rights = `${flags & 4 ? 'r' : '-'}${flags & 2 ? 'w' : '-'}${flags & 1 ? 'x' : '-'}`;
    const purpose = `PT_LOAD ${rights}${memsz > filesz ? `, ${hex(memsz - filesz)} bytes of it zero` : ''}`;
    const from = filesz === 0 ? 'made here' : viewOrigin(kernel, bytes);
    writes.push({ what, at: gpa(Number(paddr)), bytes: bytes.subarray(0, filesz), length: memsz, purpose, from });
  }
  assert(writes.length > 0, `${kernel.name} has something to load, as the parser checked`);
  return inOrder(writes);
}

function segmentError(kernel: ElfImage, what: string, why: string): BootError {
  return new BootError({
    what: `${kernel.name} cannot be loaded`,
    where: `${kernel.name}, ${what}`,
    why,
    fix: 'link it with load addresses inside the RAM of the machine; readelf -lW shows what it has',
  });
}

/** An entry address that must lie in something that is loaded. */
export function checkEntry(kernel: ElfImage, entry: bigint, named: string, writes: PlanWrite[]): void {
  const inside = writes.some(({ at, length }) => entry >= BigInt(at) && entry < BigInt(at + length));
  if (inside) return;
  throw new BootError({
    what: `${kernel.name} would be entered outside its own code`,
    where: `${kernel.name}, ${named}`,
    why: `${hex(entry)} is in no loaded segment; loaded are ${listed(writes)}`,
    fix: `link it so that ${named} is the physical address of its first instruction`,
  });
}

const listed = (writes: PlanWrite[]) =>
  [...writes.slice(0, 4).map(({ at, length }) => span(at, length)), ...(writes.length > 4 ? ['...'] : [])].join(', ');

/** The command line at its place, NUL-terminated. `reads` is how many bytes the guest reads at least. */
export function commandLineWrite(cmdline: string, longest: number, where: string, reads = 0): PlanWrite {
  const bytes = new TextEncoder().encode(`${cmdline}\0`);
  const { at, size } = LOW_MEMORY.commandLine;
  const limit = Math.min(longest, size - 1);
  if (bytes.length - 1 > limit) {
    throw new BootError({
      what: `the command line is too long`,
      where,
      why: `it has ${bytes.length - 1} bytes; ${limit} are the most that fit`,
      fix: 'shorten --cmdline',
    });
  }
  if (bytes.indexOf(0) !== bytes.length - 1) {
    throw new BootError({
      what: 'the command line holds a NUL character',
      where: `--cmdline, byte ${bytes.indexOf(0)}`,
      why: 'a NUL ends the line for the guest, so the rest would be lost',
      fix: 'take it out of --cmdline',
    });
  }
  const length = Math.max(bytes.length, reads);
  const purpose = length > bytes.length ? `command line; the guest reads ${length} bytes` : 'command line';
  return { what: 'command line', at, bytes, length, purpose, from: '--cmdline' };
}

/** The initial RAM disk as high as it fits: page aligned, in RAM, below `limit`, outside all that is taken. */
export function initrdHigh(
  initrd: Uint8Array,
  map: MemoryMap,
  taken: readonly Range[],
  limit: number,
  where: string,
): PlanWrite {
  checkInitrd(initrd);
  const { length } = initrd;
  // From the top down: each gap above a taken range is tried; what is still to come ends lower than the gap begins.
  const obstacles = taken.toSorted((a, b) => b.at + b.length - (a.at + a.length));
  const highestIn = (addr: number, size: number): number => {
    let end = Math.min(addr + size, limit);
    for (const obstacle of obstacles) {
      if (alignDown(end - length, FRAME_SIZE) >= obstacle.at + obstacle.length) break;
      end = Math.min(end, obstacle.at);
    }
    const at = alignDown(end - length, FRAME_SIZE);
    return at >= addr ? at : -1;
  };
  // Low memory is for tables.
  const ranges = map.filter(({ addr, type }) => type === E820_RAM && addr >= HIGH_RAM);
  const best = Math.max(-1, ...ranges.map(({ addr, size }) => highestIn(addr, size)));
  if (best < 0) {
    const high = taken.reduce((end, range) => Math.max(end, range.at + range.length), HIGH_RAM);
    const needed = alignUp(high, FRAME_SIZE) + alignUp(length, FRAME_SIZE);
    throw new BootError({
      what: `the initrd of ${formatSize(length)} does not fit`,
      where,
      why: `it must lie in RAM below ${hex(limit)}, outside what the kernel needs (up to ${hex(high)})`,
      fix: needed > limit ? 'make the initrd smaller' : roomFor(map, needed),
    });
  }
  return initrdWrite(initrd, gpa(best));
}

export function initrdWrite(initrd: Uint8Array, at: Gpa): PlanWrite {
  const says = initrdSays(initrd);
  const purpose = says === undefined ? 'initial RAM disk' : `initial RAM disk: ${says}`;
  return { what: 'initrd', at, bytes: initrd, length: initrd.length, purpose, from: '--initrd' };
}

/** An empty one is a mistake, not a wish. */
export function checkInitrd(initrd: Uint8Array): void {
  if (initrd.length > 0) return;
  throw new BootError({
    what: 'the initrd is empty',
    where: '--initrd',
    why: 'it has 0 bytes, and a kernel takes size 0 for "none"',
    fix: 'give the right file, or leave --initrd out',
  });
}

export function inOrder(writes: PlanWrite[]): PlanWrite[] {
  assert(
    writes.every(({ at }) => Number.isSafeInteger(at)),
    'addresses are whole numbers',
  );
  return writes.sort((a, b) => a.at - b.at);
}
