/** A kernel that runs elsewhere than it was linked: the table moved, and how far it moved.
 *
 * CONFIG_RANDOMIZE_BASE lets the decompressor choose a virtual address, a multiple of 2 MiB above the linked one and within
 * 1 GiB, and apply relocations to the code. Nothing announces the choice, but the code that runs gives it away: its page
 * offset is kept, so there are at most 512 places in the image that an address may have come from, and the bytes there
 * either are the bytes in memory, up to relocations by exactly that distance, or they are not. Whoever watches a guest
 * asks once, when control first reaches the kernel's virtual range, with the bytes at RIP; alternatives and static calls
 * are patched much later. Without an answer (padding, code that stands twice) it asks again a little later.
 * Follows: Linux arch/x86/boot/compressed/kaslr.c and misc.c, handle_relocations().
 * May not: read a guest; it is given bytes.   Next: symbols/kernel-place.ts. */
import type { ElfImage } from '../image/kernel-image.ts';
import { PT_LOAD } from '../layout/elf.ts';
import type { SymbolSource } from './symbol-list.ts';

/** KERNEL_IMAGE_SIZE: where the kernel's mapping ends, counted from its start. */
export const KERNEL_IMAGE_SIZE = 1n << 30n;
/** CONFIG_PHYSICAL_ALIGN of x86-64, which a bzImage also gives as kernel_alignment. */
export const KERNEL_ALIGN = 2n << 20n;
const EXECUTABLE = 1;
/** Fewer bytes would fit in too many places. */
const LEAST_BYTES = 16;

/** The table as the kernel sees it when it runs `delta` bytes above the place it is linked for. */
export function withOffset(table: SymbolSource, delta: bigint): SymbolSource {
  if (delta === 0n) return table;
  const { perCpuCount } = table;
  const moved = (address: bigint) => BigInt.asUintN(64, address + delta);
  // Per-CPU rows come first and keep their addresses; a name is theirs when its address is.
  const lastPerCpu = perCpuCount > 0 ? table.addressAt(perCpuCount - 1) : -1n;
  return {
    count: table.count,
    perCpuCount,
    addressAt: (index) => (index < perCpuCount ? table.addressAt(index) : moved(table.addressAt(index))),
    nameAt: (index) => table.nameAt(index),
    isFunctionAt: (index) => table.isFunctionAt(index),
    bindingAt: (index) => table.bindingAt(index),
    sizeAt: (index) => table.sizeAt?.(index) ?? 0n,
    lookup: (address) => table.lookup(BigInt.asUintN(64, address - delta)),
    address(name) {
      const address = table.address(name);
      return address === undefined || address <= lastPerCpu ? address : moved(address);
    },
  };
}

/** How far the `running` code was moved that is linked as `linked`: both begin at the same place of the kernel, and hold
 * enough of it to have relocated numbers in them. Undefined when it is no such code, or when two distances fit. */
export function relocatedBy(linked: Uint8Array, running: Uint8Array, align = KERNEL_ALIGN): bigint | undefined {
  if (running.length < Math.max(linked.length, LEAST_BYTES)) return undefined;
  if (linked.every((byte, i) => byte === running[i])) return 0n;
  let found: bigint | undefined;
  for (let delta = align; delta < KERNEL_IMAGE_SIZE; delta += align) {
    if (!isSameCode(linked, running, delta)) continue;
    if (found !== undefined) return undefined;
    found = delta;
  }
  return found;
}

/** How far above its linked place the kernel runs whose `code` was found at the virtual `address`; 0n when it was not
 * moved. Undefined when the bytes fit nowhere, or in more than one place. */
export function kaslrOffset(
  image: ElfImage,
  address: bigint,
  code: Uint8Array,
  align = KERNEL_ALIGN,
): bigint | undefined {
  if (code.length < LEAST_BYTES || align <= 0n) return undefined;
  let found: bigint | undefined;
  for (const { type, flags, vaddr, filesz, bytes } of image.segments) {
    if (type !== PT_LOAD || (flags & EXECUTABLE) === 0) continue;
    for (let delta = 0n; delta < KERNEL_IMAGE_SIZE; delta += align) {
      const at = address - delta - vaddr;
      if (at < 0n) break;
      if (at + BigInt(code.length) > BigInt(filesz)) continue;
      const linked = bytes.subarray(Number(at), Number(at) + code.length);
      if (!isSameCode(linked, code, delta)) continue;
      if (found !== undefined) return undefined;
      found = delta;
    }
  }
  return found;
}

/** Equal but for relocated numbers. 32 bits are enough: what changes in a 64-bit one are its low 32. A relocation adds
 * the distance, or takes it off where code refers to per-CPU data, which stays, by the distance from itself. */
export function isSameCode(linked: Uint8Array, running: Uint8Array, distance: bigint): boolean {
  const delta = Number(distance);
  const word = (bytes: Uint8Array, at: number) =>
    (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  const isRelocated = (at: number) => {
    const apart = (word(running, at) - word(linked, at)) >>> 0;
    return apart === delta >>> 0 || apart === -delta >>> 0;
  };
  let at = 0;
  while (at < linked.length) {
    if (linked[at] === running[at]) {
      at++;
      continue;
    }
    // The distance is a multiple of 2 MiB, so a relocated number keeps its lowest bytes: it starts before the difference.
    let start = at;
    while (start >= 0 && at - start < 4 && !(start + 4 <= linked.length && isRelocated(start))) start--;
    // Only a number whose last byte lies behind the end cannot be seen whole.
    if (start < 0 || at - start === 4) return at === linked.length - 1 && delta !== 0;
    at = start + 4;
  }
  return true;
}
