import { describe, expect, it } from 'vitest';
import { nodeUnpackers } from '../../src/cli/host.ts';
import type { BzImage } from '../../src/image/kernel-image.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import {
  type Btf,
  type DecodedField,
  decode,
  flatten,
  kernelVariable,
  Machine,
  planBoot,
  readBtf,
  readKernel,
} from '../../src/index.ts';
import { BootParams } from '../../src/layout/boot-params.ts';

const cases = [ // path, its word size in bytes, whose functions are in pv_ops
  ['linux64', 8, 'native'], ['linux32', 8, 'native'], ['pvh', 8, 'native'], ['xen-pv', 8, 'xen'], ['lguest', 4, 'lguest'],
] as const; // biome-ignore format: a table

describe('the tiny guest describes itself', () => {
  it.each(cases)('through %s, by types in its bzImage', async (via, word, who) => {
    const image = (await readKernel('tiny', via)) as BzImage;
    const machine = await Machine.create(planBoot(image, { via }));
    await machine.run({ until: 'start_kernel', maxInstructions: 1e7 });
    const btf = readBtf(unpackKernel(image, nodeUnpackers)) as Btf;
    expect(btf.pointerSize).toBe(word);
    const look = (name: string): Map<string, DecodedField> => {
      const variable = machine.symbols && kernelVariable({ address: (each) => machine.symbols?.address(each) }, btf, name);
      if (!variable) throw new Error(`the guest has no ${name}`);
      const bytes = machine.peek(variable.address, variable.size) ?? new Uint8Array();
      const rows = decode(btf, bytes, variable.type, { symbolise: (address) => machine.symbolise(address) });
      return new Map(rows.map((row) => [row.path, row]));
    };
    const ops = look('pv_ops');
    for (const path of ['cpu.load_gdt', 'irq.irq_disable', 'mmu.write_cr3', 'console.write']) {
      expect(ops.get(path)?.text, path).toMatch(new RegExp(`<${who}_\\w+>$`));
    }
    expect(ops.get('kernel_rpl')?.value).toBe({ native: 0n, xen: 3n, lguest: 1n }[who]);
    // What the loader or the guest itself has filled in.
    const params = look('boot_params');
    if (who !== 'xen') {
      // Under Xen the guest asks for its memory map later.
      expect(params.get('e820_entries')?.value).toBeGreaterThan(0n);
      expect(params.get('e820_table[0].type')?.value).toBe(1n);
    }
    expect(params.get('hdr.hardware_subarch')?.value).toBe({ native: 0n, xen: 2n, lguest: 1n }[who]);
  }); // biome-ignore format: short

  it('with structs as our tables have them', async () => {
    for (const via of ['linux64', 'lguest']) {
      const btf = readBtf(unpackKernel((await readKernel('tiny', via)) as BzImage, nodeUnpackers)) as Btf;
      const rows = new Map(flatten(btf, 'struct boot_params').map((row) => [row.path, row.offset]));
      for (const [path, offset] of [['hdr.setup_sects', 0x1f1], ['hdr.init_size', 0x260], ['e820_table[3].addr', 0x2d0 + 60]] as const) {
        expect(rows.get(path), path).toBe(offset);
      }
      expect(btf.sizeOf(btf.find('struct boot_params') as number)).toBe(BootParams.size);
    }
  }); // biome-ignore format: short
});
