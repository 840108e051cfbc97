/** What QEMU 7.2 hands over, recorded with gdb at the kernel's first instruction. Facts to compare our plans with.
 *
 * qemu-system-x86_64 -M pc -m 256M -kernel vmlinuz-6.1.0-56-amd64 -initrd (5632 bytes) -append "console=ttyS0 panic=-1"
 * stopped at 0x100000 (the kernel's own real-mode setup code ran first): 4096 bytes at ESI, as [offset, hex]. */
const ZERO_PAGE: readonly (readonly [number, string])[] = [
  [0x000, '000900fc000003500000030000001901'],
  [0x010, '10000000000000000000000000000000'],
  [0x060, '80860000000000000000000043495347'],
  // 0x140-0x1bf, edid_info, left out: QEMU's display, which we do not have.
  [0x1e0, '80fb0300000000000700000000000000'],
  [0x1f0, '0027010020d807000000ffff000055aa'],
  [0x200, 'eb6a486472530f02000000000010c042'],
  [0x210, 'b08100800000100000e0fd0f00160000'],
  [0x220, '0000000000fe000000000200ffffff7f'],
  [0x230, '0000200001157f00ff07000000000000'],
  [0x240, '0000000000000000cc02000070f07b00'],
  [0x250, '00000000000000000000000100000000'],
  [0x260, '0080f903b08d7c009c577d0000000000'],
  [0x2d0, '000000000000000000fc090000000000'],
  [0x2e0, '0100000000fc09000000000000040000'],
  [0x2f0, '000000000200000000000f0000000000'],
  [0x300, '00000100000000000200000000001000'],
  [0x310, '000000000000ee0f0000000001000000'],
  [0x320, '0000fe0f000000000000020000000000'],
  [0x330, '020000000000fcff0000000000000400'],
  [0x340, '000000000200000000000000fd000000'],
  [0x350, '00000000030000000200000000000000'],
]; // biome-ignore format: a dump

export function qemuZeroPage(): Uint8Array {
  const page = new Uint8Array(4096);
  for (const [at, digits] of ZERO_PAGE) page.set(Buffer.from(digits, 'hex'), at);
  return page;
}

/** The same run's registers. */
export const QEMU_LINUX32 = {
  cs: 0x10,
  ds: 0x18,
  cr0: 0x11n,
  cr4: 0n,
  efer: 0n,
  rsi: 0x14790n,
  rbx: 0n,
  rbp: 0n,
  rdi: 0n,
};

/** The setup header of that kernel's file, 0x1f1-0x26b. */
export const DEBIAN_HEADER: Uint8Array = Buffer.from(
    '27010020d807000000ffff000055aaeb6a486472530f02000000000010c04200' +
    '01008000001000000000000000000000000000e05b000000000000ffffff7f00' +
    '00200001157f00ff070000000000000000000000000000cc02000070f07b0000' +
    '0000000000000000000001000000000080f903b08d7c009c577d00',
  'hex',
); // biome-ignore format: a dump

/** qemu-system-x86_64 ... -kernel vmlinux (the same kernel, unpacked): 32-bit words at EBX and what they point to. */
export const QEMU_PVH = {
  cr0: 0x11n,
  magic: 0x336e_c578,
  version: 1,
  flags: 0,
  nr_modules: 1,
  initrd: { paddr: 0x0ffd_6000, size: 0x1600 },
  rsdp_paddr: 0xf_59d0, // ACPI, which we do not have
  memmap_entries: 7,
};

/** qemu-system-x86_64 ... -kernel (a Multiboot ELF, loaded at 0x1ff000-0x202fff) -initrd (5632 bytes). */
export const QEMU_MULTIBOOT = {
  cr0: 0x11n,
  flags: 0x24f, // MEMORY BOOTDEV CMDLINE MODS MEM_MAP BOOT_LOADER_NAME
  mem_lower: 639, // its BIOS keeps the last KiB
  mem_upper: 0x3_fb80, // and its ACPI tables take 128 KiB below the end
  mods_count: 1,
  module: { mod_start: 0x20_4000, mod_end: 0x20_5600 },
  mmap_length: 7 * 24,
  mmap_entry_size: 20,
};
