/** What the manuals leave undefined and the comparison therefore leaves out.
 *
 * Each line names instructions, the flags that have no defined value after them, and when. An instruction that faults
 * has changed no flag, so nothing is left out then. `npx tsx test/oracle/record.ts --undefined` prints the list.
 * Follows: SDM Vol. 2, "Flags Affected" of each instruction, and APM Vol. 3.   Next: test/oracle/states.ts. */

export type UndefinedLine = {
  names: string;
  /** Letters of the flags: O S Z A P C. */
  flags: string;
  /** In words; `holds` is the same for the machine. `count` is the count as masked by the CPU, `width` in bits. */
  when?: string;
  holds?: (count: number, width: number) => boolean;
};

export const UNDEFINED: readonly UndefinedLine[] = [
  { names: 'and or xor test', flags: 'A' },
  { names: 'mul imul', flags: 'SZAP' },
  { names: 'div idiv', flags: 'OSZAPC' },
  { names: 'bsf bsr', flags: 'OSAPC' },
  { names: 'tzcnt lzcnt', flags: 'OSAP' },
  { names: 'bt bts btr btc', flags: 'OSAP' },
  { names: 'rol ror rcl rcr', flags: 'O', when: 'the count is neither 0 nor 1', holds: (count) => count > 1 },
  { names: 'shl shr sar shld shrd', flags: 'A', when: 'the count is not 0', holds: (count) => count > 0 },
  { names: 'shl shr sar shld shrd', flags: 'O', when: 'the count is neither 0 nor 1', holds: (count) => count > 1 },
  { names: 'shl shr', flags: 'C', when: 'the count is the width or more', holds: (count, width) => count >= width },
  { names: 'daa das', flags: 'O' },
  { names: 'aaa aas', flags: 'OSZP' },
  { names: 'aam aad', flags: 'OAC' },
];

/** What is compared less strictly, as compare.ts does it. */
export const LOOSELY: readonly string[] = [
  'forms marked `several` when they fault: which of their faults is reported first, and memory written before it (POPA: registers too)',
  '#AC against #PF on one access: which comes first',
  'the present bit of a page fault in the upper half of the address space: Linux always sets it for user code',
  'the base of FS or GS after a null selector was loaded, and the RPL of a null selector',
  'upper halves of registers after compatibility-mode code; RF, VM, VIF and VIP',
];

/** What is never tried, since the manuals or the two vendors differ. */
export const NOT_TRIED: readonly string[] = [
  'shld and shrd with a count above the width (16 bits): result undefined',
  'bswap with a 16-bit operand: result undefined',
  'near branches with a 66 prefix in 64-bit mode: AMD truncates RIP, Intel ignores the prefix',
  'far pointers in memory with REX.W: AMD reads m16:32, Intel m16:64',
  'movsxd with a 16-bit operand',
  'far transfers into 64-bit code from a 16-bit stack or one with a base: what is left of RSP, and where CALL pushes',
  'ENTER with alignment checks: some processors check the new top of the stack',
  'int1 (F1): hypervisors that intercept #DB report it at the instruction instead of behind it',
  'lock verw: ignored by some processors, #UD on others',
  'undefined opcodes cut short by the end of a page or longer than 15 bytes: their length is not defined either',
  'FS and GS with a base in 64-bit code where the offset alone is not canonical but the linear address is',
  'VEX, EVEX and XOP encodings; MMX and SSE have states of their own (simd), x87 too',
  'cpuid, rdtsc, rdtscp, rdpmc, xgetbv, rdrand: what they give is not a function of the state',
  'sgdt, sidt, sldt, str, smsw: Linux emulates them under UMIP',
  'syscall, sysenter, int 0x80: they enter the host kernel',
];

const BITS: Record<string, number> = { C: 1, P: 4, A: 0x10, Z: 0x40, S: 0x80, O: 0x800 };

/** The bits of RFLAGS that are undefined after this instruction has completed. */
export function undefinedFlags(name: string, count: number, width: number): number {
  let mask = 0;
  for (const line of UNDEFINED) {
    if (!line.names.split(' ').includes(name)) continue;
    if (line.holds && !line.holds(count, width)) continue;
    for (const letter of line.flags) mask |= BITS[letter];
  }
  return mask;
}
