/** compare on a stock kernel: silent on the kernel as it is, and history's bugs found when its code is patched to have them.
 *
 * The unpacked ELF file is entered at once, so that a path takes a few million instructions. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runPaths } from '../../src/cli/compare-run.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { kernelSymbols } from '../../src/cli/symbols.ts';
import { compareRecords } from '../../src/compare/compare.ts';
import type { ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { describeReal, readReal } from './files.ts';

const FILE = 'vmlinuz-cloud-amd64';

describeReal(FILE, () => {
  const folder = mkdtempSync(join(tmpdir(), 'zeropage-compare-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let elf: ElfImage;
  let address: (name: string) => bigint;
  beforeAll(() => {
    const image = parseKernel(FILE, readReal(FILE));
    if (image.format !== 'bzimage') throw new Error(`${FILE} is no bzImage`);
    elf = unpackKernel(image, nodeUnpackers);
    const table = kernelSymbols({ image: elf });
    address = (name) => table?.address(name) as bigint;
  });

  const fileOffset = (at: bigint) => {
    const segment = elf.segments.find(
      ({ type, vaddr, filesz }) => type === 1 && at >= vaddr && at < vaddr + BigInt(filesz),
    );
    return (segment?.offset ?? 0) + Number(at - (segment?.vaddr ?? 0n));
  };
  /** Where the bytes stand in a function, once. */
  function find(name: string, length: number, ...bytes: (number | undefined)[]): number {
    const start = fileOffset(address(name));
    const code = elf.bytes.subarray(start, start + length);
    const places = [...code.keys()].filter((at) =>
      bytes.every((byte, i) => byte === undefined || code[at + i] === byte),
    );
    expect(places, `${name} holds it once`).toHaveLength(1);
    return start + places[0];
  }
  async function findings(name: string, patch: (bytes: Uint8Array) => void) {
    const bytes = elf.bytes.slice();
    patch(bytes);
    const file = join(folder, name);
    writeFileSync(file, bytes);
    const { records, known } = await runPaths(file, {
      via: ['linux64', 'pvh'],
      cmdline: 'quiet',
      until: 'start_kernel',
    });
    return { records, findings: compareRecords(records, { known }).findings };
  }

  it('finds nothing in the kernel as it is, whose structs it knows by field', async () => {
    const { records, findings: found } = await findings('as-it-is', () => {});
    expect(found).toEqual([]);
    const { objects } = records[1].waypoints.find(({ name }) => name === 'start_kernel')?.state ?? { objects: [] };
    const field = (name: string, path: string) =>
      objects.find((object) => object.name === name)?.fields.find((each) => each.path === path);
    const type = (name: string) => objects.find((object) => object.name === name)?.type;
    expect(['cpu_tlbstate', 'pv_ops', 'boot_params', 'x86_init'].map(type)).toEqual([
      ...['struct tlb_state', 'struct paravirt_patch_template', 'struct boot_params', 'struct x86_init_ops'],
    ]);
    expect(field('cpu_tlbstate', 'cr4')?.value).toBe(records[1].waypoints.at(-1)?.state.control.cr4);
    expect(field('pv_ops', 'mmu.write_cr3')?.symbol ?? field('pv_ops', 'mmu.write_cr3')?.value).toBe(
      'native_write_cr3',
    );
    expect(field('x86_init', 'acpi.get_root_pointer')?.symbol).toBe('pvh_get_root_pointer');
    expect(field('boot_params', 'hdr.type_of_loader')?.value).toMatch(/^0xb0/);
  }, 60_000);

  it('names the boot protocol version that PVH once gave itself', async () => {
    // movw $0x20c, hdr.version becomes movw $0x212.
    const { findings: found } = await findings('version', (bytes) => {
      bytes[find('xen_prepare_pvh', 0x400, 0x0c, 0x02)] = 0x12;
    });
    expect(found.map(({ id }) => id)).toEqual(['invariant/boot-protocol-version/pvh']);
    expect(found[0].title).toContain('0x212');
  }, 60_000);

  it('names a command line that is lost on PVH', async () => {
    const { findings: found } = await findings('command-line', (bytes) => {
      // mov %reg, hdr.cmd_line_ptr(%rip) in pvh_bootparams becomes nothing.
      const target = address('pvh_bootparams') + 0x228n;
      const start = address('xen_prepare_pvh');
      let stores = 0;
      for (let at = start; at < start + 0x400n; at++) {
        const offset = fileOffset(at);
        const relative = new DataView(bytes.buffer, bytes.byteOffset + offset + 2, 4).getInt32(0, true);
        const isStore = bytes[offset] === 0x89 && (bytes[offset + 1] & 0xc7) === 0x05;
        if (!isStore || at + 6n + BigInt(relative) !== target) continue;
        bytes.fill(0x90, offset, offset + 6);
        stores++;
      }
      expect(stores).toBe(1);
    });
    expect(found.map(({ id }) => id)).toEqual(['invariant/command-line/pvh', 'state/boot_command_line/linux64']); // of two sides either is the odd one
    expect(found[0].title).toContain('it is "", given was "quiet"');
  }, 60_000);
});
