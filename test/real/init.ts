/** The smallest init there is: a static program for Linux on x86-64 that prints one line and has the machine go down.
 *
 * write(1, "hello from init\n"), then reboot(2) with its two magic numbers (Linux include/uapi/linux/reboot.h). */
import { Elf64Ehdr, Elf64Phdr } from '../../src/layout/elf.ts';

const BASE = 0x40_0000;
const le32 = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];
const SYSCALL = [0x0f, 0x05];
const mov = { eax: 0xb8, edx: 0xba, esi: 0xbe, edi: 0xbf } as const;
const set = (register: keyof typeof mov, value: number) => [mov[register], ...le32(value)];

function init(command: number): Uint8Array {
  const text = new TextEncoder().encode('hello from init\n');
  const code = (at: number) => [
    ...set('eax', 1),
    ...set('edi', 1),
    ...set('esi', at), // below 4 GiB
    ...set('edx', text.length),
    ...SYSCALL,
    ...set('eax', 169),
    ...set('edi', 0xfee1_dead),
    ...set('esi', 672_274_793),
    ...set('edx', command),
    ...SYSCALL,
    0xeb,
    0xfe,
  ];
  const start = Elf64Ehdr.size + Elf64Phdr.size;
  const bytes = code(BASE + start + code(0).length);
  const file = new Uint8Array(start + bytes.length + text.length);
  Elf64Ehdr.write(file, 0, {
    e_ident: Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1),
    e_type: 2,
    e_machine: 62,
    e_version: 1,
    e_entry: BigInt(BASE + start),
    e_phoff: BigInt(Elf64Ehdr.size),
    e_ehsize: Elf64Ehdr.size,
    e_phentsize: Elf64Phdr.size,
    e_phnum: 1,
  } as never);
  const length = BigInt(file.length);
  Elf64Phdr.write(file, Elf64Ehdr.size, {
    p_type: 1,
    p_flags: 5,
    p_offset: 0n,
    p_vaddr: BigInt(BASE),
    p_paddr: BigInt(BASE),
    p_filesz: length,
    p_memsz: length,
    p_align: 0x1000n,
  } as never);
  file.set(bytes, start);
  file.set(text, start + bytes.length);
  return file;
}

export const INITS = { restart: init(0x0123_4567), powerOff: init(0x4321_fedc) } as const;
