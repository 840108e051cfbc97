/** MemoryMap: which guest physical ranges are what, in the words of the BIOS call E820.
 *
 * Loaders hand it over (boot_params.e820_table, the PVH memory map, the Multiboot mmap) and lay themselves out by it.
 * The standard map has two RAM entries with the PC's hole between them: Linux refuses a map of fewer than two.
 * Follows: ACPI 6.5, 15.2 (entry types); Linux arch/x86/kernel/e820.c append_e820_table.
 * May not: touch memory.   Next: memory/page-table-builder.ts. */
import { AssertionError, BootError } from '../base/errors.ts';
import { formatSize, hex, MiB } from '../base/numbers.ts';
import { E820_RAM, E820_TYPES } from '../layout/boot-params.ts';
import { FRAME_SIZE } from './address.ts';
import { MAX_RAM } from './guest-memory.ts';
import { HIGH_RAM, LOW_RAM_END } from './map.ts';

export type E820Type = keyof typeof E820_TYPES;

/** Field names as in struct boot_e820_entry; addr and size in bytes. */
export type E820Entry = { addr: number; size: number; type: E820Type };
export type MemoryMap = readonly E820Entry[];

/** Smallest RAM a plan is made for: something must lie above the first MiB. */
export const MIN_RAM = 2 * MiB;

export function e820TypeName(type: number): string {
  return E820_TYPES[type as E820Type] ?? `type ${type}`;
}

/** {0, 640 KiB} and {1 MiB, rest}; what lies between is the PC's hole for video memory and ROMs. */
export function standardMemoryMap(ramSize: number): MemoryMap {
  checkRamSize(ramSize);
  return [
    { addr: 0, size: LOW_RAM_END, type: E820_RAM },
    { addr: HIGH_RAM, size: ramSize - HIGH_RAM, type: E820_RAM },
  ];
}

/** Refuses sizes that no machine of ours has. */
export function checkRamSize(ramSize: number): void {
  const refuse = (why: string, fix: string): never => {
    throw new BootError({
      what: `a machine with ${Number.isSafeInteger(ramSize) ? formatSize(ramSize) : ramSize} of memory cannot be built`,
      where: '--memory',
      why,
      fix,
    });
  };
  if (!Number.isSafeInteger(ramSize)) refuse('the size is not a whole number of bytes', 'write it as in --memory 256M');
  if (ramSize < MIN_RAM) {
    refuse(`at least ${formatSize(MIN_RAM)} are needed, for what is loaded at 1 MiB`, 'use --memory 256M');
  }
  if (ramSize > MAX_RAM) refuse(`RAM and engine share one 4 GiB WebAssembly memory`, 'use at most --memory 3G');
  if (ramSize % FRAME_SIZE !== 0) refuse('RAM comes in frames of 4 KiB', 'use a multiple of 4 KiB, as 256M');
}

/** A map that a loader may hand over: ordered, without overlaps, no empty entry, nothing beyond 2^53. */
export function checkMemoryMap(map: MemoryMap): void {
  let end = 0;
  for (const { addr, size, type } of map) {
    const sound = Number.isSafeInteger(addr) && size > 0 && Number.isSafeInteger(addr + size) && type in E820_TYPES;
    if (!sound) throw new AssertionError(`memory map entry ${addr}, ${size}, type ${type} makes sense`);
    if (addr < end) throw new AssertionError(`memory map entry at ${hex(addr)} comes after ${hex(end)}`);
    end = addr + size;
  }
}

/** The entry that holds an address. */
export function entryAt(map: MemoryMap, at: number): E820Entry | undefined {
  return map.find(({ addr, size }) => at >= addr && at < addr + size);
}

/** True when all of [at, at + length) lies in one RAM entry. */
export function isRam(map: MemoryMap, at: number, length: number): boolean {
  const entry = entryAt(map, at);
  return entry?.type === E820_RAM && length >= 0 && at + length <= entry.addr + entry.size;
}

/** The first byte behind the last RAM. */
export function ramEnd(map: MemoryMap): number {
  return map.reduce((end, { addr, size, type }) => (type === E820_RAM ? Math.max(end, addr + size) : end), 0);
}

/** All RAM in the map, in bytes. */
export function ramBytes(map: MemoryMap): number {
  return map.reduce((sum, { size, type }) => (type === E820_RAM ? sum + size : sum), 0);
}
