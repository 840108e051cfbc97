import { createHash } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { symbolsFromFile } from '../../src/cli/symbols.ts';
import { type BzImage, type ElfImage, xenNote } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { Machine, planBoot } from '../../src/index.ts';
import { functionStarts } from '../../src/symbols/functions.ts';
import { readKallsyms } from '../../src/symbols/kallsyms.ts';
import type { Kallsyms } from '../../src/symbols/kallsyms-table.ts';
import { kaslrOffset, withOffset } from '../../src/symbols/kaslr.ts';
import { describeReal, readReal, realVersion } from './files.ts';

// Of the debug package's System.map, which the kernel's build wrote and which the kernel does not carry:
//   awk '$2 != "A" && $3 !~ /^kallsyms_(offsets|relative_base|num_syms|names|markers|token_table|token_index|seqs_of_names)$/
//     { print $1, (substr($1, 1, 8) == "ffffffff" ? $2 : "A"), $3 }' System.map | LC_ALL=C sort | sha256sum
// without the kallsyms_ part for 6.12, which keeps those names. Absolute symbols are in no kallsyms, and a per-CPU one has A there.
const systemMaps: Record<string, { symbols: number; sha256: string }> = {
  'linux-image-6.1.0-56-amd64 6.1.192-2': { symbols: 94_266, sha256: '4210582c9982824c299a65d2edac917230cd81b249fa6a30463cbb509598f6fb' },
  'linux-image-6.1.0-56-cloud-amd64 6.1.192-2': { symbols: 87_347, sha256: 'f5b968a18e304b6bf4445eb4846221e09a570fcc72eb16439a58c297481e6569' },
  'linux-image-6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1': { symbols: 154_686, sha256: '5a88f4de5e193e8b1f05d0ed27e27e9c9e53e52422af134cfd54bd66c16371df' },
}; // biome-ignore format: a table

const kernels = [
  { file: 'vmlinuz-amd64', layout: 'up to 6.3' },
  { file: 'vmlinuz-cloud-amd64', layout: 'up to 6.3' },
  { file: 'vmlinuz-6.12-cloud-amd64', layout: 'from 6.4' },
];

for (const { file, layout } of kernels) {
  describeReal(file, () => {
    let elf: ElfImage;
    let table: Kallsyms;
    let milliseconds: number;
    beforeAll(() => {
      elf = unpackKernel(parseKernel(file, readReal(file)) as BzImage, nodeUnpackers);
      const start = performance.now();
      table = readKallsyms(elf) as Kallsyms;
      table.lookup(elf.segments[0].vaddr);
      milliseconds = performance.now() - start;
    });
    const address = (name: string) => table.address(name) as bigint;
    /** The image's bytes at a virtual address. */
    const at = (virtual: bigint, length: number): Uint8Array => {
      const segment = elf.segments.find(({ type, vaddr, filesz }) => type === 1 && virtual >= vaddr && virtual < vaddr + BigInt(filesz));
      if (!segment) throw new Error(`${file} has nothing at 0x${virtual.toString(16)}`);
      const offset = Number(virtual - segment.vaddr);
      return segment.bytes.subarray(offset, offset + length);
    }; // biome-ignore format: short
    const text = (virtual: bigint, length = 200) =>
      new TextDecoder('latin1').decode(at(virtual, length)).split('\0')[0];
    const u64 = (virtual: bigint) => Buffer.from(at(virtual, 8)).readBigUInt64LE();
    const section = (name: string) => elf.sections.find((each) => each.name === name);

    it('has its symbols in kallsyms, which takes little time to find', () => {
      expect(elf.sections.some(({ name }) => name === '.symtab')).toBe(false);
      expect(table.layout).toBe(layout);
      expect(table.count).toBeGreaterThan(80_000);
      expect(milliseconds).toBeLessThan(1500); // measured alone: 30 to 80
    });

    it('says the same as its own notes, segments, sections and strings', () => {
      expect(address('startup_xen')).toBe(xenNote(elf, 1)?.value);
      expect(address('hypercall_page')).toBe(xenNote(elf, 2)?.value);
      const pvh = address('pvh_start_xen');
      const segment = elf.segments.find(({ vaddr, memsz }) => pvh >= vaddr && pvh < vaddr + BigInt(memsz)) as ElfImage['segments'][0];
      expect(pvh - segment.vaddr + segment.paddr).toBe(xenNote(elf, 18)?.value);
      expect(address('_text')).toBe(elf.segments[0].vaddr);
      expect(BigInt(section('.text')?.size ?? 0)).toBe(address('_etext') - address('_text'));
      expect(address('_sinittext')).toBe(section('.init.text')?.addr);
      expect(address('__start_BTF')).toBe(section('.BTF')?.addr);
      expect(address('__stop_BTF') - address('__start_BTF')).toBe(BigInt(section('.BTF')?.size ?? 0));
      expect(text(address('linux_banner'))).toMatch(/^Linux version \d+\.\d+\.\d+.*\(debian-kernel/);
      expect(text(address('linux_proc_banner'))).toMatch(/^%s version %s \(debian-kernel@lists.debian.org\) .* %s\n$/);
      // The first instruction of the 64-bit kernel is its own, and calls of the table are where the table says.
      expect(table.lookup(elf.segments[0].vaddr)?.name).toMatch(/^startup_64$|^__pi_startup_64$|^_text$/);
      const calls = ['__x64_sys_read', '__x64_sys_write', '__x64_sys_open', '__x64_sys_close'];
      expect(calls.map((_, i) => table.lookup(u64(address('sys_call_table') + BigInt(8 * i)))?.name)).toEqual(calls);
    }); // biome-ignore format: long expectations

    it('agrees with every name that the kernel exports to modules', () => {
      let exported = 0;
      for (const name of ['__ksymtab', '__ksymtab_gpl']) {
        const { addr, size, offset } = section(name) as ElfImage['sections'][0];
        const view = new DataView(elf.bytes.buffer, elf.bytes.byteOffset + offset, size);
        for (let i = 0; i < size; i += 12, exported++) {
          const value = BigInt.asUintN(64, addr + BigInt(i) + BigInt(view.getInt32(i, true)));
          const symbol = text(addr + BigInt(i + 4) + BigInt(view.getInt32(i + 4, true)));
          const twins = table.address(symbol) === value ? true : namesAt(value).includes(symbol);
          expect(twins, `${symbol} at ${value.toString(16)}`).toBe(true);
        }
      }
      expect(exported).toBeGreaterThan(8000);
    });

    const namesAt = (value: bigint) =>
      Array.from({ length: table.count }, (_, i) => i).filter((i) => table.addressAt(i) === value).map((i) => table.nameAt(i)); // biome-ignore format: short

    it('is System.map to the letter', ({ skip }) => {
      const expected = systemMaps[realVersion(file)];
      if (!expected) skip(`no System.map of ${realVersion(file)} was at hand`);
      const lines = Array.from({ length: table.count }, (_, i) =>
        `${table.addressAt(i).toString(16).padStart(16, '0')} ${table.typeAt(i)} ${table.nameAt(i)}\n`).sort(); // biome-ignore format: short
      expect(lines.length).toBe(expected.symbols);
      expect(createHash('sha256').update(lines.join(''), 'latin1').digest('hex')).toBe(expected.sha256);
    });

    it('serves as --symbols FILE, packed as it is', () => {
      expect(symbolsFromFile(file, readReal(file)).address('start_kernel')).toBe(address('start_kernel'));
    });

    it('has functions with one name each, which lookup gives too', () => {
      const { count, addresses, nameAt } = functionStarts(table);
      expect(count).toBeGreaterThan(40_000);
      for (let i = 0; i < count; i += 97) {
        expect(i === 0 || addresses[i] > addresses[i - 1]).toBe(true);
        expect(table.lookup(addresses[i])).toEqual({ name: nameAt(i), offset: 0n });
      }
    });

    it('betrays by its code where it was moved to', () => {
      const { count, addresses } = functionStarts(table);
      for (const delta of [0, 0x20_0000, 0x1360_0000, 0x3b00_0000]) {
        const segments = relocated(elf, delta);
        let unknown = 0;
        let asked = 0;
        for (let i = 5; i < count; i += 997, asked++) {
          const segment = segments.find(({ vaddr, bytes }) => addresses[i] >= vaddr && addresses[i] < vaddr + BigInt(bytes.length));
          if (!segment) throw new Error('a function lies in a segment');
          const offset = Number(addresses[i] - segment.vaddr);
          const found = kaslrOffset(elf, addresses[i] + BigInt(delta), segment.bytes.subarray(offset, offset + 64));
          if (found === undefined) unknown++;
          else expect(found, addresses[i].toString(16)).toBe(BigInt(delta));
        }
        expect(unknown, `of ${asked}`).toBeLessThan(asked / 20);
      }
    }); // biome-ignore format: long lines
  });
}

describeReal('vmlinuz-cloud-amd64', () => {
  it('stops where --until says, by a name that only its kallsyms have', async () => {
    const image = parseKernel('vmlinuz-cloud-amd64', readReal('vmlinuz-cloud-amd64'));
    const machine = await Machine.create(planBoot(image, { via: 'pvh' }));
    const exit = await machine.run({ until: 'start_kernel', maxInstructions: 20_000_000 });
    expect(exit).toMatchObject({ kind: 'until', detail: 'reached start_kernel' });
    expect(machine.symbolise(machine.vcpu.state().rip)).toBe('start_kernel');
  });

  it('is found where its decompressor put it', async () => {
    const image = parseKernel('vmlinuz-cloud-amd64', readReal('vmlinuz-cloud-amd64')) as BzImage;
    const elf = unpackKernel(image, nodeUnpackers);
    const table = readKallsyms(elf) as Kallsyms;
    const machine = await Machine.create(planBoot(image, { via: 'linux64', memory: 1 << 30 }), { symbols: undefined });
    let delta: bigint | undefined;
    for (let step = 0; delta === undefined && step < 600; step++) {
      machine.runSync({ maxInstructions: 500_000 });
      const { rip } = machine.vcpu.state();
      const code = rip >= 1n << 63n ? machine.peek(rip, 64) : undefined;
      if (code) delta = kaslrOffset(elf, rip, code);
    }
    expect(delta !== undefined && delta % 0x20_0000n).toBe(0n);
    expect(delta).not.toBe(0n); // it draws from the time stamp counter, which counts instructions: always the same
    // The table, moved so far, is right about a string.
    const banner = withOffset(table, delta ?? 0n).address('linux_banner') as bigint;
    expect(Buffer.from(machine.peek(banner, 14) ?? []).toString()).toBe('Linux version ');
  }); // biome-ignore format: short
});

/** The kernel as its decompressor leaves it: three lists of places behind the ELF, each ended by a 0 in front of it; from
 * the end on 32-bit numbers, 32-bit numbers that shrink, 64-bit numbers (arch/x86/boot/compressed/misc.c). */
function relocated(elf: ElfImage, delta: number): { vaddr: bigint; bytes: Uint8Array }[] {
  const loaded = elf.segments.filter(({ type, flags }) => type === 1 && flags & 1).map(({ vaddr, bytes }) => ({ vaddr, bytes: bytes.slice() }));
  const list = new DataView(elf.bytes.buffer, elf.bytes.byteOffset, elf.bytes.length);
  let at = elf.bytes.length - 4;
  for (const [size, distance] of [[4, delta], [4, -delta], [8, delta]] as const) {
    for (; list.getUint32(at, true) !== 0; at -= 4) {
      const place = BigInt.asUintN(64, BigInt(list.getInt32(at, true)));
      const segment = loaded.find(({ vaddr, bytes }) => place >= vaddr && place < vaddr + BigInt(bytes.length));
      if (!segment) continue;
      const view = new DataView(segment.bytes.buffer);
      const offset = Number(place - segment.vaddr);
      if (size === 4) view.setUint32(offset, (view.getUint32(offset, true) + distance) >>> 0, true);
      else view.setBigUint64(offset, BigInt.asUintN(64, view.getBigUint64(offset, true) + BigInt(distance)), true);
    }
    at -= 4;
  }
  return loaded;
} // biome-ignore format: long lines
