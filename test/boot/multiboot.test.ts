/** Multiboot plans, beside what QEMU 7.2 hands over (test/boot/qemu.ts). Legitimate differences: QEMU's BIOS keeps a KiB
 * of low memory and 128 KiB of high memory, it names a boot device, and it puts the kernel's file name before the
 * command line, which the specification leaves open. */
import { describe, expect, it } from 'vitest';
import { VmError } from '../../src/base/errors.ts';
import { type BootPlan, placePlan, planBoot } from '../../src/boot/index.ts';
import {
  MULTIBOOT_INFO_BOOTDEV,
  MultibootInfo,
  MultibootMmapEntry,
  MultibootModule,
} from '../../src/layout/multiboot.ts';
import { latin1 } from '../../src/layout/struct.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { elf, multibootBytes, parsed } from './files.ts';
import { QEMU_MULTIBOOT } from './qemu.ts';

const initrd = new Uint8Array(5632).fill(0x55);
const entry = 0x20_000c;
/** Loaded where QEMU's recorded kernel was, so that its module lies in the same place. */
const kernel = elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes: multibootBytes(3), memsz: 0x3028 }] });

function placed(plan: BootPlan) {
  const memory = new GuestMemory(new ArrayBuffer(plan.memorySize), 0, plan.memorySize);
  placePlan(plan, memory);
  return memory;
}

describe('multiboot', () => {
  const plan = planBoot(kernel, { via: 'multiboot', memory: '256M', cmdline: 'console=ttyS0', initrd });
  const memory = placed(plan);
  const info = MultibootInfo.read(memory, Number(plan.state.rbx));

  it('enters with the magic in EAX and the information in EBX, paging off', () => {
    expect(plan.state).toMatchObject({
      rip: BigInt(entry),
      rax: 0x2bad_b002n,
      rbx: 0x8000n,
      cr0: QEMU_MULTIBOOT.cr0,
      rflags: 2n,
    });
  });

  it('sets the flags that QEMU sets, but for the boot device', () => {
    expect(info.flags).toBe(QEMU_MULTIBOOT.flags & ~MULTIBOOT_INFO_BOOTDEV);
  });

  it('counts lower and upper memory in KiB', () => {
    expect([info.mem_lower, info.mem_upper]).toEqual([640, 255 * 1024]);
    expect([info.mem_lower - QEMU_MULTIBOOT.mem_lower, info.mem_upper - QEMU_MULTIBOOT.mem_upper]).toEqual([1, 128]);
  });

  it('puts the module on the first page behind the kernel, as QEMU does', () => {
    expect(info.mods_count).toBe(1);
    expect(MultibootModule.read(memory, info.mods_addr)).toMatchObject(QEMU_MULTIBOOT.module);
    expect(memory.bytes(QEMU_MULTIBOOT.module.mod_start, initrd.length)).toEqual(initrd);
  });

  it('describes memory in entries whose size does not count itself', () => {
    expect(info.mmap_length).toBe(2 * 24);
    const map = [0, 1].map((i) => MultibootMmapEntry.read(memory, info.mmap_addr + i * 24));
    expect(map).toEqual([
      { size: QEMU_MULTIBOOT.mmap_entry_size, addr: 0n, len: 0xa_0000n, type: 1 },
      { size: QEMU_MULTIBOOT.mmap_entry_size, addr: 0x10_0000n, len: 0xff0_0000n, type: 1 },
    ]);
  });

  it('names the command line and the loader', () => {
    expect(latin1(memory.bytes(info.cmdline, 100))).toBe('console=ttyS0');
    expect(latin1(memory.bytes(info.boot_loader_name, 100))).toBe('zeropage');
  });

  it('says that there are no modules when there is no initrd', () => {
    const bare = MultibootInfo.read(placed(planBoot(kernel, { via: 'multiboot', memory: '16M' })), 0x8000);
    expect(bare).toMatchObject({ flags: 0x245, mods_count: 0, mods_addr: 0 });
  });
});

describe('the a.out kludge', () => {
  const flags = 1 << 16;
  const load_addr = 0x20_0000;
  it('loads what the header names, zeroes to bss_end_addr and enters at entry_addr', () => {
    const bytes = multibootBytes(flags, {
      header_addr: load_addr,
      load_addr,
      load_end_addr: load_addr + 0x800,
      bss_end_addr: load_addr + 0x5000,
      entry_addr: load_addr + 0x30,
    });
    const plan = planBoot(parsed(bytes), { via: 'multiboot' });
    const [write] = plan.writes.filter(({ what }) => what === 'kernel');
    expect(write).toMatchObject({ at: load_addr, length: 0x5000 });
    expect(write.bytes).toEqual(bytes.subarray(0, 0x800));
    expect(plan.state.rip).toBe(BigInt(load_addr + 0x30));
  });

  it('goes before the program headers of an ELF file', () => {
    const bytes = multibootBytes(flags, { header_addr: 0x30_0000, load_addr: 0x30_0000, entry_addr: 0x30_0030 });
    const image = elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes }] });
    const plan = planBoot(image, { via: 'multiboot' });
    expect(plan.writes.filter(({ at }) => at >= 0x10_0000)).toMatchObject([{ what: 'kernel', at: 0x30_0000 }]);
    expect(plan.state.rip).toBe(0x30_0030n);
  });

  it.each([
    ['a load address behind the header', { header_addr: 0x1000, load_addr: 0x2000, entry_addr: 0x2000 }],
    ['an entry outside', { header_addr: load_addr, load_addr, entry_addr: 0x10_0000 }],
    [
      'a load end behind the file',
      { header_addr: load_addr, load_addr, load_end_addr: 0x90_0000, entry_addr: load_addr },
    ],
    ['a bss up to 4 GiB', { header_addr: load_addr, load_addr, bss_end_addr: 0xffff_ffff, entry_addr: load_addr }],
    ['a place over the zero page', { header_addr: 0x500, load_addr: 0x500, entry_addr: 0x500 }],
  ])('with %s is refused', (_, addresses) => {
    const bytes = multibootBytes(flags, addresses);
    expect(() => planBoot(parsed(bytes), { via: 'multiboot' })).toThrow(VmError);
    const image = elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes }] });
    expect(() => planBoot(image, { via: 'multiboot' })).toThrow(VmError);
  });
});

describe('a Multiboot kernel', () => {
  it('linked high is entered at the physical place of its e_entry', () => {
    const image = elf({
      bits: 32,
      entry: 0xc020_0010,
      segments: [{ paddr: 0x20_0000, vaddr: 0xc020_0000, bytes: multibootBytes(0) }],
    });
    expect(planBoot(image, { via: 'multiboot' }).state.rip).toBe(0x20_0010n);
  });

  it('in an ELF64 file is entered in 32-bit mode all the same', () => {
    const image = elf({ bits: 64, entry, segments: [{ paddr: 0x20_0000, bytes: multibootBytes(0) }] });
    expect(planBoot(image, { via: 'multiboot' }).state).toMatchObject({ rip: BigInt(entry), efer: 0n });
  });

  it('that wants a video mode gets a note that there is none', () => {
    const image = elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes: multibootBytes(4) }] });
    expect(planBoot(image, { via: 'multiboot' }).notes.join()).toContain('there is no display');
  });

  it.each([
    [
      'that demands what version 1 does not define',
      elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes: multibootBytes(0x80) }] }),
      'demands 0x80',
    ],
    [
      'without a header',
      elf({ bits: 32, entry, segments: [{ paddr: 0x20_0000, bytes: new Uint8Array(99) }] }),
      'no Multiboot 1 header',
    ],
    ['that is no ELF file and has no addresses', parsed(multibootBytes(0)), 'has no addresses (flag bit 16)'],
  ])('%s is refused', (_, image, message) => {
    expect(() => planBoot(image, { via: 'multiboot' })).toThrow(message);
  });
});
