/** Multiboot 1: a header in the first 8192 bytes of any file.
 *
 * An ELF file with one is loaded by its program headers. Any other file needs the header's own addresses (the "a.out
 * kludge", flag bit 16) to say what goes where.   Follows: Multiboot specification 0.6.96, 3.1.1-3.1.3.
 * Next: image/xen-entry.ts. */
import { hex } from '../base/numbers.ts';
import {
  MultibootHeader as Layout,
  MULTIBOOT_AOUT_KLUDGE,
  MULTIBOOT_HEADER_MAGIC,
  MULTIBOOT_SEARCH,
} from '../layout/multiboot.ts';
import { damaged } from './damage.ts';
import type { MultibootAoutImage, MultibootHeader } from './kernel-image.ts';

/** The first header whose magic, flags and checksum add up. Fields behind the file's end read as 0. */
export function findMultiboot(bytes: Uint8Array): MultibootHeader | undefined {
  const end = Math.min(bytes.length, MULTIBOOT_SEARCH);
  for (let at = 0; at + 12 <= end; at += 4) {
    // 0x1badb002, looked at byte by byte because nearly every place fails at the first one.
    if (bytes[at] !== 0x02 || bytes[at + 1] !== 0xb0 || bytes[at + 2] !== 0xad || bytes[at + 3] !== 0x1b) continue;
    const copy = new Uint8Array(Layout.size);
    copy.set(bytes.subarray(at, at + Layout.size));
    const header = Layout.read(copy);
    if ((header.magic + header.flags + header.checksum) % 2 ** 32 === 0) return { ...header, offset: at };
  }
  return undefined;
}

export function carriesAddresses(header: MultibootHeader): boolean {
  return header.magic === MULTIBOOT_HEADER_MAGIC && (header.flags & MULTIBOOT_AOUT_KLUDGE) !== 0;
}

/** Takes a header for which `carriesAddresses` holds. */
export function parseMultibootAout(name: string, bytes: Uint8Array, multiboot: MultibootHeader): MultibootAoutImage {
  const { offset, header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr } = multiboot;
  const wrong = (why: string) => damaged(name, `Multiboot header at ${hex(offset)}`, why);
  if (load_addr > header_addr) throw wrong(`load_addr ${hex(load_addr)} lies behind header_addr ${hex(header_addr)}`);
  const start = offset - (header_addr - load_addr);
  if (start < 0) throw wrong(`load_addr ${hex(load_addr)} would lie ${-start} bytes before the file's start`);
  const length = load_end_addr === 0 ? bytes.length - start : load_end_addr - load_addr;
  if (length <= 0) throw wrong(`load_end_addr ${hex(load_end_addr)} does not lie behind load_addr ${hex(load_addr)}`);
  if (start + length > bytes.length) {
    throw wrong(`it loads the file up to ${hex(start + length)}, and the file has ${hex(bytes.length)} bytes`);
  }
  const loadEnd = load_addr + length;
  const bssEnd = bss_end_addr === 0 ? loadEnd : bss_end_addr;
  if (bssEnd < loadEnd)
    throw wrong(`bss_end_addr ${hex(bssEnd)} lies before the end of what is loaded, ${hex(loadEnd)}`);
  if (bssEnd > 2 ** 32) throw wrong(`it ends at ${hex(bssEnd)}, above 4 GiB`);
  if (entry_addr < load_addr || entry_addr >= loadEnd) {
    throw wrong(`entry_addr ${hex(entry_addr)} does not lie in [${hex(load_addr)}, ${hex(loadEnd)})`);
  }
  return {
    format: 'multiboot-aout',
    name,
    bytes,
    warnings: [],
    multiboot,
    entry: entry_addr,
    loadAddress: load_addr,
    loadBytes: bytes.subarray(start, start + length),
    bssEnd,
  };
}
