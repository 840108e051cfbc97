import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as bootParams from '../../src/layout/boot-params.ts';
import * as elf from '../../src/layout/elf.ts';
import * as hvm from '../../src/layout/hvm-start-info.ts';
import { HcallArgs, LguestData } from '../../src/layout/lguest-data.ts';
import * as multiboot from '../../src/layout/multiboot.ts';
import { PROTOCOLS, SetupHeader } from '../../src/layout/setup-header.ts';
import type { Fields, Struct } from '../../src/layout/struct.ts';
import { XEN_ELFNOTE, XEN_NOTES } from '../../src/layout/xen-notes.ts';

const { BootParams, E820Entry, EfiInfo, SetupData } = bootParams;

// Struct, size, and offsets as the specifications print them.
const cases: [Struct<Fields>, number, Record<string, number>][] = [
  [SetupHeader as never, 0x7b, {
    setup_sects: 0x1f1, boot_flag: 0x1fe, header: 0x202, version: 0x206, type_of_loader: 0x210, loadflags: 0x211,
    ramdisk_image: 0x218, cmd_line_ptr: 0x228, initrd_addr_max: 0x22c, xloadflags: 0x236, hardware_subarch: 0x23c,
    hardware_subarch_data: 0x240, payload_offset: 0x248, setup_data: 0x250, pref_address: 0x258, init_size: 0x260,
    kernel_info_offset: 0x268 }],
  [BootParams as never, 4096, {
    acpi_rsdp_addr: 0x70, ext_ramdisk_image: 0xc0, alt_mem_k: 0x1e0, scratch: 0x1e4, e820_entries: 0x1e8, sentinel: 0x1ef,
    hdr: 0x1f1, edd_mbr_sig_buffer: 0x290, e820_table: 0x2d0, eddbuf: 0xd00 }],
  [E820Entry as never, 20, { addr: 0, size: 8, type: 16 }],
  [SetupData as never, 16, { next: 0, type: 8, len: 12 }],
  [hvm.HvmStartInfo as never, 0x38, { magic: 0, version: 4, flags: 8, nr_modules: 0xc, modlist_paddr: 0x10, cmdline_paddr: 0x18, rsdp_paddr: 0x20, memmap_paddr: 0x28, memmap_entries: 0x30 }],
  [hvm.HvmModlistEntry as never, 0x20, { paddr: 0, size: 8, cmdline_paddr: 16 }],
  [hvm.HvmMemmapTableEntry as never, 0x18, { addr: 0, size: 8, type: 16 }],
  [multiboot.MultibootHeader as never, 48, { magic: 0, flags: 4, checksum: 8, header_addr: 12, entry_addr: 28, depth: 44 }],
  [multiboot.MultibootInfo as never, 116, { mem_lower: 4, cmdline: 16, mods_count: 20, mods_addr: 24, mmap_length: 44, mmap_addr: 48, boot_loader_name: 64, vbe_mode: 80, framebuffer_addr: 88 }],
  [multiboot.MultibootModule as never, 16, { mod_start: 0, mod_end: 4, cmdline: 8 }],
  [multiboot.MultibootMmapEntry as never, 24, { size: 0, addr: 4, len: 12, type: 20 }],
  // The late layout with the 32-bit timespec; computed with a 32-bit compiler from Linux 4.1's header.
  [LguestData as never, 0x56c, { irq_enabled: 0, blocked_interrupts: 4, cr2: 8, time: 0xc, irq_pending: 0x14, hcall_status: 0x18,
    hcalls: 0x58, reserve_mem: 0x558, tsc_khz: 0x55c, noirq_iret: 0x560, kernel_address: 0x564, syscall_vec: 0x568 }],
  [HcallArgs as never, 20, { arg0: 0, arg4: 16 }],
]; // biome-ignore format: a table

describe('the tables', () => {
  for (const [table, size, offsets] of cases) {
    it(`${table.cName} has the documented size and offsets`, () => {
      expect(table.size).toBe(size);
      const found = Object.fromEntries(Object.keys(offsets).map((name) => [name, table.offsetOf(name)]));
      expect(found).toEqual(offsets);
    });
  }

  const header = '/usr/include/x86_64-linux-gnu/asm/bootparam.h';
  const compiler = spawnSync('gcc', ['--version']).status === 0 && existsSync(header);
  it.skipIf(!compiler)(
    `agree with the C headers of this machine${compiler ? '' : ' (skipped: gcc or linux-libc-dev is absent)'}`,
    () => {
      const tables = [
      SetupHeader, BootParams, E820Entry, EfiInfo, SetupData, elf.Elf64Ehdr, elf.Elf32Ehdr, elf.Elf64Phdr, elf.Elf32Phdr,
      elf.Elf64Shdr, elf.Elf32Shdr, elf.Elf64Sym, elf.Elf32Sym, elf.ElfNhdr,
    ]; // biome-ignore format: a list
      const asserts = tables.map((table) => table.staticAsserts()).join('\n');
      const source = `#include <stdint.h>\n#include <asm/bootparam.h>\n#include <elf.h>\n${asserts}`;
      const gcc = spawnSync('gcc', ['-fsyntax-only', '-x', 'c', '-'], { input: source, encoding: 'utf8' });
      expect(gcc.stderr).toBe('');
      expect(gcc.status).toBe(0);
      const broken = spawnSync('gcc', ['-fsyntax-only', '-x', 'c', '-'], {
        input: source.replace('== 0x1e8', '== 0x1e9'),
        encoding: 'utf8',
      });
      expect(broken.stderr).toContain('boot_params.e820_entries');
    },
  );

  it('every field since 2.00 has a version that is in the list of protocols', () => {
    const known = new Set(PROTOCOLS.map(({ version }) => version));
    for (const [name, { offset, meaning }] of Object.entries(SetupHeader.fields)) {
      if (offset < 0x200) expect(meaning.since, name).toBeUndefined();
      else expect(known.has(meaning.since ?? 0), name).toBe(true);
    }
  });

  it('Xen note numbers and names agree between both tables', () => {
    expect(XEN_NOTES.map(({ type }) => type)).toEqual([...XEN_NOTES.keys()]);
    for (const [name, type] of Object.entries(XEN_ELFNOTE)) expect(XEN_NOTES[type].name).toBe(`XEN_ELFNOTE_${name}`);
  });
});
