import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { handoverFields, planJson } from '../../src/boot/describe.ts';
import { planBoot } from '../../src/boot/index.ts';
import { bzImage, elf, linuxNote, multibootBytes, parsed, pvhNote } from './files.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const code = new Uint8Array(64).fill(0x90);
const initrd = new Uint8Array(100).fill(1);
const kernel = elf({
  segments: [{ paddr: 0x100_0000, bytes: code, memsz: 0x2000 }],
  notes: [linuxNote, pvhNote(0x100_0000)],
});
const toy = elf({ bits: 32, entry: 0x10_0000, segments: [{ paddr: 0x10_0000, bytes: multibootBytes(0) }] });

describe('the JSON form of a plan', () => {
  const json = planJson(planBoot(bzImage(), { via: 'linux64', memory: '64M', cmdline: 'quiet', initrd }), sha256);

  it('holds every address, length and register as a hex string without separators', () => {
    const hexString = /^0x[0-9a-f]+$/;
    for (const { at, length, zeroed } of json.writes)
      for (const text of [at, length, zeroed]) expect(text).toMatch(hexString);
    for (const value of Object.values(json.registers)) expect(value).toMatch(hexString);
    for (const segment of Object.values(json.segments))
      for (const value of Object.values(segment)) expect(value).toMatch(hexString);
    expect(json.registers).toMatchObject({
      rip: '0x1000200',
      rsi: '0x10000',
      cr0: '0x80000011',
      dr6: '0xffff0ff0',
      r15: '0x0',
    });
  });

  it('tells a write by place, length and hash, never by its bytes', () => {
    expect(json.writes.map(({ what }) => what)).toEqual([
      'GDT',
      'page tables',
      'boot_params',
      'command line',
      'kernel',
      'initrd',
    ]);
    const disk = json.writes.find(({ what }) => what === 'initrd');
    expect(disk).toEqual({
      what: 'initrd',
      at: '0x3fff000',
      length: '0x64',
      zeroed: '0x0',
      sha256: sha256(initrd),
      purpose: 'initial RAM disk',
      from: '--initrd',
    });
    const line = json.writes.find(({ what }) => what === 'command line');
    expect(line).toMatchObject({
      length: '0x800',
      zeroed: '0x7fa',
      sha256: sha256(new TextEncoder().encode('quiet\0')),
    });
    expect(JSON.stringify(json).length).toBeLessThan(8000);
  });

  it('survives JSON unchanged', () => {
    expect(JSON.parse(JSON.stringify(json))).toEqual(json);
  });

  it('has no handover for flat code', () => {
    expect(planJson(planBoot(parsed(code), { via: 'flat32' }), sha256).handover).toBeUndefined();
  });
});

describe('the fields handed over', () => {
  const rows = (plan: ReturnType<typeof planBoot>) =>
    Object.fromEntries(handoverFields(plan).map(({ name, value }) => [name, value]));

  it('are those of the zero page that a loader filled', () => {
    const fields = rows(planBoot(bzImage(), { via: 'linux32', memory: '64M', initrd }));
    expect(fields).toMatchObject({
      e820_entries: '0x2', 'e820_table[1].addr': '0x100000', 'e820_table[1].size': '0x3f00000',
      'hdr.type_of_loader': '0xff', 'hdr.cmd_line_ptr': '0x20000', 'hdr.ramdisk_image': '0x3fff000', 'hdr.ramdisk_size': '0x64',
      'hdr.init_size': '0x800000',
    }); // biome-ignore format: a table
    expect(Object.values(fields).filter((value) => /^0(x0+)?$/.test(value))).toEqual([]);
    expect(fields).not.toHaveProperty('sentinel');
  });

  it('include the module and the memory map of PVH', () => {
    expect(rows(planBoot(kernel, { via: 'pvh', memory: '64M', initrd }))).toMatchObject({
      magic: '0x336ec578', version: '0x1', nr_modules: '0x1', 'modlist[0].paddr': '0x3fff000', 'modlist[0].size': '0x64',
      memmap_entries: '0x2', 'memmap[0].size': '0xa0000', 'memmap[1].addr': '0x100000', 'memmap[1].type': '0x1',
    }); // biome-ignore format: a table
  });

  it('include modules, memory map and loader name of Multiboot', () => {
    expect(rows(planBoot(toy, { memory: '64M', initrd }))).toMatchObject({
      flags: '0x24d', mem_lower: '0x280', 'mods[0].mod_start': '0x101000', 'mmap[1].len': '0x3f00000', '*boot_loader_name': '"zeropage"',
    }); // biome-ignore format: a table
  });
});
