/** Where things lie in the machine: every guest physical address that is ours to choose, in one file.
 *
 * Loaders put their tables into the first 640 KiB, which every path has and no kernel is loaded into. No two ranges
 * here overlap, although no path uses all of them: so a dump of low memory reads the same whatever path made it.
 * What a guest does with this memory afterwards is its own affair.
 * Follows: Firecracker's layout.rs for the GDT and the command line, the issue's own numbers for flat code.
 * May not: hold addresses of devices (machine/board.ts).   Next: memory/machine-frames.ts. */
import { type Gpa, gpa } from './address.ts';

type Range = { readonly at: Gpa; readonly size: number; readonly why: string };

const range = (at: number, size: number, why: string): Range => ({ at: gpa(at), size, why });

/** End of the PC's low RAM; 0xa0000-0xfffff is for video memory and ROMs and is in no memory map. */
export const LOW_RAM_END = 0xa_0000;
/** Start of the RAM above the hole. */
export const HIGH_RAM = 0x10_0000;

export const LOW_MEMORY = {
  biosData: range(0x0, 0x500, 'Left zero: kernels read the BIOS data area (0x40e, 0x413) and must find nothing there.'),
  gdt: range(
    0x500,
    0x30,
    'Descriptor table of every bare path: 0x10 code, 0x18 data, 0x20 TSS (16 bytes in long mode).',
  ),
  pageTables: range(
    0x1000,
    0x6000,
    'Identity map of the low 4 GiB for linux64 and flat64: PML4, PDPT, four directories.',
  ),
  startInfo: range(0x7000, 0x1000, 'PVH: hvm_start_info, then the module list, then the memory map.'),
  multibootInfo: range(0x8000, 0x1000, 'Multiboot: the info structure, then modules, memory map and loader name.'),
  zeroPage: range(0x1_0000, 0x1000, 'struct boot_params; startup_32 uses bytes 0x1e4-0x1e7 of it as its first stack.'),
  commandLine: range(
    0x2_0000,
    0x1_0000,
    'Linux reads 2048 bytes here whatever the length; other kernels take up to 64 KiB.',
  ),
  flatStack: range(0x7_0000, 0x1_0000, 'Flat code starts with the stack pointer at the end of this, 0x80000.'),
} as const satisfies Record<string, Range>;

/** Default load address of flat code. */
export const FLAT_LOAD = gpa(HIGH_RAM);
/** First stack pointer of flat code. */
export const FLAT_STACK_TOP = gpa(LOW_MEMORY.flatStack.at + LOW_MEMORY.flatStack.size);

/** Inside the start-info page: behind the 56 bytes of the structure, and far enough apart for 8 modules and 128
 * memory map entries. */
export const START_INFO_MODULES = gpa(LOW_MEMORY.startInfo.at + 0x40);
export const START_INFO_MEMORY_MAP = gpa(LOW_MEMORY.startInfo.at + 0x140);

/** Inside the Multiboot page: behind the 116 bytes of the structure. */
export const MULTIBOOT_MODULES = gpa(LOW_MEMORY.multibootInfo.at + 0x80);
export const MULTIBOOT_MEMORY_MAP = gpa(LOW_MEMORY.multibootInfo.at + 0x100);
export const MULTIBOOT_LOADER_NAME = gpa(LOW_MEMORY.multibootInfo.at + 0xf00);

/** lguest: where the CPU reads the host's descriptor table, and where the host's part of every page directory begins: the
 * top 4 MiB, linear and physical alike. It is above all RAM that a machine can have, so a device answers there. */
export const LGUEST_HOST = {
  at: 0xffc0_0000,
  size: 0x40_0000,
  /** 32 descriptors, as 32-bit Linux has them. */
  gdtBytes: 256,
} as const;
