/** Plans for stock Debian kernels and GRUB images, held against the boot protocol's rules and the files' own bytes.
 *
 * Where figures of one package version stand here (from `readelf -lW` and the headers), other versions skip them. */
import { expect, it } from 'vitest';
import { hex, MiB } from '../../src/base/numbers.ts';
import { type BootPlan, type BootSpec, placePlan, planBoot } from '../../src/boot/index.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import type { BzImage, ElfImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { BootParams } from '../../src/layout/boot-params.ts';
import { HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../src/layout/hvm-start-info.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { isRam } from '../../src/memory/memory-map.ts';
import { describeReal, haveReal, readReal, realVersion } from './files.ts';

/** Figures of linux-image-6.1.0-56-*, 6.1.192-2. */
const KERNELS: Record<string, { initSize: number; segments: [at: number, length: number][]; pvhEntry: bigint }> = {
  'vmlinuz-amd64': {
    initSize: 0x3f9_8000,
    segments: [[0x100_0000, 0x18e_a9f0], [0x2a0_0000, 0x64_4000], [0x304_4000, 0x3_5000], [0x307_9000, 0x198_7000]],
    pvhEntry: 0x100_0850n,
  },
  'vmlinuz-cloud-amd64': {
    initSize: 0x337_8000,
    segments: [[0x100_0000, 0x182_6634], [0x2a0_0000, 0x61_a000], [0x301_a000, 0x3_4000], [0x304_e000, 0xdb_2000]],
    pvhEntry: 0x100_0850n,
  },
}; // biome-ignore format: a table

const initrd = new Uint8Array(3 * MiB + 17).fill(0x5a);
const cmdline = 'console=ttyS0 panic=-1';

for (const [name, known] of Object.entries(KERNELS)) {
  describeReal(name, () => {
    const bytes = haveReal(name) ? readReal(name) : new Uint8Array();
    const image = (haveReal(name) ? parseKernel(name, bytes) : undefined) as BzImage;
    const initSize = haveReal(name) ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0x260, true) : 0;
    let unpacked: ElfImage | undefined;
    const unpack = () => {
      unpacked ??= unpackKernel(image, nodeUnpackers);
      return unpacked;
    };
    const write = (plan: BootPlan, what: string) => {
      const found = plan.writes.find((one) => one.what === what);
      expect(found, what).toBeDefined();
      return found as BootPlan['writes'][number];
    };
    const make = (spec: BootSpec) => planBoot(image, { memory: '256M', initrd, cmdline, ...spec });

    it.each(['linux32', 'linux64'] as const)('%s obeys the rules of the boot protocol', (via) => {
      const plan = make({ via });
      const page = write(plan, 'boot_params').bytes;
      const params = BootParams.read(page);
      const headerEnd = 0x202 + bytes[0x201];
      // Outside of the fields that a loader writes, the header is the file's.
      const own = new Set([0x210, ...range(0x218, 8), ...range(0x228, 4)]);
      for (let at = 0x1f1; at < headerEnd; at++) if (!own.has(at)) expect(page[at], hex(at)).toBe(bytes[at]);
      for (let at = headerEnd; at < 0x2d0; at++) expect(page[at], hex(at)).toBe(0);
      expect(params.sentinel).toBe(0);
      expect(params.hdr.type_of_loader).toBe(0xff);
      expect(params.e820_entries).toBeGreaterThanOrEqual(2);
      expect(params.hdr.setup_data).toBe(0n);
      expect(params.screen_info.orig_video_isVGA).toBe(0);

      const kernel = write(plan, 'kernel');
      expect(kernel.at).toBe(Number(image.setupHeader.pref_address));
      expect(kernel.at % image.setupHeader.kernel_alignment).toBe(0);
      expect(kernel.bytes.length).toBe(bytes.length - (bytes[0x1f1] + 1) * 512);
      expect(plan.claims).toMatchObject([{ at: 0x100_0000, length: initSize }]);

      const line = write(plan, 'command line');
      expect(params.hdr.cmd_line_ptr).toBe(line.at);
      expect(isRam(plan.memoryMap, line.at, 2048)).toBe(true);
      expect(line.at + 2048).toBeLessThanOrEqual(0xa_0000);

      const disk = write(plan, 'initrd');
      expect([params.hdr.ramdisk_image, params.hdr.ramdisk_size]).toEqual([disk.at, initrd.length]);
      expect(disk.at % 0x1000).toBe(0);
      expect(disk.at + disk.length - 1).toBeLessThanOrEqual(image.setupHeader.initrd_addr_max);
      expect(disk.at).toBeGreaterThanOrEqual(0x100_0000 + initSize);

      expect(plan.state.rsi).toBe(BigInt(write(plan, 'boot_params').at));
      expect(plan.state.rip).toBe(BigInt(kernel.at + (via === 'linux64' ? 0x200 : 0)));
    });

    it('linux64 with --unpack host loads the segments of vmlinux at their physical addresses', () => {
      const plan = make({ via: 'linux64', unpack: 'host', unpackedKernel: unpack() });
      const segments = plan.writes.filter(({ what }) => what.startsWith('segment'));
      expect(segments.map(({ at, length }) => [at, length])).toEqual(loadable(unpack().bytes));
      for (const segment of segments) expect(segment.bytes.buffer).toBe(unpack().bytes.buffer);
      expect(plan.state.rip).toBe(0x100_0000n);
      expect(BootParams.read(write(plan, 'boot_params').bytes).hdr.init_size).toBe(initSize);
    });

    it('pvh enters at the note and hands over module and memory map', () => {
      const plan = make({ via: 'pvh', unpackedKernel: unpack() });
      expect(plan.state).toMatchObject({ cr0: 0x11n, cr4: 0n, efer: 0n, rflags: 2n });
      expect(
        plan.writes.filter(({ what }) => what.startsWith('segment')).map(({ at, length }) => [at, length]),
      ).toEqual(loadable(unpack().bytes));
      const memory = new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
      placePlan(plan, memory);
      const info = HvmStartInfo.read(memory, Number(plan.state.rbx));
      expect(info).toMatchObject({ magic: 0x336e_c578, version: 1, nr_modules: 1, memmap_entries: 2 });
      const module = HvmModlistEntry.read(memory, Number(info.modlist_paddr));
      expect(Buffer.compare(memory.bytes(Number(module.paddr), Number(module.size)), initrd)).toBe(0);
      expect(HvmMemmapTableEntry.read(memory, Number(info.memmap_paddr) + 24)).toEqual({
        addr: 0x10_0000n,
        size: BigInt(255 * MiB),
        type: 1,
      });
    });

    it.skipIf(!realVersion(name).endsWith(' 6.1.192-2'))('has the addresses that readelf shows for 6.1.192-2', () => {
      const plan = make({ via: 'pvh', unpackedKernel: unpack() });
      expect(initSize).toBe(known.initSize);
      expect(loadable(unpack().bytes)).toEqual(known.segments);
      expect(plan.state.rip).toBe(known.pvhEntry);
    });

    it('is planned without a copy of the file', () => {
      const plan = make({ via: 'linux64' });
      expect(write(plan, 'kernel').bytes.buffer).toBe(bytes.buffer);
      const before = process.memoryUsage().arrayBuffers;
      const plans = Array.from({ length: 20 }, () => make({ via: 'linux64' }));
      const grown = process.memoryUsage().arrayBuffers - before;
      expect(plans.length).toBe(20);
      expect(grown).toBeLessThan(20 * 64 * 1024); // page tables and a few pages each; the kernel has 8 MB and more
    });

    it('refuses a machine that is too small, and names the size that is enough', () => {
      const enough = Math.ceil((0x100_0000 + initSize) / MiB);
      const small = () => planBoot(image, { via: 'linux64', memory: (enough - 1) * MiB });
      expect(small).toThrow(`give it --memory ${enough}M or more`);
      expect(planBoot(image, { via: 'linux64', memory: enough * MiB }).memorySize).toBe(enough * MiB);
    });
  });
}

const parseReal = (name: string) => parseKernel(name, readReal(name));

describeReal('grub-i386-xen_pvh.bin', () => {
  it('is planned by its PVH note, the only one that it has', () => {
    const plan = planBoot(parseReal('grub-i386-xen_pvh.bin'), { cmdline: 'x' });
    expect(plan.via).toBe('pvh');
    expect(plan.state.rip).toBe(0x10_0000n);
    expect(plan.writes.find(({ what }) => what === 'segment 0')?.at).toBe(0x10_0000);
  });
});

const PV_ONLY: [name: string, auto: (plan: () => BootPlan) => void][] = [
  ['grub-x86_64-xen.bin', (plan) => expect(plan().via).toBe('xen-pv')],
  ['grub-i386-xen.bin', (plan) => expect(plan).toThrow('xen-pv32 is not built in this version')],
];
for (const [name, auto] of PV_ONLY) {
  describeReal(name, () => {
    it('is for Xen PV only, so auto takes that path or says that it is not built', () => {
      auto(() => planBoot(parseReal(name)));
      expect(() => planBoot(parseReal(name), { via: 'pvh' })).toThrow('no note named "Xen" of type 18');
    });
  });
}

/** PT_LOADs of an ELF64 file as [p_paddr, p_memsz], read apart from our parser. */
function loadable(elf: Uint8Array): [number, number][] {
  const view = new DataView(elf.buffer, elf.byteOffset);
  const [table, count] = [Number(view.getBigUint64(32, true)), view.getUint16(56, true)];
  return Array.from({ length: count }, (_, i) => table + i * 56)
    .filter((at) => view.getUint32(at, true) === 1)
    .map((at) => [Number(view.getBigUint64(at + 24, true)), Number(view.getBigUint64(at + 40, true))]);
}

function range(at: number, length: number): number[] {
  return Array.from({ length }, (_, i) => at + i);
}
