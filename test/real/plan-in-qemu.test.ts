/** Our plans on somebody else's CPU: QEMU starts the built-in guest and a Debian kernel from exactly what a plan says.
 *
 * So a wrong plan shows without our engine in the way. QEMU's loader devices put the writes into memory; those below
 * 1 MiB go to a staging area first, because its BIOS runs there, and a hand-made Multiboot stub moves them, loads the
 * plan's registers and jumps. Skipped where qemu-system-x86_64 is not installed.
 * Encodings: SDM Vol. 2. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { alignUp, MiB } from '../../src/base/numbers.ts';
import { type BootPlan, type EntryPath, needsUnpackedKernel, planBoot } from '../../src/boot/index.ts';
import { imagePath } from '../../src/cli/guests.ts';
import { nodeUnpackers } from '../../src/cli/host.ts';
import type { BzImage } from '../../src/image/kernel-image.ts';
import { parseKernel } from '../../src/image/parse.ts';
import { unpackKernel } from '../../src/image/unpack-kernel.ts';
import { MULTIBOOT_AOUT_KLUDGE, MULTIBOOT_HEADER_MAGIC, MultibootHeader } from '../../src/layout/multiboot.ts';
import { describeReal, haveReal, readReal } from './files.ts';

const haveQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
if (!haveQemu) console.warn('skipped: qemu-system-x86_64 is not installed');

const folder = mkdtempSync(join(tmpdir(), 'zeropage-qemu-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The guest believes in this much; the stub and the staging area lie behind it. */
const GUEST_RAM = 128 * MiB;
const STUB = 160 * MiB;
const STAGE = 164 * MiB;

const word = (value: number | bigint) =>
  [0, 8, 16, 24].map((shift) => Number((BigInt(value) >> BigInt(shift)) & 0xffn));
/** MOV r32, imm32 by the register's number in the encoding. */
const mov = (register: number, value: number | bigint) => [0xb8 + register, ...word(value)];
const [EAX, ECX, , , , , ESI, EDI] = [0, 1, 2, 3, 4, 5, 6, 7];

/** Code that ends in the plan's first state, from 32-bit protected mode with paging off. */
function stubCode({ state, writes }: BootPlan, staged: Map<string, number>, at: number): number[] {
  const code: number[] = [0xfa, 0xfc]; // cli; cld
  code.push(...mov(EDI, 0), ...mov(ECX, 0xa_0000), ...mov(EAX, 0), 0xf3, 0xaa); // what the BIOS left behind: rep stosb
  for (const { what, at: to, bytes } of writes) {
    const from = staged.get(what);
    if (from !== undefined) code.push(...mov(ESI, from), ...mov(EDI, to), ...mov(ECX, bytes.length), 0xf3, 0xa4);
  }
  const tables = at + 0x800; // GDTR and IDTR images, behind the code
  code.push(0x0f, 0x01, 0x15, ...word(tables), 0x0f, 0x01, 0x1d, ...word(tables + 8)); // lgdt; lidt
  code.push(...mov(EAX, state.segments.ds.selector), 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8);
  code.push(...mov(EAX, state.cr4), 0x0f, 0x22, 0xe0, ...mov(EAX, state.cr3), 0x0f, 0x22, 0xd8);
  code.push(...mov(ECX, 0xc000_0080), 0x0f, 0x32, ...mov(EAX, state.efer & ~0x400n), 0x0f, 0x30); // EFER; LMA is not ours to write
  code.push(...mov(EAX, state.cr0), 0x0f, 0x22, 0xc0, 0x6a, Number(state.rflags), 0x9d); // mov cr0; push; popf
  code.push(0xea, ...word(at + code.length + 7), state.segments.cs.selector, 0); // far jump to the next instruction
  const { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi } = state;
  for (const [number, value] of [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi].entries()) code.push(...mov(number, value));
  code.push(0xe9, ...word(BigInt.asUintN(32, state.rip - BigInt(at + code.length + 5))));
  return code;
}

function stub(plan: BootPlan, staged: Map<string, number>): Uint8Array {
  const file = new Uint8Array(0x1000);
  const flags = MULTIBOOT_AOUT_KLUDGE;
  const entry = STUB + MultibootHeader.size;
  MultibootHeader.write(file, 0, {
    magic: MULTIBOOT_HEADER_MAGIC, flags, checksum: -(MULTIBOOT_HEADER_MAGIC + flags) >>> 0,
    header_addr: STUB, load_addr: STUB, load_end_addr: STUB + file.length, bss_end_addr: STUB + file.length, entry_addr: entry,
  }); // biome-ignore format: a table
  const code = stubCode(plan, staged, entry);
  expect(code.length).toBeLessThan(0x700);
  file.set(code, MultibootHeader.size);
  const view = new DataView(file.buffer, MultibootHeader.size + 0x800);
  view.setUint16(0, plan.state.gdtr.limit, true);
  view.setUint32(2, Number(plan.state.gdtr.base), true);
  view.setUint16(8, plan.state.idtr.limit, true);
  return file;
}

/** Runs a plan; the result is what the guest wrote to its serial port. */
function run(plan: BootPlan, name: string): Promise<string> {
  const staged = new Map<string, number>();
  const devices: string[] = [];
  let stage = STAGE;
  for (const [i, { what, at, bytes }] of plan.writes.entries()) {
    if (bytes.length === 0) continue;
    const file = join(folder, `${name}-${i}.bin`);
    writeFileSync(file, bytes);
    if (at < MiB) {
      staged.set(what, stage);
      stage = alignUp(stage + bytes.length, 0x1000);
    }
    devices.push('-device', `loader,file=${file},addr=${staged.get(what) ?? at},force-raw=on`);
  }
  const kernel = join(folder, `${name}.stub`);
  writeFileSync(kernel, stub(plan, staged));
  const machine = [
    '-M',
    'isapc',
    '-m',
    '192M',
    '-cpu',
    'qemu64',
    '-accel',
    'tcg',
    '-display',
    'none',
    '-vga',
    'none',
    '-monitor',
    'none',
    '-no-reboot',
  ];
  const ends = ['-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'];
  const qemu = spawn('qemu-system-x86_64', [...machine, ...ends, '-kernel', kernel, ...devices]);
  const timer = setTimeout(() => qemu.kill('SIGKILL'), 20_000);
  let text = '';
  qemu.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  qemu.stderr.on('data', (chunk: Buffer) => {
    text += `qemu: ${chunk.toString('latin1')}`;
  });
  return new Promise((resolve) => {
    qemu.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  }); // biome-ignore format: short
}

const initrd = new Uint8Array(5000).fill(0x20);

describe.skipIf(!haveQemu)('the built-in guest, started in QEMU from our plan', () => {
  const cases: [EntryPath, 'guest' | 'host', string, string][] = [
    ['linux64', 'guest', 'tiny64.bzimage', 'via startup_64'],
    ['linux64', 'host', 'tiny64.bzimage', 'via startup_64'],
    ['linux32', 'guest', 'tiny64.bzimage', 'via startup_64'],
    ['linux32', 'guest', 'tiny32.bzimage', 'via startup_32'],
    ['pvh', 'guest', 'tiny64.bzimage', 'via pvh_start'],
    ['multiboot', 'guest', 'tiny32.elf', 'via multiboot_start'],
  ]; // biome-ignore format: a table

  it.each(cases)('%s, unpacked by the %s: %s comes %s to its verdict', async (via, unpack, file, entry) => {
    const image = parseKernel(file, new Uint8Array(readFileSync(imagePath(file))));
    const spec = { via, unpack, memory: GUEST_RAM, cmdline: 'a=1 b=2', initrd };
    const unpackedKernel =
      image.format === 'bzimage' && needsUnpackedKernel(image, spec) ? unpackKernel(image, nodeUnpackers) : undefined;
    const plan = planBoot(image, { ...spec, unpackedKernel });
    const text = await run(plan, `${via}-${unpack}-${file}`);
    expect(text).toContain(entry);
    expect(text).toContain('Command line: a=1 b=2');
    expect(text).toMatch(/BIOS-e820: \[mem 0x0*100000-0x0*7ffffff\] usable/);
    expect(text).toContain('verdict: success');
  });
});

/** Without an init a kernel panics in the end; by then it has told what it was handed. */
describe.skipIf(!haveQemu)('a stock kernel, started in QEMU from our plan', () => {
  const name = 'vmlinuz-cloud-amd64';
  describeReal(name, () => {
    const image = haveReal(name) ? parseKernel(name, readReal(name)) : undefined;
    it.each(['linux64', 'linux32', 'pvh'] as const)('%s finds memory map, command line and initrd', async (via) => {
      const spec = { via, memory: GUEST_RAM, cmdline: 'console=ttyS0 panic=-1', initrd };
      const bzImage = image as BzImage;
      const unpackedKernel = needsUnpackedKernel(bzImage, spec) ? unpackKernel(bzImage, nodeUnpackers) : undefined;
      const text = await run(planBoot(bzImage, { ...spec, unpackedKernel }), `debian-${via}`);
      expect(text).toContain('Command line: console=ttyS0 panic=-1');
      expect(text).toMatch(/BIOS-e820: \[mem 0x0*-0x0*9ffff\] usable/);
      expect(text).toMatch(/BIOS-e820: \[mem 0x0*100000-0x0*7ffffff\] usable/);
      expect(text).toMatch(/RAMDISK: \[mem 0x07ffe000-0x07ffffff\]/);
      expect(text).toContain('Unable to mount root fs');
    });
  });
});
