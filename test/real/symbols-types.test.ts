import { createHash } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import type { BzImage, ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { BootParams, E820Entry, EfiInfo, ScreenInfo } from '../../src/layout/boot-params.ts';
import { HvmStartInfo } from '../../src/layout/hvm-start-info.ts';
import { SetupHeader } from '../../src/layout/setup-header.ts';
import type { Fields } from '../../src/layout/struct.ts';
import { type Btf, readBtf } from '../../src/symbols/btf.ts';
import { type DecodedField, decode } from '../../src/symbols/decode.ts';
import { flatten, sizeOfNamed } from '../../src/symbols/flatten.ts';
import { readKallsyms } from '../../src/symbols/kallsyms.ts';
import type { Kallsyms } from '../../src/symbols/kallsyms-table.ts';
import { kernelVariable, VARIABLE_TYPES } from '../../src/symbols/variables.ts';
import { rawDump } from '../symbols/btf-raw.ts';
import { describeReal, readReal, realVersion } from './files.ts';

// Of what `bpftool btf dump file vmlinux format raw` (7.1.0+6.1.192-2) says about the unpacked kernel.
const bpftool: Record<string, { types: number; sha256: string }> = {
  'linux-image-6.1.0-56-amd64 6.1.192-2': { types: 100_750, sha256: 'b7dc995d986c2648a6c271988bc3eb7e5aaaa45b28d23aecc6b817f8426bd36f' },
  'linux-image-6.1.0-56-cloud-amd64 6.1.192-2': { types: 95_246, sha256: 'a92c0efa6a3914f09e03483dc22abd537bc4a1965cb8fa7a4b07ae2182b38b37' },
  'linux-image-6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1': { types: 107_331, sha256: 'a0d6ae30c4a6758212e68569dd8e700e685369d3148821ade1dc801d5c887e9c' },
}; // biome-ignore format: a table

for (const file of ['vmlinuz-amd64', 'vmlinuz-cloud-amd64', 'vmlinuz-6.12-cloud-amd64']) {
  describeReal(file, () => {
    let elf: ElfImage;
    let btf: Btf;
    let table: Kallsyms;
    beforeAll(() => {
      elf = unpackKernel(parseKernel(file, readReal(file)) as BzImage, nodeUnpackers);
      btf = readBtf(elf) as Btf;
      table = readKallsyms(elf) as Kallsyms;
    });
    /** A variable as the file has it, before anything ran. */
    const initially = (name: string): Map<string, DecodedField> => {
      const variable = kernelVariable(table, btf, name);
      if (!variable) throw new Error(`${file} has no ${name}`);
      // The per-CPU area is a segment at 0.
      const segment = elf.segments.find(({ type, vaddr, memsz }) => type === 1 && variable.address >= vaddr && variable.address < vaddr + BigInt(memsz));
      const bytes = new Uint8Array(variable.size);
      const offset = Number(variable.address - (segment?.vaddr ?? 0n));
      if (segment) bytes.set(segment.bytes.subarray(offset, offset + variable.size));
      const symbolise = (address: bigint) => table.lookup(address)?.name;
      return new Map(decode(btf, bytes, variable.type, { symbolise }).map((row) => [row.path, row]));
    }; // biome-ignore format: short

    it('has the types that bpftool reads in it, to the letter', ({ skip }) => {
      const expected = bpftool[realVersion(file)];
      if (!expected) skip(`bpftool was not asked about ${realVersion(file)}`);
      expect(btf.count - 1).toBe(expected.types);
      expect(createHash('sha256').update(rawDump(btf), 'latin1').digest('hex')).toBe(expected.sha256);
    });

    /** Our tables; the offsets of those within boot_params count from its start. */
    const ours: [string, string, number, Fields][] = [
      ['boot_params', '', 0, BootParams.fields],
      ['boot_params', 'hdr.', 0, SetupHeader.fields],
      ['boot_params', 'screen_info.', 0, ScreenInfo.fields],
      ['boot_params', 'efi_info.', BootParams.offsetOf('efi_info'), EfiInfo.fields],
      ['boot_params', 'e820_table[1].', BootParams.offsetOf('e820_table') + E820Entry.size, E820Entry.fields],
      ['hvm_start_info', '', 0, HvmStartInfo.fields],
    ];
    it.each(ours)('has %s.%s as our own table has it', (struct, prefix, base, fields) => {
      const rows = flatten(btf, `struct ${struct}`);
      for (const [field, { offset, size }] of Object.entries(fields)) {
        const path = prefix + field;
        const isWithin = (each: string) => each.startsWith(`${path}.`) || each.startsWith(`${path}[0]`);
        const row = rows.find((each) => each.path === path) ?? rows.find((each) => isWithin(each.path));
        expect(row?.offset, path).toBe(base + offset);
        if (row?.path === path) expect(row.size, path).toBe(size);
      }
      expect(Object.keys(fields).length).toBeGreaterThan(2);
    });

    it('has the sizes of both structs as our own tables have them', () => {
      expect(sizeOfNamed(btf, 'struct boot_params')).toBe(BootParams.size);
      expect(sizeOfNamed(btf, 'struct hvm_start_info')).toBe(HvmStartInfo.size);
    });

    it('starts with native functions in pv_ops', () => {
      const rows = initially('pv_ops');
      expect(rows.get('cpu.write_cr4')?.text).toMatch(/<native_write_cr4>$/);
      expect(rows.get('cpu.load_gdt')?.text).toMatch(/<native_load_gdt>$/);
      expect(rows.get('mmu.set_pte')?.text).toMatch(/<native_set_pte>$/);
      expect(rows.get('irq.irq_disable.func')?.text).toMatch(/<pv_native_irq_disable>$/);
      for (const { kind, path, text } of rows.values())
        if (kind === 'pointer') expect(text, path).toMatch(/<\w+>$|^NULL$/);
    });

    it('starts with a shadow of CR4 that cannot be one, and init_mm loaded', () => {
      const rows = initially('cpu_tlbstate');
      expect(rows.get('cr4')?.value).toBe(2n ** 64n - 1n);
      expect(rows.get('loaded_mm')?.text).toMatch(/<init_mm>$/);
      expect(kernelVariable(table, btf, 'cpu_tlbstate')).toMatchObject({
        perCpu: true,
        size: btf.variable('cpu_tlbstate')?.size,
      });
    });

    it('has its first task', () => {
      const rows = initially('init_task');
      expect(rows.get('comm')?.text).toBe('"swapper"');
      expect(rows.get('real_parent')?.text).toMatch(/<init_task>$/);
      expect(rows.get('stack')?.text).toMatch(/<init_stack>$|<init_thread_union>$/);
    });

    it('has per-CPU variables where kallsyms has them', () => {
      let compared = 0;
      for (let i = 0; i < table.perCpuCount; i++) {
        const name = table.nameAt(i);
        const described = btf.variable(name);
        if (!described) continue;
        compared++;
        const rows = Array.from({ length: table.perCpuCount }, (_, k) => k).filter((k) => table.nameAt(k) === name);
        expect(rows.map((k) => Number(table.addressAt(k))), name).toContain(described.offset);
      }
      expect(compared).toBeGreaterThan(250);
    }); // biome-ignore format: short

    it('has every variable that we name with its type', () => {
      const missing = Object.keys(VARIABLE_TYPES).filter((name) => !kernelVariable(table, btf, name));
      expect(missing).toEqual([]);
    });
  });
}
