/** First processes of a few instructions, as static programs: no compiler, no libc, the same bytes everywhere.
 *
 * Follows: System V ABI, AMD64 supplement (ELF64); Linux syscall numbers of x86-64. */
import { buildInitrd } from '../../src/initrd/build.ts';
import { ELFDATA2LSB, Elf64Ehdr, Elf64Phdr, EM_X86_64, ET_EXEC, PT_LOAD } from '../../src/layout/elf.ts';

const BASE = 0x40_0000n;
const CODE_AT = 0x78;

/** An executable of one segment with `code` at its entry. */
export function staticProgram(code: readonly number[]): Uint8Array {
  const file = new Uint8Array(CODE_AT + code.length);
  Elf64Ehdr.write(file, 0, {
    e_ident: Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 2, ELFDATA2LSB, 1]),
    e_type: ET_EXEC,
    e_machine: EM_X86_64,
    e_version: 1,
    e_entry: BASE + BigInt(CODE_AT),
    e_phoff: 64n,
    e_ehsize: 64,
    e_phentsize: 56,
    e_phnum: 1,
  });
  const size = BigInt(file.length);
  Elf64Phdr.write(file, 64, { p_type: PT_LOAD, p_flags: 7, p_vaddr: BASE, p_paddr: BASE, p_filesz: size, p_memsz: size, p_align: 0x1000n }); // biome-ignore format: one line
  file.set(code, CODE_AT);
  return file;
}

const imm32 = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
/** mov eax,NUMBER; mov edi, esi, edx; syscall */
const syscall = (number: number, ...[edi = 0, esi = 0, edx = 0]: number[]) => [
  0xb8, ...imm32(number), 0xbf, ...imm32(edi), 0xbe, ...imm32(esi), 0xba, ...imm32(edx), 0x0f, 0x05,
]; // biome-ignore format: code

const WRITE = 1;
const EXIT = 60;
const REBOOT = 169;
const LINUX_REBOOT_MAGICS = [0xfee1_dead, 0x2812_1969] as const;
export const POWER_OFF = 0x4321_fedc;
export const RESTART = 0x0123_4567;

/** Prints a line, then does the rest. The text lies behind the code. */
function saying(line: string, rest: readonly number[]): number[] {
  const text = [...new TextEncoder().encode(`${line}\n`)];
  const length = syscall(WRITE).length + rest.length;
  const at = Number(BASE) + CODE_AT + length;
  return [...syscall(WRITE, 1, at, text.length), ...rest, ...text];
}

export const SAYS = 'init: here I am';

export const INIT = {
  powerOff: staticProgram(saying(SAYS, syscall(REBOOT, ...LINUX_REBOOT_MAGICS, POWER_OFF))),
  restart: staticProgram(saying(SAYS, syscall(REBOOT, ...LINUX_REBOOT_MAGICS, RESTART))),
  /** Ends, which a first process may not. */
  exit: staticProgram(saying(SAYS, syscall(EXIT, 7))),
  /** jmp $ */
  spin: staticProgram(saying(SAYS, [0xeb, 0xfe])),
} as const;

export const initrdWith = (init: Uint8Array): Uint8Array =>
  buildInitrd([{ kind: 'file', path: 'init', mode: 0o755, data: init }]).bytes;
