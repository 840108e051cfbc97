/** Stock kernels through xen-pv, held to the page against layouts that were worked out from Xen's domain builder by
 * hand. They hold for one version of each package; of others, only the rules are checked. */
import { expect, it } from 'vitest';
import { MiB } from '../../src/base/numbers.ts';
import { type BootPlan, entryPaths, planBoot } from '../../src/boot/index.ts';
import { layOutDomain, WIDTH_32P } from '../../src/boot/xen/domain-layout.ts';
import { xenParameters } from '../../src/boot/xen/parameters.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import { type ElfImage, isElf } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { StartInfo } from '../../src/layout/xen/start-info.ts';
import { PlacedDomain } from '../boot/xen-domain.ts';
import { describeReal, haveReal, readReal, realVersion } from './files.ts';

type Layout = [name: string, pfn: number, pages: number, va?: bigint][];

const KERNELS: { name: string; version: string; memory: number; initrd: number; entry: bigint; layout: Layout; rsp: bigint; mod?: [number, number]; p2m?: [number, number] }[] = [
  {
    name: 'vmlinuz-amd64', version: '6.1.192-2', memory: 512, initrd: 32 * MiB, entry: 0xffff_ffff_8307_91c0n, rsp: 0xffff_ffff_84a2_d000n, mod: [0x4c00, 0x200_0000], p2m: [0x6c00, 0x103],
    layout: [
      ['pad', 0, 0x1000, 0xffff_ffff_8000_0000n], ['kernel', 0x1000, 0x3a00, 0xffff_ffff_8100_0000n],
      ['start_info', 0x4a00, 1, 0xffff_ffff_84a0_0000n], ['xenstore', 0x4a01, 1, 0xffff_ffff_84a0_1000n], ['console', 0x4a02, 1, 0xffff_ffff_84a0_2000n],
      ['page tables', 0x4a03, 0x29, 0xffff_ffff_84a0_3000n], ['boot stack', 0x4a2c, 1, 0xffff_ffff_84a2_c000n], ['padding', 0x4a2d, 0x1d3, 0xffff_ffff_84a2_d000n],
      ['initrd', 0x4c00, 0x2000], ['p2m', 0x6c00, 0x103, 0x80_0000_0000n],
    ],
  },
  {
    name: 'vmlinuz-cloud-amd64', version: '6.1.192-2', memory: 256, initrd: 0, entry: 0xffff_ffff_8304_e1c0n, rsp: 0xffff_ffff_83e2_7000n, p2m: [0x4000, 0x83],
    layout: [
      ['pad', 0, 0x1000, 0xffff_ffff_8000_0000n], ['kernel', 0x1000, 0x2e00, 0xffff_ffff_8100_0000n],
      ['start_info', 0x3e00, 1, 0xffff_ffff_83e0_0000n], ['xenstore', 0x3e01, 1, 0xffff_ffff_83e0_1000n], ['console', 0x3e02, 1, 0xffff_ffff_83e0_2000n],
      ['page tables', 0x3e03, 0x23, 0xffff_ffff_83e0_3000n], ['boot stack', 0x3e26, 1, 0xffff_ffff_83e2_6000n], ['padding', 0x3e27, 0x1d9, 0xffff_ffff_83e2_7000n],
      ['p2m', 0x4000, 0x83, 0x80_0000_0000n],
    ],
  },
  {
    name: 'grub-x86_64-xen.bin', version: '2.06-13+deb12u2', memory: 256, initrd: 0, entry: 0n, rsp: 0x69_f000n,
    layout: [
      ['kernel', 0, 0x614, 0n], ['p2m', 0x614, 0x80, 0x61_4000n], ['start_info', 0x694, 1, 0x69_4000n], ['xenstore', 0x695, 1, 0x69_5000n],
      ['console', 0x696, 1, 0x69_6000n], ['page tables', 0x697, 7, 0x69_7000n], ['boot stack', 0x69e, 1, 0x69_e000n], ['padding', 0x69f, 0x161, 0x69_f000n],
    ],
  },
]; // biome-ignore format: tables

const kernelOf = (name: string): { image: ReturnType<typeof parseKernel>; kernel: ElfImage } => {
  const image = parseKernel(name, readReal(name));
  if (isElf(image)) return { image, kernel: image };
  if (image.format !== 'bzimage') throw new Error(`${name} is a kernel`);
  return { image, kernel: unpackKernel(image, nodeUnpackers) };
};
const startInfo = ({ writes }: BootPlan) => StartInfo.read(writes.find(({ what }) => what === 'start_info')?.bytes as Uint8Array); // biome-ignore format: one line

for (const { name, version, memory, initrd, entry, layout, rsp, mod, p2m } of KERNELS) {
  describeReal(name, () => {
    // Names of skipped tests are listed where the file is not there.
    const { image, kernel } = haveReal(name) ? kernelOf(name) : ({} as ReturnType<typeof kernelOf>);
    const make = (size: number, disk: number, mfn?: 'identity') =>
      planBoot(image, {
        via: 'xen-pv', memory: `${size}M`, unpackedKernel: kernel === image ? undefined : kernel, mfn,
        initrd: disk > 0 ? new Uint8Array(disk).fill(0x5a) : undefined, cmdline: 'console=hvc0',
      }); // biome-ignore format: short

    it.skipIf(!realVersion(name).endsWith(` ${version}`))(`has the layout of ${version} to the page`, () => {
      const plan = make(memory, initrd);
      expect(
        plan.xen?.segments.map(({ name: what, pfn, pages, va }) =>
          va === undefined ? [what, pfn, pages] : [what, pfn, pages, va],
        ),
      ).toEqual(layout);
      const info = layout.find(([what]) => what === 'start_info')?.[3];
      expect(plan.state).toMatchObject({ rip: entry, rsi: info, rsp });
      const [modStart, modLength] = mod ?? [0, 0];
      const [firstP2m, p2mFrames] = p2m ?? [0, 0];
      const [, , tables, tablesVa] = layout.find(([what]) => what === 'page tables') ?? [];
      expect(startInfo(plan)).toMatchObject({
        magic: 'xen-3.0-x86_64', nr_pages: BigInt(memory * 256), shared_info: BigInt(memory * MiB), flags: mod ? 0x18 : 0x10,
        pt_base: tablesVa, nr_pt_frames: BigInt(tables ?? 0), mfn_list: layout.find(([what]) => what === 'p2m')?.[3],
        mod_start: BigInt(modStart), mod_len: BigInt(modLength), first_p2m_pfn: BigInt(firstP2m), nr_p2m_frames: BigInt(p2mFrames),
        cmd_line: 'console=hvc0',
      }); // biome-ignore format: a table
    });

    it('can be walked from CR3, every page in its place and its own tables read-only', () => {
      const plan = make(256, 3 * MiB + 5);
      const { xen, frames } = plan;
      if (!xen || !frames) throw new Error('a domain');
      const domain = new PlacedDomain(plan);
      const pages = Number(xen.virtEnd - xen.virtBase) / 4096;
      let [first, second, readOnly] = [0, 0, 0];
      for (const { va, mfn, flags } of domain.mappings()) {
        const frame = domain.pfnOf(mfn);
        const isFirst = va >= xen.virtBase && va < xen.virtEnd;
        const at = isFirst ? Number(va - xen.virtBase) / 4096 : xen.p2m.pfn + Number(va - xen.p2m.va) / 4096;
        if (frame !== at) expect([va, frame]).toEqual([va, at]);
        if (isFirst) first++;
        else second++;
        if ((flags & 2) === 0) readOnly++;
      }
      expect([first, readOnly]).toEqual([pages, xen.pageTables.pages]);
      expect(second).toBe(xen.p2mTables ? xen.p2m.pages - xen.p2mTables.pages : 0);
      expect(domain.memory.readU8(Number(xen.bootStackPfn) * 4096)).toBe(0);
    });

    it('is listed among its entry paths', () => {
      expect(entryPaths(image, kernel).find(({ via }) => via === 'xen-pv')).toMatchObject({ supported: true });
    });
  });
}

describeReal('grub-i386-xen.bin', () => {
  it('is refused as a 32-bit guest, and has the 32-bit builder’s layout', () => {
    const { image, kernel } = kernelOf('grub-i386-xen.bin');
    expect(() => planBoot(image, { via: 'xen-pv' })).toThrow('xen-3.0-x86_32p');
    expect(() => planBoot(image, { via: 'xen-pv32' })).toThrow('not built');
    const parameters = xenParameters(kernel);
    if ('why' in parameters) throw new Error(parameters.why);
    expect(parameters.pae).toBe('yes');
    const { segments, virtEnd } = layOutDomain(parameters, { nrPages: 0x1_0000, width: WIDTH_32P });
    expect(segments.map(({ name, pfn, pages }) => [name, pfn, pages])).toEqual([
      ['kernel', 0, 0x582], ['p2m', 0x582, 0x40], ['start_info', 0x5c2, 1], ['xenstore', 0x5c3, 1], ['console', 0x5c4, 1],
      ['page tables', 0x5c5, 9], ['boot stack', 0x5ce, 1], ['padding', 0x5cf, 0x231],
    ]); // biome-ignore format: a table
    expect(virtEnd).toBe(0x80_0000n);
  });
});
