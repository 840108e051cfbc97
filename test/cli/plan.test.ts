import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BootError, VmError } from '../../src/base/errors.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { UsageError } from '../../src/cli/options.ts';
import { type PlanDocument, type PlanOptions, planOutput } from '../../src/cli/plan.ts';
import { packInitrd } from '../../src/initrd/newc.ts';

const folder = mkdtempSync(join(tmpdir(), 'zeropage-plan-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, bytes: Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};
const archive = packInitrd([{ kind: 'file', path: 'init', mode: 0o755, data: '#!/bin/sh\n' }]);
const initrd = file(
  'initrd.img',
  Uint8Array.from({ length: 5000 }, (_, at) => archive[at] ?? 0),
);
const code = file('code.bin', Uint8Array.of(0x90, 0xf4));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const json = async (kernel: string, options: PlanOptions): Promise<PlanDocument> =>
  JSON.parse(await planOutput(kernel, { ...options, json: true }));

describe('plan', () => {
  it('prints memory map, writes with their purpose, the zero page by field, and the first registers', async () => {
    const text = await planOutput('tiny', { via: 'linux64', memory: '64M', initrd, append: 'console=ttyS0' });
    for (const line of [
      /^Plan$/m,
      /^ {2}command line {2}"console=ttyS0"$/m,
      /^ {2}\[0x100000, 0x4000000\) +63 MiB +RAM$/m,
      /^ {2}0x10000 +0x1000 +boot_params +made here +zero page/m,
      /^ {2}0x3ffe000 +0x1388 +initrd +--initrd +initial RAM disk: cpio \(newc\), 1 entry$/m,
      /^ {2}0x1e8 +e820_entries +0x2$/m,
      /^ {2}0x210 +hdr\.type_of_loader +0xff /m,
      /^ {2}0x228 +hdr\.cmd_line_ptr +0x20000 /m,
      /^ {2}rsi +0x10000$/m,
      /^ {2}cs +0x10 +0x0 +0xffffffff +0xa09b$/m,
    ]) expect(text).toMatch(line); // biome-ignore format: a table
    expect(text.endsWith('\n')).toBe(true);
    expect(text).not.toMatch(/ $/m);
  });

  it('takes the built-in guest by default paths: auto is linux64', async () => {
    expect((await json('tiny', {})).plan.via).toBe('linux64');
  });

  it('prints start info and memory map for pvh, which the host unpacks', async () => {
    const text = await planOutput('tiny', { via: 'pvh', memory: '64M', initrd });
    expect(text).toMatch(/^ {2}unpacked by +the host$/m);
    expect(text).toMatch(/^hvm_start_info at 0x7000, in ebx: what is not zero$/m);
    expect(text).toMatch(/modlist\[0\]\.paddr +0x3ffe000/);
    expect(text).toMatch(/memmap\[1\]\.size +0x3f00000/);
    expect(text).toMatch(/from\n|payload of tiny64\.bzimage, offset 0x/);
  });

  it('plans flat code', async () => {
    const text = await planOutput(code, { via: 'flat64', load: '0x200000' });
    expect(text).toMatch(/^ {2}0x200000 +0x2 +code +code\.bin, offset 0x0 +flat code/m);
    expect(text).toMatch(/^ {2}handed over +nothing$/m);
  });
});

describe('plan --json', () => {
  it('gives what, at, length and sha256 of every write, which a reader of the file can check', async () => {
    const { schema, image, plan } = await json('tiny', { via: 'linux32', memory: '64M', initrd });
    const bytes = readFileSync(imagePath('tiny64.bzimage'));
    expect(schema).toBe(1);
    expect(image).toEqual({ path: imagePath('tiny64.bzimage'), format: 'bzimage', sha256: sha256(bytes) });
    const kernel = plan.writes.find(({ what }) => what === 'kernel');
    const codeOffset = (bytes[0x1f1] + 1) * 512;
    expect(kernel).toMatchObject({
      length: `0x${(bytes.length - codeOffset).toString(16)}`,
      zeroed: '0x0',
      sha256: sha256(bytes.subarray(codeOffset)),
    });
    expect(plan.writes.find(({ what }) => what === 'initrd')?.sha256).toBe(sha256(readFileSync(initrd)));
    expect(plan.memory).toMatchObject({ size: '0x4000000' });
    expect(plan.handover).toMatchObject({ struct: 'boot_params', at: '0x10000', register: 'esi' });
  });

  it('says the same twice', async () => {
    expect(await planOutput('tiny', { json: true })).toBe(await planOutput('tiny', { json: true }));
  });

  it('gives two plans for --diff', async () => {
    const both = JSON.parse(await planOutput('tiny', { diff: 'linux64,pvh', json: true })) as PlanDocument[];
    expect(both.map(({ plan }) => plan.via)).toEqual(['linux64', 'pvh']);
  });
});

describe('plan --diff', () => {
  it('marks what differs, and only that', async () => {
    const lines = (await planOutput('tiny', { diff: 'linux64,pvh', memory: '64M' })).split('\n');
    const row = (name: RegExp) => lines.filter((line) => name.test(line));
    expect(row(/ personality /)).toEqual([expect.stringMatching(/^ {5}personality +bare +bare$/)]);
    expect(row(/ cr0 /)).toEqual([expect.stringMatching(/^ {2}\* {2}cr0 +0x80000011 +0x11$/)]);
    expect(row(/ boot_params +filled/)).toEqual([
      expect.stringMatching(/^ {2}\*.+by the loader +filled by the guest$/),
    ]);
    expect(row(/ rbx /)).toEqual([expect.stringMatching(/^ {2}\* {2}rbx +0x0 +0x7000$/)]);
    expect(row(/ page tables /)).toEqual([expect.stringMatching(/^ {2}\*.+\[0x1000, 0x7000\) +-$/)]);
    expect(row(/^ {2}[* ] {2}\w/).length).toBeGreaterThan(30);
  });

  it('lines its columns up', async () => {
    const lines = (await planOutput('tiny', { diff: 'linux32,linux64' })).split('\n');
    const column = lines.find((line) => line.includes('linux32'))?.indexOf('linux64');
    for (const name of [' rip ', ' cs ', ' GDT ', ' memory ']) {
      const line = lines.find((one) => one.includes(name)) ?? '';
      expect(line.slice(0, column), name).toMatch(/ {2}$/);
      expect(line.slice(column), name).toMatch(/^\S/);
    }
  });

  it('finds no difference between a path and itself', async () => {
    expect(await planOutput('tiny', { diff: 'linux64,linux64' })).not.toMatch(/^ {2}\*/m);
  });

  it('applies --unpack host to the path that knows it', async () => {
    const text = await planOutput('tiny', { diff: 'linux32,linux64', unpack: 'host' });
    expect(text).toMatch(/^ {2}\* {2}unpacked by +the guest +the host$/m);
  });

  it('shows both kernels where a built-in guest has an image for each path', async () => {
    expect(await planOutput('tiny', { diff: 'linux64,multiboot' })).toMatch(
      /^ {2}\* {2}kernel +tiny64\.bzimage .+tiny32\.elf/m,
    );
  });
});

describe('plan --via xen-pv', () => {
  it('prints segments in the builder’s order, with both frame numbers and addresses, and start_info by field', async () => {
    const text = await planOutput('tiny', {
      via: 'xen-pv',
      memory: '64M',
      initrd,
      append: 'console=hvc0',
      mfn: 'identity',
    });
    for (const line of [
      /^ {2}entered in +long mode, ring 3, paging on, interrupts on$/m,
      /^ {2}frames +identity: 0x4000 of the guest, 0x\w+ of Xen above$/m,
      /^ {2}\[0x0, 0x4000000\) +64 MiB +RAM$/m,
      /^In the builder’s order, from 0xffffffff80000000 to 0xffffffff8\w+00000$/m,
      /^ {2}0x1000 +0x\w+ +0x1000 +0xffffffff81000000 +kernel +the kernel’s segments$/m,
      /^ {2}(0x\w+) +0x2 +\1 +not mapped +initrd +initial RAM disk$/m,
      /^ {2}0x4000 +0x1 +sharedInfo +shared_info: /m,
      /^ {2}0x000 +magic +"xen-3\.0-x86_64" +guest type$/m,
      /^ {2}0x020 +nr_pages +0x4000 /m,
      /^ {2}0x030 +flags +0x18 +SIF_MOD_START_PFN \| SIF_VIRT_P2M_4TOOLS$/m,
      /^ {2}0x078 +mod_len +0x2000 /m,
      /^ {2}0x080 +cmd_line +"console=hvc0"$/m,
      /^ {2}cs +0xe033 +0x0 +0xffffffff +0xa0fb$/m,
      /^ {2}guest frames are machine frames/m,
    ]) expect(text).toMatch(line); // biome-ignore format: a table
    expect(text).not.toMatch(/ $/m);
  });

  it('takes the order of frames, and tells it in JSON', async () => {
    const of = async (mfn?: string) => (await json('tiny', { via: 'xen-pv', memory: '64M', mfn })).plan;
    const usual = await of();
    expect(usual.xen?.mfn).toBe('scrambled');
    expect((await of('scrambled:0x7')).xen?.mfn).toBe('scrambled:7');
    expect((await of('scrambled:7')).registers.cr3).not.toBe(usual.registers.cr3);
    expect((await of('identity')).registers.cr3).toBe((await of('identity')).xen?.segments.find(({ name }) => name === 'page tables')?.pfn.concat('000')); // biome-ignore format: one line
    expect(usual.handover).toMatchObject({ struct: 'start_info', register: 'rsi' });
    expect(usual.xen?.hypervisor.sharedInfo).toEqual({ first: '0x4000', count: '0x1' });
  });

  it('beside lguest says who fills boot_params, and each thing in the words of either loader', async () => {
    const text = await planOutput('tiny', {
      diff: 'lguest,xen-pv',
      memory: '64M',
      initrd,
      cmdline: 'quiet',
      mfn: 'identity',
    });
    for (const line of [
      /^ {2}boot_params under lguest: its loader fills it\.$/m,
      /^ {2}boot_params under xen-pv: the guest fills it by itself, from start_info\.$/m,
      /^ {2}\* {2}entered in +32-bit protected mode, ring 1, paging off, interrupts on +long mode, ring 3, paging on, interrupts on$/m,
      /^ {2}\* {2}known by +hdr\.version 0x207 +magic "xen-3\.0-x86_64"$/m,
      /^ {2}\* {2}how much memory +e820_entries 0x1, .+ \(64 MiB\) +nr_pages 0x4000 \(64 MiB\)$/m,
      /^ {2}\* {2}command line +hdr\.cmd_line_ptr 0x1000 \("quiet"\) +cmd_line "quiet"$/m,
      /^ {2}\* {2}initrd lies at +hdr\.ramdisk_image 0x3ffe000 +mod_start 0x(\w+) \(PFN, 0x\1[0]{3}, not mapped\)$/m,
      /^ {2}\* {2}initrd has +hdr\.ramdisk_size 0x2000 .+mod_len 0x2000 /m,
      /^ {2}\* {2}page tables +nothing +pt_base 0xffffffff8\w+, nr_pt_frames /m,
    ]) expect(text).toMatch(line); // biome-ignore format: a table
    // What stands in both words is not said again.
    expect(text).not.toMatch(/boot_params\.hdr\.ramdisk_image|start_info\.mod_start/);
    expect(text).toMatch(/^ {2}\* {2}boot_params\.hdr\.kernel_alignment +0x1000000 +-$/m);
  });
});

describe('plan refuses', () => {
  it.each<[string, string, PlanOptions, typeof VmError, string]>([
    ['an unknown path', 'tiny', { via: 'bios' }, UsageError, 'there is no entry path "bios"'],
    ['an unknown path to compare', 'tiny', { diff: 'linux64,bios' }, UsageError, 'there is no entry path "bios"'],
    ['to compare one path', 'tiny', { diff: 'linux64' }, UsageError, '--diff takes two entry paths'],
    ['to compare three', 'tiny', { diff: 'linux64,pvh,linux32' }, UsageError, '--diff takes two entry paths'],
    ['--diff beside --via', 'tiny', { diff: 'linux64,pvh', via: 'pvh' }, UsageError, 'given twice'],
    ['two command lines', 'tiny', { cmdline: 'a', append: 'b' }, UsageError, 'two command lines'],
    ['a path that is not built', 'tiny', { via: 'xen-pv32' }, BootError, 'xen-pv32 is not built in this version'],
    ['an order of frames that is none', 'tiny', { via: 'xen-pv', mfn: 'mixed' }, UsageError, 'is no order of frames'],
    [
      'a seed that is too large',
      'tiny',
      { via: 'xen-pv', mfn: 'scrambled:4294967296' },
      UsageError,
      'from 0 to 4294967295',
    ],
    [
      'frames where there are none',
      'tiny',
      { via: 'linux64', mfn: 'identity' },
      BootError,
      'has no machine frames of its own',
    ],
    ['a size that is none', 'tiny', { memory: 'lots' }, VmError, '--memory is not a size'],
    ['an address that is none', code, { via: 'flat32', load: 'there' }, VmError, '--load is not a size'],
    ['an initrd that is not there', 'tiny', { initrd: join(folder, 'none') }, VmError, 'there is no such file'],
    ['a kernel that does not fit', 'tiny', { memory: '2M' }, BootError, 'needs more memory than there is'],
    ['flat code without being told so', code, {}, BootError, 'use --via flat32 or flat64'],
  ])('%s', async (_, kernel, options, kind, message) => {
    const error = await planOutput(kernel, options).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect(String((error as VmError).message)).toContain(message);
  });
});
